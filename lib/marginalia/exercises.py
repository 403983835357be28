"""The checks behind the notebooks' exercises: they say what is wrong, not only that it is wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np


def check(answer, expected: float, tolerance: float = 1e-3, hints: Mapping[float, str] | None = None) -> None:
    """Print whether a number answers an exercise, with a hint for the usual mistakes.

    answer: the reader's number, or None while it is open; expected: the right one; tolerance: absolute;
    hints: number that a known mistake leads to -> what went wrong. Prints one line, raises nothing, so that
    a notebook with open exercises still runs from top to bottom.
    """
    if answer is None:
        print("Open: replace None by your answer and run the cell again.")
        return
    try:
        value = float(answer)
    except (TypeError, ValueError):
        print(f"The answer is one number, not {type(answer).__name__}.")
        return
    if abs(value - expected) <= tolerance:
        print(f"Right: {value:.4g}.")
        return
    for wrong, hint in (hints or {}).items():
        if abs(value - wrong) <= tolerance:
            print(f"Not yet: {value:.4g}. {hint}")
            return
    print(f"Not yet: {value:.4g} is too {'large' if value > expected else 'small'}.")


def check_function(function: Callable | None, cases: Mapping[str, tuple]) -> None:
    """Print the first case in which the reader's function differs from the right result.

    cases: name -> (arguments tuple, expected array or number), compared element by element to 1e-9.
    """
    if function is None:
        print("Open: write the function, replace None and run the cell again.")
        return
    for name, (arguments, expected) in cases.items():
        try:
            result = np.asarray(function(*arguments), float)
        except Exception as error:  # the reader's own code: whatever it raises is part of the answer
            print(f"Not yet: {name} raised {type(error).__name__}: {error}")
            return
        expected = np.asarray(expected, float)
        if result.shape != expected.shape:
            print(f"Not yet: {name} has shape {result.shape}, expected {expected.shape}.")
            return
        undefined = np.isnan(result) != np.isnan(expected)
        worst = np.max(np.abs(result - expected), where=~np.isnan(result - expected), initial=0.0)
        if undefined.any():
            print(f"Not yet: {name} is undefined (NaN) where it should not be, or the other way round.")
            return
        if worst > 1e-9:
            print(f"Not yet: {name} differs by up to {worst:.3g}.")
            return
    print(f"Right in all {len(cases)} cases.")
