"""Pictures about defect data sets: measured sets, classes against their nulls, generated steel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from jaxtyping import UInt8
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

from ...style import CYCLE, PALETTE, WIDTH
from ..correlation import macroscopic_correlation
from ..defects import DEFECTS, generate_defects
from ..table import BoxTable

NEUTRAL = PALETTE["grey"]
KINDS = {"industrial": PALETTE["vermilion"], "other": PALETTE["blue"]}
CLASSES = tuple(DEFECTS)
LABELS = {"industrial": "industrial sets", "other": "other sets"}
SURE = 0.05  # q-value below which a marker is filled


def sets_and_null(sets: pd.DataFrame):
    """Mean MC of data sets beside that of permuted boxes, and their difference with its interval.

    sets: columns name, kind ("industrial" or "other"), observed, null_mean, excess, low, high, one row a set,
    drawn from top to bottom. Returns (figure, data).
    """
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(WIDTH["page"], 0.34 * len(sets) + 1.1), sharey=True, layout="constrained"
    )
    y = np.arange(len(sets))[::-1]
    colors = [KINDS[kind] for kind in sets["kind"]]
    left.hlines(y, sets["null_mean"], sets["observed"], color=colors, linewidth=1.5)
    left.scatter(sets["null_mean"], y, facecolor="white", edgecolor=colors, zorder=3)
    left.scatter(sets["observed"], y, color=colors, zorder=3)
    left.axvline(0.5, color=NEUTRAL, linewidth=1, linestyle="--")
    left.set_yticks(y, sets["name"])
    left.set(xlabel="mean MC   ● observed   ○ boxes permuted", ylim=(-0.6, len(sets) - 0.4))
    _intervals(right, sets, y, colors, filled=np.ones(len(sets), bool))
    right.set_xlabel("excess (95 % interval)")
    for label, color in zip(left.get_yticklabels(), colors, strict=True):
        label.set_color(color)
    points = [left.scatter([], [], color=color, label=LABELS[kind]) for kind, color in KINDS.items()]
    figure.legend(handles=points, loc="outside upper left", ncols=2)
    return figure, sets


def size_and_mc(sets: pd.DataFrame, curve: pd.DataFrame):
    """Mean MC of data sets against their typical box size, over the curve of unrelated boxes.

    sets: columns name, kind, side (median sqrt(w h / (W H))) and observed; curve: columns side (of the same
    meaning) and mean, low, high of MC. Returns (figure, data), data the sets.
    """
    figure, axes = plt.subplots(figsize=(WIDTH["page"] * 0.75, 3.1), layout="constrained")
    axes.fill_between(curve["side"], curve["low"], curve["high"], color=NEUTRAL, alpha=0.15, linewidth=0)
    axes.plot(curve["side"], curve["mean"], color=NEUTRAL, label="unrelated boxes: mean, 5 to 95 %")
    for kind, part in sets.groupby("kind"):
        axes.plot(part["side"], part["observed"], "o", color=KINDS[kind], markersize=7, label=LABELS[kind])
    for row in sets.itertuples():
        place = {"xytext": (0, 7), "textcoords": "offset points", "ha": "center"}
        axes.annotate(row.name, (row.side, row.observed), fontsize=8, **place)
    ticks = [0.02, 0.05, 0.1, 0.2, 0.5]
    axes.set(xscale="log", xlabel="median side of a box (part of the picture's side)", ylabel="mean MC")
    axes.set_xticks(ticks, ticks)
    axes.minorticks_off()
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3)
    return figure, sets


def excess_by_group(panels: Mapping[str, pd.DataFrame], label: str, columns: int = 2):
    """Excess of MC with its interval for groups (classes, nulls); one panel a data set, one scale for all.

    panels: title -> frame with columns group, excess, low, high, and, where several series are to be
    compared, series; a column q_value (corrected for the number of groups) leaves markers open at 0.05 and
    above. label: of the horizontal axis. Returns (figure, data), data with the panel's title as a column.
    Raises ValueError where no panel has a group.
    """
    data = pd.concat([frame.assign(panel=title) for title, frame in panels.items()], ignore_index=True)
    if data.empty:
        named = ", ".join(filter(None, panels)) or "excess_by_group"
        raise ValueError(f"{named}: nothing to draw, since no group has an image with two usable boxes")
    if "series" not in data:
        data["series"] = ""
    series = list(dict.fromkeys(data["series"]))
    columns = min(columns, len(panels))
    lines = -(-len(panels) // columns)
    tallest = data.groupby("panel")["group"].nunique().max()
    height = lines * (0.24 * tallest * max(1, 0.55 * len(series)) + 0.5) + 0.5
    figure, axes = plt.subplots(
        lines, columns, squeeze=False, sharex=True, figsize=(WIDTH["page"], height), layout="constrained"
    )
    for axis, title in zip(axes.flat, panels, strict=False):
        _panel(axis, data[data["panel"] == title], series)
        axis.set_title(title)
    for axis in list(axes.flat)[len(panels) :]:
        axis.remove()
    for axis in axes[-1]:
        axis.set_xlabel(label)
    if len(series) > 1:
        handles, names = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside upper left", ncols=len(series))
    return figure, data


def _panel(axis, part: pd.DataFrame, series: Sequence[str]) -> None:
    groups = list(dict.fromkeys(part["group"]))
    markers = dict(zip(series, "osD^", strict=False))
    for k, (name, color) in enumerate(zip(series, CYCLE, strict=False)):
        rows = part[part["series"] == name]
        shift = ((len(series) - 1) / 2 - k) * 0.24
        y = np.array([len(groups) - 1 - groups.index(group) for group in rows["group"]]) + shift
        sure = rows["q_value"].to_numpy() < SURE if "q_value" in rows else np.ones(len(rows), bool)
        _intervals(axis, rows, y, [color] * len(rows), sure, markers[name], name)
    axis.set_yticks(np.arange(len(groups))[::-1], groups)
    axis.set_ylim(-0.6, len(groups) - 0.4)


def _intervals(axis, rows: pd.DataFrame, y, colors, filled, marker="o", label=None) -> None:
    """Estimates with their intervals around a zero line."""
    axis.axvline(0, color=NEUTRAL, linewidth=1)
    axis.hlines(y, rows["low"], rows["high"], color=colors, linewidth=1.8)
    faces = [color if sure else "white" for color, sure in zip(colors, filled, strict=True)]
    style = {"facecolor": faces, "edgecolor": colors, "marker": marker, "s": 28, "zorder": 3}
    axis.scatter(rows["excess"], y, label=label, **style)
    axis.grid(axis="y", visible=False)


def apart_curves(curves: pd.DataFrame):
    """MC of two unrelated boxes anywhere, and of two that do not overlap, against their size.

    curves: columns side, kind, mean, error (standard error). Returns (figure, data).
    """
    figure, axes = plt.subplots(figsize=(WIDTH["page"] * 0.7, 2.8), layout="constrained")
    for (kind, part), color, marker in zip(curves.groupby("kind", sort=False), CYCLE, "os", strict=False):
        axes.errorbar(part["side"], part["mean"], 2 * part["error"], color=color, marker=marker, label=kind)
    axes.axhline(0.5, color=NEUTRAL, linewidth=1, linestyle="--")
    axes.set(xlabel="typical side of a box (part of the picture's side)", ylabel="mean |ρ|")
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    return figure, curves


def contact_sheet(table: BoxTable, pictures: Sequence[UInt8[np.ndarray, "H W"]], each: int = 2):
    """Generated pictures with their boxes, one column a class; boxes have the colours of their own classes.

    table, pictures: of generate_defects, 6 * `each` or more. Returns (figure, data), data one row a box.
    """
    columns = len(CLASSES)
    height = each * WIDTH["page"] / columns + 0.55
    figure, axes = plt.subplots(
        each, columns, squeeze=False, figsize=(WIDTH["page"], height), layout="constrained"
    )
    for i, axis in enumerate(axes.flat):
        draw_picture(axis, table, pictures, i)
        if i < columns:
            axis.set_title(CLASSES[i], fontsize=8, color=CYCLE[i])
    title = "Generated pictures: drawn, not photographed"
    figure.suptitle(title, x=0.01, ha="left", fontsize=9, color=NEUTRAL)
    return figure, table.to_frame()[table.image < each * columns]


def draw_picture(axis, table: BoxTable, pictures, image: int) -> None:
    """One picture of a table with its boxes in the colours of their classes."""
    # shrinking by averaging; taking single pixels would make the steel look rougher than it is
    axis.imshow(pictures[image], cmap="gray", vmin=0, vmax=255, interpolation="antialiased")
    here = table.image == image
    for (x, y, w, h), category in zip(table.xywh[here], table.category[here], strict=True):
        color = CYCLE[(category - 1) % len(CYCLE)]
        frame = Rectangle((x, y), w, h, fill=False, edgecolor=color, linewidth=1.4)
        frame.set_path_effects([withStroke(linewidth=2.6, foreground="white")])
        axis.add_patch(frame)
    axis.set(xticks=[], yticks=[], xlim=(0, table.sizes[image, 0]), ylim=(table.sizes[image, 1], 0))
    axis.grid(False)


def layout_comparison(generated: BoxTable, measured: pd.DataFrame):
    """Boxes a picture and quantiles of width and height by class: generated boxes over NEU-DET's.

    generated: of generate_layout; measured: data/measured/neu_det_layout.csv, columns class, quantity (boxes,
    width, height; others are passed over), level (number of boxes, or that of the quantile) and value
    (pictures with so many boxes of the class, or a part of the picture's side). Returns (figure, data), data
    measured with shares instead of counts, and a column generated.
    """
    figure, axes = plt.subplots(
        3, len(CLASSES), figsize=(WIDTH["page"], 4.4), sharey="row", layout="constrained"
    )
    rows = []
    for category, (name, column) in enumerate(zip(CLASSES, axes.T, strict=True), start=1):
        own = generated.category == category
        part = generated.xywh[own, 2:] / generated.sizes[generated.image[own]]
        for quantity, axis in zip(("boxes", "width", "height"), column, strict=True):
            known = measured[(measured["class"] == name) & (measured["quantity"] == quantity)]
            level, value = known["level"].to_numpy(), known["value"].to_numpy()
            if quantity == "boxes":
                counts = np.bincount(np.bincount(generated.image[own]), minlength=10)
                drawn = counts[level.astype(int)] / counts[1:].sum()
                value = value / value.sum()
                axis.bar(level, value, color="0.75", width=0.85, label="NEU-DET, measured")
                axis.set(xticks=(1, 5, 9), xlim=(0.3, 9.7))
            else:
                drawn = np.quantile(part[:, ("width", "height").index(quantity)], level)
                axis.bar(level, value, color="0.75", width=0.12)
                axis.set(ylim=(0, 1.05), xticks=(0.05, 0.5, 0.95), xticklabels=("5 %", "50 %", "95 %"))
                axis.tick_params(axis="x", labelsize=7)
            axis.plot(level, drawn, "o", color=CYCLE[1], markersize=3.5, label="generated")
            axis.grid(axis="x", visible=False)
            rows += [(name, quantity, *row) for row in zip(level, value, drawn, strict=True)]
        column[0].set_title(name, fontsize=7.5)
    labels = ("share of pictures\n(by boxes in them)", "width quantiles\n(part of side)")
    labels = (*labels, labels[1].replace("width", "height"))
    for axis, label in zip(axes[:, 0], labels, strict=True):
        axis.set_ylabel(label, fontsize=8)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper left", ncols=2)
    return figure, pd.DataFrame(rows, columns=["class", "quantity", "level", "measured", "generated"])


def generated_picture(name: str, seed: int, many: BoxTable):
    """One generated picture of a class with its boxes, and where its MC lies among generated pictures of it.

    name: one of the classes; seed: of the picture; many: generated boxes to compare with, of generate_layout.
    Returns (figure, data), data one MC for each picture of `many` of that class with two or more boxes.
    """
    if name not in CLASSES:
        raise ValueError(f"generated_picture: name must be one of {', '.join(CLASSES)}, not {name!r}")
    kind = CLASSES.index(name)
    table, pictures = generate_defects(len(CLASSES), seed)
    mc = macroscopic_correlation(table, report={})[kind]
    others = macroscopic_correlation(many, report={})[kind :: len(CLASSES)]
    others = others[np.isfinite(others)]
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(WIDTH["page"], 2.7), width_ratios=(1, 1.7), layout="constrained"
    )
    draw_picture(left, table, pictures, kind)
    left.set_title(f"generated, {name}", fontsize="medium")
    right.hist(others, bins=np.linspace(0, 1, 26), color=CYCLE[kind], alpha=0.6)
    single = "a single box: no MC" if np.isnan(mc) else f"this picture: MC = {mc:.2f}"
    if np.isfinite(mc):
        right.axvline(mc, color="black", linewidth=2)
    right.set_title(f"{single}; mean of the class {others.mean():.2f}", fontsize="medium")
    right.set(xlabel="MC", ylabel=f"generated pictures of {len(others)}", xlim=(0, 1))
    return figure, pd.DataFrame({"class": name, "mc": others})
