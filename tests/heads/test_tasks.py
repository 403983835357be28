"""Tasks: every question has one answer and nothing leaks, files are read as they are, and training trains."""

from __future__ import annotations

import json
import math
import re
from collections import Counter

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from marginalia.heads import VARIANTS
from marginalia.heads.tasks import (
    ATTRIBUTES,
    FACTORS,
    PEOPLE,
    RELATIONS,
    VALUES,
    Retriever,
    answered,
    authors_factors,
    questions,
    read_tasks,
    retrieval_accuracy,
    size,
    task_text,
    train_retriever,
    word_tasks,
)

torch.set_num_threads(1)


# --- Mix-and-match retrieval


def test_a_question_has_one_answer():
    asked = questions(500, seed=1)
    assert (asked.records.sort(1).values == torch.arange(VALUES)[:, None]).all()  # permutations
    for records, a, v, b, place, answer in zip(*asked, strict=True):
        found = [row for row, record in enumerate(records) if record[a] == v]
        assert found == [place] and records[place, b] == answer


def test_questions_are_those_of_the_seed_and_even():
    asked, again, other = questions(8192, seed=1), questions(8192, seed=1), questions(8192, seed=2)
    assert all(map(torch.equal, asked, again)) and not torch.equal(asked.records, other.records)
    torch.manual_seed(3)  # `training.fit` seeds the global generator at each step
    drawn = questions(64)
    torch.manual_seed(3)
    assert all(map(torch.equal, drawn, questions(64)))
    pairs = Counter(zip(asked.attribute.tolist(), asked.wanted.tolist(), strict=True))
    assert len(pairs) == ATTRIBUTES**2
    for counts in (pairs, *(Counter(part.tolist()) for part in (asked.value, asked.place, asked.answer))):
        expected = 8192 / len(counts)  # each within five standard deviations
        assert max(abs(n - expected) for n in counts.values()) < 5 * math.sqrt(expected)


@pytest.mark.parametrize("name", VARIANTS)
def test_all_variants_have_one_size(name):
    assert size(Retriever(VARIANTS[name])) == pytest.approx(14_408, abs=33)  # a unit of the FFN has 65


@pytest.mark.parametrize("name", ["MHA", "DCMHA + static"])
def test_the_order_of_the_records_does_not_matter(name):
    torch.manual_seed(0)
    model, asked = Retriever(VARIANTS[name], std=1.0), questions(50, seed=0)
    moved = asked._replace(records=asked.records[:, torch.randperm(VALUES)])
    assert torch.allclose(model(asked), model(moved), rtol=0, atol=1e-5)  # float32


def test_a_plain_retriever_by_hand():
    torch.manual_seed(0)
    model, asked = Retriever(VARIANTS["MHA"], separate=False, std=1.0, norm="layer"), questions(50, seed=0)
    table = model.records.weight.unflatten(0, (ATTRIBUTES, VALUES))
    records = sum(table[k][asked.records[..., k]] for k in range(ATTRIBUTES))
    x = (table[asked.attribute, asked.value] + model.wanted.weight[asked.wanted])[:, None]
    inputs, weights = (
        (model.attention_norm(x), *[model.attention_norm(records)] * 2),
        model.attention.wqkv.weight,
    )
    parts = (each @ w.T for each, w in zip(inputs, weights.chunk(3), strict=True))
    heads = (part.unflatten(2, (4, 8)).transpose(1, 2) for part in parts)
    x = x + model.attention.wo(scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2))
    x = x + model.ffn(model.ffn_norm(x))
    assert torch.allclose(model(asked), model.output(model.norm(x))[:, 0], rtol=0, atol=1e-5)  # float32


def test_accuracy_is_that_of_its_parts():
    torch.manual_seed(0)
    found = retrieval_accuracy(Retriever(VARIANTS["DCMHA"]))
    same = questions(8192, seed=2**40)
    share = (same.attribute == same.wanted).float().mean().item()
    mixed = share * found["same"] + (1 - share) * found["different"]
    assert found["accuracy"] == pytest.approx(mixed, abs=1e-6)
    assert found["test_loss"] == pytest.approx(math.log(VALUES), abs=0.3)  # nothing is learned yet


def test_a_short_training_is_finite_learns_and_can_be_repeated():
    ends = []
    for _ in range(2):
        torch.manual_seed(0)
        rows = train_retriever(Retriever(VARIANTS["DCMHA"]), seed=0, steps=60)
        assert len(rows) == 20 and all(math.isfinite(value) for row in rows for value in row.values())
        ends.append(rows[-1]["test_loss"])
    assert ends[0] == ends[1] < math.log(VALUES) - 0.05


# --- Word tasks

FACT = r"(?:(\w+) picked (\w+)|(\w+) went to (\w+))\. "
LINE = re.compile(rf"< {FACT}{FACT}{FACT}>\. (.*)")
ASKED = r"(?:a kind of |the opposite of |the letter just before |the thing that can )?"


