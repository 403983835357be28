"""Conditional DETR (ICCV 2021): figures and tables, of detectors trained here or a published checkpoint.

AP of our scenes lies in [0, 1], published AP of COCO val2017 is in percent: they never share an axis.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int, UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from torch import Tensor

from marginalia import plots
from marginalia.detection import convergence as speed
from marginalia.detection import heads
from marginalia.detection.attention import marginal_product, positional_encoding
from marginalia.detection.capture import CapturedAttention, capture_attention, crop_to_valid
from marginalia.detection.detector import Detector, DetectorConfig, build
from marginalia.detection.inside import watch_layer
from marginalia.detection.loading import load, prepare
from marginalia.detection.matching import gather_targets
from marginalia.detection.scenes import make_scenes
from marginalia.store import read_table
from marginalia.style import CYCLE, DIVERGING, MODEL_COLORS, MODELS, PALETTE, WIDTH

from .runs import (
    GROUPS,
    LONG,
    METRICS,
    at_the_end,
    head_histories,
    histories,
    late_heads,
    run_names,
    settings,
)

PUBLISHED = {  # the groups that the paper prints AP for -> file in data/published
    "table_3": "spatial_query",
    "figure_5": "transformation",
    "table_4": "components",
    "reference_point": "reference_point",
}
LABELS = {  # rows of the tables, as the axes call them
    "CSQ-C": "CSQ-C: f",
    "CSQ-T": "CSQ-T: λ(f)",
    "CSQ-P": "CSQ-P: $p_s$",
    "CSQ-I": "CSQ-I: λ($c_q$) $p_s$",
    "CSQ": "CSQ: λ(f) $p_s$",
    "single": "single scalar",
    "block": "block a head",
    "none": "DETR",
    "OR+FL": "OR + FL",
    "OR+FL+CSQ": "OR + FL + CSQ",
    "fixed": "fixed in the middle",
    "learned": "learned parameter",
    "predicted": "predicted from $o_q$",
}
SCENE, OBJECTS = 5, (1, 2)  # the validation scene of Figures 1 and 4, and which of its objects
KINDS = ("spatial", "content", "combined")
SHARP = 256  # pixels a side at which a scene is drawn; the models see 64
SURE = 0.5  # score from which a query of a reader's own image counts


def published(group: str) -> dict[str, float]:
    """AP in percent as the paper prints it, by the names of the rows in GROUPS."""
    table = read_table(f"published/conditional_detr_{PUBLISHED[group]}.csv")
    if group == "table_4":
        marks = zip(*(table[column] == "yes" for column in table.columns[:3]), strict=True)
        parts = ("OR", "FL", "CSQ")
        rows = ["+".join(p for p, on in zip(parts, mark, strict=True) if on) or "none" for mark in marks]
    else:
        rows = table.iloc[:, 0].str.split().str[0]  # "single scalar" is `single` here
    return dict(zip(rows, table["AP"].tolist(), strict=True))


_TENSORS = {  # key of `watch_layer` -> middle of its box in inches, formula, axes
    "o_q": (0.62, 0.5, "$o_q$  object query", "1 Q width"),
    "s": (0.62, 1.4, "$s$  reference point", "1 Q 2"),
    "p_s": (0.62, 2.3, "$p_s$  encoding of $s$", "1 Q width"),
    "f": (1.98, 0.5, "$f$  embedding", "B Q width"),
    "lambda_q": (1.98, 2.3, r"$\lambda_q$  diagonal $T$", "B Q width"),
    "p_q": (1.3, 3.38, r"$p_q=\lambda_q\odot p_s$", "B Q width"),
    "q_s": (1.3, 4.25, "spatial query", "B Q width"),
    "c_q": (3.2, 2.3, "$c_q$  content", "B Q width"),
    "q_c": (3.2, 4.25, "content query", "B Q width"),
    "p_k": (4.55, 0.5, "$p_k$  key encoding", "1 K width"),
    "k_s": (4.55, 4.25, "spatial key", "1 K width"),
    "c_k": (5.85, 0.5, "$c_k$  memory", "B K width"),
    "k_c": (5.85, 4.25, "content key", "B K width"),
    "q": (2.25, 5.1, "queries, by head", "B H Q 2D"),
    "k": (5.2, 5.1, "keys, by head", "B H K 2D"),
    "attention": (3.72, 5.95, "attention", "B H Q K"),
    "v": (6.38, 5.95, "values", "B H K D"),
    "f_next": (3.72, 6.95, "$f$ of the next layer", "B Q width"),
}
_BOX = 1.16, 0.44  # width and height of a tensor's box in inches
_ARROWS = (  # from, to, where the arrow arrives beside the middle, what happens on the way
    ("o_q", "s", 0, "MLP"),
    ("s", "p_s", 0, "sigmoid, sine"),
    ("f", "lambda_q", 0, "MLP, the same\nin all layers"),
    ("p_s", "p_q", 0, ""),
    ("lambda_q", "p_q", 0, ""),
    ("p_q", "q_s", 0, "linear"),
    ("f", "c_q", 0, "self-\nattention,\nadd, norm"),
    ("c_q", "q_c", 0, "linear"),
    ("p_k", "k_s", 0, "linear"),
    ("c_k", "k_c", 0, "linear"),
    ("c_k", "v", 0.2, "linear"),
    ("q_s", "q", -0.15, ""),
    ("q_c", "q", 0.15, ""),
    ("k_s", "k", -0.15, ""),
    ("k_c", "k", 0.15, ""),
    ("q", "attention", -0.17, ""),
    ("k", "attention", 0.17, ""),
    ("v", "f_next", 0, ""),
    ("attention", "f_next", 0, ""),
)
_NOTES = (
    (1.3, 2.85, "×"),
    (2.3, 3.5, "what the\npaper adds"),
    (2.25, 4.58, "concatenate"),
    (5.2, 4.58, "concatenate"),
    (3.72, 5.42, "softmax(q · k / √(2D))"),
    (5.34, 6.62, "weights × values, linear, add $c_q$, norm; feed-forward, add, norm"),
    (2.18, 0.19, "$o_q$ also enters self-attention, as the position, in every layer"),
)


# --- attention on one image


@dataclass(frozen=True)
class View:
    """One image, what a model attends to on it, and the query of each object."""

    title: str
    pixels: UInt8[np.ndarray, "S S *channels"]
    captured: CapturedAttention  # of this one image, without padding
    boxes: Float[np.ndarray, "N 4"]  # (cx, cy, w, h) in [0, 1]: ground truth, or predicted
    queries: Int[np.ndarray, " N"]  # the query of each box
    summary: pd.DataFrame  # the heads of the last two layers, as `heads.summarise`


def title_of(name: str) -> str:
    """What a figure calls one of our runs."""
    made = settings(name)
    return f"{MODELS[made['detector']['kind']]}\n{made['options']['steps']:,} steps"


def drawn_scene(index: int) -> UInt8[np.ndarray, "S S"]:
    """A validation scene for the eye, in few grey levels: fine texture would fill a notebook's file."""
    pixels = make_scenes(1, split="val", side=SHARP, first=index).pixels[0, 0]
    return pixels // 24 * 24 + 12


