"""What a decoder query is: a learned vector (DETR), a point (Conditional DETR) or an anchor (DAB-DETR).

Each kind answers the same four questions: where does it start (`start`), what is its position in
self-attention (`position`), what is its spatial query in a layer (`spatial`), and where is it after a layer
(`refine`). The spatial query is put together from a form of T (`TRANSFORMS`, Figure 5) and a way of using it
(`SPATIAL_QUERIES`, Table 3).
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from .attention import modulate, positional_encoding
from .layers import mlp

# --- reference points: s of Conditional DETR eq. 1 and the two alternatives of its ablation


class PredictedPoint(nn.Module):
    """s = MLP(o_q)."""

    def __init__(self, queries: int, width: int):
        super().__init__()
        self.head = mlp(width, width, 2)

    def forward(self, object_query: Float[Tensor, "Q width"]) -> Float[Tensor, "Q 2"]:
        return self.head(object_query)


class LearnedPoint(nn.Module):
    """s is a free parameter."""

    def __init__(self, queries: int, width: int):
        super().__init__()
        self.point = nn.Parameter(torch.randn(queries, 2))

    def forward(self, object_query: Float[Tensor, "Q width"]) -> Float[Tensor, "Q 2"]:
        return self.point


class FixedPoint(nn.Module):
    """s = 0, the middle of the image, for every query: DETR's boxes have no reference."""

    def __init__(self, queries: int, width: int):
        super().__init__()

    def forward(self, object_query: Float[Tensor, "Q width"]) -> Float[Tensor, "Q 2"]:
        return object_query.new_zeros(len(object_query), 2)


POINTS = {"predicted": PredictedPoint, "learned": LearnedPoint, "fixed": FixedPoint}

# --- T: how an embedding f transforms the positional encoding p_s (Figure 5)


class Scaling(nn.Module):
    """T = lambda times identity, or a diagonal: `factors` is 1 or the width."""

    def __init__(self, width: int, factors: int):
        super().__init__()
        self.head = mlp(width, width, factors)

    def forward(
        self, f: Float[Tensor, "B Q width"], encoding: Float[Tensor, "B Q width"]
    ) -> Float[Tensor, "B Q width"]:
        return self.head(f) * encoding


