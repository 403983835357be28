"""The Rips explorer's maths in the browser against the library's, on clouds that the library works out."""

from __future__ import annotations

import ast
import itertools
import json
import re

import gudhi
import numpy as np
import pytest
from scipy.spatial.distance import cdist

from marginalia.explorers import RipsExplorer
from marginalia.explorers.rips import IN_BROWSER, MOST, _circle_and_cluster
from marginalia.topology import diagrams, persistence_image

pytestmark = pytest.mark.browser

# Python's json writes Infinity, which JSON has no word for.
PLAIN = "(_, value) => ArrayBuffer.isView(value) ? [...value] : value === Infinity ? 'inf' : value"


@pytest.fixture
def evaluate(open_module):
    """The value of an expression in which `module` is the joined module and `it` what Python gives."""
    page = open_module(RipsExplorer)
    return lambda code, it=None: json.loads(page.evaluate(f"(it) => JSON.stringify({code}, {PLAIN})", it))


def ngon(n: int) -> np.ndarray:
    angle = 2 * np.pi * np.arange(n) / n
    return np.stack([np.cos(angle), np.sin(angle)], 1)


def grid(m: int, step: float = 1.0) -> np.ndarray:
    return step * np.stack(np.meshgrid(np.arange(m), np.arange(m)), -1).reshape(-1, 2)


def noise(seed: int, n: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, 2))


CLOUDS = {
    "none": np.empty((0, 2)),
    "one": [[0.3, -2.0]],
    "two": [[0, 0], [3, 4]],
    "two at one place": [[1, 1], [1, 1]],
    "triangle": [[0, 0], [1, 0], [0.5, np.sqrt(0.75)]],
    "on a line": [[k / 7, 2 * k / 7] for k in range(9)],
    "default": _circle_and_cluster(),
    "grid": grid(6),
    "grid of steps that are not exact": grid(6, 0.1),
    "duplicates": np.concatenate([noise(3, 12), noise(3, 12)[:5], ngon(9), ngon(9)]),
    **{f"{n}-gon": ngon(n) for n in (3, 4, 5, 6, 7, 12, 39, 40)},
    **{f"random {n}, seed {seed}": noise(seed, n) for seed, n in enumerate((3, 5, 10, 25, 33, 40, 40, 40))},
    "circle of 40, far away": 1e3 + 40 * ngon(40) + noise(9, 40),
}


def bars_in_browser(evaluate, points, answer=None):
    """Births and deaths of both dimensions, in the view's order, and its bars as they are."""
    it = {"points": np.asarray(points, float).tolist(), "answer": answer or {}}
    bars = evaluate("module.measure(it.points, it.answer).bars", it)
    numbers = [
        np.array([[b["birth"], b["death"]] for b in bars if b["dimension"] == k], float) for k in (0, 1)
    ]
    return [each.reshape(-1, 2) for each in numbers], bars


def test_limits_are_those_of_python(evaluate):
    assert evaluate("[module.MOST, module.MOST_POINTS]") == [IN_BROWSER, MOST]


@pytest.mark.parametrize("name", CLOUDS)
def test_bars_are_those_of_the_library(evaluate, name):
    points = np.asarray(CLOUDS[name], float)
    got, _ = bars_in_browser(evaluate, points)
    expected = diagrams([points])[0]
    assert len(points) <= IN_BROWSER
    for k in (0, 1):
        assert got[k].shape == expected[k].shape
        np.testing.assert_allclose(
            got[k], expected[k], rtol=0, atol=1e-12 * max(1, np.abs(points).max(initial=0))
        )


