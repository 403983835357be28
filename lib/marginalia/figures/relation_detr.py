"""Relation DETR (ECCV 2024): its figures, and below them how Figure 1 and images with detections are made."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
import pandas as pd
from jaxtyping import UInt8
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, LogNorm, to_hex
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from marginalia.boxes.blood_cells import cells
from marginalia.boxes.correlation import macroscopic_correlation
from marginalia.boxes.error_types import ERRORS, error_types
from marginalia.boxes.evaluation import evaluate, evaluate_images, quantile_images, score_sweep
from marginalia.boxes.geometry import cxcywh_to_xywh, iou, xywh_to_xyxy
from marginalia.boxes.nulls import null_correlations
from marginalia.boxes.reading import read_boxes
from marginalia.boxes.table import BoxTable
from marginalia.detection.scenes import SceneBatch, cell_scenes, make_scenes
from marginalia.plots import DASHED, NEUTRAL, boxes_on, density, intervals, legend, panels
from marginalia.statistics import bootstrap, rank_correlation
from marginalia.store import read_table
from marginalia.style import (
    CYCLE,
    DATASET_COLORS,
    DATASETS,
    DETECTION,
    DIVERGING,
    GROUND_TRUTH,
    MODELS,
    PALETTE,
    WIDTH,
)

from .runs import GROUPS, PARTS, at_the_end, histories, run_names, seeds_of

if TYPE_CHECKING:
    from marginalia.detection.groups import QueryGroups

RELATION = PALETTE["vermilion"]  # what the position relation adds to a decoder
RELATED_MODELS = ("arranged-relation-0", "cells-relation-0")  # detectors of Figure 5
TRUE = {"color": GROUND_TRUTH, "linewidth": 2.6}
FOUND = {"color": DETECTION, "linewidth": 1}
NAMED = {"color": PALETTE["purple"], "linewidth": 2}  # the error that a panel is about
QUANTILES = (0, 0.1, 0.25, 0.5, 0.75, 1)
SCORES = 6  # of an image's detections are written where there are no more: else they would cover it
SHOWN = 480  # pixels of the longer side of an image from a file: a page is at most 7 inches wide


@dataclass(frozen=True)
class Pair:
    """What there was to find, what was found, and how to come by an image."""

    ground_truth: BoxTable
    detections: BoxTable
    pixels: Callable[[int], UInt8[np.ndarray, "H W *channels"] | None]  # by index into ground_truth.image_ids


def mc_density(data: str | Path | None = None) -> tuple[Figure, pd.DataFrame]:
    """Figure 1: density of MC over the images of each data set; beside it, of boxes permuted between images.

    data: a reader's annotation file, shown beside the measured sets. As in the paper, heights are scaled for
    display: both curves of a set by the peak of its first. Returns (figure, data), data with the columns
    dataset, low (lower edge of a bin of 0.01), observed (images), null (mean over shuffles among images with
    similar counts). ValueError where the reader's MC do not make a density.
    """
    frame = measured("mc_histograms").query("box_format == 'xywh'").rename(columns={"count": "null"})
    frames = [frame[["dataset", "low", "observed", "null"]]]
    if data is not None:
        frames.append(_histogram(read_boxes(data), "your file"))
    histograms = pd.concat(frames, ignore_index=True)

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


def decoder_layer() -> tuple[Figure, pd.DataFrame]:
    """Figure 2, by order (our own drawing): a decoder layer without and with the relation, then six layers.

    Shapes are of one pass of a detector with six layers, 12 queries and 8 heads. Returns (figure, data):
    layer (from 1), source, target, shape, a row a relation.
    """
    import torch

    from marginalia.detection import DetectorConfig, build
    from marginalia.record import evaluating, record

    sizes = {"width": 64, "heads": 8, "queries": 12, "decoder_layers": 6, "encoder_layers": 1}
    model = build(DetectorConfig(**sizes, relation="two layers"))
    with evaluating(model), record(model, "decoder.relation") as seen:
        model(torch.rand(1, 1, 32, 32))
    calls, first = seen["decoder.relation"], sizes["decoder_layers"] - len(seen["decoder.relation"])
    data = pd.DataFrame(
        {
            "layer": range(first + 1, sizes["decoder_layers"] + 1),
            "source": [f"b{k}" for k in range(len(calls))],
            "target": [f"b{k + 1}" for k in range(len(calls))],
            "shape": [tuple(call.output.shape) for call in calls],
        }
    )
    boxes, (_, H, N, M) = tuple(calls[0].inputs["source"].shape), data["shape"][0]

    figure = plt.figure(figsize=(WIDTH["page"], 5.4), layout="constrained")
    upper, lower = figure.subfigures(2, 1, height_ratios=(2.5, 1))
    plain, related = upper.subplots(1, 2, width_ratios=(1, 2.1))
    steps = ("self-attention\nq kᵀ / √D", "cross-attention", "feed-forward", "box head, class head")
    for panel, title, wide in ((plain, "without", 1.0), (related, "with the position relation", 2.1)):
        panel.set(xlim=(0, wide), ylim=(0, 1), title=title)
        panel.axis("off")
        x = wide - 0.5
        _column(panel, x, (0.22, 0.44, 0.62, 0.8), steps, NEUTRAL)
        _arrow(panel, (x, 0.05), (x, 0.22), NEUTRAL)
        _arrow(panel, (x, 0.8), (x, 0.99), NEUTRAL)
        panel.text(x, 0.02, "queries of the layer before", ha="center", fontsize=8)
    branch = (
        f"boxes of the two layers before\nsource {boxes}, target {boxes}",
        f"relative geometry\n{(1, N, M, 4)}",
        f"sines and cosines\n{(1, N, M, 64)}",
        f"max(0, W · + B): Rel\n{(1, H, N, M)}",
    )
    _column(related, 0.5, (0.92, 0.68, 0.45, 0.22), branch, RELATION)
    _arrow(related, (0.5, 0.22), (1.5, 0.22), RELATION)
    related.text(1.07, 0.25, "+ Rel", color=RELATION, ha="center", fontsize=9)
    _six_layers(lower.subplots(), data["layer"])
    return figure, data


def _six_layers(axes: Axes, related: Sequence[int]) -> None:
    """Layers in a row, the boxes between them, and from which of them a layer has its relation."""
    axes.set(xlim=(-0.6, 6.5), ylim=(-0.75, 1.15), title=f"six layers, {len(related)} relations")
    axes.axis("off")
    for layer in range(1, 7):
        _block(axes, (layer - 0.5, 0), f"layer {layer}", NEUTRAL if layer == 1 else RELATION)
    for k in range(7):
        axes.text(k, 0, f"$b^{k}$", ha="center", va="center", fontsize=10)
    bend = {"arrowstyle": "-|>", "color": RELATION, "connectionstyle": "arc3,rad=-0.35", "shrinkA": 8}
    for k, layer in enumerate(related):
        for start in (k, k + 1):
            axes.annotate("", (layer - 0.5, 0.2), (start, 0.05), arrowprops=bend)
    note = "$b^0$: boxes before the first layer, which has no others; $b^k$: boxes after layer k."
    axes.text(3, -0.6, note, ha="center", fontsize=8)


def _column(axes: Axes, x: float, heights: Sequence[float], texts: Sequence[str], color: str) -> None:
    """Blocks above each other, with arrows from each to the next."""
    for y, text in zip(heights, texts, strict=True):
        _block(axes, (x, y), text, color)
    for before, after in itertools.pairwise(heights):
        _arrow(axes, (x, before), (x, after), color)


def _block(axes: Axes, place: tuple[float, float], text: str, color: str) -> None:
    frame = {"boxstyle": "round,pad=0.35", "facecolor": "white", "edgecolor": color, "linewidth": 1.3}
    axes.text(*place, text, ha="center", va="center", fontsize=8, bbox=frame, zorder=3)


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], color: str) -> None:
    """From block to block; blocks cover its ends."""
    axes.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "color": color, "shrinkB": 16}, zorder=1)


_PIPELINE = {  # part of Figure 3 -> middle of its box, colour, text; braces: what `_two_passes` measured
    "denoising": (0.8, 2.75, "orange", "denoising queries\n{denoising}"),
    "matching": (0.8, 2, "blue", "matching queries $Q_m$\n{matching}"),
    "hybrid": (0.8, 0.45, "green", "hybrid queries $Q_h$\n{hybrid}"),
    "relation": (2.55, 3.3, "vermilion", "position relation\n{relation}"),
    "first": (2.55, 2.2, "grey", "decoder, pass 1\n{first}"),
    "second": (2.55, 0.45, "grey", "decoder, pass 2\n{second}"),
    "known": (4.2, 2.75, "orange", "loss $L_\\mathrm{{dn}}$\nboxes are known"),
    "one": (4.2, 2, "blue", "loss $L_m$\none-to-one"),
    "many": (4.2, 0.45, "green", "loss $L_h$\neach box 6 times"),
}
_SAME = ("first", "second")
_FLOWS = (  # of Figure 3, from and to
    *(("denoising", "first"), ("matching", "first"), ("hybrid", "second"), ("relation", "first")),
    *(("first", "known"), ("first", "one"), ("second", "many"), _SAME),
)
_KEPT = ("matching", "relation", "first")  # at inference


def contrast_pipeline() -> tuple[Figure, pd.DataFrame]:
    """Figure 3, by order (our own drawing): Q_m with denoising queries, and Q_h, through the same decoder.

    Sizes are the published ones, in a batch whose fullest image has seven boxes. Dashed: in training only. On
    the right both passes as one mask, all blocks drawn equally large. Returns (figure, data): a row a tensor,
    with its shape in a small decoder that was given so many queries.
    """
    groups, shapes = _two_passes()
    texts = {name: " × ".join(map(str, shape)) for name, shape in shapes.items()}
    figure, (left, right) = panels(2, 2, 3.1, width_ratios=(2.7, 1))
    drawn = {}
    for name, (x, y, color, text) in _PIPELINE.items():
        frame = {
            "boxstyle": "round,pad=0.4",
            "facecolor": "white",
            "edgecolor": PALETTE[color],
            "linewidth": 1.4,
        }
        frame["linestyle"] = "-" if name in _KEPT else DASHED
        place = {"ha": "center", "va": "center", "fontsize": 8, "linespacing": 1.4}
        drawn[name] = left.text(x, y, text.format(**texts), bbox=frame, **place)
    for start, end in _FLOWS:
        style = {"arrowstyle": "-|>" if (start, end) != _SAME else "<|-|>", "color": "0.35"}
        style |= {"patchA": drawn[start].get_bbox_patch(), "patchB": drawn[end].get_bbox_patch()}
        left.annotate("", _PIPELINE[end][:2], _PIPELINE[start][:2], arrowprops=style)
    left.text(2.65, 1.35, "the same weights", fontsize=8, va="center")
    left.text(4.2, 3.35, "dashed: in training only", fontsize=8, ha="center", va="center")
    left.set(xlim=(0, 4.9), ylim=(0.1, 3.6))
    left.set_axis_off()
    block_matrix(right, replace(groups, sizes=(1,) * len(groups.sizes)))
    shown = [0, len(groups.sizes) - 3, len(groups.sizes) - 2, len(groups.sizes) - 1]
    for ticks in (right.set_xticks, right.set_yticks):
        ticks(np.add(shown, 0.5), [groups.names[k] for k in shown])
    right.set(title="as one mask", ylabel="attends", xlabel="is attended")
    return figure, pd.DataFrame({"tensor": list(shapes), "shape": [str(shape) for shape in shapes.values()]})


def _two_passes() -> tuple[QueryGroups, dict[str, tuple[int, ...]]]:
    """Relation DETR's groups with the published sizes, and shapes in a small decoder with these queries."""
    import torch

    from marginalia.detection import DetectorConfig, build, gather_targets
    from marginalia.detection.groups import MATCHING, contrastive_noise, relation_detr
    from marginalia.record import record

    noised = contrastive_noise(gather_targets([np.full((7, 4), 0.5)], [[0] * 7]), 1)
    groups = relation_detr(900, 1500, noised.groups, noised.size)
    config = DetectorConfig(width=32, heads=8, decoder_layers=2, encoder_layers=1, relation="two layers")
    first = build(replace(config, queries=noised.boxes.shape[1] + 900))
    second = build(replace(config, queries=1500, relation=None))
    first.decoder.groups, second.decoder.layers = noised.beside(900), first.decoder.layers
    pixels = torch.zeros(1, 1, 32, 32)
    with torch.no_grad(), record(first, ["decoder.relation"]) as seen:
        one, two = first(pixels).hidden[-1], second(pixels).hidden[-1]  # (B, Q, width)
    shapes = {
        "denoising": (noised.groups, noised.size),
        "matching": one[:, first.decoder.groups.block(MATCHING)].shape[1:2],
        "hybrid": two.shape[1:2],
        "relation": seen["decoder.relation"][-1].output.shape[1:],
        "first": one.shape[1:],
        "second": two.shape[1:],
    }
    return groups, {name: tuple(shape) for name, shape in shapes.items()}


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


