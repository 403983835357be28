"""RipsNet on circles: the recipe at a tiny scale, and what its committed tables must say."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

import measure_ripsnet
from marginalia import store
from marginalia.figures.ripsnet import trained
from marginalia.topology import PersistenceImage
from marginalia.topology.circles import alpha_loops, circles


@pytest.fixture
def tiny(monkeypatch):
    for name, count in {"CLOUDS": 24, "TEST": 12, "BATCHES": 80, "STEPS": 2}.items():
        monkeypatch.setattr(measure_ripsnet, name, count)


def test_rows_of_a_tiny_run(tiny, tmp_path):
    rows, nets = measure_ripsnet.accuracy(0, "one size")
    frame = pd.DataFrame(rows).set_index("input")
    assert set(frame.index) == {"exact", "exact without outliers", "size", "RipsNet mean", "RipsNet sum"}
    assert frame[["clean", "noisy"]].stack().between(0, 1).all()
    assert frame["r2"].notna().to_dict() == {name: not name.startswith("exact") for name in frame.index}
    net, about = nets["mean"]
    assert net.pooling == "mean" and about["steps"] == 2 and len(about["ranges"]) == 4
    measure_ripsnet.write(tmp_path, "accuracy", rows)
    again = pd.read_csv(tmp_path / "ripsnet_accuracy.csv", comment="#")
    pd.testing.assert_frame_equal(again, pd.DataFrame(rows), atol=1e-4, check_dtype=False)


def test_the_four_sets_share_no_cloud(tiny):
    sets = measure_ripsnet.splits(0) + measure_ripsnet.splits(1)
    assert [len(x) for x, _ in sets[:4]] == [24, 24, 12, 12]
    first = np.concatenate([x[:, 0, 0] for x, _ in sets])
    assert len(np.unique(first)) == len(first)


def test_clouds_of_digits(tiny):
    rows = list(measure_ripsnet.iid_digits(0))
    assert [row["batches"] for row in rows] == ["drawn alike", "one to ten classes"]
    assert rows[1]["r2_size"] > rows[0]["r2_size"] + 0.3  # such batches differ in size
    assert rows[0]["r2"] == pytest.approx(1 - rows[0]["mse"] / rows[0]["mse_mean"])


def test_seconds_of_both_ways_in_turn(tiny):
    rows = pd.DataFrame(measure_ripsnet.seconds())
    assert rows["method"].tolist() == ["exact", "RipsNet"] * 5 and (rows["clouds"] == 12).all()
    assert rows.groupby("method")["seconds"].min()["exact"] > rows["seconds"].min() > 0


def test_committed_tables_are_complete():
    table = store.read_table("measured/topology/ripsnet_accuracy.csv")
    assert "python data/recipes/measure_ripsnet.py" in table.attrs["source"]
    counts = table.groupby(["scale", "input"]).size()
    assert len(counts) == 2 * 5 and (counts == len(measure_ripsnet.SEEDS)).all()
    digits = store.read_table("measured/topology/ripsnet_digits.csv")
    assert (digits.groupby("batches").size() == len(measure_ripsnet.SEEDS)).all() and len(digits) == 10


@pytest.mark.parametrize("pooling", ["mean", "sum"])
def test_shipped_networks_are_those_that_were_measured(pooling):
    """R2 of the shipped network on clouds that it was not fitted to, as its card says."""
    net, maker, maximum = trained(pooling)
    clouds, _ = measure_ripsnet.splits(0)[0]
    exact = maker.transform(alpha_loops(clouds[:675:5])) / maximum
    held = clouds[675:]
    images = maker.transform(alpha_loops(held)) / maximum
    error = np.square(net(torch.from_numpy(held).float()).detach().numpy() - images).mean()
    r2 = 1 - error / np.square(images - exact.mean(0)).mean()
    row = store.read_table("measured/topology/ripsnet_accuracy.csv").query(
        "scale == 'as drawn' and seed == 0 and input == @name", local_dict={"name": f"RipsNet {pooling}"}
    )
    assert r2 == pytest.approx(row["r2"].item(), abs=0.02)


def test_the_authors_bandwidth_fails_on_clouds_of_one_size():
    """Seed 1: narrower than a pixel by far. It is a quantile over the first 200 bars, so a few clouds do."""
    clouds, _ = measure_ripsnet.splits(1)[0]
    found = PersistenceImage().fit(alpha_loops(measure_ripsnet.one_size(clouds[:20])))
    assert found.bandwidth_ == pytest.approx(1.28e-4, rel=0.01)
    assert found.ranges_[3] / 19 > 300 * found.bandwidth_


def test_one_size():
    """Centred, root mean square distance 1, and every cloud keeps its shape."""
    clouds, _ = circles(6)
    scaled = measure_ripsnet.one_size(clouds)
    assert np.abs(scaled.mean(1)).max() < 1e-9
    assert np.square(scaled).sum(2).mean(1) == pytest.approx(np.ones(6))
    before, after = (np.linalg.norm(x[0, :, None] - x[0], axis=-1) for x in (clouds, scaled))
    assert after == pytest.approx(before * after.max() / before.max(), abs=1e-9)


def test_outliers_are_dropped_and_no_others(rng):
    cloud = np.concatenate([rng.uniform(size=(100, 2)), [[50, 50]]])
    assert (measure_ripsnet.without_outliers(cloud) == cloud[:100]).all()
