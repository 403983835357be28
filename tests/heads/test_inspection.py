"""The microscope for heads: weights against the models' own attention, scores against dense products.

Ablation is judged by weights set to zero by hand, attribution by the difference of logits.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import transformers
from torch import nn

from marginalia.heads import VARIANTS, TinyTransformer, TransformerConfig
from marginalia.heads.inspection import (
    HeadWeights,
    _layout,
    ablate,
    ablation_effects,
    composition_scores,
    effective_rank,
    head_similarity,
    head_weights,
    logit_attribution,
    pairwise_ablation,
    pattern_scores,
    projection_kernel,
    random_baseline,
)
from marginalia.record import record

torch.set_num_threads(1)
V, D, H, D_H, L = 20, 24, 4, 6, 3
SIZES = {"vocab_size": V, "hidden_size": D, "num_attention_heads": H, "num_hidden_layers": L}
SIZES |= {"intermediate_size": 32, "max_position_embeddings": 32, "attn_implementation": "eager"}
SHARED = SIZES | {"num_key_value_heads": 2}
CAUSAL = {
    "gpt2": lambda: transformers.GPT2LMHeadModel(
        transformers.GPT2Config(
            vocab_size=V,
            n_positions=32,
            n_embd=D,
            n_layer=L,
            n_head=H,
            attn_implementation="eager",
            bos_token_id=0,
            eos_token_id=0,
        )
    ),
    "llama": lambda: transformers.LlamaForCausalLM(transformers.LlamaConfig(**SHARED)),
    "mistral": lambda: transformers.MistralForCausalLM(transformers.MistralConfig(**SHARED)),
    "qwen2": lambda: transformers.Qwen2ForCausalLM(transformers.Qwen2Config(**SHARED)),
    "gpt_neox": lambda: transformers.GPTNeoXForCausalLM(transformers.GPTNeoXConfig(**SIZES)),
    "sequential gpt_neox": lambda: transformers.GPTNeoXForCausalLM(
        transformers.GPTNeoXConfig(**SIZES, use_parallel_residual=False)
    ),
    "ours": lambda: ours(),
    "ours parallel": lambda: ours(parallel=True, norm="layer", bias=True),
    "ours swiglu": lambda: ours(activation="swiglu", qk_norm=True),
}
POST_NORM = {
    "bert": lambda: transformers.BertForMaskedLM(transformers.BertConfig(**SIZES)),
    "roberta": lambda: transformers.RobertaForMaskedLM(transformers.RobertaConfig(**SIZES)),
    "albert": lambda: transformers.AlbertForMaskedLM(transformers.AlbertConfig(**SIZES, embedding_size=8)),
    "albert groups": lambda: transformers.AlbertForMaskedLM(
        transformers.AlbertConfig(**SIZES | {"num_hidden_layers": 4}, embedding_size=8, num_hidden_groups=2)
    ),
}
MODELS = CAUSAL | POST_NORM


def ours(**options) -> TinyTransformer:
    options = {"composition": VARIANTS["MHA"], "rotary": 2} | options
    return TinyTransformer(TransformerConfig(V, D, H, L, ffn=32, **options))


def build(name: str) -> nn.Module:
    """A model with random weights that are large enough for every part to matter, norms and biases too."""
    torch.manual_seed(0)
    model = MODELS[name]().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model


@pytest.fixture(params=MODELS)
def model(request):
    return build(request.param)


def sample(batch: int = 3, length: int = 7) -> torch.Tensor:
    return torch.randint(3, V, (batch, length), generator=torch.Generator().manual_seed(1))


def logits(model: nn.Module, tokens: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        out = model(tokens)
    return out if isinstance(out, torch.Tensor) else out.logits


def outs(model: nn.Module) -> list[nn.Module]:
    """Output projections by layer, found by their names alone."""
    endings = ("attn.c_proj", "self_attn.o_proj", "attention.dense", "attention.output.dense", "attention.wo")
    return [m for n, m in model.named_modules() if n.endswith(endings)]


def columns(out: nn.Module, head: int) -> torch.Tensor:
    """The part of an output projection that a head writes with, (D_h, D); a view that can be set."""
    weight = out.weight if type(out).__name__ == "Conv1D" else out.weight.T
    return weight[head * D_H : (head + 1) * D_H]


def head_outputs(model: nn.Module, tokens: torch.Tensor) -> torch.Tensor:
    """z of every head (L, B, T, H, D_h): its weighted values, before W_O."""
    names = _layout(model).outs
    with torch.no_grad(), record(model, set(names)) as seen:
        model(tokens)
    calls = {name: iter(each) for name, each in seen.items()}
    z = [next(iter(next(calls[name]).inputs.values())) for name in names]
    return torch.stack(z).unflatten(-1, (H, -1))


# --- weights


def scaled(x: torch.Tensor, norm: nn.Module | None) -> torch.Tensor:
    """What a norm divides, without its weights."""
    if norm is None:
        return x
    x = x - x.mean(-1, keepdim=True) if isinstance(norm, nn.LayerNorm) else x
    eps = getattr(norm, "eps", None) or norm.variance_epsilon
    return x / (x.square().mean(-1, keepdim=True) + eps).sqrt()


NORMS = {"gpt2": "ln_1", "llama": "input_layernorm", "mistral": "input_layernorm", "qwen2": "input_layernorm"}
NORMS |= {"gpt_neox": "input_layernorm"}


@pytest.mark.parametrize("name", [*NORMS, *POST_NORM])
def test_weights_give_queries_keys_and_values_of_transformers(name):
    """All tokens stand at position 0, where nothing is turned; differences of tokens know no bias."""
    model, seen = build(name), []

    def spy(module, query, key, value, mask, **_):
        seen.append((query, key, value))
        return query.transpose(1, 2), None

    transformers.AttentionInterface.register("spy", spy)
    transformers.AttentionMaskInterface.register("spy", lambda *_, **__: None)
    model.set_attn_implementation("spy")
    kinds = ("GPT2Block", "DecoderLayer", "BertLayer", "RobertaLayer", "AlbertLayer", "GPTNeoXLayer")
    block = next(m for m in model.modules() if type(m).__name__.endswith(kinds))
    with torch.no_grad(), record(model) as calls:
        model(sample(), position_ids=torch.zeros(3, 7, dtype=torch.long))
    block_name = next(n for n, m in model.named_modules() if m is block)
    x = scaled(next(iter(calls[block_name][0].inputs.values())), getattr(block, NORMS.get(name, ""), None))

    weights = head_weights(model)
    for each, matrix in zip(seen[0], (weights.W_Q, weights.W_K, weights.W_V), strict=True):
        expected = each.repeat_interleave(H // each.shape[1], 1)  # (B, H, T, D_h)
        found = torch.einsum("btd,hde->bhte", x - x[:, :1], matrix[0])
        expected = expected - expected[:, :, :1]
        assert torch.allclose(found, expected, rtol=0, atol=1e-5 * expected.abs().max().item())


@pytest.mark.parametrize("norm", ["rms", "layer"])
def test_weights_give_scores_and_outputs_of_ours(norm, monkeypatch):
    monkeypatch.setitem(MODELS, "no bias", lambda: ours(rotary=0, bias_qkv=False, norm=norm))
    model = build("no bias")
    if norm == "layer":
        nn.init.zeros_(model.layers[1].attention_norm.bias)
    names = ["layers.1", "layers.1.attention.pre", "layers.1.attention.softmax"]
    with torch.no_grad(), record(model, names) as calls:
        model(sample())
    block, pre, softmax = (calls[name][0] for name in names)
    x, weights = scaled(block.inputs["x"], model.layers[1].attention_norm), head_weights(model)
    q, k, v = (torch.einsum("btd,hde->bhte", x, each[1]) for each in (weights.W_Q, weights.W_K, weights.W_V))
    assert torch.allclose(q @ k.mT / math.sqrt(D_H), pre.inputs["A"], rtol=0, atol=1e-5)
    z = (softmax.output @ v).transpose(1, 2)  # (B, T, H, D_h)
    assert torch.allclose(z, head_outputs(model, sample())[1], rtol=0, atol=1e-5)


def test_norms_are_folded():
    model = build("gpt2")
    folded, block = head_weights(model), model.transformer.h[2]
    raw = block.attn.c_attn.weight[:, D + D_H : D + 2 * D_H] * block.ln_1.weight[:, None]
    assert torch.allclose(folded.W_K[2, 1], raw - raw.mean(0), atol=1e-6) and not folded.W_K.requires_grad
    assert folded.W_K.sum(2).abs().max() < 1e-4 < raw.sum(0).abs().max()  # a LayerNorm passes no mean on


def test_a_model_that_cannot_be_read():
    for model in (
        nn.Linear(2, 2),
        nn.Sequential(ours()),  # without a config
        transformers.T5Model(transformers.T5Config(d_model=8, d_kv=4, num_layers=1, d_ff=8)),
    ):
        with pytest.raises(TypeError, match="can be read; these can: TinyTransformer, gpt2, llama"):
            head_weights(model)


# --- composition


@pytest.fixture
def weights():
    generator = torch.Generator().manual_seed(0)
    shapes = [(L, H, D, D_H)] * 3 + [(L, H, D_H, D)]
    return HeadWeights(*(torch.randn(shape, generator=generator) for shape in shapes))


def dense(weights: HeadWeights, kind: str, one: tuple, two: tuple) -> float:
    q, k, v, o = (getattr(weights, f"W_{x}").double().numpy() for x in "QKVO")
    ov = v[one] @ o[one]
    second = {"q": q[two] @ k[two].T, "k": k[two] @ q[two].T, "v": v[two] @ o[two]}[kind]
    return np.linalg.norm(ov @ second) / np.linalg.norm(ov) / np.linalg.norm(second)


@pytest.mark.parametrize("kind", "qkv")
def test_scores_are_those_of_dense_products(weights, kind):
    scores = composition_scores(weights, kind)
    assert scores.shape == (L, H, L, H)
    for index in np.ndindex(L, H, L, H):
        one, two = index[:2], index[2:]
        if one[0] < two[0]:
            assert scores[index].item() == pytest.approx(dense(weights, kind, one, two), rel=1e-5)
        else:
            assert scores[index].isnan()


@pytest.mark.parametrize("kind", "qkv")
def test_scores_do_not_depend_on_the_basis_inside_a_head(weights, kind):
    M, N = torch.randn(2, L, H, D_H, D_H, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    q, k, v, o = (getattr(weights, f"W_{x}").double() for x in "QKVO")
    turned = HeadWeights(q @ M, k @ torch.linalg.inv(M).mT, v @ N, torch.linalg.inv(N) @ o)
    plain = HeadWeights(q, k, v, o)
    for way in (composition_scores, projection_kernel):
        assert torch.allclose(way(turned, kind), way(plain, kind), rtol=1e-8, equal_nan=True)


@pytest.mark.parametrize("kind", "qkv")
def test_random_heads_lie_at_the_baseline(kind):
    generator = torch.Generator().manual_seed(0)
    shapes = [(2, 8, 64, 16)] * 3 + [(2, 8, 16, 64)]
    scores = composition_scores(HeadWeights(*(torch.randn(s, generator=generator) for s in shapes)), kind)
    assert scores[0, :, 1].mean().item() == pytest.approx(random_baseline(64), rel=0.05)


def test_projection_kernel_is_the_sum_of_squared_cosines(weights):
    from scipy.linalg import subspace_angles

    for kind, read in zip("qkv", (weights.W_Q, weights.W_K, weights.W_V), strict=True):
        kernel = projection_kernel(weights, kind)
        angles = subspace_angles(weights.W_O[0, 1].T.numpy(), read[2, 3].numpy())
        assert kernel[0, 1, 2, 3].item() == pytest.approx(np.square(np.cos(angles)).sum(), rel=1e-5)
        assert kernel[1, 0, 1, 1].isnan() and kernel[2, 0, 1, 1].isnan()
    same = HeadWeights(
        weights.W_O[:1].mT.expand(2, -1, -1, -1),
        *[weights.W_K[:2], weights.W_V[:2], weights.W_O[:1].expand(2, -1, -1, -1)],
    )
    assert projection_kernel(same, "q")[0, 1, 1, 1].item() == pytest.approx(D_H, rel=1e-5)


def test_bad_kind(weights):
    for way in (composition_scores, projection_kernel):
        with pytest.raises(ValueError, match="kind is 'q', 'k' or 'v', not 'o'"):
            way(weights, "o")


def test_effective_rank():
    matrices = torch.randn(5, 6, 4, generator=torch.Generator().manual_seed(0))
    values = np.linalg.svd(matrices.numpy(), compute_uv=False)
    shares = values / values.sum(1, keepdims=True)
    assert np.allclose(effective_rank(matrices), np.exp(-(shares * np.log(shares)).sum(1)), rtol=1e-5)
    two = matrices[:, :, :2] @ matrices[:, :2, :]
    assert (effective_rank(two) <= 2 + 1e-4).all()
    assert effective_rank(torch.eye(7)).item() == pytest.approx(7, rel=1e-5)
    assert effective_rank(torch.zeros(3, 3)).item() == 0


# --- similarity and patterns


def test_similarity_of_maps():
    generator = torch.Generator().manual_seed(0)
    maps = torch.rand(2, 3, 4, 5, generator=generator)
    flat = [maps[:, h].flatten().numpy() for h in range(3)]
    cosine = [[a @ b / np.linalg.norm(a) / np.linalg.norm(b) for b in flat] for a in flat]
    assert np.allclose(head_similarity(maps), cosine, rtol=0, atol=1e-6)


def test_patterns_of_heads_made_by_hand():
    tokens = torch.tensor([[4, 5, 6, 4, 5, 6, 7]])
    A = torch.zeros(1, 4, 7, 7)
    A[0, :3, 0, 0] = 1
    for i in range(1, 7):
        A[0, 0, i, i - 1] = 1  # the token before
        A[0, 1, i, i - 3 if 3 <= i < 6 else 0] = 1  # the same one, three before
        A[0, 2, i, i - 2 if 3 <= i < 6 else 0] = 1  # the one after it
    A[0, 3] = torch.ones(7, 7).tril() / torch.arange(1, 8)[:, None]  # uniform
    scores = pattern_scores(A, tokens)
    assert scores["previous token"][0] == scores["duplicate token"][1] == scores["induction"][2] == 1
    assert scores["duplicate token"][[0, 2]].tolist() == scores["induction"][:2].tolist() == [0, 0]
    uniform = (1 / 4 + 1 / 5 + 1 / 6) / 3
    assert scores["induction"][3].item() == pytest.approx(uniform, rel=1e-6)
    assert scores["previous token"][3].item() == pytest.approx(sum(1 / n for n in range(2, 8)) / 6, rel=1e-6)
    assert pattern_scores(A, torch.arange(7)[None])["induction"].isnan().all()
    with pytest.raises(ValueError, match=r"tokens \(1, 6\) need maps \(1, 'H', 6, 6\), not \(1, 4, 7, 7\)"):
        pattern_scores(A, tokens[:, :6])


# --- ablation


def layers_of(model: nn.Module) -> int:
    return len(head_weights(model).W_O)


def test_zero_is_the_weights_set_to_zero_by_hand(model):
    """Where layers share a module, all that share it are ablated to judge them."""
    tokens, heads = sample(), [1, 3]
    depth = layers_of(model)
    shared = depth // len(outs(model))
    with ablate(model, [(layer, h) for layer in range(shared) for h in heads], "zero"):
        found = logits(model, tokens)
    after = logits(model, tokens)
    with torch.no_grad():
        for head in heads:
            columns(outs(model)[0], head).zero_()
    expected = logits(model, tokens)
    close = {"rtol": 0, "atol": 1e-5 * expected.abs().max().item()}
    assert torch.allclose(found, expected, **close)
    assert not torch.allclose(after, expected, **close)  # the hooks are gone, and the heads mattered


def test_each_layer_of_albert_is_ablated_by_itself():
    """The judge: z of all layers, and the one layer whose z changed first is the one that was asked for."""
    model, tokens = build("albert groups"), sample()
    plain = head_outputs(model, tokens)  # (L, B, T, H, D_h)
    assert len(plain) == 4
    for layer in range(4):
        with ablate(model, [(layer, 2)], "zero"):
            z = head_outputs(model, tokens)
        changed = [not torch.equal(a, b) for a, b in zip(plain, z, strict=True)]
        # z as it arrives at the hook that reads it: replaced at this layer, another at all later ones
        assert changed[:layer] == [False] * layer and all(changed[layer + 1 :])


def test_mean_and_resample(model):
    tokens = sample()
    z = head_outputs(model, tokens)[0]  # (B, T, H, D_h)
    layer_out, W_O = outs(model)[0], head_weights(model).W_O[0]
    seen = []
    for how in ("mean", "resample"):
        with ablate(model, [(0, 2)], how):
            hook = layer_out.register_forward_hook(lambda _, args, out: seen.append(out))
            logits(model, tokens)
            hook.remove()
        wanted = z[:, :, 2].mean((0, 1)).expand(3, 7, -1) if how == "mean" else z[[2, 0, 1], :, 2]
        replaced = z.clone()
        replaced[:, :, 2] = wanted
        bias = layer_out.bias if layer_out.bias is not None else 0
        expected = torch.einsum("bthd,hde->bte", replaced, W_O) + bias
        first = seen[0]
        assert torch.allclose(first, expected, rtol=0, atol=1e-5 * expected.abs().max().item())
        seen.clear()


def test_bad_ablations():
    model = build("ours")
    with pytest.raises(ValueError, match=r"below \(3, 4\), not \(3, 0\)"), ablate(model, [(3, 0)]):
        pass
    with pytest.raises(ValueError, match="not 'median'"), ablate(model, [(0, 0)], "median"):
        pass
    with pytest.raises(ValueError, match="two or more"), ablate(model, [(0, 0)], "resample"):
        logits(model, sample(batch=1))
    before = logits(build("ours"), sample())
    assert torch.equal(logits(model, sample()), before)  # also after an error


def test_effects_and_interactions_are_differences_of_losses():
    model, tokens = build("ours").train(), sample()

    def loss(model):
        return nn.functional.cross_entropy(
            model(tokens)[:, :-1].transpose(1, 2), tokens[:, 1:], reduction="none"
        ).mean(1)

    effects = ablation_effects(model, loss, "zero")
    assert effects.shape == (L, H, 3) and not effects.requires_grad and model.training
    pairs = [((0, 1), (2, 3)), ((0, 1), (0, 2))]
    found = pairwise_ablation(model, loss, pairs, "zero")
    with torch.no_grad():
        base = loss(model)
        columns(outs(model)[0], 1).zero_()
        one = loss(model) - base
        columns(outs(model)[2], 3).zero_()
        both = loss(model) - base
    assert torch.allclose(effects[0, 1], one, rtol=0, atol=1e-5)
    assert torch.allclose(found[0], both - one - effects[2, 3], rtol=0, atol=1e-5)
    numbers = ablation_effects(model, lambda model: loss(model).mean().item(), "zero")
    assert torch.allclose(numbers, ablation_effects(model, loss, "zero").mean(-1), rtol=0, atol=1e-5)


def test_heads_that_do_not_meet_do_not_interact():
    """One layer without FFN or norms: a loss that is linear in the logits has no interaction (check 24)."""
    torch.manual_seed(0)
    model = ours(rotary=0)
    model.layers, model.norm = model.layers[:1], nn.Identity()
    model.layers[0].ffn.w2.weight.data.zero_()
    tokens = sample()
    pair = pairwise_ablation(model, lambda m: m(tokens)[:, -1, 3] - m(tokens)[:, -1, 4], [((0, 0), (0, 1))])
    assert pair.abs().max() < 1e-5


# --- attribution


@pytest.mark.parametrize("name", CAUSAL)
def test_terms_add_up_to_the_difference_of_logits(name):
    model, tokens = build(name), sample()
    correct, wrong = torch.tensor([3, 4, 5]), torch.tensor([6, 7, 3])
    for position in (-1, 2):
        terms = logit_attribution(model, tokens, correct, wrong, position)
        rows = logits(model, tokens)[:, position]
        difference = rows[range(3), correct] - rows[range(3), wrong]
        assert terms.heads.shape == (3, L, H) and terms.ffn.shape == (3, L)
        assert torch.allclose(terms.total(), difference, rtol=0, atol=1e-4)


def test_a_term_is_what_ablation_removes_where_nothing_follows():
    """Last layer, norm without effect on the difference: scale the rest so that the norm hardly moves."""
    torch.manual_seed(0)
    model = ours(rotary=0, eps=1e6)  # so large that the norm divides by sqrt(eps) whatever its input
    model.layers = model.layers[:1]
    model.layers[0].ffn.w2.weight.data.zero_()
    model.layers[0].attention_norm.eps = 1e-6
    tokens, correct, wrong = sample(), torch.tensor([3, 4, 5]), torch.tensor([6, 7, 3])
    terms = logit_attribution(model, tokens, correct, wrong)

    def difference(model):
        rows = model(tokens)[:, -1]
        return rows[range(3), correct] - rows[range(3), wrong]

    effects = ablation_effects(model, difference, "zero")[0]  # (H, B)
    assert torch.allclose(
        effects.T, -terms.heads[:, 0], rtol=1e-3, atol=1e-3 * terms.heads.abs().max().item()
    )


def test_no_attribution_where_norms_stand_in_the_stream():
    for model in (build("bert"), build("gpt2").transformer):  # and none without logits
        with pytest.raises(TypeError, match=f"norms stand before .* not {type(model).__name__}"):
            logit_attribution(model, sample(), *sample(3, 2).T)
    tokens = sample()
    with pytest.raises(ValueError, match="one token for each of the B sequences"):
        logit_attribution(build("ours"), tokens, tokens[:1, 0], tokens[:, 1])


def test_terms_of_half_precision_are_added_in_full():
    model, tokens = build("llama").bfloat16(), sample()
    terms = logit_attribution(model, tokens, tokens[:, 0], tokens[:, 1])
    rows = logits(model, tokens)[:, -1].float()
    difference = rows[range(3), tokens[:, 0]] - rows[range(3), tokens[:, 1]]
    assert terms.total().dtype == torch.float32
    assert torch.allclose(terms.total(), difference, rtol=0, atol=0.02 * rows.abs().max().item())
