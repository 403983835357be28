"""Opening detectors: published names without timm, folders, models trained here, no network."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import batch_norm, conv2d, max_pool2d

from marginalia import store, training
from marginalia.detection.capture import capture_attention, crop_to_valid
from marginalia.detection.detector import DetectorConfig, build
from marginalia.detection.loading import SHORTER, load, prepare, resized
from marginalia.detection.resnet_names import (
    dilate_last_stage,
    rename_backbone,
    resnet_config,
    transformers_name,
)

transformers = pytest.importorskip("transformers")
safetensors = pytest.importorskip("safetensors.torch")
torch.set_num_threads(1)

PREFIX = "model.backbone.conv_encoder.model."  # of published detectors
DEPTHS = {  # blocks of the four stages
    "resnet18": (2, 2, 2, 2),
    "resnet34": (3, 4, 6, 3),
    "resnet50": (3, 4, 6, 3),
    "resnet101": (3, 4, 23, 3),
    "resnet152": (3, 8, 36, 3),
}
NORM = ("weight", "bias", "running_mean", "running_var")

# --- a ResNet as published: names and shapes written down, and its arithmetic on them -----------------------


def blocks(name):
    """(timm's name of a block, channels in, channels between, channels out, stride) of a ResNet."""
    channels, widening = 64, 1 if name in ("resnet18", "resnet34") else 4
    for stage, depth in enumerate(DEPTHS[name]):
        between = 64 * 2**stage
        for block in range(depth):
            stride = 2 if stage > 0 and block == 0 else 1
            yield f"layer{stage + 1}.{block}", channels, between, between * widening, stride
            channels = between * widening


def published_shapes(name):
    """Names and shapes of a ResNet's weights in a published detector, without what stands before them."""
    shapes = {"conv1.weight": (64, 3, 7, 7)} | {f"bn1.{value}": (64,) for value in NORM}
    for block, before, between, after, stride in blocks(name):
        sides = (1, 3, 1) if after > between else (3, 3)
        widths = (before, between, between, after) if after > between else (before, between, after)
        for index, side in enumerate(sides):
            shapes[f"{block}.conv{index + 1}.weight"] = (widths[index + 1], widths[index], side, side)
            shapes |= {f"{block}.bn{index + 1}.{value}": (widths[index + 1],) for value in NORM}
        if before != after or stride != 1:
            shapes[f"{block}.downsample.0.weight"] = (after, before, 1, 1)
            shapes |= {f"{block}.downsample.1.{value}": (after,) for value in NORM}
    return shapes


def config_of(name):
    """What the names of a published detector's weights say of its ResNet."""
    return resnet_config([PREFIX + key for key in published_shapes(name)])


def published_weights(name, seed=0):
    """Random weights that keep the size of activations; variances from 0.01, so that the epsilon matters."""
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for key, shape in published_shapes(name).items():
        if len(shape) == 4:
            scale = (2 / (shape[1] * shape[2] * shape[3])) ** 0.5
            weights[key] = scale * torch.randn(shape, generator=generator)
        elif key.endswith("running_var"):
            weights[key] = 0.01 + torch.rand(shape, generator=generator)
        else:
            weights[key] = (0.5 if key.endswith("weight") else 0.0) + 0.1 * torch.randn(
                shape, generator=generator
            )
    return weights


def reference_resnet(weights, name, pixels, dilated=False):
    """The last stage's map, by plain functions on weights under timm's names."""

    def norm(x, place):
        scale, shift, mean, var = (weights[f"{place}.{value}"] for value in NORM)
        return batch_norm(x, mean, var, scale, shift, training=False, eps=1e-5)

    x = norm(conv2d(pixels, weights["conv1.weight"], stride=2, padding=3), "bn1").relu()
    x = max_pool2d(x, 3, stride=2, padding=1)
    for block, _, between, after, stride in blocks(name):
        last = block.startswith("layer4")
        stride = 1 if dilated and last else stride
        reach = 2 if dilated and last and not block.endswith(".0") else 1
        wide = {"stride": stride, "padding": reach, "dilation": reach}  # the 3x3 convolution with the stride
        settings = [{}, wide, {}] if after > between else [wide, {"padding": reach, "dilation": reach}]
        y = x
        for index, options in enumerate(settings, start=1):
            y = norm(conv2d(y, weights[f"{block}.conv{index}.weight"], **options), f"{block}.bn{index}")
            y = y.relu() if index < len(settings) else y
        if f"{block}.downsample.0.weight" in weights:
            x = norm(
                conv2d(x, weights[f"{block}.downsample.0.weight"], stride=stride), f"{block}.downsample.1"
            )
        x = (x + y).relu()
    return x


@pytest.mark.parametrize("name", DEPTHS)
def test_every_published_name_has_one_place_of_the_same_shape(name):
    with torch.device("meta"):
        backbone = transformers.AutoBackbone.from_config(config_of(name))
    places = {key: tuple(value.shape) for key, value in backbone.state_dict().items()}
    places = {key: shape for key, shape in places.items() if not key.endswith("num_batches_tracked")}
    named = {transformers_name(key): shape for key, shape in published_shapes(name).items()}
    assert named == places
    assert len(named) == len(published_shapes(name))


def test_published_counts():
    """53 and 104 convolutions: what the names ResNet-50 and -101 stand for, minus the classifier."""
    shapes = {name: published_shapes(name) for name in ("resnet50", "resnet101")}
    assert [sum(len(shape) == 4 for shape in shapes[name].values()) for name in shapes] == [53, 104]
    learned = {
        name: sum(np.prod(shape) for key, shape in shapes[name].items() if "running" not in key)
        for name in shapes
    }
    assert learned == {"resnet50": 25_557_032 - 2_049_000, "resnet101": 44_549_160 - 2_049_000}


@pytest.mark.parametrize(
    "name, dilated", [("resnet18", False), ("resnet50", False), ("resnet50", True), ("resnet101", False)]
)
def test_renamed_weights_compute_the_same(name, dilated):
    weights = published_weights(name)
    backbone = transformers.AutoBackbone.from_config(config_of(name)).eval()
    backbone.load_state_dict({transformers_name(key): value for key, value in weights.items()}, strict=False)
    if dilated:
        dilate_last_stage(backbone)
    pixels = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = reference_resnet(weights, name, pixels, dilated)
        (found,) = backbone(pixels).feature_maps
    assert found.shape[-2:] == ((4, 6) if dilated else (2, 3))
    assert expected.std() > 0.1
    torch.testing.assert_close(found / expected.max(), expected / expected.max(), atol=1e-5, rtol=0)


def test_only_the_backbone_is_renamed():
    weights = {
        PREFIX + "layer4.0.downsample.1.running_var": 1,
        "model.backbone.0.body.bn1.bias": 2,
        PREFIX + "bn1.num_batches_tracked": 3,
        "model.decoder.layers.0.fc1.weight": 4,
        "model.backbone.model.encoder.stages.0.layers.0.layer.0.convolution.weight": 5,
    }
    assert rename_backbone(weights) == {
        PREFIX + "encoder.stages.3.layers.0.shortcut.normalization.running_var": 1,
        "model.backbone.0.body.embedder.embedder.normalization.bias": 2,
        "model.decoder.layers.0.fc1.weight": 4,
        "model.backbone.model.encoder.stages.0.layers.0.layer.0.convolution.weight": 5,
    }
    with pytest.raises(ValueError, match=r"'conv1\.0\.weight' is not a weight of a plain ResNet"):
        rename_backbone({PREFIX + "conv1.0.weight": 1})  # the deep stem of resnet50d
    assert resnet_config(["model.decoder.layers.0.fc1.weight"]) is None


# --- folders ------------------------------------------------------------------------------------------------

SIZES = {"encoder_layers": 1, "decoder_layers": 2, "num_queries": 5, "decoder_attention_heads": 4}
SIZES |= {"encoder_attention_heads": 4, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16}
KINDS = {"detr": "Detr", "conditional_detr": "ConditionalDetr", "dab-detr": "DabDetr"}
# transformers 5 -> what checkpoints written before have (sheet 6.3)
OLDER = {
    r"backbone\.model\.": "backbone.conv_encoder.model.",
    r"\.mlp\.fc([12])": r".fc\1",
    r"\.o_proj": ".out_proj",
}
OLDER_CONDITIONAL = OLDER | {
    r"self_attn\.([qk])_content_proj": r"sa_\1content_proj",
    r"self_attn\.([qk])_pos_proj": r"sa_\1pos_proj",
    r"decoder\.layers\.(\d)\.self_attn\.v_proj": r"decoder.layers.\1.sa_v_proj",
    r"encoder_attn\.([qk])_content_proj": r"ca_\1content_proj",
    r"encoder_attn\.([qk])_pos_proj": r"ca_\1pos_proj",
    r"encoder_attn\.q_pos_sine_proj": "ca_qpos_sine_proj",
    r"encoder_attn\.v_proj": "ca_v_proj",
}


def small_model(kind, resnet):
    """A detector of transformers with random weights over a ResNet of real size."""
    width = "hidden_size" if kind == "dab-detr" else "d_model"
    config_class = getattr(transformers, f"{KINDS[kind]}Config")
    config = config_class(backbone_config=config_of(resnet), num_labels=3, **{width: 32}, **SIZES)
    torch.manual_seed(0)
    return getattr(transformers, f"{KINDS[kind]}ForObjectDetection")(config).eval()


def publish(folder, kind, resnet="resnet18", **changes):
    """Write a checkpoint like those on the hub: timm's names, older names, a config that asks for timm."""
    model = small_model(kind, resnet)
    rules = {"detr": OLDER, "conditional_detr": OLDER_CONDITIONAL, "dab-detr": {}}[kind]
    backbone = published_weights(resnet)
    weights = {}
    for name, value in model.state_dict().items():
        if "backbone" not in name:
            for pattern, older in rules.items():
                name = re.sub(pattern, older, name)
            weights[name] = value.clone()
    weights |= {PREFIX + name: value for name, value in backbone.items()}
    weights[PREFIX + "bn1.num_batches_tracked"] = torch.tensor(7)
    entries = json.loads(model.config.to_json_string()) | {
        "model_type": kind,
        "backbone": resnet,
        "backbone_config": None,
        "use_timm_backbone": True,
        "use_pretrained_backbone": True,
        "dilation": False,
        "scale_embedding": False,
        "max_position_embeddings": 1024,
        "torch_dtype": "float32",
        "transformers_version": "4.27.0.dev0",
    }
    folder.mkdir(exist_ok=True)
    safetensors.save_file(weights, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(entries | changes))
    with torch.no_grad():
        own = model.state_dict()
        at = next(name for name in own if name.endswith("embedder.embedder.convolution.weight"))
        at = at.removesuffix("embedder.embedder.convolution.weight")
        model.load_state_dict(
            {at + transformers_name(name): value for name, value in backbone.items()}, strict=False
        )
    return model, backbone


@pytest.fixture
def pixels():
    return torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    "kind, resnet, dilated",
    [("conditional_detr", "resnet50", False), ("detr", "resnet18", True), ("dab-detr", "resnet18", False)],
)
def test_published_checkpoint_opens_without_timm(tmp_path, kind, resnet, dilated, pixels, recwarn):
    expected, backbone = publish(tmp_path, kind, resnet, dilation=dilated)
    model = load(tmp_path)
    assert type(model) is type(expected) and not model.training
    seen = {}
    model.model.input_projection.register_forward_hook(lambda m, given, out: seen.update(features=given[0]))
    with torch.no_grad():
        output = model(pixels)
        reference = reference_resnet(backbone, resnet, pixels, dilated)
    scale = reference.max()
    torch.testing.assert_close(seen["features"] / scale, reference / scale, atol=1e-5, rtol=0)
    if not dilated:
        with torch.no_grad():
            assert torch.equal(output.pred_boxes, expected(pixels).pred_boxes)
    # batch norm is frozen: training changes neither what is computed nor the statistics
    before = {name: value.clone() for name, value in model.named_buffers()}
    model.train()
    with torch.no_grad():
        model(pixels)
    torch.testing.assert_close(seen["features"] / scale, reference / scale, atol=1e-5, rtol=0)
    assert all(torch.equal(value, before[name]) for name, value in model.named_buffers())
    grid = (4, 6) if dilated else (2, 3)
    assert capture_attention(model, pixels).combined.shape == (2, 1, 4, 5, *grid)
    assert not [w for w in recwarn if "no place in the model" in str(w.message)]


