"""Make the runs of `runs` that are missing: `make train`. Backbones come first, then the detectors."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import torch

from .. import store, training
from ..boxes.evaluation import evaluate
from ..boxes.table import BoxTable
from ..jobs import Job, run_jobs
from .detector import Detector, build, predict_table
from .losses import RECIPES, set_loss
from .matching import gather_targets, match, matched_iou
from .measure_heads import measure_heads
from .pretraining import backbone_weights, pretrain
from .runs import (
    BACKBONES,
    HELD,
    RUNS,
    VALIDATION,
    Pretraining,
    Run,
    find,
    is_complete,
    is_finished,
    settings_line,
)
from .scenes import SceneBatch, as_boxes, make_scenes

try:
    import fcntl
except ImportError:  # Windows has no such locks; there nothing keeps two processes from making one run
    fcntl = None


def evaluation(
    run: Run, model: Detector, scenes: SceneBatch, device: torch.device
) -> Callable[[int], dict[str, float]]:
    """What is measured on validation scenes: COCO's AP, AP50 and AP75, and how well matched boxes fit.

    `AP50_any` takes all digits for one category: what is found, whether or not it is read. `mean_iou` and
    `iou_75` (share of IoU above 0.75) are of the last layer's queries, matched as in training: they say how
    well things are found apart from how they are ranked.
    """
    pixels, ground_truth = torch.from_numpy(scenes.pixels).to(device), as_boxes(scenes)
    targets, recipe = gather_targets(scenes.boxes, scenes.labels, device), RECIPES[run.detector.kind]

    def measure(step: int) -> dict[str, float]:
        parts = [model(part) for part in pixels.split(64)]
        logits, boxes = (torch.cat([p[k][-1:] for p in parts], 1) for k in (0, 1))
        pairs = match(logits, boxes, targets, recipe.class_cost, recipe.cost_weights)
        overlap = matched_iou(boxes, targets, pairs)
        found = predict_table(model, pixels, ground_truth.image_ids, ground_truth.sizes, ground_truth.names)
        figures = evaluate(ground_truth, found)
        return {
            **{name: figures[name] for name in ("AP", "AP50", "AP75")},
            "AP50_any": evaluate(_one_category(ground_truth), _one_category(found))["AP50"],
            "mean_iou": overlap.mean().item(),
            "iou_75": (overlap > 0.75).float().mean().item(),
        }

    return measure


def _one_category(table: BoxTable) -> BoxTable:
    """The same boxes without their names; of a query that made two guesses, the surer one."""
    _, first = np.unique(np.column_stack([table.image, table.xywh]), axis=0, return_index=True)
    table = table.where(np.isin(np.arange(len(table)), first))
    return replace(table, category=np.zeros_like(table.category), names={0: "digit"})


def initial(run: Run) -> Detector:
    """The detector of a run before its first step.

    FileNotFoundError when its backbone, or the run whose learned queries it takes, is not there.
    """
    model = build(run.detector, run.options.seed)
    if run.backbone:
        model.backbone.load_state_dict(backbone_weights(run.backbone))
    if run.queries_from:
        learned, _ = training.load(RUNS[run.queries_from].weights)
        queries = model.decoder.queries.object_query
        queries.data.copy_(learned["decoder.queries.object_query"])
        queries.requires_grad_(False)
    return model


def make(name: str) -> None:
    """Make one backbone or detector, or go on with it; nothing to do when it is finished."""
    if name in RUNS:
        return train(RUNS[name])
    run = BACKBONES[name]
    with _alone(run):
        if not is_finished(run):
            pretrain(run)


def train(run: Run, device: str = "auto") -> None:
    """Make one run, or go on with it where it was broken off; nothing to do when it is finished."""
    with _alone(run):
        if not is_finished(run):
            _fit(run, device)
        if not run.heads_table.is_file():
            measure_heads(run)


def _fit(run: Run, device: str) -> None:
    torch.set_num_threads(1)  # runs are made side by side, and one thread adds up in one order
    place = training.choose_device(device)
    seed, recipe = run.options.seed, RECIPES[run.detector.kind]
    model = initial(run).to(place)

    def batches(index: int) -> SceneBatch:
        first = index * run.batch
        return make_scenes(run.batch, run.layout, "train", seed, run.side, run.digits, first)

    def step(scenes: SceneBatch):
        targets = gather_targets(scenes.boxes, scenes.labels, place)
        loss = set_loss(model(torch.from_numpy(scenes.pixels).to(place)), targets, recipe)
        last = {"class_loss": loss.classes, "l1_loss": loss.l1, "giou_loss": loss.giou}
        return loss.total, {name: part[-1].item() for name, part in last.items()}

    validation = make_scenes(VALIDATION, run.layout, "val", 0, run.side, run.digits)
    measure = evaluation(run, model, validation, place)

    def measure_and_keep(steps: int) -> dict[str, float]:
        card = {"run": run.name, "step": steps, **run.settings()}
        training.save(model, run.weights_at(steps), card, half=True)
        return measure(steps)

    state = run.folder / "checkpoint.pt"
    training.fit(model, step, batches, run.options, measure_and_keep, run.table, _header(run), state)
    if run.shipped:
        _ship(run, model, measure)


def _header(run: Run) -> str:
    return (
        f"{run.name}: trained on generated scenes, evaluated on {VALIDATION} with other digits.\n"
        "Losses are means over training steps since the last row, of the last layer but for `loss`.\n"
        f"Written by: make train\n{settings_line(run)}"
    )


@torch.no_grad()
def _ship(run: Run, model: Detector, measure: Callable[[int], dict[str, float]]) -> None:
    """Final weights in 16 bits; the card's metrics are measured with the weights as stored."""
    for tensor in model.state_dict().values():
        tensor.copy_(tensor.half())
    model.eval()
    metrics = {name: round(value, 6) for name, value in measure(run.options.steps).items()}
    training.save(model, run.weights, {"run": run.name, **run.settings(), "metrics": metrics}, half=True)


