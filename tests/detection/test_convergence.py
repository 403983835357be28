"""Steps to a level, ratios that are bounds, differences by seed, and the claim that it is all about."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from marginalia.detection.convergence import (
    ratio_text,
    reach,
    speed_up,
    steps_to_reach,
    values_at,
    values_when,
    verdict,
)
from marginalia.figures.runs import LONG, histories

STEPS = (100, 200, 300, 400)
SLOW = (0.0, 0.1, 0.4, 0.9)
FAST = (0.2, 0.8, 0.9, 0.9)
LOW = (0.0, 0.1, 0.2, 0.3)


def frame(curves: dict[str, tuple[float, ...]]) -> pd.DataFrame:
    """Histories with AP50 as given and AP half of it, for runs named base-seed."""
    rows = []
    for run, values in curves.items():
        base, seed = run.rsplit("-", 1)
        for step, value in zip(STEPS, values, strict=True):
            rows.append({"base": base, "seed": int(seed), "step": step, "AP50": value, "AP": value / 2})
    return pd.DataFrame(rows)


@pytest.mark.parametrize(
    ("threshold", "step"),
    [(0.1, 200), (0.25, 250), (0.4, 300), (0.65, 350), (0.9, 400), (0.0, 100), (-1.0, 100)],
)
def test_a_level_is_reached_between_evaluations(threshold, step):
    assert steps_to_reach(STEPS, SLOW, threshold) == pytest.approx(step)


def test_a_level_that_is_never_reached():
    assert math.isnan(steps_to_reach(STEPS, SLOW, 0.91))


def test_the_first_crossing_counts_and_gaps_in_steps_do():
    assert steps_to_reach(STEPS, (0.0, 0.6, 0.2, 0.8), 0.5) == pytest.approx(100 + 100 * 5 / 6)
    assert steps_to_reach((100, 1100), (0.0, 1.0), 0.5) == pytest.approx(600)


def test_reach_has_a_row_a_run():
    table = reach(frame({"a-0": SLOW, "a-2": LOW, "b-0": FAST}), "AP50", 0.8)
    runs = table[["base", "seed", "trained"]].to_numpy().tolist()
    assert runs == [["a", 0, 400], ["a", 2, 400], ["b", 0, 400]]
    assert np.allclose(table["steps"], [380, math.nan, 200], equal_nan=True)


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


@pytest.mark.parametrize(
    ("ratios", "bounds", "text"),
    [
        ([2.0], ["exactly"], "2"),
        ([2.04, 3.16], ["exactly"] * 2, "2 to 3.2"),
        ([3.4, 2.59], ["exactly", "at least"], "2.5 or more"),
        ([3.41, 2.5], ["exactly", "at most"], "3.5 or fewer"),
        ([3.41, 2.5], ["at least", "at most"], "not known"),
        ([math.nan], ["neither"], "not known"),
    ],
)
def test_ratios_in_words(ratios, bounds, text):
    assert ratio_text(pd.DataFrame({"ratio": ratios, "bound": bounds})) == text


def test_values_have_a_line_a_seed_and_nothing_is_invented():
    runs = frame({"a-0": SLOW, "a-2": LOW, "b-0": FAST})
    values = values_at(runs, {"A": "a", "B": "b"}, "AP50")
    expected = pd.DataFrame({"A": [0.9, 0.3], "B": [0.9, math.nan]}, index=[0, 2])
    pd.testing.assert_frame_equal(values, expected, check_names=False)
    assert values_at(runs, {"A": "a"}, "AP50", 300)["A"].tolist() == [0.4, 0.2]
    runs.loc[3, "AP50"] = math.nan  # a last evaluation without a number is no number
    assert math.isnan(values_at(runs, {"A": "a"}, "AP50").loc[0, "A"])
    with pytest.raises(KeyError, match="c"):
        values_at(runs, {"C": "c"})


def test_metrics_when_another_reaches_a_level():
    table = values_when(frame({"a-0": (0.0, 0.3, 0.6, 0.8), "b-1": LOW}), "AP50", 0.45, ("AP",))
    assert table.loc[("a", 0)].tolist() == pytest.approx([250, 0.225])
    assert table.loc[("b", 1)].isna().all()


@pytest.mark.parametrize(
    ("differences", "text"),
    [
        ([0.1, 0.2, 0.1], "above in all 3 seeds"),
        ([-0.1, -0.2], "below in all 2 seeds"),
        ([0.1], "above in the one seed"),
        ([0.1, -0.1, 0.3], "not separated: above in 2 of 3 seeds"),
        ([0.1, 0.0], "not separated: above in 1 of 2 seeds"),
        ([0.1, math.nan], "not separated: above in 1 of 2 seeds"),
    ],
)
def test_verdicts(differences, text):
    assert verdict(differences) == text


HEADLINE_CLAIM = [(base, seed, 1) for base in ("headline-detr", "headline-detr-focal") for seed in range(3)]


@pytest.mark.parametrize(("slow", "seed", "ratio"), [*HEADLINE_CLAIM, (LONG["headline"], 0, 3)])
def test_conditional_detr_is_at_the_level_first(slow, seed, ratio):
    """The headline: at AP50 0.8 before both DETRs, and in a third of the steps of DETR at an equal rate."""
    fast = "headline-conditional"
    reached = reach(histories([f"{slow}-{seed}", f"{fast}-{seed}"]), "AP50", 0.8)
    found = speed_up(reached, slow, fast).iloc[0]
    assert found["bound"] in ("exactly", "at least") and found["ratio"] > ratio
