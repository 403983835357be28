"""Detectors by name: the small ones trained here, a folder with a checkpoint, or one published on a hub.

Published checkpoints of DETR, Conditional DETR and DAB-DETR ask for a timm backbone. They open here without
timm and torchvision, because that backbone is a plain ResNet, which transformers has too (`resnet_names`).
"""

from __future__ import annotations

import json
import os
import pickle
import re
import warnings
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from PIL import Image
from torch import Tensor, nn

from .. import store, training
from .capture import TRANSFORMERS_MODELS
from .detector import Detector, DetectorConfig, build
from .relation import WIDTH, PositionRelation
from .resnet_names import dilate_last_stage, rename_backbone, resnet_config

WEIGHTS = "weights/detection"  # of the data folder: detectors trained here, and the backbones they began with
# Of a checkpoint; the second file of weights is the older one.
CONFIG, PROCESSOR = "config.json", "preprocessor_config.json"
SAFETENSORS, PICKLE = "model.safetensors", "pytorch_model.bin"
SHARDS = "model.safetensors.index.json"  # which file holds which weight, where there are several
TIMM = "timm_backbone"  # what transformers calls a backbone that it leaves to timm
SHORTER = 120  # pixels of the shorter side of photographs that detectors are trained on here
RELATION = "position_relation_embedding.pos_proj.0"  # of Relation DETR's checkpoints
HEADS = ("encoder_attention_heads", "decoder_attention_heads")
SIZES = (  # entries of a configuration that are never twice as large as any side of the weights
    *("d_model", "hidden_size", *HEADS, "num_attention_heads", "encoder_ffn_dim", "decoder_ffn_dim"),
    *("num_queries", "num_labels", "num_channels", "embedding_size", "hidden_sizes", "depths"),
    *("width", "heads", "ffn", "queries", "one_to_many", "classes", "in_channels"),
)
MAY_BE_ZERO = ("encoder_layers", "num_hidden_layers", "one_to_many")
TRIAL = 64  # pixels a side of the image that an opened model is tried on
HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")


def load(name: str | Path) -> nn.Module:
    """The detector called `name`, in evaluation mode, as `capture_attention` takes it.

    `name` is, tried in this order,
    - a folder with `config.json` and weights: `model.safetensors`, `pytorch_model.bin` or one `.pth` file;
    - a `.safetensors` file of a model trained here, with its card beside it;
    - a name `owner/model` on the Hugging Face hub, downloaded unless it is in the hub's cache already;
    - the name of such a file in `weights/detection` of the data folder, `headline-conditional-0` say.
    Checkpoints are those of transformers for DETR, Conditional DETR and DAB-DETR with a plain ResNet, DC5 or
    not. No code that comes with them is run.

    FileNotFoundError or `store.DownloadError`, with what to do, where there is no such model; ValueError for
    a checkpoint of another kind or unlike its configuration; ImportError without transformers.
    """
    path = Path(name).expanduser()
    if path.is_dir():
        return _open_folder(path)
    if path.suffix == ".safetensors":
        return _open_own(path)
    if HUB_NAME.fullmatch(str(name)):
        return _open_folder(_hub_folder(str(name)))
    own = [file.stem for file in (store.root() / WEIGHTS).glob("*.safetensors")]
    if str(name) not in own:
        own = [one for one in own if not one.startswith("backbone")]  # which are no detectors
        told = f"load: {str(name)!r} is no folder, no hub name like owner/model and no detector of {WEIGHTS}"
        raise FileNotFoundError(f"{told}; {store.near(str(name), own)}")
    store.data_path(f"{WEIGHTS}/{name}.json")  # the card is read too
    return _open_own(store.data_path(f"{WEIGHTS}/{name}.safetensors"))


