"""Where each head looks, told as numbers: the place of its map beside the box, its width, its entropy.

Conditional DETR shows for one photograph that heads watch the sides of a box (Figures 1 and 4). Here the
same is a statistic over many objects. Offsets are in *half-boxes*: (0, 0) is the middle of the box, x = -1
its left side, y = +1 its bottom. L layers, H heads, N objects, h x w cells.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from .capture import capture_attention
from .losses import RECIPES
from .matching import Matches, Targets, gather_targets, match, matched_iou

if TYPE_CHECKING:
    import pandas as pd

    from .detector import Detector
    from .scenes import SceneBatch

MAPS = ("spatial", "combined", "content")
STEADY = 1.0  # half-boxes: an axis whose interquartile range is below this is steady
ASIDE = 0.5  # half-boxes from the middle: a steady head beyond this watches a side
LEAST = 20  # objects, without which no head gets a name
SIDES = ("left", "top", "right", "bottom", "inside", "unlocalised")  # in the order of the paper's figures
_BATCH = 64  # pictures captured at a time


@dataclass(frozen=True)
class Looks:
    """What each head's map does for each of N found objects."""

    boxes: Float[Tensor, "N 4"]  # of the objects, (cx, cy, w, h) in [0, 1]
    peak: Float[Tensor, "L H N 2"]  # where the map is highest, (x, y) in [0, 1]
    width: Float[Tensor, "L H N 2"]  # standard deviation of the map along x and y, in parts of the picture
    entropy: Float[Tensor, "L H N"]  # nats; log(h * w) is a flat map

    @property
    def offset(self) -> Float[Tensor, "L H N 2"]:
        """From the box's middle to the peak, (x, y) in half-boxes."""
        return (self.peak - self.boxes[:, :2]) / (self.boxes[:, 2:] / 2)


def peak_positions(maps: Float[Tensor, "... h w"]) -> Float[Tensor, "... 2"]:
    """Where each map is highest, (x, y) in [0, 1] of the picture, finer than a cell.

    Cell j covers [j, j + 1] / w. Between cells the place is the top of the parabola through the logarithms of
    the highest cell and its two neighbours; at the border it is the middle of the cell.
    """
    h, w = maps.shape[-2:]
    best = maps.flatten(-2).argmax(-1)  # (...)
    row, column = best // w, best % w
    logs = maps.clamp(min=torch.finfo(maps.dtype).tiny).log().flatten(-2)

    def refined(index: Tensor, size: int, stride: int) -> Tensor:
        inside = (index > 0) & (index < size - 1)
        step = torch.where(inside, stride, 0)
        before, top, after = (logs.gather(-1, (best + s)[..., None])[..., 0] for s in (-step, 0, step))
        bend = before - 2 * top + after  # below 0 at a peak, 0 on a plateau and at the border
        return index + 0.5 + torch.where(bend < 0, (before - after) / (2 * bend.clamp(max=-1e-12)), 0.0)

    return torch.stack((refined(column, w, 1) / w, refined(row, h, w) / h), -1)


def map_widths(maps: Float[Tensor, "... h w"]) -> Float[Tensor, "... 2"]:
    """Standard deviation of each map along x and along y, in parts of the picture; flat: 0.289."""

    def spread(marginal: Tensor) -> Tensor:
        size = marginal.shape[-1]
        place = (torch.arange(size, dtype=marginal.dtype, device=marginal.device) + 0.5) / size
        mean = (marginal * place).sum(-1, keepdim=True)
        return (marginal * (place - mean) ** 2).sum(-1).sqrt()

    return torch.stack((spread(maps.sum(-2)), spread(maps.sum(-1))), -1)


def map_entropy(maps: Float[Tensor, "... h w"]) -> Float[Tensor, ...]:
    """Shannon entropy of each map in nats, 0 (one cell) to log(h * w) (flat)."""
    return torch.special.entr(maps).sum((-2, -1))


