"""The browser's own maths against the library's, on cases that the library works out."""

from __future__ import annotations

import numpy as np
import pytest

from marginalia.boxes.correlation import BOX_FORMATS, pearson
from marginalia.boxes.geometry import xywh_to_cxcywh, xywh_to_xyxy
from marginalia.boxes.uniform import lowbias32, uniform_boxes
from marginalia.explorers import BoxExplorer
from marginalia.style import CYCLE

pytestmark = pytest.mark.browser


@pytest.fixture
def call(open_module):
    """Calls a function that the joined module exports; NaN comes back as None."""
    page = open_module(BoxExplorer)
    plain = "(_, value) => Number.isNaN(value) ? null : value"
    script = f"([name, values]) => JSON.parse(JSON.stringify(module[name](...values), {plain}))"
    return lambda name, *values: page.evaluate(script, [name, values])


def layout(rng, n: int) -> np.ndarray:
    wh = rng.uniform(5, 90, (n, 2))
    return np.hstack([rng.uniform(0, 1, (n, 2)) * (np.array([500, 400]) - wh), wh])


def test_hash(call):
    numbers = [0, 1, 2, 12345, 2**31, 2**32 - 1, 0x9E3779B9]
    assert [call("lowbias32", x) for x in numbers] == lowbias32(np.array(numbers, np.uint32)).tolist()


@pytest.mark.parametrize(("seed", "draw"), [(0, 0), (0, 199), (7, 3), (2**32 - 1, 10**6)])
def test_uniform_boxes(call, rng, seed, draw):
    wh = np.vstack([rng.uniform(2, 300, (7, 2)), [[900, 20]]])  # the last is wider than the image
    expected = uniform_boxes(wh, np.array([640.0, 480.0]), seed, draw)
    # the same integers and one product each: equal to the last bit or next to it
    got = call("uniformBoxes", wh.tolist(), [640, 480], seed, draw)
    np.testing.assert_allclose(got, expected, rtol=1e-15)


@pytest.mark.parametrize("n", [2, 3, 6, 30])
def test_pearson_and_matrix(call, rng, n):
    boxes = layout(rng, n)
    expected = pearson(boxes)
    # cosines of unit vectors, summed in another order
    np.testing.assert_allclose(call("correlationMatrix", boxes.tolist()), expected, atol=1e-12)
    assert call("pearson", *boxes[:2].tolist()) == pytest.approx(expected[0, 1], abs=1e-12)


def test_boxes_without_variance(call, rng):
    boxes = [*layout(rng, 4).tolist(), [33.3, 33.3, 33.3, 33.3]]
    assert call("pearson", boxes[0], boxes[4]) is None
    matrix = np.array(call("correlationMatrix", boxes), float)
    np.testing.assert_array_equal(np.isnan(matrix), np.isnan(pearson(np.array(boxes))))
    explorer = BoxExplorer(boxes, size=(500, 400))
    assert call("macroscopicCorrelation", boxes) == pytest.approx(explorer.correlation, abs=1e-12)
    assert call("macroscopicCorrelation", boxes[3:]) is None


def test_band_is_that_of_the_library(call, rng):
    boxes = layout(rng, 6)
    expected = BoxExplorer(boxes, size=(500, 400)).band
    np.testing.assert_allclose(call("uniformBand", boxes[:, 2:].tolist(), [500, 400]), expected, atol=1e-12)


@pytest.mark.parametrize("box_format", BOX_FORMATS)
def test_measure_in_all_coordinates(call, rng, box_format):
    boxes = layout(rng, 5)
    explorer = BoxExplorer(boxes, size=(500, 400), box_format=box_format)
    told = call("measure", boxes.tolist(), [500, 400], box_format)
    turn = {"cxcywh": xywh_to_cxcywh, "xyxy": xywh_to_xyxy}.get(box_format, np.asarray)
    np.testing.assert_allclose(told["matrix"], pearson(turn(boxes)), atol=1e-12)
    assert told["mc"] == pytest.approx(explorer.correlation, abs=1e-12)
    np.testing.assert_allclose(told["band"], explorer.band, atol=1e-12)


