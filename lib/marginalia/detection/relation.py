"""The position relation of Relation DETR: where boxes lie beside each other, as a bias on self-attention.

    e(b_i, b_j) = [log(|x_i - x_j| / w_i + 1), log(|y_i - y_j| / h_i + 1), log(w_i / w_j), log(h_i / h_j)]
    Rel = max(0, W embed(e) + B),   attention = softmax(q k^T / sqrt(D) + Rel)

Rows i are boxes of the layer before, columns j the newest. Boxes are `cxcywh`, normalised to the image. Sheet
of Relation DETR, section 3. Axes: B images, N source and M target boxes, H heads, F frequencies.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import linear
from torch.utils.checkpoint import checkpoint

EPS = 1e-5  # added to widths and heights, as in the published code
WIDTH = 16  # of the sine embedding of one scalar: F = 8 frequencies
PAIRS = 2**15  # pairs of boxes embedded at a time


def relative_geometry(
    source: Float[Tensor, "B N 4"], target: Float[Tensor, "B M 4"], eps: float = EPS
) -> Float[Tensor, "B N M 4"]:
    """How target boxes lie beside source boxes, as logs: two distances (0 or more), two ratios of sizes.

    Unchanged when all boxes are moved or mirrored, and, but for `eps`, when an axis is scaled.

    >>> boxes = torch.tensor([[[0.2, 0.5, 0.1, 0.2], [0.3, 0.5, 0.1, 0.4]]])
    >>> relative_geometry(boxes, boxes, eps=0)[0, 0, 1].exp()  # one width to the right, half as high
    tensor([2.0000, 1.0000, 1.0000, 0.5000])
    """
    (xy_i, wh_i), (xy_j, wh_j) = source[:, :, None].split(2, -1), target[:, None].split(2, -1)
    distance = (xy_i - xy_j).abs() / (wh_i + eps)  # (B, N, M, 2)
    ratio = (wh_i + eps) / (wh_j + eps)
    return torch.cat([(distance + 1).log(), ratio.log()], -1)


def frequencies(
    temperature: float = 10000.0, scale: float = 100.0, width: int = WIDTH
) -> Float[Tensor, " F"]:
    """scale / temperature^(2 m / width), m from 0: from 100 down to .03 with the published numbers."""
    return scale / temperature ** (torch.arange(0, width, 2, dtype=torch.float64) / width)


def embed(geometry: Float[Tensor, "... 4"], frequency: Float[Tensor, " F"]) -> Float[Tensor, "... 8F"]:
    """Sines and cosines of the four scalars in turn: (sin, cos) of the highest frequency first."""
    angle = geometry[..., None] * frequency.to(geometry)  # (..., 4, F)
    return torch.stack([angle.sin(), angle.cos()], -1).flatten(-3)


class PositionRelation(nn.Module):
    """Rel of boxes of two layers, for every head: 0 or more, with no gradient to the boxes.

    One `projection` (64 to H) serves all layers: 520 numbers with eight heads. The embedding (N, M, 64) is
    never there as a whole. Only its channels of the two distances belong to pairs: they are made for some
    source boxes at a time, and once more for the gradient. A ratio's angle is a difference a_i - a_j, so
    sin(a_i - a_j) = sin a_i cos a_j - cos a_i sin a_j and its share of W embed(e) is a product of matrices,
    (N, 4 F) by (4 F, M), for each head.
    """

    def __init__(self, heads: int = 8, scale: float = 100.0):
        super().__init__()
        self.projection = nn.Linear(4 * WIDTH, heads)
        self.register_buffer("frequency", frequencies(scale=scale).float(), persistent=False)

    def forward(
        self, source: Float[Tensor, "B N 4"], target: Float[Tensor, "B M 4"]
    ) -> Float[Tensor, "B H N M"]:
        """max(0, W embed(e) + B) of every source box beside every target box."""
        source, target = source.detach(), target.detach()
        distance_weight, ratio_weight = self.projection.weight.chunk(2, 1)  # (H, 4F) each
        # ratios: what sin a_j and cos a_j are multiplied by, from W and the source boxes
        sine, cosine = ratio_weight.unflatten(1, (-1, 2))[:, None].unbind(-1)  # (H, 1, 2F) each
        sin_i, cos_i = _size_waves(source, self.frequency)[:, None].chunk(2, -1)  # (B, 1, N, 2F) each
        by_i = torch.cat([cosine * sin_i - sine * cos_i, sine * sin_i + cosine * cos_i], -1)  # (B, H, N, 4F)
        size_j = _size_waves(target, self.frequency).mT[:, None]  # (B, 1, 4F, M)

        def related(rows: slice) -> Float[Tensor, "B H n M"]:
            xy_i, wh_i = source[:, rows, None].split(2, -1)  # (B, n, 1, 2) each
            distance = (xy_i - target[:, None, :, :2]).abs() / (wh_i + EPS)
            waves = embed((distance + 1).log(), self.frequency)  # (B, n, M, 4F)
            distances = linear(waves, distance_weight, self.projection.bias).movedim(-1, 1)
            return (by_i[:, :, rows] @ size_j + distances).relu()

        # some rows at a time, of which autograd keeps no waves
        step = max(1, PAIRS // (len(target) * target.shape[1]))
        chunks = [slice(first, first + step) for first in range(0, source.shape[1], step)]
        return torch.cat([checkpoint(related, rows, use_reentrant=False) for rows in chunks], 2)


class OneLayer(PositionRelation):
    """The relation of the newest boxes among themselves, in place of two layers' boxes."""

    def forward(self, source, target):
        """Rel of the target boxes, (B, H, M, M)."""
        return super().forward(target, target)


class Permuted(PositionRelation):
    """The relation of other queries' boxes, half the list away: as many parameters, and no use for them."""

    def forward(self, source, target):
        """Rel of the boxes of other queries, (B, H, N, M)."""
        return super().forward(*(boxes.roll(boxes.shape[1] // 2, 1) for boxes in (source, target)))


RELATIONS = {"two layers": PositionRelation, "one layer": OneLayer, "permuted": Permuted}


def _size_waves(boxes: Float[Tensor, "B N 4"], frequency: Float[Tensor, " F"]) -> Float[Tensor, "B N 4F"]:
    """sin and cos of log w and log h times the frequencies, all sines first.

    In 64 bits, because the angles go up to a thousand and differences of theirs count.
    """
    angle = (boxes[..., 2:].double() + EPS).log()[..., None] * frequency.double()  # (B, N, 2, F)
    return torch.cat([angle.sin().flatten(-2), angle.cos().flatten(-2)], -1).to(boxes)
