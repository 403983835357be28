"""Compose: the map over heads that DCMHA applies to scores before the softmax and to weights after it.

    A'_m(i, j) = sum_n A_n(i, j) C_nm(i, j)
    C(i, j) = base + w_q1(i) w_q2(i) + diag(w_qg(i)) + w_k1(j) w_k2(j) + diag(w_kg(j))

i is the token that asks, j the one that is attended to, n the head that gives, m the head that receives. The
base is the identity, plus a learned matrix W_b where the composition has a static part. DCFormer (ICML 2024),
its architecture figure and the authors' code.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import gelu, rms_norm

FIELDS = {"base": ("base",), "query low rank": ("w_q1", "w_q2"), "query gate": ("w_qg",)}
FIELDS |= {"key low rank": ("w_k1", "w_k2"), "key gate": ("w_kg",)}
BRANCHES = tuple(FIELDS)
Tokens = int | Int[Tensor, "*P"]
MOST_NUMBERS = 2**28  # that `CompositionTerms.dense` makes: a gigabyte of float32


@dataclass(frozen=True)
class Composition:
    """Which parts a composition has. The default is that of the published models, "DCMHA"."""

    pre: bool = True  # on scores, before the softmax
    post: bool = True  # on weights, after it
    static: bool = False  # base I + W_b instead of I
    query: bool = True  # what depends on the token that asks
    key: bool = True  # what depends on the token that is attended to
    low_rank: bool = True
    gates: bool = True
    rank: int = 2  # R
    groups: int = 1  # heads are composed within groups of neighbours

    def __post_init__(self) -> None:
        if self.rank < 1 or self.groups < 1:
            raise ValueError(f"Composition: rank {self.rank} and groups {self.groups} must be 1 or more")


VARIANTS = {  # names of notebooks and measured tables
    "MHA": Composition(pre=False, post=False),
    "talking heads": Composition(static=True, query=False, key=False),
    "DCMHA": Composition(),
    "DCMHA + static": Composition(static=True),
    "query-wise": Composition(key=False),
    "key-wise": Composition(query=False),
    "pre only": Composition(post=False),
    "post only": Composition(pre=False),
    "low rank only": Composition(gates=False),
    "gates only": Composition(low_rank=False),
}


class CompositionTerms(NamedTuple):
    """The parts of C for all tokens of a batch, as `Compose.terms` makes them; None: a part that is missing.

    B batch, T tokens that ask, S tokens that are attended to, H heads, R rank.
    """

    base: Float[Tensor, "H H"] | None = None  # None: the identity
    w_q1: Float[Tensor, "B T R H"] | None = None  # reads from heads
    w_q2: Float[Tensor, "B T R H"] | None = None  # writes to heads
    w_qg: Float[Tensor, "B T H"] | None = None  # gates
    w_k1: Float[Tensor, "B S R H"] | None = None
    w_k2: Float[Tensor, "B S R H"] | None = None
    w_kg: Float[Tensor, "B S H"] | None = None
    groups: int = 1

    @property
    def is_identity(self) -> bool:
        """Whether C is the identity for every pair: plain heads."""
        return not any(isinstance(part, Tensor) for part in self)

    def branches(
        self, i: Tokens, j: Tokens, heads: int | None = None
    ) -> dict[str, Float[Tensor, "B *P H H"]]:
        """The five terms of C(i, j), by `BRANCHES`; rows give, columns receive. They add up to C.

        i, j: one pair, or P pairs, broadcast to each other. heads: H, needed where there are no terms at all.
        """
        known = next((part for part in self if isinstance(part, Tensor)), None)
        if known is None and heads is None:
            raise ValueError("branches: plain heads have no terms that say how many they are; give heads")
        known = torch.zeros(heads) if known is None else known
        heads, batch = known.shape[-1], next((p.shape[0] for p in self[1:7] if p is not None), 1)
        i, j = torch.broadcast_tensors(torch.as_tensor(i), torch.as_tensor(j))
        block = torch.eye(self.groups).repeat_interleave(heads // self.groups, 0).to(known)
        block = block @ block.T  # 1 where two heads share a group
        none = known.new_zeros(batch, *i.shape, heads, heads)
        found = {"base": none + (torch.eye(heads).to(known) if self.base is None else self.base * block)}
        for side, (w_1, w_2, gate), at in (("query", self[1:4], i), ("key", self[4:7], j)):
            low_rank = none if w_1 is None else w_1[:, at].mT @ w_2[:, at] * block
            found[f"{side} low rank"] = low_rank
            found[f"{side} gate"] = none if gate is None else torch.diag_embed(gate[:, at])
        return found

    def matrix(self, i: Tokens, j: Tokens, heads: int | None = None) -> Float[Tensor, "B *P H H"]:
        """C(i, j) of one pair or of P pairs; arguments as for `branches`."""
        return sum(self.branches(i, j, heads).values())

    def dense(self) -> Float[Tensor, "B T S H H"]:
        """C of all pairs, for lengths that are looked at.

        ValueError where that are more than MOST_NUMBERS, and where one side has no terms to take its length
        from.
        """
        query, key = (next((p for p in part if p is not None), None) for part in (self[1:4], self[4:7]))
        if query is None or key is None:
            raise ValueError("dense: the terms lack a side; use matrix(i, j) for the pairs that you look at")
        shape = (len(query), query.shape[1], key.shape[1], key.shape[-1], key.shape[-1])
        if math.prod(shape) > MOST_NUMBERS:
            raise ValueError(
                f"dense: {shape} are {math.prod(shape):,} numbers, and the limit is {MOST_NUMBERS:,}; "
                "use matrix(i, j) for the pairs that you look at"
            )
        return self.matrix(torch.arange(shape[1])[:, None], torch.arange(shape[2]))

    def without(self, *branches: str) -> CompositionTerms:
        """The terms with some of `BRANCHES` left out; without "base" the identity is left."""
        if unknown := set(branches) - FIELDS.keys():
            raise ValueError(f"without: no branch {unknown.pop()!r}; there are {', '.join(BRANCHES)}")
        return self._replace(**{field: None for branch in branches for field in FIELDS[branch]})


def compose(A: Float[Tensor, "B H T S"], terms: CompositionTerms) -> Float[Tensor, "B H T S"]:
    """A'(i, j) = A(i, j) C(i, j) for all pairs, without building C for them; A itself for plain heads.

    What the query token decides (base, low rank and gate) is one H x H matrix a row, applied as a batched
    product; the key side is applied as R times a weighted sum over heads and a product, and a gate. Only A is
    kept for the backward pass.

    >>> A, swap = torch.rand(1, 2, 3, 3), torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    >>> torch.equal(compose(A, CompositionTerms(base=swap)), A.flip(1))
    True
    """
    if terms.is_identity:
        return A
    groups, heads = terms.groups, A.shape[1]
    for name, part in terms._asdict().items():
        size = A.shape[2 if "_q" in name else 3]
        if "w_" in name and part is not None and (*part.shape[:2], part.shape[-1]) != (len(A), size, heads):
            raise ValueError(f"compose: {name} {tuple(part.shape)} does not fit to A {tuple(A.shape)}")
    for side, first, second in (("q", *terms[1:3]), ("k", *terms[4:6])):
        if getattr(first, "shape", None) != getattr(second, "shape", None):
            raise ValueError(f"compose: w_{side}1 and w_{side}2 have one shape, or are both None")

    def folded(part: Tensor | None) -> Tensor | None:  # (B, N, *, H) -> (B G, N, *, M)
        if part is None or groups == 1:
            return part
        return part.unflatten(-1, (groups, -1)).movedim(-2, 1).flatten(0, 1)

    w_q1, w_q2, w_qg, w_k1, w_k2, w_kg = map(folded, terms[1:7])
    A = A.unflatten(1, (groups, -1)).flatten(0, 1)  # (B G, M, T, S)
    row = torch.eye(heads // groups).to(A)
    if terms.base is not None:  # its diagonal blocks
        blocks = terms.base.unflatten(1, (groups, -1)).unflatten(0, (groups, -1)).diagonal(dim1=0, dim2=2)
        row = blocks.movedim(-1, 0).repeat(len(A) // groups, 1, 1)[:, None]  # (B G, 1, M, M)
    row = row if w_q1 is None else row + w_q1.mT @ w_q2  # (B G, T, M, M)
    row = row if w_qg is None else row + torch.diag_embed(w_qg)
    row = row.to(A.dtype).expand(len(A), A.shape[2], -1, -1)  # autocast mixes types
    row = None if terms.base is w_q1 is w_qg is None else row
    keys = (None if part is None else part.movedim(1, -1) for part in (w_k1, w_k2, w_kg))  # (B G, *, M, S)
    return _Compose.apply(A, row, *keys).unflatten(0, (-1 if len(A) else 0, groups)).flatten(1, 2)


class _Compose(torch.autograd.Function):
    """A (B, H, T, S), row (B, T, H, H), w_1 and w_2 (B, R, H, S), gate (B, H, S) -> (B, H, T, S)."""

    @staticmethod
    def forward(ctx, A, row, w_1, w_2, gate):
        ctx.save_for_backward(A, row, w_1, w_2, gate)
        A = A.transpose(1, 2)  # (B, T, H, S)
        out = A.clone(memory_format=torch.contiguous_format) if row is None else row.mT @ A
        for r in range(0 if w_1 is None else w_1.shape[1]):
            read = (A * w_1[:, None, r]).sum(2, keepdim=True)  # (B, T, 1, S)
            out.addcmul_(read, w_2[:, None, r])
        if gate is not None:
            out.addcmul_(A, gate[:, None])
        return out.transpose(1, 2)

    @staticmethod
    def backward(ctx, grad):  # of operations that can be differentiated again
        A, row, w_1, w_2, gate = ctx.saved_tensors
        A, grad = A.transpose(1, 2), grad.transpose(1, 2)  # (B, T, H, S)
        to_A = grad.clone(memory_format=torch.contiguous_format) if row is None else row @ grad
        to_row = None if row is None else A @ grad.mT
        to_1, to_2 = [], []
        for r in range(0 if w_1 is None else w_1.shape[1]):
            read = (A * w_1[:, None, r]).sum(2, keepdim=True)
            to_read = (grad * w_2[:, None, r]).sum(2, keepdim=True)
            to_A.addcmul_(to_read, w_1[:, None, r])
            to_1.append((A * to_read).sum(1))  # (B, H, S)
            to_2.append((grad * read).sum(1))
        if gate is not None:
            to_A.addcmul_(grad, gate[:, None])
        to_gate = None if gate is None else (A * grad).sum(1)
        pair = (torch.stack(each, 1) if each else None for each in (to_1, to_2))
        return to_A.transpose(1, 2), to_row, *pair, to_gate


class Generator(nn.Module):
    """From token vectors to w_1 (reads), w_2 (writes) and the gate of one side of a composition.

        h = GELU(x W_1),  [w_1, w_2] = h W_2,  w_1 with root mean square 1 over the heads,  gate = tanh(x W_g)

    x is the output of the norm before the attention. Parts that the composition lacks are None.
    """

    def __init__(self, width: int, heads: int, composition: Composition) -> None:
        super().__init__()
        groups, rank = composition.groups, composition.rank
        size, hidden = heads // groups, 2 * rank * heads // groups  # M, K
        if composition.low_rank:
            first = torch.randn(width, groups, hidden) * math.sqrt(2 / (width + hidden))
            second = torch.randn(groups, hidden, 2 * rank, size) * 0.02 / (math.sqrt(hidden) * (size + 2))
            self.W_1, self.W_2 = nn.Parameter(first), nn.Parameter(second)
        if composition.gates:
            self.W_g = nn.Parameter(torch.randn(width, heads) * 0.05 * math.sqrt(2 / (width + heads)))
        self.low_rank, self.gates = composition.low_rank, composition.gates

    def forward(self, x: Float[Tensor, "B N D"]) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        w_1 = w_2 = gate = None
        if self.low_rank:
            h = gelu(torch.einsum("bnd,dgk->bngk", x, self.W_1))
            w = torch.einsum("bngk,gkrm->bnrgm", h, self.W_2)  # (B, N, 2R, G, M)
            w_1, w_2 = w.chunk(2, dim=2)
            w_1 = rms_norm(w_1, w_1.shape[-1:], eps=1e-6).flatten(3)  # (B, N, R, H)
            w_2 = w_2.flatten(3)
        if self.gates:
            gate = (x @ self.W_g).tanh()  # (B, N, H)
        return w_1, w_2, gate


class Compose(nn.Module):
    """One composition, of scores or of weights: `terms` from token vectors, then A' from A and terms.

    heads: H, divisible by the composition's groups. Without static, query and key parts, or `on` False, it
    leaves A as it is.
    """

    def __init__(self, width: int, heads: int, composition: Composition, on: bool = True) -> None:
        super().__init__()
        if heads % composition.groups:
            raise ValueError(f"Compose: {heads} heads cannot be divided into {composition.groups} groups")
        self.groups = composition.groups
        self.W_b = self.query = self.key = None
        if on and composition.static:
            self.W_b = nn.Parameter(torch.randn(heads, heads) * 0.1 / math.sqrt(heads))
        if on and composition.query:
            self.query = Generator(width, heads, composition)
        if on and composition.key:
            self.key = Generator(width, heads, composition)

    def terms(self, x_q: Float[Tensor, "B T D"], x_k: Float[Tensor, "B S D"]) -> CompositionTerms:
        """The parts of C from the vectors of the tokens that ask and of those that are attended to."""
        base = None if self.W_b is None else torch.eye(len(self.W_b)).to(self.W_b) + self.W_b
        query = (None,) * 3 if self.query is None else self.query(x_q)
        key = (None,) * 3 if self.key is None else self.key(x_k)
        return CompositionTerms(base, *query, *key, self.groups)

    def forward(self, A: Float[Tensor, "B H T S"], terms: CompositionTerms) -> Float[Tensor, "B H T S"]:
        return compose(A, terms)
