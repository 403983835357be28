"""What figures, notebooks and explorers draw again and again; every function draws into the axes it is given.

Images lie on their own pixels unless a docstring says otherwise, with the origin in the upper left corner.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Bool, Float, UInt8
from matplotlib import colormaps
from matplotlib.colors import to_rgb
from matplotlib.lines import Line2D
from matplotlib.patches import PathPatch, Rectangle
from matplotlib.path import Path
from matplotlib.patheffects import withStroke

from .style import CYCLE, DIVERGING, PALETTE, SEQUENTIAL, WIDTH

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NEUTRAL = PALETTE["grey"]  # references, chance levels, nulls
DASHED = (0, (3, 2))


def panels(
    count: int, columns: int, height: float, titles: Sequence[str] = (), **options
) -> tuple[Figure, list[Axes]]:
    """A figure of page width with `count` panels in rows of `columns`; height: inches of a row."""
    columns = min(columns, count)
    rows = -(-count // columns)
    size = (WIDTH["page"], rows * height)
    figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained", **options)
    for empty in axes.flat[count:]:
        empty.remove()
    for panel, title in zip(axes.flat, titles, strict=False):
        panel.set_title(title)
    return figure, list(axes.flat[:count])


def bare(axes: Axes, size: Sequence[float] = (1, 1)) -> None:
    """Axes of an image of `size` (width, height): a thin frame, no ticks, y downwards, square pixels."""
    axes.set(xlim=(0, size[0]), ylim=(size[1], 0), xticks=[], yticks=[], aspect="equal")
    axes.grid(False)
    axes.spines[:].set(visible=True, color="0.75")


def lines(axes: Axes, labels: Sequence, **text) -> None:
    """Makes room for a line a label, the first on top, at y = 0, 1, ...; text: style of the labels."""
    axes.set_yticks(range(len(labels)), labels, **text)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)


def diagram(axes: Axes, blocks: Mapping[str, tuple], arrows: Iterable[tuple] = ()) -> None:
    """Text in frames, and arrows between them.

    blocks: name -> (x, y, colour, text[, style of the frame]): x and y of the middle, the colour by its name
    in PALETTE, or "none". arrows: (from, to[, style]), in the colour of the block that they lead to. style:
    of matplotlib's arrows; `via`: corners on the way.
    """
    axes.set_axis_off()
    axes.autoscale(False)
    drawn = {}
    for name, (x, y, color, text, *style) in blocks.items():
        frame = {"boxstyle": "round,pad=0.4", "facecolor": "white", "linewidth": 1.3}
        frame |= {"edgecolor": PALETTE.get(color, color)} | dict(*style)
        drawn[name] = axes.text(x, y, text, ha="center", va="center", fontsize=8, bbox=frame, zorder=3)
    for start, end, *style in arrows:
        look = {"arrowstyle": "-|>", "color": PALETTE.get(blocks[end][2], NEUTRAL), "linewidth": 0.9}
        look |= {"patch" + at: drawn[name].get_bbox_patch() for at, name in (("A", start), ("B", end))}
        look |= {"linestyle": "-", "shrinkA": 0} | dict(*style)
        way = np.array([drawn[start].get_position(), *look.pop("via", ())])
        line = {name: look[name] for name in ("color", "linewidth", "linestyle")}
        axes.plot(*way.T, zorder=1, **line)  # as far as the last corner, from below the block
        axes.annotate("", drawn[end].get_position(), way[-1], arrowprops=look, zorder=4)


# --- boxes and maps on an image


def boxes_on(
    axes: Axes,
    xywh: Float[np.ndarray, "N 4"],
    size: Sequence[float] = (1, 1),
    pixels: UInt8[np.ndarray, "H W *channels"] | None = None,
    color: str | Sequence[str] = CYCLE[0],
    labels: Sequence[str] | None = None,
    fill: float = 0.0,
    **style,
) -> None:
    """Boxes x, y, w, h on an image of `size` (width, height), in the unit of the boxes; with pixels if given.

    color: one, or one a box. labels: tags at the upper left corners, of boxes that the image shows. fill:
    opacity of the inside. style: of the outlines, as matplotlib's Rectangle takes it. On an image each
    outline has a dark rim.
    """
    bare(axes, size)
    if pixels is not None:
        extent = (0, size[0], size[1], 0)
        smooth = "auto" if max(pixels.shape) > 300 else "nearest"  # what is enlarged shows its pixels
        axes.imshow(pixels, "gray", vmin=0, vmax=255, extent=extent, interpolation=smooth)
    style = {"linewidth": 1.4} | style
    if axes.images:
        style["path_effects"] = [withStroke(linewidth=style["linewidth"] + 1, foreground=(0, 0, 0, 0.6))]
    xywh = np.asarray(xywh, float).reshape(-1, 4)
    colors = [color] * len(xywh) if isinstance(color, str) else color
    for i, ((x, y, w, h), edge) in enumerate(zip(xywh, colors, strict=True)):
        axes.add_patch(Rectangle((x, y), w, h, facecolor=(*to_rgb(edge), fill), edgecolor=edge, **style))
        if labels is not None and labels[i] and -w < x < size[0] and -h < y < size[1]:
            tag = {"facecolor": edge, "edgecolor": "none", "pad": 1.2}
            corner = max(x, 0), max(y, 0)
            axes.text(*corner, labels[i], fontsize=7, va="bottom", bbox=tag).set_in_layout(False)


def place_tags(axes: Axes) -> None:
    """Moves tags of boxes into the axes and removes those below another; needs the figure's final layout."""
    axes.get_figure(root=True).draw_without_rendering()
    frame, taken = axes.get_window_extent(), []
    for tag in reversed(list(axes.texts)):  # the last one lies on top
        extent = tag.get_window_extent().padded(2)
        move = np.maximum(np.minimum(frame.max - extent.max, 0), frame.min - extent.min)
        extent = extent.translated(*move)
        if extent.count_overlaps(taken):
            tag.remove()
            continue
        taken.append(extent)
        place = axes.transData.transform(tag.get_position()) + move
        tag.set_position(axes.transData.inverted().transform(place))


