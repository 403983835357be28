"""The one loop that fits the small models of this collection. What is special is in the `step` given to it.

A run is made of pure parts: the batch, the learning rate and the seed of the random generators are functions
of the step's number. A run that was killed therefore goes on exactly as if it had not been.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import random
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from tqdm import tqdm

from . import __version__

Row = dict[str, float]
Step = Callable[[Any], tuple[Tensor, Mapping[str, float]]]  # batch -> loss to descend, metrics to average
Batches = Callable[[int], Any]  # number of the step, from 0 -> its batch
Evaluate = Callable[[int], Mapping[str, float]]  # number of steps made -> metrics
Optimizers = Callable[[nn.Module, "Options"], list[torch.optim.Optimizer]]


@dataclass(frozen=True)
class Options:
    """How long and how fast to learn. Two runs with equal options, model and batches are equal."""

    steps: int
    lr: float = 1e-3
    weight_decay: float = 1e-4
    clip: float = 0.1  # largest norm of the gradient
    warm_up: int = 0  # steps during which the rate rises linearly from 0 to lr
    drop_at: float = 0.8  # part of the steps after which the rate is a tenth; 1: never
    seed: int = 0
    every: int = 100  # steps from one evaluation, and checkpoint, to the next


def learning_rate(step: int, options: Options) -> float:
    """Rate of a step, counted from 0: constant, with a linear rise before and one drop to a tenth."""
    return options.lr * _rise(step, options) * (0.1 if step >= options.drop_at * options.steps else 1.0)


def _rise(step: int, options: Options) -> float:
    return min((step + 1) / options.warm_up, 1) if options.warm_up else 1.0


def cosine_rate(step: int, options: Options, end: float = 0.1) -> float:
    """Rate of a step that falls along half a cosine to `end` times lr, after the linear rise."""
    made = max(0.0, (step + 1 - options.warm_up) / max(1, options.steps - options.warm_up))
    return options.lr * _rise(step, options) * (end + (1 - end) * (1 + math.cos(math.pi * made)) / 2)


def _adamw(model: nn.Module, options: Options) -> list[torch.optim.Optimizer]:
    return [torch.optim.AdamW(model.parameters(), options.lr, weight_decay=options.weight_decay)]


def fit(
    model: nn.Module,
    step: Step,
    batches: Batches,
    options: Options,
    evaluate: Evaluate | None = None,
    table: Path | None = None,
    header: str = "",
    state: Path | None = None,
    optimizers: Optimizers = _adamw,
    rate: Callable[[int, Options], float] = learning_rate,
) -> list[Row]:
    """Descend the loss that `step` returns, and return one row of measurements each `options.every` steps.

    A row holds `step` (steps made), `seconds` (of training so far, evaluation included), `lr`, the means of
    `loss` and of the metrics of `step` since the last row, and what `evaluate` returns; the last step always
    gets one. `evaluate` is called in evaluation mode and without gradients. In a terminal a bar is shown.

    table  CSV file of the rows so far, below `header` as `#` lines.
    state  file for a checkpoint at each row. When it is there, the run goes on from it: weights and rows
           become those of a run without a break, `seconds` apart. Without it a killed run starts again.
    optimizers  makes those that move the parameters; each of their groups keeps the proportion of its own
           rate to options.lr.
    rate   of a step: `learning_rate` or `cosine_rate`.

    ValueError when `state` belongs to other options; FloatingPointError when the loss is not finite.
    """
    moving = optimizers(model, options)
    for group in (group for each in moving for group in each.param_groups):
        group["times_lr"] = group["lr"] / options.lr
    rows = _read_state(state, model, moving, options) if state is not None and state.exists() else []
    made = rows[-1]["step"] if rows else 0
    began = time.monotonic() - (rows[-1]["seconds"] if rows else 0)
    if table is not None:
        write_table(table, header, rows)

    sums, added = Counter(), 0  # of loss and metrics since the last row
    for index in tqdm(range(made, options.steps), unit="step", disable=None, leave=False):
        model.train()
        _seed(options.seed, index)
        loss, metrics = step(batches(index))
        value = loss.item()
        if not math.isfinite(value):
            raise FloatingPointError(f"fit: the loss is {value} at step {index}; a smaller lr may help")
        _descend(model, moving, loss, rate(index, options), options.clip)
        sums.update({"loss": value, **metrics})
        added += 1
        made = index + 1
        if made % options.every and made < options.steps:
            continue

        model.eval()
        with torch.no_grad():
            measured = {name: float(value) for name, value in evaluate(made).items()} if evaluate else {}
        seconds = round(time.monotonic() - began, 1)
        means = {name: total / added for name, total in sums.items()}
        rows.append({"step": made, "seconds": seconds, "lr": rate(index, options)} | means | measured)
        sums, added = Counter(), 0
        if state is not None:
            parts = {"model": model.state_dict(), "optimizers": [each.state_dict() for each in moving]}
            with _replacing(state) as part:
                torch.save(parts | {"options": asdict(options), "rows": rows}, part)
        if table is not None:
            write_table(table, header, rows)
    return rows


def _seed(seed: int, step: int) -> None:
    """Seed the generators of Python, numpy and torch for one step."""
    number = int(np.random.SeedSequence((seed, step)).generate_state(1)[0])
    random.seed(number)
    np.random.seed(number)  # noqa: NPY002 -- the global generator is the one that a model may draw from
    torch.manual_seed(number)


def _descend(
    model: nn.Module, optimizers: list[torch.optim.Optimizer], loss: Tensor, rate: float, clip: float
) -> None:
    """One step down the gradient, whose norm is clipped."""
    model.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), clip)
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = rate * group["times_lr"]
        optimizer.step()


def _read_state(
    path: Path, model: nn.Module, optimizers: list[torch.optim.Optimizer], options: Options
) -> list[Row]:
    """Give model and optimizers the state of a checkpoint, and return its rows."""
    state = torch.load(path, map_location="cpu", weights_only=True)
    known, asked = state["options"], asdict(options)
    unlike = [f"{key} {known.get(key)} and not {asked[key]}" for key in asked if known.get(key) != asked[key]]
    if unlike:
        told = f"{path} is of a run with other options ({', '.join(unlike)})"
        raise ValueError(f"{told}; delete it to begin anew")
    model.load_state_dict(state["model"])
    for optimizer, kept in zip(optimizers, state["optimizers"], strict=True):
        optimizer.load_state_dict(kept)
    return state["rows"]


def write_table(
    path: Path, about: str, rows: pd.DataFrame | Sequence[Mapping], float_format: str | None = "%.6g"
) -> None:
    """Replace a CSV file in one step by rows below what they are about, as `#` lines.

    `store.read_table` reads it. rows: without any, only the lines above are written. float_format: of its
    numbers, as pandas' to_csv takes it; None: all digits.
    """
    with _replacing(path) as part, open(part, "w", encoding="utf-8", newline="") as file:
        file.writelines(f"# {line}\n" for line in about.splitlines())
        if len(rows):
            pd.DataFrame(rows).to_csv(file, index=False, float_format=float_format, lineterminator="\n")


@contextmanager
def _replacing(path: Path):
    """A path to write to that takes the place of `path` in one step, when all went well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def save(model: nn.Module, path: Path, card: Mapping[str, Any]) -> None:
    """Write weights as `path` (.safetensors), floats in 16 bits, and beside it what they are as a JSON card.

    To `card` (configuration, seed, steps, metrics: whatever json can hold) are added the number of
    parameters, the type they are stored in, the versions used and the sha256 of the weights file.
    """

    def stored(tensor: Tensor) -> Tensor:
        tensor = tensor.half() if tensor.is_floating_point() else tensor
        return tensor.cpu().contiguous().clone()  # safetensors refuses tensors that share memory

    with _replacing(path) as part:
        save_file({name: stored(tensor) for name, tensor in model.state_dict().items()}, part)
    written = dict(card) | {
        "parameters": sum(p.numel() for p in model.parameters()),
        "stored_as": "float16",
        "versions": {"marginalia": __version__, "torch": torch.__version__},
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }
    with _replacing(path.with_suffix(".json")) as part:
        part.write_text(json.dumps(written, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def load(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Weights and card that `save` wrote; floats come back in 32 bits.

    FileNotFoundError when one of the two files is missing, ValueError when they do not belong together.
    """
    beside = path.with_suffix(".json")
    if missing := [one for one in (path, beside) if not one.is_file()]:
        raise FileNotFoundError(
            f"no {missing[0]}: weights are a .safetensors file with a .json card beside it"
        )
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    try:
        card = json.loads(beside.read_text("utf-8"))
        said = card["sha256"]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise ValueError(f"{beside} is no card of weights: a JSON object with their `sha256`") from None
    if found != said:
        raise ValueError(f"{path}: its sha256 is {found}, but {beside.name} says {said!s:.80}")
    weights = load_file(path)
    return {k: v.float() if v.is_floating_point() else v for k, v in weights.items()}, card
