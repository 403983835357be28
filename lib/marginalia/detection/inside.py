"""Inside one decoder layer of Conditional DETR: its tensors, and what can be measured on them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from .attention import concatenate_halves, conditional_logits, positional_encoding, split_heads
from .detector import Detector
from .queries import Scaling, SpatialQuery


def watch_layer(
    model: Detector, pixels: Float[Tensor, "B channels S S"], layer: int = 1
) -> dict[str, Tensor]:
    """The tensors of one decoder layer in one forward pass, by the symbols of the paper.

    layer: 0 is the first. Keys: o_q, s (before the sigmoid), p_s, f, lambda_q, p_q, c_q, c_k, p_k; after the
    projections q_c, q_s, k_c, k_s and, in the first layer, q_o; per head q, k (content, then spatial), v and
    attention; then attended (after the output projection) and f_next. Conditional DETR Figure 3, sheet 2.3.
    In the first layer lambda_q is all ones, and q and k hold q_o and k_s in their content halves.

    ValueError for a model of another kind, or a layer that it does not have.
    """
    decoder = model.decoder
    _check(model, layer)
    seen: dict[str, Tensor] = {}
    with ExitStack() as hooks, torch.no_grad():
        for handle in _listen(decoder.layers[layer], seen):
            hooks.callback(handle.remove)
        model(pixels)
    queries, heads = decoder.queries, model.config.heads
    with torch.no_grad():
        seen["s"] = queries.point(queries.object_query)[None]
        seen["p_s"] = positional_encoding(seen["s"].sigmoid(), model.config.width, queries.temperature)
        transform = queries.spatial_query.transform.head
        seen["lambda_q"] = transform(seen["f"]) if layer else torch.ones_like(seen["f"])
    content_query = seen["q_c"] + seen["q_o"] if layer == 0 else seen["q_c"]
    content_key = seen["k_c"] + seen["k_s"] if layer == 0 else seen["k_c"]
    spatial_key = seen["k_s"].expand_as(content_key)
    seen["q"] = concatenate_halves(content_query, seen["q_s"], heads)  # (B, H, Q, 2D)
    seen["k"] = concatenate_halves(content_key, spatial_key, heads)  # (B, H, K, 2D)
    seen["v"] = split_heads(seen["v"], heads)  # (B, H, K, D)
    logits = conditional_logits(content_query, content_key, seen["q_s"], spatial_key, heads)
    seen["attention"] = sum(logits).softmax(-1)  # (B, H, Q, K)
    return seen


def _check(model: Detector, layer: int) -> None:
    queries = model.decoder.queries
    query = getattr(queries, "spatial_query", None)
    if not hasattr(queries, "object_query") or type(query) is not SpatialQuery:
        raise ValueError(
            f"model: needs a conditional detector with the spatial query csq, not "
            f"{model.config.kind} with {model.config.spatial_query}"
        )
    if not isinstance(query.transform, Scaling):
        raise ValueError(f"model: needs the transform diagonal, not {model.config.transform}")
    if not 0 <= layer < len(model.decoder.layers):
        raise ValueError(f"layer must be 0 to {len(model.decoder.layers) - 1}, not {layer}")


def _listen(layer: nn.Module, seen: dict[str, Tensor]) -> Iterator[RemovableHandle]:
    """Register hooks that put what passes through a layer into `seen`."""

    def keep(name: str):
        return lambda module, given, output: seen.update({name: output})

    def keep_inputs(module, given):
        f, position, _, memory, cells, _ = given
        seen.update({"f": f, "o_q": position, "c_k": memory, "p_k": cells})

    cross = layer.cross_attention
    yield layer.register_forward_pre_hook(keep_inputs)
    yield layer.register_forward_hook(keep("f_next"))
    yield layer.self_norm.register_forward_hook(keep("c_q"))
    yield cross.register_forward_hook(keep("attended"))
    yield cross.spatial_query.register_forward_pre_hook(lambda module, given: seen.update({"p_q": given[0]}))
    parts = {"q_c": "content_query", "q_s": "spatial_query", "k_c": "content_key", "k_s": "spatial_key"}
    parts |= {"v": "value"} | ({"q_o": "object_query"} if cross.object_query is not None else {})
    for name, part in parts.items():
        yield getattr(cross, part).register_forward_hook(keep(name))


def first_layer_terms(tensors: dict[str, Tensor], heads: int) -> dict[str, Float[Tensor, "#B H Q K"]]:
    """The five terms of the first layer's logits, scaled, by their formulas; their sum is the logits.

    `tensors` are those of `watch_layer` for layer 0. Four are DETR's, the last is the spatial query's.
    """
    symbols = {"c_q": "q_c", "o_q": "q_o", "p_q": "q_s", "c_k": "k_c", "p_k": "k_s"}
    scale = (2 * tensors["q_c"].shape[-1] // heads) ** -0.5
    terms = {}
    for pair in ("c_q · c_k", "c_q · p_k", "o_q · c_k", "o_q · p_k", "p_q · p_k"):
        query, key = (split_heads(tensors[symbols[symbol]], heads) for symbol in pair.split(" · "))
        terms[pair] = query @ key.mT * scale
    return terms


def kernel_departures(
    model: Detector,
    pixels: Float[Tensor, "B channels S S"],
    layer: int,
    grid: tuple[int, int],
    cells: int = 2,
) -> tuple[dict[str, Float[Tensor, "B H Q"]], Bool[Tensor, " Q"]]:
    """How far a layer's spatial maps depart from two properties of the code that is not projected.

    Every query keeps its lambda_q and has its reference point moved by `cells` of the `grid` (h, w).
    - shift: moved right and down, the standard deviation over the cells of (new logits - old logits moved
      along) over that of the old; 0 if the map moves with its point. Only cells that both maps have count.
    - row sums: moved right only, the share of the map's weight that changes rows; 0 without projections.

    Also returns which queries have room for the move inside the picture. Raises as `watch_layer`.
    """
    seen, heads = watch_layer(model, pixels, layer), model.config.heads
    cross = model.decoder.layers[layer].cross_attention
    right, down = cells / grid[1], cells / grid[0]
    key = split_heads(seen["k_s"], heads).mT * (2 * model.config.width // heads) ** -0.5

    def logits(dx: float, dy: float) -> Float[Tensor, "B H Q h w"]:
        points = seen["s"].sigmoid() + torch.tensor([dx, dy])
        code = positional_encoding(points, model.config.width, model.decoder.queries.temperature)
        with torch.no_grad():
            query = cross.spatial_query(seen["lambda_q"] * code)
        return (split_heads(query, heads) @ key).unflatten(-1, grid)

    here, there, beside = logits(0, 0), logits(right, down), logits(right, 0)
    old, new = here[..., :-cells, :-cells].flatten(-2), there[..., cells:, cells:].flatten(-2)
    rows = [part.flatten(-2).softmax(-1).unflatten(-1, grid).sum(-1) for part in (here, beside)]
    measures = {"shift": (new - old).std(-1) / old.std(-1), "row sums": (rows[0] - rows[1]).abs().sum(-1) / 2}
    return measures, (seen["s"].sigmoid()[0] + torch.tensor([right, down]) < 1).all(-1)
