"""Train small models with and without composed heads: mix-and-match retrieval, word tasks, digits.

`python data/recipes/measure_retrieval.py` writes data/measured/composition/retrieval_*.csv, word_tasks.csv
and digits_vit.csv, and a trained retriever to data/weights/composition, in about an hour on one core.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from marginalia import store, training
from marginalia.figures.dcmha import at_answers, explained, reads
from marginalia.heads import VARIANTS, TinyTransformer, TransformerConfig
from marginalia.heads.tasks import (
    ATTRIBUTES,
    FACTORS,
    PEOPLE,
    RELATIONS,
    VALUES,
    DigitsViT,
    Retriever,
    TaskText,
    answered,
    questions,
    size,
    train_retriever,
    word_tasks,
)
from marginalia.topology.digits import digits

SEEDS = range(5)
SETUP_SEEDS, WORD_SEEDS = range(2), range(2)
# Question table, standard deviation of the embeddings, norm, linear layers as torch or Xavier makes them
SETUPS = [
    ("separate", 0.02, "rms", "torch"),
    ("separate", 0.02, "layer", "torch"),
    ("separate", 0.18, "rms", "xavier"),
    ("separate", 0.18, "rms", "torch"),
    ("separate", 1.0, "rms", "torch"),
    ("separate", 1.0, "layer", "torch"),
    ("shared", 1.0, "rms", "torch"),
    ("shared", 1.0, "layer", "torch"),
    ("shared", 0.02, "rms", "torch"),
    ("shared", 0.18, "rms", "xavier"),
]
REPEATS = 5
RETRIEVAL_STEPS, WORD_STEPS, DIGITS_STEPS, LINES = 1000, 600, 600, 2  # LINES: of a text of word tasks
Row = dict[str, object]


def retrieval(variant: str, seed: int, setup: tuple = SETUPS[0]) -> tuple[Retriever, Row]:
    """One trained retriever and its row."""
    table, std, norm, linear = setup
    torch.manual_seed(seed)
    model = Retriever(VARIANTS[variant], table == "separate", std, norm)
    for module in model.modules() if linear == "xavier" else ():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
    row = {"table": table, "std": std, "norm": norm, "linear": linear, "variant": variant, "seed": seed}
    last = train_retriever(model, seed, RETRIEVAL_STEPS)[-1]
    found = {name: last[name] for name in ("loss", "test_loss", "accuracy", "same", "different")}
    return model, row | {"parameters": size(model), "steps": RETRIEVAL_STEPS} | found


def milliseconds() -> Iterator[Row]:
    """Processor time of forward and backward of 256 questions, all variants in turn."""
    asked = questions(256, seed=0)
    models = {name: Retriever(VARIANTS[name]) for name in VARIANTS}
    for repeat, (name, model) in product(range(REPEATS), models.items()):
        began = time.process_time()
        for _ in range(20):
            cross_entropy(model(asked), asked.answer).backward()
        yield {"variant": name, "repeat": repeat, "milliseconds": 50 * (time.process_time() - began)}


def jobs(model: Retriever, seed: int) -> Iterator[Row]:
    """What decides the compositions of a trained retriever at the records with the answers."""
    asked = questions(8192, seed=1)
    decides = {"share_a_v": asked.attribute * VALUES + asked.value, "share_b": asked.wanted}
    for where in ("pre", "post"):
        C, _, received = at_answers(model, asked, where)
        row = {"seed": seed, "where": where} | {name: explained(C, by) for name, by in decides.items()}
        if where == "post":
            weight = [received[asked.wanted == b].abs().mean(0) for b in range(ATTRIBUTES)]
            row["correlation"] = np.corrcoef(torch.stack(weight, 1).flatten(), reads(model).ravel())[0, 1]
        yield row


def small_models(config: TransformerConfig) -> dict[str, TransformerConfig]:
    """DCMHA and models of the same size, to a unit of the FFN: plain heads and talking heads."""
    plain = config.plain_twin()
    talking = replace(plain, composition=VARIANTS["talking heads"])
    return {"MHA": plain, "talking heads": talking, "DCMHA": config}


def learning(
    model: nn.Module, loss: Callable, batches: Callable, steps: int, lr: float, seed: int
) -> training.Row:
    """Train with AdamW and a cosine to a tenth; the last row."""
    options = training.Options(steps, lr, weight_decay=0.01, clip=1, warm_up=50, seed=seed, every=100)
    return training.fit(model, loss, batches, options, rate=training.cosine_rate)[-1]


# --- Word tasks


def split(text: str) -> tuple[list[str], list[tuple[int, int]]]:
    """Words and marks of a text, line ends among them, and where they stand."""
    found = list(re.finditer(r"\w+|[^\w ]", text))
    return [one[0] for one in found], [one.span() for one in found]


MARKS = "\n < > . , ? picked went to did not pick Who There are Which is different"
WORDS = [*PEOPLE, MARKS, *(" ".join([how, *of, *of.values()]) for how, of in RELATIONS.values())]
VOCABULARY = {word: k for k, word in enumerate(sorted(set(split(" ".join(WORDS))[0]) - {"{", "}"}))}


def encode(text: str) -> tuple[list[int], list[tuple[int, int]]]:
    """Tokens of a text and where they stand."""
    found, spans = split(text)
    return [VOCABULARY[word] for word in found], spans


def word_batch(texts: list[TaskText]) -> tuple[Tensor, Tensor]:
    """Tokens (B, T), and the true next ones where an answer is next, else -100 (B, T); padded at the end."""
    tokens, targets = [], []
    for text in texts:
        ids, spans = encode(text.text)
        scored = [any(a < end and b > begin for begin, end in text.answers) for a, b in spans]
        tokens.append(torch.tensor(ids[:-1]))
        targets.append(torch.tensor([k if on else -100 for k, on in zip(ids[1:], scored[1:], strict=True)]))
    pad = torch.nn.utils.rnn.pad_sequence
    return pad(tokens, batch_first=True), pad(targets, batch_first=True, padding_value=-100)


def word_model(variant: str, seed: int) -> Iterator[Row]:
    """Train on texts of all tasks, all answers scored; accuracy by factors, of trained and held-out pairs."""
    base = TransformerConfig(len(VOCABULARY), 64, 8, 2, 256, rotary=8)
    torch.manual_seed(seed)
    model = TinyTransformer(small_models(base)[variant])
    rng = np.random.default_rng(seed)
    drawn = [FACTORS[k] for k in rng.integers(len(FACTORS), size=32 * WORD_STEPS)]
    texts = list(word_tasks(drawn, seed + 1, LINES, shown=0))

    def loss(batch: list[TaskText]) -> tuple[Tensor, dict]:
        tokens, targets = word_batch(batch)
        return cross_entropy(model(tokens).flatten(0, 1), targets.flatten()), {}

    last = learning(model, loss, lambda k: texts[32 * k : 32 * k + 32], WORD_STEPS, 3e-3, seed)
    for held_out in (False, True):
        right = {}
        for text in word_tasks(FACTORS * 20, 1000, LINES, shown=0, held_out=held_out):
            right.setdefault(tuple(text.factors.items()), []).append(answered(model.eval(), text, encode)[-1])
        for named, found in right.items():
            row = {"variant": variant, "seed": seed, "parameters": size(model), "held_out": held_out}
            row |= dict(named) | {"accuracy": np.mean(found), "questions": len(found)}
            yield row | {"train_loss": last["loss"]}


# --- Digits


def vision(variant: str, seed: int) -> Row:
    """Test accuracy of a small vision transformer on digits."""
    base = TransformerConfig(10, 32, 4, 2, 64, causal=False, rotary=0, bias=True)
    torch.manual_seed(seed)
    model, (train, test) = DigitsViT(small_models(base)[variant]), digits()

    def loss(batch: tuple[Tensor, Tensor]) -> tuple[Tensor, dict]:
        return cross_entropy(model(batch[0]), batch[1]), {}

    last = learning(model, loss, train.batches(64), DIGITS_STEPS, 3e-3, seed)
    with torch.no_grad():
        found = {"accuracy": test.accuracy(model.eval()), "test_loss": loss(test)[0].item()}
    row = {"variant": variant, "seed": seed, "parameters": size(model)}
    return row | {"train_loss": last["loss"]} | found


NOTES = {
    "retrieval_variants": """\
