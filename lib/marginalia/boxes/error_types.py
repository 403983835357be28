"""What is wrong with each detection, what became of each object, and what each kind of error costs.

The kinds are those of Bolya et al., "TIDE: A General Toolbox for Identifying Object Detection Errors", ECCV
2020, and so is the idea to price a kind by the AP that its repair would bring.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from .evaluation import average_precision
from .geometry import iou, xywh_to_xyxy
from .table import BoxTable

if TYPE_CHECKING:
    import pandas as pd

MATCH = 0.5  # IoU from which a box fits an object
TOUCH = 0.1  # IoU from which a box has to do with an object at all
ERRORS = ("class", "location", "both", "duplicate", "background")  # of a detection; else it is "right"
FATES = ("found", "class", "location", "missed")  # of an object


@dataclass(frozen=True)
class Verdicts:
    """What became of D detections and T objects, in the order of their tables."""

    kind: Shaped[np.ndarray, " D"]  # "right" or one of ERRORS
    about: Int[np.ndarray, " D"]  # index of the object that the detection is about; -1 for background
    iou: Float[np.ndarray, " D"]  # with that object; 0 for background
    fate: Shaped[np.ndarray, " T"]  # one of FATES


def error_types(ground_truth: BoxTable, detections: BoxTable) -> Verdicts:
    """Name what is wrong with each detection of a data set, and what each object suffers from.

    In each picture detections go by falling score. The first of these that applies names a detection:

    right       the class of a free object with IoU >= `MATCH`, which is then taken (the best fitting one)
    duplicate   the class of a taken object, IoU >= `MATCH`
    class       another class than that of an object with IoU >= `MATCH`
    location    the class of an object with IoU >= `TOUCH`
    both        another class than that of an object with IoU >= `TOUCH`
    background  none of these

    An object is found if a detection took it; else its fate is an error of class or of location, in this
    order, that a detection about it has; else it is missed. ValueError when the tables do not list the same
    pictures in one order, when there is a crowd (not provided for), and for detections without scores.
    """
    _check(ground_truth, detections)
    kind, fate = (
        np.full(len(detections), "background"),
        np.full(len(ground_truth), "location"),
    )  # the longest names
    about, fit = np.full(len(detections), -1), np.zeros(len(detections))
    for picture in range(len(ground_truth.image_ids)):
        objects = np.flatnonzero(ground_truth.image == picture)
        found = np.flatnonzero(detections.image == picture)
        found = found[np.argsort(-detections.score[found], kind="stable")]
        overlap = iou(
            xywh_to_xyxy(ground_truth.xywh[objects]), xywh_to_xyxy(detections.xywh[found])
        )  # (T, D)
        alike = ground_truth.category[objects][:, None] == detections.category[found]  # (T, D)
        free = np.ones(len(objects), bool)
        for d, one in enumerate(found):
            kind[one], which = _verdict(overlap[:, d], alike[:, d], free)
            if which is not None:
                about[one], fit[one] = objects[which], overlap[which, d]
                free[which] &= kind[one] != "right"
    fate[:] = "missed"
    for name in ("location", "class", "right"):  # the last one holds
        fate[about[kind == name]] = "found" if name == "right" else name
    return Verdicts(kind, about, fit, fate)


def costs(ground_truth: BoxTable, detections: BoxTable) -> pd.Series:
    """AP at IoU .50 as it is ("AP50"), and how much it would gain without one kind of error at a time.

    class, location              the best scored detection about an object that is not found becomes right;
                                 the others of this kind go
    both, duplicate, background  these detections go
    missed                       these objects need not be found

    A mean over the classes that have objects, like `evaluate`'s AP50, with all detections, whatever their
    score. The gains need not add up: errors hide behind each other. ValueError without any object, and as in
    `error_types`.
    """
    import pandas as pd

    if not len(ground_truth):
        raise ValueError("costs: the ground truth has no object, so there is no AP")
    verdicts = error_types(ground_truth, detections)
    right = verdicts.kind == "right"
    category, everything = detections.category, np.ones(len(ground_truth), bool)
    base = _ap50(ground_truth, everything, detections.score, category, right)
    gains = {"AP50": base}
    for error in ERRORS:
        wrong = verdicts.kind == error
        repaired = _best_of_each(verdicts, wrong, detections.score) if error in ERRORS[:2] else right & wrong
        named = np.where(repaired, ground_truth.category[verdicts.about], category)
        kept = ~wrong | repaired
        parts = (part[kept] for part in (detections.score, named, right | repaired))
        gains[error] = _ap50(ground_truth, everything, *parts) - base
    present = verdicts.fate != "missed"
    gains["missed"] = _ap50(ground_truth, present, detections.score, category, right) - base
    return pd.Series(gains)


def _ap50(ground_truth: BoxTable, counted: Bool[np.ndarray, " T"], score, category, right) -> float:
    """Mean over classes of the average precision of detections that are known to be right or wrong."""
    values = []
    for one in np.unique(ground_truth.category[counted]):
        mine = np.flatnonzero(category == one)
        mine = mine[np.argsort(-score[mine], kind="stable")]
        objects = np.count_nonzero(ground_truth.category[counted] == one)
        values.append(average_precision(right[None, mine], np.zeros((1, len(mine)), bool), objects)[0])
    return float(np.mean(values))


def _best_of_each(verdicts: Verdicts, wrong, score) -> Bool[np.ndarray, " D"]:
    """The best scored of the wrong detections about each object that is not found."""
    lost = np.flatnonzero(wrong & (verdicts.fate[verdicts.about] != "found"))
    lost = lost[np.argsort(-score[lost], kind="stable")]
    _, first = np.unique(verdicts.about[lost], return_index=True)
    best = np.zeros(len(score), bool)
    best[lost[first]] = True
    return best


def _verdict(overlap, alike, free) -> tuple[str, int | None]:
    """What one detection is, and which object (T,) it is about."""
    fits, touches = overlap >= MATCH, overlap >= TOUCH
    for name, applies in (
        ("right", alike & fits & free),
        ("duplicate", alike & fits),
        ("class", fits),
        ("location", alike & touches),
        ("both", touches),
    ):
        if applies.any():
            return name, int(np.where(applies, overlap, -1).argmax())
    return "background", None


def _check(ground_truth: BoxTable, detections: BoxTable) -> None:
    if ground_truth.image_ids != detections.image_ids:
        raise ValueError(
            "error_types: ground truth and detections must list the same pictures in the same order"
        )
    if detections.score is None:
        raise ValueError("error_types: detections need scores")
    if ground_truth.crowd.any():
        raise ValueError("error_types: crowd objects are not provided for; leave them out first")
