"""Pictures that explain the correlation of boxes: profiles, layouts, the level of chance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.patches import Rectangle

from ...style import CYCLE, WIDTH
from ..correlation import macroscopic_correlation, pearson
from ..uniform import random_layout

NEUTRAL = "0.35"


def draw_boxes(axes, xywh: Float[np.ndarray, "N 4"], size: Sequence[float], labels=None, colors=None) -> None:
    """Draw boxes into `axes` with the picture's frame of `size` (W, H); the origin is the top left corner."""
    colors = colors or CYCLE
    for i, (x, y, w, h) in enumerate(np.asarray(xywh, float)):
        color = colors[i % len(colors)]
        axes.add_patch(Rectangle((x, y), w, h, facecolor=color, alpha=0.25))
        axes.add_patch(Rectangle((x, y), w, h, fill=False, edgecolor=color, linewidth=1.4))
        if labels is not None:
            axes.text(x + w / 2, y + h / 2, labels[i], ha="center", va="center", color=color, weight="bold")
    axes.set(xlim=(0, size[0]), ylim=(size[1], 0), xticks=[], yticks=[], aspect="equal")
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set(visible=True, color="0.6", linewidth=0.8)


def pair_profiles(pairs: Mapping[str, Float[np.ndarray, "2 4"]], size=(100, 100)):
    """Pairs of boxes, and below each the four numbers that Pearson's coefficient sees.

    pairs: title -> the two boxes (x, y, w, h) in pixels; size: (W, H) of the picture. Returns
    (figure, data), data with one row a box: pair, box, x, y, w, h, rho.
    """
    figure, axes = plt.subplots(
        2,
        len(pairs),
        figsize=(WIDTH["page"], 3.6),
        sharey="row",
        height_ratios=(1.2, 1),
        layout="constrained",
    )
    rows = []
    for column, (title, boxes) in zip(axes.T, pairs.items(), strict=True):
        boxes = np.asarray(boxes, float)
        rho = pearson(boxes)[0, 1]
        draw_boxes(column[0], boxes, size, labels="AB")
        column[0].set_title(f"{title}\nρ = {rho:+.2f}", fontsize="medium")
        for box, marker, color, name in zip(boxes, "os", CYCLE, "AB", strict=False):
            column[1].plot(list("xywh"), box, marker=marker, color=color, label=name)
            rows.append((title, name, *box, rho))
        column[1].grid(axis="x", visible=False)
    axes[1, 0].set_ylabel("value (pixels)")
    axes[1, 0].legend(loc="upper right", handlelength=1.2)
    return figure, pd.DataFrame(rows, columns=["pair", "box", *"xywh", "rho"])


