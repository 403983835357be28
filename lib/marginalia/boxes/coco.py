"""COCO JSON, read piece by piece: annotation files and lists of detections.

An annotation file is mostly polygons, and nothing here needs them. The file is taken in blocks; the decoder
is told which fields to look at and skips the rest; each block becomes arrays before the next one is read. So
memory is bounded by the boxes, and most of the time goes into walking over the digits of the polygons.
"""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np

from .checks import NO_CATEGORY, RawBoxes, validate
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
    columns, images, categories, keys = _Columns(Annotation), [], [], []
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
                images = list(chain.from_iterable(text.entries(Image, "image")))
            elif key == "categories":
                categories = list(chain.from_iterable(text.entries(Category, "category")))
            else:
                text.skip()
    missing = [key for key in ("images", "annotations") if key not in keys]
    if missing:
        raise ValueError(
            f"{path}: not a COCO annotation file: no {' and no '.join(map(repr, missing))} beside "
            f"{', '.join(map(repr, keys)) or 'nothing'}"
        )
    return validate(_join(path, columns.arrays(), images, categories))


def read_results(path: Path, ground_truth: BoxTable, block: int = BLOCK) -> BoxTable:
    """Detections, a list of {image_id, category_id, bbox, score}, on the images of `ground_truth`."""
    columns = _Columns(Detection)
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
    return validate(
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

    def __init__(self, kind: type[Annotation] | type[Detection]):
        self.kind = kind
        self.batches: list[dict[str, np.ndarray]] = []
        self.add([])  # so that every field is there when there is no entry at all

    def add(self, batch: list[Annotation] | list[Detection]):
        values = {"image_id": ids([a.image_id for a in batch])}
        values["bbox"] = np.array([a.bbox or (np.nan,) * 4 for a in batch], np.float64).reshape(-1, 4)
        categories = [NO_CATEGORY if a.category_id is None else a.category_id for a in batch]
        values["category_id"] = np.array(categories, np.int64)
        if self.kind is Detection:
            values["score"] = np.array([a.score for a in batch], np.float64)
        else:
            values["boxless"] = np.array([a.bbox is None for a in batch], bool)
            values["id"] = ids([a.id for a in batch])
            values["area"] = np.array([a.area for a in batch], np.float64)  # None becomes NaN
            values["crowd"] = np.array([bool(a.iscrowd) for a in batch], bool)
        self.batches.append(values)

    def arrays(self) -> dict[str, np.ndarray]:
        """One array per field, over all batches."""
        return {name: np.concatenate([b[name] for b in self.batches]) for name in self.batches[0]}


def ids(values: list) -> np.ndarray:
    """Ids as an array of integers, or of objects when some are strings or missing."""
    array = np.array(values) if values else np.zeros(0, np.int64)
    return array if array.dtype.kind == "i" else np.array(values, dtype=object)


def _join(
    path: Path, arrays: dict[str, np.ndarray], images: list[Image], categories: list[Category]
) -> RawBoxes:
    """Bring annotations and images together; errors for ids that do not fit, issues for what is odd."""
    image_ids = _unique_ids(f"{path}: image", images)
    _unique_ids(f"{path}: category", categories)
    names = {c.id: str(c.id) if c.name is None else c.name for c in categories}
    own = arrays["id"]
    issues = {}

    def described(i):
        return f"annotation {own[i]}" if own[i] is not None else f"annotation number {i + 1}"

    image = _positions(path, arrays["image_id"], image_ids, described)
    boxless, repeated = np.flatnonzero(arrays["boxless"]), _repeated(own)
    if len(boxless):
        issues["without a box"] = Issue(len(boxless), False, described(boxless[0]))
    if len(repeated):
        issues["annotation id used before"] = Issue(len(repeated), True, described(repeated[0]))
    rows = np.flatnonzero(~arrays["boxless"])
    area = arrays["area"][rows]
    return RawBoxes(
        arrays["bbox"][rows],
        image[rows],
        image_ids,
        [(i.width, i.height) for i in images],
        arrays["category_id"][rows],
        names,
        lambda i: described(rows[i]),
        arrays["crowd"][rows],
        area=None if np.isnan(area).all() else area,
        files=tuple(i.file_name or "" for i in images) if any(i.file_name for i in images) else (),
        issues=issues,
    )


def _unique_ids(what: str, entries: list[Image] | list[Category]) -> list[Id]:
    """The ids of all entries; ValueError for one that is there twice."""
    first_seen = {}
    for i, entry in enumerate(entries):
        if first_seen.setdefault(entry.id, i) != i:
            raise ValueError(
                f"{what} id {entry.id!r} is given twice (entries {first_seen[entry.id] + 1} and {i + 1}); "
                "ids must be unique"
            )
    return list(first_seen)


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
    seen = set()
    return [
        i for i, value in enumerate(own.tolist()) if value is not None and (value in seen or seen.add(value))
    ]
