"""Detectors beside the ground truth of scenes: boxes as drawn, numbers as measured, errors as made up."""

from __future__ import annotations

import json

import matplotlib
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from marginalia.boxes.evaluation import evaluate, evaluate_images
from marginalia.boxes.table import BoxTable
from marginalia.detection import as_boxes, make_scenes
from marginalia.detection.plots import pairs

matplotlib.use("agg")
torch.set_num_threads(1)
NAME, COUNT = "headline-conditional-0", 12


@pytest.fixture(scope="module")
def pair() -> pairs.Pair:
    return pairs.scene_pair(NAME, COUNT)


@pytest.fixture
def few_scenes(pair, monkeypatch):
    """Whoever asks for the pair of all scenes gets that of twelve."""
    monkeypatch.setattr(pairs, "scene_pair", lambda name=NAME: pair)


def test_boxes_lie_around_the_digits_of_the_drawn_picture(pair):
    drawn = as_boxes(make_scenes(COUNT, split="val", side=pairs.SHARP))
    np.testing.assert_allclose(pair.ground_truth.xywh, drawn.xywh, atol=1.5 * pairs.SHARP / pairs.SIDE)
    assert pair.ground_truth.category.tolist() == drawn.category.tolist()
    assert pair.picture(3).shape == (pairs.SHARP, pairs.SHARP) and pair.picture(3).dtype == np.uint8
    assert (pair.ground_truth.sizes == pairs.SHARP).all() and pair.ground_truth.image_ids[3] == "scene 3"


def test_the_detector_finds_digits_at_that_scale(pair):
    assert evaluate(pair.ground_truth, pair.detections)["AP50"] > 0.8


def test_the_catalogue_function_needs_no_argument(few_scenes):
    figure, data = pairs.quantile_gallery()
    assert data["quantile"].tolist() == [0, 0.1, 0.25, 0.5, 0.75, 1] and data["picture_found"].all()
    assert data["AP"].round(12).is_monotonic_increasing and len(figure.axes) == 6


def test_a_pair_or_a_readers_own_files(pair, tmp_path):
    _, data = pairs.quantile_gallery(pair, (0, 1))
    assert len(data) == 2
    box = {"image_id": 7, "category_id": 1, "bbox": [4, 4, 30, 20]}
    ground_truth = {
        "images": [{"id": 7, "width": 64, "height": 48, "file_name": "7.png"}],
        "annotations": [{"id": 1, "area": 600, "iscrowd": 0, **box}],
        "categories": [{"id": 1, "name": "thing"}],
    }
    (tmp_path / "truth.json").write_text(json.dumps(ground_truth))
    (tmp_path / "found.json").write_text(json.dumps([{"score": 0.3, **box}]))
    Image.new("RGB", (64, 48)).save(tmp_path / "7.png")
    paths = [str(tmp_path / name) for name in ("truth.json", "found.json")] + [str(tmp_path)]
    _, data = pairs.quantile_gallery(",".join(paths), (1,))
    assert data.loc[7, "AP"] == pytest.approx(1) and data["picture_found"].all()
    assert data.loc[7, "F1"] == 1  # the threshold follows the scores
    assert pairs.open_pair(paths).ground_truth.image_ids == (7,)


def test_nothing_set_means_the_scenes(few_scenes, pair):
    assert pairs.open_pair((None, None, None)) is pairs.open_pair() is pair


def test_the_best_score_has_the_smallest_lrp(pair):
    best = pairs.best_score(pair)
    errors = {t: _pooled_lrp(pair, t) for t in (best - 0.15, best, best + 0.15)}
    assert min(errors, key=errors.get) == best
    nothing = pairs.Pair(pair.ground_truth, pair.detections.where(pair.detections.score > 2), pair.picture)
    assert pairs.best_score(nothing) == 0.5


def _pooled_lrp(pair, threshold):
    row = evaluate_images(pair.ground_truth, pair.detections, threshold)
    tp, loose = row["true_positives"], (1 - row["mean_iou"].fillna(0)) / 0.5
    wrong = row["false_positives"] + row["false_negatives"]
    return ((tp * loose).sum() + wrong.sum()) / (tp + wrong).sum()


def test_a_strip_for_each_number_of_digits(pair):
    _, data = pairs.ap_by_digits(pair, evaluate_images(pair.ground_truth, pair.detections))
    assert len(data) == COUNT and set(data["group"]) <= {"1 digit", "2 digits", "3 digits", "4 digits"}
    one = data["group"] == "1 digit"
    kept = np.flatnonzero(one)
    parts = (t.where(np.isin(t.image, kept)) for t in (pair.ground_truth, pair.detections))
    assert data.loc[one, "group_AP"].iloc[0] == pytest.approx(evaluate(*parts)["AP"])


