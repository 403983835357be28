"""What is wrong with each detection, which objects are missed, and what each kind of error costs.

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
ERRORS = ("classification", "localisation", "both", "duplicate", "background")  # of a detection


@dataclass(frozen=True)
class ErrorTypes:
    """What D detections and T objects are, in the order of their tables."""

    kind: Shaped[np.ndarray, " D"]  # "true positive" or one of ERRORS
    about: Int[np.ndarray, " D"]  # index of the object that the detection is about; -1 for background
    iou: Float[np.ndarray, " D"]  # with that object; 0 for background
    outcome: Shaped[np.ndarray, " T"]  # "found", "missed", or the error that hides it, one of ERRORS[:2]


def error_types(ground_truth: BoxTable, detections: BoxTable) -> ErrorTypes:
    """Name what is wrong with each detection of a data set, and which objects are missed.

    In each image detections go by falling score. The first of these that applies names a detection:

    true positive   the class of a free object with IoU >= `MATCH`, which is then taken (the best fitting one)
    duplicate       the class of a taken object, IoU >= `MATCH`
    classification  another class than that of an object with IoU >= `MATCH`
    localisation    the class of an object with IoU >= `TOUCH`
    both            another class than that of an object with IoU >= `TOUCH`
    background      none of these

    An object is found if a detection took it; else a classification or a localisation error about it hides
    it, in this order; else it is missed. ValueError when the tables do not list the same images in one order,
    when there is a crowd (not provided for), and for detections without scores.

    >>> images = {"image_ids": ("a",), "sizes": [(100, 80)], "names": {1: "cup", 2: "jug"}}
    >>> objects = BoxTable([(10, 10, 40, 20), (60, 60, 20, 20)], image=[0, 0], category=[1, 2], **images)
    >>> boxes = [(10, 10, 40, 20), (12, 10, 40, 20), (60, 60, 20, 20)]
    >>> found = BoxTable(boxes, image=[0, 0, 0], category=[1, 1, 1], score=[0.9, 0.8, 0.7], **images)
    >>> error_types(objects, found).kind.tolist()
    ['true positive', 'duplicate', 'classification']
    >>> error_types(objects, found).outcome.tolist()
    ['found', 'classification']
    """
    if ground_truth.image_ids != detections.image_ids:
        raise ValueError("error_types: ground truth and detections must list the same images in one order")
    if detections.score is None:
        raise ValueError("error_types: detections need scores")
    if ground_truth.crowd.any():
        raise ValueError("error_types: crowd objects are not provided for; leave them out first")
    kind = np.full(len(detections), "background", object)
    about, fit = np.full(len(detections), -1), np.zeros(len(detections))
    corners, object_corners = xywh_to_xyxy(detections.xywh), xywh_to_xyxy(ground_truth.xywh)
    for image in range(len(ground_truth.image_ids)):
        # detections of this image by falling score, and how they lie to its objects
        objects = np.flatnonzero(ground_truth.image == image)
        found = np.flatnonzero(detections.image == image)
        found = found[np.argsort(-detections.score[found], kind="stable")]
        overlap = iou(corners[found], object_corners[objects])  # (D, T)
        same_class = detections.category[found][:, None] == ground_truth.category[objects]  # (D, T)
        fits, touches = overlap >= MATCH, overlap >= TOUCH

        # the first rule that applies to any object names the detection; it is about the best fitting of these
        free = np.ones(len(objects), bool)
        for d, detection in enumerate(found):
            rules = {
                "true positive": same_class[d] & fits[d] & free,
                "duplicate": same_class[d] & fits[d],
                "classification": fits[d],
                "localisation": same_class[d] & touches[d],
                "both": touches[d],
            }
            for name, applies in rules.items():
                if applies.any():
                    best = np.where(applies, overlap[d], -1).argmax()
                    kind[detection], about[detection], fit[detection] = name, objects[best], overlap[d, best]
                    free[best] &= name != "true positive"
                    break

    # what became of each object; the last name given holds
    outcome = np.full(len(ground_truth), "missed", object)
    for name in ("localisation", "classification"):
        outcome[about[kind == name]] = name
    outcome[about[kind == "true positive"]] = "found"
    return ErrorTypes(kind, about, fit, outcome)


def costs(ground_truth: BoxTable, detections: BoxTable) -> pd.Series:
    """AP at IoU .50 as it is ("AP50"), and how much it would gain without one kind of error at a time.

    classification, localisation  the best scored detection about an object that is not found becomes a true
                                  positive; the others of this kind go
    both, duplicate, background   these detections go
    missed                        these objects need not be found

    A mean over the classes that have objects, like `evaluate`'s AP50, with all detections, whatever their
    score. The gains need not add up: errors hide behind each other. ValueError without any object, and as in
    `error_types`.
    """
    import pandas as pd

    if not len(ground_truth):
        raise ValueError("costs: the ground truth has no object, so there is no AP")
    errors = error_types(ground_truth, detections)
    objects, score, category = ground_truth.category, detections.score, detections.category
    correct = errors.kind == "true positive"
    base = _ap50(objects, score, category, correct)
    gains = {"AP50": base}
    for error in ERRORS:
        wrong = errors.kind == error
        repaired = np.zeros(len(detections), bool)
        if error in ERRORS[:2]:
            # of those about an object that is not found, the best scored one gets its class and place
            hidden = np.flatnonzero(wrong & (errors.outcome[errors.about] != "found"))
            hidden = hidden[np.argsort(-score[hidden], kind="stable")]
            repaired[hidden[np.unique(errors.about[hidden], return_index=True)[1]]] = True
        kept = ~wrong | repaired
        named = np.where(repaired, objects[errors.about], category)
        gains[error] = _ap50(objects, score[kept], named[kept], (correct | repaired)[kept]) - base
    gains["missed"] = _ap50(objects[errors.outcome != "missed"], score, category, correct) - base
    return pd.Series(gains)


def _ap50(objects: Int[np.ndarray, " T"], score, category, correct: Bool[np.ndarray, " D"]) -> float:
    """Mean over the objects' classes of the average precision of detections known to be correct or not."""
    values = []
    for one, number in zip(*np.unique(objects, return_counts=True), strict=True):
        mine = np.flatnonzero(category == one)
        mine = mine[np.argsort(-score[mine], kind="stable")]
        values.append(average_precision(correct[None, mine], np.zeros((1, len(mine)), bool), number)[0])
    return float(np.mean(values))
