"""Kinds of error on boxes made for them, what they cost, and agreement with pycocotools."""

from __future__ import annotations

import numpy as np
import pytest

from marginalia.boxes.error_types import ERRORS, costs, error_types
from marginalia.boxes.evaluation import evaluate, evaluate_images
from marginalia.boxes.table import BoxTable

ONE, TWO = (10, 10, 40, 20), (100, 100, 30, 30)
NEAR = (10, 10, 40, 8)  # IoU .4 with ONE
AWAY = (200, 200, 10, 10)


def table(*rows, scores=None, images=1, image=0):
    """Rows of (box, category); scores fall from 0.9 unless given."""
    boxes = np.array([box for box, _ in rows], float).reshape(-1, 4)
    ids, sizes = tuple(range(images)), [(300, 300)] * images
    names = {category: str(category) for category in range(3)}
    where = np.broadcast_to(image, len(rows))
    return BoxTable(boxes, where, ids, sizes, [c for _, c in rows], names, score=scores)


def found(*rows, **more):
    return table(*rows, scores=0.9 - 0.1 * np.arange(len(rows)), **more)


@pytest.mark.parametrize(
    ("detections", "kinds", "outcomes"),
    [
        ([(ONE, 1)], ["true positive"], ["found", "missed"]),
        ([(ONE, 1), (ONE, 1)], ["true positive", "duplicate"], ["found", "missed"]),
        ([(ONE, 2)], ["classification"], ["classification", "missed"]),
        ([(NEAR, 1)], ["localisation"], ["localisation", "missed"]),
        ([(NEAR, 2)], ["both"], ["missed", "missed"]),
        ([(AWAY, 1)], ["background"], ["missed", "missed"]),
        ([(ONE, 2), (ONE, 1)], ["classification", "true positive"], ["found", "missed"]),
        ([(NEAR, 1), (ONE, 2)], ["localisation", "classification"], ["classification", "missed"]),
        ([(TWO, 2), (ONE, 1)], ["true positive", "true positive"], ["found", "found"]),
        ([], [], ["missed", "missed"]),
    ],
)
def test_each_kind(detections, kinds, outcomes):
    errors = error_types(table((ONE, 1), (TWO, 2)), found(*detections))
    assert errors.kind.tolist() == kinds and errors.outcome.tolist() == outcomes


def test_the_higher_score_comes_first_wherever_it_stands():
    errors = error_types(table((ONE, 1)), table((ONE, 1), (ONE, 1), scores=[0.2, 0.8]))
    assert errors.kind.tolist() == ["duplicate", "true positive"]


def test_what_a_detection_is_about():
    errors = error_types(table((TWO, 2), (ONE, 1)), found((NEAR, 1), (AWAY, 0)))
    assert errors.about.tolist() == [1, -1]
    np.testing.assert_allclose(errors.iou, [0.4, 0], atol=1e-12)


@pytest.mark.parametrize(
    ("detections", "kind", "gain"),
    [
        ([(ONE, 2)], "classification", 0.5),
        ([(NEAR, 1)], "localisation", 0.5),
        ([(NEAR, 2), (TWO, 2)], "both", 0.25),  # class 2 is found at rank 2, and at rank 1 without
        ([(AWAY, 2), (TWO, 2)], "background", 0.25),
        ([(TWO, 2)], "missed", 0.5),  # what is missed need not be found, and its class goes
        ([(ONE, 1), (ONE, 1)], "duplicate", 0.0),  # nothing comes after it
    ],
)
def test_what_an_error_costs(detections, kind, gain):
    gains = costs(table((ONE, 1), (TWO, 2)), found(*detections))
    assert gains[kind] == pytest.approx(gain, abs=1e-12)
    assert list(gains.index) == ["AP50", *ERRORS, "missed"]


def test_only_one_detection_of_an_object_can_be_mended():
    ground_truth, detections = table((ONE, 1)), found((ONE, 2), (ONE, 0))
    assert costs(ground_truth, detections)["classification"] == pytest.approx(1, abs=1e-12)


def test_agrees_with_pycocotools(rng):
    objects = [((*rng.uniform(0, 200, 2), 40, 30), int(rng.integers(3))) for _ in range(120)]
    shifted = [((x + rng.normal(0, 6), y + rng.normal(0, 6), w, h), c) for (x, y, w, h), c in objects * 2]
    image = np.arange(120) % 30
    ground_truth = table(*objects, images=30, image=image)
    detections = table(*shifted, scores=rng.random(240), images=30, image=np.tile(image, 2))
    errors = error_types(ground_truth, detections)
    correct = evaluate_images(ground_truth, detections, score_threshold=0)["true_positives"].sum()
    assert (errors.kind == "true positive").sum() == (errors.outcome == "found").sum() == correct
    assert costs(ground_truth, detections)["AP50"] == pytest.approx(
        evaluate(ground_truth, detections)["AP50"], abs=1e-12
    )


def test_bad_input_is_explained():
    ground_truth, detections = table((ONE, 1)), found((ONE, 1))
    with pytest.raises(ValueError, match="scores"):
        error_types(ground_truth, ground_truth)
    with pytest.raises(ValueError, match="same images"):
        error_types(ground_truth, found((ONE, 1), images=2))
    crowd = BoxTable([ONE], [0], (0,), [(300, 300)], [1], {1: "1"}, crowd=[True])
    with pytest.raises(ValueError, match="crowd"):
        error_types(crowd, detections)
    with pytest.raises(ValueError, match="no object"):
        costs(table(), detections)
