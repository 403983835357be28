"""Handwritten digits and a teacher that knows them: small enough to train while one looks on."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from marginalia import training

from .features import collect_features
from .ripsnet import hidden_layers

TEACHER, FEATURES = (64, 256, 64), "3"  # widths before the ten classes; the layer that gives the features
CNN_FEATURES = "5"


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
    return hidden_layers(widths).append(nn.Linear(widths[-1], 10))


def small_cnn() -> nn.Sequential:
    """Two convolutions from rows of 64 pixels to logits; the module CNN_FEATURES gives (N, 16, 4, 4)."""
    convolutions = nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 16, 3, padding=1)
    pooled = nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    return nn.Sequential(nn.Unflatten(1, (1, 8, 8)), *convolutions, *pooled, nn.Linear(16, 10))


def cloud_batches(
    teacher: nn.Module, count: int, size: int = 64, seed: int = 0, varied: bool = True
) -> Float[Tensor, "K N D"]:
    """Features of `count` batches of `size` different training images each: clouds to fit a RipsNet to.

    Batches that are drawn alike have nearly the same diagram. varied: each batch has a mix of digits of its
    own, from a few of them to all, and pixel noise of its own (standard deviation 0 to 0.5).
    """
    train, _ = digits()
    rng = torch.Generator().manual_seed(seed)
    shares = np.random.default_rng(seed).dirichlet([0.5] * 10, count) if varied else np.ones((count, 10))
    weights = torch.from_numpy(shares).float()[:, train.y] + 1e-9  # (K, 1200): none is impossible
    x = train.x[torch.multinomial(weights, size, generator=rng)]  # (K, N, 64)
    if varied:
        x = x + 0.5 * torch.rand(count, 1, 1, generator=rng) * torch.randn(x.shape, generator=rng)
    return torch.stack(collect_features(teacher, x, FEATURES))


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
