"""A small transformer whose attention can be any composition, and which the published DCFormers fit too."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import gelu, silu

from .attention import Cache, DCMHAttention
from .composition import VARIANTS, Compose, Composition

NORMS = {"rms": nn.RMSNorm, "layer": nn.LayerNorm}


@dataclass(frozen=True)
class TransformerConfig:
    """Shapes and parts of a `TinyTransformer`; the defaults are those of the language model trained here."""

    vocab: int
    width: int = 128  # D
    heads: int = 8  # H
    layers: int = 3  # L
    ffn: int = 512  # hidden width of the feed-forward networks
    composition: Composition = VARIANTS["DCMHA"]
    causal: bool = True
    windows: tuple[int | None, ...] = (None,)  # of layer l: entry l mod length; None: all tokens before
    norm: Literal["rms", "layer"] = "rms"
    eps: float = 1e-6
    activation: Literal["gelu", "swiglu"] = "gelu"
    rotary: int = 8  # turned dimensions of each head
    rotary_base: float = 100.0
    qk_norm: bool = False
    bias_qkv: bool = True
    bias: bool = False  # on attention's output and in the feed-forward networks
    parallel: bool = False  # x + attention(x) + ffn(x), as Pythia, and not one after the other

    def __post_init__(self) -> None:
        if min(self.vocab, self.layers, self.ffn) < 1 or not self.windows:
            raise ValueError("TransformerConfig: vocab, layers and ffn are 1 or more, and windows not empty")
        for name, choices in (("norm", NORMS), ("activation", ("gelu", "swiglu"))):
            if (given := getattr(self, name)) not in choices:
                raise ValueError(f"TransformerConfig: {name} is {' or '.join(choices)}, not {given!r}")

    def plain_twin(self) -> TransformerConfig:
        """Plain heads with as many parameters, spent on wider feed-forward networks."""
        places = (self.composition.pre, self.composition.post)
        pair = (Compose(self.width, self.heads, self.composition, on) for on in places)
        more = sum(p.numel() for each in pair for p in each.parameters())
        per_unit = self.width * (3 if self.activation == "swiglu" else 2) + self.bias
        return replace(self, composition=VARIANTS["MHA"], ffn=self.ffn + round(more / per_unit))


class FeedForward(nn.Module):
    """W_2 GELU(W_1 x), or with a gate W_2 (SiLU(W_1 x) * W_3 x)."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        D, hidden, bias = config.width, config.ffn, config.bias
        self.w1 = nn.Linear(D, hidden, bias)
        self.w3 = nn.Linear(D, hidden, bias) if config.activation == "swiglu" else None
        self.w2 = nn.Linear(hidden, D, bias)

    def forward(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        return self.w2(gelu(self.w1(x)) if self.w3 is None else silu(self.w1(x)) * self.w3(x))


class Block(nn.Module):
    """One layer: attention and a feed-forward network, each behind a norm and beside a residual."""

    def __init__(self, config: TransformerConfig, window: int | None = None) -> None:
        super().__init__()
        norm = NORMS[config.norm]
        self.attention_norm = norm(config.width, eps=config.eps)
        options = {name: getattr(config, name) for name in ("causal", "rotary", "rotary_base", "qk_norm")}
        options |= {"window": window, "bias": config.bias_qkv, "out_bias": config.bias}
        self.attention = DCMHAttention(config.width, config.heads, config.composition, **options)
        self.ffn_norm = norm(config.width, eps=config.eps)
        self.ffn = FeedForward(config)
        self.parallel = config.parallel

    def forward(
        self, x: Float[Tensor, "B T D"], mask: Tensor | None = None, cache: Cache | None = None
    ) -> Float[Tensor, "B T D"]:
        attended = self.attention(self.attention_norm(x), mask=mask, cache=cache)
        if self.parallel:
            return x + attended + self.ffn(self.ffn_norm(x))
        x = x + attended
        return x + self.ffn(self.ffn_norm(x))


class TinyTransformer(nn.Module):
    """Tokens (B, T) to logits (B, T, V): embedding, L layers, norm, output (not tied to the embedding)."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = config
        windows = (config.windows[layer % len(config.windows)] for layer in range(config.layers))
        self.embedding = nn.Embedding(config.vocab, config.width)
        self.layers = nn.ModuleList(Block(config, window) for window in windows)
        self.norm = NORMS[config.norm](config.width, eps=config.eps)
        self.output = nn.Linear(config.width, config.vocab, bias=False)

    def new_cache(self) -> list[Cache]:
        """An empty cache for `forward`, one part a layer."""
        return [{} for _ in self.layers]

    def forward(
        self,
        tokens: Int[Tensor, "B T"],
        cache: list[Cache] | None = None,
        padding: Int[Tensor, " B"] | None = None,
    ) -> Float[Tensor, "B T V"]:
        """Logits of the next token at each place.

        cache: from `new_cache`; tokens are then those after the ones it has seen. padding: how many tokens on
        the left of each sequence are none, and are not attended to.
        """
        x, mask = self.embedding(tokens), None
        if padding is not None:
            length = tokens.shape[1] + (cache[0]["k"].shape[1] if cache and cache[0] else 0)
            mask = torch.arange(length, device=tokens.device) >= padding[:, None, None, None]  # (B, 1, 1, S)
        for layer, part in zip(
            self.layers, [None] * len(self.layers) if cache is None else cache, strict=True
        ):
            x = layer(x, mask, part)
        return self.output(self.norm(x))