def relation_of_a_query(names: Sequence[str] | None = None) -> tuple[Figure, pd.DataFrame]:
    """Figure 5, by order: by how much the relation multiplies the attention of an object to the others.

    names: detectors with a relation, as `load` takes them, on photographs of cells or arranged digits; by
    default one of each. Of three images each: the surest detection (green) and all others with a score from
    0.3 on, in the last layer; the six whose weight changes most have a tag. Returns (figure, data), data with
    model, image, query, x, y, w, h (in image sizes) and multiplier: exp(Rel) over its mean over all other
    queries, mean over heads; NaN for the object itself.
    """
    rows = pd.concat([_multipliers(name) for name in names or RELATED_MODELS], ignore_index=True)
    limit = np.exp(1.6 * np.log(rows["multiplier"]).abs().max())  # so that no tag is too dark to read
    shade = mpl.cm.ScalarMappable(LogNorm(1 / limit, limit), DIVERGING)
    groups = list(rows.groupby(["model", "image"], sort=False))
    figure, axes = panels(len(groups), 3, 2.4)
    for panel, ((name, image), part) in zip(axes, groups, strict=True):
        pixels = _images_of(name).pixels[image].transpose(1, 2, 0)
        size = pixels.shape[1::-1]
        xywh, own = part[["x", "y", "w", "h"]].to_numpy() * np.tile(size, 2), part["multiplier"].isna()
        values = part["multiplier"][~own]
        colors = [to_hex(color) for color in shade.to_rgba(values)]
        told = np.log(values).abs().rank(ascending=False) <= 6  # more tags would cover a photograph
        tags = [f"{v:.2f}" if tell else "" for v, tell in zip(values, told, strict=True)]
        boxes_on(panel, xywh[~own], size, pixels.squeeze(), colors, tags)
        boxes_on(panel, xywh[own], size, color=PALETTE["green"], linewidth=2.6)
        panel.set_title(f"{name}, {image}", fontsize=8)
    bar = figure.colorbar(shade, ax=axes, orientation="horizontal", aspect=50, shrink=0.6)
    ticks = [1 / limit, 1, limit]
    bar.set_ticks(ticks, labels=[f"{tick:.2f}" for tick in ticks])
    bar.set_label("weight by the relation alone, over that of the mean query (green: who attends)")
    bar.ax.minorticks_off()
    return figure, rows


