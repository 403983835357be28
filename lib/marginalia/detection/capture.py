"""Attention maps of a detector taken apart: of this project's models and of Hugging Face's transformers.

Nothing is asked of the model but one forward pass. Hooks keep what goes into the dot products of each decoder
cross-attention, and the maps are computed from that, so that it does not matter which kernel ran, `eager` or
`sdpa`, although only the first reports weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from .attention import AttentionMaps
from .detector import Detector
from .hooks import ConditionalHooks, DetrHooks, cross_attentions

TRANSFORMERS_MODELS = "DetrForObjectDetection, ConditionalDetrForObjectDetection, DabDetrForObjectDetection"


@dataclass(frozen=True)
class Queries:
    """What the queries found in a captured pass, in the order of the maps; P: 2 for points, 4 for anchors."""

    references: Float[Tensor, "L B Q P"]  # where a layer looks from, (x, y[, w, h]); DETR: the middle
    boxes: Float[Tensor, "B Q 4"]  # of the last layer, (cx, cy, w, h) as parts of the picture without padding
    scores: Float[Tensor, "B Q"]  # probability of the likeliest class, no-object left out
    labels: Int[Tensor, "B Q"]  # that class


@dataclass(frozen=True, kw_only=True)
class CapturedAttention(AttentionMaps):
    """Attention maps of one pass, what is in their two parts, and what the queries found."""

    content_terms: tuple[str, ...]  # formula of the content logits of each layer: the first may hold more
    spatial_terms: tuple[str, ...]
    queries: Queries


def capture_attention(
    model: nn.Module,
    pixels: Float[Tensor, "B channels S S"],
    mask: Bool[Tensor, "B S S"] | None = None,
) -> CapturedAttention:
    """Content, spatial and combined attention of all decoder layers, heads and queries, (L, B, H, Q, h, w).

    `model` is this project's `Detector`, or DETR, Conditional DETR or DAB-DETR for object detection of
    transformers. `pixels` and `mask` (True or 1 where a picture is, False where it was padded) are what the
    model's forward takes. Logits have the model's own scale; `combined` is the weight it attends with, and
    padded cells weigh exactly 0. Spatial attention of DETR is (o_q + c_q) against positions only. The pass
    runs in evaluation mode without gradients and leaves the model as it was. Conditional DETR section 3.4.

    TypeError for another model, ValueError for pixels or a mask of a wrong shape.
    """
    sites = _sites(model)
    _check_input(pixels, mask)
    run = _run_own if isinstance(model, Detector) else _run_transformers
    with ExitStack() as hooks, _evaluating(model):
        for site in sites:
            for handle in site.listen():
                hooks.callback(handle.remove)
        (h, w), valid, queries = run(model, pixels, mask, len(sites))
        logits = [site.logits() for site in sites]
    content, spatial = (torch.stack(part) for part in zip(*logits, strict=True))  # (L, B, H, Q, K)
    maps = AttentionMaps.from_logits(content, spatial, h, w, valid)
    content_terms, spatial_terms = zip(*(site.terms() for site in sites), strict=True)
    return CapturedAttention(
        **vars(maps), content_terms=content_terms, spatial_terms=spatial_terms, queries=queries
    )


def reported_attention(
    model: nn.Module, pixels: Float[Tensor, "B channels S S"], mask: Bool[Tensor, "B S S"] | None = None
) -> Float[Tensor, "L B H Q K"]:
    """The weights that a model of transformers says it used: what `combined` must be equal to.

    TypeError for another model, ValueError when it computes attention in a way that has no weights to report.
    """
    _sites(model)
    _check_input(pixels, mask)
    if isinstance(model, Detector):
        raise TypeError("Detector reports no weights; use capture_attention, which needs none")
    with _evaluating(model):
        weights = model(pixel_values=pixels, pixel_mask=mask, output_attentions=True).cross_attentions
    if not weights:
        raise ValueError(
            f"{type(model).__name__} attends by {model.config._attn_implementation!r}, which has no "
            'weights to report. Call model.set_attn_implementation("eager"), or use capture_attention'
        )
    return torch.stack(tuple(weights))


def crop_to_valid(maps: AttentionMaps, image: int) -> AttentionMaps:
    """Maps of one picture of the batch without its padding, (L, 1, H, Q, h', w'), to lay over the picture.

    Column j belongs on [j, j + 1] / w' of the picture, row i on [i, i + 1] / h'. The maps still sum to 1.
    ValueError when the valid cells are no rectangle.
    """
    if not 0 <= image < maps.combined.shape[1]:
        raise ValueError(f"crop_to_valid: image {image} of a batch of {maps.combined.shape[1]}")
    grid = maps.combined.shape[-2:]
    valid = torch.ones(grid, dtype=torch.bool) if maps.valid is None else maps.valid[image]
    rows, columns = valid.any(1).nonzero()[:, 0], valid.any(0).nonzero()[:, 0]
    inside = slice(rows[0].item(), rows[-1].item() + 1), slice(columns[0].item(), columns[-1].item() + 1)
    if not valid[inside].all():
        raise ValueError(f"crop_to_valid: the valid cells of image {image} are not a rectangle")
    one = slice(image, image + 1)
    fields = ("content", "spatial", "combined", "content_logits", "spatial_logits")
    cut = {field: getattr(maps, field)[:, one, ..., *inside] for field in fields}
    if isinstance(maps, CapturedAttention):
        found = maps.queries
        cut["queries"] = Queries(
            found.references[:, one], found.boxes[one], found.scores[one], found.labels[one]
        )
    return replace(maps, valid=None, **cut)


def _sites(model: nn.Module) -> list[ConditionalHooks | DetrHooks]:
    """Where queries meet the memory; TypeError when the model is not one that can be read."""
    own = isinstance(model, Detector)
    readable = own or (hasattr(model, "bbox_predictor") and hasattr(model.model, "input_projection"))
    if readable:
        heads = model.config.heads if own else model.config.decoder_attention_heads
        if sites := cross_attentions(model, heads):
            return sites
    why = "no dense cross-attention in its decoder" if readable else "no box head over a decoder"
    raise TypeError(
        f"{type(model).__name__} has {why} that is known here; attention maps can be had of this project's "
        f"Detector and, of transformers, {TRANSFORMERS_MODELS}"
    )


def _check_input(pixels: Tensor, mask: Tensor | None) -> None:
    if pixels.ndim != 4:
        raise ValueError(f"pixels must be a batch (B, channels, height, width), not {tuple(pixels.shape)}")
    expected = (len(pixels), *pixels.shape[-2:])
    if mask is not None and tuple(mask.shape) != expected:
        raise ValueError(f"mask must be {expected}, a value for each pixel, not {tuple(mask.shape)}")
    if mask is not None and not mask.flatten(1).any(1).all():
        raise ValueError("mask: a picture of the batch is nothing but padding; True (or 1) means picture")


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """No gradients and no dropout; afterwards each module is in its own former mode."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        with torch.no_grad():
            model.eval()
            yield
    finally:
        for module, mode in modes:
            module.training = mode


