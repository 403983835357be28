"""ResNet weights under timm's names, as published detectors have them, in the ResNet of transformers.

timm and torchvision call the parts of a ResNet alike: `conv1`, `bn1`, `layer1.0.conv2`,
`layer1.0.downsample.0`. transformers calls them `embedder` and `encoder.stages.0.layers.0.layer.1`. The
arithmetic is the same (a bottleneck has its stride in the 3x3 convolution), so a change of names is all that
it takes to do without timm.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from torch import Tensor, nn

if TYPE_CHECKING:
    from transformers import ResNetConfig

_IN_BACKBONE = re.compile(r"(?P<prefix>.*\bbackbone\..*?)(?P<name>(?:conv1|bn1|layer\d)\..+)")
_NAME = re.compile(r"(?:layer([1-4])\.(\d+)\.)?(conv|bn|downsample\.)([0-3])\.(\w+)")


def transformers_name(name: str) -> str:
    """Name in transformers' ResNet of what timm's ResNet calls `name`; ValueError when there is none.

    Both names count from the ResNet itself, without what a detector puts before them.
    """
    found = _NAME.fullmatch(name)
    if not found:
        raise ValueError(f"{name!r} is not a weight of a plain ResNet (timm's resnet18 to resnet152)")
    stage, block, part, index, value = found.groups()
    place = f"encoder.stages.{int(stage) - 1}.layers.{block}" if stage else "embedder.embedder"
    if part == "downsample.":
        place, part = f"{place}.shortcut", "conv" if index == "0" else "bn"
    elif stage:
        place = f"{place}.layer.{int(index) - 1}"
    return f"{place}.{'convolution' if part == 'conv' else 'normalization'}.{value}"


def rename_backbone(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a detector, those of its timm backbone under transformers' names, others as before.

    `num_batches_tracked` is left out: it counts training batches, and the batch norm of detectors is frozen.
    ValueError when the backbone is not a plain ResNet.
    """
    renamed = {}
    for name, weight in weights.items():
        found = _IN_BACKBONE.fullmatch(name)
        if found and name.endswith(".num_batches_tracked"):
            continue
        renamed[found["prefix"] + transformers_name(found["name"]) if found else name] = weight
    return renamed


def resnet_config(names: Iterable[str], channels: int = 3) -> ResNetConfig | None:
    """Configuration of transformers' ResNet for the weights of a timm ResNet, as their names tell it.

    It gives the last stage's map to a detector. None where no backbone has a timm ResNet's names.
    """
    from transformers import ResNetConfig

    found = [match["name"] for name in names if (match := _IN_BACKBONE.fullmatch(name))]
    blocks = {tuple(name.split(".")[:2]) for name in found if name.startswith("layer")}
    if not blocks:
        return None
    bottleneck = any(".conv3." in name for name in found)  # else blocks of two 3x3 convolutions
    return ResNetConfig(
        num_channels=channels,
        embedding_size=64,
        hidden_sizes=[64 * 2**i * (4 if bottleneck else 1) for i in range(4)],
        depths=[sum(stage == f"layer{i}" for stage, _ in blocks) for i in range(1, 5)],
        layer_type="bottleneck" if bottleneck else "basic",
        out_features=["stage4"],
    )


def dilate_last_stage(resnet: nn.Module) -> None:
    """Make transformers' ResNet, in place, one of stride 16: the "DC5" of published detectors.

    The last stage's stride becomes 1, and the 3x3 convolutions after its first block reach twice as far; the
    first block's reach as far as the stage before, as in timm and torchvision. No weight changes.
    """
    first, *others = resnet.encoder.stages[-1].layers
    for module in first.modules():
        if isinstance(module, nn.Conv2d):
            module.stride = (1, 1)
    for block in others:
        for module in block.modules():
            if isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3):
                module.dilation = module.padding = (2, 2)
