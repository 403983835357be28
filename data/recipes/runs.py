"""The trainings behind the notebooks: which, how long, and where their measurements are.

`train` makes those that are missing. Each leaves data/measured/detection/NAME.csv, one row an evaluation,
with its settings above, and a detector data/measured/heads/NAME.csv (`measure_heads`); some leave weights in
data/weights/detection. Checkpoints and the weights at each evaluation stay in build/train/NAME.

The papers start from a backbone that ImageNet trained. Here all detectors of one width start from one that
learnt to tell digits apart in given boxes (`pretraining`), and it is made before them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from jobs import chosen
from marginalia import store
from marginalia.detection.detector import KINDS, DetectorConfig
from marginalia.training import Options

SEEDS = (0, 1, 2)
VALIDATION = 512  # scenes, the same for all runs of one size
LATER = ("relation", "relation_scale", "one_to_many")  # fields of a detector that came later
BUILD = Path(__file__).resolve().parents[2] / "build" / "train"


@dataclass(frozen=True, kw_only=True)
class _Training:
    """What trainings of backbones and of detectors have in common."""

    name: str
    options: Options
    side: int = 64  # pixels of a scene
    batch: int = 32
    shipped: bool = False  # whether its weights are part of the collection
    step_seconds: float  # with its evaluations; measured on one core beside another run

    @property
    def minutes(self) -> float:
        """What it takes on one core."""
        return self.options.steps * self.step_seconds / 60

    @property
    def table(self) -> Path:
        """Where its measurements are, or will be."""
        return store.root() / "measured" / "detection" / f"{self.name}.csv"

    @property
    def folder(self) -> Path:
        """Where checkpoints, logs and weights of all evaluations are, or will be."""
        return BUILD / self.name

    @property
    def weights(self) -> Path:
        """Where its final weights are, or will be: in the collection, or the last of its evaluations."""
        if self.shipped:
            return store.root() / "weights" / "detection" / f"{self.name}.safetensors"
        return self.weights_at(self.options.steps)

    def weights_at(self, steps: int) -> Path:
        """Where its weights after some steps, a multiple of `options.every`, are, or will be."""
        return self.folder / f"step-{steps:06d}.safetensors"


@dataclass(frozen=True, kw_only=True)
class Pretraining(_Training):
    """A backbone that learns to tell digits apart before detectors start from it (`pretraining`).

    The seed of its options is that of the scenes too, and no detector's.
    """

    width: int
    stride: int = 4
    shipped: bool = True
    step_seconds: float = 0.12

    def settings(self) -> dict[str, object]:
        """All that determines the result, as JSON can hold it."""
        own = {name: getattr(self, name) for name in ("width", "side", "stride", "batch")}
        return own | {"options": asdict(self.options)}


@dataclass(frozen=True, kw_only=True)
class Run(_Training):
    """A detector, the scenes it learns from, and how."""

    detector: DetectorConfig
    layout: str = "scattered"
    digits: tuple[int, int] = (1, 4)  # fewest and most in a scene
    backbone: str | None = None  # a name of BACKBONES: the weights it starts from; None: random ones
    queries_from: str | None = None  # a name of RUNS whose learned queries it takes and keeps as they are
    photographs: str | None = None  # "cells": learns from those of `boxes.cells` in place of scenes
    step_seconds: float = 0.35
    heads_measured: int = 6  # evaluations, evenly spaced, for the table of its heads; 0: none

    @property
    def heads_table(self) -> Path:
        """Where the measurements of its heads are, or will be (`measure_heads`)."""
        return store.root() / "measured" / "heads" / f"{self.name}.csv"

    def settings(self) -> dict[str, object]:
        """All that determines the result, as JSON can hold it."""
        detector = asdict(self.detector)
        plain = {name: field.default for name, field in DetectorConfig.__dataclass_fields__.items()}
        for name in LATER:  # tables of detectors without it do not name it
            if detector[name] == plain[name]:
                del detector[name]
        whole = {"detector": detector, "options": asdict(self.options)}
        scenes = ("side", "layout", "digits", "batch")
        for name in ("photographs", "batch") if self.photographs else scenes:
            whole[name] = getattr(self, name)
        whole["backbone"] = BACKBONES[self.backbone].settings() if self.backbone else None
        if self.queries_from:
            whole["queries_from"] = self.queries_from
        return json.loads(json.dumps(whole))


PRETRAINING = Options(steps=1500, lr=2e-3, clip=1.0, warm_up=150, drop_at=0.7, seed=7, every=150)
BACKBONES: dict[str, Pretraining] = {
    run.name: run
    for run in (
        Pretraining(name="backbone-96", width=96, options=PRETRAINING),  # of the headline
        Pretraining(name="backbone-64", width=64, options=PRETRAINING, side=48, step_seconds=0.09),
        Pretraining(
            name="backbone-96-8", width=96, stride=8, options=PRETRAINING, shipped=False
        ),  # for cells
    )
}
HEADLINE = Options(steps=1500, lr=6e-4, warm_up=100, every=125)
SMALL = Options(steps=750, lr=1e-3, warm_up=100, every=125)
FAST, SLOW = 6e-4, 2e-4
CELLS = Options(steps=2400, lr=FAST, warm_up=100, every=200)
RATES = {"detr": SLOW, "detr-focal": FAST, "conditional": FAST, "dab": FAST}  # of photographs
CELLS_DETECTOR = DetectorConfig(in_channels=3, stride=8, encoder_layers=1, ffn=96, queries=48, classes=3)
SMALL_DETECTOR = DetectorConfig(width=64, heads=4, encoder_layers=1, ffn=128)


def _headline() -> Iterator[Run]:
    """Three kinds of detector as long as the paper's 50 epochs, and DETR ten times as long."""
    ten_times = replace(HEADLINE, steps=15000, every=500)  # first, so that nothing waits for it at the end
    detr = DetectorConfig(kind="detr")
    yield Run(name="long-detr-0", detector=detr, options=ten_times, backbone="backbone-96", shipped=True)
    for seed in SEEDS:
        for kind in KINDS:
            yield Run(
                name=f"headline-{kind}-{seed}",
                detector=DetectorConfig(kind=kind),
                options=replace(HEADLINE, seed=seed),
                backbone="backbone-96",
                shipped=seed == 0,
            )


