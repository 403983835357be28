"""Conditional DETR (ICCV 2021): figures and tables, of detectors trained here or a published checkpoint.

Detectors trained here are of two groups (`runs.GROUPS`): "cells", on photographs, and "headline", on scenes
of digits. AP of ours lies in [0, 1], published AP of COCO val2017 is in percent: they never share an axis.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int, UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from marginalia import detection, plots
from marginalia.boxes.sources import image_inside
from marginalia.detection import convergence as speed
from marginalia.detection import heads
from marginalia.detection.attention import marginal_product, positional_encoding
from marginalia.detection.capture import CapturedAttention, crop_to_valid
from marginalia.detection.inside import watch_layer
from marginalia.detection.loading import load, prepare
from marginalia.store import read_table
from marginalia.style import CYCLE, DIVERGING, MODEL_COLORS, MODELS, PALETTE, WIDTH

from . import runs
from .runs import GROUPS, LONG, METRICS

PUBLISHED = {  # the groups that the paper prints AP for -> file in data/published, with its rows in our order
    "table_3": "spatial_query",
    "figure_5": "transformation",
    "table_4": "components",
    "reference_point": "reference_point",
}
SCENES = {"cells": 58, "headline": 5}  # group -> the image of Figures 1 and 4, one that no run learnt from
OBJECTS = {"cells": (11, 0), "headline": (1, 2)}  # and which of its objects
ALIKE = "red cell"  # the class that names the heads of detectors of cells: there are many
KINDS = ("spatial", "content", "combined")
SHARP = 256  # pixels a side at which a scene is drawn; the models see 64
COMPARED = {"Conditional DETR": MODEL_COLORS["conditional"], "DETR": MODEL_COLORS["detr"]}
SURE, OURS = 0.5, 0.4  # score from which a query of a reader's own image counts; of a `Detector`


def published(group: str) -> dict[str, float]:
    """AP in percent as the paper prints it, by the names of the rows in GROUPS."""
    table = read_table(f"published/conditional_detr_{PUBLISHED[group]}.csv")
    return dict(zip(GROUPS[group], table["AP"].tolist(), strict=True))


_TENSORS = {  # key of `watch_layer` -> middle of its box in inches, formula, axes, made from, how
    "o_q": (0.62, 0.5, "$o_q$  object query", "1 Q width", "", ""),
    "s": (0.62, 1.4, "$s$  reference point", "1 Q 2", "o_q", "MLP"),
    "p_s": (0.62, 2.3, "$p_s$  encoding of $s$", "1 Q width", "s", "sigmoid, sine"),
    "f": (1.98, 0.5, "$f$  embedding", "B Q width", "", ""),
    "lambda_q": (1.98, 2.3, r"$\lambda_q$  diagonal $T$", "B Q width", "f", "MLP, the same\nin all layers"),
    "p_q": (1.3, 3.38, r"$p_q=\lambda_q\odot p_s$", "B Q width", "p_s lambda_q", "what the paper adds"),
    "q_s": (1.3, 4.25, "spatial query", "B Q width", "p_q", "linear"),
    "c_q": (3.2, 2.3, "$c_q$  content", "B Q width", "f", "self-\nattention,\nadd, norm"),
    "q_c": (3.2, 4.25, "content query", "B Q width", "c_q", "linear"),
    "p_k": (4.55, 0.5, "$p_k$  key encoding", "1 K width", "", ""),
    "k_s": (4.55, 4.25, "spatial key", "1 K width", "p_k", "linear"),
    "c_k": (5.85, 0.5, "$c_k$  memory", "B K width", "", ""),
    "k_c": (5.85, 4.25, "content key", "B K width", "c_k", "linear"),
    "q": (2.25, 5.1, "queries, by head", "B H Q 2D", "q_s q_c", "concatenate"),
    "k": (5.2, 5.1, "keys, by head", "B H K 2D", "k_s k_c", "concatenate"),
    "attention": (3.72, 5.95, "attention", "B H Q K", "q k", "softmax(q · k / √(2D))"),
    "v": (6.43, 5.95, "values", "B H K D", "c_k", "linear"),
    "f_next": (3.72, 6.8, "next $f$", "B Q width", "attention v", "× values, linear, norm; MLP, norm"),
}


# --- attention on one image


@dataclass(frozen=True)
class View:
    """One image, what a model attends to on it, and the query of each object."""

    title: str
    pixels: UInt8[np.ndarray, "h w *channels"]
    captured: CapturedAttention  # of this one image, without padding
    boxes: Float[np.ndarray, "N 4"]  # (cx, cy, w, h) in [0, 1]: ground truth, or predicted
    queries: Int[np.ndarray, " N"]  # the query of each box
    summary: pd.DataFrame  # the heads of the last two layers, as `heads.summarise`
    names: Mapping[int, str] | None = None  # of the classes, where they are known


def title_of(name: str) -> str:
    """What a figure calls one of our runs."""
    made = runs.settings(name)
    return f"{MODELS[made['detector']['kind']]}\n{made['options']['steps']:,} steps"


def drawn_scene(index: int) -> UInt8[np.ndarray, "S S"]:
    """A validation scene for the eye, in few grey levels: fine texture would fill a notebook's file."""
    pixels = detection.make_scenes(1, split="val", side=SHARP, first=index).pixels[0, 0]
    return pixels // 24 * 24 + 12


