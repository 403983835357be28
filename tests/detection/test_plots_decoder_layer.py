"""The drawing of a decoder layer: its shapes are those of the model, and nothing lies outside the page."""

from __future__ import annotations

import matplotlib
import pytest
import torch

from marginalia.detection.detector import DetectorConfig, build
from marginalia.detection.plots.decoder_layer import BOX, NODES, decoder_layer

matplotlib.use("agg")
torch.set_num_threads(1)


def test_usual_model_is_drawn_without_arguments():
    _, data = decoder_layer()
    shape = data.set_index("tensor")["shape"]
    assert shape["q"] == (1, 6, 16, 32) and shape["attention"] == (1, 6, 16, 256)


def test_shapes_are_those_of_the_model_that_is_given():
    config = DetectorConfig(width=64, heads=8, queries=7, in_channels=3, stride=8, encoder_layers=1)
    figure, data = decoder_layer(build(config), layer=2)
    sizes = {"1": 1, "B": 1, "Q": 7, "K": 256, "H": 8, "D": 8, "2D": 16, "width": 64, "2": 2}
    for row in data.itertuples():
        assert row.shape == tuple(sizes[axis] for axis in row.axes.strip("()").split(", ")), row.tensor
    written = {text.get_text() for text in figure.axes[0].texts}
    assert {" × ".join(map(str, shape)) for shape in data["shape"]} <= written


def test_everything_is_on_the_page_and_no_box_lies_on_another():
    figure, _ = decoder_layer()
    page = figure.bbox
    for text in figure.axes[0].texts:
        extent = text.get_window_extent()
        assert page.contains(extent.x0, extent.y0) and page.contains(extent.x1, extent.y1), text.get_text()
    nodes = list(NODES.values())
    for i, a in enumerate(nodes):
        for b in nodes[:i]:
            assert abs(a.x - b.x) >= BOX[0] or abs(a.y - b.y) >= BOX[1]


def test_first_layer_and_other_kinds_are_refused():
    with pytest.raises(ValueError, match="layer must be 1 or later"):
        decoder_layer(layer=0)
    with pytest.raises(ValueError, match="model: needs a conditional detector"):
        decoder_layer(build(DetectorConfig(kind="dab")))
