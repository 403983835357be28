"""DCMHAttention beside torch's attention, and what must hold for any mask, chunk, window and cache."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from marginalia.heads import (
    VARIANTS,
    Composition,
    DCMHAttention,
    TinyTransformer,
    TransformerConfig,
    attention,
)
from marginalia.record import record

B, T, S, D, H = 2, 9, 6, 32, 4
MIXED = [name for name in VARIANTS if name != "MHA"]


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def lively(module: nn.Module) -> nn.Module:
    """Compositions large enough to count, in float64."""
    for name, parameter in module.named_parameters():
        if name.split(".")[-1] in ("W_1", "W_2", "W_g", "W_b"):
            nn.init.normal_(parameter, std=0.3)
    return module.double().eval()


def layer(name: str = "DCMHA + static", **options) -> DCMHAttention:
    return lively(DCMHAttention(D, H, VARIANTS[name], **options))


def transformer(**options) -> TinyTransformer:
    composition = options.pop("composition", VARIANTS["DCMHA + static"])
    return lively(TinyTransformer(TransformerConfig(50, 16, 4, 2, 32, composition, rotary=4, **options)))


def recorded(module: nn.Module, *inputs: Tensor, **options) -> dict[str, Tensor]:
    """Scores, composed scores, weights and composed weights of one attention."""
    with record(module, ["*pre", "*post"]) as seen:
        module(*inputs, **options)
    pre, post = (
        next(calls[0] for name, calls in seen.items() if name.endswith(part)) for part in ("pre", "post")
    )
    return {"scores": pre.inputs["A"], "S'": pre.output, "P": post.inputs["A"], "P'": post.output}


def tokens(*shape: int) -> Tensor:
    return torch.randint(50, shape)


@pytest.mark.parametrize("bias", [False, True])
def test_plain_heads_are_torchs_attention(bias):
    ours = layer("MHA", bias=bias, out_bias=bias)
    theirs = nn.MultiheadAttention(D, H, bias=bias, batch_first=True).double()
    theirs.in_proj_weight.data, theirs.out_proj.weight.data = ours.wqkv.weight.data, ours.wo.weight.data
    if bias:
        theirs.in_proj_bias.data, theirs.out_proj.bias.data = ours.wqkv.bias.data, ours.wo.bias.data
    x, memory = torch.randn(B, T, D).double(), torch.randn(B, S, D).double()
    assert torch.allclose(ours(x), theirs(x, x, x)[0], atol=1e-12)
    assert torch.allclose(ours(x, memory), theirs(x, memory, memory)[0], atol=1e-12)
    ours.causal, hidden = True, torch.ones(T, T).triu(1).bool()
    assert torch.allclose(ours(x), theirs(x, x, x, attn_mask=hidden)[0], atol=1e-12)


def test_zero_compositions_are_plain_heads():
    ours, plain = layer("DCMHA", causal=True, rotary=8), layer("MHA", causal=True, rotary=8)
    for name, parameter in ours.named_parameters():
        if name.split(".")[-1] in ("W_2", "W_g"):
            parameter.data.zero_()
    plain.load_state_dict(ours.state_dict(), strict=False)
    x = torch.randn(B, T, D).double()
    assert torch.equal(ours(x), plain(x))


def test_order_of_the_steps():
    """Scores are composed before they are masked, weights after the softmax; none is normalised again."""
    ours = layer(causal=True)
    seen = recorded(ours, torch.randn(B, T, D).double())
    allowed = torch.ones(T, T).tril().bool()
    assert seen["scores"].isfinite().all() and seen["scores"][..., ~allowed].abs().min() > 0
    expected = seen["S'"].masked_fill(~allowed, -torch.inf).softmax(-1)
    assert torch.allclose(seen["P"], expected, atol=1e-12)
    assert (seen["P"][..., ~allowed] == 0).all() and (seen["P'"][..., ~allowed] == 0).all()
    assert seen["P'"].min() < 0  # composed weights can be negative


@pytest.mark.parametrize("name", MIXED)
def test_causality(name):
    """What comes later changes nothing, and has no gradient."""
    model = transformer(composition=VARIANTS[name])
    first = tokens(1, 12)
    second = first.clone()
    second[:, 7:] = tokens(1, 5)
    assert torch.equal(model(first)[:, :7], model(second)[:, :7])
    x = torch.randn(1, T, D).double().requires_grad_()
    layer(name, causal=True)(x)[:, 4].sum().backward()
    assert (x.grad[:, 5:] == 0).all() and x.grad[:, :5].abs().min() > 0


def test_single_valid_key_and_no_valid_key():
    ours = layer(causal=True)
    x = torch.randn(B, T, D).double()
    assert ours(x).isfinite().all()  # row 0 has one key
    assert (ours(x, mask=torch.zeros(B, 1, 1, T, dtype=torch.bool)) == 0).all()


def test_tokens_whose_keys_are_all_masked_see_nothing(monkeypatch):
    """And nothing of the future, in one chunk or many."""
    ours, x = layer(causal=True), torch.randn(B, T, D).double()
    mask = torch.rand(B, 1, T, T) > 0.3
    mask[:, :, :4, :4] = False
    changed = x.clone()
    changed[:, 4:] += 1
    for rows in (100, 1):
        monkeypatch.setitem(attention.CHUNK, "cpu", rows * B * H * T)
        out = ours(x, mask=mask)
        assert (out[:, :4] == 0).all() and (ours(changed, mask=mask)[:, :4] == 0).all()
        assert out[:, 4:].abs().amin((0, 2)).max() > 0
    assert recorded(ours, x, mask=mask)["P"][:, :, :4].abs().max() == 0


@pytest.mark.parametrize("window", [1, 3, 8, 40])
def test_window_admits_that_many_keys(window):
    ours = layer(causal=True, window=window)
    x = torch.randn(B, T, D).double()
    weights = recorded(ours, x)["P"]
    i, j = torch.arange(T)[:, None], torch.arange(T)
    allowed = (j <= i) & (j > i - window)
    assert torch.equal(weights > 0, allowed.expand_as(weights))
    changed = x.clone()
    changed[:, : T - window] += 1
    assert torch.equal(ours(x)[:, -1], ours(changed)[:, -1])
    if window >= T:
        whole = layer(causal=True)
        whole.load_state_dict(ours.state_dict())
        assert torch.equal(ours(x), whole(x))


@pytest.mark.parametrize("options", [{"causal": True}, {"causal": True, "window": 3}, {}])
@pytest.mark.parametrize("rows", [1, 2, 4, 100])
@pytest.mark.parametrize("name", ["MHA", "DCMHA + static"])
def test_chunks_change_nothing(monkeypatch, options, rows, name):
    """Outputs and gradients, whether or not the rows can be divided."""
    ours = layer(name, rotary=8, **options)
    x = torch.randn(B, T, D).double().requires_grad_()
    mask = torch.rand(B, 1, T, T) > 0.2

    def run():
        out = ours(x, mask=mask)
        return out.detach(), *torch.autograd.grad(out.square().sum(), [x, *ours.parameters()])

    whole = run()
    monkeypatch.setitem(attention.CHUNK, "cpu", rows * B * H * T)
    for a, b in zip(whole, run(), strict=True):
        assert torch.allclose(a, b, rtol=1e-10, atol=1e-10)


def test_second_derivatives_in_chunks_are_refused(monkeypatch):
    ours, x = layer(), torch.randn(B, T, D).double().requires_grad_()
    monkeypatch.setitem(attention.CHUNK, "cpu", 1)
    with pytest.raises(RuntimeError, match="no second derivatives in chunks"):
        torch.autograd.grad(ours(x).sum(), x, create_graph=True)


def test_what_is_recorded_comes_in_one_call(monkeypatch):
    ours, x = layer(causal=True), torch.randn(B, T, D).double()
    whole = recorded(ours, x)
    monkeypatch.setitem(attention.CHUNK, "cpu", 2 * B * H * T)
    for name, tensor in recorded(ours, x).items():
        assert tensor.shape == (B, H, T, T) and torch.equal(tensor, whole[name])


@pytest.mark.parametrize("name", ["MHA", *MIXED])
@pytest.mark.parametrize("windows", [(None,), (4, None)])
def test_cache_equals_the_full_pass(name, windows):
    """Token by token and for any split, for lengths above twice the window."""
    model = transformer(composition=VARIANTS[name], windows=windows)
    text = tokens(B, 12)
    full = model(text)
    for splits in ([1] * 12, [5, 7], [9, 1, 2]):
        cache = model.new_cache()
        parts = [model(part, cache) for part in text.split(splits, 1)]
        assert torch.allclose(torch.cat(parts, 1), full, atol=1e-10)
    kept = {key.split()[-1] for key in cache[0]} - {"k", "v"}
    composition = VARIANTS[name]
    keyed = composition.key and (composition.pre or composition.post)
    parts = {"w_k1", "w_k2"} if keyed and composition.low_rank else set()
    parts |= {"w_kg"} if keyed and composition.gates else set()
    assert kept == parts  # query-wise: nothing


def test_sequences_of_different_lengths():
    """Padded on the left, each gives what it gives alone; with a cache too."""
    model = transformer(windows=(4, None))
    long, short = tokens(1, 11), tokens(1, 7)
    both = torch.cat([long, torch.cat([tokens(1, 4), short], 1)])
    padding = torch.tensor([0, 4])
    out = model(both, padding=padding)
    assert torch.allclose(out[:1], model(long), atol=1e-10)
    assert torch.allclose(out[1:, 4:], model(short), atol=1e-10)
    cache = model.new_cache()
    parts = [model(part, cache, padding) for part in both.split([6, 1, 4], 1)]
    assert torch.allclose(torch.cat(parts, 1)[1:, 4:], model(short), atol=1e-10)


@pytest.mark.parametrize("name", MIXED)
def test_cross_attention_without_mask(name):
    """T and S differ, and each token's terms come from its own side."""
    ours = layer(name)
    x, memory = torch.randn(B, T, D).double(), torch.randn(B, S, D).double()
    seen = recorded(ours, x, memory)
    assert seen["scores"].shape == (B, H, T, S)
    q, k = x @ ours.wqkv.weight[:D].T, memory @ ours.wqkv.weight[D : 2 * D].T
    scores = q.unflatten(-1, (H, -1)).transpose(1, 2) @ k.unflatten(-1, (H, -1)).permute(0, 2, 3, 1)
    scores = scores / (D / H) ** 0.5
    assert torch.allclose(seen["scores"], scores, atol=1e-12)
    i, j = (each.flatten() for each in torch.meshgrid(torch.arange(T), torch.arange(S), indexing="ij"))
    C = ours.pre.terms(x, memory).matrix(i, j, H).unflatten(1, (T, S)).double()
    assert torch.allclose(
        seen["S'"], torch.einsum("bnts,btsnm->bmts", scores, C.expand(B, -1, -1, -1, -1)), atol=1e-11
    )


