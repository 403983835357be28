"""One decoder layer of Conditional DETR as a drawing, with the shapes of a real forward pass (Figure 3)."""

from __future__ import annotations

from dataclasses import dataclass

import matplotlib.pyplot as plt
import pandas as pd
import torch
from matplotlib.patches import FancyBboxPatch
from torch import Tensor

from ...style import PALETTE, WIDTH
from ..detector import Detector, DetectorConfig, build
from ..inside import watch_layer
from ..scenes import make_scenes


@dataclass(frozen=True)
class Node:
    """A tensor in the drawing: its place in inches, its formula, its axes, and whose it is."""

    x: float
    y: float
    formula: str
    axes: str
    side: str  # a name of SIDES


SIDES = {"query": PALETTE["blue"], "key": PALETTE["green"], "both": PALETTE["vermilion"]}
NODES = {
    "o_q": Node(0.62, 0.5, "$o_q$  object query", "1 Q width", "query"),
    "s": Node(0.62, 1.4, "$s$  reference point", "1 Q 2", "query"),
    "p_s": Node(0.62, 2.3, "$p_s$  encoding of $s$", "1 Q width", "query"),
    "f": Node(1.98, 0.5, "$f$  embedding", "B Q width", "query"),
    "lambda_q": Node(1.98, 2.3, "$\\lambda_q$  diagonal $T$", "B Q width", "query"),
    "p_q": Node(1.3, 3.38, "$p_q=\\lambda_q\\odot p_s$", "B Q width", "query"),
    "q_s": Node(1.3, 4.25, "spatial query", "B Q width", "query"),
    "c_q": Node(3.2, 2.3, "$c_q$  content", "B Q width", "query"),
    "q_c": Node(3.2, 4.25, "content query", "B Q width", "query"),
    "p_k": Node(4.55, 0.5, "$p_k$  key encoding", "1 K width", "key"),
    "k_s": Node(4.55, 4.25, "spatial key", "1 K width", "key"),
    "c_k": Node(5.85, 0.5, "$c_k$  memory", "B K width", "key"),
    "k_c": Node(5.85, 4.25, "content key", "B K width", "key"),
    "q": Node(2.25, 5.1, "queries, by head", "B H Q 2D", "query"),
    "k": Node(5.2, 5.1, "keys, by head", "B H K 2D", "key"),
    "attention": Node(3.72, 5.95, "attention", "B H Q K", "both"),
    "v": Node(6.38, 5.95, "values", "B H K D", "key"),
    "f_next": Node(3.72, 6.95, "$f$ of the next layer", "B Q width", "both"),
}
BOX = 1.16, 0.44  # width and height of a tensor's box in inches
HEIGHT = 7.35
# From tensor to tensor by way of corners, and what happens on the way, written beside the last upright piece.
ARROWS = (
    ("o_q", "s", (), "MLP"),
    ("s", "p_s", (), "sigmoid, sine"),
    ("f", "lambda_q", (), "MLP, the same\nin all layers"),
    ("p_s", "p_q", ((0.62, 2.85), (1.3, 2.85)), ""),
    ("lambda_q", "p_q", ((1.98, 2.85), (1.3, 2.85)), ""),
    ("p_q", "q_s", (), "linear"),
    ("f", "c_q", ((3.2, 0.5),), "self-\nattention,\nadd, norm"),
    ("c_q", "q_c", (), "linear"),
    ("p_k", "k_s", (), "linear"),
    ("c_k", "k_c", (), "linear"),
    ("c_k", "v", ((6.58, 0.5),), "linear"),
    ("q_s", "q", ((1.3, 4.68), (2.1, 4.68)), ""),
    ("q_c", "q", ((3.2, 4.68), (2.4, 4.68)), ""),
    ("k_s", "k", ((4.55, 4.68), (5.05, 4.68)), ""),
    ("k_c", "k", ((5.85, 4.68), (5.35, 4.68)), ""),
    ("q", "attention", ((2.25, 5.52), (3.55, 5.52)), ""),
    ("k", "attention", ((5.2, 5.52), (3.89, 5.52)), ""),
    ("v", "f_next", ((6.38, 6.42), (3.72, 6.42)), ""),
    ("attention", "f_next", (), ""),
)
NOTES = (
    (3.72, 5.42, "softmax(q · k / √(2D))"),
    (5.34, 6.56, "weights × values, linear, add $c_q$, norm; feed-forward, add, norm"),
    (2.25, 4.58, "concatenate"),
    (5.2, 4.58, "concatenate"),
)