def test_nested_timm_configuration_and_strides(tmp_path, pixels):
    """transformers 5 writes the timm backbone as a nested record, with a stride of 16 for DC5."""
    nested = {"model_type": "timm_backbone", "backbone": "resnet18", "output_stride": 16}
    publish(tmp_path, "detr", backbone_config=nested, backbone=None)
    assert capture_attention(load(tmp_path), pixels).combined.shape[-2:] == (4, 6)
    publish(tmp_path, "detr", backbone_kwargs={"output_stride": 16})
    assert capture_attention(load(tmp_path), pixels).combined.shape[-2:] == (4, 6)


def test_another_timm_backbone_is_named(tmp_path):
    publish(tmp_path, "detr", backbone="swin_tiny")
    weights = safetensors.load_file(tmp_path / "model.safetensors")
    others = {name: value for name, value in weights.items() if not name.startswith(PREFIX)}
    safetensors.save_file(others | {PREFIX + "patch.weight": torch.zeros(2)}, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match="the backbone 'swin_tiny' is not a plain ResNet"):
        load(tmp_path)
    safetensors.save_file(
        weights | {PREFIX + "conv1.0.weight": torch.zeros(2)}, tmp_path / "model.safetensors"
    )
    with pytest.raises(ValueError, match=rf"{tmp_path.name}: its backbone does not open: 'conv1.0.weight'"):
        load(tmp_path)


