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
    """Softmax over the keys of a mask (True: may be attended to), in 32 bits at least."""

    def forward(self, scores: Float[Tensor, "B H T S"], mask: Bool[Tensor, "*B T S"] | None) -> Tensor:
        if mask is not None:
            scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
        exact = torch.promote_types(scores.dtype, torch.float32)
        return scores.softmax(-1, dtype=exact).to(scores.dtype)


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
        size = width // heads  # D_h
        if width % heads:
            raise ValueError(f"DCMHAttention: width {width} cannot be divided by {heads} heads")
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

        mask: True where a key may be attended to; any shape that broadcasts to (B, 1, T, S). cache: a dict,
        empty at first, to which each call adds the keys of x; then x are the next tokens after those in it.
        """
        source = x if memory is None else memory
        width = x.shape[-1]
        w, b = self.wqkv.weight, self.wqkv.bias
        q = linear(x, w[:width], None if b is None else b[:width]).unflatten(
            -1, (self.heads, -1)
        )  # (B, T, H, D_h)
        k, v = (
            linear(source, w[width:], None if b is None else b[width:])
            .unflatten(-1, (2, self.heads, -1))
            .unbind(2)
        )  # (B, S, H, D_h)
        before = 0 if cache is None or not cache else cache["k"].shape[1]
        q = rotate(self.q_norm(q), before, self.rotary, self.rotary_base) * q.shape[-1] ** -0.5
        k = rotate(self.k_norm(k), before, self.rotary, self.rotary_base)
        pre, post = self.pre.terms(x, source), self.post.terms(x, source)
        if cache is not None:
            k, v = extended(cache, k=k, v=v)
            pre, post = extended_terms(cache, "pre", pre), extended_terms(cache, "post", post)

        causal, length = self.causal and memory is None, k.shape[1]
        if mask is not None:
            mask = mask.expand(*torch.broadcast_shapes(mask.shape, (1, 1, q.shape[1], length)))
        rows = max(1, CHUNK.get(x.device.type, CHUNK["cuda"]) // (len(q) * self.heads * length))
        if any(part._forward_hooks for part in (self.pre, self.softmax, self.post)):
            rows = q.shape[1]
        chunks = []
        for first in range(0, q.shape[1], rows):
            # of the keys, those that some row of the chunk may attend to
            last = before + min(first + rows, q.shape[1]) if causal else length
            start = max(0, before + first - self.window + 1) if causal and self.window else 0
            chunks.append((slice(first, first + rows), slice(start, last)))

        def attend(
            rows: slice, keys: slice, q: Tensor, k: Tensor, v: Tensor, *terms: Tensor | None
        ) -> Tensor:
            first = before + rows.start - keys.start if causal else None
            allowed = None if mask is None else mask[..., rows, keys]
            both = (CompositionTerms(*part, self.pre.groups) for part in (terms[:7], terms[7:]))
            return self._attend(q, k, v, *both, allowed, first)

        run = _Chunks.apply if len(chunks) > 1 else _in_chunks  # one chunk is left to autograd
        return self.wo(run(attend, chunks, q, k, v, *pre[:7], *post[:7]).flatten(2))

    def _attend(
        self,
        q: Float[Tensor, "B T H D_h"],
        k: Float[Tensor, "B S H D_h"],
        v: Float[Tensor, "B S H D_h"],
        pre: CompositionTerms,
        post: CompositionTerms,
        mask: Bool[Tensor, "*broadcast"] | None,
        first: int | None,
    ) -> Float[Tensor, "B T H D_h"]:
        """Some rows; first: place of their first token among the keys where attention is causal."""
        q, k, v = (each.transpose(1, 2) for each in (q, k, v))  # (B, H, T or S, D_h)
        scores = self.pre(q @ k.mT, pre)  # (B, H, T, S), not masked before they are composed
        if first is not None:
            i = torch.arange(first, first + q.shape[2], device=q.device)[:, None]
            j = torch.arange(k.shape[2], device=q.device)
            seen = (j <= i) & (i - j < (self.window or len(j) + 1))
            mask = seen if mask is None else mask & seen
        return (self.post(self.softmax(scores, mask), post) @ v).transpose(1, 2)


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
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
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
