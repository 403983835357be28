"""Evaluation: the known traps of COCO's AP, F1 and LRP, and agreement with pycocotools used directly."""

from __future__ import annotations

import contextlib
import io
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from marginalia.boxes.evaluation import (
    average_precision,
    evaluate,
    evaluate_images,
    quantile_images,
    rank_images,
    score_sweep,
)
from marginalia.boxes.table import BoxTable, BoxWarning

NAMES = {1: "nut", 2: "bolt", 7: "washer"}


def table(*rows, images=("a",), crowd=(), **columns) -> BoxTable:
    """Rows (image, category, x, y, w, h) or, for detections, with a score behind."""
    score = [r[6] for r in rows] if rows and len(rows[0]) == 7 else None
    return BoxTable(
        xywh=np.array([r[2:6] for r in rows], float).reshape(-1, 4),
        image=[images.index(r[0]) for r in rows],
        image_ids=images,
        sizes=np.full((len(images), 2), 100.0),
        category=[r[1] for r in rows],
        names=NAMES,
        crowd=[n in crowd for n in range(len(rows))],
        score=score,
        **columns,
    )


def no_detections(images=("a",)) -> BoxTable:
    return BoxTable(np.zeros((0, 4)), [], images, np.full((len(images), 2), 100.0), [], NAMES, score=[])


def one(ground_truth, detections, **options) -> pd.Series:
    """The row of the only image; its AP and the AP of the data set are the same thing."""
    frame = evaluate_images(ground_truth, detections, **options)
    assert len(frame) == 1
    whole = evaluate(ground_truth, detections)
    np.testing.assert_allclose(frame["AP"].iloc[0], whole["AP"], rtol=0, atol=1e-12)  # order of summation
    np.testing.assert_allclose(frame["AP50"].iloc[0], whole["AP50"], rtol=0, atol=1e-12)
    return frame.iloc[0]


BOX = (10, 10, 20, 20)
FAR = (60, 60, 20, 20)


def test_exact_boxes_are_perfect():
    row = one(table(("a", 1, *BOX), ("a", 2, *FAR)), table(("a", 1, *BOX, 0.9), ("a", 2, *FAR, 0.6)))
    assert row[["AP", "AP50", "F1", "LRP", "mean_iou"]].tolist() == [1, 1, 1, 0, 1]
    assert row[["ground_truths", "detections", "true_positives", "categories"]].tolist() == [2, 2, 2, 2]


def test_false_positive_of_an_absent_class_costs_ap_nothing_but_is_counted():
    row = one(table(("a", 1, *BOX)), table(("a", 1, *BOX, 0.6), ("a", 2, *BOX, 0.99)))
    assert row["AP"] == 1
    assert row["absent_class_false_positives"] == row["false_positives"] == 1
    assert row["F1"] == pytest.approx(2 / 3)
    assert row["LRP"] == pytest.approx(1 / 2)  # TP exact, one FP of two


def test_one_of_two_objects_found():
    row = one(table(("a", 1, *BOX), ("a", 1, *FAR)), table(("a", 1, *BOX, 0.9)))
    assert row["AP"] == pytest.approx(51 / 101, abs=1e-12)
    assert row["false_negatives"] == 1


def test_true_positive_at_rank_three():
    wrong = [("a", 1, *FAR, 0.9), ("a", 1, 0, 60, 10, 10, 0.8)]
    row = one(table(("a", 1, *BOX)), table(*wrong, ("a", 1, *BOX, 0.7)))
    assert row["AP"] == pytest.approx(1 / 3, abs=1e-12)


def test_single_box_at_iou_72():
    # .72 passes .50 .55 .60 .65 .70: five of ten thresholds
    row = one(table(("a", 1, 0, 0, 100, 10)), table(("a", 1, 0, 0, 72, 10, 0.9)))
    assert row["AP"] == pytest.approx(0.5, abs=1e-12)
    assert row["mean_iou"] == pytest.approx(0.72)
    assert row["LRP"] == pytest.approx((1 - 0.72) / (1 - 0.5))


