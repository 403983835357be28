"""Train the language models of notebook 42: plain heads and DCMHA of equal size, with and without repeats.

`python data/recipes/train_language.py` trains what is missing, 3 layers of 8 heads, width 128, for 2,600
steps: about 10 CPU minutes a run of plain heads and 20 of DCMHA, or a few on a GPU that several share. It
writes data/measured/composition/language/NAME.csv, and weights: to data/weights/composition those that are
part of the collection, to build/language the others. `--rates` writes language_rates.csv instead.

The text is Python's own standard library, which every machine has; it changes with the version, so that its
hash is checked. Byte pairs are learned on it with the tokenizers library.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
import sys
import sysconfig
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor, nn

from jobs import Job, chosen, command_line, run_jobs
from marginalia import store, training
from marginalia.heads import TinyTransformer, TransformerConfig
from marginalia.heads.language import FOLDER, LENGTH, repeated, token_losses, windows
from marginalia.record import evaluating, record

VOCABULARY = 1024
# Tests, tables, what is not installed everywhere, and what is written when Python is built.
LEFT_OUT = re.compile(
    r"(^|/)(tests?|idlelib|lib2to3|encodings|pydoc_data|site-packages|dist-packages|tkinter|turtledemo|ensurepip"
    r"|distutils|config-.*|__phello__|_sysconfigdata.*)(/|\.py$)|(^|/)__hello__"
)
PYTHON = "3.11.7"
TEXT_SHA256 = "3478e9c62c8a08b58fdd60327a532a1c67a14e2c6c68f0480eb821ae1384fb64"
BUILD = Path(__file__).resolve().parents[2] / "build" / "language"
TOKENS = BUILD / "tokens.npz"
BATCH, MIXED = 16, 4  # rows of a batch, and how many of them are repeats
SEEDS = (0, 1, 2)
RATES = {"dcmha": 3e-3, "slow": 1e-3}  # of W_1, W_2 and W_g: as of embeddings and norms, or a third of it
DCMHA = TransformerConfig(VOCABULARY)
OPTIONS = training.Options(steps=2600, lr=3e-3, weight_decay=0.1, clip=1.0, warm_up=100, every=100)


@dataclass(frozen=True)
class Run:
    """One training. repeats: what the mixed-in rows repeat: nothing, random tokens, or pieces of the text."""

    heads: str  # mha, dcmha, or slow: DCMHA whose compositions learn at a lower rate
    repeats: str  # none, random, text
    seed: int

    @property
    def name(self) -> str:
        return f"language-{self.heads}-{self.repeats}-{self.seed}"

    @property
    def config(self) -> TransformerConfig:
        return DCMHA.plain_twin() if self.heads == "mha" else DCMHA

    @property
    def table(self) -> Path:
        return store.root() / "measured" / "composition" / "language" / f"{self.name}.csv"

    @property
    def weights(self) -> Path:
        shipped = self.seed == 1 and self.repeats == "random" and self.heads != "slow"
        return (store.root() / FOLDER if shipped else BUILD) / f"{self.name}.safetensors"


RUNS = [
    Run(heads, repeats, s)
    for s in SEEDS
    for repeats in ("random", "none", "text")
    for heads in ("dcmha", "mha", "slow")
]


def texts() -> list[str]:
    """The standard library's ASCII files, in the order of their names, without empty ones."""
    root = Path(sysconfig.get_paths()["stdlib"])
    files = {path.relative_to(root).as_posix(): path for path in root.rglob("*.py")}
    found = (files[name].read_bytes() for name in sorted(files) if not LEFT_OUT.search(name))
    return [text.decode() for text in found if text.isascii() and text.strip()]