def open_view(name: str, scene: int = SCENE) -> View:
    """A model trained here on one validation scene; its heads are those of data/measured/heads."""
    model, scenes = load(name), make_scenes(1, split="val", first=scene)
    pixels, targets = torch.from_numpy(scenes.pixels), gather_targets(scenes.boxes, scenes.labels)
    pairs = heads.found_by(model, pixels, targets, least_iou=0)  # every object has its query
    queries = pairs.query[pairs.box.argsort()].numpy()
    table = at_the_end(head_histories([name]))
    table = table[(table["map"] == "spatial") & (table["layer"] > 0)]
    captured = capture_attention(model, pixels)
    return View(title_of(name), drawn_scene(scene), captured, targets.boxes.numpy(), queries, table)


def open_checkpoint(data: str, side: int | None = 480) -> View:
    """A published checkpoint on an image of one's own.

    data: 'checkpoint,image', a folder or hub name and a file. side: length of the image's shorter side in
    pixels, None for the checkpoint's own. The boxes are those of the queries with a score of at least 0.5, or
    of the surest one; a head is named by its peaks beside these boxes, so an image with many objects tells
    more. Errors as `load`, and those of Pillow.
    """
    from PIL import Image

    parts = [part.strip() for part in data.split(",")]
    if len(parts) != 2 or not all(parts):
        raise ValueError(f"data must be 'checkpoint,image', a folder or hub name and a file, not {data!r}")
    model = load(parts[0])
    with Image.open(parts[1]) as file:
        image = file.convert("RGB")
    captured = crop_to_valid(capture_attention(model, *prepare(model, [image], side)), 0)
    scores, boxes = captured.queries.scores[0], captured.queries.boxes[0]
    sure = scores.argsort(descending=True)[: max(int((scores >= SURE).sum()), 1)]
    maps = captured.spatial[-2:, 0][:, :, sure]  # (2, H, N, h, w)
    peaks = heads.Peaks(
        boxes[sure], heads.peak_positions(maps), heads.map_widths(maps), heads.map_entropy(maps)
    )
    summary = heads.summarise(peaks, least=1)
    summary["layer"] += len(captured.spatial) - 2
    return View(parts[0], np.asarray(image), captured, boxes[sure].numpy(), sure.numpy(), summary)


def _view(data: str | View | None, name: str, scene: int) -> View:
    """A reader's own, 'checkpoint,image' or opened, or else one of our models."""
    if data is None:
        return open_view(name, scene)
    return data if isinstance(data, View) else open_checkpoint(data)


