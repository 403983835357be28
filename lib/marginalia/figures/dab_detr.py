"""Figures of DAB-DETR (Liu et al., ICLR 2022)."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch

from marginalia.detection.attention import (
    cell_positions,
    modulate,
    positional_encoding,
    sine_frequencies,
    unprojected_logits,
)
from marginalia.plots import NEUTRAL, map_over, panels
from marginalia.style import CYCLE, WIDTH

MODEL_WIDTH, SCALE = 256, 1 / 8  # of the published models: 8 heads of D = 32, logits times 1 / sqrt(2 D)


def modulated_attention(
    anchors: Sequence[tuple[float, float]] = ((0.2, 0.2), (0.6, 0.2), (0.2, 0.6), (0.0667, 0.2)),
):
    """Figure 6: attention of one reference point for anchors of several sizes (w, h), before projections.

    The factors are w_ref / w on x and h_ref / h on y, where w_ref = h_ref = 0.2; a trained model predicts
    them for each query and layer. Returns (figure, data), data one row an anchor: w, h, factor_x, factor_y,
    std_x, std_y (standard deviation of the map, normalised to the side).
    """
    h, w, temperature, wished = 25, 34, 20.0, 0.2
    # the spatial query of each anchor, then its map with keys that are not projected either
    sizes = torch.tensor(anchors, dtype=torch.float64)  # (Q, 2)
    middle = positional_encoding(torch.full((1, 1, 2), 0.5, dtype=torch.float64), MODEL_WIDTH, temperature)
    query = modulate(middle, sizes[None], torch.full_like(sizes, wished)[None])[0]  # (Q, width)
    weights = (unprojected_logits(query, h, w, temperature) * SCALE).flatten(1).softmax(-1)  # (Q, K)

    # spread of each map about its mean
    cells = cell_positions(h, w, torch.float64)  # (K, 2)
    std = (weights @ cells**2 - (weights @ cells) ** 2).sqrt()  # (Q, 2)
    columns = ["w", "h", "factor_x", "factor_y", "std_x", "std_y"]
    data = pd.DataFrame(torch.cat((sizes, wished / sizes, std), dim=1).numpy(), columns=columns)

    figure, axes = panels(len(anchors), len(anchors), height=1.9)
    for panel, row, attention in zip(axes, data.itertuples(), weights, strict=True):
        box = (0.5, 0.5, row.w, row.h)
        map_over(panel, attention.unflatten(0, (h, w)), box=box, point=(0.5, 0.5), color="white")
        factors = f"x times {_ratio(row.factor_x)}, y times {_ratio(row.factor_y)}"
        panel.set_title(f"anchor {row.w:.2g} × {row.h:.2g}\n{factors}", fontsize=8)
        panel.set_xlabel(f"std x {row.std_x:.3f}, y {row.std_y:.3f}", fontsize=8)
    return figure, data


def _ratio(factor: float) -> str:
    return f"{factor:.2g}" if factor >= 1 else f"1/{1 / factor:.2g}"


def temperature_maps(temperatures: Sequence[float] = (1, 10, 20, 10000)):
    """Figure 7: attention of one reference point at several temperatures, and the kernel of one axis.

    Each temperature serves query and keys, neither is projected; S is the sum of squared frequencies. Returns
    (figure, {"maps", "kernel"}): one row a cell of 32 x 32, and one row a difference of coordinates, with a
    column a temperature.
    """
    point = torch.tensor([0.06, 0.4], dtype=torch.float64)  # near a border, so that a period shows
    delta = torch.linspace(0, 1, 101, dtype=torch.float64)
    row, column = np.indices((32, 32)).reshape(2, -1)
    maps, kernel = pd.DataFrame({"row": row, "column": column}), pd.DataFrame({"delta": delta.numpy()})
    figure = plt.figure(figsize=(WIDTH["page"], 4.4), layout="constrained")
    grid = figure.add_gridspec(2, len(temperatures), height_ratios=(1, 0.95))
    below = figure.add_subplot(grid[1, :])
    for k, temperature in enumerate(temperatures):
        query = positional_encoding(point, MODEL_WIDTH, temperature)
        weights = (unprojected_logits(query, 32, 32, temperature) * SCALE).flatten().softmax(0)
        omega = sine_frequencies(MODEL_WIDTH, temperature, torch.float64)  # (F,)
        name = f"temperature_{temperature:g}"
        maps[name] = weights.numpy()
        kernel[name] = (2 * torch.pi * delta[:, None] * omega).cos().sum(-1).numpy()

        panel = figure.add_subplot(grid[0, k])
        map_over(panel, weights.unflatten(0, (32, 32)), point=point)
        panel.set_title(f"temperature {temperature:g}\nS = {float((omega**2).sum()):.2f}", loc="center")
        below.plot("delta", name, data=kernel, color=CYCLE[k], label=f"temperature {temperature:g}")
    below.axhline(0, color=NEUTRAL, linewidth=0.8)
    below.set(xlim=(0, 1), xlabel="difference δ of one coordinate (image side = 1)", ylabel="Σ cos(2π ω δ)")
    below.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=len(temperatures))
    return figure, {"maps": maps, "kernel": kernel}
