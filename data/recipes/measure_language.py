"""What the heads of the language models do: patterns, ablations, compositions, and scores that predict them.

`python data/recipes/measure_language.py` reads the models of `train_language` and writes
data/measured/composition/language_*.csv, in about a quarter of an hour on one core.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from unittest.mock import patch

import pandas as pd
import torch
from torch import Tensor

from marginalia import store, training
from marginalia.heads import BRANCHES, CompositionTerms, TinyTransformer
from marginalia.heads.inspection import (
    ablation_effects,
    composition_scores,
    effective_rank,
    head_similarity,
    head_weights,
    pairwise_ablation,
    pattern_scores,
    projection_kernel,
)
from marginalia.heads.language import LENGTH, token_losses
from marginalia.record import evaluating, record
from marginalia.statistics import rank_correlation
from train_language import RUNS, Run, probes, tokens

TEXTS, ROWS = ("held_out", "random"), 12  # sequences of each that are looked at
HALF = LENGTH // 2


def trained(run: Run) -> TinyTransformer:
    """A run's model."""
    model = TinyTransformer(run.config)
    model.load_state_dict(training.load(run.weights)[0])
    return model.eval()


def loss_on(text: str, sequences: Tensor):
    """Mean loss on text, or on what comes a second time."""
    part = slice(HALF, None) if text != "held_out" else slice(None)
    return lambda model: token_losses(model, sequences)[:, part].mean()


def maps(model: TinyTransformer, sequences: Tensor) -> dict[str, Tensor]:
    """Attention (L, B, H, T, T) from raw scores, after pre-compose (the weights), and after post-compose.

    Composed weights are divided by the sum of their sizes, as they do not add up to 1.
    """
    with evaluating(model), record(model, ["*.pre", "*.post"]) as seen:
        model(sequences[:, :-1])
    pre, post = ([c[0] for n, c in seen.items() if n.endswith(part)] for part in ("pre", "post"))
    hidden = torch.ones(LENGTH, LENGTH, dtype=torch.bool).triu(1)
    raw = torch.stack([call.inputs["A"].masked_fill(hidden, -torch.inf).softmax(-1) for call in pre])
    composed = torch.stack([call.output for call in post])
    gain = composed.abs().sum(-1, keepdim=True)
    return {"raw": raw, "weights": torch.stack([c.inputs["A"] for c in post]), "composed": composed / gain}


def heads_of(model: TinyTransformer, sequences: dict[str, Tensor]) -> Iterator[dict]:
    """Share of attention on the token before (text) and on what followed the first time (repeats)."""
    seen = {text: maps(model, sequences[text]) for text in TEXTS}
    for kind, layer in product(("raw", "weights", "composed"), range(3)):
        scores = [
            pattern_scores(seen[text][kind][layer], sequences[text][:, :-1])[name].abs()
            for text, name in (("held_out", "previous token"), ("random", "induction"))
        ]
        alike = head_similarity(seen["held_out"][kind][layer])
        others = (alike.sum(1) - 1) / (len(alike) - 1)
        for head in range(8):
            row = {"map": kind, "layer": layer, "head": head}
            yield row | {
                "previous": scores[0][head],
                "induction": scores[1][head],
                "similarity": others[head],
            }


def ablations(model: TinyTransformer, sequences: dict[str, Tensor]) -> Iterator[dict]:
    """What each head, and each part of each composition, is worth: how much the loss grows without it."""
    for text in TEXTS:
        loss = loss_on(text, sequences[text])
        for how in ("zero", "mean"):
            effects = ablation_effects(model, loss, how)
            for layer, head in product(range(3), range(8)):
                part = f"head {head}, {how}"
                yield {"text": text, "layer": layer, "part": part, "effect": effects[layer, head].item()}
        if model.config.composition.pre:
            before = without(model, loss, "layers.0.attention.pre", ())
            for layer, where in product(range(3), ("pre", "post")):
                name = f"layers.{layer}.attention.{where}"
                for part, branches in {"all": BRANCHES[1:], **{b: (b,) for b in BRANCHES[1:]}}.items():
                    effect = without(model, loss, name, branches) - before
                    yield {"text": text, "layer": layer, "part": f"{where}: {part}", "effect": effect}


def without(model: TinyTransformer, loss, name: str, branches: tuple[str, ...]) -> float:
    """Loss with some branches of one composition left out."""
    composer = model.get_submodule(name)
    forward = composer.forward

    def less(A: Tensor, terms: CompositionTerms) -> Tensor:
        return forward(A, terms.without(*branches))

    with evaluating(model), patch.object(composer, "forward", less):
        return loss(model).item()


