"""Which decoder query may see which: denoising groups, one-to-many queries, groups of Group DETR.

A `QueryGroups` is blocks of queries in their order and a table of which block sees which; its `mask` is what
self-attention takes. Sheet of Relation DETR, section 4.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from .matching import Targets

MATCHING, ONE_TO_MANY = "matching", "one-to-many"  # the first is left at inference


@dataclass(frozen=True)
class QueryGroups:
    """K blocks of queries, one after the other."""

    names: tuple[str, ...]
    sizes: tuple[int, ...]  # queries of each block
    sees: Bool[np.ndarray, "K K"]  # row: who attends, column: who is attended

    def __post_init__(self):
        blind = [name for name, row in zip(self.names, self.sees, strict=True) if not row.any()]
        if blind:
            raise ValueError(f"QueryGroups: {blind[0]} sees nothing; its attention would not be defined")

    def mask(self) -> Bool[Tensor, "N N"]:
        """True where a query (row) may not see another (column), as torch's attention takes it."""
        return ~torch.from_numpy(self.sees.repeat(self.sizes, 0).repeat(self.sizes, 1))

    @property
    def open_cells(self) -> int:
        """How many pairs of queries attend: what self-attention could cost at least."""
        return int(np.outer(self.sizes, self.sizes)[self.sees].sum())

    def block(self, name: str) -> slice:
        """Where the queries of a block stand."""
        k = self.names.index(name)
        return slice(sum(self.sizes[:k]), sum(self.sizes[: k + 1]))


def denoising(queries: int, groups: int, size: int) -> QueryGroups:
    """DN-DETR, DINO and the first pass of Relation DETR: groups of noised boxes before the matching queries.

    Groups do not see each other but do see the matching queries, which see none of them. size: slots of a
    group, one for each object of the fullest image (DN), two with the negatives (CDN).

    >>> denoising(4, groups=2, size=3).open_cells  # G P (P + N) + N^2
    58
    """
    names = (*(f"noised {g}" for g in range(1, groups + 1)), MATCHING)
    sees = np.eye(groups + 1, dtype=bool)
    sees[:, -1] = True
    return QueryGroups(names, (size,) * groups + (queries,), sees)


def one_to_many(queries: int, more: int) -> QueryGroups:
    """H-DETR, and Relation DETR's Q_m beside Q_h: two blocks that do not see each other."""
    return QueryGroups((MATCHING, ONE_TO_MANY), (queries, more), np.eye(2, dtype=bool))


def group_detr(queries: int, groups: int) -> QueryGroups:
    """Group DETR: equal blocks that do not see each other, each matched one-to-one; the first one stays."""
    names = (MATCHING, *(f"group {g}" for g in range(2, groups + 1)))
    return QueryGroups(names, (queries,) * groups, np.eye(groups, dtype=bool))


def repeated(targets: Targets, times: int) -> Targets:
    """Every box `times` times, image by image: one-to-one matching with these is one-to-many.

    >>> from marginalia.detection.matching import gather_targets
    >>> repeated(gather_targets([[[0.5, 0.5, 0.1, 0.1]], []], [[3], []]), 6).counts
    (6, 0)
    """
    parts = targets.boxes.split(targets.counts), targets.labels.split(targets.counts)
    boxes, labels = (torch.cat([one.repeat(times, *[1] * (one.ndim - 1)) for one in part]) for part in parts)
    return Targets(boxes, labels, tuple(times * count for count in targets.counts))