@pytest.mark.parametrize("crowd", [(), (0,)], ids=["no object", "crowd only"])
def test_image_without_ordinary_objects_has_no_ap(crowd):
    ground_truth = table(("a", 1, *BOX), crowd=crowd) if crowd else table()
    row = one(ground_truth, table(("a", 1, *FAR, 0.9)))
    assert math.isnan(row["AP"]) and math.isnan(row["AP50"])
    assert row["ground_truths"] == row["categories"] == 0
    # the counts are defined all the same, and punish the false positive
    assert row[["F1", "LRP", "false_positives", "absent_class_false_positives"]].tolist() == [0, 1, 1, 1]


def test_detections_on_a_crowd_count_neither_way():
    ground_truth = table(("a", 1, *BOX), ("a", 1, 50, 50, 40, 40), crowd=(1,))
    row = one(ground_truth, table(("a", 1, *BOX, 0.6), ("a", 1, *FAR, 0.9), ("a", 1, 55, 55, 9, 9, 0.8)))
    assert row["AP"] == pytest.approx(1, abs=1e-12)
    assert row[["F1", "LRP", "detections", "false_positives"]].tolist() == [1, 0, 3, 0]


def test_first_annotation_is_matched():
    # pycocotools reads annotation id 0 as "unmatched"; with the ids of a naive export the AP is 0
    with_zero = reference({"images": [{"id": 1}], "categories": [{"id": 1}]}, [ann(0, 1, 1, BOX)])
    assert restricted(with_zero, [ann(1, 1, 1, BOX, score=0.9)], 1) == 0
    assert one(table(("a", 1, *BOX)), table(("a", 1, *BOX, 0.9)))["AP"] == pytest.approx(1, abs=1e-12)


def test_nothing_at_all_is_undefined():
    row = one(table(), no_detections())
    assert row[["AP", "AP50", "F1", "LRP", "mean_iou"]].isna().all()
    assert row["ground_truths":].eq(0).all()


def test_no_true_positive():
    row = one(table(("a", 1, *BOX)), table(("a", 1, *FAR, 0.9)))
    assert row[["AP", "F1", "LRP"]].tolist() == [0, 0, 1]
    assert math.isnan(row["mean_iou"])


def test_score_threshold_is_inclusive_and_leaves_ap_alone():
    ground_truth, found = table(("a", 1, *BOX)), table(("a", 1, *BOX, 0.5))
    assert one(ground_truth, found, score_threshold=0.5)["true_positives"] == 1
    row = one(ground_truth, found, score_threshold=0.51)
    assert row["AP"] == pytest.approx(1, abs=1e-12)
    assert row[["F1", "LRP", "detections", "false_negatives"]].tolist() == [0, 1, 1, 1]


def test_images_at_one_do_not_add_up():
    """Scores are ranked inside an image, but across the images of a data set (section 7: .835 here)."""
    images = ("a", "b")
    ground_truth = table(("a", 1, *BOX), ("b", 1, *BOX), images=images)
    found = table(("a", 1, *BOX, 0.9), ("a", 1, *FAR, 0.8), ("b", 1, *BOX, 0.7), images=images)
    assert evaluate_images(ground_truth, found)["AP"].tolist() == pytest.approx([1, 1], abs=1e-12)
    assert evaluate(ground_truth, found)["AP"] == pytest.approx((51 + 50 * 2 / 3) / 101, abs=1e-12)
    assert round(evaluate(ground_truth, found)["AP"], 3) == 0.835


def test_area_decides_the_size_class():
    found = table(("a", 1, 0, 0, 40, 40, 0.9))
    box, mask = table(("a", 1, 0, 0, 40, 40)), table(("a", 1, 0, 0, 40, 40), area=[900.0])
    assert evaluate(box, found)[["AP_small", "AP_medium"]].isna().tolist() == [True, False]
    assert evaluate(mask, found)[["AP_small", "AP_medium"]].isna().tolist() == [False, True]


