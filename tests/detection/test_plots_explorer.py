"""The still picture of the attention explorer: its numbers are the maps', and nothing in it runs together."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

from marginalia.detection.capture import capture_attention
from marginalia.detection.detector import DetectorConfig, build
from marginalia.detection.plots.explorer import KINDS, peak_told, query_attention
from marginalia.detection.scenes import make_scenes

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def scenes():
    return make_scenes(2, split="val")


@pytest.fixture(scope="module")
def captured(scenes):
    """Of a model that has not learnt anything."""
    return capture_attention(build(DetectorConfig()), torch.from_numpy(scenes.pixels))


def draw(captured, scenes, *choice, **options):
    return query_attention(captured, scenes.pixels[1, 0], *choice, image=1, **options)


def test_the_data_are_the_maps(captured, scenes):
    data = draw(captured, scenes, 3, 1, 2, "spatial")[1]
    cells, heads = data["cells"], data["heads"]
    for kind in KINDS:
        maps = getattr(captured, kind)[1, 1, :, 3].numpy()
        np.testing.assert_array_equal(cells[kind], maps[2].ravel())
        np.testing.assert_array_equal(heads[f"{kind} peak"], maps.max((1, 2)))
    best = cells.loc[cells["spatial"].idxmax()]
    assert heads.loc[2, ["x", "y"]].tolist() == [(best["column"] + 0.5) / 16, (best["row"] + 0.5) / 16]
    # float32 maps, multiplied in float64
    product = cells["content"] * cells["spatial"] / heads.loc[2, "overlap"]
    np.testing.assert_allclose(product, cells["combined"], atol=1e-6)


def test_boxes_are_those_of_the_queries_in_pixels(captured, scenes):
    names = {label: f"digit {label}" for label in range(10)}
    boxes = draw(captured, scenes, 3, names=names, shown=[7, 3])[1]["boxes"]
    assert boxes["query"].tolist() == [7, 3]
    cx, cy, w, h = 64 * captured.queries.boxes[1, 7].numpy()
    np.testing.assert_allclose(boxes.loc[0, ["x", "y", "w", "h"]].tolist(), [cx - w / 2, cy - h / 2, w, h])
    assert boxes.loc[0, "name"] == f"digit {int(captured.queries.labels[1, 7])}"
    assert len(draw(captured, scenes, 3)[1]["boxes"]) == 16


def test_the_chosen_query_has_its_box_in_any_case(captured, scenes):
    assert draw(captured, scenes, 3, shown=[7])[1]["boxes"]["query"].tolist() == [7, 3]


@pytest.mark.parametrize(
    ("choice", "told"),
    [
        ((16,), "query must be -16 to 15"),
        ((0, 3), "layer must be -3 to 2"),
        ((0, 0, 6), "head must be -6 to 5"),
    ],
)
def test_a_choice_that_is_not_there(captured, scenes, choice, told):
    with pytest.raises(ValueError, match=told):
        draw(captured, scenes, *choice)
    with pytest.raises(ValueError, match="kind must be one of content, spatial, combined, not 'mean'"):
        draw(captured, scenes, 0, kind="mean")


@pytest.mark.parametrize("layer", [0, 2])
def test_nothing_runs_together(captured, scenes, layer):
    """Captions of neighbouring maps stay apart, titles inside the figure; the first layer's are longest."""
    figure = draw(captured, scenes, 3, layer)[0]
    figure.draw_without_rendering()
    captions = [axes.xaxis.label.get_window_extent() for axes in figure.axes[-3:]]
    assert all(a.x1 < b.x0 for a, b in pairwise(captions))
    assert captions[-1].x1 < figure.bbox.x1
    for part in figure.subfigs + figure.subfigs[1].subfigs:
        if part._suptitle is not None:
            assert part._suptitle.get_window_extent().x1 < figure.bbox.x1
    sizes = [text.get_fontsize() for text in figure.findobj(lambda a: hasattr(a, "get_fontsize"))]
    assert min(sizes) >= 7


def test_maps_lie_on_their_cells(captured, scenes):
    """Column j covers [j, j + 1] / w of the picture, in the small maps and over the picture."""
    figure = draw(captured, scenes, 3)[0]
    for axes in figure.axes:
        assert all(image.get_extent() == [0, 64, 64, 0] for image in axes.images)


def test_peaks_are_told_with_two_digits_and_no_power_of_ten():
    flat = np.full((16, 16), 1 / 256)
    sharp = np.zeros((16, 16))
    sharp[2, 3] = 0.512
    assert (peak_told(flat), peak_told(sharp)) == ("1×", "131×")
