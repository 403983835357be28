"""What the macroscopic correlation would be if the boxes of an image had nothing to do with each other.

Boxes are permuted between images, and every image keeps its number of boxes. What may be permuted with
what is the null, and it is part of the claim:

    free       any box with any box
    count      boxes of images that hold similar numbers of boxes: 1, 2, 3-4, 5-8, 9-16, 17 and more
    category   boxes of the same category
    size       boxes of images of exactly the same width and height
    rescaled   any box with any box, normalised to the image size, so that all stay inside

The other four move pixels as they are, which can put a box partly outside the image that receives it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Float, Int, UInt64

from .. import statistics
from .correlation import (
    equal_count_blocks,
    grouped_order,
    known_sizes,
    mean_absolute,
    measured_boxes,
    unit_profiles,
    usable_boxes,
)
from .table import BoxTable

NULLS = ("free", "count", "category", "size", "rescaled")
COUNT_EDGES = (2, 3, 5, 9, 17)  # first count of each stratum after the images with a single box

_WORD = 2**64
_GOLDEN = 0x9E3779B97F4A7C15


def _mix(z: UInt64[np.ndarray, " N"]) -> UInt64[np.ndarray, " N"]:
    """The finaliser of splitmix64: a bijection of the 64-bit numbers that turns counters into noise."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def _hash(seed: int, repeat: int, boxes: int) -> UInt64[np.ndarray, " N"]:
    """One 64-bit number for every (seed, repeat, box), each from its own counter."""
    start = _mix(np.array([seed % _WORD], np.uint64))
    start = _mix(start + np.uint64((repeat + 1) * _GOLDEN % _WORD))
    return _mix(start + np.arange(1, boxes + 1, dtype=np.uint64) * np.uint64(_GOLDEN))


@dataclass(frozen=True)
class Permutation:
    """Which boxes may change places under a null, and in which order they do."""

    group: UInt64[np.ndarray, " N"]  # boxes with the same number may change places
    slots: Int[np.ndarray, " N"]  # the boxes' places, sorted by group

    @classmethod
    def under(cls, null: str, table: BoxTable) -> Permutation:
        """Raises ValueError for an unknown null, and where image sizes that it needs are missing."""
        if null not in NULLS:
            raise ValueError(f"null must be one of {', '.join(NULLS)}, not {null!r}")
        if null in ("size", "rescaled"):
            known_sizes(table, f"null {null!r}")
        # number the groups that the null names; under "free" and "rescaled" all boxes are one group
        if null == "count":
            group = np.digitize(table.counts, COUNT_EDGES)[table.image]
        elif null == "category":
            group = np.unique(table.category, return_inverse=True)[1]
        elif null == "size":
            group = np.unique(table.sizes, axis=0, return_inverse=True)[1].reshape(-1)[table.image]
        else:
            group = np.zeros(len(table), np.int64)
        return cls(group.astype(np.uint64), grouped_order(group))

    def source(self, seed: int, repeat: int) -> Int[np.ndarray, " N"]:
        """For each place the box that comes to it: boxes of a group in the order of their hashes.

        The order depends on (seed, repeat) and the boxes alone, never on how the repeats are shared out.
        """
        # one number sorts by group and then by hash: 20 bits are enough for the groups of any data set
        key = self.group << np.uint64(44) | _hash(seed, repeat, len(self.group)) >> np.uint64(20)
        # the k-th box of that order comes to the k-th slot
        source = np.empty(len(key), np.int64)
        source[self.slots] = np.argsort(key)
        return source


def shuffle(table: BoxTable, null: str, seed: int, repeat: int) -> BoxTable:
    """The same images with the boxes permuted between them under a null (see the module's head).

    A box carries its category, crowd flag, score and area; every image keeps its number of boxes. Crowd
    boxes take part like any others: leave them out first with `table.where(~table.crowd)`. The result
    depends on the table, `seed` and `repeat` alone. Raises ValueError for an unknown null and for missing
    image sizes.

    >>> boxes = [(10, 20, 30, 40), (40, 30, 20, 10), (15, 10, 40, 20), (5, 5, 9, 9)]
    >>> table = BoxTable(boxes, [0, 0, 1, 1], ("a", "b"), [(100, 80)] * 2, [1, 2, 2, 1], {1: "cup", 2: "jug"})
    >>> moved = shuffle(table, "category", seed=0, repeat=0)
    >>> moved.image.tolist(), moved.category.tolist()
    ([0, 0, 1, 1], [1, 2, 2, 1])
    """
    source = Permutation.under(null, table).source(seed, repeat)
    moved = rearranged(table, source)
    if null == "rescaled":
        stretch = table.sizes[table.image] / table.sizes[table.image[source]]  # (N, 2)
        area = None if table.area is None else moved.area * stretch.prod(axis=1)
        moved = replace(moved, xywh=moved.xywh * np.tile(stretch, 2), area=area)
    return moved


def rearranged(table: BoxTable, source: Int[np.ndarray, " N"]) -> BoxTable:
    """The table with box source[k], and all that belongs to it, in the place of box k."""
    columns = ("xywh", "category", "crowd", "score", "area")
    return replace(table, **{n: v[source] for n in columns if (v := getattr(table, n)) is not None})


