"""The cross-attention of DETR, Conditional DETR and DAB-DETR as pure functions on tensors.

B batch, Q queries, K keys (the h * w cells of the feature map, row by row), H heads, D channels of a head,
L decoder layers; `width` = H * D is the width of the model. Logits are scaled as the model scales them, and
never given as their sum only: what they are the sum of is the point.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

CELL_EPS = 1e-6  # added to the number of valid rows and columns before dividing, as in the published models


def sine_frequencies(width: int, temperature: float = 10000.0, dtype=torch.float32) -> Float[Tensor, " F"]:
    """Frequencies omega_i in the positional encoding of a coordinate, F = width / 4, the fastest (1) first.

    omega_i = temperature^(-2 i / (width / 2)); `width` is that of a point, half of it that of a coordinate.
    """
    return 1 / _periods(width, temperature, torch.device("cpu"), dtype)


def _periods(width: int, temperature: float, device: torch.device, dtype: torch.dtype) -> Float[Tensor, " F"]:
    # the published models divide by these; multiplying by the frequencies would round differently
    index = torch.arange(width // 4, device=device, dtype=dtype)
    return temperature ** (2 * index / (width // 2))


def positional_encoding(
    points: Float[Tensor, "... P"], width: int, temperature: float = 10000.0
) -> Float[Tensor, "... P*width/2"]:
    """Sines and cosines of points (x, y) or boxes (x, y, w, h) in [0, 1]; `width` / 2 channels a coordinate.

    Channels 2i and 2i + 1 of a coordinate v are sin(2 pi v omega_i) and cos(2 pi v omega_i); the coordinates
    follow each other as y, x, w, h: *y comes first*, although the input begins with x. A point's encoding has
    squared length width / 2 wherever the point is. Conditional DETR (sheet 2.1), DAB-DETR (sheet 5.1).
    ValueError for another number of coordinates, or a width that is no multiple of 4.

    >>> positional_encoding(torch.tensor([1 / 12, 0.0]), width=4)  # sine and cosine of y = 0, then x
    tensor([0.0000, 1.0000, 0.5000, 0.8660])
    """
    if width % 4 or points.shape[-1] not in (2, 4):
        raise ValueError(
            f"points {tuple(points.shape)} must be (..., 2) or (..., 4), width {width} a multiple of 4"
        )
    order = [1, 0, 2, 3][: points.shape[-1]]
    periods = _periods(width, temperature, points.device, points.dtype)
    angles = points[..., order, None] * (2 * math.pi) / periods  # (..., P, F)
    return torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(-3)  # (..., P * 2F), sine beside cosine


def shift_encoding(
    encoding: Float[Tensor, "... width"], step: Float[Tensor, "... 2"], temperature: float = 10000.0
) -> Float[Tensor, "... width"]:
    """Positional encoding of a point moved by `step` = (dx, dy): for each frequency a rotation.

    The angle is 2 pi omega_i times the step. Scaling channels, which is what a diagonal transformation does,
    cannot do this by itself.
    """
    width = encoding.shape[-1]
    periods = _periods(width, temperature, encoding.device, encoding.dtype)
    angles = step[..., [1, 0], None] * (2 * math.pi) / periods  # (..., 2, F), y first as in the encoding
    sine, cosine = encoding.unflatten(-1, (2, width // 4, 2)).unbind(-1)  # (..., 2, F) each
    turned = sine * angles.cos() + cosine * angles.sin(), cosine * angles.cos() - sine * angles.sin()
    return torch.stack(turned, dim=-1).flatten(-3)


def cell_positions(h: int, w: int, dtype=torch.float32, device=None) -> Float[Tensor, "h*w 2"]:
    """Points (x, y) that stand for the cells of an h x w map, row by row: ((j + 1) / w, (i + 1) / h).

    That is each cell's lower right corner and not its middle: maps look shifted by half a cell (sheet 7.5).
    """
    return valid_positions(torch.ones(1, h, w, dtype=torch.bool, device=device), dtype)[0]


def valid_positions(valid: Bool[Tensor, "B h w"], dtype=torch.float32) -> Float[Tensor, "B h*w 2"]:
    """As `cell_positions`, for padded images: the part that is not padding runs from 0 to 1."""
    counted = valid.to(dtype)
    down, across = counted.cumsum(1), counted.cumsum(2)
    y, x = down / (down[:, -1:, :] + CELL_EPS), across / (across[:, :, -1:] + CELL_EPS)
    return torch.stack((x, y), dim=-1).flatten(1, 2)  # (B, K, 2)


def split_heads(tensor: Float[Tensor, "B N width"], heads: int) -> Float[Tensor, "B H N D"]:
    """Head h gets the channels h * D to (h + 1) * D."""
    return tensor.unflatten(-1, (heads, -1)).transpose(-3, -2)


def join_heads(tensor: Float[Tensor, "B H N D"]) -> Float[Tensor, "B N width"]:
    """The inverse of `split_heads`."""
    return tensor.transpose(-3, -2).flatten(-2)


def concatenate_halves(
    content: Float[Tensor, "B N width"], spatial: Float[Tensor, "B N width"], heads: int
) -> Float[Tensor, "B H N 2*D"]:
    """Each head's D content channels, then its D spatial ones: one dot product is then the sum of two."""
    return torch.cat((split_heads(content, heads), split_heads(spatial, heads)), dim=-1)