def solve(line: str, relation: str) -> tuple[list[str], str, int, list[tuple[str, str]]]:
    """Right answers of a line, the one it gives, the place of its fact, and all pairs."""
    value = RELATIONS[relation][1]
    if listed := re.fullmatch(rf"There are (\w+), (\w+), (\w+)\. Which is (.*)\? {ASKED}(\w+)", line):
        *items, which, given = listed.groups()
        odd = [item for item in items if items.count(item) == 1]
        other = next(item for item in items if item not in odd)
        assert which in ("different", f"not {other}")
        return [value[item] for item in odd], given, items.index(odd[0]), [(other, item) for item in items]
    *parts, question = LINE.fullmatch(line).groups()
    owned = [
        (a or d, b or c) for a, b, c, d in zip(*(parts[k::4] for k in range(4)), strict=True)
    ]  # person, item
    if who := re.fullmatch(rf"Who (picked|did not pick) {ASKED}(\w+)\? (\w+)", question):
        verb, asked, given = who.groups()
        right = [person for person, item in owned if (value[item] == asked) == (verb == "picked")]
        return right, given, [person for person, _ in owned].index(given), owned
    person, verb, given = re.fullmatch(rf"(\w+) (picked|did not pick) {ASKED}(\w+)", question).groups()
    right = [value[item] for one, item in owned if (one == person) == (verb == "picked")]
    return right, given, [value[item] for _, item in owned].index(given), owned


def lines_of(text) -> list[str]:
    return text.text.strip("\n").split("\n")


def test_every_combination_of_factors_is_there_once():
    assert len(FACTORS) == 5 * 2 * 5 == len({tuple(one.values()) for one in FACTORS})
    texts = list(word_tasks(FACTORS, seed=0))
    assert [text.factors for text in texts] == FACTORS
    assert len({text.task for text in texts}) == 50 and {text.family for text in texts} == set(RELATIONS)


@pytest.mark.parametrize("held_out", [False, True])
def test_a_line_has_one_answer_in_one_of_three_places(held_out):
    places, answers, asked = Counter(), {one: Counter() for one in (*RELATIONS, "who")}, 0
    for text in word_tasks(FACTORS * 12, seed=1, held_out=held_out):
        lines = lines_of(text)
        assert len(lines) == 8 and len(text.answers) == 6
        for line in lines:
            right, given, place, _ = solve(line, text.family)
            assert right == [given]
            places[text.task, place] += 1
            answers["who" if text.factors["form"] == "who" else text.family][given] += 1
            assert ("not" in line) == (text.factors["polarity"] == "negated") or "There are" in line
            assert ("went to" in line) == (text.factors["order"] == "reversed")
        spans = [text.text[begin:end] for begin, end in text.answers]
        assert spans == [line.split()[-1] for line in lines[2:]]
        asked += len(lines)
    assert asked == 50 * 12 * 8 and len(places) == 150
    # 8 lines go through 3 places as 3, 3, 2, so that 12 texts of a task have 24 to 36 at each
    assert min(places.values()) >= 24 and max(places.values()) <= 36
    assert set(answers["who"]) == set(PEOPLE)
    for relation, counts in answers.items():
        if relation != "identity":  # 32 values: too few lines here for each
            assert max(counts.values()) <= 3 * min(counts.values())


def test_no_pair_of_the_test_is_in_training():
    trained, tested = set(), set()
    for text in word_tasks(FACTORS * 4, seed=0):
        trained |= {pair for line in lines_of(text) for pair in solve(line, text.family)[3]}
    for text in word_tasks(FACTORS * 4, seed=1, held_out=True):
        for line in lines_of(text):
            _, _, place, pairs = solve(line, text.family)
            tested.add(pairs[place])
    assert len(trained) > 500 and len(tested) > 200 and not trained & tested


def test_texts_are_those_of_the_seed():
    one, again, other = (list(word_tasks(FACTORS, seed, lines=3)) for seed in (0, 0, 1))
    assert one == again and not any(a == b for a, b in zip(one, other, strict=True))


# --- The authors' file, and others of its form


def written(path, *entries) -> str:
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries), "utf-8")
    return str(path)


def test_a_name_with_a_comma_is_one_answer(tmp_path):
    texts = "\nThere are Rome, Washington, D.C, Rome. Which is not Rome? [ Washington, D.C ]\n[ Bern ]\n"
    path = written(
        tmp_path / "x.jsonl", {"task_id": "task60", "texts": texts}, {"task_id": "mine", "texts": "[ x ]"}
    )
    first, mine = read_tasks(path)
    assert [first.text[a:b] for a, b in first.answers] == ["Washington, D.C", "Bern"]
    assert first.text == texts.replace("[ ", "").replace(" ]", "") and first.family == "odd one out"
    assert (mine.family, mine.factors, mine.answers) == ("mine", {}, ((0, 1),))


