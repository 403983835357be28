"""Which head gives to which: the composition matrix of a pair of tokens, its terms, what it changes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import traitlets
from jaxtyping import Float, Int
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import nn

from marginalia import plots, style
from marginalia.heads import BRANCHES, CompositionTerms
from marginalia.record import Call, evaluating, record

from .base import Explorer, joined, within

TERMS = ("all", *BRANCHES)
WHERE = ("pre", "post")
THINGS = {"pre": "scores", "post": "weights"}
MAPS = ("before", "after", "change")
MOST = 128  # tokens: more cells could not be told apart
BUDGET = 6_000_000  # bytes of maps that go to the browser
CHOICE = ("layer", "where", "pair", "term", "map", "head", "threshold")


class CompositionExplorer(Explorer):
    """Composition of heads for a pair of tokens: C(i, j) - I in its terms, heads before and after, flows.

    `model` is a `heads.TinyTransformer`, or another model with a `heads.DCMHAttention` named `attention` in
    each layer; it runs once, on `tokens`, (T,) or (1, T). `labels` are the T tokens as text. There is room
    for 128 tokens, and for fewer where the maps of all layers and heads would be more than 6 MB.

    Traits can be read, set, and given by name. `layer`: the last by default. `where`: "pre", scores before
    mask and softmax, or "post", weights. `pair`: i asks, j is attended to; by default two tokens that
    composition changes most (those with the largest numbers in plain heads). `term`: one of
    `heads.BRANCHES`, or "all". `map`: "before", "after" or "change" of `head` (-1: mean of all heads, of the
    size of changes). `threshold`: flows that are smaller than this share of the largest are left out.
    Matrices are shown less the identity; row n gives, column m receives. DCFormer (ICML 2024), its
    architecture figure.

    Raises ValueError for too many tokens, for labels that are not as many, for a model without such modules,
    and for scores or weights that are not finite; TraitError for a choice that is not there.
    """

    _esm = joined("canvas.js", "view.js", "composition_maths.js", "composition_drawing.js", "composition.js")

    layer = traitlets.Int().tag(sync=True)
    where = traitlets.Enum(WHERE, "pre").tag(sync=True)
    pair = traitlets.Tuple(traitlets.Int(), traitlets.Int(), default_value=(0, 0)).tag(sync=True)
    term = traitlets.Enum(TERMS, "all").tag(sync=True)
    map = traitlets.Enum(MAPS, "change").tag(sync=True)
    head = traitlets.Int(-1).tag(sync=True)
    threshold = traitlets.CFloat(0.3).tag(sync=True)
    # What the view draws; set once.
    facts = traitlets.Dict().tag(sync=True)
    maps = traitlets.Bytes().tag(sync=True)  # float32, (2, L, H, T, T): scores and weights before composition
    masks = traitlets.Bytes().tag(sync=True)  # float32, (L, T, T): 1 where a pair is allowed
    bases = traitlets.Bytes().tag(sync=True)  # float32, (2, L, H, H): base - I
    vectors = traitlets.Bytes().tag(sync=True)  # float32, (2, L, T, 4 R + 2, H): w_q1, w_q2, w_qg, w_k1, ...

    def __init__(self, model: nn.Module, tokens: Int[np.ndarray, " T"], labels: Sequence[str], **choice):
        if len(labels) > MOST:
            raise ValueError(f"tokens: at most {MOST} can be shown, not {len(labels)}; choose a part of them")
        pre, post, softmax = _calls(model, tokens, len(labels))
        self._terms = [call.inputs["terms"] for call in pre + post]
        self._before = np.stack([call.inputs["A"][0].float().cpu() for call in pre + post])  # (2 L, H, T, T)
        self._after = np.stack([call.output[0].float().cpu() for call in pre + post])
        units, heads, count, _ = self._before.shape
        seen = np.stack([self._before, self._after], 1).reshape(2, -1, 2, *self._before.shape[1:])
        for layer, where, when, head, i, j in np.argwhere(~np.isfinite(seen.swapaxes(0, 1)))[:1]:
            what = f"{THINGS[WHERE[where]]} {MAPS[when]} composition"
            first = f"layer {layer}, head {head}, query {i}, key {j}"
            raise ValueError(f"model: {what} are not finite, first at {first}")
        masks = [True if call.inputs["mask"] is None else call.inputs["mask"].cpu() for call in softmax]
        self._masks = np.stack([np.broadcast_to(mask, (1, 1, count, count))[0, 0] for mask in masks])
        if self._before.nbytes > BUDGET:
            most = int((BUDGET / (4 * units * heads)) ** 0.5)
            told = f"{units // 2} layers of {heads} heads leave room for {most}, not {count}"
            raise ValueError(f"tokens: {told}; choose a part of them")
        reads = (part for terms in self._terms for part in (terms.w_q1, terms.w_k1) if part is not None)
        rank = max((part.shape[2] for part in reads), default=0)
        arrays = {
            "maps": self._before,
            "masks": self._masks,
            "bases": np.stack([self._branches(unit, (0, 0))["base"] for unit in range(units)]),
            "vectors": np.stack([_vectors(terms, count, rank, heads) for terms in self._terms]),
        }
        super().__init__(
            facts={
                "shape": [units // 2, heads, count, rank],
                "groups": self._terms[0].groups,
                "plain": [terms.is_identity for terms in self._terms],
                "labels": [str(label) for label in labels],
            },
            **{name: array.astype("<f4").tobytes() for name, array in arrays.items()},
            **({"layer": units // 2 - 1} | choice),
        )
        plain = self.facts["plain"][self._unit]
        if plain and "map" not in choice:
            self.map = "before"  # there is no change to see
        if "pair" not in choice:
            size = abs(self._before if plain else self._after - self._before)[self._unit].sum(0)
            best = np.where(self._masks[self.layer] & ~np.eye(count, dtype=bool), size, -1).argmax()
            self.pair = [int(at) for at in np.unravel_index(best, size.shape)]
        self.given = {name: getattr(self, name) for name in CHOICE}

    @traitlets.validate("layer", "head", "pair", "threshold")
    def _existing(self, proposal):
        name, (layers, heads, count, _) = proposal.trait.name, self.facts["shape"]
        most = {"layer": layers - 1, "head": heads - 1, "pair": count - 1, "threshold": 1}[name]
        return within(proposal, -1 if name == "head" else 0, most)

    @property
    def _unit(self) -> int:
        """Where the chosen layer's scores or weights lie in the arrays."""
        return WHERE.index(self.where) * self.facts["shape"][0] + self.layer

    def _branches(self, unit: int, pair: Sequence[int]) -> dict[str, Float[np.ndarray, "H H"]]:
        """The five terms of C - I."""
        heads = self._before.shape[1]
        terms = self._terms[unit].branches(*pair, heads)
        found = {name: each[0].float().cpu().numpy() for name, each in terms.items()}
        return found | {"base": found["base"] - np.eye(heads, dtype=np.float32)}

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
    def shown(self) -> Float[np.ndarray, "T T"]:
        """The chosen map; NaN where the mask forbids a pair."""
        before, after = self._before[self._unit], self._after[self._unit]
        maps = {"before": before, "after": after, "change": after - before}[self.map]
        if self.head < 0:
            maps = (abs(maps) if self.map == "change" else maps).mean(0, keepdims=True)
        return np.where(self._masks[self.layer], maps[self.head], np.nan)

    def summary(self) -> str:
        """What is chosen, how far C is from the identity, by which term most, and which head changes most."""
        (i, j), labels = self.pair, self.facts["labels"]
        pair = f"query {i} ({labels[i]!r}), key {j} ({labels[j]!r})"
        told = f"Composition explorer: layer {self.layer}, {THINGS[self.where]}, {pair}"
        if self.facts["plain"][self._unit]:
            return f"{told}: plain heads, C = I"
        sizes = {name: np.linalg.norm(each) for name, each in self.terms.items()}
        largest = max(BRANCHES, key=sizes.get)
        m = int(abs(np.subtract(*self.heads)).argmax())
        before, after = (each[m] for each in self.heads)
        size = f"norm of C - I {sizes['all']:.2g}, its largest term is {largest} ({sizes[largest]:.2g})"
        return f"{told}: {size}; head {m} changes most, from {before:.2g} to {after:.2g}"

    def _draw(self, figure: Figure) -> None:
        """The map with the pair, C - I in its terms, heads before and after with the flows between them."""
        figure.set_figheight(4.2)
        left, right = figure.subfigures(1, 2, width_ratios=(1, 1.25))
        above, below = right.subfigures(2, 1, height_ratios=(1.3, 1))
        self._draw_map(left)
        self._draw_terms(above)
        self._draw_flows(below)

    def _draw_map(self, figure: Figure) -> None:
        (i, j), shown = self.pair, self.shown
        labels = [repr(label[:10]).replace("$", r"\$") for label in self.facts["labels"]]
        middle = len(labels) / 2  # labels lie towards it, so that they neither meet nor leave the figure
        axes = figure.subplots()
        image = plots.matrix(axes, shown, np.nanmax(abs(shown)) or 1, diverging=True)
        axes.plot([-0.5, j, j], [i, i, -0.5], color="0.4", linewidth=0.8)
        axes.add_patch(Rectangle((j - 0.5, i - 0.5), 1, 1, fill=False, edgecolor="black", linewidth=1.5))
        axes.set(box_aspect=1, xlabel="key j", ylabel="query i")
        axes.set_xticks([j], [f"{j} {labels[j]}"], ha="left" if j < middle else "right")
        axes.set_yticks([i], [f"{i} {labels[i]}"], rotation=90, va="top" if i < middle else "bottom")
        told = f"{self.map}, {'mean of heads' if self.head < 0 else f'head {self.head}'}"
        told = told.replace("change, mean", "size of change, mean")
        figure.suptitle(f"Layer {self.layer}, {THINGS[self.where]}: {told}", fontsize=8, fontweight="bold")
        bar = figure.colorbar(image, ax=axes, location="bottom", shrink=0.8)
        bar.ax.set_xlim(left=0 if np.nanmin(shown) >= 0 else None)

    def _draw_terms(self, figure: Figure) -> None:
        """C - I and its five terms on one scale."""
        limit = max(abs(each).max() for each in self.terms.values()) or 1
        panels = figure.subplots(2, 3).flat
        for axes, (name, each) in zip(panels, self.terms.items(), strict=True):
            image = plots.matrix(axes, each, limit, diverging=True)
            axes.set_box_aspect(1)
            axes.set_title({"all": f"C{self.pair} − I", "base": "base − I"}.get(name, name), fontsize=7.5)
            color = style.PALETTE["vermilion"] if name == self.term else "0.8"
            axes.spines[:].set(visible=True, color=color, linewidth=1.6)
        panels[3].set(ylabel="gives", xlabel="receives")
        figure.colorbar(image, ax=list(panels))

    def _draw_flows(self, figure: Figure) -> None:
        """Bars of all heads before composition and with the chosen term, and what goes from head to head."""
        matrix, (before, _) = self.terms[self.term], self.heads
        after = before + before @ matrix
        left, middle, right = figure.subplots(1, 3, sharey=True, width_ratios=(1, 1.2, 1))
        heads = range(len(before))
        ends = 1.05 * np.array([min(*before, *after, 0), max(*before, *after, 0)])
        told = "after" if self.term == "all" else f"with {self.term}"
        for axes, values, name in ((left, before, f"{THINGS[self.where]} before"), (right, after, told)):
            axes.barh(heads, values, color="0.45")
            axes.set(xlim=ends)
            axes.set_title(name, fontsize=7.5)
            axes.grid(axis="y", visible=False)
        left.set(ylim=(len(before) - 0.5, -0.5), ylabel="head", yticks=heads)
        middle.set_title(f"flows: largest {abs(matrix).max():.2g}", fontsize=7.5, loc="center")
        plots.flows(middle, matrix, self.threshold)


def _calls(model: nn.Module, tokens: Int[np.ndarray, " T"], count: int) -> list[list[Call]]:
    """One run of the model: calls of `pre`, of `post` and of `softmax`, by layer."""
    tokens = torch.as_tensor(tokens).reshape(1, -1)
    if tokens.shape[1] != count:
        raise ValueError(f"labels: expected one for each of {tokens.shape[1]} tokens, not {count}")
    with evaluating(model), record(model, [f"*attention.{p}" for p in ("pre", "post", "softmax")]) as seen:
        model(tokens)
    return np.reshape([call for (call,) in seen.values()], (3, -1)).tolist()


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
