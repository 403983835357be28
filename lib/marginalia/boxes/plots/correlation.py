"""Pictures of the macroscopic correlation of data sets, beside what chance gives."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn
from jaxtyping import Float, Int
from matplotlib.lines import Line2D

from ...style import CYCLE, PALETTE, WIDTH
from ...store import read_table
from ..correlation import macroscopic_correlation
from ..nulls import null_correlations
from ..photographs import photographs
from ..reading import read_boxes
from ..table import BoxTable
from .pearson import draw_boxes

SETS = {  # as measured, with the colour that each keeps in all figures
    "COCO val2017": CYCLE[0],
    "VOC2012 trainval": CYCLE[1],
    "NEU-DET": CYCLE[2],
    "DeepPCB": CYCLE[3],
    "BCCD": CYCLE[4],
    "photographs (tiles)": CYCLE[5],
    "your file": "black",
}
NULL_NAMES = {
    "free": "free: any box",
    "count": "count: images with as many boxes",
    "category": "category: boxes of the class",
    "size": "size: images of the same size",
    "rescaled": "rescaled to the receiving image",
}
EDGES = np.linspace(0, 1, 101)  # of the bins of MC
NULL_COLOR = PALETTE["grey"]


TITLES = {  # the data sets as the measured tables call them; the small ones there are not drawn
    "coco_val2017": "COCO val2017",
    "voc2012_trainval": "VOC2012 trainval",
    "neu_det": "NEU-DET",
    "deeppcb": "DeepPCB",
    "bccd": "BCCD",
}


def measured(name: str) -> pd.DataFrame:
    """A table of data/measured, `excess` say, with the five large data sets under their proper names."""
    frame = read_table(f"measured/{name}.csv")
    frame = frame[frame["dataset"].isin(TITLES)].reset_index(drop=True)
    return frame.assign(dataset=frame["dataset"].map(TITLES))


def histograms_of(table: BoxTable, name: str, null: str = "count", shuffles: int = 50) -> pd.DataFrame:
    """MC of a table's images and of its shuffles, counted in bins of 0.01.

    Returns columns dataset, low (lower edge of the bin), observed, null (mean count over the shuffles).
    Raises ValueError, naming the table by `name`, where MC does not differ enough for a density.
    """
    table = table.where(~table.crowd)
    mc = macroscopic_correlation(table, report={})
    observed = _counts(mc)
    if not observed.any():
        raise ValueError(f"{name}: no image has two usable boxes")
    runs = [_counts(values) for values in null_correlations(table, null, range(shuffles))]
    expected = np.mean(runs, axis=0)
    if min(np.count_nonzero(observed), np.count_nonzero(expected)) < 2:
        raise ValueError(
            f"{name}: a density needs at least two images with different MC; all MC here is near "
            f"{np.nanmean(mc):.2f}, as annotated or after shuffling"
        )
    return pd.DataFrame({"dataset": name, "low": EDGES[:-1], "observed": observed, "null": expected})


def _counts(mc: Float[np.ndarray, " I"]) -> Int[np.ndarray, " bins"]:
    """Images in each bin; those without MC are in none, and rounding must not lift one above 1."""
    return np.histogram(np.minimum(mc[np.isfinite(mc)], 1), EDGES)[0]


def all_histograms(data: str | Path | None = None) -> pd.DataFrame:
    """Measured data sets, the embedded photographs and, when `data` is a path, the reader's own boxes.

    Columns as histograms_of; the null permutations boxes among images with similar counts. Raises ValueError
    where the reader's boxes give no density.
    """
    frame = measured("mc_histograms").query("box_format == 'xywh'").rename(columns={"count": "null"})
    frames = [frame[["dataset", "low", "observed", "null"]]]
    frames.append(histograms_of(photographs(tiles=True).table, "photographs (tiles)"))
    if data is not None:
        frames.append(histograms_of(read_boxes(data), "your file"))
    return pd.concat(frames, ignore_index=True)


def _mean(histogram: pd.DataFrame, column: str) -> float:
    return float(np.average(histogram["low"] + 0.005, weights=histogram[column]))


def _density(axes, histogram: pd.DataFrame, column: str, **style) -> None:
    """Kernel density of a histogram's counts, as a seaborn curve."""
    where = {"x": histogram["low"] + 0.005, "weights": histogram[column], "clip": (0, 1), "cut": 0}
    seaborn.kdeplot(**where, bw_adjust=0.6, gridsize=300, ax=axes, **style)


