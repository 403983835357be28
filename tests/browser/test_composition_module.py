"""The composition explorer's sums in the browser against the library's, and its own choices."""

from __future__ import annotations

import ast
import base64

import numpy as np
import pytest
import torch

from marginalia.explorers import CompositionExplorer
from marginalia.explorers.composition import CHOICE, MAPS, TERMS, WHERE
from marginalia.heads import VARIANTS, Composition, TinyTransformer, TransformerConfig

pytestmark = pytest.mark.browser

TOKENS = [0, 1, 2, 3, 1, 4, 2]
# The arrays as they come in messages, not at a multiple of four.
DATA = """([facts, texts]) => {
  window.data = facts;
  for (const [name, text] of Object.entries(texts)) {
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    const room = new Uint8Array(bytes.length + 1);
    room.set(bytes, 1);
    window.data[name] = module.floatsOf(new DataView(room.buffer, 1));
  }
}"""
PLAIN = "(_, value) => ArrayBuffer.isView(value) ? [...value] : value"


@pytest.fixture
def page(open_module):
    return open_module(CompositionExplorer)


@pytest.fixture
def evaluate(page):
    """The value of an expression in which `it` is what Python gives."""
    return lambda code, it=None: page.evaluate(
        f"(it) => JSON.parse(JSON.stringify(module.{code}, {PLAIN}))", it
    )


@pytest.fixture
def explorer_of(page):
    """An explorer of a random model with this composition, its arrays in the page as `data`."""

    def make(composition: Composition, **options) -> CompositionExplorer:
        torch.manual_seed(1)
        config = {"vocab": 9, "width": 32, "heads": 4, "layers": 2, "ffn": 16, "rotary": 4} | options
        model = TinyTransformer(TransformerConfig(composition=composition, **config))
        for name, weight in model.named_parameters():
            if name.endswith(("W_2", "W_g")):
                torch.nn.init.normal_(weight, std=0.1)
        explorer = CompositionExplorer(model, TOKENS, list("abcdefg"))
        texts = {
            name: base64.b64encode(getattr(explorer, name)).decode()
            for name in ("maps", "masks", "bases", "vectors")
        }
        page.evaluate(DATA, [explorer.facts, texts])
        return explorer

    return make


COMPOSITIONS = {
    "groups": Composition(static=True, groups=2),
    "rank 3": Composition(rank=3),
    **{name: VARIANTS[name] for name in ("MHA", "talking heads", "DCMHA", "key-wise", "gates only")},
}


def test_names_are_those_of_python(evaluate):
    told = [evaluate(name) for name in ("TERMS", "WHERE", "MAPS")]
    assert told == [list(names) for names in (TERMS, WHERE, MAPS)]


@pytest.mark.parametrize("name", COMPOSITIONS)
def test_terms_and_heads_are_those_of_the_library(evaluate, explorer_of, name):
    explorer = explorer_of(COMPOSITIONS[name])
    for explorer.where in WHERE:
        for explorer.layer in (0, 1):
            for explorer.pair in ((6, 0), (3, 3), (5, 2), (1, 4)):  # the last one is masked
                it = {"choice": {"layer": explorer.layer, "where": explorer.where}, "pair": explorer.pair}
                terms = np.array(evaluate("termsAt(data, it.choice, ...it.pair)", it)).reshape(6, 4, 4)
                # sums of three products of 32-bit numbers up to about ten
                np.testing.assert_allclose(terms, list(explorer.terms.values()), rtol=0, atol=1e-5)
                before, after = explorer.heads
                np.testing.assert_array_equal(evaluate("headsAt(data, it.choice, ...it.pair)", it), before)
                more = evaluate("through(it.before, it.matrix)", {
                    "before": before.tolist(), "matrix": terms[0].ravel().tolist()
                })  # fmt: skip
                np.testing.assert_allclose(before + more, after, rtol=0, atol=2e-5)
                allowed = evaluate("isAllowed(data, it.choice, ...it.pair)", it)
                assert allowed == (explorer.pair[1] <= explorer.pair[0])