def validation(count: int, first: int = 0) -> tuple[UInt8[Tensor, "B 1 S S"], detection.Targets]:
    """Pixels of validation scenes and what there is to find."""
    scenes = detection.make_scenes(count, split="val", first=first)
    return torch.from_numpy(scenes.pixels), detection.gather_targets(scenes.boxes, scenes.labels)


def open_view(name: str, scene: int | None = None) -> View:
    """A model trained here on an image that no run learnt from; its heads are those of data/measured/heads.

    scene: number of the test photograph or validation scene, None for the one of `SCENES`. Heads of detectors
    of cells are named by their places beside red cells.
    """
    photographed = name in runs.run_names("cells")
    scene = SCENES["cells" if photographed else "headline"] if scene is None else scene
    if photographed:
        seen = detection.cell_scenes("test").part([scene])
        drawn = seen.pixels[0].transpose(1, 2, 0)
    else:
        seen = detection.make_scenes(1, split="val", first=scene)
        drawn = drawn_scene(scene)
    model, pixels = load(name), torch.from_numpy(seen.pixels)
    targets = detection.gather_targets(seen.boxes, seen.labels)
    pairs = heads.found_by(model, pixels, targets, least_iou=0)  # every object has its query
    queries = pairs.query[pairs.box.argsort()].numpy()
    captured = detection.capture_attention(model, pixels)
    table = runs.at_the_end(runs.late_heads([name], ALIKE if photographed else None))
    return View(title_of(name), drawn, captured, targets.boxes.numpy(), queries, table, seen.names)


def open_checkpoint(data: str, side: int | None = None) -> View:
    """A published checkpoint, or a detector of one's own photographs, on an image of one's own.

    data: 'checkpoint,image', what `load` takes and a file. side: length of the image's shorter side in
    pixels, None for 480, or for what a detector of photographs was trained at. The boxes are those of the
    queries with a score of at least 0.5 (0.4 where the detector is one of this project, whose scores are
    low), or of the surest one; a head is named by its peaks beside these boxes, so an image with many objects
    tells more. Errors as `load`; ValueError or FileNotFoundError, naming the file, for what is no image.
    """
    parts = [part.strip() for part in data.split(",")]
    if len(parts) != 2 or not all(parts):
        raise ValueError(f"data must be 'checkpoint,image', a model and a file, not {data!r}")
    model = load(parts[0])
    ours = isinstance(model, detection.Detector)
    side, names = side or (None if ours else 480), model.names if ours else model.config.id2label
    file = Path(parts[1]).expanduser()
    image = image_inside(file.parent, file.name)
    captured = crop_to_valid(detection.capture_attention(model, *prepare(model, [image], side)), 0)
    scores, boxes = captured.queries.scores[0], captured.queries.boxes[0]
    sure = scores.argsort(descending=True)[: max(int((scores >= (OURS if ours else SURE)).sum()), 1)]
    maps = captured.spatial[-2:, 0][:, :, sure]  # (2, H, N, h, w)
    measures = (measure(maps) for measure in (heads.peak_positions, heads.map_widths, heads.map_entropy))
    summary = heads.summarise(heads.Peaks(boxes[sure], *measures), least=1)
    summary["layer"] += len(captured.spatial) - len(maps)
    title = parts[0].rpartition("/")[2].removesuffix(".safetensors")
    return View(title, np.asarray(image), captured, boxes[sure].numpy(), sure.numpy(), summary, names)