def tokens() -> tuple[Tensor, Tensor]:
    """Training and held-out text (every twentieth file) as tokens. Made once, with the tokenizer."""
    if not TOKENS.exists():
        files = texts()
        found = hashlib.sha256("\0".join(files).encode()).hexdigest()
        if found != TEXT_SHA256:
            raise ValueError(
                f"the standard library of Python {sys.version.split()[0]} (sha256 {found}) is another text "
                f"than that of {PYTHON}, on which the models were trained: run this with Python {PYTHON}"
            )
        parts = [text for k, text in enumerate(files) if k % 20 != 10], files[10::20]
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        tokenizer.train_from_iterator(
            parts[0], trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=["<bos>"])
        )
        tokenizer.save(str(store.root() / FOLDER / "tokenizer.json"), pretty=False)
        streams = [
            np.concatenate([tokenizer.encode(text).ids for text in part]).astype(np.uint16) for part in parts
        ]
        TOKENS.parent.mkdir(parents=True, exist_ok=True)
        np.savez(TOKENS, train=streams[0], held_out=streams[1])
    with np.load(TOKENS) as kept:
        return tuple(torch.from_numpy(kept[name].astype(np.int32)) for name in ("train", "held_out"))


def batches(run: Run, train: Tensor, device: str) -> Callable[[int], Tensor]:
    """(16, T + 1) tokens of a step: windows of text, the last rows repeats."""

    def make(_: int) -> Tensor:  # `fit` has seeded the generators
        count = BATCH - (MIXED if run.repeats != "none" else 0)
        rows = [windows(train, torch.randint(len(train) - LENGTH, (count,)))]
        for _ in range(BATCH - count):
            period = random.randint(8, 64)
            if run.repeats == "random":
                piece = torch.randint(1, VOCABULARY, (1, period))
            else:
                start = random.randrange(len(train) - period)
                piece = train[None, start : start + period]
            rows.append(repeated(piece))
        return torch.cat(rows).to(device)

    return make


def optimizers(
    model: nn.Module, options: training.Options, composition_rate: float = 0.0
) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of attention and feed-forward networks, AdamW for all else."""
    groups: dict[str, list[nn.Parameter]] = {"muon": [], "bias": [], "composition": [], "rest": []}
    for name, parameter in model.named_parameters():
        module, own = name.split(".")[-2:]
        if own == "weight" and module in ("wqkv", "wo", "w1", "w2"):
            groups["muon"].append(parameter)
        else:
            kind = "bias" if own == "bias" else "composition" if own in ("W_1", "W_2", "W_g") else "rest"
            groups[kind].append(parameter)
    rates = {"bias": 1e-2, "composition": composition_rate, "rest": options.lr}
    parts = [{"params": groups[kind], "lr": lr} for kind, lr in rates.items() if groups[kind]]
    muon = torch.optim.Muon(groups["muon"], lr=0.02, momentum=0.95, weight_decay=options.weight_decay)
    return [muon, torch.optim.AdamW(parts, options.lr, (0.9, 0.95), weight_decay=options.weight_decay)]


RATE = partial(training.cosine_rate, end=0.05)


def build(run: Run) -> TinyTransformer:
    """Scores start flat, residual branches small, logits near zero."""
    torch.manual_seed(run.seed)
    model = TinyTransformer(run.config)
    with torch.no_grad():
        for layer in model.layers:
            layer.attention.wqkv.weight[: 2 * DCMHA.width] *= 0.5
            for matrix in (layer.attention.wo.weight, layer.ffn.w2.weight):
                matrix /= (2 * DCMHA.layers) ** 0.5
        model.output.weight *= 0.1
    return model


def probes(held_out: Tensor) -> dict[str, Tensor]:
    """What is measured on, for all runs: held-out windows, and pieces of 64 tokens that come twice."""
    draw = torch.Generator().manual_seed(20)
    starts = torch.arange(96) * ((len(held_out) - LENGTH) // 96)
    noise = torch.randint(1, VOCABULARY, (64, LENGTH // 2), generator=draw)
    text = held_out[
        (torch.arange(64) * ((len(held_out) - LENGTH) // 64))[:, None] + torch.arange(LENGTH // 2)
    ]
    return {"held_out": windows(held_out, starts), "random": repeated(noise), "repeated_text": repeated(text)}


def train(run: Run) -> None:
    """One run, from its last checkpoint if there is one."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_num_threads(1)
    text, held_out = tokens()
    model = build(run).to(device)
    probe = {name: sequences.to(device) for name, sequences in probes(held_out).items()}

    def step(sequences: Tensor) -> tuple[Tensor, dict]:
        return token_losses(model, sequences).mean(), {}

    def evaluate(_: int) -> dict[str, float]:
        row, half = {}, LENGTH // 2
        for name, sequences in probe.items():
            with record(model, "layers.*.attention.post") as seen:
                losses = token_losses(model, sequences)
            weights = torch.stack([calls[0].inputs["A"].mean(0) for calls in seen.values()])  # (L, H, T, T)
            if name == "held_out":
                row |= {name: losses.mean(), "previous": weights.diagonal(-1, -2, -1).mean(-1).max()}
            else:
                row |= {f"{name}_first": losses[:, :half].mean(), f"{name}_again": losses[:, half:].mean()}
                to_next = weights[..., half:, :].diagonal(1, -2, -1)  # to what followed the first time
                row |= {f"{name}_induction": to_next.mean(-1).max()}
        return row

    about = {
        "heads": run.heads,
        "repeats": run.repeats,
        "seed": run.seed,
        "composition_rate": RATES.get(run.heads),
        "transformer": asdict(run.config),
    }
    header = f"""\
Loss in nats a token of a language model, {sum(p.numel() for p in model.parameters()):,} parameters.
held_out: 96 windows of {LENGTH} tokens of files that were not trained on. first, again: the two halves of 64
sequences in which 64 tokens come twice, drawn at random or from held-out text. previous: mean weight (after
the softmax) of the token before, of the head with most; induction: of the token that followed the first time.
Written by: python data/recipes/train_language.py (on {device})
settings: {json.dumps(about | {"options": asdict(replace(OPTIONS, seed=run.seed))})}"""
    rows = training.fit(
        model,
        step,
        batches(run, text, device),
        replace(OPTIONS, seed=run.seed),
        evaluate,
        run.table,
        header,
        BUILD / f"{run.name}.pt",
        partial(optimizers, composition_rate=RATES.get(run.heads, 0.0)),
        RATE,
    )
    training.save(model, run.weights, {"what": "language model of Python code"} | about | {"last": rows[-1]})


