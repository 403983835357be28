"""Ways in which detections of one picture go wrong, told by overlap alone, whatever the categories."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from .geometry import iou, xywh_to_xyxy

MATCH = 0.5  # IoU from which a box fits
SHARE = 0.8  # part of a box that makes it lie inside another


@dataclass(frozen=True)
class Failure:
    """One kind of failure in one picture: the objects (T,) and the detections (D,) that it concerns."""

    objects: Bool[np.ndarray, " T"]
    detections: Bool[np.ndarray, " D"]


def failures(objects: Float[np.ndarray, "T 4"], detections: Float[np.ndarray, "D 4"]) -> dict[str, Failure]:
    """Name the failures of a picture; both sets of boxes are xywh in one unit.

    split   an object without a match that two or more detections lie inside, and these detections
    merged  a detection without a match that two or more objects lie inside, and these objects
    missed  an object that no detection touches
    extra   a detection that touches no object

    A match has IoU >= `MATCH`; a box lies inside another if `SHARE` of its area does. A box may be of none.
    """
    fit = iou(xywh_to_xyxy(objects), xywh_to_xyxy(detections))  # (T, D)
    of_objects, of_detections = (b[:, 2] * b[:, 3] for b in (objects, detections))
    shared = fit * (of_objects[:, None] + of_detections) / (1 + fit)  # since IoU = shared / (sum - shared)
    alone = (fit.max(axis=1, initial=0) < MATCH)[:, None], fit.max(axis=0, initial=0) < MATCH
    pieces = alone[0] & (shared >= SHARE * of_detections)
    covered = alone[1] & (shared >= SHARE * of_objects[:, None])
    split, merged = pieces.sum(axis=1) >= 2, covered.sum(axis=0) >= 2
    touched = shared > 0
    nothing = np.zeros(len(objects), bool), np.zeros(len(detections), bool)
    return {
        "split": Failure(split, pieces[split].any(axis=0)),
        "merged": Failure(covered[:, merged].any(axis=1), merged),
        "missed": Failure(~touched.any(axis=1), nothing[1]),
        "extra": Failure(nothing[0], ~touched.any(axis=0)),
    }