def map_over(
    axes: Axes,
    weights: Float[np.ndarray, "h w"],
    pixels: UInt8[np.ndarray, "H W *channels"] | None = None,
    box: Float[np.ndarray, " 4"] | None = None,
    point: Sequence[float] | None = None,
    color: str = PALETTE["vermilion"],
    **options,
):
    """A map (attention, say) on the unit square: over a pale image, or as colours where there is none.

    Cell (i, j) of h x w lies on [j, j + 1] / w and [i, i + 1] / h. Over an image the opacity of `color` goes
    from the uniform weight 1 / (h w), and below it, to the highest weight; `options` (of imshow: vmax, cmap)
    count without an image. box (cx, cy, w, h in [0, 1]) is framed, point (x, y) gets a cross. Returns the
    image that a colour bar can be made for.
    """
    weights = np.asarray(weights, float)
    place = {"extent": (0, 1, 1, 0), "aspect": "auto"}
    bare(axes)
    if pixels is None:
        shown = axes.imshow(weights, **({"vmin": 0} | place | options))
        axes.set(aspect="auto", box_aspect=weights.shape[0] / weights.shape[1])
    else:
        grey = pixels if pixels.ndim == 2 else pixels[..., :3].mean(-1)
        axes.imshow(0.35 * 255 + 0.6 * grey, "gray", vmin=0, vmax=255, **place)
        above = (weights - 1 / weights.size).clip(0)
        tint = np.empty((*weights.shape, 4))
        tint[..., :3], tint[..., 3] = to_rgb(color), 0.9 * above / max(above.max(), 1e-12)
        shown = axes.imshow(tint, interpolation="bilinear", **place)
        axes.set(aspect="auto", box_aspect=pixels.shape[0] / pixels.shape[1])
    rim = [withStroke(linewidth=2.6, foreground="black")]
    if box is not None:
        cx, cy, w, h = box
        axes.add_patch(Rectangle((cx - w / 2, cy - h / 2), w, h, fill=False, edgecolor=color, linewidth=1.4))
    if point is not None:
        axes.plot(*point[:2], "+", color="white", markersize=8, mew=1.4, path_effects=rim, clip_on=False)
    return shown


