"""RipsNet: a network that predicts the persistence image of a point cloud, and what it has to beat.

    R(X) = sigmoid(phi_2(op_i phi_1(x_i))),  op = mean or sum over the points: a DeepSets network

RipsNet (PMLR v196, de Surrel et al.) and the variant of TopKD (ICML 2024), which compares teacher and
student by it.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from sklearn.ensemble import RandomForestRegressor
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from marginalia import training

from .features import UNREADABLE

# phi_1 of TopKD by the width of the features
TOPKD_INNER = {d: (d, d // 2, d // 2) for d in (32, 64, 128, 256, 512)}
TOPKD_INNER |= {16: (16, 16, 16), 1024: (512, 256, 256), 2048: (1024, 512, 256)}


def hidden_layers(widths: Sequence[int], bias: bool = True) -> nn.Sequential:
    """Linear layers of these widths, the first being that of the input, with a ReLU after each."""
    pairs = itertools.pairwise(widths)
    return nn.Sequential(*(part for pair in pairs for part in (nn.Linear(*pair, bias=bias), nn.ReLU())))


class RipsNet(nn.Module):
    """DeepSets regressor from clouds (*B, N, D) to images (*B, pixels) in [0, 1].

    dimensions: D. inner: widths of phi_1; phi_2 has 50, 100, 200 before the pixels. pooling: over the points.
    outer_bias: whether phi_2 has biases. The defaults are RipsNet's own; TopKD's are `RipsNet.topkd`. Mean
    pooling does not see whether a cloud is repeated; sum pooling does, and wants clouds of the size it was
    fitted on.
    """

    def __init__(
        self,
        dimensions: int,
        pixels: int,
        inner: Sequence[int] = (30, 20, 10),
        pooling: Literal["mean", "sum"] = "sum",
        outer_bias: bool = True,
    ) -> None:
        if pooling not in ("mean", "sum"):
            raise ValueError(f"RipsNet: pooling is 'mean' or 'sum', not {pooling!r}")
        super().__init__()
        self.pooling = pooling
        self.phi_1 = hidden_layers((dimensions, *inner))
        self.phi_2 = hidden_layers((inner[-1], 50, 100, 200), outer_bias)
        self.phi_2.append(nn.Linear(200, pixels, bias=outer_bias))

    @classmethod
    def topkd(cls, dimensions: int, pooling: Literal["mean", "sum"] = "mean") -> Self:
        """TopKD's network for features of this width (16 to 2,048, powers of 2) and 20 x 20 images."""
        if dimensions not in TOPKD_INNER:
            raise ValueError(f"RipsNet.topkd: widths are {sorted(TOPKD_INNER)}, not {dimensions}")
        return cls(dimensions, 400, TOPKD_INNER[dimensions], pooling=pooling, outer_bias=False)

    def forward(self, points: Float[Tensor, "*B N D"]) -> Float[Tensor, "*B pixels"]:
        features = self.phi_1(points)  # (*B, N, inner)
        pooled = features.mean(-2) if self.pooling == "mean" else features.sum(-2)  # (*B, inner)
        return self.phi_2(pooled).sigmoid()  # (*B, pixels)


def load_ripsnet(path: str | Path, pooling: Literal["mean", "sum"]) -> RipsNet:
    """A RipsNet that TopKD's authors trained, from their `.pth`: (B, N, D) -> (B, 400).

    pooling is not in the file, but in its name: mean for resnet56, sum for wrn_40_2. Only tensors are read
    from the file (weights_only), no code in it runs. Bandwidth, ranges and scale of the images are not in it
    either, so that its values cannot be compared with exact images. Raises FileNotFoundError, and ValueError
    where the file is something else.
    """
    try:
        weights = dict(torch.load(path, map_location="cpu", weights_only=True)["model"])
        net = RipsNet.topkd(weights["layer1.linear.weight"].shape[1], pooling)
        # sorted by name, their layers 1 to 7 stand in the order of phi_1 and phi_2
        names = zip(sorted(net.state_dict()), sorted(weights), strict=True)
        net.load_state_dict({ours: weights[theirs] for ours, theirs in names})
    except UNREADABLE as error:
        form = "a RipsNet of TopKD (a dict with 'model', of layer1 to layer7)"
        raise ValueError(f"{path} is not {form}: {type(error).__name__}") from error
    return net.eval()


