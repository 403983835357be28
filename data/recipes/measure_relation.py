"""What the trained position relations do: part of the numbers of notebook 22, from runs of `make train`.

    python data/recipes/measure_relation.py

needs the weights that `make train` leaves in build/train and adds the runs that these tables do not have to

    data/measured/relation_maps.csv  to whom the relation and self-attention send a query's attention
    data/measured/relation_off.csv   AP and duplicates of the same detectors with parts of self-attention off
    data/measured/relation_weights.csv  W and B of every run that has a relation
"""

from __future__ import annotations

import copy

import numpy as np
import pandas as pd
import torch

from jobs import add_runs, measured_runs
from marginalia.boxes.error_types import costs
from marginalia.boxes.geometry import cxcywh_to_xyxy, iou
from marginalia.detection import as_boxes, gather_targets, predict_table
from marginalia.detection.capture import capture_self_attention
from marginalia.detection.detector import Detector, build
from marginalia.detection.losses import RECIPES
from marginalia.detection.matching import match
from marginalia.detection.scenes import SceneBatch
from measure_heads import SCENES, held_out, trained
from runs import RUNS, Run
from train import evaluation

MAPS_ABOUT = """\
Where attention goes among the queries of trained detectors: rows are queries that answer for an object in
the last layer, columns all other queries. Each number is relative to uniform attention (1) over the others:
distance: mean distance of what is attended (centres of the boxes that enter the layer); overlapping: weight
of boxes with IoU >= 0.5; objects: weight of queries that answer for another object. map: relation, softmax of
Rel alone; start, the same with the numbers that W and B had before training; attention, all of
self-attention. self is the weight of the query itself (uniform: 1 / Q).
Layers count from 0, which has no relation; heads from 0.
Written by: python data/recipes/measure_relation.py"""
OFF_ABOUT = f"""\
Trained detectors as they are, with Rel = 0 (no relation), and with every query attending to itself alone in
all self-attentions of the decoder (itself alone), on {SCENES} of the scenes, or the photographs, that they
were evaluated on. Columns as in data/measured/detection; duplicate_cost: what AP50 would gain if every
detection that finds an object again were deleted.
Written by: python data/recipes/measure_relation.py"""
WEIGHTS_ABOUT = """\
Position relations after training: B and W (64 numbers, channels as in `marginalia.detection.relation.embed`).
Written by: python data/recipes/measure_relation.py"""


def related() -> list[Run]:
    """Runs with a relation, and those that are like them without one, with one-to-many queries or not."""
    bases = [f"{layout}-{part}" for layout in ("arranged", "scattered") for part in ("base", "hybrid")]
    bases += ["headline-conditional-0", "cells-conditional"]  # those with weights
    return [run for run in RUNS.values() if run.detector.relation or run.name.startswith(tuple(bases))]


def maps(model: Detector, scenes: SceneBatch) -> pd.DataFrame:
    """A row a layer, head and map, with the columns of MAPS_ABOUT."""
    found = capture_self_attention(model, torch.from_numpy(scenes.pixels))
    targets, recipe = gather_targets(scenes.boxes, scenes.labels), RECIPES[model.config.kind]
    last = found.output.logits[-1:], found.output.boxes[-1:]
    pairs = match(*last, targets, recipe.class_cost, recipe.cost_weights)
    answers = torch.zeros(last[0].shape[1:3], dtype=torch.bool)  # (B, Q): for an object
    answers[pairs.image, pairs.query] = True
    others = ~torch.eye(answers.shape[1], dtype=torch.bool)  # (Q, Q)
    rows = []
    for layer, boxes in enumerate(found.boxes, start=1):
        gap = torch.cdist(boxes[..., :2], boxes[..., :2])  # (B, Q, Q), in image sides
        corners = cxcywh_to_xyxy(boxes.numpy())
        overlapping = torch.from_numpy(iou(corners, corners) >= 0.5) & others
        objects = answers[:, None].expand_as(overlapping) & others
        for name, weights in (("relation", found.bias), ("attention", found.weights)):
            if name == "relation":
                weights = weights.masked_fill(~others, -torch.inf).softmax(-1)
            for head, w in enumerate(weights[layer - 1].unbind(1)):  # (B, Q, Q)
                w, own = w[answers], w.diagonal(dim1=1, dim2=2)[answers]  # (R, Q), (R,)
                w = w.masked_fill(~others.expand_as(gap)[answers], 0)
                w = w / w.sum(-1, keepdim=True)
                row = {"layer": layer, "head": head, "map": name}
                row["distance"] = ((w * gap[answers]).sum() / (gap[answers].sum() / (w.shape[1] - 1))).item()
                for column, those in (("overlapping", overlapping), ("objects", objects)):
                    uniform = those[answers].sum() / (w.shape[1] - 1)
                    row[column] = ((w * those[answers]).sum() / uniform).item()
                row["self"] = own.mean().item() if name == "attention" else np.nan
                rows.append(row)
    return pd.DataFrame(rows)


