"""Detections beside their ground truth: images, errors, AP of the data set and of each image."""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from marginalia.boxes.blood_cells import cells
from marginalia.boxes.error_types import ERRORS, error_types
from marginalia.boxes.evaluation import evaluate, evaluate_images, score_sweep
from marginalia.boxes.geometry import iou, xywh_to_xyxy
from marginalia.boxes.reading import read_boxes
from marginalia.boxes.sources import image_inside
from marginalia.boxes.table import BoxTable
from marginalia.detection.scenes import cell_scenes
from marginalia.plots import DASHED, NEUTRAL, boxes_on, intervals, legend, panels
from marginalia.statistics import bootstrap, rank_correlation
from marginalia.store import read_table
from marginalia.style import CYCLE, DETECTION, GROUND_TRUTH, PALETTE, WIDTH

TRUE = {"color": GROUND_TRUTH, "linewidth": 2.6}
FOUND = {"color": DETECTION, "linewidth": 1}
NAMED = {"color": PALETTE["purple"], "linewidth": 2}  # the error that a panel is about
SCORES = 6  # of an image's detections are written where there are no more: else they would cover it
SHOWN = 480  # pixels of the longer side of an image from a file: a page is at most 7 inches wide


@dataclass(frozen=True)
class Pair:
    """What there was to find, what was found, and how to come by an image."""

    ground_truth: BoxTable
    detections: BoxTable
    pixels: Callable[[int], UInt8[np.ndarray, "H W *channels"] | None]  # by index into ground_truth.image_ids


def open_pair(data: str | None = None, detector: str = "cells-conditional-0") -> Pair:
    """Ground truth, detections and images of a reader, or those of a detector on photographs of cells.

    data: 'ground truth,detections' or 'ground truth,detections,folder of images'; formats as in `read_boxes`;
    None: `cell_pair`. An image is looked for under the name that the ground truth gives it, then under its
    id, also in twelve digits, as COCO 2017 names its files; it is read when it is drawn, and a missing one is
    no error. ValueError or FileNotFoundError for what cannot be read.
    """
    if data is None:
        return cell_pair(detector)
    parts = [part.strip() for part in data.split(",")]
    if len(parts) not in (2, 3) or not all(parts):
        raise ValueError(f"data must be 'ground truth,detections[,folder of images]', not {data!r}")
    ground_truth = read_boxes(parts[0])
    detections = read_boxes(parts[1], ground_truth=ground_truth)
    folder = Path(parts[2]).expanduser() if len(parts) == 3 else None
    if folder and not folder.is_dir():
        raise FileNotFoundError(f"{folder}: the third part of data must be a folder of images")
    return Pair(ground_truth, detections, lambda image: _load(folder, ground_truth, image))


def _load(folder: Path | None, table: BoxTable, image: int) -> UInt8[np.ndarray, "H W 3"] | None:
    """An image by its names, the first that is there; ValueError where there is none but one is refused."""
    identity = table.image_ids[image]
    if table.files:  # as seen from the labels, or in a folder of images alone
        names = [table.files[image], Path(table.files[image]).name]
    else:
        names = [f"{identity}.jpg", f"{identity}.png"]
    names += [f"{identity:012d}.jpg"] if isinstance(identity, int) else []
    refused = None
    for name in names if folder else ():
        try:
            file = image_inside(folder, name)
        except FileNotFoundError:
            continue
        except ValueError as error:
            refused = error
            continue
        file.thumbnail((SHOWN, SHOWN))
        return np.asarray(file)
    if refused:
        raise refused
    return None


@lru_cache(maxsize=8)
def cell_pair(detector: str = "cells-conditional-0") -> Pair:
    """Boxes of the 72 test photographs of `boxes.cells`, and what a detector, as `load` takes it, finds.

    "photograph 7" is BloodImage_00007.jpg; boxes are in pixels of 160 x 120.
    """
    import torch

    from marginalia.detection import as_boxes, load, predict_table

    data, batch = cells(), cell_scenes("test")
    files = np.array(data.table.files)[data.split == "test"]
    names = tuple(f"photograph {int(Path(file).stem.rsplit('_')[-1])}" for file in files)
    ground_truth = replace(as_boxes(batch), image_ids=names)
    known = names, ground_truth.sizes, ground_truth.names
    found = predict_table(load(detector), torch.from_numpy(batch.pixels), *known)
    # drawn in 32 levels a channel, so that a notebook's file stays small
    drawn = batch.pixels.transpose(0, 2, 3, 1) // 8 * 8 + 4
    return Pair(ground_truth, found, drawn.__getitem__)


