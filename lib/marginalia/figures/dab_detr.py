"""DAB-DETR (ICLR 2022): its figures beside Conditional DETR, with detectors trained here."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor

from marginalia import plots
from marginalia.boxes.geometry import cxcywh_to_xyxy, iou_elementwise
from marginalia.detection import heads
from marginalia.detection.attention import (
    cell_positions,
    modulate,
    positional_encoding,
    sine_frequencies,
    unprojected_logits,
)
from marginalia.detection.detector import Detector
from marginalia.detection.loading import load
from marginalia.detection.matching import gather_targets
from marginalia.detection.queries import AnchorQueries, PointQueries
from marginalia.detection.scenes import SceneBatch, make_scenes
from marginalia.record import record
from marginalia.store import read_table
from marginalia.style import CYCLE, GROUND_TRUTH, MODEL_COLORS, PALETTE, WIDTH

from .conditional_detr import draw_kinds, draw_published, drawn_scene, mark_drop, title_of
from .runs import GROUPS, METRICS, histories, run_names, settings

DETR, CONDITIONAL, DAB = "headline-detr-0", "headline-conditional-0", "headline-dab-0"
SCENE = 4  # a validation scene with four digits
MODEL_WIDTH, SCALE = 256, 1 / 8  # of the published models: 8 heads of D = 32, logits times 1 / sqrt(2 D)


def training_curves() -> tuple[Figure, pd.DataFrame]:
    """Figure 3: learned queries, learned queries that are fixed, and anchor boxes."""
    frame = histories(run_names("dab_figure_3"))
    figure, axes = plots.panels(2, 2, 3.1)
    options = settings("small-dab-0")["options"]
    colors = {"learned": "orange", "fixed learned": "purple", "anchors": "green"}
    for panel, metric in zip(axes, ("AP", "mean_iou"), strict=True):
        for row, base in GROUPS["dab_figure_3"].items():
            plots.seed_curves(panel, frame[frame["base"] == base], metric, PALETTE[colors[row]], row)
        mark_drop(panel, options)
        panel.set(xlim=(0, options["steps"]), ylim=(0, 1), xlabel="training steps", ylabel=METRICS[metric])
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper left", ncols=4)
    return figure, frame


def positional_maps(scene: int = SCENE) -> tuple[Figure, pd.DataFrame]:
    """Figure 4: positional query against positional encodings; a row a model, a column an object.

    Softmax over cells of the dot product of `positional_queries` and the key positional encoding, divided by
    the root of their width. The ground truth is framed. Each panel is scaled by its own maximum.
    """
    scenes = make_scenes(1, split="val", first=scene)
    pixels, targets = torch.from_numpy(scenes.pixels), gather_targets(scenes.boxes, scenes.labels)
    count = len(targets.boxes)
    figure, axes = plots.panels(3 * count, count, 1.75)
    rows = []
    for line, name in zip(np.reshape(axes, (3, count)), (DETR, CONDITIONAL, DAB), strict=True):
        model = load(name)
        width = model.config.width
        key_encoding = positional_encoding(cell_positions(16, 16), width, model.config.temperature)
        logits = positional_queries(model, pixels) @ key_encoding.T / width**0.5  # (Q, K)
        maps = logits.softmax(-1).unflatten(-1, (16, 16))
        pairs = heads.found_by(model, pixels, targets, least_iou=0)
        for query, thing in zip(pairs.query.tolist(), pairs.box.tolist(), strict=True):
            box = targets.boxes[thing].numpy()
            plots.map_over(line[thing], maps[query].numpy(), drawn_scene(scene), box)
            x, y = heads.map_widths(maps[query]).tolist()
            line[thing].set_xlabel(f"standard deviation {x:.2f} × {y:.2f}", fontsize=7, labelpad=2)
            rows.append({"model": name, "object": thing, "query": query, "x_width": x, "y_width": y})
        line[0].set_ylabel(title_of(name), fontsize=8)
    return figure, pd.DataFrame(rows).round(4)


@torch.no_grad()
def positional_queries(model: Detector, pixels: Tensor) -> Float[Tensor, "Q width"]:
    """What each query of one image says about place in the last layer, before T and all projections.

    o_q for DETR, the encoding of the reference point for Conditional DETR, and for DAB-DETR the encoding of
    the anchor's centre, modulated by width and height.
    """
    queries, size_head = model.decoder.queries, "decoder.queries.size_head"
    anchored = isinstance(queries, AnchorQueries)
    if not anchored and not isinstance(queries, PointQueries):
        return queries.object_query.detach()
    with record(model, [size_head] if anchored else []) as seen:
        references = model(pixels).references[-1]  # (1, Q, 2 or 4)
    encoding = positional_encoding(references[..., :2], model.config.width, queries.temperature)
    if anchored:
        size = seen[size_head][-1].output.sigmoid()  # of the last layer: (w_ref, h_ref)
        encoding = modulate(encoding, references[..., 2:], size)
    return encoding[0]


def modulated_attention(
    anchors: Sequence[tuple[float, float]] = ((0.2, 0.2), (0.6, 0.2), (0.2, 0.6), (0.0667, 0.2)),
) -> tuple[Figure, pd.DataFrame]:
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

    figure, axes = plots.panels(len(anchors), len(anchors), height=1.9)
    for panel, row, attention in zip(axes, data.itertuples(), weights, strict=True):
        box = (0.5, 0.5, row.w, row.h)
        plots.map_over(panel, attention.unflatten(0, (h, w)), box=box, point=(0.5, 0.5), color="white")
        factors = f"x times {_ratio(row.factor_x)}, y times {_ratio(row.factor_y)}"
        panel.set_title(f"anchor {row.w:.2g} × {row.h:.2g}\n{factors}", fontsize=8)
        panel.set_xlabel(f"std x {row.std_x:.3f}, y {row.std_y:.3f}", fontsize=8)
    return figure, data


def _ratio(factor: float) -> str:
    return f"{factor:.2g}" if factor >= 1 else f"1/{1 / factor:.2g}"


def temperature_maps(
    temperatures: Sequence[float] = (1, 10, 20, 10000),
) -> tuple[Figure, dict[str, pd.DataFrame]]:
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
        plots.map_over(panel, weights.unflatten(0, (32, 32)), point=point)
        panel.set_title(f"temperature {temperature:g}\nS = {float((omega**2).sum()):.2f}", loc="center")
        below.plot("delta", name, data=kernel, color=CYCLE[k], label=f"temperature {temperature:g}")
    below.axhline(0, color=plots.NEUTRAL, linewidth=0.8)
    below.set(xlim=(0, 1), xlabel="difference δ of one coordinate (image side = 1)", ylabel="Σ cos(2π ω δ)")
    below.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=len(temperatures))
    return figure, {"maps": maps, "kernel": kernel}


def learned_anchors() -> tuple[Figure, pd.DataFrame]:
    """Figure 10: where queries start after training, DAB-DETR's anchors and Conditional DETR's points.

    They are the same for every image; one seed.
    """
    rows = []
    for name in (DAB, CONDITIONAL):
        with torch.no_grad():
            start = load(name).decoder.queries.start(1)[0]  # (Q, 4 or 2)
        for query, place in enumerate(start.tolist()):
            rows.append({"run": name, "query": query} | dict(zip("xywh", place, strict=False)))
    table = pd.DataFrame(rows)
    anchors, points = table[table["w"].notna()], table[table["w"].isna()]
    figure, axes = plots.panels(3, 3, 2.7)
    corner = anchors[["x", "y"]].to_numpy() - anchors[["w", "h"]].to_numpy() / 2
    color = MODEL_COLORS["dab"]
    plots.boxes_on(axes[0], np.hstack([corner, anchors[["w", "h"]]]), color=color, linewidth=0.9)
    axes[0].plot(anchors["x"], anchors["y"], ".", markersize=3, color=color)
    plots.bare(axes[1])
    axes[1].plot(points["x"], points["y"], "o", markersize=4, color=MODEL_COLORS["conditional"])
    axes[2].plot(anchors["w"], anchors["h"], "o", markersize=4, color=color)
    axes[2].set(xlim=(0, 1), ylim=(0, 1), box_aspect=1)
    axes[2].set(xlabel="anchor width [fraction of side]", ylabel="anchor height [fraction of side]")
    titles = ("DAB: learned anchors", "Conditional: reference points", "DAB: sizes of the anchors")
    for panel, title in zip(axes, titles, strict=True):
        panel.set_title(title)
        panel.spines[["top", "right"]].set_visible(True)
    return figure, table.round(4)


def boxes_per_layer(scene: int = SCENE) -> tuple[Figure, dict[str, pd.DataFrame]]:
    """Figure 11: the boxes of one scene after each decoder layer, and mean IoU over 256 scenes.

    Each object keeps the query that answers for it in the last layer. Bars of the statistic are the
    interquartile range over objects. data: boxes, iou.
    """
    scenes, many = make_scenes(1, split="val", first=scene), make_scenes(256, split="val")
    pixels, targets = torch.from_numpy(scenes.pixels), gather_targets(scenes.boxes, scenes.labels)
    figure, axes = plots.panels(8, 4, 2.2)
    shown, measured = [], []
    for line, name, kind in ((axes[:4], CONDITIONAL, "conditional"), (axes[4:], DAB, "dab")):
        model, color = load(name), MODEL_COLORS[kind]
        with torch.no_grad():
            boxes = model(pixels).boxes[:, 0]  # (L, Q, 4)
        pairs = heads.found_by(model, pixels, targets, least_iou=0)
        for layer, (panel, title) in enumerate(zip(line, ("first", "second", "last"), strict=False)):
            found = boxes[layer, pairs.query]
            plots.boxes_on(panel, _corner(targets.boxes), (1, 1), drawn_scene(scene), GROUND_TRUTH)
            plots.boxes_on(panel, _corner(found), color=color)
            panel.set_title(f"{title} layer", loc="center")
            for thing, place in zip(pairs.box.tolist(), found.tolist(), strict=True):
                row = {"model": name, "layer": layer, "object": thing}
                shown.append(row | dict(zip(("cx", "cy", "w", "h"), place, strict=True)))
        line[0].set_ylabel(title_of(name), fontsize=8)
        overlap = layer_ious(model, many)  # (L, N)
        low, high = overlap.quantile(torch.tensor([0.25, 0.75]), dim=1).numpy()
        mean, layers = overlap.mean(1).numpy(), np.arange(len(overlap))
        line[3].vlines(layers, low, high, color=color, linewidth=5, alpha=0.25)
        line[3].plot(layers, mean, "o-", color=color)
        for layer, value in zip(layers.tolist(), mean.tolist(), strict=True):
            place = {"textcoords": "offset points", "ha": "center", "fontsize": 7}
            line[3].annotate(f"{value:.2f}", (layer, value), (0, -11), **place)
            measured.append({"model": name, "layer": layer, "mean_iou": value, "objects": overlap.shape[1]})
        line[3].set_xticks(layers, ("first", "second", "last"))
        line[3].set(ylabel="mean IoU", ylim=(0.4, 1), xlim=(-0.4, len(layers) - 0.6))
    colors = (GROUND_TRUTH, MODEL_COLORS["conditional"], MODEL_COLORS["dab"])
    names = ("ground truth", "Conditional DETR", "DAB-DETR")
    plots.legend(figure, {name: {"color": color} for name, color in zip(names, colors, strict=True)})
    return figure, {"boxes": pd.DataFrame(shown).round(4), "iou": pd.DataFrame(measured).round(4)}


def _corner(boxes: Float[Tensor, "N 4"]) -> Float[np.ndarray, "N 4"]:
    """(cx, cy, w, h) as (x, y, w, h)."""
    return torch.cat([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, 2:]], 1).numpy()


@torch.no_grad()
def layer_ious(model: Detector, scenes: SceneBatch) -> Float[Tensor, "L N"]:
    """IoU of each object with the box that its query reports in each layer; matched in the last layer."""
    pixels, targets = torch.from_numpy(scenes.pixels), gather_targets(scenes.boxes, scenes.labels)
    pairs, boxes = heads.found_by(model, pixels, targets, least_iou=0.5), model(pixels).boxes
    chosen = boxes[:, pairs.image, pairs.query]  # (L, N, 4)
    return iou_elementwise(cxcywh_to_xyxy(chosen), cxcywh_to_xyxy(targets.boxes[pairs.box]))


def convergence() -> tuple[Figure, dict[str, pd.DataFrame]]:
    """Figure 13: AP beside its predecessors', its lead over Conditional DETR seed by seed, and published AP.

    data: runs, lead, published.
    """
    frame = histories(run_names("headline"))
    size = WIDTH["page"], 3.3
    figure, (here, between, paper) = plt.subplots(1, 3, figsize=size, width_ratios=(1.1, 1.1, 1.15))
    draw_kinds(here, frame, "AP")
    wide = frame.pivot(index=["seed", "step"], columns="base", values="AP")
    lead = wide[GROUPS["headline"]["dab"]] - wide[GROUPS["headline"]["conditional"]]
    lead = lead.dropna().rename("AP").reset_index()
    plots.seed_curves(between, lead, "AP", MODEL_COLORS["dab"], "lead")
    between.axhline(0, color="black", linewidth=0.8)
    options = settings(DAB)["options"]
    mark_drop(between, options)
    between.set(xlim=(0, options["steps"]), xlabel="training steps", ylabel="AP of DAB − AP of Conditional")
    shown = _predecessors()
    draw_published(paper, shown["AP"])
    paper.set_yticks(range(len(shown)), shown.index, fontsize=7)
    paper.set(xlim=(33.5, 44.9))
    paper.set_xlabel("AP on COCO (%), 50 epochs,\nResNet-50; *: three patterns", fontsize=7.5)
    for panel, title in ((here, "Here"), (between, "Here: the lead of each seed"), (paper, "Published")):
        panel.set_title(title)
    figure.legend(*here.get_legend_handles_labels(), loc="outside upper left", ncols=3)
    return figure, {"runs": frame, "lead": lead, "published": shown.reset_index()}


def _predecessors() -> pd.DataFrame:
    """Published AP after 50 epochs with a ResNet-50, oldest first; the star: three patterns an anchor."""
    old, new = (read_table(f"published/{name}_coco.csv") for name in ("conditional_detr", "dab_detr"))
    old = old[(old["model"] == "DETR") & (old["backbone"] == "R50") & (old["epochs"] == 50)]
    new = new[new["backbone"] == "R50"]
    label = new["model"] + np.where(new["three_patterns"] == "yes", " *", "")
    rows = pd.concat([old.set_index("model"), new.set_index(label)])[["AP", "AP50", "AP75", "source"]]
    order = ["DETR", "Conditional DETR", "Anchor DETR *", "DAB-DETR", "DAB-DETR *"]
    return rows.loc[order].rename_axis("model")
