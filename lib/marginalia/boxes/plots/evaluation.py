"""Pictures about detections beside their ground truth: galleries by AP, precision and recall, F1 and LRP."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, UInt8
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

from ...figures import CYCLE, PALETTE, WIDTH
from ..evaluation import average_precision, evaluate_images, quantile_images, score_sweep
from ..reading import read_boxes
from ..table import BoxTable

GROUND_TRUTH, FOUND = PALETTE["orange"], PALETTE["sky"]  # with a dark rim, both show on ink, paper and sky
THUMBNAIL = 480  # pixels of the longer side: a page is at most 7 inches wide
NEUTRAL = PALETTE["grey"]
DASHED = (0, (2.5, 1.5))


@dataclass(frozen=True)
class Pair:
    """What there was to find, what was found, and how to come by a picture."""

    ground_truth: BoxTable
    detections: BoxTable
    picture: Callable[[int], UInt8[np.ndarray, "H W *channels"] | None]  # by index into truth.image_ids


def open_pair(data: str | Sequence | None = None) -> Pair:
    """Ground truth, detections and pictures: the embedded photographs' tiles, or a reader's own files.

    data: 'truth,detections' or 'truth,detections,folder of pictures', as one text or as a sequence of paths;
    formats as in `read_boxes`. A picture is looked for under the name that the ground truth gives it, then under
    its id in twelve digits, as COCO 2017 names its files; it is read when it is drawn, not before. A sequence
    of nothing but None means the embedded tiles too.
    ValueError or FileNotFoundError for what cannot be read; a missing picture is no error.
    """
    if data is None or (not isinstance(data, str) and not any(data)):
        raise ValueError("open_pair: give ground truth and detections; photographs have no detections")
    parts = [part.strip() for part in data.split(",")] if isinstance(data, str) else list(data)
    parts += [None] * (3 - len(parts))
    if len(parts) > 3 or not (parts[0] and parts[1]):
        lacking = "" if len(parts) > 3 else f"; set {'GROUND_TRUTH' if parts[1] else 'DETECTIONS'} too"
        raise ValueError(
            f"data must be 'truth,detections' or 'truth,detections,pictures', not {data!r}{lacking}"
        )
    ground_truth = read_boxes(parts[0])
    detections = read_boxes(parts[1], ground_truth=ground_truth)
    folder = Path(parts[2]).expanduser() if parts[2] else None
    if folder is not None and not folder.is_dir():
        raise FileNotFoundError(f"{folder}: the third part of data must be a folder of pictures")
    return Pair(ground_truth, detections, lambda index: _load(folder, ground_truth, index))


def _load(folder: Path | None, ground_truth: BoxTable, index: int) -> UInt8[np.ndarray, "H W 3"] | None:
    from PIL import Image

    identity = ground_truth.image_ids[index]
    names = [ground_truth.files[index]] if ground_truth.files else [f"{identity}.jpg", f"{identity}.png"]
    names += [f"{identity:012d}.jpg"] if isinstance(identity, int) else []
    path = next((folder / name for name in names if (folder / name).is_file()), None) if folder else None
    if path is None:
        return None
    with Image.open(path) as picture:
        picture.thumbnail((THUMBNAIL, THUMBNAIL))
        return np.asarray(picture.convert("RGB"))


def _number(value: float) -> str:
    return "undefined" if np.isnan(value) else f"{value:.2f}"


def _of_image(table: BoxTable, index: int) -> BoxTable:
    return table.where(table.image == index)


def _outline(axes, xywh, color, linewidth, dashed=False, alpha=1.0) -> None:
    style = {"edgecolor": color, "linewidth": linewidth, "linestyle": DASHED if dashed else "-"}
    if axes.images:  # on plain ground nothing needs a rim
        rim = withStroke(linewidth=linewidth + 0.9, foreground=(0, 0, 0, 0.6 * alpha))
        style["path_effects"] = [rim]
    for x, y, w, h in xywh:
        axes.add_patch(Rectangle((x, y), w, h, fill=False, alpha=alpha, snap=False, **style))


def show_picture(axes, pair: Pair, index: int, score_threshold: float, labels: bool = True) -> bool:
    """Draw one picture with its ground truth and the detections that count; True if there was a picture.

    Detections of a class that the picture does not have are dashed. `labels`: scores, behind the class where
    names of classes are short.
    """
    ground_truth = _of_image(pair.ground_truth, index)
    found = pair.detections.where(pair.detections.score >= score_threshold)
    found = _of_image(found, index)
    picture = pair.picture(index)
    width, height = _extent(ground_truth, found, index, picture)
    axes.set(xlim=(0, width), ylim=(height, 0), xticks=[], yticks=[], aspect="equal", anchor="N")
    axes.set_facecolor("0.85")
    axes.grid(False)
    if picture is not None:
        _imshow(axes, picture, width, height)
    absent = ~np.isin(found.category, ground_truth.category[~ground_truth.crowd])
    _outline(axes, ground_truth.xywh[ground_truth.crowd], GROUND_TRUTH, 2.6, dashed=True)
    _outline(axes, ground_truth.xywh[~ground_truth.crowd], GROUND_TRUTH, 2.6)
    _outline(axes, found.xywh[~absent], FOUND, 1.0)
    _outline(axes, found.xywh[absent], FOUND, 1.0, dashed=True)
    if labels:
        _scores(axes, found)
    return picture is not None


def _imshow(axes, picture, width: float, height: float) -> None:
    smooth = "auto" if max(picture.shape) > 300 else "nearest"  # what is enlarged shows its pixels
    axes.imshow(picture, "gray", vmin=0, vmax=255, extent=(0, width, height, 0), interpolation=smooth)


def _extent(ground_truth: BoxTable, found: BoxTable, index: int, picture) -> tuple[float, float]:
    """Width and height in the pixels of the boxes; from the picture or the boxes where the file is silent."""
    if np.isfinite(ground_truth.sizes[index]).all():
        return tuple(ground_truth.sizes[index])
    if picture is not None:
        return picture.shape[1], picture.shape[0]
    return tuple(
        np.concatenate([t.xywh[:, :2] + t.xywh[:, 2:] for t in (ground_truth, found)] + [[[1, 1]]]).max(0)
    )


def _scores(axes, found: BoxTable, color: str = "white") -> None:
    """Scores at a corner of their boxes, the first corner of four where none stands yet."""
    style = {"color": color, "fontsize": 7, "clip_on": True}
    style["path_effects"] = [withStroke(linewidth=1.6, foreground="black")]
    short = all(len(name) <= 2 for name in found.names.values())  # longer ones would cover the picture
    (width, height), taken = (axes.get_xlim()[1], axes.get_ylim()[0]), []
    for (x, y, w, h), score, category in zip(found.xywh, found.score, found.category.tolist(), strict=True):
        corners = [(across, down) for across in (x, x + w) for down in (y, y + h)]
        free = [c for c in corners if not any(np.allclose(c, t, atol=0.1 * height) for t in taken)]
        taken.append(across_down := (free or corners)[0])
        text = f"{score:.2f}".removeprefix("0")
        text = f"{found.names[category]}: {text}" if short else text
        above = (across_down[1] == y) == (0.09 * height < across_down[1] < 0.91 * height)  # else inside
        left = across_down[0] == x and x < 0.8 * width
        place = {"va": "bottom" if above else "top", "ha": "left" if left else "right"}
        axes.text(*across_down, text, **place, **style)


def pair_legend(figure, absent: bool = True, crowd: bool = False) -> None:
    """What the frames of `show_picture` mean; absent, crowd: whether such dashed ones are in the figure."""
    style = {"Ground truth": (GROUND_TRUTH, 2.6, "-"), "Detection, with its score": (FOUND, 1.4, "-")}
    if absent:
        style["Detection of a class that is not there"] = (FOUND, 1.4, DASHED)
    if crowd:
        style["Crowd"] = (GROUND_TRUTH, 2.6, DASHED)
    rim = [withStroke(linewidth=3.2, foreground=(0, 0, 0, 0.6))]
    keys = ("color", "linewidth", "linestyle")
    lines = [Line2D([], [], path_effects=rim, **dict(zip(keys, s, strict=True))) for s in style.values()]
    figure.legend(lines, list(style), loc="outside lower center", ncols=len(style), handlelength=2.4)


def quantile_gallery(
    data=None, quantiles: Sequence[float] = (0, 0.25, 0.5, 0.75, 1), score_threshold: float = 0.5
):
    """The pictures that stand at the given quantiles of AP per image, with ground truth and detections.

    data as in `open_pair`: None for the embedded tiles, else paths; or a pair. Detections from the threshold
    on are drawn and counted. Returns (figure, data): their rows of `evaluate_images`, with columns `quantile`
    and `picture_found`.
    """
    pair = data if isinstance(data, Pair) else open_pair(data)
    chosen = quantile_images(evaluate_images(pair.ground_truth, pair.detections, score_threshold), quantiles)
    return gallery(pair, chosen, [f"{100 * q:g} %" for q in chosen["quantile"]], score_threshold)


def gallery(pair: Pair, chosen: pd.DataFrame, heads: Sequence[str] = (), score_threshold: float = 0.5):
    """Chosen rows of `evaluate_images` as pictures with their numbers; only these pictures are loaded.

    Returns (figure, data): the rows, with a column `picture_found`. A missing picture leaves a grey frame.
    """
    columns = min(3, len(chosen))
    lines = -(-len(chosen) // columns)
    position = {identity: index for index, identity in enumerate(pair.ground_truth.image_ids)}
    width, height = pair.ground_truth.sizes[[position[identity] for identity in chosen.index]].T
    tallest = np.clip(np.nan_to_num(height / width, nan=1).max(), 0.6, 1.4)
    size = WIDTH["page"], lines * (WIDTH["page"] / columns * tallest + 0.45) + 0.3
    figure, axes = plt.subplots(lines, columns, figsize=size, squeeze=False, layout="constrained")
    there = []
    heads = [f"{head}: " for head in heads] or [""] * len(chosen)
    for panel, head, (identity, row) in zip(axes.flat, heads, chosen.iterrows(), strict=False):
        there.append(show_picture(panel, pair, position[identity], score_threshold))
        numbers = ", ".join(f"{name} {_number(row[name])}" for name in ("AP", "F1", "LRP"))
        panel.set_title(f"{head}{identity}\n{numbers}", fontsize=8)
        if not there[-1]:
            panel.set_xlabel("the picture is not there", fontsize=7)
    for panel in list(axes.flat)[len(chosen) :]:
        panel.remove()
    pair_legend(figure, chosen["absent_class_false_positives"].any())
    return figure, chosen.assign(picture_found=there)


def cases(pairs: Mapping[str, tuple[BoxTable, BoxTable]]):
    """Small constructed pictures, one a case, each with AP and F1 below.

    pairs: title -> ground truth and detections on one picture; the labels are categories and scores. Returns
    (figure, data): a row of `evaluate_images` for each case.
    """
    height = 0.58 * WIDTH["page"] / len(pairs) + 1.0
    shape = {"figsize": (WIDTH["page"], height), "squeeze": False, "layout": "constrained"}
    figure, axes = plt.subplots(1, len(pairs), **shape)
    rows = {}
    for panel, (title, (ground_truth, found)) in zip(axes.flat, pairs.items(), strict=True):
        show_picture(panel, Pair(ground_truth, found, lambda index: None), 0, 0, labels=False)
        panel.set_facecolor("0.96")
        for (x, y, w, h), category in zip(ground_truth.xywh, ground_truth.category.tolist(), strict=True):
            panel.text(x + w / 2, y + h + 2, ground_truth.names[category], fontsize=7, ha="center", va="top")
        for (x, y, w, h), score, category in zip(
            found.xywh, found.score, found.category.tolist(), strict=True
        ):
            name = f"{found.names[category]}\n{score:.2f}"
            panel.text(x + w / 2, y + h / 2, name, fontsize=7, ha="center", va="center")
        rows[title] = evaluate_images(ground_truth, found).iloc[0]
        panel.set_title(title, fontsize=8)
        panel.set_xlabel(f"AP {_number(rows[title]['AP'])}\nF1 {_number(rows[title]['F1'])}", fontsize=9)
    data = pd.DataFrame(rows).T.astype(float).rename_axis("case")
    crowd = any(ground_truth.crowd.any() for ground_truth, _ in pairs.values())
    pair_legend(figure, data["absent_class_false_positives"].any(), crowd)
    return figure, data


def precision_recall(ground_truth: BoxTable, found: BoxTable, hits: Bool[np.ndarray, " D"]):
    """One picture, and precision against recall of its D detections at one IoU threshold.

    found: by falling score; hits: which of them found a truth. Returns (figure, data), a row a detection.
    """
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(WIDTH["page"], 3.1), width_ratios=(1, 1.3), layout="constrained"
    )
    show_picture(left, Pair(ground_truth, found, lambda index: None), 0, 0, labels=False)
    left.set_facecolor("0.96")
    ranks = np.arange(1, len(hits) + 1)
    left.set(anchor="C", title="ranks and scores")
    for rank, (x, y, w, h), score in zip(ranks, found.xywh, found.score, strict=True):
        left.text(x + w / 2, y + h / 2, f"{rank}: {score:.2f}", fontsize=7, ha="center", va="center")
    recall, precision = np.cumsum(hits) / len(ground_truth), np.cumsum(hits) / ranks
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    value = average_precision(hits[None], np.zeros_like(hits)[None], len(ground_truth))[0]
    edges = np.concatenate([[0], recall, [1]])
    right.stairs(np.append(envelope, 0), edges, fill=True, color=CYCLE[0], alpha=0.18)
    right.stairs(np.append(envelope, 0), edges, baseline=None, color=CYCLE[0], linewidth=2)
    right.plot(recall, precision, color=NEUTRAL, linewidth=1, linestyle=":")
    for right_or_wrong, marker, color in ((hits, "o", CYCLE[0]), (~hits, "X", CYCLE[1])):
        right.plot(recall[right_or_wrong], precision[right_or_wrong], marker, color=color, markersize=6)
    for rank, x, y in zip(ranks, recall, precision, strict=True):
        right.annotate(str(rank), (x, y), xytext=(7, 3), textcoords="offset points", fontsize=9)
    right.set(xlabel="recall: found so far / objects", ylabel="precision: right / so far")
    right.set(xlim=(0, 1.02), ylim=(0, 1.08), title=f"AP = shaded area, read at 101 recalls: {value:.3f}")
    pair_legend(figure, absent=False)
    rows = {"rank": ranks, "score": found.score, "found": hits, "precision": precision, "recall": recall}
    return figure, pd.DataFrame(rows | {"envelope": envelope})


def ap_strips(frame: pd.DataFrame, groups: Sequence[str], whole: Float[pd.Series, " G"]):
    """AP of every image, a strip for each group of images, with the group's mean and its pooled AP.

    whole: the AP that each group has as one data set, by name, in the order to draw. Returns (figure, data).
    """
    figure, axes = plt.subplots(figsize=(WIDTH["page"], 2.9), layout="constrained")
    spread = np.random.default_rng(0).uniform(-0.22, 0.22, len(frame))
    groups = np.asarray(groups)
    for line, (name, pooled) in enumerate(whole.items()):
        mine = groups == name
        axes.plot(frame["AP"][mine], line + spread[mine], "o", color=CYCLE[0], alpha=0.45, markersize=4.5)
        mean = frame["AP"][mine].mean()
        bar = axes.plot([mean, mean], [line - 0.36, line + 0.36], color=CYCLE[1], linewidth=2.5)
        mark = axes.plot(pooled, line, "D", color="white", markeredgecolor="black", markersize=6)
    counts = [f"{name} ({np.isfinite(frame['AP'][groups == name]).sum()})" for name in whole.index]
    axes.set(yticks=range(len(whole)), yticklabels=counts, xlabel="AP of an image", xlim=(-0.02, 1.02))
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    labels = ["mean of the images' AP", "AP of all its images as one data set"]
    axes.legend(bar + mark, labels, loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    return figure, frame.assign(group=groups)[["group", "AP"]]


def failure_cases(pair: Pair, examples: Mapping[str, tuple], score_threshold: float = 0.5):
    """One picture for each kind of failure, its boxes in full colour and all others pale.

    examples: title -> image index, boxes of the ground truth (N, 4), boxes detected (M, 4). The detected ones have
    their scores, behind the class where names of classes are short. Returns (figure, data).
    """
    size = WIDTH["page"], WIDTH["page"] / len(examples) + 0.7
    figure, axes = plt.subplots(1, len(examples), figsize=size, squeeze=False, layout="constrained")
    rows = []
    for panel, (title, (index, missed, wrong)) in zip(axes.flat, examples.items(), strict=True):
        ground_truth, found = _of_image(pair.ground_truth, index), _of_image(pair.detections, index)
        width, height = ground_truth.sizes[index]
        _imshow(panel, pair.picture(index), width, height)
        panel.set(xticks=[], yticks=[], title=title, anchor="N")
        panel.grid(False)
        _outline(panel, ground_truth.xywh, GROUND_TRUTH, 1.2, alpha=0.35)
        _outline(panel, found.xywh[found.score >= score_threshold], FOUND, 0.8, alpha=0.35)
        _outline(panel, missed, GROUND_TRUTH, 2.4)
        _outline(panel, wrong, FOUND, 1.3)
        concerned = (found.xywh[:, None] == wrong).all(axis=-1).any(axis=1)
        _scores(panel, found.where(concerned & (found.score >= score_threshold)))
        panel.set_xlabel(pair.ground_truth.image_ids[index], fontsize=8)
        rows.append((title, pair.ground_truth.image_ids[index], len(missed), len(wrong)))
    pair_legend(figure, absent=False)
    return figure, pd.DataFrame(rows, columns=["kind", "image_id", "ground_truths", "detections"])


def ap_against(frame: pd.DataFrame, groups: Sequence[str], name: Sequence[str] = ()):
    """AP of each image against its F1 and against 1 - LRP; those in `name` get a letter.

    groups: what each image belongs to, shown by colour and marker. Returns (figure, data).
    """
    figure, axes = plt.subplots(1, 2, figsize=(WIDTH["page"], 3.5), sharex=True, layout="constrained")
    data = frame.assign(group=np.asarray(groups), **{"1 - LRP": 1 - frame["LRP"]})
    for panel, column in zip(axes, ("F1", "1 - LRP"), strict=True):
        parts = data.groupby("group", sort=False)
        for color, marker, (group, mine) in zip(CYCLE, "osD^vPX", parts, strict=False):
            panel.plot(mine["AP"], mine[column], marker, color=color, alpha=0.75, markersize=4.5, label=group)
        for letter, identity in zip("abcdef", name, strict=False):
            x, y = data.loc[identity, ["AP", column]].astype(float)
            panel.plot(x, y, "o", markersize=9, fillstyle="none", color="black")
            place = {"xytext": (-5, -12 if y > 0.1 else 6), "textcoords": "offset points", "ha": "right"}
            rim = [withStroke(linewidth=2, foreground="white")]
            panel.annotate(letter, (x, y), weight="bold", path_effects=rim, **place)
        rank = data["AP"].corr(data[column], method="spearman")
        panel.set(xlabel="AP of an image", ylabel=column, xlim=(-0.03, 1.03), ylim=(-0.03, 1.03))
        panel.set_title(f"Spearman's rank correlation {rank:.2f}")
    legend = "\n".join(f"{letter}  {identity}" for letter, identity in zip("abcdef", name, strict=False))
    axes[1].text(0.04, 0.97, legend, transform=axes[1].transAxes, va="top", fontsize=8)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    return figure, data[["group", "AP", "F1", "1 - LRP"]]


def measured_ap(per_image: pd.DataFrame, summary: pd.DataFrame):
    """Histograms of AP per image for measured pairs of ground truth and detections, with the AP of the data set.

    The two tables of `data/measured`: per_image_ap.csv and ap_summary.csv. Returns (figure, data): the marks.
    """
    sets = list(per_image["dataset"].unique())
    figure, axes = plt.subplots(1, len(sets), figsize=(WIDTH["page"], 2.9), sharey=True, layout="constrained")
    known = summary.set_index(["dataset", "figure"])
    rows = []
    for panel, name in zip(axes, sets, strict=True):
        values = per_image.loc[per_image["dataset"] == name, "AP"]
        panel.hist(values, np.linspace(0, 1, 21), color=CYCLE[0], alpha=0.55)
        mean = known.loc[(name, "mean of the images' AP")]
        whole = known.loc[(name, "AP of the data set"), "value"]
        panel.axvspan(mean["low"], mean["high"], color=CYCLE[1], alpha=0.2, linewidth=0)
        bar = panel.axvline(mean["value"], color=CYCLE[1], linewidth=2)
        line = panel.axvline(whole, color="black", linewidth=1.5, linestyle="--")
        panel.set(xlabel="AP of an image", xlim=(0, 1), title=name)
        rows.append((name, mean["value"], mean["low"], mean["high"], whole))
    axes[0].set_ylabel("images")
    axes[0].yaxis.get_major_locator().set_params(integer=True)
    labels = ["mean of the images' AP, 95 % interval", "AP of the data set"]
    figure.legend([bar, line], labels, loc="outside lower center", ncols=2)
    return figure, pd.DataFrame(rows, columns=["dataset", "mean_AP", "low", "high", "dataset_AP"])


def at_thresholds(pair: Pair, image_id, score_threshold: float = 0.5, iou_threshold: float = 0.5):
    """One picture with the detections above a score, and its F1 and LRP over all score thresholds.

    Returns (figure, data): F1 and LRP at each score that changes them.
    """
    index = pair.ground_truth.image_ids.index(image_id)
    ground_truth, found = _of_image(pair.ground_truth, index), _of_image(pair.detections, index)
    sweep = score_sweep(ground_truth, found, iou_threshold)
    row = evaluate_images(ground_truth, found, score_threshold, iou_threshold).iloc[index]
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(WIDTH["page"], 3.1), width_ratios=(1, 1.3), layout="constrained"
    )
    show_picture(left, pair, index, score_threshold)
    counts = row[["true_positives", "false_positives", "false_negatives"]].astype(int)
    left.set_title("TP {}, FP {}, FN {}".format(*counts))
    for column, color, nothing in (("F1", CYCLE[0], 0.0), ("LRP", CYCLE[1], 1.0)):
        start = nothing if row["ground_truths"] else np.nan  # above the highest score nothing is found
        values = [start, *sweep[column]]
        label = f"{column} {_number(row[column])}"
        right.step([1, *sweep.index, 0], [*values, values[-1]], where="post", color=color, label=label)
    right.axvline(score_threshold, color=NEUTRAL, linewidth=1, linestyle="--")
    right.set(xlabel="score threshold", ylabel=f"F1, LRP (IoU at least {iou_threshold:g})")
    right.set(xlim=(0, 1), ylim=(0, 1.02), title=f"{image_id}: AP {_number(row['AP'])} at any threshold")
    right.legend(loc="best")
    return figure, sweep.reset_index()
