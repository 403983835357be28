"""What the attention explorer shows, as a still picture: boxes, a map, all heads, the product."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, UInt8

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..capture import CapturedAttention

KINDS = ("content", "spatial", "combined")
SOLID = 0.3  # score from which a box is drawn solid; those of focal heads are low
TINT = "#ff7800"  # of the chosen query's box and map
Maps = Mapping[str, Float[np.ndarray, "H h w"]]


def query_attention(
    captured: CapturedAttention,
    picture: UInt8[np.ndarray, "H W *channels"],
    query: int,
    layer: int = -1,
    head: int = 0,
    kind: str = "combined",
    image: int = 0,
    names: Sequence[str] | Mapping[int, str] | None = None,
    shown: Sequence[int] | None = None,
) -> tuple[Figure, dict[str, pd.DataFrame]]:
    """Attention of one query: a head's map over the picture, all heads, and content x spatial -> combined.

    `picture` is image `image` of the captured batch without padding; `names` has a name for each class
    number; `shown` are the queries whose boxes are drawn beside that of `query`, all of them by default.
    Boxes with a score of 0.3 or more are solid. Small maps are scaled to their own peaks, which are told as
    multiples of an even spread (1 / number of cells). Column j lies on [j, j + 1] / w of the picture.

    The data: `heads`, one row a head with the peaks of its three maps, where that of `kind` is (x, y in parts
    of the picture, the middle of the cell), and `overlap`, the sum over the cells of content * spatial;
    `cells`, the three weights of the chosen head; `boxes`, one row a shown query, in pixels.
    Conditional DETR section 3.4 and Figure 4. Raises ValueError for a choice that is not there.
    """
    import matplotlib as mpl

    from ..capture import crop_to_valid

    captured = crop_to_valid(captured, image)
    layers, _, heads, queries, _, _ = captured.combined.shape
    for name, value, count in (("layer", layer, layers), ("head", head, heads), ("query", query, queries)):
        if not -count <= value < count:
            raise ValueError(f"query_attention: {name} must be {-count} to {count - 1}, not {value}")
    if kind not in KINDS:
        raise ValueError(f"query_attention: kind must be one of {', '.join(KINDS)}, not {kind!r}")
    layer, head, query = layer % layers, head % heads, query % queries
    shown = range(queries) if shown is None else shown
    maps = {name: getattr(captured, name)[layer, 0, :, query].numpy() for name in KINDS}
    data = {
        "heads": _heads(maps, kind),
        "cells": _cells({name: maps[name][head] for name in KINDS}),
        "boxes": _boxes(captured, picture.shape, list(dict.fromkeys([*shown, query])), names),
    }
    terms = captured.content_terms[layer], captured.spatial_terms[layer]
    point = _reference(captured, layer, query)
    with mpl.rc_context():  # showing a widget must not change the look of a reader's own figures
        return _draw(picture, maps, data, (query, layer, head, kind), terms, point), data


def peak_told(weights: Float[np.ndarray, "h w"]) -> str:
    """A map's peak as a multiple of an even spread, with two digits: 31×."""
    times = weights.max() * weights.size
    return f"{times:.0f}×" if times >= 99.5 else f"{times:.2g}×"


# ---- numbers ------------------------------------------------------------------------------------------


def _heads(maps: Maps, kind: str) -> pd.DataFrame:
    import pandas as pd

    h, w = maps[kind].shape[1:]
    row, column = np.divmod(maps[kind].reshape(len(maps[kind]), -1).argmax(axis=1), w)
    return pd.DataFrame(
        {"head": np.arange(len(row))}
        | {f"{name} peak": maps[name].max(axis=(1, 2)) for name in KINDS}
        | {"x": (column + 0.5) / w, "y": (row + 0.5) / h}
        | {"overlap": (maps["content"].astype(float) * maps["spatial"]).sum(axis=(1, 2))}
    )


def _cells(maps: Mapping[str, Float[np.ndarray, "h w"]]) -> pd.DataFrame:
    import pandas as pd

    row, column = np.indices(maps["content"].shape).reshape(2, -1)
    return pd.DataFrame({"row": row, "column": column} | {name: maps[name].ravel() for name in KINDS})