def layouts(arrangements: Mapping[str, Float[np.ndarray, "N 4"]], size=(1, 1), columns: int = 4):
    """Several arrangements of boxes, each with its MC above it.

    Returns (figure, data), data one row an arrangement: arrangement, boxes, mc.
    """
    count = len(arrangements)
    columns = min(columns, count)
    lines = -(-count // columns)
    side = WIDTH["page"] / columns
    shape = {"squeeze": False, "figsize": (WIDTH["page"], lines * (side + 0.25)), "layout": "constrained"}
    figure, axes = plt.subplots(lines, columns, **shape)
    rows = []
    for panel, (title, boxes) in zip(axes.flat, arrangements.items(), strict=False):
        rho = np.abs(pearson(boxes))
        n = len(rho)
        mc = (rho.sum() - n) / (n * (n - 1))
        draw_boxes(panel, boxes, size, colors=[CYCLE[0]])
        panel.set_title(f"{title}\nMC = {mc:.3f}", fontsize="medium")
        rows.append((title, n, mc))
    for panel in list(axes.flat)[count:]:
        panel.remove()
    return figure, pd.DataFrame(rows, columns=["arrangement", "boxes", "mc"])


def chance_level(samples: Mapping[int, Float[np.ndarray, " R"]], theory: Mapping[int, float]):
    """Correlation of unrelated vectors: its density for n numbers, and its mean size against n.

    samples: n -> correlations of pairs of independent random vectors; theory: n -> expected |ρ|.
    Returns (figure, data): n, simulated and theoretical mean of |ρ|.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(WIDTH["page"], 2.9), layout="constrained")
    edges = np.linspace(-1, 1, 41)
    for color, n in zip(CYCLE, [n for n in (3, 4, 8, 64) if n in samples], strict=False):
        width = 2.4 if n == 4 else 1.2
        density, _ = np.histogram(samples[n], edges, density=True)
        left.stairs(density, edges, color=color, linewidth=width, label=f"{n} numbers")
    left.set(xlabel="ρ of two unrelated vectors", ylabel="density", xlim=(-1, 1), ylim=(0, 2.2))
    left.set_xticks([-1, -0.5, 0, 0.5, 1])
    left.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)
    n = np.array(sorted(theory))
    means = np.array([np.abs(samples[k]).mean() for k in n])
    right.plot(n, [theory[k] for k in n], color=NEUTRAL, label="closed form")
    right.plot(n, means, "o", color=CYCLE[1], label="simulated")
    right.annotate("a box: 4 numbers", (4, 0.5), (9, 0.56), arrowprops={"arrowstyle": "->", "color": NEUTRAL})
    right.set(xscale="log", xticks=n, xticklabels=n, xlabel="numbers in a vector, n", ylabel="mean of |ρ|")
    right.minorticks_off()
    right.set_ylim(0, 0.7)
    right.legend()
    return figure, pd.DataFrame({"n": n, "simulated": means, "theory": [theory[k] for k in n]})


def size_curves(curves: pd.DataFrame, limit: float):
    """Mean MC of unrelated boxes against their size, one curve for each way to write a box down.

    curves: columns side, coordinates, mean, low, high (5 to 95 % of images); limit: MC of points.
    Returns (figure, data).
    """
    figure, axes = plt.subplots(figsize=(WIDTH["page"] * 0.72, 3.1), layout="constrained")
    markers = {"xywh": "o", "cxcywh": "s", "xyxy": "^"}
    names = {"xywh": "top left corner, w, h", "cxcywh": "centre, w, h", "xyxy": "two corners"}
    for color, (box_format, curve) in zip(CYCLE, curves.groupby("box_format", sort=False), strict=False):
        axes.plot(
            curve["side"], curve["mean"], color=color, marker=markers[box_format], label=names[box_format]
        )
        if box_format == "xywh":
            axes.fill_between(
                curve["side"], curve["low"], curve["high"], color=color, alpha=0.15, linewidth=0
            )
    axes.axhline(0.5, color=NEUTRAL, linewidth=1, linestyle="--")
    axes.text(0.00105, 0.505, "four unrelated numbers: 0.5", fontsize="small", color=NEUTRAL, va="bottom")
    axes.axhline(limit, color=NEUTRAL, linewidth=1, linestyle=":")
    axes.text(
        1, limit + 0.005, f"points: {limit:.2f}", fontsize="small", color=NEUTRAL, va="bottom", ha="right"
    )
    axes.set(
        xscale="log", xlabel="largest side s (share of the picture's side)", ylabel="MC of unrelated boxes"
    )
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(0, 1),
        ncols=3,
        title="mean; band: 5 to 95 % of pictures, top left corner",
    )
    return figure, curves


def count_funnel(bands: pd.DataFrame, marks: pd.DataFrame | None = None):
    """Spread of MC under independence against the number of boxes, with the bound that geometry sets.

    bands: columns boxes, mean, low, high, bound; marks: columns label, boxes, mc of arrangements to show.
    Returns (figure, data).
    """
    figure, axes = plt.subplots(figsize=(WIDTH["page"] * 0.72, 3.1), layout="constrained")
    axes.fill_between(bands["boxes"], bands["low"], bands["high"], color=CYCLE[0], alpha=0.2, linewidth=0)
    axes.plot(bands["boxes"], bands["mean"], color=CYCLE[0], label="unrelated numbers: mean, 5 to 95 %")
    axes.plot(bands["boxes"], bands["bound"], color=NEUTRAL, linestyle="--", label="no MC below this line")
    if marks is not None:
        axes.plot(marks["boxes"], marks["mc"], "D", color=CYCLE[1], markersize=5)
        for _, row in marks.iterrows():
            axes.annotate(row["label"], (row["boxes"], row["mc"]), xytext=(6, 4), textcoords="offset points")
    axes.set(xscale="log", xlabel="boxes in the image, N", ylabel="MC", ylim=(0, 1))
    ticks = [2, 3, 5, 10, 20, 50, 100]
    axes.set_xticks(ticks, ticks)
    axes.minorticks_off()
    axes.legend(loc="lower right")
    return figure, bands


def mc_of_unrelated(count: int, side: float, box_format: str = "xywh", pictures: int = 400, seed: int = 0):
    """How MC is spread over pictures whose boxes are independent.

    count: boxes in each picture; side: largest side as a share of the picture; pictures: how many to draw.
    Returns (figure, data), data one MC a picture.
    """
    table = random_layout(count, side, pictures, seed)
    values = macroscopic_correlation(table, box_format=box_format)
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(WIDTH["page"], 2.6), width_ratios=(1, 2.4), layout="constrained"
    )
    draw_boxes(left, table.xywh[table.image == 0], table.sizes[0], colors=[CYCLE[0]])
    left.set_title("one of the pictures", fontsize="medium")
    right.hist(values, bins=np.linspace(0, 1, 41), color=CYCLE[0], alpha=0.6)
    low, high = np.quantile(values, [0.05, 0.95])
    right.axvspan(low, high, color=CYCLE[0], alpha=0.12, linewidth=0)
    right.axvline(values.mean(), color=CYCLE[1], linewidth=2)
    right.set_title(
        f"mean {values.mean():.2f}, 90 % of pictures in {low:.2f} to {high:.2f}", fontsize="medium"
    )
    right.set(xlabel=f"MC ({box_format})", ylabel=f"pictures of {pictures}", xlim=(0, 1))
    return figure, pd.DataFrame({"picture": np.arange(pictures), "mc": values})
