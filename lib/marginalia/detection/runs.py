"""The detectors that are trained for the notebooks: which, how long, and where their measurements are.

`make train` makes those that are missing (`train`). Each leaves data/measured/detection/NAME.csv, one row an
evaluation, with its settings above, and data/measured/heads/NAME.csv (`measure_heads`); some leave weights in
data/weights/detection. Checkpoints and the weights at each evaluation stay in build/train/NAME.

The papers start from a backbone that ImageNet trained. Here all detectors of one width start from one that
learnt to tell digits apart in given boxes (`pretraining`), and it is made before them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import store
from ..training import Options
from .detector import KINDS, DetectorConfig

if TYPE_CHECKING:
    import pandas as pd

SEEDS = (0, 1, 2)
HELD = "measured/detection"
HEADS_HELD = "measured/heads"
WEIGHTS = "weights/detection"
VALIDATION = 512  # scenes, the same for all runs of one size


class _Kept:
    """Where what is known by its name keeps its files."""

    name: str

    @property
    def table(self) -> Path:
        """Where its measurements are, or will be."""
        return store.root() / HELD / f"{self.name}.csv"

    @property
    def folder(self) -> Path:
        """Where checkpoints, logs and weights of all evaluations are, or will be."""
        return (store.checkout() or Path.cwd()) / "build" / "train" / self.name


@dataclass(frozen=True)
class Pretraining(_Kept):
    """A backbone that learns to tell digits apart before detectors start from it (`pretraining`)."""

    name: str
    width: int
    options: Options  # its seed is that of the scenes too, and no detector's
    side: int = 64  # pixels
    stride: int = 4
    batch: int = 32
    shipped: bool = True
    step_seconds: float = 0.12  # measured on one core beside another run

    @property
    def minutes(self) -> float:
        """What it takes on one core."""
        return self.options.steps * self.step_seconds / 60

    @property
    def weights(self) -> Path:
        """Where its weights are, or will be, in 16 bits."""
        return store.root() / WEIGHTS / f"{self.name}.safetensors"

    def settings(self) -> dict[str, object]:
        """All that determines the result, as JSON can hold it."""
        own = {name: getattr(self, name) for name in ("width", "side", "stride", "batch")}
        return own | {"options": asdict(self.options)}


@dataclass(frozen=True)
class Run(_Kept):
    """One training: a detector, the scenes it learns from, and how."""

    name: str
    detector: DetectorConfig
    options: Options
    side: int = 64  # pixels
    layout: str = "scattered"
    digits: tuple[int, int] = (1, 4)  # fewest and most in a scene
    batch: int = 32
    backbone: str | None = None  # a name of BACKBONES: the weights it starts from; None: random ones
    queries_from: str | None = None  # a name of RUNS whose learned queries it takes and keeps as they are
    shipped: bool = False  # whether its weights are part of the collection, in 16 bits
    step_seconds: float = 0.35  # with its evaluations; measured on one core beside another run
    moments: int = 6  # evaluations, evenly spaced, after which its heads are measured

    @property
    def minutes(self) -> float:
        """What it takes on one core."""
        return self.options.steps * self.step_seconds / 60

    @property
    def weights(self) -> Path:
        """Where its final weights are, or will be: in the collection, or the last of its evaluations."""
        shipped = store.root() / WEIGHTS / f"{self.name}.safetensors"
        return shipped if self.shipped else self.weights_at(self.options.steps)

    @property
    def heads_table(self) -> Path:
        """Where the measurements of its heads are, or will be (`measure_heads`)."""
        return store.root() / HEADS_HELD / f"{self.name}.csv"

    def weights_at(self, steps: int) -> Path:
        """Where its weights after some steps, a multiple of `options.every`, are, or will be (16 bits)."""
        return self.folder / f"step-{steps:06d}.safetensors"

    def settings(self) -> dict[str, object]:
        """All that determines the result, as JSON can hold it."""
        own = {name: getattr(self, name) for name in ("side", "layout", "digits", "batch")}
        backbone = BACKBONES[self.backbone].settings() if self.backbone else None
        whole = {"detector": asdict(self.detector), "options": asdict(self.options), **own}
        whole["backbone"] = backbone
        if self.queries_from:
            whole["queries_from"] = self.queries_from
        return json.loads(json.dumps(whole))


PRETRAINING = Options(
    steps=1500, lr=2e-3, clip=1.0, warm_up=150, drop_at=0.7, seed=7, every=150, checkpoint=150
)
BACKBONES: dict[str, Pretraining] = {
    run.name: run
    for run in (
        Pretraining("backbone-96", 96, PRETRAINING),  # of the headline
        Pretraining("backbone-64", 64, PRETRAINING, side=48, step_seconds=0.09),  # of all small runs
    )
}
HEADLINE = Options(steps=1500, lr=6e-4, warm_up=100, every=125, checkpoint=250)
SMALL = Options(steps=750, lr=1e-3, warm_up=100, every=125, checkpoint=250)
SMALL_DETECTOR = DetectorConfig(width=64, heads=4, encoder_layers=1, ffn=128)

# Figure or table -> what it calls a row -> names of runs, less the seed. Some runs serve several.
GROUPS: dict[str, dict[str, str]] = {
    "headline": {kind: f"headline-{kind}" for kind in KINDS},
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
}
LONG = "long-detr"  # the paper's 500 epochs beside 50, one seed


def _headline() -> Iterator[Run]:
    # the longest run first, so that nothing waits for it at the end
    longer = replace(HEADLINE, steps=10 * HEADLINE.steps, every=500, checkpoint=500)
    yield Run(f"{LONG}-0", DetectorConfig(kind="detr"), longer, backbone="backbone-96", shipped=True)
    for seed in SEEDS:
        for kind in KINDS:
            options = replace(HEADLINE, seed=seed)
            yield Run(
                f"headline-{kind}-{seed}",
                DetectorConfig(kind=kind),
                options,
                backbone="backbone-96",
                shipped=seed == 0,
            )


def _small() -> Iterator[Run]:
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
    for side, prefix in ((48, "small"), (64, "small-map-16")):
        changes |= {f"{prefix}-temperature-{t}": {"temperature": float(t), "side": side} for t in (2, 10000)}
    changes["small-map-16"] = {"side": 64}
    for name, change in changes.items():
        change = {"side": 48} | change
        side = change.pop("side")
        for seed in SEEDS:
            detector, options = replace(SMALL_DETECTOR, **change), replace(SMALL, seed=seed)
            seconds = 0.1 * (side / 48) ** 2
            learned = f"small-focal-offset-{seed}" if name == "small-fixed-queries" else None
            yield Run(
                f"{name}-{seed}",
                detector,
                options,
                side,
                backbone="backbone-64",
                queries_from=learned,
                step_seconds=seconds,
                moments=1,
            )


RUNS: dict[str, Run] = {run.name: run for run in (*_headline(), *_small())}


def find(patterns: Iterable[str] = (), among: Mapping[str, Any] = RUNS) -> list[Any]:
    """Runs whose names fit any of the patterns (`headline-*`), all without any. ValueError if none fits."""
    patterns = tuple(patterns) or ("*",)
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in among):
            raise ValueError(f"no run {pattern!r}; {store.near(pattern, among)}")
    return [run for name, run in among.items() if any(fnmatchcase(name, pattern) for pattern in patterns)]


def settings_line(run: Run | Pretraining) -> str:
    """The line of a run's table that says what it was made with."""
    return f"settings: {json.dumps(run.settings())}"


