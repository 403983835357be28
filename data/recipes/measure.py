"""Measure the real data sets and write what was found into data/measured: `make measure`.

The data sets themselves are not part of the collection (their terms differ, and some state none). What is
written here are counts, means and quantiles, so that the notebooks can show real results without the files.
Each function is a table: its docstring goes above the rows that it yields.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd

import measure_ap
from marginalia import statistics, store
from marginalia.boxes.correlation import BOX_FORMATS, macroscopic_correlation
from marginalia.boxes.nulls import NULLS, ExcessCorrelation, excess_correlation, null_correlations
from marginalia.boxes.reading import read_boxes
from marginalia.boxes.similarity import kept_apart, overlap_share, pair_similarity
from marginalia.boxes.strata import count_strata, excess_by, excess_by_class, size_strata
from marginalia.boxes.table import BoxTable
from marginalia.training import write_table

SETS = {  # name of the file, without _boxes.json.gz -> what it is, on which terms
    "coco_val2017": "COCO 2017 val, annotations CC BY 4.0 (COCO Consortium), rebuilt from public box lists",
    "voc2012_trainval": "PASCAL VOC2012 trainval, objects not marked difficult; no licence stated",
    "neu_det": "NEU-DET steel surface defects (Northeastern University, China); no licence stated",
    "deeppcb": "DeepPCB circuit board defects, most drawn in; MIT, and 'research purpose only'",
    "bccd": "BCCD blood cells; MIT",
    "coco_val2014_100_gt": "COCO 2014 val, first 100 images, annotations CC BY 4.0 (COCO Consortium)",
    "voc100_gt": "PASCAL VOC2007, 100 images, boxes marked difficult counted; MIT (repository)",
}
LARGE = tuple(SETS)[:5]  # the last two are too small for parts of them to say anything
SEED = 0
SHUFFLES = 1000  # of the main table
FEWER = 200  # of everything else
APART = 20  # of those that keep boxes apart, which take long
BINS = np.linspace(0, 1, 101)
FUNNEL = (*range(2, 21), 31, 51)  # first number of boxes of each row
IMAGES = (25, 50, 100, 200, 400, 800)  # drawn at a time
DRAWS = 100  # of each number of images, with as many shuffles

Tables = dict[str, BoxTable]


def _record(record) -> dict[str, object]:
    """The fields of an ExcessCorrelation or a PairSimilarity but arrays, its interval as low and high."""
    fields = {k: v for k, v in vars(record).items() if k not in ("interval", "per_image")}
    return fields | dict(zip(("low", "high"), record.interval, strict=True))


def excess(tables: Tables) -> Iterator[dict]:
    """Mean macroscopic correlation (xywh, pixels) beside each null."""
    for name, table in tables.items():
        for null in NULLS:
            yield {"dataset": name} | _record(excess_correlation(table, null, SHUFFLES, seed=SEED))


def box_formats(tables: Tables) -> Iterator[dict]:
    """The three box formats, in pixels and normalised to the image size, beside two nulls.

    With `normalized`, normalised boxes are permuted, under both nulls. observed_low and observed_high: 95 %
    interval of `observed` over images; low, high: of the excess.
    """
    for name, table in tables.items():
        for form in BOX_FORMATS:
            for normalized in (False, True):
                value = macroscopic_correlation(table, form, normalized)
                value = value[np.isfinite(value)]
                low, high = statistics.bootstrap(np.mean, value, seed=SEED)
                level = {"median": np.median(value), "observed_low": low, "observed_high": high}
                for null in ("free", "count"):
                    options = {"seed": SEED, "box_format": form, "normalized": normalized}
                    found = _record(excess_correlation(table, null, FEWER, **options))
                    yield {"dataset": name, "box_format": form, "normalized": normalized} | level | found


def mc_histograms(tables: Tables) -> Iterator[dict]:
    """Images by macroscopic correlation, in bins of width 0.01 that begin at `low`; 1 is in the last one.

    `observed` counts images; `count` and `free` are mean counts over shuffles under these nulls.
    """
    for name, table in tables.items():
        table = table.where(~table.crowd)
        for form in BOX_FORMATS:
            columns = {"observed": _histogram(macroscopic_correlation(table, form))}
            for null in ("count", "free"):
                runs = null_correlations(table, null, range(FEWER), SEED, form)
                columns[null] = sum(_histogram(value) for value in runs) / FEWER
            for k, low in enumerate(BINS[:-1]):
                row = {"dataset": name, "box_format": form, "low": round(low, 2)}
                yield row | {column: round(value[k], 2) for column, value in columns.items()}


def _histogram(value: np.ndarray) -> np.ndarray:
    # a value that rounding left just under an edge belongs into the bin that begins there
    return np.histogram(np.minimum(value[np.isfinite(value)] + 1e-12, 1), BINS)[0]


def funnel(tables: Tables) -> Iterator[dict]:
    """Macroscopic correlation of images by their number of boxes, and of single images under the count null.

    `boxes` is the first number of a row and `last` its last one; q05, q50 and q95 are quantiles.
    """
    for name, table in tables.items():
        table = table.where(~table.crowd)
        observed = macroscopic_correlation(table)
        null = np.stack(list(null_correlations(table, "count", range(FEWER), SEED)))  # (R, I)
        row_of = np.digitize(table.counts, FUNNEL) - 1
        for k, first in enumerate(FUNNEL):
            inside = (row_of == k) & np.isfinite(observed)
            if inside.any():
                row = {"dataset": name, "boxes": first, "last": table.counts[inside].max()}
                row |= {"images": inside.sum(), "observed": observed[inside].mean()}
                row |= _quantiles("observed_", observed[inside]) | {"null_mean": null[:, inside].mean()}
                yield row | _quantiles("null_", null[:, inside])


def _quantiles(
    prefix: str, value: np.ndarray, levels: tuple[float, ...] = (0.05, 0.5, 0.95)
) -> dict[str, float]:
    return {f"{prefix}q{round(100 * level):02d}": np.quantile(value, level) for level in levels}


def strata(tables: Tables) -> Iterator[dict]:
    """Excess in groups of images, each beside the count null inside the group.

    `by` is boxes (number in the image) or size (median of sqrt(w h / (W H)) over the image's boxes).
    """
    for name in LARGE:
        table = tables[name].where(~tables[name].crowd)
        for by, labels in (("boxes", count_strata(table)), ("size", size_strata(table))):
            frame = excess_by(table, labels, null="count", shuffles=FEWER, seed=SEED)
            for row in frame.to_dict("records"):
                yield {"dataset": name, "by": by} | row


def by_class(tables: Tables) -> Iterator[dict]:
    """Excess of each category on its own, beside boxes of the same category.

    `free`: permuted between any images; `count`: between images with similar numbers of its boxes.
    q_value is corrected over the categories of a data set (Benjamini and Hochberg).
    """
    for name in LARGE:
        for null in ("free", "count"):
            frame = excess_by_class(tables[name], null=null, shuffles=FEWER, seed=SEED)
            for row in frame.to_dict("records"):
                yield {"dataset": name} | row


def images_needed(tables: Tables) -> Iterator[dict]:
    """What draws of some images of a data set say about its excess (count null), by how many are drawn.

    `images` with two boxes or more, drawn 100 times without replacement, up to half of the set; the row with
    one draw is the whole set, with 200 shuffles. excess, null_std, half_width (of the 95 % interval over
    images): means over the draws; excess_std: from draw to draw. Shares of the draws: `found`, whose interval
    leaves 0 out on the side of the whole set's excess; `wrong`, on the other side; `covered`, whose interval
    holds the whole set's excess; `p_small`, whose p-value is below 0.05; `p_alone`, these, but the interval
    holds 0.
    """
    for name in LARGE:
        table = tables[name].where(~tables[name].crowd)
        several = np.flatnonzero(table.counts > 1)
        whole = excess_correlation(table, "count", FEWER, seed=SEED)
        for count in IMAGES:
            if 2 * count <= len(several):
                rng = np.random.default_rng((SEED, count))
                drawn = (rng.choice(several, count, replace=False) for _ in range(DRAWS))
                parts = (table.where(np.isin(table.image, images)) for images in drawn)
                found = [excess_correlation(part, "count", DRAWS, seed=SEED) for part in parts]
                yield {"dataset": name} | _over_draws(found, whole.excess)
        yield {"dataset": name} | _over_draws([whole], whole.excess)


def _over_draws(found: list[ExcessCorrelation], whole: float) -> dict[str, float]:
    """A row of images_needed: what some draws of one size found, beside the excess of the whole set."""
    excess, null_std, p = np.array([(one.excess, one.null_std, one.p_value) for one in found]).T
    low, high = np.array([one.interval for one in found]).T
    left_out, small = np.sign(low) == np.sign(high), p < 0.05
    return {
        "images": found[0].images,
        "draws": len(found),
        "excess": excess.mean(),
        "excess_std": excess.std(ddof=1) if len(found) > 1 else np.nan,
        "null_std": null_std.mean(),
        "half_width": (high - low).mean() / 2,
        "found": (left_out & (np.sign(low) == np.sign(whole))).mean(),
        "wrong": (left_out & (np.sign(low) != np.sign(whole))).mean(),
        "covered": ((low <= whole) & (whole <= high)).mean(),
        "p_small": small.mean(),
        "p_alone": (small & ~left_out).mean(),
    }


def similarity(tables: Tables) -> Iterator[dict]:
    """Relation DETR's geometric features over pairs of boxes of one image, and of permuted boxes.

    Every ordered pair counts once; centres and sides are normalised to the image size; low, high: of within -
    between. x offset is log(|x_i - x_j| / w_i + 1), |log w ratio| is |log(w_i / w_j)|, and so for y and h.
    """
    for name, table in tables.items():
        for null in ("free", "count", "category"):
            for found in pair_similarity(table, null, FEWER, seed=SEED):
                yield {"dataset": name, "null": null} | _record(found)


def overlap(tables: Tables) -> Iterator[dict]:
    """Share of the pairs of boxes of one class and one image that overlap, as annotated and permuted.

    `permuted`: each class's boxes between any images that hold the class (the class's own null).
    excess_apart: mean macroscopic correlation minus that of boxes permuted in this way and then exchanged
    until no more pairs overlap than in the annotation (20 times); low, high: its 95 % interval over images.
    """
    for name in ("neu_det", "deeppcb", "bccd"):
        table = tables[name]
        for category, title in table.names.items():
            own = table.where(table.category == category)
            observed, permuted = overlap_share(own, "free", FEWER, SEED)
            row = {"dataset": name, "class": title, "observed": observed, "permuted": permuted}
            apart = [macroscopic_correlation(kept_apart(own, SEED, repeat)) for repeat in range(APART)]
            gap = macroscopic_correlation(own) - np.mean(apart, axis=0)
            gap = gap[np.isfinite(gap)]
            low, high = statistics.bootstrap(np.mean, gap, seed=SEED)
            yield row | {"excess_apart": gap.mean(), "low": low, "high": high}


def sizes(tables: Tables) -> Iterator[dict]:
    """What is in the data sets; crowd boxes are counted in their own column only.

    images_1, images_2: with at least one, two boxes. boxes_: mean, maximum, quantiles over images with a box.
    width, height and side (sqrt(w h / (W H))) are medians, normalised to the image size.
    """
    for name, table in tables.items():
        crowd = int(table.crowd.sum())
        table = table.where(~table.crowd)
        count = table.counts
        part = table.xywh[:, 2:] / table.sizes[table.image]
        width, height = np.median(table.sizes, axis=0)
        yield {
            "dataset": name,
            "images": len(count),
            "boxes": len(table),
            "crowd": crowd,
            "categories": len(np.unique(table.category)),
            "images_1": (count > 0).sum(),
            "images_2": (count > 1).sum(),
            "boxes_mean": count[count > 0].mean(),
            "boxes_max": count.max(),
            **_quantiles("boxes_", count[count > 0], (0.05, 0.25, 0.5, 0.75, 0.95)),
            "width": np.median(part[:, 0]),
            "height": np.median(part[:, 1]),
            "side": np.median(np.sqrt(part.prod(axis=1))),
            "image_sizes": len(np.unique(table.sizes, axis=0)),
            "image_width": width,
            "image_height": height,
        }


MEASURES: dict[Callable[[Tables], Iterator[dict]], int] = {  # and how many shuffles each takes
    excess: SHUFFLES,
    box_formats: FEWER,
    mc_histograms: FEWER,
    funnel: FEWER,
    strata: FEWER,
    by_class: FEWER,
    images_needed: DRAWS,
    similarity: FEWER,
    overlap: FEWER,
    sizes: 0,
}


def main() -> None:
    """Write one CSV for each of MEASURES, and those of measure_ap, into data/measured.

    Raises FileNotFoundError where the real data sets, or some of them, are not there.
    """
    folder = store.test_data()
    pairs = [name for pair in measure_ap.PAIRS.values() for name in pair]
    files = dict.fromkeys([f"{name}_boxes.json.gz" for name in SETS] + pairs)
    absent = [name for name in files if folder is None or not (folder / name).is_file()]
    if absent:
        where = "not here" if folder is None else f"not all in {folder}, which lacks {', '.join(absent)}"
        raise FileNotFoundError(
            f"the real data sets are {where}; set MARGINALIA_TEST_DATA to a folder with the COCO files "
            f"{', '.join(files)}"
        )
    out = store.root() / "measured"
    tables = {name: read_boxes(folder / f"{name}_boxes.json.gz") for name in SETS}
    for measure in MEASURES:
        print(write(out, measure, tables).name, flush=True)
    for path in measure_ap.measure(folder, out):
        print(path.name, flush=True)


def write(out: Path, measure: Callable[[Tables], Iterator[dict]], tables: Tables) -> Path:
    """The rows of one measure as a CSV with its description, sources and seed above; returns its path."""
    frame = pd.DataFrame(measure(tables))
    shuffles = MEASURES[measure]
    head = [line.strip() for line in measure.__doc__.strip().splitlines() if line.strip()]
    head += ["Written by: make measure" + (f", {shuffles} shuffles, seed {SEED}" if shuffles else "")]
    head += [f"{name}: {SETS[name]}" for name in frame["dataset"].unique()]
    path = out / f"{measure.__name__}.csv"
    write_table(path, "\n".join(head), frame)
    return path


if __name__ == "__main__":
    try:
        main()
    except FileNotFoundError as error:
        sys.exit(f"measure: {error}")