def test_query_wise_terms_of_keys_do_not_matter():
    ours = layer("query-wise")
    terms = ours.pre.terms(torch.randn(B, T, D).double(), torch.randn(B, S, D).double())
    assert terms.w_k1 is terms.w_k2 is terms.w_kg is None


def test_permuted_heads_of_a_whole_layer():
    """Heads of q, k, v, of all composition weights and of the columns of W_O."""
    ours, order = layer(causal=True, rotary=8), torch.randperm(H)
    x = torch.randn(B, T, D).double()
    before = ours(x)
    w = ours.wqkv.weight.data.unflatten(0, (3, H, -1))
    ours.wqkv.weight.data = w[:, order].flatten(0, 2)
    ours.wo.weight.data = ours.wo.weight.data.unflatten(1, (H, -1))[:, order].flatten(1)
    for part in (ours.pre, ours.post):
        part.W_b.data = part.W_b.data[order][:, order]
        for side in (part.query, part.key):
            side.W_2.data, side.W_g.data = side.W_2.data[..., order], side.W_g.data[:, order]
    assert torch.allclose(ours(x), before, atol=1e-11)


def test_composed_scores_are_an_expanded_qk_and_composed_weights_an_expanded_ov():
    """Section 2.5 of the sheet: one wider head; the rank of its circuit grows to all of the width."""
    ours = layer("talking heads")
    x = torch.randn(1, T, D).double()
    seen, C = recorded(ours, x), [part.terms(x, x).base for part in (ours.pre, ours.post)]
    W_Q, W_K, W_V = ours.wqkv.weight.unflatten(0, (3, H, -1)).mT.unbind(0)  # (H, D, D_h)
    W_O = ours.wo.weight.T.unflatten(0, (H, -1))  # (H, D_h, D)
    W_QK, W_OV = W_Q @ W_K.mT / (D / H) ** 0.5, W_V @ W_O
    expanded = torch.einsum("nde,nm->mde", W_QK, C[0])
    assert torch.allclose(x @ expanded @ x.mT, seen["S'"][0], atol=1e-12)
    moved = torch.einsum("mde,nm->nde", W_OV, C[1])
    assert torch.allclose(
        sum(P @ x[0] @ W for P, W in zip(seen["P"][0], moved, strict=True)), ours(x)[0], atol=1e-12
    )
    assert [int(torch.linalg.matrix_rank(W[0])) for W in (W_QK, expanded, moved)] == [D // H, D, D]


def test_half_precision_runs():
    ours = DCMHAttention(D, H, causal=True).to(torch.bfloat16)
    assert ours(torch.randn(B, T, D, dtype=torch.bfloat16)).isfinite().all()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"width": 30}, "width 30 cannot be divided by 4 heads"),
        ({"heads": 0}, "width 32 cannot be divided by 0 heads"),
        ({"rotary": 9}, "rotary must be even and at most 8"),
        ({"window": 3}, "needs causal=True"),
        ({"causal": True, "window": 0}, "above 0"),
        ({"composition": Composition(groups=3)}, "4 heads cannot be divided into 3 groups"),
    ],
)
def test_what_does_not_fit(options, told):
    with pytest.raises(ValueError, match=told):
        DCMHAttention(**({"width": D, "heads": H} | options))


