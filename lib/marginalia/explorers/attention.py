"""Predicted boxes on their picture and what each query attends to: content x spatial -> combined."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import traitlets
from jaxtyping import Float, UInt8

from marginalia.detection.plots.explorer import KINDS, SOLID, peak_told, query_attention

from .base import Explorer, encoded, joined

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from marginalia.detection.capture import CapturedAttention

BUDGET = 3_000_000  # bytes that go to the browser
_LONGEST = 800  # pixels: the view shows no picture larger than that


class AttentionExplorer(Explorer):
    """A picture with predicted boxes, and a query's attention as content x spatial -> combined.

    `captured` comes from `detection.capture.capture_attention`, and `picture` is the image with index `image`
    of its batch without padding: uint8, (H, W), (H, W, 3) or (H, W, 4). `names` has the name of each class
    by its number. At most `queries` queries are kept, those with the highest scores, and fewer where their
    maps would be more than 3 MB; the view and `summary` say how many were left out.

    The traits `query`, `layer`, `head` and `kind` (one of KINDS) can be read and set. They count from 0 as
    the axes of `captured` do; `query` is the model's own number, one of `kept`. At first: the best query, the
    last layer and the head with the highest peak. Maps go to the browser in 8 bits, each in parts of its own
    maximum, which goes as a float, so that weights can be told. Column j of a map lies on [j, j + 1] / w of
    the picture; its key encodes the lower right corner, so that maps lean half a cell up and to the left.
    Conditional DETR section 3.4 and Figure 4.

    Raises ValueError for a picture of another kind, an image that is not there, classes without a name, and
    maps of which not even one query fits; TraitError for a choice that is not there.
    """

    _esm = joined("canvas.js", "attention_maths.js", "attention_drawing.js", "attention.js")

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
        picture: UInt8[np.ndarray, "H W *channels"],
        image: int = 0,
        names: Sequence[str] | Mapping[int, str] | None = None,
        queries: int = 16,
    ):
        from marginalia.detection.capture import crop_to_valid

        png = _shrunk(encoded(picture))
        self._captured, self._picture, self._names = crop_to_valid(captured, image), picture, names
        order = self._captured.queries.scores[0].argsort(descending=True, stable=True)
        kept = order[: _how_many(self._captured.combined.shape, queries, BUDGET - len(png))]
        weights = np.stack([getattr(self._captured, kind)[:, 0][:, :, kept].numpy() for kind in KINDS])
        levels, peaks = _levels(weights)
        best = peaks[KINDS.index("combined"), -1, :, 0]
        super().__init__(
            facts=_facts(self._captured, kept, picture.shape, names),
            levels=levels.tobytes(),
            peaks=peaks.astype("<f4").tobytes(),
            overlaps=_overlaps(self._captured, kept).astype("<f4").tobytes(),
            png=png,
            query=int(kept[0]),
            layer=len(peaks[0]) - 1,
            head=int(best.argmax()),
        )

    @traitlets.validate("query")
    def _kept_query(self, proposal):
        if proposal.value not in self.kept:
            told = ", ".join(map(str, sorted(self.kept)))
            raise traitlets.TraitError(
                f"query: expected one of those kept ({told}), not {proposal.value}; to keep more, ask for "
                "more `queries`"
            )
        return proposal.value

    @traitlets.validate("layer", "head")
    def _existing(self, proposal):
        name = proposal.trait.name
        count = self.facts["shape"][("layer", "head").index(name)]
        if not 0 <= proposal.value < count:
            raise traitlets.TraitError(f"{name}: expected 0 to {count - 1}, not {proposal.value}")
        return proposal.value

    @property
    def kept(self) -> tuple[int, ...]:
        """Numbers of the queries that can be chosen, the best first."""
        return tuple(self.facts["queries"])

    @property
    def weights(self) -> Float[np.ndarray, "h w"]:
        """The chosen map as the model has it; sums to 1."""
        return getattr(self._captured, self.kind)[self.layer, 0, self.head, self.query].numpy()

    def static(self) -> Figure:
        """Picture with boxes and the chosen map, all heads, and the product, drawn by matplotlib."""
        return query_attention(
            self._captured,
            self._picture,
            self.query,
            self.layer,
            self.head,
            self.kind,
            names=self._names,
            shown=self.kept,
        )[0]

    def summary(self) -> str:
        """What is chosen, where its map peaks against an even spread, and how many queries were kept."""
        facts, row = self.facts, self.kept.index(self.query)
        what = f"query {self.query} ({facts['names'][row]!r}, score {facts['scores'][row]:.2f})"
        spread = f"{peak_told(self.weights)} an even spread over {self.weights.size} cells"
        kept = f"{len(self.kept)} of {len(self.kept) + facts['left_out']} queries kept"
        return (
            f"Attention explorer: {what}, layer {self.layer}, head {self.head}: {self.kind} attention peaks "
            f"at {self.weights.max():.2g} = {spread}; {kept}"
        )


def _shrunk(png: bytes) -> bytes:
    """The picture at no more pixels than are shown."""
    from PIL import Image

    picture = Image.open(io.BytesIO(png))
    if max(picture.size) <= _LONGEST:
        return png
    picture.thumbnail((_LONGEST, _LONGEST), Image.Resampling.LANCZOS)
    return encoded(np.asarray(picture))


def _how_many(shape: Sequence[int], queries: int, room: int) -> int:
    """How many queries of maps (L, 1, H, Q, h, w) to keep in `room` bytes."""
    layers, _, heads, there, h, w = shape
    if queries < 1:
        raise ValueError(f"queries: expected 1 or more to keep, not {queries}")
    each = layers * heads * (len(KINDS) * (h * w + 4) + 4)  # levels, peaks and overlap
    if each > room:
        raise ValueError(
            f"captured: the maps of one query take {each / 1e6:.1f} MB, and beside the picture there is room "
            f"for {max(room, 0) / 1e6:.1f}; pass smaller pixels to capture_attention"
        )
    return min(queries, there, room // each)


def _levels(weights: Float[np.ndarray, "... h w"]) -> tuple[UInt8[np.ndarray, "... h w"], np.ndarray]:
    """Each map in 255 steps of its maximum, and the maxima (...)."""
    peaks = weights.max(axis=(-2, -1))
    return np.rint(255 * weights / peaks[..., None, None]).astype(np.uint8), peaks


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
    layers, _, heads, there, h, w = captured.combined.shape
    found, scores = captured.queries, captured.queries.scores[0]
    out = np.setdiff1d(np.arange(there), kept.numpy())
    references = found.references[:, 0]  # (L, Q, P)
    pointed = not bool((references == 0.5).all())  # DETR looks from nowhere
    return {
        "shape": [layers, heads, len(kept), h, w],
        "size": [size[1], size[0]],
        "queries": kept.tolist(),
        "boxes": found.boxes[0, kept].tolist(),  # cx, cy, w, h in parts of the picture
        "scores": scores[kept].tolist(),
        "names": [_name(names, label) for label in found.labels[0, kept].tolist()],
        "references": references[:, kept].tolist() if pointed else None,
        "terms": [list(captured.content_terms), list(captured.spatial_terms)],
        "solid": SOLID,
        "left_out": len(out),
        "best_left_out": float(scores[out].max()) if len(out) else 0.0,
    }


def _name(names: Sequence[str] | Mapping[int, str] | None, label: int) -> str:
    if names is None:
        return str(label)
    try:
        return str(names[label])
    except (KeyError, IndexError):
        raise ValueError(f"names: class {label} has no name; give one for every class number") from None
