"""Points and anchors: DAB-DETR's Figures 4, 10 and 11 with Conditional DETR, and what a box's size does."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from torch import Tensor

from ...boxes.geometry import cxcywh_to_xyxy, iou_elementwise
from ...boxes.plots.evaluation import GROUND_TRUTH
from ...style import WIDTH
from ...statistics import rank_correlation
from .. import heads, runs
from ..attention import cell_positions, modulate, positional_encoding
from ..detector import Detector
from ..loading import load
from ..matching import gather_targets
from ..queries import AnchorQueries, LearnedQueries, PointQueries
from ..scenes import SceneBatch, make_scenes
from .attention import BARE, HUES, drawn_scene, outline, overlay, pale, title_of
from .convergence import COLORS

DETR, CONDITIONAL, DAB = "headline-detr-0", "headline-conditional-0", "headline-dab-0"
FOUR = 4  # a validation scene with four digits
MANY = 256  # scenes of a statistic


@torch.no_grad()
def positional_queries(model: Detector, pixels: Tensor) -> Float[Tensor, "Q width"]:
    """What each query of one picture says about place in the last layer, before T and all projections.

    o_q for DETR, the code of the reference point for Conditional DETR, and for DAB-DETR the code of the
    anchor's middle, modulated by width and height.
    """
    queries, seen = model.decoder.queries, {}
    if isinstance(queries, LearnedQueries) and not isinstance(queries, PointQueries):
        return queries.object_query
    if not isinstance(queries, AnchorQueries):
        return positional_encoding(model(pixels).references[-1, 0], model.config.width, queries.temperature)
    handle = queries.size_head.register_forward_hook(lambda module, given, output: seen.update(size=output))
    try:
        anchors = model(pixels).references[-1]  # (1, Q, 4)
    finally:
        handle.remove()
    code = positional_encoding(anchors[..., :2], model.config.width, queries.temperature)
    return modulate(code, anchors[..., 2:], seen["size"].sigmoid())[0]  # the last layer spoke last


def positional_maps(scene: int = FOUR) -> tuple[Figure, pd.DataFrame]:
    """DAB-DETR Figure 4: positional query against position codes, for the four objects of one scene.

    A row a model, softmax over the cells of the dot product of `positional_queries` and the key positional encoding,
    divided by the root of their width. The true box is framed. Each panel is scaled by its own maximum.
    """
    figure, panels = plt.subplots(3, 4, figsize=(WIDTH["page"], 5.2))
    rows = []
    for line, name in zip(panels, (DETR, CONDITIONAL, DAB), strict=True):
        run, model = runs.RUNS[name], load(name)
        scenes = make_scenes(1, side=run.side, split="val", first=scene)
        picture = drawn_scene(scene)
        pixels, targets = torch.from_numpy(scenes.pixels), gather_targets(scenes.boxes, scenes.labels)
        pairs, width = heads.found_by(model, pixels, targets, least_iou=0), run.detector.width
        cells = positional_encoding(cell_positions(16, 16), width, run.detector.temperature)
        maps = (
            (positional_queries(model, pixels).detach() @ cells.T / width**0.5)
            .softmax(-1)
            .unflatten(-1, (16, 16))
        )
        for query, thing in zip(pairs.query.tolist(), pairs.box.tolist(), strict=True):
            panel, box = line[thing], targets.boxes[thing].numpy()
            overlay(panel, picture, maps[query], HUES[0])
            outline(panel, box, "#00A86B")
            x_width, y_width = heads.map_widths(maps[query]).tolist()
            panel.set_xlabel(f"standard deviation {x_width:.2f} x {y_width:.2f}", fontsize=7, labelpad=2)
            rows.append(
                {"model": name, "object": thing, "query": query, "x_width": x_width, "y_width": y_width}
            )
        line[0].set_ylabel(title_of(name), fontsize=8)
    return figure, pd.DataFrame(rows).round(4)


def learned_anchors() -> tuple[Figure, pd.DataFrame]:
    """DAB-DETR Figure 10: where queries start after training, its anchors and Conditional DETR's points.

    They are the same for every picture; one seed.
    """
    figure, panels = plt.subplots(1, 3, figsize=(WIDTH["page"], 2.7))
    rows = []
    for name in (DAB, CONDITIONAL):
        with torch.no_grad():
            start = load(name).decoder.queries.start(1)[0].numpy()  # (Q, 4 or 2)
        for query, place in enumerate(start):
            rows.append({"run": name, "query": query} | dict(zip("xywh", place.tolist(), strict=False)))
    table = pd.DataFrame(rows)
    anchors, points = table[table["w"].notna()], table[table["w"].isna()]
    order = anchors.assign(area=anchors["w"] * anchors["h"]).sort_values("area", ascending=False)
    for _, row in order.iterrows():
        outline(panels[0], row[["x", "y", "w", "h"]].astype(float), COLORS["dab"], lw=1, alpha=0.8)
        panels[0].plot(row["x"], row["y"], ".", ms=3, color=COLORS["dab"])
    panels[1].plot(points["x"], points["y"], "o", ms=4, color=COLORS["conditional"])
    panels[2].plot(anchors["w"], anchors["h"], "o", ms=4, color=COLORS["dab"])
    panels[0].set(**BARE, title="DAB: learned anchors", box_aspect=1)
    panels[1].set(**BARE, title="Conditional: reference points", box_aspect=1)
    for panel in panels[:2]:  # the picture's border
        panel.spines[["top", "right"]].set_visible(True)
    panels[2].set(xlabel="anchor width [fraction of side]", ylabel="anchor height [fraction of side]")
    panels[2].set(xlim=(0, 1), ylim=(0, 1), title="DAB: sizes of the anchors", box_aspect=1)
    return figure, table.round(4)


@torch.no_grad()
def layer_ious(model: Detector, scenes: SceneBatch) -> Float[Tensor, "L N"]:
    """IoU of each object with the box that its query reports in each layer; matched in the last layer."""
    pixels, targets = torch.from_numpy(scenes.pixels), gather_targets(scenes.boxes, scenes.labels)
    pairs, boxes = heads.found_by(model, pixels, targets, least_iou=0.5), model(pixels).boxes
    chosen = boxes[:, pairs.image, pairs.query]  # (L, N, 4)
    return iou_elementwise(cxcywh_to_xyxy(chosen), cxcywh_to_xyxy(targets.boxes[pairs.box]))


def boxes_per_layer(scene: int = FOUR) -> tuple[Figure, dict[str, pd.DataFrame]]:
    """DAB-DETR Figure 11: the boxes of one scene after each decoder layer, and mean IoU over many scenes.

    Each object keeps the query that answers for it in the last layer. Bars of the statistic are the
    interquartile range over the objects found in 256 validation scenes.
    """
    figure, panels = plt.subplots(2, 4, figsize=(WIDTH["page"], 4.3), width_ratios=(1, 1, 1, 1.15))
    picture = drawn_scene(scene)
    scenes, many = (make_scenes(n, split="val", first=f) for n, f in ((1, scene), (MANY, 0)))
    pixels, targets = torch.from_numpy(scenes.pixels), gather_targets(scenes.boxes, scenes.labels)
    shown, measured = [], []
    for line, name, hue in zip(
        panels, (CONDITIONAL, DAB), (COLORS["conditional"], COLORS["dab"]), strict=True
    ):
        model = load(name)
        with torch.no_grad():
            boxes = model(pixels).boxes[:, 0]  # (L, Q, 4)
        pairs = heads.found_by(model, pixels, targets, least_iou=0)
        for layer, panel in enumerate(line[:3]):
            pale(panel, picture)
            panel.set(**BARE, box_aspect=1)
            panel.grid(False)
            for query, thing in zip(pairs.query.tolist(), pairs.box.tolist(), strict=True):
                outline(panel, targets.boxes[thing].numpy(), GROUND_TRUTH, lw=2.2)
                outline(panel, boxes[layer, query].numpy(), hue, lw=1.3)
                place = dict(zip(("cx", "cy", "w", "h"), boxes[layer, query].tolist(), strict=True))
                shown.append({"model": name, "layer": layer, "object": thing, **place})
            panel.set_title(("first layer", "second layer", "last layer")[layer], loc="center")
        line[0].set_ylabel(title_of(name), fontsize=8)
        overlap = layer_ious(model, many)
        _iou_by_layer(line[3], overlap, hue)
        measured += [
            {"model": name, "layer": n, "mean_iou": one.mean().item(), "objects": overlap.shape[1]}
            for n, one in enumerate(overlap)
        ]
    colors = {"true box": GROUND_TRUTH, "Conditional DETR": COLORS["conditional"], "DAB-DETR": COLORS["dab"]}
    figure.legend(
        handles=[Line2D([], [], color=color, label=label) for label, color in colors.items()],
        loc="outside lower center",
        ncols=3,
    )
    return figure, {"boxes": pd.DataFrame(shown).round(4), "iou": pd.DataFrame(measured).round(4)}


def _iou_by_layer(panel: Axes, overlap: Float[Tensor, "L N"], hue: str) -> None:
    low, high = (overlap.quantile(q, dim=1).numpy() for q in (0.25, 0.75))
    mean, layers = overlap.mean(1).numpy(), np.arange(len(overlap))
    panel.vlines(layers, low, high, color=hue, lw=5, alpha=0.25)
    panel.plot(layers, mean, "o-", color=hue)
    for layer, value in zip(layers, mean, strict=True):
        panel.annotate(
            f"{value:.2f}", (layer, value), (0, -11), textcoords="offset points", ha="center", fontsize=7
        )
    panel.set(
        xticks=layers,
        xticklabels=("first", "second", "last"),
        xlabel="layer",
        ylabel="mean IoU",
        ylim=(0.4, 1),
        xlim=(-0.4, len(layers) - 0.6),
    )


def width_by_box() -> tuple[Figure, pd.DataFrame]:
    """How the spatial maps of the last layer widen with the object, Conditional DETR beside DAB-DETR.

    A dot an object: its box's width (height) and the map's width along x (y), the median over heads. The
    rank correlation stands with its 95 % bootstrap interval over objects. Digits that are high are mostly
    wide too, so a high correlation on one axis says little about which of the two sizes did it.
    """
    figure, panels = plt.subplots(1, 4, figsize=(WIDTH["page"], 2.3), sharey=True)
    scenes, rows = make_scenes(MANY, split="val"), []
    for column, (name, hue) in enumerate(((CONDITIONAL, COLORS["conditional"]), (DAB, COLORS["dab"]))):
        looks = heads.looks_of(load(name), scenes)["spatial"]
        width = looks.width[-1].median(0).values.numpy()  # (N, 2)
        size = looks.boxes[:, 2:].numpy()
        for axis, panel in enumerate(panels[2 * column : 2 * column + 2]):
            panel.plot(size[:, axis], width[:, axis], ".", ms=2.5, alpha=0.35, color=hue, rasterized=True)
            found = rank_correlation(size[:, axis], width[:, axis])
            panel.set_title(
                f"{('Conditional', 'DAB')[column]}, {'xy'[axis]}: ρ {found.rho:.2f}", loc="center", fontsize=8
            )
            panel.set_xlabel(("box width", "box height")[axis] + " [of side]")
            row = {
                "model": name,
                "axis": "xy"[axis],
                "spearman": found.rho,
                "low": found.low,
                "high": found.high,
            }
            rows.append(row | {"objects": len(size)})
    panels[0].set_ylabel("map width [of side]")
    return figure, pd.DataFrame(rows).round(4)
