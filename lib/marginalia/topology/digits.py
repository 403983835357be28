"""Handwritten digits and a teacher that knows them: small enough to train while one looks on."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from marginalia import training

TEACHER, FEATURES = (64, 256, 64), "3"  # widths before the ten classes; the layer that gives the features


class Images(NamedTuple):
    """Images of 8 x 8 pixels in [0, 1], a row each, and which digits they show."""

    x: Float[Tensor, "N 64"]
    y: Int[Tensor, " N"]

    def batches(self, size: int) -> Callable[[int], tuple[Tensor, Tensor]]:
        """A random batch a step, without repetition in it; `training.fit` seeds each step."""

        def batch(step: int) -> tuple[Tensor, Tensor]:
            chosen = torch.randperm(len(self.x))[:size]
            return self.x[chosen], self.y[chosen]

        return batch

    def accuracy(self, model: nn.Module) -> float:
        """Part of the images that a model classifies rightly."""
        return (model(self.x).argmax(1) == self.y).float().mean().item()


def digits(labelled: int = 1200, seed: int = 0) -> tuple[Images, Images]:
    """Training and test images of scikit-learn's digits, 1,200 and 597, always split in the same way.

    labelled: of the training images so many are given, chosen by the seed, each digit equally often.
    """
    x, y = load_digits(return_X_y=True)
    x, y = torch.from_numpy(x / 16).float(), torch.from_numpy(y)
    train, test = train_test_split(range(len(y)), train_size=1200, stratify=y, random_state=0)
    if labelled < len(train):
        train, _ = train_test_split(train, train_size=labelled, stratify=y[train], random_state=seed)
    return Images(x[train], y[train]), Images(x[test], y[test])


def classifier(*widths: int) -> nn.Sequential:
    """Linear layers with ReLU of these widths, then logits of ten classes."""
    pairs = itertools.pairwise(widths)
    layers = [part for pair in pairs for part in (nn.Linear(*pair), nn.ReLU())]
    return nn.Sequential(*layers, nn.Linear(widths[-1], 10))


def train_teacher(
    seed: int = 0, steps: int = 800, evaluate: Callable[[nn.Module, int], training.Row] | None = None
) -> tuple[nn.Sequential, list[training.Row]]:
    """A classifier of TEACHER widths trained on all training images, in a second; and the rows of `fit`.

    evaluate(model, steps made) is called after each eighth of the steps; what it returns goes to the rows.
    """
    torch.manual_seed(seed)
    model, (train, _) = classifier(*TEACHER), digits()

    def step(batch: tuple[Tensor, Tensor]) -> tuple[Tensor, dict[str, float]]:
        return cross_entropy(model(batch[0]), batch[1]), {}

    options = training.Options(steps, lr=2e-3, clip=10, seed=seed, every=steps // 8)
    measure = evaluate and (lambda made: evaluate(model, made))
    rows = training.fit(model, step, train.batches(64), options, measure)
    return model.eval(), rows
