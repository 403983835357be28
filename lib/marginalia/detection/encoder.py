"""From an image to the memory that queries attend to: a small convolutional backbone and DETR's encoder."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor, nn

from .layers import DetrSelfAttention, FeedForward, among_valid

GROUPS = 8  # of the group norms; no running statistics, so that training and evaluation see the same network


def standardise(
    pixels: Float[Tensor, "B channels S S"] | UInt8[Tensor, "B channels S S"],
) -> Float[Tensor, "B channels S S"]:
    """What the backbone takes, from values in [0, 1] or bytes: about -2 to 2."""
    if pixels.dtype == torch.uint8:
        pixels = pixels / 255
    return (pixels - 0.5) / 0.25


class Backbone(nn.Sequential):
    """3x3 convolutions, one a halving of the side and one more; (B, channels, S, S) to (B, width, h, w).

    Channels double from 32 with every halving, up to the width.
    """

    def __init__(self, in_channels: int, width: int, stride: int):
        halvings = stride.bit_length() - 1
        if stride < 2 or stride != 1 << halvings:
            raise ValueError(f"Backbone: stride must be a power of two, 2 or more, not {stride}")
        widths = [in_channels, *(min(32 * 2**i, width) for i in range(halvings)), width]
        strides = [2] * halvings + [1]
        super().__init__(
            *(
                nn.Sequential(
                    nn.Conv2d(before, after, 3, step, padding=1, bias=False),
                    nn.GroupNorm(GROUPS, after),
                    nn.ReLU(),
                )
                for before, after, step in zip(widths[:-1], widths[1:], strides, strict=True)
            ),
            nn.Conv2d(width, width, 1),
        )


class EncoderLayer(nn.Module):
    """Self-attention over the cells and a feed-forward block, post-norm."""

    def __init__(self, width: int, heads: int, hidden: int):
        super().__init__()
        self.self_attention, self.self_norm = DetrSelfAttention(width, heads), nn.LayerNorm(width)
        self.feed_forward, self.final_norm = FeedForward(width, hidden, nn.ReLU()), nn.LayerNorm(width)

    def forward(
        self,
        memory: Float[Tensor, "B K width"],
        key_encoding: Float[Tensor, "#B K width"],
        valid: Bool[Tensor, "B K"] | None = None,
    ) -> Float[Tensor, "B K width"]:
        memory = self.self_norm(memory + self.self_attention(memory, key_encoding, among_valid(valid)))
        return self.final_norm(memory + self.feed_forward(memory))


class Encoder(nn.Module):
    """A stack of encoder layers, the same for all kinds."""

    def __init__(self, layers: Iterable[EncoderLayer]):
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, memory, key_encoding, valid=None) -> Float[Tensor, "B K width"]:
        for layer in self.layers:
            memory = layer(memory, key_encoding, valid)
        return memory
