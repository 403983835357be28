"""The peaks of heads' attention maps beside the box that a query finds, and how wide the maps are.

Conditional DETR shows for one photograph that heads highlight the extremities of a box (Figures 1 and 4).
Here the same is a statistic over many objects. Offsets are in *half-boxes*: (0, 0) is the middle of the box,
x = -1 its left side, y = +1 its bottom. L layers, H heads, N objects, h x w cells.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from .capture import capture_attention
from .detector import Detector
from .losses import RECIPES
from .matching import Matches, Targets, gather_targets, match, matched_iou
from .scenes import SceneBatch

MAPS = ("spatial", "combined", "content")
STEADY = 1.0  # half-boxes: an axis whose interquartile range is below this is steady
ASIDE = 0.5  # half-boxes from the middle: a steady axis with its median beyond this lies on a side
LEAST = 20  # objects; with fewer, a head gets no numbers
SIDES = ("left", "top", "right", "bottom", "inside", "unlocalised")  # in the order of the paper's figures
_BATCH = 64  # images captured at a time


@dataclass(frozen=True)
class Peaks:
    """Where each head's map has its peak for each of N found objects, and how wide the map is."""

    boxes: Float[Tensor, "N 4"]  # of the objects, (cx, cy, w, h) in [0, 1]
    peak: Float[Tensor, "L H N 2"]  # where the map is highest, (x, y) in [0, 1]
    width: Float[Tensor, "L H N 2"]  # standard deviation of the map along x and y, relative to the image
    entropy: Float[Tensor, "L H N"]  # nats; log(h * w) where it is uniform
    labels: Int[Tensor, " N"] | None = None  # classes of the objects, where they are known

    def of(self, label: int) -> Peaks:
        """Those of the objects of one class."""
        kept = self.labels == label
        peak, width, entropy = self.peak[:, :, kept], self.width[:, :, kept], self.entropy[:, :, kept]
        return Peaks(self.boxes[kept], peak, width, entropy, self.labels[kept])

    @property
    def offset(self) -> Float[Tensor, "L H N 2"]:
        """From the box's middle to the peak, (x, y) in half-boxes."""
        return (self.peak - self.boxes[:, :2]) / (self.boxes[:, 2:] / 2)


def peak_positions(maps: Float[Tensor, "... h w"]) -> Float[Tensor, "... 2"]:
    """Where each map is highest, (x, y) in [0, 1] of the image, finer than a cell.

    Cell j covers [j, j + 1] / w. Between cells the place is the top of the parabola through the logarithms of
    the highest cell and its two neighbours; at the border it is the middle of the cell.
    """
    h, w = maps.shape[-2:]
    highest = maps.flatten(-2).argmax(-1)  # (...)
    row, column = highest // w, highest % w
    logs = maps.clamp(min=torch.finfo(maps.dtype).tiny).log().flatten(-2)

    def refined(index: Tensor, size: int, stride: int) -> Tensor:
        inside = (index > 0) & (index < size - 1)
        step = torch.where(inside, stride, 0)
        before, top, after = (logs.gather(-1, (highest + s)[..., None])[..., 0] for s in (-step, 0, step))
        bend = before - 2 * top + after  # below 0 at a peak, 0 on a plateau and at the border
        return index + 0.5 + torch.where(bend < 0, (before - after) / (2 * bend.clamp(max=-1e-12)), 0.0)

    return torch.stack((refined(column, w, 1) / w, refined(row, h, w) / h), -1)


def map_widths(maps: Float[Tensor, "... h w"]) -> Float[Tensor, "... 2"]:
    """Standard deviation of each map along x and along y, relative to the image; uniform: 0.289."""

    def spread(marginal: Tensor) -> Tensor:
        size = marginal.shape[-1]
        place = (torch.arange(size, dtype=marginal.dtype, device=marginal.device) + 0.5) / size
        mean = (marginal * place).sum(-1, keepdim=True)
        return (marginal * (place - mean) ** 2).sum(-1).sqrt()

    return torch.stack((spread(maps.sum(-2)), spread(maps.sum(-1))), -1)


def map_entropy(maps: Float[Tensor, "... h w"]) -> Float[Tensor, ...]:
    """Shannon entropy of each map in nats, 0 (one cell) to log(h * w) (uniform)."""
    return torch.special.entr(maps).sum((-2, -1))