def times_uniform(weights: Float[np.ndarray, "h w"]) -> str:
    """A map's highest weight as a multiple of the uniform one, with two digits: 31×."""
    times = float(weights.max()) * np.size(weights)
    return f"{times:.0f}×" if times >= 99.5 else f"{times:.2g}×"


def joined(axes: Sequence[Axes], signs: Sequence[str], at: float = 1.06) -> None:
    """Signs (×, +, =, ∝) between neighbouring panels, one fewer than panels; at: in widths of a panel."""
    for panel, sign in zip(axes, signs, strict=False):
        panel.text(at, 0.5, sign, transform=panel.transAxes, ha="center", va="center", fontsize=13)


# --- numbers


def matrix(
    axes: Axes,
    values: Float[np.ndarray, "R C"],
    limit: float | None = None,
    diverging: bool = False,
    digits: int | None = None,
    rows: Sequence[str] = (),
    columns: Sequence[str] = (),
):
    """A matrix as colours, from 0 (or, diverging, -limit) to `limit`, with its numbers in the cells.

    limit: the largest size by default. digits: after the point; None: no numbers. NaN cells stay empty.
    Returns the image that a colour bar can be made for.
    """
    values = np.asarray(values, float)
    limit = np.nanmax(np.abs(values)) if limit is None else limit
    low = -limit if diverging else 0
    shown = axes.imshow(values, DIVERGING if diverging else SEQUENTIAL, vmin=low, vmax=limit, aspect="auto")
    axes.set_xticks(range(len(columns)), columns)
    axes.set_yticks(range(len(rows)), rows)
    axes.tick_params(length=0)
    axes.grid(False)
    for i, j in np.argwhere(np.isfinite(values)) if digits is not None else ():
        # ends of a diverging map are dark, the upper end of a sequential one is light
        strong = abs(values[i, j]) > 0.6 * limit
        number = f"{values[i, j]:z.{digits}f}".replace("-", "−")
        color = "white" if strong == diverging else "black"
        axes.text(j, i, number, ha="center", va="center", fontsize=7.5, color=color)
    return shown


def flows(axes: Axes, values: Float[np.ndarray, "R C"], threshold: float = 0.3) -> None:
    """Bands from row n on the left to column m on the right, for entries of at least `threshold` the largest.

    Width: size. Red gives, blue takes away. y points downwards, as row numbers do.
    """
    axes.set_axis_off()
    largest = np.abs(values).max()
    for n, m in np.argwhere((np.abs(values) >= threshold * largest) & (values != 0)):
        curve = Path([(0, n), (1 / 3, n), (2 / 3, m), (1, m)], [Path.MOVETO] + [Path.CURVE4] * 3)
        color = colormaps[DIVERGING](0.9 if values[n, m] > 0 else 0.1)
        wide = 5 * abs(values[n, m]) / largest
        axes.add_patch(PathPatch(curve, fill=False, linewidth=wide, color=color, alpha=0.8))
    axes.set(xlim=(0, 1), ylim=(max(values.shape) - 0.5, -0.5))


