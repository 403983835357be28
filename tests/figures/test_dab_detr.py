"""Figures of DAB-DETR: what queries say about place, boxes by layer, and the lead over Conditional DETR."""

from __future__ import annotations

import numpy as np
import torch

from marginalia.detection import load, make_scenes
from marginalia.detection.attention import positional_encoding
from marginalia.figures import dab_detr, runs
from marginalia.figures.conditional_detr import validation
from marginalia.record import record

torch.set_num_threads(1)


def test_positional_queries_of_the_three_kinds():
    """o_q; the encoding of the point, the same for every image; the modulated encoding of the last anchor."""
    pixels = torch.from_numpy(make_scenes(1, split="val").pixels)
    detr, conditional, dab = (load(name) for name in (dab_detr.DETR, dab_detr.CONDITIONAL, dab_detr.DAB))
    assert torch.equal(dab_detr.positional_queries(detr, pixels), detr.decoder.queries.object_query)
    points = conditional.decoder.queries.start(1)[0]
    found = dab_detr.positional_queries(conditional, pixels)
    torch.testing.assert_close(found, positional_encoding(points, 96, 20.0))
    with torch.no_grad():
        centre = positional_encoding(dab(pixels).references[-1, 0, :, :2], 96, 20.0)
    factor = (
        dab_detr.positional_queries(dab, pixels) / centre
    )  # one number for the y half, one for the x half
    halves = factor.unflatten(-1, (2, 48))
    torch.testing.assert_close(halves, halves[..., :1].expand_as(halves), rtol=1e-3, atol=1e-3)
    assert (halves > 0).all()


def test_positional_maps_have_a_row_for_each_model_and_object():
    figure, data = dab_detr.positional_maps()
    assert len(figure.axes) == 12 and data.groupby("model").size().tolist() == [4, 4, 4]


def test_learned_anchors_and_points():
    _, data = dab_detr.learned_anchors()
    assert data["w"].notna().sum() == data["w"].isna().sum() == 16


def test_boxes_per_layer_ends_with_the_reported_box():
    _, data = dab_detr.boxes_per_layer()
    assert data["iou"]["mean_iou"].between(0.3, 1).all()
    assert data["boxes"].groupby(["model", "layer"]).size().tolist() == [4] * 6


def test_layer_ious_of_the_last_layer_are_at_least_a_half():
    overlap = dab_detr.layer_ious(load(dab_detr.CONDITIONAL), *validation(16))
    assert overlap.shape[0] == 3 and (overlap[-1] >= 0.5).all()


def test_the_lead_is_seed_by_seed():
    _, data = dab_detr.convergence()
    wide = runs.histories(runs.run_names("headline"))
    wide = wide.pivot(index="step", columns="run", values="AP")
    for seed, part in data["lead"].groupby("seed"):
        both = wide[[f"headline-dab-{seed}", f"headline-conditional-{seed}"]].dropna()
        assert np.allclose(part["AP"], both.iloc[:, 0] - both.iloc[:, 1])
    assert data["published"]["AP"].tolist() == [34.9, 40.9, 42.1, 42.2, 42.6]


def test_training_curves_are_of_three_ways_to_have_queries():
    _, data = dab_detr.training_curves()
    assert data.groupby("base")["seed"].nunique().to_dict() == {
        "small-focal-offset": 3, "small-fixed-queries": 3, "small-dab": 3,
    }  # fmt: skip


def test_modulation_stretches_one_axis():
    """Sheet 5.1: factors 3, 1, 1/3 on x give standard deviations of .081, .149, .230."""
    _, data = dab_detr.modulated_attention()
    np.testing.assert_allclose(data["std_x"], [0.149, 0.230, 0.149, 0.081], atol=1e-3)
    np.testing.assert_allclose(data["std_y"], [0.149, 0.149, 0.230, 0.149], atol=1e-3)
    np.testing.assert_allclose(data["factor_x"], [1, 1 / 3, 1, 3], rtol=1e-3)  # of an anchor of .0667


def test_temperature_sets_the_kernel():
    figure, data = dab_detr.temperature_maps(temperatures=(1, 20, 10000))
    kernel = data["kernel"].set_index("delta")
    # sheet 2.1: the kernel of one axis at differences of 0, .25 and 1
    np.testing.assert_allclose(kernel.loc[[0, 0.25, 1], "temperature_10000"], [64, 59.6, 47.1], atol=0.05)
    np.testing.assert_allclose(kernel.loc[[0, 0.25, 1], "temperature_20"], [64, 51.6, 12.5], atol=0.05)
    np.testing.assert_allclose(kernel.loc[[0, 1], "temperature_1"], 64, atol=1e-9)
    assert "S = 11.16" in " ".join(axes.get_title() for axes in figure.axes)
    np.testing.assert_allclose(data["maps"].filter(like="temperature").sum(), 1, atol=1e-12)


def test_the_last_size_head_modulates_the_last_anchor():
    pixels, model = torch.from_numpy(make_scenes(1, split="val").pixels), load(dab_detr.DAB)
    head = "decoder.queries.size_head"
    with torch.no_grad(), record(model, head) as seen:
        anchors = model(pixels).references[-1, 0]
    wished = seen[head][-1].output.sigmoid()[0]
    factor = dab_detr.positional_queries(model, pixels) / positional_encoding(anchors[:, :2], 96, 20.0)
    found = factor.unflatten(-1, (2, 48)).median(-1).values[:, [1, 0]]  # the y half comes first
    torch.testing.assert_close(found, wished / anchors[:, 2:], rtol=1e-3, atol=1e-3)