def decoder_layer(model: Detector | None = None, layer: int = 1):
    """A decoder layer with the shapes of the tensors in a real forward pass (Conditional DETR, Figure 3).

    model: a conditional detector, or None for an untrained one of this project's usual size; layer: which one
    the shapes are from, 1 (the second) or later. The grey box holds what the paper adds: p_s, T and their
    product. Dashed arrows are there in the first layer only. Returns (figure, data), data one row a tensor:
    tensor, axes, shape.

    ValueError for a model of another kind and for layer 0, in which T is no part of the pass.
    """
    if layer < 1:
        raise ValueError("decoder_layer: layer must be 1 or later; in layer 0 there is no T to show")
    model = model or build(DetectorConfig())
    side = 16 * model.config.stride  # 16 x 16 cells
    pixels = torch.from_numpy(make_scenes(1, split="val", side=side).pixels)
    tensors = watch_layer(model, pixels.expand(-1, model.config.in_channels, -1, -1), layer)
    figure, axes = plt.subplots(figsize=(WIDTH["page"], HEIGHT), layout="none")
    axes.set(xlim=(0, WIDTH["page"]), ylim=(0, HEIGHT), position=(0, 0, 1, 1))
    axes.axis("off")
    _grey_box(axes)
    for start, end, corners, text in ARROWS:
        _arrow(axes, start, end, corners, text)
    _first_layer_only(axes)
    for x, y, text in NOTES:
        axes.text(x, y, text, fontsize=7, ha="center", va="center")
    for name, node in NODES.items():
        _box(axes, node, tensors[name])
    axes.text(0.05, HEIGHT - 0.12, _letters(model, tensors), fontsize=7.5, va="top", linespacing=1.5)
    rows = [(n, f"({node.axes.replace(' ', ', ')})", tuple(tensors[n].shape)) for n, node in NODES.items()]
    return figure, pd.DataFrame(rows, columns=["tensor", "axes", "shape"])


def _box(axes, node: Node, tensor: Tensor) -> None:
    width, height = BOX
    color = SIDES[node.side]
    corner = node.x - width / 2, node.y - height / 2
    style = {"boxstyle": "round,pad=0,rounding_size=0.06", "edgecolor": color, "linewidth": 1.2}
    axes.add_patch(FancyBboxPatch(corner, width, height, facecolor="white", zorder=3, **style))
    text = {"ha": "center", "va": "center", "zorder": 4}
    axes.text(node.x, node.y + 0.09, node.formula, fontsize=8, color="black", **text)
    shape = " × ".join(str(n) for n in tensor.shape)
    axes.text(node.x, node.y - 0.1, shape, fontsize=8, color=color, weight="bold", **text)


def _arrow(axes, start: str, end: str, corners, text: str, **options) -> None:
    """A line from box to box; the boxes lie over its ends."""
    a, b = NODES[start], NODES[end]
    points = [(a.x, a.y), *corners, (corners[-1][0] if corners else b.x, b.y - BOX[1] / 2)]
    options = {"color": "0.35", "linewidth": 1.1} | options
    axes.plot(*zip(*points[:-1], strict=True), zorder=2, solid_capstyle="round", **options)
    arrow = {"arrowstyle": "-|>", "shrinkA": 0, "shrinkB": 0, "mutation_scale": 9} | options
    axes.annotate("", points[-1], points[-2], arrowprops=arrow, zorder=2)
    if text:
        x, y = points[-1][0], (max(points[-2][1], a.y + BOX[1] / 2) + points[-1][1]) / 2
        axes.text(x + 0.06, y, text, fontsize=7, va="center", zorder=4)


def _grey_box(axes) -> None:
    left, bottom, right, top = 0.02, 2.0, 2.6, 3.68
    patch = {"boxstyle": "round,pad=0,rounding_size=0.08", "facecolor": "0.9", "edgecolor": "none"}
    axes.add_patch(FancyBboxPatch((left, bottom), right - left, top - bottom, zorder=0, **patch))
    axes.text(
        right - 0.06, top - 0.08, "what the\npaper adds", fontsize=7, va="top", ha="right", style="italic"
    )
    axes.plot(1.3, 2.85, "o", color="white", markeredgecolor="0.35", markersize=11, zorder=3)
    axes.text(1.3, 2.845, "×", ha="center", va="center", fontsize=9, zorder=4)


def _first_layer_only(axes) -> None:
    """Object query and key positional encoding, added to the content halves while the embedding is still empty."""
    dashed = {"color": PALETTE["purple"], "linewidth": 1.3, "linestyle": (0, (3, 2))}
    text = {"fontsize": 7, "color": PALETTE["purple"], "va": "center"}
    right = NODES["q_c"].x + BOX[0] / 2
    axes.plot([0.62, 0.62, 3.87, 3.87], [0.28, 0.12, 0.12, 4.25], zorder=1, **dashed)
    arrow = {"arrowstyle": "-|>", "shrinkA": 0, "shrinkB": 0, "mutation_scale": 9}
    axes.annotate("", (right, 4.25), (3.88, 4.25), arrowprops=arrow | dashed, zorder=2)
    axes.text(
        3.93, 1.4, "first layer only:\nlinear, added to\nthe content query", rotation=90, ha="left", **text
    )
    start, end = NODES["k_s"].x + BOX[0] / 2, NODES["k_c"].x - BOX[0] / 2
    axes.annotate("", (end, 4.25), (start, 4.25), arrowprops=arrow | dashed, zorder=2)
    axes.text(
        0.69,
        0.19,
        "$o_q$ also enters self-attention, as the position, in every layer",
        fontsize=7,
        va="center",
    )


def _letters(model: Detector, tensors: dict[str, Tensor]) -> str:
    """What the numbers are."""
    batch, heads, queries, keys = tensors["attention"].shape
    width = model.config.width
    return (
        f"B = {batch} picture, Q = {queries} queries, K = {keys} keys (cells)\n"
        f"width = {width} = {heads} heads H × {width // heads} channels D\n"
        "blue: queries, green: keys and values"
    )
