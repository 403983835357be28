"""Score the heads of a trained reaction model at mapping atoms, and ask which tools find that head.

`python data/recipes/measure_reactions.py` writes data/measured/composition/reactions_*.csv in about ten
minutes on one core. It needs the wheel of `marginalia.heads.reactions`, which `make` downloads.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from marginalia import store
from marginalia.heads.inspection import (
    ablate,
    ablation_effects,
    composition_scores,
    head_similarity,
    head_weights,
    projection_kernel,
)
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
from marginalia.training import write_table

KNOWN = (7, HEAD)  # layer and head, from 0; the layer is one of ten that do as well
DIRECTIONS = ("to reactants", "to product")
SHOWN = 15  # the reaction whose attention is written out
DRAWS, COUNTS = 1000, (1, 2, 4, 8, 16, 32, 48)


def in_order(reaction: Reaction) -> bool:
    """Whether the product is written in the order of the reactants."""
    return list(reaction.atoms) == sorted(reaction.atoms)


def by_order(reaction: Reaction) -> np.ndarray:
    """Hits of a rule that knows order only: the n-th atom of an element is the n-th of it before (N,)."""
    before, after = (
        [token.upper() for token in tokenise(side) if atoms([token])] for side in reaction.text.split(">>")
    )
    place = [after[:i].count(element) for i, element in enumerate(after)]
    same = {element: [k for k, other in enumerate(before) if other == element] for element in after}
    guess = [same[element][n] for element, n in zip(after, place, strict=True)]
    return np.equal(guess, reaction.atoms)


def accuracy(model: ReactionModel, reactions: list[Reaction]) -> tuple[list[dict], list[dict]]:
    """Rows of heads and rows of baselines. Intervals: reactions are drawn again, with all their atoms."""
    written = np.array(["as the reactants" if in_order(r) else "amine first" for r in reactions])
    maps = [model.attention(reaction.text) for reaction in reactions]
    heads, baselines = [], []
    for direction in DIRECTIONS:
        found = [atom_hits(a, reaction, direction) for a, reaction in zip(maps, reactions, strict=True)]
        hits = np.stack([each.sum(0).numpy() for each, _ in found])  # (reactions, L, H)
        sizes = np.array([len(chance) for _, chance in found])
        for part in ("all", "as the reactants", "amine first"):
            own = (written == part) | (part == "all")
            about = {"direction": direction, "product": part, "atoms": sizes[own].sum()}
            for layer, head in np.ndindex(hits.shape[1:]):
                each = hits[own, layer, head]
                low, high = bootstrap(ratio_of_sums, each, sizes[own])
                row = about | {"layer": layer, "head": head, "accuracy": each.sum() / sizes[own].sum()}
                heads.append(row | {"low": low, "high": high})
            chance = torch.cat([c for (_, c), mine in zip(found, own, strict=True) if mine]).mean().item()
            order = np.concatenate([by_order(r) for r, mine in zip(reactions, own, strict=True) if mine])
            levels = hits[own].sum(0) / sizes[own].sum()
            row = about | {"chance": chance, "order": order.mean(), "median": np.median(levels)}
            baselines.append(row | {"worst": levels.min(), "best": levels.max()})
    return heads, baselines


def map_rows(model: ReactionModel, reaction: Reaction) -> list[dict]:
    """Attention from atoms of the product to atoms of the reactants, all heads of the known layer."""
    tokens = tokenise(reaction.text)
    places, arrow = np.array(atoms(tokens)), tokens.index(">>")
    product, reactant = places[places > arrow], places[places < arrow]
    maps = model.attention(reaction.text)[KNOWN[0], :, 1:-1, 1:-1].numpy()[:, product][:, :, reactant]
    names = ("head", "query", "key")
    return [dict(zip(names, index, strict=True)) | {"weight": w} for index, w in np.ndenumerate(maps)]


def similarity(model: ReactionModel, reactions: list[Reaction]) -> np.ndarray:
    """Mean cosine of a head's map to those of the heads of other numbers, for each reaction (N, L, H)."""
    found = []
    for reaction in reactions:
        maps = model.attention(reaction.text)  # (L, H, T, T)
        L, H = maps.shape[:2]
        cosine = head_similarity(maps.flatten(0, 1)[None]).unflatten(0, (L, H)).unflatten(2, (L, H))
        cosine = cosine.mean(2)  # (L, H, H) to each number, over all layers
        others = cosine.sum(-1) - cosine.diagonal(dim1=1, dim2=2)
        found.append((others / (H - 1)).numpy())
    return np.stack(found)


