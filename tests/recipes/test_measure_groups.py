"""What queries see and find, group by group: one untrained detector, and the committed table."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import measure_groups
import runs
from marginalia import training
from marginalia.detection.detector import DetectorConfig, build
from marginalia.store import read_table

TINY = DetectorConfig(width=16, heads=2, encoder_layers=1, ffn=16, queries=4, one_to_many=6)


@pytest.fixture
def run(folder, monkeypatch):
    """A detector as it begins, in the place of a trained one."""
    made = replace(runs.RUNS["arranged-hybrid-0"], name="tiny-0", detector=TINY)
    monkeypatch.setitem(runs.RUNS, "tiny-0", made)
    monkeypatch.setattr(measure_groups, "SCENES", 4)
    training.save(build(TINY), made.weights_at(made.options.steps), {})
    return made


def test_a_row_a_block_and_sight(run):
    frame = measure_groups.measure(["tiny-0"]).set_index(["block", "sight"])
    assert list(frame.index) == [(b, s) for b in ("matching", "one-to-many") for s in ("block", "alone")]
    assert (frame["on_object"] <= [4, 4, 6, 6]).all() and frame["second"].between(0, 1).all()


def test_a_block_answers_as_in_the_detector_and_alone_without_the_others(run):
    pixels = torch.rand(2, 1, 48, 48)
    model = measure_groups._trained(run)
    with torch.no_grad():
        whole = model.train()(pixels)
        block = measure_groups.Block(model, slice(4, None), alone=False)(pixels)
        assert torch.equal(block.boxes, whole.boxes[:, :, 4:])
        alone = measure_groups.Block(model, slice(0, 4), alone=True)(pixels)
        # one query by itself is what it is beside the others
        model.decoder.groups = None
        queries = model.decoder.queries.object_query
        model.decoder.queries.object_query = torch.nn.Parameter(queries[2:3])
        torch.testing.assert_close(alone.hidden[:, :, 2:3], model(pixels).hidden, rtol=0, atol=1e-5)


def test_the_committed_table_belongs_to_the_runs():
    """AP of matching queries that see their block is what `make train` measured, on half of the scenes."""
    table = read_table("measured/query_groups.csv")
    assert len(table) == 5 * (2 + 2 + 4 + 4)
    usual = table[(table["block"] == "matching") & (table["sight"] == "block")].set_index("run")["AP"]
    ends = [read_table(f"measured/detection/{name}.csv")["AP"].iloc[-1] for name in usual.index]
    np.testing.assert_allclose(usual, ends, atol=0.04)  # of 256 scenes: two standard errors and more
