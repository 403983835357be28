"""Boxes on an image that can be moved, and what the position relation makes of a pair: bias and attention."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import traitlets
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.special import softmax

from marginalia import plots
from marginalia.boxes.correlation import pearson
from marginalia.boxes.geometry import iou, xywh_to_cxcywh, xywh_to_xyxy
from marginalia.boxes.table import BoxTable
from marginalia.detection.relation import PositionRelation, embed, relative_geometry
from marginalia.style import PALETTE

from .base import joined, within
from .box import PARTS, BoxExplorer

SEED = 0  # of the random weights
HEADS = 8  # where no relation is given
FEATURES = ("log(|Δx| / w + 1)", "log(|Δy| / h + 1)", "log(w / w′)", "log(h / h′)")
QUERY, PARTNER = PALETTE["orange"], PALETTE["green"]  # the boxes i and j, here and in the view


class RelationExplorer(BoxExplorer):
    """Boxes to drag, and the position relation of Relation DETR between two: from geometry to attention.

    `relation` is a `PositionRelation`, trained (`load(...).decoder.relation`, say, or that of
    `load_relation`) or not: its projection and its frequencies are used. Without one the weights are random,
    as a new relation of eight heads has them. All other parameters are those of `BoxExplorer`; its
    `box_format` is about the correlation only, as the relation takes centre, width and height in parts of
    `size`.

    The boxes shown are both source and target. `pair`: the query i, which attends, and its partner j; `head`:
    whose attention stands beside the boxes (-1: the mean of heads); `weights`: "given", or "random" to
    compare with. They can be read and set, as can the traits of `BoxExplorer`. Content logits are equal, so
    that attention is exp(Rel), normalised over j.

    Raises TypeError for another relation, ValueError for weights that are not finite, TraitError for a pair,
    a head or weights that are not there, and all that `BoxExplorer` raises.
    """

    _esm = joined(*PARTS, "relation_maths.js", "relation_drawing.js", "relation.js")

    pair = traitlets.Tuple(traitlets.Int(), traitlets.Int(), default_value=(0, 0)).tag(sync=True)
    head = traitlets.Int(-1).tag(sync=True)
    weights = traitlets.Unicode().tag(sync=True)
    projections = traitlets.Dict().tag(sync=True)  # name -> (H, 65): weights of each head, and its bias last
    frequency = traitlets.List().tag(sync=True)  # (F,), highest first

    def __init__(
        self,
        boxes: Float[np.ndarray, "N 4"] | BoxTable | None = None,
        relation: PositionRelation | None = None,
        *,
        pair: tuple[int, int] | None = None,
        head: int = -1,
        **options,
    ):
        projections, frequency = _parameters(relation)
        super().__init__(boxes, **options)
        self.projections, self.frequency = projections, frequency
        self.weights = next(iter(projections))
        self.pair = (0, min(1, self._last)) if pair is None else pair
        self.head = head

    @property
    def _last(self) -> int:
        return max(len(self.boxes) - 1, 0)

    @traitlets.validate("pair", "head")
    def _there(self, proposal):
        low, high = (0, self._last) if proposal.trait.name == "pair" else (-1, len(self._rows) - 1)
        return within(proposal, low, high)

    @traitlets.validate("weights")
    def _known(self, proposal):
        if proposal.value not in self.projections:
            known = " or ".join(map(repr, self.projections))
            raise traitlets.TraitError(f"weights: expected {known}, not {proposal.value!r}")
        return proposal.value

    @traitlets.observe("boxes", "selected")
    def _keep_pair(self, change):
        i, j = (min(k, self._last) for k in self.pair)
        chosen = change.name == "selected" and change.new not in (-1, i)
        self.pair = (change.new, i) if chosen else (i, j)

    @property
    def _rows(self) -> Float[np.ndarray, "H 65"]:
        return np.array(self.projections[self.weights])

    def _pairs(self) -> tuple[Float[np.ndarray, "N N 4"], Float[np.ndarray, "N N 8F"]]:
        """Geometry and embedding of every two boxes."""
        boxes = torch.from_numpy(xywh_to_cxcywh(self._xywh) / np.tile(self.size, 2))[None]
        geometry = relative_geometry(boxes, boxes)[0]
        return geometry.numpy(), embed(geometry, torch.tensor(self.frequency)).numpy()

    @property
    def relation(self) -> Float[np.ndarray, "H N N"]:
        """Rel of every two boxes as they are now, 0 or more; rows attend."""
        return (self._pairs()[1] @ self._rows[:, :-1].T + self._rows[:, -1]).clip(min=0).transpose(2, 0, 1)

    @property
    def attention(self) -> Float[np.ndarray, "H N N"]:
        """exp(Rel), normalised over the attended boxes: attention where all content logits are equal."""
        return softmax(self.relation, -1)

    @property
    def _iou(self) -> Float[np.ndarray, "N N"]:
        return iou(*[xywh_to_xyxy(self._xywh)] * 2)

    @property
    def _told(self) -> tuple[str, Float[np.ndarray, " N"]]:
        """What `head` names, and its attention of box i."""
        of = "mean of heads" if self.head < 0 else f"head {self.head}"
        row = self.attention[:, self.pair[0]]
        return of, row.mean(0) if self.head < 0 else row[self.head]

    def summary(self) -> str:
        """The pair with its attention, bias, correlation and IoU, in one sentence."""
        count, (i, j) = len(self.boxes), self.pair
        told = f"Relation explorer: {count} box{'' if count == 1 else 'es'}, {self.weights} weights"
        if count < 2:
            return f"{told}; a pair needs two boxes"
        of, row = self._told
        bias = self.relation[:, i, j]
        return (
            f"{told}; box {i} attends to box {j} with {row[j]:.1%} ({of}; uniform: {1 / count:.1%}), "
            f"Rel {bias.min():.2f} to {bias.max():.2f}, correlation {pearson(self._numbers)[i, j]:.2f}, "
            f"IoU {self._iou[i, j]:.2f}"
        )

    def _draw(self, figure: Figure) -> None:
        """Boxes, each head's bias and attention, rho and IoU, and the pair's geometry with its embedding."""
        names = self._names
        figure.set_figheight(5.4)
        above, below = figure.subfigures(2, 1, height_ratios=(2.4, 1))
        ratios = {"width_ratios": (2.2, 0.5, 1.5), "height_ratios": (len(self._rows) + 1, 2.2)}
        grid = above.add_gridspec(2, 3, **ratios)
        self._draw_layout(above.add_subplot(grid[:, 0]), names)
        if names:
            places = grid[0, 1], grid[0, 2], grid[1, 2]
            self._draw_heads(*(above.add_subplot(place) for place in places), names)
            self._draw_embedding(below.subplots(), names)

    def _draw_layout(self, axes: Axes, names: Sequence[str]) -> None:
        """Boxes, i and j in their colours, with the attention of i."""
        (i, j), colors, tags = self.pair, [PALETTE["sky"]] * len(names), []
        if names:
            colors[j], colors[i] = PARTNER, QUERY
            of, row = self._told
            tags = [f"{name}: {weight:.0%}" for name, weight in zip(names, row, strict=True)]
            axes.set_title(f"Attention of box {names[i]}, {of}")
        plots.boxes_on(axes, self._xywh, self.size, self._pixels, colors, tags)
        size = "{:g} × {:g} pixels".format(*self.size)
        axes.set(facecolor="#f1f3f5", xlabel=f"{size}, {self.weights} weights")

    def _draw_embedding(self, axes: Axes, names: Sequence[str]) -> None:
        """The four numbers of the pair, and sines and cosines of them."""
        i, j = self.pair
        geometry, embedding = (values[i, j] for values in self._pairs())
        numbers = [f"{value:z.2f}".replace("-", "−") for value in geometry]
        rows = [f"{name} = {number}" for name, number in zip(FEATURES, numbers, strict=True)]
        plots.matrix(axes, embedding.reshape(4, -1), limit=1, diverging=True, rows=rows)
        times = [f"{value:.3g}" for value in self.frequency]
        axes.set_xticks(2 * np.arange(len(times)) + 0.5, times)
        axes.set_title(f"Geometry of box {names[i]} beside box {names[j]} (w′, h′), and its embedding")
        axes.set_xlabel("sin and cos of the number times …: −1 blue, 0 white, 1 red")

    def _draw_heads(self, bars: Axes, cells: Axes, beside: Axes, names: Sequence[str]) -> None:
        """Bias of the pair and attention of box i by head; below, its correlation and IoU with the others."""
        (i, j), attention = self.pair, self.attention[:, self.pair[0]]
        heads = range(len(attention))
        shown = bars.barh(heads, self.relation[:, i, j], color=PALETTE["blue"])
        bars.bar_label(shown, fmt="%.2f", fontsize=7, padding=2)
        bars.set_yticks([*heads, len(heads)], [*(f"head {h}" for h in heads), "mean"])
        bars.set(ylim=(len(heads) + 0.5, -0.5), xticks=[], title=f"Rel({names[i]}, {names[j]})")
        bars.grid(False)
        bars.margins(x=0.6)
        few = len(names) <= 8
        plots.matrix(cells, 100 * np.vstack([attention, attention.mean(0)]), digits=0 if few else None)
        cells.set_title(f"Attention of box {names[i]}, %")
        pair = np.stack([pearson(self._numbers)[i], self._iou[i]])
        pair[:, i] = np.nan  # a box and itself are no pair
        short = [name[:8] if k % -(-len(names) // 12) == 0 else "" for k, name in enumerate(names)]
        plots.matrix(beside, pair, 1, True, 1 if few else None, rows=("ρ", "IoU"), columns=short)
        for axes in (cells, beside):
            axes.axvspan(j - 0.5, j + 0.5, fill=False, edgecolor=PARTNER, linewidth=2)


def _parameters(relation: PositionRelation | None) -> tuple[dict[str, list[list[float]]], list[float]]:
    """Weights, and the bias last, of each head by name, those given first; and the frequencies."""
    if not isinstance(relation, PositionRelation | None):
        kind = type(relation).__name__
        raise TypeError(f"relation: expected a PositionRelation, such as a decoder's `relation`, not {kind}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        random = PositionRelation(HEADS if relation is None else relation.projection.out_features)
    found = {"random": random} if relation is None else {"given": relation, "random": random}
    rows = {}
    for name, each in found.items():
        parts = (each.projection.weight, each.projection.bias[:, None])
        rows[name] = torch.cat(parts, 1).detach().cpu().double().tolist()
        if not np.isfinite(rows[name]).all():
            raise ValueError("relation: its projection has weights that are not finite")
    return rows, (relation or random).frequency.tolist()
