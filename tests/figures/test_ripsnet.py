"""Figures of RipsNet: what they show is what the clouds, the shipped networks and the tables hold."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from marginalia.figures import ripsnet
from marginalia.store import read_table
from marginalia.topology.circles import CIRCLES, circles

torch.set_num_threads(1)


def test_the_pipeline_shows_three_circles_and_their_loops():
    figure, data = ripsnet.pipeline()
    bars = data["diagram"]
    assert len(figure.axes) == 4 and figure.axes[1].get_ylabel() == "death [radius²]"
    long = bars[bars["death"] - bars["birth"] > 2]["death"].sort_values()
    np.testing.assert_allclose(long, sorted(r**2 for r in CIRCLES[3][0]), rtol=0.05)
    assert data["image"].shape == (20, 20) and 0 < data["image"].to_numpy().max() <= 1


def test_the_protocol_joins_boxes_that_are_there():
    figure, data = ripsnet.protocol()
    assert set(data["from"]) | set(data["to"]) == set(ripsnet.BOXES)
    drawn = {text.get_text() for text in figure.axes[0].texts}
    assert {text for _, _, _, text, _ in ripsnet.BOXES.values()} <= drawn


def test_noise_changes_the_exact_image_and_hardly_the_learned_one():
    _, data = ripsnet.clean_and_noisy()
    data = data.set_index("cloud")
    assert data.loc["noisy", "exact_maximum"] > 5 * data.loc["clean", "exact_maximum"]
    assert data.loc["noisy", "ripsnet_maximum"] == pytest.approx(
        data.loc["clean", "ripsnet_maximum"], rel=0.2
    )


def test_accuracies_on_circles_beside_the_published_ones():
    figure, data = ripsnet.accuracy_on_circles()
    published = data["published"].set_index(["input", "noise_share"])["accuracy"]
    expected = {("Gudhi, paper", 0.333): 0.333, ("RipsNet, paper", 0): 0.816, ("RipsNet, tutorial", 0): 0.79}
    assert {key: published[key] for key in expected} == pytest.approx(expected)
    assert set(data["ours"]["input"]) == {"exact", "RipsNet mean", "RipsNet sum"}
    assert [len(axes.get_yticks()) for axes in figure.axes] == [7, 3]
    table = read_table("published/ripsnet_tutorial.csv")
    assert "commit 0f4d278" in table.attrs["source"] and len(table) == 8


def test_a_line_shows_mean_and_seeds():
    figure, data = ripsnet.size_control()
    assert len(figure.axes) == 2
    axes, part = figure.axes[0], data[data["scale"] == "as drawn"]
    offsets = np.concatenate(
        [np.asarray(dots.get_offsets()) for dots in axes.collections if len(dots.get_offsets())]
    )
    own = part[part["input"] == "size"]
    place = [label.get_text() for label in axes.get_yticklabels()].index("six numbers")
    line = offsets[np.abs(offsets[:, 1] - place) < 1e-9, 0]
    np.testing.assert_allclose(sorted(line), sorted(own[["clean", "noisy"]].mean()))
    below = offsets[np.abs(offsets[:, 1] - place - 0.3) < 1e-9, 0]
    np.testing.assert_allclose(sorted(below), sorted(own[["clean", "noisy"]].stack()))


def test_seconds_and_published_accuracy():
    _, data = ripsnet.seconds()
    fastest = data[data["data"] == "here"].groupby("method")["seconds"].min()
    assert fastest["exact"] > 20 * fastest["RipsNet"]
    _, table = ripsnet.accuracy()
    assert set(table["data"]) == {"ModelNet10"}


def test_one_moved_point_is_enough_for_the_exact_image_only():
    """Of 300 points on a circle of radius 2: without any moved, the loop is nearly as long as 2 squared."""
    clouds, labels = circles(3, seed=5)
    circle, moved = clouds[labels == 1][0], clouds[labels == 1][0].copy()
    moved[0] = circle.mean(0) + 0.1
    (bars, *still), (less, *images) = (ripsnet.images_of(cloud, "mean") for cloud in (circle, moved))
    assert np.diff(bars).max() == pytest.approx(4, rel=0.02) and np.diff(less).max() < 2
    exact, learned = (np.linalg.norm(b - a) / np.linalg.norm(a) for a, b in zip(still, images, strict=True))
    assert exact > 100 * learned > 0