def weight_scores(model: ReactionModel) -> Iterator[tuple[str, np.ndarray]]:
    """Tools that read weights: the mean of each head over all it is compared with, (L, H) with NaN."""
    weights = head_weights(model.network)
    for name, way in (("composition", composition_scores), ("projection kernel", projection_kernel)):
        for kind in "qkv":
            scores = way(weights, kind).numpy()  # (L, H, L, H)
            yield f"{kind.upper()} {name}, writes", np.nanmean(scores[:-1], axis=(2, 3))
            yield f"{kind.upper()} {name}, reads", np.nanmean(scores[..., 1:, :], axis=(0, 1))


def upstream(model: ReactionModel, reactions: list[Reaction]) -> Iterator[dict]:
    """What scores say that the known head reads of each head, and its accuracy without that head."""
    weights, (layer, known) = head_weights(model.network), KNOWN
    ways = {"composition": composition_scores, "kernel": projection_kernel}
    scores = {
        f"{kind}_{name}": way(weights, kind)[0, :, 1, known] for name, way in ways.items() for kind in "qk"
    }
    for head in range(weights.W_O.shape[1]):
        with ablate(model.network, [(before, head) for before in range(layer)]):
            hits = [atom_hits(model.attention(r.text), r)[0][:, layer, known].numpy() for r in reactions]
        right, sizes = (np.array([way(each) for each in hits]) for way in (np.sum, len))
        low, high = bootstrap(ratio_of_sums, right, sizes)
        row = {"head": head, "accuracy": right.sum() / sizes.sum(), "low": low, "high": high}
        yield row | {name: each[head].item() for name, each in scores.items()}


@torch.no_grad()
def ablation(model: ReactionModel, reactions: list[Reaction]) -> tuple[np.ndarray, np.ndarray]:
    """Nats of masked loss that a head is worth: in one layer (N, L, H), in all layers at once (N, H)."""
    single, everywhere = [], []
    for reaction in reactions:
        loss = masked_loss(model, reaction)
        effects = ablation_effects(model.network, loss)
        single.append(effects.numpy())
        before, (L, H) = loss(model.network), effects.shape
        row = []
        for head in range(H):
            with ablate(model.network, [(layer, head) for layer in range(L)]):
                row.append((loss(model.network) - before).item())
        everywhere.append(row)
        print(f"{len(single)} of {len(reactions)}: {effects[KNOWN]:.3f}", flush=True)
    return np.stack(single), np.array(everywhere)


def rank(scores: np.ndarray, axis: int = -1) -> np.ndarray:
    """1 for the highest score along the axis."""
    return 1 + (-scores).argsort(axis).argsort(axis)


def found_by(tool: str, scores: np.ndarray) -> Iterator[dict]:
    """Rows by number of reactions: how often head 5 of some layer, and that of layer 7, comes first.

    scores: one row a reaction (N, L, H) or (N, H), the higher the more a tool points to a head.
    """
    flat = scores.reshape(len(scores), -1)  # (N, heads)
    number = np.arange(flat.shape[1]) % scores.shape[-1]
    known = np.ravel_multi_index(KNOWN, scores.shape[1:]) if scores.ndim == 3 else HEAD
    rng = np.random.default_rng(0)
    for count in COUNTS:
        means = np.stack([flat[rng.integers(len(flat), size=count)].mean(0) for _ in range(DRAWS)])
        ranks = rank(means)
        row = {"tool": tool, "among": flat.shape[1], "reactions": count}
        row |= {"head_5_first": (ranks[:, number == HEAD].min(1) == 1).mean()}
        row |= {"known_first": (ranks[:, known] == 1).mean(), "known_rank": np.median(ranks[:, known])}
        yield row


