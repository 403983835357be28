"""What a decoder query is: a learned vector (DETR), a point (Conditional DETR) or an anchor (DAB-DETR).

Each kind answers the same four questions: where does it start (`start`), what is its position in
self-attention (`position`), what is its spatial query in a layer (`spatial`), and where is it after a layer
(`refine`). The spatial query has a form of T (`TRANSFORMS`, Figure 5) and a way of using it (`SpatialQuery`).
"""

from __future__ import annotations

from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn

from .attention import modulate, positional_encoding
from .layers import mlp

ALL = slice(None)  # queries
POINTS = ("predicted", "learned", "fixed")
Embeddings = Float[Tensor, "B Q width"]  # a vector for each query of each image


class ReferencePoint(nn.Module):
    """s before the sigmoid, of Conditional DETR eq. 1 and of the two alternatives in its ablation.

    predicted   MLP(o_q)
    learned     a free parameter
    fixed       0, the middle of the image, for every query: DETR's boxes have no reference
    """

    def __init__(self, form: str, queries: int, width: int):
        super().__init__()
        self.head = mlp(width, width, 2) if form == "predicted" else None
        self.point = nn.Parameter(torch.randn(queries, 2)) if form == "learned" else None

    def forward(self, object_query: Float[Tensor, "Q width"]) -> Float[Tensor, "Q 2"]:
        if self.head is not None:
            return self.head(object_query)
        return object_query.new_zeros(len(object_query), 2) if self.point is None else self.point


# --- T: how an embedding f transforms the positional encoding p_s (Figure 5)


class Scaling(nn.Module):
    """T = lambda times identity, or a diagonal: `factors` is 1 or the width."""

    def __init__(self, width: int, factors: int):
        super().__init__()
        self.head = mlp(width, width, factors)

    def forward(self, f: Embeddings, encoding: Embeddings) -> Embeddings:
        return self.head(f) * encoding


