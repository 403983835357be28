"""Checkpoints that are none, or no more: each is refused by a ValueError that names the file."""

from __future__ import annotations

import copy
import itertools
import json
import re

import numpy as np
import pytest
import torch
from PIL import Image

from marginalia import training
from marginalia.detection.capture import capture_attention
from marginalia.detection.detector import DetectorConfig, build
from marginalia.detection.loading import load, prepare
from tests.detection.test_capture import PUBLISHED, published
from tests.detection.test_loading import publish, safetensors

DAMAGES = {  # what is done to the bytes of weights, what is said
    "pointer": (
        lambda _: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
        "is a pointer of git-lfs",
    ),
    "empty": (lambda _: b"", "is empty"),
    "page": (lambda _: b"\n<!DOCTYPE html><html>", "is a web page"),
    "cut": (lambda whole: whole[:-1000], "is cut off or damaged"),
    "cut early": (lambda whole: whole[:50], "is cut off or damaged|holds more than tensors"),
    "noise": (lambda whole: bytes(range(256)) * 9, "is cut off or damaged|holds more than tensors"),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A checkpoint as published: its configuration and the bytes of its weights."""
    folder = tmp_path_factory.mktemp("whole")
    publish(folder, "detr")
    torch.save(safetensors.load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    return folder


def written(folder, whole, **files):
    """The checkpoint with some files of other content, `None` for those that are not there."""
    for name in ("config.json", "model.safetensors"):
        content = files.pop(name.replace(".", "_"), (whole / name).read_bytes())
        if content is not None:
            (folder / name).write_bytes(content)
    for name, content in files.items():
        (folder / name.replace("_", ".", 1)).write_bytes(content)
    return folder


@pytest.mark.parametrize(("damage", "says"), DAMAGES.values(), ids=DAMAGES)
@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_damaged_weights(tmp_path, whole, damage, says, name):
    (tmp_path / "config.json").write_bytes((whole / "config.json").read_bytes())
    (tmp_path / name).write_bytes(damage((whole / name).read_bytes()))
    with pytest.raises(ValueError, match=rf"{re.escape(name)} ({says})"):
        load(tmp_path)


@pytest.mark.parametrize("content", [[1, 2], {"a": 1}, {}, {"model": {"a": "b"}}])
def test_a_pickle_without_weights(tmp_path, whole, content):
    (tmp_path / "config.json").write_bytes((whole / "config.json").read_bytes())
    torch.save(content, tmp_path / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"pytorch_model\.bin holds no weights by name"):
        load(tmp_path)


CONFIGS = {
    "cut": b'{"model_type": "detr",',
    "list": b"[1]",
    "null": b"null",
    "bytes": b"\xff\xfe\x00",
    "nested": b"[" * 5000,
}


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_a_configuration_that_is_none(tmp_path, whole, config):
    with pytest.raises(ValueError, match=r"config\.json is no JSON object"):
        load(written(tmp_path, whole, config_json=config))


CHANGES = [
    ("decoder_layers", 3000),
    ("encoder_layers", 3000),
    ("d_model", 10**9),
    ("num_queries", 10**9),
    ("num_labels", 10**9),
    ("decoder_ffn_dim", 10**12),
    ("d_model", "wide"),
    ("d_model", 0),
    ("d_model", 32.0),
    ("encoder_layers", -1),
    ("decoder_layers", 0),
    ("decoder_layers", None),
    ("num_queries", -5),
    ("num_channels", "three"),
    ("model_type", ["detr"]),
    ("backbone_config", [1]),
    ("dropout", 2),
    ("activation_function", "no such"),
    ("id2label", 3),
]


@pytest.mark.parametrize(("name", "value"), CHANGES)
def test_a_configuration_that_does_not_fit(tmp_path, whole, name, value):
    config = json.loads((whole / "config.json").read_text()) | {name: value}
    with pytest.raises(ValueError, match=rf"^{re.escape(str(tmp_path))}[^\n]*\Z"):
        load(written(tmp_path, whole, config_json=json.dumps(config).encode()))


@pytest.fixture(scope="module", params=PUBLISHED)
def small(request, tmp_path_factory):
    """A checkpoint of each kind that transformers wrote, of width 32: (folder, its configuration)."""
    folder = tmp_path_factory.mktemp(request.param)
    published(request.param).save_pretrained(folder)
    return folder, json.loads((folder / "config.json").read_text())


@pytest.mark.parametrize("part", ["encoder", "decoder"])
@pytest.mark.parametrize("heads", [3, 7, 5, 0, -1, -4, 64, 10**30, 4.0, "4", None, True])
def test_heads_that_do_not_divide_the_width(tmp_path, small, part, heads):
    whole, config = small
    name = f"{part}_attention_heads"
    says = f"{name} is {heads}, which does not divide the width 32" if heads in (3, 5, 7) else name
    with pytest.raises(ValueError, match=rf"config\.json [^\n]*{re.escape(says)}.*fetch it again\Z"):
        load(written(tmp_path, whole, config_json=json.dumps(config | {name: heads}).encode()))


@pytest.mark.parametrize("heads", [1, 2, 16, 32])
def test_every_number_of_heads_that_divides_the_width_opens(tmp_path, small, heads):
    whole, config = small
    config = config | {"encoder_attention_heads": heads, "decoder_attention_heads": heads}
    model = load(written(tmp_path, whole, config_json=json.dumps(config).encode()))
    assert capture_attention(model, torch.zeros(1, 3, 64, 64)).combined.shape == (3, 1, heads, 5, 2, 2)


@pytest.mark.parametrize(
    ("name", "value"),
    [("depths", [1, 1, 1, 10**9]), ("hidden_sizes", [8, 12, 16, 10**9]), ("embedding_size", 10**9)],
)
def test_sizes_of_the_backbone_are_compared_with_the_weights(tmp_path, small, name, value):
    whole, config = small
    config = config | {"backbone_config": config["backbone_config"] | {name: value}}
    with pytest.raises(ValueError, match=rf"config\.json .*{name} is 1,000,000,000, but"):
        load(written(tmp_path, whole, config_json=json.dumps(config).encode()))


def entries(config, before=()):
    """Where each entry of a configuration stands, also in the records inside it."""
    for name, value in config.items():
        yield (*before, name)
        if isinstance(value, dict):
            yield from entries(value, (*before, name))


ODD = [None, False, 0, -1, 2.5, 1e308, float("nan"), 10**7, "", "x", [], [[1, [2]]], {}, {"a": 1}]


@pytest.mark.filterwarnings("ignore:.*have no place in the model")
def test_whatever_stands_in_an_entry_the_file_is_named_or_the_model_runs(tmp_path, small):
    """Each entry gets the next of ODD: 75 of them a kind."""
    whole, config = small
    pixels, refused = torch.zeros(1, 3, 64, 64), 0
    for path, value in zip(entries(config), itertools.cycle(ODD), strict=False):
        changed = copy.deepcopy(config)
        record = changed
        for name in path[:-1]:
            record = record[name]
        record[path[-1]] = value
        try:
            model = load(written(tmp_path, whole, config_json=json.dumps(changed).encode()))
        except ValueError as error:
            assert str(tmp_path) in str(error) and "\n" not in str(error), (path, value)
            refused += 1
        else:
            assert capture_attention(model, pixels).combined.isfinite().all(), (path, value)
    assert refused > 20


def test_weights_that_are_not_finite(tmp_path, small):
    whole, _ = small
    weights = safetensors.load_file(whole / "model.safetensors")
    next(value for name, value in weights.items() if name.endswith("v_proj.weight"))[0, 0] = torch.nan
    safetensors.save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=r"config\.json .*in the weights is NaN or infinity"):
        load(written(tmp_path, whole, model_safetensors=(tmp_path / "model.safetensors").read_bytes()))


SETTINGS = {
    "broken": b'{"size": ',
    "size": b'{"size": "large"}',
    "no size": b'{"size": {"height": 0, "width": 0}}',
    "mean": b'{"image_mean": [0.5]}',
    "none of a list": b'{"size": [[1]]}',
}


@pytest.mark.parametrize("content", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize("size", [None, 64])
def test_settings_of_images_that_are_none(tmp_path, whole, content, size):
    model = load(written(tmp_path, whole))
    (tmp_path / "preprocessor_config.json").write_bytes(content)
    with pytest.raises(ValueError, match=rf"{re.escape(str(tmp_path))}.preprocessor_config\.json [^\n]*\Z"):
        prepare(model, [np.zeros((60, 80, 3), np.uint8)], size)


def test_how_attention_is_computed_is_not_taken_from_others(tmp_path, whole):
    """A name with a slash is a kernel that transformers would fetch from the hub."""
    config = json.loads((whole / "config.json").read_text()) | {"_attn_implementation": "someone/kernel"}
    model = load(written(tmp_path, whole, config_json=json.dumps(config).encode()))
    assert model.config._attn_implementation in ("eager", "sdpa")


def test_shards_are_one_checkpoint(tmp_path, whole):
    weights = safetensors.load_file(whole / "model.safetensors")
    names = sorted(weights)
    parts = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for part, some in parts.items():
        safetensors.save_file({name: weights[name] for name in some}, tmp_path / part)
    index = {"weight_map": {name: part for part, some in parts.items() for name in some}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    written(tmp_path, whole, model_safetensors=None)
    pixels = torch.zeros(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(load(tmp_path)(pixels).logits, load(whole)(pixels).logits)
    (tmp_path / "b.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"index\.json names 'b\.safetensors', which is not beside"):
        load(tmp_path)
    for name in ("", "..", "\0", "x" * 300):
        (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": name}}))
        with pytest.raises(FileNotFoundError, match=r"index\.json names '.*, which is not beside it"):
            load(tmp_path)
    for index in (
        {},
        [],
        {"weight_map": [1]},
        {"weight_map": {"a": 1, "b": "c"}},
        {"weight_map": {"a": [1]}},
    ):
        (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
        with pytest.raises(ValueError, match=r"index\.json does not say which files hold the weights"):
            load(tmp_path)


CARDS = {
    "without sha256": lambda card: json.dumps({"detector": card["detector"]}),
    "a list": lambda card: "[]",
    "cut": lambda card: json.dumps(card)[:30],
    "without detector": lambda card: json.dumps({"sha256": card["sha256"]}),
    "unknown part": lambda card: json.dumps(card | {"detector": {"wheels": 4}}),
    "of another kind": lambda card: json.dumps(card | {"detector": card["detector"] | {"kind": "yolo"}}),
    "3,000 layers": lambda card: json.dumps(card | {"detector": card["detector"] | {"decoder_layers": 3000}}),
    "wide": lambda card: json.dumps(card | {"detector": card["detector"] | {"width": 10**6}}),
    "no head": lambda card: json.dumps(card | {"detector": card["detector"] | {"heads": 0}}),
    "negative heads": lambda card: json.dumps(card | {"detector": card["detector"] | {"heads": -4}}),
    "heads of a float": lambda card: json.dumps(card | {"detector": card["detector"] | {"heads": 4.0}}),
    "5 heads": lambda card: json.dumps(card | {"detector": card["detector"] | {"heads": 5}}),
    "no decoder": lambda card: json.dumps(card | {"detector": card["detector"] | {"decoder_layers": 0}}),
    "many groups": lambda card: json.dumps(card | {"detector": card["detector"] | {"one_to_many": 10**12}}),
    "temperature": lambda card: json.dumps(card | {"detector": card["detector"] | {"temperature": "hot"}}),
    "NaN": lambda card: json.dumps(card | {"detector": card["detector"] | {"temperature": float("nan")}}),
    "wide blocks": lambda card: json.dumps(card | {"detector": card["detector"] | {"ffn": 10**12}}),
    "odd names": lambda card: json.dumps(card | {"names": {"one": "cat"}}),
}


@pytest.mark.parametrize("kind", ["detr", "detr-focal", "conditional", "dab"])
def test_a_detector_without_an_encoder_opens(tmp_path, kind):
    """Its decoder alone has blocks, of another width than the configuration says: that of the kind."""
    config = {"kind": kind, "width": 32, "heads": 4, "encoder_layers": 0, "decoder_layers": 1, "queries": 5}
    training.save(build(DetectorConfig(**config)), tmp_path / "a.safetensors", {"detector": config})
    assert load(tmp_path / "a.safetensors").config.encoder_layers == 0


@pytest.mark.parametrize("change", CARDS.values(), ids=CARDS)
def test_cards(tmp_path, change):
    config = {"width": 32, "heads": 4, "encoder_layers": 1, "decoder_layers": 2, "queries": 5}
    training.save(build(DetectorConfig(**config)), tmp_path / "a.safetensors", {"detector": config})
    assert load(tmp_path / "a.safetensors").config.width == 32
    card = tmp_path / "a.json"
    card.write_text(change(json.loads(card.read_text())))
    with pytest.raises(ValueError, match=r"a\.json[^\n]*\Z"):
        load(tmp_path / "a.safetensors")


CASES = {
    "ckpt_lfs": r"model\.safetensors is a pointer of git-lfs",
    "ckpt_lfsbin": r"pytorch_model\.bin is a pointer of git-lfs",
    "ckpt_trunc": r"model\.safetensors is cut off or damaged",
    "ckpt_cfgbroken": r"config\.json is no JSON object",
}


@pytest.mark.parametrize(("name", "says"), CASES.items(), ids=CASES)
def test_case_is_refused(shared_cases, name, says):
    with pytest.raises(ValueError, match=says):
        load(shared_cases / name)


def test_case_is_opened(shared_cases):
    assert type(load(shared_cases / "ckpt_Detr_shard")).__name__ == "DetrForObjectDetection"
    model = load(shared_cases / "ckpt_cond_mh")
    assert max(prepare(model, [Image.new("RGB", (300, 200))], size=96)[0].shape[2:]) <= 96
