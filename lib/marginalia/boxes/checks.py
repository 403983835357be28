"""The last step of every reader: drop the boxes that cannot be used, count what is unusual."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool

from .table import MAX_AREA, BoxTable, Issue

HIGHEST_CLASS = 2**31 - 1  # number of a class that tables of others still hold
FARTHEST = 1e9  # pixels: areas of larger boxes are soon no numbers any more
NO_CATEGORY = -1  # category of a box that has none in its file
NO_BOX = (np.nan,) * 4  # in the place of a box that is not in its file

# Positions are written with two decimals or, as fractions of the side, with six: a box at the border may
# stand over by this fraction of the side without anybody having meant it.
ROUNDING = 2e-5


@dataclass(frozen=True)
class Raw:
    """What a reader found in a file, before anything is dropped."""

    table: BoxTable  # all boxes in the order of the file; its report holds what the reader has counted
    entry: Callable[[int], str]  # what the file calls box i ("annotation 17")


class Rows:
    """Boxes and what is odd about their files, collected one file or line at a time."""

    def __init__(self):
        self.boxes: list[tuple] = []  # what `add` was given
        self.odd: dict[tuple[str, bool], list[str]] = defaultdict(list)

    def add(self, entry: str, image: int, category: int, xywh: Sequence[float], area: float = np.nan):
        """One box; `entry` names it in the file's own words."""
        self.boxes.append((entry, image, category, xywh, area))

    def mark(self, reason: str, entry: str, kept: bool = True):
        """Count an entry under a phrase of the report."""
        self.odd[reason, kept].append(entry)

    def raw(self, image_ids, sizes, names: Mapping[int, str], files=()) -> Raw:
        """All boxes; where there are no names, classes are called by their numbers."""
        entries, image, category, xywh, area = zip(*self.boxes, strict=True) if self.boxes else [()] * 5
        names = names or {c: str(c) for c in sorted(set(category) - {NO_CATEGORY})}
        issues = {reason: Issue(len(found), kept, found[0]) for (reason, kept), found in self.odd.items()}
        columns = (xywh, image, image_ids, sizes, category, names)
        return Raw(BoxTable(*columns, area=area, files=tuple(files), report=issues), entries.__getitem__)


def validate(raw: Raw) -> BoxTable:
    """The boxes that can be used, with a report on all that were dropped or are unusual."""
    table, entry, xywh = raw.table, raw.entry, raw.table.xywh
    # some tools write 0 for a size they do not know
    sizes = np.where((table.sizes > 0) & np.isfinite(table.sizes), table.sizes, np.nan)
    report = dict(table.report)

    def count(reason: str, mask: Bool[np.ndarray, " N"], kept: bool, name: Callable[[int], str] = entry):
        if mask.any():
            report[reason] = Issue(int(mask.sum()), kept, name(int(np.argmax(mask))))

    # dropped: boxes without four numbers, without an extent, or with a score that says nothing
    boxless = np.isnan(xywh).all(1)
    finite = np.isfinite(xywh).all(1)
    near = (abs(xywh) <= FARTHEST).all(1)
    least = xywh[:, 2:].min(1)
    positive = least > 0 if table.score is None else least >= 0
    scored = np.ones(len(xywh), bool) if table.score is None else np.isfinite(table.score)
    count("without a box", boxless, kept=False)
    count("not a number", ~finite & ~boxless, kept=False)
    count("too large for an image", finite & ~near, kept=False)
    finite &= near
    count("size not positive", finite & ~positive, kept=False)
    count("score not a number", finite & positive & ~scored, kept=False)
    usable = finite & positive & scored
    count("size zero, a false positive", usable & (least == 0), kept=True)

    # kept, but counted: what is unusual about a box
    limit = sizes[table.image]
    slack = ROUNDING * limit
    with np.errstate(
        invalid="ignore", over="ignore"
    ):  # comparisons with an unknown size are False, as they should be
        outside = (xywh[:, :2] < -slack).any(1) | (xywh[:, :2] + xywh[:, 2:] > limit + slack).any(1)
    outside |= (xywh[:, :2] < 0).any(1) & np.isnan(limit).any(1)
    count("outside the image", usable & outside, kept=True)
    count("same coordinate four times (no correlation)", usable & (xywh == xywh[:, :1]).all(1), kept=True)
    nameless = table.category == NO_CATEGORY
    count("without a category", usable & nameless, kept=True)
    count("category not listed", usable & ~nameless & ~np.isin(table.category, [*table.names]), kept=True)
    count("all boxes are crowd", usable & table.crowd[usable].all(), kept=True)
    if table.area is not None:
        # areas that COCO's evaluation would pass over without a word
        strange = (table.area < 0) | (table.area > MAX_AREA)
        count("area negative or too large, not taken", usable & strange, kept=True)
        area = np.where(strange, np.nan, table.area)
        table = replace(table, area=None if np.isnan(area).all() else area)

    # what is unusual about whole images, once the boxes that stay are known
    table = replace(table, sizes=sizes).where(usable)

    def image(i: int) -> str:
        return f"image {table.image_ids[i]!s:.60}"

    count("image size not given", np.isnan(sizes).any(1), kept=True, name=image)
    count("images without boxes", table.counts == 0, kept=True, name=image)
    return replace(table, report=report)
