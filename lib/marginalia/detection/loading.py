"""Detectors by name: the small ones trained here, a folder with a checkpoint, or one published on a hub.

Published checkpoints of DETR, Conditional DETR and DAB-DETR ask for a timm backbone. They open here without
timm and torchvision, because that backbone is a plain ResNet, which transformers has too (`resnet_names`).
"""

from __future__ import annotations

import json
import pickle
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from .. import store, training
from .detector import Detector, DetectorConfig, build
from .resnet_names import dilate_last_stage, rename_backbone, resnet_config

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

WEIGHTS = (
    "weights/detection"  # in the data folder: the detectors trained here, and the backbones they began with
)
MODELS = {  # `model_type` of a config.json -> class of transformers
    "detr": "DetrForObjectDetection",
    "conditional_detr": "ConditionalDetrForObjectDetection",
    "dab-detr": "DabDetrForObjectDetection",
}
# Of a checkpoint; the second file of weights is the older one.
CONFIG, PROCESSOR = "config.json", "preprocessor_config.json"
SAFETENSORS, PICKLE = "model.safetensors", "pytorch_model.bin"
UNBOUNDED = 10**6  # pixels
HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
# What in a configuration is about timm.
TIMM_FIELDS = (
    "backbone",
    "backbone_config",
    "backbone_kwargs",
    "use_timm_backbone",
    "use_pretrained_backbone",
    "dilation",
)


def load(name: str | Path) -> nn.Module:
    """The detector called `name`, in evaluation mode, as `capture_attention` takes it.

    `name` is, tried in this order,
    - a folder with `config.json` and weights: `model.safetensors`, `pytorch_model.bin` or one `.pth` file;
    - a `.safetensors` file of a model trained here, with its card beside it;
    - the name of such a file in `weights/detection` of the data folder, `headline-conditional-0` say;
    - a name `owner/model` on the Hugging Face hub, downloaded unless it is in the hub's cache already.
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
    shipped = _shipped()
    if str(name) in shipped:
        return _open_own(store.data_path(f"{WEIGHTS}/{name}.safetensors"))
    if HUB_NAME.fullmatch(str(name)):
        return _open_folder(_hub_folder(str(name)))
    known = store.near(str(name), shipped) if shipped else "there are none"
    raise FileNotFoundError(
        f"load: {str(name)!r} is no folder, no model trained here ({known}) and no hub name like owner/model"
    )


def prepare(
    model: nn.Module, images: Sequence[Image | np.ndarray], size: int | None = None
) -> tuple[Float[Tensor, "B 3 S S"], Bool[Tensor, "B S S"]]:
    """Pixels and mask of images (Pillow, or arrays (h, w, 3) of bytes) for a checkpoint of transformers.

    Resized, normalised and padded to one size by transformers' Pillow processor, as the checkpoint's folder
    says; the mask is True where an image is. `size`: another length for the shorter side than the usual 800,
    to save time. Where the folder says {height, width} or gives bounds instead, the smaller of its numbers
    becomes `size`, and the others keep their proportion. TypeError for this project's models, which take
    scenes as they are.
    """
    from PIL import Image

    if isinstance(model, Detector):
        raise TypeError(
            "prepare is for checkpoints of transformers; a Detector takes pixels in [0, 1] or bytes"
        )
    processor = _processor(Path(model.config.name_or_path))
    # the folder's {shortest_edge, longest_edge}, one of the two, {height, width} or {max_height, max_width}
    said = {"size": processor.size, "pad_size": processor.pad_size}
    asked = {field: dict(lengths) for field, lengths in said.items() if lengths}
    if size is not None:
        usual = min(asked["size"].values())
        for lengths in asked.values():
            lengths.update({edge: round(length * size / usual) for edge, length in lengths.items()})
    # the processor knows no edge alone: the other one is unbounded, or both sides are bounded by the longest
    if set(asked["size"]) == {"shortest_edge"}:
        asked["size"]["longest_edge"] = UNBOUNDED
    elif set(asked["size"]) == {"longest_edge"}:
        asked["size"] = dict.fromkeys(("max_height", "max_width"), asked["size"]["longest_edge"])
    opened = [image if isinstance(image, Image.Image) else Image.fromarray(image) for image in images]
    batch = processor([image.convert("RGB") for image in opened], return_tensors="pt", **asked)
    return batch["pixel_values"], batch["pixel_mask"].bool()


def _shipped() -> list[str]:
    """Names of the detectors in the data folder; none where there is no data folder."""
    try:
        names = [path.stem for path in (store.root() / WEIGHTS).glob("*.safetensors")]
    except FileNotFoundError:
        return []
    return sorted(name for name in names if not name.startswith("backbone"))


def _open_own(path: Path) -> Detector:
    """A model trained here, from its weights and card."""
    weights, card = training.load(path)
    if "detector" not in card:
        raise ValueError(f"{path.with_suffix('.json')} has no entry 'detector' to build a model from")
    model = build(DetectorConfig(**card["detector"]))
    model.load_state_dict(weights)
    return model.eval()


def _transformers():
    try:
        import transformers
    except ImportError as error:
        raise ImportError("checkpoints of others need transformers: pip install 'transformers>=5'") from error
    return transformers


def _processor(folder: Path):
    """The Pillow processor with the settings of a checkpoint; all three kinds of model share one recipe."""
    kind = _transformers().DetrImageProcessorPil
    return kind.from_pretrained(folder) if (folder / PROCESSOR).is_file() else kind()


def _hub_folder(name: str) -> Path:
    """The files of a hub model in the hub's cache, downloaded where they are missing."""
    _transformers()  # fail before the download
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    wanted = [CONFIG, PROCESSOR, SAFETENSORS]
    try:
        folder = Path(snapshot_download(name, allow_patterns=wanted, local_files_only=True))
        if (folder / CONFIG).is_file() and (folder / SAFETENSORS).is_file():
            return folder
    except LocalEntryNotFoundError:
        pass  # not in the cache yet
    try:
        folder = Path(snapshot_download(name, allow_patterns=wanted))
        if not (folder / SAFETENSORS).is_file():  # some older models have this file only
            snapshot_download(name, allow_patterns=[PICKLE])
    except Exception as error:  # of many kinds, by how the connection failed
        why = "no connection to the hub, or HF_HUB_OFFLINE is set"
        if isinstance(error, HfHubHTTPError):
            why = f"the hub answered {error.response.status_code}"
        raise store.DownloadError(
            f"load: {name} is not in the hub's cache and could not be downloaded: {why}. Without "
            f"a connection, save {CONFIG}, {PROCESSOR} and {SAFETENSORS} of the model in a folder, and load "
            "that"
        ) from error
    return folder


