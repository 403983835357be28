"""Exercise checks: every kind of answer gets one helpful line."""

from __future__ import annotations

import numpy as np
import pytest

from marginalia.exercises import check, check_function


@pytest.mark.parametrize(
    ("answer", "starts"),
    [
        (None, "Open"),
        (0.5, "Right"),
        (-0.5, "Not yet: -0.5. A sign"),
        (2, "Not yet: 2 is too large"),
        (-3.0, "Not yet: -3 is too small"),
        ("half", "The answer is one number"),
    ],
)
def test_check_says_what_is_wrong(capsys, answer, starts):
    check(answer, 0.5, hints={-0.5: "A sign is lost."})
    assert capsys.readouterr().out.startswith(starts)


@pytest.mark.parametrize(
    ("function", "starts"),
    [
        (None, "Open"),
        (lambda x: x**2, "Right in all 2"),
        (lambda x: x, "Not yet: two differs by up to 2"),
        (lambda x: [x, x], "Not yet: one has shape (2,)"),
        (lambda x: 1 / 0, "Not yet: one raised ZeroDivisionError"),
        (lambda x: np.nan, "Not yet: one is undefined"),
    ],
)
def test_check_function_names_the_case(capsys, function, starts):
    check_function(function, {"one": ((1.0,), 1.0), "two": ((2.0,), 4.0)})
    assert capsys.readouterr().out.startswith(starts)