def draw_map(axes: Axes, view: View, head: pd.Series, kind: str, thing: int, color: str) -> dict[str, object]:
    """A head's map (of KINDS) for the query of one object, over the image; returns its numbers.

    head: a row of `heads.heads_by_side`. In the corner: the highest weight as a multiple of the uniform one.
    x, y: the peak beside the object's box in half-boxes.
    """
    layer, number, query = int(head["layer"]), int(head["head"]), int(view.queries[thing])
    weights, box = getattr(view.captured, kind)[layer, 0, number, query], view.boxes[thing]
    plots.map_over(axes, weights.numpy(), view.pixels, box, color=color)
    times = plots.times_uniform(weights.numpy())
    axes.text(0.97, 0.03, times, fontsize=7, ha="right", transform=axes.transAxes)
    x, y = ((heads.peak_positions(weights).numpy() - box[:2]) / (box[2:] / 2)).round(3)
    numbers = {"model": view.title.replace("\n", ", "), "map": kind, "query": query, "layer": layer}
    numbers |= {"head": number, "named": bool(head["named"]), "x": x, "y": y}
    return numbers | {"entropy": round(heads.map_entropy(weights).item(), 3)}


def spatial_attention_maps(
    data: str | View | None = None, scene: int = SCENE, thing: int | None = None
) -> tuple[Figure, pd.DataFrame]:
    """Figure 1: spatial attention of the heads nearest to each side of an object, a row a model.

    A head's label in brackets: it is the nearest, but does not specialise in that side. data: 'checkpoint,
    image' of a reader, or a `View`. Spatial attention of DETR is (o_q + c_q) against positions only (section
    3.4).
    """
    names = ("headline-conditional-0", "headline-detr-0", f"{LONG}-0")[: 3 if data is None else 1]
    views = [_view(data, name, scene) for name in names]
    if thing is None:
        thing = OBJECTS[0] if data is None else 0
    figure, axes = plots.panels(4 * len(views), 4, 1.8)
    rows = []
    for i, view in enumerate(views):
        chosen = heads.heads_by_side(view.summary).iloc[:4]  # left, top, right, bottom
        for panel, (side, head) in zip(axes[4 * i : 4 * i + 4], chosen.iterrows(), strict=True):
            numbers = draw_map(panel, view, head, "spatial", min(thing, len(view.boxes) - 1), CYCLE[1])
            rows.append({"side": side, **numbers})
            label = f"layer {numbers['layer']}, head {numbers['head']}"
            panel.set_xlabel(label if head["named"] else f"({label})", fontsize=7.5, labelpad=2)
            if i == 0:
                panel.set_title(side, loc="center")
        axes[4 * i].set_ylabel(view.title, fontsize=8)
    return figure, pd.DataFrame(rows)


def convergence() -> tuple[Figure, dict[str, pd.DataFrame]]:
    """Figure 2: AP50 and AP against steps, the long run of DETR, published end points.

    data: runs, published.
    """
    frame = histories(run_names("headline"))
    figure, axes = plots.panels(4, 2, 2.8)
    for panel, metric in zip(axes, ("AP50", "AP"), strict=False):
        draw_kinds(panel, frame, metric)
        panel.set_title(f"Here: {METRICS[metric]}, four kinds")
    options = settings(f"{LONG}-0")["options"]
    for base, kind in ((LONG, "detr"), (GROUPS["headline"]["conditional"], "conditional")):
        runs = frame[frame["base"] == base]
        plots.seed_curves(axes[2], runs, "AP", MODEL_COLORS[kind], MODELS[kind])
    mark_drop(axes[2], options)
    axes[2].set(xlim=(0, options["steps"]), ylim=(0, 1), xlabel="training steps", ylabel="AP")
    axes[2].set_title("Here: DETR with ten times the steps")
    # every published end point is of a training of its own
    shown = read_table("published/conditional_detr_coco.csv").query("backbone == 'DC5-R50'")
    shown = shown[shown["model"].isin(["DETR", "Conditional DETR"])]
    places = {50: (-6, -3, "right"), 75: (6, -6, "left"), 108: (6, -1, "left"), 500: (-6, -3, "right")}
    for kind, marker in (("detr", "s"), ("conditional", "o")):
        part = shown[shown["model"] == MODELS[kind]]
        axes[3].plot(part["epochs"], part["AP"], marker, color=MODEL_COLORS[kind])
        for epochs, ap in zip(part["epochs"], part["AP"], strict=True):
            *place, side = places[epochs]
            axes[3].annotate(f"{ap}", (epochs, ap), place, textcoords="offset points", ha=side, fontsize=7)
    axes[3].set(xlim=(-30, 520), ylim=(34, 47), xlabel="training epochs", ylabel="AP on COCO val2017 (%)")
    axes[3].set_title("Published: ends of trainings, DC5-R50")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper left", ncols=3)
    return figure, {"runs": frame, "published": shown}


def draw_kinds(axes: Axes, frame: pd.DataFrame, metric: str) -> None:
    """A metric of the four kinds of detector against steps, from histories of `headline`."""
    for kind, base in GROUPS["headline"].items():
        plots.seed_curves(axes, frame[frame["base"] == base], metric, MODEL_COLORS[kind], MODELS[kind])
    options = settings("headline-detr-0")["options"]
    mark_drop(axes, options)
    axes.set(xlim=(0, options["steps"]), ylim=(0, 1), xlabel="training steps", ylabel=METRICS[metric])