@contextmanager
def _alone(run: Run | Pretraining):
    """Keeps a second process from making the same run."""
    run.folder.mkdir(parents=True, exist_ok=True)
    with open(run.folder / "lock", "w") as lock:
        try:
            if fcntl is not None:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(f"{run.name} is being trained by another process") from None
        yield


def main(names: Iterable[str] = (), jobs: int = 2) -> list[str]:
    """Make the runs that fit `names` and are not there, `jobs` at a time; returns those that failed.

    Backbones that are missing come first, and when one of them fails no detector is begun. A run that was
    broken off goes on from its last checkpoint.
    """
    wanted = find(names, BACKBONES | RUNS)
    todo = [run for run in wanted if run.name in RUNS and not is_complete(run)]
    needed = {run.backbone for run in todo} | {run.name for run in wanted}
    bases = [run for name, run in BACKBONES.items() if name in needed and not is_finished(run)]
    there = sum(is_finished(run) for run in wanted)  # their heads are measured in seconds
    total = sum(run.minutes for run in (*bases, *todo) if not is_finished(run))
    print(
        f"{there} of {len(wanted)} runs are there; "
        f"what is missing takes about {total:.0f} minutes of one core",
        flush=True,
    )
    return _queue(bases, jobs) or _queue(todo, jobs)


def _queue(todo: Sequence[Run | Pretraining], jobs: int) -> list[str]:
    command = (sys.executable, "-m", __name__)
    queue = [Job(run.name, (*command, run.name), run.folder / "log.txt", run.minutes) for run in todo]
    return run_jobs(queue, jobs, lambda job: _last_row(job.name))


def _last_row(name: str) -> str:
    last = store.read_table(f"{HELD}/{name}.csv").iloc[-1]
    if name in BACKBONES:
        return f"accuracy {last['val_accuracy']:.3f}"
    return f"AP {last['AP']:.3f}, AP50 {last['AP50']:.3f}, mean IoU {last['mean_iou']:.3f}"


if __name__ == "__main__":
    make(sys.argv[1])