def _small() -> Iterator[Run]:
    """Smaller detectors, each unlike `small-csq` in one thing or a few: what the papers' tables vary."""
    changes: dict[str, dict[str, object]] = {
        f"small-{query}": {"spatial_query": query} for query in ("csq", "csq-p", "csq-i", "csq-t", "csq-c")
    }
    changes |= {f"small-{form}": {"transform": form} for form in ("single", "block", "full")}
    changes |= {
        "small-detr": {"kind": "detr"},
        "small-detr-offset": {"kind": "detr", "reference": "predicted"},
        "small-focal": {"kind": "detr-focal", "reference": "fixed"},
        "small-focal-offset": {"kind": "detr-focal"},
        "small-fixed-queries": {"kind": "detr-focal"},
        "small-dab": {"kind": "dab"},
    }
    changes |= {f"small-point-{point}": {"reference": point} for point in ("fixed", "learned")}
    for prefix in ("small", "small-map-16"):
        changes |= {f"{prefix}-temperature-{t}": {"temperature": float(t)} for t in (2, 10000)}
    changes["small-map-16"] = {}
    for name, change in changes.items():
        side = 64 if name.startswith("small-map-16") else 48
        for seed in SEEDS:
            yield Run(
                name=f"{name}-{seed}",
                detector=replace(SMALL_DETECTOR, **change),
                options=replace(SMALL, seed=seed),
                side=side,
                backbone="backbone-64",
                queries_from=f"small-focal-offset-{seed}" if name == "small-fixed-queries" else None,
                step_seconds=0.1 * (side / 48) ** 2,
                heads_measured=1,
            )


def _cells() -> Iterator[Run]:
    """The four kinds on photographs of blood cells, from random weights, and DETR ten times as long.

    Each kind has the better of two rates for its first seed (`RATES`). Two kinds also begin with the backbone
    that learnt digits, to see what that is worth.
    """
    parts = {"photographs": "cells", "batch": 8, "step_seconds": 0.15}
    kinds = {kind: replace(CELLS_DETECTOR, kind=kind) for kind in KINDS}
    ten_times = replace(CELLS, lr=RATES["detr"], steps=10 * CELLS.steps, every=10 * CELLS.every)
    yield Run(name="long-cells-detr-0", detector=kinds["detr"], options=ten_times, shipped=True, **parts)
    for seed in SEEDS:
        for kind, detector in kinds.items():
            several = kind in ("conditional", "detr")  # seeds of theirs are shown side by side
            yield Run(
                name=f"cells-{kind}-{seed}",
                detector=detector,
                options=replace(CELLS, lr=RATES[kind], seed=seed),
                shipped=several or seed == 0,
                **parts,
            )
    short = {"heads_measured": 1} | parts
    for kind, detector in kinds.items():
        name, rate = ("fast", FAST) if RATES[kind] == SLOW else ("slow", SLOW)
        yield Run(name=f"cells-{name}-{kind}-0", detector=detector, options=replace(CELLS, lr=rate), **short)
    for kind in ("conditional", "detr-focal"):
        options = replace(CELLS, lr=RATES[kind])
        digits = {"backbone": "backbone-96-8", "options": options} | short
        yield Run(name=f"cells-digits-{kind}-0", detector=kinds[kind], **digits)