def mark_drop(axes: Axes, options: dict) -> None:
    """A line where the learning rate falls to a tenth; options: of `settings`."""
    style = {"color": plots.NEUTRAL, "linewidth": 0.9, "linestyle": plots.DASHED, "zorder": 1}
    axes.axvline(options["drop_at"] * options["steps"], label="learning rate / 10", **style)


def decoder_layer(model: Detector | None = None) -> tuple[Figure, pd.DataFrame]:
    """Figure 3: one decoder layer, with the shapes of the tensors in a real forward pass.

    model: a conditional detector, or None for an untrained one of this project's usual size. The shapes are
    those of its second layer, because there is no T in the first. The grey box holds what the paper adds:
    p_s, T and their product. Dashed arrows are there in the first layer only. Returns (figure, data), data
    one row a tensor: tensor, axes, shape. ValueError for a model of another kind.
    """
    model = model or build(DetectorConfig())
    tensors = watch_layer(model, torch.from_numpy(make_scenes(1, split="val").pixels), layer=1)
    shapes = {name: tuple(tensors[name].shape) for name in _TENSORS}
    axes_of = [f"({letters.replace(' ', ', ')})" for _, _, _, letters in _TENSORS.values()]
    data = pd.DataFrame({"tensor": list(shapes), "axes": axes_of, "shape": list(shapes.values())})

    height, (width, tall) = 7.35, _BOX
    figure, axes = plt.subplots(figsize=(WIDTH["page"], height), layout="none")
    axes.set(xlim=(0, WIDTH["page"]), ylim=(0, height), position=(0, 0, 1, 1))
    axes.axis("off")
    rounded = "round,pad=0,rounding_size=0.06"
    axes.add_patch(FancyBboxPatch((0.02, 2), 2.58, 1.68, rounded, facecolor="0.9", edgecolor="none"))

    # arrows go up; where the boxes are not above each other, they turn just below the upper one
    for start, end, beside, text in _ARROWS:
        (x, y), (above, top) = _TENSORS[start][:2], _TENSORS[end][:2]
        above, turn = above + beside, y if text else top - 0.43
        _path(axes, [(x, y), (x, turn), (above, turn), (above, top - tall / 2)], color="0.35", linewidth=1.1)
        axes.text(above + 0.06, (y + top) / 2, text, fontsize=7, va="center")
    dashed = {"color": PALETTE["purple"], "linewidth": 1.3, "linestyle": (0, (3, 2))}
    _path(axes, [(0.62, 0.28), (0.62, 0.12), (3.87, 0.12), (3.87, 4.25), (3.2 + width / 2, 4.25)], **dashed)
    _path(axes, [(4.55, 4.25), (5.85 - width / 2, 4.25)], **dashed)
    first = "first layer only:\nlinear, added to\nthe content query"
    axes.text(3.93, 1.4, first, fontsize=7, color=PALETTE["purple"], rotation=90, va="center")

    for name, (x, y, formula, letters) in _TENSORS.items():
        query, key = "Q" in letters, "K" in letters
        color = PALETTE["vermilion" if query and key else "blue" if query else "green"]
        corner = x - width / 2, y - tall / 2
        box = FancyBboxPatch(corner, width, tall, rounded, facecolor="white", edgecolor=color, linewidth=1.2)
        axes.add_patch(box).set_zorder(3)
        shape = " × ".join(map(str, shapes[name]))
        middle = {"ha": "center", "va": "center", "fontsize": 8, "zorder": 4}
        axes.text(x, y + 0.09, formula, **middle)
        axes.text(x, y - 0.1, shape, color=color, weight="bold", **middle)
    for x, y, text in _NOTES:
        axes.text(x, y, text, fontsize=7, ha="center", va="center")

    batch, heads, queries, keys = shapes["attention"]
    what = (
        f"B = {batch} image, Q = {queries} queries, K = {keys} keys (cells)\n"
        f"width = {model.config.width} = {heads} heads H × {model.config.width // heads} channels D\n"
        "blue: queries, green: keys and values"
    )
    axes.text(0.05, height - 0.12, what, fontsize=7.5, va="top", linespacing=1.5)
    return figure, data


def _path(axes, points: list[tuple[float, float]], **style) -> None:
    """A line through points with an arrowhead at its end."""
    axes.plot(*zip(*points[:-1], strict=True), **style)
    arrow = {"arrowstyle": "-|>", "shrinkA": 0, "shrinkB": 0, "mutation_scale": 9}
    axes.annotate("", points[-1], points[-2], arrowprops=arrow | style)