def prepare(
    model: nn.Module, images: Sequence[Image.Image | np.ndarray], size: int | None = None
) -> tuple[Float[Tensor, "B 3 S S"] | UInt8[Tensor, "B 3 S S"], Bool[Tensor, "B S S"]]:
    """Pixels and mask of images (Pillow, or arrays (h, w, 3) of bytes); the mask is True where an image is.

    For a checkpoint of transformers: resized, normalised and padded to one size by transformers' Pillow
    processor, as the checkpoint's folder says. `size`: another length for the shorter side than the usual
    800, to save time. Where the folder says {height, width} or gives bounds instead, the smaller of its
    numbers becomes `size`, and the others keep their proportion. For a `Detector` of photographs: bytes, the
    shorter side of `size` pixels, or of SHORTER as in its training, padded on the right and below. Its
    backbone's norms see the padding, so prepare images of unequal shape one at a time: beside a taller image
    scores changed by up to 0.3. TypeError for a detector of one channel, which takes scenes as they are;
    ValueError where the checkpoint's settings are none.
    """
    opened = [image if isinstance(image, Image.Image) else Image.fromarray(image) for image in images]
    opened = [image.convert("RGB") for image in opened]
    if isinstance(model, Detector):
        if model.config.in_channels != 3:
            raise TypeError("prepare: this Detector takes scenes of one channel, in [0, 1] or bytes")
        return _padded([resized(image, size or SHORTER) for image in opened])
    # the Pillow processor with the settings of the checkpoint; all three kinds of model share one recipe
    kind, folder = _transformers().DetrImageProcessorPil, Path(model.config.name_or_path)
    try:
        processor = kind.from_pretrained(folder) if (folder / PROCESSOR).is_file() else kind()
        batch = processor(opened, return_tensors="pt", do_pad=True, **_lengths(processor, size))
    except Exception as error:  # of many kinds, by what the file says
        told = f"{folder / PROCESSOR} does not say how to prepare images, or not with size={size}"
        raise ValueError(f"{told} ({_line(error)})") from error
    return batch["pixel_values"], batch["pixel_mask"].bool()


def _lengths(processor: Any, size: int | None) -> dict[str, dict[str, int]]:
    """The `size` and `pad_size` of a processor of transformers, with `size` pixels in place of its own."""
    # the folder's {shortest_edge, longest_edge}, one of the two, {height, width} or {max_height, max_width}
    said = {"size": processor.size, "pad_size": processor.pad_size}
    asked = {field: dict(lengths) for field, lengths in said.items() if lengths}
    if size is not None:
        usual = min(asked["size"].values())
        for lengths in asked.values():
            lengths.update({edge: round(length * size / usual) for edge, length in lengths.items()})
    # the processor knows no edge alone: the other one is unbounded, or both sides are bounded by the longest
    if set(asked["size"]) == {"shortest_edge"}:
        asked["size"]["longest_edge"] = 10**6
    elif set(asked["size"]) == {"longest_edge"}:
        asked["size"] = dict.fromkeys(("max_height", "max_width"), asked["size"]["longest_edge"])
    return asked


def resized(image: Image.Image, shorter: int = SHORTER) -> UInt8[np.ndarray, "h w 3"]:
    """An image in colour with its shorter side of so many pixels, averaged over those that become one."""
    scale = shorter / min(image.size)
    size = tuple(round(scale * length) for length in image.size)
    return np.asarray(image.convert("RGB").resize(size, Image.Resampling.LANCZOS))


def _padded(images: Sequence[UInt8[np.ndarray, "h w 3"]]) -> tuple[Tensor, Tensor]:
    """Images of several sizes as one batch (B, 3, S, S), and a mask of what is not padding."""
    height, width = np.max([image.shape[:2] for image in images], axis=0)
    pixels = np.zeros((len(images), 3, height, width), np.uint8)
    mask = np.zeros((len(images), height, width), bool)
    for n, image in enumerate(images):
        h, w = image.shape[:2]
        pixels[n, :, :h, :w], mask[n, :h, :w] = image.transpose(2, 0, 1), True
    return torch.from_numpy(pixels), torch.from_numpy(mask)


