"""Text, batches and optimizers of the language models, and a training of three steps."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

import train_language as recipe
from marginalia import store, training
from marginalia.heads.language import BOS, LENGTH, load_language
from train_language import Run


@pytest.fixture
def streams():
    rng = np.random.default_rng(0)
    return tuple(torch.from_numpy(rng.integers(1, 1024, n).astype(np.int32)) for n in (5000, 13000))


def test_another_library_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(recipe, "TOKENS", tmp_path / "tokens.npz")
    monkeypatch.setattr(recipe, "texts", lambda: ["x = 1\n"])
    with pytest.raises(
        ValueError, match=r"is another text than that of 3\.11\.7, on which .* with Python 3\.11\.7"
    ):
        recipe.tokens()


def test_texts_are_ascii_and_none_of_what_differs_between_machines():
    texts = recipe.texts()
    assert len(texts) > 100 and all(text.isascii() and text.strip() for text in texts)
    for name in ("test/test_os.py", "config-3.11-x86_64/python-config.py", "_sysconfigdata__linux.py"):
        assert recipe.LEFT_OUT.search(name)
    for name in ("os.py", "json/decoder.py", "unittest/case.py", "doctest.py"):
        assert not recipe.LEFT_OUT.search(name)


@pytest.mark.parametrize("repeats", ["none", "random", "text"])
def test_batches(streams, repeats):
    torch.manual_seed(0)
    train = streams[0]
    batch = recipe.batches(Run("mha", repeats, 0), train, "cpu")(0)
    assert batch.shape == (16, LENGTH + 1) and (batch[:, 0] == BOS).all()
    text = {tuple(train[i : i + 8].tolist()) for i in range(len(train) - 8)}
    from_text = [tuple(row[1:9].tolist()) in text for row in batch]
    assert from_text == [True] * 12 + [repeats != "random"] * 4
    periods = [next((p for p in range(8, 65) if torch.equal(row[1 + p :], row[1:-p])), None) for row in batch]
    assert all(period is None for period in periods[:12])
    assert all((period is not None) == (repeats != "none") for period in periods[12:])


def test_each_parameter_has_one_optimizer():
    model = recipe.build(Run("dcmha", "none", 0))
    options = replace(recipe.OPTIONS)
    muon, adamw = recipe.optimizers(model, options, 1e-3)
    groups = [*muon.param_groups, *adamw.param_groups]
    given = [p for group in groups for p in group["params"]]
    assert len(given) == len({id(p) for p in given}) == len(list(model.parameters()))
    assert [(group["lr"], len(group["params"])) for group in groups] == [
        (0.02, 12),
        (0.01, 3),
        (1e-3, 36),
        (3e-3, 9),
    ]


@pytest.mark.parametrize("heads", ["mha", "dcmha"])
def test_three_steps(tmp_path, monkeypatch, streams, heads):
    monkeypatch.setenv("MARGINALIA_DATA", str(tmp_path))
    monkeypatch.setattr(recipe, "BUILD", tmp_path / "build")
    monkeypatch.setattr(recipe, "tokens", lambda: streams)
    monkeypatch.setattr(recipe, "OPTIONS", replace(recipe.OPTIONS, steps=3, every=2))
    run = Run(heads, "random", 1)
    recipe.train(run)
    table = store.read_table(f"measured/composition/language/{run.name}.csv")
    assert list(table["step"]) == [2, 3] and np.isfinite(table.to_numpy()).all()
    assert table["held_out"].iloc[-1] == pytest.approx(np.log(1024), abs=0.2)
    settings = next(line for line in table.attrs["source"].splitlines() if line.startswith("settings: "))
    assert json.loads(settings[10:])["heads"] == heads
    assert load_language(run.name).config == run.config
    assert training.load(run.weights)[1]["last"]["step"] == 3


def test_committed_tables_are_of_these_runs():
    """Settings, rows and names; runs that were broken off say so by their last step."""
    folder = store.data_path("measured/composition/language")
    for run in recipe.RUNS:
        text = (folder / f"{run.name}.csv").read_text("utf-8")
        settings = json.loads(next(x for x in text.splitlines() if x.startswith("# settings: "))[12:])
        assert settings["options"]["seed"] == settings["seed"] == run.seed
        assert (settings["heads"], settings["repeats"]) == (run.heads, run.repeats)
        assert settings["composition_rate"] == recipe.RATES.get(run.heads)
        steps = pd.read_csv(folder / f"{run.name}.csv", comment="#")["step"]
        assert steps.iloc[-1] == 2600 or (run.heads == "slow" and steps.iloc[-1] >= 2400)
    assert {path.stem for path in folder.glob("*.csv")} == {run.name for run in recipe.RUNS}