@pytest.mark.parametrize("name", ["groups", "DCMHA", "MHA"])
def test_the_map_is_python_s(evaluate, explorer_of, name):
    explorer = explorer_of(COMPOSITIONS[name], windows=(4,))
    for explorer.where in WHERE:
        for explorer.map in MAPS:
            for explorer.head in (-1, 0, 3):
                it = {each: getattr(explorer, each) for each in ("layer", "where", "map", "head")}
                got, shown = evaluate("mapOf(data, it)", it), explorer.shown
                values = np.array(got["values"], float).reshape(7, 7)  # null where it is NaN
                np.testing.assert_allclose(values, shown, rtol=0, atol=2e-5)
                assert got["limit"] == pytest.approx(np.nanmax(abs(shown)), abs=2e-5)
                assert got["signed"] == (np.nanmin(shown) < 0)


def test_flows_are_the_large_entries_the_largest_last(evaluate):
    matrix = [0, 2, -4, 1]
    flows = evaluate("flowsOf(it, 2, 0.5)", matrix)
    assert flows == [{"n": 0, "m": 1, "value": 2}, {"n": 1, "m": 0, "value": -4}]
    assert len(evaluate("flowsOf(it, 2, 0)", matrix)) == 3  # nothing is no flow
    assert evaluate("flowsOf([0, 0, 0, 0], 2, 0)") == []


def test_a_flow_is_found_on_its_curve(evaluate, rng):
    """The curve is the Bezier curve that is drawn, with handles at a third and at two thirds."""
    for n, m in ((0, 5), (4, 1), (2, 2)):
        for t in rng.uniform(0, 1, 5):
            weights = np.array([(1 - t) ** 3, 3 * (1 - t) ** 2 * t, 3 * (1 - t) * t**2, t**3])
            x, y = weights @ [0, 1 / 3, 2 / 3, 1], weights @ [n, n, m, m]
            it = {"flows": [{"n": n, "m": m}, {"n": 9, "m": 9}], "x": x, "y": y}
            assert evaluate("flowAt(it.flows, it.x, it.y, 1e-9)", it) == {"n": n, "m": m}
            assert evaluate("flowAt(it.flows, it.x, it.y + 0.5, 0.4)", it) is None


def test_a_place_is_in_its_cell(evaluate):
    places = [9.9, 10, 19.9, 20, 39.9, 40]
    frame = {"x": 10, "y": 10, "wide": 30, "tall": 30}
    its = [{"frame": frame, "p": {"x": place, "y": 10}} for place in places]
    got = [evaluate("cellUnder(it.frame, it.p, 3, 3)", it) for it in its]
    assert got == [None, [0, 0], [0, 0], [0, 1], [0, 2], None]


def test_labels_stay_apart_and_the_wanted_ones_are_there(evaluate):
    for count, step in ((5, 20), (40, 5), (128, 3.1)):
        for wanted in ([count - 1, 1], [2, -1], [0, 0]):
            it = {"count": count, "step": step, "wanted": wanted}
            kept = evaluate("labelsThatFit(it.count, it.step, 12, it.wanted)", it)
            assert kept[0] == wanted[0] and min(kept) >= 0 and max(kept) < count
            assert min(np.diff(sorted(kept))) * step >= 12
            assert len(kept) > count * step / 12 / 2.5


def test_blanks_can_be_seen(evaluate):
    shown = {" a": "·a", "\n\n": "↵↵", "\tb": "⇥b", "": "∅", "文": "文"}
    assert {token: evaluate("visible(it)", token) for token in shown} == shown


MAKE = "pythonCall('CompositionExplorer', 'model, tokens, labels', it)"


def test_a_call_makes_the_explorer_again(evaluate, explorer_of):
    explorer = explorer_of(VARIANTS["DCMHA"])
    call = ast.parse(evaluate(MAKE, explorer.given), mode="eval").body
    assert call.func.id == "CompositionExplorer"
    assert [each.id for each in call.args] == ["model", "tokens", "labels"]
    told = {word.arg: ast.literal_eval(word.value) for word in call.keywords}
    assert told == explorer.given and tuple(told) == CHOICE
