"""Predicted boxes on their image and what each query attends to: content x spatial -> combined."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import traitlets
from jaxtyping import Float, UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from marginalia import plots, style
from marginalia.boxes.geometry import cxcywh_to_xywh
from marginalia.detection.capture import CapturedAttention, crop_to_valid

from .base import Explorer, decoded, encoded, joined, within

KINDS = ("content", "spatial", "combined")
PLACE = ("query", "layer", "head", "kind")
CHOICE = (*PLACE, "cell", "pinned", "threshold", "opacity")
THRESHOLD = 0.3  # of scores, where the best one is at least twice that: those of focal heads are low
TINT = "#ff7800"  # of the chosen query's box and map
BUDGET = 3_000_000  # bytes that go to the browser
HEADING = {"fontsize": 8, "fontweight": "bold", "x": 0.03, "ha": "left"}


class AttentionExplorer(Explorer):
    """An image with predicted boxes, and a query's attention as content x spatial -> combined.

    `captured` comes from `detection.capture.capture_attention`, and `pixels` is the image with index `image`
    of its batch without padding: uint8, (H, W), (H, W, 3) or (H, W, 4). `names` has the name of each class
    by its number; a class without one goes by its number. At most `queries` queries are kept, those with the
    highest scores, and fewer where their maps would be more than 3 MB; the view and `summary` say how many
    were left out.

    Traits can be read, set, and given by name. `query`, `layer`, `head` (-1: mean of heads) and `kind` (one
    of KINDS) count from 0 as the axes of `captured` do; `query` is the model's own number, one of `kept`. By
    default: the query with the highest score, the last layer and the head with the most weight in that
    query's box. `cell`, row * w + column of the maps, turns the view round: it shows how much each query
    looks at that cell (-1: it shows the cells of `query`). `pinned` keeps a map beside the present one on one
    scale: a dict of query, layer, head and kind, or empty. Boxes with a score below `threshold` are hidden;
    `opacity`, 0 to 1, is that of the map over the image.

    Maps go to the browser in 8 bits, each divided by its own maximum, which goes as a float, so that weights
    can be told. Column j of a map lies on [j, j + 1] / w of the image; its key encodes the lower right
    corner, so that maps lean half a cell up and to the left. Small maps are scaled to their own peaks, which
    are told as multiples of the uniform weight (1 / number of cells). Conditional DETR section 3.4 and
    Figure 4.

    Raises ValueError for pixels of another kind, an image that is not there, maps, scores or boxes with
    numbers that are not finite, and maps of which not even one query fits; TraitError for a choice that is
    not there.
    """

    _esm = joined("canvas.js", "view.js", "attention_maths.js", "attention_drawing.js", "attention.js")

    query = traitlets.Int().tag(sync=True)
    layer = traitlets.Int().tag(sync=True)
    head = traitlets.Int().tag(sync=True)
    kind = traitlets.Enum(KINDS, "combined").tag(sync=True)
    cell = traitlets.Int(-1).tag(sync=True)
    pinned = traitlets.Dict().tag(sync=True)
    threshold = traitlets.CFloat().tag(sync=True)
    opacity = traitlets.CFloat(0.85).tag(sync=True)
    # What the view draws; set once.
    facts = traitlets.Dict().tag(sync=True)
    levels = traitlets.Bytes().tag(sync=True)  # uint8, (3 kinds, L, H, Q, h, w)
    peaks = traitlets.Bytes().tag(sync=True)  # float32, (3 kinds, L, H, Q): the weight of level 255
    overlaps = traitlets.Bytes().tag(sync=True)  # float32, (L, H, Q): sum of content * spatial
    png = traitlets.Bytes().tag(sync=True)

    def __init__(
        self,
        captured: CapturedAttention,
        pixels: UInt8[np.ndarray, "H W *channels"],
        image: int = 0,
        names: Sequence[str] | Mapping[int, str] | None = None,
        queries: int = 16,
        **choice,
    ):
        png = encoded(pixels)
        self._captured = crop_to_valid(captured, image)
        _check_finite(self._captured)
        order = self._captured.queries.scores[0].argsort(descending=True, stable=True)
        kept = order[: _how_many(self._captured.combined.shape, queries, BUDGET - len(png))]
        # 255 steps of each map's own maximum, because heads differ in their peaks a hundredfold
        weights = np.stack([getattr(self._captured, kind)[:, 0][:, :, kept].numpy() for kind in KINDS])
        peaks = weights.max(axis=(-2, -1))
        levels = np.rint(255 * weights / peaks[..., None, None])
        first = {
            "query": int(kept[0]),
            "layer": len(self._captured.combined) - 1,
            "head": int(_inside(self._captured, kept[0])[-1].argmax()),
            "threshold": min(THRESHOLD, round(float(self._captured.queries.scores.max()) / 2, 2)),
        }
        facts = {"image": image, "named": names is not None}  # for a call that makes the explorer again
        super().__init__(
            facts=facts | _facts(self._captured, kept, pixels.shape, names),
            levels=levels.astype(np.uint8).tobytes(),
            peaks=peaks.astype("<f4").tobytes(),
            overlaps=_overlaps(self._captured, kept).astype("<f4").tobytes(),
            png=png,
            **(first | choice),
        )
        self.given = {name: getattr(self, name) for name in CHOICE}

    @traitlets.validate("query")
    def _kept_query(self, proposal):
        if proposal.value not in self.kept:
            told = f"query: expected one of those kept {tuple(sorted(self.kept))}, not {proposal.value}"
            raise traitlets.TraitError(f"{told}; to keep more, ask for more `queries`")
        return proposal.value

    @traitlets.validate("layer", "head", "cell", "threshold", "opacity")
    def _existing(self, proposal):
        layers, heads, _, h, w = self.facts["shape"]
        low, high = {"layer": (0, layers - 1), "head": (-1, heads - 1), "cell": (-1, h * w - 1)}.get(
            proposal.trait.name, (0, 1)
        )
        return within(proposal, low, high)

    @traitlets.validate("pinned")
    def _existing_map(self, proposal):
        pinned, (layers, heads, *_) = proposal.value, self.facts["shape"]
        there = {"query": self.kept, "layer": range(layers), "head": range(-1, heads), "kind": KINDS}
        if pinned and (pinned.keys() != there.keys() or any(pinned[k] not in there[k] for k in there)):
            raise traitlets.TraitError(f"pinned: expected {{}}, or query, layer, head, kind, not {pinned}")
        return pinned

    @property
    def kept(self) -> tuple[int, ...]:
        """Numbers of the queries that can be chosen, by falling score."""
        return tuple(self.facts["queries"])

    @property
    def weights(self) -> Float[np.ndarray, "h w"]:
        """The chosen map as the model has it, or the mean of all heads; sums to 1."""
        return self._map(**self._place)

    @property
    def looks(self) -> Float[np.ndarray, " Q"]:
        """Weights that the queries in `kept` give to `cell`, in the chosen layer, head and kind.

        ValueError where no cell is chosen.
        """
        if self.cell < 0:
            raise ValueError("cell is -1: choose the cell first, row * w + column")
        return np.array([self._map(**{**self._place, "query": q}).flat[self.cell] for q in self.kept])

    @property
    def _place(self) -> dict[str, int | str]:
        return {name: getattr(self, name) for name in PLACE}

    def _map(self, query: int, layer: int, head: int, kind: str) -> Float[np.ndarray, "h w"]:
        heads = getattr(self._captured, kind)[layer, 0, :, query].numpy()
        return heads.mean(0) if head < 0 else heads[head]

    def summary(self) -> str:
        """What is chosen, its peak as a multiple of the uniform weight, and how many queries were kept."""
        facts = self.facts
        where = f"layer {self.layer}, {_named(self.head)}: {self.kind} attention"
        kept = f"{len(self.kept)} of {len(self.kept) + facts['left_out']} queries kept"
        if self.cell >= 0:
            looks = self.looks
            best = int(looks.argmax())
            told = f"{self._told_cell}, {where}; most from {self._told_query(best)}, "
            return f"Attention explorer: {told}{looks[best]:.2g} = {self._times(looks[best])} uniform; {kept}"
        times = f"{plots.times_uniform(self.weights)} the uniform weight over {self.weights.size} cells"
        return (
            f"Attention explorer: {self._told_query(self._row)}, {where} peaks at {self.weights.max():.2g} = "
            f"{times}; {kept}"
        )

    @property
    def _row(self) -> int:
        """Row of the chosen query among those kept."""
        return self.kept.index(self.query)

    @property
    def _told_cell(self) -> str:
        return "cell at row {}, column {}".format(*divmod(self.cell, self.facts["shape"][-1]))

    def _told_query(self, row: int) -> str:
        facts = self.facts
        return f"query {self.kept[row]} ({facts['names'][row]!r}, score {facts['scores'][row]:.2f})"

    def _times(self, weight: float) -> str:
        return plots.times_uniform(np.broadcast_to(weight, self.facts["shape"][-2:]))

    def _draw(self, figure: Figure) -> None:
        """The image with boxes and the chosen map, or who looks at the cell; all heads; the product."""
        heads = [*range(self.facts["shape"][1]), -1]
        rows = max(1, round((len(heads) / 2) ** 0.5))
        tall = 0.95 * min(1.0, self.facts["size"][1] / self.facts["size"][0])  # inches of a small map
        ratios = [rows * (tall + 0.2) + 0.2, tall + 0.75, *([tall + 0.75] if self.pinned else [])]
        figure.set_figheight(0.5 + sum(ratios))
        figure.get_layout_engine().set(w_pad=0.1, h_pad=0.05)  # inches, for the outlines of chosen maps
        left, right = figure.subfigures(1, 2, width_ratios=(1, 1.12))
        above, below, *pinned = right.subfigures(len(ratios), 1, height_ratios=ratios)
        self._draw_image(left)
        above.suptitle(f"All heads, {self.kind}: peak as multiple of uniform", **HEADING)
        panels = above.subplots(rows, -(-len(heads) // rows), squeeze=False).flat
        for empty in panels[len(heads) :]:
            empty.set_axis_off()
        for head, axes in zip(heads, panels, strict=False):
            place = {**self._place, "head": head}
            self._draw_map(axes, place, chosen=head == self.head)
            name = "mean" if head < 0 else f"head {head}"
            axes.set_xlabel(f"{name}: {plots.times_uniform(self._map(**place))}", fontsize=7, labelpad=2)
        self._draw_product(below)
        for each in pinned:
            self._draw_pinned(each)
        plots.place_tags(left.axes[0])

    def _draw_image(self, figure: Figure) -> None:
        """Boxes from the threshold on over the chosen map, or filled by how much they look at the cell."""
        facts, row = self.facts, self._row
        if self.cell < 0:
            told = f"Query {self.query}: “{facts['names'][row]}”, score {facts['scores'][row]:.2f}"
            numbers = [f"{score:.2f}" for score in facts["scores"]]
        else:
            told = f"Queries that look at the {self._told_cell}"
            numbers = [self._times(look) for look in self.looks]
        figure.suptitle(f"{told}\nlayer {self.layer}, {_named(self.head)}, {self.kind}", **HEADING)
        (h, w), turned = facts["shape"][-2:], self.cell >= 0
        point = None if turned else self._reference(self.query, self.layer)
        cross = "" if point is None else " Cross: reference point."
        cell = f"Column j of {w} lies on [j, j + 1] / {w} of the image;\nits key encodes the right end."
        note = f"Scores from {self.threshold:.2g}.{cross}\n{cell}"
        figure.supxlabel(note, fontsize=7, x=0.03, ha="left")
        axes = figure.subplots()
        order = np.argsort(self.looks if turned else facts["scores"], kind="stable")  # the best lie on top
        rows = [*(k for k in order if facts["scores"][k] >= self.threshold and k != row), row]
        boxes = cxcywh_to_xywh(np.array(facts["boxes"]))[rows]
        labels = [f"{facts['names'][k]} {numbers[k]}" for k in rows]
        weights = _painted(boxes, self.looks[rows]) if turned else self.weights
        alpha = self.opacity * (min(1, self.looks.max() * h * w) if turned else 1)  # pale below uniform
        plots.map_over(axes, weights, decoded(self.png), point=point, color=TINT).set_alpha(alpha)
        if turned:
            y, x = divmod(self.cell, w)
            plots.boxes_on(axes, [[x / w, y / h, 1 / w, 1 / h]], color="white")
        plots.boxes_on(axes, boxes[:-1], color=style.PALETTE["sky"], labels=labels[:-1])
        plots.boxes_on(axes, boxes[-1:], color=TINT, labels=labels[-1:], linewidth=2)
        if point is not None and len(point) == 4:  # an anchor
            anchor = cxcywh_to_xywh(np.array([point]))
            plots.boxes_on(axes, anchor, color="white", linewidth=1, linestyle="--")
        axes.set(aspect="auto")

    def _reference(self, query: int, layer: int) -> list[float] | None:
        """Where a layer looks from, for a query; None for DETR."""
        references = self.facts["references"]
        return references and references[layer][self.kept.index(query)]

    def _draw_map(self, axes: Axes, place: Mapping, chosen: bool = False, **options) -> None:
        """The map of a query, layer, head and kind, with its box and reference."""
        box = self.facts["boxes"][self.kept.index(place["query"])]
        point = self._reference(place["query"], place["layer"])
        plots.map_over(axes, self._map(**place), box=box, point=point, color=TINT, **options)
        axes.spines[:].set(visible=chosen, color=style.PALETTE["vermilion"], linewidth=2)

    def _draw_product(self, figure: Figure) -> None:
        """The three maps with their formulas and peaks."""
        places = [{**self._place, "kind": kind} for kind in KINDS]
        maps = [self._map(**place).astype(float) for place in places]
        mean = self.head < 0
        terms = [one[self.layer].replace(" . ", r"\!\cdot\!") for one in self.facts["terms"]]
        formulas = ["mean of heads"] * 3 if mean else [*(f"softmax(${t}$)" for t in terms), "product ÷ Σ"]
        told = f"content × spatial → combined (Σ = {(maps[0] * maps[1]).sum():.2g})"
        title = "Mean of heads of each kind" if mean else f"Head {self.head}: {told}"
        figure.suptitle(title, **HEADING)
        panels = figure.subplots(1, 3)
        for axes, place, weights, formula in zip(panels, places, maps, formulas, strict=True):
            self._draw_map(axes, place, chosen=place["kind"] == self.kind)
            peak = f"peak {weights.max():.2g} = {plots.times_uniform(weights)}"
            axes.set_xlabel(f"{place['kind']}\n{formula}\n{peak}", fontsize=7, labelpad=2)
        if not mean:
            plots.joined(panels, ("×", "→"), at=1.17)

    def _draw_pinned(self, figure: Figure) -> None:
        """The pinned map and the present one on one scale."""
        places = [self.pinned, self._place]
        most = max(self._map(**place).max() for place in places)
        figure.suptitle(f"Pinned and present map, on one scale to {most:.2g}", **HEADING)
        for axes, place in zip(figure.subplots(1, 2), places, strict=True):
            self._draw_map(axes, place, vmax=most)
            where = f"layer {place['layer']}, {_named(place['head'])}, {place['kind']}"
            peak = plots.times_uniform(self._map(**place))
            axes.set_xlabel(f"query {place['query']}\n{where}\npeak {peak}", fontsize=7, labelpad=2)


def _painted(boxes: Float[np.ndarray, "N 4"], looks: Float[np.ndarray, " N"]) -> Float[np.ndarray, "200 200"]:
    """The unit square, each place with the look of the smallest box x, y, w, h that covers it."""
    shown, middles = np.zeros((200, 200)), (np.arange(200) + 0.5) / 200
    for k in np.argsort(-boxes[:, 2] * boxes[:, 3]):
        across, down = (
            abs(middles - boxes[k, a] - boxes[k, a + 2] / 2) <= boxes[k, a + 2] / 2 for a in (0, 1)
        )
        shown[np.ix_(down, across)] = looks[k]
    return shown


def _named(head: int) -> str:
    return "mean of heads" if head < 0 else f"head {head}"


def _check_finite(captured: CapturedAttention) -> None:
    """ValueError naming the maps, scores, boxes or references that hold a number that is not finite."""
    found = captured.queries
    parts = {f"{kind} maps": getattr(captured, kind) for kind in KINDS}
    parts |= {"scores": found.scores, "boxes": found.boxes, "references": found.references}
    for name, values in parts.items():
        if not values.isfinite().all():
            raise ValueError(
                f"captured: {name} with numbers that are not finite; look at the model's weights"
            )


def _how_many(shape: Sequence[int], queries: int, room: int) -> int:
    """How many queries of maps (L, 1, H, Q, h, w) to keep in `room` bytes."""
    layers, _, heads, there, h, w = shape
    if queries < 1:
        raise ValueError(f"queries: expected 1 or more to keep, not {queries}")
    each = layers * heads * (len(KINDS) * (h * w + 4) + 4)  # levels, peaks and overlap
    if each > room:
        raise ValueError(
            f"captured: the maps of one query take {each / 1e6:.1f} MB, and beside the image there is room "
            f"for {max(room, 0) / 1e6:.1f}; pass smaller pixels to capture_attention"
        )
    return min(queries, there, room // each)


def _inside(captured: CapturedAttention, query) -> Float[np.ndarray, "L H"]:
    """Weight that the heads give to the cells whose middle lies in the query's box."""
    cx, cy, w, h = captured.queries.boxes[0, query].tolist()
    rows, columns = captured.combined.shape[-2:]
    beside = np.abs((np.arange(columns) + 0.5) / columns - cx) <= w / 2
    level = np.abs((np.arange(rows) + 0.5) / rows - cy) <= h / 2
    return (captured.combined[:, 0, :, query].numpy() * np.outer(level, beside)).sum((-2, -1))