@dataclass(frozen=True)
class ExcessCorrelation:
    """Macroscopic correlation of a data set beside a null.

    The interval is the central 95 % of the mean excess over images drawn again with replacement: it says
    how much the result would move with other images of the same kind. It does not cover the choice of the
    null, errors of annotation, or the finite number of shuffles, which adds a standard error of null_std /
    sqrt(shuffles). The p-value is two-sided and cannot be smaller than 1 / (shuffles + 1); with many images
    any excess is "significant", so read excess and effect size first.
    """

    null: str
    observed: float  # mean over images
    null_mean: float  # mean over shuffles of the mean over images
    null_std: float  # standard deviation of that mean from shuffle to shuffle
    excess: float  # observed - null_mean
    interval: tuple[float, float]  # of the excess, over images
    p_value: float
    effect_size: float  # excess in standard deviations of the images' correlations
    images: int  # with two or more usable boxes
    shuffles: int
    # excess of each image over its own null mean, or NaN
    per_image: Float[np.ndarray, " I"] = field(repr=False)


def null_correlations(
    table: BoxTable,
    null: str,
    repeats: range,
    seed: int = 0,
    box_format: str = "xywh",
    normalized: bool = False,
) -> Iterator[Float[np.ndarray, " I"]]:
    """Macroscopic correlation of every image in one shuffle after another; all boxes take part.

    What is permuted is what is measured: with `normalized`, boxes normalised to their own image, so that
    "free" and "rescaled" are then the same. The shuffles run in threads and come out in order.
    """
    # what no shuffle changes: the boxes, their points on the sphere, the places in each image
    permutation = Permutation.under(null, table)
    images = len(table.image_ids)
    stretch = null == "rescaled" and not normalized
    boxes = measured_boxes(table, box_format, normalized or stretch)
    room = np.tile(table.sizes[table.image], 2) if stretch else None
    profile, usable = unit_profiles(boxes)
    blocks = list(equal_count_blocks(table.image, images, usable))

    def one(repeat: int) -> Float[np.ndarray, " I"]:
        source = permutation.source(seed, repeat)
        # boxes that move as they are keep their points on the sphere
        if not stretch and usable.all():
            return mean_absolute(profile.take(source, axis=0), blocks, images)
        # boxes that take the size of their new image have new points, and may lose their variance
        moved = boxes[source] * room if stretch else boxes[source]
        moved_profile, varies = unit_profiles(moved)
        here = blocks if (varies == usable).all() else list(equal_count_blocks(table.image, images, varies))
        return mean_absolute(moved_profile, here, images)

    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:  # sorting and products leave the interpreter lock
        yield from pool.map(one, repeats)


def excess_correlation(
    table: BoxTable,
    null: str = "count",
    shuffles: int = 200,
    bootstrap: int = 1000,
    seed: int = 0,
    box_format: str = "xywh",
    normalized: bool = False,
) -> ExcessCorrelation:
    """How far the mean macroscopic correlation lies above that of boxes permuted between images.

    Crowd boxes and boxes without variance (BoxWarning) are left out before; all others are permuted, those
    of images with one box too. Raises ValueError where no image has two usable boxes, for unknown names, and
    for missing image sizes. ExcessCorrelation says what the numbers mean.

    >>> from marginalia.boxes.uniform import random_layout
    >>> found = excess_correlation(random_layout(count=5, side=0.3, images=100), "free", shuffles=20)
    >>> found.images, found.shuffles, abs(found.excess) < 0.05  # unrelated boxes: chance
    (100, 20, True)
    """
    # the observed mean over images
    profile, usable = usable_boxes(table, box_format, normalized)
    table = table.where(usable)
    images = len(table.image_ids)
    blocks = list(equal_count_blocks(table.image, images, np.ones(len(table), bool)))
    observed = mean_absolute(profile[usable], blocks, images)
    measured = np.isfinite(observed)
    if not measured.any():
        crowd = (
            ": all boxes are crowd regions, which MC leaves out" if len(table) and table.crowd.all() else ""
        )
        raise ValueError(f"excess_correlation: no image has two usable boxes{crowd}")

    # the same under the null: the mean over images of each shuffle, the mean over shuffles of each image
    means = np.empty(shuffles)
    total, seen = np.zeros(images), np.zeros(images)
    runs = null_correlations(table, null, range(shuffles), seed, box_format, normalized)
    for repeat, value in enumerate(runs):
        finite = np.isfinite(value)  # only stretching can take the variance of a box away
        means[repeat] = value[finite].mean()
        total += np.where(finite, value, 0)
        seen += finite
    per_image = observed - total / np.where(seen > 0, seen, np.nan)

    # difference, spread over images, interval and p-value
    value, null_mean = float(observed[measured].mean()), float(means.mean())
    spread = observed[measured].std(ddof=1) if measured.sum() > 1 else np.nan
    return ExcessCorrelation(
        null=null,
        observed=value,
        null_mean=null_mean,
        null_std=float(means.std(ddof=1)) if shuffles > 1 else float("nan"),
        excess=value - null_mean,
        interval=statistics.bootstrap(
            np.mean, per_image[np.isfinite(per_image)], resamples=bootstrap, seed=seed
        ),
        p_value=_two_sided(value, means),
        effect_size=float((value - null_mean) / spread) if spread > 0 else float("nan"),
        images=int(measured.sum()),
        shuffles=shuffles,
        per_image=per_image,
    )


def _two_sided(value: float, null_values: Float[np.ndarray, " R"]) -> float:
    """(1 + number of null values as far from their mean as the observed one) / (R + 1)."""
    centre = null_values.mean()
    # a shuffle that changes nothing must count as equally far, although its sum is rounded another way
    as_far = np.abs(null_values - centre) >= abs(value - centre) - 1e-12
    return float((1 + as_far.sum()) / (len(null_values) + 1))