def compare_rates() -> None:
    """Held-out loss by the rate of the compositions, 1,000 steps on a seed of its own: language_rates.csv."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    (text, held_out), options = tokens(), replace(OPTIONS, steps=1000, seed=3, every=1000)
    held_out, rows = probes(held_out)["held_out"].to(device), []
    for rate, repeats in product((1e-2, 3e-3, 1e-3, 3e-4), ("none", "random")):
        run = Run("dcmha", repeats, options.seed)
        model = build(run).to(device)
        training.fit(
            model,
            lambda sequences, model=model: (token_losses(model, sequences).mean(), {}),
            batches(run, text, device),
            options,
            optimizers=partial(optimizers, composition_rate=rate),
            rate=RATE,
        )
        with evaluating(model):
            loss = token_losses(model, held_out).mean().item()
        rows.append(
            {"composition_rate": rate, "repeats": repeats, "seed": run.seed, "held_out": round(loss, 4)}
        )
        print(rows[-1], flush=True)
    about = "Held-out loss, nats a token, of DCMHA after 1,000 steps (cosine of that length); one seed.\n"
    about += f"Written by: python data/recipes/train_language.py --rates (on {device})"
    path = store.root() / "measured" / "composition" / "language_rates.csv"
    training.write_table(path, about, rows, float_format=None)


def main(names: list[str], jobs: int) -> list[str]:
    """Make the runs whose weights are missing; returns the names of those that failed."""
    tokens()  # once, before the runs ask for it
    command, known = (sys.executable, __file__, "--job"), {run.name: run for run in RUNS}
    waiting = [
        Job(run.name, (*command, run.name), BUILD / f"{run.name}.log", 10 if run.heads == "mha" else 20)
        for run in chosen(known, names)
        if not run.weights.is_file()
    ]
    return run_jobs(waiting, jobs, lambda job: training.load(known[job.name].weights)[1]["last"]["held_out"])


if __name__ == "__main__":
    if sys.argv[1:] == ["--rates"]:
        compare_rates()
    else:
        command_line(lambda name: train(next(run for run in RUNS if run.name == name)), main)
