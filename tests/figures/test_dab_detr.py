"""Figures of DAB-DETR: their numbers are the identities of the sheet."""

from __future__ import annotations

import matplotlib
import numpy as np
import torch

from marginalia.figures import dab_detr

matplotlib.use("agg")
torch.set_num_threads(1)


def test_modulation_stretches_one_axis():
    """Sheet 5.1: factors 3, 1, 1/3 on x give standard deviations of .081, .149, .230."""
    _, data = dab_detr.modulated_attention(((0.2, 0.2), (0.6, 0.2), (0.2 / 3, 0.2)))
    np.testing.assert_allclose(data["std_x"], [0.149, 0.230, 0.081], atol=1e-3)
    np.testing.assert_allclose(data["std_y"], 0.149, atol=1e-3)
    np.testing.assert_allclose(data["factor_x"], [1, 1 / 3, 3])


def test_temperature_sets_the_kernel():
    figure, data = dab_detr.temperature_maps(temperatures=(1, 20, 10000))
    kernel = data["kernel"].set_index("delta")
    # sheet 2.1: the kernel of one axis at differences of 0, .25 and 1
    np.testing.assert_allclose(kernel.loc[[0, 0.25, 1], "temperature_10000"], [64, 59.6, 47.1], atol=0.05)
    np.testing.assert_allclose(kernel.loc[[0, 0.25, 1], "temperature_20"], [64, 51.6, 12.5], atol=0.05)
    np.testing.assert_allclose(kernel.loc[[0, 1], "temperature_1"], 64, atol=1e-9)
    assert "S = 11.16" in " ".join(axes.get_title() for axes in figure.axes)
    np.testing.assert_allclose(data["maps"].filter(like="temperature").sum(), 1, atol=1e-12)
