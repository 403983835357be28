"""COCO JSON, read piece by piece: annotation files and lists of detections.

An annotation file is mostly polygons, and nothing here needs them. The file is taken in blocks; the decoder
is told which fields to look at and skips the rest; each block becomes arrays before the next one is read. So
memory is bounded by the boxes, and most of the time goes into walking over the digits of the polygons.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np
from jaxtyping import Int

from .checks import HIGHEST_CLASS, NO_BOX, NO_CATEGORY, Raw
from .json_stream import BLOCK, JsonStream
from .table import BoxTable, Issue

Id = int | str
CategoryId = Annotated[int, msgspec.Meta(ge=-HIGHEST_CLASS, le=HIGHEST_CLASS)]


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


def read_coco(path: Path, block: int = BLOCK) -> Raw:
    """Annotations in COCO's layout, packed with gzip or not; `block` bytes are decoded at a time."""
    images, categories, keys = [], [], []
    with JsonStream(path, block) as text:
        text.expect(
            b"{", "a COCO annotation file is one JSON object with 'images', 'annotations' and 'categories'"
        )
        for key in text.fields():
            keys.append(key)
            if key == "annotations":
                found = _columns(text.entries(Annotation, "annotation", _tidy), Annotation)
            elif key == "images":
                images = list(chain.from_iterable(text.entries(Image, "image", _tidy)))
            elif key == "categories":
                categories = list(chain.from_iterable(text.entries(Category, "category", _tidy)))
            else:
                text.skip()
    missing = [key for key in ("images", "annotations") if key not in keys]
    if missing:
        raise ValueError(
            f"{path}: not a COCO annotation file: no {' and no '.join(map(repr, missing))} beside "
            + (", ".join(f"{key!r:.40}" for key in keys[:5]) or "nothing")
            + (f" and {len(keys) - 5} others" if len(keys) > 5 else "")
        )
    return _join(path, found, images, categories)


def read_results(path: Path, ground_truth: BoxTable) -> Raw:
    """Detections, a list of {image_id, category_id, bbox, score}, on the images of `ground_truth`."""
    with JsonStream(path, BLOCK) as text:
        text.expect(
            b"[",
            "a list of detections is a JSON array of objects with image_id, category_id, bbox, score",
        )
        found = _columns(text.entries(Detection, "detection", _tidy), Detection)
        text.finish()

    def entry(i: int) -> str:
        return f"detection {i + 1}"

    image = _positions(path, found.pop("image_id"), ground_truth.image_ids, entry)
    shared = {name: getattr(ground_truth, name) for name in ("image_ids", "sizes", "names", "files")}
    return Raw(BoxTable(image=image, **shared, **found), entry)


def _join(path: Path, found: dict[str, np.ndarray], images: list[Image], categories: list[Category]) -> Raw:
    """Annotations on their images; ValueError for ids that do not fit."""
    own = found.pop("id")

    def entry(i: int) -> str:
        return f"annotation {own[i]!s:.60}" if own[i] is not None else f"annotation number {i + 1}"

    image_ids = _unique_ids(f"{path}: image", images)
    _unique_ids(f"{path}: category", categories)
    image = _positions(path, found.pop("image_id"), image_ids, entry)
    seen = set()
    again = [i for i, x in enumerate(own.tolist()) if x is not None and (x in seen or seen.add(x))]
    table = BoxTable(
        image=image,
        image_ids=image_ids,
        sizes=np.array([(i.width, i.height) for i in images], np.float64),
        names={c.id: str(c.id) if c.name is None else c.name for c in categories},
        files=tuple(i.file_name or "" for i in images) if any(i.file_name for i in images) else (),
        report={"annotation id used before": Issue(len(again), True, entry(again[0]))} if again else {},
        **found,
    )
    return Raw(table, entry)


def _tidy(entry: dict) -> dict:
    """An entry of a tool that writes ids as floats, NaN for nothing, or numbers in the place of names."""
    for field, value in entry.items() if isinstance(entry, dict) else ():
        if field in ("name", "file_name") and type(value) in (int, float):
            entry[field] = str(value)
        elif isinstance(value, float) and field.endswith("id") and value.is_integer():
            entry[field] = int(value)
        elif value != value and field != "score":
            entry[field] = None
    return entry


def _columns(batches: Iterable[list], kind: type[Annotation] | type[Detection]) -> dict[str, np.ndarray]:
    """The fields of all entries, one array each; a batch becomes arrays before the next one is read."""
    parts = [_arrays(batch, kind) for batch in chain(([],), batches)]  # the first one for no entry at all
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _arrays(batch: list, kind: type[Annotation] | type[Detection]) -> dict[str, np.ndarray]:
    categories = [NO_CATEGORY if a.category_id is None else a.category_id for a in batch]
    arrays = {
        "image_id": _ids([a.image_id for a in batch]),
        "xywh": np.array([a.bbox or NO_BOX for a in batch], np.float64).reshape(-1, 4),
        "category": np.array(categories, np.int64),
    }
    if kind is Detection:
        return arrays | {"score": np.array([a.score for a in batch], np.float64)}
    return arrays | {
        "id": _ids([a.id for a in batch]),
        "area": np.array([a.area for a in batch], np.float64),  # None becomes NaN
        "crowd": np.array([bool(a.iscrowd) for a in batch], bool),
    }


def _ids(values: list) -> np.ndarray:
    """Ids as an array of integers, or of objects when some are strings, missing or very large."""
    if {*map(type, values)} <= {int}:
        with suppress(OverflowError):
            return np.array(values, np.int64)
    return np.array(values, object)  # not strings of numpy, which are all as long as the longest


def _unique_ids(what: str, entries: list[Image] | list[Category]) -> list[Id]:
    """The ids of all entries; ValueError for one that is there twice."""
    first_seen = {}
    for i, entry in enumerate(entries):
        if first_seen.setdefault(entry.id, i) != i:
            raise ValueError(
                f"{what} id {entry.id!r:.60} is given twice, in entries {first_seen[entry.id] + 1} and "
                f"{i + 1}; ids must be unique"
            )
    return list(first_seen)


def _positions(
    path: Path, wanted: np.ndarray, image_ids, entry: Callable[[int], str]
) -> Int[np.ndarray, " N"]:
    """Index into image_ids for each wanted id; ValueError naming the first that is not there."""
    where = {image_id: i for i, image_id in enumerate(image_ids)}
    index = np.array([where.get(image_id, -1) for image_id in wanted.tolist()], np.int64)
    unknown = np.flatnonzero(index < 0)
    if len(unknown):
        first = int(unknown[0])
        raise ValueError(
            f"{path}: {entry(first)} is for image {wanted.tolist()[first]!r:.60}, which is not "
            f"among the {len(image_ids)} images ({len(unknown)} such in all)"
        )
    return index
