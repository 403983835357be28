"""Figures of the unprojected code: their numbers are the identities of the sheet."""

from __future__ import annotations

import matplotlib
import numpy as np
import pytest
import torch

from marginalia.detection.attention import shift_encoding
from marginalia.detection.plots import kernels

matplotlib.use("agg")
torch.set_num_threads(1)


@pytest.mark.parametrize("draw", [kernels.modulated_attention, kernels.temperature_maps])
def test_figures_of_the_catalogue_need_no_arguments(draw):
    figure, data = draw()
    assert figure.axes
    for frame in data.values() if isinstance(data, dict) else [data]:
        assert len(frame) and np.isfinite(frame.to_numpy(float)).all()


def test_modulation_stretches_one_axis():
    """Sheet 5.1: factors 3, 1, 1/3 on x give standard deviations of .081, .149, .230."""
    _, data = kernels.modulated_attention(((0.2, 0.2), (0.6, 0.2), (0.2 / 3, 0.2)))
    np.testing.assert_allclose(data["std_x"], [0.149, 0.230, 0.081], atol=1e-3)
    np.testing.assert_allclose(data["std_y"], 0.149, atol=1e-3)
    np.testing.assert_allclose(data["factor_x"], [1, 1 / 3, 3])


def test_temperature_sets_the_kernel():
    figure, data = kernels.temperature_maps(temperatures=(1, 20, 10000))
    kernel = data["kernel"].set_index("delta")
    # sheet 2.1: the kernel of one axis at differences of 0, .25 and 1
    np.testing.assert_allclose(kernel.loc[[0, 0.25, 1], "temperature_10000"], [64, 59.6, 47.1], atol=0.05)
    np.testing.assert_allclose(kernel.loc[[0, 0.25, 1], "temperature_20"], [64, 51.6, 12.5], atol=0.05)
    np.testing.assert_allclose(kernel.loc[[0, 1], "temperature_1"], 64, atol=1e-9)
    assert "S = 11.16" in " ".join(axes.get_title() for axes in figure.axes)
    np.testing.assert_allclose(data["maps"].filter(like="temperature").sum(), 1, atol=1e-12)


def test_only_pairwise_forms_and_rotations_move_along():
    generator = torch.Generator().manual_seed(0)
    random = torch.randn(64, generator=generator, dtype=torch.float64)
    step = torch.tensor([[2 / 12, 1 / 12]], dtype=torch.float64)
    forms = {
        "same": lambda p: p,
        "pairs": lambda p: p * random[:32].repeat_interleave(2),
        "turned": lambda p: shift_encoding(p, step, 20.0),
        "free": lambda p: p * random,
    }
    _, data = kernels.transformations(forms, [(4 / 12, 4 / 12), (6 / 12, 7 / 12)], (2, 3), (12, 12), width=64)
    departure = data.set_index("form")["departure"]
    assert departure[["same", "pairs", "turned"]].max() < 1e-4 and departure["free"] > 0.5
    np.testing.assert_allclose(data.loc[2, ["peak_x_0", "peak_y_0"]].astype(float), [2, 1], atol=1e-9)


def test_outer_product_is_the_map():
    _, data = kernels.outer_product(size=(7, 9))
    assert len(data) == 63
    np.testing.assert_allclose(data["attention"], data["product"], atol=1e-14)


def test_equal_temperatures_find_the_query_and_mixed_ones_do_not():
    _, data = kernels.temperature_pairs(points=51)
    for (query, key), rows in data.groupby(["query_temperature", "key_temperature"]):
        error = (rows["best"] - rows["v"]).abs().max()
        assert (error < 1e-9) if query == key else (error > 0.5)


def test_half_cell_offset_and_its_absence():
    _, data = kernels.half_cell(size=(5, 8))
    corner, middle = (data.pivot(index="row", columns="column", values=c) for c in ("corner", "middle"))
    assert corner.sum().idxmax() == 3  # the point is the border of columns 3 and 4
    np.testing.assert_allclose(middle, middle.to_numpy()[::-1, ::-1], atol=1e-6)  # symmetric about the point


def test_code_starts_with_sine_zero_and_cosine_one():
    _, data = kernels.sine_encoding(width=16)
    np.testing.assert_allclose(data.iloc[0], [0] + [0, 1] * 4, atol=1e-15)


def test_panel_shows_the_lambda_that_it_uses():
    figure, data = kernels.spatial_query_panel(factor_x=2, factor_y=-1, cosine=0.5, fast=3)
    scale = data["scale"].to_numpy()
    np.testing.assert_allclose(scale[[0, 1, 32, 33]], [-3, -1.5, 6, 3])  # y half first; sine, cosine
    np.testing.assert_allclose(scale[[30, 31, 62, 63]], [-1, -0.5, 2, 1])  # the slowest frequency
    assert figure.axes[1].get_ylim()[0] < -3 and figure.axes[1].get_ylim()[1] > 6
