"""The blocks that encoder and decoders are made of; each projection that maps are rebuilt from has a name.

`record` on `content_query`, `spatial_query`, `content_key` and `spatial_key` (for DETR's attention: on the
module itself) gives all that `attention` needs, and on `dot_product` what heads attend with. No weights are
returned, so fused kernels can serve.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from .attention import concatenate_halves, join_heads, split_heads


def mlp(*widths: int) -> nn.Sequential:
    """Linear layers from width to width with a ReLU between them."""
    layers = []
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class FeedForward(nn.Module):
    """Linear - activation - Linear on every token."""

    def __init__(self, width: int, hidden: int, activation: nn.Module):
        super().__init__()
        self.widen = nn.Linear(width, hidden)
        self.activation = activation
        self.narrow = nn.Linear(hidden, width)

    def forward(self, tokens: Float[Tensor, "B N width"]) -> Float[Tensor, "B N width"]:
        return self.narrow(self.activation(self.widen(tokens)))


class DotProduct(nn.Module):
    """softmax(q k^T / sqrt(D) + mask) v of every head, (B, H, Q, D)."""

    def forward(self, q, k, v, mask=None) -> Float[Tensor, "B H Q D"]:
        return scaled_dot_product_attention(q, k, v, mask)


class _Attention(nn.Module):
    """What all attentions share: the named projections, then value and output, and how heads attend."""

    def __init__(self, width: int, heads: int, *projections: str):
        super().__init__()
        self.heads, self.dot_product = heads, DotProduct()
        for name in (*projections, "value", "output"):
            setattr(self, name, nn.Linear(width, width))

    def attend(self, q, k, tokens, mask=None) -> Float[Tensor, "B Q width"]:
        """softmax(q k^T + mask) times the values of `tokens`.

        q (B, H, Q, D), k (B, H, K, D), tokens (B, K, width); mask fits (B, H, Q, K): numbers to add, or
        booleans, with weight 0 where they are False.
        """
        v = split_heads(self.value(tokens), self.heads)  # (B, H, K, D)
        return self.output(join_heads(self.dot_product(q, k, v, mask)))


class DetrCrossAttention(_Attention):
    """DETR's cross-attention: (c_q + o_q) against (c_k + p_k), one dot product a head, scale 1 / sqrt(D).

    Takes the same arguments as `ConditionalCrossAttention`, so that one decoder layer serves both; `spatial`
    is None.
    """

    def __init__(self, width: int, heads: int):
        super().__init__(width, heads, "query", "key")

    def forward(
        self,
        content: Float[Tensor, "B Q width"],
        position: Float[Tensor, "#B Q width"],
        spatial: None,
        memory: Float[Tensor, "B K width"],
        key_encoding: Float[Tensor, "#B K width"],
        valid: Bool[Tensor, "B K"] | None = None,
    ) -> Float[Tensor, "B Q width"]:
        q = split_heads(self.query(content + position), self.heads)  # (B, H, Q, D)
        k = split_heads(self.key(memory + key_encoding), self.heads)  # (B, H, K, D)
        return self.attend(q, k, memory, among_valid(valid))


class DetrSelfAttention(_Attention):
    """DETR's self-attention, in encoder and decoder: positions are added to queries and keys, not values."""

    def __init__(self, width: int, heads: int):
        super().__init__(width, heads, "query", "key")

    def forward(
        self,
        tokens: Float[Tensor, "B N width"],
        position: Float[Tensor, "#B N width"],
        mask: Float[Tensor, "#B #H #N N"] | Bool[Tensor, "#B #H #N N"] | None = None,
    ) -> Float[Tensor, "B N width"]:
        q, k = (split_heads(part(tokens + position), self.heads) for part in (self.query, self.key))
        return self.attend(q, k, tokens, mask)


class ConditionalSelfAttention(_Attention):
    """Self-attention of Conditional and DAB-DETR: content and position are projected apart, then added."""

    def __init__(self, width: int, heads: int):
        super().__init__(width, heads, "content_query", "position_query", "content_key", "position_key")

    def forward(
        self,
        tokens: Float[Tensor, "B Q width"],
        position: Float[Tensor, "#B Q width"],
        mask: Float[Tensor, "#B #H Q Q"] | Bool[Tensor, "#B #H Q Q"] | None = None,
    ) -> Float[Tensor, "B Q width"]:
        query = self.content_query(tokens) + self.position_query(position)
        key = self.content_key(tokens) + self.position_key(position)
        return self.attend(split_heads(query, self.heads), split_heads(key, self.heads), tokens, mask)


class ConditionalCrossAttention(_Attention):
    """Conditional DETR's cross-attention: c_q . c_k + p_q . p_k, projected apart, scale 1 / sqrt(2 D).

    `first`: the first decoder layer, where decoder embeddings are still empty, also adds the projected object
    query and p_k to the content half; later layers have no such projection (sheet 2.3).
    """

    def __init__(self, width: int, heads: int, first: bool):
        more = ["object_query"] if first else []
        super().__init__(width, heads, "content_query", "content_key", "spatial_query", "spatial_key", *more)
        self.first = first

    def forward(
        self,
        content: Float[Tensor, "B Q width"],
        position: Float[Tensor, "#B Q width"],
        spatial: Float[Tensor, "B Q width"],
        memory: Float[Tensor, "B K width"],
        key_encoding: Float[Tensor, "#B K width"],
        valid: Bool[Tensor, "B K"] | None = None,
    ) -> Float[Tensor, "B Q width"]:
        # project content and place apart
        content_query, content_key = self.content_query(content), self.content_key(memory)
        spatial_query, spatial_key = self.spatial_query(spatial), self.spatial_key(key_encoding)
        if self.first:
            content_query = content_query + self.object_query(position)
            content_key = content_key + spatial_key
        # without padding all images share p_k: (1, K, width) becomes (B, K, width) only here
        q = concatenate_halves(content_query, spatial_query, self.heads)  # (B, H, Q, 2D)
        k = concatenate_halves(content_key, spatial_key.expand_as(content_key), self.heads)  # (B, H, K, 2D)
        return self.attend(q, k, memory, among_valid(valid))


def among_valid(valid: Bool[Tensor, "B K"] | None) -> Bool[Tensor, "B 1 1 K"] | None:
    """A mask for all heads and queries from that of the cells."""
    return None if valid is None else valid[:, None, None, :]


def inverse_sigmoid(p: Float[Tensor, ...]) -> Float[Tensor, ...]:
    """log(p / (1 - p)) with both parts at least 1e-5, so that |result| <= 11.5.

    That is the value of Conditional DETR and of all transformers ports; the official DAB-DETR clamps at 1e-3.
    """
    return torch.log(p.clamp(min=1e-5) / (1 - p).clamp(min=1e-5))
