"""Published DCFormers: small checkpoints with the published names, beside a forward from the formulas."""

from __future__ import annotations

import json
import math

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.functional import gelu, layer_norm, silu

from marginalia.heads import TinyTransformer, load_dcformer
from marginalia.heads.loading import _shape

D, H, L, F, V, T = 24, 4, 3, 40, 31, 11
K, R = 4 * H, 2
DCFORMER = {
    "model_type": "dcformer",
    "dim": D,
    "n_head": H,
    "n_layer": L,
    "intermediate_size": F,
    "vocab_size": V,
    "norm_eps": 1e-6,
    "rope_base": 10000,
    "window_size": 4,
    "window_type": None,
    "mgate": False,
    "use_dcmha": True,
    "use_qk_norm": True,
}
DCPYTHIA = DCFORMER | {
    "model_type": "dcpythia",
    "norm_eps": 1e-5,
    "rotary_pct": 0.34,
    "use_linear_bias": True,
    "use_parallel_residual": True,
}
BOTH = pytest.mark.parametrize("config", [DCFORMER, DCPYTHIA], ids=["DCFormer", "DCPythia"])


def published(config: dict, static: bool = False) -> dict[str, Tensor]:
    """Random weights under the published names; generators large enough that every branch counts."""
    torch.manual_seed(0)
    pythia = config["model_type"] == "dcpythia"
    D, H, F, V = config["dim"], config["n_head"], config["intermediate_size"], config["vocab_size"]
    shapes = {"tok_embeddings.weight": (V, D), "output.weight": (V, D), "norm.weight": (D,)}
    shapes |= {"norm.bias": (D,)} if pythia else {}
    for layer in range(config["n_layer"]):
        own = {"attention.wqkv.weight": (3 * D, D), "attention.wo.weight": (D, D)}
        own |= {f"attention.{q}_norm.scale": (D // H,) for q in "qk" if config["use_qk_norm"]}
        own |= {"attention.dyn_w_proj.dw1": (D, 1, 4, 4 * H), "attention.dyn_w_proj.dd": (D, 1, 4 * H)}
        own |= {"attention.dyn_w_proj.qkw": (1, 4, 4 * H, 2 * R, H)}
        own |= {f"{norm}.weight": (D,) for norm in ("attention_norm", "ffn_norm")}
        own |= {"feed_forward.w1.weight": (F, D), "feed_forward.w2.weight": (D, F)}
        if static:
            own |= {f"attention.dyn_w_proj.{place}_proj.w": (1, H, H) for place in ("pre", "post")}
        if pythia:
            own |= {"attention.wqkv.bias": (3 * D,), "attention.wo.bias": (D,)}
            own |= {"feed_forward.w1.bias": (F,), "feed_forward.w2.bias": (D,)}
            own |= {f"{norm}.bias": (D,) for norm in ("attention_norm", "ffn_norm")}
        else:
            own |= {"feed_forward.w3.weight": (F, D)}
        shapes |= {f"layers.{layer}.{name}": shape for name, shape in own.items()}
    return {name: torch.randn(shape, dtype=torch.float64) * 0.4 for name, shape in shapes.items()}


def merged(weights: dict[str, Tensor], static: bool) -> dict[str, Tensor]:
    """The copies that published files also hold."""
    copies = {}
    for layer in range(L):
        at = f"layers.{layer}.attention.dyn_w_proj."
        copies[at + "dw_m"] = torch.cat([weights[at + "dw1"].flatten(1), weights[at + "dd"].flatten(1)], 1)
        copies[at + "qkw_m"] = weights[at + "qkw"].reshape(4, K, 2 * R * H)
        if static:
            both = torch.cat([weights[at + "pre_proj.w"], weights[at + "post_proj.w"]])
            copies[at + "sw"] = both + torch.eye(H)
        else:
            copies |= {f"{at}{place}_proj.w": torch.eye(H).double()[None] for place in ("pre", "post")}
    return {name: copy.clone() for name, copy in copies.items()}


def rms(x: Tensor, eps: float) -> Tensor:
    return x / (x.pow(2).mean(-1, keepdim=True) + eps).sqrt()


def expected(config: dict, w: dict[str, Tensor], tokens: Tensor) -> Tensor:
    """Logits of the published model, from the formulas, one layer after the other."""
    pythia = config["model_type"] == "dcpythia"
    size = D // H
    turned = int(size * config["rotary_pct"]) if pythia else size

    def norm(x: Tensor, name: str) -> Tensor:
        if pythia:
            return layer_norm(x, (D,), w[f"{name}.weight"], w[f"{name}.bias"], config["norm_eps"])
        return rms(x, config["norm_eps"]) * w[f"{name}.weight"]

    def linear(x: Tensor, name: str) -> Tensor:
        return x @ w[f"{name}.weight"].T + w.get(f"{name}.bias", torch.zeros(1))

    def turn(x: Tensor) -> Tensor:  # (B, T, H, size)
        out = x.clone()
        for place in range(T):
            for d in range(turned // 2):
                angle = place * config["rope_base"] ** (-2 * d / turned)
                a, b = x[:, place, :, d], x[:, place, :, d + turned // 2]
                out[:, place, :, d] = a * math.cos(angle) - b * math.sin(angle)
                out[:, place, :, d + turned // 2] = b * math.cos(angle) + a * math.sin(angle)
        return out

    def composed(A: Tensor, x: Tensor, at: str, place: str) -> Tensor:  # (B, H, T, T), pair by pair
        C = torch.eye(H).double().expand(len(x), T, T, H, H).clone()
        if f"{at}{place}_proj.w" in w:
            C += w[f"{at}{place}_proj.w"][0]
        for side, c in (("query", 0), ("key", 1)):
            c += 2 * (place == "post")
            h = gelu(x @ w[at + "dw1"][:, 0, c])
            drawn = torch.einsum("btk,krh->btrh", h, w[at + "qkw"][0, c])
            matrix = rms(drawn[:, :, :R], 1e-6).mT @ drawn[:, :, R:]
            matrix = matrix + torch.diag_embed(torch.tanh(x @ w[at + "dd"][:, 0, c * H : (c + 1) * H]))
            C += matrix[:, :, None] if side == "query" else matrix[:, None]
        return torch.einsum("bnij,bijnm->bmij", A, C)

    x = w["tok_embeddings.weight"][tokens]
    i, j = torch.arange(T)[:, None], torch.arange(T)
    for layer in range(L):
        at = f"layers.{layer}."
        window = config["window_size"] if layer % 2 == 0 else T
        y = norm(x, f"{at}attention_norm")
        q, k, v = linear(y, f"{at}attention.wqkv").unflatten(-1, (3, H, size)).unbind(2)
        q = turn(rms(q, 1e-6) * w[f"{at}attention.q_norm.scale"])
        k = turn(rms(k, 1e-6) * w[f"{at}attention.k_norm.scale"])
        scores = torch.einsum("bihd,bjhd->bhij", q, k) / math.sqrt(size)
        scores = composed(scores, y, f"{at}attention.dyn_w_proj.", "pre")
        scores = scores.masked_fill((j > i) | (j <= i - window), -torch.inf)
        weights = composed(scores.softmax(-1), y, f"{at}attention.dyn_w_proj.", "post")
        attended = linear(torch.einsum("bhij,bjhd->bihd", weights, v).flatten(2), f"{at}attention.wo")
        z = norm(x if pythia else x + attended, f"{at}ffn_norm")
        first = linear(z, f"{at}feed_forward.w1")
        hidden = gelu(first) if pythia else silu(first) * linear(z, f"{at}feed_forward.w3")
        x = x + attended + linear(hidden, f"{at}feed_forward.w2")
    return norm(x, "norm") @ w["output.weight"].T


def folder_of(path, config: dict, weights: dict[str, Tensor], kind: str = ".safetensors"):
    (path / "config.json").write_text(json.dumps(config))
    if kind == ".bin":
        torch.save(weights, path / "pytorch_model.bin")
    elif kind == ".safetensors":
        save_file(weights, path / "model.safetensors")
    else:
        names = list(weights)
        shards = {f"model-{n}.safetensors": names[n::2] for n in range(2)}
        for shard, part in shards.items():
            save_file({name: weights[name] for name in part}, path / shard)
        found = {name: shard for shard, part in shards.items() for name in part}
        (path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": found}))
    return path


@BOTH
@pytest.mark.parametrize("static", [False, True])
@pytest.mark.parametrize("kind", [".safetensors", "shards", ".bin"])
def test_logits_of_the_formulas(config, static, kind, tmp_path):
    weights = published(config, static)
    folder = folder_of(tmp_path, config, weights | merged(weights, static), kind)
    model = load_dcformer(folder)
    assert not model.training and model.config.composition.static == static
    tokens = torch.randint(V, (2, T))
    reference = expected(config, weights, tokens)
    # 1e-6: angles of positions are computed in 32 bits
    assert (model(tokens) - reference).abs().max() < 1e-6 * reference.abs().max()
    cut = dict(weights) | {
        "layers.1.attention.dyn_w_proj.dd": weights["layers.1.attention.dyn_w_proj.dd"] * 0
    }
    assert (expected(config, cut, tokens) - reference).abs().max() > 1e-3 * reference.abs().max()


@BOTH
def test_round_trip(config, tmp_path):
    """Every published number is in the model, bit by bit, in its place and precision."""
    weights = {name: each.half() for name, each in published(config, static=True).items()}
    state = load_dcformer(folder_of(tmp_path, config, weights)).state_dict()
    back = {}
    for name, tensor in state.items():
        name = name.replace("embedding.", "tok_embeddings.").replace(".ffn.", ".feed_forward.")
        name = name.replace("q_norm.weight", "q_norm.scale").replace("k_norm.weight", "k_norm.scale")
        back[name] = tensor
    for layer in range(L):
        at = f"layers.{layer}.attention."
        sets = [f"{at}{place}.{side}." for place in ("pre", "post") for side in ("query", "key")]
        back[f"{at}dyn_w_proj.dw1"] = torch.stack([back.pop(s + "W_1") for s in sets], 2)
        back[f"{at}dyn_w_proj.qkw"] = torch.stack([back.pop(s + "W_2") for s in sets], 1)
        back[f"{at}dyn_w_proj.dd"] = torch.cat([back.pop(s + "W_g") for s in sets], 1)[:, None]
        for place in ("pre", "post"):
            back[f"{at}dyn_w_proj.{place}_proj.w"] = back.pop(f"{at}{place}.W_b")[None]
    assert back.keys() == weights.keys()
    assert all(back[name].dtype == torch.half and torch.equal(back[name], weights[name]) for name in weights)


def test_split_projections(tmp_path):
    weights = published(DCPYTHIA)
    parts = dict(weights)
    for layer in range(L):
        for kind in ("weight", "bias"):
            at = f"layers.{layer}.attention."
            q, k, v = parts.pop(f"{at}wqkv.{kind}").chunk(3)
            parts |= {f"{at}wq.{kind}": q.clone(), f"{at}wk.{kind}": k.clone(), f"{at}wv.{kind}": v.clone()}
    model = load_dcformer(folder_of(tmp_path, DCPYTHIA, parts))
    for layer in range(L):
        attention = model.layers[layer].attention
        assert torch.equal(attention.wqkv.weight, weights[f"layers.{layer}.attention.wqkv.weight"])
        assert torch.equal(attention.wqkv.bias, weights[f"layers.{layer}.attention.wqkv.bias"])


@pytest.mark.parametrize("name", ["dw_m", "qkw_m", "sw"])
def test_copies_that_differ(name, tmp_path):
    """A warning names the keys; the caller chooses."""
    weights = published(DCFORMER, static=True)
    copies = merged(weights, static=True)
    copies[f"layers.1.attention.dyn_w_proj.{name}"] += 0.5
    folder = folder_of(tmp_path, DCFORMER, weights | copies)
    tokens = torch.randint(V, (1, T))
    with pytest.warns(
        UserWarning, match=r"originals .*copies=True.* layers\.1\.attention\.dyn_w_proj\.\w"
    ) as warned:
        originals = load_dcformer(folder)
    assert len(warned) == 1 and "layers.0" not in str(warned[0].message)
    assert torch.allclose(originals(tokens), expected(DCFORMER, weights, tokens), rtol=1e-6, atol=1e-5)
    with pytest.warns(UserWarning, match="the copies are taken"):
        trained = load_dcformer(folder, copies=True)
    at = "layers.1.attention.dyn_w_proj."
    for changed in {"dw_m": ("dw1", "dd"), "qkw_m": ("qkw",), "sw": ("pre_proj.w", "post_proj.w")}[name]:
        weights[at + changed] += 0.5
    assert torch.allclose(trained(tokens), expected(DCFORMER, weights, tokens), rtol=1e-6, atol=1e-5)


def test_caches_and_unknown_keys_are_named(tmp_path):
    weights = published(DCFORMER)
    weights |= {"layers.0.attention.kv_cache.k_cache": torch.zeros(1, H, 8, 6), "rope": torch.zeros(3)}
    with pytest.warns(UserWarning) as warned:
        load_dcformer(folder_of(tmp_path, DCFORMER, weights))
    caches, unknown = (str(each.message) for each in warned)
    assert caches.endswith("caches are ignored: layers.0.attention.kv_cache.k_cache")
    assert unknown.endswith("unknown keys are ignored: rope")


@pytest.mark.parametrize(
    "key", ["layers.1.attention.wo.weight", "layers.2.attention.dyn_w_proj.qkw", "norm.weight"]
)
def test_wrong_shapes_and_missing_keys_are_named(key, tmp_path):
    weights = published(DCFORMER)
    tensor = weights.pop(key)
    with pytest.raises(ValueError, match=f"{key} is missing"):
        load_dcformer(folder_of(tmp_path, DCFORMER, weights))
    with pytest.raises(ValueError, match=rf"{key} has shape \(.*, not \("):
        load_dcformer(folder_of(tmp_path, DCFORMER, weights | {key: tensor[..., 1:].contiguous()}))


@pytest.mark.parametrize(
    "change, named",
    [
        ({"mgate": True}, "mgate"),
        ({"query_wise": True}, "query_wise is True"),
        ({"use_parallel_residual": False}, "use_parallel_residual is False"),
        ({"model_type": "dcpythia"}, "keys are those of dcformer"),
        ({"window_type": "GG"}, "window_type 'GG'"),
        ({"n_head": "4"}, "n_head, .* must be whole numbers"),
        ({"n_layer": 0}, "n_layer, .* must be whole numbers"),
    ],
)
def test_models_that_are_refused(change, named, tmp_path):
    with pytest.raises(ValueError, match=named):
        load_dcformer(folder_of(tmp_path, DCFORMER | change, published(DCFORMER)))


def test_files_that_cannot_be_read(tmp_path):
    def refused(named: str) -> None:
        with pytest.raises(ValueError, match=named):
            load_dcformer(tmp_path)

    refused("config.json cannot be read")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "dcformer"}))
    refused("no weights")
    path = folder_of(tmp_path, DCFORMER, published(DCFORMER)) / "model.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    refused("model.safetensors cannot be read")
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    refused("model.safetensors .*`git lfs pull`")
    path.write_bytes(whole)
    folder_of(tmp_path, DCFORMER, published(DCFORMER), "shards")
    (tmp_path / "model-1.safetensors").unlink()
    refused("model-1.safetensors cannot be read")
    (tmp_path / "model.safetensors.index.json").write_text("version https://git-lfs.github.com/spec/v1")
    refused("index.json .*`git lfs pull`")
    (tmp_path / "model.safetensors.index.json").write_text("{}")
    refused("index.json has no weight_map")
    for each in tmp_path.glob("*model*"):
        each.unlink()
    path = folder_of(tmp_path, DCFORMER, published(DCFORMER), ".bin") / "pytorch_model.bin"
    path.write_bytes(path.read_bytes()[:-500])
    refused("pytorch_model.bin cannot be read")
    for wrong in ([1], {"state_dict": published(DCFORMER)}):
        torch.save(wrong, path)
        refused("pytorch_model.bin .* no dict of Tensors")
    (tmp_path / "config.json").write_text("[]")
    refused("config.json .* no dict of")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "dcpythia"}))
    folder_of(tmp_path, DCPYTHIA, published(DCPYTHIA), ".bin")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "dcpythia"}))
    refused("lacks 'vocab_size'")


@pytest.mark.parametrize(
    "config, millions, rotary",
    [
        (DCFORMER | {"dim": 2560, "intermediate_size": 6912}, 2850, 80),
        (DCPYTHIA | {"dim": 4096, "intermediate_size": 16384, "rotary_pct": 0.25}, 6942, 32),
    ],
    ids=["2.8B", "6.9B"],
)
def test_real_sizes(config, millions, rotary):
    """Names, shapes and number of parameters of the two models; nothing is allocated."""
    config |= {"n_head": 32, "n_layer": 32, "vocab_size": 50257, "window_type": "LG"}
    with torch.device("meta"):
        weights = published(config)
        shape = _shape(config, weights, "here")
        numbers = sum(p.numel() for p in TinyTransformer(shape).parameters())
    assert round(numbers / 1e6) == millions and numbers == sum(each.numel() for each in weights.values())
    assert shape.windows == (256, None) and shape.rotary == rotary
