"""ResNet weights under timm's names, as published detectors have them, in the ResNet of transformers.

timm and torchvision call the parts of a ResNet alike: `conv1`, `bn1`, `layer1.0.conv2`,
`layer1.0.downsample.0`. transformers calls them `embedder` and `encoder.stages.0.layers.0.layer.1`. The
arithmetic is the same (a bottleneck has its stride in the 3x3 convolution), so a change of names is all that
it takes to do without timm.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from torch import Tensor, nn

if TYPE_CHECKING:
    from transformers import ResNetConfig

DEPTHS = {  # blocks of the four stages
    "resnet18": (2, 2, 2, 2),
    "resnet34": (3, 4, 6, 3),
    "resnet50": (3, 4, 6, 3),
    "resnet101": (3, 4, 23, 3),
    "resnet152": (3, 8, 36, 3),
}
BASIC = ("resnet18", "resnet34")  # blocks of two 3x3 convolutions; the others have bottlenecks of three

_STEM = re.compile(r"(?P<part>conv|bn)1\.(?P<value>\w+)")
_BLOCK = re.compile(
    r"layer(?P<stage>[1-4])\.(?P<block>\d+)\.(?P<part>conv|bn)(?P<index>[1-3])\.(?P<value>\w+)"
)
_SHORTCUT = re.compile(r"layer(?P<stage>[1-4])\.(?P<block>\d+)\.downsample\.(?P<part>[01])\.(?P<value>\w+)")
_IN_BACKBONE = re.compile(r"(?P<prefix>.*\bbackbone\..*?)(?P<name>(?:conv1|bn1|layer\d)\..+)")
_PARTS = {"conv": "convolution", "0": "convolution", "bn": "normalization", "1": "normalization"}


def transformers_name(name: str) -> str:
    """Name in transformers' ResNet of what timm's ResNet calls `name`; ValueError when there is none.

    Both names count from the ResNet itself, without what a detector puts before them.
    """
    if found := _STEM.fullmatch(name):
        place = "embedder.embedder"
    elif found := _BLOCK.fullmatch(name):
        place = f"{_block(found)}.layer.{int(found['index']) - 1}"
    elif found := _SHORTCUT.fullmatch(name):
        place = f"{_block(found)}.shortcut"
    else:
        raise ValueError(f"{name!r} is not a weight of a plain ResNet (timm's resnet18 to resnet152)")
    return f"{place}.{_PARTS[found['part']]}.{found['value']}"


def _block(found: re.Match) -> str:
    return f"encoder.stages.{int(found['stage']) - 1}.layers.{found['block']}"


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


def resnet_config(name: str, channels: int = 3) -> ResNetConfig:
    """Configuration of transformers' ResNet for timm's `name`, giving the last stage's map to a detector."""
    from transformers import ResNetConfig

    if name not in DEPTHS:
        raise ValueError(
            f"the backbone {name!r} is not a plain ResNet; what can be opened: {', '.join(DEPTHS)}"
        )
    basic = name in BASIC
    return ResNetConfig(
        num_channels=channels,
        embedding_size=64,
        hidden_sizes=[64 * 2**i * (1 if basic else 4) for i in range(4)],
        depths=list(DEPTHS[name]),
        layer_type="basic" if basic else "bottleneck",
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