@pytest.mark.parametrize("name", ["MHA", "DCMHA + static", "key-wise"])
@pytest.mark.parametrize("groups", [1, 2])
def test_nothing_to_attend_from_or_to(name, groups):
    ours = lively(DCMHAttention(D, H, replace(VARIANTS[name], groups=groups)))
    x, memory = torch.randn(B, T, D).double(), torch.randn(B, S, D).double()
    assert ours(x[:0], memory[:0]).shape == (0, T, D) and ours(x[:, :0], memory).shape == (B, 0, D)
    assert torch.equal(ours(x, memory[:, :0]), torch.zeros(B, T, D).double())


def filled(batch: int = B) -> dict[str, Tensor]:
    cache = {}
    layer(causal=True)(torch.randn(batch, T, D).double(), cache=cache)
    return cache


@pytest.mark.parametrize(
    ("error", "told", "inputs", "options"),
    [
        (ValueError, r"x \(9, 32\) and memory \(9, 32\) must be \(B, T, 32\)", [(T, D)], {}),
        (ValueError, r"x \(2, 9, 33\) .* must be \(B, T, 32\)", [(B, T, D + 1)], {}),
        (ValueError, r"memory \(1, 6, 32\) must be", [(B, T, D), (1, S, D)], {}),
        (TypeError, "mask is bool", [(B, T, D)], {"mask": torch.ones(T, T)}),
        (ValueError, "mask does not broadcast", [(H, T, D)], {"mask": torch.ones(H, T, T).bool()}),
        (ValueError, "needs causal=True and no memory", [(B, T, D), (B, S, D)], {"cache": {}}),
        (ValueError, "x has 1 sequences, the cache 2", [(1, T, D)], {"cache": filled()}),
    ],
)
def test_inputs_that_do_not_fit(error, told, inputs, options):
    with pytest.raises(error, match=told):
        layer(causal=True)(*(torch.randn(shape).double() for shape in inputs), **options)