def attention_decomposition(
    data: str | View | None = None, scene: int = SCENE, things: Sequence[int] | None = None
) -> tuple[Figure, pd.DataFrame]:
    """Figure 4: spatial, content and combined attention of five heads for two objects.

    The rows are the heads of left, top, right, bottom and inside; each object has its color and three columns
    (in the paper kinds are the rows). Every panel is scaled by its own maximum. data: 'checkpoint,image' of a
    reader, or a `View`: of it the two surest queries are shown.
    """
    view = _view(data, "headline-conditional-0", scene)
    if things is None:
        things = OBJECTS if data is None else (0, 1)
    things = [thing for thing in things if thing < len(view.boxes)]
    chosen, columns = heads.heads_by_side(view.summary), 3 * len(things)
    figure, axes = plots.panels(5 * columns, columns, 1.22 if columns > 3 else 2.4)
    grid, rows = np.reshape(axes, (5, columns)), []
    for block, thing in enumerate(things):
        for line, (side, head) in zip(grid, chosen.iterrows(), strict=True):
            for panel, kind in zip(line[3 * block :], KINDS, strict=False):
                numbers = draw_map(panel, view, head, kind, thing, CYCLE[1 - block])
                rows.append({"object": thing, "side": side, **numbers})
            name = side if head["named"] else f"({side})"
            line[0].set_ylabel(f"{name}\nlayer {numbers['layer']}, head {numbers['head']}", fontsize=7.5)
        for panel, kind in zip(grid[0, 3 * block :], KINDS, strict=False):
            panel.set_title(kind, loc="center", fontsize=8)
    return figure, pd.DataFrame(rows)


def _beside(group: str) -> tuple[Figure, dict[str, pd.DataFrame]]:
    """AP at the end of training, a line a row of the table, beside the published AP."""
    values = speed.values_at(histories(run_names(group)), GROUPS[group])  # a line a seed
    rows = pd.DataFrame({"mean": values.mean(), "low": values.min(), "high": values.max()})
    rows = rows.assign(seeds=values.count(), published=pd.Series(published(group)))
    size = WIDTH["page"], 0.36 * len(rows) + 1.0
    figure, (left, right) = plt.subplots(1, 2, figsize=size, sharey=True, width_ratios=(1.5, 1))
    plots.intervals(left, rows, "mean", open=True, reference=None)
    for seed, value in values.iterrows():
        left.plot(value, np.arange(len(rows)) + 0.17 * (seed - 1), "o", color=CYCLE[0], markersize=3.5)
    draw_published(right, rows["published"])
    left.set_yticks(range(len(rows)), [LABELS.get(row, row) for row in rows.index])
    left.set(xlabel="AP on our scenes, at the end", title="Here: dots are seeds, rings their means")
    right.set(xlabel="AP on COCO val2017 (%)", title="Published")
    right.margins(x=0.22)
    runs = values.unstack().rename("value").reset_index()
    runs.insert(1, "base", runs["row"].map(GROUPS[group]))
    return figure, {"runs": runs, "rows": rows.reset_index()}


def draw_published(axes: Axes, values: pd.Series) -> None:
    """Published AP as labelled diamonds, a line each, the first on top."""
    axes.plot(values, range(len(values)), "D", color=plots.NEUTRAL)
    for y, value in enumerate(values):
        place = {"textcoords": "offset points", "va": "center", "fontsize": 7}
        axes.annotate(f"{value:.1f}", (value, y), (6, 0), **place)
    axes.set_ylim(len(values) - 0.5, -0.5)


def transformation_forms() -> tuple[Figure, dict[str, pd.DataFrame]]:
    """Figure 5: AP for five forms of T, ours beside the published bars; data as `spatial_query_forms`."""
    return _beside("figure_5")


def coco() -> tuple[Figure, pd.DataFrame]:
    """Table 1: published AP of Conditional DETR and DETR against training epochs, a panel a backbone.

    Two points are joined by dots: nothing is published between. Returns (figure, data) with the columns of
    data/published/conditional_detr_coco.csv.
    """
    table = read_table("published/conditional_detr_coco.csv")
    table = table[table["model"].isin(["Conditional DETR", "DETR"])]
    figure, axes = plots.panels(4, 4, 2.4, sharey=True)
    for panel, (backbone, rows) in zip(axes, table.groupby("backbone", sort=False), strict=True):
        for (model, curve), color in zip(rows.groupby("model"), CYCLE, strict=False):
            curve = curve.sort_values("epochs")
            line = "o-" if len(curve) > 2 else "o:"
            panel.semilogx(curve["epochs"], curve["AP"], line, color=color, label=model)
        panel.set(title=backbone, xlabel="epochs", xticks=[50, 108, 500], xticklabels=["50", "108", "500"])
        panel.minorticks_off()
    axes[0].set_ylabel("AP, percent")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper right", ncols=2)
    return figure, table


def spatial_query_forms() -> tuple[Figure, dict[str, pd.DataFrame]]:
    """Table 3: what the spatial query is made from, ours beside the published column.

    data: runs (row, base, seed, value), rows (mean, low and high of the seeds, how many, published).
    """
    return _beside("table_3")


def components() -> tuple[Figure, dict[str, pd.DataFrame]]:
    """Table 4: offset regression (OR), focal loss (FL), conditional spatial query (CSQ).

    data as `spatial_query_forms`.
    """
    return _beside("table_4")