def _views(data: str | View | None, names: Sequence[str], scene: int | None) -> list[View]:
    """A reader's own, 'checkpoint,image' or opened, or else those of our models."""
    if data is None:
        return [open_view(name, scene) for name in names]
    return [data if isinstance(data, View) else open_checkpoint(data)]


def draw_map(axes: Axes, view: View, head: pd.Series, kind: str, thing: int, color: str) -> dict[str, object]:
    """A head's map (of KINDS) for the query of one object, over the image; returns its numbers.

    head: a row of `heads.heads_by_side`. In the corner: the highest weight as a multiple of the uniform one.
    x, y: the peak beside the object's box in half-boxes.
    """
    layer, number, query = int(head["layer"]), int(head["head"]), int(view.queries[thing])
    weights, box = getattr(view.captured, kind)[layer, 0, number, query], view.boxes[thing]
    few = view.pixels // 16 * 16 + 8  # levels of grey: fine texture would fill a notebook's file
    plots.map_over(axes, weights.numpy(), few, box, color=color)
    times = plots.times_uniform(weights.numpy())
    axes.text(0.97, 0.03, times, fontsize=7, ha="right", transform=axes.transAxes)
    x, y = ((heads.peak_positions(weights).numpy() - box[:2]) / (box[2:] / 2)).round(3)
    numbers = {"model": view.title.replace("\n", ", "), "map": kind, "query": query, "layer": layer}
    numbers |= {"head": number, "named": bool(head["named"]), "x": x, "y": y}
    return numbers | {"entropy": round(heads.map_entropy(weights).item(), 3)}


def spatial_attention_maps(
    data: str | View | None = None, group: str = "cells", scene: int | None = None
) -> tuple[Figure, pd.DataFrame]:
    """Figure 1: spatial attention of the heads nearest to each side of an object, a row a model.

    A head's label in brackets: it is the nearest, but does not specialise in that side. data: 'checkpoint,
    image' of a reader, or a `View`: of it the surest query is shown. Without, detectors of a group trained
    here on an image of theirs, `scene` as in `open_view`. Spatial attention of DETR is (o_q + c_q) against
    positions only (section 3.4).
    """
    views = _views(data, (f"{group}-conditional-0", f"{group}-detr-0", f"{LONG[group]}-0"), scene)
    thing = OBJECTS[group][0] if data is None else 0
    tall = max(view.pixels.shape[0] / view.pixels.shape[1] for view in views)
    figure, axes = plots.panels(4 * len(views), 4, 1.55 * tall + 0.25)
    rows = []
    for line, view in zip(np.reshape(axes, (-1, 4)), views, strict=True):
        chosen = heads.heads_by_side(view.summary).iloc[:4]  # left, top, right, bottom
        for panel, (side, head) in zip(line, chosen.iterrows(), strict=True):
            numbers = draw_map(panel, view, head, "spatial", min(thing, len(view.boxes) - 1), CYCLE[1])
            rows.append({"side": side, **numbers})
            label = f"layer {numbers['layer']}, head {numbers['head']}"
            panel.set_xlabel(label if head["named"] else f"({label})", fontsize=7.5, labelpad=2)
            panel.set_title(side if panel in axes[:4] else "", loc="center")
        line[0].set_ylabel(view.title, fontsize=8)
    return figure, pd.DataFrame(rows)


def convergence(group: str = "cells") -> tuple[Figure, dict[str, pd.DataFrame]]:
    """Figure 2: AP50 and AP of a group against steps, the long run of DETR, published end points.

    data: runs, published.
    """
    frame, long = runs.histories(runs.run_names(group)), LONG[group]
    short, pair = frame["base"] != long, frame["base"].isin([GROUPS[group]["conditional"], long])
    published = read_table("published/conditional_detr_coco.csv").query("backbone == 'DC5-R50'")
    published = published[published["model"].isin(COMPARED)]
    titles = ("Here: AP50, four kinds", "Here: AP, four kinds", "Here: DETR, ten times the steps (one seed)")
    figure, axes = plots.panels(4, 2, 2.8, (*titles, "Published: ends of trainings, DC5-R50"))
    draw_curves(axes[0], frame[short], "AP50")
    draw_curves(axes[1], frame[short], "AP")
    draw_curves(axes[2], frame[pair], "AP")
    draw_coco(axes[3], published)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper left", ncols=3)
    return figure, {"runs": frame, "published": published}


