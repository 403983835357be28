"""Predicted boxes on their image and what each query attends to: content x spatial -> combined."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import traitlets
from jaxtyping import Float, UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from marginalia import plots, style
from marginalia.detection.capture import CapturedAttention, crop_to_valid

from .base import Explorer, encoded, joined, within

KINDS = ("content", "spatial", "combined")
SOLID = 0.3  # score from which a box is drawn solid; those of focal heads are low
TINT = "#ff7800"  # of the chosen query's box and map
BUDGET = 3_000_000  # bytes that go to the browser
LONGEST = 800  # pixels: the view shows no image larger than that
HEADING = {"fontsize": 8, "fontweight": "bold", "x": 0.03, "ha": "left"}


class AttentionExplorer(Explorer):
    """An image with predicted boxes, and a query's attention as content x spatial -> combined.

    `captured` comes from `detection.capture.capture_attention`, and `pixels` is the image with index `image`
    of its batch without padding: uint8, (H, W), (H, W, 3) or (H, W, 4). `names` has the name of each class
    by its number; a class without one goes by its number. At most `queries` queries are kept, those with the
    highest scores, and fewer where their maps would be more than 3 MB; the view and `summary` say how many
    were left out.

    The traits `query`, `layer`, `head` and `kind` (one of KINDS) can be read, set, and given by name. They
    count from 0 as the axes of `captured` do; `query` is the model's own number, one of `kept`. By default:
    the query with the highest score, the last layer and the head with the most weight in that query's box.
    Maps go to the browser in 8 bits, each divided by its own maximum, which goes as a float, so that weights
    can be told. Column j of a map lies on [j, j + 1] / w of the image; its key encodes the lower right
    corner, so that maps lean half a cell up and to the left. In the still figure boxes with a score of 0.3 or
    more are solid, and small maps are scaled to their own peaks, which are told as multiples of the uniform
    weight (1 / number of cells). Conditional DETR section 3.4 and Figure 4.

    Raises ValueError for pixels of another kind, an image that is not there, and maps of which not even one
    query fits; TraitError for a choice that is not there.
    """

    _esm = joined("canvas.js", "view.js", "attention_maths.js", "attention_drawing.js", "attention.js")

    query = traitlets.Int().tag(sync=True)
    layer = traitlets.Int().tag(sync=True)
    head = traitlets.Int().tag(sync=True)
    kind = traitlets.Enum(KINDS, "combined").tag(sync=True)
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
        png = encoded(pixels, LONGEST)
        self._captured, self._pixels = crop_to_valid(captured, image), pixels
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
        self.given = {name: getattr(self, name) for name in (*first, "kind")}

    @traitlets.validate("query")
    def _kept_query(self, proposal):
        if proposal.value not in self.kept:
            told = f"query: expected one of those kept {tuple(sorted(self.kept))}, not {proposal.value}"
            raise traitlets.TraitError(f"{told}; to keep more, ask for more `queries`")
        return proposal.value

    @traitlets.validate("layer", "head")
    def _existing(self, proposal):
        layers, heads, *_ = self.facts["shape"]
        return within(proposal, 0, {"layer": layers, "head": heads}[proposal.trait.name] - 1)

    @property
    def kept(self) -> tuple[int, ...]:
        """Numbers of the queries that can be chosen, by falling score."""
        return tuple(self.facts["queries"])

    @property
    def weights(self) -> Float[np.ndarray, "h w"]:
        """The chosen map as the model has it; sums to 1."""
        return self._maps(self.kind)[self.head]

    def _maps(self, kind: str) -> Float[np.ndarray, "H h w"]:
        """Maps of all heads, for the chosen query and layer."""
        return getattr(self._captured, kind)[self.layer, 0, :, self.query].numpy()

    def summary(self) -> str:
        """What is chosen, its peak as a multiple of the uniform weight, and how many queries were kept."""
        facts, row = self.facts, self.kept.index(self.query)
        what = f"query {self.query} ({facts['names'][row]!r}, score {facts['scores'][row]:.2f})"
        times = f"{plots.times_uniform(self.weights)} the uniform weight over {self.weights.size} cells"
        kept = f"{len(self.kept)} of {len(self.kept) + facts['left_out']} queries kept"
        return (
            f"Attention explorer: {what}, layer {self.layer}, head {self.head}: {self.kind} attention peaks "
            f"at {self.weights.max():.2g} = {times}; {kept}"
        )

    def _draw(self, figure: Figure) -> None:
        """The image with boxes and the chosen map, all heads, and the product."""
        heads = self.facts["shape"][1]
        rows = max(1, round((heads / 2) ** 0.5))
        tall = 0.95 * min(1.0, self._pixels.shape[0] / self._pixels.shape[1])  # inches of a small map
        figure.set_figheight(1.6 + (rows + 1) * tall)
        figure.get_layout_engine().set(w_pad=0.1, h_pad=0.05)  # inches, for the outlines of chosen maps
        left, right = figure.subfigures(1, 2, width_ratios=(1, 1.12))
        above, below = right.subfigures(2, 1, height_ratios=(rows * (tall + 0.2) + 0.2, tall + 0.75))
        self._draw_image(left)
        above.suptitle(f"All heads, {self.kind}: peak as multiple of uniform", **HEADING)
        panels = above.subplots(rows, -(-heads // rows), squeeze=False).flat
        for empty in panels[heads:]:
            empty.set_axis_off()
        for head, (axes, weights) in enumerate(zip(panels, self._maps(self.kind), strict=False)):
            self._draw_map(axes, weights, chosen=head == self.head)
            axes.set_xlabel(f"head {head}: {plots.times_uniform(weights)}", fontsize=7, labelpad=2)
        self._draw_product(below)

    @property
    def _place(self) -> tuple[int, list[float] | None]:
        """Row of the chosen query among those kept, and its reference in the chosen layer."""
        row, references = self.kept.index(self.query), self.facts["references"]
        return row, references and references[self.layer][row]

    def _draw_image(self, figure: Figure) -> None:
        facts, (row, point) = self.facts, self._place
        told = f"“{facts['names'][row]}”, score {facts['scores'][row]:.2f}"
        choice = f"layer {self.layer}, head {self.head}, {self.kind}"
        figure.suptitle(f"Query {self.query}: {told}\n{choice}", **HEADING)
        cross = "" if point is None else " Cross: reference point."
        w = self.weights.shape[1]
        note = f"Dashed: score below {SOLID}.{cross}\nColumn j of {w} lies on [j, j + 1] / {w} of the image;"
        figure.supxlabel(f"{note}\nits key encodes the right end.", fontsize=7, x=0.03, ha="left")
        axes, sky = figure.subplots(), style.PALETTE["sky"]
        plots.map_over(axes, self.weights, self._pixels, point=point, color=TINT)
        cxcywh = np.array([facts["boxes"][row], *facts["boxes"]])  # the chosen one, then all by score
        boxes = np.hstack((cxcywh[:, :2] - cxcywh[:, 2:] / 2, cxcywh[:, 2:]))
        names = np.array([facts["names"][row], *facts["names"]])
        # of boxes on one thing only the first has its name, or the names would overlap
        _, first = np.unique(boxes[:, :2].clip(0).round(1), axis=0, return_index=True)
        names[np.isin(np.arange(len(names)), first, invert=True)] = ""
        solid = np.array([False, *(score >= SOLID for score in facts["scores"])])
        dotted = {"linewidth": 0.8, "linestyle": (0, (2, 3))}
        plots.boxes_on(axes, boxes[1:][~solid[1:]], color=sky, **dotted)
        plots.boxes_on(axes, boxes[solid], color=sky, labels=names[solid])
        plots.boxes_on(axes, boxes[:1], color=TINT, labels=names[:1], linewidth=2)
        if point is not None and len(point) == 4:  # an anchor
            x, y, w, h = point
            plots.boxes_on(axes, [[x - w / 2, y - h / 2, w, h]], color="white", linewidth=1, linestyle="--")
        axes.set(aspect="auto")

    def _draw_map(self, axes: Axes, weights: Float[np.ndarray, "h w"], chosen: bool) -> None:
        row, point = self._place
        plots.map_over(axes, weights, box=self.facts["boxes"][row], point=point, color=TINT)
        axes.spines[:].set(visible=chosen, color=style.PALETTE["vermilion"], linewidth=2)

    def _draw_product(self, figure: Figure) -> None:
        """The three maps with their formulas and peaks."""
        maps = {kind: self._maps(kind)[self.head].astype(float) for kind in KINDS}
        overlap = (maps["content"] * maps["spatial"]).sum()
        figure.suptitle(f"Head {self.head}: content × spatial → combined (Σ = {overlap:.2g})", **HEADING)
        terms = [one[self.layer].replace(" . ", r"\!\cdot\!") for one in self.facts["terms"]]
        formulas = [*(f"softmax(${term}$)" for term in terms), "product ÷ Σ"]
        panels = figure.subplots(1, 3)
        for axes, kind, formula in zip(panels, KINDS, formulas, strict=True):
            self._draw_map(axes, maps[kind], chosen=kind == self.kind)
            peak = f"peak {maps[kind].max():.2g} = {plots.times_uniform(maps[kind])}"
            axes.set_xlabel(f"{kind}\n{formula}\n{peak}", fontsize=7, labelpad=2)
        plots.joined(panels, ("×", "→"), at=1.17)


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
        "solid": SOLID,
        "left_out": len(out),
        "best_left_out": float(scores[out].max()) if len(out) else 0.0,
    }