def test_features_of_a_scene():
    features = pairs.scene_features(COUNT)
    batch = make_scenes(COUNT, split="val", side=pairs.SIDE)
    assert features["digits"].tolist() == [len(labels) for labels in batch.labels]
    assert features["height"].tolist() == [pytest.approx(boxes[:, 3].min()) for boxes in batch.boxes]
    assert (features["overlap"][features["digits"] == 1] == 0).all() and features["overlap"].max() <= 0.2
    assert features["roughness"].between(2, 40).all()


def made_up(correct: bool) -> pairs.Pair:
    """Two pictures with an object each; found twice and exactly, or as another class."""
    where = [0, 1], (0, 1), [(64, 64)] * 2
    names = {1: "1", 2: "2"}
    ground_truth = BoxTable([[8, 8, 20, 20]] * 2, *where, [1, 2], names)
    twice = [0, 1, 0, 1], *where[1:]
    labels = [1, 2, 1, 2] if correct else [2, 1, 2, 1]
    found = BoxTable([[8, 8, 20, 20]] * 4, *twice, labels, names, score=[0.9, 0.8, 0.7, 0.3])
    return pairs.Pair(ground_truth, found, lambda index: np.full((64, 64), 128, np.uint8))


def test_errors_are_counted_and_shown():
    _, data = pairs.error_examples(made_up(True), 0.5)
    assert dict(zip(data["kind"], data["number"], strict=True)) == {"duplicate": 1}
    figure, data = pairs.error_examples(made_up(True), 0.85)
    assert dict(zip(data["kind"], data["number"], strict=True)) == {"missed": 1} and data.attrs["quiet"] == 1
    assert figure.axes[0].get_title() == "missed: 1"


def test_bars_count_at_the_threshold_and_price_at_any():
    both = {"good": made_up(True), "bad": made_up(False)}
    _, data = pairs.error_bars(both, {"good": 0.5, "bad": 0.5})
    assert data.loc["duplicate", ("count", "good")] == 1 and data.loc["class", ("count", "bad")] == 3
    assert data.loc["class", ("AP50 gained", "bad")] == pytest.approx(1)
    frames = {name: evaluate_images(p.ground_truth, p.detections) for name, p in both.items()}
    table = pairs.ap_table(both, frames)
    assert table.loc["AP of the data set"].tolist() == [pytest.approx(1), 0]


def test_two_detectors_are_paired():
    frames = {
        "a": pd.DataFrame({"AP": [0.5, 0.7, np.nan, 0.9], "ground_truths": [1, 2, 0, 1]}),
        "b": pd.DataFrame({"AP": [0.4, 0.6, np.nan, 0.8], "ground_truths": [1, 2, 0, 1]}),
    }
    _, data = pairs.two_detectors(frames)
    np.testing.assert_allclose([data.attrs[k] for k in ("mean", "low", "high")], 0.1, atol=1e-12)
    assert len(data) == 3  # a picture without an object has no AP to compare


def test_the_same_scenes_side_by_side(pair):
    chosen = pd.DataFrame({"one": [0.1, 0.2], "two": [0.3, 0.4]}, index=["scene 1", "scene 2"])
    figure, data = pairs.beside({"one": pair, "two": pair}, {"one": 0.4, "two": 0.6}, chosen)
    assert [axes.get_title() for axes in figure.axes][-1] == "scene 2: AP 0.40" and data is chosen


def test_factors_within_groups(rng):
    digits = np.repeat([1, 2], 40)
    features = pd.DataFrame({name: rng.random(80) for name in pairs.FACTORS}).assign(digits=digits)
    features["overlap"] = np.where(digits == 1, 0, features["overlap"])  # as with one digit
    ap = pd.Series(features["height"] - 5 * digits)
    _, data = pairs.factors(features, {"model": ap})
    rows = data.set_index(["factor", "scenes"])
    assert rows.loc[("height", "equally many digits"), "correlation"] == pytest.approx(1)
    assert rows.loc[("height", "all scenes"), "correlation"] < 0.9
    expected = features["height"].corr(ap, method="spearman")
    assert rows.loc[("height", "all scenes"), "correlation"] == pytest.approx(expected)
    assert (data["low"] <= data["correlation"]).all() and (data["correlation"] <= data["high"]).all()
    assert len(data) == 2 * len(pairs.FACTORS) - 1