def start(run: Run, model: Detector, scenes: SceneBatch) -> pd.DataFrame:
    """Rows "start" of `maps`: a trained detector with the relation that its training began with."""
    relation = model.decoder.relation
    kept = copy.deepcopy(relation.state_dict())
    relation.load_state_dict(build(run.detector, run.options.seed).decoder.relation.state_dict())
    frame = maps(model, scenes).query("map == 'relation'").assign(map="start")
    relation.load_state_dict(kept)
    return frame


def without(model: Detector, scenes: SceneBatch) -> pd.DataFrame:
    """Two or three rows: what is measured of a detector as it is, and with parts of its attention off."""
    evaluated = evaluation(model, scenes, by_category=False)
    truth, pixels = as_boxes(scenes), torch.from_numpy(scenes.pixels)

    def measure(step: int) -> dict[str, float]:
        found = predict_table(model, pixels, truth.image_ids, truth.sizes, truth.names)
        return evaluated(step) | {"duplicate_cost": costs(truth, found)["duplicate"]}

    rows = [{"attention": "as trained"} | measure(0)]
    if model.decoder.relation is not None:
        projection = model.decoder.relation.projection
        kept = copy.deepcopy(projection.state_dict())
        for parameter in projection.parameters():
            parameter.zero_()
        rows.append({"attention": "no relation"} | measure(0))
        projection.load_state_dict(kept)
    hooks = [
        layer.self_attention.register_forward_pre_hook(
            lambda module, inputs: (*inputs[:2], torch.eye(inputs[0].shape[1], dtype=torch.bool))
        )
        for layer in model.decoder.layers
    ]
    rows.append({"attention": "itself alone"} | measure(0))
    for hook in hooks:
        hook.remove()
    return pd.DataFrame(rows)


def weights(model: Detector) -> pd.DataFrame:
    """A row a head: B, then W."""
    projection = model.decoder.relation.projection
    W = pd.DataFrame(projection.weight.numpy()).add_prefix("w")
    W.insert(0, "B", projection.bias.numpy())
    return W.rename_axis("head").reset_index()


def main() -> None:
    """Measure the runs that are not in the tables; one whose weights are missing is an error."""
    torch.set_num_threads(1)
    abouts = {"maps": MAPS_ABOUT, "weights": WEIGHTS_ABOUT, "off": OFF_ABOUT}
    there, names = measured_runs("relation_off"), [run.name for run in related()]
    for run in related():
        if run.name in there:
            continue
        print(run.name, flush=True)
        with torch.no_grad():
            model, scenes = trained(run), held_out(run)
            new = {"maps": maps(model, scenes)}
            if run.detector.relation:
                new["maps"] = pd.concat([new["maps"], start(run, model, scenes)])
                new["weights"] = weights(model)
            new["off"] = without(model, scenes)  # last: it says that a run was measured
        for name in new:
            new[name].insert(0, "run", run.name)
            add_runs(f"relation_{name}", abouts[name], new[name], names)


if __name__ == "__main__":
    main()
