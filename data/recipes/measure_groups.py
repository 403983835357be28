"""How many queries of trained detectors answer for an object, block by block, for notebook 23.

    python data/recipes/measure_groups.py

needs the weights that `make train` leaves in build/train and adds the runs that are missing in
data/measured/query_groups.csv.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd
import torch

from jobs import add_runs, measured_runs
from marginalia.boxes.geometry import cxcywh_to_xyxy, iou
from marginalia.detection.detector import DetectorOutput
from marginalia.detection.groups import MATCHING, ONE_TO_MANY
from marginalia.detection.scenes import SceneBatch
from marginalia.figures.runs import run_names
from measure_heads import SCENES, held_out, trained
from runs import RUNS

ABOUT = f"""\
Queries of the last layer of detectors on {SCENES} of the scenes that they are evaluated on, block by block.
The one-to-many block is there in training only, and is asked here as it is in training. on_object: queries
for each object with an IoU of 0.5 or more, of the object that they overlap most; first: the highest score
among them (of any class); second: the second highest over the highest, 0 where there is one query. Means over
objects, of `first` and `second` over those with a query.
Written by: python data/recipes/measure_groups.py"""


@torch.no_grad()
def measure(names: Iterable[str]) -> pd.DataFrame:
    """A row a run and block. FileNotFoundError where the weights of a run are gone."""
    rows = []
    for run in (RUNS[name] for name in names):
        scenes, model = held_out(run), trained(run).train()  # without dropout: the same but for the groups
        parts = [model(part) for part in torch.from_numpy(scenes.pixels).split(64)]
        whole = DetectorOutput(*(torch.cat(field, 1) for field in zip(*parts, strict=True)))
        matching = run.detector.queries
        blocks = {MATCHING: slice(0, matching)}
        if run.detector.one_to_many:
            blocks[ONE_TO_MANY] = slice(matching, None)
        for block, queries in blocks.items():
            rows.append({"run": run.name, "block": block, **on_objects(whole.part(queries), scenes)})
    return pd.DataFrame(rows)


def on_objects(output: DetectorOutput, scenes: SceneBatch) -> dict[str, float]:
    """The columns of ABOUT, of the last layer of an output for all scenes."""
    scores, boxes = output.logits[-1].sigmoid().amax(-1).numpy(), output.boxes[-1].numpy()
    count, first, second = [], [], []
    for score, box, objects in zip(scores, boxes, scenes.boxes, strict=True):
        overlap = iou(cxcywh_to_xyxy(box), cxcywh_to_xyxy(objects))  # (Q, N)
        for n in range(len(objects)):
            on = np.sort(score[(overlap[:, n] >= 0.5) & (overlap.argmax(1) == n)])[::-1]
            count.append(len(on))
            if len(on):
                first.append(on[0])
                second.append(on[1] / on[0] if len(on) > 1 else 0.0)
    columns = {"on_object": count, "first": first, "second": second}
    return {name: pd.Series(values, dtype=float).mean() for name, values in columns.items()}


if __name__ == "__main__":
    torch.set_num_threads(1)
    names, there = run_names("arranged", "scattered"), measured_runs("query_groups")
    add_runs("query_groups", ABOUT, measure(name for name in names if name not in there), names)