def best_score(pair: Pair) -> float:
    """The score threshold with the smallest LRP over all images, to two digits; 0.5 without detections.

    Scores of different losses are on different scales, so that one threshold for all would favour some.
    """
    sweep = score_sweep(pair.ground_truth, pair.detections)
    return 0.5 if sweep.empty else round(float(sweep["LRP"].idxmin()), 2)


def gallery(
    pair: Pair, chosen: pd.DataFrame, score_threshold: float, titles: Sequence[str] = (), columns: int = 3
) -> tuple[Figure, pd.DataFrame]:
    """Chosen rows of `evaluate_images` as images with AP, F1 and LRP; only these images are loaded.

    titles: what stands before the image's id. Returns (figure, data): the rows, with `image_found`. A missing
    image leaves a grey ground.
    """
    shown = {}
    for title, (identity, row) in zip(titles or [""] * len(chosen), chosen.iterrows(), strict=True):
        numbers = "AP {AP:.2f}, F1 {F1:.2f}, LRP {LRP:.2f}".format(**row)
        shown[f"{title}{identity}\n{numbers}"] = pair.ground_truth.image_ids.index(identity)
    figure, there = images(pair, shown, score_threshold, columns)
    pair_legend(figure)
    return figure, chosen.assign(image_found=there)


def images(
    pair: Pair, shown: Mapping[str, int], score_threshold: float, columns: int
) -> tuple[Figure, list[bool]]:
    """Images under their titles (title -> index), as `show_image` draws them; and which have pixels."""
    width, height = pair.ground_truth.sizes[list(shown.values())].T
    tallest = np.clip(np.nan_to_num(height / width, nan=1).max(), 0.6, 1.4)
    figure, axes = panels(len(shown), columns, WIDTH["page"] / min(columns, len(shown)) * tallest + 0.55)
    there = []
    for panel, (title, image) in zip(axes, shown.items(), strict=True):
        there.append(show_image(panel, pair, image, score_threshold))
        panel.set_title(title, fontsize=8)
    return figure, there


def cases(pairs: Mapping[str, tuple[BoxTable, BoxTable]]) -> tuple[Figure, pd.DataFrame]:
    """Constructed images, title -> (ground truth, detections) without pixels, each with its AP and F1.

    Returns (figure, data): a row of `evaluate_images` a case.
    """
    figure, axes = panels(len(pairs), 4, 4.1 / len(pairs) + 1)
    rows = {}
    for panel, (title, tables) in zip(axes, pairs.items(), strict=True):
        show_image(panel, Pair(*tables, lambda image: None), 0)
        rows[title] = evaluate_images(*tables).iloc[0].astype(float)
        panel.set_title(title, fontsize=8)
        panel.set_xlabel("AP {AP:.2f}\nF1 {F1:.2f}".format(**rows[title]).replace("nan", "undefined"))
    pair_legend(figure)
    return figure, pd.DataFrame(rows).T.rename_axis("case")


def at_thresholds(
    pair: Pair, image_id: int | str, score_threshold: float, iou_threshold: float = 0.5
) -> tuple[Figure, pd.DataFrame]:
    """One image with the detections from a score on, and its F1 and LRP at every score threshold.

    Returns (figure, data): F1 and LRP at each score that changes them.
    """
    image = pair.ground_truth.image_ids.index(image_id)
    own = [table.where(table.image == image) for table in (pair.ground_truth, pair.detections)]
    sweep = score_sweep(*own, iou_threshold)
    row = evaluate_images(*own, score_threshold, iou_threshold).loc[image_id]
    figure, (left, right) = panels(2, 2, 3.1, width_ratios=(1, 1.3))
    show_image(left, pair, image, score_threshold)
    left.set_title("{}: AP {:.2f}\nF1 {:.2f}, LRP {:.2f}".format(image_id, *row[["AP", "F1", "LRP"]]))
    none = evaluate_images(*own, 1.01, iou_threshold).loc[image_id]
    for column in ("F1", "LRP"):  # from no detection at all down to score 0, where nothing more comes in
        values = [none[column], *sweep[column], sweep[column].iloc[-1]]
        right.step([1, *sweep.index, 0], values, where="post", label=column)
    right.axvline(score_threshold, color=NEUTRAL, linewidth=1, linestyle="--", label="on the left")
    right.set(xlabel="score threshold", ylabel=f"F1, LRP (IoU at least {iou_threshold:g})")
    right.set(xlim=(0, 1), ylim=(0, 1.02))
    right.legend()
    return figure, sweep.reset_index()


