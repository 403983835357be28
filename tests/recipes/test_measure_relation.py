"""Where relations send attention: what must come out for known relations, and the committed tables."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

import measure_relation
from marginalia.detection import DetectorConfig, build, load, make_scenes
from marginalia.store import read_table
from measure_heads import held_out
from runs import RUNS

SIZES = {"width": 32, "heads": 4, "encoder_layers": 1, "decoder_layers": 3, "ffn": 16, "queries": 8}


@pytest.fixture
def model():
    return build(DetectorConfig(**SIZES, relation="two layers"), seed=1).eval().requires_grad_(False)


def zero(model):
    for parameter in model.decoder.relation.projection.parameters():
        parameter.zero_()


@pytest.fixture(scope="module")
def scenes():
    return make_scenes(8, side=48)


def test_a_relation_that_is_zero_has_no_preference(model, scenes):
    zero(model)
    frame = measure_relation.maps(model, scenes).query("map == 'relation'")
    assert len(frame) == 8  # two layers, four heads
    np.testing.assert_allclose(frame[["distance", "objects"]], 1, rtol=1e-4)
    assert np.allclose(frame["overlapping"].dropna(), 1, rtol=1e-4)  # undefined where none overlap


def test_a_relation_that_grows_with_distance_attends_far_away(model, scenes):
    """Head 0 has Rel = 2 + sin(e_x / 10) + sin(e_y / 10), times 10: it rises with both distances."""
    zero(model)
    projection = model.decoder.relation.projection
    projection.weight[0, [12, 28]] = 200  # sines of frequency 0.1
    frame = measure_relation.maps(model, scenes).query("map == 'relation'").set_index("head")
    assert (frame.loc[0, "distance"] > 1.05).all()
    np.testing.assert_allclose(frame.loc[[1, 2, 3], "distance"], 1, rtol=1e-4)


def test_parts_are_taken_away_and_put_back(model, scenes):
    kept = {name: value.clone() for name, value in model.state_dict().items()}
    frame = measure_relation.without(model, scenes).set_index("attention")
    assert frame.index.tolist() == ["as trained", "no relation", "itself alone"]
    assert all(torch.equal(value, kept[name]) for name, value in model.state_dict().items())
    zero(model)
    again = measure_relation.without(model, scenes).set_index("attention")
    assert again.loc["as trained"].equals(again.loc["no relation"])
    assert frame.loc["no relation"].equals(again.loc["as trained"])


def test_tables_name_all_runs_and_are_of_the_shipped_weights():
    names = {run.name for run in measure_relation.related()}
    tables = {name: read_table(f"measured/relation_{name}.csv") for name in ("maps", "off", "weights")}
    assert set(tables["maps"]["run"]) == set(tables["off"]["run"]) == names
    assert set(tables["weights"]["run"]) == {name for name in names if RUNS[name].detector.relation}
    run = RUNS["arranged-relation-0"]
    model = load(run.name).requires_grad_(False)
    W = tables["weights"].query("run == @run.name").filter(regex=r"^w\d")
    np.testing.assert_allclose(W, model.decoder.relation.projection.weight, rtol=1e-4, atol=1e-7)
    scenes = held_out(run)
    found = pd.concat([measure_relation.maps(model, scenes), measure_relation.start(run, model, scenes)])
    committed = tables["maps"].query("run == @run.name")
    columns = ["distance", "overlapping", "objects"]
    np.testing.assert_allclose(found[columns], committed[columns], rtol=0.01)
