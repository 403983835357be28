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

from marginalia import detection, plots
from marginalia.boxes.geometry import cxcywh_to_xywh, cxcywh_to_xyxy, iou_elementwise
from marginalia.detection import attention as maths
from marginalia.detection import heads
from marginalia.detection.attention import positional_encoding
from marginalia.detection.loading import load
from marginalia.record import record
from marginalia.store import read_table
from marginalia.style import CYCLE, GROUND_TRUTH, MODEL_COLORS, MODELS, PALETTE, WIDTH

from .conditional_detr import curves, draw_curves, draw_published, drawn_scene, title_of, validation
from .runs import GROUPS, LONG, histories, run_names

DETR, CONDITIONAL, DAB = "headline-detr-0", "headline-conditional-0", "headline-dab-0"
SCENE = 4  # a validation scene with four digits
MODEL_WIDTH, SCALE = 256, 1 / 8  # of the published models: 8 heads of D = 32, logits times 1 / sqrt(2 D)


def training_curves() -> tuple[Figure, pd.DataFrame]:
    """Figure 3: learned queries, learned queries that are fixed, and anchor boxes."""
    frame = histories(run_names("dab_figure_3"))
    names = {base: row for row, base in GROUPS["dab_figure_3"].items()}
    colors = dict(zip(names.values(), (PALETTE[c] for c in ("orange", "purple", "green")), strict=True))
    return curves(frame.assign(kind=frame["base"].map(names)), ["AP", "mean_iou"], colors), frame


def positional_maps() -> tuple[Figure, pd.DataFrame]:
    """Figure 4: positional query against positional encodings; a row a model, a column an object.

    Softmax over cells of the dot product of `positional_queries` and the key positional encoding, divided by
    the root of their width. The ground truth is framed. Each panel is scaled by its own maximum.
    """
    pixels, targets = validation(1, SCENE)
    count = len(targets.boxes)
    figure, axes = plots.panels(3 * count, count, 1.75)
    rows = []
    for line, name in zip(np.reshape(axes, (3, count)), (DETR, CONDITIONAL, DAB), strict=True):
        model = load(name)
        width, temperature = model.config.width, model.config.temperature
        logits = maths.unprojected_logits(positional_queries(model, pixels), 16, 16, temperature)  # (Q, h, w)
        maps = (logits / width**0.5).flatten(1).softmax(-1).unflatten(-1, (16, 16))
        pairs = heads.found_by(model, pixels, targets, least_iou=0)
        for query, thing in zip(pairs.query.tolist(), pairs.box.tolist(), strict=True):
            plots.map_over(line[thing], maps[query].numpy(), drawn_scene(SCENE), targets.boxes[thing].numpy())
            x, y = heads.map_widths(maps[query]).tolist()
            line[thing].set_xlabel(f"standard deviation {x:.2f} × {y:.2f}", fontsize=7, labelpad=2)
            rows.append({"model": name, "object": thing, "query": query, "x_width": x, "y_width": y})
        line[0].set_ylabel(title_of(name), fontsize=8)
    return figure, pd.DataFrame(rows).round(4)


@torch.no_grad()
def positional_queries(model: detection.Detector, pixels: Tensor) -> Float[Tensor, "Q width"]:
    """What each query of one image says about place in the last layer, before T and all projections.

    o_q for DETR, the encoding of the reference point for Conditional DETR, and for DAB-DETR the encoding of
    the anchor's centre, modulated by width and height.
    """
    kind, queries, size_head = model.config.kind, model.decoder.queries, "decoder.queries.size_head"
    if kind.startswith("detr"):
        return queries.object_query.detach()
    with record(model, [size_head] if kind == "dab" else []) as seen:
        references = model(pixels).references[-1]  # (1, Q, 2 or 4)
    encoding = positional_encoding(references[..., :2], model.config.width, queries.temperature)
    if kind == "dab":
        size = seen[size_head][-1].output.sigmoid()  # of the last layer: (w_ref, h_ref)
        encoding = maths.modulate(encoding, references[..., 2:], size)
    return encoding[0]