@lru_cache(maxsize=4)
def _images_of(name: str) -> SceneBatch:
    """What a detector with a relation is shown."""
    from marginalia.detection import load

    if load(name).config.in_channels == 3:
        return cell_scenes("test")
    return make_scenes(64, "arranged", "val", side=48, digits=(4, 4))


def _multipliers(name: str, threshold: float = 0.3, count: int = 3) -> pd.DataFrame:
    """Rows of `relation_of_a_query` for the images with most detections from a score on."""
    import torch

    from marginalia.detection import capture_self_attention, load

    found = capture_self_attention(load(name), torch.from_numpy(_images_of(name).pixels))
    scores = found.output.logits[-1].sigmoid().amax(-1)  # (B, Q)
    several = (scores >= threshold).sum(1).argsort(descending=True, stable=True)[:count]
    rows = []
    for image in several.tolist():
        sure = torch.nonzero(scores[image] >= threshold)[:, 0]
        i = scores[image].argmax()
        strength = found.bias[-1, image, :, i].exp()  # (H, Q)
        others = torch.arange(strength.shape[1]) != i
        strength = (strength / strength[:, others].mean(1, keepdim=True)).mean(0)
        cxcywh = found.boxes[-1, image, sure].numpy()
        frame = pd.DataFrame(cxcywh_to_xywh(cxcywh), columns=["x", "y", "w", "h"])
        frame["multiplier"] = strength[sure].where(sure != i, torch.nan).numpy()
        rows.append(
            frame.assign(model=name, image=image, query=sure.numpy()).sort_values("multiplier")
        )  # last on top
    return pd.concat(rows)


def components() -> tuple[Figure, pd.DataFrame]:
    """Table 5 (an analogue): what the relation, one-to-many queries and both add to AP, seed by seed.

    Conditional DETR on arranged and scattered digits (five seeds; two variants of the relation three), on
    larger scenes (one) and on photographs (three). Returns (figure, data) as `gains`.
    """
    groups = {f"{layout}{kind}": layout for layout in ("arranged", "scattered") for kind in ("", "_variants")}
    groups |= {"headline_relation": "scattered, larger", "cells_relation": "photographs"}
    return gains(
        {
            f"{where}: {part}": (GROUPS[group]["base"], base)
            for group, where in groups.items()
            for part, base in GROUPS[group].items()
            if part != "base"
        }
    )