def test_a_cache_is_for_causal_attention():
    """Where all tokens see each other, the first ones would have to be computed again."""
    with pytest.raises(ValueError, match="needs causal=True"):
        layer()(torch.randn(B, T, D).double(), cache={})
    x = torch.randn(B, T, D).double()
    with pytest.raises(ValueError, match="no memory"):
        layer(causal=True)(x, x, cache={})
    with pytest.raises(ValueError):
        transformer()(tokens(B, 5), cache=[])  # and not: without a cache


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"vocab": 0}, "vocab, layers and ffn are 1 or more"),
        ({"windows": ()}, "windows not empty"),
        ({"norm": "RMS"}, "norm is rms or layer, not 'RMS'"),
        ({"activation": "relu"}, "activation is gelu or swiglu, not 'relu'"),
    ],
)
def test_transformers_that_cannot_be(options, told):
    with pytest.raises(ValueError, match=told):
        TransformerConfig(**({"vocab": 50} | options))
    for numbers in ({"rank": 0}, {"groups": 0}):
        with pytest.raises(ValueError, match="must be 1 or more"):
            Composition(**numbers)


def test_plain_twin_has_as_many_parameters():
    for options in ({}, {"activation": "swiglu", "bias": True}):
        config = TransformerConfig(1024, **options)
        count = [
            sum(p.numel() for p in TinyTransformer(c).parameters()) for c in (config, config.plain_twin())
        ]
        assert abs(count[0] - count[1]) <= 3 * config.width * config.layers
    assert count[0] > 0 and replace(config, ffn=608).plain_twin().composition == VARIANTS["MHA"]
    assert sum(p.numel() for p in TinyTransformer(TransformerConfig(1024)).parameters()) == 927_744