def _open_own(path: Path) -> Detector:
    """A model trained here, from its weights and card."""
    weights, card = training.load(path)
    beside = path.with_suffix(".json")
    if "detector" not in card:
        raise ValueError(f"{beside} has no entry 'detector' to build a model from")
    try:
        _check_sizes(card["detector"], weights)
        model = build(DetectorConfig(**card["detector"]))
        model.load_state_dict(weights)
        if "names" in card:
            model.names = {int(label): name for label, name in card["names"].items()}
        _try_out(model, model.config.in_channels)
    except Exception as error:  # of many kinds, by what the card says
        raise ValueError(f"{beside} does not describe the model of {path.name}: {_line(error)}") from error
    return model


def _transformers():
    try:
        import transformers
    except ImportError as error:
        raise ImportError("checkpoints of others need transformers: pip install 'transformers>=5'") from error
    return transformers


def _hub_folder(name: str) -> Path:
    """The files of a hub model in the hub's cache, downloaded where they are missing."""
    _transformers()  # fail before the download
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    wanted = [CONFIG, PROCESSOR, SAFETENSORS]
    with suppress(LocalEntryNotFoundError):  # not in the cache yet
        folder = Path(snapshot_download(name, allow_patterns=wanted, local_files_only=True))
        if (folder / CONFIG).is_file() and (folder / SAFETENSORS).is_file():
            return folder
    try:
        folder = Path(snapshot_download(name, allow_patterns=wanted))
        if not (folder / SAFETENSORS).is_file():  # some older models have this file only
            snapshot_download(name, allow_patterns=[PICKLE])
    except Exception as error:  # of many kinds, by how the connection failed
        raise store.DownloadError(
            f"load: {name} is not in the hub's cache and could not be downloaded ({type(error).__name__}). "
            "Without a connection, or with HF_HUB_OFFLINE, load a folder with the model's "
            f"{', '.join(wanted)}"
        ) from error
    return folder


def _open_folder(folder: Path) -> nn.Module:
    """A checkpoint of transformers from its files."""
    transformers = _transformers()
    if not (folder / CONFIG).is_file():
        raise FileNotFoundError(f"load: no {CONFIG} in {folder}; a checkpoint is that file and {SAFETENSORS}")
    try:
        entries = dict(json.loads((folder / CONFIG).read_text(encoding="utf-8")))
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"{folder / CONFIG} is no JSON object ({error}); fetch it again") from None
    # which kernel computes attention is chosen here; a name in this place would be looked up on the hub
    entries = {name: entry for name, entry in entries.items() if "attn_implementation" not in name}
    kind = entries.get("model_type")
    if kind not in [*TRANSFORMERS_MODELS]:  # it may be a list
        known = ", ".join(TRANSFORMERS_MODELS)
        raise ValueError(f"{folder / CONFIG}: model_type is {kind!r:.80}, not one of {known}")
    model_class = getattr(transformers, TRANSFORMERS_MODELS[kind])
    weights, dilated = _read_weights(folder), False
    try:
        # in place of timm's ResNet, if it has one, that of transformers
        backbone = resnet_config(weights, entries.get("num_channels", 3))
        if backbone is None and (entries.get("backbone_config") or {}).get("model_type", TIMM) == TIMM:
            raise ValueError(f"{folder}: the backbone {entries.get('backbone')!r:.80} is not a plain ResNet")
        if backbone is not None:
            parts = [entries.get(field) or {} for field in ("backbone_config", "backbone_kwargs")]
            dilated = entries.get("dilation") or 16 in [part.get("output_stride") for part in parts]
            others = {
                name: entry
                for name, entry in entries.items()
                if "backbone" not in name and name != "dilation"
            }
            entries = others | {"backbone_config": backbone.to_dict()}
            try:
                weights = rename_backbone(weights)
            except ValueError as error:
                raise ValueError(f"{folder}: its backbone does not open: {error}") from None
        _check_sizes(entries, weights)
        config = model_class.config_class.from_dict(entries)
        for name in HEADS:
            if config.hidden_size % (heads := getattr(config, name)):
                raise ValueError(f"{name} is {heads}, which does not divide the width {config.hidden_size}")
        model = _fill(model_class, config, weights, folder)
        if dilated:
            backbone_of = model.model.backbone
            dilate_last_stage(getattr(backbone_of, "conv_encoder", backbone_of).model)
        _try_out(model, getattr(config.backbone_config, "num_channels", 3))
    except Exception as error:  # of many kinds, by what the file says
        if str(folder) in str(error):
            raise ValueError(str(error)) from error
        told = "describes no model that opens here"
        raise ValueError(
            f"{folder / CONFIG} {told} ({_line(error)}); correct it or fetch it again"
        ) from error
    model.config.name_or_path = str(folder)
    return model


