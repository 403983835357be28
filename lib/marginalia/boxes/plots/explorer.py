"""What the box explorer shows, as a still picture: boxes, their correlation matrix, MC and its null band."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, UInt8

from marginalia.boxes.correlation import pearson
from marginalia.boxes.geometry import xywh_to_cxcywh, xywh_to_xyxy

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def box_correlation(
    xywh: Float[np.ndarray, "N 4"],
    size: tuple[float, float],
    picture: UInt8[np.ndarray, "H W *channels"] | None = None,
    band: tuple[float, float] | None = None,
    names: Sequence[str] | None = None,
    box_format: str = "xywh",
) -> tuple[Figure, pd.DataFrame]:
    """Boxes (x, y, w, h in pixels) on their picture, the matrix of their correlations, and MC on its axis.

    `size` is the picture's width and height, `band` two quantiles of MC under a null. Boxes without a
    correlation (four equal numbers) are dashed and take no part in MC. The data has one row a pair: first,
    second, correlation.
    """
    import matplotlib as mpl

    boxes = np.asarray(xywh, np.float64).reshape(-1, 4)
    names = [str(i) for i in range(len(boxes))] if names is None else list(names)
    turn = {"cxcywh": xywh_to_cxcywh, "xyxy": xywh_to_xyxy}.get(box_format, np.asarray)
    rho = pearson(turn(boxes))
    data = _pairs(rho, names)
    with mpl.rc_context():  # showing a widget must not change the look of a reader's own figures
        return _draw(boxes, size, picture, band, names, rho, data), data


def _draw(boxes, size, picture, band, names, rho, data) -> Figure:
    from matplotlib.figure import Figure

    from marginalia import style

    style.use_style()
    usable = ~np.isnan(np.diag(rho))
    figure = Figure(figsize=(style.WIDTH["page"], 4.2), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.12, h_pad=0.1)  # inches; tick labels of neighbouring axes met
    grid = figure.add_gridspec(2, 2, width_ratios=(1.3, 1), height_ratios=(4.6, 1))
    _draw_boxes(figure.add_subplot(grid[:, 0]), boxes, size, picture, names, usable)
    _draw_matrix(figure, figure.add_subplot(grid[0, 1]), rho, names)
    _draw_axis(figure.add_subplot(grid[1, 1]), data["correlation"].abs().mean(), int(usable.sum()), band)
    return figure


def _pairs(rho: Float[np.ndarray, "N N"], names: Sequence[str]) -> pd.DataFrame:
    import pandas as pd

    first, second = np.triu_indices(len(rho), 1)
    labels = np.array(names, dtype=object)
    return pd.DataFrame({"first": labels[first], "second": labels[second], "correlation": rho[first, second]})


def _draw_boxes(axes: Axes, boxes, size, picture, names, usable) -> None:
    from matplotlib.patches import Rectangle
    from matplotlib.patheffects import withStroke

    from marginalia.style import PALETTE

    width, height = size
    axes.set(xlim=(0, width), ylim=(height, 0), aspect="equal", xlabel="x (pixels)", ylabel="y (pixels)")
    axes.set_facecolor("#f1f3f5")
    axes.grid(False)
    if picture is not None:
        axes.imshow(picture, cmap="gray", vmin=0, vmax=255, extent=(0, width, height, 0))
    for (x, y, w, h), name, known in zip(boxes, names, usable, strict=True):
        style = {"edgecolor": PALETTE["sky"], "linewidth": 1.4, "linestyle": "-" if known else (0, (3, 2))}
        outline = Rectangle((x, y), w, h, fill=False, **style)
        outline.set_path_effects([withStroke(linewidth=2.8, foreground="black")])
        axes.add_patch(outline)
        tag = {"facecolor": PALETTE["sky"], "edgecolor": "none", "pad": 1.2}
        axes.text(x, y, name, fontsize=7, color="black", va="bottom", bbox=tag)


def _draw_matrix(figure: Figure, axes: Axes, rho, names) -> None:
    from marginalia.style import DIVERGING

    shown = np.where(np.eye(len(rho), dtype=bool), np.nan, rho)  # the diagonal is no pair
    axes.set_title("Pearson correlation")
    axes.grid(False)
    if len(rho) < 2:
        axes.set_axis_off()
        return
    image = axes.imshow(shown, cmap=DIVERGING, vmin=-1, vmax=1)
    step = -(-len(rho) // 12)  # labels would touch where there are many
    places = np.arange(0, len(rho), step)
    axes.set_xticks(places, [names[i][:8] for i in places])
    axes.set_yticks(places, [names[i][:12] for i in places])
    axes.tick_params(length=0)
    figure.colorbar(image, ax=axes, ticks=(-1, 0, 1), shrink=0.9)
    if len(rho) > 8:
        return
    fontsize = 6.5 if len(rho) < 7 else 5.5  # "−0.72" is as wide as a cell
    for i, j in zip(*np.nonzero(~np.isnan(shown)), strict=True):
        string = f"{shown[i, j]:.2f}".replace("-", "−")
        colour = "white" if abs(shown[i, j]) > 0.6 else "black"
        axes.text(j, i, string, ha="center", va="center", fontsize=fontsize, color=colour)


def _draw_axis(axes: Axes, mc: float, usable: int, band: tuple[float, float] | None) -> None:
    from marginalia.style import PALETTE

    axes.set(xlim=(0, 1), ylim=(0, 1), yticks=[], xticks=(0, 0.25, 0.5, 0.75, 1))
    axes.set_xticklabels(("0", "0.25", "0.5", "0.75", "1"))
    axes.grid(False)
    axes.spines["left"].set_visible(False)
    axes.set_title("MC needs two boxes" if np.isnan(mc) else f"MC {mc:.3f}")
    note = []
    if band is not None:
        low, high = band
        axes.axvspan(low, high, ymax=0.8, color=PALETTE["blue"], alpha=0.3, linewidth=0)
        note.append(f"band: random boxes, {low:.2f} to {high:.2f}")
    axes.axvline(0.5, color=PALETTE["grey"], linestyle=":", linewidth=1.2)
    if usable >= 4:
        least = (usable - 3) / (3 * (usable - 1))
        axes.axvline(least, ymax=0.45, color="black", linewidth=1.2)
        note.append(f"line: no MC below {least:.2f}")
    axes.set_xlabel("\n".join([*note, "dotted: 0.5, chance level"]), fontsize=7)
    if not np.isnan(mc):
        axes.plot(mc, 0.4, "o", color=PALETTE["vermilion"], markersize=7, clip_on=False, zorder=3)
