"""COCO JSON, read piece by piece: annotation files and lists of detections.

An annotation file is mostly polygons, and nothing here needs them. The file is taken in blocks; the decoder
is told which fields to look at and skips the rest; each block becomes arrays before the next one is read. So
memory is bounded by the boxes, and most of the time goes into walking over the digits of the polygons.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np

from .checks import NO_CATEGORY, RawBoxes, settle
from .json_stream import BLOCK, JsonStream
from .table import BoxTable, Issue

Id = int | str
CategoryId = Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31 - 1)]  # tables hold 64-bit integers


class Annotation(msgspec.Struct, gc=False):
    """The fields of an annotation that matter here."""

    image_id: Id
    bbox: tuple[float, float, float, float] | None = None
    category_id: CategoryId | None = None
    id: Id | None = None
    area: float | None = None
    iscrowd: bool | float | None = None


class Image(msgspec.Struct, gc=False):
    """The fields of an image that matter here."""

    id: Id
    width: float | None = None
    height: float | None = None
    file_name: str | None = None


class Category(msgspec.Struct, gc=False):
    """A category."""

    id: CategoryId
    name: str | None = None


class Detection(msgspec.Struct, gc=False):
    """One entry of a list of detections."""

    image_id: Id
    category_id: CategoryId
    bbox: tuple[float, float, float, float]
    score: float


def read_coco(path: Path, block: int = BLOCK) -> BoxTable:
    """Annotations in COCO's layout, packed with gzip or not; `block` bytes are decoded at a time."""
    columns, images, names = _Columns(), [], {}
    keys = []
    with JsonStream(path, block) as text:
        if text.peek() != b"{":
            raise ValueError(
                f"{path}: not a COCO annotation file, which is one JSON object with 'images', "
                "'annotations' and 'categories'"
            )
        for key in text.fields():
            if key in keys:
                raise ValueError(f"{path}: {key!r} stands in the file twice; join the two parts")
            keys.append(key)
            if key == "annotations":
                for batch in text.entries(Annotation, "annotation"):
                    columns.add(batch)
            elif key == "images":
                for batch in text.entries(Image, "image"):
                    images += batch
            elif key == "categories":
                for batch in text.entries(Category, "category"):
                    names |= _category_names(path, names, batch)
            else:
                text.skip()
    missing = [key for key in ("images", "annotations") if key not in keys]
    if missing:
        raise ValueError(
            f"{path}: not a COCO annotation file: no {' and no '.join(map(repr, missing))} beside "
            f"{', '.join(map(repr, keys)) or 'nothing'}"
        )
    return settle(_join(path, columns, images, names))


def read_results(path: Path, ground_truth: BoxTable, block: int = BLOCK) -> BoxTable:
    """Detections, a list of {image_id, category_id, bbox, score}, on the images of `ground_truth`."""
    columns = _Columns()
    with JsonStream(path, block) as text:
        if text.peek() != b"[":
            raise ValueError(
                f"{path}: not a list of detections, which is one JSON array of objects with "
                "image_id, category_id, bbox and score"
            )
        for batch in text.entries(Detection, "detection"):
            columns.add(batch)
        text.finish()
    arrays = columns.arrays()

    def entry(i):
        return f"detection {i + 1}"

    image = _positions(path, arrays["image_id"], ground_truth.image_ids, entry)
    return settle(
        RawBoxes(
            arrays["bbox"],
            image,
            ground_truth.image_ids,
            ground_truth.sizes,
            arrays["category_id"],
            ground_truth.names,
            entry,
            score=arrays["score"],
            files=ground_truth.files,
        )
    )


class _Columns:
    """Batches of entries turned into arrays as they come: one list of arrays per field."""

    def __init__(self):
        self.batches: list[dict[str, np.ndarray]] = []

    def add(self, batch: list[Annotation] | list[Detection]):
        if not batch:
            return
        nan4 = (np.nan,) * 4
        values = {"image_id": ids([a.image_id for a in batch])}
        values["bbox"] = np.array([a.bbox or nan4 for a in batch], np.float64).reshape(-1, 4)
        if isinstance(batch[0], Detection):
            values["category_id"] = np.array([a.category_id for a in batch], np.int64)
            values["score"] = np.array([a.score for a in batch], np.float64)
        else:
            categories = [NO_CATEGORY if a.category_id is None else a.category_id for a in batch]
            values["category_id"] = np.array(categories, np.int64)
            values["boxless"] = np.array([a.bbox is None for a in batch])
            values["id"] = ids([a.id for a in batch])
            values["area"] = np.array([a.area for a in batch], np.float64)  # None becomes NaN
            values["crowd"] = np.array([bool(a.iscrowd) for a in batch])
        self.batches.append(values)

    def arrays(self) -> dict[str, np.ndarray]:
        """One array per field, over all batches; every field is empty when there was no entry at all."""
        if not self.batches:
            empty = {name: np.zeros(0) for name in ("bbox", "area", "score")}
            empty |= {name: np.zeros(0, np.int64) for name in ("image_id", "category_id", "id")}
            return empty | {name: np.zeros(0, bool) for name in ("boxless", "crowd")}
        return {name: np.concatenate([b[name] for b in self.batches]) for name in self.batches[0]}