def _line(error: Exception) -> str:
    """What an error says, on one line and not at length; its kind, where that tells more."""
    said = " ".join(str(error).split())[:300]
    return said if isinstance(error, ValueError) else f"{type(error).__name__}: {said}"


@torch.no_grad()
def _try_out(model: nn.Module, channels: int) -> None:
    """Run a model that was built, on a black image; ValueError where it finds no boxes but NaN."""
    output = model.eval()(torch.zeros(1, channels, TRIAL, TRIAL))
    boxes = output.boxes if isinstance(model, Detector) else output.pred_boxes
    if not boxes.isfinite().all():
        raise ValueError("in it or in the weights is NaN or infinity: so are the boxes of a black image")


def _read_weights(folder: Path) -> dict[str, Tensor]:
    """Tensors of a checkpoint; nothing that a pickle may hold beside them is made."""
    if (folder / SHARDS).is_file():
        try:
            names = {*json.loads((folder / SHARDS).read_text(encoding="utf-8"))["weight_map"].values()}
            files = [folder / Path(name).name for name in sorted(names)]
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            raise ValueError(f"{folder / SHARDS} does not say which files hold the weights") from None
        if missing := [file.name for file in files if not os.path.isfile(file)]:
            raise FileNotFoundError(f"{folder / SHARDS} names {missing[0]!r:.80}, which is not beside it")
        return {name: tensor for file in files for name, tensor in _unpacked(file).items()}
    if (folder / SAFETENSORS).is_file():
        return _unpacked(folder / SAFETENSORS)
    files = sorted(folder.glob(PICKLE)) or sorted(folder.glob("*.pth"))
    if len(files) != 1:
        found = ", ".join(file.name for file in files) or "no weights"
        raise FileNotFoundError(
            f"load: {folder} must hold {SAFETENSORS}, {PICKLE} or one .pth; there is {found}"
        )
    return _unpickled(files[0])