def is_finished(run: Run | Pretraining) -> bool:
    """Whether a run's rows are all there, and its weights where they are shipped.

    ValueError when they were measured with other settings.
    """
    if not run.table.is_file():
        return False
    lines = run.table.read_text(encoding="utf-8").splitlines()
    if f"# {settings_line(run)}" not in lines:
        raise ValueError(f"{run.table} was measured with other settings; delete it to measure it again")
    whole = lines[-1].startswith(f"{run.options.steps},")
    return whole and (run.weights.is_file() or not run.shipped)


def is_complete(run: Run) -> bool:
    """Whether a run is finished and its heads are measured."""
    return is_finished(run) and run.heads_table.is_file()


def missing() -> list[str]:
    """Names of the runs that are not there, or not whole."""
    return [name for name, run in RUNS.items() if not is_finished(run)]


def histories(patterns: Iterable[str] = ()) -> pd.DataFrame:
    """All rows of the finished runs that fit, one after the other.

    Columns: run, base (the name less the seed), kind, seed, then those of `fit` and of the evaluation. Runs
    that are missing are named in `attrs["missing"]`.
    """
    return _joined(patterns, lambda run: f"{HELD}/{run.name}.csv" if is_finished(run) else None)


def head_histories(patterns: Iterable[str] = ()) -> pd.DataFrame:
    """Measurements of heads (`measure_heads`) of the runs that fit, one after the other.

    Columns: run, base, kind, seed, step, map, then those of `heads.summarise` and the permuted ranges. Runs
    without them are named in `attrs["missing"]`.
    """
    return _joined(
        patterns, lambda run: f"{HEADS_HELD}/{run.name}.csv" if run.heads_table.is_file() else None
    )


def _joined(patterns: Iterable[str], table: Callable[[Run], str | None]) -> pd.DataFrame:
    """Tables of the runs that fit, each row with what its run is; `table` gives their names, or None."""
    import pandas as pd

    frames, absent = [], []
    for run in find(patterns):
        name = table(run)
        if name is None:
            absent.append(run.name)
            continue
        frame = store.read_table(name)
        base, seed = run.name.rsplit("-", 1)
        told = {"seed": int(seed), "kind": run.detector.kind, "base": base, "run": run.name}
        for column, value in told.items():
            frame.insert(0, column, value)
        frames.append(frame)
    joined = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()
    joined.attrs = {"missing": absent}
    return joined