def other_detectors() -> tuple[Figure, pd.DataFrame]:
    """Table 6 (an analogue): what the relation adds to AP of four detectors, on arranged digits.

    Returns (figure, data) as `gains`.
    """
    runs = GROUPS["relation_kinds"]
    return gains({name: (runs[f"{kind}, base"], runs[f"{kind}, relation"]) for kind, name in MODELS.items()})


def hybrid_matching() -> tuple[Figure, pd.DataFrame]:
    """Table 7, by order (an analogue): relation and one-to-many queries, alone and both, on two layouts.

    Circles are means of five seeds, bars their range, dots the seeds. Found and duplicates are of as many
    of the surest detections as there are objects, at IoU 0.5. Returns (figure, data): a row a run after its
    last step, as `histories`, with layout and part.
    """
    metrics = {
        "AP": "AP",
        "AR": "AR",
        "found": "found, of all objects",
        "duplicates": "duplicates per object",
    }
    data = at_the_end(histories(run_names("arranged", "scattered")))
    data[["layout", "part"]] = data["base"].str.split("-", expand=True)
    figure, axes = panels(len(metrics), len(metrics), 2.7, sharey=True)
    for panel, (metric, name) in zip(axes, metrics.items(), strict=True):
        for shift, color, (layout, runs) in zip((-0.17, 0.17), CYCLE, data.groupby("layout"), strict=False):
            marks = runs.groupby("part")[metric].agg(mean="mean", low="min", high="max").loc[list(PARTS)]
            series = {"shift": shift, "color": color, "open": layout == "scattered", "name": layout}
            intervals(panel, marks, "mean", reference=None, **series)
            places = runs["part"].map(PARTS.index) + shift + 0.14
            panel.plot(runs[metric], places, ".", color=color, markersize=4, alpha=0.7)
        panel.set(xlabel=name)
    figure.legend(
        *axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, title="layout of scenes"
    )
    return figure, data


def failure_cases(data: str | Pair | None = None) -> tuple[Figure, pd.DataFrame]:
    """Failures of a detector (an analogue): the images at QUANTILES of AP per image, worst to best.

    data as in `open_pair`, or a Pair. Detections with a score from `best_score` on are drawn and counted.
    Returns (figure, data): rows of `evaluate_images`, with `quantile` and `image_found`.
    """
    pair = data if isinstance(data, Pair) else open_pair(data)
    threshold = best_score(pair)
    frame = evaluate_images(pair.ground_truth, pair.detections, threshold)
    chosen = quantile_images(frame, QUANTILES)
    return gallery(pair, chosen, threshold, [f"{100 * q:g} %: " for q in chosen["quantile"]])


# --- Ours: what the relation changes


def gains(pairs: Mapping[str, tuple[str, str]]) -> tuple[Figure, pd.DataFrame]:
    """AP of one run minus that of another with the same seed, a line a pair: name -> (base, changed).

    Runs that are named without seed. A dot a seed, a line at their mean. Returns (figure, data): pair, seed,
    base, changed (AP at the end), gain.
    """
    rows = []
    for name, bases in pairs.items():
        ends = [at_the_end(histories(seeds_of(base))).set_index("seed")["AP"] for base in bases]
        frame = pd.concat(ends, axis=1, keys=["base", "changed"], join="inner").rename_axis("seed")
        rows.append(frame.assign(pair=name, gain=frame["changed"] - frame["base"]).reset_index())
    data = pd.concat(rows, ignore_index=True)[["pair", "seed", "base", "changed", "gain"]]
    figure, (axes,) = panels(1, 1, 0.9 + 0.27 * len(pairs))
    mean = data.groupby("pair", sort=False)["gain"].mean()
    y = data["pair"].map(list(pairs).index)
    axes.axvline(0, color=NEUTRAL, linewidth=1)
    axes.plot(data["gain"], y, "o", color=CYCLE[0], markersize=5, alpha=0.65)
    axes.plot(mean, range(len(pairs)), "|", color="black", markersize=14, markeredgewidth=2)
    axes.set(xlabel="gain of AP over the same seed without (dot: a seed, line: mean)")
    labels = [
        f"{name}  (AP {base:.2f})" for name, base in data.groupby("pair", sort=False)["base"].mean().items()
    ]
    axes.set_yticks(range(len(pairs)), labels)
    axes.set_ylim(len(pairs) - 0.4, -0.6)
    return figure, data


# --- Ours: what Figure 1 is made of


def measured(name: str) -> pd.DataFrame:
    """A table of data/measured, `excess` say: its rows of the five large data sets, with their names."""
    frame = read_table(f"measured/{name}.csv")
    frame = frame[frame["dataset"].isin(list(DATASETS))].reset_index(drop=True)
    return frame.assign(dataset=frame["dataset"].map(DATASETS))


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
        usable = np.isfinite(mc).sum()
        raise ValueError(f"{name}: a density needs images with different MC; {usable} of its images have one")
    return pd.DataFrame({"dataset": name, "low": edges[:-1], "observed": observed, "null": null})


# --- Ours: groups of queries


def block_matrix(axes: Axes, groups: QueryGroups) -> None:
    """Who sees whom: a cell a pair of queries, blue where the query of the row attends that of the column.

    The names of the blocks stand on both axes, at those of more than one query with their sizes.
    """
    edges = np.cumsum([0, *groups.sizes])
    axes.imshow(
        groups.mask().numpy(),
        ListedColormap([CYCLE[0], "0.9"]),
        vmin=0,
        vmax=1,
        extent=(0, edges[-1], edges[-1], 0),
    )
    for every, width in ((range(edges[-1]), 0.5), (edges, 1.6)):
        axes.hlines(every, 0, edges[-1], color="white", linewidth=width)
        axes.vlines(every, 0, edges[-1], color="white", linewidth=width)
    middles = (edges[1:] + edges[:-1]) / 2
    sizes = [
        f"{name}, {size}" if size > 1 else name for name, size in zip(groups.names, groups.sizes, strict=True)
    ]
    axes.set_xticks(middles, groups.names, rotation=90)
    axes.set_yticks(middles, sizes)
    axes.tick_params(length=0, labelsize=7)
    axes.grid(False)
    axes.spines[:].set_visible(False)


