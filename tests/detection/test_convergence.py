"""Steps to a level, ratios that are bounds, orders over few seeds, and the claim that it is all about."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from marginalia.detection import runs
from marginalia.detection.convergence import (
    curve,
    missing_runs,
    pair_orders,
    paired,
    ratio_text,
    reach,
    run_names,
    speed_up,
    steps_to_reach,
    summarise,
    values_at,
    values_when,
    verdict,
)

STEPS = (100, 200, 300, 400)


def frame(curves: dict[str, tuple[float, ...]]) -> pd.DataFrame:
    """Histories with AP50 as given and AP half of it, for runs named base-seed."""
    rows = []
    for run, values in curves.items():
        base, seed = run.rsplit("-", 1)
        own = {"run": run, "base": base, "seed": int(seed)}
        rows += [
            own | {"step": s, "AP50": v, "AP": v / 2}
            for s, v in zip(STEPS[: len(values)], values, strict=True)
        ]
    return pd.DataFrame(rows)


SLOW = (0.0, 0.1, 0.4, 0.9)
FAST = (0.2, 0.8, 0.9, 0.9)
LOW = (0.0, 0.1, 0.2, 0.3)


@pytest.mark.parametrize(
    ("threshold", "step"),
    [(0.1, 200), (0.25, 250), (0.4, 300), (0.65, 350), (0.9, 400), (0.0, 100), (-1.0, 100)],
)
def test_a_level_is_reached_between_evaluations(threshold, step):
    assert steps_to_reach(STEPS, SLOW, threshold) == pytest.approx(step)


def test_a_level_that_is_never_reached():
    assert math.isnan(steps_to_reach(STEPS, SLOW, 0.91))
    assert math.isnan(steps_to_reach([], [], 0.5))


def test_the_first_crossing_counts_and_gaps_in_steps_do():
    assert steps_to_reach(STEPS, (0.0, 0.6, 0.2, 0.8), 0.5) == pytest.approx(100 + 100 * 5 / 6)
    assert steps_to_reach((100, 1100), (0.0, 1.0), 0.5) == pytest.approx(600)


@pytest.mark.parametrize(("steps", "values"), [((1, 2), (0,)), ((2, 1), (0, 1)), ((1, 1), (0, 1))])
def test_steps_must_rise(steps, values):
    with pytest.raises(ValueError, match="steps must rise"):
        steps_to_reach(steps, values, 0.5)


def test_reach_has_a_row_a_run():
    table = reach(frame({"a-0": SLOW, "a-2": LOW, "b-0": FAST}), "AP50", 0.8)
    assert table[["base", "seed", "trained"]].to_numpy().tolist() == [
        ["a", 0, 400],
        ["a", 2, 400],
        ["b", 0, 400],
    ]
    assert np.allclose(table["steps"], [380, math.nan, 200], equal_nan=True)
    assert list(reach(pd.DataFrame(), "AP50", 0.8).columns) == ["base", "seed", "steps", "trained"]


@pytest.mark.parametrize(
    ("slow", "fast", "ratio", "bound"),
    [
        (SLOW, FAST, 380 / 200, "exactly"),
        (LOW, FAST, 400 / 200, "at least"),
        (SLOW, LOW, 380 / 400, "at most"),
        (LOW, LOW, math.nan, "neither"),
    ],
)
def test_a_run_that_ends_too_early_gives_a_bound(slow, fast, ratio, bound):
    found = speed_up(reach(frame({"a-1": slow, "b-1": fast}), "AP50", 0.8), "a", "b")
    assert found["bound"].tolist() == [bound]
    assert found["ratio"].to_numpy() == pytest.approx([ratio], nan_ok=True)


def test_ratios_are_of_shared_seeds():
    table = reach(frame({"a-0": SLOW, "a-1": SLOW, "b-1": FAST, "b-2": FAST}), "AP50", 0.8)
    assert speed_up(table, "a", "b")["seed"].tolist() == [1]
    assert speed_up(table, "a", "c").empty


@pytest.mark.parametrize(
    ("ratios", "bounds", "text"),
    [
        ([2.0], ["exactly"], "2"),
        ([2.04, 3.16], ["exactly"] * 2, "2 to 3.2"),
        ([3.4, 2.59], ["exactly", "at least"], "2.5 or more"),
        ([3.41, 2.5], ["exactly", "at most"], "3.5 or less"),
        ([3.41, 2.5], ["at least", "at most"], "not known"),
        ([math.nan], ["neither"], "not known"),
        ([], [], "no run yet"),
    ],
)
def test_ratios_in_words(ratios, bounds, text):
    assert ratio_text(pd.DataFrame({"ratio": np.array(ratios, float), "bound": bounds})) == text


def test_curve_of_one_run():
    histories = frame({"a-0": SLOW, "a-b-0": FAST})
    assert curve(histories, "a-0", "AP50").to_dict() == dict(zip(STEPS, SLOW, strict=True))
    for empty in (curve(histories, "a-1", "AP"), curve(pd.DataFrame(), "a-0", "AP")):
        assert empty.loc[:200].empty
    with pytest.raises(ValueError, match="metric must be one of AP, AP50"):
        curve(histories, "a-0", "AP60")


def test_values_have_a_row_for_every_seed_and_nothing_is_invented():
    histories = frame({"a-0": SLOW, "a-2": LOW, "b-0": FAST})
    values = values_at(histories, {"A": "a", "B": "b", "C": "c"}, "AP50")
    assert len(values) == 3 * len(runs.SEEDS)
    known = values.dropna()
    assert known[["row", "seed", "value"]].to_numpy().tolist() == [
        ["A", 0, 0.9],
        ["A", 2, 0.3],
        ["B", 0, 0.9],
    ]
    summary = summarise(values)
    assert list(summary.index) == ["A", "B", "C"] and summary["seeds"].tolist() == [2, 1, 0]
    assert summary["missing"].tolist() == ["a-1", "b-1, b-2", "c-0, c-1, c-2"]
    assert summary.loc["A", ["mean", "low", "high"]].tolist() == pytest.approx([0.6, 0.3, 0.9])
    assert summary.loc["C", ["mean", "low", "high"]].isna().all()


def test_values_at_a_step():
    histories = frame({"a-0": SLOW})
    assert values_at(histories, {"A": "a"}, "AP50", 300)["value"].iloc[0] == 0.4
    with pytest.raises(
        ValueError, match=r"step must be one with an evaluation \(100, 200, 300, 400\), not 250"
    ):
        values_at(histories, {"A": "a"}, "AP50", 250)
    assert values_at(pd.DataFrame(), {"A": "a"}, "AP50", 250)["value"].isna().all()


def test_metrics_when_another_reaches_a_level():
    histories = frame({"a-0": (0.0, 0.2, 0.4, 0.8), "a-1": (0.0, 0.4, 0.8, 1.0), "b-0": LOW})
    table = values_when(histories, {"A": "a", "B": "b", "C": "c"}, "AP50", 0.45, ("AP",))
    assert table.loc["A"].tolist() == pytest.approx([250, 0.225])  # means .3 and .6 at 200 and 300
    assert table.loc[["B", "C"]].isna().all(axis=None)
    assert values_when(pd.DataFrame(), {"A": "a"}, "AP50", 0.5, ("AP",)).isna().all(axis=None)
    with pytest.raises(ValueError, match="metric must be one of"):
        values_when(histories, {"A": "a"}, "IoU", 0.5, ("AP",))


def values_of(**rows: tuple[float, ...]) -> pd.DataFrame:
    """What `values_at` returns, for rows with a value a seed."""
    table = [(row, row, seed, value) for row, values in rows.items() for seed, value in enumerate(values)]
    return pd.DataFrame(table, columns=["row", "base", "seed", "value"])


def test_pairs_share_their_seed():
    values = values_of(a=(1, math.nan, 3), b=(0, 5, 1))
    assert paired(values, "a", "b").tolist() == [1, 2]
    assert paired(values, "b", "a").tolist() == [-1, -2]


@pytest.mark.parametrize(
    ("differences", "text"),
    [
        ([0.1, 0.2, 0.1], "above in all three seeds"),
        ([-0.1, -0.2], "below in all two seeds"),
        ([0.1], "above in the one seed"),
        ([0.1, -0.1, 0.3], "not separated: above in 2 of 3 seeds"),
        ([0.1, 0.0], "not separated: above in 1 of 2 seeds"),
        ([0.0], "not separated: above in 0 of 1 seeds"),
        ([], "no seed yet"),
    ],
)
def test_verdicts(differences, text):
    assert verdict(differences) == text


def test_orders_of_pairs():
    values = values_of(a=(1, 2, 3), b=(0, 1, 4), c=(5, 6, 7), d=(math.nan,) * 3)
    table = pair_orders(values, {"a": 40.0, "b": 39.0, "c": 38.0, "d": 37.0}).set_index(["upper", "lower"])
    assert len(table) == 6
    assert table.loc[("a", "b"), ["published", "agree", "seeds", "order"]].tolist() == [
        1,
        2,
        3,
        "not separated",
    ]
    assert table.loc[("a", "c"), "order"] == table.loc[("b", "c"), "order"] == "reversed"
    assert set(table.xs("d", level="lower")["order"]) == {"no seed yet"}
    assert pair_orders(values, {"c": 2.0, "a": 1.0})["order"].tolist() == ["as published"]


def test_names_of_runs():
    names = run_names("headline", "table_3", "figure_5")
    assert len(names) == len(set(names)) and set(names) <= set(runs.RUNS)
    assert f"{runs.LONG}-0" in names and f"{runs.LONG}-1" not in names
    assert f"{runs.LONG}-0" not in run_names("table_3")
    assert missing_runs(frame({names[0]: SLOW}), names[:2]) == [names[1]]
    assert missing_runs(pd.DataFrame(), names) == names
