"""Circles: labels that count them, noise of the given share, loops of the right size."""

from __future__ import annotations

import numpy as np
import pytest

from marginalia.topology.circles import CIRCLES, alpha_loops, circles


def test_labels_count_the_circles():
    """A third of the clouds each; a circle of radius r has a loop that dies at r^2, the squared radius."""
    clouds, labels = circles(9, points=600)
    assert clouds.shape == (9, 600, 2) and np.bincount(labels).tolist() == [0, 3, 3, 3]
    for bars, label in zip(alpha_loops(clouds), labels, strict=True):
        deaths = bars[:, 1]
        for radius in CIRCLES[label][0]:
            assert np.abs(deaths - radius**2).min() < 0.05 * radius**2
    again, _ = circles(9, points=600)
    assert (again == clouds).all() and not (circles(9, points=600, seed=1)[0] == clouds).any()


def test_noise_replaces_the_share_of_points():
    clouds, labels = circles(30, noise=1 / 3)
    for cloud in clouds[labels == 1]:  # all others lie on one circle of radius 2
        middle = 2 * (cloud.max(0) + cloud.min(0)) / 4
        on = np.abs(np.linalg.norm(cloud - middle, axis=1) - 2) < 0.1
        assert 200 <= on.sum() <= 235  # and a few of the noise, by chance


def test_alpha_loops_of_small_clouds():
    triangle = np.array([[0, 0], [1, 0], [0.5, 3**0.5 / 2]])  # sheet 2: (0.25, 1/3), squared radii
    (bars, none) = alpha_loops([triangle, triangle[:2]])
    assert bars == pytest.approx(np.array([[0.25, 1 / 3]])) and none.shape == (0, 2)
