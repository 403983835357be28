"""Inside one decoder layer of Conditional DETR: its tensors, and what can be measured on them."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..record import record
from .attention import head_products, positional_encoding, split_heads
from .detector import Detector

STEP = 2  # cells by which `kernel_departures` moves reference points


@torch.no_grad()
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
    parts = model.config.kind, model.config.spatial_query, model.config.transform
    if parts != ("conditional", "csq", "diagonal"):
        raise ValueError(
            f"model: needs a conditional detector with csq and the transform diagonal, not {', '.join(parts)}"
        )
    place = f"decoder.layers.{layer}"
    cross = f"{place}.cross_attention"
    with record(model, [place, cross, f"{cross}.*"]) as seen:
        model(pixels)

    def output(name: str) -> Tensor:
        return seen[name][0].output

    # what enters the cross-attention, and its halves after projection
    given = {"c_q": "content", "o_q": "position", "p_q": "spatial", "c_k": "memory", "p_k": "key_encoding"}
    halves = {"q_c": "content_query", "q_s": "spatial_query", "k_c": "content_key", "k_s": "spatial_key"}
    x = {symbol: seen[cross][0].inputs[name] for symbol, name in given.items()}
    x |= {symbol: output(f"{cross}.{name}") for symbol, name in halves.items()}
    x["f"] = seen[place][0].inputs["f"]
    if layer == 0:
        x["q_o"] = output(f"{cross}.object_query")

    # what p_q is made of: p_q = lambda_q p_s, and p_s is the positional encoding of the reference point s
    queries = model.decoder.queries
    x["s"] = queries.point(queries.object_query)[None]  # (1, Q, 2)
    x["p_s"] = positional_encoding(x["s"].sigmoid(), model.config.width, queries.temperature)
    x["lambda_q"] = queries.spatial_query.transform.head(x["f"]) if layer else torch.ones_like(x["f"])

    # the dot product, per head: q (B, H, Q, 2D), k (B, H, K, 2D) and v (B, H, K, D)
    x |= {name: seen[f"{cross}.dot_product"][0].inputs[name] for name in "qkv"}
    x["attention"] = (x["q"] @ x["k"].mT * x["q"].shape[-1] ** -0.5).softmax(-1)  # (B, H, Q, K)
    return x | {"attended": output(cross), "f_next": output(place)}


def first_layer_terms(tensors: dict[str, Tensor], heads: int) -> dict[str, Float[Tensor, "#B H Q K"]]:
    """The five terms of the first layer's logits, scaled, by their formulas; their sum is the logits.

    `tensors` are those of `watch_layer` for layer 0. Four are DETR's, the last is the spatial query's.
    """
    symbols = {"c_q": "q_c", "o_q": "q_o", "p_q": "q_s", "c_k": "k_c", "p_k": "k_s"}
    scale = (2 * tensors["q_c"].shape[-1] // heads) ** -0.5
    terms = {}
    for pair in ("c_q · c_k", "c_q · p_k", "o_q · c_k", "o_q · p_k", "p_q · p_k"):
        query, key = (tensors[symbols[symbol]] for symbol in pair.split(" · "))
        terms[pair] = head_products(query, key, heads) * scale
    return terms


@torch.no_grad()
def kernel_departures(
    model: Detector,
    pixels: Float[Tensor, "B channels S S"],
    layer: int,
    grid: tuple[int, int],
) -> tuple[dict[str, Float[Tensor, "B H Q"]], Bool[Tensor, " Q"]]:
    """How far a layer's spatial maps depart from two properties of positional encodings without projections.

    Every query keeps its lambda_q and has its reference point moved by two cells of the `grid` (h, w).
    - shift: moved right and down, the standard deviation over the cells of (new logits - old logits moved
      along) over that of the old; 0 if the map moves with its point. Only cells that both maps have count.
    - row sums: moved right only, the share of the map's weight that changes rows; 0 without projections.

    Also returns which queries have room for the move inside the image. Raises as `watch_layer`.
    """
    seen, heads = watch_layer(model, pixels, layer), model.config.heads
    cross = model.decoder.layers[layer].cross_attention
    right, down = STEP / grid[1], STEP / grid[0]
    key = split_heads(seen["k_s"], heads).mT * (2 * model.config.width // heads) ** -0.5

    def logits(dx: float, dy: float) -> Float[Tensor, "B H Q h w"]:
        points = seen["s"].sigmoid() + torch.tensor([dx, dy])
        encoding = positional_encoding(points, model.config.width, model.decoder.queries.temperature)
        query = cross.spatial_query(seen["lambda_q"] * encoding)
        return (split_heads(query, heads) @ key).unflatten(-1, grid)

    here, there, beside = logits(0, 0), logits(right, down), logits(right, 0)
    # the old logits moved along lie under the new ones, but for the cells that one of the two lacks
    old, new = here[..., :-STEP, :-STEP].flatten(-2), there[..., STEP:, STEP:].flatten(-2)
    # weight of every row, before and after the move
    rows = [part.flatten(-2).softmax(-1).unflatten(-1, grid).sum(-1) for part in (here, beside)]
    measures = {"shift": (new - old).std(-1) / old.std(-1), "row sums": (rows[0] - rows[1]).abs().sum(-1) / 2}
    return measures, (seen["s"].sigmoid()[0] + torch.tensor([right, down]) < 1).all(-1)
