"""Figures of Conditional DETR (Meng et al., ICCV 2021)."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float
from matplotlib.patches import FancyBboxPatch
from torch import Tensor

from marginalia.detection.attention import marginal_product, positional_encoding
from marginalia.detection.detector import Detector, DetectorConfig, build
from marginalia.detection.inside import watch_layer
from marginalia.detection.scenes import make_scenes
from marginalia.plots import DASHED, intervals, map_over, panels
from marginalia.store import read_table
from marginalia.style import CYCLE, DIVERGING, PALETTE, WIDTH

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


def decoder_layer(model: Detector | None = None):
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


def coco():
    """Table 1: published AP of Conditional DETR and DETR against training epochs, a panel a backbone.

    Two points are joined by dots: nothing is published between. Returns (figure, data) with the columns of
    data/published/conditional_detr_coco.csv.
    """
    table = read_table("published/conditional_detr_coco.csv")
    table = table[table["model"].isin(["Conditional DETR", "DETR"])]
    figure, axes = panels(4, 4, 2.4, sharey=True)
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


# --- Ours


def sine_encoding(width: int = 32):
    """The positional encoding of one coordinate at temperature 10000, and the dot product of two of them.

    width: of a point's encoding, half of it belongs to a coordinate. Returns (figure, data), data one row a
    value v of the coordinate with its channels.
    """
    v = torch.linspace(0, 1, 101, dtype=torch.float64)
    encoding = _along_y(v, width).numpy()
    figure, (left, right) = panels(2, 2, height=2.9, width_ratios=(1.55, 1))
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


def outer_product(attention: Float[Tensor, "h w"], point: tuple[float, float]):
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
        shown = map_over(panel, values, point=point, vmax=attention.max())
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


def temperature_pairs(pairs=((20, 20), (10000, 10000), (10000, 20))):
    """Dot products of one coordinate's encodings when query and key have temperatures of their own.

    pairs: (query temperature, key temperature). White: each query's best key; dashed: where it should be.
    Returns (figure, data), data one row a pair and query coordinate: query_temperature, key_temperature, v,
    best.
    """
    v = torch.linspace(0, 1, 101, dtype=torch.float64)
    figure, axes = panels(len(pairs), len(pairs), height=2.75, sharey=True)
    frames = []
    for panel, (query, key) in zip(axes, pairs, strict=True):
        product = (_along_y(v, 256, query) @ _along_y(v, 256, key).T).numpy()
        best = v.numpy()[product.argmax(1)]
        shown = panel.imshow(product, extent=(0, 1, 1, 0), vmin=0, vmax=64)  # cosines of 64 frequencies
        panel.plot(best, v, color="white", linewidth=2.4)
        panel.plot(v, v, color=PALETTE["vermilion"], linewidth=1, linestyle=DASHED)
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
):
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
        map_over(panel, maps[head], point=point)
        panel.set_title(f"head {head}", loc="center")
    names = {"shift": "error of a shifted map", "row sums": "weight that changes rows"}
    axes = bottom.subplots(1, 2, sharey=True)
    for panel, (measure, name) in zip(axes, names.items(), strict=True):
        for k, layer in enumerate(measured):
            one = data[(data["measure"] == measure) & (data["layer"] == layer)]
            place = {"shift": 0.26 * (k - (len(measured) - 1) / 2), "reference": None}
            intervals(panel, one, "median", "head", CYCLE[k], name=f"layer {layer}", **place)
        panel.set(title=name, xlim=(0, None))
    axes[0].set_ylabel("head")
    bottom.legend(*panel.get_legend_handles_labels(), loc="outside lower center", ncols=len(measured))
    return figure, data