def head_products(
    query: Float[Tensor, "B Q width"], key: Float[Tensor, "B K width"], heads: int
) -> Float[Tensor, "B H Q K"]:
    """q . k of every head, unscaled."""
    return split_heads(query, heads) @ split_heads(key, heads).mT


def conditional_logits(
    content_query: Float[Tensor, "B Q width"],
    content_key: Float[Tensor, "B K width"],
    spatial_query: Float[Tensor, "B Q width"],
    spatial_key: Float[Tensor, "B K width"],
    heads: int,
) -> tuple[Float[Tensor, "B H Q K"], Float[Tensor, "B H Q K"]]:
    """Content logits c_q . c_k and spatial logits p_q . p_k of every head, from the *projected* vectors.

    Both are divided by sqrt(2 D), the width of a head after concatenation; attention is the softmax of their
    sum. In the first layer o_q and p_k belong to the content vectors. Conditional DETR, sheet 2.3.

    >>> c_q, c_k, p_q, p_k = torch.ones(4, 1, 1, 8)  # one query, one key, width 8
    >>> content, spatial = conditional_logits(c_q, c_k, 2 * p_q, p_k, heads=2)
    >>> content.flatten(), spatial.flatten()  # 4 / sqrt(8) and 8 / sqrt(8), for each head
    (tensor([1.4142, 1.4142]), tensor([2.8284, 2.8284]))
    """
    scale = (2 * content_query.shape[-1] // heads) ** -0.5
    content = head_products(content_query, content_key, heads)
    return content * scale, head_products(spatial_query, spatial_key, heads) * scale


class DetrTerms(NamedTuple):
    """The four parts of DETR's logits, each (B, H, Q, K), and the two sums that the paper draws."""

    content_content: Tensor  # c_q . c_k
    content_position: Tensor  # c_q . p_k
    object_content: Tensor  # o_q . c_k
    object_position: Tensor  # o_q . p_k

    @property
    def content(self) -> Float[Tensor, "B H Q K"]:
        """(c_q + o_q) . c_k: what is left of the logits beside the spatial part."""
        return self.content_content + self.object_content

    @property
    def spatial(self) -> Float[Tensor, "B H Q K"]:
        """(c_q + o_q) . p_k: DETR's spatial attention in Conditional DETR, Figures 1 and 4."""
        return self.content_position + self.object_position


def detr_logits(
    content_query: Float[Tensor, "B Q width"],
    object_query: Float[Tensor, "B Q width"],
    content_key: Float[Tensor, "B K width"],
    key_encoding: Float[Tensor, "B K width"],
    project_query: Callable[[Tensor], Tensor],
    project_key: Callable[[Tensor], Tensor],
    heads: int,
) -> tuple[DetrTerms, Float[Tensor, "B H Q K"]]:
    """DETR's logits (c_q + o_q)^T (c_k + p_k) / sqrt(D): as four terms, and as the model has them.

    The vectors are those *before* projection; the projections are called, so that adapters and weights of 8
    bits take part. The four terms sum to the logits as far as the projections are linear. Each bias is
    counted once, with the content vectors. Conditional DETR eq. 2.
    """
    scale = (content_query.shape[-1] // heads) ** -0.5
    # the projection of zeros is the bias: without it o_q and p_k are projected by the matrix alone
    objects = project_query(object_query) - project_query(torch.zeros_like(object_query))
    positions = project_key(key_encoding) - project_key(torch.zeros_like(key_encoding))
    queries, keys = (project_query(content_query), objects), (project_key(content_key), positions)
    terms = DetrTerms(*(head_products(q, k, heads) * scale for q in queries for k in keys))
    # what the model has: the projections of the sums
    query, key = project_query(content_query + object_query), project_key(content_key + key_encoding)
    return terms, head_products(query, key, heads) * scale


def modulate(
    encoding: Float[Tensor, "B Q width"], size: Float[Tensor, "B Q 2"], wished: Float[Tensor, "B Q 2"]
) -> Float[Tensor, "B Q width"]:
    """DAB-DETR's modulation of a positional encoding: the x half times w_ref / w, the y half times h_ref / h.

    `size` is the anchor's (w, h) and `wished` the predicted (w_ref, h_ref), both in (0, 1). A factor below
    one flattens the logits along that axis, which widens the map (sheet 5.1).
    """
    factor = (wished / size)[..., [1, 0]]  # (B, Q, 2), y first as in the encoding
    return (encoding.unflatten(-1, (2, -1)) * factor[..., None]).flatten(-2)


def unprojected_logits(
    spatial_query: Float[Tensor, "... width"], h: int, w: int, temperature: float = 10000.0
) -> Float[Tensor, "... h w"]:
    """p_q . p_k of every cell of an h x w map with no projection between, unscaled.

    For p_q = p_s this is the sum of cos(2 pi omega_i delta) over the frequencies, for delta along x and for
    delta along y: at most width / 2, where the point is. `temperature` is that of the keys (sheet 2.1).
    """
    positions = cell_positions(h, w, spatial_query.dtype, spatial_query.device)
    key_encoding = positional_encoding(positions, spatial_query.shape[-1], temperature)  # (K, width)
    return (spatial_query @ key_encoding.mT).unflatten(-1, (h, w))


def marginal_product(maps: Float[Tensor, "... h w"]) -> Float[Tensor, "... h w"]:
    """What maps that sum to 1 would be if row and column were independent: row sums times column sums.

    A map equals it exactly if it has rank 1, that is if its logits are a function of x plus one of y.
    """
    return maps.sum(-1, keepdim=True) * maps.sum(-2, keepdim=True)


def combine_maps(
    content: Float[Tensor, "... h w"], spatial: Float[Tensor, "... h w"]
) -> Float[Tensor, "... h w"]:
    """The normalised product of two maps: what attention is, since logits add where maps multiply.

    Taken in log space, because the plain product of two sharp maps can be 0 everywhere.

    >>> combine_maps(torch.tensor([[0.5, 0.5]]), torch.tensor([[0.2, 0.8]]))  # a uniform map changes nothing
    tensor([[0.2000, 0.8000]])
    """
    product = (content.log() + spatial.log()).flatten(-2)
    return product.softmax(-1).unflatten(-1, content.shape[-2:])


@dataclass(frozen=True)
class AttentionMaps:
    """Cross-attention of every decoder layer and head, taken apart; each field is (L, B, H, Q, h, w).

    The three maps sum to 1 over the cells, `combined` is the weight that the model uses. In the first layer
    of Conditional and DAB-DETR the content part also holds o_q and p_k.
    """

    content: Float[Tensor, "L B H Q h w"]
    spatial: Float[Tensor, "L B H Q h w"]
    combined: Float[Tensor, "L B H Q h w"]
    content_logits: Float[Tensor, "L B H Q h w"]
    spatial_logits: Float[Tensor, "L B H Q h w"]
    valid: Bool[Tensor, "B h w"] | None = None  # cells that are not padding; None: all of them

    @classmethod
    def from_logits(
        cls,
        content_logits: Float[Tensor, "L B H Q K"],
        spatial_logits: Float[Tensor, "L B H Q K"],
        h: int,
        w: int,
        valid: Bool[Tensor, "B h w"] | None = None,
        combined_logits: Float[Tensor, "L B H Q K"] | None = None,
    ) -> AttentionMaps:
        """Maps from scaled logits; a padded cell weighs exactly 0 in all three.

        combined_logits: in place of the sum of the two.
        """
        if combined_logits is None:
            combined_logits = content_logits + spatial_logits
        # softmax over the cells that are not padding
        parts = content_logits, spatial_logits, combined_logits
        if valid is not None:
            padding = ~valid.flatten(1)[None, :, None, None, :]  # (1, B, 1, 1, K)
            parts = [part.masked_fill(padding, -torch.inf) for part in parts]
        fields = [part.softmax(-1) for part in parts] + [content_logits, spatial_logits]
        return cls(*(field.unflatten(-1, (h, w)) for field in fields), valid)  # K becomes h, w