@pytest.mark.parametrize("area", [np.nan, -1, -np.inf])
def test_where_no_area_is_known_the_box_decides(area):
    large, small = (300, 300, 200, 200), (10, 10, 20, 20)
    ground_truth = table(("a", 1, *large), ("a", 1, *small), area=[area, 400])
    frame = evaluate(ground_truth, table(("a", 1, *small, 0.9)))
    assert (frame["AP_small"], frame["AP_large"]) == (pytest.approx(1), 0)
    assert np.isnan(frame["AP_medium"])


@pytest.mark.parametrize("area", [1e11, np.inf])
def test_no_object_is_too_large_to_count(area):
    ground_truth = table(("a", 1, *BOX), ("a", 1, *FAR), area=[area, 400])
    assert evaluate(ground_truth, table(("a", 1, *FAR, 0.9)))["AP"] == pytest.approx(51 / 101)
    huge = table(("a", 1, 0, 0, 1e6, 1e6), ("a", 1, *FAR))
    assert evaluate(huge, table(("a", 1, *FAR, 0.9)))["AP"] == pytest.approx(51 / 101)


@pytest.mark.parametrize("flat", [(90, 10, 0, 20), (90, 10, 20, 0), (10, 10, 0, 0)])
def test_a_detection_without_extent_is_a_false_positive(flat):
    row = one(table(("a", 1, *BOX)), table(("a", 1, *BOX, 0.5), ("a", 1, *flat, 0.9)))
    assert row["AP"] == 0.5 and row["false_positives"] == 1


def test_an_area_of_the_detections_changes_nothing():
    """COCO takes the box of a detection; a table of detections may carry areas all the same."""
    ground_truth = table(("a", 1, 0, 0, 40, 40), ("a", 1, 60, 60, 20, 20))
    rows = ("a", 1, 0, 0, 40, 40, 0.9), ("a", 1, 60, 60, 20, 20, 0.8), ("a", 1, 0, 60, 20, 20, 0.85)
    plain, with_area = table(*rows), table(*rows, area=[900.0, 2000.0, 2000.0])
    figures = evaluate(ground_truth, plain)
    assert figures[["AP_small", "AP_medium"]].tolist() == pytest.approx([0.5, 1])
    pd.testing.assert_series_equal(evaluate(ground_truth, with_area), figures)


def test_another_threshold():
    # DeepPCB is scored at IoU .33
    ground_truth, found = table(("a", 1, 0, 0, 100, 10)), table(("a", 1, 0, 0, 40, 10, 0.9))
    assert one(ground_truth, found, iou_threshold=0.33)["LRP"] == pytest.approx(0.6 / 0.67)


def test_rows_follow_the_table_and_ids_are_matched():
    images = (30, 4, 100)
    ground_truth = table((30, 1, *BOX), (4, 2, *FAR), (100, 7, *BOX), images=images)
    found = table((100, 7, *BOX, 0.9), (30, 1, *FAR, 0.9), images=(100, 30))  # other order, one image fewer
    frame = evaluate_images(ground_truth, found)
    assert frame.index.tolist() == [30, 4, 100] and frame.index.name == "image_id"
    assert frame["AP"].tolist() == pytest.approx([0, 0, 1], abs=1e-12)
    assert frame["detections"].tolist() == [1, 0, 1]


def test_more_detections_than_are_counted_are_announced():
    found = table(*[("a", 1, *FAR, 0.9)] * 100, ("a", 1, *BOX, 0.1))
    with pytest.warns(BoxWarning, match="more than 100 detections of one category; the 1 with"):
        assert evaluate_images(table(("a", 1, *BOX)), found)["AP"].iloc[0] == 0


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (
            table(("b", 1, *BOX, 0.9), images=("b",)),
            "detection 0 .*image 'b', which the ground truth does not list",
        ),
        (
            table(("a", 1, *BOX, 0.9), ("a", 3, *BOX, 0.9)),
            "detection 1 .*category 3, which the ground truth does not",
        ),
        (table(("a", 1, *BOX, float("nan"))), "detection 0 .*not finite"),
        (table(("a", 1, *BOX)), "no score"),
    ],
)
def test_what_cannot_be_evaluated_is_named(found, message):
    with pytest.raises(ValueError, match=message):
        evaluate(table(("a", 1, *BOX)), found)
    with pytest.raises(ValueError, match=message):
        evaluate_images(table(("a", 1, *BOX)), found)


