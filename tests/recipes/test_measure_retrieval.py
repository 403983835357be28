"""Small trainings with and without composition: the recipe at a tiny scale, and what its tables must say."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from torch import nn

import measure_retrieval
from marginalia.heads import VARIANTS, TransformerConfig
from marginalia.heads.tasks import FACTORS, word_tasks
from marginalia.store import read_table

torch.set_num_threads(1)


@pytest.fixture
def tiny(monkeypatch):
    for name in ("RETRIEVAL_STEPS", "WORD_STEPS", "DIGITS_STEPS"):
        monkeypatch.setattr(measure_retrieval, name, 2)
    monkeypatch.setattr(measure_retrieval, "REPEATS", 1)


def test_rows_of_a_tiny_run(tiny, tmp_path, monkeypatch):
    model, row = measure_retrieval.retrieval("DCMHA", 0, ("shared", 0.18, "rms", "xavier"))
    assert model.question is model.records and row["steps"] == 2 and row["variant"] == "DCMHA"
    linear = [m for m in model.modules() if isinstance(m, nn.Linear)]
    assert len(linear) == 5  # queries, keys and values; output of attention; two of the FFN; readout
    assert 0.15 < model.records.weight.std() < 0.21
    cost = list(measure_retrieval.milliseconds())
    assert [one["variant"] for one in cost] == [*VARIANTS] and min(one["milliseconds"] for one in cost) > 0
    jobs = list(measure_retrieval.jobs(model, 0))
    assert [one["where"] for one in jobs] == ["pre", "post"]
    assert all(0 <= one[share] <= 1 for one in jobs for share in ("share_a_v", "share_b"))
    seen = measure_retrieval.vision("talking heads", 0)
    assert 0 <= seen["accuracy"] <= 1 and seen["parameters"] == pytest.approx(25_162, rel=0.003)
    monkeypatch.setattr(measure_retrieval, "FACTORS", FACTORS[:3])
    rows = list(measure_retrieval.word_model("MHA", 0))
    assert len(rows) == 2 * 3 and {one["questions"] for one in rows} == {20}
    measure_retrieval.write(tmp_path, "word_tasks", rows)
    assert (tmp_path / "word_tasks.csv").read_text("utf-8").startswith("# Word tasks")


def test_targets_are_the_answers():
    texts = list(word_tasks(FACTORS[:7], 0, 3, shown=1))
    tokens, targets = measure_retrieval.word_batch(texts)
    names = list(measure_retrieval.VOCABULARY)
    for text, given, wanted in zip(texts, tokens, targets, strict=True):
        words = re.findall(r"\w+|[^\w ]", text.text)
        assert [names[k] for k in given[: len(words) - 1]] == words[:-1]
        scored = [names[k] for k in wanted if k != -100]
        assert scored == [text.text[begin:end] for begin, end in text.answers]
        before = [words[t] for t in torch.nonzero(wanted != -100).flatten().tolist()]
        assert (
            all(words[t + 1] in scored for t in torch.nonzero(wanted != -100).flatten().tolist()) and before
        )


def test_models_of_one_size():
    config = TransformerConfig(10, 64, 8, 2, 256)
    made = measure_retrieval.small_models(config)
    assert [one.composition for one in made.values()] == [VARIANTS[name] for name in made]
    sizes = [
        sum(p.numel() for p in measure_retrieval.TinyTransformer(one).parameters()) for one in made.values()
    ]
    assert max(sizes) - min(sizes) < 0.01 * min(sizes)


def test_in_retrieval_dcmha_ends_below_mha_in_every_run():
    table = read_table("measured/composition/retrieval_variants.csv")
    assert set(table["variant"]) == set(VARIANTS) and (table.groupby("variant")["seed"].nunique() == 5).all()
    loss = table.pivot(index="seed", columns="variant", values="test_loss")
    assert (loss["DCMHA"] < loss["MHA"]).all() and np.isfinite(loss).all(axis=None)
    setups = read_table("measured/composition/retrieval_setups.csv")
    keys = ["table", "std", "norm", "linear", "seed"]
    pairs = setups.pivot(index=keys, columns="variant", values="test_loss")
    assert len(pairs) == len(measure_retrieval.SETUPS) * len(measure_retrieval.SETUP_SEEDS)
    assert (pairs["DCMHA"] < pairs["MHA"]).all()


def test_committed_tables_are_complete():
    words = read_table("measured/composition/word_tasks.csv")
    assert (words.groupby(["variant", "seed", "held_out"]).size() == len(FACTORS)).all()
    assert len(words) == 2 * len(measure_retrieval.WORD_SEEDS) * 2 * len(FACTORS)
    seen = read_table("measured/composition/digits_vit.csv")
    assert (seen.groupby("variant").size() == len(measure_retrieval.SEEDS)).all() and len(seen) == 15
    jobs = read_table("measured/composition/retrieval_compositions.csv")
    assert len(jobs) == 10 and "python data/recipes/measure_retrieval.py" in jobs.attrs["source"]
