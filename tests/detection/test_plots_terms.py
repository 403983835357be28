"""Figures of sums of logits: what is written in the cells, and the rows of the measures."""

from __future__ import annotations

import matplotlib
import numpy as np
import pytest
import torch

from marginalia.detection.plots import terms

matplotlib.use("agg")
torch.set_num_threads(1)


def test_sum_and_attention_of_terms():
    one, other = torch.tensor([[3.0, 0], [0, -0.0]]), torch.tensor([[-1.0, 0], [2, 0]])
    figure, data = terms.sum_of_terms({"a · b": one, "c · d": other}, scale=0.5, target=(0, 0))
    assert data["sum"].tolist() == [2, 0, 2, 0]
    np.testing.assert_allclose(data["attention"], np.exp([1, 0, 1, 0]) / (2 + 2 * np.e), atol=1e-6)
    written = [text.get_text() for text in figure.axes[0].texts]
    assert written[:4] == ["3", "0", "0", "0"]  # no minus before a zero


def test_product_has_a_column_a_map():
    maps = [torch.full((2, 3), 1 / 6)] * 3
    _, data = terms.product_of_maps(*maps)
    assert list(data) == ["row", "column", "content", "spatial", "combined"] and len(data) == 6


def test_sizes_count_only_the_chosen_queries():
    logits = torch.zeros(1, 2, 3, 4)
    logits[..., 0] = torch.tensor([2.0, 20.0, 200.0])  # standard deviation 1, 10 and 100 over four cells
    found = torch.tensor([[True, False, False], [True, False, False]])
    _, data = terms.term_sizes({"c_q · c_k": logits}, found)
    np.testing.assert_allclose(data[["low", "median", "high"]], 1, atol=1e-6)


def test_trained_heads_have_a_row_each():
    measures = {name: torch.rand(2, 3, 4) for name in ("shift", "row sums")}  # (B, H, Q)
    room = torch.tensor([True, True, True, False])
    found = torch.ones(2, 4, dtype=torch.bool)
    maps = torch.full((3, 5, 5), 1 / 25)
    figure, data = terms.trained_kernels(maps, (0.5, 0.5), {2: (measures, room), 3: (measures, room)}, found)
    assert len(data) == 2 * 2 * 3 and set(data["queries"]) == {6} and set(data["layer"]) == {2, 3}
    kept = measures["shift"][:, 0][:, :3]
    assert data.loc[0, "median"] == pytest.approx(float(kept.quantile(0.5)))
    assert [text.get_text() for text in figure.subfigs[1].legends[0].get_texts()] == ["layer 2", "layer 3"]
