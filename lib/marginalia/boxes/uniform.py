"""Boxes put down at random, without any relation: what a layout statistic shows when there is nothing to see.

Positions come from a counter-based 32-bit hash instead of a generator with a state, so that a browser draws
the very same boxes from the same seed, and draw 57 does not need the 56 draws before it.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, UInt32

from .table import BoxTable

_GOLDEN = 0x9E3779B9


def lowbias32(x: UInt32[np.ndarray, "*shape"]) -> UInt32[np.ndarray, "*shape"]:
    """A bijection of the 32-bit numbers that turns a counter into noise (constants found by C. Wellons)."""
    x = np.asarray(x, np.uint32).copy()
    x ^= x >> np.uint32(16)
    x *= np.uint32(0x7FEB352D)
    x ^= x >> np.uint32(15)
    x *= np.uint32(0x846CA68B)
    x ^= x >> np.uint32(16)
    return x


def uniform_boxes(
    wh: Float[np.ndarray, "N 2"], size: Float[np.ndarray, " 2"], seed: int, draw: int
) -> Float[np.ndarray, "N 4"]:
    """Boxes of the given widths and heights at uniformly random places fully inside an image of `size`; xywh.

    Units are those of `size` (width, height). A coordinate depends on (seed, draw, box, axis) alone; seed and
    draw count modulo 2^32. A box larger than the image starts at 0.

    >>> uniform_boxes([(20, 10), (40, 30)], size=(100, 100), seed=0, draw=0).round()
    array([[46., 11., 20., 10.],
           [59., 41., 40., 30.]])
    """
    wh = np.asarray(wh, np.float64).reshape(-1, 2)
    # one number in [0, 1) for every box and axis, each from its own counter 2 * box + axis
    start = lowbias32(lowbias32(np.uint32((seed % 2**32) ^ _GOLDEN)) ^ np.uint32(draw % 2**32))
    counter = np.arange(wh.size, dtype=np.uint32).reshape(-1, 2)
    place = lowbias32(start + counter) / 2.0**32  # (N, 2)
    return np.hstack([place * np.maximum(np.asarray(size) - wh, 0), wh])


def random_layout(
    count: int, side: float, images: int, seed: int = 0, size: tuple[float, float] = (1.0, 1.0)
) -> BoxTable:
    """Images with `count` unrelated boxes each, to see what the statistics show then.

    Widths and heights are uniform in (0, side), normalised to the image size, and places uniform among those
    fully inside; `size` is the image's width and height. Raises ValueError for a side outside (0, 1].

    >>> table = random_layout(count=5, side=0.3, images=100, size=(640, 480))
    >>> table
    BoxTable(500 boxes, 100 images, 1 categories)
    >>> bool((table.xywh[:, 2:] < (0.3 * 640, 0.3 * 480)).all())
    True
    """
    if not 0 < side <= 1:
        raise ValueError(f"random_layout: side is normalised to the image size, in (0, 1], not {side}")
    rng = np.random.default_rng(seed)
    wh = rng.uniform(0, side, (images * count, 2))
    corner = rng.uniform(size=wh.shape) * (1 - wh)
    image = np.repeat(np.arange(images), count)
    return BoxTable(
        xywh=np.hstack([corner, wh]) * np.tile(size, 2),
        image=image,
        image_ids=tuple(range(images)),
        sizes=np.tile(size, (images, 1)),
        category=np.zeros(len(image)),
        names={0: "box"},
    )