def _open_folder(folder: Path) -> nn.Module:
    """A checkpoint of transformers from its files."""
    transformers = _transformers()
    if not (folder / CONFIG).is_file():
        raise FileNotFoundError(f"load: no {CONFIG} in {folder}; a checkpoint is that file and {SAFETENSORS}")
    entries = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    kind = entries.get("model_type")
    if kind not in MODELS:
        raise ValueError(f"{folder / CONFIG}: model_type is {kind!r}, not one of {', '.join(MODELS)}")
    model_class = getattr(transformers, MODELS[kind])
    weights = _read_weights(folder)
    backbone, dilated = _timm_backbone(entries)
    if backbone is not None:
        entries = {field: value for field, value in entries.items() if field not in TIMM_FIELDS}
        entries["backbone_config"] = resnet_config(backbone, entries.get("num_channels", 3)).to_dict()
        weights = rename_backbone(weights)
    config = model_class.config_class.from_dict(entries)
    model = _fill(model_class, config, weights, folder)
    if dilated:
        backbone_of = model.model.backbone
        dilate_last_stage(getattr(backbone_of, "conv_encoder", backbone_of).model)
    model.config.name_or_path = str(folder)
    return model.eval()


def _timm_backbone(entries: Mapping[str, Any]) -> tuple[str | None, bool]:
    """The timm backbone that a configuration asks for, if any, and whether its last stage is dilated."""
    nested = entries.get("backbone_config") or {}
    if nested.get("model_type", "timm_backbone") != "timm_backbone":
        return None, False
    if not nested and not entries.get("use_timm_backbone", True):
        raise ValueError("config.json asks for a backbone other than timm's, but has no backbone_config")
    strides = [part.get("output_stride") for part in (nested, entries.get("backbone_kwargs") or {})]
    dilated = bool(entries.get("dilation")) or 16 in strides
    return nested.get("backbone") or entries.get("backbone") or "resnet50", dilated


def _read_weights(folder: Path) -> dict[str, Tensor]:
    """Tensors of a checkpoint; nothing that a pickle may hold beside them is made."""
    if (folder / SAFETENSORS).is_file():
        from safetensors.torch import load_file

        return load_file(folder / SAFETENSORS)
    pickles = sorted(folder.glob(PICKLE)) or sorted(folder.glob("*.pth"))
    if len(pickles) != 1:
        found = ", ".join(path.name for path in pickles) or "no weights"
        raise FileNotFoundError(f"load: {folder} must hold {SAFETENSORS} or one .pth file; there is {found}")
    try:
        weights = torch.load(pickles[0], map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{pickles[0]} holds more than tensors and is not opened, because that could run somebody's "
            f"code; use {SAFETENSORS} instead"
        ) from error
    return weights.get("model", weights)  # training scripts often keep the optimiser beside the model


def _fill(model_class: type, config: Any, weights: dict[str, Tensor], folder: Path) -> nn.Module:
    """A model with these weights, which may have older names; ValueError if one is missing."""
    with _quietly():
        model, report = model_class.from_pretrained(
            None,
            config=config,
            state_dict=weights,
            dtype=torch.float32,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        )
    wrong = sorted(report["missing_keys"]) + sorted(str(one) for one in report["mismatched_keys"])
    if wrong:
        count = f"{len(wrong)} are missing or of another shape"
        raise ValueError(f"{folder}: the weights do not fit {CONFIG}; {count}, first {wrong[0]}")
    if report["unexpected_keys"]:
        unused = sorted(report["unexpected_keys"])
        warnings.warn(
            f"{folder}: {len(unused)} weights have no place in the model, first {unused[0]}", stacklevel=4
        )
    return model


@contextmanager
def _quietly() -> Iterator[None]:
    """transformers without its progress bar and its own report, which would stay in a notebook's output."""
    from transformers.utils import logging

    bar, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()
