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
    never there as a whole: it is made for some rows at a time, and once more for the gradient.
    """

    def __init__(self, heads: int = 8, temperature: float = 10000.0, scale: float = 100.0):
        super().__init__()
        self.projection = nn.Linear(4 * WIDTH, heads)
        self.register_buffer("frequency", frequencies(temperature, scale).float(), persistent=False)

    def forward(
        self, source: Float[Tensor, "B N 4"], target: Float[Tensor, "B M 4"]
    ) -> Float[Tensor, "B H N M"]:
        weight, bias = self.projection.weight, self.projection.bias
        return _Relation.apply(source.detach(), target.detach(), weight, bias, self.frequency)


class OneLayer(PositionRelation):
    """The relation of the newest boxes among themselves, in place of two layers' boxes."""

    def forward(self, source, target):
        return super().forward(target, target)


class Permuted(PositionRelation):
    """The relation of other queries' boxes, half the list away: as many parameters, and no use for them."""

    def forward(self, source, target):
        return super().forward(*(boxes.roll(boxes.shape[1] // 2, 1) for boxes in (source, target)))


RELATIONS = {"two layers": PositionRelation, "one layer": OneLayer, "permuted": Permuted}


class _Relation(torch.autograd.Function):
    """max(0, W embed(e) + B), some source boxes at a time.

    Of the embedding's channels only those of the two distances belong to pairs. A ratio's angle is a
    difference a_i - a_j, so sin(a_i - a_j) = sin a_i cos a_j - cos a_i sin a_j and its share of W embed(e)
    is a product of matrices, (N, 4 F) by (4 F, M), for each head.
    """

    @staticmethod
    def forward(ctx, source, target, weight, bias, frequency):
        ctx.save_for_backward(source, target, weight, frequency)
        size_i, size_j = _size_waves(source, frequency), _size_waves(target, frequency)  # (B, N or M, 4F)
        distance_weight, left = _parts(weight, size_i, len(frequency))  # (H, 4F), (B, H, N, 4F)
        relation = left @ size_j.mT[:, None]  # (B, H, N, M), of the ratios
        for rows in _chunks(source, target):
            waves = _distance_waves(source[:, rows], target, frequency)  # (B, n, M, 4F)
            relation[:, :, rows] += linear(waves, distance_weight, bias).movedim(-1, 1)
        relation = relation.relu_()
        ctx.relation = relation.detach()
        return relation

    @staticmethod
    def backward(ctx, gradient):
        source, target, weight, frequency = ctx.saved_tensors
        gradient = gradient * (ctx.relation > 0)  # (B, H, N, M)
        # ratios: sum over pairs of the gradient times sin and cos of a_i - a_j
        (sin_i, cos_i), size_j = _size_waves(source, frequency).chunk(2, -1), _size_waves(target, frequency)
        by_sin, by_cos = (gradient @ size_j[:, None]).chunk(2, -1)  # with sin a_j and cos a_j; (B, H, N, 2F)
        sine = (sin_i[:, None] * by_cos - cos_i[:, None] * by_sin).sum((0, 2))  # (H, 2F)
        cosine = (cos_i[:, None] * by_cos + sin_i[:, None] * by_sin).sum((0, 2))
        # distances: their waves once more
        distances = torch.zeros_like(weight[:, : weight.shape[1] // 2])
        for rows in _chunks(source, target):
            waves = _distance_waves(source[:, rows], target, frequency).flatten(0, 2)  # (pairs, 4F)
            distances += gradient[:, :, rows].movedim(1, 0).flatten(1) @ waves
        ratios = torch.stack([sine, cosine], -1).flatten(1)
        return None, None, torch.cat([distances, ratios], 1), gradient.sum((0, 2, 3)), None


def _chunks(source: Tensor, target: Tensor) -> list[slice]:
    """Rows of the source boxes, as many at a time as make PAIRS pairs."""
    size = max(1, PAIRS // (len(target) * target.shape[1]))
    return [slice(first, first + size) for first in range(0, source.shape[1], size)]


def _distance_waves(source, target, frequency) -> Float[Tensor, "B n M 4F"]:
    """The part of the embedding that belongs to the two distances."""
    distance = (source[:, :, None, :2] - target[:, None, :, :2]).abs() / (source[:, :, None, 2:] + EPS)
    return embed((distance + 1).log(), frequency)


def _size_waves(boxes: Float[Tensor, "B N 4"], frequency: Float[Tensor, " F"]) -> Float[Tensor, "B N 4F"]:
    """sin and cos of log w and log h times the frequencies, all sines first.

    In 64 bits, because the angles go up to a thousand and differences of theirs count.
    """
    angle = (boxes[..., 2:].double() + EPS).log()[..., None] * frequency.double()  # (B, N, 2, F)
    return torch.cat([angle.sin().flatten(-2), angle.cos().flatten(-2)], -1).to(boxes)


def _parts(
    weight: Float[Tensor, "H 8F"], size_i: Float[Tensor, "B N 4F"], count: int
) -> tuple[Float[Tensor, "H 4F"], Float[Tensor, "B H N 4F"]]:
    """W of the distances, and W of the ratios taken into the waves of the source boxes."""
    distances, ratios = weight.split(4 * count, 1)
    sine, cosine = ratios.unflatten(1, (-1, 2)).unbind(-1)  # (H, 2F) each
    sin_i, cos_i = (wave[:, None] for wave in size_i.chunk(2, -1))  # (B, 1, N, 2F)
    sine, cosine = sine[:, None], cosine[:, None]  # (H, 1, 2F)
    # the ratio's share is [with sin a_j, with cos a_j]
    return distances, torch.cat([cosine * sin_i - sine * cos_i, sine * sin_i + cosine * cos_i], -1)
