"""Positional attention without projections: what the positional encoding alone draws, and what T can do to it.

Maps are drawn on the picture's coordinates: column j of w lies on [j, j + 1] / w, row i on [i, i + 1] / h. A
cross marks the reference point, a ring the middle of the brightest cell. A key stands for the lower right
corner of its cell, so a cross on a corner has its ring half a cell up and left of it (sheet 7.5).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from torch import Tensor

from ...style import CYCLE, DIVERGING, PALETTE, WIDTH
from ..attention import (
    cell_positions,
    marginal_product,
    modulate,
    positional_encoding,
    sine_frequencies,
    unprojected_logits,
)

MODEL = 256  # width of the published models
SCALE = 1 / 8  # of their logits in Conditional and DAB-DETR: 1 / sqrt(2 D) with D = 32
RIM = [withStroke(linewidth=2.6, foreground="black")]

Point = Sequence[float]  # (x, y) in [0, 1]


def softmax_map(logits: Float[Tensor, "... h w"]) -> Float[Tensor, "... h w"]:
    """Attention from scaled logits: sums to 1 over the cells of each map."""
    return logits.flatten(-2).softmax(-1).unflatten(-1, logits.shape[-2:])


def show_map(axes, values: Float[Tensor, "h w"], point: Point | None = None, peak: bool = True, **options):
    """Draw a map on the picture's unit square, with its reference point and its brightest cell."""
    h, w = values.shape
    options = {"vmin": 0, "extent": (0, 1, 1, 0), "aspect": h / w} | options
    image = axes.imshow(np.asarray(values), **options)
    if peak:
        i, j = divmod(int(values.argmax()), w)
        ring = {"marker": "o", "markersize": 7, "fillstyle": "none", "markeredgewidth": 1.3}
        axes.plot((j + 0.5) / w, (i + 0.5) / h, color="white", path_effects=RIM, **ring)
    if point is not None:
        cross = {"marker": "+", "markersize": 8, "markeredgewidth": 1.4}
        axes.plot(*point, color="white", path_effects=RIM, clip_on=False, **cross)
    axes.set(xlim=(0, 1), ylim=(1, 0), xticks=[], yticks=[])
    axes.grid(False)
    return image


def cells_frame(**maps: Float[Tensor, "h w"]) -> pd.DataFrame:
    """Maps of one size as columns beside `row` and `column`."""
    row, column = np.indices(next(iter(maps.values())).shape)
    values = {name: np.asarray(value).ravel() for name, value in maps.items()}
    return pd.DataFrame({"row": row.ravel(), "column": column.ravel(), **values})


def _codes(point: Point, width: int, temperature: float) -> Float[Tensor, " width"]:
    return positional_encoding(torch.tensor(point, dtype=torch.float64), width, temperature)


