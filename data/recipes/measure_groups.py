"""What queries of trained detectors see and find, group by group: data/measured/query_groups.csv."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd
import torch
from torch import nn

from marginalia import store, training
from marginalia.boxes.evaluation import evaluate
from marginalia.boxes.geometry import cxcywh_to_xyxy, iou
from marginalia.detection import predict_table
from marginalia.detection.detector import Detector, DetectorOutput, build
from marginalia.detection.groups import MATCHING, ONE_TO_MANY, group_detr, one_to_many
from marginalia.detection.scenes import SceneBatch, as_boxes, make_scenes
from marginalia.figures.runs import PARTS
from runs import RUNS, Run
from train import crowding, one_category

LAYOUT, SEEDS = "arranged", range(5)
SCENES = 256  # of those that a detector is evaluated on
ABOUT = f"""\
blocks of queries of detectors on {LAYOUT} scenes, on {SCENES} of the scenes that they are evaluated on.
sight: what a query sees in self-attention, its block as in training, or itself alone. on_object: queries for
each object with an IoU of 0.5 or more, of the object that they overlap most; second: the second highest score
among them beside the highest (0 where there is one), a mean over objects. Others as in `make train`.
Written by: python data/recipes/measure_groups.py, from the weights that `make train` leaves in build/"""


class Block(nn.Module):
    """A detector of which only some queries answer, with another view of each other."""

    def __init__(self, model: Detector, block: slice, alone: bool):
        super().__init__()
        self.model, self.block, self.config = model, block, model.config
        whole, extra = model.config.queries, model.config.one_to_many
        groups = one_to_many(whole, extra) if extra else group_detr(whole, 1)
        model.decoder.groups = group_detr(1, whole + extra) if alone else groups

    def forward(self, pixels: torch.Tensor) -> DetectorOutput:
        return self.model.train()(pixels).part(self.block)  # groups count in training only


def measure(names: Iterable[str]) -> pd.DataFrame:
    """A row a run, block and sight. FileNotFoundError where the weights of a run are gone."""
    rows = []
    for run in (RUNS[name] for name in names):
        scenes = make_scenes(SCENES, run.layout, "val", 0, run.side, run.digits)
        matching = run.detector.queries
        blocks = {MATCHING: slice(0, matching)}
        if run.detector.one_to_many:
            blocks[ONE_TO_MANY] = slice(matching, None)
        for block, queries in blocks.items():
            for sight in ("block", "alone"):
                model = Block(_trained(run), queries, sight == "alone")
                rows.append({"run": run.name, "block": block, "sight": sight, **_found(model, scenes)})
    return pd.DataFrame(rows)


def _trained(run: Run) -> Detector:
    weights, _ = training.load(run.weights_at(run.options.steps))
    model = build(run.detector)
    model.load_state_dict(weights)
    return model


@torch.no_grad()
def _found(model: Block, scenes: SceneBatch) -> dict[str, float]:
    """AP, `crowding`, and how many queries answer for an object and how sure the second of them is."""
    pixels, truth = torch.from_numpy(scenes.pixels), as_boxes(scenes)
    table = predict_table(model, pixels, truth.image_ids, truth.sizes, truth.names)
    outputs = [model(part) for part in pixels.split(64)]
    scores = torch.cat([one.logits[-1].sigmoid().amax(-1) for one in outputs]).numpy()  # (B, Q)
    boxes = torch.cat([one.boxes[-1] for one in outputs]).numpy()  # (B, Q, 4)
    count, second = [], []
    for score, box, objects in zip(scores, boxes, scenes.boxes, strict=True):
        overlap = iou(cxcywh_to_xyxy(box), cxcywh_to_xyxy(objects))  # (Q, N)
        for n in range(len(objects)):
            on = np.sort(score[(overlap[:, n] >= 0.5) & (overlap.argmax(1) == n)])[::-1]
            count.append(len(on))
            second += [on[1] / on[0] if len(on) > 1 else 0.0] * bool(len(on))
    any_class = crowding(one_category(truth), one_category(table))
    return {
        "AP": evaluate(truth, table)["AP"],
        **{name: any_class[name] for name in ("found", "duplicates")},
        "on_object": np.mean(count),
        "second": np.mean(second),
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    frame = measure(f"{LAYOUT}-{part}-{seed}" for seed in SEEDS for part in PARTS)
    training.write_table(store.root() / "measured" / "query_groups.csv", ABOUT, frame, "%.4g")