def test_arguments_out_of_range():
    ground_truth, found = table(("a", 1, *BOX)), table(("a", 1, *BOX, 0.9))
    with pytest.raises(ValueError, match="between 0 and 1"):
        evaluate_images(ground_truth, found, iou_threshold=1.0)
    twice = table(images=("a", "a"))
    with pytest.raises(ValueError, match="unique"):
        evaluate(twice, found)


def test_nothing_is_printed(capsys):
    ground_truth, found = table(("a", 1, *BOX)), table(("a", 1, *BOX, 0.9))
    evaluate(ground_truth, found), evaluate_images(ground_truth, found), score_sweep(ground_truth, found)
    assert capsys.readouterr().out == ""


def test_average_precision_by_hand():
    matched = np.array([[True, False, True], [False, False, True]])
    nothing = np.zeros_like(matched)
    expected = [(51 + 50 * 2 / 3) / 101, 51 / 101 / 3]
    assert average_precision(matched, nothing, 2).tolist() == pytest.approx(expected, abs=1e-12)
    assert average_precision(matched[:, :0], nothing[:, :0], 2).tolist() == [0, 0]


def test_sweep_takes_equal_scores_together():
    ground_truth = table(("a", 1, *BOX), ("a", 1, *FAR))
    found = table(("a", 1, *BOX, 0.9), ("a", 1, *FAR, 0.4), ("a", 2, *FAR, 0.4), ("a", 2, *FAR, 0.1))
    sweep = score_sweep(ground_truth, found)
    assert sweep.index.tolist() == [0.9, 0.4, 0.1]
    assert sweep["true_positives"].tolist() == [1, 2, 2]
    assert sweep["LRP"].tolist() == pytest.approx([1 / 2, 1 / 3, 1 / 2])
    for score, row in sweep.iterrows():  # one image: the sweep and the image say the same
        image = evaluate_images(ground_truth, found, score_threshold=score).iloc[0]
        assert row.tolist() == pytest.approx(image[row.index].tolist())
    assert score_sweep(ground_truth, no_detections()).empty


# Ranking

FRAME = pd.DataFrame(
    {
        "AP": [1.0, np.nan, 1.0, 0.5, 1.0, 1.0],
        "mean_iou": [0.9, np.nan, 0.95, 0.8, 0.9, np.nan],
        "ground_truths": [1, 0, 1, 4, 3, 9],
        "categories": [1, 0, 1, 2, 1, 3],
    },
    index=pd.Index(list("abcdef"), name="image_id"),
)


def test_ranking_breaks_ties_and_says_what_it_leaves_out():
    ranked = rank_images(FRAME)
    assert ranked.index.tolist() == ["c", "e", "a", "f", "d"]
    assert ranked.attrs["left_out"]["AP undefined"] == 1
    few = rank_images(FRAME, min_ground_truths=3, min_categories=2)
    assert few.index.tolist() == ["f", "d"]
    assert list(few.attrs["left_out"].values()) == [1, 2, 1]
    rounded = FRAME.assign(AP=FRAME["AP"] - [2e-16, 0, 2e-16, 0, 0, 0])  # a tie is one up to rounding
    assert rank_images(rounded).index.tolist() == ["c", "e", "a", "f", "d"]
    same = pd.concat([FRAME.loc[["a"]]] * 40)
    same.index = range(40)
    assert rank_images(same).index.tolist() == list(range(40))


def test_quantiles_run_from_worst_to_best():
    chosen = quantile_images(FRAME)
    assert chosen.index.tolist() == ["d", "f", "a", "e", "c"]
    assert chosen["quantile"].tolist() == [0, 0.25, 0.5, 0.75, 1]
    with pytest.raises(ValueError, match="no image"):
        quantile_images(FRAME.loc[["b"]])
    with pytest.raises(ValueError, match="quantiles"):
        quantile_images(FRAME, quantiles=(50,))


# Against pycocotools used directly, and against a plain loop


