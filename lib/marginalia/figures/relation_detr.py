"""Relation DETR (ECCV 2024): its figures, and below them what Figure 1 is made of."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, LogNorm, to_hex
from matplotlib.figure import Figure

from marginalia import plots
from marginalia.boxes.correlation import macroscopic_correlation
from marginalia.boxes.evaluation import evaluate_images, quantile_images
from marginalia.boxes.geometry import cxcywh_to_xywh
from marginalia.boxes.nulls import null_correlations
from marginalia.boxes.reading import read_boxes
from marginalia.boxes.table import BoxTable
from marginalia.detection.scenes import SceneBatch, cell_scenes, make_scenes
from marginalia.plots import DASHED, NEUTRAL, boxes_on, density, legend, panels, seed_ranges
from marginalia.store import read_table
from marginalia.style import CYCLE, DATASET_COLORS, DATASETS, DIVERGING, MODELS, PALETTE, WIDTH

from .detections import Pair, best_score, gallery, open_pair
from .runs import GROUPS, PARTS, at_the_end, histories, run_names, seeds_of

if TYPE_CHECKING:
    from marginalia.detection.groups import QueryGroups

RELATION = "vermilion"  # what the position relation adds to a decoder
RELATED_MODELS = ("arranged-relation-0", "cells-relation-0")  # detectors of Figure 5
QUANTILES = (0, 0.1, 0.25, 0.5, 0.75, 1)


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

    titles = ("as annotated", "boxes permuted between images")
    figure, axes = panels(2, 2, 3.3, titles, sharex=True, sharey=True)
    entries = {}
    for name, histogram in histograms.groupby("dataset", sort=False):
        style = {"color": DATASET_COLORS[name], "linewidth": 2.4 if name == "your file" else 1.6}
        for panel, column in zip(axes, ("observed", "null"), strict=True):
            density(panel, histogram["low"] + 0.005, histogram[column], **style)
        peak = axes[0].lines[-1].get_ydata().max()
        for panel in axes:
            panel.lines[-1].set_ydata(panel.lines[-1].get_ydata() / peak)
        entries[f"{name}, {histogram['observed'].sum():,.0f}"] = style
    for panel in axes:
        panel.set(xlabel="MC of an image", xlim=(0, 1), ylim=(0, 1.75))
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
    calls = seen["decoder.relation"]
    first = sizes["decoder_layers"] - len(calls) + 1
    rows = [(first + k, f"b{k}", f"b{k + 1}", tuple(call.output.shape)) for k, call in enumerate(calls)]
    data = pd.DataFrame(rows, columns=["layer", "source", "target", "shape"])
    boxes, (_, H, N, M) = tuple(calls[0].inputs["source"].shape), data["shape"][0]

    layer = {
        "queries": (0, 0.02, "none", "queries of the layer before"),
        "self": (0, 0.22, "grey", "self-attention\nq kᵀ / √D"),
        "cross": (0, 0.43, "grey", "cross-attention"),
        "feed": (0, 0.62, "grey", "feed-forward"),
        "heads": (0, 0.8, "grey", "box head, class head"),
        "next": (0, 0.97, "none", "next layer"),
    }
    branch = {
        "boxes": (-1.1, 0.92, RELATION, f"boxes of the two layers before\nsource {boxes}, target {boxes}"),
        "geometry": (-1.1, 0.68, RELATION, f"relative geometry\n{(1, N, M, 4)}"),
        "sines": (-1.1, 0.45, RELATION, f"sines and cosines\n{(1, N, M, 64)}"),
        "Rel": (-1.1, 0.22, RELATION, f"max(0, W · + B): Rel\n{(1, H, N, M)}"),
    }
    six = {f"b{k}": (k, 0, "none", f"$b^{k}$", {"boxstyle": "square,pad=0"}) for k in range(7)}
    six |= {k: (k - 0.5, 0, "grey" if k == 1 else RELATION, f"layer {k}") for k in range(1, 7)}
    bend = {"connectionstyle": "arc3,rad=-0.45"}

    figure = plt.figure(figsize=(WIDTH["page"], 5.4), layout="constrained")
    upper, lower = figure.subfigures(2, 1, height_ratios=(2.5, 1))
    plain, related = upper.subplots(1, 2, width_ratios=(1, 2.1))
    plain.set(xlim=(-0.5, 0.5), title="without")
    related.set(xlim=(-1.6, 0.5), title="with the position relation")
    plots.diagram(plain, layer, itertools.pairwise(layer))
    added = [*itertools.pairwise(branch), ("Rel", "self", {"color": PALETTE[RELATION]})]
    plots.diagram(related, layer | branch, [*itertools.pairwise(layer), *added])
    related.text(-0.53, 0.25, "+ Rel", color=PALETTE[RELATION], ha="center", fontsize=9)
    below = lower.subplots()
    below.set(xlim=(-0.6, 6.5), ylim=(-0.75, 1.15), title=f"six layers, {len(data)} relations")
    ends = [(end, row.layer, bend) for row in data.itertuples() for end in (row.source, row.target)]
    plots.diagram(below, six, ends)
    note = "$b^0$: boxes before the first layer, which has no others; $b^k$: boxes after layer k."
    below.text(3, -0.6, note, ha="center", fontsize=8)
    return figure, data


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
_FLOWS = (  # of Figure 3, from and to
    *(("denoising", "first"), ("matching", "first"), ("hybrid", "second"), ("relation", "first")),
    *(("first", "known"), ("first", "one"), ("second", "many")),
    ("second", "first", {"arrowstyle": "<|-|>"}),  # the same weights
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
    frames = {name: {"linestyle": "-" if name in _KEPT else DASHED} for name in _PIPELINE}
    blocks = {n: (*part, text.format(**texts), frames[n]) for n, (*part, text) in _PIPELINE.items()}
    plots.diagram(left, blocks, _FLOWS)
    left.text(2.65, 1.35, "the same weights", fontsize=8, va="center")
    left.text(4.2, 3.35, "dashed: in training only", fontsize=8, ha="center", va="center")
    left.set(xlim=(0, 4.9), ylim=(0.1, 3.6))
    block_matrix(right, replace(groups, sizes=(1,) * len(groups.sizes)))
    shown = [0, *range(len(groups.sizes))[-3:]]
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
    0.3 on, in the last layer; those whose weight changes most have a tag, six at most, none on another.
    Returns (figure, data), data with model, image, query, x, y, w, h (in image sizes) and multiplier:
    exp(Rel) over its mean over all other queries, mean over heads; NaN for the object itself.
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
        corners, told = xywh[~own, :2] / size, []  # largest changes first; more would cover a photograph
        for n in np.argsort(-np.log(values).abs().to_numpy(), kind="stable"):
            apart = (abs(corners[told] - corners[n]) > (0.14, 0.08)).any(axis=1)
            if len(told) < 6 and apart.all():
                told.append(n)
        tags = [f"{value:.2f}" if n in told else "" for n, value in enumerate(values)]
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
        multiplier = strength[sure].where(sure != i, torch.nan).numpy()
        frame = frame.assign(multiplier=multiplier, model=name, image=image, query=sure.numpy())
        rows.append(frame.sort_values("multiplier"))  # the last is drawn on top
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
            series = {"shift": shift, "color": color, "open": layout == "scattered", "name": layout}
            seed_ranges(panel, runs, metric, "part", order=PARTS, **series)
        panel.set(xlabel=name)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, title="layout of scenes")
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
    axes.set(xlabel="gain of AP (dot: a seed, line: mean; in brackets: mean AP without)")
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
    colors, extent = ListedColormap([CYCLE[0], "0.9"]), (0, edges[-1], edges[-1], 0)
    axes.imshow(groups.mask().numpy(), colors, vmin=0, vmax=1, extent=extent)
    for every, width in ((range(edges[-1]), 0.5), (edges, 1.6)):
        axes.hlines(every, 0, edges[-1], color="white", linewidth=width)
        axes.vlines(every, 0, edges[-1], color="white", linewidth=width)
    middles = (edges[1:] + edges[:-1]) / 2
    named = zip(groups.names, groups.sizes, strict=True)
    sizes = [f"{name}, {size}" if size > 1 else name for name, size in named]
    axes.set_xticks(middles, groups.names, rotation=90)
    axes.set_yticks(middles, sizes)
    axes.tick_params(length=0, labelsize=7)
    axes.grid(False)
    axes.spines[:].set_visible(False)