class Mixing(nn.Module):
    """T is made of `blocks` square matrices along the diagonal; one block is a full matrix."""

    def __init__(self, width: int, blocks: int):
        super().__init__()
        self.blocks = blocks
        self.head = mlp(width, width, width * width // blocks)

    def forward(
        self, f: Float[Tensor, "B Q width"], encoding: Float[Tensor, "B Q width"]
    ) -> Float[Tensor, "B Q width"]:
        side = encoding.shape[-1] // self.blocks
        matrices = self.head(f).unflatten(-1, (self.blocks, side, side))  # (B, Q, blocks, side, side)
        return (matrices @ encoding.unflatten(-1, (self.blocks, side, 1))).flatten(-3)


class Unchanged(nn.Module):
    """T is the identity."""

    def forward(
        self, f: Float[Tensor, "B Q width"], encoding: Float[Tensor, "B Q width"]
    ) -> Float[Tensor, "B Q width"]:
        return encoding


TRANSFORMS = {
    "identity": lambda width, heads: Unchanged(),
    "single": lambda width, heads: Scaling(width, 1),
    "block": lambda width, heads: Mixing(width, heads),
    "full": lambda width, heads: Mixing(width, 1),
    "diagonal": lambda width, heads: Scaling(width, width),
}

# --- the spatial query p_q from f (layer input), c_q (after self-attention) and p_s (Table 3)


class SpatialQuery(nn.Module):
    """CSQ, p_q = T(f) p_s, shared by all layers. The first layer has no f yet: there T is the identity."""

    def __init__(self, transform: nn.Module):
        super().__init__()
        self.transform = transform

    def forward(
        self, f: Float[Tensor, "B Q width"], content: Tensor, encoding: Tensor, first: bool
    ) -> Float[Tensor, "B Q width"]:
        return encoding if first else self.transform(f, encoding)


class SpatialQueryFromContent(SpatialQuery):
    """CSQ-I, p_q = T(c_q) p_s: the transformation comes from the same layer's self-attention output."""

    def forward(self, f, content, encoding, first):
        return encoding if first else self.transform(content, encoding)


class SpatialQueryWithoutPoint(SpatialQuery):
    """CSQ-T, p_q = T(f) 1: the diagonal alone, the reference point unused. All ones in the first layer."""

    def forward(self, f, content, encoding, first):
        return super().forward(f, content, torch.ones_like(encoding), first)


class SpatialQueryOfPoint(nn.Module):
    """CSQ-P, p_q = p_s."""

    def forward(self, f, content, encoding, first):
        return encoding


class SpatialQueryOfEmbedding(nn.Module):
    """CSQ-C, p_q = f. Zero in the first layer, where there is no f: its spatial map is flat."""

    def forward(self, f, content, encoding, first):
        return f


SPATIAL_QUERIES = {
    "csq": SpatialQuery,
    "csq-i": SpatialQueryFromContent,
    "csq-t": SpatialQueryWithoutPoint,
    "csq-p": lambda transform: SpatialQueryOfPoint(),
    "csq-c": lambda transform: SpatialQueryOfEmbedding(),
}

# --- the three kinds


class LearnedQueries(nn.Module):
    """DETR: a learned vector o_q, the same for every image and layer; no spatial query.

    The reference point serves the box head only; `FixedPoint` is DETR as published.
    """

    def __init__(self, queries: int, width: int, point: nn.Module):
        super().__init__()
        self.object_query = nn.Parameter(torch.randn(queries, width))
        self.point = point

    def start(self, batch: int) -> Float[Tensor, "B Q 2"]:
        """References (x, y) in [0, 1] before the first layer."""
        return self.point(self.object_query).sigmoid().expand(batch, -1, -1)

    def position(self, references: Float[Tensor, "B Q 2"]) -> Float[Tensor, "1 Q width"]:
        """What self-attention adds to queries and keys."""
        return self.object_query[None]

    def spatial(self, references, first: bool, f, content) -> None:
        """Nothing: position and content are matched together."""
        return None

    def refine(self, references, f, box_head) -> tuple[Tensor, Tensor]:
        """References for the next box and for the next layer: unchanged."""
        return references, references


class PointQueries(LearnedQueries):
    """Conditional DETR: o_q as before, and a spatial query for each image, layer and query (sheet 2.2)."""

    def __init__(
        self, queries: int, width: int, point: nn.Module, spatial_query: nn.Module, temperature: float
    ):
        super().__init__(queries, width, point)
        self.spatial_query, self.temperature = spatial_query, temperature

    def spatial(
        self, references: Float[Tensor, "B Q 2"], first: bool, f: Tensor, content: Float[Tensor, "B Q width"]
    ) -> Float[Tensor, "B Q width"]:
        """p_q; `f` is what enters the layer and `content` what leaves its self-attention."""
        encoding = positional_encoding(references, f.shape[-1], self.temperature)  # p_s, (B, Q, width)
        return self.spatial_query(f, content, encoding, first)


class AnchorQueries(nn.Module):
    """DAB-DETR: the query is an anchor box that every layer moves; its size stretches the spatial map."""

    def __init__(self, queries: int, width: int, spatial_query: nn.Module, temperature: float):
        super().__init__()
        self.width, self.temperature = width, temperature
        self.anchor = nn.Parameter(torch.randn(queries, 4))  # before the sigmoid
        self.position_head = mlp(2 * width, width, width)
        self.size_head = mlp(width, width, 2)  # (w_ref, h_ref) before the sigmoid
        self.spatial_query = spatial_query

    def start(self, batch: int) -> Float[Tensor, "B Q 4"]:
        """The learned anchors (x, y, w, h) in [0, 1]."""
        return self.anchor.sigmoid().expand(batch, -1, -1)

    def position(self, references: Float[Tensor, "B Q 4"]) -> Float[Tensor, "B Q width"]:
        """P_q = MLP(positional encoding of all four numbers), new in each layer because the anchor is."""
        return self.position_head(positional_encoding(references, self.width, self.temperature))

    def spatial(
        self, references: Float[Tensor, "B Q 4"], first: bool, f: Tensor, content: Float[Tensor, "B Q width"]
    ) -> Float[Tensor, "B Q width"]:
        """As in Conditional DETR, then modulated by width and height, in the first layer too."""
        encoding = positional_encoding(references[..., :2], self.width, self.temperature)
        transformed = self.spatial_query(f, content, encoding, first)
        return modulate(transformed, references[..., 2:], self.size_head(f).sigmoid())

    def refine(
        self, references: Float[Tensor, "B Q 4"], f: Float[Tensor, "B Q width"], box_head: nn.Module
    ) -> tuple[Float[Tensor, "B Q 4"], Float[Tensor, "B Q 4"]]:
        """The moved anchors: with their gradient for the next box, without it for the next layer."""
        moved = box_head(f, references)
        return moved, moved.detach()
