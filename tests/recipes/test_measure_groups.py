"""Queries on objects: counted by hand, of an untrained detector, and the committed table."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import measure_groups
import runs
from marginalia import training
from marginalia.detection.detector import DetectorConfig, DetectorOutput, build
from marginalia.detection.scenes import SceneBatch
from marginalia.store import read_table


def test_queries_on_objects_by_hand():
    """Two queries on the first object, one elsewhere, none on the second object; one on the third."""
    boxes = [[0.2, 0.2, 0.2, 0.2], [0.21, 0.2, 0.2, 0.2], [0.5, 0.9, 0.1, 0.1], [0.8, 0.2, 0.2, 0.2]]
    scores = torch.tensor([[0.8, 0.1], [0.3, 0.4], [0.9, 0.9], [0.2, 0.1]])  # of two classes
    output = DetectorOutput(scores.logit()[None, None], torch.tensor(boxes)[None, None], None, None)
    objects = np.array([boxes[0], [0.8, 0.8, 0.2, 0.2], boxes[3]])
    found = measure_groups.on_objects(output, SceneBatch(None, [objects], None))
    assert found["on_object"] == 1  # (2 + 0 + 1) / 3
    assert found["first"] == pytest.approx((0.8 + 0.2) / 2, abs=1e-6)
    assert found["second"] == pytest.approx((0.4 / 0.8 + 0) / 2, abs=1e-6)


def test_a_row_a_block(folder, monkeypatch):
    tiny = DetectorConfig(width=16, heads=2, encoder_layers=1, ffn=16, queries=4, one_to_many=6)
    made = replace(runs.RUNS["arranged-hybrid-0"], name="tiny-0", detector=tiny)
    monkeypatch.setitem(runs.RUNS, "tiny-0", made)
    training.save(build(tiny), made.weights_at(made.options.steps), {})
    frame = measure_groups.measure(["tiny-0"])
    assert frame["block"].tolist() == ["matching", "one-to-many"]
    assert (frame["on_object"] <= [4, 6]).all()


def test_the_committed_table_has_all_runs():
    table = read_table("measured/query_groups.csv")
    assert len(table) == 2 * 5 * (1 + 1 + 2 + 2) and table["run"].nunique() == 2 * 5 * 4
    assert table["second"].between(0, 1).all() and (table["on_object"] > 0).all()
