"""Figures of Relation DETR: the relation in a decoder, in attention and in AP; groups of queries."""

from __future__ import annotations

import numpy as np
import torch
from matplotlib.collections import PathCollection

from marginalia.detection import capture_self_attention, load, make_scenes
from marginalia.detection.groups import denoising
from marginalia.figures import relation_detr as figures
from marginalia.figures import runs
from marginalia.plots import panels
from marginalia.store import read_table


def test_decoder_layer_counts_the_relations_of_a_live_pass():
    data = figures.decoder_layer()[1]
    assert data["layer"].tolist() == [2, 3, 4, 5, 6]
    assert (data["source"] + data["target"]).tolist() == ["b0b1", "b1b2", "b2b3", "b3b4", "b4b5"]
    assert set(data["shape"]) == {(1, 8, 12, 12)}


def test_relation_of_a_query_multiplies_attention():
    """With these multipliers the relation alone attends as softmax(Rel) does."""
    name = figures.RELATED_MODELS[0]
    data = figures.relation_of_a_query([name])[1]
    assert data.groupby("image").size().min() > 1
    assert data["multiplier"].isna().groupby(data["image"]).sum().eq(1).all()
    first = data[data["image"] == data["image"][0]]
    pixels = torch.from_numpy(make_scenes(64, "arranged", "val", side=48, digits=(4, 4)).pixels)
    found = capture_self_attention(load(name), pixels[[first["image"][0]]])
    own = int(first["query"][first["multiplier"].isna()].iloc[0])
    rel = found.bias[-1, 0, :, own].double()  # (H, Q)
    others = torch.arange(rel.shape[1]) != own
    weights = rel[:, others].softmax(-1) * others.sum()  # over uniform
    at = dict(zip(torch.nonzero(others)[:, 0].tolist(), weights.mean(0).tolist(), strict=True))
    expected = [at.get(query, np.nan) for query in first["query"]]
    np.testing.assert_allclose(first["multiplier"], expected, rtol=1e-4)


def test_gains_are_differences_of_the_same_seed():
    data = figures.gains({"here": ("scattered-base", "scattered-relation")})[1]
    assert data["seed"].tolist() == list(range(len(data))) and len(data) >= 3
    for row in data.itertuples():
        ends = [
            read_table(f"measured/detection/scattered-{part}-{row.seed}.csv")["AP"].iloc[-1]
            for part in ("base", "relation")
        ]
        assert (row.base, row.changed) == tuple(ends) and row.gain == ends[1] - ends[0]


def test_tables_of_components_and_detectors_have_all_seeds():
    seeds = [5] * 4 + [3] * 2 + [5] * 4 + [1, 3, 3]
    for figure, expected in ((figures.components, seeds), (figures.other_detectors, [3, 3, 5, 3])):
        data = figure()[1]
        assert data.groupby("pair", sort=False).size().tolist() == expected and data["gain"].notna().all()


def test_the_contrast_pipeline_has_the_published_sizes():
    figure, data = figures.contrast_pipeline()
    shapes = data.set_index("tensor")["shape"]
    assert shapes[["denoising", "matching", "hybrid"]].tolist() == ["(14, 14)", "(900,)", "(1500,)"]
    assert shapes["relation"] == "(8, 1096, 1096)"  # 14 * 14 + 900
    written = " ".join(text.get_text() for text in figure.axes[0].texts)
    assert "8 × 1096 × 1096" in written and "14 × 14" in written
    blocked = figure.axes[1].images[0].get_array()  # 14 groups, matching, one-to-many
    assert blocked.shape == (16, 16) and (~blocked).sum() == 14 * 2 + 1 + 1


def test_a_block_matrix_shows_the_mask_and_names_its_blocks():
    groups = denoising(4, groups=2, size=3)
    _, (axes,) = panels(1, 1, 3)
    figures.block_matrix(axes, groups)
    assert np.array_equal(axes.images[0].get_array(), groups.mask())
    assert [text.get_text() for text in axes.get_yticklabels()] == [
        "noised 1, 3",
        "noised 2, 3",
        "matching, 4",
    ]
    np.testing.assert_allclose(axes.get_yticks(), [1.5, 4.5, 8])  # middles of the blocks


def test_hybrid_matching_shows_every_seed():
    figure, data = figures.hybrid_matching()
    assert len(data) == 2 * 4 * 5 and set(data["step"]) == {750}
    table = read_table("measured/detection/arranged-both-3.csv")
    row = data[(data["layout"] == "arranged") & (data["part"] == "both") & (data["seed"] == 3)]
    assert row[["AP", "duplicates"]].to_numpy().tolist() == [table[["AP", "duplicates"]].iloc[-1].tolist()]
    # the circle of a part stands at the mean of its seeds, and every seed has its dot
    mine = data[data["layout"] == "arranged"]
    circles = [c for c in figure.axes[0].collections if isinstance(c, PathCollection)]
    x, y = circles[0].get_offsets().data.T
    np.testing.assert_allclose(x, [mine.loc[mine["part"] == part, "AP"].mean() for part in runs.PARTS])
    assert np.round(y).tolist() == [0, 1, 2, 3]
    dots = figure.axes[0].lines[0].get_xdata()
    assert sorted(dots) == sorted(mine["AP"])