# --- Ours: detections beside their ground truth


def open_pair(data: str | None = None, detector: str = "cells-conditional-0") -> Pair:
    """Ground truth, detections and images of a reader, or those of a detector on photographs of cells.

    data: 'ground truth,detections' or 'ground truth,detections,folder of images'; formats as in `read_boxes`;
    None: `cell_pair`. An image is looked for under the name that the ground truth gives it, then under its
    id, also in twelve digits, as COCO 2017 names its files; it is read when it is drawn, and a missing one is
    no error. ValueError or FileNotFoundError for what cannot be read.
    """
    if data is None:
        return cell_pair(detector)
    parts = [part.strip() for part in data.split(",")]
    if len(parts) not in (2, 3) or not all(parts):
        raise ValueError(f"data must be 'ground truth,detections[,folder of images]', not {data!r}")
    ground_truth = read_boxes(parts[0])
    detections = read_boxes(parts[1], ground_truth=ground_truth)
    folder = Path(parts[2]).expanduser() if len(parts) == 3 else None
    if folder and not folder.is_dir():
        raise FileNotFoundError(f"{folder}: the third part of data must be a folder of images")
    return Pair(ground_truth, detections, lambda image: _load(folder, ground_truth, image))


def _load(folder: Path | None, table: BoxTable, image: int) -> UInt8[np.ndarray, "H W 3"] | None:
    from PIL import Image

    identity = table.image_ids[image]
    if table.files:  # as seen from the labels, or in a folder of images alone
        names = [table.files[image], Path(table.files[image]).name]
    else:
        names = [f"{identity}.jpg", f"{identity}.png"]
    names += [f"{identity:012d}.jpg"] if isinstance(identity, int) else []
    places = [Path(os.path.normpath(folder / name)) for name in names] if folder else []
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        return None
    with Image.open(path) as file:
        file.thumbnail((SHOWN, SHOWN))
        return np.asarray(file.convert("RGB"))


@lru_cache(maxsize=8)
def cell_pair(detector: str = "cells-conditional-0") -> Pair:
    """Boxes of the 72 test photographs of `boxes.cells`, and what a detector, as `load` takes it, finds.

    "photograph 7" is BloodImage_00007.jpg; boxes are in pixels of 160 x 120.
    """
    import torch

    from marginalia.detection import as_boxes, load, predict_table

    data, batch = cells(), cell_scenes("test")
    files = np.array(data.table.files)[data.split == "test"]
    names = tuple(f"photograph {int(Path(file).stem.rsplit('_')[-1])}" for file in files)
    ground_truth = replace(as_boxes(batch), image_ids=names)
    known = names, ground_truth.sizes, ground_truth.names
    found = predict_table(load(detector), torch.from_numpy(batch.pixels), *known)
    # drawn in 32 levels a channel, so that a notebook's file stays small
    drawn = batch.pixels.transpose(0, 2, 3, 1) // 8 * 8 + 4
    return Pair(ground_truth, found, drawn.__getitem__)


def best_score(pair: Pair) -> float:
    """The score threshold with the smallest LRP over all images, to two digits; 0.5 without detections.

    Scores of different losses are on different scales, so that one threshold for all would favour some.
    """
    sweep = score_sweep(pair.ground_truth, pair.detections)
    return 0.5 if sweep.empty else round(float(sweep["LRP"].idxmin()), 2)


def gallery(
    pair: Pair, chosen: pd.DataFrame, score_threshold: float, titles: Sequence[str] = (), columns: int = 3
) -> tuple[Figure, pd.DataFrame]:
    """Chosen rows of `evaluate_images` as images with AP, F1 and LRP; only these images are loaded.

    titles: what stands before the image's id. Returns (figure, data): the rows, with `image_found`. A missing
    image leaves a grey ground.
    """
    shown = {}
    for title, (identity, row) in zip(titles or [""] * len(chosen), chosen.iterrows(), strict=True):
        numbers = "AP {AP:.2f}, F1 {F1:.2f}, LRP {LRP:.2f}".format(**row)
        shown[f"{title}{identity}\n{numbers}"] = pair.ground_truth.image_ids.index(identity)
    figure, there = images(pair, shown, score_threshold, columns)
    pair_legend(figure)
    return figure, chosen.assign(image_found=there)


def images(
    pair: Pair, shown: Mapping[str, int], score_threshold: float, columns: int
) -> tuple[Figure, list[bool]]:
    """Images under their titles (title -> index), as `show_image` draws them; and which have pixels."""
    width, height = pair.ground_truth.sizes[list(shown.values())].T
    tallest = np.clip(np.nan_to_num(height / width, nan=1).max(), 0.6, 1.4)
    figure, axes = panels(len(shown), columns, WIDTH["page"] / min(columns, len(shown)) * tallest + 0.55)
    there = []
    for panel, (title, image) in zip(axes, shown.items(), strict=True):
        there.append(show_image(panel, pair, image, score_threshold))
        panel.set_title(title, fontsize=8)
        panel.set_xlabel("" if there[-1] else "the image is not there", fontsize=7)
    return figure, there


def cases(pairs: Mapping[str, tuple[BoxTable, BoxTable]]) -> tuple[Figure, pd.DataFrame]:
    """Constructed images, title -> (ground truth, detections) without pixels, each with its AP and F1.

    Returns (figure, data): a row of `evaluate_images` a case.
    """
    figure, axes = panels(len(pairs), 4, 4.1 / len(pairs) + 1)
    rows = {}
    for panel, (title, tables) in zip(axes, pairs.items(), strict=True):
        show_image(panel, Pair(*tables, lambda image: None), 0)
        rows[title] = evaluate_images(*tables).iloc[0].astype(float)
        panel.set_title(title, fontsize=8)
        panel.set_xlabel("AP {AP:.2f}\nF1 {F1:.2f}".format(**rows[title]).replace("nan", "undefined"))
    pair_legend(figure)
    return figure, pd.DataFrame(rows).T.rename_axis("case")


