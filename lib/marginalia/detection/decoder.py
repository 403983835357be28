"""The decoder: one loop and one layer for all kinds of query; what differs are the parts it is given."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import pad

from .layers import FeedForward, inverse_sigmoid, mlp


class BoxHead(nn.Module):
    """Boxes (cx, cy, w, h) in [0, 1] from embeddings, as offsets to a reference before the sigmoid.

    Conditional DETR eq. 1.
    """

    def __init__(self, width: int):
        super().__init__()
        self.offset = mlp(width, width, width, 4)

    def forward(
        self, hidden: Float[Tensor, "... Q width"], references: Float[Tensor, "... Q P"]
    ) -> Float[Tensor, "... Q 4"]:
        start = inverse_sigmoid(references)
        return (self.offset(hidden) + pad(start, (0, 4 - start.shape[-1]))).sigmoid()


class DecoderLayer(nn.Module):
    """Self-attention, cross-attention, feed-forward; each added to its input, then normalised (post-norm)."""

    def __init__(
        self,
        width: int,
        self_attention: nn.Module,
        cross_attention: nn.Module,
        ffn: int,
        activation: nn.Module,
    ):
        super().__init__()
        self.self_attention, self.self_norm = self_attention, nn.LayerNorm(width)
        self.cross_attention, self.cross_norm = cross_attention, nn.LayerNorm(width)
        self.feed_forward, self.final_norm = FeedForward(width, ffn, activation), nn.LayerNorm(width)

    def forward(
        self,
        f: Float[Tensor, "B Q width"],
        position: Float[Tensor, "#B Q width"],
        spatial: Callable[[Tensor, Tensor], Tensor | None],
        memory: Float[Tensor, "B K width"],
        key_encoding: Float[Tensor, "#B K width"],
        valid: Bool[Tensor, "B K"] | None,
    ) -> Float[Tensor, "B Q width"]:
        """`spatial(f, c_q)` makes the spatial query; one ablation needs c_q, which only the layer knows."""
        content = self.self_norm(f + self.self_attention(f, position))  # c_q
        attended = self.cross_attention(content, position, spatial(f, content), memory, key_encoding, valid)
        found = self.cross_norm(content + attended)
        return self.final_norm(found + self.feed_forward(found))


class Decoder(nn.Module):
    """Layers that let queries attend to the memory, and the box head, because anchors are moved by it."""

    def __init__(self, queries: nn.Module, layers: Iterable[DecoderLayer], box_head: BoxHead, width: int):
        super().__init__()
        self.width, self.queries, self.box_head = width, queries, box_head
        self.layers = nn.ModuleList(layers)
        self.norm = nn.LayerNorm(width)

    def forward(
        self,
        memory: Float[Tensor, "B K width"],
        key_encoding: Float[Tensor, "#B K width"],
        valid: Bool[Tensor, "B K"] | None = None,
    ) -> tuple[Float[Tensor, "L B Q width"], Float[Tensor, "L B Q P"]]:
        """Embeddings after the norm that all layers share, and the references that entered each layer.

        References are in [0, 1], P is 2 for points and 4 for anchors; boxes are offsets to them.
        `key_encoding` is p_k, `valid` False on padded cells.
        """
        reported = entering = self.queries.start(len(memory))  # (B, Q, P)
        f = memory.new_zeros(*entering.shape[:2], self.width)
        hidden, references = [], []
        for index, layer in enumerate(self.layers):
            spatial = partial(self.queries.spatial, entering, index == 0)
            f = layer(f, self.queries.position(entering), spatial, memory, key_encoding, valid)
            hidden.append(self.norm(f))
            references.append(reported)
            reported, entering = self.queries.refine(entering, f, self.box_head)
        return torch.stack(hidden), torch.stack(references)
