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
from .box import PARTS, TAGGED, BoxExplorer, name_columns

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

    Raises TypeError for another relation, ValueError for weights or frequencies that are not finite,
    TraitError for a pair, a head or weights that are not there, and all that `BoxExplorer` raises.
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
        weights: str | None = None,
        **options,
    ):
        projections, frequency = _parameters(relation)
        super().__init__(boxes, **options)
        self.projections, self.frequency = projections, frequency
        self.weights = next(iter(projections)) if weights is None else weights
        self.pair = (0, min(1, self._last)) if pair is None else pair
        self.head = head
        self.given = self.given | {name: getattr(self, name) for name in ("pair", "head", "weights")}

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
        j = (i + 1) % (self._last + 1) if i == j else j
        chosen = change.name == "selected" and change.new not in (-1, i)
        self.pair = (change.new, i) if chosen else (i, j)

    @property
    def _rows(self) -> Float[np.ndarray, "H 65"]:
        return np.array(self.projections[self.weights])

    def _pairs(self, rows: slice | list[int]) -> tuple[np.ndarray, np.ndarray]:
        """Geometry, (n, N, 4), and embedding, (n, N, 8 F), of n boxes beside all boxes."""
        boxes = torch.from_numpy(xywh_to_cxcywh(self._xywh) / np.tile(self.size, 2))[None]
        geometry = relative_geometry(boxes[:, rows], boxes)[0]
        return geometry.numpy(), embed(geometry, torch.tensor(self.frequency)).numpy()

    def _rel(self, rows: slice | list[int]) -> Float[np.ndarray, "H n N"]:
        """Rel of n boxes beside all boxes."""
        embedding, weights = self._pairs(rows)[1], self._rows
        return (embedding @ weights[:, :-1].T + weights[:, -1]).clip(min=0).transpose(2, 0, 1)

    @property
    def relation(self) -> Float[np.ndarray, "H N N"]:
        """Rel of every two boxes as they are now, 0 or more; rows attend."""
        return self._rel(slice(None))

    @property
    def attention(self) -> Float[np.ndarray, "H N N"]:
        """exp(Rel), normalised over the attended boxes: attention where all content logits are equal."""
        return softmax(self.relation, -1)

    @property
    def _attending(self) -> Float[np.ndarray, "H+1 N"]:
        """Attention of box i in each head; the last row, which `head` = -1 names, is their mean."""
        row = softmax(self._rel([self.pair[0]])[:, 0], -1)
        return np.vstack([row, row.mean(0)])

    @property
    def _beside(self) -> Float[np.ndarray, "2 N"]:
        """Correlation and IoU of box i with each box."""
        i, xyxy = self.pair[0], xywh_to_xyxy(self._xywh)
        return np.stack([pearson(self._numbers)[i], iou(xyxy[[i]], xyxy)[0]])

    @property
    def _of(self) -> str:
        return "mean of heads" if self.head < 0 else f"head {self.head}"

    def summary(self) -> str:
        """The pair with its attention, bias, correlation and IoU, in one sentence."""
        count, (i, j) = len(self.boxes), self.pair
        told = f"Relation explorer: {count} box{'' if count == 1 else 'es'}, {self.weights} weights"
        if count < 2:
            return f"{told}; a pair needs two boxes"
        bias, weight = self._rel([i])[:, 0, j], self._attending[self.head, j]
        rho, overlap = self._beside[:, j]
        correlation = "no correlation" if np.isnan(rho) else f"correlation {rho:.2f}"
        return (
            f"{told}; box {i} attends to box {j} with {weight:.1%} ({self._of}; uniform: {1 / count:.1%}), "
            f"Rel {bias.min():.2f} to {bias.max():.2f}, {correlation}, IoU {overlap:.2f}"
        )

    def _draw(self, figure: Figure) -> None:
        """Boxes, each head's bias and attention, rho and IoU, and the pair's geometry with its embedding."""
        names = self._names
        if len(names) < 2:
            super()._draw(figure)
            figure.axes[0].set_title("A pair needs two boxes")
            return
        figure.set_figheight(5.4)
        above, below = figure.subfigures(2, 1, height_ratios=(2.4, 1))
        ratios = {"width_ratios": (2.2, 0.5, 1.5), "height_ratios": (len(self._rows) + 1, 2.2)}
        grid = above.add_gridspec(2, 3, **ratios)
        places = grid[:, 0], grid[0, 1], grid[0, 2], grid[1, 2]
        layout, *others = (above.add_subplot(place) for place in places)
        self._draw_layout(layout, names)
        self._draw_heads(*others, names)
        self._draw_embedding(below.subplots(), names)
        plots.place_tags(layout)

    def _draw_layout(self, axes: Axes, names: Sequence[str]) -> None:
        """Boxes, i and j in their colours and on top, with the attention of i."""
        (i, j), row, few = self.pair, self._attending[self.head], len(names) <= TAGGED
        order = sorted(range(len(names)), key=lambda k: (k == i, k == j))
        colors = [{j: PARTNER, i: QUERY}.get(k, PALETTE["sky"]) for k in order]
        share = ".0%" if few else ".1%"
        tags = [f"{names[k]}: {row[k]:{share}}" if few or k in self.pair else "" for k in order]
        self._draw_boxes(axes, self._xywh[order], color=colors, labels=tags)
        axes.set_xlabel(f"{axes.get_xlabel()}, {self.weights} weights")
        axes.set_title(f"Attention of box {names[i][:8]}, {self._of}")

    def _draw_embedding(self, axes: Axes, names: Sequence[str]) -> None:
        """The four numbers of the pair, and sines and cosines of them."""
        i, j = self.pair
        geometry, embedding = (values[0, j] for values in self._pairs([i]))
        numbers = [f"{value:z.2f}".replace("-", "−") for value in geometry]
        rows = [f"{name} = {number}" for name, number in zip(FEATURES, numbers, strict=True)]
        plots.matrix(axes, embedding.reshape(4, -1), limit=1, diverging=True, rows=rows)
        times = [f"{value:.3g}" for value in self.frequency]
        axes.set_xticks(2 * np.arange(len(times)) + 0.5, times)
        pair = f"box {names[i][:8]} beside box {names[j][:8]} (w′, h′)"
        axes.set_title(f"Geometry of {pair}, and its embedding")
        axes.set_xlabel("sin and cos of the number times …: −1 blue, 0 white, 1 red")

    def _draw_heads(self, bars: Axes, cells: Axes, beside: Axes, names: Sequence[str]) -> None:
        """Bias of the pair and attention of box i by head; below, its correlation and IoU with the others."""
        (i, j), attention = self.pair, self._attending
        heads = range(len(attention) - 1)
        shown = bars.barh(heads, self._rel([i])[:, 0, j], color=PALETTE["blue"])
        bars.bar_label(shown, fmt="%.2f", fontsize=7, padding=2)
        bars.set_yticks([*heads, len(heads)], [*(f"head {h}" for h in heads), "mean"])
        bars.set(ylim=(len(heads) + 0.5, -0.5), xticks=[], title=f"Rel({i}, {j})")
        bars.grid(False)
        bars.margins(x=0.6)
        few = len(names) <= 8
        plots.matrix(cells, 100 * attention, digits=0 if few else None)
        cells.set_title(f"Attention of box {names[i][:8]}, %")
        pair = self._beside
        pair[:, i] = np.nan  # a box and itself are no pair
        plots.matrix(beside, pair, 1, True, 1 if few else None, rows=("ρ", "IoU"))
        name_columns(beside, names)
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
        bad = np.flatnonzero(~np.isfinite(rows[name]).all(axis=1))
        if len(bad):
            raise ValueError(f"relation: its projection has weights that are not finite: head {bad[0]}")
    frequency = (relation or random).frequency.tolist()
    if not np.isfinite(frequency).all():
        raise ValueError(f"relation: its frequencies are not finite: {frequency}")
    return rows, frequency
