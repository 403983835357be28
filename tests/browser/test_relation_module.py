"""The browser's own relation against the library's, on cases that the library works out."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from marginalia.boxes.correlation import pearson
from marginalia.boxes.geometry import iou, xywh_to_cxcywh, xywh_to_xyxy
from marginalia.detection.relation import PositionRelation, embed, frequencies, relative_geometry
from marginalia.explorers import RelationExplorer

pytestmark = pytest.mark.browser

SIZE = (500, 400)


@pytest.fixture
def call(open_module):
    """Calls a function that the joined module exports; NaN comes back as None."""
    page = open_module(RelationExplorer)
    plain = "(_, value) => Number.isNaN(value) ? null : value"
    script = f"([name, values]) => JSON.parse(JSON.stringify(module[name](...values), {plain}))"
    return lambda name, *values: page.evaluate(script, [name, values])


def layout(rng, n: int) -> np.ndarray:
    """n boxes x, y, w, h in pixels; the second is the first again, the third tiny."""
    wh = rng.uniform(5, 90, (n, 2))
    boxes = np.hstack([rng.uniform(0, 1, (n, 2)) * (np.array(SIZE) - wh), wh])
    boxes[1], boxes[2, 2:] = boxes[0], 0.01
    return boxes


def places(boxes) -> torch.Tensor:
    return torch.tensor(xywh_to_cxcywh(np.asarray(boxes)) / np.tile(SIZE, 2))[None]


def test_geometry_and_embedding(call, rng):
    boxes = layout(rng, 6)
    got = [call("normalised", box, SIZE) for box in boxes.tolist()]
    np.testing.assert_allclose(got, places(boxes)[0], atol=1e-15)  # one sum and one quotient each
    expected = relative_geometry(places(boxes), places(boxes))[0].numpy()
    geometry = np.array([[call("relativeGeometry", a, b) for b in got] for a in got])
    np.testing.assert_allclose(geometry, expected, atol=1e-13)
    assert geometry[0, 1].tolist() == [0, 0, 0, 0]
    for frequency in (frequencies(), frequencies(scale=2 * np.pi, width=8)):
        for value, row in zip(geometry[2], expected[2], strict=True):
            # angles up to a thousand, whose last bits count in sin and cos
            told = embed(torch.tensor(row), frequency)
            np.testing.assert_allclose(call("embed", value.tolist(), frequency.tolist()), told, atol=1e-11)


@pytest.mark.parametrize("heads", [1, 8])
@pytest.mark.parametrize("box_format", ["xywh", "cxcywh"])
def test_a_row_is_the_module_s(call, rng, heads, box_format):
    torch.manual_seed(heads)
    relation = PositionRelation(heads, scale=2 * np.pi if heads == 1 else 100)
    torch.nn.init.normal_(relation.projection.weight, std=0.5)
    boxes = layout(rng, 7)
    explorer = RelationExplorer(boxes, relation, size=SIZE, box_format=box_format)
    rows = explorer.projections["given"]
    with torch.no_grad():
        expected = relation.double()(places(boxes), places(boxes))[0]  # its frequencies stay those of 32 bits
    told = xywh_to_cxcywh(boxes) if box_format == "cxcywh" else boxes
    for i in (0, 2, 6):
        row = call("measureRow", boxes.tolist(), SIZE, box_format, i, rows, explorer.frequency)
        # sums of 64 products, in another order and in 64 bits
        np.testing.assert_allclose(row["relation"], expected[:, i], atol=1e-10)
        np.testing.assert_allclose(np.clip(row["scores"], 0, None), expected[:, i], atol=1e-10)
        attention = expected[:, i].softmax(-1).numpy()
        np.testing.assert_allclose(row["attention"], [*attention, attention.mean(0)], atol=1e-10)
        np.testing.assert_allclose(row["attention"][:-1], explorer.attention[:, i], atol=1e-10)
        np.testing.assert_allclose(row["rho"], pearson(told)[i], atol=1e-12)
        overlap = iou(xywh_to_xyxy(boxes), xywh_to_xyxy(boxes))[i]
        np.testing.assert_allclose(row["overlap"], overlap, atol=1e-12)


def test_published_precision_is_reached_too(call, rng):
    """The module as people run it, in 32 bits: angles of a few hundred leave 1e-5 or so in the waves."""
    torch.manual_seed(0)
    relation = PositionRelation()
    boxes = layout(rng, 7)
    boxes[2, 2:] = 20
    rows = RelationExplorer(boxes, relation, size=SIZE).projections["given"]
    with torch.no_grad():
        expected = relation(places(boxes).float(), places(boxes).float())[0, :, 0]
    row = call("measureRow", boxes.tolist(), SIZE, "xywh", 0, rows, relation.frequency.tolist())
    np.testing.assert_allclose(row["relation"], expected, atol=1e-4)


def test_softmax_and_iou_at_their_ends(call):
    assert call("softmax", [1000, 1000]) == [0.5, 0.5]
    assert call("softmax", [0]) == [1]
    assert call("iou", [0, 0, 2, 2], [0, 0, 2, 2]) == 1
    assert call("iou", [0, 0, 2, 2], [2, 0, 2, 2]) == 0
    assert call("iou", [0, 0, 2, 2], [1, 1, 2, 2]) == pytest.approx(1 / 7, abs=1e-15)


def test_a_box_without_variance_has_no_correlation(call):
    boxes = [[10, 20, 30, 40], [33, 33, 33, 33]]
    explorer = RelationExplorer(boxes, size=SIZE)
    row = call("measureRow", boxes, SIZE, "xywh", 0, explorer.projections["random"], explorer.frequency)
    assert row["rho"] == [pytest.approx(1, abs=1e-12), None]
    assert np.isfinite(row["relation"]).all()


def test_colours_and_words_are_those_of_the_still_figure(open_module):
    from marginalia.explorers import relation

    page = open_module(RelationExplorer)
    colours = [colour.upper() for colour in page.evaluate("[module.QUERY, module.PARTNER]")]
    assert colours == [relation.QUERY, relation.PARTNER]
    assert page.evaluate("module.FEATURES") == list(relation.FEATURES)