def matched_looks(maps: Float[Tensor, "L B H Q h w"], matches: Matches, boxes: Float[Tensor, "N 4"]) -> Looks:
    """Looks of the query that answers for each object, in the order of `matches` (of one layer)."""
    chosen = maps[:, matches.image, :, matches.query].permute(1, 2, 0, 3, 4)  # (L, H, N, h, w)
    return Looks(boxes[matches.box], peak_positions(chosen), map_widths(chosen), map_entropy(chosen))


def permutation(looks: Looks) -> Looks:
    """The same maps beside the boxes of other objects, half the list away: what steadiness has to beat.

    A head that follows its object becomes unsteady here; one that looks at a fixed place of the picture is as
    steady as before.
    """
    return replace(looks, boxes=looks.boxes.roll(len(looks.boxes) // 2, 0))


@torch.no_grad()
def looks_of(model: Detector, scenes: SceneBatch, least_iou: float = 0.5) -> dict[str, Looks]:
    """Looks of all heads of a detector, by the kind of map, over the objects that it finds.

    An object is found when the query that the loss would match with it has a box of at least `least_iou`.
    The class does not matter. All three kinds of map are of the same objects.
    """
    parts = list(_captured(model, scenes, least_iou))
    joined = {}
    for kind in MAPS:
        boxes, *fields = zip(*(vars(part[kind]).values() for part in parts), strict=True)
        joined[kind] = Looks(torch.cat(boxes), *(torch.cat(field, 2) for field in fields))
    return joined


def _captured(model: Detector, scenes: SceneBatch, least_iou: float) -> Iterator[dict[str, Looks]]:
    pixels = torch.from_numpy(scenes.pixels)
    for first in range(0, len(pixels), _BATCH):
        part = slice(first, first + _BATCH)
        targets = gather_targets(scenes.boxes[part], scenes.labels[part])
        captured = capture_attention(model, pixels[part])
        pairs = found_by(model, pixels[part], targets, least_iou)
        yield {kind: matched_looks(getattr(captured, kind), pairs, targets.boxes) for kind in MAPS}


@torch.no_grad()
def found_by(
    model: Detector, pixels: UInt8[Tensor, "B 1 S S"], targets: Targets, least_iou: float = 0.5
) -> Matches:
    """Which query answers for which object in the last layer, matched as by the loss; boxes must agree."""
    output, recipe = model(pixels), RECIPES[model.config.kind]
    logits, boxes = output.logits[-1:], output.boxes[-1:]
    pairs = match(logits, boxes, targets, recipe.class_cost, recipe.cost_weights)
    found = matched_iou(boxes, targets, pairs) >= least_iou
    return Matches(*(field[found] for field in vars(pairs).values()))


def summarise(looks: Looks, least: int = LEAST) -> pd.DataFrame:
    """One row a head: medians and interquartile ranges over objects, and the side that it watches.

    Columns: layer and head (from 0, as the axes of the maps), objects, x, y (median offset in half-boxes),
    x_range, y_range (their interquartile ranges), x_width, y_width (median width of the map, parts of the
    picture), entropy (median, nats) and side, as `side_of` names it. NaN and no side with fewer than `least`
    objects.
    """
    import pandas as pd

    layers, heads, objects = looks.entropy.shape
    rows = []
    for layer in range(layers):
        for head in range(heads):
            row = {"layer": layer, "head": head, "objects": objects}
            rows.append(row | _head(looks, layer, head) if objects >= least else row | {"side": ""})
    columns = ["layer", "head", "objects", "x", "y", "x_range", "y_range", "x_width", "y_width", "entropy"]
    return pd.DataFrame(rows).reindex(columns=[*columns, "side"])


def _head(looks: Looks, layer: int, head: int) -> dict[str, float | str]:
    offset, width = (field[layer, head].double().numpy() for field in (looks.offset, looks.width))
    low, middle, high = np.quantile(offset, (0.25, 0.5, 0.75), axis=0)  # (2,) each
    wide = np.median(width, axis=0)
    numbers = {"x": middle[0], "y": middle[1], "x_range": high[0] - low[0], "y_range": high[1] - low[1]}
    numbers |= {"x_width": wide[0], "y_width": wide[1]}
    numbers |= {"entropy": looks.entropy[layer, head].median().item()}
    return numbers | {"side": side_of(middle[0], middle[1], high[0] - low[0], high[1] - low[1])}


def side_of(x: float, y: float, x_range: float, y_range: float) -> str:
    """Which part of the box a head watches, from its median offset and interquartile ranges (half-boxes).

    `left`, `right`, `top`, `bottom`: a steady axis (range below 1) lies more than 0.5 to that side, the one
    further out where both do. `inside`: both axes are steady and neither is beyond 0.5. `roaming`: the rest,
    whose peaks keep no place along a side or in the box.
    """
    out = {
        axis: abs(at) if size < STEADY else 0.0 for axis, at, size in (("x", x, x_range), ("y", y, y_range))
    }
    axis = max(out, key=out.get)
    if out[axis] > ASIDE:
        before, after = {"x": ("left", "right"), "y": ("top", "bottom")}[axis]
        return before if (x if axis == "x" else y) < 0 else after
    return "inside" if x_range < STEADY and y_range < STEADY else "roaming"


def sides(frame: pd.DataFrame) -> pd.Series:
    """The side that each head specialises in, from columns x, y, x_range, y_range (half-boxes).

    `left`, `right`, `top`, `bottom`: that axis is steady (range below 1) and its median beyond 0.5, while the
    other median lies within the box; the further one where both axes do. `inside`: both axes are steady and
    neither median is beyond 0.5. `unlocalised`: the rest.
    """
    import pandas as pd

    size = frame[["x", "y"]].abs()
    steady = (frame["x_range"] < STEADY, frame["y_range"] < STEADY)
    aside = [on & (size[a] > ASIDE) & (size[b] <= 1) for on, a, b in zip(steady, "xy", "yx", strict=True)]
    x = aside[0] & ~(aside[1] & (size["y"] > size["x"]))
    inside = steady[0] & steady[1] & (size <= ASIDE).all(axis=1)
    choices = [x & (frame["x"] < 0), x, aside[1] & (frame["y"] < 0), aside[1], inside]
    names = np.select(choices, ["left", "right", "top", "bottom", "inside"], "unlocalised")
    return pd.Series(names, frame.index)


def sort_heads(summary: pd.DataFrame) -> pd.DataFrame:
    """Rows of `summarise` in the order left, top, right, bottom, inside, roaming; steadier heads first."""
    order = {side: n for n, side in enumerate(SIDES)}
    keyed = summary.assign(
        _side=summary["side"].map(order), _range=summary[["x_range", "y_range"]].min(axis=1)
    )
    return keyed.sort_values(["_side", "_range"], kind="stable").drop(columns=["_side", "_range"])


def heads_by_side(summary: pd.DataFrame) -> pd.DataFrame:
    """One head for each of left, top, right, bottom and inside, from the rows of `summarise`.

    The steadiest head of that name; where there is none, the one whose median peak lies nearest to the middle
    of that side, with `named` False. Index: side; columns as in `summary`, and named.
    """
    import pandas as pd

    summary = summary.assign(side=sides(summary))
    ideal = {"left": (-1, 0), "top": (0, -1), "right": (1, 0), "bottom": (0, 1), "inside": (0, 0)}
    rows = {}
    for side, (x, y) in ideal.items():
        distance = np.hypot(summary["x"] - x, summary["y"] - y)
        named = sort_heads(summary[summary["side"] == side])
        chosen = named.iloc[0] if len(named) else summary.loc[distance.idxmin()]
        rows[side] = {**chosen, "named": len(named) > 0}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("watches")
