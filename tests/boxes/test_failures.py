"""Kinds of failure, each on boxes made for it."""

from __future__ import annotations

import numpy as np
import pytest

from marginalia.boxes.failures import failures

NONE = np.empty((0, 4))
WHOLE = np.array([[10.0, 10, 40, 20]])
HALVES = np.array([[10.0, 10, 18, 20], [32.0, 10, 18, 20]])  # IoU .45 with the whole each
AWAY = np.array([[200.0, 200, 10, 10]])


def concerned(kinds):
    """Names of the kinds that concern any box."""
    return {name for name, kind in kinds.items() if kind.objects.any() or kind.detections.any()}


@pytest.mark.parametrize(
    ("objects", "detections", "kinds"),
    [
        (WHOLE, HALVES, {"split"}),
        (HALVES, WHOLE, {"merged"}),
        (WHOLE, NONE, {"missed"}),
        (NONE, WHOLE, {"extra"}),
        (WHOLE, AWAY, {"missed", "extra"}),
        (WHOLE, WHOLE, set()),
        (WHOLE, np.concatenate([WHOLE, HALVES]), set()),  # a matched object is not split
        (WHOLE, HALVES[:1], set()),  # one piece alone is a loose box
        (NONE, NONE, set()),
    ],
)
def test_kinds(objects, detections, kinds):
    assert concerned(failures(objects, detections)) == kinds


def test_which_boxes():
    kind = failures(np.concatenate([AWAY, WHOLE]), np.concatenate([HALVES, AWAY]))["split"]
    assert kind.objects.tolist() == [False, True]
    assert kind.detections.tolist() == [True, True, False]


def test_roles_are_exchanged(rng):
    objects, detections = rng.uniform(1, 30, (2, 12, 4))
    there, back = failures(objects, detections), failures(detections, objects)
    for one, other in (("split", "merged"), ("missed", "extra")):
        assert np.array_equal(there[one].objects, back[other].detections)
        assert np.array_equal(there[one].detections, back[other].objects)
