"""Detections beside their ground truth: photographs, a reader's own files, and what is missing."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PathCollection
from PIL import Image

from marginalia.boxes import cells
from marginalia.boxes.evaluation import evaluate, evaluate_images, rank_images
from marginalia.boxes.table import BoxTable
from marginalia.figures import detections as figures
from marginalia.figures import relation_detr
from marginalia.figures.detections import Pair


@pytest.fixture(scope="module")
def pair() -> Pair:
    return figures.cell_pair()


@pytest.fixture
def files(tmp_path):
    """Three images with a box each, found with falling IoU; only the pixels of image 2 are there."""
    images = [{"id": i, "width": 64, "height": 48, "file_name": f"COCO_{i}.jpg"} for i in (1, 2, 3)]
    box = {"category_id": 1, "bbox": [4, 4, 30, 20], "area": 600, "iscrowd": 0}
    ground_truth = {
        "images": images,
        "annotations": [{"id": i, "image_id": i, **box} for i in (1, 2, 3)],
        "categories": [{"id": 1, "name": "thing"}],
    }
    widths = {1: 30, 2: 24, 3: 18}
    found = [
        {"image_id": i, "category_id": 1, "bbox": [4, 4, w, 20], "score": 0.3} for i, w in widths.items()
    ]
    (tmp_path / "objects.json").write_text(json.dumps(ground_truth))
    (tmp_path / "found.json").write_text(json.dumps(found))
    (tmp_path / "images").mkdir()
    Image.new("RGB", (64, 48), (200, 30, 30)).save(tmp_path / "images" / "000000000002.jpg")
    return [str(tmp_path / name) for name in ("objects.json", "found.json", "images")]


def test_photographs_have_their_boxes_and_names(pair):
    data, last = cells(), pair.ground_truth.image_ids.index("photograph 407")
    index = data.table.files.index("BloodImage_00407.jpg")
    np.testing.assert_allclose(pair.pixels(last).astype(int), data.pixels[index], atol=4)
    mine = data.table.image == index
    shown = pair.ground_truth.xywh[pair.ground_truth.image == last]
    np.testing.assert_allclose(shown, data.table.xywh[mine], atol=1e-3)
    assert len(pair.ground_truth.image_ids) == 72 == (data.split == "test").sum()
    assert evaluate(pair.ground_truth, pair.detections)["AP50"] > 0.3


def test_failures_stand_in_the_order_of_ap(pair):
    figure, data = relation_detr.failure_cases(pair)
    assert data["AP"].round(12).is_monotonic_increasing and data["image_found"].all()
    assert len(figure.axes) == len(data) == 6


def test_a_readers_own_files(files, monkeypatch):
    monkeypatch.setattr(relation_detr, "QUANTILES", (0, 0.5, 1))
    figure, data = relation_detr.failure_cases(",".join(files))
    assert list(data.index) == [3, 2, 1] and data.loc[1, "F1"] == 1  # the threshold follows the scores
    assert data["image_found"].tolist() == [False, True, False]
    assert figure.axes[0].get_xlabel() == "the image is not there"


def test_images_of_yolo_labels_behind_a_link_or_copied(tmp_path):
    Image.new("RGB", (20, 10)).save(tmp_path / "a.png")
    for folder in ("set/labels", "disk/pictures", "copy"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "set/labels/a.txt").write_text("0 .5 .5 .5 .5")
    for place in ("disk/pictures", "copy"):
        shutil.copy(tmp_path / "a.png", tmp_path / place)
    (tmp_path / "set/images").symlink_to(tmp_path / "disk/pictures")
    found = [{"image_id": "a", "category_id": 0, "bbox": [5, 2, 10, 5], "score": 0.9}]
    (tmp_path / "found.json").write_text(json.dumps(found))
    for images in ("set/images", "copy"):
        pair = figures.open_pair(f"{tmp_path}/set/labels,{tmp_path}/found.json,{tmp_path / images}")
        assert pair.pixels(0).shape == (10, 20, 3)


@pytest.mark.parametrize("name, reason", [("../secret.png", "leads out"), ("text.png", "not an image")])
def test_what_is_no_image_of_the_folder_leaves_a_grey_ground_with_the_reason(tmp_path, name, reason):
    (tmp_path / "images").mkdir()
    Image.new("RGB", (20, 10)).save(tmp_path / "secret.png")
    (tmp_path / "images/text.png").write_text("no image")
    truth = {
        "images": [{"id": 1, "file_name": name, "width": 20, "height": 10}],
        "categories": [{"id": 1, "name": "thing"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [5, 2, 10, 5], "area": 50}],
    }
    found = [{"image_id": 1, "category_id": 1, "bbox": [5, 2, 10, 5], "score": 0.9}]
    for file, content in (("truth.json", truth), ("found.json", found)):
        (tmp_path / file).write_text(json.dumps(content))
    pair = figures.open_pair(f"{tmp_path}/truth.json,{tmp_path}/found.json,{tmp_path}/images")
    figure, there = figures.images(pair, {"one": 0}, 0.5, 1)
    assert there == [False] and reason in " ".join(figure.axes[0].get_xlabel().split())


def test_only_the_chosen_images_are_read(files, monkeypatch):
    opened, load = [], figures._load
    monkeypatch.setattr(figures, "_load", lambda *args: opened.append(args[2]) or load(*args))
    pair = figures.open_pair(",".join(files))
    ranked = rank_images(evaluate_images(pair.ground_truth, pair.detections))
    assert opened == []
    figures.gallery(pair, ranked.head(1), 0.5)
    assert opened == [0]


@pytest.mark.parametrize("data", ["one.json", "a,b,c,d", ",found.json", "a,b,"])
def test_data_of_another_form_is_explained(data):
    with pytest.raises(ValueError, match="ground truth,detections"):
        figures.open_pair(data)


def test_a_missing_folder_is_named(files):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        figures.open_pair(",".join([*files[:2], "nowhere"]))


def test_real_files(shared_data):
    names = ("coco_val2014_100_gt_boxes.json.gz", "coco_val2014_100_fakebbox_results.json.gz")
    _, data = relation_detr.failure_cases(",".join(str(shared_data / name) for name in names))
    assert np.isclose(data["AP"].iloc[-1], 1) and not data["image_found"].any()


def test_the_best_score_has_the_smallest_lrp(pair):
    best = figures.best_score(pair)
    errors = {t: _pooled_lrp(pair, t) for t in (best - 0.15, best, best + 0.15)}
    assert min(errors, key=errors.get) == best
    nothing = Pair(pair.ground_truth, pair.detections.where(pair.detections.score > 2), pair.pixels)
    assert figures.best_score(nothing) == 0.5


def _pooled_lrp(pair, threshold):
    row = evaluate_images(pair.ground_truth, pair.detections, threshold)
    tp, loose = row["true_positives"], (1 - row["mean_iou"].fillna(0)) / 0.5
    wrong = row["false_positives"] + row["false_negatives"]
    return ((tp * loose).sum() + wrong.sum()) / (tp + wrong).sum()


@pytest.mark.parametrize(("name", "text"), [("7", "7: .93"), ("person", ".93")])
def test_short_names_stand_before_scores(name, text):
    place = [0], ("a",), [(64, 48)], [7], {7: name}
    ground_truth, found = (BoxTable([[4, 20, 20, 20]], *place, score=score) for score in (None, [0.93]))
    pair = Pair(ground_truth, found, lambda image: np.zeros((48, 64), np.uint8))
    figure, _ = figures.gallery(pair, evaluate_images(ground_truth, found), 0.5)
    assert [label.get_text() for label in figure.axes[0].texts] == [text]


def test_scores_do_not_cover_each_other():
    place = [0, 0], ("a",), [(64, 48)], [7, 7], {7: "7"}
    found = BoxTable([[20, 20, 20, 20], [21, 20, 20, 20]], *place, score=[0.9, 0.8])
    pair = Pair(found.where(np.array([True, False])), found, lambda image: None)
    figure, _ = figures.gallery(pair, evaluate_images(pair.ground_truth, found), 0.5)
    first, second = (label.get_position() for label in figure.axes[0].texts)
    assert abs(first[1] - second[1]) > 15


def test_many_scores_are_not_written():
    boxes = [[20, 8 * n, 20, 6] for n in range(figures.SCORES + 1)]
    place = [0] * len(boxes), ("a",), [(64, 64)], [7] * len(boxes), {7: "7"}
    found = BoxTable(boxes, *place, score=[0.9] * len(boxes))
    pair = Pair(found, found, lambda image: None)
    figure, _ = figures.gallery(pair, evaluate_images(found, found), 0.5)
    assert not figure.axes[0].texts


def test_a_strip_for_each_category(pair):
    _, data = figures.ap_strips(pair)
    each = data.groupby("group", sort=False)
    assert data["group"].iloc[0] == "all categories" and len(each) == 4
    white = pair.ground_truth.category == 1
    assert each.size()["white cell"] == len(np.unique(pair.ground_truth.image[white]))
    parts = (t.where(t.category == 1) for t in (pair.ground_truth, pair.detections))
    assert each["group_AP"].first()["white cell"] == pytest.approx(evaluate(*parts)["AP"])
    assert figures.ap_strips(pair, most=1)[1]["group"].nunique() == 2


def test_features_of_an_image():
    boxes = [[0, 0, 20, 10], [0, 0, 20, 20], [40, 0, 5, 8], [0, 0, 1, 1]]
    crowd = [False, False, False, True]
    table = BoxTable(boxes, [0, 0, 0, 1], ("a", "b"), [(100, 50)] * 2, [1, 1, 2, 1], {1: "x", 2: "y"}, crowd)
    features = figures.image_features(table)
    assert features.loc["a"].tolist() == [2, 3, 0.08, 0.5]
    assert features.loc["b", ["number of categories", "number of boxes"]].tolist() == [0, 0]
    assert features.loc["b", ["smallest box", "largest IoU of two"]].isna().all()


def made_up(correct: bool) -> Pair:
    """Two images with an object each; found twice and exactly, or as another class."""
    where = [0, 1], (0, 1), [(64, 64)] * 2
    names = {1: "1", 2: "2"}
    ground_truth = BoxTable([[8, 8, 20, 20]] * 2, *where, [1, 2], names)
    labels = [1, 2, 1, 2] if correct else [2, 1, 2, 1]
    found = BoxTable(
        [[8, 8, 20, 20]] * 4, [0, 1, 0, 1], *where[1:], labels, names, score=[0.9, 0.8, 0.7, 0.3]
    )
    return Pair(ground_truth, found, lambda image: np.full((64, 64), 128, np.uint8))


def test_errors_are_counted_and_shown():
    _, data = figures.error_examples(made_up(True), 0.5)
    assert dict(zip(data["kind"], data["number"], strict=True)) == {"duplicate": 1}
    figure, data = figures.error_examples(made_up(True), 0.85)
    assert dict(zip(data["kind"], data["number"], strict=True)) == {"missed": 1}
    assert figures.error_counts(made_up(True), 0.85)["under-confident"] == 1
    assert figure.axes[0].get_title() == "missed: 1"


def test_ap_of_data_sets_and_images():
    both = {"good": made_up(True), "bad": made_up(False)}
    assert figures.error_counts(both["bad"], 0.5)["classification"] == 3
    frames = {name: evaluate_images(p.ground_truth, p.detections) for name, p in both.items()}
    table = figures.ap_table(both, frames)
    assert table.loc["of the data set", "AP"].tolist() == [pytest.approx(1), 0]


def test_unlabelled_cells_count_neither_way_or_as_objects(pair):
    looked = figures.unlabelled(pair)
    ways = figures.with_unlabelled(pair, looked)
    real = (looked["verdict"] == "red cell").sum()
    assert ways["ignored"].ground_truth.crowd.sum() == real == len(ways["counted"].ground_truth) - 945
    assert set(ways["counted"].ground_truth.category[945:]) == {0}
    labelled, ignored, counted = (
        figures.ap_and_means(way, 0.38)["AP, red cell"] for way in [pair, *ways.values()]
    )
    assert labelled < ignored < counted
    assert len(figures.unlabelled_examples(pair, looked.head(3)).axes) == 3


def test_fewer_labels_lower_ap(pair):
    _, data = figures.fewer_labels(pair, 0.38, shares=(0.5,), draws=1)
    assert data["share"].tolist() == [0, 0.5] and data["AP, red cell"].is_monotonic_decreasing


def test_images_without_an_object_have_no_difference():
    paired = pd.DataFrame({"a": [0.5, 0.7, np.nan, 0.9], "b": [0.4, 0.6, np.nan, 0.8]})
    _, data = figures.differences(paired)
    np.testing.assert_allclose([data.attrs[k] for k in ("mean", "low", "high")], 0.1, atol=1e-12)
    assert len(data) == 3


def test_factors_within_groups(rng):
    objects = np.repeat([1, 2], 40)
    features = pd.DataFrame({"objects": objects, "height": rng.random(80)})
    ap = pd.Series(features["height"] - 5 * objects)
    figure, data = figures.factors(features, {"model": ap})
    rows = data.set_index(["factor", "images"])["correlation"]
    assert rows["height", "equal objects"] == pytest.approx(1)
    assert rows["height", "all"] == pytest.approx(features["height"].corr(ap, method="spearman"))
    marks = [c.get_offsets()[:, 1] for c in figure.axes[0].collections if isinstance(c, PathCollection)]
    assert [round(y, 2) for ys in marks for y in ys] == [-0.15, 0.85, 1.15]  # one line a factor


def test_nothing_is_under_confident_where_nothing_was_found():
    assert figures.error_counts(made_up(False), 0.85)["under-confident"] == 0


def test_interval_of_the_differences(rng):
    paired = pd.DataFrame({"a": rng.random(50), "b": rng.random(50)})
    _, data = figures.differences(paired)
    difference = data["difference"]
    half = 1.96 * difference.std() / 50**0.5  # the normal one; the bootstrap's is near it
    expected = [difference.mean() - half, difference.mean() + half]
    assert [data.attrs["low"], data.attrs["high"]] == pytest.approx(expected, abs=0.03)


def test_errors_are_shown_on_the_image_with_the_most_confident_and_the_most_missed():
    names, where = {1: "1", 2: "2"}, ((0, 1), [(64, 64)] * 2)
    boxes = [[8, 8, 20, 20], [8, 8, 20, 20], [40, 40, 9, 9]]
    ground_truth = BoxTable(boxes, [0, 1, 1], *where, [1, 1, 1], names)
    found = BoxTable(boxes[:2], [0, 1], *where, [2, 2], names, score=[0.6, 0.9])
    _, data = figures.error_examples(Pair(ground_truth, found, lambda image: None), 0.5)
    assert data.set_index("kind")["image_id"]["classification"] == 1
    _, data = figures.error_examples(
        Pair(ground_truth, found.where(found.score > 2), lambda image: None), 0.5
    )
    assert data.set_index("kind")["image_id"].to_dict() == {"missed": 1}


def test_open_marks_are_of_images_with_equally_many_objects(rng):
    features = pd.DataFrame({"objects": np.repeat([1, 2], 40), "height": rng.random(80)})
    figure, _ = figures.factors(features, {"model": features["height"] - 5 * features["objects"]})
    marks = [c for c in figure.axes[0].collections if isinstance(c, PathCollection)]
    white = {mark.get_label(): bool((mark.get_facecolor()[0] == 1).all()) for mark in marks}
    assert white == {"all": True, "equal objects": False}


def test_thresholds_start_without_detections_and_end_with_all(pair):
    figure, data = figures.at_thresholds(pair, "photograph 7", 0.5)
    f1, lrp = figure.axes[1].lines[:2]
    assert f1.get_xydata()[0].tolist() == [1, 0] and lrp.get_xydata()[0].tolist() == [1, 1]
    assert f1.get_xydata()[-1].tolist() == [0, data["F1"].iloc[-1]]
    at = data["score"].iloc[0]  # the first detection counts from its score down
    assert f1.get_drawstyle() == "steps-post" and f1.get_xydata()[1].tolist() == [at, data["F1"].iloc[0]]