def _unpacked(file: Path) -> dict[str, Tensor]:
    """Tensors of a .safetensors file; ValueError, naming it, for what is none."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    _refuse_stand_in(file)
    try:
        return load_file(file)
    except SafetensorError as error:
        raise ValueError(f"{file} is cut off or damaged ({error}); fetch it again") from None


def _refuse_stand_in(file: Path) -> None:
    """ValueError for what a download leaves in the place of weights."""
    with file.open("rb") as opened:
        head = opened.read(100).lstrip()
    if not head:
        raise ValueError(f"{file} is empty; fetch it again")
    if head.startswith(b"version https://git-lfs"):
        raise ValueError(f"{file} is a pointer of git-lfs, not the weights; run `git lfs pull` in its folder")
    if head.startswith(b"<"):
        raise ValueError(f"{file} is a web page, not the weights; fetch it again")


def _unpickled(file: Path) -> dict[str, Tensor]:
    """Tensors of a file that torch.save wrote, and nothing else."""
    _refuse_stand_in(file)
    try:
        weights = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        told = "holds more than tensors and is not opened, because that could run somebody's code"
        raise ValueError(f"{file} {told}; use {SAFETENSORS} instead") from error
    except Exception as error:  # of many kinds, by what is missing
        raise ValueError(f"{file} is cut off or damaged ({_line(error)}); fetch it again") from error
    # training scripts often keep the optimiser beside the model
    weights = weights.get("model", weights) if isinstance(weights, dict) else None
    if not weights or not all(isinstance(tensor, Tensor) for tensor in weights.values()):
        raise ValueError(f"{file} holds no weights by name")
    return weights


def _check_sizes(entries: dict[str, Any], weights: dict[str, Tensor]) -> None:
    """ValueError for a size that the weights cannot have, before a model takes memory for it."""
    layers = [int(number) for name in weights for number in re.findall(r"layers\.(\d+)\.", name)]
    sides = [side for tensor in weights.values() for side in tensor.shape]
    for name, entry in (entries | (entries.get("backbone_config") or {})).items():
        deep = "layers" in name
        most = max(layers, default=-1) + 1 if deep else max(sides, default=0)
        for number in entry if isinstance(entry, list) else [entry]:
            if not isinstance(number, int) or not (deep or name in SIZES):
                continue
            if number < (name not in MAY_BE_ZERO):
                raise ValueError(f"{name} is {number:,}, which is too small")
            if number > 2 * most:  # twice, because `ffn` is not that of every kind's decoder
                raise ValueError(f"{name} is {number:,}, but the weights have at most {most:,}")


def load_relation(path: str | Path) -> PositionRelation:
    """The position relation of a published Relation DETR, from its checkpoint (a .pth file, weights only).

    All layers share its 520 numbers. ValueError where the file holds none, or of another size.
    """
    path = Path(path).expanduser()
    weights = _unpickled(path)
    found = {name: value for name, value in weights.items() if name.rpartition(".")[0].endswith(RELATION)}
    parts = {name.rpartition(".")[2]: value for name, value in found.items()}
    if set(parts) != {"weight", "bias"} or parts["weight"].shape[1:] != (4 * WIDTH, 1, 1):
        shapes = {name: tuple(value.shape) for name, value in found.items()}
        raise ValueError(
            f"{path}: expected {RELATION}.weight (heads, 64, 1, 1) and .bias, found {shapes or 'none'}"
        )
    relation = PositionRelation(len(parts["weight"]))
    relation.projection.load_state_dict({"weight": parts["weight"].flatten(1), "bias": parts["bias"]})
    return relation.requires_grad_(False)


def _fill(model_class: type, config: Any, weights: dict[str, Tensor], folder: Path) -> nn.Module:
    """A model with these weights, which may have older names; ValueError if one is missing."""
    from transformers.utils import logging

    # without a progress bar and transformers' own report, which would stay in a notebook's output
    with ExitStack() as afterwards:
        if logging.is_progress_bar_enabled():
            logging.disable_progress_bar()
            afterwards.callback(logging.enable_progress_bar)
        afterwards.callback(logging.set_verbosity, logging.get_verbosity())
        logging.set_verbosity_error()
        model, report = model_class.from_pretrained(
            None,
            config=config,
            state_dict=weights,
            dtype=torch.float32,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        )
    wrong = sorted(map(str, [*report["missing_keys"], *report["mismatched_keys"]]))
    if wrong:
        told = f"{len(wrong)} are missing or of another shape, first {wrong[0]}"
        raise ValueError(f"{folder}: the weights do not fit {CONFIG}; {told}")
    if unused := sorted(report["unexpected_keys"]):
        told = f"{len(unused)} weights have no place in the model, first {unused[0]}"
        warnings.warn(f"{folder}: {told}", stacklevel=4)
    return model