def permute_boxes(peaks: Peaks) -> Peaks:
    """The same maps beside the boxes of other objects, half the list away: what steadiness has to beat.

    A head that follows its object becomes unsteady here; one that peaks at a fixed place of the image is as
    steady as before.
    """
    return replace(peaks, boxes=peaks.boxes.roll(len(peaks.boxes) // 2, 0))


@torch.no_grad()
def peaks_of(model: Detector, scenes: SceneBatch) -> dict[str, Peaks]:
    """Peaks of all heads of a detector, by the kind of map, over the objects that it finds.

    An object is found when the query that the loss would match with it has a box of IoU 0.5 or more.
    The class does not matter. All three kinds of map are of the same objects.
    """
    pixels, boxes, labels = torch.from_numpy(scenes.pixels), [], []
    maps = {kind: [] for kind in MAPS}
    for first in range(0, len(pixels), _BATCH):
        part = slice(first, first + _BATCH)
        targets = gather_targets(scenes.boxes[part], scenes.labels[part])
        captured = capture_attention(model, pixels[part])
        pairs = found_by(model, pixels[part], targets)
        boxes.append(targets.boxes[pairs.box])
        labels.append(targets.labels[pairs.box])
        for kind in MAPS:
            chosen = getattr(captured, kind)[:, pairs.image, :, pairs.query]  # (N, L, H, h, w)
            maps[kind].append(chosen.permute(1, 2, 0, 3, 4))
    joined = {kind: torch.cat(parts, 2) for kind, parts in maps.items()}  # (L, H, N, h, w) each
    boxes, labels = torch.cat(boxes), torch.cat(labels)
    return {
        kind: Peaks(boxes, peak_positions(chosen), map_widths(chosen), map_entropy(chosen), labels)
        for kind, chosen in joined.items()
    }


@torch.no_grad()
def found_by(
    model: Detector, pixels: UInt8[Tensor, "B channels h w"], targets: Targets, least_iou: float = 0.5
) -> Matches:
    """Which query finds which object in the last layer, matched as by the loss; boxes must agree."""
    output, recipe = model(pixels), RECIPES[model.config.kind]
    logits, boxes = output.logits[-1:], output.boxes[-1:]
    pairs = match(logits, boxes, targets, recipe.class_cost, recipe.cost_weights)
    found = matched_iou(boxes, targets, pairs) >= least_iou
    return Matches(*(field[found] for field in vars(pairs).values()))


def summarise(peaks: Peaks, least: int = LEAST) -> pd.DataFrame:
    """One row a head: medians and interquartile ranges over objects.

    Columns: layer and head (from 0, as the axes of the maps), objects, x, y (median offset in half-boxes),
    x_range, y_range (their interquartile ranges), x_width, y_width (median width of the map, parts of the
    image), entropy (median, nats). NaN with fewer than `least` objects.
    """
    layers, heads, objects = peaks.entropy.shape
    layer, head = np.indices((layers, heads)).reshape(2, -1)
    columns = ["x", "y", "x_range", "y_range", "x_width", "y_width", "entropy"]
    numbers = np.full((layers, heads, len(columns)), np.nan)
    if objects >= least:
        offset, width = peaks.offset.double().numpy(), peaks.width.double().numpy()  # (L, H, N, 2)
        low, middle, high = np.quantile(offset, (0.25, 0.5, 0.75), axis=2)  # (L, H, 2) each
        entropy = peaks.entropy.median(2, keepdim=True).values
        numbers = np.concatenate([middle, high - low, np.median(width, axis=2), entropy], axis=2)
    frame = pd.DataFrame({"layer": layer, "head": head, "objects": objects})
    return frame.assign(**dict(zip(columns, numbers.reshape(-1, len(columns)).T, strict=True)))


def sides(summary: pd.DataFrame) -> pd.Series:
    """The side of the box that each head specialises in, one of SIDES, from the rows of `summarise`.

    Needs the columns x, y, x_range and y_range, in half-boxes; an axis is steady when its range is below 1.
    `left` and `right`: x is steady, its median beyond 0.5, and the median of y within the box (at most 1).
    `top` and `bottom`: likewise for y; where both hold, the axis further out counts. `inside`: both axes are
    steady and neither is beyond 0.5. `unlocalised`: the rest. Rows without numbers get an empty name.
    """
    x, y = summary["x"], summary["y"]
    steady_x, steady_y = summary["x_range"] < STEADY, summary["y_range"] < STEADY
    across = steady_x & (x.abs() > ASIDE) & (y.abs() <= 1)
    down = steady_y & (y.abs() > ASIDE) & (x.abs() <= 1)
    across &= ~down | (x.abs() >= y.abs())  # a corner
    inside = steady_x & steady_y & (x.abs() <= ASIDE) & (y.abs() <= ASIDE)
    names = {
        "left": across & (x < 0),
        "right": across,
        "top": down & (y < 0),
        "bottom": down,
        "inside": inside,
    }
    chosen = np.select([*names.values(), x.isna()], [*names, ""], "unlocalised")
    return pd.Series(chosen, summary.index, name="side")


def heads_by_side(summary: pd.DataFrame) -> pd.DataFrame:
    """One head for each of left, top, right, bottom and inside, from the rows of `summarise`.

    The steadiest head that specialises in it; where there is none, the one whose median peak lies nearest to
    the middle of that side, with `named` False. Index: side; columns as in `summary`, and named.
    """
    side, steadiness = sides(summary), summary[["x_range", "y_range"]].min(axis=1)
    ideal = {"left": (-1, 0), "top": (0, -1), "right": (1, 0), "bottom": (0, 1), "inside": (0, 0)}
    rows = {}
    for name, (x, y) in ideal.items():
        distance = np.hypot(summary["x"] - x, summary["y"] - y)
        named = (side == name).any()
        chosen = (steadiness[side == name] if named else distance).idxmin()
        rows[name] = {**summary.loc[chosen], "named": named}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("side")
