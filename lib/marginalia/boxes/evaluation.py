"""COCO evaluation of detections, for a whole data set and for each image. pycocotools does the matching.

The definitions and traps are those of section 7 of the Relation DETR sheet. What pycocotools writes as -1
(nothing to measure) is NaN here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float, Int

from .pycoco import align, cells_of, run_coco, silenced
from .table import MAX_AREA, BoxTable

if TYPE_CHECKING:
    import pandas as pd
    from pycocotools.cocoeval import COCOeval

COCO_IOUS = np.linspace(0.5, 0.95, 10)  # T thresholds; linspace as in pycocotools, arange misses by an ulp
RECALLS = np.linspace(0.0, 1.0, 101)  # R levels at which precision is read
# pixels²
AREAS = {"all": (0, MAX_AREA), "small": (0, 32**2), "medium": (32**2, 96**2), "large": (96**2, MAX_AREA)}


def evaluate(ground_truth: BoxTable, detections: BoxTable) -> pd.Series:
    """The twelve COCO figures of a data set, each in [0, 1], higher is better.

    `AP` (mean over IoU .50:.05:.95), `AP50`, `AP75`, `AP_small`, `AP_medium`, `AP_large` (ground truth area
    below 32², between, above 96² pixels²), `AR1`, `AR10`, `AR100` (recall with so many detections an image
    and category), `AR_small`, `AR_medium`, `AR_large`.
    The area of a ground truth is `ground_truth.area` where the table has it (COCO: the mask's), else w * h.
    A detection of width or height 0 is a false positive.
    Crowd ground truths are neither found nor missed, and a detection on one costs nothing.

    NaN where no ground truth falls under a figure. Images are matched by id. ValueError when detections have
    no score, name an image or category that the ground truth does not know, or hold a number that is not
    finite; BoxWarning where an image has more than 100 detections of one category: the others do not count.

    >>> images = {"image_ids": ("a",), "sizes": [(100, 80)], "names": {1: "cup"}}
    >>> objects = BoxTable([(10, 10, 40, 20), (60, 60, 20, 20)], image=[0, 0], category=[1, 1], **images)
    >>> found = BoxTable([(10, 10, 40, 20)], image=[0], category=[1], score=[0.9], **images)
    >>> evaluate(objects, found)[["AP", "AP50", "AR100"]].round(3).to_dict()
    {'AP': 0.505, 'AP50': 0.505, 'AR100': 0.5}
    """
    import pandas as pd

    # match detections and ground truths, for every image, category, IoU threshold and area
    kept = [1, 10, 100]
    run = run_coco(ground_truth, align(ground_truth, detections), COCO_IOUS, list(AREAS.values()), kept)
    with silenced():
        run.accumulate()
    precision = run.eval["precision"]  # (T, R, K, A, M): IoU, recall, category, area, detections kept
    recall = run.eval["recall"]  # (T, K, A, M)
    # each figure is a mean over some of these axes
    figures = {"AP": precision[..., 0, 2], "AP50": precision[0, ..., 0, 2], "AP75": precision[5, ..., 0, 2]}
    figures |= {f"AP_{name}": precision[..., a, 2] for a, name in enumerate(AREAS) if a}
    figures |= {f"AR{most}": recall[..., 0, m] for m, most in enumerate(kept)}
    figures |= {f"AR_{name}": recall[..., a, 2] for a, name in enumerate(AREAS) if a}
    return pd.Series({name: _mean_defined(values) for name, values in figures.items()}, name="COCO")


def evaluate_images(
    ground_truth: BoxTable,
    detections: BoxTable,
    score_threshold: float = 0.5,
    iou_threshold: float = 0.5,
) -> pd.DataFrame:
    """What a detector does on each single image: one row an image of `ground_truth`, in its order.

    From all detections, whatever their score:
      AP, AP50   as in `evaluate`, with this image as the whole data set: mean over the categories that it has
                 ground truth of. [0, 1]. NaN without non-crowd ground truth: a clean image is never rewarded
                 or punished. False positives of absent categories cost AP nothing. Not additive: the mean
                 over images is not the AP of the data set, where all images share one ranking.
    From detections with score >= `score_threshold`, matched at `iou_threshold` (tau) by falling score within
    each category, over all categories that ground truth or detections have; TP, FP, FN are their counts:
      F1         2 TP / (2 TP + FP + FN), [0, 1]; NaN when all three counts are zero.
      LRP        (sum over TP of (1 - IoU) / (1 - tau) + FP + FN) / (TP + FP + FN), the localisation recall
                 precision error, [0, 1], lower is better; 0: exact boxes only, 1: no TP; NaN as F1.
      mean_iou   mean IoU of the true positives, [tau, 1]; NaN without any.
      true_positives, false_positives, false_negatives
      absent_class_false_positives   those false positives whose category has no non-crowd ground truth in
                                     the image
    Counts: `ground_truths` (non-crowd), `detections` (any score), `categories` (with non-crowd ground truth).

    Except in `detections`, at most 100 an image and category count, highest scores first, and detections on
    crowd ground truths count neither way. The index is `image_id`. Errors and warnings as in `evaluate`.

    >>> images = {"image_ids": ("a", "b"), "sizes": [(100, 80)] * 2, "names": {1: "cup", 2: "jug"}}
    >>> objects = BoxTable([(10, 10, 40, 20), (60, 60, 20, 20)], image=[0, 1], category=[1, 1], **images)
    >>> boxes = [(10, 10, 40, 20), (60, 60, 20, 20), (60, 60, 25, 20)]
    >>> found = BoxTable(boxes, image=[0, 0, 1], category=[1, 2, 1], score=[0.9, 0.8, 0.7], **images)
    >>> evaluate_images(objects, found)[["AP", "F1", "LRP", "mean_iou"]].round(3).reset_index()
      image_id   AP     F1  LRP  mean_iou
    0        a  1.0  0.667  0.5       1.0
    1        b  0.7  1.000  0.4       0.8
    """
    import pandas as pd

    # match at ten IoU thresholds for AP, and at one more for the counts
    detections = align(ground_truth, detections)
    ious = np.append(COCO_IOUS, iou_threshold)
    run = run_coco(ground_truth, detections, ious, [AREAS["all"]], [100])
    cells = cells_of(run, ground_truth)
    ap = _average_precisions(cells, len(COCO_IOUS))  # (I, T)
    found = _matches(run, cells)

    # true and false positives with a high enough score, counted in each image
    sure = found.score >= score_threshold

    def per_image(which, weights=1.0):
        return np.bincount(
            found.image, np.where(sure & which, weights, 0.0), minlength=len(found.ground_truths)
        )

    tp, fp, absent = (per_image(which).astype(int) for which in (found.correct, found.wrong, found.absent))
    fn = found.ground_truths - tp
    iou_sum = per_image(found.correct, found.iou)
    columns = {
        "AP": ap.mean(1),
        "AP50": ap[:, 0],
        "F1": _f1(tp, fp, fn),
        "LRP": _lrp(tp, fp, fn, iou_sum, iou_threshold),
        "mean_iou": _divide(iou_sum, tp),
        "ground_truths": found.ground_truths,
        "detections": detections.counts,
        "true_positives": tp,
        "false_positives": fp,
        "false_negatives": fn,
        "absent_class_false_positives": absent,
        "categories": found.categories,
    }
    return pd.DataFrame(columns, index=pd.Index(list(ground_truth.image_ids), name="image_id"))


def score_sweep(ground_truth: BoxTable, detections: BoxTable, iou_threshold: float = 0.5) -> pd.DataFrame:
    """F1 and LRP of a whole data set at every score threshold that changes them; index `score`, falling.

    Columns true_positives, false_positives, false_negatives, F1, LRP: counts are pooled over images and
    categories, definitions as in `evaluate_images`. The smallest LRP is the optimum with one threshold for
    all categories; the published optimal LRP (oLRP) sweeps each category on its own and takes the mean.
    No rows without detections. Errors and warnings as in `evaluate`.
    """
    import pandas as pd

    run = run_coco(ground_truth, align(ground_truth, detections), [iou_threshold], [AREAS["all"]], [100])
    found = _matches(run, cells_of(run, ground_truth))
    # counts so far at the last detection of each score: equal scores come in together
    order = np.argsort(-found.score, kind="stable")
    score = found.score[order]
    last = np.flatnonzero(np.diff(score, append=-np.inf))
    tp, fp = (np.cumsum(which[order])[last] for which in (found.correct, found.wrong))
    iou_sum = np.cumsum(np.where(found.correct, found.iou, 0.0)[order])[last]
    fn = found.ground_truths.sum() - tp
    columns = {
        "true_positives": tp,
        "false_positives": fp,
        "false_negatives": fn,
        "F1": _f1(tp, fp, fn),
        "LRP": _lrp(tp, fp, fn, iou_sum, iou_threshold),
    }
    return pd.DataFrame(columns, index=pd.Index(score[last], name="score"))


def rank_images(frame: pd.DataFrame, min_ground_truths: int = 1, min_categories: int = 1) -> pd.DataFrame:
    """Rows of `evaluate_images` by falling AP; ties by `mean_iou`, `ground_truths`, then the order given.

    Images with AP NaN, fewer ground truths or fewer categories than asked are left out; `attrs["left_out"]`
    of the result says how many for each of the three reasons (the first that applies).

    >>> import pandas as pd
    >>> columns = {"AP": [0.5, 0.7, 0.7], "mean_iou": [0.9, 0.8, 0.9], "ground_truths": [3, 2, 1]}
    >>> frame = pd.DataFrame(columns | {"categories": [1, 1, 1]}, index=["a", "b", "c"])
    >>> rank_images(frame).index.tolist()
    ['c', 'b', 'a']
    >>> rank_images(frame, min_ground_truths=2).index.tolist()
    ['b', 'a']
    """
    undefined = frame["AP"].isna()
    few_objects = ~undefined & (frame["ground_truths"] < min_ground_truths)
    few_categories = ~undefined & ~few_objects & (frame["categories"] < min_categories)
    chosen = frame[~(undefined | few_objects | few_categories)]
    by = ["AP", "mean_iou", "ground_truths"]
    # equal values must tie although sums of different length round differently
    ranked = chosen.sort_values(by, ascending=False, na_position="last", key=lambda column: column.round(12))
    ranked.attrs["left_out"] = {
        "AP undefined": int(undefined.sum()),
        f"fewer than {min_ground_truths} ground truths": int(few_objects.sum()),
        f"fewer than {min_categories} categories": int(few_categories.sum()),
    }
    return ranked


def quantile_images(
    frame: pd.DataFrame, quantiles: Sequence[float] = (0, 0.25, 0.5, 0.75, 1)
) -> pd.DataFrame:
    """The images that stand at the given quantiles of `rank_images(frame)`, with a first column `quantile`.

    0 is the lowest AP, 1 the highest. The nearest rank is taken, so that each row is a real image; one image
    may stand for two quantiles when there are few. Unlike the top of the ranking, this is no cherry-picking.
    ValueError when no image has an AP or a quantile is outside [0, 1].
    """
    if not all(0 <= q <= 1 for q in quantiles):
        raise ValueError(f"quantile_images: quantiles must lie in [0, 1], not {tuple(quantiles)}")
    ranked = rank_images(frame)
    if ranked.empty:
        raise ValueError("quantile_images: no image has a defined AP; is there any non-crowd ground truth?")
    rows = [round((1 - q) * (len(ranked) - 1)) for q in quantiles]
    chosen = ranked.iloc[rows].copy()
    chosen.insert(0, "quantile", list(quantiles))
    return chosen


def average_precision(
    matched: Bool[np.ndarray, "T D"], ignored: Bool[np.ndarray, "T D"], ground_truths: int
) -> Float[np.ndarray, " T"]:
    """COCO's average precision, [0, 1], of D detections in order of falling score, for T IoU thresholds.

    `matched`: the detection found a ground truth; `ignored`: it counts neither way. `ground_truths` > 0 can
    be found. Precision is made monotone and read at 101 recalls: one ground truth, found at rank r, is 1 / r.
    """
    # precision after each detection
    tp = np.cumsum(matched & ~ignored, axis=1, dtype=float)  # (T, D)
    fp = np.cumsum(~matched & ~ignored, axis=1, dtype=float)
    precision = tp / np.maximum(tp + fp, 1)  # pycocotools adds an ulp below, so that 1 becomes 1 - 2e-16
    # the best precision at this recall or a higher one
    precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    # read where each recall is reached first, and as zero where it never is
    precision = np.pad(precision, ((0, 0), (0, 1)))
    first = (tp[:, :, None] / ground_truths < RECALLS).sum(axis=1)  # (T, R)
    return np.take_along_axis(precision, first, axis=1).mean(1)


@dataclass(frozen=True)
class _Matches:
    """Which of D detections are correct at one IoU threshold, and what there was to find in I images."""

    image: Int[np.ndarray, " D"]  # index into the images of the ground truth
    score: Float[np.ndarray, " D"]
    iou: Float[np.ndarray, " D"]  # with the matched ground truth; NaN where not correct
    correct: Bool[np.ndarray, " D"]
    wrong: Bool[np.ndarray, " D"]  # neither correct nor wrong: on a crowd ground truth
    absent: Bool[np.ndarray, " D"]  # wrong, and the image has no ground truth of the category
    ground_truths: Int[np.ndarray, " I"]
    categories: Int[np.ndarray, " I"]


def _matches(run: COCOeval, cells: np.ndarray) -> _Matches:
    """Read the matches at the last IoU threshold of the run."""
    ground_truths = np.zeros(cells.shape, int)  # (K, I)
    rows = [np.empty((0, 6))]
    for (k, i), cell in np.ndenumerate(cells):
        if cell is None:
            continue
        # a detection that is matched to a crowd ground truth is ignored
        ground_truths[k, i] = np.count_nonzero(cell["gtIgnore"] == 0)
        match, ignored = cell["dtMatches"][-1], cell["dtIgnore"][-1]
        correct, wrong = (match > 0) & ~ignored, (match == 0) & ~ignored
        absent = wrong & (ground_truths[k, i] == 0)
        # the IoU of a true positive with the ground truth that it found
        iou = np.full(len(match), np.nan)
        if correct.any():
            # run.ious has the detections by score and the ground truths as listed, that is by ascending id
            column = np.searchsorted(np.sort(cell["gtIds"]), match[correct])
            iou[correct] = run.ious[cell["image_id"], cell["category_id"]][correct, column]
        image = np.full(len(match), i)
        rows.append(np.column_stack([image, cell["dtScores"], iou, correct, wrong, absent]))
    image, score, iou, *flags = np.concatenate(rows).T
    there = ground_truths.sum(0), (ground_truths > 0).sum(0)
    return _Matches(image.astype(int), score, iou, *(flag > 0 for flag in flags), *there)


def _average_precisions(cells: np.ndarray, thresholds: int) -> Float[np.ndarray, "I T"]:
    """AP of each image at the first `thresholds` IoUs, mean over its categories; NaN without ground truth."""
    images = cells.shape[1]
    total, categories = np.zeros((images, thresholds)), np.zeros((images, 1))
    for (_, i), cell in np.ndenumerate(cells):
        ground_truths = 0 if cell is None else np.count_nonzero(cell["gtIgnore"] == 0)
        if ground_truths:
            matched, ignored = (cell[name][:thresholds].astype(bool) for name in ("dtMatches", "dtIgnore"))
            total[i] += average_precision(matched, ignored, ground_truths)
            categories[i] += 1
    return _divide(total, categories)


def _mean_defined(values: np.ndarray) -> float:
    """Mean of what pycocotools could measure; -1 stands for the rest."""
    defined = values[values > -1]
    return float(defined.mean()) if defined.size else float("nan")


def _divide(above, below) -> np.ndarray:
    """Quotient; NaN where nothing was counted."""
    return np.divide(above, below, out=np.full(np.shape(above), np.nan), where=np.asarray(below) > 0)


def _f1(tp, fp, fn) -> np.ndarray:
    return _divide(2.0 * tp, 2 * tp + fp + fn)


def _lrp(tp, fp, fn, iou_sum, tau: float) -> np.ndarray:
    return _divide((tp - iou_sum) / (1 - tau) + fp + fn, tp + fp + fn)