def ap_strips(pair: Pair, most: int = 6) -> tuple[Figure, pd.DataFrame]:
    """AP of every image, of all categories and of each alone, with its mean and its AP as one data set.

    most: categories shown, those in most images. Returns (figure, data): group, AP, group_AP and the number
    of objects, a row an image that has the category.
    """
    figure, (axes,) = panels(1, 1, 2.9)
    truth, rows = pair.ground_truth.where(~pair.ground_truth.crowd), []
    images = {k: len(np.unique(truth.image[truth.category == k])) for k in truth.names}
    shown = sorted(images, key=images.get, reverse=True)[:most]
    groups = {"all categories": list(truth.names)} | {truth.names[k]: [k] for k in shown if images[k]}
    for line, (name, group) in enumerate(groups.items()):
        parts = [t.where(np.isin(t.category, group)) for t in (pair.ground_truth, pair.detections)]
        own = evaluate_images(*parts)[["AP", "ground_truths"]].dropna()
        whole = evaluate(*parts)["AP"]
        spread = line + np.random.default_rng(line).uniform(-0.25, 0.25, len(own))
        axes.plot(own["AP"], spread, "o", color=CYCLE[0], alpha=0.45)
        axes.plot(own["AP"].mean(), line, "|", color=CYCLE[1], markersize=30, markeredgewidth=2.5)
        axes.plot(whole, line, "D", color="white", markeredgecolor="black", markersize=6)
        rows.append(own.assign(group=name, group_AP=whole).reset_index())
    axes.set(xlabel="AP of an image", ylim=(len(rows) - 0.5, -0.5))
    axes.set_yticks(range(len(rows)), [f"{part['group'].iloc[0]} ({len(part)})" for part in rows])
    names = ("an image", "mean of the images' AP", "AP of all its images as one data set")
    figure.legend(axes.lines[:3], names, loc="outside upper left", ncols=3, markerscale=0.6)
    return figure, pd.concat(rows, ignore_index=True)