@pytest.mark.parametrize("n", [4, 9, 20, 40])
def test_a_polygon_has_the_loop_of_the_formula(evaluate, n):
    """One loop, from 2 sin(pi / n) to 2 sin(pi ceil(n / 3) / n)."""
    (_, loops), _ = bars_in_browser(evaluate, ngon(n))
    expected = 2 * np.sin(np.pi * np.array([1, -(-n // 3)]) / n)
    long = loops[loops[:, 1] - loops[:, 0] > 1e-12]  # sides that should be equal differ in the last bit
    np.testing.assert_allclose(long, [expected], rtol=0, atol=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_bars_begin_and_end_with_the_edges_of_gudhi(evaluate, seed):
    """Distances are distinct, so that the pairs of edges are unique."""
    points = noise(100 + seed, 40)
    tree = gudhi.RipsComplex(points=points).create_simplex_tree(max_dimension=2)
    tree.compute_persistence()
    zero, (one, *_), _, _ = tree.flag_persistence_generators()
    _, bars = bars_in_browser(evaluate, points)
    pairs = {(frozenset(b["from"]), frozenset(b["to"][:2])) for b in bars if b["dimension"] == 1}
    assert pairs == {(frozenset(row[:2]), frozenset(row[2:])) for row in one.tolist()}
    tips = {frozenset(b["to"]) for b in bars if b["dimension"] == 0 and b["to"]}
    assert tips == {frozenset(row[1:]) for row in zero.tolist()}
    distances = cdist(points, points)
    for i, j, k in (bar["to"] for bar in bars if bar["dimension"] == 1):
        assert max(distances[i, k], distances[j, k]) < distances[i, j]


def test_bars_are_numbered_by_persistence(evaluate):
    _, bars = bars_in_browser(evaluate, CLOUDS["default"])
    for k in (0, 1):
        some = sorted((bar for bar in bars if bar["dimension"] == k), key=lambda bar: bar["number"])
        assert [bar["number"] for bar in some] == list(range(1, len(some) + 1))
        length = [float(bar["death"]) - bar["birth"] for bar in some]
        assert length == sorted(length, reverse=True)


def test_loops_of_more_points_are_those_that_the_kernel_told(evaluate):
    points = np.concatenate([ngon(30), noise(0, 21)])
    explorer = RipsExplorer(points)
    got, bars = bars_in_browser(evaluate, points, explorer.answer)
    for k in (0, 1):
        np.testing.assert_allclose(got[k], explorer.bars[k], rtol=0, atol=1e-12)
    distances = cdist(points, points)
    for bar in (bar for bar in bars if bar["dimension"] == 1):  # the edges are found by their lengths
        assert distances[tuple(bar["from"])] == pytest.approx(bar["birth"], abs=1e-12)
        assert distances[tuple(bar["to"])] == pytest.approx(bar["death"], abs=1e-12)


def test_an_answer_counts_for_its_own_points_alone(evaluate):
    points = noise(1, 41)
    answer = RipsExplorer(points).answer
    it = {"points": points.tolist(), "answer": answer}
    assert evaluate("module.measure(it.points, it.answer).known", it) is True
    it["points"][40][1] += 1e-9
    assert evaluate("module.measure(it.points, it.answer).known", it) is False
    assert evaluate("module.complexAt(module.measure(it.points, {}), 0.5).loops", it) is None  # NaN


@pytest.mark.parametrize("name", ["none", "one", "two at one place", "default", "grid", "random 40, seed 5"])
def test_the_complex_is_that_of_the_summary(evaluate, name):
    for length in (0, 0.3, 1.0, 1.5, 9.0):
        explorer = RipsExplorer(CLOUDS[name], length=length)
        it = {"points": explorer.points, "length": length}
        got = evaluate("module.complexAt(module.measure(it.points, {}), it.length)", it)
        counts = [got[key] for key in ("count", "all", "components", "loops")]
        told = re.findall(
            r"(\d+) (?:edge|triangle|component|loop)s?\b", explorer.summary().split("radius)")[1]
        )
        assert counts == list(map(int, told))


def covered(triangles, places) -> np.ndarray:
    """Which places lie in a triangle, corners (T, 3, 2)."""
    a, b, c = np.moveaxis(np.asarray(triangles).reshape(-1, 1, 3, 2), 2, 0)  # (T, 1, 2)
    turn = [
        (q - p)[..., 0] * (places - p)[..., 1] - (q - p)[..., 1] * (places - p)[..., 0]
        for p, q in ((a, b), (b, c), (c, a))
    ]
    return (np.all(np.array(turn) > 0, 0) | np.all(np.array(turn) < 0, 0)).any(0)


@pytest.mark.parametrize("name", ["default", "12-gon", "grid", "duplicates", "random 25, seed 3"])
def test_the_triangles_that_are_drawn_cover_all_of_them(evaluate, name, rng):
    points = np.asarray(CLOUDS[name], float)
    distances = cdist(points, points)
    places = rng.uniform(points.min(0), points.max(0), (1500, 2))
    for length in np.quantile(distances, (0.1, 0.3, 0.5, 1)):
        it = {"points": points.tolist(), "length": length}
        got = evaluate("module.complexAt(module.measure(it.points, {}), it.length)", it)
        every = [
            each
            for each in itertools.combinations(range(len(points)), 3)
            if max(distances[i, j] for i, j in itertools.combinations(each, 2)) <= length
        ]
        assert got["all"] == len(every) >= len(got["drawn"])
        assert {tuple(sorted(each)) for each in got["drawn"]} <= set(every)
        np.testing.assert_array_equal(covered(points[got["drawn"]], places), covered(points[every], places))
        (ax, ay), (bx, by) = np.moveaxis(np.diff(points[got["drawn"]].reshape(-1, 3, 2), axis=1), 0, 2)
        assert np.all(ax * by > ay * bx)  # one orientation, or they would cut holes into each other


@pytest.mark.parametrize("nodes", [2, 20])
def test_the_image_is_that_of_the_library(evaluate, rng, nodes):
    bars = np.sort(rng.uniform(0, 3, (30, 2)), axis=1)
    bars[3, 1] = np.inf
    ranges = (0, 2, 0.5, 3)
    expected = persistence_image(bars, 0.3, ranges, (nodes, nodes))
    code = "module.persistenceImage(it.bars, 0.3, it.ranges, it.nodes)"
    got = evaluate(code, {"bars": bars.tolist(), "ranges": ranges, "nodes": nodes})
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dimension", [0, 1])
@pytest.mark.parametrize("name", CLOUDS)
def test_the_image_that_is_shown_is_python_s(evaluate, name, dimension):
    explorer = RipsExplorer(CLOUDS[name], dimension=dimension)
    it = {"points": explorer.points, "dimension": dimension}
    got = evaluate("module.imageOf(module.measure(it.points, {}), it.dimension)", it)
    expected = explorer.image
    np.testing.assert_allclose(got["rows"], expected, rtol=0, atol=1e-12 * max(1, expected.max()))
    assert got["peak"] == pytest.approx(expected.max(), rel=1e-12)


def test_an_expression_makes_the_explorer_again(evaluate):
    explorer = RipsExplorer(length=0.25)
    it = {"points": explorer.points, "length": explorer.length}
    code = "module.pythonCall('RipsExplorer', JSON.stringify(it.points), { length: it.length })"
    call = ast.parse(evaluate(code, it), mode="eval").body
    assert call.func.id == "RipsExplorer"
    assert ast.literal_eval(call.args[0]) == explorer.points
    assert [(word.arg, ast.literal_eval(word.value)) for word in call.keywords] == [("length", 0.25)]


def test_places_are_in_the_window_and_rounded_to_a_thousandth_of_it_or_finer(evaluate):
    for span in (1e-6, 0.5, 4.0, 999.0, 1e7):
        it = {"place": [span * 0.123456789, 9e9], "window": [0, span, -span, span]}
        x, y = evaluate("module.placed(it.place, it.window)", it)
        assert x == pytest.approx(it["place"][0], abs=span / 1000)
        assert y == pytest.approx(span, rel=1e-12)
    assert evaluate("module.placed([0.123456, -7], [0, 4, -2, 2])") == [0.123, -2]


def test_a_history_goes_back_and_forth(evaluate):
    code = """(() => {
      const history = new module.History("a");
      const told = [history.can(-1), history.can(1)];
      history.record("a"); // the same state again is none
      for (const state of ["b", "c"]) history.record(state);
      told.push(history.step(-1), history.step(-1), history.can(-1), history.step(1));
      history.record("d");
      return [...told, history.can(1), history.step(-1), history.step(1)];
    })()"""
    assert evaluate(code) == [False, False, "b", "a", False, "b", False, "b", "d"]