def ann(n, image, category, box, **more) -> dict:
    box = [float(v) for v in box]
    return {"id": n, "image_id": image, "category_id": category, "bbox": box, "area": box[2] * box[3]} | {
        "iscrowd": 0,
        **more,
    }


def reference(head: dict, annotations: list) -> COCO:
    coco = COCO()
    with contextlib.redirect_stdout(io.StringIO()):
        coco.dataset = {**head, "annotations": annotations}
        coco.createIndex()
    return coco


def restricted(ground_truth: COCO, detections: list, image: int) -> float:
    """AP of a COCOeval whose imgIds hold one image: the slow way that the library must agree with."""
    with contextlib.redirect_stdout(io.StringIO()):
        run = COCOeval(ground_truth, reference(ground_truth.dataset, detections), "bbox")
        run.params.imgIds = [image]
        run.evaluate()
        run.accumulate()
        run.summarize()
    return run.stats[0]


def as_coco(ground_truth: BoxTable, found: BoxTable) -> tuple[COCO, list]:
    def rows(t, score):
        for n in range(len(t)):
            more = {"iscrowd": int(t.crowd[n])} | ({"score": float(t.score[n])} if score else {})
            if t.area is not None:
                more["area"] = float(t.area[n])
            yield ann(n + 1, t.image_ids[t.image[n]], int(t.category[n]), t.xywh[n], **more)

    head = {
        "images": [{"id": i} for i in ground_truth.image_ids],
        "categories": [{"id": c} for c in ground_truth.names],
    }
    return reference(head, list(rows(ground_truth, False))), list(rows(found, True))


IDS = (12, 3, 40, 7)


