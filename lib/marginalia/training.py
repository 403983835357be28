"""The one loop that fits the small models of this collection. What is special is in the `step` given to it.

A run is made of pure parts: the batch is a function of the step's number, so is the learning rate, and what
random numbers the model draws comes from generators whose state is kept with each checkpoint. A run that
was killed therefore goes on exactly as if it had not been.
"""

from __future__ import annotations

import csv
import hashlib
import json
import math
import os
import random
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from . import __version__

Row = dict[str, float]
Step = Callable[[Any], tuple[Tensor, Mapping[str, float]]]  # batch -> loss to descend, metrics to average
Batches = Callable[[int], Any]  # number of the step, from 0 -> its batch
Evaluate = Callable[[int], Mapping[str, float]]  # number of steps made -> metrics


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
    every: int = 100  # steps from one row of the table to the next
    checkpoint: int = 100  # steps that a kill can cost at most


def learning_rate(step: int, options: Options) -> float:
    """Rate of a step, counted from 0: constant, with a linear rise before and one drop to a tenth."""
    rise = min((step + 1) / options.warm_up, 1) if options.warm_up else 1.0
    return options.lr * rise * (0.1 if step >= options.drop_at * options.steps else 1.0)


def choose_device(name: str = "auto") -> torch.device:
    """`auto`: a GPU where there is one, else the CPU; any other name is what torch calls a device."""
    if name != "auto":
        return torch.device(name)
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def seed_all(seed: int) -> None:
    """Seed the generators of Python, numpy and torch."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 -- the global generator is the one that other code may draw from
    torch.manual_seed(seed)


def fit(
    model: nn.Module,
    step: Step,
    batches: Batches,
    options: Options,
    evaluate: Evaluate | None = None,
    table: Path | None = None,
    header: str = "",
    state: Path | None = None,
    progress: bool | None = None,
) -> list[Row]:
    """Descend the loss that `step` returns, and return one row of measurements each `options.every` steps.

    A row holds `step` (steps made), `seconds` (of training so far, evaluation included), `lr`, the means of
    `loss` and of the metrics of `step` since the last row, and what `evaluate` returns; the last step always
    gets one. `evaluate` is called in evaluation mode and without gradients.

    table     CSV file that gets each row as soon as it is known, below `header` as `#` lines.
    state     file for checkpoints. When it is there, the run goes on from it: weights and rows become those
              of a run without a break, `seconds` apart. Without it a killed run starts again.
    progress  whether to show a bar; None: only in a terminal, because it would leave residue elsewhere.

    ValueError when `state` belongs to other options; FloatingPointError when the loss is not finite.
    """
    seed_all(options.seed)
    optimizer = torch.optim.AdamW(model.parameters(), options.lr, weight_decay=options.weight_decay)
    run = _Run(model, optimizer, options)
    if state is not None and state.exists():
        run.load_state_dict(_read_state(state, options))
    if table is not None:
        _write_table(table, header, run.rows)
    started = time.monotonic() - run.seconds
    hidden = not sys.stderr.isatty() if progress is None else not progress
    with tqdm(initial=run.step, total=options.steps, unit="step", disable=hidden, leave=False) as bar:
        while run.step < options.steps:
            _advance(run, step, batches(run.step))
            last = run.step == options.steps
            if last or run.step % options.every == 0:
                measured = _evaluate(model, evaluate, run.step)
                run.seconds = time.monotonic() - started
                _add_row(run, measured, table)
                bar.set_postfix({k: f"{v:.3g}" for k, v in run.rows[-1].items() if k not in ("step", "lr")})
            if state is not None and (last or run.step % options.checkpoint == 0):
                run.seconds = time.monotonic() - started
                _write_state(state, run)
            bar.update()
    return run.rows


class _Run:
    """What changes while a model is fitted."""

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer, options: Options):
        self.model, self.optimizer, self.options = model, optimizer, options
        self.step = 0  # steps made
        self.seconds = 0.0
        self.rows: list[Row] = []
        self.sums: dict[str, float] = {}  # of loss and metrics since the last row
        self.added = 0  # steps in those sums

    def state_dict(self) -> dict[str, Any]:
        own = {name: getattr(self, name) for name in ("step", "seconds", "rows", "sums", "added")}
        return own | {
            "options": asdict(self.options),
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "generators": _generators(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name in ("step", "seconds", "rows", "sums", "added"):
            setattr(self, name, state[name])
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        _set_generators(state["generators"])


def _advance(run: _Run, step: Step, batch: Any) -> None:
    """One step down the gradient."""
    run.model.train()
    loss, metrics = step(batch)
    value = loss.item()
    if not math.isfinite(value):
        raise FloatingPointError(f"fit: the loss is {value} at step {run.step}; a smaller lr may help")
    run.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(run.model.parameters(), run.options.clip)
    for group in run.optimizer.param_groups:
        group["lr"] = learning_rate(run.step, run.options)
    run.optimizer.step()
    run.step += 1
    run.added += 1
    for name, part in {"loss": value, **metrics}.items():
        run.sums[name] = run.sums.get(name, 0.0) + float(part)


def _evaluate(model: nn.Module, evaluate: Evaluate | None, step: int) -> dict[str, float]:
    if evaluate is None:
        return {}
    model.eval()
    with torch.no_grad():
        return {name: float(value) for name, value in evaluate(step).items()}


def _add_row(run: _Run, measured: Mapping[str, float], table: Path | None) -> None:
    row = {"step": run.step, "seconds": round(run.seconds, 1)}
    row["lr"] = learning_rate(run.step - 1, run.options)
    row |= {name: total / run.added for name, total in run.sums.items()}
    row |= measured
    run.rows.append(row)
    run.sums, run.added = {}, 0
    if table is not None:
        with open(table, "a", encoding="utf-8", newline="") as file:
            _write_rows(file, [row], first=len(run.rows) == 1)


def _write_rows(file, rows: list[Row], first: bool) -> None:
    if rows:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        if first:
            writer.writeheader()
        writer.writerows(
            {name: f"{value:.6g}" if isinstance(value, float) else value for name, value in row.items()}
            for row in rows
        )


def _write_table(path: Path, header: str, rows: list[Row]) -> None:
    """The table as the checkpoint knows it; rows that came after the checkpoint will be measured again."""
    with _replacing(path) as part, open(part, "w", encoding="utf-8", newline="") as file:
        file.writelines(f"# {line}\n" for line in header.splitlines())
        _write_rows(file, rows, first=True)


def _write_state(path: Path, run: _Run) -> None:
    with _replacing(path) as part:
        torch.save(run.state_dict(), part)


def _read_state(path: Path, options: Options) -> dict[str, Any]:
    state = torch.load(path, map_location="cpu", weights_only=True)
    if state["options"] != asdict(options):
        known = state["options"]
        unlike = [f"{k} {known.get(k)} and not {v}" for k, v in asdict(options).items() if known.get(k) != v]
        raise ValueError(
            f"{path} is of a run with other options ({', '.join(unlike)}); delete it to begin anew"
        )
    return state


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


def _generators() -> dict[str, Any]:
    """States of all random generators, as plain numbers and tensors."""
    name, keys, *rest = np.random.get_state()  # noqa: NPY002
    devices = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {
        "python": random.getstate(),
        "numpy": (name, torch.from_numpy(keys.astype(np.int64)), *rest),
        "torch": torch.get_rng_state(),
        "cuda": devices,
    }


def _set_generators(states: dict[str, Any]) -> None:
    version, numbers, gauss = states["python"]
    random.setstate((version, tuple(numbers), gauss))
    name, keys, *rest = states["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))  # noqa: NPY002
    torch.set_rng_state(states["torch"])
    if states["cuda"] and len(states["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(states["cuda"])


def save(model: nn.Module, path: Path, card: Mapping[str, Any], half: bool = False) -> dict[str, Any]:
    """Write weights as `path` (.safetensors) and, beside it, what they are as a JSON card; return the card.

    To `card` (configuration, seed, steps, metrics: whatever json can hold) are added the number of
    parameters, the type they are stored in, the versions used and the sha256 of the weights file.
    `half` stores floats in 16 bits.
    """
    from safetensors.torch import save_file

    def stored(tensor: Tensor) -> Tensor:
        tensor = tensor.detach().cpu()
        tensor = tensor.half() if half and tensor.is_floating_point() else tensor
        return tensor.contiguous().clone()  # safetensors refuses tensors that share memory

    with _replacing(path) as part:
        save_file({name: stored(tensor) for name, tensor in model.state_dict().items()}, part)
    written = dict(card) | {
        "parameters": sum(p.numel() for p in model.parameters()),
        "stored_as": "float16" if half else "float32",
        "versions": {"marginalia": __version__, "torch": torch.__version__},
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }
    with _replacing(path.with_suffix(".json")) as part:
        part.write_text(json.dumps(written, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return written


def load(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Weights and card that `save` wrote; floats come back in 32 bits.

    FileNotFoundError when one of the two files is missing, ValueError when they do not belong together.
    """
    from safetensors.torch import load_file

    beside = path.with_suffix(".json")
    for one in (path, beside):
        if not one.is_file():
            raise FileNotFoundError(f"no {one}: weights are a .safetensors file with a .json card beside it")
    card = json.loads(beside.read_text(encoding="utf-8"))
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != card["sha256"]:
        raise ValueError(f"{path}: its sha256 is {found}, but {beside.name} says {card['sha256']}")
    weights = load_file(path)
    return {k: v.float() if v.is_floating_point() else v for k, v in weights.items()}, card
