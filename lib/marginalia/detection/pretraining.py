"""A backbone that can tell digits apart before any detector starts from it.

The papers start from a ResNet that learnt the classes of ImageNet. There is nothing like it for the small
pictures here, and without it a small detector needs most of its training to learn to read. In its place the
backbone first learns the class of digits whose true boxes are given: its features, averaged over the box, go
through one linear layer. It learns nothing about where digits are, and not from the scenes of any detector;
validation digits stay unseen. All kinds of detector start from the same weights.

Axes: B pictures, N boxes of the whole batch, C channels, h x w cells, S pixels a side.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

from .. import training
from .encoder import Backbone, standardise
from .matching import Targets, gather_targets
from .runs import BACKBONES, VALIDATION, Pretraining, settings_line
from .scenes import make_scenes

IN_CHANNELS, CLASSES = 1, 10  # of the scenes


def box_features(
    features: Float[Tensor, "B C h w"], boxes: Float[Tensor, "N 4"], image: Int[Tensor, " N"]
) -> Float[Tensor, "N C"]:
    """Means of features over boxes (cxcywh in [0, 1]); `image` is the picture, 0 to B - 1, of each box.

    A cell counts by that part of it which is inside, so a box smaller than a cell has a mean too.
    """
    h, w = features.shape[-2:]
    (cx, cy, width, height) = boxes.unbind(-1)
    rows, columns = _inside(cy, height, h), _inside(cx, width, w)
    return torch.einsum("nchw,nh,nw->nc", features[image], rows, columns)


def _inside(centre: Float[Tensor, " N"], length: Float[Tensor, " N"], cells: int) -> Float[Tensor, "N cells"]:
    """Parts of intervals that lie in each of the equal cells of [0, 1]; they add up to 1."""
    edges = torch.linspace(0, 1, cells + 1, dtype=centre.dtype, device=centre.device)
    low, high = (centre - length / 2)[:, None], (centre + length / 2)[:, None]
    shared = (torch.minimum(high, edges[1:]) - torch.maximum(low, edges[:-1])).clamp(min=0)
    return shared / shared.sum(dim=1, keepdim=True)


class DigitClassifier(nn.Module):
    """A backbone and one linear layer: the class of things whose boxes are known."""

    def __init__(self, backbone: Backbone, width: int):
        super().__init__()
        self.backbone, self.head = backbone, nn.Linear(width, CLASSES)

    def forward(
        self, pixels: UInt8[Tensor, "B 1 S S"], boxes: Float[Tensor, "N 4"], image: Int[Tensor, " N"]
    ) -> Float[Tensor, "N 10"]:
        return self.head(box_features(self.backbone(standardise(pixels)), boxes, image))


def build_classifier(run: Pretraining) -> DigitClassifier:
    """The classifier of a run with its seeded initial weights; torch's own generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(run.options.seed)
        return DigitClassifier(Backbone(IN_CHANNELS, run.width, run.stride), run.width)


def pretrain(run: Pretraining, device: str = "auto") -> None:
    """Train a backbone, or go on with it where it was broken off; leaves rows, weights and their card."""
    torch.set_num_threads(1)
    place = training.choose_device(device)
    model = build_classifier(run).to(place)

    def batches(index: int) -> tuple[Tensor, Targets]:
        first, seed = index * run.batch, run.options.seed
        return _batch(run.batch, "train", seed, run, place, first)

    def step(batch: tuple[Tensor, Targets]):
        loss, accuracy = _score(model, *batch)
        return loss, {"accuracy": accuracy}

    measure = validation(run, model, place)
    header = (
        f"{run.name}: the backbone learns the class of digits in given boxes, on generated scenes;\n"
        f"val_loss and val_accuracy are of {VALIDATION} scenes with other digits.\n"
        f"Written by: make train\n{settings_line(run)}"
    )
    state = run.folder / "checkpoint.pt"
    training.fit(model, step, batches, run.options, measure, run.table, header, state)
    with torch.no_grad():
        for tensor in model.state_dict().values():
            tensor.copy_(tensor.half())  # the card's metrics are of the weights as stored
        metrics = {name: round(value, 6) for name, value in measure(run.options.steps).items()}
    training.save(model, run.weights, {"run": run.name, **run.settings(), "metrics": metrics}, half=True)


def validation(
    run: Pretraining, model: DigitClassifier, device: torch.device
) -> Callable[[int], dict[str, float]]:
    """What is measured: cross-entropy and accuracy on the validation scenes of the detectors."""
    pixels, targets = _batch(VALIDATION, "val", 0, run, device)

    def measure(step: int) -> dict[str, float]:
        loss, accuracy = _score(model, pixels, targets)
        return {"val_loss": loss.item(), "val_accuracy": accuracy}

    return measure


def _batch(
    count: int, split: str, seed: int, run: Pretraining, device: torch.device, first: int = 0
) -> tuple[Tensor, Targets]:
    scenes = make_scenes(count, split=split, seed=seed, side=run.side, first=first)
    return torch.from_numpy(scenes.pixels).to(device), gather_targets(scenes.boxes, scenes.labels, device)


def _score(model: DigitClassifier, pixels: Tensor, targets: Targets) -> tuple[Float[Tensor, ""], float]:
    logits = model(pixels, targets.boxes, targets.image)
    right = (logits.argmax(1) == targets.labels).float().mean().item()
    return F.cross_entropy(logits, targets.labels), right


def backbone_weights(name: str) -> dict[str, Tensor]:
    """Weights of a pretrained backbone, as `Detector.backbone.load_state_dict` takes them.

    FileNotFoundError, with what to do, when it was not trained yet.
    """
    run = BACKBONES[name]
    if not run.weights.is_file():
        raise FileNotFoundError(f"no {run.weights}: `python -m marginalia train {name}` makes it")
    weights, _ = training.load(run.weights)
    prefix = "backbone."
    return {key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)}