def tools(model: ReactionModel, reactions: list[Reaction]) -> tuple[list[dict], list[dict]]:
    """Rows of scores by tool and head, and rows of `found_by` for tools that look at reactions."""
    single, everywhere = ablation(model, reactions)
    seen = {
        "unlike other heads": -similarity(model, reactions),
        "ablation": single,
        "ablation in all layers": everywhere,
    }
    rows, needed = [], []
    for tool, scores in seen.items():
        mean = scores.mean(0)
        for index, place in zip(np.ndindex(mean.shape), rank(mean.ravel()), strict=True):
            interval = bootstrap(np.mean, scores[:, *index])
            rows.append(
                scored(tool, index, mean[index], place) | dict(zip(("low", "high"), interval, strict=True))
            )
        needed += found_by(tool, scores)
    for tool, scores in weight_scores(model):
        # layers share their weights: what is left is one score a number
        mean = np.nanmean(scores, axis=0)
        rows += [scored(f"{tool}", (h,), mean[h], place) for h, place in enumerate(rank(mean))]
    return rows, needed


def scored(tool: str, index: tuple[int, ...], score: float, place: int) -> dict:
    """A row; the layer is empty where a score is for a number in all layers."""
    layer = index[0] if len(index) == 2 else None
    return {"tool": tool, "layer": layer, "head": index[-1], "score": score, "rank": place}


NOTES = {
    "accuracy": """\
Share of atoms at which a head's largest attention, among atoms of the same element, hits the true atom.
48 reactions by rule (marginalia.heads.reactions.amide_reactions); low, high: 95 % bootstrap over reactions.
direction: from atoms of the product to the reactants, or back. product: how it is written.
layer and head are counted from 0; the twelve layers share their weights.
""",
    "baselines": """\
For reactions_accuracy.csv: chance is one over the number of atoms of the element, order a rule that knows the
order of atoms only; median, worst and best of the 96 heads.
""",
    "map": f"""\
Attention of layer {KNOWN[0]} from atom `query` of the product to atom `key` of the reactants, from 0, in
{amide_reactions()[SHOWN].text}
""",
    "tools": """\
How much each tool points to each head; rank 1 is the highest score of that tool. Layer empty: all layers.
unlike other heads: minus the mean cosine of its attention maps to those of the heads of other numbers.
ablation: nats of masked-atom loss when z is its mean in one layer, or in all layers at once.
composition, projection kernel: mean over the heads of later layers that it writes for, or of earlier layers
that it reads from. low, high: 95 % bootstrap over the 48 reactions; weights know no reactions.
""",
    "upstream": f"""\
accuracy: share of atoms that head {KNOWN[1]} of layer {KNOWN[0]} maps rightly when z of a head is its mean
in all layers before; low, high: 95 % bootstrap over the 48 reactions.
q_, k_: composition score and projection kernel of that head, as writer, with head {KNOWN[1]}, as reader.
""",
    "needed": f"""\
Share of {DRAWS} draws of so many of the 48 reactions in which a tool ranks head 5 of some layer first
(head_5_first) or that of layer 7 (known_first), and the median rank of the latter (known_rank).
""",
}


def write(folder: Path, name: str, rows: list[dict]) -> None:
    """A table with what it is above."""
    about = NOTES[name] + "Model: ALBERT of rxnmapper 0.4.3 (MIT), one trained network.\n"
    about += "Written by: python data/recipes/measure_reactions.py"
    frame = pd.DataFrame(rows)
    frame = frame.astype({"layer": "Int64"}) if "layer" in frame else frame
    write_table(folder / f"reactions_{name}.csv", about, frame, "%.4g")


def main() -> None:
    """All tables."""
    torch.set_num_threads(1)
    out, model, reactions = (
        store.root() / "measured" / "composition",
        load_reaction_model(),
        amide_reactions(),
    )
    heads, baselines = accuracy(model, reactions)
    write(out, "accuracy", heads)
    write(out, "baselines", baselines)
    write(out, "map", map_rows(model, reactions[SHOWN]))
    write(out, "upstream", list(upstream(model, reactions)))
    rows, needed = tools(model, reactions)
    write(out, "tools", rows)
    write(out, "needed", needed)


if __name__ == "__main__":
    main()