def draw_curves(
    axes: Axes, frame: pd.DataFrame, metric: str, colors: Mapping[str, str] = MODEL_COLORS
) -> None:
    """A metric against steps, a curve a kind, and a line where the learning rate falls to a tenth.

    frame: of `histories`; its last run says how many steps there are and when the rate falls.
    """
    for kind, part in frame.groupby("kind", sort=False):
        plots.seed_curves(axes, part, metric, colors[kind], MODELS.get(kind, kind))
    made = runs.settings(frame["run"].iloc[-1])["options"]
    style = {"color": plots.NEUTRAL, "linewidth": 0.9, "linestyle": plots.DASHED, "zorder": 1}
    axes.axvline(made["drop_at"] * made["steps"], label="learning rate / 10", **style)
    axes.set(xlim=(0, made["steps"]), ylim=(0, 1 if metric.startswith(("AP", *METRICS)) else None))
    axes.set(xlabel="training steps", ylabel=METRICS.get(metric, metric))


def curves(frame: pd.DataFrame, metrics: Sequence[str], colors: Mapping[str, str] = MODEL_COLORS) -> Figure:
    """`draw_curves` for each metric, side by side."""
    figure, axes = plots.panels(len(metrics), len(metrics), 2.8)
    for panel, metric in zip(axes, metrics, strict=True):
        draw_curves(panel, frame, metric, colors)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper left", ncols=4, columnspacing=1)
    return figure


def decoder_layer(model: detection.Detector | None = None) -> tuple[Figure, pd.DataFrame]:
    """Figure 3: one decoder layer, with the shapes of the tensors in a real forward pass.

    model: a conditional detector, or None for an untrained one of this project's usual size. The shapes are
    those of its second layer, because there is no T in the first. The grey box holds what the paper adds:
    p_s, T and their product. Dashed arrows are there in the first layer only. Returns (figure, data), data
    one row a tensor: tensor, axes, shape. ValueError for a model of another kind.
    """
    model = model or detection.build(detection.DetectorConfig())
    tensors = watch_layer(model, torch.from_numpy(detection.make_scenes(1, split="val").pixels), layer=1)
    figure, axes = plt.subplots(figsize=(WIDTH["page"], 7.2), layout="none")
    axes.set(xlim=(0, WIDTH["page"]), ylim=(0, 7.2), position=(0, 0, 1, 1))
    axes.add_patch(Rectangle((0.02, 2), 2.58, 1.68, facecolor="0.9"))
    blocks, arrows, rows = {}, [], []
    for name, (x, y, formula, letters, sources, how) in _TENSORS.items():
        shape, query, key = tuple(tensors[name].shape), "Q" in letters, "K" in letters
        color = "vermilion" if query and key else "blue" if query else "green"
        blocks[name] = (x, y, color, f"{formula}\n{' × '.join(map(str, shape))}")
        rows.append({"tensor": name, "axes": f"({letters.replace(' ', ', ')})", "shape": shape})
        two = " " in sources
        for (
            source
        ) in sources.split():  # two arrows meet just below the box, a single one turns where it starts
            start, low = _TENSORS[source][:2]
            turn = y - 0.43 if two else low
            arrows.append((source, name, {"color": "0.35", "via": [(start, turn), (x, turn)]}))
        if how:
            axes.text(x + 0.06, y - 0.32 if two else (low + y) / 2, how, fontsize=7, va="center")
    dashed = {"color": PALETTE["purple"], "linestyle": plots.DASHED}
    lane = {"via": [(0.62, 0.12), (3.87, 0.12), (3.87, 4.25)]}
    plots.diagram(axes, blocks, [*arrows, ("o_q", "q_c", dashed | lane), ("k_s", "k_c", dashed)])
    batch, count, queries, keys = tensors["attention"].shape
    width = model.config.width
    what = (
        f"B = {batch} image, Q = {queries} queries, K = {keys} keys (cells)\n"
        f"width = {width} = {count} heads H × {width // count} channels D\n"
        "blue: queries, green: keys and values\n"
        "dashed: in the first layer only (linear, added)\n"
        "not shown: $o_q$ in self-attention"
    )
    axes.text(0.05, 7.1, what, fontsize=7.5, va="top", linespacing=1.5)
    return figure, pd.DataFrame(rows)


