"""Make the runs of `runs` that are missing: `make train`. Backbones come first, then the detectors."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import numpy as np
import torch
from filelock import FileLock

import pretraining
from jobs import Job, command_line, run_jobs
from marginalia import store, training
from marginalia.boxes.error_types import error_types
from marginalia.boxes.evaluation import evaluate
from marginalia.boxes.table import BoxTable
from marginalia.detection import predict_table
from marginalia.detection.augmentation import augment
from marginalia.detection.detector import Detector, build
from marginalia.detection.losses import RECIPES, one_to_many_loss, set_loss
from marginalia.detection.matching import gather_targets, match, matched_iou
from marginalia.detection.scenes import SceneBatch, as_boxes, cell_scenes, make_scenes
from measure_heads import measure_heads
from runs import BACKBONES, RUNS, VALIDATION, Pretraining, Run, find, is_finished, is_trained, settings_line

REPEATS = 6  # of every box for one-to-many queries, as in H-DETR and Relation DETR


def evaluation(model: Detector, scenes: SceneBatch, by_category: bool) -> Callable[[int], dict[str, float]]:
    """What is measured on held-out images: COCO's AP, AP50 and AP75, and how well matched boxes fit.

    `AP50_any` takes all categories for one: what is found, however it is classified. So do `found`, the share
    of objects that one of the surest detections finds (IoU 0.5), and `duplicates`, how many of these
    detections find one again, for each object; there are as many of them as objects, or three times as many
    (`found_3`, `duplicates_3`). AR is COCO's, of 100 detections an image. `mean_iou` and `iou_75`
    (share of IoU above 0.75) are of the last layer's queries, matched as in training: they say how well
    things are found apart from how they are ranked. `by_category`: also AP and AP50 of each category.
    """
    pixels, ground_truth = torch.from_numpy(scenes.pixels), as_boxes(scenes)
    targets, recipe = gather_targets(scenes.boxes, scenes.labels), RECIPES[model.config.kind]

    def measure(step: int) -> dict[str, float]:
        parts = [model(part) for part in pixels.split(64)]
        logits, boxes = (torch.cat([part[k][-1:] for part in parts], 1) for k in (0, 1))
        pairs = match(logits, boxes, targets, recipe.class_cost, recipe.cost_weights)
        overlap = matched_iou(boxes, targets, pairs)
        found = predict_table(model, pixels, ground_truth.image_ids, ground_truth.sizes, ground_truth.names)
        figures = evaluate(ground_truth, found)
        of_each = {}
        for category, name in ground_truth.names.items() if by_category else ():
            only = (part.where(part.category == category) for part in (ground_truth, found))
            of_each |= {f"{key} {name}": value for key, value in evaluate(*only)[["AP", "AP50"]].items()}
        return {
            **{name: figures[name] for name in ("AP", "AP50", "AP75")},
            "AR": figures["AR100"],
            "AP50_any": evaluate(one_category(ground_truth), one_category(found))["AP50"],
            **crowding(one_category(ground_truth), one_category(found)),
            "mean_iou": overlap.mean().item(),
            "iou_75": (overlap > 0.75).float().mean().item(),
            **of_each,
        }

    return measure


def crowding(ground_truth: BoxTable, found: BoxTable) -> dict[str, float]:
    """`found` and `duplicates` of an evaluation; no score threshold, so that no calibration enters."""
    share, objects = {}, len(ground_truth)
    for times, name in ((1, ""), (3, "_3")):
        surest = np.argsort(-found.score, kind="stable")[: times * objects]
        errors = error_types(ground_truth, found.where(np.isin(np.arange(len(found)), surest)))
        share[f"found{name}"] = float((errors.outcome == "found").mean())
        share[f"duplicates{name}"] = float((errors.kind == "duplicate").sum() / objects)
    return share


def one_category(table: BoxTable) -> BoxTable:
    """The same boxes without their names; of a query that made two guesses, the surer one."""
    _, first = np.unique(np.column_stack([table.image, table.xywh]), axis=0, return_index=True)
    table = table.where(np.isin(np.arange(len(table)), first))
    return replace(table, category=np.zeros_like(table.category), names={0: "any"})


def initial(run: Run) -> Detector:
    """The detector of a run before its first step.

    FileNotFoundError when its backbone, or the run whose learned queries it takes, is not there.
    """
    model = build(run.detector, run.options.seed)
    if run.backbone:
        weights = pretraining.backbone_weights(run.backbone)
        grey = weights["0.0.weight"]  # digits have one channel; photographs share it among their three
        channels = run.detector.in_channels
        weights["0.0.weight"] = grey.expand(-1, channels, -1, -1) / channels
        model.backbone.load_state_dict(weights)
    if run.queries_from:
        learned, _ = training.load(RUNS[run.queries_from].weights)
        queries = model.decoder.queries.object_query
        queries.data.copy_(learned["decoder.queries.object_query"])
        queries.requires_grad_(False)
    return model


def parts(run: Run, model: Detector) -> tuple[training.Step, training.Batches, training.Evaluate]:
    """What `training.fit` needs beside the model of a run: step, batches and evaluate."""
    if run.photographs:
        known, held_out = cell_scenes("train", "val"), cell_scenes("test")
        batches = varied(known, run.batch, run.options.seed, upside_down=True)
        return descent(model), batches, evaluation(model, held_out, by_category=True)

    def batches(index: int) -> SceneBatch:
        first = index * run.batch
        return make_scenes(run.batch, run.layout, "train", run.options.seed, run.side, run.digits, first)

    validation = make_scenes(VALIDATION, run.layout, "val", 0, run.side, run.digits)
    return descent(model), batches, evaluation(model, validation, by_category=False)


def descent(model: Detector) -> training.Step:
    """The loss of a batch, and its parts in the last layer."""
    recipe = RECIPES[model.config.kind]

    def step(scenes: SceneBatch):
        targets = gather_targets(scenes.boxes, scenes.labels)
        output, groups, more = model(torch.from_numpy(scenes.pixels)), model.decoder.groups, 0
        if groups is None:
            loss = set_loss(output, targets, recipe)
        else:
            loss, hybrid = one_to_many_loss(output, targets, recipe, groups, REPEATS)
            more = hybrid.total
        last = {"class_loss": loss.classes, "l1_loss": loss.l1, "giou_loss": loss.giou}
        return loss.total + more, {name: part[-1].item() for name, part in last.items()}

    return step


def varied(scenes: SceneBatch, batch: int, seed: int, upside_down: bool) -> training.Batches:
    """Batches of photographs by number: each in a new order, pass after pass, augmented."""
    whole = len(scenes.pixels) // batch  # batches in a pass; what is left over is in the next one

    def batches(index: int) -> SceneBatch:
        passed, place = divmod(index, whole)
        order = np.random.default_rng((seed, 0, passed)).permutation(len(scenes.pixels))
        chosen = scenes.part(order[place * batch : (place + 1) * batch])
        return augment(chosen, np.random.default_rng((seed, 1, index)), upside_down)

    return batches


def make(name: str) -> None:
    """Make one run, or go on with it where it was broken off; nothing to do when it is finished.

    While another process makes it, this one waits, and then finds it finished.
    """
    run = (BACKBONES | RUNS)[name]
    run.folder.mkdir(parents=True, exist_ok=True)
    with FileLock(run.folder / "lock"):
        if not is_trained(run):
            train(run)
        if not is_finished(run):
            measure_heads(run)


def train(run: Pretraining | Run) -> None:
    """Fit the model of a run: leaves rows, the weights of each evaluation, and those to be shipped."""
    torch.set_num_threads(1)  # runs are made side by side, and one thread adds up in one order
    first = isinstance(run, Pretraining)
    model = pretraining.build_classifier(run) if first else initial(run)
    step, batches, measure = pretraining.parts(run, model) if first else parts(run, model)
    card = {"run": run.name, **run.settings()}
    if not first and run.photographs:
        card["names"] = cell_scenes("test").names  # of the classes

    def measure_and_keep(steps: int) -> dict[str, float]:
        training.save(model, run.weights_at(steps), {"step": steps, **card})
        return measure(steps)

    about = pretraining.ABOUT if first else CELLS_ABOUT if run.photographs else ABOUT
    header = f"{run.name}: {about}\nWritten by: make train\n{settings_line(run)}"
    state = run.folder / "checkpoint.pt"
    training.fit(model, step, batches, run.options, measure_and_keep, run.table, header, state)
    if run.shipped:  # the card's metrics are of the weights as stored, in 16 bits
        model.half().float().eval()
        with torch.no_grad():
            metrics = {name: round(value, 6) for name, value in measure(run.options.steps).items()}
        training.save(model, run.weights, card | {"metrics": metrics})


ABOUT = (
    f"trained on generated scenes, evaluated on {VALIDATION} with other digits.\n"
    "Losses are means over training steps since the last row, of the last layer but for `loss`."
)
CELLS_ABOUT = (
    "trained on the photographs of blood cells of train and val, augmented, evaluated on the 72 of test.\n"
    + ABOUT.splitlines()[1]
)


def main(names: Iterable[str] = (), jobs: int = 2) -> list[str]:
    """Make the runs that fit `names` and are not there, `jobs` at a time; returns those that failed.

    Backbones that are missing come first, and when one of them fails no detector is begun. A run that was
    broken off goes on from its last checkpoint.
    """
    wanted = find(names)
    todo = [run for run in wanted if run.name in RUNS and not is_finished(run)]
    needed = {run.backbone for run in todo} | {run.name for run in wanted}
    bases = [run for name, run in BACKBONES.items() if name in needed and not is_finished(run)]
    there = sum(is_trained(run) for run in wanted)
    minutes = sum(run.minutes for run in (*bases, *todo) if not is_trained(run))
    print(
        f"{there} of {len(wanted)} runs are there; "
        f"what is missing takes about {minutes:.0f} minutes of one core",
        flush=True,
    )
    return queue(bases, jobs) or queue(todo, jobs)


def queue(todo: Sequence[Pretraining | Run], jobs: int) -> list[str]:
    """Make runs in processes of their own; returns the names of those that failed."""
    command = (sys.executable, __file__, "--job")
    waiting = [Job(run.name, (*command, run.name), run.folder / "log.txt", run.minutes) for run in todo]
    return run_jobs(waiting, jobs, lambda job: last_row(job.name))


def last_row(name: str) -> str:
    """What the last row of a finished run says."""
    last = store.read_table(f"measured/detection/{name}.csv").iloc[-1]
    if name in BACKBONES:
        return f"accuracy {last['val_accuracy']:.3f}"
    return f"AP {last['AP']:.3f}, AP50 {last['AP50']:.3f}, mean IoU {last['mean_iou']:.3f}"


if __name__ == "__main__":
    command_line(make, main)