def ap_table(pairs: Mapping[str, Pair], frames: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """AP and AP50, a column a detector: of the data set, and the mean over images (of `evaluate_images`)."""
    whole = {n: evaluate(pair.ground_truth, pair.detections)[["AP", "AP50"]] for n, pair in pairs.items()}
    images = {name: frame[["AP", "AP50"]].mean() for name, frame in frames.items()}
    return pd.concat({"of the data set": pd.DataFrame(whole), "mean of the images": pd.DataFrame(images)})


def error_examples(pair: Pair, threshold: float) -> tuple[Figure, pd.DataFrame]:
    """The most confident detection of each kind of error, in purple, and the image with most missed objects.

    Detections count from `threshold` on; "loose" ones are true positives with an IoU below 0.75. Returns
    (figure, data): kind, number, and the image shown.
    """
    sure = pair.detections.where(pair.detections.score >= threshold)
    found = error_types(pair.ground_truth, sure)
    shown = ("background", "classification", "duplicate", "localisation")
    kinds = {kind: found.kind == kind for kind in shown}
    kinds["loose"] = (found.kind == "true positive") & (found.iou < 0.75)
    chosen = {kind: np.where(which, sure.score, -1).argmax() for kind, which in kinds.items() if which.any()}
    rows = [(kind, kinds[kind].sum(), sure.image[d]) for kind, d in chosen.items()]
    missed = pair.ground_truth.image[found.outcome == "missed"]
    if len(missed):
        rows.append(("missed", len(missed), np.bincount(missed).argmax()))
    figure, _ = images(pair, {f"{kind}: {number}": image for kind, number, image in rows}, threshold, 3)
    for panel, d in zip(figure.axes, chosen.values(), strict=False):
        boxes_on(panel, sure.xywh[[d]], pair.ground_truth.sizes[sure.image[d]], **NAMED)
    pair_legend(figure, {"the error": NAMED})
    data = pd.DataFrame(rows, columns=["kind", "number", "image_id"])
    return figure, data.assign(image_id=[pair.ground_truth.image_ids[image] for image in data["image_id"]])


def error_counts(pair: Pair, threshold: float) -> pd.Series:
    """Errors with a score from `threshold` on: each kind in ERRORS, missed objects, and how many of these are
    under-confident: found by a detection below the threshold.
    """
    sure = pair.detections.where(pair.detections.score >= threshold)
    found, any_score = (error_types(pair.ground_truth, table) for table in (sure, pair.detections))
    counts = {kind: (found.kind == kind).sum() for kind in ERRORS}
    missed = found.outcome == "missed"
    under = missed & (any_score.outcome == "found")
    return pd.Series(counts | {"missed": missed.sum(), "under-confident": under.sum()})


def differences(paired: pd.DataFrame) -> tuple[Figure, pd.DataFrame]:
    """Histogram of the AP of images by one detector minus that by another, with the mean and its interval.

    paired: a column for each of the two. Returns (figure, data): both columns and `difference`; data.attrs
    has the mean, and its 95 % interval over images as low and high.
    """
    first, second = paired
    data = paired.assign(difference=paired[first] - paired[second]).dropna()
    difference = data["difference"]
    low, high = bootstrap(np.mean, difference.to_numpy())
    figure, (axes,) = panels(1, 1, 2.6)
    axes.hist(difference, 40, color=CYCLE[0], alpha=0.55)
    axes.axvspan(low, high, color=CYCLE[1], alpha=0.3, linewidth=0)
    axes.axvline(difference.mean(), color=CYCLE[1], label="mean, 95 % interval")
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set(xlabel=f"AP of an image by {first} minus that by {second}", ylabel="images")
    axes.legend()
    data.attrs = {"mean": difference.mean(), "low": low, "high": high}
    return figure, data


def image_features(table: BoxTable) -> pd.DataFrame:
    """What may make an image hard, as far as its boxes tell; a row an image, crowds left out.

    Lengths are normalised to the image's longer side. NaN where an image has no box.
    """
    table, rows = table.where(~table.crowd), []
    for image, size in enumerate(table.sizes):
        mine = table.image == image
        corners, sides = xywh_to_xyxy(table.xywh[mine]), table.xywh[mine, 2:] / size.max()
        overlap = np.triu(iou(corners, corners), 1).max(initial=0) if mine.any() else np.nan
        smallest = sides.max(axis=1).min() if mine.any() else np.nan
        rows.append((len(np.unique(table.category[mine])), mine.sum(), smallest, overlap))
    names = ["number of categories", "number of boxes", "smallest box", "largest IoU of two"]
    return pd.DataFrame(rows, columns=names, index=list(table.image_ids))


def factors(features: pd.DataFrame, aps: Mapping[str, pd.Series]) -> tuple[Figure, pd.DataFrame]:
    """Spearman's rank correlation of AP per image with each feature of the images, a panel a detector.

    features: one row an image. Open marks: over all images. Full marks: among images with one value of the
    first feature, ranks taken within each. Bars are 95 % intervals over images. Returns (figure, data), a row
    a mark.
    """
    held = features.iloc[:, 0]
    among, rows = {"all": None, f"equal {held.name}": held}, []
    for name, ap in aps.items():
        for factor, (images, groups) in itertools.product(features, among.items()):
            rows.append((name, factor, images, *rank_correlation(features[factor], ap, groups)))
    data = pd.DataFrame(rows, columns=["detector", "factor", "images", "correlation", "low", "high"]).dropna()
    figure, axes = panels(len(aps), 2, 2.6, sharex=True, sharey=True)
    for panel, (name, part) in zip(axes, data.groupby("detector", sort=False), strict=True):
        for shift, (images, marks) in zip((-0.15, 0.15), part.groupby("images"), strict=True):
            series = {"shift": shift, "open": shift < 0, "name": images, "order": list(features)}
            intervals(panel, marks, "correlation", "factor", **series)
        panel.set(title=name, xlabel="rank correlation with AP")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure, data


def unlabelled(pair: Pair) -> pd.DataFrame:
    """What lies under sure detections of red cells where the photographs of cells have no box.

    pair: of `cell_pair`. The columns of data/measured/cells_unlabelled.csv (x, y, w, h, score, verdict), with
    `image`, the index into pair.ground_truth.image_ids.
    """
    table, ids = read_table("measured/cells_unlabelled.csv"), pair.ground_truth.image_ids
    return table.assign(image=[ids.index(f"photograph {number}") for number in table["photograph"]])


def unlabelled_examples(pair: Pair, rows: pd.DataFrame) -> Figure:
    """Some rows of `unlabelled` in purple, enlarged, with the boxes around them."""
    figure, axes = panels(len(rows), 4, 1.65)
    for panel, row in zip(axes, rows.itertuples(), strict=True):
        truth, size = pair.ground_truth, pair.ground_truth.sizes[row.image]
        boxes_on(panel, truth.xywh[truth.image == row.image], size, pair.pixels(row.image), **TRUE)
        boxes_on(panel, np.array([[row.x, row.y, row.w, row.h]]), size, **NAMED)
        x, y = row.x + row.w / 2, row.y + row.h / 2
        panel.set(xlim=(x - 28, x + 28), ylim=(y + 21, y - 21))
        panel.set_title(f"{row.photograph}: {row.verdict}", fontsize=8)
    legend(figure, {"ground truth": TRUE, "detection without a box": NAMED})
    return figure


def with_unlabelled(pair: Pair, rows: pd.DataFrame) -> dict[str, Pair]:
    """The pair with those rows of `unlabelled` that are red cells: "ignored" (as crowds) and "counted"."""
    rows, truth = rows[rows["verdict"] == "red cell"], pair.ground_truth
    red = next(category for category, name in truth.names.items() if name == "red cell")
    more = {
        "xywh": np.concatenate([truth.xywh, rows[["x", "y", "w", "h"]]]),
        "image": np.append(truth.image, rows["image"]),
        "category": np.append(truth.category, np.full(len(rows), red)),
    }
    ways = {"ignored": True, "counted": False}
    crowds = {way: np.append(truth.crowd, np.full(len(rows), crowd)) for way, crowd in ways.items()}
    return {w: replace(pair, ground_truth=replace(truth, **more, crowd=crowd)) for w, crowd in crowds.items()}


def ap_and_means(pair: Pair, score_threshold: float) -> pd.Series:
    """AP, AP of the most frequent category ("AP, red cell"), and means of AP, F1 and LRP over images."""
    truth = pair.ground_truth
    category = _most_frequent(truth)
    alone = (table.where(table.category == category) for table in (truth, pair.detections))
    whole = {"AP": evaluate(truth, pair.detections)["AP"]}
    whole[f"AP, {truth.names[category]}"] = evaluate(*alone)["AP"]
    images = evaluate_images(truth, pair.detections, score_threshold)[["AP", "F1", "LRP"]].mean()
    return pd.concat([pd.Series(whole), images.add_prefix("images' mean ")])


def _most_frequent(table: BoxTable) -> int:
    return int(pd.Series(table.category[~table.crowd]).mode()[0])


def fewer_labels(
    pair: Pair, score_threshold: float, shares: Sequence[float] = (0.1, 0.2, 0.3), draws: int = 5
) -> tuple[Figure, pd.DataFrame]:
    """AP with the same detections where a random share of the boxes of the most frequent category is gone.

    Returns (figure, data): share, draw and the columns of `ap_and_means`, a row a draw.
    """
    truth, rows = pair.ground_truth, []
    category = _most_frequent(truth)
    for share, draw in [(0.0, 0), *itertools.product(shares, range(draws))]:
        gone = (truth.category == category) & (np.random.default_rng(draw).random(len(truth)) < share)
        left = replace(pair, ground_truth=truth.where(~gone))
        rows.append({"share": share, "draw": draw} | ap_and_means(left, score_threshold).to_dict())
    data = pd.DataFrame(rows)
    figure, (panel,) = panels(1, 1, 2.7)
    for column, marker, color in zip(data.columns[[3, 4]], "os", CYCLE, strict=False):
        panel.plot(100 * data["share"], data[column], marker, color=color, alpha=0.6, label=column)
        ends = data[column].iloc[0] * np.array([1, 1 - max(shares)])
        panel.plot([0, 100 * max(shares)], ends, "--", color=color, linewidth=1)
    panel.plot([], [], "--", color=NEUTRAL, linewidth=1, label="in proportion to the boxes")
    panel.set(xlabel=f"boxes of {truth.names[category]} taken away, %", ylabel="AP", ylim=(0, None))
    panel.legend(loc="lower left")
    return figure, data


def show_image(axes: Axes, pair: Pair, image: int, score_threshold: float = 0) -> bool:
    """Draw an image with its ground truth and the detections that count; True if there were pixels.

    Without them the ground is grey, and below it stands why: it is not there, or `pair.pixels` refuses it.
    Crowds, and detections of a class that the image does not have, are dashed. Up to SCORES scores stand at a
    free corner of each detection, behind the class where names of classes are short.
    """
    mine = pair.ground_truth.where(pair.ground_truth.image == image)
    kept = (pair.detections.image == image) & (pair.detections.score >= score_threshold)
    found, reason = pair.detections.where(kept), "the image is not there"
    try:
        pixels = pair.pixels(image)
    except ValueError as refused:
        pixels, reason = None, str(refused)
    size = pair.ground_truth.sizes[image]
    if not np.isfinite(size).all():  # the file is silent: the image's own size, or what holds all boxes
        corners = np.concatenate([t.xywh[:, :2] + t.xywh[:, 2:] for t in (mine, found)] + [[[1, 1]]])
        size = pixels.shape[1::-1] if pixels is not None else corners.max(axis=0)
    axes.set_facecolor("0.93")
    absent = ~np.isin(found.category, mine.category[~mine.crowd])
    boxes_on(axes, mine.xywh[:0], size, pixels)
    for table, dashed, style in ((mine, mine.crowd, TRUE), (found, absent, FOUND)):
        boxes_on(axes, table.xywh[~dashed], size, **style)
        boxes_on(axes, table.xywh[dashed], size, **style, linestyle=DASHED)
    axes.set_anchor("N")
    if pixels is None:
        axes.set_xlabel(textwrap.fill(reason, 40), fontsize=7)
    if len(found) <= SCORES:
        _write_scores(axes, found, size)
    return pixels is not None


def _write_scores(axes: Axes, found: BoxTable, size: Sequence[float]) -> None:
    """Scores at a corner of their boxes, the first of four where none stands yet."""
    rim = [withStroke(linewidth=1.6, foreground="black")]
    short = all(len(name) <= 3 for name in found.names.values())  # longer ones would cover the image
    taken = []
    for (x, y, w, h), score, category in zip(found.xywh, found.score, found.category.tolist(), strict=True):
        corners = [(across, down) for across in (x, x + w) for down in (y, y + h)]
        free = [c for c in corners if not any(np.allclose(c, t, atol=0.1 * size[1]) for t in taken)]
        across, down = (free or corners)[0]
        taken.append((across, down))
        text = (f"{found.names[category]}: " if short else "") + f"{score:.2f}".removeprefix("0")
        outside = 0.09 * size[1] < down < 0.91 * size[1]  # of the box, where the image leaves room
        place = {"va": "bottom" if (down == y) == outside else "top"}
        place["ha"] = "left" if across == x and x < 0.8 * size[0] else "right"
        axes.text(across, down, text, fontsize=7, color="white", clip_on=True, path_effects=rim, **place)


def pair_legend(figure: Figure, more: Mapping[str, Mapping] | None = None) -> None:
    """What the frames of `show_image` mean, and `more` (label -> style of a frame)."""
    rim = {"path_effects": [withStroke(linewidth=3.2, foreground=(0, 0, 0, 0.6))]}
    lines = {"ground truth": TRUE, f"detection (score where up to {SCORES})": FOUND} | dict(more or {})
    lines = {label: style | rim for label, style in lines.items()}
    if any(frame.get_linestyle() == DASHED for panel in figure.axes for frame in panel.patches):
        lines["a crowd, or a class that is not there"] = {"color": NEUTRAL, "linestyle": DASHED}
    legend(figure, lines, handlelength=2.4)
