"""Figures of DCMHA: what they show is what went through the layer, and what the formulas count."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from marginalia.figures import dcmha
from marginalia.heads import BRANCHES, VARIANTS, DCMHAttention, TinyTransformer, TransformerConfig
from marginalia.record import record

torch.set_num_threads(1)


@pytest.fixture
def scores():
    """Scores and composed scores of the example (H, T, S)."""
    layer, x = dcmha.example()
    with torch.no_grad(), record(layer, "pre") as seen:
        layer(x)
    (call,) = seen["pre"]
    return call.inputs["A"][0].numpy(), call.output[0].numpy()


def test_branches_of_the_architecture_add_up_to_the_composed_score(scores):
    before, after = scores
    figure, data = dcmha.architecture(i=4, j=2)
    branches = data["branches"]
    assert tuple(branches.index) == (*BRANCHES, "S′")
    np.testing.assert_array_equal(branches.loc["base"], before[:, 4, 2])
    np.testing.assert_array_equal(branches.loc["S′"], after[:, 4, 2])
    np.testing.assert_allclose(branches.loc[list(BRANCHES)].sum(), after[:, 4, 2], rtol=1e-5, atol=1e-5)
    assert (branches.loc[list(BRANCHES)].abs().max(axis=1) > 0.1).all()  # the example shows all of them
    bars = [axes for part in figure.subfigs for axes in part.axes if axes.patches and not axes.images]
    heights = [[bar.get_height() for bar in axes.patches] for axes in bars]
    assert [len(each) for each in heights] == [4, 2, 4, 2, 4] + [4] * 6  # R = 2 numbers in a low rank
    np.testing.assert_allclose(heights[5:], branches, rtol=1e-6)


def test_maps_of_the_architecture(scores):
    """Masked only between the compositions; weights add up to 1, composed weights do not."""
    _, data = dcmha.architecture()
    maps = data["maps"].set_index(["head", "i", "j"])
    np.testing.assert_array_equal(maps["S"].to_numpy().reshape(4, 6, 6), scores[0])
    future = maps.index.get_level_values("j") > maps.index.get_level_values("i")
    assert (maps.loc[future, ["S", "S′"]] != 0).all(axis=None) and (maps.loc[future, ["P", "P′"]] == 0).all(
        axis=None
    )
    sums = maps.groupby(["head", "i"]).sum()
    np.testing.assert_allclose(sums["P"], 1, rtol=1e-5)
    assert maps["P′"].min() < 0 and np.ptp(sums["P′"]) > 1


def test_the_example_leaves_the_random_state_alone():
    torch.manual_seed(5)
    first = torch.rand(3)
    torch.manual_seed(5)
    x = dcmha.example()[1]
    assert torch.equal(torch.rand(3), first) and torch.equal(dcmha.example()[1], x)


@pytest.mark.parametrize(("width", "heads"), [(128, 8), (32, 4), (1024, 16)])
def test_costs_are_those_of_the_modules(width, heads):
    """Parameters and cache of DCMHA beside plain heads; operations by counting products, one by one."""
    _, table = dcmha.costs((width, heads, 100))
    row = table.set_index("model").loc["yours"]
    with torch.device("meta"):
        count = [
            sum(p.numel() for p in DCMHAttention(width, heads, VARIANTS[name]).parameters())
            for name in ("MHA", "DCMHA")
        ]
    assert row["parameters"] == pytest.approx((count[1] - count[0]) / (12 * width**2))
    model = TinyTransformer(TransformerConfig(10, width, heads, 1, 8))
    cache = model.new_cache()
    with torch.no_grad():
        model(torch.zeros(1, 3, dtype=torch.long), cache)
    kept = {name: each[0, 0].numel() for name, each in cache[0].items()}
    plain = kept.pop("k") + kept.pop("v")
    assert row["cache"] == pytest.approx(sum(kept.values()) / plain)
    assert row["cache_dense"] == pytest.approx(2 * heads**2 / plain)
    # two sides of two compositions: read and write R = 2 numbers, and the gate
    composing = 4 * 100 * 2 * (2 * heads + 2 * heads + heads)
    layer = 2 * 12 * width**2 + 2 * 2 * width * 100
    expected = (2 * (count[1] - count[0]) + composing) / layer
    assert row["operations_100"] == pytest.approx(expected)


def test_costs_of_published_shapes():
    """What the specification gives for DCFormer-2.8B and DCPythia-6.9B, in per cent."""
    _, table = dcmha.costs()
    table = table.set_index("model")
    expected = {"DCPythia-6.9B": (1.8, 3.0), "DCFormer-2.8B": (3.4, 5.7)}
    for model, percent in expected.items():
        row = table.loc[model, ["operations_2048", "operations_8192"]]
        np.testing.assert_allclose(100 * row.astype(float), percent, atol=0.1)
    assert (table["D"] % table["H"] == 0).all() and "yours" not in table.index


def test_speed_is_relative_to_plain_heads():
    figure, table = dcmha.speed()
    wide = table.pivot(index="tokens", columns="heads", values=["milliseconds", "ratio"])
    assert (wide["ratio", "MHA"] == 1).all() and (wide["milliseconds"] > 0).all(axis=None)
    np.testing.assert_allclose(wide["ratio"], wide["milliseconds"].div(wide["milliseconds", "MHA"], axis=0))
    lines = {line.get_label(): line.get_ydata() for line in figure.axes[0].lines}
    np.testing.assert_array_equal(lines["DCMHA"], wide["ratio", "DCMHA"])


def test_published_training_speed():
    figure, table = dcmha.training_speed()
    assert len(table) == 5 and table["ratio"].between(0.7, 0.95).all()
    assert [bar.get_width() for bar in figure.axes[0].patches] == table["ratio"].tolist()