def reference_points() -> tuple[Figure, dict[str, pd.DataFrame]]:
    """Section 4.3: where the reference point comes from; data as `spatial_query_forms`."""
    return _beside("reference_point")


# --- Ours: how detectors learn


def found_and_classified() -> tuple[Figure, pd.DataFrame]:
    """Three skills of each kind against steps: boxes that fit, scores that pick them, and classes.

    Lines are means of the seeds. data: the rows of `histories`.
    """
    frame, options = histories(run_names("headline")), settings("headline-detr-0")["options"]
    skills = {"mean_iou": ("fits: mean IoU of matched boxes", (0, (1, 1)))}
    skills["AP50_any"] = ("and is found: AP50, one class", "-")
    skills["AP50"] = ("and is classified: AP50, ten classes", (0, (4, 1.5)))
    figure, axes = plots.panels(4, 4, 2.8, sharey=True)
    for panel, (kind, base) in zip(axes, GROUPS["headline"].items(), strict=True):
        means = frame[frame["base"] == base].groupby("step")[list(skills)].mean()
        for metric, (_, dashes) in skills.items():
            panel.plot(means[metric], color=MODEL_COLORS[kind], linestyle=dashes)
        mark_drop(panel, options)
        panel.set(title=MODELS[kind], xlim=(0, options["steps"]), ylim=(0, 1), xlabel="steps")
    axes[0].set_ylabel("mean of seeds")
    lines = {name: {"color": plots.NEUTRAL, "linestyle": dashes} for name, dashes in skills.values()}
    plots.legend(figure, lines, "outside upper left")
    return figure, frame


def steps_to_level(metric: str = "AP50", threshold: float = 0.8) -> tuple[Figure, pd.DataFrame]:
    """Curves with a level across them, and how many steps each kind needs to get there.

    A hollow triangle is a run that ended below the level; the ratios are to Conditional DETR with the same
    seed. data: a row a run: kind, base, seed, steps (NaN: not reached), trained, ratio, bound.
    """
    frame = histories(run_names("headline"))
    figure, (left, right) = plt.subplots(1, 2, figsize=(WIDTH["page"], 3.2), width_ratios=(1, 1.25))
    draw_kinds(left, frame, metric)
    left.axhline(threshold, color="black", linewidth=0.9)
    left.set_title(f"Where is {threshold:g} crossed?")
    reached = speed.reach(frame, metric, threshold)
    bases = {"DETR, 10 times\nthe steps": (LONG, "detr")}
    bases |= {MODELS[kind]: (base, kind) for kind, base in GROUPS["headline"].items()}
    parts, beside = [], {"transform": right.get_yaxis_transform(), "fontsize": 7}
    for y, (name, (base, kind)) in enumerate(bases.items()):
        ratios = speed.speed_up(reached, base, GROUPS["headline"]["conditional"])
        runs = reached[reached["base"] == base].merge(ratios, on="seed").assign(shown=name.replace("\n", " "))
        at, never = y + 0.16 * (runs["seed"] - 1), runs["steps"].isna()
        right.plot(runs["steps"], at, "o", color=MODEL_COLORS[kind])
        right.plot(runs["trained"][never], at[never], ">", color=MODEL_COLORS[kind], markerfacecolor="white")
        text = "1, by definition" if kind == "conditional" else speed.ratio_text(ratios)
        right.text(1.02, y, text, va="center", **beside)
        parts.append(runs.rename(columns={"shown": "kind"}))
    right.text(1.02, -0.75, "times the steps\nof Conditional", **beside)
    right.set_yticks(range(len(bases)), list(bases), fontsize=7.5)
    right.set(xscale="log", xlim=(90, 20_000), ylim=(len(bases) - 0.5, -0.6))
    right.set_xlabel("steps to get there; hollow: training ended below")
    right.set_xticks([100, 300, 1000, 3000, 10_000], ["100", "300", "1000", "3000", "10,000"])
    right.minorticks_off()
    columns = ["base", "seed", "steps", "trained", "kind", "ratio", "bound"]
    return figure, pd.concat(parts, ignore_index=True)[columns]


def heads_over_training() -> tuple[Figure, pd.DataFrame]:
    """AP50, heads on a side, unlocalised heads and the width of maps in the course of the short trainings.

    data: a row a run and step: how many of the twelve late heads have each side, "on a side" (left, right,
    top or bottom), width (median over heads), AP50.
    """
    names = [name for name in run_names("headline") if not name.startswith(LONG)]
    frame = late_heads(names)
    each = frame.groupby(["kind", "base", "seed", "run", "step"])
    data = each["side"].value_counts().unstack(fill_value=0).reindex(columns=heads.SIDES, fill_value=0)
    data["on a side"] = data[["left", "right", "top", "bottom"]].sum(axis=1)
    data = data.assign(width=each["width"].median()).reset_index()
    data = data.merge(histories(names)[["run", "step", "AP50"]], on=["run", "step"])
    labels = {"AP50": "AP50", "on a side": "heads on a side, of 12", "unlocalised": "unlocalised, of 12"}
    labels["width"] = "map width [of the side]"
    figure, axes = plots.panels(4, 4, 2.6)
    for panel, (column, label) in zip(axes, labels.items(), strict=True):
        for kind, name in MODELS.items():
            plots.seed_curves(panel, data[data["kind"] == kind], column, MODEL_COLORS[kind], name)
        panel.set(xlabel="training steps", ylabel=label, ylim=(0, None))
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, columnspacing=1)
    return figure, data.round(4)