def intervals(
    axes: Axes,
    frame: pd.DataFrame,
    value: str,
    label: str | None = None,
    color: str | Sequence[str] = CYCLE[0],
    shift: float = 0.0,
    open: Bool[np.ndarray, " R"] | bool = False,
    name: str | None = None,
    reference: float | None = 0.0,
    order: Sequence | None = None,
    dots: pd.Series | None = None,
) -> None:
    """Estimates with their intervals (columns `low`, `high`), a row of the frame a line, the first on top.

    label: column that names the lines, None for the index; lines with one name share a place. shift: places
    downwards, to put several series beside each other. color: one, or one a row. open: rows whose marker
    stays empty. name: of the series, for a legend. reference: where a thin line stands; None: nowhere.
    order: all lines from the top, where a series lacks some. dots: what the estimates are made of, drawn
    below them: a series whose index names the lines.
    """
    labels = list(frame.index if label is None else frame[label])
    places = list(dict.fromkeys(labels if order is None else order))
    y = np.array([places.index(one) for one in labels]) + shift
    colors = [color] * len(frame) if isinstance(color, str) else list(color)
    faces = np.where(np.broadcast_to(open, len(frame)), "white", colors)
    if dots is not None:
        beside = 0.025 * dots.groupby(level=0).cumcount()  # equal values do not hide each other
        below = [places.index(one) for one in dots.index] + beside.to_numpy() + shift + 0.15
        axes.plot(dots, below, ".", color=colors[0], markersize=4, alpha=0.7)
    if reference is not None:
        axes.axvline(reference, color=NEUTRAL, linewidth=1)
    axes.hlines(y, frame["low"], frame["high"], color=colors, linewidth=1.8)
    axes.scatter(frame[value], y, 28, facecolor=faces, edgecolor=colors, zorder=3, label=name)
    lines(axes, places)


def seed_ranges(axes: Axes, runs: pd.DataFrame, metric: str, label: str, **options) -> None:
    """A metric of several seeds a line, as `intervals`: their mean, their range, and a dot for each.

    runs: a row a seed and line; label: the column that names the lines. options: of `intervals`.
    """
    marks = runs.groupby(label, sort=False)[metric].agg(mean="mean", low="min", high="max")
    intervals(axes, marks, "mean", reference=None, dots=runs.set_index(label)[metric], **options)


def dumbbells(
    axes: Axes, labels: Sequence[str], first, second, color: str | Sequence[str] = CYCLE[0]
) -> None:
    """Two values a line, from the top: `first` (measured) is filled, `second` (by chance) open."""
    y = np.arange(len(labels))
    axes.hlines(y, np.minimum(first, second), np.maximum(first, second), color=color, linewidth=2, alpha=0.4)
    axes.scatter(second, y, 34, facecolor="white", edgecolor=NEUTRAL, zorder=3)
    axes.scatter(first, y, 34, color=color, zorder=3)
    lines(axes, labels)


def seed_curves(axes: Axes, runs: pd.DataFrame, metric: str, color: str, name: str) -> None:
    """A metric against `step`: mean of the seeds, their range, and a dot for each; the label counts them."""
    each = runs.groupby("step")[metric]
    mean, count = each.mean(), runs["seed"].nunique()
    axes.fill_between(mean.index, each.min(), each.max(), color=color, alpha=0.18, linewidth=0)
    axes.plot(runs["step"], runs[metric], ".", color=color, markersize=3, alpha=0.6)
    axes.plot(mean, color=color, label=f"{name} ({count} seed{'s' * (count > 1)})")


def density(axes: Axes, values, weights=None, **style) -> None:
    """Kernel density of numbers in [0, 1], or of the counts `weights` of bins at `values`."""
    import seaborn

    where = {"x": values, "weights": weights, "clip": (0, 1), "cut": 0}
    seaborn.kdeplot(**where, bw_adjust=0.6, gridsize=300, ax=axes, **style)


# --- persistence