def mc_density(data: str | Path | None = None):
    """Figure 1 of Relation DETR: densities of MC over the images of each data set, also after shuffling.

    `data` is a reader's annotation file, shown beside the measured sets. Boxes are permuted among
    images with similar counts. As in the paper, heights are scaled for display: both curves of a data set by
    the peak of the first. Returns (figure, data) with the histograms behind the densities.
    """
    histograms = all_histograms(data)
    size = (WIDTH["page"], 3.3)
    figure, panels = plt.subplots(1, 2, figsize=size, sharex=True, sharey=True, layout="constrained")
    handles = []
    for name, histogram in histograms.groupby("dataset", sort=False):
        style = {"color": SETS[name], "linewidth": 2.4 if name == "your file" else 1.6}
        for axes, column in zip(panels, ("observed", "null"), strict=True):
            _density(axes, histogram, column, **style)
        peak = panels[0].lines[-1].get_ydata().max()
        for axes in panels:
            axes.lines[-1].set_ydata(axes.lines[-1].get_ydata() / peak)
        images = int(histogram["observed"].sum())
        handles.append(Line2D([], [], **style, label=f"{name}, {images:,}"))
    for axes, title in zip(panels, ("as annotated", "boxes dealt out to other images"), strict=True):
        axes.set(xlabel="MC of an image", xlim=(0, 1), ylim=(0, 1.75), title=title)
        axes.axvline(0.5, color=NULL_COLOR, linewidth=1, linestyle="--", zorder=0)
    panels[0].set_ylabel("density (1: peak as annotated)")
    note = {"transform": panels[0].transAxes, "va": "top", "fontsize": 8, "color": NULL_COLOR}
    panels[0].text(0.02, 0.97, "dashed, 0.5:\nfour unrelated\nnumbers", **note)
    figure.legend(
        handles=handles, loc="outside lower center", ncols=3, title="data set, images with two boxes or more"
    )
    return figure, histograms