def spectra(model: TinyTransformer, sequences: dict[str, Tensor]) -> Iterator[dict]:
    """Singular values of the mean C over pairs, and how much of C - I that mean is.

    Pairs: the token before, all, what followed the first time, others in the same sequences.
    """
    if not model.config.composition.pre:
        return
    for text in TEXTS:
        with evaluating(model), record(model, ["*.pre", "*.post"]) as seen:
            model(sequences[text][:, :-1])
        i = torch.arange(HALF, LENGTH)
        pairs = {  # "all": every 13th of those that the mask allows
            "held_out": {"the token before": (i, i - 1), "all": torch.tril_indices(LENGTH, LENGTH)[:, ::13]},
            "random": {"induction": (i, i - HALF + 1), "other": (i, i - HALF // 2)},
        }
        for (name, calls), (pair, (i, j)) in product(seen.items(), pairs[text].items()):
            C = calls[0].inputs["terms"].matrix(i, j)  # (B, P, H, H)
            values = torch.linalg.svdvals(C.mean((0, 1)))
            row = {"layer": int(name.split(".")[1]), "where": name.split(".")[-1], "pairs": pair}
            row |= {f"sigma_{k}": value for k, value in enumerate(values.tolist(), 1)}
            change = C - torch.eye(C.shape[-1])
            static = change.mean((0, 1)).square().sum() / change.square().sum((-2, -1)).mean()
            yield row | {"effective_rank": effective_rank(change).mean(), "static": static}


def interactions(model: TinyTransformer, sequences: dict[str, Tensor]) -> Iterator[dict]:
    """For each pair of heads of different layers: what their weights say, and what ablating both shows."""
    weights = head_weights(model)
    scores = {f"{kind}-composition": composition_scores(weights, kind) for kind in "qkv"}
    scores |= {f"{kind}-kernel": projection_kernel(weights, kind) for kind in "qkv"}
    pairs = [((a, m), (b, n)) for a, b in ((0, 1), (0, 2), (1, 2)) for m, n in product(range(8), range(8))]
    effects = {
        text: pairwise_ablation(model, loss_on(text, sequences[text]), pairs, "mean") for text in TEXTS
    }
    for k, ((a, m), (b, n)) in enumerate(pairs):
        row = {"layer_1": a, "head_1": m, "layer_2": b, "head_2": n}
        row |= {name: score[a, m, b, n].item() for name, score in scores.items()}
        yield row | {f"interaction_{text}": effects[text][k].item() for text in TEXTS}


def predictions(pairs: pd.DataFrame) -> Iterator[dict]:
    """Rank correlation of each score with the size of the interaction, within pairs of layers."""
    for (run, text), score in product(
        product(pairs["run"].unique(), TEXTS), [c for c in pairs if c.endswith(("composition", "kernel"))]
    ):
        own = pairs[pairs["run"] == run]
        layers = 10 * own["layer_1"] + own["layer_2"]
        size = own[f"interaction_{text}"].abs()
        found = rank_correlation(own[score].to_numpy(), size.to_numpy(), layers.to_numpy())
        yield {"run": run, "text": text, "score": score} | found._asdict()


NOTES = {
    "heads": """\
map: attention from raw scores, after pre-compose (weights), after post-compose (divided by the sum of sizes).
previous: mean attention to the token before, on held-out text. induction: to what followed the same token the
first time, on random tokens that come twice. similarity: mean cosine to the layer's other maps, on text.
""",
    "ablations": """\
effect: gain of loss (nats a token) on held-out text, or on the second time of random tokens, when a head's
output is replaced by zero or by its mean, or when branches of a composition are left out (all: C is I).
""",
    "spectra": """\
Singular values of the mean C over pairs; effective_rank: of C - I of single pairs, their mean; static:
squared norm of the mean C - I over the mean squared norm of C - I, 1 where all pairs have the same.
""",
    "interactions": """\
Scores of the weights of two heads, norms folded in, and interaction: effect on the loss of replacing both by
their mean, less the effects of each. Plain heads.
""",
    "predictions": """\
Spearman's rank correlation of each score with the size of the interaction, 192 pairs of heads, ranked within
pairs of layers; low, high: 95 % bootstrap over pairs.
""",
}


def write(name: str, rows: list[dict]) -> None:
    """A table with what it is above."""
    about = f"{NOTES[name]}{ROWS} sequences of {LENGTH} tokens each.\n"
    about += "Written by: python data/recipes/measure_language.py"
    path = store.root() / "measured" / "composition" / f"language_{name}.csv"
    training.write_table(path, about, rows, "%.4g")


def main() -> None:
    """All tables."""
    torch.set_num_threads(1)
    _, held_out = tokens()
    sequences = {name: rows[:: len(rows) // ROWS][:ROWS] for name, rows in probes(held_out).items()}
    made: dict[str, list[dict]] = {name: [] for name in NOTES}
    for run in (run for run in RUNS if run.heads != "slow"):
        model = trained(run)
        ways = {"heads": heads_of, "ablations": ablations, "spectra": spectra}
        if run.heads == "mha":
            ways["interactions"] = interactions
        for name, way in ways.items():
            made[name] += [{"run": run.name} | plain(row) for row in way(model, sequences)]
        print(run.name, flush=True)
    made["predictions"] = list(predictions(pd.DataFrame(made["interactions"])))
    for name, rows in made.items():
        write(name, rows)


def plain(row: dict) -> dict:
    """Tensors of one number as numbers."""
    return {key: value.item() if isinstance(value, Tensor) else value for key, value in row.items()}


if __name__ == "__main__":
    main()
