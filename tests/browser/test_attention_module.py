"""The browser's own choices and sums for the attention explorer, on cases that the library works out."""

from __future__ import annotations

import base64

import numpy as np
import pytest
import torch

from marginalia.detection.capture import capture_attention
from marginalia.detection.detector import DetectorConfig, build
from marginalia.detection.scenes import make_scenes
from marginalia.explorers import AttentionExplorer
from marginalia.explorers.attention import KINDS

pytestmark = pytest.mark.browser

# The arrays as they come in messages, the floats not at a multiple of four.
DATA = """([shape, texts]) => {
  const view = (text, shift) => {
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    const room = new Uint8Array(bytes.length + shift);
    room.set(bytes, shift);
    return new DataView(room.buffer, shift);
  };
  const [levels, peaks, overlaps] = texts.map((text, i) => view(text, i));
  window.data = { shape, levels: module.bytesOf(levels), peaks: module.floatsOf(peaks),
    overlaps: module.floatsOf(overlaps) };
}"""


DECODE = """([kind, place]) => {
  const map = module.mapOf(data, kind, place);
  return Array.from(map.levels, (_, cell) => module.weightAt(map, cell));
}"""


@pytest.fixture
def page(open_module):
    return open_module(AttentionExplorer)


@pytest.fixture
def call(page):
    """Calls a function that the joined module exports."""
    return lambda name, *values: page.evaluate(
        "([name, values]) => module[name](...values)", [name, list(values)]
    )


@pytest.fixture
def explorer(page):
    """An explorer of a random model, its arrays in the page as `data`."""
    scenes = make_scenes(1, split="val")
    torch.set_num_threads(1)
    captured = capture_attention(build(DetectorConfig()), torch.from_numpy(scenes.pixels))
    explorer = AttentionExplorer(captured, scenes.pixels[0, 0])
    sent = (getattr(explorer, name) for name in ("levels", "peaks", "overlaps"))
    texts = [base64.b64encode(one).decode() for one in sent]
    page.evaluate(DATA, [explorer.facts["shape"], texts])
    return explorer


@pytest.mark.parametrize("choice", [(0, 0, 0), (1, 4, 9), (2, 5, 15), (1, -1, 3)])
def test_maps_are_found_and_decoded(page, explorer, choice):
    layer, head, row = choice
    explorer.layer, explorer.head, explorer.query = layer, head, explorer.kept[row]
    place = {"layer": layer, "head": head, "row": row}
    for kind in KINDS:
        explorer.kind = kind
        weights = explorer.weights
        decoded = np.array(page.evaluate(DECODE, [kind, place]))
        # half of one of 255 steps, and the rounding of 32-bit peaks; of a mean, half a step of each head too
        most = getattr(explorer._captured, kind)[layer, 0, :, explorer.query].amax((-2, -1)).numpy()
        steps = most.mean() + weights.max() if head < 0 else weights.max()
        np.testing.assert_allclose(decoded, weights.ravel(), atol=steps * (0.5 / 255 + 1e-6))
        found = page.evaluate("([k, p]) => module.peakOf(module.mapOf(data, k, p))", [kind, place])
        assert weights.ravel()[found] >= weights.max() - steps / 255


@pytest.mark.parametrize("head", [2, -1])
def test_queries_that_look_at_a_cell(page, explorer, head):
    explorer.layer, explorer.head, explorer.cell = 1, head, 130
    looks = page.evaluate(
        "([kind, at, cell]) => module.looksAt(data, kind, at, cell)",
        [explorer.kind, {"layer": 1, "head": head}, explorer.cell],
    )
    maps = explorer._captured.combined[1, 0, :, list(explorer.kept)].numpy()
    weights, halves = zip(*((one["weight"], one["half"]) for one in looks), strict=True)
    np.testing.assert_allclose(weights, explorer.looks, atol=maps.max() / 255)
    assert (np.array(halves) < maps.max() / 500).all()


def test_a_weight_that_8_bits_cannot_tell_from_zero_is_below_half_a_step(page):
    told = page.evaluate("[0, 1, 255].map((k) => module.told({ levels: [k], peak: 0.51 }, 0))")
    assert told == ["below\u00a00.001", "0.002", "0.51"]
    told = page.evaluate("[0, 0.002].map((weight) => module.timesUniform({ weight, half: 0.001 }, 100))")
    assert told == ["<\u20600.1×", "0.2×"]


def test_a_cell_is_the_product_of_its_parts(page, explorer):
    """content * spatial / overlap = combined, within what three maps of 8 bits leave."""
    place = {"layer": 2, "head": 1, "row": 0}
    weights = np.array([page.evaluate(DECODE, [kind, place]) for kind in KINDS]).T  # (256, 3)
    overlap = page.evaluate("(place) => module.overlapOf(data, place)", place)
    product = weights[:, 0] * weights[:, 1] / overlap
    content, spatial, _ = weights.max(0)
    step = 0.5 / 255 * (content * weights[:, 1] + spatial * weights[:, 0]) / overlap
    assert (abs(product - weights[:, 2]) <= 1.1 * step + weights[:, 2].max() / 255).all()


def test_a_cell_covers_its_part_of_the_image(call):
    h, w, image = 3, 4, {"x": 10, "y": 20, "wide": 80, "tall": 30}

    def cell_at(x: float, y: float) -> list[int] | None:
        return call("cellUnder", image, {"x": 10 + 80 * x, "y": 20 + 30 * y}, h, w)

    for row, column in np.ndindex(h, w):
        for x, y in ((0.01, 0.01), (0.99, 0.99)):
            assert cell_at((column + x) / w, (row + y) / h) == [row, column]
    outside = [(-0.01, 0.5), (1, 0.5), (0.5, -0.01), (0.5, 1)]
    assert [cell_at(x, y) for x, y in outside] == [None] * 4


def test_numbers_are_told_shortly(call):
    values = {0: "0", 0.00012: "0.00012", 3.2e-9: "3e−9", 0.2999: "0.3", 1: "1", 31.4: "31", 131.07: "131"}
    assert {value: call("short", value) for value in values} == values
    assert call("against", 0.125, 256) == "32×"


def test_heads_lie_in_a_grid(call):
    grids = {1: [1, 1], 4: [4, 1], 6: [3, 2], 8: [4, 2], 16: [6, 3]}
    assert {count: call("gridOf", count) for count in grids} == grids


def test_steps_stop_or_go_round(call):
    assert [call("clamp", at, 0, 2) for at in (-1, 1, 3)] == [0, 1, 2]
    assert [call("around", at, 3) for at in (-1, 1, 3)] == [2, 1, 0]
