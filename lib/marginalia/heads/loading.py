"""Published DCFormers: from their folder to a `TinyTransformer`, without the code that comes with them."""

from __future__ import annotations

import json
import pickle
import re
import warnings
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from .composition import VARIANTS
from .transformer import TinyTransformer, TransformerConfig

# By window_type: of layer l, entry l mod length; the code of the models fixes 256
WINDOWS = {"LG": (256, None), "LGLL": (256, None, 256, 256), "LGL6": (256, None, *6 * (256,))}
LAYOUTS = {  # what they have and config.json does not say
    "dcformer": {"norm": "rms", "activation": "swiglu", "bias_qkv": False},
    "dcpythia": {"norm": "layer", "activation": "gelu", "bias": True, "parallel": True},
}
ONLY = dict.fromkeys(("use_dcmha", "use_parallel_residual", "use_linear_bias"), True)
ONLY |= dict.fromkeys(("query_wise", "mgate", "tie_word_embeddings"), False)


def load_dcformer(folder: str | Path, copies: bool = False) -> TinyTransformer:
    """A published DCFormer, in eval mode: tokens (B, T) to logits (B, T, V).

    folder: config.json, with weights as .safetensors or .bin in one or several files, in one of two layouts:
    DCFormer (SwiGLU, RMS norm, full rotary; DCFormer-2.8B) or DCPythia (GELU, layer norm, biases, partial
    rotary, parallel residual; DCPythia-6.9B). The keys decide which, and config.json must agree;
    `model.config` says what was built. Weights keep their precision, and stay in the file until they are used
    where its format allows that; for float32, `.float()`.

    copies: the files may hold composition weights twice (dw_m, qkw_m, sw), and training with the published
    code changes only the copies. Where the two differ, a warning says so; False takes the weights by which
    copies are made, True the copies. Saved caches (kv_cache) and unknown keys are named in a warning and
    ignored.
    ValueError with the file or key for what is missing, has another shape or cannot be read, and for models
    with parts that are not built here (mgate, query-wise decoding).
    """
    folder = Path(folder)
    return _model(_read(folder / "config.json"), _tensors(folder), copies, folder)


def _tensors(folder: Path) -> dict[str, Tensor]:
    """All tensors of a folder by their published names."""
    for kind in (".safetensors", ".bin"):
        paths = sorted(folder.glob(f"*model*{kind}"))
        if index := next(folder.glob(f"*{kind}.index.json"), None):
            if not isinstance(files := _read(index).get("weight_map"), dict):
                raise ValueError(f"{index} has no weight_map from keys to files")
            paths = [folder / str(name) for name in dict.fromkeys(files.values())]
        if paths:
            return {key: tensor for path in paths for key, tensor in _read(path).items()}
    raise ValueError(f"{folder} has no weights: no model*.safetensors and no pytorch_model*.bin")


def _read(path: Path) -> dict[str, Any]:
    """Tensors or JSON of one file."""
    try:
        with path.open("rb") as file:
            if file.read(40).startswith(b"version https://git-lfs"):
                raise ValueError("it is a git-lfs pointer, get the file itself with `git lfs pull`")
        if path.suffix == ".safetensors":
            return load_file(path)
        if path.suffix == ".json":
            found, held = json.loads(path.read_text()), object
        else:
            found, held = torch.load(path, map_location="cpu", weights_only=True, mmap=True), Tensor
        if not (isinstance(found, dict) and all(isinstance(value, held) for value in found.values())):
            raise ValueError(f"it is no dict of {held.__name__}s")
        return found
    except (OSError, EOFError, RuntimeError, ValueError, SafetensorError, pickle.UnpicklingError) as error:
        raise ValueError(f"{path} cannot be read; is it complete? {error}") from None


def _model(config: dict[str, Any], tensors: dict[str, Tensor], copies: bool, where: Path) -> TinyTransformer:
    """The model of a config.json from tensors by their published names, which it takes out."""
    shape = _shape(config, tensors, where)
    found, differing = {}, []
    for layer in range(shape.layers):
        at = f"layers.{layer}.attention."
        for kind in ("weight", "bias"):  # older files hold the three parts
            parts = [f"{at}w{part}.{kind}" for part in "qkv"]
            if all(part in tensors for part in parts):
                tensors[f"{at}wqkv.{kind}"] = torch.cat([tensors.pop(part) for part in parts])
        composition, differ = _composition(tensors, f"{at}dyn_w_proj.", shape, copies, where)
        found |= {at + name: tensor for name, tensor in composition.items()}
        differing += differ
    if any(name.endswith("W_b") for name in found):
        shape = replace(shape, composition=VARIANTS["DCMHA + static"])
    with torch.device("meta"):
        model = TinyTransformer(shape)

    # what is left has the same shapes there and here, under other names
    for name, meant in model.state_dict().items():
        if name.endswith("W_b"):  # of a layer without, in a model with
            found.setdefault(name, torch.zeros(meant.shape))
        elif name not in found:
            key = name.replace("embedding.", "tok_embeddings.").replace(".ffn.", ".feed_forward.")
            found[name] = _taken(tensors, re.sub("([qk]_norm).weight", r"\1.scale", key), meant.shape, where)
    found = {name: tensor.to(found["output.weight"].dtype) for name, tensor in found.items()}
    model.load_state_dict(found, assign=True)
    taken = f"the {'copies' if copies else 'originals'} are taken (the others: copies={not copies}) of"
    notices = {
        taken: differing,
        "saved caches are ignored:": [key for key in tensors if ".kv_cache." in key],
        "unknown keys are ignored:": [key for key in tensors if ".kv_cache." not in key],
    }
    for notice, keys in notices.items():
        if keys:
            warnings.warn(f"{where}: {notice} {', '.join(keys)}", stacklevel=3)
    return model.eval()


