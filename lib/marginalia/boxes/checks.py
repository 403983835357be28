"""The last step of every reader: drop the boxes that cannot be used, count what is unusual."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float, Int

from .table import BoxTable, Issue

NO_CATEGORY = -1  # category of a box that has none in its file

# Positions are written with two decimals or, as fractions of the side, with six: a box at the border may
# stand over by this fraction of the side without anybody having meant it.
ROUNDING = 2e-5


@dataclass
class RawBoxes:
    """What a reader found, before it is validated; rows in the order of the file.

    `entry(i)` names box i in the file's own words ("annotation 17"); `issues` holds what the reader has
    already counted.
    """

    xywh: Float[np.ndarray, "N 4"]
    image: Int[np.ndarray, " N"]
    image_ids: Sequence[int | str]
    sizes: Float[np.ndarray, "I 2"]
    category: Int[np.ndarray, " N"]
    names: Mapping[int, str]
    entry: Callable[[int], str]
    crowd: Bool[np.ndarray, " N"] | None = None
    score: Float[np.ndarray, " N"] | None = None
    area: Float[np.ndarray, " N"] | None = None
    difficult: Bool[np.ndarray, " N"] | None = None
    files: Sequence[str] = ()
    issues: dict[str, Issue] = field(default_factory=dict)


class Rows:
    """Boxes collected one file or line at a time; `raw` makes arrays of them."""

    def __init__(self):
        self.xywh, self.image, self.category, self.area, self.entries = [], [], [], [], []

    def add(self, entry: str, image: int, category: int, xywh: Sequence[float], area: float | None = None):
        """One box; `entry` names it in the file's own words."""
        self.xywh.append(xywh)
        self.image.append(image)
        self.category.append(category)
        self.area.append(area)
        self.entries.append(entry)

    def raw(self, image_ids: Sequence[str], sizes, names: Mapping[int, str], **others) -> RawBoxes:
        """All boxes, with the images and the other fields of RawBoxes given by the caller."""
        area = np.array(self.area, np.float64) if self.area and None not in self.area else None
        xywh = np.array(self.xywh, np.float64).reshape(-1, 4)
        image, category = np.array(self.image, np.int64), np.array(self.category, np.int64)
        entry = self.entries.__getitem__
        return RawBoxes(xywh, image, image_ids, sizes, category, names, entry, area=area, **others)


def validate(raw: RawBoxes) -> BoxTable:
    """The table of the boxes that can be used, with a report on all that were dropped or are unusual."""
    xywh = raw.xywh
    sizes = np.array(raw.sizes, np.float64).reshape(-1, 2)
    sizes[~(sizes > 0)] = np.nan  # some tools write 0 for a size they do not know
    report = dict(raw.issues)

    def count(reason: str, mask: Bool[np.ndarray, " N"], kept: bool):
        if mask.any():
            report[reason] = Issue(int(mask.sum()), kept, raw.entry(int(np.argmax(mask))))

    # dropped: boxes without four numbers, without an extent, or with a score that says nothing
    finite = np.isfinite(xywh).all(1)
    positive = (xywh[:, 2:] > 0).all(1)
    scored = np.ones(len(xywh), bool) if raw.score is None else np.isfinite(raw.score)
    count("not a number", ~finite, kept=False)
    count("size not positive", finite & ~positive, kept=False)
    count("score not a number", finite & positive & ~scored, kept=False)
    usable = finite & positive & scored

    # kept, but counted: what is unusual about a box
    limit = sizes[raw.image]
    slack = ROUNDING * limit
    with np.errstate(invalid="ignore"):  # comparisons with an unknown size are False, as they should be
        outside = (xywh[:, :2] < -slack).any(1) | (xywh[:, :2] + xywh[:, 2:] > limit + slack).any(1)
        outside |= (xywh[:, :2] < 0).any(1) & np.isnan(limit).any(1)
    count("outside the image", usable & outside, kept=True)
    count("same coordinate four times (no correlation)", usable & (xywh == xywh[:, :1]).all(1), kept=True)
    nameless = raw.category == NO_CATEGORY
    count("without a category", usable & nameless, kept=True)
    unlisted = ~np.isin(raw.category, np.fromiter(raw.names, np.int64, len(raw.names)))
    count("category not listed", usable & unlisted & ~nameless, kept=True)
    if raw.difficult is not None:
        count("marked difficult", usable & raw.difficult, kept=True)

    columns = (xywh, raw.image, raw.image_ids, sizes, raw.category, raw.names, raw.crowd, raw.score, raw.area)
    table = BoxTable(*columns, tuple(raw.files), report).where(usable)

    # what is unusual about whole images, once the boxes that stay are known
    unusual = {"image size not given": np.isnan(sizes).any(1), "images without boxes": table.counts == 0}
    for reason, mask in unusual.items():
        if mask.any():
            first = table.image_ids[int(np.argmax(mask))]
            report[reason] = Issue(int(mask.sum()), True, f"image {first}")
    return table
