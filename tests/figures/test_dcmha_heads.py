"""Figures of the heads of trained models: what they show is in the tables, or went through the layer."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertModel

from marginalia import plots
from marginalia.figures import dcmha
from marginalia.heads import VARIANTS, DCMHAttention, TinyTransformer, TransformerConfig
from marginalia.heads.inspection import composition_scores, head_weights
from marginalia.record import record
from marginalia.store import read_table

torch.set_num_threads(1)


@pytest.fixture
def calls():
    """Calls of both compositions of a small untrained layer of 4 heads, whose composition is not small."""
    torch.manual_seed(0)
    model = TinyTransformer(TransformerConfig(11, width=16, heads=4, layers=1, ffn=16, rotary=4))
    for name, parameter in model.named_parameters():
        if ".pre." in name or ".post." in name:
            torch.nn.init.normal_(parameter, std=0.3)
    with torch.no_grad(), record(model, ["*.pre", "*.post"]) as seen:
        model(torch.arange(7)[None])
    return [each for (each,) in seen.values()]


def test_what_heads_of_a_pair_are_given_makes_the_difference(calls):
    pre, post = calls
    figure, data = dcmha.composition_of_pair(pre, post, 5, 2)
    assert len(data) == 2 * 4 * 4
    for call, (_, own) in zip(calls, data.groupby("where", sort=False), strict=True):
        before, after = (each[0, :, 5, 2].numpy() for each in (call.inputs["A"], call.output))
        given = own.groupby("receiver")["given"].sum()
        np.testing.assert_allclose(before + given, after, atol=1e-5)
        C = call.inputs["terms"].matrix(5, 2)[0].numpy()
        np.testing.assert_allclose(own["entry"], (C - np.eye(4)).ravel(), atol=1e-6)
    *rows, below = figure.subfigs
    for row in rows:  # C - I and four terms that add up to it; the base is the identity
        whole, *terms = (axes.images[0].get_array().data for axes in row.axes if axes.images)
        assert len(terms) == 4
        np.testing.assert_allclose(sum(terms), whole, atol=1e-5)
    bars = [[bar.get_width() for bar in axes.patches] for axes in below.axes if axes.containers]
    np.testing.assert_allclose(bars[0], pre.inputs["A"][0, :, 5, 2], rtol=1e-6)
    np.testing.assert_allclose(bars[3], post.output[0, :, 5, 2], rtol=1e-6)


def test_a_pair_with_a_static_base_shows_all_five_terms():
    torch.manual_seed(0)
    layer = DCMHAttention(16, 4, VARIANTS["DCMHA + static"])
    for parameter in (*layer.pre.parameters(), *layer.post.parameters()):
        torch.nn.init.normal_(parameter, std=0.3)
    with torch.no_grad(), record(layer, ["pre", "post"]) as seen:
        layer(torch.randn(1, 5, 16))
    *rows, _ = dcmha.composition_of_pair(*seen["pre"], *seen["post"], 3, 1)[0].subfigs
    for row in rows:
        whole, *terms = (axes.images[0].get_array().data for axes in row.axes if axes.images)
        assert len(terms) == 5
        np.testing.assert_allclose(sum(terms), whole, atol=1e-5)


def test_flows_leave_out_what_is_small():
    _, (axes,) = plots.panels(1, 1, 2)
    plots.flows(axes, np.array([[0.0, 1.0], [-0.5, 0.29]]), 0.3)
    bands = axes.patches
    assert [tuple(band.get_path().vertices[[0, -1], 1]) for band in bands] == [(0, 1), (1, 0)]
    assert bands[0].get_linewidth() == 2 * bands[1].get_linewidth()
    red, blue = (band.get_edgecolor() for band in bands)
    assert red[0] > red[2] and blue[2] > blue[0]


def test_tables_hold_every_training():
    runs = dcmha.language_runs()
    last = runs.groupby(["heads", "repeats", "seed"])["step"].max().unstack("heads")
    assert last.shape == (9, 3) and (last[["MHA", "DCMHA"]] == 2600).all(axis=None)
    assert (last["DCMHA, lower rate"] == 2400).all()
    for name in ("heads", "spectra", "ablations", "interactions", "predictions"):
        table = dcmha.language_table(name)
        assert table[["heads", "repeats", "seed"]].drop_duplicates().shape[0] in (9, 18), name
        assert table.notna().all(axis=None), name


def test_head_diversity_is_the_mean_of_the_table():
    figure, data = dcmha.head_diversity()
    table = read_table("measured/composition/language_heads.csv")
    own = table[(table["run"] == "language-dcmha-text-2") & (table["layer"] == 1) & (table["map"] == "raw")]
    shown = data.query(
        "heads == 'DCMHA' and repeats == 'text repeats' and seed == 2 and layer == 1 and map == 'raw'"
    )
    assert len(own) == 8 and shown["similarity"].item() == pytest.approx(own["similarity"].mean())
    for layer, axes in enumerate(figure.axes):
        points = np.concatenate([line.get_ydata() for line in axes.lines if line.get_marker() == "o"])
        here = data[(data["layer"] == layer) & ((data["heads"] == "DCMHA") | (data["map"] == "weights"))]
        assert len(points) == 4 * 9
        np.testing.assert_allclose(sorted(points), sorted(here["similarity"]))


def test_head_patterns_show_the_best_head():
    figure, data = dcmha.head_patterns()
    assert len(data) == 9 + 3 * 9
    table = read_table("measured/composition/language_heads.csv")
    own = table[(table["run"] == "language-mha-random-0") & (table["map"] == "weights")]
    shown = data.query("heads == 'MHA' and repeats == 'random repeats' and seed == 0")
    assert shown["induction"].item() == own["induction"].max()
    for axes, score in zip(figure.axes, ("previous", "induction"), strict=True):
        points = np.concatenate([line.get_ydata() for line in axes.lines if line.get_marker() != "None"])
        np.testing.assert_allclose(sorted(points), sorted(data[score]))


def test_training_has_a_line_for_each_run():
    figure, data = dcmha.language_training()
    assert [len(axes.lines) for axes in figure.axes] == [9] * 6
    line = figure.axes[1].lines[0]  # held-out text, random repeats
    own = data.query("heads == 'MHA' and repeats == 'random repeats' and seed == 0")["held_out"]
    np.testing.assert_array_equal(line.get_ydata(), own)


def test_loss_differences_stand_beside_the_runs():
    end, same = dcmha.loss_differences(2600), dcmha.loss_differences(2400)
    runs = dcmha.language_runs().query("step == 2600 and repeats == 'text repeats' and seed == 2")
    plain, composed = (runs[runs["heads"] == name]["held_out"].item() for name in ("MHA", "DCMHA"))
    assert end.loc[("text repeats", 2), "DCMHA − MHA"] == composed - plain
    assert end["DCMHA, lower rate"].isna().all() and same.notna().all(axis=None)


def test_what_is_lost_is_in_the_table():
    lost = dcmha.what_is_lost()
    table = read_table("measured/composition/language_ablations.csv")
    own = table[(table["run"] == "language-dcmha-none-2") & (table["text"] == "held_out")]
    row = lost.loc[("DCMHA", "no repeats", 2, "held_out")]
    heads = own[own["part"].isin([f"head {head}, zero" for head in range(8)])]
    assert len(heads) == 24 and row["best head"] == heads["effect"].max()
    assert row["post, layer 1"] == own.query("layer == 1 and part == 'post: all'")["effect"].item()
    assert len(lost) == 36 and lost.loc["MHA"].isna().sum().sum() == 18 * 6


def test_score_predictions_and_largest_interactions():
    figure, data = dcmha.score_predictions()
    for axes, text in zip(figure.axes, ("held_out", "random"), strict=True):
        points = np.concatenate(
            [each.get_offsets()[:, 0] for each in axes.collections if each.get_offsets().shape[0] == 6]
        )
        np.testing.assert_allclose(sorted(points), sorted(data[data["text"] == text]["rho"]))
    table = dcmha.largest_interactions().set_index("run")
    own = read_table("measured/composition/language_interactions.csv").query("run == 'language-mha-none-2'")
    own = own.loc[own["interaction_random"].abs().idxmax()]
    row = table.loc["language-mha-none-2"]
    assert row["interaction"] == own["interaction_random"]
    assert row["pair"] == f"{own['layer_1']}.{own['head_1']} to {own['layer_2']}.{own['head_2']}"


def test_heads_of_a_model_without_tokenizer(tmp_path, capsys):
    config = BertConfig(
        vocab_size=50, hidden_size=12, num_hidden_layers=2, num_attention_heads=3, intermediate_size=8
    )
    BertModel(config).save_pretrained(tmp_path)
    _, largest, scores = dcmha.heads_of(str(tmp_path), "some text")
    assert "Random tokens" in capsys.readouterr().out
    with pytest.raises(ValueError, match="no model is there"):
        dcmha.heads_of(str(tmp_path / "none"), "some text")
    assert len(largest) == 3 * 3 * 3 and scores.shape == (6, 4) and scores.notna().all(axis=None)
    assert (scores["like others"] <= 1 + 1e-6).all()


def test_composition_score_maps_are_multiples_of_the_baseline():
    torch.manual_seed(0)
    weights = head_weights(
        TinyTransformer(TransformerConfig(11, width=16, heads=2, layers=3, ffn=16, rotary=4))
    )
    figure, data = dcmha.composition_score_maps(weights)
    assert len(data) == 3 * 3 * 4 and data["over random"].is_monotonic_decreasing
    row = data.iloc[0]
    (n, h), (m, k) = (map(int, row[name].split(".")) for name in ("head 1", "head 2"))
    assert row["over random"] == pytest.approx(
        4 * composition_scores(weights, row["kind"].lower())[n, h, m, k].item()
    )
    shown = figure.axes[1].images[0].get_array()
    expected = 4 * composition_scores(weights, "k")[0, 1, 2, 0].item()
    assert shown.shape == (4, 4) and shown[1, 2] == pytest.approx(expected)  # head 0.1 with head 2.0


def test_atom_mapping_shows_the_tables():
    figure, data = dcmha.atom_mapping()
    shown = figure.axes[2].images[0].get_array()
    row = data["accuracy"].query("layer == 7 and head == 5")
    assert shown.shape == (12, 8) and shown[7, 5] == pytest.approx(100 * row["accuracy"].item())
    largest = figure.axes[0].images[0].get_array().argmax(1)
    own = data["map"].query("head == 5").sort_values("weight").groupby("query")["key"].last()
    np.testing.assert_array_equal(largest, own)