def at_thresholds(
    pair: Pair, image_id: int | str, score_threshold: float, iou_threshold: float = 0.5
) -> tuple[Figure, pd.DataFrame]:
    """One image with the detections from a score on, and its F1 and LRP at every score threshold.

    Returns (figure, data): F1 and LRP at each score that changes them.
    """
    image = pair.ground_truth.image_ids.index(image_id)
    own = [table.where(table.image == image) for table in (pair.ground_truth, pair.detections)]
    sweep = score_sweep(*own, iou_threshold)
    row = evaluate_images(*own, score_threshold, iou_threshold).loc[image_id]
    figure, (left, right) = panels(2, 2, 3.1, width_ratios=(1, 1.3))
    show_image(left, pair, image, score_threshold)
    left.set_title("{}: AP {:.2f}\nF1 {:.2f}, LRP {:.2f}".format(image_id, *row[["AP", "F1", "LRP"]]))
    none = evaluate_images(*own, 1.01, iou_threshold).loc[image_id]
    for column in ("F1", "LRP"):  # from no detection at all down to score 0, where nothing more comes in
        values = [none[column], *sweep[column], sweep[column].iloc[-1]]
        right.step([1, *sweep.index, 0], values, where="post", label=column)
    right.axvline(score_threshold, color=NEUTRAL, linewidth=1, linestyle="--", label="on the left")
    right.set(xlabel="score threshold", ylabel=f"F1, LRP (IoU at least {iou_threshold:g})")
    right.set(xlim=(0, 1), ylim=(0, 1.02))
    right.legend()
    return figure, sweep.reset_index()


def ap_strips(pair: Pair, most: int = 6) -> tuple[Figure, pd.DataFrame]:
    """AP of every image, of all categories and of each alone, with its mean and its AP as one data set.

    most: categories shown, those in most images. Returns (figure, data): group, AP, group_AP and the number
    of objects, a row an image that has the category.
    """
    figure, (axes,) = panels(1, 1, 2.9)
    truth, rows = pair.ground_truth.where(~pair.ground_truth.crowd), []
    images = {k: len(np.unique(truth.image[truth.category == k])) for k in truth.names}
    shown = sorted(images, key=images.get, reverse=True)[:most]
    groups = {"all categories": list(truth.names)} | {truth.names[k]: [k] for k in shown if images[k]}
    for line, (name, group) in enumerate(groups.items()):
        parts = [t.where(np.isin(t.category, group)) for t in (pair.ground_truth, pair.detections)]
        own = evaluate_images(*parts)[["AP", "ground_truths"]].dropna()
        whole = evaluate(*parts)["AP"]
        spread = line + np.random.default_rng(line).uniform(-0.25, 0.25, len(own))
        axes.plot(own["AP"], spread, "o", color=CYCLE[0], alpha=0.45)
        axes.plot(own["AP"].mean(), line, "|", color=CYCLE[1], markersize=30, markeredgewidth=2.5)
        axes.plot(whole, line, "D", color="white", markeredgecolor="black", markersize=6)
        rows.append(own.assign(group=name, group_AP=whole).reset_index())
    axes.set(xlabel="AP of an image", ylim=(len(rows) - 0.5, -0.5))
    axes.set_yticks(range(len(rows)), [f"{part['group'].iloc[0]} ({len(part)})" for part in rows])
    names = ("an image", "mean of the images' AP", "AP of all its images as one data set")
    figure.legend(axes.lines[:3], names, loc="outside upper left", ncols=3, markerscale=0.6)
    return figure, pd.concat(rows, ignore_index=True)