def widths_by_temperature() -> tuple[Figure, pd.DataFrame]:
    """Width of the late heads' maps at three temperatures and two map sizes, a dot a seed, with AP.

    data: temperature, map (cells), seed, width (of the side), cells, AP, heads on a side, unlocalised heads.
    """
    names = run_names("temperature")
    ends = at_the_end(histories(names)).set_index(["base", "seed"])["AP"]
    each = at_the_end(late_heads(names)).groupby(["base", "seed"])
    counts = each["side"].value_counts().unstack(fill_value=0)
    data = pd.DataFrame({"width": each["width"].median(), "AP": ends, "unlocalised": counts["unlocalised"]})
    data["on a side"] = counts[["left", "right", "top", "bottom"]].sum(axis=1)
    forms = [(base, *name.split(", ")) for name, base in GROUPS["temperature"].items()]
    data = pd.DataFrame(forms, columns=["base", "temperature", "map"]).merge(data.reset_index(), on="base")
    data["cells"] = data["width"] * data["map"].str[:2].astype(int)
    labels = {"width": "map width [of the side]", "cells": "map width [cells]"}
    labels |= {"on a side": "heads on a side, of 8", "AP": "AP"}
    figure, axes = plots.panels(4, 4, 2.4)
    for panel, (column, label) in zip(axes, labels.items(), strict=True):
        for grid, color, shift in (("12x12", CYCLE[0], -0.1), ("16x16", CYCLE[1], 0.1)):
            rows = data[data["map"] == grid]
            x = rows["temperature"].map({"2": 0, "20": 1, "10000": 2}) + shift
            panel.plot(x, rows[column], "o", markersize=4, color=color, alpha=0.75, label=f"{grid} cells")
            panel.plot(rows[column].groupby(x).mean(), color=color, linewidth=1)
        panel.set(xlabel="temperature", ylabel=label, ylim=(0, 1.12 * data[column].max()))
        panel.set_xticks(range(3), ["2", "20", "10000"])
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    columns = ["temperature", "map", "seed", "width", "cells", "AP", "on a side", "unlocalised"]
    return figure, data[columns].round(4)


# --- Ours: positional encodings, before and after training