def modulated_attention() -> tuple[Figure, pd.DataFrame]:
    """Figure 6: attention of one reference point for anchors of several sizes (w, h), before projections.

    The factors are w_ref / w on x and h_ref / h on y, where w_ref = h_ref = 0.2; a trained model predicts
    them for each query and layer. Returns (figure, data), data one row an anchor: w, h, factor_x, factor_y,
    std_x, std_y (standard deviation of the map, normalised to the side).
    """
    # the spatial query of each anchor, then its map with keys that are not projected either
    anchors = (0.2, 0.2), (0.6, 0.2), (0.2, 0.6), (0.0667, 0.2)
    sizes = torch.tensor(anchors, dtype=torch.float64)  # (Q, 2)
    wished = torch.full_like(sizes, 0.2)
    middle = positional_encoding(torch.full_like(sizes, 0.5), MODEL_WIDTH, 20.0)
    query = maths.modulate(middle[None], sizes[None], wished[None])[0]  # (Q, width)
    maps = maths.unprojected_logits(query, 25, 34, 20.0) * SCALE  # (Q, h, w)
    maps = maps.flatten(1).softmax(-1).unflatten(-1, (25, 34))
    columns = ["w", "h", "factor_x", "factor_y", "std_x", "std_y"]
    data = torch.cat((sizes, wished / sizes, heads.map_widths(maps)), dim=1)
    data = pd.DataFrame(data.numpy(), columns=columns)

    figure, axes = plots.panels(len(anchors), len(anchors), height=1.9)
    for panel, row, weights in zip(axes, data.itertuples(), maps, strict=True):
        plots.map_over(panel, weights, box=(0.5, 0.5, row.w, row.h), point=(0.5, 0.5), color="white")
        factors = f"factors {row.factor_x:.2g} on x, {row.factor_y:.2g} on y"
        panel.set_title(f"anchor {row.w:.2g} × {row.h:.2g}\n{factors}", fontsize=8)
        panel.set_xlabel(f"std x {row.std_x:.3f}, y {row.std_y:.3f}", fontsize=8)
    return figure, data


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
    rows = [list(temperatures), ["kernel"] * len(temperatures)]
    figure, axes = plt.subplot_mosaic(rows, figsize=(WIDTH["page"], 4.4))
    below = axes["kernel"]
    for k, temperature in enumerate(temperatures):
        query = positional_encoding(point, MODEL_WIDTH, temperature)
        logits = maths.unprojected_logits(query, 32, 32, temperature) * SCALE  # (h, w)
        omega = maths.sine_frequencies(MODEL_WIDTH, temperature, torch.float64)  # (F,)
        name = f"temperature_{temperature:g}"
        maps[name] = logits.flatten().softmax(0).numpy()
        kernel[name] = (2 * torch.pi * delta[:, None] * omega).cos().sum(-1).numpy()

        plots.map_over(axes[temperature], maps[name].to_numpy().reshape(32, 32), point=point)
        axes[temperature].set_title(
            f"temperature {temperature:g}\nS = {float((omega**2).sum()):.2f}", loc="center"
        )
        below.plot("delta", name, data=kernel, color=CYCLE[k], label=f"temperature {temperature:g}")
    below.axhline(0, color=plots.NEUTRAL, linewidth=0.8)
    below.set(xlim=(0, 1), xlabel="difference δ of one coordinate (image side = 1)", ylabel="Σ cos(2π ω δ)")
    below.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=len(temperatures))
    return figure, {"maps": maps, "kernel": kernel}


def learned_anchors() -> tuple[Figure, pd.DataFrame]:
    """Figure 10: where queries start after training, DAB-DETR's anchors and Conditional DETR's points.

    They are the same for every image; one seed.
    """
    figure, axes = plots.panels(2, 2, 3.5)
    frames = []
    shown = ((DAB, "dab", "anchors"), (CONDITIONAL, "conditional", "reference points"))
    for panel, (name, kind, what) in zip(axes, shown, strict=True):
        start = load(name).decoder.queries.start(1)[0].detach()  # (Q, 4 or 2)
        if kind == "dab":
            plots.boxes_on(panel, cxcywh_to_xywh(start).numpy(), color=MODEL_COLORS[kind], linewidth=0.9)
        plots.bare(panel)
        panel.plot(*start[:, :2].T, "o", markersize=4, color=MODEL_COLORS[kind])
        panel.set_title(f"{MODELS[kind]}: {what}")
        frames.append(pd.DataFrame(start.numpy(), columns=list("xywh")[: start.shape[1]]).assign(run=name))
    data = pd.concat(frames).rename_axis("query").reset_index()
    return figure, data[["run", "query", *"xywh"]].round(4)