def persistence_diagram(
    axes: Axes,
    bars: Sequence[Float[np.ndarray, "m 2"]],
    limit: float | None = None,
    names: Sequence[str] = (),
    colors: Sequence[str] = CYCLE,
) -> None:
    """Diagrams, (m, 2) births and deaths each, usually one a dimension, in a colour of its own each.

    Bars that never die are triangles on a line of their own above the rest. limit: end of both axes; by
    default a little beyond the largest finite number. names: for a legend, which is left to the caller; H0,
    H1, ... by default.
    """
    bars = [np.asarray(each, float).reshape(-1, 2) for each in bars]
    if limit is None:
        limit = 1.05 * max((each[np.isfinite(each)].max(initial=0) for each in bars), default=0) or 1.0
    axes.axline((0, 0), slope=1, color=NEUTRAL, linewidth=0.8)
    axes.set(xlim=(-0.04 * limit, limit), ylim=(-0.04 * limit, 1.16 * limit), xlabel="birth", ylabel="death")
    for each, name, color in zip(bars, names or [f"H{k}" for k in range(len(bars))], colors, strict=False):
        endless = np.isinf(each[:, 1])
        look = {"color": color, "alpha": 0.65, "linewidth": 0, "clip_on": False, "zorder": 3}
        axes.scatter(*each[~endless].T, 20, label=name, **look)
        axes.scatter(each[endless, 0], np.full(endless.sum(), 1.08 * limit), 30, marker="^", **look)
    if any(np.isinf(each).any() for each in bars):
        axes.axhline(1.08 * limit, color=NEUTRAL, linewidth=0.8, linestyle=DASHED)
        axes.text(limit, 1.09 * limit, "never dies", ha="right", va="bottom", fontsize=7, color=NEUTRAL)


def barcode(axes: Axes, bars: Sequence[Float[np.ndarray, "m 2"]], limit: float | None = None) -> None:
    """A line from birth to death a bar, dimension 0 at the bottom; an arrow where a bar never dies.

    bars, limit and colours as in `persistence_diagram`; bars lie in the order that they are given in.
    """
    bars = [np.asarray(each, float).reshape(-1, 2) for each in bars]
    if limit is None:
        limit = 1.05 * max((each[np.isfinite(each)].max(initial=0) for each in bars), default=0) or 1.0
    row = 0
    for k, (each, color) in enumerate(zip(bars, CYCLE, strict=False)):
        rows = row + np.arange(len(each))
        axes.hlines(rows, each[:, 0], each[:, 1].clip(max=limit), color=color, linewidth=1.6, label=f"H{k}")
        endless = rows[np.isinf(each[:, 1])]
        axes.scatter(np.full(len(endless), limit), endless, 16, color, marker=">", clip_on=False)
        row += len(each) + 1
    axes.set(xlim=(0, limit), ylim=(-1, row), yticks=[], xlabel="edge length")


def persistence_image(axes: Axes, image: Float[np.ndarray, "r_p r_b"], ranges: Sequence[float], **options):
    """A persistence image over its plane: birth to the right, persistence upwards.

    ranges: lowest and highest birth, lowest and highest persistence, at the middles of the outer pixels.
    options: of imshow (vmax, say). Returns the image that a colour bar can be made for.
    """
    rows, columns = image.shape
    low_b, high_b, low_p, high_p = ranges
    half_b = (high_b - low_b) / max(columns - 1, 1) / 2 or 0.5
    half_p = (high_p - low_p) / max(rows - 1, 1) / 2 or 0.5
    extent = (low_b - half_b, high_b + half_b, low_p - half_p, high_p + half_p)
    look = {"origin": "lower", "aspect": "auto", "extent": extent, "vmin": 0} | options
    axes.set(xlabel="birth", ylabel="persistence")
    axes.grid(False)
    return axes.imshow(image, **look)


def legend(
    figure: Figure, entries: Mapping[str, Mapping], place: str = "outside lower center", **options
) -> None:
    """A legend of lines made for it: label -> style of its line; side by side unless `ncols` says else."""
    lines = [Line2D([], [], **style) for style in entries.values()]
    figure.legend(lines, list(entries), loc=place, **({"ncols": len(entries)} | options))
