"""One table for all annotated boxes of a data set, whatever file they came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float, Int

if TYPE_CHECKING:
    import pandas as pd


MAX_AREA = 1e10  # pixels²; COCO's evaluation leaves out what is larger


class BoxWarning(UserWarning):
    """Something about the boxes deserves a look, but the result is still defined."""


@dataclass(frozen=True)
class Issue:
    """What a reader found to be unusual, how often, and what it did about it."""

    count: int
    kept: bool  # False: these entries were dropped and are not in the table
    first: str  # the first entry concerned, in the file's own words: "annotation 17"

    def __str__(self) -> str:
        first = self.first.encode(errors="backslashreplace").decode()  # names of files may be no text
        return f"{self.count} {'kept' if self.kept else 'dropped'}, first: {first}"


@dataclass(frozen=True)
class BoxTable:
    """Boxes of a data set and the images they lie in; images without boxes stay in the table.

    N boxes in I images. Pixels count from the top left corner of the image; a box covers
    `x <= u < x + w`, so widths are lengths and not inclusive pixel counts. Lists become arrays; ValueError
    where lengths do not fit, or `image` names no image.

    >>> boxes = [(10, 20, 30, 40), (5, 5, 10, 10)]
    >>> table = BoxTable(boxes, [0, 0], ("a", "b"), [(100, 80), (64, 64)], [1, 2], {1: "cat", 2: "dog"})
    >>> table
    BoxTable(2 boxes, 2 images, 2 categories)
    >>> table.counts
    array([2, 0])
    >>> table.where(table.category == 2).xywh
    array([[ 5.,  5., 10., 10.]])
    """

    xywh: Float[np.ndarray, "N 4"]  # top left corner, width and height, pixels
    image: Int[np.ndarray, " N"]  # index into image_ids
    image_ids: tuple[int | str, ...]  # the file's own ids, I of them
    sizes: Float[np.ndarray, "I 2"]  # width and height in pixels; NaN where the file does not say
    category: Int[np.ndarray, " N"]  # the file's own category ids
    names: Mapping[int, str]  # category id -> name
    crowd: Bool[np.ndarray, " N"] = None  # True: a region with many objects (COCO's iscrowd)
    score: Float[np.ndarray, " N"] | None = None  # detections only, any monotone scale
    area: Float[np.ndarray, " N"] | None = None  # of the mask, pixels; None, or NaN for a box: w * h
    files: tuple[str, ...] = ()  # each image's file, as the annotations name it; () when unknown
    report: Mapping[str, Issue] = field(default_factory=dict)  # what was dropped or is unusual, and why

    def __post_init__(self):
        n = len(self.xywh)
        put = object.__setattr__  # the record is frozen; this only gives types and the one default
        put(self, "xywh", np.asarray(self.xywh, np.float64).reshape(n, 4))
        put(self, "image_ids", tuple(self.image_ids))
        put(self, "sizes", np.asarray(self.sizes, np.float64).reshape(-1, 2))
        put(self, "crowd", np.zeros(n, bool) if self.crowd is None else self.crowd)
        kinds = {"image": np.int64, "category": np.int64, "crowd": bool, "score": float, "area": float}
        for name, kind in kinds.items():
            if (value := getattr(self, name)) is not None:
                value = np.asarray(value, kind)
                put(self, name, value)
                if value.shape != (n,):
                    raise ValueError(f"BoxTable: {name} has shape {value.shape}, but there are {n} boxes")
        if len(self.sizes) != len(self.image_ids):
            raise ValueError(f"BoxTable: {len(self.sizes)} sizes for {len(self.image_ids)} image_ids")
        if self.files and len(self.files) != len(self.image_ids):
            raise ValueError(f"BoxTable: {len(self.files)} files for {len(self.image_ids)} image_ids")
        if n and not (self.image.min() >= 0 and self.image.max() < len(self.image_ids)):
            raise ValueError(f"BoxTable: image must index the {len(self.image_ids)} image_ids")

    def __len__(self) -> int:
        """Number of boxes N."""
        return len(self.xywh)

    @property
    def counts(self) -> Int[np.ndarray, " I"]:
        """Number of boxes in each image, crowd boxes included."""
        return np.bincount(self.image, minlength=len(self.image_ids))

    @property
    def areas(self) -> Float[np.ndarray, " N"]:
        """Area of each box, pixels²: that of its mask where it is known, else w * h."""
        of_box = self.xywh[:, 2:].prod(1)
        return of_box if self.area is None else np.where(self.area >= 0, self.area, of_box)

    def where(self, mask: Bool[np.ndarray, " N"]) -> BoxTable:
        """The same images with only the boxes for which `mask` is True."""
        mask = np.asarray(mask)
        if mask.shape != (len(self),) or mask.dtype != bool:
            raise ValueError(f"where: mask must be {len(self)} booleans, not {mask.dtype} {mask.shape}")
        columns = ("xywh", "image", "category", "crowd", "score", "area")
        return replace(self, **{n: v[mask] for n in columns if (v := getattr(self, n)) is not None})

    def to_frame(self) -> pd.DataFrame:
        """One row a box: image_id, x, y, w, h (pixels), category (name), crowd, and score if there is one."""
        import pandas as pd

        frame = pd.DataFrame(self.xywh, columns=list("xywh"))
        frame.insert(0, "image_id", np.array(self.image_ids, dtype=object)[self.image] if len(self) else [])
        frame["category"] = [self.names.get(c, str(c)) for c in self.category.tolist()]
        frame["crowd"] = self.crowd
        if self.score is not None:
            frame["score"] = self.score
        return frame

    def __repr__(self) -> str:
        # the arrays would fill the page; what a reader wants to know is how much of what there is
        found = "".join(f"\n  {reason}: {issue}" for reason, issue in self.report.items())
        head = f"{len(self):,} boxes, {len(self.image_ids):,} images, {len(self.names)} categories"
        return f"BoxTable({head}){found}"
