"""Figures of retrieval, word tasks and digits: what they show is what the shipped models and tables hold."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from matplotlib.collections import PathCollection

from marginalia.figures import dcmha
from marginalia.heads.tasks import questions, retrieval_accuracy
from marginalia.record import record

torch.set_num_threads(1)


@pytest.mark.parametrize(
    "draw, value, dots",
    [(dcmha.ablation, "accuracy", 50), (dcmha.setups, "accuracy", 40), (dcmha.vision, "accuracy", 15)],
)
def test_every_seed_has_a_dot(draw, value, dots):
    figure, data = draw()
    drawn = seeds_in(figure.axes[-1])
    assert len(data) == dots == len(drawn)
    np.testing.assert_allclose(np.sort(drawn), np.sort(data[value]))


def seeds_in(axes) -> np.ndarray:
    return np.concatenate([line.get_xdata() for line in axes.lines if line.get_marker() == "."])


def test_a_mark_is_the_mean_of_a_line():
    figure, data = dcmha.ablation()
    place = [label.get_text() for label in figure.axes[0].get_yticklabels()].index("key-wise")
    marks = [each for each in figure.axes[1].collections if isinstance(each, PathCollection)]
    x, y = np.concatenate([np.asarray(mark.get_offsets()) for mark in marks]).T
    accuracy = data.loc[data["variant"] == "key-wise", "accuracy"]
    assert x[y == place] == pytest.approx([accuracy.mean()])


def test_word_tasks_have_a_dot_a_seed_and_line():
    figure, data = dcmha.synthetic_tasks()
    runs = len(data[["variant", "seed"]].drop_duplicates())
    for axes, lines in zip(figure.axes, (5, 6), strict=True):
        assert len(seeds_in(axes)) == runs * lines
    assert data["held_out"].all()


def test_the_motivation_is_the_mean_composition_of_each_kind():
    figure, data = dcmha.motivation()
    assert len(figure.axes) == 21 and len(data["C"]) == 4**4 and len(data["reads"]) == 16
    model, asked = dcmha.retriever(), questions(4096, seed=1)
    with torch.no_grad(), record(model, "attention.post") as seen:
        model(asked)
    terms, own = seen["attention.post"][0].inputs["terms"], []
    for k in torch.nonzero((asked.attribute == 2) & (asked.wanted == 1)).flatten().tolist():
        one = {
            name: part if name == "groups" or part is None else part[k : k + 1]
            for name, part in terms._asdict().items()
        }
        own.append(type(terms)(**one).matrix(0, int(asked.place[k]))[0])
    shown = data["C"].query("a == 2 and b == 1")["mean"].to_numpy().reshape(4, 4)
    np.testing.assert_allclose(shown, torch.stack(own).mean(0), atol=1e-5)  # float32


def test_composed_weights_follow_from_what_is_returned():
    model, asked = dcmha.retriever(), questions(200, seed=2)
    for where in ("pre", "post"):
        C, given, received = dcmha.at_answers(model, asked, where)
        torch.testing.assert_close(torch.einsum("bn,bnm->bm", given, C), received, rtol=1e-4, atol=1e-4)


def test_what_an_ov_circuit_reads_by_hand():
    model = dcmha.retriever()
    v, o = model.attention.wqkv.weight[64:], model.attention.wo.weight
    table = model.records.weight[8:16]  # attribute 1
    made = ((table - table.mean(0)) * model.attention_norm.weight) @ (v[16:24].T @ o[:, 16:24].T)  # head 2
    assert dcmha.reads(model)[2, 1] == pytest.approx(made.norm().item(), rel=1e-5)


def test_shares_of_variance():
    group = torch.arange(60) % 3
    values = torch.randn(60, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert dcmha.explained(group[:, None, None].double().expand(60, 2, 2), group) == pytest.approx(1)
    means = torch.stack([values[group == k].mean(0) for k in range(3)])
    inside = values - means[group]
    assert dcmha.explained(inside, group) == pytest.approx(0, abs=1e-12)
    total = (values - values.mean(0)).square().sum()
    expected = 1 - (inside.square().sum() / total).item()
    assert dcmha.explained(values, group) == pytest.approx(expected)


def test_the_shipped_retriever_is_the_one_that_was_measured():
    table = dcmha.ablation()[1].query("variant == 'DCMHA' and seed == 0")
    found = retrieval_accuracy(dcmha.retriever())
    assert found["accuracy"] == pytest.approx(table["accuracy"].item(), abs=0.002)  # weights are float16