def mc_against_null(histograms: pd.DataFrame):
    """One panel a data set: MC as annotated (filled) and after permuting boxes (line), with both means.

    histograms: columns dataset, low, observed, null (all_histograms). Returns (figure, data): dataset,
    images, the two means and their difference.
    """
    groups = list(histograms.groupby("dataset", sort=False))
    lines = -(-len(groups) // 3)
    size = (WIDTH["page"], 1.7 * lines + 0.3)
    figure, axes = plt.subplots(lines, 3, figsize=size, sharex=True, layout="constrained", squeeze=False)
    rows = []
    for panel, (name, histogram) in zip(axes.flat, groups, strict=False):
        observed, null = _mean(histogram, "observed"), _mean(histogram, "null")
        _density(panel, histogram, "observed", color=SETS[name], fill=True, alpha=0.3, linewidth=0)
        _density(panel, histogram, "null", color=NULL_COLOR)
        panel.axvline(observed, color=SETS[name], linewidth=2)
        panel.axvline(null, color=NULL_COLOR, linestyle="--")
        panel.set(xlim=(0, 1), ylim=(0, None), yticks=[], xlabel="MC of an image", ylabel="", title=name)
        corner = {"transform": panel.transAxes, "va": "top"}
        panel.text(0.03, 0.95, f"{observed:.3f}", color=SETS[name], weight="bold", **corner)
        panel.text(0.03, 0.78, f"{null:.3f}", color=NULL_COLOR, **corner)
        rows.append((name, int(histogram["observed"].sum()), observed, null, observed - null))
    for panel in axes[:, 0]:
        panel.set_ylabel("density")
    for panel in axes.flat[len(groups) :]:
        panel.remove()
    handles = [
        Line2D([], [], color="0.3", linewidth=6, alpha=0.3, label="as annotated (mean: solid)"),
        Line2D([], [], color=NULL_COLOR, label="permuted among images with similar counts (mean: dashed)"),
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=2)
    return figure, pd.DataFrame(rows, columns=["dataset", "images", "observed", "null", "excess"])


def _short(name: str) -> str:
    return name.split()[0]


def excess_forest(excess: pd.DataFrame):
    """Excess of MC over each null with its interval, one panel a data set, all on one scale.

    excess: columns dataset, null, excess, low, high. Returns (figure, data).
    """
    sets = list(excess["dataset"].unique())
    nulls = list(NULL_NAMES)
    figure, axes = plt.subplots(
        1, len(sets), figsize=(WIDTH["page"], 2.5), sharey=True, sharex=True, layout="constrained"
    )
    for panel, name in zip(np.atleast_1d(axes), sets, strict=True):
        rows = excess[excess["dataset"] == name].set_index("null").reindex(nulls)
        y = np.arange(len(nulls))[::-1]
        color = SETS.get(name, "black")
        panel.axvline(0, color=NULL_COLOR, linewidth=1)
        panel.hlines(y, rows["low"], rows["high"], color=color, linewidth=2.2)
        panel.plot(rows["excess"], y, "o", color=color, markersize=5)
        panel.set_title(_short(name))
        panel.set_yticks(y, nulls)
        panel.set_ylim(-0.6, len(nulls) - 0.4)
        panel.grid(axis="y", visible=False)
    figure.supxlabel("excess of MC over the null (bars: 95 % over images)", fontsize=9)
    return figure, excess


def dumbbells(frame: pd.DataFrame, label: str, facet: str, xlabel: str, names=("observed", "null")):
    """Two values on a line for every row: filled what is measured, open what chance gives.

    frame: columns `label` (the rows' names), `facet` (one panel each) and the two columns of `names`, the
    second one being the chance value. Returns (figure, data).
    """
    facets, order = list(frame[facet].unique()), list(dict.fromkeys(frame[label]))
    size = (WIDTH["page"], 0.95 + 0.26 * len(order))
    figure, axes = plt.subplots(1, len(facets), figsize=size, sharey=True, sharex=True, layout="constrained")
    y = np.arange(len(order))[::-1]
    for panel, name in zip(np.atleast_1d(axes), facets, strict=True):
        rows = (
            frame[frame[facet] == name].set_index(label).reindex(order)
        )  # a row that a set lacks stays empty
        color = SETS.get(name, CYCLE[0])
        first, second = rows[names[0]], rows[names[1]]
        panel.hlines(
            y, np.minimum(first, second), np.maximum(first, second), color=color, linewidth=2, alpha=0.4
        )
        panel.plot(second, y, "o", markerfacecolor="white", markeredgecolor=NULL_COLOR, markersize=6)
        panel.plot(first, y, "o", color=color, markersize=6)
        panel.set_yticks(y, order)
        panel.set_ylim(-0.6, len(order) - 0.4)
        panel.set_title(_short(name))
        panel.grid(axis="y", visible=False)
    figure.supxlabel(xlabel, fontsize=9)
    handles = [
        Line2D([], [], marker="o", linestyle="", color="0.3", label=names[0]),
        Line2D(
            [],
            [],
            marker="o",
            linestyle="",
            markerfacecolor="white",
            markeredgecolor=NULL_COLOR,
            label=names[1],
        ),
    ]
    figure.legend(handles=handles, loc="outside upper right", ncols=2)
    return figure, frame


def permuted(table: BoxTable, shuffled: BoxTable, images: Sequence[int], pictures=None):
    """The same images with their own boxes (top) and with boxes of other images (bottom).

    images: indices of the images to show; pictures: optional arrays in the order of table.image_ids.
    Returns (figure, data): image, row ("own" or "permuted"), x, y, w, h.
    """
    figure, axes = plt.subplots(2, len(images), figsize=(WIDTH["page"], 3.6), layout="constrained")
    rows = []
    for column, i in zip(axes.T, images, strict=True):
        for panel, source, name in zip(column, (table, shuffled), ("own", "permuted"), strict=True):
            boxes = source.xywh[source.image == i]
            width, height = table.sizes[i]
            if pictures is not None:
                panel.imshow(
                    pictures[i], cmap="gray", extent=(0, width, height, 0), alpha=1 if name == "own" else 0.25
                )
            draw_boxes(panel, boxes, (width, height), colors=[CYCLE[1] if name == "own" else CYCLE[0]])
            mc = macroscopic_correlation(source.where(source.image == i), report={})[i]
            panel.set_title(f"{'MC' if name == 'own' else 'permuted: MC'} {mc:.2f}", fontsize=8)
            rows += [(str(table.image_ids[i]), name, *box) for box in boxes]
    return figure, pd.DataFrame(rows, columns=["image", "boxes", *"xywh"])
