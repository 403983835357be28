"""Figures of Conditional DETR: their numbers, and nothing in the drawings runs together."""

from __future__ import annotations

import matplotlib
import numpy as np
import pytest
import torch

from marginalia.detection.attention import positional_encoding, unprojected_logits
from marginalia.detection.detector import DetectorConfig, build
from marginalia.figures import conditional_detr

matplotlib.use("agg")
torch.set_num_threads(1)


def test_shapes_are_those_of_the_model_that_is_given():
    config = DetectorConfig(width=64, heads=8, queries=7, encoder_layers=1)
    figure, data = conditional_detr.decoder_layer(build(config))
    sizes = {"1": 1, "B": 1, "Q": 7, "K": 256, "H": 8, "D": 8, "2D": 16, "width": 64, "2": 2}
    for row in data.itertuples():
        assert row.shape == tuple(sizes[axis] for axis in row.axes.strip("()").split(", ")), row.tensor
    written = {text.get_text() for text in figure.axes[0].texts}
    assert {" × ".join(map(str, shape)) for shape in data["shape"]} <= written
    with pytest.raises(ValueError, match="model: needs a conditional detector"):
        conditional_detr.decoder_layer(build(DetectorConfig(kind="dab")))


def test_the_decoder_layer_is_on_the_page_and_no_box_lies_on_another():
    figure, _ = conditional_detr.decoder_layer()
    figure.draw_without_rendering()
    for text in figure.axes[0].texts:
        extent = text.get_window_extent()
        assert figure.bbox.contains(extent.x0, extent.y0), text.get_text()
        assert figure.bbox.contains(extent.x1, extent.y1), text.get_text()
    boxes = [patch.get_window_extent() for patch in figure.axes[0].patches if patch.get_zorder() == 3]
    assert len(boxes) == 18
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_encoding_starts_with_sine_zero_and_cosine_one():
    _, data = conditional_detr.sine_encoding(width=16)
    np.testing.assert_allclose(data.iloc[0], [0] + [0, 1] * 4, atol=1e-15)


def test_an_unprojected_map_is_its_outer_product():
    p_s = positional_encoding(torch.tensor([0.3, 0.7], dtype=torch.float64), 64)
    attention = unprojected_logits(p_s, 7, 9).flatten().softmax(0).reshape(7, 9)
    _, data = conditional_detr.outer_product(attention, (0.3, 0.7))
    assert len(data) == 63
    np.testing.assert_allclose(data["attention"], data["product"], atol=1e-14)


def test_equal_temperatures_find_the_query_and_mixed_ones_do_not():
    _, data = conditional_detr.temperature_pairs()
    for (query, key), rows in data.groupby(["query_temperature", "key_temperature"]):
        error = (rows["best"] - rows["v"]).abs().max()
        assert (error < 1e-9) if query == key else (error > 0.5)


def test_trained_heads_have_a_row_each():
    measures = {name: torch.rand(2, 3, 4) for name in ("shift", "row sums")}  # (B, H, Q)
    room = torch.tensor([True, True, True, False])
    found = torch.ones(2, 4, dtype=torch.bool)
    measured = {2: (measures, room), 3: (measures, room)}
    maps = torch.full((3, 5, 5), 1 / 25)
    figure, data = conditional_detr.trained_kernels(maps, (0.5, 0.5), measured, found)
    assert len(data) == 2 * 2 * 3 and set(data["queries"]) == {6} and set(data["layer"]) == {2, 3}
    kept = measures["shift"][:, 0][:, :3]
    assert data.loc[0, "median"] == pytest.approx(float(kept.quantile(0.5)))
    assert [text.get_text() for text in figure.subfigs[1].legends[0].get_texts()] == ["layer 2", "layer 3"]
