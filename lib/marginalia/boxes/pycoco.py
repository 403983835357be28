"""From tables to pycocotools and back: what its evaluation needs, and where its results lie."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int

from .table import MAX_AREA, BoxTable, BoxWarning

if TYPE_CHECKING:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval


def align(ground_truth: BoxTable, detections: BoxTable) -> BoxTable:
    """The detections with `image` indexing the images of the ground truth, matched by id.

    ValueError, naming the first offender, for what cannot be evaluated: no score, an image or category that
    the ground truth does not know, a score or box that is not finite, a ground truth that lists an image
    twice.
    """
    if detections.score is None:
        raise ValueError("detections have no score; is the order (ground truth, detections)?")
    # the same image has another number in the other table
    position = {image: i for i, image in enumerate(ground_truth.image_ids)}
    if len(position) < len(ground_truth.image_ids):
        raise ValueError("the ground truth lists an image id twice; image_ids must be unique")
    image = np.array([position.get(i, -1) for i in detections.image_ids], int)[detections.image]
    # what cannot be evaluated, by the words of the error
    unknown_category = ~np.isin(detections.category, _known_categories(ground_truth))
    finite = np.isfinite(np.column_stack([detections.xywh, detections.score])).all(1)
    checks = {
        "lies on image {image!r}, which the ground truth does not list": image < 0,
        "has category {category}, which the ground truth does not know": unknown_category,
        "has a score or box that is not finite": ~finite,
    }
    for complaint, bad in checks.items():
        if bad.any():
            n = int(np.flatnonzero(bad)[0])
            where = detections.image_ids[detections.image[n]]
            what = complaint.format(image=where, category=detections.category[n])
            raise ValueError(f"detection {n} (counted from 0) {what}; {int(bad.sum())} of {len(bad)} do")
    return replace(
        detections, image=image, image_ids=ground_truth.image_ids, sizes=ground_truth.sizes, files=()
    )


def run_coco(
    ground_truth: BoxTable,
    detections: BoxTable,
    ious: Sequence[float],
    areas: Sequence[tuple[float, float]],
    max_detections: Sequence[int],
) -> COCOeval:
    """pycocotools' COCOeval after one silenced `evaluate()`; `detections` as `align` gives them."""
    from pycocotools.cocoeval import COCOeval

    ious = np.asarray(ious, np.float64)
    if not (ious.size and np.all((ious > 0) & (ious < 1))):
        # at 0 pycocotools would match boxes that do not touch; at 1 LRP divides by zero
        raise ValueError(f"IoU thresholds must lie between 0 and 1, both excluded, not {ious.tolist()}")
    _warn_of_cut(detections, max_detections[-1])
    categories = _known_categories(ground_truth)
    numbers = _image_numbers(ground_truth)
    with silenced():
        # the area of a detection is that of its box, as in COCO's loadRes, whatever its table says
        found = _coco(replace(detections, area=None), numbers, categories)
        areas_known = replace(ground_truth, area=np.minimum(ground_truth.areas, MAX_AREA))
        run = COCOeval(_coco(areas_known, numbers, categories), found, "bbox")
        run.params.iouThrs = ious
        run.params.areaRng = [list(a) for a in areas]
        run.params.maxDets = list(max_detections)
        run.evaluate()
    return run


def cells_of(run: COCOeval, ground_truth: BoxTable) -> np.ndarray:
    """The (K, I) results of the first area range, images in the order of the table.

    None where an image has neither ground truth nor detection of a category.
    """
    flat = np.empty(len(run.evalImgs), object)
    flat[:] = run.evalImgs  # pycocotools' order: category, area range, image
    cells = flat.reshape(len(run.params.catIds), len(run.params.areaRng), len(run.params.imgIds))
    return cells[:, 0, _image_numbers(ground_truth) - 1]


def silenced() -> contextlib.AbstractContextManager:
    """Keep pycocotools' progress lines away from the reader."""
    return contextlib.redirect_stdout(io.StringIO())


def _coco(table: BoxTable, numbers: Int[np.ndarray, " I"], categories: list[int]) -> COCO:
    from pycocotools.coco import COCO

    score = np.zeros(len(table)) if table.score is None else table.score
    columns = (numbers[table.image], table.category, table.xywh, table.areas, table.crowd.astype(int), score)
    keys = ("id", "image_id", "category_id", "bbox", "area", "iscrowd", "score")
    rows = zip(*(c.tolist() for c in columns), strict=True)
    coco = COCO()
    coco.dataset = {
        "images": [{"id": n} for n in sorted(numbers.tolist())],
        "categories": [{"id": c} for c in categories],
        # ids from 1: pycocotools reads a match with id 0 as no match
        "annotations": [dict(zip(keys, (n, *row), strict=True)) for n, row in enumerate(rows, start=1)],
    }
    coco.createIndex()
    return coco


def _image_numbers(ground_truth: BoxTable) -> Int[np.ndarray, " I"]:
    """1..I by sorted id. Images with equal scores are then ranked as pycocotools ranks the ids themselves."""
    ids = ground_truth.image_ids
    order = sorted(range(len(ids)), key=lambda i: (isinstance(ids[i], str), ids[i]))
    numbers = np.empty(len(ids), int)
    numbers[order] = np.arange(1, len(ids) + 1)
    return numbers


def _known_categories(ground_truth: BoxTable) -> list[int]:
    return sorted({*ground_truth.names, *np.unique(ground_truth.category).tolist()})


def _warn_of_cut(detections: BoxTable, most: int) -> None:
    pairs = np.column_stack([detections.image, detections.category])
    extra = np.unique(pairs, axis=0, return_counts=True)[1] - most
    if (extra > 0).any():
        warnings.warn(
            f"{int((extra > 0).sum())} times an image has more than {most} detections of one category; "
            f"the {int(extra[extra > 0].sum())} with the lowest scores do not count",
            BoxWarning,
            stacklevel=4,  # whoever called evaluate
        )