@pytest.mark.parametrize(
    "bad, said",
    [
        ("{", "JSONDecodeError"),
        ("[]", "TypeError"),
        ('{"texts": "[ a ]"}', "task_id"),
        ('{"task_id": "a"}', "texts"),
        ('{"task_id": "a", "texts": 3}', "TypeError"),
        ('{"task_id": "a", "texts": "a [ b"}', "each bracket"),
        ('{"task_id": "a", "texts": "a [b]"}', "each bracket"),
        ('{"task_id": "a", "texts": "a [  ]"}', "each bracket"),
        ('{"task_id": "a", "texts": "no answer"}', "no answer"),
    ],
)
def test_a_bad_line_is_named(tmp_path, bad, said):
    path = tmp_path / "tasks.jsonl"
    path.write_text('{"task_id": "a", "texts": "b [ c ]"}\n' + bad + "\n", "utf-8")
    with pytest.raises(ValueError, match=rf"tasks\.jsonl, line 2 .*{said}"):
        read_tasks(path)


def test_files_that_are_empty_or_not_there(tmp_path):
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(ValueError, match="no tasks"):
        read_tasks(tmp_path / "empty.jsonl")
    with pytest.raises(FileNotFoundError):
        read_tasks(tmp_path / "none.jsonl")


def test_the_authors_file(shared_data):
    texts = read_tasks(shared_data / "dcformer_synthetic_tasks.jsonl")
    assert len(texts) == 888 and set(Counter(text.task for text in texts).values()) == {12}
    answers = [text.text[begin:end] for text in texts for begin, end in text.answers]
    assert Counter(len(answer.split()) for answer in answers) == {1: 4996, 2: 264, 3: 68}
    assert "Washington, D.C" in answers
    for text in texts:  # what the number of a task says is what its words say
        assert len(text.answers) == 6 and len(lines_of(text)) == 8
        for line in lines_of(text):
            odd, facts, question = line.startswith("There are"), *line.split(". ", 1)
            form = "odd one out" if odd else "who" if "Who " in question else "completion"
            negated = re.search(r"\b(is|does|did) not\b", question.rsplit(">. ")[-1]) is not None
            turned = re.search(r"'s$|attracts|^< (In|On|At) |^< \w+ [A-Z]\w+$", facts) is not None
            order = "reversed" if turned and not odd else "normal"
            polarity = "negated" if negated else "affirmative"
            found = {"relation": text.factors["relation"], "polarity": polarity, "form": form, "order": order}
            assert text.factors == found, line


def test_families_of_the_authors():
    families = Counter(authors_factors(number)[0] for number in range(74))
    assert families == {
        "things": 16,
        "cities": 16,
        "tools": 8,
        "adjectives": 8,
        "times": 8,
        "odd one out": 18,
    }
    relations = [authors_factors(number)[1]["relation"] for number in (0, 8, 16, 24, 58, 56, 71, 73)]
    assert relations == ["category", "identity"] * 3 + ["successor", "predecessor"]


# --- Scores


def words(text: str) -> tuple[list[int], list[tuple[int, int]]]:
    found = list(re.finditer(r"\w+|[^\w\s]", text))
    return [sum(map(ord, one[0])) for one in found], [one.span() for one in found]


def letters(text: str) -> tuple[list[int], list[tuple[int, int]]]:
    return list(map(ord, text)), [(k, k + 1) for k in range(len(text))]


@pytest.mark.parametrize("encode", [words, letters])
def test_an_answer_is_right_when_each_of_its_tokens_is(encode):
    text = task_text("x", "x", {}, "a lives in [ New York ] and b in [ Bern ]")
    tokens, offsets = encode(text.text)
    true = torch.nn.functional.one_hot(torch.tensor([*tokens[1:], 0]), 2000).float()  # logits of a model
    assert answered(lambda _: true[None], text, encode) == [True, True]
    for place, expected in (
        (text.answers[0][1] - 1, [False, True]),
        (text.answers[1][0], [True, False]),
        (0, [True] * 2),
    ):
        token = next(t for t, (begin, end) in enumerate(offsets) if begin <= place < end)
        wrong = true.clone()
        wrong[token - 1 if token else -1] = 0.0  # token 0 then has the highest logit
        assert answered(lambda _, wrong=wrong: wrong[None], text, encode) == expected


def test_offsets_that_miss_an_answer_are_refused():
    text = task_text("x", "x", {}, "in [ Bern ]")
    with pytest.raises(ValueError, match="check encode"):
        answered(lambda tokens: torch.zeros(1, 2, 9), text, lambda _: ([1, 2], [(0, 2), (2, 2)]))
    first = task_text("x", "x", {}, "[ Bern ] is in")
    with pytest.raises(ValueError, match="check encode"):
        answered(lambda tokens: torch.zeros(1, 3, 9), first, words)