def _boxes(captured: CapturedAttention, size: Sequence[int], shown: list[int], names) -> pd.DataFrame:
    import pandas as pd

    found, scale = captured.queries, np.array([size[1], size[0]] * 2)
    cx, cy, w, h = (found.boxes[0, shown].numpy() * scale).T
    labels = found.labels[0, shown].tolist()
    told = [str(label if names is None else names[label]) for label in labels]
    scores = found.scores[0, shown].numpy()
    return pd.DataFrame(
        {"query": shown, "name": told, "score": scores, "x": cx - w / 2, "y": cy - h / 2, "w": w, "h": h}
    )


def _reference(captured: CapturedAttention, layer: int, query: int) -> Float[np.ndarray, " P"] | None:
    """Where the layer looks from, in parts of the picture; None where the model has no references."""
    references = captured.queries.references[:, 0]
    return None if bool((references == 0.5).all()) else references[layer, query].numpy()


# ---- drawing ------------------------------------------------------------------------------------------


def _draw(picture, maps: Maps, data, choice, terms: tuple[str, str], point) -> Figure:
    from matplotlib.figure import Figure

    from marginalia import style

    style.use_style()
    query, layer, head, kind = choice
    count = len(maps[kind])
    rows = max(1, round((count / 2) ** 0.5))
    tall = 0.95 * min(1.0, picture.shape[0] / picture.shape[1])  # inches of a small map
    height = 1.6 + (rows + 1) * tall
    figure = Figure(figsize=(style.WIDTH["page"], height), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.1, h_pad=0.05)  # inches; outlines of chosen maps met the edge
    left, right = figure.subfigures(1, 2, width_ratios=(1, 1.12))
    above, below = right.subfigures(2, 1, height_ratios=(rows * (tall + 0.2) + 0.2, tall + 0.75))
    size = picture.shape[1::-1]
    box = data["boxes"].set_index("query").loc[query]
    _draw_picture(left.subplots(), picture, maps[kind][head], data["boxes"], query, point)
    left.supxlabel(_note(maps[kind].shape[1:], point), fontsize=7, x=0.03, ha="left")
    told = f"“{box['name']}”, score {box['score']:.2f}"
    left.suptitle(f"Query {query}: {told}\nlayer {layer}, head {head}, {kind}", **_TITLE)
    above.suptitle(f"All heads, {kind}: peak against an even spread", **_TITLE)
    grid = above.subplots(rows, -(-count // rows), squeeze=False).flat
    for axes in grid[count:]:
        axes.set_axis_off()
    for i, axes in enumerate(grid[:count]):
        _draw_map(axes, maps[kind][i], size, box, point, chosen=i == head)
        axes.set_xlabel(f"head {i}: {peak_told(maps[kind][i])}", fontsize=7, labelpad=2)
    overlap = data["heads"]["overlap"][head]
    below.suptitle(f"Head {head}: content × spatial → combined (Σ = {overlap:.2g})", **_TITLE)
    parts = {name: maps[name][head] for name in KINDS}
    _draw_product(below.subplots(1, 3), parts, kind, terms, size, box, point)
    return figure


def _note(grid: tuple[int, int], point) -> str:
    """What lines and cells mean."""
    cross = "" if point is None else " Cross: reference point."
    place = f"Column j of {grid[1]} lies on [j, j + 1] / {grid[1]} of the picture;"
    return f"Dashed: score below {SOLID}.{cross}\n{place}\nits key encodes the right end."


_TITLE = {"fontsize": 8, "fontweight": "bold", "x": 0.03, "ha": "left"}


def _draw_picture(axes: Axes, picture, weights, boxes: pd.DataFrame, query: int, point) -> None:
    from matplotlib.colors import to_rgb

    from marginalia.style import PALETTE

    height, width = picture.shape[:2]
    axes.set(xlim=(0, width), ylim=(height, 0), aspect="equal", xlabel="x (pixels)", ylabel="y (pixels)")
    axes.set_anchor("N")
    axes.grid(False)
    extent = (0, width, height, 0)
    axes.imshow(picture, cmap="gray", vmin=0, vmax=255, extent=extent)
    tint = np.zeros((*weights.shape, 4))
    tint[..., :3], tint[..., 3] = to_rgb(TINT), 0.85 * weights / weights.max()
    axes.imshow(tint, extent=extent)
    for row in boxes[boxes["query"] != query].sort_values("score").itertuples():
        _outline(axes, row, PALETTE["sky"], 1.2, solid=row.score >= SOLID)
    for row in boxes[boxes["query"] == query].itertuples():
        _outline(axes, row, TINT, 2.0)
    _draw_tags(axes, boxes, query, (width, height))
    if point is not None:
        _mark_reference(axes, point, (width, height), 9)


def _draw_tags(axes: Axes, boxes: pd.DataFrame, query: int, size: tuple[int, int]) -> None:
    """Names of solid boxes; of boxes on one thing the best has its name only, or they would overlap."""
    from marginalia.style import PALETTE

    first = boxes["query"] == query
    solid = boxes.assign(first=first)[first | (boxes["score"] >= SOLID)]
    taken: list[tuple[float, float]] = []
    for row in solid.sort_values(["first", "score"], ascending=False).itertuples():
        place = max(row.x, 0) / size[0], max(row.y, 0) / size[1]
        if any(abs(place[0] - x) < 0.12 and abs(place[1] - y) < 0.07 for x, y in taken):
            continue
        taken.append(place)
        tag = {"facecolor": TINT if row.first else PALETTE["sky"], "edgecolor": "none", "pad": 1.2}
        corner = max(row.x, 0), max(row.y, 0)
        text = axes.text(*corner, row.name[:12], fontsize=7, color="black", va="bottom", bbox=tag)
        text.set_in_layout(False)  # a long name must not make the picture small


def _outline(axes: Axes, box, colour: str, line: float, solid: bool = True) -> None:
    """A box that is seen on any picture."""
    from matplotlib.patches import Rectangle
    from matplotlib.patheffects import withStroke

    style = {"linewidth": line, "linestyle": "-"} if solid else {"linewidth": 0.8, "linestyle": (0, (2, 3))}
    patch = Rectangle((box.x, box.y), box.w, box.h, fill=False, edgecolor=colour, **style)
    if solid:
        patch.set_path_effects([withStroke(linewidth=line + 1.4, foreground="black")])
    axes.add_patch(patch)


def _mark_reference(axes: Axes, point, size: tuple[int, int], marker: float) -> None:
    """A cross where the layer looks from, and an anchor's box with dashes."""
    from matplotlib.patches import Rectangle
    from matplotlib.patheffects import withStroke

    (width, height), line = size, marker / 6
    cross = axes.plot(point[0] * width, point[1] * height, "+", color="white", markersize=marker, mew=line)
    cross[0].set_path_effects([withStroke(linewidth=line + 1.4, foreground="black")])
    if len(point) == 4 and marker > 6:
        x, y, w, h = point * np.tile(size, 2)
        style = {"edgecolor": "white", "linestyle": (0, (3, 3)), "linewidth": 1}
        axes.add_patch(Rectangle((x - w / 2, y - h / 2), w, h, fill=False, **style))


def _draw_map(axes: Axes, weights, size: tuple[int, int], box, point, chosen: bool) -> None:
    from marginalia.style import PALETTE, SEQUENTIAL

    width, height = size
    axes.imshow(weights, cmap=SEQUENTIAL, vmin=0, extent=(0, width, height, 0))
    axes.set(xlim=(0, width), ylim=(height, 0), xticks=[], yticks=[])
    axes.grid(False)
    _outline(axes, box, TINT, 1.0)
    if point is not None:
        _mark_reference(axes, point, size, 5)
    axes.spines[:].set(visible=chosen, color=PALETTE["vermilion"], linewidth=2)


def _draw_product(row: Sequence[Axes], parts, kind: str, terms, size, box, point) -> None:
    """The three maps with their formulas and peaks."""
    formulas = [*map(_formula, terms), "content × spatial ÷ Σ"]
    for axes, name, formula, sign in zip(row, KINDS, formulas, ("", "×", "→"), strict=True):
        _draw_map(axes, parts[name], size, box, point, chosen=name == kind)
        peak = f"peak {parts[name].max():.2g} = {peak_told(parts[name])}"
        axes.set_xlabel(f"{name}\n{formula}\n{peak}", fontsize=7, labelpad=2)
        axes.text(-0.12, 0.5, sign, transform=axes.transAxes, fontsize=11, ha="center", va="center")


def _formula(term: str) -> str:
    """`c_q . c_k` as mathematics."""
    return "softmax($" + term.replace(" . ", r"\!\cdot\!") + "$)"
