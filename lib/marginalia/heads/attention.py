"""Dynamically composable multi-head attention, a drop-in for multi-head attention."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import linear

from .composition import VARIANTS, Compose, Composition, CompositionTerms

# Scores of all heads that are held at a time; more are computed in chunks of rows, and again when gradients
# are, unless `record` looks on: it gets all of them in one call.
CHUNK = {"cpu": 2**19, "cuda": 2**26}
Cache = dict[str, Tensor]  # of one layer: what later tokens need of earlier ones, (B, S, ...) each


class MaskedSoftmax(nn.Module):
    """Softmax over the keys of a mask (True: may be attended to), in 32 bits at least; 0 without any."""

    def forward(self, scores: Float[Tensor, "B H T S"], mask: Bool[Tensor, "*B T S"] | None) -> Tensor:
        if mask is not None:
            scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
        exact = torch.promote_types(scores.dtype, torch.float32)
        weights = scores.softmax(-1, dtype=exact).to(scores.dtype)
        if mask is None or mask.ndim == 2:  # a causal mask alone leaves each token itself
            return weights
        return weights.masked_fill(~mask.any(-1, keepdim=True), 0)


class DCMHAttention(nn.Module):
    """Multi-head attention whose scores and weights are composed over heads, for each pair of tokens.

        S = q k^T / sqrt(D_h),  S' = pre(S),  P = softmax(S' where the mask allows),  P' = post(P),  P' v W_O

    width: D, of tokens. heads: H. composition: its parts (`VARIANTS`; that of plain heads is `MHA`). causal:
    a token attends to itself and to those before it, to the last `window` of them where that is given, itself
    among them. rotary: how many dimensions of each head are turned by position (0: no positions), in halves.
    qk_norm: queries and keys are divided by their root mean square and scaled. bias: on queries, keys and
    values. out_bias: on the output.

    Scores, composed scores, weights and composed weights are input and output of `pre` and `post`, where
    `marginalia.record` finds them. Composed weights may be negative and do not add up to 1.
    ValueError where widths, heads, groups or rotary do not fit.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        composition: Composition = VARIANTS["DCMHA"],
        *,
        causal: bool = False,
        window: int | None = None,
        rotary: int = 0,
        rotary_base: float = 10000.0,
        qk_norm: bool = False,
        bias: bool = False,
        out_bias: bool = False,
    ) -> None:
        super().__init__()
        if min(width, heads) < 1 or width % heads:
            raise ValueError(f"DCMHAttention: width {width} cannot be divided by {heads} heads")
        size = width // heads  # D_h
        if not (0 <= rotary <= size and rotary % 2 == 0):
            raise ValueError(
                f"DCMHAttention: rotary must be even and at most {size} (width of a head), not {rotary}"
            )
        if window is not None and not (causal and window > 0):
            raise ValueError("DCMHAttention: a window is a number of tokens above 0, and needs causal=True")
        self.heads, self.causal, self.window = heads, causal, window
        self.rotary, self.rotary_base = rotary, rotary_base
        self.wqkv = nn.Linear(width, 3 * width, bias=bias)
        self.wo = nn.Linear(width, width, bias=out_bias)
        self.q_norm = nn.RMSNorm(size, eps=1e-6) if qk_norm else nn.Identity()
        self.k_norm = nn.RMSNorm(size, eps=1e-6) if qk_norm else nn.Identity()
        self.pre = Compose(width, heads, composition, composition.pre)
        self.softmax = MaskedSoftmax()
        self.post = Compose(width, heads, composition, composition.post)

    def forward(
        self,
        x: Float[Tensor, "B T D"],
        memory: Float[Tensor, "B S D"] | None = None,
        mask: Bool[Tensor, "*broadcast"] | None = None,
        cache: Cache | None = None,
    ) -> Float[Tensor, "B T D"]:
        """Attend from x to itself, or to `memory` (cross-attention; then there is no causal mask).

        mask: True where a key may be attended to; any shape that broadcasts to (B, 1, T, S). A token without
        any such key gets zero weights. cache, for causal attention: a dict, empty at first, to which each
        call adds the keys of x; then x are the next tokens after those in it.
        """
        source, H = x if memory is None else memory, self.heads
        before = cache["k"].shape[1] if cache else 0
        mask = self._fitting(x, memory, mask, cache, before)
        T, S = x.shape[1], before + source.shape[1]

        sizes = (x.shape[2], 2 * x.shape[2])
        w, b = (None if p is None else p.split(sizes) for p in (self.wqkv.weight, self.wqkv.bias))
        q = linear(x, w[0], b and b[0]).unflatten(-1, (H, -1))  # (B, T, H, D_h)
        k, v = linear(source, w[1], b and b[1]).unflatten(-1, (2, H, -1)).unbind(2)  # (B, S, H, D_h)
        q = rotate(self.q_norm(q), before, self.rotary, self.rotary_base) * q.shape[-1] ** -0.5
        k = rotate(self.k_norm(k), before, self.rotary, self.rotary_base)
        pre, post = self.pre.terms(x, source), self.post.terms(x, source)
        if cache is not None:
            k, v = extended(cache, k=k, v=v)
            pre, post = extended_terms(cache, "pre", pre), extended_terms(cache, "post", post)

        causal = self.causal and memory is None
        rows = max(1, CHUNK.get(x.device.type, CHUNK["cuda"]) // max(1, len(x) * H * S))
        parts = (self.pre, self.softmax, self.post)
        if any(part._forward_hooks or part._forward_pre_hooks for part in parts):
            rows = max(1, T)
        chunks = []
        for first in range(0, max(1, T), rows):
            # of the keys, those that some row of the chunk may attend to
            last = before + min(first + rows, T) if causal else S
            start = max(0, before + first - self.window + 1) if causal and self.window else 0
            chunks.append((slice(first, first + rows), slice(start, last)))
        places = torch.arange(S, device=x.device)

        def attend(rows: slice, keys: slice, *tensors: Tensor | None) -> Tensor:
            q, k, v = (each.transpose(1, 2) for each in tensors[:3])  # (B, H, T or S, D_h)
            pre, post = (CompositionTerms(*part, self.pre.groups) for part in (tensors[3:10], tensors[10:]))
            seen = None if mask is None else mask[..., rows, keys]
            if causal:
                i, j = places[before:][rows, None], places[keys]
                near = (j <= i) & (i - j < (self.window or S + 1))
                seen = near if seen is None else seen & near
            scores = self.pre(q @ k.mT, pre)  # (B, H, T, S), not masked before they are composed
            return (self.post(self.softmax(scores, seen), post) @ v).transpose(1, 2)

        run = _Chunks.apply if len(chunks) > 1 else _in_chunks  # one chunk is left to autograd
        return self.wo(run(attend, chunks, q, k, v, *pre[:7], *post[:7]).flatten(2))

    def _fitting(
        self, x: Tensor, memory: Tensor | None, mask: Tensor | None, cache: Cache | None, before: int
    ) -> Bool[Tensor, "B 1 T S"] | None:
        """The mask in full, where all inputs fit to each other."""
        B, D, source = len(x), self.wo.in_features, x if memory is None else memory
        if not (x.ndim == source.ndim == 3 and len(source) == B and x.shape[2] == source.shape[2] == D):
            shapes = f"x {tuple(x.shape)} and memory {tuple(source.shape)}"
            raise ValueError(f"DCMHAttention: {shapes} must be (B, T, {D}) and (B, S, {D})")
        if cache is not None and not (self.causal and memory is None):
            raise ValueError("DCMHAttention: a cache needs causal=True and no memory")
        if cache and len(cache["k"]) != B:
            raise ValueError(f"DCMHAttention: x has {B} sequences, the cache {len(cache['k'])}")
        if mask is None:
            return None
        if mask.dtype != torch.bool:
            raise TypeError(f"DCMHAttention: mask is bool, True: may be attended to; not {mask.dtype}")
        try:
            return mask.expand(B, 1, x.shape[1], before + source.shape[1])
        except RuntimeError as error:
            raise ValueError(f"DCMHAttention: mask does not broadcast to (B, 1, T, S): {error}") from None


# Which part of q, k, v and the terms of pre and post (fields of CompositionTerms) a chunk takes.
SIDES = ("rows", "keys", "keys", *2 * ("all", *3 * ("rows",), *3 * ("keys",)))


def _parts(rows: slice, keys: slice, *tensors: Tensor | None) -> list[Tensor | None]:
    """Views of the tensors for one chunk; all are (B, T or S, ...) but the base."""
    part = {"rows": rows, "keys": keys, "all": slice(None)}
    return [None if x is None else x[:, part[side]] for side, x in zip(SIDES, tensors, strict=True)]


def _in_chunks(
    attend: Callable[..., Tensor], chunks: list[tuple[slice, slice]], *tensors: Tensor | None
) -> Tensor:
    return torch.cat([attend(*chunk, *_parts(*chunk, *tensors)) for chunk in chunks], 1)


class _Chunks(torch.autograd.Function):
    """Attention in chunks of rows, of which nothing is kept: the backward pass computes each again.

    As a checkpoint around each chunk, but gradients are added in place to the parts of keys and values that
    a chunk saw; autograd would make a tensor of full length for each.
    """

    @staticmethod
    def forward(ctx, attend, chunks, *tensors):
        ctx.attend, ctx.chunks = attend, chunks
        ctx.save_for_backward(*tensors)
        return _in_chunks(attend, chunks, *tensors)

    @staticmethod
    def backward(ctx, grad):
        if torch.is_grad_enabled():  # create_graph
            raise RuntimeError("DCMHAttention: no second derivatives in chunks; raise attention.CHUNK")
        tensors = ctx.saved_tensors
        grads = [None if x is None else torch.zeros_like(x) for x in tensors]
        for chunk in ctx.chunks:
            parts = [None if x is None else x.detach().requires_grad_() for x in _parts(*chunk, *tensors)]
            with torch.enable_grad():
                out = ctx.attend(*chunk, *parts)
            parts = [x for x in parts if x is not None]
            into = [x for x in _parts(*chunk, *grads) if x is not None]
            for to, new in zip(into, torch.autograd.grad(out, parts, grad[:, chunk[0]]), strict=True):
                to += new
        return None, None, *grads


def rotate(
    x: Float[Tensor, "B N H D_h"], first: int, dimensions: int, base: float
) -> Float[Tensor, "B N H D_h"]:
    """Rotary positions: the first `dimensions` of each head turned by the place of the token, from `first`.

    Dimension d and d + dimensions / 2 are a plane, turned by place * base^(-2 d / dimensions).
    """
    if not dimensions:
        return x
    half = dimensions // 2
    places = torch.arange(first, first + x.shape[1], device=x.device, dtype=torch.float32)
    speeds = base ** (-torch.arange(half, device=x.device, dtype=torch.float32) / half)
    angle = (places[:, None] * speeds)[:, None]  # (N, 1, half)
    cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    a, b, rest = x.split((half, half, x.shape[-1] - dimensions), -1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin, rest], -1)


def extended(cache: Cache, **new: Float[Tensor, "B N *rest"]) -> tuple[Tensor, ...]:
    """Each tensor behind what the cache holds under its name, which is kept there."""
    for name, tensor in new.items():
        cache[name] = torch.cat([cache[name], tensor], 1) if name in cache else tensor
    return tuple(cache[name] for name in new)


def extended_terms(cache: Cache, where: str, terms: CompositionTerms) -> CompositionTerms:
    """The terms with those of earlier keys from the cache; a composition without key side stores nothing."""
    new = {k: v for k, v in terms._asdict().items() if "_k" in k and v is not None}
    kept = extended(cache, **{f"{where} {k}": v for k, v in new.items()})
    return terms._replace(**dict(zip(new, kept, strict=True)))