def _shape(config: dict[str, Any], tensors: dict[str, Tensor], where: Path) -> TransformerConfig:
    """The layout is read from the keys: only DCFormer has a third feed-forward matrix."""
    layout = "dcformer" if "layers.0.feed_forward.w3.weight" in tensors else "dcpythia"
    if (said := config.get("model_type", layout)) != layout:
        raise ValueError(f"{where}: the keys are those of {layout}, config.json says model_type {said!r}")
    for name, value in ONLY.items():
        if config.get(name, value) != value:
            raise ValueError(f"{where}: {name} is {config[name]} in config.json; here it can only be {value}")
    if (kind := config.get("window_type")) not in (None, *WINDOWS):
        raise ValueError(f"{where}: window_type {kind!r} is none of {', '.join(WINDOWS)}")
    try:
        names = ("vocab_size", "dim", "n_head", "n_layer", "intermediate_size")
        numbers = [config[name] for name in names]
        if not all(isinstance(number, int) and number > 0 for number in numbers):
            raise ValueError(f"{where}: {', '.join(names)} must be whole numbers above 0, not {numbers}")
        return TransformerConfig(
            *numbers,
            windows=WINDOWS[kind] if kind else (config["window_size"], None),
            eps=config["norm_eps"],
            rotary=int(numbers[1] // numbers[2] * config.get("rotary_pct", 1)),
            rotary_base=config.get("rope_base", 10000.0),
            qk_norm="layers.0.attention.q_norm.scale" in tensors,
            **LAYOUTS[layout],
        )
    except KeyError as error:
        raise ValueError(f"{where}: config.json lacks {error}") from None


def _composition(
    tensors: dict[str, Tensor], at: str, shape: TransformerConfig, copies: bool, where: Path
) -> tuple[dict[str, Tensor], list[str]]:
    """The weights of `pre` and `post` of one layer, and the keys that differ from their copies."""
    D, H, R = shape.width, shape.heads, shape.composition.rank
    K = 2 * R * H
    shapes = {"dw1": (D, 1, 4, K), "dd": (D, 1, 4 * H), "qkw": (1, 4, K, 2 * R, H)}
    optional = {"dw_m": (D, 4 * K + 4 * H), "qkw_m": (4, K, 2 * R * H), "sw": (2, H, H)}
    optional |= {"pre_proj.w": (1, H, H), "post_proj.w": (1, H, H)}
    shapes |= {name: size for name, size in optional.items() if at + name in tensors}
    part = {name: _taken(tensors, at + name, size, where) for name, size in shapes.items()}

    # base I + w, but a w that is exactly I stands for the base I alone
    same = torch.eye(H, dtype=part["dw1"].dtype)
    for name in ("pre_proj.w", "post_proj.w"):
        w = part.get(name, same[None])
        part[name] = torch.zeros_like(w) if w[0].equal(same) else w
    copied = {}
    if "dw_m" in part:
        copied["dw1"], copied["dd"] = part["dw_m"].split((4 * K, 4 * H), 1)
    if "qkw_m" in part:
        copied["qkw"] = part["qkw_m"]
    if "sw" in part:
        copied["pre_proj.w"], copied["post_proj.w"] = part["sw"] - same
    differ = []
    for name, copy in copied.items():
        copy = copy.reshape(part[name].shape)
        rounding = 2 * torch.finfo(copy.dtype).eps if name.endswith(".w") else 0.0  # of w + I
        if not torch.allclose(copy, part[name], rtol=0, atol=rounding):
            differ.append(at + name)
            part[name] = copy if copies else part[name]

    found = {}
    for c, (place, side) in enumerate(product(("pre", "post"), ("query", "key"))):
        found[f"{place}.{side}.W_1"] = part["dw1"][:, :, c].contiguous()
        found[f"{place}.{side}.W_2"] = part["qkw"][:, c].contiguous()
        found[f"{place}.{side}.W_g"] = part["dd"][:, 0, c * H : (c + 1) * H].contiguous()
    base = {f"{place}.W_b": part[f"{place}_proj.w"][0] for place in ("pre", "post")}
    return found | (base if any(w.any() for w in base.values()) else {}), differ


def _taken(tensors: dict[str, Tensor], key: str, shape: tuple[int, ...], where: Path) -> Tensor:
    """One tensor out of all; ValueError where it is missing or has another shape."""
    if key not in tensors:
        raise ValueError(f"{where}: {key} is missing in the weights")
    if (tensor := tensors.pop(key)).shape != shape:
        raise ValueError(f"{where}: {key} has shape {tuple(tensor.shape)}, not {tuple(shape)}")
    return tensor
