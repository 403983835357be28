"""Where the heads of trained detectors have their peaks, step by step, as a table: part of `make train`."""

from __future__ import annotations

import pandas as pd

from marginalia import training
from marginalia.detection.detector import Detector, build
from marginalia.detection.heads import Peaks, peaks_of, permute_boxes, summarise
from marginalia.detection.scenes import SceneBatch, cell_scenes, make_scenes
from runs import Run, settings_line

SCENES = 256  # of those that the detector is evaluated on
ABOUT = """\
peaks of its heads' attention maps, over the objects found in {where}.
Layers and heads count from 0. Offsets in half-boxes from the centre of the ground-truth box; ranges are
interquartile; widths normalised to the image size; entropy in nats; *_permuted: the ranges when boxes are
permuted between objects.
Written by: make train"""


def measure_heads(run: Run) -> None:
    """Write data/measured/heads/NAME.csv: a row for each head, kind of map and one of `evaluation_steps`.

    Needs the weights that `make train` keeps at each evaluation; FileNotFoundError where they are gone.
    """
    frame = pd.concat([_at(run, step) for step in evaluation_steps(run)])
    where = "the 72 test photographs" if run.photographs else f"{SCENES} validation scenes"
    about = f"{run.name}: {ABOUT.format(where=where)}\n{settings_line(run)}"
    training.write_table(run.heads_table, about, frame, "%.4g")


def evaluation_steps(run: Run) -> list[int]:
    """Steps at which the heads of a run are measured: evenly spaced evaluations, the last among them."""
    every = run.options.every
    evaluations = run.options.steps // every
    count = min(run.heads_measured, evaluations)
    return [every * (evaluations * n // count) for n in range(1, count + 1)]


def trained(run: Run, step: int | None = None) -> Detector:
    """The detector of a run after a step at which it was evaluated, or after its last one."""
    model = build(run.detector)
    model.load_state_dict(training.load(run.weights if step is None else run.weights_at(step))[0])
    return model.eval()


def held_out(run: Run) -> SceneBatch:
    """Images of those that a run is evaluated on."""
    if run.photographs:
        return cell_scenes("test")
    return make_scenes(SCENES, run.layout, "val", 0, run.side, run.digits)


def _at(run: Run, step: int) -> pd.DataFrame:
    """Rows of one evaluation."""
    scenes = held_out(run)
    frames = []
    for kind, peaks in peaks_of(trained(run, step), scenes).items():
        if not run.photographs:
            frames.append(_rows(peaks, step=step, map=kind))
            continue
        for label, name in scenes.names.items():
            frames.append(_rows(peaks.of(label), category=name, step=step, map=kind))
    return pd.concat(frames)


def _rows(peaks: Peaks, **about: object) -> pd.DataFrame:
    """A row a head, with what the rows are about in front."""
    frame, chance = summarise(peaks), summarise(permute_boxes(peaks))
    frame = frame.assign(x_permuted=chance["x_range"], y_permuted=chance["y_range"])
    return pd.concat([pd.DataFrame(about, frame.index), frame], axis=1)