def sine_encoding(width: int = 32) -> tuple[Figure, pd.DataFrame]:
    """The positional encoding of one coordinate at temperature 10000, and the dot product of two of them.

    width: of a point's encoding, half of it belongs to a coordinate. Returns (figure, data), data one row a
    value v of the coordinate with its channels.
    """
    v = torch.linspace(0, 1, 101, dtype=torch.float64)
    encoding = _along_y(v, width).numpy()
    figure, (left, right) = plots.panels(2, 2, height=2.9, width_ratios=(1.55, 1))
    place = {"extent": (0, 1, width // 2 - 0.5, -0.5), "aspect": "auto"}
    shown = left.imshow(encoding.T, DIVERGING, vmin=-1, vmax=1, **place)
    figure.colorbar(shown, ax=left, label="value", pad=0.02, ticks=[-1, 0, 1])
    left.set(title="encoding of one coordinate", xlabel="coordinate v", ylabel="channel: even sin, odd cos")
    shown = right.imshow(encoding @ encoding.T, extent=(0, 1, 1, 0))
    figure.colorbar(shown, ax=right, label="dot product of the encodings", pad=0.02)
    right.set(title="equal along diagonals", xlabel="v′", ylabel="v")
    for panel in (left, right):
        panel.grid(False)
    data = pd.DataFrame(encoding, columns=[f"channel_{c}" for c in range(width // 2)])
    data.insert(0, "v", v.numpy())
    return figure, data


def _along_y(v: Float[Tensor, " N"], width: int, temperature: float = 10000.0) -> Float[Tensor, "N width/2"]:
    """Encodings of one coordinate."""
    return positional_encoding(torch.stack((0 * v, v), dim=-1), width, temperature)[:, : width // 2]


def outer_product(attention: Float[Tensor, "h w"], point: tuple[float, float]) -> tuple[Figure, pd.DataFrame]:
    """A map with its row sums and column sums, and the product of these; both maps in one scale of colours.

    point: (x, y), the reference. Returns (figure, data), data one row a cell: attention, product.
    """
    (h, w), product = attention.shape, marginal_product(attention).numpy()
    attention = attention.numpy()
    figure = plt.figure(figsize=(WIDTH["page"], 2.95), layout="constrained")
    grid = figure.add_gridspec(2, 4, height_ratios=(0.32, 1), width_ratios=(1, 0.26, 0.12, 1))
    main, again = figure.add_subplot(grid[1, 0]), figure.add_subplot(grid[1, 3])
    top, side = figure.add_subplot(grid[0, 0], sharex=main), figure.add_subplot(grid[1, 1], sharey=main)
    bars = {"fill": True, "alpha": 0.7}
    top.stairs(attention.sum(0), np.arange(w + 1) / w, color=CYCLE[0], **bars)
    side.stairs(attention.sum(1), np.arange(h + 1) / h, orientation="horizontal", color=CYCLE[1], **bars)
    for panel, values in ((main, attention), (again, product)):
        shown = plots.map_over(panel, values, point=point, vmax=attention.max())
        panel.set_box_aspect(None)  # as wide as the sums above it
    figure.colorbar(shown, ax=again, label="weight of a cell", pad=0.03)
    top.set(ylabel="column sum", title="attention map")
    side.set(xlabel="row sum")
    again.set(title="row sums × column sums")
    for panel in (top, side):
        panel.grid(False)
    row, column = np.indices((h, w)).reshape(2, -1)
    cells = {"row": row, "column": column, "attention": attention.flatten(), "product": product.flatten()}
    return figure, pd.DataFrame(cells)


def temperature_pairs(pairs=((20, 20), (10000, 10000), (10000, 20))) -> tuple[Figure, pd.DataFrame]:
    """Dot products of one coordinate's encodings when query and key have temperatures of their own.

    pairs: (query temperature, key temperature). White: each query's best key; dashed: where it should be.
    Returns (figure, data), data one row a pair and query coordinate: query_temperature, key_temperature, v,
    best.
    """
    v = torch.linspace(0, 1, 101, dtype=torch.float64)
    figure, axes = plots.panels(len(pairs), len(pairs), height=2.75, sharey=True)
    frames = []
    for panel, (query, key) in zip(axes, pairs, strict=True):
        product = (_along_y(v, 256, query) @ _along_y(v, 256, key).T).numpy()
        best = v.numpy()[product.argmax(1)]
        shown = panel.imshow(product, extent=(0, 1, 1, 0), vmin=0, vmax=64)  # cosines of 64 frequencies
        panel.plot(best, v, color="white", linewidth=2.4)
        panel.plot(v, v, color=PALETTE["vermilion"], linewidth=1, linestyle=plots.DASHED)
        panel.set_title(f"query temperature {query:g}\nkey temperature {key:g}", fontsize=8.5)
        panel.set(xlabel="key's coordinate", xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])
        panel.grid(False)
        frames.append(
            pd.DataFrame({"query_temperature": query, "key_temperature": key, "v": v.numpy(), "best": best})
        )
    axes[0].set_ylabel("query's coordinate")
    figure.colorbar(shown, ax=axes, label="dot product", pad=0.02)
    return figure, pd.concat(frames, ignore_index=True)


def trained_kernels(
    maps: Float[Tensor, "H h w"],
    point: tuple[float, float],
    measured: Mapping[int, tuple[Mapping[str, Tensor], Tensor]],
    found: Bool[Tensor, "B Q"],
) -> tuple[Figure, pd.DataFrame]:
    """Spatial maps of one query in every head, and how far heads depart from the unprojected kernel.

    maps: sum to 1 each; point: the query's reference; measured: layer (from 0) -> what
    `inside.kernel_departures` says of it; found: the queries that count. Dots are medians over the queries,
    lines go from 5 to 95 %. Returns (figure, data): measure, layer, head, queries, low, median, high.
    """
    rows = []
    for layer, (measures, room) in measured.items():
        kept = found & room
        for measure, values in measures.items():
            bands = values.mT[kept].quantile(torch.tensor([0.05, 0.5, 0.95]), dim=0).T  # (H, 3)
            rows += [(measure, layer, h, int(kept.sum()), *band) for h, band in enumerate(bands.tolist())]
    data = pd.DataFrame(rows, columns=["measure", "layer", "head", "queries", "low", "median", "high"])

    figure = plt.figure(figsize=(WIDTH["page"], 3.9), layout="constrained")
    top, bottom = figure.subfigures(2, 1, height_ratios=(1, 1.7))
    for head, panel in enumerate(top.subplots(1, len(maps))):
        plots.map_over(panel, maps[head], point=point)
        panel.set_title(f"head {head}", loc="center")
    names = {"shift": "error of a shifted map", "row sums": "weight that changes rows"}
    axes = bottom.subplots(1, 2, sharey=True)
    for panel, (measure, name) in zip(axes, names.items(), strict=True):
        for k, layer in enumerate(measured):
            one = data[(data["measure"] == measure) & (data["layer"] == layer)]
            place = {"shift": 0.26 * (k - (len(measured) - 1) / 2), "reference": None}
            plots.intervals(panel, one, "median", "head", CYCLE[k], name=f"layer {layer}", **place)
        panel.set(title=name, xlim=(0, None))
    axes[0].set_ylabel("head")
    bottom.legend(*panel.get_legend_handles_labels(), loc="outside lower center", ncols=len(measured))
    return figure, data