def boxes_per_layer() -> tuple[Figure, dict[str, pd.DataFrame]]:
    """Figure 11: the boxes of one scene after each decoder layer, and mean IoU over 256 scenes.

    Each object keeps the query that answers for it in the last layer. data: boxes; iou (mean and quartiles
    over the objects that are found).
    """
    (pixels, targets), many = validation(1, SCENE), validation(256)
    figure, axes = plots.panels(6, 3, 2.6)
    shown, measured = [], []
    for line, name, kind in ((axes[:3], CONDITIONAL, "conditional"), (axes[3:], DAB, "dab")):
        model = load(name)
        with torch.no_grad():
            boxes = model(pixels).boxes[:, 0]  # (L, Q, 4)
        pairs = heads.found_by(model, pixels, targets, least_iou=0)
        for layer, (panel, overlap) in enumerate(zip(line, layer_ious(model, *many), strict=True)):
            found = boxes[layer, pairs.query]
            true = cxcywh_to_xywh(targets.boxes).numpy()
            plots.boxes_on(panel, true, (1, 1), drawn_scene(SCENE), GROUND_TRUTH)
            plots.boxes_on(panel, cxcywh_to_xywh(found).numpy(), color=MODEL_COLORS[kind])
            panel.set_title(f"layer {layer}: mean IoU {overlap.mean():.2f}", loc="center")
            place = {"model": name, "layer": layer}
            low, high = overlap.quantile(torch.tensor([0.25, 0.75])).tolist()
            numbers = {"mean_iou": overlap.mean().item(), "objects": len(overlap), "low": low, "high": high}
            measured.append(place | numbers)
            frame = pd.DataFrame(found.numpy(), columns=["cx", "cy", "w", "h"])
            shown.append(frame.assign(**place, object=pairs.box.numpy()))
        line[0].set_ylabel(title_of(name), fontsize=8)
    colors = {"ground truth": GROUND_TRUTH} | {MODELS[k]: MODEL_COLORS[k] for k in ("conditional", "dab")}
    plots.legend(figure, {name: {"color": color} for name, color in colors.items()})
    shown = pd.concat(shown)[["model", "layer", "object", "cx", "cy", "w", "h"]]
    return figure, {"boxes": shown.round(4), "iou": pd.DataFrame(measured).round(4)}


@torch.no_grad()
def layer_ious(
    model: detection.Detector, pixels: Float[Tensor, "B 1 S S"], targets: detection.Targets
) -> Float[Tensor, "L N"]:
    """IoU of each object with the box that its query reports in each layer; matched in the last layer."""
    pairs, boxes = heads.found_by(model, pixels, targets, least_iou=0.5), model(pixels).boxes
    chosen = boxes[:, pairs.image, pairs.query]  # (L, N, 4)
    return iou_elementwise(cxcywh_to_xyxy(chosen), cxcywh_to_xyxy(targets.boxes[pairs.box]))


def convergence() -> tuple[Figure, dict[str, pd.DataFrame]]:
    """Figure 13: AP beside its predecessors', its lead over Conditional DETR seed by seed, and published AP.

    data: runs, lead, published.
    """
    frame = histories(run_names("headline"))
    wide = frame.pivot(index=["seed", "step"], columns="base", values="AP")
    lead = wide[GROUPS["headline"]["dab"]] - wide[GROUPS["headline"]["conditional"]]
    lead = lead.dropna().rename("AP").reset_index()
    published = _predecessors()
    titles = ("Here", "Here: the lead of each seed", "Published")
    figure, (here, between, paper) = plots.panels(3, 3, 3.3, titles, width_ratios=(1.1, 1.1, 1.15))
    draw_curves(here, frame[frame["base"] != LONG["headline"]], "AP")
    draw_curves(between, lead.assign(kind="dab", run=DAB), "AP")
    between.axhline(0, color="black", linewidth=0.8)
    between.set(ylim=(-0.4, 0.05), ylabel="AP of DAB − AP of Conditional")
    draw_published(paper, published["AP"], fontsize=7)
    paper.set(xlim=(33.5, 44.9))
    paper.set_xlabel("AP on COCO (%), 50 epochs,\nResNet-50; *: three patterns", fontsize=7.5)
    figure.legend(*here.get_legend_handles_labels(), loc="outside upper left", ncols=3)
    return figure, {"runs": frame, "lead": lead, "published": published.reset_index()}


def _predecessors() -> pd.DataFrame:
    """Published AP after 50 epochs with a ResNet-50, oldest first; the star: three patterns an anchor."""
    old, new = (read_table(f"published/{name}_coco.csv") for name in ("conditional_detr", "dab_detr"))
    old = old[(old["model"] == "DETR") & (old["backbone"] == "R50") & (old["epochs"] == 50)]
    new = new[new["backbone"] == "R50"]
    label = new["model"] + np.where(new["three_patterns"] == "yes", " *", "")
    rows = pd.concat([old.set_index("model"), new.set_index(label)])[["AP", "AP50", "AP75", "source"]]
    order = ["DETR", "Conditional DETR", "Anchor DETR *", "DAB-DETR", "DAB-DETR *"]
    return rows.loc[order].rename_axis("model")