@dataclass(frozen=True)
class RipsNetFit:
    """A fitted network, a row of history an evaluation, and errors on the clouds that were held out."""

    net: RipsNet
    history: pd.DataFrame  # step, loss, and mse, that of the network on the held-out clouds
    mse_mean_image: float  # of the mean image of the fitted clouds, the same for every cloud
    mse_size: float  # of a random forest on `size_features`, which knows no topology

    @property
    def mse(self) -> float:
        """Of the network, after the last step."""
        return self.history["mse"].iloc[-1]

    @property
    def r2(self) -> float:
        """Part of the variance of the held-out images that the network explains."""
        return 1 - self.mse / self.mse_mean_image


def fit_ripsnet(
    net: RipsNet,
    clouds: Float[np.ndarray, "K N D"],
    images: Float[np.ndarray, "K pixels"],
    steps: int = 3000,
    lr: float = 2e-3,
    seed: int = 0,
) -> RipsNetFit:
    """Fit a RipsNet to exact images in [0, 1] of three quarters of the clouds; the last quarter measures it.

    Two controls are measured beside the network: the mean image, and a random forest that is given the
    `size_features` of a cloud alone. A network that is no better than these has not learned topology.
    AdamW and a fixed number of steps, so that nothing is selected on the held-out clouds (the authors:
    Adamax, early stopping). Raises ValueError for shapes that do not match and images outside [0, 1].
    """
    clouds, images = np.asarray(clouds, np.float32), np.asarray(images, np.float32)
    needed = len(clouds), net.phi_2[-1].out_features
    if clouds.ndim != 3 or images.shape != needed:
        raise ValueError(
            f"fit_ripsnet: clouds (K, N, D) need images {needed}, not {clouds.shape} and {images.shape}"
        )
    if not (images.min() >= 0 and images.max() <= 1):
        raise ValueError("fit_ripsnet: images must lie in [0, 1]: divide by the maximum of the fitted ones")
    x, y = torch.as_tensor(clouds), torch.from_numpy(images)
    fitted = 3 * len(x) // 4

    def loss(chosen: Tensor) -> tuple[Tensor, dict]:
        return mse_loss(net(x[chosen]), y[chosen]), {}

    def measured(_: int) -> dict[str, Tensor]:
        return {"mse": mse_loss(net(x[fitted:]), y[fitted:])}

    options = training.Options(steps, lr, weight_decay=0, clip=1, seed=seed, every=max(1, steps // 20))
    # `fit` seeds each step, so the batch of a step is always the same
    history = training.fit(net, loss, lambda _: torch.randint(fitted, (64,)), options, measured)
    forest = RandomForestRegressor(100, min_samples_leaf=3, random_state=seed, n_jobs=-1)
    sizes = size_features(x.numpy())
    by_size = forest.fit(sizes[:fitted], images[:fitted]).predict(sizes[fitted:])
    guesses = images[:fitted].mean(0), by_size
    errors = (float(np.square(guess - images[fitted:]).mean()) for guess in guesses)
    return RipsNetFit(net.eval(), pd.DataFrame(history), *errors)


def size_features(clouds: Float[np.ndarray, "K N D"]) -> Float[np.ndarray, "K 3D"]:
    """What a cloud shows without topology: extent and standard deviation by axis, and by principal axis.

    Six numbers for points in a plane. The input of a control: clouds of one to three circles, say, also
    differ in size, and what these numbers tell apart needs no topology.
    """
    centred = clouds - clouds.mean(1, keepdims=True)
    axes = np.linalg.eigvalsh(centred.mT @ centred / clouds.shape[1]).clip(0)  # (K, D) variances
    return np.concatenate([np.ptp(clouds, axis=1), clouds.std(1), np.sqrt(axes)], axis=1)
