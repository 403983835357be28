"""What heads watch, as numbers over many objects: places beside the box, over training, by temperature."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from ...style import CYCLE, PALETTE, WIDTH
from .. import runs
from ..heads import SIDES
from .attention import title_of
from .convergence import COLORS, NAMES

SHOWN = (
    "headline-conditional-0",
    "headline-dab-0",
    "headline-detr-focal-0",
    "headline-detr-0",
    f"{runs.LONG}-0",
)
SIDE_COLOURS = dict(zip(SIDES, (*CYCLE[:4], PALETTE["orange"], PALETTE["grey"]), strict=True))
REACH = 2.2  # half-boxes to each side of the middle that are drawn


def last_rows(names: Sequence[str]) -> pd.DataFrame:
    """The rows of `runs.head_histories` for spatial maps after each run's last step."""
    frame = runs.head_histories(names)
    return frame[
        (frame["map"] == "spatial") & (frame["step"] == frame.groupby("run")["step"].transform("max"))
    ]


def where_heads_look(names: Sequence[str] = SHOWN) -> tuple[Figure, pd.DataFrame]:
    """Every head's place beside the box: median offset of its peak and interquartile range on both axes.

    One panel a model; the box is the square from -1 to 1. The first layer's heads are pale. Heads beyond
    the panel, or with a range wider than it, are counted in its corner. Conditional DETR Figures 1 and 4 as
    numbers.
    """
    frame = last_rows(names)
    size = (WIDTH["page"], 1.2 + 0.92 * WIDTH["page"] / len(names))  # panels are square
    figure, panels = plt.subplots(1, len(names), figsize=size, sharex=True, sharey=True)
    panels = np.atleast_1d(panels)
    for panel, name in zip(panels, names, strict=True):
        rows = frame[frame["run"] == name]
        _box(panel)
        far = rows[
            (rows[["x", "y"]].abs() > REACH).any(axis=1) | (rows[["x_range", "y_range"]] > REACH).any(axis=1)
        ]
        for _, row in rows.drop(far.index).iterrows():
            colour, alpha = SIDE_COLOURS[row["side"]], 0.35 if row["layer"] == 0 else 1.0
            at = {"color": colour, "alpha": alpha, "lw": 1.1, "solid_capstyle": "round"}
            panel.plot([row["x"] - row["x_range"] / 2, row["x"] + row["x_range"] / 2], [row["y"]] * 2, **at)
            panel.plot([row["x"]] * 2, [row["y"] - row["y_range"] / 2, row["y"] + row["y_range"] / 2], **at)
            panel.plot(row["x"], row["y"], "o", ms=3.4, color=colour, alpha=alpha)
        panel.set_title(title_of(name), fontsize=7.5, loc="center")
        if len(far):
            panel.text(0.97, 0.03, f"{len(far)} off", transform=panel.transAxes, ha="right", fontsize=7)
        panel.set(xlabel="x [half-boxes]", box_aspect=1)
    panels[0].set(
        xlim=(-REACH, REACH), ylim=(REACH, -REACH), ylabel="y [half-boxes]", xticks=(-2, -1, 0, 1, 2)
    )
    panels[0].set_yticks((-2, -1, 0, 1, 2))
    handles = [Line2D([], [], color=SIDE_COLOURS[s], marker="o", ms=4, label=s) for s in SIDES]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(SIDES))
    return figure, frame.drop(columns=["base"]).round(4)


def _box(panel: Axes) -> None:
    panel.add_patch(Rectangle((-1, -1), 2, 2, fc="#F3F3F3", ec="#9A9A9A", lw=0.9, zorder=0))


def counts_by_side(frame: pd.DataFrame) -> pd.DataFrame:
    """Heads by what they watch, one row a run and step of `runs.head_histories`; columns as SIDES."""
    keys = ["base", "seed", "run", "step"]
    table = frame.pivot_table(index=keys, columns="side", values="head", aggfunc="count", fill_value=0)
    return table.reindex(columns=list(SIDES), fill_value=0).reset_index()


