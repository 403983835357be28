"""Which decoder query may see which: denoising groups, one-to-many queries, groups of Group DETR.

A `QueryGroups` is blocks of queries in their order and a table of which block sees which; its `mask` is what
self-attention takes. `contrastive_noise` makes what denoising queries start from. Sheet of Relation DETR,
section 4. Axes: B images, N boxes of the batch, G denoising groups of P slots.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Generator, Tensor

from ..boxes.geometry import cxcywh_to_xyxy
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


def relation_detr(queries: int, more: int, groups: int, size: int) -> QueryGroups:
    """Relation DETR's two passes as one: `denoising` with its matching queries, and Q_h apart from them."""
    first = denoising(queries, groups, size)
    sees = np.eye(groups + 2, dtype=bool)
    sees[:-1, :-1] = first.sees
    return QueryGroups((*first.names, ONE_TO_MANY), (*first.sizes, more), sees)


def repeated(targets: Targets, times: int) -> Targets:
    """Every box `times` times, image by image: one-to-one matching with these is one-to-many.

    >>> from marginalia.detection.matching import gather_targets
    >>> repeated(gather_targets([[[0.5, 0.5, 0.1, 0.1]], []], [[3], []]), 6).counts
    (6, 0)
    """
    parts = targets.boxes.split(targets.counts), targets.labels.split(targets.counts)
    boxes, labels = (torch.cat([one.repeat(times, *[1] * (one.ndim - 1)) for one in part]) for part in parts)
    return Targets(boxes, labels, tuple(times * count for count in targets.counts))


# --- what denoising queries start from


@dataclass(frozen=True)
class NoisedBoxes:
    """Boxes and labels of G denoising groups, one after the other, in every image.

    A group has P slots, twice as many as the fullest image has boxes: positives, then negatives, each in the
    order of the image's boxes. A padded slot has label -1 and the box (.5, .5, .5, .5).
    """

    boxes: Float[Tensor, "B GP 4"]  # cxcywh; corners in [0, 1]; a negative's width or height may be below 0
    labels: Int[Tensor, "B GP"]
    answers_for: Int[Tensor, "B GP"]  # index into the N boxes of the targets; -1: background
    groups: int
    size: int  # P

    def beside(self, queries: int) -> QueryGroups:
        """The groups before so many matching queries."""
        return denoising(queries, self.groups, self.size)


def moved_corners(
    boxes: Float[Tensor, "N 4"], negative: Bool[Tensor, " R"], generator: Generator | None = None
) -> Float[Tensor, "N R 4"]:
    """R noised copies of each box (cxcywh), as corners x, y, x, y that may lie outside the image.

    Every coordinate moves by r w / 2 (r h / 2), to either side; r is in [0, 1), of negatives in [1, 2).
    """
    shape = len(boxes), len(negative), 4
    r = torch.rand(shape, generator=generator) + negative[:, None]
    sign = 2 * torch.randint(2, shape, generator=generator) - 1
    half = boxes[:, None, 2:].repeat(1, 1, 2) / 2  # (N, 1, 4)
    return cxcywh_to_xyxy(boxes)[:, None] + sign * r * half


def contrastive_noise(
    targets: Targets, classes: int, generator: Generator | None = None, slots: int = 100
) -> NoisedBoxes:
    """Contrastive denoising (CDN) of DINO and Relation DETR: `moved_corners`, and some labels that differ.

    A label is drawn anew with probability .25, from all classes, its own among them. There are as many groups
    as fit `slots` at one slot a box of the fullest image, at least 1; without any box there are no slots.

    >>> from marginalia.detection.matching import gather_targets
    >>> noised = contrastive_noise(gather_targets([[[0.5, 0.5, 0.2, 0.2]] * 3, []], [[0, 1, 2], []]), 10)
    >>> noised.groups, noised.size, noised.boxes.shape  # 33 groups of 3 positives and 3 negatives
    (33, 6, torch.Size([2, 198, 4]))
    """
    fullest = max(targets.counts, default=0)
    groups = max(1, slots // fullest) if fullest else 1
    negative = torch.arange(2 * groups) % 2 == 1  # halves of the groups: (2G,)

    # Noise: every box once in each half of each group.
    corners = moved_corners(targets.boxes, negative, generator).clamp(0, 1)  # (N, 2G, 4)
    labels = targets.labels[:, None].expand(-1, 2 * groups)
    drawn = torch.randint(classes, labels.shape, generator=generator)
    labels = torch.where(torch.rand(labels.shape, generator=generator) < 0.25, drawn, labels)

    # Slots: a box keeps its number within its image; what no box takes is padded.
    counts, which = torch.tensor(targets.counts), torch.arange(len(targets.boxes))
    number = which - (counts.cumsum(0) - counts)[targets.image]
    place = targets.image[:, None], number[:, None] + fullest * torch.arange(2 * groups)  # (N, 2G) each
    shape = len(counts), 2 * groups * fullest
    boxes, slot_labels = torch.full((*shape, 4), 0.5), torch.full(shape, -1)
    answers_for = slot_labels.clone()
    low, high = corners.split(2, -1)
    boxes[place] = torch.cat([(low + high) / 2, high - low], -1)
    slot_labels[place] = labels
    answers_for[place] = torch.where(negative, -1, which[:, None])
    return NoisedBoxes(boxes, slot_labels, answers_for, groups, 2 * fullest)
