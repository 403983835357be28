"""Gaussian references: what they keep, what they change, and that a test against them is exact."""

import numpy as np
import pytest
from scipy.stats import binomtest, kstest

from marginalia.topology import gaussian_references, h0_deaths


@pytest.mark.parametrize("shape", [(30, 4), (10, 40)])  # more points than dimensions, and fewer
def test_mean_and_covariance_are_kept(shape):
    cloud = np.random.default_rng(0).exponential(size=shape)
    for reference in gaussian_references(cloud, 3, seed=1):
        assert np.allclose(reference.mean(0), cloud.mean(0))
        assert np.allclose(np.cov(reference.T), np.cov(cloud.T))
        assert np.abs(reference - cloud).max() > 0.1


def test_groups_keep_their_means_and_the_covariance_within():
    rng = np.random.default_rng(0)
    groups = np.array([7] * 8 + [2] * 12)
    cloud = rng.exponential(size=(20, 3)) + 5 * (groups == 7)[:, None]

    def within(x):
        centred = x - np.stack([x[groups == g].mean(0) for g in groups])
        return centred.T @ centred

    for reference in gaussian_references(cloud, 3, groups):
        for group in (2, 7):
            assert np.allclose(reference[groups == group].mean(0), cloud[groups == group].mean(0))
        assert np.allclose(within(reference), within(cloud))


def test_one_coordinate_of_a_reference_is_uniform_on_its_sphere():
    # Turned by all rotations alike, the squared share of one direction has a beta distribution.
    cloud = np.random.default_rng(0).normal(size=(6, 1))
    references = gaussian_references(cloud, 2000)[:, :, 0]  # (count, N)
    contrast = np.array([1, -1, 0, 0, 0, 0]) / 2**0.5
    shares = (references @ contrast) ** 2 / ((cloud - cloud.mean()) ** 2).sum()
    assert kstest(shares, "beta", (0.5, 2)).pvalue > 1e-3
    assert binomtest(int((references @ contrast > 0).sum()), 2000).pvalue > 1e-3


def test_ranks_of_gaussian_clouds_are_uniform():
    rng = np.random.default_rng(0)
    ranks = []
    for seed in range(300):
        cloud = rng.normal(size=(12, 5)) * [1, 2, 3, 4, 5]
        means = h0_deaths(np.concatenate([cloud[None], gaussian_references(cloud, 19, seed=seed)])).mean(1)
        ranks.append((means[1:] > means[0]).sum())
    counts = np.bincount(ranks, minlength=20)
    assert ((counts - 15) ** 2 / 15).sum() < 43.8  # chi-square with 19 degrees of freedom, p = .001


def test_the_seed_decides():
    cloud = np.random.default_rng(0).normal(size=(8, 3))
    first, again, other = (gaussian_references(cloud, 1, seed=seed) for seed in (0, 0, 1))
    assert first.shape == (1, 8, 3)
    assert np.array_equal(first, again) and not np.allclose(first, other)


@pytest.mark.parametrize(
    ("points", "groups", "told"),
    [
        (np.array([[0.0, 1], [np.nan, 0], [1, 1]]), None, "finite"),
        (np.zeros((2, 3, 4)), None, "finite and"),
        (np.zeros((2, 3)), None, "too few"),
        (np.zeros((6, 3)), np.arange(6), "too few"),
    ],
)
def test_errors(points, groups, told):
    with pytest.raises(ValueError, match=told):
        gaussian_references(points, 1, groups)
