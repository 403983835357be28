"""What is measured of the language models: on models with random weights, against sums by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

import measure_language as recipe
from marginalia import store
from marginalia.heads.language import LENGTH, token_losses
from train_language import RUNS, Run, build

KINDS = ("mha", "dcmha")


@pytest.fixture
def sequences():
    torch.manual_seed(0)
    return {text: torch.randint(1, 1024, (2, LENGTH + 1)) for text in recipe.TEXTS}


def lively(heads: str):
    """A model whose compositions count."""
    model = build(Run(heads, "none", 0))
    for name, parameter in model.named_parameters():
        if name.split(".")[-1] in ("W_1", "W_2", "W_g"):
            torch.nn.init.normal_(parameter, std=0.1)
    return model.eval()


@pytest.mark.parametrize("heads", KINDS)
def test_maps_are_attention(sequences, heads):
    found = recipe.maps(lively(heads), sequences["random"])
    for kind in ("raw", "weights"):
        assert torch.allclose(found[kind].sum(-1), torch.ones(3, 2, 8, LENGTH), atol=1e-4)
    assert torch.allclose(found["composed"].abs().sum(-1), torch.ones(3, 2, 8, LENGTH), atol=1e-4)
    assert torch.allclose(found["raw"], found["weights"], atol=1e-5) == (heads == "mha")


def test_leaving_a_composition_out(sequences):
    """All branches of one composition: the loss with the identity in its place."""
    model = lively("dcmha")
    loss = recipe.loss_on("random", sequences["random"])
    left = recipe.without(model, loss, "layers.1.attention.pre", recipe.BRANCHES[1:])
    composer = model.layers[1].attention.pre
    composer.query = composer.key = None
    with torch.no_grad():
        expected = token_losses(model, sequences["random"])[:, LENGTH // 2 :].mean().item()
    assert left == pytest.approx(expected, abs=1e-5)
    assert recipe.without(model, loss, "layers.1.attention.pre", ()) == pytest.approx(expected, abs=1e-5)


def test_committed_tables_have_all_runs():
    names = {run.name for run in RUNS if run.heads != "slow"}
    for table in ("heads", "ablations", "spectra", "interactions", "predictions"):
        frame = store.read_table(f"measured/composition/language_{table}.csv")
        wanted = {"spectra": "dcmha", "interactions": "mha", "predictions": "mha"}.get(table, "")
        assert set(frame["run"]) == {name for name in names if f"-{wanted}" in name}
        assert (
            not frame.drop(columns=[c for c in frame if c.startswith(("static", "effective"))])
            .isna()
            .any(axis=None)
        )
    heads = store.read_table("measured/composition/language_heads.csv")
    assert len(heads) == 18 * 3 * 24


def test_predictions_are_rank_correlations():
    """Of a table in which one score is the size of the interaction."""
    k = np.arange(40)
    pairs = pd.DataFrame({"run": "a", "layer_1": 0, "layer_2": 1 + k % 2, "k-composition": k % 7})
    pairs = pairs.assign(interaction_held_out=-(k % 7), interaction_random=k % 5)
    found = pd.DataFrame(recipe.predictions(pairs)).set_index("text")
    assert found.loc["held_out", "rho"] == pytest.approx(1)
    assert abs(found.loc["random", "rho"]) < 0.5
