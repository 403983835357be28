"""How fast detectors learn, and how sure three seeds make us: steps to a level, orders, agreement of ranks.

Functions take frames as `runs.histories` returns them, one row an evaluation. `rows` maps what a table calls
a row to the name of its runs less the seed, as the values of `runs.GROUPS` do.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from .runs import GROUPS, LONG, SEEDS

if TYPE_CHECKING:
    import pandas as pd

BOUNDS = {  # which of (slow, fast) never arrived -> what their ratio is
    (False, False): "exactly",
    (True, False): "at least",
    (False, True): "at most",
    (True, True): "neither",
}
METRICS = ("AP", "AP50", "AP75", "AP50_any", "mean_iou", "iou_75")


def steps_to_reach(steps: Float[ndarray, " E"], values: Float[ndarray, " E"], threshold: float) -> float:
    """First step at which a curve reaches a threshold, linear between evaluations; NaN if it never does.

    A curve that starts above the threshold gives its first step: it was reached no later than there.
    ValueError when steps do not rise or the two differ in length.
    """
    steps, values = np.asarray(steps, float), np.asarray(values, float)
    if steps.shape != values.shape or steps.ndim != 1 or (np.diff(steps) <= 0).any():
        raise ValueError("steps_to_reach: steps must rise, with one value for each step")
    above = np.flatnonzero(values >= threshold)
    if not len(above):
        return math.nan
    after = above[0]
    if after == 0:
        return steps[0]
    part = (threshold - values[after - 1]) / (values[after] - values[after - 1])
    return steps[after - 1] + part * (steps[after] - steps[after - 1])


def reach(histories: pd.DataFrame, metric: str, threshold: float) -> pd.DataFrame:
    """For each run the step at which `metric` reaches `threshold`: NaN where it does not within its training.

    Columns: base, seed, steps, trained (steps of the whole training). ValueError for a metric not in METRICS.
    """
    import pandas as pd

    _known(metric)
    groups = histories.groupby(["base", "seed"], sort=False) if len(histories) else ()
    rows = [
        (base, seed, steps_to_reach(part["step"], part[metric], threshold), int(part["step"].max()))
        for (base, seed), part in groups
    ]
    return pd.DataFrame(rows, columns=["base", "seed", "steps", "trained"])


def speed_up(reached: pd.DataFrame, slow: str, fast: str) -> pd.DataFrame:
    """How many times the steps of `fast` the runs of `slow` need, seed by seed; both are bases in `reach`.

    Columns: seed, slow, fast (steps, NaN: not reached), ratio, bound. Where the slow run ends too early its
    whole training takes the place of its steps and bound says "at least"; likewise "at most" where the fast
    one does. Without either the ratio is NaN and bound "neither". Only seeds that both have.
    """
    import pandas as pd

    a, b = (reached[reached["base"] == base].set_index("seed") for base in (slow, fast))
    rows = []
    for seed in sorted(set(a.index) & set(b.index)):
        steps = a.loc[seed, "steps"], b.loc[seed, "steps"]
        never = tuple(np.isnan(steps).tolist())
        used = [s if s == s else one.loc[seed, "trained"] for s, one in zip(steps, (a, b), strict=True)]
        rows.append((seed, *steps, math.nan if all(never) else used[0] / used[1], BOUNDS[never]))
    return pd.DataFrame(rows, columns=["seed", "slow", "fast", "ratio", "bound"])


def ratio_text(ratios: pd.DataFrame) -> str:
    """Ratios of `speed_up` in a few words: their range, and whether it is a bound."""
    known = ratios.dropna(subset=["ratio"])
    if not len(known):
        return "no run yet" if not len(ratios) else "not known"
    low, high, bounds = known["ratio"].min(), known["ratio"].max(), set(known["bound"])
    if {"at least", "at most"} <= bounds:
        return "not known"
    if "at least" in bounds:  # rounded so that the sentence stays true
        return f"{math.floor(10 * low) / 10:g} or more"
    if "at most" in bounds:
        return f"{math.ceil(10 * high) / 10:g} or less"
    low, high = f"{low:.2g}", f"{high:.2g}"
    return low if low == high else f"{low} to {high}"


def curve(histories: pd.DataFrame, run: str, metric: str) -> pd.Series:
    """One run's metric by step; empty when the run is missing. ValueError for a metric not in METRICS."""
    import pandas as pd

    _known(metric)
    if not len(histories):
        return pd.Series([], dtype=float, index=pd.Index([], dtype=int, name="step"), name=metric)
    return histories[histories["run"] == run].set_index("step")[metric]


def values_at(
    histories: pd.DataFrame, rows: Mapping[str, str], metric: str = "AP", step: int | None = None
) -> pd.DataFrame:
    """One number a run: `metric` after `step` steps, or at the end. Missing runs are there, with NaN.

    Columns: row, base, seed, value; as many rows as `rows` times SEEDS. ValueError for an unknown metric, or
    a step at which a run was not evaluated.
    """
    import pandas as pd

    keys = [(row, base, seed) for row, base in rows.items() for seed in SEEDS]
    values = [(*key, _at(curve(histories, f"{key[1]}-{key[2]}", metric), step)) for key in keys]
    return pd.DataFrame(values, columns=["row", "base", "seed", "value"])


