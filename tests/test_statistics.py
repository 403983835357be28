"""The bootstrap and the ranks, beside scipy's own and beside counting."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from marginalia.statistics import bootstrap, rank_agreement, rank_correlation, ratio_of_sums

RESAMPLES = 4000
NEAR = (
    0.08  # widths of the interval: from 1,000 and 4,000 resamples its ends differ by .02 (standard deviation)
)


def assert_near(found, expected):
    np.testing.assert_allclose(found, expected, rtol=0, atol=NEAR * (expected[1] - expected[0]))


def scipys(statistic, *samples, **options):
    """The same interval, with the statistic as one would write it for one resample."""
    options = {"method": "percentile", "vectorized": False, "n_resamples": RESAMPLES, "rng": 1} | options
    return scipy.stats.bootstrap(samples, statistic, **options).confidence_interval


def test_the_bootstrap_is_scipys(rng):
    values, weights = rng.exponential(size=80), rng.integers(1, 9, 80)
    assert_near(bootstrap(np.mean, values, resamples=RESAMPLES), scipys(np.mean, values))
    assert_near(
        bootstrap(ratio_of_sums, values * weights, weights, resamples=RESAMPLES),
        scipys(lambda v, w: v.sum() / w.sum(), values * weights, weights, paired=True),
    )


def test_the_bootstrap_has_its_level(rng):
    """The 95 % interval of a mean covers it in about 95 % of samples."""
    covered = 0
    for seed in range(300):
        low, high = bootstrap(np.mean, rng.normal(size=60), resamples=400, seed=seed)
        covered += low < 0 < high
    assert 0.90 <= covered / 300 <= 0.98  # 0.93 is expected with 60 values; binomial sd 0.015


def test_resamples_of_many_values_are_drawn_in_parts(rng, monkeypatch):
    values = rng.normal(size=200)
    whole = bootstrap(np.mean, values, resamples=999, seed=3)
    monkeypatch.setattr("marginalia.statistics.AT_A_TIME", 5000)
    assert bootstrap(np.mean, values, resamples=999, seed=3) == whole
    assert bootstrap(np.mean, values, resamples=999, seed=4) != whole


def test_an_interval_of_nothing_is_not_a_number():
    for values, resamples in (([], 10), ([1.0], 10), ([1.0, 2.0], 0)):
        assert np.isnan(bootstrap(np.mean, values, resamples=resamples)).all()
    assert bootstrap(ratio_of_sums, np.array([2.0, 8.0, 3.0]), np.array([1, 4, 1.5])) == (2, 2)


def test_rank_correlation_is_scipys(rng):
    a = rng.integers(0, 12, 70)  # with ties
    b = a + rng.normal(size=70) * 6
    found = rank_correlation(a, pd.Series(b, index=np.arange(70)[::-1]))
    assert found.rho == pytest.approx(scipy.stats.spearmanr(a, b).statistic, abs=1e-12)
    assert_near(found[1:], scipys(lambda x, y: scipy.stats.spearmanr(x, y).statistic, a, b, paired=True))
    assert rank_correlation(a, 2 * a) == pytest.approx((1, 1, 1))
    assert np.isnan(rank_correlation(np.ones(4), np.arange(4))).all()


def test_rank_correlation_within_groups(rng):
    """Two groups that rise, one far below the other: all in all it falls, within each it rises."""
    x = rng.random(60)
    groups = np.repeat([0, 1], 30)
    y = x - 5 * groups
    x = x + 2 * groups
    assert rank_correlation(x, y).rho < 0
    assert rank_correlation(x, y, groups) == pytest.approx((1, 1, 1))
    # a third group in which x is constant says nothing about it
    x, y, groups = (np.append(a, b) for a, b in ((x, [7, 7]), (y, [1, 2]), (groups, [2, 2])))
    assert rank_correlation(x, y, groups) == pytest.approx((1, 1, 1))


def test_rank_correlation_within_groups_is_that_of_their_ranks(rng):
    frame = pd.DataFrame({"x": rng.random(90), "y": rng.random(90), "group": rng.integers(3, size=90)})
    frame["y"] += frame["x"]
    by = frame.groupby("group")
    centred = by[["x", "y"]].rank(pct=True) - by[["x", "y"]].rank(pct=True).groupby(frame["group"]).transform(
        "mean"
    )
    found = rank_correlation(frame["x"], frame["y"], frame["group"])
    assert found.rho == pytest.approx(centred["x"].corr(centred["y"]), abs=1e-12)
    assert found.low < found.rho < found.high


def test_rank_agreement_counts_orders():
    published = [1.0, 2.0, 3.0, 4.0, 5.0]
    assert rank_agreement([10, 20, 30, 40, 50], published) == (pytest.approx(1), 5, 1, 120)
    assert rank_agreement([50, 40, 30, 20, 10], published) == (pytest.approx(-1), 5, 120, 120)
    assert rank_agreement([20, 10, 30, 40, 50], published) == (pytest.approx(0.9), 5, 5, 120)
    assert rank_agreement(range(8), range(8)) == (pytest.approx(1), 8, 1, 40320)


def test_rank_agreement_is_spearmans(rng):
    for _ in range(20):
        a, b = rng.integers(0, 4, (2, 5)) + np.array([0, 0, 0, 0, 9])  # with ties
        found = rank_agreement(a, b)
        assert found.rho == pytest.approx(scipy.stats.spearmanr(a, b).statistic)
        every = [scipy.stats.spearmanr(p, b).statistic for p in itertools.permutations(a)]
        assert found.as_good == sum(rho >= found.rho - 1e-9 for rho in every)


@pytest.mark.parametrize("ours", [[1.0], [1.0, 2.0, 3.0], [1.0, math.nan], [3.0, 3.0], list(range(9))])
def test_rank_agreement_of_what_it_cannot_rank(ours):
    with pytest.raises(ValueError, match="two lists of the same 2 to 8 numbers"):
        rank_agreement(ours, [1.0, 2.0] if len(ours) != 9 else ours)
