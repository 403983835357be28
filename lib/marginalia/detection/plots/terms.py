"""What logits are the sum of: on a grid small enough for numbers, and in the heads of a trained model."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float
from matplotlib.patches import Rectangle
from torch import Tensor

from ...style import CYCLE, DIVERGING, PALETTE, WIDTH
from .kernels import Point, cells_frame, show_map, softmax_map

BAND = torch.tensor([0.05, 0.5, 0.95])
MEASURES = {"shift": "error of a shifted map", "row sums": "weight that changes rows"}  # of `inside`
LIMIT = 6  # of the colours of small logits: one scale for all figures that are to be compared


def _numbers(axes, values: Float[Tensor, "h w"], most: float, light: bool) -> None:
    """Write every number into its cell; `light`: large values are light, as in a sequential map."""
    h, w = values.shape
    for i, j in np.ndindex(h, w):
        dark = abs(float(values[i, j])) > 0.55 * most
        color = "black" if dark == light else "white"
        number = f"{float(values[i, j]):.0f}"
        where = {"ha": "center", "va": "center", "fontsize": 7.5, "color": color}
        axes.text((j + 0.5) / w, (i + 0.5) / h, "0" if number == "-0" else number, **where)


def sum_of_terms(
    terms: Mapping[str, Float[Tensor, "h w"]], scale: float, target: tuple[int, int], most: float = 0.4
):
    """Logits as a sum of terms on a small grid, every number written out, and the attention they give.

    terms: formula -> unscaled part of the logits; scale: what their sum is multiplied by before the softmax;
    target: (row, column) of the cell that ought to win, framed; most: attention at the end of the colours.
    Returns (figure, data), data one row a cell.
    """
    total = sum(terms.values())
    attention = softmax_map(total * scale)
    count = len(terms) + 2
    figure, axes = plt.subplots(1, count, figsize=(WIDTH["page"], 6.4 / count + 0.35), layout="constrained")
    logits = {"cmap": DIVERGING, "vmin": -LIMIT, "vmax": LIMIT}
    panels = [(f"${name}$", term, logits) for name, term in terms.items()]
    panels += [("sum", total, logits), ("attention (%)", 100 * attention, {"vmax": 100 * most})]
    joints = ["+"] * (len(terms) - 1) + ["=", "→", ""]
    for panel, (name, values, options), joint in zip(axes, panels, joints, strict=True):
        show_map(panel, values, peak=False, **options)
        _numbers(panel, values, options["vmax"], light=options is not logits)
        h, w = values.shape
        frame = {"fill": False, "edgecolor": PALETTE["orange"], "linewidth": 2, "clip_on": False}
        panel.add_patch(Rectangle((target[1] / w, target[0] / h), 1 / w, 1 / h, zorder=3, **frame))
        panel.set_title(name, fontsize=8.5, loc="center")
        panel.text(1.1, 0.5, joint, ha="center", va="center", fontsize=11, transform=panel.transAxes)
    return figure, cells_frame(**terms, sum=total, attention=attention)


def product_of_maps(
    content: Float[Tensor, "h w"],
    spatial: Float[Tensor, "h w"],
    combined: Float[Tensor, "h w"],
    most: float = 0.4,
):
    """Content map, spatial map and their normalised product side by side, in per cent.

    most: attention at the end of the colours. Returns (figure, data), data one row a cell.
    """
    figure, axes = plt.subplots(1, 3, figsize=(WIDTH["page"] * 0.72, 1.95), layout="constrained")
    maps = {"content map": content, "spatial map": spatial, "combined map": combined}
    for panel, (name, values), joint in zip(axes, maps.items(), ("×", "∝", ""), strict=True):
        show_map(panel, 100 * values, peak=False, vmax=100 * most)
        _numbers(panel, 100 * values, 100 * most, light=True)
        panel.set_title(f"{name} (%)", loc="center")
        panel.text(1.1, 0.5, joint, ha="center", va="center", fontsize=13, transform=panel.transAxes)
    return figure, cells_frame(content=content, spatial=spatial, combined=combined)


def term_sizes(terms: Mapping[str, Float[Tensor, "#B H Q K"]], found: Bool[Tensor, "B Q"]):
    """How much each term of the logits varies over the cells, its standard deviation.

    terms: formula -> part of the scaled logits; found: the queries that count. Bars are medians over these
    queries and all heads, lines go from 5 to 95 %. Returns (figure, data), data one row a term: term, low,
    median, high.
    """
    rows = []
    for name, logits in terms.items():
        size = logits.std(-1).expand(len(found), -1, -1).transpose(1, 2)[found]  # (found, H)
        rows.append((name, *size.flatten().quantile(BAND).tolist()))
    data = pd.DataFrame(rows, columns=["term", "low", "median", "high"])
    figure, axes = plt.subplots(figsize=(WIDTH["page"] * 0.72, 2.2), layout="constrained")
    axes.barh(data.index, data["median"], color=CYCLE[0], height=0.62)
    axes.hlines(data.index, data["low"], data["high"], color="0.2", linewidth=1.4)
    axes.set_yticks(data.index, [f"${name}$" for name in data["term"]], fontsize=9)
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.set(xlabel="standard deviation over the cells (scaled logits)", xlim=(0, None))
    return figure, data


def trained_kernels(
    maps: Float[Tensor, "H h w"],
    point: Point,
    measured: Mapping[int, tuple[Mapping[str, Tensor], Tensor]],
    found: Bool[Tensor, "B Q"],
):
    """Spatial maps of one query in every head, and how far heads depart from the unprojected kernel.

    maps: sum to 1 each; point: the query's reference; measured: layer (from 0) -> what
    `inside.kernel_departures` says of it; found: the queries that count. Dots are medians over the queries,
    lines go from 5 to 95 %. Returns (figure, data): measure, layer, head, queries, low, median, high.
    """
    data = _departures(measured, found)
    figure = plt.figure(figsize=(WIDTH["page"], 3.7), layout="constrained")
    top, bottom = figure.subfigures(2, 1, height_ratios=(1, 1.5))
    for panel, (head, values) in zip(top.subplots(1, len(maps)), enumerate(maps), strict=True):
        show_map(panel, values, point)
        panel.set_title(f"head {head}", loc="center")
    layers = sorted(measured)
    for panel, measure in zip(bottom.subplots(1, len(MEASURES)), MEASURES, strict=True):
        for color, (place, layer) in zip(CYCLE, enumerate(layers), strict=False):
            one = data[(data["measure"] == measure) & (data["layer"] == layer)]
            spread = one["median"] - one["low"], one["high"] - one["median"]
            x = one["head"] + 0.22 * (place - (len(layers) - 1) / 2)
            panel.errorbar(x, one["median"], spread, fmt="o", color=color, label=f"layer {layer}")
        panel.set(xlabel="head", title=MEASURES[measure], ylim=(0, None), xticks=one["head"])
        panel.grid(axis="x", visible=False)
    bottom.legend(*panel.get_legend_handles_labels(), loc="outside upper center", ncols=len(layers))
    return figure, data


def _departures(measured: Mapping[int, tuple[Mapping[str, Tensor], Tensor]], found: Tensor) -> pd.DataFrame:
    """A row for each measure, layer and head."""
    rows = []
    for layer, (measures, room) in measured.items():
        kept = found & room
        for measure, values in measures.items():
            bands = values.transpose(1, 2)[kept].quantile(BAND, dim=0).T  # (H, 3)
            rows += [(measure, layer, h, int(kept.sum()), *band.tolist()) for h, band in enumerate(bands)]
    return pd.DataFrame(rows, columns=["measure", "layer", "head", "queries", "low", "median", "high"])
