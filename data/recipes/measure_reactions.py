"""Score the heads of a trained reaction model at mapping atoms, and ask which tools find that head.

`python data/recipes/measure_reactions.py` writes data/measured/composition/reactions_*.csv in about ten
minutes on one core. It needs the wheel of `marginalia.heads.reactions`, which `make` downloads.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import product
from typing import NamedTuple

import numpy as np
import torch

from marginalia import store, training
from marginalia.heads import inspection
from marginalia.heads.inspection import ablate, ablation_effects, head_similarity, head_weights
from marginalia.heads.reactions import (
    HEAD,
    Reaction,
    ReactionModel,
    amide_reactions,
    atom_hits,
    atoms,
    load_reaction_model,
    masked_loss,
    tokenise,
)
from marginalia.statistics import bootstrap, ratio_of_sums

KNOWN = (7, HEAD)  # layer and head, from 0; the layer is one of ten that do as well
SHOWN = 15  # the reaction whose attention is written out
DRAWS, COUNTS = 1000, (1, 2, 4, 8, 16, 32, 48)
WAYS = {"composition": inspection.composition_scores, "projection kernel": inspection.projection_kernel}
SOURCE = "Model: ALBERT of rxnmapper 0.4.3 (MIT), one trained network.\n"


def written(reaction: Reaction) -> str:
    """How the product is written."""
    return "as the reactants" if list(reaction.atoms) == sorted(reaction.atoms) else "amine first"


def by_order(reaction: Reaction) -> np.ndarray:
    """Hits of a rule that knows order only: the n-th atom of an element is the n-th of it before (N,)."""
    before, after = (
        [token.upper() for token in tokenise(side) if atoms([token])] for side in reaction.text.split(">>")
    )
    same = {element: [k for k, other in enumerate(before) if other == element] for element in after}
    guess = [same[element][after[:i].count(element)] for i, element in enumerate(after)]
    return np.equal(guess, reaction.atoms)


class Part(NamedTuple):
    """Some of the reactions: `about` begins their rows."""

    about: dict
    hits: np.ndarray  # (N, L, H)
    sizes: np.ndarray  # (N,) atoms
    rules: dict[str, float]  # accuracy without a model


def parts(model: ReactionModel, reactions: list[Reaction]) -> Iterator[Part]:
    """Both directions, all reactions and by how the product is written."""
    maps = [model.attention(reaction.text) for reaction in reactions]
    for direction in ("to reactants", "to product"):
        found = [atom_hits(a, reaction, direction) for a, reaction in zip(maps, reactions, strict=True)]
        for part in ("all", "as the reactants", "amine first"):
            own = [k for k, reaction in enumerate(reactions) if part in ("all", written(reaction))]
            hits, chance = zip(*(found[k] for k in own), strict=True)
            order = np.concatenate([by_order(reactions[k]) for k in own])
            about = {"direction": direction, "product": part, "atoms": len(order)}
            rules = {"chance": torch.cat(chance).mean().item(), "order": order.mean()}
            yield Part(about, np.stack([each.sum(0) for each in hits]), np.array([*map(len, hits)]), rules)


def accuracy(given: list[Part]) -> Iterator[dict]:
    """Share of atoms at which a head's largest attention, among atoms of the same element, hits the true
    atom. 48 reactions by rule (marginalia.heads.reactions.amide_reactions); low, high: 95 % bootstrap over
    reactions. direction: from atoms of the product to the reactants, or back. product: how it is written.
    layer and head are counted from 0; the twelve layers share their weights.
    """
    for about, hits, sizes, _ in given:
        for layer, head in np.ndindex(hits.shape[1:]):
            low, high = bootstrap(ratio_of_sums, hits[:, layer, head], sizes)
            level = hits[:, layer, head].sum() / sizes.sum()
            yield about | {"layer": layer, "head": head, "accuracy": level, "low": low, "high": high}


def baselines(given: list[Part]) -> Iterator[dict]:
    """For reactions_accuracy.csv: chance is one over the number of atoms of the element, order a rule
    that knows the order of atoms only; median, worst and best of the 96 heads.
    """
    for about, hits, sizes, rules in given:
        levels = hits.sum(0) / sizes.sum()
        yield about | rules | {"median": np.median(levels), "worst": levels.min(), "best": levels.max()}


def attention_map(model: ReactionModel, reaction: Reaction) -> Iterator[dict]:
    """Attention of layer 7 from atom `query` of the product to atom `key` of the reactants, from 0."""
    tokens = tokenise(reaction.text)
    places, arrow = np.array(atoms(tokens)), tokens.index(">>")
    maps = model.attention(reaction.text)[KNOWN[0], :, 1:-1, 1:-1].numpy()
    maps = maps[:, places[places > arrow]][:, :, places[places < arrow]]
    for (head, query, key), weight in np.ndenumerate(maps):
        yield {"head": head, "query": query, "key": key, "weight": weight}


def upstream(model: ReactionModel, reactions: list[Reaction]) -> Iterator[dict]:
    """accuracy: share of atoms that head 5 of layer 7 maps rightly when z of a head is its mean in all layers
    before. composition, kernel: score of Q of that head, as writer, with head 5, as reader.
    """
    weights, (layer, known) = head_weights(model.network), KNOWN
    scores = {f"q_{name.split()[-1]}": way(weights, "q")[0, :, 1, known] for name, way in WAYS.items()}
    for head in range(weights.W_O.shape[1]):
        with ablate(model.network, [(before, head) for before in range(layer)]):
            hits = [atom_hits(model.attention(r.text), r)[0][:, layer, known] for r in reactions]
        row = {"head": head, "accuracy": torch.cat(hits).double().mean().item()}
        yield row | {name: each[head].item() for name, each in scores.items()}


def similarity(model: ReactionModel, reaction: Reaction) -> np.ndarray:
    """Mean cosine of a head's map to those of the heads of other numbers (L, H)."""
    maps = model.attention(reaction.text)  # (L, H, T, T)
    L, H = maps.shape[:2]
    cosine = head_similarity(maps.flatten(0, 1)[None]).unflatten(0, (L, H)).unflatten(2, (L, H))
    cosine = cosine.mean(2)  # (L, H, H) to each number, over all layers
    return ((cosine.sum(-1) - cosine.diagonal(dim1=1, dim2=2)) / (H - 1)).numpy()