@st.composite
def pairs(draw):
    """Random objects and detections, with crowds, equal scores and detections that lie close to objects."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n, m = draw(st.integers(0, 14)), draw(st.integers(0, 25))
    sizes = np.full((len(IDS), 2), 100.0)
    xywh = np.column_stack([rng.uniform(0, 60, (n, 2)), rng.uniform(5, 40, (n, 2))])
    image, category = rng.integers(len(IDS), size=n), rng.choice(list(NAMES), size=n)
    ground_truth = BoxTable(xywh, image, IDS, sizes, category, NAMES, crowd=rng.random(n) < 0.15)
    near = rng.integers(n, size=m) if n else np.zeros(m, int)
    chance = np.column_stack([rng.uniform(0, 60, (m, 2)), rng.uniform(5, 40, (m, 2))])
    copied = (rng.random(m) < 0.7) & (n > 0)
    boxes, images, categories = chance, rng.integers(len(IDS), size=m), rng.choice(list(NAMES), size=m)
    if n:
        moved = xywh[near] + rng.normal(0, 1.5, (m, 4))
        moved[:, 2:] = np.maximum(moved[:, 2:], 1)
        boxes = np.where(copied[:, None], moved, chance)
        images = np.where(copied, image[near], images)
        categories = np.where(copied, category[near], categories)
    score = rng.integers(1, 6, m) / 5 if draw(st.booleans()) else rng.random(m)
    return ground_truth, BoxTable(boxes, images, IDS, sizes, categories, NAMES, score=score)


@settings(max_examples=60, deadline=None)
@given(pairs())
def test_ap_equals_a_run_restricted_to_the_image(pair):
    ground_truth, detections = as_coco(*pair)
    frame = evaluate_images(*pair)
    for image in IDS:
        expected = restricted(ground_truth, detections, image)
        expected = math.nan if expected == -1 else expected
        # the same numbers, added in another order
        np.testing.assert_allclose(frame.loc[image, "AP"], expected, rtol=0, atol=1e-12)


@settings(max_examples=60, deadline=None)
@given(pairs(), st.sampled_from([0.0, 0.4, 0.8]), st.sampled_from([0.3, 0.5, 0.7]))
def test_counts_equal_a_plain_loop(pair, score_threshold, tau):
    ground_truth, found = pair
    ground_truth = ground_truth.where(~ground_truth.crowd)
    frame = evaluate_images(ground_truth, found, score_threshold=score_threshold, iou_threshold=tau)
    for position, image in enumerate(IDS):
        ious, fp, fn, absent = greedy(ground_truth, found, position, score_threshold, tau)
        row = frame.loc[image]
        counts = row[["true_positives", "false_positives", "false_negatives", "absent_class_false_positives"]]
        assert counts.tolist() == [len(ious), fp, fn, absent]
        counted = len(ious) + fp + fn
        if not counted:
            assert row[["F1", "LRP"]].isna().all()
            continue
        assert row["F1"] == pytest.approx(2 * len(ious) / (2 * len(ious) + fp + fn))
        assert row["LRP"] == pytest.approx((sum((1 - v) / (1 - tau) for v in ious) + fp + fn) / counted)
        assert -1e-12 <= row["LRP"] <= 1 + 1e-12  # rounding of the sums


def greedy(ground_truth, found, position, score_threshold, tau):
    """IoUs of the true positives, FP, FN and absent-class FP of one image, by the words of the definition."""
    ious, fp, fn, absent = [], 0, 0, 0
    for category in NAMES:
        free = list(ground_truth.xywh[(ground_truth.image == position) & (ground_truth.category == category)])
        here = (found.image == position) & (found.category == category) & (found.score >= score_threshold)
        chosen = np.flatnonzero(here)
        had_object = bool(free)
        for n in chosen[np.argsort(-found.score[chosen], kind="stable")]:
            best = max(range(len(free)), key=lambda g: overlap(found.xywh[n], free[g]), default=None)
            if best is not None and overlap(found.xywh[n], free[best]) >= tau:
                ious.append(overlap(found.xywh[n], free.pop(best)))
            else:
                fp += 1
                absent += not had_object
        fn += len(free)
    return ious, fp, fn, absent


def overlap(a, b) -> float:
    w = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    h = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    both = max(w, 0) * max(h, 0)
    return both / (a[2] * a[3] + b[2] * b[3] - both)


@settings(max_examples=30, deadline=None)
@given(pairs())
def test_data_set_figures_equal_pycocotools(pair):
    ground_truth, detections = as_coco(*pair)
    with contextlib.redirect_stdout(io.StringIO()):
        run = COCOeval(ground_truth, reference(ground_truth.dataset, detections), "bbox")
        run.evaluate(), run.accumulate(), run.summarize()
    assert evaluate(*pair).fillna(-1).tolist() == list(run.stats)  # same arrays, same mean: no tolerance


# Real ground truth and detections; the expected figures are those of SOURCES.md beside the data

COCO_FIGURES = {
    "AP": 0.505,
    "AP50": 0.697,
    "AP75": 0.573,
    "AP_small": 0.586,
    "AP_medium": 0.519,
    "AP_large": 0.501,
    "AR1": 0.387,
    "AR10": 0.594,
    "AR100": 0.595,
}
VOC_FIGURES = {"AP": 0.348, "AP50": 0.604, "AP75": 0.347}
REAL = [
    ("coco_val2014_100_gt_boxes.json.gz", "coco_val2014_100_fakebbox_results.json.gz", COCO_FIGURES),
    ("voc100_gt_boxes.json.gz", "voc100_detections.json.gz", VOC_FIGURES),
]


@pytest.mark.parametrize(("ground_truth", "detections", "figures"), REAL, ids=["coco", "voc"])
def test_real_pairs(shared_data, ground_truth, detections, figures):
    from marginalia.boxes.reading import read_boxes

    ground_truth = read_boxes(shared_data / ground_truth)
    found = read_boxes(shared_data / detections, ground_truth=ground_truth)
    assert evaluate(ground_truth, found)[list(figures)].round(3).to_dict() == pytest.approx(figures)
    coco, results = as_coco(ground_truth, found)
    frame = evaluate_images(ground_truth, found)
    for image in frame.index[::5]:  # every fifth image; a restricted run takes long
        expected = restricted(coco, results, image)
        expected = math.nan if expected == -1 else expected
        np.testing.assert_allclose(frame.loc[image, "AP"], expected, rtol=0, atol=1e-12)