def heads_over_training() -> tuple[Figure, pd.DataFrame]:
    """How many of the heads after the first layer watch a side, and how wide their maps are, over training.

    A thin line a seed, a thick one their mean. From left to right: AP50; heads named left, right, top or
    bottom; heads that keep no place (roaming); median width of the maps, mean of both axes.
    """
    frame = runs.head_histories(["headline-*"])
    missing = frame.attrs["missing"]
    frame = frame[(frame["map"] == "spatial") & (frame["layer"] > 0) & (frame["side"] != "")]
    counts = counts_by_side(frame)
    counts["watching a side"] = counts[["left", "right", "top", "bottom"]].sum(axis=1)
    widths = frame.assign(width=frame[["x_width", "y_width"]].mean(axis=1))
    widths = widths.groupby(["base", "seed", "run", "step"])["width"].median().reset_index()
    table = counts.merge(widths, on=["base", "seed", "run", "step"])
    table = table.merge(runs.histories(["headline-*"])[["run", "step", "AP50"]], on=["run", "step"])
    table.insert(0, "kind", table["base"].str.removeprefix("headline-"))
    figure, panels = plt.subplots(1, 4, figsize=(WIDTH["page"], 2.4))
    shown = ("AP50", "watching a side", "roaming", "width")
    heads = int(frame.groupby(["run", "step"]).size().max())
    labels = ("AP50", f"watch a side, of {heads}", f"roam, of {heads}", "map width [of the side]")
    for panel, column, label in zip(panels, shown, labels, strict=True):
        for kind, rows in table.groupby("kind"):
            for _, of_seed in rows.groupby("seed"):
                panel.plot(of_seed["step"], of_seed[column], color=COLORS[kind], lw=0.7, alpha=0.45)
            mean = rows.groupby("step")[column].mean()
            panel.plot(mean.index, mean, color=COLORS[kind], lw=2)
        panel.set(xlabel="training steps", ylabel=label)
        panel.set_ylim(bottom=0)
    shown = [kind for kind in NAMES if kind in set(table["kind"])]
    handles = [Line2D([], [], color=COLORS[kind], lw=2, label=NAMES[kind]) for kind in shown]
    figure.legend(handles=handles, loc="outside lower center", ncols=4)
    table.attrs["missing"] = missing
    return figure, table.round(4)


def widths_by_temperature() -> tuple[Figure, pd.DataFrame]:
    """Width of the maps of the last two layers at three temperatures and two map sizes, a dot a seed.

    In parts of the picture, and beside it in cells; with AP. The steps a map can take are its cells, so a
    map of 16 x 16 can be narrower than one of 12 x 12.
    """
    table, missing = _by_temperature()
    figure, panels = plt.subplots(1, 4, figsize=(WIDTH["page"], 2.4))
    order = ("2", "20", "10000")
    labels = {"width": "map width [of the side]", "cells": "map width [cells]"}
    labels |= {"watching": "watch a side, of 8", "AP": "AP"}
    for panel, (column, label) in zip(panels, labels.items(), strict=True):
        for shift, (grid, colour) in enumerate((("12x12", PALETTE["blue"]), ("16x16", PALETTE["vermilion"]))):
            of_grid = table[table["map"] == grid]
            place = of_grid["temperature"].map(order.index) + 0.2 * (shift - 0.5)
            panel.plot(place, of_grid[column], "o", ms=4, color=colour, alpha=0.75, label=f"{grid} cells")
            mean = of_grid.groupby("temperature")[column].mean().reindex(order)
            panel.plot(np.arange(3) + 0.2 * (shift - 0.5), mean, "-", color=colour, lw=1)
        panel.set(xticks=range(3), xticklabels=order, xlabel="temperature", ylabel=label, xlim=(-0.5, 2.5))
        panel.set_ylim(0, 1.12 * table[column].max())
    handles, texts = panels[0].get_legend_handles_labels()
    figure.legend(handles, texts, loc="outside lower center", ncols=2)
    table = table.round(4)
    table.attrs["missing"] = missing
    return figure, table


def _by_temperature() -> tuple[pd.DataFrame, list[str]]:
    """A row for each temperature, map size and seed that was trained, and the names of the other runs."""
    rows, missing = [], []
    for name, base in runs.GROUPS["temperature"].items():
        temperature, grid = name.split(", ")
        for run in (runs.RUNS[f"{base}-{seed}"] for seed in runs.SEEDS):
            if not runs.is_complete(run):
                missing.append(run.name)
                continue
            frame = last_rows([run.name])
            frame = frame[frame["layer"] > 0]
            width = frame[["x_width", "y_width"]].mean(axis=1).median()
            sides = frame["side"].isin(["left", "right", "top", "bottom"]).sum()
            rows.append(
                {
                    "temperature": temperature,
                    "map": grid,
                    "seed": run.options.seed,
                    "width": width,
                    "cells": width * int(grid.split("x")[0]),
                    "AP": runs.histories([run.name])["AP"].iloc[-1],
                    "watching": int(sides),
                    "roaming": int((frame["side"] == "roaming").sum()),
                }
            )
    return pd.DataFrame(rows), missing
