"""Peaks of attention maps beside boxes, on maps whose answer is known."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch

from marginalia.detection import heads, make_scenes
from marginalia.detection.attention import positional_encoding
from marginalia.detection.detector import DetectorConfig, build
from marginalia.detection.heads import Peaks, heads_by_side, permute_boxes, sides, summarise

torch.set_num_threads(1)


def bump(x, y, sx=0.06, sy=0.06, h=16, w=24):
    """A Gaussian map around (x, y), sampled at the middles of cells, float64."""
    across = (torch.arange(w, dtype=torch.float64) + 0.5) / w
    down = (torch.arange(h, dtype=torch.float64) + 0.5) / h
    logits = -((across - x) ** 2) / (2 * sx**2) - ((down[:, None] - y) ** 2) / (2 * sy**2)
    return logits.flatten().softmax(0).view(h, w)


@pytest.mark.parametrize("place", [(0.5, 0.5), (0.313, 0.72), (0.61, 0.28)])
def test_the_peak_of_a_gaussian_is_found_between_cells(place):
    # the logarithm of a Gaussian is a parabola, so the answer is exact
    np.testing.assert_allclose(heads.peak_positions(bump(*place)), place, atol=1e-9)


def test_at_the_border_the_peak_is_the_middle_of_its_cell():
    np.testing.assert_allclose(heads.peak_positions(bump(-1, 2)), [0.5 / 24, 15.5 / 16], atol=1e-12)


def test_a_flat_map_has_its_first_cell_and_all_entropy():
    flat = torch.full((16, 16), 1 / 256, dtype=torch.float64)
    np.testing.assert_allclose(heads.peak_positions(flat), [1 / 32, 1 / 32], atol=1e-12)
    assert heads.map_entropy(flat).item() == pytest.approx(math.log(256))
    np.testing.assert_allclose(heads.map_widths(flat), math.sqrt((1 - 1 / 256) / 12), atol=1e-12)


def test_one_cell_has_no_width_and_no_entropy():
    one = torch.zeros(8, 8)
    one[2, 5] = 1
    assert heads.map_entropy(one).item() == 0
    assert heads.map_widths(one).tolist() == [0, 0]
    np.testing.assert_allclose(heads.peak_positions(one), [5.5 / 8, 2.5 / 8], atol=1e-6)


def test_widths_are_those_of_the_marginals():
    np.testing.assert_allclose(heads.map_widths(bump(0.5, 0.5, 0.1, 0.05)), [0.1, 0.05], rtol=0.01)


def test_the_sine_kernel_peaks_at_the_point_minus_half_a_cell():
    """Keys stand for the lower right corner of a cell (sheet 7.5): in the image, peaks lie up and left."""
    from marginalia.detection.attention import cell_positions

    point = torch.tensor([[0.4, 0.6]], dtype=torch.float64)
    keys = positional_encoding(cell_positions(16, 16, torch.float64), 64, 20.0)
    kernel = (positional_encoding(point, 64, 20.0) @ keys.T).softmax(-1).view(16, 16)
    np.testing.assert_allclose(heads.peak_positions(kernel), [0.4 - 0.5 / 16, 0.6 - 0.5 / 16], atol=2e-3)


def peaks(offset, boxes):
    """Peaks of one head in one layer with given offsets (N, 2)."""
    peak = boxes[:, :2] + torch.as_tensor(offset) * boxes[:, 2:] / 2
    width, entropy = torch.full((1, 1, len(boxes), 2), 0.05), torch.ones(1, 1, len(boxes))
    return Peaks(boxes, peak[None, None], width, entropy)


@pytest.fixture
def boxes(rng):
    return torch.from_numpy(
        np.column_stack([rng.uniform(0.2, 0.8, (400, 2)), rng.uniform(0.1, 0.4, (400, 2))])
    )


def only(summary):
    """The one row of a summary, and its side."""
    assert len(summary) == 1
    return summary.iloc[0], sides(summary).item()


def test_summary_of_a_head_that_follows_the_top(boxes):
    offset = torch.tensor([0.1, -0.9]) + 0.2 * torch.from_numpy(
        np.random.default_rng(1).normal(size=(400, 2))
    )
    row, side = only(summarise(peaks(offset, boxes)))
    assert (row["layer"], row["head"], row["objects"], side) == (0, 0, 400, "top")
    np.testing.assert_allclose(row[["x", "y"]], [0.1, -0.9], atol=0.05)
    np.testing.assert_allclose(row[["x_range", "y_range"]], 0.2 * 1.349, rtol=0.15)
    np.testing.assert_allclose(row[["x_width", "y_width", "entropy"]], [0.05, 0.05, 1], rtol=1e-6)


def test_permuted_boxes_unsettle_a_head_that_follows_its_object(boxes):
    found = peaks(torch.zeros(400, 2, dtype=torch.float64), boxes)
    assert only(summarise(found))[1] == "inside"
    chance, side = only(summarise(permute_boxes(found)))
    assert side == "unlocalised" and min(chance["x_range"], chance["y_range"]) > 2


def test_permuted_boxes_do_not_unsettle_a_head_that_peaks_at_a_fixed_place(boxes):
    fixed = peaks((0.5 - boxes[:, :2]) / (boxes[:, 2:] / 2), boxes)
    before, after = only(summarise(fixed)), only(summarise(permute_boxes(fixed)))
    assert before[0]["x_range"] == pytest.approx(after[0]["x_range"])
    assert before[1] == after[1] == "unlocalised"


def frame(*rows):
    return pd.DataFrame(rows, columns=["x", "y", "x_range", "y_range"])


@pytest.mark.parametrize(
    ("numbers", "side"),
    [
        ((-0.9, 0.1, 0.4, 3.0), "left"),  # a band: steady along x only
        ((0.9, 0.1, 0.4, 0.4), "right"),
        ((-0.6, -0.8, 0.4, 0.4), "top"),  # a corner goes to the side it is further out on
        ((0.1, 1.3, 5.0, 0.9), "bottom"),
        ((0.4, -0.2, 0.9, 0.9), "inside"),
        ((0.4, -0.2, 0.9, 1.2), "unlocalised"),
        ((-2.0, 3.0, 2.0, 2.0), "unlocalised"),
        ((-0.7, 2.5, 0.4, 3.0), "unlocalised"),  # a blob below the box is not on its left
        ((-1.2, 1.5, 0.4, 0.4), "unlocalised"),  # nor is one beyond a corner
        ((-0.7, 1.5, 0.4, 0.4), "bottom"),
        ((-1.1, 0.9, 0.4, 0.4), "left"),
        ((math.nan, math.nan, math.nan, math.nan), ""),
    ],
)
def test_sides(numbers, side):
    assert sides(frame(numbers)).item() == side


def test_sides_keep_the_index():
    rows = frame((-0.9, 0.1, 0.4, 3.0), (0.1, 1.3, 5.0, 0.9)).set_axis([7, 3])
    assert sides(rows).to_dict() == {7: "left", 3: "bottom"}


def test_few_objects_give_no_numbers(boxes):
    row, side = only(summarise(peaks(torch.zeros(10, 2), boxes[:10])))
    assert row["objects"] == 10 and side == "" and np.isnan(row["x"])


def test_one_head_a_side_is_the_steadiest_of_it_or_the_nearest():
    rows = frame((0, -0.9, 3, 0.8), (0, -0.7, 3, 0.4), (-0.9, 0, 0.4, 0.4), (0, 1.5, 2, 2), (2, 0, 4, 2))
    chosen = heads_by_side(rows.assign(head=range(5)))
    assert chosen["head"].to_dict() == {"left": 2, "top": 1, "right": 4, "bottom": 3, "inside": 1}
    assert chosen["named"].to_dict() == {
        "left": True,
        "top": True,
        "right": False,
        "bottom": False,
        "inside": False,
    }


@pytest.mark.parametrize("kind", ["detr", "conditional", "dab"])
def test_peaks_of_an_untrained_model(kind, monkeypatch):
    model = build(DetectorConfig(kind=kind, width=16, heads=2, encoder_layers=1, decoder_layers=2, queries=8))
    scenes = make_scenes(6, split="val", side=32)
    monkeypatch.setattr(heads, "found_by", partial(heads.found_by, least_iou=0.0))
    found = heads.peaks_of(model.eval(), scenes)
    ground_truth = torch.from_numpy(np.concatenate(scenes.boxes))
    for one in found.values():
        assert one.peak.shape == (2, 2, len(ground_truth), 2)
        # every object has a query; their order within an image is that of the queries
        assert torch.equal(one.boxes.sort(0).values, ground_truth.sort(0).values)
        assert ((one.peak > 0) & (one.peak < 1)).all()
        assert (one.entropy <= math.log(64) + 1e-5).all()


def test_peaks_of_one_class():
    places, maps = torch.rand(2, 3, 6, 2), torch.rand(2, 3, 6, 2)
    labels, boxes = torch.tensor([0, 2, 0, 1, 2, 0]), torch.rand(6, 4)
    whole = Peaks(boxes, places, maps, maps[..., 0], labels)
    for label in range(4):
        kept = (labels == label).nonzero()[:, 0]
        part = whole.of(label)
        assert torch.equal(part.labels, labels[kept]) and torch.equal(part.boxes, boxes[kept])
        assert torch.equal(part.offset, whole.offset[:, :, kept])
        assert torch.equal(part.width, maps[:, :, kept])
        assert torch.equal(part.entropy, maps[:, :, kept, 0])
    assert summarise(whole.of(3))["objects"].eq(0).all()


def test_objects_found_keep_their_labels(monkeypatch):
    model = build(DetectorConfig(width=16, heads=2, encoder_layers=1, decoder_layers=2, queries=8))
    scenes = make_scenes(6, split="val", side=32)
    monkeypatch.setattr(heads, "found_by", partial(heads.found_by, least_iou=0.0))
    found = heads.peaks_of(model.eval(), scenes)["spatial"]
    known = zip(np.concatenate(scenes.boxes).tolist(), np.concatenate(scenes.labels).tolist(), strict=True)
    seen = zip(found.boxes.tolist(), found.labels.tolist(), strict=True)
    assert sorted(seen) == sorted(known)