@torch.no_grad()
def ablation(model: ReactionModel, reaction: Reaction) -> tuple[np.ndarray, np.ndarray]:
    """Nats of masked loss that a head is worth: in one layer (L, H), in all layers at once (H,)."""
    loss = masked_loss(model, reaction)
    single, everywhere = ablation_effects(model.network, loss).numpy(), []
    for head in range(single.shape[1]):
        with ablate(model.network, [(layer, head) for layer in range(len(single))]):
            everywhere.append(loss(model.network).item())
    return single, np.array(everywhere) - loss(model.network).item()


def scores_of_tools(model: ReactionModel, reactions: list[Reaction]) -> dict[str, np.ndarray]:
    """By tool, the higher the more it points to a head: a row a reaction, or one (N, L, H) or (N, H)."""
    single, everywhere = zip(*(ablation(model, reaction) for reaction in reactions), strict=True)
    unlike = [-similarity(model, reaction) for reaction in reactions]
    seen = {"unlike other heads": unlike, "ablation": single, "ablation in all layers": everywhere}
    weights = head_weights(model.network)
    for (name, way), kind in product(WAYS.items(), "qkv"):
        scores = way(weights, kind).numpy()  # (L, H, L, H)
        # layers share their weights: what is left is one score a number
        writes, reads = np.nanmean(scores[:-1], axis=(2, 3)), np.nanmean(scores[..., 1:, :], axis=(0, 1))
        seen[f"{kind.upper()} {name}, writes"] = writes.mean(0, keepdims=True)
        seen[f"{kind.upper()} {name}, reads"] = reads.mean(0, keepdims=True)
    return {tool: np.stack(scores) for tool, scores in seen.items()}


def rank(scores: np.ndarray) -> np.ndarray:
    """1 for the highest score along the last axis."""
    return 1 + (-scores).argsort(-1).argsort(-1)


def tools(seen: dict[str, np.ndarray]) -> Iterator[dict]:
    """How much each tool points to each head; rank 1 is the highest score of that tool. Layer empty: all.
    unlike other heads: minus the mean cosine of its attention maps to those of the heads of other numbers.
    ablation: nats of masked-atom loss when z is its mean in one layer, or in all layers at once.
    composition, projection kernel: mean over the heads of later layers that it writes for, or of earlier
    layers that it reads from. low, high: 95 % bootstrap over the 48 reactions; weights know no reactions.
    """
    for tool, scores in seen.items():
        mean = scores.mean(0)
        for index, place in zip(np.ndindex(mean.shape), rank(mean.ravel()), strict=True):
            low, high = bootstrap(np.mean, scores[:, *index])
            row = {"tool": tool, "layer": index[0] if len(index) == 2 else None, "head": index[-1]}
            yield row | {"score": mean[index], "rank": place, "low": low, "high": high}


def needed(seen: dict[str, np.ndarray]) -> Iterator[dict]:
    """Share of 1000 draws of so many of the 48 reactions in which a tool ranks head 5 of some layer first."""
    for tool, scores in ((tool, scores) for tool, scores in seen.items() if len(scores) > 1):
        flat, rng = scores.reshape(len(scores), -1), np.random.default_rng(0)  # (N, heads)
        for count in COUNTS:
            means = [flat[rng.integers(len(flat), size=count)].mean(0) for _ in range(DRAWS)]
            first = np.argmax(means, axis=1) % scores.shape[-1] == HEAD
            yield {"tool": tool, "reactions": count, "head_5_first": first.mean()}


def write(name: str, way: Callable, rows: Iterable[Mapping], more: str = "") -> None:
    """data/measured/composition/NAME.csv: above the rows, the docstring of what made them, and `more`."""
    about = f"{inspect.getdoc(way)}\n{more}Written by: python data/recipes/measure_reactions.py"
    path = store.root() / "measured" / "composition" / f"{name}.csv"
    training.write_table(path, about, list(rows), "%.4g")
    print(name, flush=True)


def main() -> None:
    """All tables."""
    torch.set_num_threads(1)
    model, reactions = load_reaction_model(), amide_reactions()
    given, shown = list(parts(model, reactions)), reactions[SHOWN]
    write("reactions_accuracy", accuracy, accuracy(given), SOURCE)
    write("reactions_baselines", baselines, baselines(given), SOURCE)
    write("reactions_map", attention_map, attention_map(model, shown), f"Reaction: {shown.text}\n{SOURCE}")
    write("reactions_upstream", upstream, upstream(model, reactions), SOURCE)
    seen = scores_of_tools(model, reactions)
    write("reactions_tools", tools, tools(seen), SOURCE)
    write("reactions_needed", needed, needed(seen), SOURCE)


if __name__ == "__main__":
    main()