def sine_encoding(width: int = 32, temperature: float = 10000.0, points: int = 101):
    """The code of one coordinate, channel by channel, and the dot product of two codes.

    width: of a point's code, half of it belongs to a coordinate. Returns (figure, data), data one row a
    value of the coordinate with its channels.
    """
    v = torch.linspace(0, 1, points, dtype=torch.float64)
    code = positional_encoding(torch.stack((torch.zeros_like(v), v), -1), width, temperature)[:, : width // 2]
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(WIDTH["page"], 2.9), width_ratios=(1.55, 1), layout="constrained"
    )
    options = {"extent": (0, 1, width // 2 - 0.5, -0.5), "aspect": "auto", "cmap": DIVERGING}
    image = left.imshow(code.T.numpy(), vmin=-1, vmax=1, **options)
    figure.colorbar(image, ax=left, label="value", pad=0.02, ticks=[-1, 0, 1])
    left.set(xlabel="coordinate v", ylabel="channel: even sin, odd cos")
    left.set_yticks(range(0, width // 2, 4))
    gram = code @ code.T
    image = right.imshow(gram.numpy(), extent=(0, 1, 1, 0))
    figure.colorbar(image, ax=right, label="code(v) · code(v′)", pad=0.02)
    right.set(xlabel="v′", ylabel="v", xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])
    for panel, title in ((left, "the code of one coordinate"), (right, "equal along diagonals")):
        panel.set_title(title)
        panel.grid(False)
    data = pd.DataFrame(code.numpy(), columns=[f"channel_{c}" for c in range(width // 2)])
    data.insert(0, "v", v.numpy())
    return figure, data


def outer_product(point: Point = (0.31, 0.7), size=(20, 30), temperature: float = 20.0, width: int = MODEL):
    """A map of the unprojected code with its two marginals, and the outer product of these.

    size: (h, w) cells. Returns (figure, data), data one row a cell: attention, product.
    """
    attention = softmax_map(unprojected_logits(_codes(point, width, temperature), *size, temperature) * SCALE)
    product = marginal_product(attention)
    h, w = size
    figure = plt.figure(figsize=(WIDTH["page"], 2.95), layout="constrained")
    grid = figure.add_gridspec(2, 4, height_ratios=(0.32, 1), width_ratios=(1, 0.26, 0.12, 1))
    main, again = figure.add_subplot(grid[1, 0]), figure.add_subplot(grid[1, 3])
    top, side = figure.add_subplot(grid[0, 0], sharex=main), figure.add_subplot(grid[1, 1])
    most = float(attention.max())
    for panel, values in ((main, attention), (again, product)):
        image = show_map(panel, values, point, vmax=most, aspect="auto")
    top.stairs(attention.sum(0).numpy(), np.arange(w + 1) / w, fill=True, color=CYCLE[0], alpha=0.7)
    side.barh((np.arange(h) + 0.5) / h, attention.sum(1).numpy(), 1 / h, color=CYCLE[1], alpha=0.7)
    side.set(ylim=(1, 0), yticks=[], xlabel="row sum")
    top.set(ylabel="column sum", title="attention map")
    top.tick_params(labelbottom=False)
    again.set_title("row sums × column sums")
    for panel in (top, side):
        panel.grid(False)
    main.set(xlabel="x", ylabel="y", xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])
    again.set(xlabel="x", xticks=[0, 0.5, 1])
    figure.colorbar(image, ax=again, label="weight of a cell", pad=0.03)
    return figure, cells_frame(attention=attention, product=product)


def transformations(
    forms: Mapping[str, Callable[[Tensor], Tensor]],
    points: Sequence[Point],
    step: tuple[int, int],
    size=(16, 16),
    temperature: float = 20.0,
    width: int = MODEL,
):
    """Maps of p_q = T p_s for several T at two reference points that lie `step` = (dx, dy) cells apart.

    forms: name -> T, from codes (2, width) to spatial queries; step: cells, not negative. Below each pair
    stands by how much the second logit map departs from the moved first one where both are defined.
    Returns (figure, data): form, departure (unscaled logits), and how far each map's peak lies from its
    reference in cells (peak_x_0, peak_y_0, peak_x_1, peak_y_1).
    """
    codes = positional_encoding(torch.tensor(points, dtype=torch.float64), width, temperature)  # (2, width)
    (h, w), (dx, dy) = size, step
    figure, axes = plt.subplots(2, len(forms), figsize=(WIDTH["page"], 3.35), layout="constrained")
    rows = []
    for column, (name, form) in zip(axes.T, forms.items(), strict=True):
        logits = unprojected_logits(form(codes), h, w, temperature)  # (2, h, w)
        moved = logits[0, : h - dy, : w - dx] - logits[1, dy:, dx:]
        departure = float(moved.abs().max())
        offsets = []
        for panel, attention, (x, y) in zip(column, softmax_map(logits * SCALE), points, strict=True):
            show_map(panel, attention, (x, y))
            i, j = divmod(int(attention.argmax()), w)
            offsets += [j + 1 - x * w, i + 1 - y * h]
        column[0].set_title(name, fontsize=8, loc="center", linespacing=1.25)
        shown = "0" if departure < 5e-4 else f"{departure:.0f}"
        column[1].set_xlabel(f"departs by {shown}", fontsize=8.5)
        rows.append((name.replace("\n", " "), departure, *offsets))
    axes[0, 0].set_ylabel("reference s")
    axes[1, 0].set_ylabel(f"s moved by ({dx}, {dy}) cells")
    columns = ["form", "departure", "peak_x_0", "peak_y_0", "peak_x_1", "peak_y_1"]
    return figure, pd.DataFrame(rows, columns=columns)


def temperature_maps(
    temperatures: Sequence[float] = (1, 10, 20, 10000),
    point: Point = (0.06, 0.4),
    side: int = 32,
    width: int = MODEL,
):
    """Maps of the unprojected code at several temperatures, and the kernel of one axis (DAB-DETR, Figure 7).

    Each temperature serves query and keys; S is the sum of squared frequencies. Returns
    (figure, {"maps", "kernel"}): one row a cell, and one row a difference of coordinates, with a column a
    temperature.
    """
    figure = plt.figure(figsize=(WIDTH["page"], 4.4), layout="constrained")
    grid = figure.add_gridspec(2, len(temperatures), height_ratios=(1, 0.95))
    kernel = figure.add_subplot(grid[1, :])
    delta = torch.linspace(0, 1, 101, dtype=torch.float64)
    maps, curves = {}, {"delta": delta.numpy()}
    for k, t in enumerate(temperatures):
        attention = softmax_map(unprojected_logits(_codes(point, width, t), side, side, t) * SCALE)
        panel = figure.add_subplot(grid[0, k])
        show_map(panel, attention, point)
        omega = sine_frequencies(width, t, torch.float64)
        curve = (2 * torch.pi * delta[:, None] * omega).cos().sum(-1)
        panel.set_title(f"temperature {t:g}\nS = {float((omega**2).sum()):.2f}", loc="center")
        kernel.plot(delta.numpy(), curve.numpy(), color=CYCLE[k % len(CYCLE)], label=f"temperature {t:g}")
        maps[f"temperature_{t:g}"] = attention
        curves[f"temperature_{t:g}"] = curve.numpy()
    kernel.set(xlabel="difference δ of one coordinate (share of the picture's side)", xlim=(0, 1))
    kernel.set_ylabel("Σ cos(2π ω δ)")
    kernel.axhline(0, color=PALETTE["grey"], linewidth=0.8)
    kernel.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=len(temperatures))
    return figure, {"maps": cells_frame(**maps), "kernel": pd.DataFrame(curves)}


def modulated_attention(
    sizes: Sequence[tuple[float, float]] = ((0.2, 0.2), (0.6, 0.2), (0.2, 0.6), (0.0667, 0.2)),
    wished: tuple[float, float] = (0.2, 0.2),
    grid: tuple[int, int] = (25, 34),
    temperature: float = 20.0,
):
    """Maps of one reference point for anchors of several sizes (DAB-DETR, Figure 6), before projections.

    sizes: anchors (w, h); wished: (w_ref, h_ref), which a trained model predicts for each query and layer.
    The factors are w_ref / w on x and h_ref / h on y. Returns (figure, data), data one row an anchor: w, h,
    factor_x, factor_y, std_x, std_y (standard deviation of the map as a share of the side).
    """
    point, cells = (0.5, 0.5), cell_positions(*grid, dtype=torch.float64)
    code = _codes(point, MODEL, temperature)[None, None]  # (1, 1, width)
    figure, axes = plt.subplots(1, len(sizes), figsize=(WIDTH["page"], 2.0), layout="constrained")
    rows = []
    for panel, (w, h) in zip(axes, sizes, strict=True):
        anchor, ask = torch.tensor([[[w, h]], [wished]], dtype=torch.float64).reshape(2, 1, 1, 2)
        logits = unprojected_logits(modulate(code, anchor, ask)[0, 0], *grid, temperature)
        attention = softmax_map(logits * SCALE)
        weights = attention.flatten()
        spread = (weights @ (cells - weights @ cells) ** 2).sqrt().tolist()
        factors = wished[0] / w, wished[1] / h
        show_map(panel, attention, point, peak=False)
        outline = {"fill": False, "edgecolor": "white", "linestyle": "--", "linewidth": 1.2}
        panel.add_patch(Rectangle((0.5 - w / 2, 0.5 - h / 2), w, h, **outline))
        panel.set_title(
            f"anchor {w:.2g} × {h:.2g}\nx times {_ratio(factors[0])}, y times {_ratio(factors[1])}"
        )
        panel.title.set(fontsize=8, linespacing=1.3)
        panel.set_xlabel(f"std x {spread[0]:.3f}, y {spread[1]:.3f}", fontsize=8)
        rows.append((w, h, *factors, *spread))
    return figure, pd.DataFrame(rows, columns=["w", "h", "factor_x", "factor_y", "std_x", "std_y"])


def _ratio(factor: float) -> str:
    return f"{factor:.2g}" if factor >= 1 else f"1/{1 / factor:.2g}"


def temperature_pairs(
    pairs: Sequence[tuple[float, float]] = ((20, 20), (10000, 10000), (10000, 20)),
    points: int = 101,
    width: int = MODEL,
):
    """Dot products of one coordinate's codes when query and key have temperatures of their own.

    pairs: (query temperature, key temperature). A line shows where each query's best key is. Returns
    (figure, data), data one row a pair and query coordinate: query_temperature, key_temperature, v, best.
    """
    v = torch.linspace(0, 1, points, dtype=torch.float64)
    line = torch.stack((torch.zeros_like(v), v), -1)
    figure, axes = plt.subplots(
        1, len(pairs), figsize=(WIDTH["page"], 2.75), sharey=True, layout="constrained"
    )
    codes = {t: positional_encoding(line, width, t)[:, : width // 2] for pair in pairs for t in pair}
    products = [codes[query] @ codes[key].T for query, key in pairs]
    lowest = min(float(product.min()) for product in products)
    frames = []
    for panel, (query, key), product in zip(axes, pairs, products, strict=True):
        best = v[product.argmax(1)]
        image = panel.imshow(product.numpy(), extent=(0, 1, 1, 0), vmin=lowest, vmax=width / 4)
        panel.plot(best.numpy(), v.numpy(), color="white", linewidth=1.8, path_effects=RIM)
        panel.plot([0, 1], [0, 1], color=PALETTE["vermilion"], linewidth=1, linestyle=(0, (3, 2)))
        panel.set(xlabel="key's coordinate", xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])
        panel.set_title(f"query temperature {query:g}\nkey temperature {key:g}", fontsize=8.5)
        panel.grid(False)
        columns = {"query_temperature": query, "key_temperature": key, "v": v.numpy(), "best": best.numpy()}
        frames.append(pd.DataFrame(columns))
    axes[0].set_ylabel("query's coordinate")
    figure.colorbar(image, ax=axes, label="dot product", pad=0.02)
    return figure, pd.concat(frames, ignore_index=True)


def half_cell(point: Point = (0.5, 0.5), size: tuple[int, int] = (5, 8), temperature: float = 20.0):
    """Where the map of a point lies when a cell's key stands for the cell's lower right corner.

    Left: as it is; right: what it would be if keys stood for the cells' middles. Returns (figure, data), data
    one row a cell with both maps.
    """
    h, w = size
    code = _codes(point, MODEL, temperature)
    corners = cell_positions(h, w, torch.float64)
    middles = corners - torch.tensor([0.5 / w, 0.5 / h], dtype=torch.float64)
    figure, axes = plt.subplots(1, 2, figsize=(WIDTH["page"] * 0.85, 2.15), layout="constrained")
    maps = {}
    for panel, (name, keys) in zip(axes, {"corner": corners, "middle": middles}.items(), strict=True):
        maps[name] = softmax_map((positional_encoding(keys, MODEL, temperature) @ code).reshape(h, w) * SCALE)
        image = show_map(panel, maps[name], point, peak=False)
        panel.plot(*keys.T.numpy(), "o", color=PALETTE["sky"], markersize=3, clip_on=False, zorder=3)
    axes[0].set_title("keys as they are")
    axes[1].set_title("keys at the cells' middles")
    figure.colorbar(image, ax=axes, label="weight of a cell", pad=0.02)
    return figure, cells_frame(**maps)


def spatial_query_panel(
    x: float = 0.35,
    y: float = 0.6,
    factor_x: float = 1.0,
    factor_y: float = 1.0,
    cosine: float = 1.0,
    fast: float = 1.0,
    temperature: float = 20.0,
    side: int = 24,
):
    """The map of p_q = lambda * p_s for a lambda with four knobs, and that lambda.

    factor_x, factor_y: of the two halves of the code; cosine: of all cosine channels; fast: of the fastest
    frequency, the first of each half, fading to 1 at the slowest. Returns (figure, data), data one row a
    channel: channel, scale.
    """
    width = 64
    frequencies = width // 4
    fade = torch.linspace(1, 0, frequencies, dtype=torch.float64)
    of_frequency = fast**fade  # (F,)
    pair = torch.tensor([1.0, cosine], dtype=torch.float64)
    axis = torch.tensor([factor_y, factor_x], dtype=torch.float64)  # y comes first
    scale = (axis[:, None, None] * of_frequency[:, None] * pair).flatten()
    logits = unprojected_logits(scale * _codes((x, y), width, temperature), side, side, temperature)
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(WIDTH["page"], 2.8), width_ratios=(1, 1.5), layout="constrained"
    )
    image = show_map(left, softmax_map(logits * (MODEL / width) * SCALE), (x, y))
    figure.colorbar(image, ax=left, label="weight of a cell", pad=0.03)
    channels = np.arange(width)
    for odd, marker, name in ((0, "o", "sin"), (1, "s", "cos")):
        right.plot(
            channels[odd::2], scale[odd::2].numpy(), marker, color=CYCLE[odd], label=name, markersize=3.5
        )
    right.axvline(width / 2 - 0.5, color=PALETTE["grey"], linewidth=0.8)
    right.axhline(0, color=PALETTE["grey"], linewidth=0.8)
    right.set(xlabel="channel (y half, then x half)", ylabel="λ")
    right.set_ylim(min(-0.1, 1.15 * float(scale.min())), 1.15 * max(1.0, float(scale.max())))
    right.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    return figure, pd.DataFrame({"channel": channels, "scale": scale.numpy()})
