"""How fast detectors learn, and how sure three seeds make us: steps to a level, ratios, differences by seed.

Functions take frames of runs with one row an evaluation (columns base, seed, step and the metrics), as
`figures.runs.histories` returns them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float
from numpy import ndarray


def steps_to_reach(steps: Float[ndarray, " E"], values: Float[ndarray, " E"], threshold: float) -> float:
    """First step at which a curve reaches a threshold, linear between evaluations; NaN if it never does.

    steps rise. A curve that starts above the threshold gives its first step: it got there no later.

    >>> steps_to_reach([100, 200, 300], [0.1, 0.5, 0.9], 0.8)
    275.0
    """
    steps, values = np.asarray(steps), np.asarray(values)
    above = np.flatnonzero(values >= threshold)
    if not len(above):
        return math.nan
    after = above[0]
    before = max(after - 1, 0)
    return float(np.interp(threshold, [values[before], values[after]], [steps[before], steps[after]]))


def reach(histories: pd.DataFrame, metric: str, threshold: float) -> pd.DataFrame:
    """For each run the step at which `metric` reaches `threshold`: NaN where it does not within its training.

    Columns: base, seed, steps, trained (steps of the whole training).
    """
    runs = histories.groupby(["base", "seed"], sort=False)
    steps = {run: steps_to_reach(part["step"], part[metric], threshold) for run, part in runs}
    reached = pd.DataFrame({"steps": steps, "trained": runs["step"].max()})
    return reached.rename_axis(["base", "seed"]).reset_index()


def speed_up(reached: pd.DataFrame, slow: str, fast: str) -> pd.DataFrame:
    """How many times the steps of `fast` the runs of `slow` need, seed by seed; both are bases in `reach`.

    Columns: seed, ratio, bound. Where the slow run ends below the level, its whole training takes the place
    of its steps and bound says "at least"; likewise "at most" where the fast one does. Without either, the
    ratio is NaN and bound "neither"; else bound is "exactly". Only seeds that both have.
    """
    a, b = (reached[reached["base"] == base] for base in (slow, fast))
    both = a.merge(b, on="seed", suffixes=("_slow", "_fast"))
    late, early = both["steps_slow"].isna(), both["steps_fast"].isna()
    ratio = both["steps_slow"].fillna(both["trained_slow"]) / both["steps_fast"].fillna(both["trained_fast"])
    bound = np.select([late & early, late, early], ["neither", "at least", "at most"], "exactly")
    return both[["seed"]].assign(ratio=ratio.mask(late & early), bound=bound)


def ratio_text(ratios: pd.DataFrame) -> str:
    """Ratios of `speed_up` in a few words: their range, and whether it is a bound."""
    known = ratios.dropna(subset=["ratio"])
    low, high, bounds = known["ratio"].min(), known["ratio"].max(), set(known["bound"])
    if not len(known) or {"at least", "at most"} <= bounds:
        return "not known"
    if "at least" in bounds:  # rounded so that the sentence stays true
        return f"{math.floor(10 * low) / 10:g} or more"
    if "at most" in bounds:
        return f"{math.ceil(10 * high) / 10:g} or fewer"
    return f"{low:.2g}" if f"{low:.2g}" == f"{high:.2g}" else f"{low:.2g} to {high:.2g}"


def values_at(
    histories: pd.DataFrame, rows: Mapping[str, str], metric: str = "AP", step: int | None = None
) -> pd.DataFrame:
    """A metric after `step` steps, or at the end: a line a seed, a column for each of `rows`.

    rows: what a table calls a row -> base of its runs, as in `GROUPS`. KeyError for a base without runs.
    """
    frame = histories if step is None else histories[histories["step"] == step]
    last = frame.drop_duplicates(["base", "seed"], keep="last")
    last = last.pivot(index="seed", columns="base", values=metric)
    return last[list(rows.values())].set_axis(list(rows), axis=1).rename_axis(columns="row")


def values_when(histories: pd.DataFrame, gate: str, level: float, metrics: Sequence[str]) -> pd.DataFrame:
    """Metrics of each run at the step where another one, `gate`, reaches a level; NaN where it never does.

    Columns: step, then the metrics; the index is (base, seed).
    """
    rows = {}
    for run, part in histories.groupby(["base", "seed"]):
        at = steps_to_reach(part["step"], part[gate], level)
        rows[run] = {"step": at} | {name: np.interp(at, part["step"], part[name]) for name in metrics}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis(["base", "seed"])


def verdict(differences: Sequence[float]) -> str:
    """What differences of paired seeds say of their sign: the same in all seeds, or not separated."""
    differences = np.asarray(differences, float)
    above, count = int((differences > 0).sum()), len(differences)
    if (differences > 0).all() or (differences < 0).all():
        side = "above" if above else "below"
        return f"{side} in the one seed" if count == 1 else f"{side} in all {count} seeds"
    return f"not separated: above in {above} of {count} seeds"