def _overlaps(captured: CapturedAttention, kept) -> Float[np.ndarray, "L H Q"]:
    """Sum of content * spatial over the cells: what the product is divided by.

    From the logits, because two sharp maps can underflow.
    """
    content, spatial = (
        getattr(captured, f"{kind}_logits")[:, 0][:, :, kept].flatten(-2).double()
        for kind in ("content", "spatial")
    )
    both = (content + spatial).logsumexp(-1)
    return (both - content.logsumexp(-1) - spatial.logsumexp(-1)).exp().numpy()


def _facts(captured: CapturedAttention, kept, size: Sequence[int], names) -> dict:
    """Everything about the kept queries that is no map."""
    named = names if isinstance(names, Mapping) else dict(enumerate(() if names is None else names))
    layers, _, heads, there, h, w = captured.combined.shape
    found, scores = captured.queries, captured.queries.scores[0]
    out = np.setdiff1d(np.arange(there), kept.numpy())
    references = found.references[:, 0]  # (L, Q, P)
    pointed = not bool((references == 0.5).all())  # DETR has no reference
    return {
        "shape": [layers, heads, len(kept), h, w],
        "size": [size[1], size[0]],
        "queries": kept.tolist(),
        "boxes": found.boxes[0, kept].tolist(),  # cx, cy, w, h, normalised to the image's size
        "scores": scores[kept].tolist(),
        "names": [str(named.get(label, label)) for label in found.labels[0, kept].tolist()],
        "references": references[:, kept].tolist() if pointed else None,
        "terms": [list(captured.content_terms), list(captured.spatial_terms)],
        "left_out": len(out),
        "best_left_out": float(scores[out].max()) if len(out) else 0.0,
    }