Mix-and-match retrieval (marginalia.heads.tasks), one block of width 32 with 4 heads, all of one size.
test_loss and accuracy: on 8,192 questions not seen in training; same, different: of those with a = b, a != b.
loss: of the last twentieth of the training.
""",
    "retrieval_milliseconds": """\
Processor time of one forward and backward pass of 256 questions, one thread; all variants in turn.
""",
    "retrieval_setups": """\
Mix-and-match retrieval in ten set-ups; columns as in retrieval_variants.csv.
table: whether questions have an embedding table of their own; std: of the embeddings; linear: how linear
layers are initialised.
""",
    "retrieval_compositions": """\
Trained DCMHA retrievers: C(i, j) for 8,192 questions i at the records j with their answers.
share_a_v, share_b: of the variance of C, between questions that look for another value of an attribute, and
between those that want another attribute. correlation: over heads and attributes, of the mean size of the
composed weight that a head receives where an attribute is wanted, with how strongly its OV circuit reads it.
""",
    "word_tasks": """\
Word tasks (marginalia.heads.tasks), two lines a text, so that the scored one has one example before it.
Two layers of width 64 with 8 heads, all of one size; both answers are trained. Chance is a third.
held_out: whether answers are (person, item) pairs that training did not have.
""",
    "digits_vit": """\
Digits of scikit-learn, 1,200 for training and 597 for the test, in 16 patches; two blocks of width 32 with
4 heads, all of one size, no mask.
""",
}


def write(folder: Path, name: str, rows: list[Row]) -> None:
    """A table with what it is above."""
    about = NOTES[name] + "Written by: python data/recipes/measure_retrieval.py"
    training.write_table(folder / f"{name}.csv", about, rows, "%.5g")
    print(f"{name}: {len(rows)} rows", flush=True)


def main() -> None:
    """All tables and the weights."""
    torch.set_num_threads(1)
    out, weights = (store.root() / kind / "composition" for kind in ("measured", "weights"))
    rows, compositions = [], []
    for seed, variant in product(SEEDS, VARIANTS):
        model, row = retrieval(variant, seed)
        rows.append(row)
        compositions += jobs(model, seed) if variant == "DCMHA" else []
        if seed == 0 and variant == "DCMHA":
            card = {"what": "mix-and-match retriever"} | row
            training.save(model, weights / "retrieval-dcmha-0.safetensors", card)
        print(row, flush=True)
    write(out, "retrieval_variants", rows)
    write(out, "retrieval_compositions", compositions)
    write(out, "retrieval_milliseconds", list(milliseconds()))
    runs = product(SETUPS, SETUP_SEEDS, ("MHA", "DCMHA"))
    write(out, "retrieval_setups", [retrieval(v, seed, setup)[1] for setup, seed, v in runs])
    runs = product(WORD_SEEDS, ("MHA", "DCMHA"))
    write(out, "word_tasks", [row for seed, v in runs for row in word_model(v, seed)])
    write(out, "digits_vit", [vision(v, s) for s, v in product(SEEDS, ("MHA", "talking heads", "DCMHA"))])


if __name__ == "__main__":
    main()
