"""Attention maps of a detector taken apart: of this project's models and of Hugging Face's transformers.

The way is: one forward pass, in which `record` keeps what enters the dot products of each decoder
cross-attention; content and spatial logits from that; a softmax. So it does not matter which kernel ran,
`eager` or `sdpa`, although only the first reports weights.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import interpolate

from ..record import Call, evaluating, record
from .attention import AttentionMaps, conditional_logits, detr_logits
from .detector import Detector, DetectorOutput

Seen = dict[str, list[Call]]  # what `record` kept

TRANSFORMERS_MODELS = {  # `model_type` of a config.json -> class of transformers
    "detr": "DetrForObjectDetection",
    "conditional_detr": "ConditionalDetrForObjectDetection",
    "dab-detr": "DabDetrForObjectDetection",
}
# Projections of c_q, c_k, p_q, p_k and, in the first layer only, o_q: here, then in transformers' Conditional
# DETR and DAB-DETR. An attention is known by them, because its place has changed before (sheet 6.3).
CONDITIONAL_PROJECTIONS = (
    ("content_query", "content_key", "spatial_query", "spatial_key", "object_query"),
    ("q_content_proj", "k_content_proj", "q_pos_sine_proj", "k_pos_proj", "q_pos_proj"),
    (
        "cross_attn_query_content_proj",
        "cross_attn_key_content_proj",
        "cross_attn_query_pos_sine_proj",
        "cross_attn_key_pos_proj",
        "cross_attn_query_pos_proj",
    ),
)
# DETR's, by name, because self-attention has the same two projections; then its inputs c_q, o_q, c_k and p_k.
DETR_ATTENTIONS = {
    "cross_attention": ("query", "key", ("content", "position", "memory", "key_encoding")),
    "encoder_attn": (
        "q_proj",
        "k_proj",
        ("hidden_states", "position_embeddings", "key_value_states", "encoder_position_embeddings"),
    ),
}


@dataclass(frozen=True)
class Queries:
    """What the queries found in a captured pass, in the order of the maps; P: 2 for points, 4 for anchors."""

    references: Float[Tensor, "L B Q P"]  # where a layer starts from, (x, y[, w, h]); DETR: the middle
    boxes: Float[Tensor, "B Q 4"]  # of the last layer, cxcywh, normalised to the image without its padding
    scores: Float[Tensor, "B Q"]  # probability of the likeliest class, no-object left out
    labels: Int[Tensor, "B Q"]  # that class


@dataclass(frozen=True, kw_only=True)
class CapturedAttention(AttentionMaps):
    """Attention maps of one pass, what is in their two parts, and what the queries found."""

    content_terms: tuple[str, ...]  # formula of the content logits of each layer: the first may hold more
    spatial_terms: tuple[str, ...]
    remainder: Float[Tensor, " L"]  # largest |combined - (content + spatial)| of the logits
    queries: Queries


def capture_attention(
    model: nn.Module,
    pixels: Float[Tensor, "B channels S S"],
    mask: Bool[Tensor, "B S S"] | None = None,
) -> CapturedAttention:
    """Content, spatial and combined attention of all decoder layers, heads and queries, (L, B, H, Q, h, w).

    `model` is this project's `Detector`, or DETR, Conditional DETR or DAB-DETR for object detection of
    transformers, also with adapters or quantised weights. `pixels` and `mask` (True or 1 where an image is,
    False where it was padded) are what the model's forward takes. Logits have the model's own scale;
    `combined` is the weight it attends with, and padded cells weigh exactly 0. Spatial attention of DETR is
    (o_q + c_q) against positions only. DETR's projections are called on the parts and on their sum; between
    the two lies `remainder`, rounding as a rule, more where a projection is not linear (weights of 8 bits).
    The pass runs in evaluation mode without gradients and leaves the model as it was. Conditional DETR
    section 3.4.

    TypeError for another model, ValueError for pixels or a mask of a wrong shape, or an image without a cell.

    >>> from marginalia.detection import DetectorConfig, build
    >>> model = build(DetectorConfig(width=32, heads=4, queries=5, decoder_layers=2))  # untrained
    >>> maps = capture_attention(model, torch.rand(1, 1, 32, 32))
    >>> maps.spatial.shape, maps.content_terms
    (torch.Size([2, 1, 4, 5, 8, 8]), ('(c_q + o_q) . (c_k + p_k)', 'c_q . c_k'))
    """
    if isinstance(model, Detector):
        run_model = _run_own
    elif any(one.__name__ in TRANSFORMERS_MODELS.values() for one in type(model).__mro__):
        run_model = _run_transformers
    else:
        known = ", ".join(TRANSFORMERS_MODELS.values())
        raise TypeError(f"model: must be a Detector of this project or {known}, not {type(model).__name__}")
    if pixels.ndim != 4:
        raise ValueError(f"pixels must be a batch (B, channels, height, width), not {tuple(pixels.shape)}")
    expected = (len(pixels), *pixels.shape[-2:])
    if mask is not None and tuple(mask.shape) != expected:
        raise ValueError(f"mask must be {expected}, a value for each pixel, not {tuple(mask.shape)}")
    layers = _cross_attentions(model)  # name -> how to get logits
    with evaluating(model):
        # one pass, in which we keep what enters and leaves the cross-attentions and their projections
        names = [pattern for name in layers for pattern in (name, f"{name}.*")]
        run = run_model(model, names, pixels, None if mask is None else mask.bool())
        # their logits; DETR's projections are called again, on the parts
        parts = [logits(run.seen, run.heads) for logits in layers.values()]
    if run.valid is not None and not (some := run.valid.flatten(1).any(1)).all():
        raise ValueError(f"mask: leaves no cell of image {some.int().argmin()} of the batch valid")
    # logits of all layers, then a softmax over the cells that are not padding
    *logits, content_terms, spatial_terms = zip(*parts, strict=True)
    content, spatial, combined = (torch.stack(part) for part in logits)  # (L, B, H, Q, K)
    maps = AttentionMaps.from_logits(content, spatial, *run.grid, run.valid, combined)
    return CapturedAttention(
        **vars(maps),
        content_terms=content_terms,
        spatial_terms=spatial_terms,
        remainder=(combined - (content + spatial)).abs().amax((1, 2, 3, 4)),
        queries=run.queries,
    )


@dataclass(frozen=True)
class SelfAttention:
    """Who among the queries attends to whom, in the L decoder layers after the first."""

    boxes: Float[Tensor, "L B Q 4"]  # that entered the layer, cxcywh
    logits: Float[Tensor, "L B H Q Q"]  # q k^T / sqrt(D)
    bias: Float[Tensor, "L B H Q Q"]  # Rel of the position relation; 0 where the model has none
    output: DetectorOutput  # of the same pass

    @property
    def weights(self) -> Float[Tensor, "L B H Q Q"]:
        """Attention weights: rows sum to 1."""
        return (self.logits + self.bias).softmax(-1)


def capture_self_attention(model: Detector, pixels: Float[Tensor, "B channels S S"]) -> SelfAttention:
    """Self-attention of a detector's queries, with the position relation if it has one.

    >>> from marginalia.detection import DetectorConfig, build
    >>> model = build(DetectorConfig(width=32, heads=4, queries=5, relation="two layers"))  # untrained
    >>> capture_self_attention(model, torch.rand(1, 1, 32, 32)).weights.shape
    torch.Size([2, 1, 4, 5, 5])
    """
    names = [f"decoder.layers.{n}.self_attention.dot_product" for n in range(1, len(model.decoder.layers))]
    with evaluating(model), record(model, names) as seen:
        output = model(pixels)
    calls = [seen[name][-1].inputs for name in names]
    logits = torch.stack([call["q"] @ call["k"].mT / call["q"].shape[-1] ** 0.5 for call in calls])
    bias = [torch.zeros_like(logits[0]) if call["mask"] is None else call["mask"] for call in calls]
    return SelfAttention(output.boxes[:-1], logits, torch.stack(bias), output)


def crop_to_valid(maps: AttentionMaps, image: int) -> AttentionMaps:
    """Maps of one image of the batch without its padding, (L, 1, H, Q, h', w'), to lay over the image.

    Column j belongs on [j, j + 1] / w' of the image, row i on [i, i + 1] / h'. The maps still sum to 1.
    ValueError when the valid cells are no rectangle.
    """
    if not 0 <= image < maps.combined.shape[1]:
        raise ValueError(f"crop_to_valid: image {image} of a batch of {maps.combined.shape[1]}")
    # the smallest rectangle of cells around the valid ones
    grid = maps.combined.shape[-2:]
    valid = torch.ones(grid, dtype=torch.bool) if maps.valid is None else maps.valid[image]
    rows, columns = valid.any(1).nonzero()[:, 0], valid.any(0).nonzero()[:, 0]
    inside = slice(rows[0].item(), rows[-1].item() + 1), slice(columns[0].item(), columns[-1].item() + 1)
    if not valid[inside].all():
        raise ValueError(f"crop_to_valid: the valid cells of image {image} are not a rectangle")
    # every field of this image and these cells
    one = slice(image, image + 1)
    fields = ("content", "spatial", "combined", "content_logits", "spatial_logits")
    cut = {field: getattr(maps, field)[:, one, ..., *inside] for field in fields}
    if isinstance(maps, CapturedAttention):
        references, *others = vars(maps.queries).values()
        cut["queries"] = Queries(references[:, one], *(other[one] for other in others))
    return replace(maps, valid=None, **cut)


# --- from the image to what passes through the model


class Run(NamedTuple):
    """What one forward pass leaves."""

    seen: Seen
    heads: int
    grid: tuple[int, int]  # h, w of the feature map
    valid: Bool[Tensor, "B h w"] | None  # its cells that are not padding, chosen as the model chooses them
    queries: Queries


def _run_own(model: Detector, names: Sequence[str], pixels: Tensor, mask: Tensor | None) -> Run:
    """One forward pass of a `Detector`, in which the calls of the modules `names` are recorded."""
    with record(model, ["backbone", *names]) as seen:
        output = model(pixels, mask)
    grid, stride = seen["backbone"][-1].output.shape[-2:], model.config.stride
    valid = None if mask is None else mask[:, ::stride, ::stride]
    scores, labels = _top_class(output.logits[-1], softmax=not model.config.focal)
    queries = Queries(output.references, output.boxes[-1], scores, labels)
    return Run(seen, model.config.heads, grid, valid, queries)


def _run_transformers(model: nn.Module, names: Sequence[str], pixels: Tensor, mask: Tensor | None) -> Run:
    """As `_run_own`, for a model of transformers whose class is one of TRANSFORMERS_MODELS."""
    points, config = "model.decoder.ref_point_head", model.config
    pointed = hasattr(model.model.decoder, "ref_point_head")  # not in DETR
    ours = ["model.input_projection", "model.decoder", *([points] if pointed else [])]
    with record(model, [*ours, *names]) as seen:
        output = model(pixel_values=pixels, pixel_mask=mask, return_dict=True)
    grid = seen["model.input_projection"][-1].output.shape[-2:]
    valid = None if mask is None else interpolate(mask[None].float(), size=grid)[0].bool()
    count = (config.decoder_layers, *output.pred_boxes.shape[:2])  # L, B, Q
    if hasattr(model.model, "query_refpoint_embeddings"):  # DAB-DETR: anchors, which the layers move
        references = seen["model.decoder"][-1].output.reference_points  # (L, B, Q, 4)
    elif pointed:  # Conditional DETR; its field `reference_points` has its axes permuted (sheet 7.9)
        references = seen[points][-1].output.sigmoid().expand(*count, 2)
    else:
        references = output.pred_boxes.new_full((*count, 2), 0.5)
    scores, labels = _top_class(output.logits, softmax=not pointed)
    queries = Queries(references, output.pred_boxes, scores, labels)
    return Run(seen, config.decoder_attention_heads, grid, valid, queries)


def _top_class(
    logits: Float[Tensor, "B Q C"], softmax: bool
) -> tuple[Float[Tensor, "B Q"], Int[Tensor, "B Q"]]:
    """Probability of the likeliest class, and that class; the last class of a softmax is no-object."""
    probabilities = logits.softmax(-1)[..., :-1] if softmax else logits.sigmoid()
    return tuple(probabilities.max(-1))


# --- from there to the logits of each layer


# (content, spatial, combined), scaled and (B, H, Q, K), then content and spatial as formulas
Layer = tuple[Tensor, Tensor, Tensor, str, str]


def _cross_attentions(model: nn.Module) -> dict[str, Callable[[Seen, int], Layer]]:
    """Where queries meet the memory: names in the order of the layers, and how to get logits there."""
    found = {}
    for name, module in model.named_modules():
        for projections in CONDITIONAL_PROJECTIONS:
            if all(hasattr(module, projection) for projection in projections[:4]):
                found[name] = partial(_conditional_layer, name, projections)
        for ending, (query, key, inputs) in DETR_ATTENTIONS.items():
            if name.endswith(ending) and hasattr(module, query):
                found[name] = partial(_detr_layer, name, inputs, getattr(module, query), getattr(module, key))
    if not found:
        raise TypeError(f"{type(model).__name__} has no cross-attention with names that are known here")
    return found


def _conditional_layer(name: str, projections: Sequence[str], seen: Seen, heads: int) -> Layer:
    """Conditional and DAB-DETR: content and spatial vectors have projections of their own."""
    content_query, content_key, spatial_query, spatial_key = (
        seen[f"{name}.{projection}"][-1].output.float() for projection in projections[:4]
    )
    # where the object query was projected, it and p_k went into the content half
    first = seen.get(f"{name}.{projections[4]}")
    if first:
        content_query = content_query + first[-1].output.float()
        content_key = content_key + spatial_key
    content, spatial = conditional_logits(content_query, content_key, spatial_query, spatial_key, heads)
    terms = "(c_q + o_q) . (c_k + p_k)" if first else "c_q . c_k"
    return content, spatial, content + spatial, terms, "p_q . p_k"


def _detr_layer(
    name: str, inputs: Sequence[str], query: nn.Module, key: nn.Module, seen: Seen, heads: int
) -> Layer:
    """DETR: positions are added before one projection; spatial is (c_q + o_q) . p_k (section 3.1)."""
    vectors = (seen[name][-1].inputs[argument] for argument in inputs)
    terms, combined = detr_logits(*vectors, lambda x: query(x).float(), lambda x: key(x).float(), heads)
    return terms.content, terms.spatial, combined, "(c_q + o_q) . c_k", "(c_q + o_q) . p_k"
