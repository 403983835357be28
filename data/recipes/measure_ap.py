"""Measure AP, F1 and LRP per image on real pairs of ground truth and detections; part of `make measure`."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd

from marginalia.boxes.evaluation import evaluate, evaluate_images, score_sweep
from marginalia.boxes.reading import read_boxes
from marginalia.boxes.table import BoxTable
from marginalia.statistics import bootstrap, rank_correlation
from marginalia.training import write_table

PAIRS = {  # name in the tables -> ground truth, detections
    "COCO val2014, made-up detections": (
        "coco_val2014_100_gt_boxes.json.gz",
        "coco_val2014_100_fakebbox_results.json.gz",
    ),
    "PASCAL VOC, unnamed detector": ("voc100_gt_boxes.json.gz", "voc100_detections.json.gz"),
}
SCORE, IOU = 0.5, 0.5  # where F1 and LRP are taken; lrp_by_threshold.csv shows what other scores would give
GRID = np.arange(20) / 20  # score thresholds of that table
ABSENT = "absent_class_false_positives"

SOURCE = """\
Written by: make measure
COCO val2014, first 100 images: annotations CC BY 4.0 (COCO Consortium). Its 734 detections were made up
  from the ground truth by the COCO authors (cocodataset/cocoapi, BSD 2-clause); no detector produced them.
PASCAL VOC, 100 images (2007_*), 452 detections: rafaelpadilla/review_object_detection_metrics (MIT), which
  does not name the detector; the list holds no score below .40. Boxes marked difficult are counted.
"""
NOTES = {
    "per_image_ap": f"""\
F1, LRP, mean_iou, true and false positives, false negatives: score >= {SCORE}, IoU >= {IOU}.
Columns as in marginalia.boxes.evaluate_images.
""",
    "ap_summary": f"""\
F1, LRP, false positives: IoU >= {IOU} and score >= {SCORE}, or all detections where it says "any score".
low, high: 95 % bootstrap interval over images (1000 resamples), where given.
""",
    "lrp_by_threshold": f"""\
IoU >= {IOU}. Counts, F1 and LRP are pooled over images and categories;
mean_image_*: mean of the images' own; optimum: the score threshold with the smallest pooled LRP.
""",
}


def measure(folder: Path, out: Path) -> list[Path]:
    """Write per_image_ap.csv, ap_summary.csv and lrp_by_threshold.csv into `out`; returns their paths.

    folder: where the files of `PAIRS` are.
    """
    tables = {name: [] for name in NOTES}
    for name, files in PAIRS.items():
        ground_truth = read_boxes(folder / files[0])
        detections = read_boxes(folder / files[1], ground_truth=ground_truth)
        frame = evaluate_images(ground_truth, detections, SCORE, IOU)
        measured = {
            "per_image_ap": frame.reset_index(),
            "ap_summary": summarise(ground_truth, detections, frame),
            "lrp_by_threshold": by_threshold(ground_truth, detections),
        }
        for table, rows in measured.items():
            rows.insert(0, "dataset", name)
            tables[table].append(rows)
    paths = []
    for table, parts in tables.items():
        paths.append(out / f"{table}.csv")
        write_table(paths[-1], SOURCE + NOTES[table], pd.concat(parts).round(6), None)
    return paths


def summarise(ground_truth: BoxTable, detections: BoxTable, frame: pd.DataFrame) -> pd.DataFrame:
    """AP of the data set beside that of its images, with ties and blind spots of the latter."""
    images = frame[frame["AP"].notna()]
    any_score = evaluate_images(ground_truth, detections, 0.0, IOU).loc[images.index]
    whole = {f"{name} of the data set": value for name, value in evaluate(ground_truth, detections).items()}
    plain = whole | counts(frame, images, any_score) | optima(ground_truth, detections)
    rows = [(figure, value, np.nan, np.nan, len(frame)) for figure, value in plain.items()]
    for column in ("AP", "F1", "LRP"):
        value = images[column]
        rows.append((f"mean of the images' {column}", value.mean(), *bootstrap(np.mean, value), len(images)))
    for suffix, measured in (("", images), (", any score", any_score)):
        columns = {"AP": measured["AP"], "F1": measured["F1"], "1 - LRP": 1 - measured["LRP"]}
        for first, second in combinations(columns, 2):
            found = rank_correlation(columns[first], columns[second])
            rows.append((f"Spearman of {first} and {second}{suffix}", *found, len(images)))
    return pd.DataFrame(rows, columns=["figure", "value", "low", "high", "images"])


def counts(frame: pd.DataFrame, images: pd.DataFrame, any_score: pd.DataFrame) -> dict[str, int]:
    """How many images have no AP, a perfect one, a shared one, and what AP did not see in them."""
    found = {
        "images": len(frame),
        "images without AP": len(frame) - len(images),
        "images that share their AP with another": images["AP"].round(12).duplicated(keep=False).sum(),
        "images with a false positive of an absent category": (images[ABSENT] > 0).sum(),
        "images with a false positive of an absent category, any score": (any_score[ABSENT] > 0).sum(),
    }
    for column in ("AP", "AP50"):
        perfect = images[images[column] == 1]
        blind = any_score.loc[perfect.index, ABSENT] > 0
        found |= {
            f"images with {column} 1": len(perfect),
            f"images with {column} 1 and one ground truth": (perfect["ground_truths"] == 1).sum(),
            f"images with {column} 1 and a false positive of an absent category, any score": blind.sum(),
        }
    return found


def optima(ground_truth: BoxTable, detections: BoxTable) -> dict[str, float]:
    """The smallest LRP: one score threshold for all categories, and as published each category at its own."""
    pooled = score_sweep(ground_truth, detections, IOU)["LRP"]
    each = []
    for category in np.unique(ground_truth.category[~ground_truth.crowd]):
        of = (table.where(table.category == category) for table in (ground_truth, detections))
        sweep = score_sweep(*of, IOU)["LRP"]
        each.append(sweep.min() if len(sweep) else 1.0)  # nothing detected: all ground truths are missed
    return {
        "smallest pooled LRP": pooled.min(),
        "score threshold of the smallest pooled LRP": pooled.idxmin(),
        "oLRP, mean over categories": float(np.mean(each)),
    }


def by_threshold(ground_truth: BoxTable, detections: BoxTable) -> pd.DataFrame:
    """F1 and LRP over score thresholds: the grid, and the threshold where the pooled LRP is smallest."""
    sweep = score_sweep(ground_truth, detections, IOU)
    optimum = sweep["LRP"].idxmin()
    rows = []
    for threshold in sorted({*GRID.tolist(), optimum}):
        pooled = sweep[sweep.index >= threshold].iloc[-1]
        images = evaluate_images(ground_truth, detections, threshold, IOU)
        means = {"mean_image_F1": images["F1"].mean(), "mean_image_LRP": images["LRP"].mean()}
        rows.append({"score_threshold": threshold, **pooled, **means, "optimum": threshold == optimum})
    whole = ["true_positives", "false_positives", "false_negatives"]
    return pd.DataFrame(rows).astype(dict.fromkeys(whole, int))
