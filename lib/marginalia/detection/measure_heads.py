"""What the heads of trained detectors watch, step by step, as a table: part of `make train`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from .. import training
from .detector import build
from .heads import looks_of, permutation, summarise
from .runs import Run, settings_line
from .scenes import make_scenes

if TYPE_CHECKING:
    import pandas as pd

SCENES = 256  # of those that the detector is evaluated on
DIGITS = 4  # of each number in the table


def measure_heads(run: Run) -> None:
    """Write data/measured/heads/NAME.csv: a row for each head, kind of map and one of `moments` of a run.

    Needs the weights that `make train` keeps at each evaluation; FileNotFoundError where they are gone.
    """
    import pandas as pd

    frame = pd.concat([_at(run, step) for step in moments(run)], ignore_index=True)
    run.heads_table.parent.mkdir(parents=True, exist_ok=True)
    numbers = frame.select_dtypes("float").columns
    frame[numbers] = frame[numbers].map(lambda value: float(f"{value:.{DIGITS}g}"))
    part = run.heads_table.with_suffix(".part")
    with open(part, "w", encoding="utf-8", newline="") as file:
        file.writelines(f"# {line}\n" for line in _header(run))
        frame.to_csv(file, index=False, lineterminator="\n")
    part.replace(run.heads_table)


def moments(run: Run) -> list[int]:
    """Steps at which the heads of a run are measured: evenly spaced evaluations, the last among them."""
    every = run.options.every
    evaluations = run.options.steps // every
    count = min(run.moments, evaluations)
    return [every * (evaluations * n // count) for n in range(1, count + 1)]


def _header(run: Run) -> Iterator[str]:
    yield f"{run.name}: where its heads look, over the objects found in {SCENES} validation scenes."
    yield "Layers and heads count from 0. Offsets in half-boxes from the middle of the true box; ranges are"
    yield "interquartile; widths in parts of the picture; entropy in nats; *_permuted: the ranges when"
    yield "boxes are permuted between objects."
    yield "Written by: make train"
    yield settings_line(run)


def _at(run: Run, step: int) -> pd.DataFrame:
    """Rows of one evaluation."""
    import pandas as pd

    weights, _ = training.load(run.weights_at(step))
    model = build(run.detector)
    model.load_state_dict(weights)
    scenes = make_scenes(SCENES, run.layout, "val", 0, run.side, run.digits)
    frames = []
    for kind, looks in looks_of(model.eval(), scenes).items():
        frame = summarise(looks)
        chance = summarise(permutation(looks))
        for axis in ("x", "y"):
            frame[f"{axis}_permuted"] = chance[f"{axis}_range"]
        frame.insert(0, "map", kind)
        frame.insert(0, "step", step)
        frames.append(frame)
    return pd.concat(frames, ignore_index=True)