class Mixing(nn.Module):
    """T is made of `blocks` square matrices along the diagonal; one block is a full matrix."""

    def __init__(self, width: int, blocks: int):
        super().__init__()
        self.blocks = blocks
        self.head = mlp(width, width, width * width // blocks)

    def forward(self, f: Embeddings, encoding: Embeddings) -> Embeddings:
        side = encoding.shape[-1] // self.blocks
        matrices = self.head(f).unflatten(-1, (self.blocks, side, side))  # (B, Q, blocks, side, side)
        return (matrices @ encoding.unflatten(-1, (self.blocks, side, 1))).flatten(-3)


TRANSFORMS = {
    "identity": lambda width, heads: None,
    "single": lambda width, heads: Scaling(width, 1),
    "block": lambda width, heads: Mixing(width, heads),
    "full": lambda width, heads: Mixing(width, 1),
    "diagonal": lambda width, heads: Scaling(width, width),
}


class SpatialQuery(nn.Module):
    """p_q from f (layer input), c_q (after self-attention) and p_s; shared by all layers (Table 3).

    csq     T(f) p_s
    csq-i   T(c_q) p_s: the transformation comes from the same layer's self-attention output
    csq-t   T(f) 1: the transformation alone, the reference point unused
    csq-p   p_s
    csq-c   f, which is zero in the first layer: its spatial map is uniform

    The first layer has no f yet: there T is the identity.
    """

    def __init__(self, form: str, transform: str, width: int, heads: int):
        super().__init__()
        made = TRANSFORMS[transform](width, heads)  # drawn by all forms, which thus differ in nothing else
        self.form, self.transform = form, None if form in ("csq-p", "csq-c") else made

    def forward(self, f: Embeddings, content: Embeddings, encoding: Embeddings, first: bool) -> Embeddings:
        if self.form == "csq-c":
            return f
        if self.form == "csq-t":
            encoding = torch.ones_like(encoding)
        if first or self.transform is None:
            return encoding
        return self.transform(content if self.form == "csq-i" else f, encoding)


SPATIAL_QUERIES = {form: partial(SpatialQuery, form) for form in ("csq", "csq-i", "csq-t", "csq-p", "csq-c")}

# --- the three kinds


class LearnedQueries(nn.Module):
    """DETR: a learned vector o_q, the same for every image and layer; no spatial query.

    The reference point serves the box head only; `fixed` is DETR as published.
    """

    def __init__(self, queries: int, width: int, point: str):
        super().__init__()
        self.point = ReferencePoint(point, queries, width)
        self.object_query = nn.Parameter(torch.randn(queries, width))

    def start(self, batch: int, kept: slice = ALL) -> Float[Tensor, "B Q 2"]:
        """References (x, y) in [0, 1] before the first layer, of the queries that are kept."""
        return self.point(self.object_query)[kept].sigmoid().expand(batch, -1, -1)

    def position(self, references: Float[Tensor, "B Q 2"], kept: slice) -> Float[Tensor, "1 Q width"]:
        """What self-attention adds to queries and keys."""
        return self.object_query[None, kept]

    def spatial(self, references, first: bool, f, content) -> None:
        """Nothing: position and content are matched together."""
        return None

    def refine(self, references, f, box_head) -> tuple[Tensor, Tensor]:
        """References for the next box and for the next layer: unchanged."""
        return references, references


class PointQueries(LearnedQueries):
    """Conditional DETR: o_q as before, and a spatial query for each image, layer and query (sheet 2.2)."""

    def __init__(self, queries: int, width: int, point: str, spatial_query: SpatialQuery, temperature: float):
        super().__init__(queries, width, point)
        self.spatial_query, self.temperature = spatial_query, temperature

    def spatial(
        self, references: Float[Tensor, "B Q 2"], first: bool, f: Embeddings, content: Embeddings
    ) -> Embeddings:
        """p_q; `f` is what enters the layer and `content` what leaves its self-attention."""
        encoding = positional_encoding(references, f.shape[-1], self.temperature)  # p_s, (B, Q, width)
        return self.spatial_query(f, content, encoding, first)


class AnchorQueries(nn.Module):
    """DAB-DETR: the query is an anchor box that every layer moves; its size stretches the spatial map."""

    def __init__(self, queries: int, width: int, spatial_query: SpatialQuery, temperature: float):
        super().__init__()
        self.width, self.temperature = width, temperature
        self.anchor = nn.Parameter(torch.randn(queries, 4))  # before the sigmoid
        self.position_head = mlp(2 * width, width, width)
        self.size_head = mlp(width, width, 2)  # (w_ref, h_ref) before the sigmoid
        self.spatial_query = spatial_query

    def start(self, batch: int, kept: slice = ALL) -> Float[Tensor, "B Q 4"]:
        """The learned anchors (x, y, w, h) in [0, 1] that are kept."""
        return self.anchor[kept].sigmoid().expand(batch, -1, -1)

    def position(self, references: Float[Tensor, "B Q 4"], kept: slice) -> Embeddings:
        """P_q = MLP(positional encoding of all four numbers), new in each layer because the anchor is."""
        return self.position_head(positional_encoding(references, self.width, self.temperature))

    def spatial(
        self, references: Float[Tensor, "B Q 4"], first: bool, f: Embeddings, content: Embeddings
    ) -> Embeddings:
        """As in Conditional DETR, then modulated by width and height, in the first layer too."""
        encoding = positional_encoding(references[..., :2], self.width, self.temperature)
        transformed = self.spatial_query(f, content, encoding, first)
        return modulate(transformed, references[..., 2:], self.size_head(f).sigmoid())

    def refine(
        self, references: Float[Tensor, "B Q 4"], f: Embeddings, box_head: nn.Module
    ) -> tuple[Float[Tensor, "B Q 4"], Float[Tensor, "B Q 4"]]:
        """The moved anchors: with their gradient for the next box, without it for the next layer."""
        moved = box_head(f, references)
        return moved, moved.detach()