def test_folder_that_transformers_wrote(tmp_path, pixels):
    model = small_model("conditional_detr", "resnet18")
    model.save_pretrained(tmp_path)
    with torch.no_grad():
        assert torch.equal(load(tmp_path)(pixels).logits, model(pixels).logits)


def test_pth_files_are_read_without_running_them(tmp_path, pixels):
    expected, _ = publish(tmp_path, "detr")
    weights = safetensors.load_file(tmp_path / "model.safetensors")
    (tmp_path / "model.safetensors").unlink()
    torch.save({"model": weights, "epoch": 3}, tmp_path / "checkpoint.pth")
    with torch.no_grad():
        assert torch.equal(load(tmp_path)(pixels).logits, expected(pixels).logits)
    torch.save({"model": weights, "trap": Trap(tmp_path / "sprung")}, tmp_path / "checkpoint.pth")
    with pytest.raises(ValueError, match=r"checkpoint\.pth holds more than tensors and is not opened"):
        load(tmp_path)
    assert not (tmp_path / "sprung").exists()
    (tmp_path / "other.pth").touch()
    with pytest.raises(FileNotFoundError, match=r"one \.pth; there is checkpoint\.pth, other\.pth"):
        load(tmp_path)


class Trap:
    """Opening its pickle makes a folder."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_folders_that_are_no_checkpoint(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no config\.json in"):
        load(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "yolos"}')
    with pytest.raises(
        ValueError, match="model_type is 'yolos', not one of detr, conditional_detr, dab-detr"
    ):
        load(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "detr"}')
    with pytest.raises(FileNotFoundError, match=r"or one \.pth; there is no weights"):
        load(tmp_path)


def test_weights_that_do_not_fit(tmp_path):
    publish(tmp_path, "detr")
    file = tmp_path / "model.safetensors"
    weights = safetensors.load_file(file)
    head = "class_labels_classifier.bias"
    safetensors.save_file({name: w for name, w in weights.items() if name != head}, file)
    with pytest.raises(ValueError, match=rf"do not fit config\.json; 1 are missing.*first {re.escape(head)}"):
        load(tmp_path)
    safetensors.save_file(weights | {head: torch.zeros(92)}, file)
    with pytest.raises(ValueError, match=rf"of another shape.*{re.escape(head)}"):
        load(tmp_path)
    safetensors.save_file(weights | {"model.extra": torch.zeros(1)}, file)
    with pytest.warns(UserWarning, match=r"1 weights have no place in the model, first model\.extra"):
        load(tmp_path)


PHOTOGRAPHS = DetectorConfig(
    in_channels=3, stride=8, width=32, heads=4, encoder_layers=1, ffn=24, queries=6, classes=3
)

# --- images -------------------------------------------------------------------------------------------------


def test_images_are_prepared_as_the_checkpoint_says(tmp_path):
    from PIL import Image

    publish(tmp_path, "detr")
    settings = {"feature_extractor_type": "DetrFeatureExtractor", "format": "coco_detection", "max_size": 160}
    settings |= {
        "do_normalize": True,
        "do_resize": True,
        "size": 96,
        "image_mean": [0.5] * 3,
        "image_std": [0.25] * 3,
    }
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(settings))
    model = load(tmp_path)
    white = Image.new("L", (64, 48), 255)
    black = np.zeros((80, 40, 3), np.uint8)
    pixels, mask = prepare(model, [white, black])
    assert pixels.shape == (2, 3, 160, 128) and mask.shape == (2, 160, 128) and mask.dtype == torch.bool
    assert mask.sum((1, 2)).tolist() == [96 * 128, 160 * 80]
    torch.testing.assert_close(pixels[0][:, mask[0]], torch.full((3, 96 * 128), 2.0))
    torch.testing.assert_close(pixels[1][:, mask[1]], torch.full((3, 160 * 80), -2.0))
    assert (pixels[0][:, ~mask[0]] == 0).all()
    small, _ = prepare(model, [white], size=48)
    assert small.shape == (1, 3, 48, 64)
    assert capture_attention(model, pixels, mask).combined.shape == (2, 2, 4, 5, 5, 4)


@pytest.mark.parametrize("size", [None, 40])
def test_photographs_for_a_detector_trained_here(size):
    from PIL import Image

    model, shorter = build(replace(PHOTOGRAPHS, kind="detr")), size or SHORTER
    wide, tall = Image.new("L", (320, 240), 90), np.full((90, 60, 3), (10, 20, 30), np.uint8)
    pixels, mask = prepare(model, [wide, tall], size)
    w, h = shorter * 4 // 3, shorter * 3 // 2
    assert pixels.shape == (2, 3, h, w) and pixels.dtype == torch.uint8
    assert mask[0, :shorter].all() and not mask[0, shorter:].any()
    assert mask[1, :, :shorter].all() and not mask[1, :, shorter:].any()
    assert (pixels[0][:, mask[0]] == 90).all()
    assert (pixels[1][:, mask[1]] == torch.tensor([[10], [20], [30]])).all()
    assert (pixels.permute(0, 2, 3, 1)[~mask] == 0).all()


def test_a_detector_of_scenes_takes_them_as_they_are():
    with pytest.raises(TypeError, match="this Detector takes scenes of one channel"):
        prepare(build(DetectorConfig(width=48)), [np.zeros((8, 8, 3), np.uint8)])


def test_an_image_is_averaged_when_it_becomes_smaller():
    from PIL import Image

    lines = np.zeros((240, 480, 3), np.uint8)
    lines[:, ::2] = 200  # thinner than a pixel of the small image
    small = resized(Image.fromarray(lines))
    assert small.shape == (120, 240, 3)
    np.testing.assert_allclose(small[:, 4:-4], 100, atol=1)  # away from the border


class Pooled(torch.nn.Module):
    """A backbone whose cells know their own pixels only: padding changes no cell of the image."""

    def __init__(self, width, stride):
        super().__init__()
        self.stride, self.mix = stride, torch.nn.Conv2d(3, width, 1)

    def forward(self, pixels):
        return self.mix(torch.nn.functional.avg_pool2d(pixels, self.stride))


@pytest.mark.parametrize("kind", ["detr", "detr-focal", "conditional", "dab"])
def test_padding_is_not_looked_at(kind):
    """Encoder, decoder and positions pass over padding; only a backbone that sees it could tell."""
    torch.manual_seed(0)
    model = build(replace(PHOTOGRAPHS, kind=kind)).eval()
    model.backbone = Pooled(model.config.width, model.config.stride)
    wide, tall = torch.randint(0, 256, (3, 40, 64)).byte(), torch.randint(0, 256, (3, 80, 40)).byte()
    images = [image.permute(1, 2, 0).numpy() for image in (wide, tall)]
    with torch.no_grad():
        together = model(*prepare(model, images, 40))
        for n, image in enumerate((wide, tall)):
            alone = model(image[None])
            torch.testing.assert_close(together.boxes[:, n], alone.boxes[:, 0], atol=1e-5, rtol=0)
            torch.testing.assert_close(together.logits[:, n], alone.logits[:, 0], atol=1e-4, rtol=0)
        unmasked = model(prepare(model, images, 40)[0])
    assert (unmasked.logits - together.logits).abs().max() > 1e-3


@pytest.mark.parametrize(
    "size, usual, halved",  # height and width of an image of 60 x 80 pixels
    [
        ({"shortest_edge": 96, "longest_edge": 120}, (90, 120), (45, 60)),
        ({"shortest_edge": 96}, (96, 128), (48, 64)),
        ({"longest_edge": 96}, (72, 96), (36, 48)),
        ({"height": 96, "width": 144}, (96, 144), (48, 72)),
        ({"max_height": 96, "max_width": 96}, (72, 96), (36, 48)),
        (96, (96, 128), (48, 64)),  # older: the shorter edge, and at most 1333
    ],
    ids=str,
)
def test_every_form_of_size_can_be_asked_for_smaller(tmp_path, size, usual, halved):
    settings = {"image_processor_type": "DetrImageProcessor", "size": size}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(settings))
    model = small_model("detr", "resnet18")
    model.config.name_or_path = str(tmp_path)
    grey = np.full((60, 80, 3), 128, np.uint8)
    assert prepare(model, [grey])[0].shape[-2:] == usual
    pixels, mask = prepare(model, [grey], size=48)
    assert pixels.shape[-2:] == halved and mask.all()
    # a fixed size to be padded to is changed with it
    (tmp_path / "preprocessor_config.json").write_text(
        json.dumps(settings | {"pad_size": {"height": 160, "width": 160}})
    )
    for length, side in ((None, 160), (48, 80), (192, 320)):
        pixels, mask = prepare(model, [grey], size=length)
        assert pixels.shape[-2:] == (side, side) and mask.sum() == mask.any(1).sum() * mask.any(2).sum()


@pytest.mark.parametrize("size", [None, 48])
def test_settings_that_do_not_pad_have_a_mask_too(tmp_path, size):
    settings = {"do_pad": False, "size": {"shortest_edge": 96, "longest_edge": 160}}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(settings))
    model = small_model("detr", "resnet18")
    model.config.name_or_path = str(tmp_path)
    images = [np.full(shape, 128, np.uint8) for shape in ((60, 80, 3), (80, 60, 3))]
    side = size or 96
    assert prepare(model, images[:1], size)[1].shape == (1, side, side * 4 // 3)
    pixels, mask = prepare(model, images, size)
    assert pixels.shape[-2:] == mask.shape[1:] == (side * 4 // 3,) * 2
    assert mask.sum((1, 2)).tolist() == [side * side * 4 // 3] * 2


def test_checkpoint_whose_size_is_a_bound(shared_data):
    folder = shared_data.parent / "cases" / "ckpt_cond_mh"
    if not folder.is_dir():
        pytest.skip("cases not here")
    model = load(folder)
    pixels, mask = prepare(model, [np.zeros((60, 80, 3), np.uint8)], size=96)
    assert pixels.shape[-2:] == (96, 96) and mask.sum() == 72 * 96
    maps = crop_to_valid(capture_attention(model, pixels, mask), 0)
    torch.testing.assert_close(maps.combined.sum((-1, -2)), torch.ones(maps.combined.shape[:-2]))


# --- models trained here, the hub ---------------------------------------------------------------------------


def test_models_trained_here(tmp_path, monkeypatch):
    config = DetectorConfig(kind="dab", width=48, decoder_layers=2, queries=4)
    model = build(config, seed=3).half().float().eval()  # weights are stored in 16 bits
    file = tmp_path / "weights" / "detection" / "small-dab.safetensors"
    training.save(torch.nn.Linear(1, 1), file.with_name("backbone-48.safetensors"), {})  # is no detector
    card = {"detector": vars(config), "seed": 3}
    training.save(model, file, card)
    monkeypatch.setenv("MARGINALIA_DATA", str(tmp_path))
    scenes = torch.rand(1, 1, 32, 32)
    for name in ("small-dab", file, str(file)):
        opened = load(name)
        assert not opened.training and opened.config == config and opened.names is None
        with torch.no_grad():
            assert torch.equal(opened(scenes).boxes, model(scenes).boxes)
    with pytest.raises(
        FileNotFoundError,
        match=r"'small-dap' is no folder, no hub name .* and no detector .*; near it: small-dab$",
    ):
        load("small-dap")
    with pytest.raises(FileNotFoundError, match=r"missing\.safetensors"):
        load(tmp_path / "missing.safetensors")
    training.save(model, file, card | {"names": {0: "cup", 1: "pot"}})
    assert load("small-dab").names == {0: "cup", 1: "pot"}
    training.save(model, file, {"seed": 3})
    with pytest.raises(ValueError, match=r"small-dab\.json has no entry 'detector'"):
        load("small-dab")


def run_offline(folder, command):
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(folder)}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    return subprocess.run([sys.executable, "-c", command], env=environment, capture_output=True, text=True)


def test_hub_without_network_says_what_to_do(tmp_path):
    done = run_offline(tmp_path, "from marginalia.detection.loading import load; load('owner/model')")
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("marginalia.store.DownloadError: load: owner/model is not in the hub's cache")
    for part in (
        "HF_HUB_OFFLINE",
        "config.json, preprocessor_config.json, model.safetensors",
        "load a folder",
    ):
        assert part in last


def test_hub_model_in_the_cache_opens_without_network(tmp_path):
    snapshot = tmp_path / "hub" / "models--owner--model" / "snapshots" / "a1b2"
    snapshot.mkdir(parents=True)
    publish(snapshot, "detr")
    references = snapshot.parents[1] / "refs"
    references.mkdir()
    (references / "main").write_text("a1b2")
    done = run_offline(
        tmp_path, "from marginalia.detection.loading import load; print(type(load('owner/model')).__name__)"
    )
    assert done.stdout.strip() == "DetrForObjectDetection", done.stderr
    assert not done.stderr.strip()  # no progress bars left in a notebook


def test_answers_of_the_hub_are_passed_on(monkeypatch):
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    class Answer:
        status_code, headers, request = 401, {}, None

    def snapshot_download(name, allow_patterns, local_files_only=False):
        if local_files_only:
            raise LocalEntryNotFoundError("not here")
        raise HfHubHTTPError("no", response=Answer())

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    with pytest.raises(store.DownloadError, match=r"could not be downloaded \(HfHubHTTPError\)"):
        load("owner/model")