def ap_table(pairs: Mapping[str, Pair], frames: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """AP and AP50, a column a detector: of the data set, and the mean over images (of `evaluate_images`)."""
    whole = {n: evaluate(pair.ground_truth, pair.detections)[["AP", "AP50"]] for n, pair in pairs.items()}
    images = {name: frame[["AP", "AP50"]].mean() for name, frame in frames.items()}
    return pd.concat({"of the data set": pd.DataFrame(whole), "mean of the images": pd.DataFrame(images)})


def error_examples(pair: Pair, threshold: float) -> tuple[Figure, pd.DataFrame]:
    """The most confident detection of each kind of error, in purple, and the image with most missed objects.

    Detections count from `threshold` on; "loose" ones are true positives with an IoU below 0.75. Returns
    (figure, data): kind, number, and the image shown.
    """
    sure = pair.detections.where(pair.detections.score >= threshold)
    found = error_types(pair.ground_truth, sure)
    shown = ("background", "classification", "duplicate", "localisation")
    kinds = {kind: found.kind == kind for kind in shown}
    kinds["loose"] = (found.kind == "true positive") & (found.iou < 0.75)
    chosen = {kind: np.where(which, sure.score, -1).argmax() for kind, which in kinds.items() if which.any()}
    rows = [(kind, kinds[kind].sum(), sure.image[d]) for kind, d in chosen.items()]
    missed = pair.ground_truth.image[found.outcome == "missed"]
    if len(missed):
        rows.append(("missed", len(missed), np.bincount(missed).argmax()))
    figure, _ = images(pair, {f"{kind}: {number}": image for kind, number, image in rows}, threshold, 3)
    for panel, d in zip(figure.axes, chosen.values(), strict=False):
        boxes_on(panel, sure.xywh[[d]], pair.ground_truth.sizes[sure.image[d]], **NAMED)
    pair_legend(figure, {"the error": NAMED})
    data = pd.DataFrame(rows, columns=["kind", "number", "image_id"])
    return figure, data.assign(image_id=[pair.ground_truth.image_ids[image] for image in data["image_id"]])


def error_counts(pair: Pair, threshold: float) -> pd.Series:
    """Errors with a score from `threshold` on: each kind in ERRORS, missed objects, and how many of these are
    under-confident: found by a detection below the threshold.
    """
    sure = pair.detections.where(pair.detections.score >= threshold)
    found, any_score = (error_types(pair.ground_truth, table) for table in (sure, pair.detections))
    counts = {kind: (found.kind == kind).sum() for kind in ERRORS}
    missed = found.outcome == "missed"
    under = missed & (any_score.outcome == "found")
    return pd.Series(counts | {"missed": missed.sum(), "under-confident": under.sum()})


def differences(paired: pd.DataFrame) -> tuple[Figure, pd.DataFrame]:
    """Histogram of the AP of images by one detector minus that by another, with the mean and its interval.

    paired: a column for each of the two. Returns (figure, data): both columns and `difference`; data.attrs
    has the mean, and its 95 % interval over images as low and high.
    """
    first, second = paired
    data = paired.assign(difference=paired[first] - paired[second]).dropna()
    difference = data["difference"]
    low, high = bootstrap(np.mean, difference.to_numpy())
    figure, (axes,) = panels(1, 1, 2.6)
    axes.hist(difference, 40, color=CYCLE[0], alpha=0.55)
    axes.axvspan(low, high, color=CYCLE[1], alpha=0.3, linewidth=0)
    axes.axvline(difference.mean(), color=CYCLE[1], label="mean, 95 % interval")
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set(xlabel=f"AP of an image by {first} minus that by {second}", ylabel="images")
    axes.legend()
    data.attrs = {"mean": difference.mean(), "low": low, "high": high}
    return figure, data


def image_features(table: BoxTable) -> pd.DataFrame:
    """What may make an image hard, as far as its boxes tell; a row an image, crowds left out.

    Lengths are normalised to the image's longer side. NaN where an image has no box.
    """
    table, rows = table.where(~table.crowd), []
    for image, size in enumerate(table.sizes):
        mine = table.image == image
        corners, sides = xywh_to_xyxy(table.xywh[mine]), table.xywh[mine, 2:] / size.max()
        overlap = np.triu(iou(corners, corners), 1).max(initial=0) if mine.any() else np.nan
        smallest = sides.max(axis=1).min() if mine.any() else np.nan
        rows.append((len(np.unique(table.category[mine])), mine.sum(), smallest, overlap))
    names = ["number of categories", "number of boxes", "smallest box", "largest IoU of two"]
    return pd.DataFrame(rows, columns=names, index=list(table.image_ids))


def factors(features: pd.DataFrame, aps: Mapping[str, pd.Series]) -> tuple[Figure, pd.DataFrame]:
    """Spearman's rank correlation of AP per image with each feature of the images, a panel a detector.

    features: one row an image. Open marks: over all images. Full marks: among images with one value of the
    first feature, ranks taken within each. Bars are 95 % intervals over images. Returns (figure, data), a row
    a mark.
    """
    held = features.iloc[:, 0]
    among, rows = {"all": None, f"equal {held.name}": held}, []
    for name, ap in aps.items():
        for factor, (images, groups) in itertools.product(features, among.items()):
            rows.append((name, factor, images, *rank_correlation(features[factor], ap, groups)))
    data = pd.DataFrame(rows, columns=["detector", "factor", "images", "correlation", "low", "high"]).dropna()
    figure, axes = panels(len(aps), 2, 2.6, sharex=True, sharey=True)
    for panel, (name, part) in zip(axes, data.groupby("detector", sort=False), strict=True):
        for shift, (images, marks) in zip((-0.15, 0.15), part.groupby("images"), strict=True):
            series = {"shift": shift, "open": shift < 0, "name": images, "order": list(features)}
            intervals(panel, marks, "correlation", "factor", **series)
        panel.set(title=name, xlabel="rank correlation with AP")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure, data


def unlabelled(pair: Pair) -> pd.DataFrame:
    """What lies under sure detections of red cells where the photographs of cells have no box.

    pair: of `cell_pair`. The columns of data/measured/cells_unlabelled.csv (x, y, w, h, score, verdict), with
    `image`, the index into pair.ground_truth.image_ids.
    """
    table, ids = read_table("measured/cells_unlabelled.csv"), pair.ground_truth.image_ids
    return table.assign(image=[ids.index(f"photograph {number}") for number in table["photograph"]])


def unlabelled_examples(pair: Pair, rows: pd.DataFrame) -> Figure:
    """Some rows of `unlabelled` in purple, enlarged, with the boxes around them."""
    figure, axes = panels(len(rows), 4, 1.65)
    for panel, row in zip(axes, rows.itertuples(), strict=True):
        truth, size = pair.ground_truth, pair.ground_truth.sizes[row.image]
        boxes_on(panel, truth.xywh[truth.image == row.image], size, pair.pixels(row.image), **TRUE)
        boxes_on(panel, np.array([[row.x, row.y, row.w, row.h]]), size, **NAMED)
        x, y = row.x + row.w / 2, row.y + row.h / 2
        panel.set(xlim=(x - 28, x + 28), ylim=(y + 21, y - 21))
        panel.set_title(f"{row.photograph}: {row.verdict}", fontsize=8)
    legend(figure, {"ground truth": TRUE, "detection without a box": NAMED})
    return figure


def with_unlabelled(pair: Pair, rows: pd.DataFrame) -> dict[str, Pair]:
    """The pair with those rows of `unlabelled` that are red cells: "ignored" (as crowds) and "counted"."""
    rows, truth = rows[rows["verdict"] == "red cell"], pair.ground_truth
    red = next(category for category, name in truth.names.items() if name == "red cell")
    more = {
        "xywh": np.concatenate([truth.xywh, rows[["x", "y", "w", "h"]]]),
        "image": np.append(truth.image, rows["image"]),
        "category": np.append(truth.category, np.full(len(rows), red)),
    }
    ways = {"ignored": True, "counted": False}
    crowds = {way: np.append(truth.crowd, np.full(len(rows), crowd)) for way, crowd in ways.items()}
    return {w: replace(pair, ground_truth=replace(truth, **more, crowd=crowd)) for w, crowd in crowds.items()}


def ap_and_means(pair: Pair, score_threshold: float) -> pd.Series:
    """AP, AP of the most frequent category ("AP, red cell"), and means of AP, F1 and LRP over images."""
    truth = pair.ground_truth
    category = _most_frequent(truth)
    alone = (table.where(table.category == category) for table in (truth, pair.detections))
    whole = {"AP": evaluate(truth, pair.detections)["AP"]}
    whole[f"AP, {truth.names[category]}"] = evaluate(*alone)["AP"]
    images = evaluate_images(truth, pair.detections, score_threshold)[["AP", "F1", "LRP"]].mean()
    return pd.concat([pd.Series(whole), images.add_prefix("images' mean ")])


def _most_frequent(table: BoxTable) -> int:
    categories, counts = np.unique(table.category[~table.crowd], return_counts=True)
    return int(categories[counts.argmax()])


def fewer_labels(
    pair: Pair, score_threshold: float, shares: Sequence[float] = (0.1, 0.2, 0.3), draws: int = 5
) -> tuple[Figure, pd.DataFrame]:
    """AP with the same detections where a random share of the boxes of the most frequent category is gone.

    Returns (figure, data): share, draw and the columns of `ap_and_means`, a row a draw.
    """
    truth, rows = pair.ground_truth, []
    category = _most_frequent(truth)
    for share, draw in [(0.0, 0), *itertools.product(shares, range(draws))]:
        gone = (truth.category == category) & (np.random.default_rng(draw).random(len(truth)) < share)
        left = replace(pair, ground_truth=truth.where(~gone))
        rows.append({"share": share, "draw": draw} | ap_and_means(left, score_threshold).to_dict())
    data = pd.DataFrame(rows)
    figure, (panel,) = panels(1, 1, 2.7)
    for column, marker, color in zip(data.columns[[3, 4]], "os", CYCLE, strict=False):
        panel.plot(100 * data["share"], data[column], marker, color=color, alpha=0.6, label=column)
        ends = data[column].iloc[0] * np.array([1, 1 - max(shares)])
        panel.plot([0, 100 * max(shares)], ends, "--", color=color, linewidth=1)
    panel.plot([], [], "--", color=NEUTRAL, linewidth=1, label="in proportion to the boxes")
    panel.set(xlabel=f"boxes of {truth.names[category]} taken away, %", ylabel="AP", ylim=(0, None))
    panel.legend(loc="lower left")
    return figure, data


def show_image(axes: Axes, pair: Pair, image: int, score_threshold: float = 0) -> bool:
    """Draw an image with its ground truth and the detections that count; True if there were pixels.

    Crowds, and detections of a class that the image does not have, are dashed. Up to SCORES scores stand at a
    free corner of each detection, behind the class where names of classes are short.
    """
    mine = pair.ground_truth.where(pair.ground_truth.image == image)
    kept = (pair.detections.image == image) & (pair.detections.score >= score_threshold)
    found, pixels = pair.detections.where(kept), pair.pixels(image)
    size = pair.ground_truth.sizes[image]
    if not np.isfinite(size).all():  # the file is silent: the image's own size, or what holds all boxes
        corners = np.concatenate([t.xywh[:, :2] + t.xywh[:, 2:] for t in (mine, found)] + [[[1, 1]]])
        size = pixels.shape[1::-1] if pixels is not None else corners.max(axis=0)
    axes.set_facecolor("0.93")
    absent = ~np.isin(found.category, mine.category[~mine.crowd])
    boxes_on(axes, mine.xywh[:0], size, pixels)
    for table, dashed, style in ((mine, mine.crowd, TRUE), (found, absent, FOUND)):
        boxes_on(axes, table.xywh[~dashed], size, **style)
        boxes_on(axes, table.xywh[dashed], size, **style, linestyle=DASHED)
    axes.set_anchor("N")
    if len(found) <= SCORES:
        _write_scores(axes, found, size)
    return pixels is not None


def _write_scores(axes: Axes, found: BoxTable, size: Sequence[float]) -> None:
    """Scores at a corner of their boxes, the first of four where none stands yet."""
    rim = [withStroke(linewidth=1.6, foreground="black")]
    short = all(len(name) <= 3 for name in found.names.values())  # longer ones would cover the image
    taken = []
    for (x, y, w, h), score, category in zip(found.xywh, found.score, found.category.tolist(), strict=True):
        corners = [(across, down) for across in (x, x + w) for down in (y, y + h)]
        free = [c for c in corners if not any(np.allclose(c, t, atol=0.1 * size[1]) for t in taken)]
        across, down = (free or corners)[0]
        taken.append((across, down))
        text = (f"{found.names[category]}: " if short else "") + f"{score:.2f}".removeprefix("0")
        outside = 0.09 * size[1] < down < 0.91 * size[1]  # of the box, where the image leaves room
        place = {"va": "bottom" if (down == y) == outside else "top"}
        place["ha"] = "left" if across == x and x < 0.8 * size[0] else "right"
        axes.text(across, down, text, fontsize=7, color="white", clip_on=True, path_effects=rim, **place)


def pair_legend(figure: Figure, more: Mapping[str, Mapping] | None = None) -> None:
    """What the frames of `show_image` mean, and `more` (label -> style of a frame)."""
    rim = {"path_effects": [withStroke(linewidth=3.2, foreground=(0, 0, 0, 0.6))]}
    lines = {"ground truth": TRUE, f"detection (score where up to {SCORES})": FOUND} | dict(more or {})
    lines = {label: style | rim for label, style in lines.items()}
    if any(frame.get_linestyle() == DASHED for panel in figure.axes for frame in panel.patches):
        lines["a crowd, or a class that is not there"] = {"color": NEUTRAL, "linestyle": DASHED}
    legend(figure, lines, handlelength=2.4)