def attention_decomposition(
    data: str | View | None = None, group: str = "cells", scene: int | None = None
) -> tuple[Figure, pd.DataFrame]:
    """Figure 4: spatial, content and combined attention of five heads for two objects.

    Rows are the heads of left, top, right, bottom and inside; each object has its colour and three columns
    (in the paper kinds are the rows). Every panel is scaled by its own maximum. data: 'checkpoint,image' of a
    reader, or a `View`: of it the two surest queries are shown. Without, Conditional DETR of a group trained
    here, `scene` as in `open_view`.
    """
    (view,) = _views(data, (f"{group}-conditional-0",), scene)
    things = [thing for thing in (OBJECTS[group] if data is None else (0, 1)) if thing < len(view.boxes)]
    chosen, columns = heads.heads_by_side(view.summary), 3 * len(things)
    height = (1.02 if columns > 3 else 2.2) * view.pixels.shape[0] / view.pixels.shape[1] + 0.2
    figure, axes = plots.panels(5 * columns, columns, height)
    grid, rows = np.reshape(axes, (5, columns)), []
    for block, thing in enumerate(things):
        for line, (side, head) in zip(grid, chosen.iterrows(), strict=True):
            for panel, kind in zip(line[3 * block :], KINDS, strict=False):
                numbers = draw_map(panel, view, head, kind, thing, CYCLE[1 - block])
                rows.append({"object": thing, "side": side, **numbers})
                panel.set_title(kind if panel in grid[0] else "", loc="center", fontsize=8)
            name = side if head["named"] else f"({side})"
            line[0].set_ylabel(f"{name}\nlayer {numbers['layer']}, head {numbers['head']}", fontsize=7.5)
    return figure, pd.DataFrame(rows)


def _beside(group: str, labels: Sequence[str] | None = None) -> tuple[Figure, dict[str, pd.DataFrame]]:
    """AP at the end of training, a line a row of the table, beside the published AP."""
    values = speed.values_at(runs.histories(runs.run_names(group)), GROUPS[group])  # a line a seed
    rows = pd.DataFrame({"mean": values.mean(), "low": values.min(), "high": values.max()})
    rows = rows.assign(seeds=values.count(), published=pd.Series(published(group)))
    size = WIDTH["page"], 0.36 * len(rows) + 1.0
    figure, (left, right) = plt.subplots(1, 2, figsize=size, sharey=True, width_ratios=(1.5, 1))
    ends = values.unstack().rename("value").reset_index()
    plots.intervals(left, rows, "mean", open=True, reference=None, dots=ends.set_index("row")["value"])
    draw_published(right, rows["published"])
    plots.lines(left, labels or rows.index)
    left.set(xlabel="AP on our scenes, at the end", title="Here: dots are seeds, rings their means")
    right.set(xlabel="AP on COCO val2017 (%)", title="Published")
    right.margins(x=0.22)
    ends.insert(1, "base", ends["row"].map(GROUPS[group]))
    return figure, {"runs": ends, "rows": rows.reset_index()}


def draw_published(axes: Axes, values: pd.Series, **text) -> None:
    """Published AP as labelled diamonds, a line each, the first on top; text: style of the lines' names."""
    axes.plot(values, range(len(values)), "D", color=plots.NEUTRAL)
    for y, value in enumerate(values):
        axes.text(value, y, f"   {value:.1f}", va="center", fontsize=7)
    plots.lines(axes, values.index, **text)


def transformation_forms() -> tuple[Figure, dict[str, pd.DataFrame]]:
    """Figure 5: AP for five forms of T, ours beside the published bars; data as `spatial_query_forms`."""
    return _beside("figure_5")


