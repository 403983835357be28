"""Are boxes of one image more alike than boxes of different images, in Relation DETR's own features?

The macroscopic correlation mixes place and size and hides most of this; the relative geometry that Relation
DETR gives to its decoder asks directly (section "position relation encoder"):

    e(i, j) = log(|x_i - x_j| / w_i + 1), log(|y_i - y_j| / h_i + 1), log(w_i / w_j), log(h_i / h_j)

with centres and sizes normalised to the image size. The last two enter by their absolute values.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from .. import statistics
from .correlation import equal_count_blocks, measured_boxes
from .geometry import iou, xywh_to_xyxy
from .nulls import Permutation, rearranged, shuffle
from .table import BoxTable

FEATURES = ("x offset", "y offset", "|log w ratio|", "|log h ratio|")


@dataclass(frozen=True)
class PairSimilarity:
    """Mean of one feature over box pairs of one image, and over as many pairs of permuted boxes."""

    feature: str
    within: float
    between: float  # mean over the shuffles
    between_std: float  # from shuffle to shuffle
    interval: tuple[float, float]  # central 95 % of within - between, bootstrap over images
    images: int
    pairs: int  # ordered


def _feature_sums(boxes: np.ndarray, blocks: list, images: int) -> Float[np.ndarray, "I 4"]:
    """Sum of each feature over the ordered pairs of different boxes of each image; boxes are cxcywh."""
    sums = np.zeros((images, 4))
    for some, members in blocks:
        centre, side = np.split(boxes.take(members, axis=0), 2, axis=-1)  # (S, K, 2) each
        offset = np.abs(centre[:, :, None] - centre[:, None])  # (S, K, K, 2), zero on the diagonal
        sums[some, :2] = np.log1p(offset / side[:, :, None]).sum(axis=(1, 2))
        ratio = np.abs(np.log(side[:, :, None]) - np.log(side[:, None]))
        sums[some, 2:] = ratio.sum(axis=(1, 2))
    return sums


def pair_similarity(
    table: BoxTable, null: str = "free", shuffles: int = 20, seed: int = 0
) -> tuple[PairSimilarity, ...]:
    """The four features (FEATURES) over pairs of one image, beside pairs of boxes permuted under a null.

    Every ordered pair counts once, so images with many boxes weigh more; the interval draws whole images
    again, each with its pairs. Crowd boxes and boxes with a side of zero are left out (the ratio of sides
    is not defined there). What is permuted is normalised to the own image, under any null. Raises ValueError
    where no image has two such boxes, for an unknown null and for missing image sizes.
    """
    table = table.where(~table.crowd & (table.xywh[:, 2:] > 0).all(axis=1))
    boxes = measured_boxes(table, "cxcywh", normalized=True)
    images = len(table.image_ids)
    blocks = list(equal_count_blocks(table.image, images, np.ones(len(table), bool)))
    if not blocks:
        raise ValueError("pair_similarity: no image has two boxes with a positive width and height")
    count = table.counts
    pairs = count * (count - 1)
    # sums of the features over the pairs of each image, as they are and in every shuffle
    permutation = Permutation.under(null, table)
    within = _feature_sums(boxes, blocks, images)  # (I, 4)
    between = np.stack(
        [_feature_sums(boxes[permutation.source(seed, r)], blocks, images) for r in range(shuffles)]
    )  # (R, I, 4)
    # means over all pairs, and an interval of their difference over images
    level = between.sum(axis=1) / pairs.sum()  # (R, 4)
    several = pairs > 1
    difference = within - between.mean(axis=0)
    return tuple(
        PairSimilarity(
            feature=name,
            within=float(within[:, k].sum() / pairs.sum()),
            between=float(level[:, k].mean()),
            between_std=float(level[:, k].std(ddof=1)) if shuffles > 1 else float("nan"),
            interval=statistics.bootstrap(
                statistics.ratio_of_sums, difference[several, k], pairs[several], seed=seed
            ),
            images=int(several.sum()),
            pairs=int(pairs.sum()),
        )
        for k, name in enumerate(FEATURES)
    )


def overlap_share(
    table: BoxTable, null: str = "free", shuffles: int = 20, seed: int = 0
) -> tuple[float, float]:
    """Share of the box pairs of one image that overlap, and the same after permutation under a null.

    Two boxes overlap where they share an area. Each unordered pair counts once; crowd boxes are left out.
    Raises ValueError where no image has two boxes, for an unknown null and for missing image sizes.
    """
    table = table.where(~table.crowd)
    blocks = list(equal_count_blocks(table.image, len(table.image_ids), np.ones(len(table), bool)))
    if not blocks:
        raise ValueError("overlap_share: no image has two boxes")
    permuted = (shuffle(table, null, seed, repeat).xywh for repeat in range(shuffles))
    return _overlapping(table.xywh, blocks), float(np.mean([_overlapping(xywh, blocks) for xywh in permuted]))


def _overlapping(xywh: Float[np.ndarray, "N 4"], blocks: list) -> float:
    """Share of the pairs within each block's images whose boxes share an area."""
    found = pairs = 0
    for _, members in blocks:
        corners = xywh_to_xyxy(xywh[members])  # (S, K, 4)
        upper = np.triu_indices(members.shape[1], 1)
        common = iou(corners, corners)[:, *upper] > 0  # (S, K (K - 1) / 2)
        found += common.sum()
        pairs += common.size
    return float(found / pairs)


def kept_apart(table: BoxTable, seed: int = 0, repeat: int = 0) -> BoxTable:
    """Boxes permuted between images, then exchanged until no more pairs overlap than in `table`.

    It keeps one thing more than the free null, how often boxes of an image overlap: a difference from it has
    another reason. How far two boxes overlap is not kept. The permutation is `shuffle(table, "free", seed,
    repeat)`; then a box that overlaps another and any other box change places wherever no more pairs
    overlap after that. Crowd boxes take part. Raises ValueError where 10,000 exchanges in a row do not help.
    """
    rng = np.random.default_rng((seed, repeat))
    places = [np.flatnonzero(table.image == image) for image in range(len(table.image_ids))]
    wanted = sum(_overlaps(table.xywh[place]).sum() for place in places)
    table = shuffle(table, "free", seed, repeat)
    source, number = np.arange(len(table)), np.zeros(len(table), int)  # box, its overlaps, in each place
    for place in places:
        number[place] = _overlaps(table.xywh[place])
    tries = 0
    while number.sum() > wanted:
        # two places change their boxes
        pair = [rng.choice(np.flatnonzero(number)), rng.integers(len(table))]
        trial = source.copy()
        trial[pair] = source[pair[::-1]]
        # and keep them unless more pairs overlap in their images; as many leads out of dead ends
        here = [places[image] for image in np.unique(table.image[pair])]
        after = np.concatenate([_overlaps(table.xywh[trial[place]]) for place in here])
        fewer = number[np.concatenate(here)].sum() - after.sum()
        if fewer >= 0:
            source, number[np.concatenate(here)] = trial, after
        tries = 0 if fewer > 0 else tries + 1
        if tries == 10_000:
            raise ValueError("kept_apart: no exchange of two boxes makes them overlap as seldom as before")
    return rearranged(table, source)


def _overlaps(xywh: Float[np.ndarray, "N 4"]) -> Int[np.ndarray, " N"]:
    """With how many of the others each box shares an area."""
    corners = xywh_to_xyxy(xywh)
    common = iou(corners, corners) > 0
    np.fill_diagonal(common, False)
    return common.sum(axis=1)
