"""Compose beside einsum with the dense C, loops, and the identities of the paper's construction."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from marginalia.heads import BRANCHES, VARIANTS, Compose, Composition, CompositionTerms, compose
from marginalia.heads.composition import Generator

B, T, S, H, D, R = 2, 5, 7, 4, 12, 2
MIXED = {name: one for name, one in VARIANTS.items() if name != "MHA"}


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def lively(composer: Compose) -> Compose:
    """Weights large enough that every branch counts, in float64."""
    for parameter in composer.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return composer.double()


def example(
    composition=VARIANTS["DCMHA + static"], heads: int = H
) -> tuple[Compose, Tensor, CompositionTerms]:
    composer = lively(Compose(D, heads, composition))
    x_q, x_k = torch.randn(B, T, D).double(), torch.randn(B, S, D).double()
    return composer, torch.randn(B, heads, T, S).double(), composer.terms(x_q, x_k)


def dense_of(terms: CompositionTerms, heads: int = H) -> Tensor:
    """C of all pairs, one at a time, straight from the formula."""
    C = torch.zeros(B, T, S, heads, heads).double()
    size = heads // terms.groups
    same = torch.arange(heads)[:, None] // size == torch.arange(heads) // size
    for b in range(B):
        for i in range(T):
            for j in range(S):
                C[b, i, j] = torch.eye(heads) if terms.base is None else terms.base
                for w_1, w_2, gate, at in (
                    (terms.w_q1, terms.w_q2, terms.w_qg, i),
                    (terms.w_k1, terms.w_k2, terms.w_kg, j),
                ):
                    if w_1 is not None:
                        C[b, i, j] += sum(
                            torch.outer(w_1[b, at, r], w_2[b, at, r]) for r in range(w_1.shape[2])
                        )
                    if gate is not None:
                        C[b, i, j] += gate[b, at].diag()
    return C * same


@pytest.mark.parametrize("name", MIXED)
def test_equal_to_einsum_with_the_dense_matrices(name):
    _, A, terms = example(VARIANTS[name])
    C = dense_of(terms)
    expected = torch.einsum("bnts,btsnm->bmts", A, C)
    assert torch.allclose(compose(A, terms), expected, atol=1e-12)
    i, j = (each.flatten() for each in torch.meshgrid(torch.arange(T), torch.arange(S), indexing="ij"))
    assert torch.allclose(terms.matrix(i, j).unflatten(1, (T, S)), C.expand(B, -1, -1, -1, -1), atol=1e-12)


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_groups_and_ranks(groups, rank):
    _, A, terms = example(Composition(static=True, groups=groups, rank=rank))
    C = dense_of(terms)
    assert torch.allclose(terms.dense(), C, atol=1e-12)
    assert torch.allclose(compose(A, terms), torch.einsum("bnts,btsnm->bmts", A, C), atol=1e-12)
    other = A.clone()
    other[:, : H // groups] += 1  # heads of the first group
    same = (compose(other, terms) == compose(A, terms)).all(-1).all(-1).all(0)
    assert same.tolist() == [head >= H // groups for head in range(H)]


@pytest.mark.parametrize("name", ["DCMHA + static", "query-wise", "key-wise", "talking heads"])
@pytest.mark.parametrize("groups", [1, 2])
def test_gradients(name, groups):
    """Against finite differences."""
    parts = list(example(VARIANTS[name])[2][:7])
    given = [part.detach().requires_grad_() for part in parts if part is not None]
    A = torch.randn(B, H, T, S).double().requires_grad_()

    def function(A, *some):
        left = iter(some)
        filled = [None if part is None else next(left) for part in parts]
        return compose(A, CompositionTerms(*filled, groups))

    assert torch.autograd.gradcheck(function, (A, *given))
    assert torch.autograd.gradgradcheck(function, (A, *given))


def test_zero_weights_are_the_identity():
    """Bitwise; also where only what writes is zero."""
    for names in (("W_1", "W_2", "W_g"), ("W_2", "W_g")):
        composer, A, _ = example(VARIANTS["DCMHA"])
        for name, parameter in composer.named_parameters():
            if name.split(".")[-1] in names:
                parameter.data.zero_()
        terms = composer.terms(torch.randn(B, T, D).double(), torch.randn(B, S, D).double())
        assert torch.equal(compose(A, terms), A)


def test_plain_heads_are_left_as_they_are():
    composer = Compose(D, H, VARIANTS["MHA"], on=False)
    terms = composer.terms(torch.randn(B, T, D), torch.randn(B, S, D))
    A = torch.randn(B, H, T, S)
    assert terms.is_identity and composer(A, terms) is A and not list(composer.parameters())
    assert torch.equal(terms.matrix(0, 1, heads=H)[0], torch.eye(H))


def test_branches_add_up_and_can_be_left_out():
    _, A, terms = example()
    branches = terms.branches(2, 3)
    assert tuple(branches) == BRANCHES
    assert torch.equal(sum(branches.values()), terms.matrix(2, 3))
    for name in BRANCHES:
        left = terms.without(name)
        removed = branches[name] - (torch.eye(H) if name == "base" else 0)
        assert torch.allclose(terms.matrix(2, 3) - left.matrix(2, 3), removed, atol=1e-12)
    static = terms.without(*BRANCHES[1:])
    assert torch.allclose(compose(A, static), torch.einsum("bnts,nm->bmts", A, terms.base), atol=1e-12)
    with pytest.raises(ValueError, match="no branch 'gate'"):
        terms.without("gate")


def test_row_plus_column():
    """The query side depends on i alone, the key side on j alone, and there is no product of both."""
    C = example()[2].dense()
    mixed = C - C[:, :1] - C[:, :, :1] + C[:, :1, :1]
    assert torch.allclose(mixed, torch.zeros_like(mixed), atol=1e-12)


def test_rank_of_the_dynamic_part():
    _, _, terms = example(VARIANTS["low rank only"], heads=12)
    branches = terms.branches(0, 0)
    sides = [branches[f"{side} low rank"] for side in ("query", "key")]
    assert [int(torch.linalg.matrix_rank(side[0])) for side in sides] == [R, R]
    assert int(torch.linalg.matrix_rank(sum(sides)[0])) == 2 * R


def test_reading_directions_are_normalised_and_gates_bounded():
    generator = Generator(D, H, VARIANTS["DCMHA"])
    for parameter in (generator.W_1, generator.W_2):
        torch.nn.init.normal_(parameter, std=0.3)
    w_1, _, gate = generator(torch.randn(B, T, D))
    assert torch.allclose(w_1.square().mean(-1), torch.ones(B, T, R), atol=1e-4)
    assert gate.abs().max() <= 1
    # at the initial scale the epsilon counts: raw rows are as small as its root
    generator = Generator(32, H, VARIANTS["DCMHA"])
    x = torch.randn(B, 64, 32)
    h = torch.nn.functional.gelu(x @ generator.W_1[:, 0])
    raw = (h @ generator.W_2[0].flatten(1)).unflatten(-1, (2 * R, H))[:, :, :R]
    expected = raw / (raw.square().mean(-1, keepdim=True) + 1e-6).sqrt()
    assert torch.allclose(generator(x)[0], expected, atol=1e-5)
    assert expected.square().mean(-1).sqrt().mean() < 0.95


@pytest.mark.parametrize(("width", "heads", "rank"), [(32, 4, 2), (64, 8, 2), (24, 4, 3)])
def test_number_of_parameters(width, heads, rank):
    def count(composition):
        return sum(p.numel() for _ in range(2) for p in Compose(width, heads, composition).parameters())

    dynamic = 8 * rank * width * heads + 4 * width * heads + 16 * rank**2 * heads**2
    assert count(Composition(rank=rank)) == dynamic
    assert count(Composition(rank=rank, static=True)) == dynamic + 2 * heads**2
    if rank == 2:
        assert dynamic == 20 * width * heads + 64 * heads**2


def test_scale_and_heads_permuted():
    _, A, terms = example()
    assert torch.allclose(compose(3 * A, terms), 3 * compose(A, terms), atol=1e-11)
    order = torch.randperm(H)
    moved = [part if part is None else part[..., order] for part in terms[:7]]
    moved[0] = terms.base[order][:, order]
    permuted = compose(A[:, order], CompositionTerms(*moved))
    assert torch.allclose(permuted, compose(A, terms)[:, order], atol=1e-12)


def test_static_compositions_multiply():
    _, A, terms = example(VARIANTS["talking heads"])
    twice = compose(compose(A, terms), terms)
    assert torch.allclose(twice, compose(A, CompositionTerms(base=terms.base @ terms.base)), atol=1e-11)


def test_dense_is_refused_above_its_budget():
    terms = Compose(D, 16, VARIANTS["DCMHA"]).terms(torch.zeros(1, 2000, D), torch.zeros(1, 2000, D))
    with pytest.raises(ValueError, match=r"1,024,000,000 numbers, and the limit is 268,435,456; use matrix"):
        terms.dense()


def test_pairs_are_broadcast():
    """One token with many, and pairs of any shape."""
    terms = example()[2]
    C, i, j = terms.dense(), torch.tensor([[0, 1], [2, -1]]), torch.tensor([[1, 2], [-3, 4]])
    for pair in ((i, j), (3, j), (i, 3), (i[0], 3), ([0, 1], [1, 2]), (-1, -2)):
        assert torch.equal(terms.matrix(*pair), C[(slice(None), *pair)])
    with pytest.raises(ValueError, match=r"plain heads have no terms .* give heads"):
        CompositionTerms().matrix(0, 1)


def test_terms_that_do_not_fit():
    """Also where torch would repeat them."""
    _, A, terms = example()
    with pytest.raises(ValueError, match=r"w_q1 \(1, 5, 2, 4\) does not fit to A \(2, 4, 5, 7\)"):
        compose(A, terms._replace(w_q1=terms.w_q1[:1]))
    for name in ("w_q2", "w_qg", "w_k1", "w_kg"):
        for part in (getattr(terms, name)[:, :1], getattr(terms, name)[..., :1]):
            with pytest.raises(ValueError, match=f"{name} .* does not fit|have one shape"):
                compose(A, terms._replace(**{name: part}))
    for part in (None, terms.w_k2[:, :, :1]):
        with pytest.raises(ValueError, match="w_k1 and w_k2 have one shape"):
            compose(A, terms._replace(w_k2=part))


@pytest.mark.parametrize("name", MIXED)
def test_autocast(name):
    """Runs in both directions, as near as eight bits of bfloat16 allow."""
    composer = lively(Compose(D, H, VARIANTS[name])).float()
    x, A = torch.randn(B, T, D), torch.randn(B, H, T, T).requires_grad_()
    found = []
    for on in (True, False):
        with torch.autocast("cpu", torch.bfloat16, enabled=on):
            out = composer(A @ torch.eye(T), composer.terms(x, x))
        found += [out.detach().float(), torch.autograd.grad(out.sum(), A)[0]]
    for low, exact in zip(found[:2], found[2:], strict=True):
        assert (low - exact).abs().max() < 0.03 * exact.abs().max()


def test_heads_that_cannot_be_grouped():
    with pytest.raises(ValueError, match="6 heads cannot be divided into 4 groups"):
        Compose(D, 6, Composition(groups=4))