def values_when(
    histories: pd.DataFrame, rows: Mapping[str, str], gate: str, level: float, metrics: Sequence[str]
) -> pd.DataFrame:
    """Metrics of each row at the step where another one, `gate`, reaches a level; on the mean of its seeds.

    Columns: steps, then the metrics; the index is `row`. NaN where the level is not reached or no run is
    there. ValueError for an unknown metric.
    """
    import pandas as pd

    for metric in (gate, *metrics):
        _known(metric)
    found = {}
    for row, base in rows.items():
        runs = histories[histories["base"] == base] if len(histories) else histories
        if not len(runs):
            found[row] = dict.fromkeys(("steps", *metrics), math.nan)
            continue
        means = runs.groupby("step")[[gate, *metrics]].mean()
        at = steps_to_reach(means.index, means[gate], level)
        found[row] = {"steps": at} | {name: np.interp(at, means.index, means[name]) for name in metrics}
    return pd.DataFrame.from_dict(found, orient="index").rename_axis("row")


def _at(values: pd.Series, step: int | None) -> float:
    """A curve's value at a step, its last one for None; NaN when the run is missing."""
    if not len(values):
        return math.nan
    if step is None:
        return values.iloc[-1]
    if step not in values.index:
        known = ", ".join(map(str, values.index))
        raise ValueError(f"values_at: step must be one with an evaluation ({known}), not {step}")
    return values[step]


def summarise(values: pd.DataFrame) -> pd.DataFrame:
    """Mean, lowest and highest of each row over the seeds that are there, how many, and which are not.

    values: of `values_at`. Columns: mean, low, high, seeds, missing (names of runs); the index is `row`.
    """
    import pandas as pd

    rows = {}
    for row, part in values.groupby("row", sort=False):
        there = part["value"].dropna()
        gone = part[part["value"].isna()]
        missing = ", ".join(f"{base}-{seed}" for base, seed in zip(gone["base"], gone["seed"], strict=True))
        rows[row] = (there.mean(), there.min(), there.max(), len(there), missing)
    columns = ["mean", "low", "high", "seeds", "missing"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis("row")


def run_names(*groups: str) -> list[str]:
    """Names of all runs of some of `runs.GROUPS`, finished or not; the long run belongs to `headline`."""
    names = [f"{base}-{seed}" for group in groups for base in GROUPS[group].values() for seed in SEEDS]
    return list(dict.fromkeys(names + [f"{LONG}-0"] * ("headline" in groups)))


def missing_runs(histories: pd.DataFrame, names: Iterable[str]) -> list[str]:
    """Those of the named runs that are not in a frame."""
    there = set(histories["run"]) if len(histories) else set()
    return [name for name in names if name not in there]


def paired(values: pd.DataFrame, upper: str, lower: str) -> Float[ndarray, " S"]:
    """Differences upper - lower, one for each of the S seeds that both rows of `values_at` have."""
    wide = values.pivot(index="seed", columns="row", values="value")
    return (wide[upper] - wide[lower]).dropna().to_numpy()


def verdict(differences: Sequence[float]) -> str:
    """What paired differences allow to say of their sign: the same in all seeds, or not separated."""
    differences, words = np.asarray(differences, float), {1: "one", 2: "two", 3: "three"}
    count = len(differences)
    if count == 0:
        return "no seed yet"
    above = int((differences > 0).sum())
    if above in (0, count) and (differences != 0).all():
        side = "above" if above else "below"
        return f"{side} in the one seed" if count == 1 else f"{side} in all {words.get(count, count)} seeds"
    return f"not separated: above in {above} of {count} seeds"


def pair_orders(values: pd.DataFrame, published: Mapping[str, float]) -> pd.DataFrame:
    """Every two rows of a table: the published difference, and ours seed by seed.

    Columns: upper, lower (as published), published, mean (difference, ours), agree (seeds with the published
    order), seeds, order ("as published" or "reversed" in all seeds, else "not separated"; "no seed yet").
    """
    import pandas as pd

    ranked = sorted(published, key=published.get, reverse=True)
    rows = []
    for upper, lower in combinations(ranked, 2):
        ours = paired(values, upper, lower)
        agree, against = int((ours > 0).sum()), int((ours < 0).sum())
        order = "not separated" if len(ours) else "no seed yet"
        if len(ours) and len(ours) in (agree, against):
            order = "as published" if agree else "reversed"
        mean = ours.mean() if len(ours) else math.nan
        gap = published[upper] - published[lower]
        rows.append((upper, lower, gap, mean, agree, len(ours), order))
    columns = ["upper", "lower", "published", "mean", "agree", "seeds", "order"]
    return pd.DataFrame(rows, columns=columns)


def _known(metric: str) -> None:
    if metric not in METRICS:
        raise ValueError(f"metric must be one of {', '.join(METRICS)}, not {metric!r}")
