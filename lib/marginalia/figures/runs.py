"""Runs of detectors: which of them is which row of which figure or table, and what was measured of them."""

from __future__ import annotations

import json
from collections.abc import Iterable

import pandas as pd

from marginalia.detection import heads
from marginalia.store import read_table
from marginalia.style import MODELS

SEEDS = (0, 1, 2)
PARTS = ("base", "relation", "hybrid", "both")  # what Relation DETR adds: the relation, one-to-many queries
LAYOUTS = ("centred", "scattered", "arranged", "smallest")  # by excess correlation, lowest first
# DETR with ten times the steps, as the paper's 500 epochs beside 50; one seed
LONG = {"headline": "long-detr", "cells": "long-cells-detr"}
GROUPS: dict[str, dict[str, str]] = {  # figure or table -> what it calls a row -> names of runs without seed
    "headline": {kind: f"headline-{kind}" for kind in MODELS},  # on scenes of digits
    "cells": {kind: f"cells-{kind}" for kind in MODELS},  # on photographs
    "table_3": {q.upper(): f"small-{q}" for q in ("csq-c", "csq-t", "csq-p", "csq-i", "csq")},
    "figure_5": {
        "identity": "small-csq-p",
        "single": "small-single",
        "block": "small-block",
        "full": "small-full",
        "diagonal": "small-csq",
    },
    "table_4": {
        "none": "small-detr",
        "OR": "small-detr-offset",
        "FL": "small-focal",
        "OR+FL": "small-focal-offset",
        "OR+FL+CSQ": "small-csq",
    },
    "dab_figure_3": {
        "learned": "small-focal-offset",
        "fixed learned": "small-fixed-queries",
        "anchors": "small-dab",
    },
    "reference_point": {
        "fixed": "small-point-fixed",
        "learned": "small-point-learned",
        "predicted": "small-csq",
    },
    "temperature": {
        "2, 12x12": "small-temperature-2",
        "20, 12x12": "small-csq",
        "10000, 12x12": "small-temperature-10000",
        "2, 16x16": "small-map-16-temperature-2",
        "20, 16x16": "small-map-16",
        "10000, 16x16": "small-map-16-temperature-10000",
    },
    "arranged": {part: f"arranged-{part}" for part in PARTS},
    "scattered": {part: f"scattered-{part}" for part in PARTS},
    "cells_relation": {"base": "cells-conditional", "relation": "cells-relation", "both": "cells-both"},
    "headline_relation": {"base": "headline-conditional", "relation": "headline-relation"},
    "arranged_variants": {
        "base": "arranged-base",
        "relation, permuted boxes": "arranged-permuted",
        "relation, one layer's boxes": "arranged-one-layer",
        "relation, scale 2π": "arranged-scale-2pi",
    },
    "scattered_variants": {"base": "scattered-base", "relation, permuted boxes": "scattered-permuted"},
    "relation_kinds": {
        f"{kind}, {part}": f"arranged-{part}" if kind == "conditional" else f"arranged-{kind}-{part}"
        for kind in MODELS
        for part in PARTS[:2]
    },
}
FIVE_SEEDS = {f"{layout}-{part}" for layout in ("arranged", "scattered") for part in (*PARTS, "permuted")}
METRICS = {  # of the evaluations -> their names
    "AP": "AP",
    "AP50": "AP50",
    "AP75": "AP75",
    "AP50_any": "AP50, all classes as one",
    "mean_iou": "mean IoU of matched boxes",
    "iou_75": "share of matched boxes with IoU > .75",
}


def settings(name: str) -> dict:
    """What a run was made with, from the head of its table: detector, options (steps, lr, ...), side, ..."""
    lines = read_table(f"measured/detection/{name}.csv").attrs["source"].splitlines()
    return json.loads(next(line for line in lines if line.startswith("settings: "))[len("settings: ") :])


def seeds_of(base: str) -> list[str]:
    """Names of the runs of a base, one a seed: five where the parts of Relation DETR are compared."""
    seeds = range(5) if base in FIVE_SEEDS else (0,) if base == "headline-relation" else SEEDS
    return [f"{base}-{seed}" for seed in seeds]


def run_names(*groups: str) -> list[str]:
    """Names of all runs of some of `GROUPS`, and of the long run of those that have one."""
    names = [name for group in groups for base in GROUPS[group].values() for name in seeds_of(base)]
    return list(dict.fromkeys(names + [f"{LONG[group]}-0" for group in groups if group in LONG]))


def histories(names: Iterable[str]) -> pd.DataFrame:
    """Evaluations of the named runs, one after the other: data/measured/detection.

    Columns: run, base (the name without the seed), kind, seed, step, losses and METRICS; of runs about the
    relation also AR, found, duplicates (`train.evaluation` of the recipes says what they are); on photographs
    AP and AP50 of each class ("AP red cell"). FileNotFoundError for a run that was not made, ValueError for
    one that has not ended (`make train` makes both).
    """
    return pd.concat([_run("detection", name) for name in names], ignore_index=True)


def head_histories(names: Iterable[str]) -> pd.DataFrame:
    """What the heads of the named runs attend to, one run after the other: data/measured/heads.

    Columns: run, base, kind, seed, step, map (`heads.MAPS`), then those of `heads.summarise`, and x_permuted
    and y_permuted, the ranges with boxes permuted between objects; on photographs also category, whose
    objects the rows are about. Errors as `histories`.
    """
    return pd.concat([_run("heads", name) for name in names], ignore_index=True)


def _run(folder: str, name: str) -> pd.DataFrame:
    frame = read_table(f"measured/{folder}/{name}.csv")
    made = settings(name)
    if frame["step"].max() < made["options"]["steps"]:
        raise ValueError(f"data/measured/{folder}/{name}.csv ends before its last step; run `make train`")
    frame.attrs = {}
    base, seed = name.rsplit("-", 1)
    known = {"run": name, "base": base, "kind": made["detector"]["kind"], "seed": int(seed)}
    return pd.concat([pd.DataFrame(known, frame.index), frame], axis=1)


def at_the_end(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of the last step of each run."""
    return frame[frame["step"] == frame.groupby("run")["step"].transform("max")]


def late_heads(names: Iterable[str], category: str | None = None) -> pd.DataFrame:
    """`head_histories` of spatial maps after the first layer, with `side` and `width` (mean of both axes).

    category: of photographs, the class of the objects that heads are measured on.
    """
    frame = head_histories(names)
    frame = frame if category is None else frame[frame["category"] == category]
    frame = frame[(frame["map"] == "spatial") & (frame["layer"] > 0)]
    return frame.assign(side=heads.sides(frame), width=frame[["x_width", "y_width"]].mean(axis=1))
