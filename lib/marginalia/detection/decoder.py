"""The decoder: one loop and one layer for all kinds of query; what differs are the parts it is given."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import pad

from .groups import MATCHING, QueryGroups
from .layers import FeedForward, inverse_sigmoid, mlp
from .queries import ALL
from .relation import PositionRelation


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
        among: Tensor | None = None,
    ) -> Float[Tensor, "B Q width"]:
        """`spatial(f, c_q)` makes the spatial query; one ablation needs c_q, which only the layer knows.

        `among` is the mask of self-attention, or a bias: who may see whom, and how boxes lie beside another.
        """
        content = self.self_norm(f + self.self_attention(f, position, among))  # c_q
        attended = self.cross_attention(content, position, spatial(f, content), memory, key_encoding, valid)
        found = self.cross_norm(content + attended)
        return self.final_norm(found + self.feed_forward(found))


class Decoder(nn.Module):
    """Layers that let queries attend to the memory, and the box head, because anchors are moved by it.

    relation  biases self-attention by where boxes lie, from the second layer on (Relation DETR).
    groups    says who sees whom in training; afterwards only the matching queries are there. Those
              that see the matching queries, and these, get the relation.
    """

    def __init__(
        self,
        queries: nn.Module,
        layers: Iterable[DecoderLayer],
        box_head: BoxHead,
        width: int,
        relation: PositionRelation | None = None,
        groups: QueryGroups | None = None,
    ):
        super().__init__()
        self.width, self.queries, self.box_head = width, queries, box_head
        self.layers = nn.ModuleList(layers)
        self.norm = nn.LayerNorm(width)
        self.relation, self.groups = relation, groups

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
        grouped = self.groups is not None and self.training
        kept = ALL if grouped or self.groups is None else self.groups.block(MATCHING)
        reported = entering = self.queries.start(len(memory), kept)  # (B, Q, P)
        f = memory.new_zeros(*entering.shape[:2], self.width)
        # where boxes are before the first layer, then after each; a point's box is that of an empty embedding
        boxes = [entering if entering.shape[-1] == 4 else self.box_head(f, entering)]
        hidden, references = [], []
        for index, layer in enumerate(self.layers):
            spatial = partial(self.queries.spatial, entering, index == 0)
            position = self.queries.position(entering, kept)
            among = self._among(boxes, grouped)
            f = layer(f, position, spatial, memory, key_encoding, valid, among)
            hidden.append(self.norm(f))
            references.append(reported)
            if self.relation is not None:
                boxes.append(self.box_head(hidden[-1], reported))
            reported, entering = self.queries.refine(entering, f, self.box_head)
        return torch.stack(hidden), torch.stack(references)

    def _among(self, boxes: list[Float[Tensor, "B Q 4"]], grouped: bool) -> Tensor | None:
        """The mask or bias of self-attention in the layer after those that made the boxes."""
        hidden = self.groups.mask().to(boxes[0].device) if grouped else None  # True: not seen
        if self.relation is None or len(boxes) < 2:
            return None if hidden is None else ~hidden
        source, target = boxes[-2:]
        if hidden is None:
            return self.relation(source, target)
        # only queries that see the matching ones are related; the others are as they were
        rows = ~hidden[:, self.groups.block(MATCHING)].any(1)
        bias = self.relation(source[:, rows], target[:, rows])  # (B, H, R, R)
        whole = bias.new_zeros(*bias.shape[:2], len(rows), len(rows))
        whole[:, :, rows.nonzero(), rows.nonzero().T] = bias
        return whole.masked_fill(hidden, -torch.inf)
