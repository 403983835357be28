"""Relation DETR (ECCV 2024): the correlation of box positions, and how fast the detector learns."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from marginalia.boxes.correlation import macroscopic_correlation
from marginalia.boxes.nulls import null_correlations
from marginalia.boxes.photographs import photographs
from marginalia.boxes.reading import read_boxes
from marginalia.boxes.table import BoxTable
from marginalia.plots import NEUTRAL, density, legend, panels
from marginalia.store import read_table
from marginalia.style import CYCLE, DATASET_COLORS, DATASETS

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def mc_density(data: str | Path | None = None) -> tuple[Figure, pd.DataFrame]:
    """Figure 1: density of MC over the images of each data set; beside it, of boxes permuted between images.

    data: a reader's annotation file, shown beside the measured sets. As in the paper, heights are scaled for
    display: both curves of a set by the peak of its first. Returns (figure, data), data as `mc_histograms`.
    """
    histograms = mc_histograms(data)
    figure, axes = panels(2, 2, 3.3, sharex=True, sharey=True)
    entries = {}
    for name, histogram in histograms.groupby("dataset", sort=False):
        style = {"color": DATASET_COLORS[name], "linewidth": 2.4 if name == "your file" else 1.6}
        for panel, column in zip(axes, ("observed", "null"), strict=True):
            density(panel, histogram["low"] + 0.005, histogram[column], **style)
        peak = axes[0].lines[-1].get_ydata().max()
        for panel in axes:
            panel.lines[-1].set_ydata(panel.lines[-1].get_ydata() / peak)
        entries[f"{name}, {histogram['observed'].sum():,.0f}"] = style
    for panel, title in zip(axes, ("as annotated", "boxes permuted between images"), strict=True):
        panel.set(xlabel="MC of an image", xlim=(0, 1), ylim=(0, 1.75), title=title)
        panel.axvline(0.5, color=NEUTRAL, linewidth=1, linestyle="--", zorder=0)
    axes[0].set_ylabel("density (1: peak as annotated)")
    note = {"transform": axes[0].transAxes, "va": "top", "fontsize": 8, "color": NEUTRAL}
    axes[0].text(0.02, 0.97, "dashed, 0.5:\nfour unrelated\nnumbers", **note)
    legend(figure, entries, ncols=3, title="data set, images with two boxes or more")
    return figure, histograms


def convergence() -> tuple[Figure, pd.DataFrame]:
    """Published AP on COCO after each of twelve epochs, five detectors; bands: error of reading the curves.

    Returns (figure, data) with the columns of data/published/relation_detr_convergence.csv.
    """
    table = read_table("published/relation_detr_convergence.csv")
    figure, (axes,) = panels(1, 1, 2.9)
    for (model, curve), color in zip(table.groupby("model", sort=False), CYCLE, strict=False):
        low, high = curve["AP"] - curve["reading_error"], curve["AP"] + curve["reading_error"]
        axes.fill_between(curve["epoch"], low, high, color=color, alpha=0.3, linewidth=0)
        axes.plot(curve["epoch"], curve["AP"], color=color, lw=1, label=f"{curve['AP'].iloc[-1]}  {model}")
    axes.set(xlabel="epoch", ylabel="AP, percent", xticks=range(1, 13))
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), title="at epoch 12", alignment="left")
    return figure, table


# --- What the figures above are made of


def measured(name: str) -> pd.DataFrame:
    """A table of data/measured, `excess` say: its rows of the five large data sets, with their names."""
    frame = read_table(f"measured/{name}.csv")
    frame = frame[frame["dataset"].isin(list(DATASETS))].reset_index(drop=True)
    return frame.assign(dataset=frame["dataset"].map(DATASETS))


def mc_histograms(data: str | Path | None = None) -> pd.DataFrame:
    """MC of the measured data sets, of the embedded photographs and, with `data`, of a reader's boxes.

    Returns columns dataset, low (lower edge of a bin of 0.01), observed (images), null (mean over shuffles
    among images with similar counts). Raises ValueError where the reader's MC do not make a density.
    """
    frame = measured("mc_histograms").query("box_format == 'xywh'").rename(columns={"count": "null"})
    frames = [frame[["dataset", "low", "observed", "null"]]]
    frames.append(_histogram(photographs(tiles=True).table, "photographs (tiles)"))
    if data is not None:
        frames.append(_histogram(read_boxes(data), "your file"))
    return pd.concat(frames, ignore_index=True)


def _histogram(table: BoxTable, name: str) -> pd.DataFrame:
    """MC of a table's images, and of 50 shuffles under the count null, in bins of 0.01."""
    edges = np.linspace(0, 1, 101)
    table = table.where(~table.crowd)
    mc = macroscopic_correlation(table, report={})
    runs = null_correlations(table, "count", range(50)) if np.isfinite(mc).any() else []
    # NaN, images without MC, falls in no bin
    observed = np.histogram(mc, edges)[0]
    null = np.mean([np.histogram(values, edges)[0] for values in runs] or [observed], axis=0)
    if min(np.count_nonzero(observed), np.count_nonzero(null)) < 2:
        raise ValueError(
            f"{name}: a density needs images with different MC, as annotated and after shuffling; "
            f"{np.isfinite(mc).sum()} of its images have two usable boxes"
        )
    return pd.DataFrame({"dataset": name, "low": edges[:-1], "observed": observed, "null": null})
