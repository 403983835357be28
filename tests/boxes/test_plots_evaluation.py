"""Galleries and curves of detections: embedded tiles, a reader's own files, and what is missing."""

from __future__ import annotations

import json

import matplotlib
import numpy as np
import pytest
from PIL import Image

from marginalia.boxes.evaluation import evaluate_images, rank_images
from marginalia.boxes.plots import evaluation as plots
from marginalia.boxes.table import BoxTable

matplotlib.use("agg")


@pytest.fixture(autouse=True)
def close():
    yield
    matplotlib.pyplot.close("all")


@pytest.fixture(scope="module")
def tiles() -> plots.Pair:
    return plots.open_pair()


@pytest.fixture
def files(tmp_path):
    """Three images with a box each, found with falling IoU; only the picture of image 2 is there."""
    images = [{"id": i, "width": 64, "height": 48, "file_name": f"COCO_{i}.jpg"} for i in (1, 2, 3)]
    box = {"category_id": 1, "bbox": [4, 4, 30, 20], "area": 600, "iscrowd": 0}
    ground_truth = {
        "images": images,
        "annotations": [{"id": i, "image_id": i, **box} for i in (1, 2, 3)],
        "categories": [{"id": 1, "name": "thing"}],
    }
    widths = {1: 30, 2: 24, 3: 18}
    found = [
        {"image_id": i, "category_id": 1, "bbox": [4, 4, w, 20], "score": 0.9} for i, w in widths.items()
    ]
    (tmp_path / "truth.json").write_text(json.dumps(ground_truth))
    (tmp_path / "found.json").write_text(json.dumps(found))
    (tmp_path / "pictures").mkdir()
    Image.new("RGB", (64, 48), (200, 30, 30)).save(tmp_path / "pictures" / "000000000002.jpg")
    return [str(tmp_path / name) for name in ("truth.json", "found.json", "pictures")]


def test_the_quantile_gallery_needs_no_argument():
    figure, data = plots.quantile_gallery()
    assert data["quantile"].tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert data["AP"].is_monotonic_increasing and data["picture_found"].all()
    assert len(figure.axes) == 5  # the sixth place is left free


@pytest.mark.parametrize("join", [tuple, ",".join])
def test_a_readers_own_files(files, join):
    _, data = plots.quantile_gallery(join(files), quantiles=(0, 0.5, 1))
    assert list(data.index) == [3, 2, 1]
    assert data["picture_found"].tolist() == [False, True, False]  # and the missing ones raise nothing


def test_only_the_chosen_pictures_are_read(files, monkeypatch):
    opened = []
    load = plots._load
    monkeypatch.setattr(plots, "_load", lambda *args: opened.append(args[2]) or load(*args))
    pair = plots.open_pair(files)
    ranked = rank_images(evaluate_images(pair.ground_truth, pair.detections))
    assert opened == []
    plots.gallery(pair, ranked.head(1))
    assert opened == [0]


def test_without_pictures_frames_are_grey(files):
    figure, data = plots.quantile_gallery(files[:2])
    assert not data["picture_found"].any()
    assert all(axes.get_xlabel() == "the picture is not there" for axes in figure.axes)


@pytest.mark.parametrize("data", ["one.json", "a,b,c,d", ",found.json"])
def test_data_of_another_form_is_explained(data):
    with pytest.raises(ValueError, match="truth,detections"):
        plots.open_pair(data)


@pytest.mark.parametrize(
    ("data", "lacks"), [(("t.json", None, None), "DETECTIONS"), ((None, "d.json", None), "GROUND_TRUTH")]
)
def test_half_a_pair_says_what_to_set(data, lacks):
    with pytest.raises(ValueError, match=f"set {lacks} too"):
        plots.open_pair(data)


def test_nothing_set_means_the_embedded_tiles(tiles):
    assert plots.open_pair((None, None, None)).ground_truth.image_ids == tiles.ground_truth.image_ids


def test_a_missing_folder_is_named(files):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        plots.open_pair([*files[:2], "nowhere"])


def test_thresholds_follow_the_evaluation(tiles):
    figure, data = plots.at_thresholds(tiles, "brick-2-1", score_threshold=0.5)
    row = evaluate_images(tiles.ground_truth, tiles.detections).loc["brick-2-1"]
    counted = data[data["score"] >= 0.5].iloc[-1]
    assert np.isclose(counted["F1"], row["F1"], atol=1e-12) and np.isclose(
        counted["LRP"], row["LRP"], atol=1e-12
    )
    assert figure.axes[0].get_title() == "TP 3, FP 8, FN 0"


@pytest.mark.parametrize(("name", "text"), [("7", "7: .93"), ("person", ".93")])
def test_short_names_stand_before_scores(name, text):
    place = [0], ("a",), [(64, 48)], [7], {7: name}
    ground_truth, found = (BoxTable([[4, 20, 20, 20]], *place, score=score) for score in (None, [0.93]))
    pair = plots.Pair(ground_truth, found, lambda index: np.zeros((48, 64), np.uint8))
    figure, _ = plots.gallery(pair, evaluate_images(ground_truth, found))
    assert [label.get_text() for label in figure.axes[0].texts] == [text]
    example = {"right": (0, ground_truth.xywh, found.xywh)}
    figure, _ = plots.failure_cases(pair, example)
    assert [label.get_text() for label in figure.axes[0].texts] == [text]


def test_scores_do_not_cover_each_other():
    place = [0, 0], ("a",), [(64, 48)], [7, 7], {7: "7"}
    found = BoxTable([[20, 20, 20, 20], [21, 20, 20, 20]], *place, score=[0.9, 0.8])
    pair = plots.Pair(found.where(np.array([True, False])), found, lambda index: None)
    figure, _ = plots.gallery(pair, evaluate_images(pair.ground_truth, found))
    (first, second) = (label.get_position() for label in figure.axes[0].texts)
    assert abs(first[1] - second[1]) > 15


def test_a_tile_with_nothing_on_it_can_be_shown(tiles):
    _, data = plots.at_thresholds(tiles, "page-2-3")
    assert data.empty


def test_real_files(shared_data):
    names = ("coco_val2014_100_gt_boxes.json.gz", "coco_val2014_100_fakebbox_results.json.gz")
    _, data = plots.quantile_gallery([*(shared_data / name for name in names)])
    assert np.isclose(data["AP"].iloc[-1], 1) and not data["picture_found"].any()