def coco() -> tuple[Figure, pd.DataFrame]:
    """Table 1: published AP of Conditional DETR and DETR against training epochs, a panel a backbone.

    Returns (figure, data) with the columns of data/published/conditional_detr_coco.csv.
    """
    table = read_table("published/conditional_detr_coco.csv")
    table = table[table["model"].isin(COMPARED)]
    figure, axes = plots.panels(4, 4, 2.4, sharey=True)
    for panel, (backbone, rows) in zip(axes, table.groupby("backbone", sort=False), strict=True):
        draw_coco(panel, rows)
        panel.set_title(backbone)
        panel.label_outer()
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper right", ncols=2)
    return figure, table


def draw_coco(axes: Axes, rows: pd.DataFrame) -> None:
    """Published AP of COMPARED against epochs; two points are joined by dots, as nothing is known between."""
    for model, color in COMPARED.items():
        curve = rows[rows["model"] == model].sort_values("epochs")
        line = "o-" if len(curve) > 2 else "o:"
        axes.semilogx(curve["epochs"], curve["AP"], line, color=color, label=model)
    axes.set(xlabel="training epochs", ylabel="AP on COCO val2017 (%)")
    axes.set_xticks([50, 108, 500], ["50", "108", "500"])
    axes.minorticks_off()


def spatial_query_forms() -> tuple[Figure, dict[str, pd.DataFrame]]:
    """Table 3: what the spatial query is made from, ours beside the published column.

    data: runs (row, base, seed, value), rows (mean, low and high of the seeds, how many, published).
    """
    forms = ("f", "λ(f)", "$p_s$", "λ($c_q$) $p_s$", "λ(f) $p_s$")
    return _beside("table_3", [f"{row}: {form}" for row, form in zip(GROUPS["table_3"], forms, strict=True)])


def components() -> tuple[Figure, dict[str, pd.DataFrame]]:
    """Table 4: offset regression (OR), focal loss (FL), conditional spatial query (CSQ).

    data as `spatial_query_forms`.
    """
    return _beside("table_4")


def reference_points() -> tuple[Figure, dict[str, pd.DataFrame]]:
    """Section 4.3: where the reference point comes from; data as `spatial_query_forms`."""
    return _beside("reference_point")


# --- Ours: how detectors learn


def steps_to_level(
    metric: str = "AP50", threshold: float = 0.8, group: str = "headline"
) -> tuple[Figure, pd.DataFrame]:
    """Curves of a group with a level across them, and how many steps each kind needs to get there.

    A hollow triangle is a run that ended below the level; the ratios are to Conditional DETR with the same
    seed. data: a row a run: base, seed, steps (NaN: not reached), trained, kind, ratio, bound.
    """
    frame, long = runs.histories(runs.run_names(group)), LONG[group]
    titles = (f"Where is {threshold:g} crossed?", "Steps (×: those of Conditional DETR)")
    figure, (left, right) = plots.panels(2, 2, 3.2, titles, width_ratios=(1, 1.25))
    draw_curves(left, frame[frame["base"] != long], metric)
    left.axhline(threshold, color="black", linewidth=0.9)
    reached = speed.reach(frame, metric, threshold)
    kinds = {long: ("DETR, 10 times the steps (one seed)", CYCLE[1])}
    kinds |= {base: (MODELS[kind], MODEL_COLORS[kind]) for kind, base in GROUPS[group].items()}
    labels, parts = [], []
    for y, (base, (kind, color)) in enumerate(kinds.items()):
        ratios = speed.speed_up(reached, base, GROUPS[group]["conditional"])
        part = reached[reached["base"] == base].assign(kind=kind).merge(ratios, on="seed")
        at = y + 0.16 * (part["seed"] - 1)
        right.plot(part["steps"], at, "o", color=color)
        right.plot(part["trained"].where(part["steps"].isna()), at, ">", color=color, markerfacecolor="white")
        labels.append(f"{kind}\n× {speed.ratio_text(ratios)}".replace(" (", "\n("))
        parts.append(part)
    plots.lines(right, labels, fontsize=7.5)
    right.set(xscale="log", xlim=(0.6 * reached["steps"].min(), 1.3 * reached["trained"].max()))
    right.set_xlabel("steps to get there; hollow: ended below")
    return figure, pd.concat(parts, ignore_index=True)


# --- Ours: positional encodings, before and after training