def ids(values: list) -> np.ndarray:
    """Ids as an array of integers, or of objects when some are strings or missing."""
    array = np.array(values) if values else np.zeros(0, np.int64)
    return array if array.dtype.kind == "i" else np.array(values, dtype=object)


def _category_names(path: Path, known: dict[int, str], batch: list[Category]) -> dict[int, str]:
    names = {}
    for category in batch:
        if category.id in known or category.id in names:
            raise ValueError(f"{path}: category id {category.id} is given twice; ids must be unique")
        names[category.id] = str(category.id) if category.name is None else category.name
    return names


def _join(path: Path, columns: _Columns, images: list[Image], names: dict[int, str]) -> RawBoxes:
    """Bring annotations and images together; errors for ids that do not fit, findings for what is odd."""
    arrays = columns.arrays()
    image_ids = _unique_ids(path, images)
    findings = {}
    keep = ~arrays["boxless"]
    own = arrays["id"]

    def described(i):
        return f"annotation {own[i]}" if own[i] is not None else f"annotation number {i + 1}"

    if not keep.all():
        findings["without a box"] = Issue(int((~keep).sum()), False, described(int(np.argmin(keep))))
    image = _positions(path, arrays["image_id"], image_ids, described)
    repeated = _repeated(own)
    if len(repeated):
        findings["annotation id used before"] = Issue(len(repeated), True, described(repeated[0]))
    rows = np.flatnonzero(keep)
    area = arrays["area"][rows]
    return RawBoxes(
        arrays["bbox"][rows],
        image[rows],
        image_ids,
        np.array([(i.width or np.nan, i.height or np.nan) for i in images], np.float64).reshape(-1, 2),
        arrays["category_id"][rows],
        names,
        lambda i: described(rows[i]),
        arrays["crowd"][rows],
        area=None if np.isnan(area).all() else area,
        files=tuple(i.file_name or "" for i in images) if any(i.file_name for i in images) else (),
        findings=findings,
    )


def _unique_ids(path: Path, images: list[Image]) -> list[Id]:
    image_ids = [image.id for image in images]
    first_seen = {}
    for i, image_id in enumerate(image_ids):
        if first_seen.setdefault(image_id, i) != i:
            raise ValueError(
                f"{path}: image id {image_id!r} is given twice (entries {first_seen[image_id] + 1} "
                f"and {i + 1} of 'images'); ids must be unique"
            )
    return image_ids


def _positions(path: Path, wanted: np.ndarray, image_ids, described) -> np.ndarray:
    """Index into image_ids for each wanted id; ValueError naming the first that is not there."""
    have = ids(list(image_ids))
    if have.dtype.kind == "i" and wanted.dtype.kind == "i" and len(have):
        order = np.argsort(have)
        index = order[np.minimum(np.searchsorted(have[order], wanted), len(have) - 1)]
        unknown = np.flatnonzero(have[index] != wanted)
    else:
        where = {image_id: i for i, image_id in enumerate(image_ids)}
        index = np.array([where.get(image_id, -1) for image_id in wanted.tolist()], np.int64)
        unknown = np.flatnonzero(index < 0)
    if len(unknown):
        first = int(unknown[0])
        raise ValueError(
            f"{path}: {described(first)} is for image {wanted.tolist()[first]!r}, which is not "
            f"among the {len(image_ids)} images ({len(unknown)} such in all)"
        )
    return index


def _repeated(own: np.ndarray) -> list[int]:
    """Rows whose id stood in the file before; missing ids do not count."""
    if own.dtype.kind == "i":
        first = np.unique(own, return_index=True)[1]
        return [] if len(first) == len(own) else np.setdiff1d(np.arange(len(own)), first).tolist()
    seen = set()
    return [
        i for i, value in enumerate(own.tolist()) if value is not None and (value in seen or seen.add(value))
    ]