def _relation() -> Iterator[Run]:
    """The small detector with a position relation, one-to-many queries, both or neither, on scenes by layout.

    With three seeds also variants of the relation, the relation in the other decoders, more layouts, and
    photographs; with one the relation in the headline's detector.
    """
    relation = {"relation": "two layers"}
    hybrid = {"one_to_many": 6 * 4}  # enough for four digits six times
    parts = {"base": {}, "relation": relation, "hybrid": hybrid, "both": relation | hybrid}
    parts["permuted"] = {"relation": "permuted"}

    def small(name: str, seed: int, change: dict[str, object], layout: str = "arranged") -> Run:
        return Run(
            name=f"{name}-{seed}",
            detector=replace(SMALL_DETECTOR, **change),
            options=replace(SMALL, seed=seed),
            side=48,
            layout=layout,
            backbone="backbone-64",
            step_seconds=0.13,
            heads_measured=0,
            shipped=f"{name}-{seed}" == "arranged-relation-0",
        )

    for seed in range(5):
        for layout in ("arranged", "scattered"):
            for part, change in parts.items():
                yield small(f"{layout}-{part}", seed, change, layout)
    variants = {
        "one-layer": {"relation": "one layer"},
        "scale-2pi": relation | {"relation_scale": 2 * math.pi},
        "six-layers": relation | {"decoder_layers": 6},
    }
    for seed in SEEDS:
        for layout in ("smallest", "centred"):
            for part in ("base", "relation"):
                yield small(f"{layout}-{part}", seed, parts[part], layout)
        for name, change in variants.items():
            yield small(f"arranged-{name}", seed, change)
        for kind in ("dab", "detr-focal", "detr"):
            for part in ("base", "relation"):
                yield small(f"arranged-{kind}-{part}", seed, {"kind": kind} | parts[part])
        for part, change in {"relation": relation, "both": relation | {"one_to_many": 72}}.items():
            yield Run(
                name=f"cells-{part}-{seed}",
                detector=replace(CELLS_DETECTOR, **change),
                options=replace(CELLS, lr=RATES["conditional"], seed=seed),
                photographs="cells",
                batch=8,
                step_seconds=0.17,
                heads_measured=0,
                shipped=f"{part}-{seed}" == "relation-0",
            )
    yield Run(
        name="headline-relation-0",
        detector=DetectorConfig(**relation),
        options=HEADLINE,
        backbone="backbone-96",
        heads_measured=0,
    )


RUNS: dict[str, Run] = {run.name: run for run in (*_headline(), *_small(), *_cells(), *_relation())}


def find(patterns: Iterable[str] = ()) -> list[Pretraining | Run]:
    """Trainings whose names fit a pattern (`headline-*`), all without any. ValueError where none fits one."""
    return chosen(BACKBONES | RUNS, patterns)


def settings_line(run: Run | Pretraining) -> str:
    """The line of a run's table that says what it was made with."""
    return f"settings: {json.dumps(run.settings())}"


def is_finished(run: Run | Pretraining) -> bool:
    """Whether a run's rows are all there, its weights where they are shipped, and its heads' measurements.

    ValueError when they were measured with other settings.
    """
    without_heads = isinstance(run, Pretraining) or not run.heads_measured
    return is_trained(run) and (without_heads or run.heads_table.is_file())


def is_trained(run: Run | Pretraining) -> bool:
    """As `is_finished`, heads left out."""
    if not run.table.is_file():
        return False
    lines = run.table.read_text(encoding="utf-8").splitlines()
    if f"# {settings_line(run)}" not in lines:
        raise ValueError(f"{run.table} was measured with other settings; delete it to measure it again")
    whole = lines[-1].startswith(f"{run.options.steps},")
    return whole and (run.weights.is_file() or not run.shipped)
