"""Figures of TopKD: what their numbers are, and that leads and intervals are those of the measured rows."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from scipy.cluster.hierarchy import linkage

from marginalia.figures import topkd
from marginalia.store import read_table
from marginalia.topology import collect_features
from marginalia.topology.digits import FEATURES, digits

torch.set_num_threads(1)
ROWS = read_table("measured/topology/distillation.csv")


def test_rows_are_whole_and_seeds_are_paired():
    keys = ["loss", "alpha", "delta", "batch", "layer", "student", "steps"]
    counts = ROWS.groupby(keys)["seed"].agg(["nunique", "size"])
    assert (counts["nunique"] == counts["size"]).all() and (counts["size"] == 10).all()
    assert ROWS["accuracy"].between(0, 1).all() and (ROWS[["gap", "mean_death"]] >= 0).all(axis=None)
    assert (ROWS["share"].eq(0) == ROWS["delta"].eq(0)).all()


def test_leads_are_over_kd_of_the_same_seed_batch_student_and_steps():
    students = topkd.students()
    pd.testing.assert_frame_equal(students[ROWS.columns], ROWS)
    assert students["lead"].notna().all() and students.query("name == 'KD'")["lead"].eq(0).all()
    same = ("batch == 16", "student == 'leaky'", "student == 'cnn'", "steps == 1280")
    for some in (students.query(f"{one} and seed == 3").set_index("name") for one in same):
        points = 100 * (some["accuracy"] - some.loc["KD", "accuracy"])
        assert some["lead"].tolist() == pytest.approx(points.tolist()) and len(some) >= 4


def test_comparison_by_hand():
    some = topkd.students().query(
        "batch == 64 and layer == 3 and student == 'mlp' and steps == 640 and alpha == 2"
    )
    some = some[some["loss"].isin(["features", "RipsNet"])]
    found = topkd.compare(some)
    assert len(found) == 5 and (found["seeds"] == 10).all()
    row = found.loc["RipsNet, δ = 5"]
    control = ROWS.query("loss == 'KD' and alpha == 2 and batch == 64 and student == 'mlp' and steps == 640")
    ours = some.query("loss == 'RipsNet' and delta == 5").set_index("seed")["accuracy"]
    lead = 100 * (ours - control.set_index("seed")["accuracy"])
    half = stats.t.ppf(0.975, 9) * lead.sem()
    assert row[["lead", "low", "high"]].tolist() == pytest.approx(
        [lead.mean(), lead.mean() - half, lead.mean() + half]
    )
    # Holm: the smallest p times 5, the next times 4, never less than the one before
    p = found["p"].sort_values().to_numpy()
    by_hand = np.maximum.accumulate(p * [5, 4, 3, 2, 1]).clip(max=1)
    assert found["holm"].sort_values().tolist() == pytest.approx(sorted(by_hand))


def test_labels_name_what_differs():
    rows = [("CE", 0, 0), ("KD", 2, 0), ("KD", 4, 0), ("RipsNet", 2, 5), ("RipsNet", 0, 0.1)]
    labels = [topkd.label(*row) for row in rows]
    assert labels == ["CE", "KD", "KD, α = 4", "RipsNet, δ = 5", "RipsNet, δ = 0.1, α = 0"]


def test_overview_has_the_deaths_of_the_teachers_batch():
    figure, data = topkd.overview()
    teacher, _, window = topkd.trained()
    cloud = collect_features(teacher, [digits()[1].x[:64]], FEATURES)[0]
    np.testing.assert_allclose(data["teacher"], linkage(cloud.double(), "single")[:, 2], rtol=1e-5)
    images = [axes.images[0].get_array() for axes in figure.axes if axes.images][1:]
    assert len(images) == 4 and all(image.shape == (20, 20) for image in images)
    exact = topkd.exact_profile(cloud, **window)
    np.testing.assert_allclose(images[0], np.tile(exact[:, None], 20), rtol=1e-5)


@pytest.mark.parametrize(
    ("pair", "best"), [(("resnet56", "resnet20"), 71.97), (("wrn40-2", "shufflev1"), 76.70)]
)
def test_published_numbers_keep_their_sources(pair, best):
    table = topkd.published(*pair)
    assert table["accuracy"].max() == best and not table["method"].str.contains("alone").any()
    logs = table[table["source"].str.contains("best epoch on test data")]
    assert logs["method"].tolist() == ["TopKD"]


def test_shares_of_the_loss_are_those_of_its_parts():
    shares = read_table("published/topkd_loss_shares.csv")
    total = shares["ce"] + shares["alpha"] * shares["kd"] + 5 * shares["topology"]
    np.testing.assert_allclose(100 * 5 * shares["topology"] / total, shares["share_percent"], atol=0.05)


@pytest.mark.parametrize("name", ["same_architecture", "different_architectures"])
def test_losses_are_compared_here_and_published_numbers_stand_apart(name):
    figure, data = getattr(topkd, name)()
    assert set(data) == {"here", "published"} and len(figure.axes) == 3
    ours, _, theirs = figure.axes
    assert not set(ours.get_lines()[0].get_xdata()) & set(data["published"]["accuracy"])
    assert theirs.get_xlabel() == "accuracy, percent" and ours.get_xlabel().startswith("points above KD")


@pytest.mark.parametrize(
    ("name", "lines"),
    [("homology_dimension", 3), ("loss_terms", 8), ("matched_stage", 4), ("longer_training", 8)],
)
def test_small_tables_have_a_line_for_each_loss(name, lines):
    figure, data = getattr(topkd, name)()
    assert len(data) == lines and data["lead"].notna().all()
    dots = figure.axes[0].get_lines()[0].get_xdata()
    assert len(dots) == data["seeds"].sum()


def test_units_are_counted_of_eight():
    assert ROWS["units"].between(0, 8).all()
    means = topkd.students().query("batch == 64 and layer == 3 and steps == 640 and name in @topkd.ONE_DELTA")
    units = means.groupby(["student", "name"])["units"].mean()
    assert units["mlp", "sorted deaths, δ = 1"] > units["mlp", "KD"] + 1  # what notebook 34 says


def test_points_and_losses_by_step():
    _, data = topkd.number_of_points()
    assert set(data["batch"]) == {8, 16, 32, 64, 128}
    assert set(data["loss"]) == {"KD", "mean distance", "sorted deaths", "RipsNet"}
    assert (data.query("loss == 'KD'")["mean"] == 0).all()
    figure, data = topkd.student_training()
    assert len(figure.axes) == 4 and (data.query("loss == 'KD'")["topology"] == 0).all()


def test_fits_times_and_embeddings_are_drawn_from_their_tables():
    _, fits = topkd.ripsnet_training()
    assert set(fits["clouds"]) == {"alike", "varied"}
    _, error = topkd.approximation_error()
    assert error.groupby("cloud").size().tolist() == [20] * 3
    _, places = topkd.embedding()
    assert places.groupby("model").size().tolist() == [300] * 6 and places["explained"].between(0, 1).all()
    _, times = topkd.computing_time()
    ms = times.set_index("name")["ms"]
    assert (ms > 0).all() and ms.index.is_unique
    # what notebook 34 says of them
    assert ms["RipsNet"] < ms["sorted deaths"] < ms["exact image"] < ms["whole step, KD alone"]
    assert ms["H1 image"] > 10 * ms["whole step, KD alone"]


def test_what_is_said_of_longer_trainings_and_of_layers():
    """Notebook 34: twice the steps leave the leads as they are, and either layer does as well."""
    table = topkd.students().query("student == 'mlp' and batch == 64 and alpha == 2 and delta > 0")
    for other in ("steps == 1280 and layer == 3", "steps == 640 and layer == 1"):
        for name, runs in table.query(other).groupby("name"):
            usual = table[table["name"] == name].query("steps == 640 and layer == 3")
            change = runs.set_index("seed")["lead"] - usual.set_index("seed")["lead"]
            low, high = stats.ttest_1samp(change, 0).confidence_interval()
            assert len(change) == 10 and -1 < low < 0 < high < 1, name
