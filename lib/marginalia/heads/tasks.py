"""Tasks that need heads to work together: mix-and-match retrieval, and word tasks with three candidates.

In mix-and-match retrieval a question names an attribute to look by and an attribute to read. A plain head
always reads the same thing where it looks; composed heads can pair any look with any read. The word tasks are
in the spirit of those that DCFormer's authors published, whose file `read_tasks` reads.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from marginalia import training

from .attention import DCMHAttention
from .composition import VARIANTS, Composition
from .transformer import Block, TransformerConfig

# --- Mix-and-match retrieval

ATTRIBUTES, VALUES = 4, 8  # there are as many records as values
WIDTH, HEADS, FFN = 32, 4, 64  # FFN: of the DCMHA model; the others get what DCMHA spends on composing


class Questions(NamedTuple):
    """Questions about records, all as numbers from 0."""

    records: Int[Tensor, "B S attributes"]  # values; each attribute is a permutation over the S records
    attribute: Int[Tensor, " B"]  # a, to look by
    value: Int[Tensor, " B"]  # v
    wanted: Int[Tensor, " B"]  # b, to read
    place: Int[Tensor, " B"]  # of the record that has the value
    answer: Int[Tensor, " B"]  # attribute b of that record


def questions(count: int, seed: int | None = None) -> Questions:
    """Questions drawn at random, a, v and b uniform and independent (a = b in a quarter of them).

    seed: equal seeds give equal questions; None draws from torch's global generator. A value is in exactly
    one record, so that each question has one answer.
    """
    rng = None if seed is None else torch.Generator().manual_seed(seed)
    records = torch.rand(count, ATTRIBUTES, VALUES, generator=rng).argsort(2).mT  # (B, S, attributes)
    attribute, wanted = torch.randint(ATTRIBUTES, (2, count), generator=rng)  # (B,) each
    place = torch.randint(VALUES, (count,), generator=rng)
    chosen = records[torch.arange(count), place]  # (B, attributes)
    value, answer = (chosen.gather(1, which[:, None])[:, 0] for which in (attribute, wanted))
    return Questions(records, attribute, value, wanted, place, answer)


def size(module: nn.Module) -> int:
    """Number of parameters."""
    return sum(p.numel() for p in module.parameters())


class Retriever(nn.Module):
    """One pre-norm block that answers `Questions`: the question attends to the records, nothing else does.

        x = e(a, v) + e'(b),  x = x + Attention(norm(x), norm(records)),  x = x + FFN(norm(x)),  logits of x

    A record is the sum of the embeddings of its attributes' values; there are no positions. Width 32,
    4 heads; the FFN (GELU) is as wide as makes all variants of one size. separate: the question has an
    embedding table e of its own, else it shares that of the records. std: of all embeddings.
    """

    def __init__(
        self,
        composition: Composition,
        separate: bool = True,
        std: float = 0.02,
        norm: Literal["rms", "layer"] = "rms",
    ) -> None:
        super().__init__()
        normed = {"rms": nn.RMSNorm, "layer": nn.LayerNorm}[norm]
        self.records = nn.Embedding(ATTRIBUTES * VALUES, WIDTH)
        self.question = nn.Embedding(ATTRIBUTES * VALUES, WIDTH) if separate else self.records
        self.wanted = nn.Embedding(ATTRIBUTES, WIDTH)
        for table in (self.records, self.question, self.wanted):
            nn.init.normal_(table.weight, std=std)

        self.attention = DCMHAttention(WIDTH, HEADS, composition)
        spare = size(DCMHAttention(WIDTH, HEADS, VARIANTS["DCMHA"])) - size(self.attention)
        hidden = FFN + round(spare / (2 * WIDTH + 1))
        self.ffn = nn.Sequential(nn.Linear(WIDTH, hidden), nn.GELU(), nn.Linear(hidden, WIDTH))
        self.attention_norm, self.ffn_norm, self.norm = (normed(WIDTH, eps=1e-6) for _ in range(3))
        self.output = nn.Linear(WIDTH, VALUES)

    def forward(self, asked: Questions) -> Float[Tensor, "B values"]:
        names = asked.records + VALUES * torch.arange(ATTRIBUTES)  # (B, S, attributes), rows of the table
        records = self.records(names).sum(2)  # (B, S, D)
        x = self.question(asked.value + VALUES * asked.attribute) + self.wanted(asked.wanted)  # (B, D)
        x = x[:, None]  # (B, 1, D)
        x = x + self.attention(self.attention_norm(x), self.attention_norm(records))
        x = x + self.ffn(self.ffn_norm(x))
        return self.output(self.norm(x[:, 0]))  # (B, values)


@torch.no_grad()
def retrieval_accuracy(model: nn.Module, count: int = 8192) -> dict[str, float]:
    """Loss and accuracy on questions that training has not seen; `same`: of those with a = b, `different`."""
    asked = questions(count, seed=2**40)
    logits = model(asked)
    right, same = (logits.argmax(1) == asked.answer).float(), asked.attribute == asked.wanted
    parts = {"accuracy": right, "same": right[same], "different": right[~same]}
    loss = cross_entropy(logits, asked.answer).item()
    return {"test_loss": loss} | {name: part.mean().item() for name, part in parts.items()}


def train_retriever(model: Retriever, seed: int, steps: int = 1000) -> list[training.Row]:
    """Train on fresh questions, 256 a step; rows of `training.fit`, with `retrieval_accuracy`, 20 in all.

    AdamW with betas .9 and .98, 3e-3 after 50 steps of warm-up, then a cosine to a tenth of it.
    """

    def step(asked: Questions) -> tuple[Tensor, dict]:
        return cross_entropy(model(asked), asked.answer), {}

    def adamw(model: nn.Module, options: training.Options) -> list[torch.optim.Optimizer]:
        decay = options.weight_decay
        return [torch.optim.AdamW(model.parameters(), options.lr, (0.9, 0.98), weight_decay=decay)]

    every = max(1, steps // 20)
    options = training.Options(steps, 3e-3, weight_decay=0.01, clip=1, warm_up=50, seed=seed, every=every)
    how = {"evaluate": lambda _: retrieval_accuracy(model), "optimizers": adamw, "rate": training.cosine_rate}
    return training.fit(model, step, lambda _: questions(256), options, **how)  # `fit` seeds each step


class DigitsViT(nn.Module):
    """Images of 8 x 8 pixels, a row each, as 16 patches of 2 x 2, to logits of ten classes by mean pooling.

    config: of its blocks; `causal=False` and `rotary=0` are what a vision transformer needs.
    """

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.patches = nn.Linear(4, config.width)
        self.positions = nn.Parameter(0.02 * torch.randn(16, config.width))
        self.layers = nn.Sequential(*(Block(config) for _ in range(config.layers)))
        self.norm = nn.RMSNorm(config.width, eps=config.eps)
        self.output = nn.Linear(config.width, 10)

    def forward(self, images: Float[Tensor, "B 64"]) -> Float[Tensor, "B classes"]:
        patches = images.view(-1, 4, 2, 4, 2).transpose(2, 3).reshape(-1, 16, 4)  # (B, S, pixels)
        x = self.layers(self.patches(patches) + self.positions)  # (B, S, D)
        return self.output(self.norm(x).mean(1))


# --- Word tasks


@dataclass(frozen=True)
class TaskText:
    """Some examples of one task, a line each, of which the later ones have scored answers."""

    task: str
    family: str
    factors: dict[str, str]  # relation, polarity, form, order; empty where they are not known
    text: str  # without brackets
    answers: tuple[tuple[int, int], ...]  # begin and end in `text`


def task_text(task: str, family: str, factors: dict[str, str], marked: str) -> TaskText:
    """From a text whose scored answers stand in brackets: `She has [ oak ]`. ValueError where none do."""
    pieces = re.split(r"\[ (.*?) \]", marked)  # text, answer, text, answer, ..., text
    text = "".join(pieces)
    if re.search(r"[][]", text) or not all(pieces[1::2]):
        raise ValueError("answers are marked as '[ answer ]', with a space inside each bracket")
    if len(pieces) == 1:
        raise ValueError("no answer in brackets")
    ends = list(itertools.accumulate(map(len, pieces)))
    return TaskText(task, family, factors, text, tuple(zip(ends[:-1:2], ends[1::2], strict=True)))


# What the numbers of the authors' tasks mean: seven blocks of eight, then nine pairs of odd-one-out tasks
BLOCKS = ["things category", "things identity", "cities category", "cities identity"]
BLOCKS += ["tools capability", "adjectives antonym", "times successor"]
ODD = ["identity", "category"] * 2 + ["identity", "capability", "antonym", "successor", "predecessor"]


def authors_factors(number: int) -> tuple[str, dict[str, str]]:
    """Family and factors of `task{number}` of the authors' file, 0 to 73, from its place in their order."""
    block, place = divmod(number, 8)
    if block < len(BLOCKS):
        family, relation = BLOCKS[block].split()
        polarity, form = "affirmative" if place % 4 > 1 else "negated", "who" if place > 3 else "completion"
        order = "reversed" if place % 2 else "normal"
    else:
        family, relation, form, order = "odd one out", ODD[number // 2 - 28], "odd one out", "normal"
        polarity = "affirmative" if place % 2 else "negated"
    return family, {"relation": relation, "polarity": polarity, "form": form, "order": order}


def read_tasks(path: str | Path) -> list[TaskText]:
    """The authors' `.jsonl`, or yours of the same form: a line holds `task_id`, and `texts` with [ answers ].

    For `task0` to `task73` family and factors are those of the authors' file; another task is a family of its
    own and has no factors. Names may hold commas and full stops: only brackets are looked for. Raises
    FileNotFoundError, and ValueError that names the line for what is not of this form or has no answer.
    """
    found = []
    for number, line in enumerate(Path(path).read_text("utf-8").splitlines(), 1):
        try:
            entry = json.loads(line)
            task = str(entry["task_id"])
            known = re.fullmatch(r"task([0-9]|[1-6][0-9]|7[0-3])", task)
            family, factors = authors_factors(int(known[1])) if known else (task, {})
            found.append(task_text(task, family, factors, entry["texts"]))
        except (KeyError, TypeError, ValueError) as error:
            form = '{"task_id": "task0", "texts": "a question [ and its answer ]"}'
            what = f"{type(error).__name__}: {error}"
            raise ValueError(f"{path}, line {number} is not of the form {form} ({what})") from error
    if not found:
        raise ValueError(f"{path}: no tasks in it")
    return found


KINDS = {
    **{"tree": "oak birch maple willow", "metal": "iron copper tin zinc", "fish": "trout carp eel cod"},
    **{"spice": "cumin saffron ginger cloves", "fabric": "silk linen velvet denim"},
    **{"bird": "heron robin stork owl", "dance": "tango waltz polka rumba", "gem": "ruby opal topaz jade"},
}
KIND_OF = {item: kind for kind, items in KINDS.items() for item in items.split()}
PEOPLE, USES, OPPOSITES, LETTERS = map(
    str.split,
    (
        "Ada Bela Chen Dora Emil Fay Gita Hugo Ines Jun Kofi Lena Milo Nora Olga Pia",
        "needle sew kettle boil ladder climb broom sweep oar row spade dig razor shave sponge wash",
        "hot cold wet dry loud quiet heavy light wide narrow full empty new old steep flat",
        "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu",
    ),
)
ONE, OTHER = OPPOSITES[::2], OPPOSITES[1::2]
RELATIONS = {  # how a value is asked for, and item -> value
    "identity": ("{}", dict(zip(KIND_OF, KIND_OF, strict=True))),
    "category": ("a kind of {}", KIND_OF),
    "antonym": ("the opposite of {}", dict(zip(ONE + OTHER, OTHER + ONE, strict=True))),
    "successor": ("the letter just before {}", dict(itertools.pairwise(LETTERS))),
    "capability": ("the thing that can {}", dict(zip(USES[::2], USES[1::2], strict=True))),
}
FORMS = [*itertools.product(("completion", "who"), ("normal", "reversed")), ("odd one out", "normal")]
FACTORS = [  # of the 50 tasks
    {"relation": relation, "polarity": polarity, "form": form, "order": order}
    for relation, polarity, (form, order) in itertools.product(RELATIONS, ("affirmative", "negated"), FORMS)
]


def word_tasks(
    factors: Iterable[dict[str, str]], seed: int, lines: int = 8, shown: int = 2, held_out: bool = False
) -> Iterator[TaskText]:
    """A text for each of these factors (of FACTORS, with repetition), in our own words.

    A line gives three facts and asks for something of one of them, so that chance is a third:

        < Ada picked oak. Chen picked carp. Jun picked ruby. >. Chen picked a kind of [ fish ]
        < carp went to Chen. ruby went to Jun. oak went to Jun. >. Jun did not pick a kind of [ fish ]
        < Fay picked tin. Emil picked owl. Ada picked zinc. >. Who did not pick a kind of metal? [ Emil ]
        There are carp, ruby, carp. Which is different? a kind of [ gem ]

    lines: of a text; the first `shown` have answers without brackets, which are not scored. The place of the
    answer goes evenly through the three facts. held_out: False leaves out a quarter of all (person, item)
    pairs (of odd-one-out tasks: of all pairs of items); True makes each answer a fact from that quarter.
    """
    rng = np.random.default_rng(seed)
    for one in factors:
        places = rng.permutation(np.resize(rng.permutation(3), lines))
        written = [_line(rng, place, held_out, **one) for place in places]
        written[:shown] = (re.sub(r"\[ (.*) \]", r"\1", line) for line in written[:shown])
        yield task_text(", ".join(one.values()), one["relation"], one, "\n".join(["", *written, ""]))


def _line(
    rng: np.random.Generator, place: int, held_out: bool, relation: str, polarity: str, form: str, order: str
) -> str:
    """One example, the answer in brackets. place: of the fact that is the answer, 0 to 2."""
    phrase, value_of = RELATIONS[relation]
    names, negated = [*PEOPLE, *value_of], polarity == "negated"
    first, second = (k for k in range(3) if k != place)  # the two other facts
    while True:
        values = list(rng.choice(sorted(set(value_of.values())), 3, replace=False))
        people = list(rng.choice(PEOPLE, 3, replace=False))
        if form == "who" and negated:  # both others have the value that is asked for
            values[second] = values[first]
        items = [rng.choice([item for item in value_of if value_of[item] == value]) for value in values]
        if form == "completion" and negated:  # one person has both others
            people[second] = people[first]
        if form == "odd one out":  # both others are the same item
            items[second] = items[first]
            people = [items[first]] * 3
        # A pair belongs to training or to the test, by its numbers
        apart = [(names.index(a) - names.index(b)) % 4 == 1 for a, b in zip(people, items, strict=True)]
        if apart[place] if held_out else not any(apart):
            break

    value = phrase.format(f"[ {values[place]} ]")
    if form == "odd one out":
        which = f"not {items[first]}" if negated else "different"
        return f"There are {', '.join(items)}. Which is {which}? {value}"
    fact = "{} picked {}." if order == "normal" else "{1} went to {0}."
    facts = " ".join(fact.format(*pair) for pair in zip(people, items, strict=True))
    asked, verb = first if negated else place, "did not pick" if negated else "picked"
    if form == "completion":
        return f"< {facts} >. {people[asked]} {verb} {value}"
    return f"< {facts} >. Who {verb} {phrase.format(values[asked])}? [ {people[place]} ]"


def answered(
    model: Callable[[Int[Tensor, "1 T"]], Float[Tensor, "1 T V"]],
    text: TaskText,
    encode: Callable[[str], tuple[Sequence[int], Sequence[tuple[int, int]]]],
) -> list[bool]:
    """Which answers of a text a causal language model gives exactly, with the true words before each.

    model: tokens to logits, where logits at t predict token t + 1. encode: text to tokens, and where each
    begins and ends in it (a fast tokenizer of Hugging Face gives both: `input_ids`, `offset_mapping`). An
    answer is right if the most likely token is the true one at each token that overlaps it. ValueError where
    none does, and where an answer holds the first token, which nothing predicts.
    """
    tokens, offsets = map(torch.as_tensor, encode(text.text))  # (T,), (T, 2)
    with torch.no_grad():
        likely = model(tokens[None])[0].argmax(-1)  # (T,)
    right = torch.cat([tokens[:0].bool().new_zeros(1), likely[:-1] == tokens[1:]])  # (T,)
    spans = [(offsets[:, 0] < end) & (offsets[:, 1] > begin) for begin, end in text.answers]  # (T,) each
    if not all(span.any() and not span[0] for span in spans):
        raise ValueError(f"answered: no predicted token lies on an answer of {text.task}; check encode")
    return [bool(right[span].all()) for span in spans]