def test_lower_bound_and_quantile(call, rng):
    assert [call("lowerBound", n) for n in (1, 3, 4, 10)] == pytest.approx([0, 0, 1 / 9, 7 / 27], abs=1e-15)
    values = rng.normal(size=57)
    for q in (0, 0.05, 0.5, 0.95, 1):
        assert call("quantile", values.tolist(), q) == pytest.approx(np.quantile(values, q), abs=1e-14)


def test_moving_and_resizing_keep_boxes_inside(call, rng):
    size = [500, 400]
    for box in layout(rng, 20).tolist():
        dx, dy = rng.integers(-600, 600, 2).tolist()
        x, y, w, h = call("moved", box, dx, dy, size)
        assert (w, h) == tuple(box[2:]) and 0 <= x <= 500 - w and 0 <= y <= 400 - h
        for handle in ([-1, -1], [1, 0], [0, 1], [1, -1]):
            x, y, w, h = call("resized", box, handle, dx, dy, size)
            assert min(w, h) >= 2 and x >= 0 and y >= 0
            assert x + w <= 500 + 1e-9 and y + h <= 400 + 1e-9  # sums of parts of pixels round


def test_a_box_outside_of_the_image_stays_where_it_is_and_gets_no_further_out(call):
    size, outside = [500, 400], [-30, 450, 60, 40]
    assert call("moved", outside, 1, 0, size) == [-29, 450, 60, 40]
    assert call("moved", outside, -5, 5, size) == outside
    assert call("moved", outside, 40, -100, size) == [10, 350, 60, 40]
    assert call("resized", outside, [1, 1], 3, 3, size) == [-30, 450, 63, 40]
    assert call("resized", outside, [-1, -1], 3, -3, size) == [-27, 447, 57, 43]


def test_a_box_is_drawn_between_two_corners_of_the_image(call):
    size = [500, 400]
    assert call("between", [20.4, 30.2], [60.6, 90], size) == [20, 30, 41, 60]
    assert call("between", [60.6, 90], [20.4, 30.2], size) == [20, 30, 41, 60]
    assert call("between", [490, -20], [700, 10], size) == [490, 0, 10, 10]
    assert call("between", [500, 400], [500, 400], size) == [498, 398, 2, 2]


def test_boxes_are_found_by_border_then_by_size(call):
    boxes = [[0, 0, 200, 200], [50, 50, 100, 100], [60, 60, 40, 40], [180, 180, 60, 60]]
    at = {(80, 80): [2, 1, 0], (10, 100): [0], (3, 100): [0], (52, 100): [1, 0], (58, 80): [2, 1, 0]}
    at |= {(197, 181): [3, 0], (150, 198): [0], (205, 150): [0], (206, 150): [], (300, 300): []}
    assert {p: call("boxesAt", boxes, {"x": p[0], "y": p[1]}) for p in at} == at
    finger = {"x": 211, "y": 150, "touch": True}
    assert call("boxesAt", boxes, finger) == [0]
    tag = {"left": 76, "top": 70, "width": 30, "item": 3}
    assert call("boxesAt", boxes, {"x": 80, "y": 80}, [tag]) == [3, 2, 1, 0]


def test_categories_are_those_of_the_figures(open_module):
    page = open_module(BoxExplorer)
    assert [colour.upper() for colour in page.evaluate("module.PALETTE")] == CYCLE


def test_ramps_are_those_of_the_figures(call):
    import matplotlib as mpl

    for t in (-1.0, -0.5, 0.0, 0.5, 1.0):
        expected = np.array(mpl.colormaps["RdBu_r"]((t + 1) / 2)[:3]) * 255
        # matplotlib takes the nearest of 256 colours
        np.testing.assert_allclose(call("diverging", t, False), expected, atol=4)
    for t in (0.0, 0.25, 0.75, 1.0):
        expected = np.array(mpl.colormaps["cividis"](t)[:3]) * 255
        np.testing.assert_allclose(call("sequential", t), expected, atol=8)  # nine stops of a curved path
