"""Which head gives to which: the composition matrix of a pair of tokens, its terms, heads before and after."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
import traitlets
from jaxtyping import Bool, Float, Int
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch, Rectangle
from matplotlib.path import Path

from marginalia import plots, style

from .base import Explorer, joined

if TYPE_CHECKING:
    from torch import nn

    from marginalia.heads import CompositionTerms

BRANCHES = ("base", "query low rank", "query gate", "key low rank", "key gate")  # of `heads.compose`
TERMS = ("all", *BRANCHES)
WHERE = ("pre", "post")
THINGS = {"pre": "scores", "post": "weights"}
MAPS = ("before", "after", "change")
MOST = 128  # tokens: more cells could not be told apart
BUDGET = 6_000_000  # bytes of maps that go to the browser
HEADING = {"fontsize": 8, "fontweight": "bold", "x": 0.03, "ha": "left"}


class CompositionExplorer(Explorer):
    """Composition of heads for a pair of tokens: C(i, j) - I in its terms, heads before and after, flows.

    `model` is a `heads.TinyTransformer`, or another model whose layers have the modules `attention.pre` and
    `attention.post`; it runs once, on `tokens`, (T,) or (1, T). `labels` are the T tokens as text. There is
    room for 128 tokens, and for fewer where the maps of all layers and heads would be more than 6 MB.

    Traits can be read, set, and given by name. `layer`: the last by default. `where`: "pre", scores before the
    softmax and before the mask, or "post", weights after it. `pair`: i asks, j is attended to; by default the
    pair whose heads composition changes most. `term`: one of `heads.compose.BRANCHES`, or "all". `map`:
    "before", "after" or "change" of `head` (-1: mean of all heads, for "change" of its size). `threshold`:
    flows that are smaller than this share of the largest are left out. Matrices are shown less the identity;
    row n gives, column m receives.

    Raises ValueError for too many tokens and for labels that are not as many; TraitError for a choice that is
    not there.
    """

    _esm = joined("canvas.js", "composition_maths.js", "composition_drawing.js", "composition.js")

    layer = traitlets.Int().tag(sync=True)
    where = traitlets.Enum(WHERE, "pre").tag(sync=True)
    pair = traitlets.Tuple(traitlets.Int(), traitlets.Int(), default_value=(0, 0)).tag(sync=True)
    term = traitlets.Enum(TERMS, "all").tag(sync=True)
    map = traitlets.Enum(MAPS, "change").tag(sync=True)
    head = traitlets.Int(-1).tag(sync=True)
    threshold = traitlets.CFloat(0.2).tag(sync=True)
    # What the view draws, and what its Reset goes back to; set once.
    facts = traitlets.Dict().tag(sync=True)
    given = traitlets.Dict().tag(sync=True)
    maps = traitlets.Bytes().tag(sync=True)  # float32, (L, 2, H, T, T): scores and weights before composition
    bases = traitlets.Bytes().tag(sync=True)  # float32, (L, 2, H, H): base - I
    vectors = traitlets.Bytes().tag(sync=True)  # float32, (L, 2, T, 4 R + 2, H): w_q1, w_q2, w_qg, w_k1, ...

    def __init__(self, model: nn.Module, tokens: Int[np.ndarray, " T"], labels: Sequence[str], **choice):
        import torch

        from marginalia.record import evaluating, record

        tokens = torch.as_tensor(tokens).reshape(1, -1)
        count = tokens.shape[1]
        if len(labels) != count:
            raise ValueError(f"labels: expected one for each of {count} tokens, not {len(labels)}")
        if count > MOST:
            raise ValueError(f"tokens: at most {MOST} can be shown, not {count}; choose a part of them")
        with evaluating(model), record(model, ("*attention.pre", "*attention.post")) as seen:
            model(tokens)
        calls = [call for (call,) in seen.values()]  # pre of all layers, then post of all layers
        self._terms = [call.inputs["terms"] for call in calls]
        self._before = np.stack([call.inputs["A"][0].float().cpu() for call in calls])  # (2 L, H, T, T)
        self._after = np.stack([call.output[0].float().cpu() for call in calls])
        layers, heads = len(calls) // 2, self._before.shape[1]
        if self._before.nbytes > BUDGET:
            most = int((BUDGET / (8 * layers * heads)) ** 0.5)
            told = f"{layers} layers of {heads} heads leave room for {most}, not {count}"
            raise ValueError(f"tokens: {told}; choose a part of them")
        reads = (part for terms in self._terms for part in (terms.w_q1, terms.w_k1) if part is not None)
        rank = max((part.shape[2] for part in reads), default=0)
        vectors = [_vectors(terms, count, rank, heads) for terms in self._terms]
        super().__init__(
            facts={
                "shape": [layers, heads, count, rank],
                "groups": max(terms.groups for terms in self._terms),
                "plain": [terms.is_identity for terms in self._terms],
                "labels": [str(label) for label in labels],
            },
            maps=self._before.astype("<f4").tobytes(),
            bases=np.stack([self._branches(unit)["base"] for unit in range(len(calls))])
            .astype("<f4")
            .tobytes(),
            vectors=np.stack(vectors).astype("<f4").tobytes(),
            **({"layer": layers - 1} | choice),
        )
        if self.facts["plain"][self._unit] and "map" not in choice:
            self.map = "before"  # there is no change to see
        if "pair" not in choice:
            changed = np.where(self._allowed, abs(self._after - self._before)[self._unit].sum(0), -1)
            self.pair = [int(k) for k in np.unravel_index(changed.argmax(), changed.shape)]
        self.given = {
            name: getattr(self, name)
            for name in ("layer", "where", "pair", "term", "map", "head", "threshold")
        }

    @traitlets.validate("layer", "head", "pair", "threshold")
    def _existing(self, proposal):
        name, (layers, heads, count, _) = proposal.trait.name, self.facts["shape"]
        low, high = {
            "layer": (0, layers - 1),
            "head": (-1, heads - 1),
            "pair": (0, count - 1),
            "threshold": (0, 1),
        }[name]
        if not all(low <= value <= high for value in np.atleast_1d(proposal.value)):
            raise traitlets.TraitError(f"{name}: expected {low} to {high}, not {proposal.value}")
        return proposal.value

    @property
    def _unit(self) -> int:
        """Where the chosen layer's scores or weights lie in the arrays."""
        return WHERE.index(self.where) * self.facts["shape"][0] + self.layer

    @property
    def _allowed(self) -> Bool[np.ndarray, "T T"]:
        """Which pairs the mask of the chosen layer lets through: where any head has a weight."""
        return self._before[len(self._terms) // 2 + self.layer].any(0)

    def _branches(self, unit: int, pair: Sequence[int] = (0, 0)) -> dict[str, Float[np.ndarray, "H H"]]:
        heads = self._before.shape[1]
        found = self._terms[unit].branches(*pair, heads)
        return {
            name: each[0].float().cpu().numpy() - (np.eye(heads) if name == "base" else 0)
            for name, each in found.items()
        }

    @property
    def terms(self) -> dict[str, Float[np.ndarray, "H H"]]:
        """C(i, j) - I of the chosen pair, by name: "all", and the five branches that it is the sum of."""
        branches = self._branches(self._unit, self.pair)
        return {"all": sum(branches.values()), **branches}

    @property
    def heads(self) -> tuple[Float[np.ndarray, " H"], Float[np.ndarray, " H"]]:
        """Scores or weights of the chosen pair in all heads, before and after composition."""
        i, j = self.pair
        return self._before[self._unit, :, i, j], self._after[self._unit, :, i, j]

    @property
    def shown_map(self) -> Float[np.ma.MaskedArray, "T T"]:
        """The chosen map; pairs that the mask forbids are masked."""
        before, after = self._before[self._unit], self._after[self._unit]
        maps = {"before": before, "after": after, "change": after - before}[self.map]
        if self.head >= 0:
            chosen = maps[self.head]
        else:
            chosen = (abs(maps) if self.map == "change" else maps).mean(0)
        return np.ma.array(chosen, mask=~self._allowed)

    def _told(self) -> str:
        """What is chosen, in words."""
        (i, j), labels = self.pair, self.facts["labels"]
        pair = f"query {i} ({labels[i]!r}) to key {j} ({labels[j]!r})"
        return f"layer {self.layer}, {THINGS[self.where]} ({self.where}), {pair}"

    def summary(self) -> str:
        """What is chosen, how far C is from the identity, by which term most, and which head changes most."""
        if self.facts["plain"][self._unit]:
            return f"Composition explorer: {self._told()}: plain heads, C = I"
        sizes = {name: np.linalg.norm(each) for name, each in self.terms.items()}
        largest = max(BRANCHES, key=sizes.get)
        before, after = self.heads
        m = int(abs(after - before).argmax())
        most = f"head {m} changes most, from {before[m]:.2g} to {after[m]:.2g}"
        size = f"norm of C - I {sizes['all']:.2g}, its largest term is {largest} ({sizes[largest]:.2g})"
        return f"Composition explorer: {self._told()}: {size}; {most}"

    def static(self) -> Figure:
        """The map with the pair, C - I and its terms, and heads before and after with the flows between them."""
        with mpl.rc_context():  # showing a widget must not change the look of a reader's own figures
            style.use_style()
            figure = Figure(figsize=(style.WIDTH["page"], 4.6), layout="constrained")
            left, right = figure.subfigures(1, 2, width_ratios=(1, 1.25))
            above, below = right.subfigures(2, 1, height_ratios=(1.25, 1))
            self._draw_map(left)
            self._draw_terms(above)
            self._draw_flows(below)
        return figure

    def _draw_map(self, figure: Figure) -> None:
        (i, j), labels, shown = self.pair, self.facts["labels"], self.shown_map
        figure.suptitle(self._told().replace(", query", "\nquery"), **HEADING)
        axes = figure.subplots()
        image = plots.matrix(axes, shown.filled(np.nan), abs(shown).max() or 1, diverging=True)
        axes.set(box_aspect=1, facecolor="0.93", xlabel="key j", ylabel="query i")
        axes.set_xticks([j], [labels[j]])
        axes.set_yticks([i], [labels[i]], rotation=90, va="center")
        axes.add_patch(Rectangle((j - 0.5, i - 0.5), 1, 1, fill=False, linewidth=1.5, clip_on=False))
        for line in (axes.axhline, axes.axvline):
            line(i if line == axes.axhline else j, color="black", linewidth=0.5, alpha=0.5)
        of = "mean of heads" if self.head < 0 else f"head {self.head}"
        told = "mean size of the change" if self.map == "change" and self.head < 0 else f"{self.map}, {of}"
        figure.colorbar(image, ax=axes, location="bottom", label=f"{THINGS[self.where]}: {told}", shrink=0.8)

    def _draw_terms(self, figure: Figure) -> None:
        """C - I and its five terms on one scale."""
        terms = self.terms
        limit = max(abs(each).max() for each in terms.values()) or 1
        panels = figure.subplots(2, 3).flat
        for axes, (name, each) in zip(panels, terms.items(), strict=True):
            image = plots.matrix(axes, each, limit, diverging=True)
            axes.set_box_aspect(1)
            axes.set_title({"all": "C − I: all terms", "base": "base − I"}.get(name, name), fontsize=7.5)
            axes.spines[:].set(visible=True, color="0.6")
            if name == self.term:
                axes.spines[:].set(color=style.PALETTE["vermilion"], linewidth=2)
        panels[3].set(ylabel="from head", xlabel="to head")
        figure.colorbar(image, ax=list(panels), label="entry of C(i, j) − I")

    def _draw_flows(self, figure: Figure) -> None:
        """Bars of all heads before composition and with the chosen term, and what goes from head to head."""
        matrix, (before, after) = self.terms[self.term], self.heads
        with_term = before + before @ matrix
        left, middle, right = figure.subplots(1, 3, sharey=True, width_ratios=(1, 1.3, 1))
        heads = range(len(before))
        told = "after" if self.term == "all" else f"with {self.term}"
        both = np.concatenate([before, after, with_term, [0]])
        for axes, values, name in ((left, before, "before"), (right, with_term, told)):
            axes.barh(heads, values, color="0.45")
            axes.set(title=f"{THINGS[self.where]} {name}", xlim=(1.05 * both.min(), 1.05 * both.max()))
            axes.grid(axis="y", visible=False)
        left.set(ylim=(len(before) - 0.5, -0.5), ylabel="head", yticks=heads)
        largest = abs(matrix).max() or 1
        for n, m in np.argwhere(abs(matrix) >= max(self.threshold * largest, 1e-12)):
            share = matrix[n, m] / largest
            curve = Path([(0, n), (1 / 3, n), (2 / 3, m), (1, m)], [Path.MOVETO] + [Path.CURVE4] * 3)
            color = mpl.colormaps[style.DIVERGING](0.5 + 0.4 * np.sign(share))
            middle.add_patch(PathPatch(curve, fill=False, linewidth=5 * abs(share), color=color, alpha=0.8))
        middle.set(xlim=(0, 1), title=f"flows, widest {largest:.2g}")
        middle.set_axis_off()


def _vectors(terms: CompositionTerms, tokens: int, rank: int, heads: int) -> Float[np.ndarray, "T 4*R+2 H"]:
    """What the terms have for each token: reads, writes and gate of the query side, then of the key side.

    Zeros where a part is not there.
    """
    parts = []
    for name, rows in (("q1", rank), ("q2", rank), ("qg", 1), ("k1", rank), ("k2", rank), ("kg", 1)):
        part = getattr(terms, f"w_{name}")
        there = np.zeros((tokens, rows, heads)) if part is None else part[0].float().cpu().numpy()
        parts.append(there.reshape(tokens, rows, heads))
    return np.concatenate(parts, 1)
