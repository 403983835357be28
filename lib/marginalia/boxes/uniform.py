"""Boxes put down at random, without any relation: what a layout statistic shows when there is nothing to see.

Positions come from a counter-based 32-bit hash instead of a generator with a state, so that a browser draws
the very same boxes from the same seed, and draw 57 does not need the 56 draws before it.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, UInt32

from .correlation import macroscopic_correlation
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


def _hashed_uniform(seed: int, draws: UInt32[np.ndarray, " D"], boxes: int) -> Float[np.ndarray, "D N 2"]:
    """Uniform numbers in [0, 1): for each draw, box and axis one, from its own counter."""
    start = lowbias32(lowbias32(np.uint32((seed & 0xFFFFFFFF) ^ _GOLDEN)) ^ draws)  # (D,)
    counter = np.arange(2 * boxes, dtype=np.uint32)  # 2 * box + axis
    return lowbias32(start[:, None] + counter).reshape(len(draws), boxes, 2) / 2.0**32


def _uniform_draws(
    wh: np.ndarray, size: np.ndarray, seed: int, draws: np.ndarray
) -> Float[np.ndarray, "D N 4"]:
    wh = np.asarray(wh, np.float64).reshape(-1, 2)
    room = np.maximum(np.asarray(size, np.float64) - wh, 0)  # a box as large as the image starts at 0
    corner = _hashed_uniform(seed, draws.astype(np.uint32), len(wh)) * room
    return np.concatenate([corner, np.broadcast_to(wh, corner.shape)], axis=-1)


def uniform_boxes(
    wh: Float[np.ndarray, "N 2"], size: Float[np.ndarray, " 2"], seed: int, draw: int
) -> Float[np.ndarray, "N 4"]:
    """Boxes of the given widths and heights at uniformly random places fully inside an image of `size`; xywh.

    Units are those of `size` (width, height). A coordinate depends on (seed, draw, box, axis) alone; seed and
    draw count modulo 2^32. A box larger than the image starts at 0.
    """
    return _uniform_draws(wh, size, seed, np.array([draw % 2**32]))[0]


def uniform_band(
    wh: Float[np.ndarray, "N 2"],
    size: Float[np.ndarray, " 2"],
    draws: int = 200,
    seed: int = 0,
    quantiles: tuple[float, float] = (0.05, 0.95),
) -> tuple[float, float]:
    """Two quantiles of the macroscopic correlation (xywh) of uniformly placed boxes of the same sizes.

    (NaN, NaN) for fewer than two boxes. Quantiles interpolate linearly, as numpy's default does.
    """
    boxes = _uniform_draws(wh, size, seed, np.arange(draws))  # (D, N, 4)
    n = boxes.shape[1]
    if n < 2:
        return (float("nan"), float("nan"))
    image = np.repeat(np.arange(draws), n)
    table = BoxTable(
        boxes.reshape(-1, 4),
        image,
        tuple(range(draws)),
        np.tile(size, (draws, 1)),
        np.zeros_like(image),
        {0: "box"},
    )
    low, high = np.nanquantile(macroscopic_correlation(table, report={}), quantiles)
    return float(low), float(high)


def random_layout(
    count: int, side: float, images: int, seed: int = 0, size: tuple[float, float] = (1.0, 1.0)
) -> BoxTable:
    """Images with `count` unrelated boxes each, to see what the statistics show then.

    Widths and heights are uniform in (0, side) parts of the image, places uniform among those fully inside;
    `size` is the image's width and height. Raises ValueError for a side outside (0, 1].
    """
    if not 0 < side <= 1:
        raise ValueError(f"random_layout: side is a part of the image, in (0, 1], not {side}")
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