@contextmanager
def _outputs(**modules: nn.Module) -> Iterator[dict[str, object]]:
    """What the named modules return in the passes made meanwhile."""
    seen: dict[str, object] = {}

    def keep(name: str) -> Callable[..., None]:
        return lambda module, given, output: seen.update({name: output})

    with ExitStack() as hooks:
        for name, module in modules.items():
            hooks.callback(module.register_forward_hook(keep(name)).remove)
        yield seen


def _run_own(model: Detector, pixels: Tensor, mask: Tensor | None, layers: int):
    """Size of the feature map, its valid cells, and the queries."""
    mask = None if mask is None else mask.bool()
    with _outputs(features=model.backbone) as seen:
        output = model(pixels, mask)
    stride = model.config.stride
    valid = None if mask is None else mask[:, ::stride, ::stride]  # as the model chooses
    scores, labels = _scores(output.logits[-1], softmax=not model.config.focal)
    return seen["features"].shape[-2:], valid, Queries(output.references, output.boxes[-1], scores, labels)


def _run_transformers(model: nn.Module, pixels: Tensor, mask: Tensor | None, layers: int):
    """Size of the feature map, its valid cells, and the queries."""
    decoder = model.model.decoder
    pointed = hasattr(decoder, "ref_point_head")  # DETR has no references
    points = {"points": decoder.ref_point_head} if pointed else {}
    with _outputs(features=model.model.input_projection, decoded=decoder, **points) as seen:
        output = model(pixel_values=pixels, pixel_mask=mask, return_dict=True)
    h, w = seen["features"].shape[-2:]
    # the choice of pixels that the models make, so that the cells agree
    valid = None if mask is None else nn.functional.interpolate(mask[None].float(), size=(h, w))[0].bool()
    batch, count = output.pred_boxes.shape[:2]
    if hasattr(model.model, "query_refpoint_embeddings"):  # anchors, which the layers move
        references = seen["decoded"].reference_points  # (L, B, Q, 4)
    elif pointed:  # the field `reference_points` of Conditional DETR has its axes permuted (sheet 7.9)
        references = seen["points"].sigmoid().expand(layers, batch, count, 2)
    else:
        references = output.pred_boxes.new_full((layers, batch, count, 2), 0.5)
    scores, labels = _scores(output.logits, softmax=not pointed)
    return (h, w), valid, Queries(references, output.pred_boxes, scores, labels)


def _scores(logits: Float[Tensor, "B Q C"], softmax: bool) -> tuple[Float[Tensor, "B Q"], Int[Tensor, "B Q"]]:
    """Probability of the best class, and that class; the last class of a softmax is no-object."""
    probabilities = logits.softmax(-1)[..., :-1] if softmax else logits.sigmoid()
    scores, labels = probabilities.max(-1)
    return scores, labels
