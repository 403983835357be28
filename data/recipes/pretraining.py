"""A backbone that can tell digits apart before any detector starts from it.

The papers start from a ResNet that learnt the classes of ImageNet. There is nothing like it for the small
images here, and without it a small detector needs most of its training to learn to classify. In its place the
backbone first learns the class of digits whose ground-truth boxes are given: its features, averaged over the
box, go through one linear layer. It learns nothing about where digits are, and not from the scenes of any
detector; validation digits stay unseen. All kinds of detector start from the same weights.

Axes: B images, N boxes of the whole batch, C channels, h x w cells, S pixels a side.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

from marginalia import training
from marginalia.detection.encoder import Backbone, standardise
from marginalia.detection.matching import Targets, gather_targets
from marginalia.detection.scenes import make_scenes
from runs import BACKBONES, VALIDATION, Pretraining

IN_CHANNELS, CLASSES = 1, 10  # of the scenes
ABOUT = (
    "the backbone learns the class of digits in given boxes, on generated scenes;\n"
    f"val_loss and val_accuracy are of {VALIDATION} scenes with other digits."
)


def box_features(
    features: Float[Tensor, "B C h w"], boxes: Float[Tensor, "N 4"], image: Int[Tensor, " N"]
) -> Float[Tensor, "N C"]:
    """Means of features over boxes (cxcywh in [0, 1]); `image` is the index, 0 to B - 1, of each box's image.

    A cell counts by that part of it which is inside, so a box smaller than a cell has a mean too.
    """
    h, w = features.shape[-2:]
    (cx, cy, width, height) = boxes.unbind(-1)
    rows, columns = _inside(cy, height, h), _inside(cx, width, w)
    return torch.einsum("nchw,nh,nw->nc", features[image], rows, columns)


def _inside(centre: Float[Tensor, " N"], length: Float[Tensor, " N"], cells: int) -> Float[Tensor, "N cells"]:
    """Parts of intervals that lie in each of the equal cells of [0, 1]; they add up to 1."""
    edges = torch.linspace(0, 1, cells + 1, dtype=centre.dtype)
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


def parts(
    run: Pretraining, model: DigitClassifier
) -> tuple[training.Step, training.Batches, training.Evaluate]:
    """What `training.fit` needs beside the classifier of a run: step, batches and evaluate.

    Cross-entropy is descended; it and the accuracy are measured on the validation scenes of the detectors.
    """

    def score(pixels: Tensor, targets: Targets) -> tuple[Float[Tensor, ""], float]:
        logits = model(pixels, targets.boxes, targets.image)
        accuracy = (logits.argmax(1) == targets.labels).float().mean().item()
        return F.cross_entropy(logits, targets.labels), accuracy

    def scenes(count: int, split: str, seed: int, first: int = 0) -> tuple[Tensor, Targets]:
        made = make_scenes(count, split=split, seed=seed, side=run.side, first=first)
        return torch.from_numpy(made.pixels), gather_targets(made.boxes, made.labels)

    def step(batch: tuple[Tensor, Targets]):
        loss, accuracy = score(*batch)
        return loss, {"accuracy": accuracy}

    def batches(index: int) -> tuple[Tensor, Targets]:
        return scenes(run.batch, "train", run.options.seed, index * run.batch)

    validation = scenes(VALIDATION, "val", 0)

    def evaluate(steps: int) -> dict[str, float]:
        loss, accuracy = score(*validation)
        return {"val_loss": loss.item(), "val_accuracy": accuracy}

    return step, batches, evaluate


def backbone_weights(name: str) -> dict[str, Tensor]:
    """Weights of a pretrained backbone, as `Detector.backbone.load_state_dict` takes them.

    FileNotFoundError, with what to do, when it was not trained yet.
    """
    run = BACKBONES[name]
    if not run.weights.is_file():
        raise FileNotFoundError(f"no {run.weights}: `python data/recipes/train.py {name}` makes it")
    weights, _ = training.load(run.weights)
    prefix = "backbone."
    return {key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)}
