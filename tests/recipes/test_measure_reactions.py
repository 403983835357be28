"""Heads of the reaction model: the recipe where the wheel is, and what its tables must say."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import measure_reactions
from marginalia import store
from marginalia.heads.reactions import HEAD, amide_reactions, load_reaction_model

FOLDER = "measured/composition/reactions_"


@pytest.fixture(scope="module")
def model():
    try:
        return load_reaction_model()
    except FileNotFoundError as error:
        pytest.skip(str(error))


def test_order_alone_is_right_where_the_order_is_kept():
    for reaction in amide_reactions():
        hits = measure_reactions.by_order(reaction)
        assert len(hits) == len(reaction.atoms) and hits.all() == (
            measure_reactions.written(reaction) == "as the reactants"
        )


def test_accuracy_is_that_of_the_committed_tables(model):
    parts = list(measure_reactions.parts(model, amide_reactions()))
    for way in (measure_reactions.accuracy, measure_reactions.baselines):
        frame, committed = pd.DataFrame(way(parts)), store.read_table(f"{FOLDER}{way.__name__}.csv")
        numbers = frame.select_dtypes("float").columns
        assert frame.drop(columns=numbers).equals(committed.drop(columns=numbers))
        assert np.allclose(frame[numbers], committed[numbers], rtol=0, atol=0.01)  # ties on other machines


def test_maps_of_the_committed_table(model):
    frame = pd.DataFrame(measure_reactions.attention_map(model, amide_reactions()[measure_reactions.SHOWN]))
    committed = store.read_table(f"{FOLDER}map.csv")
    pd.testing.assert_frame_equal(frame, committed, rtol=0, atol=1e-3, check_dtype=False)


def test_needed_counts_first_places():
    scores = np.zeros((10, 12, 8))
    scores[:, 7, HEAD] = 1
    rows = list(measure_reactions.needed({"a": scores, "weights": scores[:1]}))
    assert len(rows) == len(measure_reactions.COUNTS) and all(row["head_5_first"] == 1 for row in rows)
    scores[:5, 3, 2] = 1.5  # higher in half of the reactions
    one = next(measure_reactions.needed({"a": scores}))
    assert one["reactions"] == 1 and 0.45 < one["head_5_first"] < 0.55
    assert measure_reactions.rank(np.array([3.0, 9, 5])).tolist() == [3, 1, 2]


def test_scores_and_tables_of_two_reactions(model, tmp_path, monkeypatch):
    seen = measure_reactions.scores_of_tools(model, amide_reactions()[:2])
    committed = store.read_table(f"{FOLDER}tools.csv")
    rows = pd.DataFrame(measure_reactions.tools(seen))
    weights = rows["tool"].str.contains("composition|kernel")  # know no reactions
    for name in ("score", "rank"):
        assert np.allclose(rows[weights][name], committed[weights][name], rtol=1e-3)
    keys = ["tool", "layer", "head"]
    pd.testing.assert_frame_equal(rows[keys], committed[keys])
    up = pd.DataFrame(measure_reactions.upstream(model, amide_reactions()[:2]))
    known = store.read_table(f"{FOLDER}upstream.csv")
    assert list(up) == list(known) and np.allclose(up["q_kernel"], known["q_kernel"], rtol=1e-3)
    monkeypatch.setenv("MARGINALIA_DATA", str(tmp_path))
    measure_reactions.write("reactions_tools", measure_reactions.tools, rows.to_dict("records"))
    again = store.read_table(f"{FOLDER}tools.csv")
    assert again["layer"].equals(committed["layer"])


def test_committed_tables_say_what_was_measured():
    names = ("accuracy", "baselines", "map", "upstream", "tools", "needed")
    tables = {name: store.read_table(f"{FOLDER}{name}.csv") for name in names}
    for table in tables.values():
        assert "python data/recipes/measure_reactions.py" in table.attrs["source"]
    heads = tables["accuracy"]
    assert len(heads) == 2 * 3 * 96 and (heads["low"] <= heads["accuracy"]).all()
    # head 5 maps atoms in all layers but the first two, both ways and in both orders; no other head does
    mine = (heads["head"] == HEAD) & (heads["layer"] >= 2)
    assert heads[mine]["low"].min() > heads[~mine & (heads["head"] != HEAD)]["high"].max()
    best = tables["map"].query("head == @HEAD").sort_values("weight").groupby("query").tail(1)
    reaction = amide_reactions()[measure_reactions.SHOWN]
    assert best.sort_values("query")["key"].tolist() == list(reaction.atoms)
    scores = tables["tools"]
    assert (scores.groupby("tool")["rank"].max() == scores.groupby("tool").size()).all()
    by_tool = scores.groupby("tool")["score"]  # rounded scores may be tied
    low, high = (by_tool.rank(ascending=False, method=method) for method in ("min", "max"))
    assert ((low <= scores["rank"]) & (scores["rank"] <= high)).all()
    # ablated in all layers, head 5 costs more than any other head
    everywhere = scores[scores["tool"] == "ablation in all layers"].set_index("head")
    assert everywhere["low"][HEAD] > everywhere["high"].drop(HEAD).max()
    # the four heads that head 5 reads most of, by the projection kernel, are the four that it needs most
    others = tables["upstream"].query("head != @HEAD")
    read, needed = others.nlargest(4, "q_kernel"), others.nsmallest(4, "accuracy")
    assert set(read["head"]) == set(needed["head"])
