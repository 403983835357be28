"""Detectors trained here beside the ground truth of validation scenes: which pictures go well, which not, and why.

The pairs are those of `boxes.plots.evaluation`, whose galleries take them. A scene is seen by a detector at
64 pixels and drawn at 256, and boxes are in the pixels of what is drawn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from scipy.stats import rankdata

from ...boxes.error_types import ERRORS, costs, error_types
from ...boxes.evaluation import evaluate, score_sweep
from ...boxes.geometry import iou
from ...boxes.nulls import bootstrap_interval
from ...boxes.plots import evaluation
from ...boxes.plots.evaluation import Pair, ap_strips, failure_cases, pair_legend, show_picture
from ...figures.conditional_detr import SHARP, drawn_scene
from ...style import CYCLE, WIDTH
from ..loading import load
from ..predicting import predict_table
from ..scenes import SceneBatch, as_boxes, make_scenes

SIDE = 64  # pixels of a scene as detectors see it
SCENES = 512  # as many as the training measures on, and the same
RESAMPLES = 1000
LOOSE = 0.75  # a right box with a smaller IoU is called loose
FACTORS = {
    "digits": "number of digits",
    "height": "height of the smallest digit",
    "overlap": "largest IoU of two digits",
    "narrowness": "narrowest digit: height / width",
    "roughness": "roughness of the ground",
}


@lru_cache(maxsize=2)
def _scenes(count: int) -> SceneBatch:
    return make_scenes(count, split="val", side=SIDE)


@lru_cache(maxsize=4)
def scene_pair(name: str = "headline-conditional-0", count: int = SCENES) -> Pair:
    """Ground truth and detections of the first `count` validation scenes, by a detector as `load` takes it.

    Ids are "scene 0" and so on. Ground truth and detections come from pictures of 64 pixels, as in training; boxes
    are scaled to the 256 pixels of the drawn pictures, which are made when they are shown. The same arguments
    give the same object.
    """
    batch = _scenes(count)
    ground_truth = as_boxes(batch)
    names = tuple(f"scene {i}" for i in range(count))
    sizes = np.full((count, 2), SHARP)
    ground_truth = replace(
        ground_truth, xywh=ground_truth.xywh * (SHARP / SIDE), image_ids=names, sizes=sizes
    )
    detections = predict_table(load(name), torch.from_numpy(batch.pixels), names, sizes, ground_truth.names)
    return Pair(ground_truth, detections, drawn_scene)


def open_pair(data: str | Sequence | None = None, name: str = "headline-conditional-0") -> Pair:
    """A reader's own files, in the form that `boxes.plots.evaluation.open_pair` takes; without, `scene_pair`.

    A sequence of nothing but None means the scenes too.
    """
    if data is None or (not isinstance(data, str) and not any(data)):
        return scene_pair(name)
    return evaluation.open_pair(data)


def best_score(pair: Pair) -> float:
    """The score threshold with the smallest LRP over all pictures, to two digits; 0.5 without detections.

    Scores of different losses are on different scales, so that one threshold for all would favour some.
    """
    sweep = score_sweep(pair.ground_truth, pair.detections)
    return 0.5 if sweep.empty else round(float(sweep["LRP"].idxmin()), 2)


def quantile_gallery(data=None, quantiles: Sequence[float] = (0, 0.1, 0.25, 0.5, 0.75, 1)):
    """The pictures that stand at the given quantiles of AP per image, with ground truth and detections.

    data as in `open_pair`, None for Conditional DETR on validation scenes; or a pair. Detections from
    `best_score` on are drawn and counted. Returns (figure, data): their rows of `evaluate_images`, with
    columns `quantile` and `picture_found`. Relation DETR's figure of failure cases, chosen by rule.
    """
    pair = data if isinstance(data, Pair) else open_pair(data)
    return evaluation.quantile_gallery(pair, quantiles, best_score(pair))


def ap_by_digits(pair: Pair, frame: pd.DataFrame) -> tuple[Figure, pd.DataFrame]:
    """`ap_strips` with a strip for each number of objects; frame: rows of `evaluate_images` for the pair.

    Returns (figure, data): group, AP of the image, and AP of its group as one data set.
    """
    counts = pair.ground_truth.counts
    names = {n: f"{n} digit{'s' if n > 1 else ''}" for n in sorted(frame["ground_truths"].unique())}
    whole = {
        name: evaluate(*(t.where((counts == n)[t.image]) for t in (pair.ground_truth, pair.detections)))["AP"]
        for n, name in names.items()
    }
    figure, data = ap_strips(frame, frame["ground_truths"].map(names), pd.Series(whole))
    return figure, data.assign(group_AP=data["group"].map(whole))


def error_examples(pair: Pair, threshold: float) -> tuple[Figure, pd.DataFrame]:
    """Errors of detections with a score from `threshold` on: how many of each kind, with an example each.

    The kinds are those of `boxes.error_types`; "both" and "background" have no example. "loose" are right
    detections with an IoU below 0.75. Shown are the most confident detection of each kind and the picture
    with most missed objects. Returns (figure, data): kind, number, and the picture shown; data.attrs["quiet"]
    says how many missed objects have a right detection below the threshold.
    """
    sure = pair.detections.where(pair.detections.score >= threshold)
    verdicts = error_types(pair.ground_truth, sure)
    wrong = {kind: verdicts.kind == kind for kind in ("class", "duplicate", "location")}
    wrong["loose"] = (verdicts.kind == "right") & (verdicts.iou < LOOSE)
    examples, none = {}, np.empty((0, 4))
    for kind, which in wrong.items():
        if which.any():
            d = np.where(which, sure.score, -np.inf).argmax()
            objects = pair.ground_truth.xywh[[verdicts.about[d]]]
            examples[f"{kind}: {which.sum()}"] = sure.image[d], objects, sure.xywh[[d]]
    missed = verdicts.fate == "missed"
    if missed.any():
        most = np.bincount(pair.ground_truth.image[missed]).argmax()
        objects = pair.ground_truth.xywh[missed & (pair.ground_truth.image == most)]
        examples[f"missed: {missed.sum()}"] = most, objects, none
    figure, shown = failure_cases(pair, examples, threshold)
    kind, number = zip(*(title.split(": ") for title in shown["kind"]), strict=True)
    data = pd.DataFrame({"kind": kind, "number": map(int, number), "image_id": shown["image_id"]})
    fate = error_types(pair.ground_truth, pair.detections).fate
    data.attrs = {"quiet": int((missed & (fate == "found")).sum())}
    return figure, data


def scene_features(count: int = SCENES) -> pd.DataFrame:
    """What may make a scene hard, one row a scene, columns as FACTORS; lengths in parts of the side.

    Roughness is the standard deviation of the grey levels (0 to 255) outside all boxes.
    """
    batch = _scenes(count)
    rows = []
    for pixels, boxes in zip(batch.pixels[:, 0], batch.boxes, strict=True):
        corners = np.concatenate([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2], axis=1)
        overlap = np.triu(iou(corners, corners), 1).max()
        ground = np.ones(pixels.shape, bool)
        for left, top, right, bottom in np.rint(corners * SIDE).astype(int):
            ground[max(top - 1, 0) : bottom + 1, max(left - 1, 0) : right + 1] = False
        wide, high = boxes[:, 2], boxes[:, 3]
        rows.append((len(boxes), high.min(), overlap, (high / wide).max(), pixels[ground].std()))
    return pd.DataFrame(rows, columns=list(FACTORS), index=[f"scene {i}" for i in range(count)])


def two_detectors(frames: Mapping[str, pd.DataFrame]) -> tuple[Figure, pd.DataFrame]:
    """AP of each picture by one detector against the other, and their differences with the mean's interval.

    frames: two names -> rows of `evaluate_images` for the same pictures. Coloured by the number of objects.
    The interval is a bootstrap over pictures, 95 %. Returns (figure, data): both AP and their difference;
    `data.attrs` has "mean", "low" and "high".
    """
    (first, a), (second, b) = frames.items()
    data = pd.DataFrame({first: a["AP"], second: b["AP"], "ground_truths": a["ground_truths"]}).dropna()
    data["difference"] = data[first] - data[second]
    low, high = bootstrap_interval(data["difference"].to_numpy(), RESAMPLES, 0)
    data.attrs = {"mean": data["difference"].mean(), "low": low, "high": high}
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(WIDTH["page"], 3.2), width_ratios=(1, 1.25), layout="constrained"
    )
    left.plot([0, 1], [0, 1], color="0.5", lw=0.8)
    for color, marker, (ground_truths, rows) in zip(
        CYCLE, "osD^vPX", data.groupby("ground_truths"), strict=False
    ):
        style = {"color": color, "alpha": 0.5, "markersize": 3.5, "label": f"{ground_truths}"}
        left.plot(rows[second], rows[first], marker, **style)
    left.set(xlabel=f"AP of an image, {second}", ylabel=f"AP of an image, {first}")
    left.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    left.legend(title="objects", loc="lower right", handletextpad=0.1)
    right.hist(data["difference"], np.arange(-1.025, 1.05, 0.05), color=CYCLE[0], alpha=0.55)
    right.axvspan(low, high, color=CYCLE[1], alpha=0.3, lw=0)
    bar = right.axvline(data.attrs["mean"], color=CYCLE[1], lw=2)
    right.axvline(0, color="black", lw=0.8)
    reach = 1.1 * data["difference"].abs().max() + 0.025
    right.set(xlabel=f"AP of {first} less AP of {second}", ylabel="images", xlim=(-reach, reach))
    right.legend([bar], ["mean, 95 % interval"], loc="lower left", bbox_to_anchor=(0, 1))
    return figure, data


def beside(pairs: Mapping[str, Pair], thresholds: Mapping[str, float], chosen: pd.DataFrame):
    """The same pictures by two or more detectors, a row each, with the AP of each picture.

    chosen: image ids as index, a column of AP for each name. Returns (figure, data): the rows of `chosen`.
    """
    shape, size = (len(pairs), len(chosen)), WIDTH["page"] / len(chosen)
    figure, panels = plt.subplots(
        *shape, figsize=(WIDTH["page"], len(pairs) * (size + 0.1) + 0.3), squeeze=False, layout="constrained"
    )
    for line, (name, pair) in zip(panels, pairs.items(), strict=True):
        for panel, (identity, row) in zip(line, chosen.iterrows(), strict=True):
            show_picture(panel, pair, pair.ground_truth.image_ids.index(identity), thresholds[name])
            panel.set_title(f"{identity}: AP {row[name]:.2f}", fontsize=8)
        line[0].set_ylabel(name, fontsize=9)
    dashed = any(isinstance(box.get_linestyle(), tuple) for panel in panels.flat for box in panel.patches)
    pair_legend(figure, absent=dashed)
    return figure, chosen


def ap_table(pairs: Mapping[str, Pair], frames: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """AP and AP50 of each detector: of the data set, and the mean over images; a column a detector.

    frames: rows of `evaluate_images` for each.
    """
    columns = {}
    for name, pair in pairs.items():
        whole = evaluate(pair.ground_truth, pair.detections)
        columns[name] = {f"{ap} of the data set": whole[ap] for ap in ("AP", "AP50")}
        columns[name] |= {f"mean {ap} of the images": frames[name][ap].mean() for ap in ("AP", "AP50")}
    return pd.DataFrame(columns)


def error_counts(pair: Pair, threshold: float) -> pd.Series:
    """Number of detections with a score from `threshold` on of each kind in ERRORS, and of missed objects."""
    verdicts = error_types(pair.ground_truth, pair.detections.where(pair.detections.score >= threshold))
    counts = {kind: (verdicts.kind == kind).sum() for kind in ERRORS}
    return pd.Series(counts | {"missed": (verdicts.fate == "missed").sum()})


def error_bars(pairs: Mapping[str, Pair], thresholds: Mapping[str, float]) -> tuple[Figure, pd.DataFrame]:
    """Errors of each detector by kind: how many, and how much AP at IoU .50 would be gained without them.

    The kinds are those of `boxes.error_types`. Counted are detections with a score from the detector's own
    threshold on; AP, and so the gain, is with all. Returns (figure, data): both, columns (what, detector).
    """
    counts = {name: error_counts(pair, thresholds[name]) for name, pair in pairs.items()}
    kinds = list(next(iter(counts.values())).index)
    gains = {name: costs(pair.ground_truth, pair.detections)[kinds] for name, pair in pairs.items()}
    data = pd.concat({"count": pd.DataFrame(counts), "AP50 gained": pd.DataFrame(gains)}, axis=1)
    figure, panels = plt.subplots(1, 2, figsize=(WIDTH["page"], 2.7), sharey=True, layout="constrained")
    place, high = np.arange(len(kinds)), 0.8 / len(pairs)
    labels = "errors at the detector's own threshold", "AP50 gained if these errors were mended"
    for panel, what, label, form in zip(
        panels, ("count", "AP50 gained"), labels, ("%g", "%.3f"), strict=True
    ):
        for n, (name, color) in enumerate(zip(pairs, CYCLE, strict=False)):
            at = place + (n - 0.5 * (len(pairs) - 1)) * high
            bars = panel.barh(at, data[what, name], 0.94 * high, color=color, label=name)
            panel.bar_label(bars, fmt=form, padding=2, fontsize=7)
        panel.set(xlabel=label)
        panel.margins(x=0.14)
        panel.grid(axis="y", visible=False)
    panels[0].set(yticks=place, yticklabels=kinds)
    panels[0].invert_yaxis()
    figure.legend(*panels[1].get_legend_handles_labels(), loc="outside lower center", ncols=len(pairs))
    return figure, data


def factors(features: pd.DataFrame, aps: Mapping[str, pd.Series]) -> tuple[Figure, pd.DataFrame]:
    """Spearman's rank correlation of AP per image with what may make a scene hard, a panel a detector.

    Open marks: over all scenes. Full marks: among scenes with equally many digits, ranks taken within each
    number. Bars are 95 % intervals, a bootstrap over scenes. Returns (figure, data), a row a mark.
    """
    rows = []
    for name, ap in aps.items():
        for factor in FACTORS:
            rows.append((name, factor, "all scenes", *_spearman(features[factor], ap)))
            if factor != "digits":
                within = _spearman(features[factor], ap, features["digits"])
                rows.append((name, factor, "equally many digits", *within))
    columns = ["detector", "factor", "scenes", "correlation", "low", "high"]
    data = pd.DataFrame(rows, columns=columns)
    figure, panels = plt.subplots(1, len(aps), figsize=(WIDTH["page"], 2.6), sharey=True, sharex=True)
    for panel, (name, part) in zip(np.atleast_1d(panels), data.groupby("detector", sort=False), strict=True):
        for shift, face, (scenes, marks) in zip(
            (-0.15, 0.15), ("white", CYCLE[0]), part.groupby("scenes"), strict=True
        ):
            at = marks["factor"].map(list(FACTORS).index) + shift
            panel.hlines(at, marks["low"], marks["high"], color=CYCLE[0], lw=1.4)
            panel.plot(marks["correlation"], at, "o", color=CYCLE[0], markerfacecolor=face, label=scenes)
        panel.axvline(0, color="black", lw=0.8)
        panel.set(title=name, xlabel="rank correlation with AP", yticks=range(len(FACTORS)))
        panel.set_yticklabels(FACTORS.values())
        panel.grid(axis="y", visible=False)
    np.atleast_1d(panels)[0].invert_yaxis()
    handles, labels = np.atleast_1d(panels)[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2)
    return figure, data


def _spearman(x: pd.Series, y: pd.Series, groups: pd.Series | None = None) -> tuple[float, float, float]:
    """Rank correlation and its 95 % bootstrap interval; with groups, of the ranks within each group."""
    groups = np.zeros(len(x), int) if groups is None else np.asarray(groups)
    varied = [g for g in np.unique(groups) if np.ptp(np.asarray(x)[groups == g]) > 0]
    members = [np.flatnonzero(groups == g) for g in varied]
    rng = np.random.default_rng(0)

    def statistic(parts):  # each (R, members of the group)
        ranks = [[rankdata(np.asarray(v)[p], axis=1) / p.shape[1] for p in parts] for v in (x, y)]
        u, v = (np.concatenate([r - r.mean(1, keepdims=True) for r in of], axis=1) for of in ranks)
        return (u * v).sum(1) / np.sqrt((u**2).sum(1) * (v**2).sum(1))

    value = statistic([m[None] for m in members])[0]
    drawn = [m[rng.integers(len(m), size=(RESAMPLES, len(m)))] for m in members]
    return (value, *np.quantile(statistic(drawn), [0.025, 0.975]))