def sine_encoding(width: int = 32) -> tuple[Figure, pd.DataFrame]:
    """The positional encoding of one coordinate at temperature 10000, and the dot product of two of them.

    width: of a point's encoding, half of it belongs to a coordinate. Returns (figure, data), data one row a
    value v of the coordinate with its channels.
    """
    v = torch.linspace(0, 1, 101, dtype=torch.float64)
    encoding = positional_encoding(torch.stack((0 * v, v), -1), width)[:, : width // 2].numpy()  # of y
    titles = ("encoding of one coordinate", "equal along diagonals")
    figure, (left, right) = plots.panels(2, 2, 2.9, titles, width_ratios=(1.55, 1))
    extent = (0, 1, width // 2 - 0.5, -0.5)
    shown = left.imshow(encoding.T, DIVERGING, vmin=-1, vmax=1, extent=extent, aspect="auto")
    figure.colorbar(shown, ax=left, label="value", pad=0.02, ticks=[-1, 0, 1])
    left.set(xlabel="coordinate v", ylabel="channel: even sin, odd cos")
    shown = right.imshow(encoding @ encoding.T, extent=(0, 1, 1, 0))
    figure.colorbar(shown, ax=right, label="dot product of the encodings", pad=0.02)
    right.set(xlabel="v′", ylabel="v")
    for panel in (left, right):
        panel.grid(False)
    data = pd.DataFrame(encoding).add_prefix("channel_")
    data.insert(0, "v", v.numpy())
    return figure, data


def outer_product(attention: Float[Tensor, "h w"], point: tuple[float, float]) -> tuple[Figure, pd.DataFrame]:
    """A map, its row sums and column sums, and the product of these; both maps in one scale of colours.

    point: (x, y), the reference. Returns (figure, data), data one row a cell: attention, product.
    """
    maps = {"attention": attention.numpy(), "product": marginal_product(attention).numpy()}
    titles = ("attention map", "its sums", "row sums × column sums")
    figure, (left, middle, right) = plots.panels(3, 3, 2.4, titles)
    for panel, values in zip((left, right), maps.values(), strict=True):
        shown = plots.map_over(panel, values, point=point, vmax=attention.max())
    figure.colorbar(shown, ax=right, label="weight of a cell", pad=0.03)
    for axis, name in enumerate(("column sums, by x", "row sums, by y")):
        sums = attention.sum(axis).numpy()
        middle.stairs(sums, np.linspace(0, 1, len(sums) + 1), color=CYCLE[axis], linewidth=1.5, label=name)
    middle.legend(loc="upper center", bbox_to_anchor=(0.5, -0.15))
    row, column = np.indices(attention.shape).reshape(2, -1)
    cells = {name: values.flatten() for name, values in maps.items()}
    return figure, pd.DataFrame({"row": row, "column": column} | cells)


def trained_kernels(
    measured: Mapping[int, tuple[Mapping[str, Tensor], Tensor]], found: Bool[Tensor, "B Q"]
) -> tuple[Figure, pd.DataFrame]:
    """How far the heads of trained layers depart from the unprojected kernel.

    measured: layer (from 0) -> what `inside.kernel_departures` says of it; found: the queries that count.
    Dots are medians over the queries, lines go from 5 to 95 %. Returns (figure, data): measure, layer, head,
    queries, low, median, high.
    """
    rows = []
    for layer, (measures, room) in measured.items():
        kept = found & room
        for measure, values in measures.items():
            bands = values.mT[kept].quantile(torch.tensor([0.05, 0.5, 0.95]), dim=0).T  # (H, 3)
            rows += [(measure, layer, h, int(kept.sum()), *band) for h, band in enumerate(bands.tolist())]
    data = pd.DataFrame(rows, columns=["measure", "layer", "head", "queries", "low", "median", "high"])

    titles = ("error of a shifted map", "weight that changes rows")
    figure, axes = plots.panels(2, 2, 2.6, titles, sharey=True)
    units = ("of the logits' standard deviation", "share of the map's weight (median, 5 to 95 %)")
    for panel, measure, unit in zip(axes, ("shift", "row sums"), units, strict=True):
        for k, (layer, one) in enumerate(data[data["measure"] == measure].groupby("layer")):
            place = {"shift": 0.26 * (k - 0.5), "reference": None}
            plots.intervals(panel, one, "median", "head", CYCLE[k], name=f"layer {layer}", **place)
        panel.set(xlabel=unit, xlim=(0, None))
    axes[0].set_ylabel("head")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure, data
