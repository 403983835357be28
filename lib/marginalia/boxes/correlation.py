"""Pearson correlation between the four numbers of boxes, and its mean over an image (Relation DETR).

A box minus its own mean lies in three dimensions; scaled to length one it is a point on a sphere, and the
correlation of two boxes is the cosine between their points. From this follow the formula used here, the
floor of chance (E|rho| = 1/2 for unrelated entries) and the lower bound (N - 3) / (3 (N - 1)) for N > 3.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, MutableMapping

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.sparse import csr_matrix

from .geometry import xywh_to_cxcywh, xywh_to_xyxy
from .table import BoxTable, BoxWarning, Issue

BOX_FORMATS = ("xywh", "cxcywh", "xyxy")
ZERO_VARIANCE = "zero variance, no correlation"

_BLOCK = 100_000  # correlations held at a time; fits a second-level cache, and bounds the memory


def unit_profiles(boxes: Float[np.ndarray, "N 4"]) -> tuple[Float[np.ndarray, "N 3"], Bool[np.ndarray, " N"]]:
    """Points on the sphere whose cosines are the boxes' correlations, and which boxes have one.

    A box whose four numbers are equal (to 1e-12 of its length) has no variance and no point: a row of zeros.
    """
    # take the mean away: coordinates in an orthonormal basis of the vectors with mean zero (Helmert's),
    # written out, because a product with so thin a matrix costs several times as much
    x, y, w, h = boxes.T
    columns = (x - y) / 2**0.5, (x + y - 2 * w) / 6**0.5, (x + y + w - 3 * h) / 12**0.5
    # scale to length one, but for boxes whose four numbers are equal up to rounding
    length = np.sqrt(sum(column**2 for column in columns))
    usable = length > 1e-12 * np.sqrt(np.einsum("nk,nk->n", boxes, boxes))
    scale = 1 / np.where(usable, length, np.inf)
    profile = np.empty((len(boxes), 3))
    for k, column in enumerate(columns):
        profile[:, k] = column * scale
    return profile, usable


def pearson(xywh: Float[np.ndarray, "N 4"]) -> Float[np.ndarray, "N N"]:
    """Correlation of every two boxes over their four numbers; [-1, 1], without unit.

    Any four numbers a box will do, not just xywh. Rows and columns of boxes whose numbers are all equal are
    NaN: they have no variance. The edge weights of Relation DETR's graph of boxes are the absolute values.
    ValueError for another shape.

    >>> pearson([(10, 20, 30, 40), (11, 21, 31, 41), (40, 30, 20, 10)]).round(2)
    array([[ 1.,  1., -1.],
           [ 1.,  1., -1.],
           [-1., -1.,  1.]])
    """
    boxes = np.asarray(xywh, np.float64)
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ValueError(f"pearson: expected N boxes of four numbers, (N, 4), not {boxes.shape}")
    profile, usable = unit_profiles(boxes)
    rho = np.clip(profile @ profile.T, -1, 1)  # rounding alone goes beyond 1
    rho[~usable] = rho[:, ~usable] = np.nan
    return rho


def _whereabouts(table: BoxTable, box: int) -> str:
    return f"box {box}, in image {table.image_ids[table.image[box]]!r}"


def measured_boxes(table: BoxTable, box_format: str, normalized: bool) -> Float[np.ndarray, "N 4"]:
    """The boxes in the asked format: in pixels, or normalised to the width and height of their own image.

    Raises ValueError for an unknown format, boxes that are not finite, and where a needed size is missing.
    """
    if box_format not in BOX_FORMATS:
        raise ValueError(f"box_format must be one of {', '.join(BOX_FORMATS)}, not {box_format!r}")
    if not np.isfinite(table.xywh).all():
        bad = int(np.flatnonzero(~np.isfinite(table.xywh).all(axis=1))[0])
        raise ValueError(f"{_whereabouts(table, bad)}, is not finite: {table.xywh[bad]}")
    boxes = table.xywh
    if normalized:
        boxes = boxes / np.tile(known_sizes(table, "normalized=True")[table.image], 2)
    turn = {"cxcywh": xywh_to_cxcywh, "xyxy": xywh_to_xyxy}.get(box_format)
    return boxes if turn is None else turn(boxes)


def known_sizes(table: BoxTable, purpose: str) -> Float[np.ndarray, "I 2"]:
    """Image sizes in pixels; ValueError where an image that holds boxes has none."""
    missing = np.flatnonzero(~(table.sizes > 0).all(axis=1) & (table.counts > 0))
    if len(missing):
        first = table.image_ids[missing[0]]
        raise ValueError(
            f"{purpose} needs image sizes, but {len(missing)} images with boxes have none, first {first!r}; "
            "give the sizes (read_boxes takes sizes=), or choose a measure that needs none"
        )
    return table.sizes


def grouped_order(group: Int[np.ndarray, " N"]) -> Int[np.ndarray, " N"]:
    """Indices that put equal groups together, in their old order inside; groups are integers from 0 up."""
    if not len(group):
        return np.zeros(0, np.int64)
    # rows of a sparse matrix are filled by counting, six times faster than a stable argsort
    index = np.arange(len(group))
    return csr_matrix((np.ones(len(group), bool), (group, index))).indices


def equal_count_blocks(
    image: Int[np.ndarray, " N"], images: int, usable: Bool[np.ndarray, " N"]
) -> Iterator[tuple[Int[np.ndarray, " S"], Int[np.ndarray, "S K"]]]:
    """Images with the same number K >= 2 of usable boxes: (indices of images, indices of their boxes).

    A block holds so many images that K * K correlations each stay within a fixed memory.
    """
    chosen = np.flatnonzero(usable)
    image = image[chosen]
    count = np.bincount(image, minlength=images)
    first = np.cumsum(count) - count
    order = chosen[grouped_order(image)]  # boxes, image by image
    by_count = grouped_order(count)  # images, those with few boxes first
    edges = np.searchsorted(count[by_count], np.arange(count.max(initial=0) + 2))
    for k in range(2, len(edges) - 1):
        members = by_count[edges[k] : edges[k + 1]]  # all images with k boxes
        step = max(1, _BLOCK // k**2)
        for start in range(0, len(members), step):
            some = members[start : start + step]
            yield some, order.take(first[some][:, None] + np.arange(k))


def mean_absolute(
    profile: Float[np.ndarray, "N 3"], blocks: Iterable, images: int
) -> Float[np.ndarray, " I"]:
    """Mean |cosine| over pairs of different points of each image; NaN for images in no block."""
    result = np.full(images, np.nan)
    for some, members in blocks:
        k = members.shape[1]
        points = profile.take(members, axis=0)  # (S, K, 3); three times faster than profile[members]
        cosine = points @ points.transpose(0, 2, 1)  # (S, K, K)
        total = np.abs(cosine, out=cosine).reshape(len(some), -1).sum(axis=1)
        mean = (total - k) / (k * (k - 1))  # without the diagonal, which is ones
        result[some] = np.minimum(mean, 1)  # rounding alone goes beyond 1
    return result


def usable_boxes(
    table: BoxTable,
    box_format: str,
    normalized: bool,
    report: MutableMapping[str, Issue] | None = None,
) -> tuple[Float[np.ndarray, "N 3"], Bool[np.ndarray, " N"]]:
    """Unit profiles of all boxes, and which take part: not crowd, and with a variance."""
    profile, varies = unit_profiles(measured_boxes(table, box_format, normalized))
    flat = np.flatnonzero(~table.crowd & ~varies)
    if len(flat):
        issue = Issue(len(flat), False, _whereabouts(table, flat[0]))
        if report is None:
            warnings.warn(BoxWarning(f"{ZERO_VARIANCE}: {issue}"), stacklevel=3)
        else:
            report[ZERO_VARIANCE] = issue
    return profile, ~table.crowd & varies


def macroscopic_correlation(
    table: BoxTable,
    box_format: str = "xywh",
    normalized: bool = False,
    report: MutableMapping[str, Issue] | None = None,
) -> Float[np.ndarray, " I"]:
    """Mean |Pearson correlation| over the pairs of different boxes of each image: MC of Relation DETR.

    `box_format` says which four numbers (the paper's code: "xywh"), `normalized` divides them by the image's
    width and height. Crowd boxes are left out; in the paper's code they take part, as they do here after
    `dataclasses.replace(table, crowd=None)`. In [0, 1], and at least (N - 3) / (3 (N - 1)); NaN for images
    with fewer than two usable boxes. A box whose four numbers are equal has no correlation: it is left out,
    and counted in `report` when a mapping is given, in a BoxWarning otherwise. Raises ValueError for an
    unknown format, boxes that are not finite, and needed sizes that are missing.

    >>> boxes = [(10, 20, 30, 40), (40, 30, 20, 10), (15, 10, 40, 20), (5, 5, 9, 9)]
    >>> table = BoxTable(boxes, [0, 0, 0, 1], ("a", "b"), [(100, 80)] * 2, [1] * 4, {1: "cup"})
    >>> macroscopic_correlation(table).round(3)
    array([0.628,   nan])
    """
    profile, usable = usable_boxes(table, box_format, normalized, report)
    images = len(table.image_ids)
    return mean_absolute(profile, equal_count_blocks(table.image, images, usable), images)
