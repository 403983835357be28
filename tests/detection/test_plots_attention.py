"""Attention over pictures, heads beside boxes, anchors: from the shipped models, and from a reader's own."""

from __future__ import annotations

import json

import matplotlib
import numpy as np
import pytest
import torch
from PIL import Image

from marginalia.detection import heads, load, make_scenes, runs
from marginalia.detection.attention import positional_encoding
from marginalia.detection.plots import anchors, attention
from marginalia.detection.plots import heads as plots

matplotlib.use("agg")
torch.set_num_threads(1)
CONDITIONAL, DETR, DAB = "headline-conditional-0", "headline-detr-0", "headline-dab-0"


@pytest.fixture(scope="module")
def view():
    return attention.open_view(CONDITIONAL)


def test_a_view_knows_which_query_found_which_object(view):
    assert len(view.boxes) == len(view.queries) == 4
    predicted = view.captured.queries.boxes[0, view.queries].numpy()
    np.testing.assert_allclose(predicted, view.boxes, atol=0.12)
    assert view.picture.shape == (attention.SHARP, attention.SHARP)


def test_the_tint_lies_on_the_cell():
    """One cell of a 4 x 4 map: the strongest pixels of the tint are the middle of that cell."""
    _, panel = matplotlib.pyplot.subplots()
    weights = torch.zeros(4, 4)
    weights[1, 2] = 1.0
    attention.overlay(panel, np.full((64, 64), 200, np.uint8), weights, "#D55E00")
    alpha = panel.images[-1].get_array()[..., 3]
    row, column = (np.argwhere(alpha == alpha.max()).mean(0) + 0.5) / 64
    assert (row, column) == (1.5 / 4, 2.5 / 4)
    assert panel.images[-1].get_extent() == [0, 1, 1, 0]


def test_figure_1_has_a_row_a_model_and_a_column_a_side():
    figure, data = attention.spatial_attention_maps()
    assert len(figure.axes) == 12 and len(data) == 12
    assert data["watches"].tolist() == ["left", "top", "right", "bottom"] * 3
    assert (data["map"] == "spatial").all() and data["entropy"].between(0, np.log(256)).all()


def test_figure_4_shows_three_kinds_for_five_heads_and_two_objects():
    figure, data = attention.attention_decomposition()
    assert len(figure.axes) == 30
    assert data.groupby(["object", "map"]).size().tolist() == [5] * 6
    assert (data["layer"] > 0).all()


def test_the_three_maps_of_a_head_are_a_product():
    _, data = attention.product_of_maps()
    product = data["content"] * data["spatial"]
    np.testing.assert_allclose(data["combined"], product / product.sum(), atol=1e-6)
    assert len(data) == 256


def test_heads_are_chosen_by_side(view):
    chosen = heads.heads_by_side(view.summary)
    assert chosen.index.tolist() == ["left", "top", "right", "bottom", "inside"]
    for side, head in chosen[chosen["named"]].iterrows():
        assert head["side"] == side


def test_where_heads_look_counts_every_head():
    figure, data = plots.where_heads_look((CONDITIONAL, DETR))
    assert data.groupby("run").size().to_dict() == {CONDITIONAL: 18, DETR: 18}
    assert {panel.get_title(loc="center") for panel in figure.axes[:2]} == {
        attention.title_of(CONDITIONAL),
        attention.title_of(DETR),
    }


def test_measured_heads_are_those_of_the_shipped_weights():
    """The table was measured with the weights of the last evaluation, which are stored in 16 bits too."""
    table = plots.last_rows([CONDITIONAL]).reset_index(drop=True)
    again = heads.summarise(heads.looks_of(load(CONDITIONAL), make_scenes(256, split="val"))["spatial"])
    assert table["objects"].tolist() == again["objects"].tolist()
    for column in ("x", "y", "x_range", "y_range", "x_width", "y_width", "entropy"):
        np.testing.assert_allclose(table[column], again[column], rtol=0.02, atol=0.02)


def test_heads_over_training_lists_what_is_missing(monkeypatch):
    frame = runs.head_histories([CONDITIONAL])
    frame.attrs["missing"] = ["headline-dab-2"]
    monkeypatch.setattr(plots.runs, "head_histories", lambda patterns: frame)
    _, data = plots.heads_over_training()
    assert data.attrs["missing"] == ["headline-dab-2"]
    heads_each_step = data[list(heads.SIDES)].sum(axis=1)
    assert (heads_each_step == 12).all()  # two layers of six


def test_temperatures():
    figure, data = plots.widths_by_temperature()
    assert data.groupby(["map", "temperature"])["seed"].apply(set).tolist() == [set(runs.SEEDS)] * 6
    assert data.attrs["missing"] == []
    assert len(figure.axes) == 4


def test_positional_queries_of_the_three_kinds():
    """o_q; the code of the point, the same for every picture; the modulated code of the last anchor."""
    pixels = torch.from_numpy(make_scenes(1, split="val").pixels)
    detr, conditional, dab = load(DETR), load(CONDITIONAL), load(DAB)
    assert torch.equal(anchors.positional_queries(detr, pixels), detr.decoder.queries.object_query)
    points = conditional.decoder.queries.start(1)[0]
    found = anchors.positional_queries(conditional, pixels)
    torch.testing.assert_close(found, positional_encoding(points, 96, 20.0))
    with torch.no_grad():
        middle = positional_encoding(dab(pixels).references[-1, 0, :, :2], 96, 20.0)
    factor = anchors.positional_queries(dab, pixels) / middle  # one number for the y half, one for the x half
    halves = factor.unflatten(-1, (2, 48))
    torch.testing.assert_close(halves, halves[..., :1].expand_as(halves), rtol=1e-3, atol=1e-3)
    assert (halves > 0).all()


@pytest.mark.parametrize("draw", [anchors.positional_maps, anchors.learned_anchors, anchors.width_by_box])
def test_anchor_figures_need_no_argument(draw):
    figure, data = draw()
    assert len(data) and figure.axes
    numbers = data.select_dtypes("number")
    assert np.isfinite(numbers.drop(columns=[c for c in ("w", "h") if c in numbers]).to_numpy()).all()


def test_boxes_per_layer_ends_with_the_reported_box():
    _, data = anchors.boxes_per_layer()
    assert data["iou"]["mean_iou"].between(0.3, 1).all()
    assert data["boxes"].groupby(["model", "layer"]).size().tolist() == [4] * 6


def test_layer_ious_of_the_last_layer_are_at_least_a_half():
    overlap = anchors.layer_ious(load(CONDITIONAL), make_scenes(16, split="val"))
    assert overlap.shape[0] == 3 and (overlap[-1] >= 0.5).all()


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A folder that transformers wrote, with random weights, and a picture file."""
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("published")
    backbone = transformers.ResNetConfig(
        embedding_size=8,
        hidden_sizes=[8, 8, 8, 16],
        depths=[1, 1, 1, 1],
        layer_type="basic",
        out_features=["stage4"],
    )
    config = transformers.ConditionalDetrConfig(
        backbone_config=backbone, d_model=32, encoder_layers=1, decoder_layers=3, encoder_attention_heads=4,
        decoder_attention_heads=4, encoder_ffn_dim=32, decoder_ffn_dim=32, num_queries=12, num_labels=5,
    )  # fmt: skip
    torch.manual_seed(0)
    transformers.ConditionalDetrForObjectDetection(config).save_pretrained(folder / "model")
    processor = {
        "image_processor_type": "ConditionalDetrImageProcessor",
        "size": {"shortest_edge": 800, "longest_edge": 1333},
    }
    (folder / "model" / "preprocessor_config.json").write_text(json.dumps(processor))
    grey = np.linspace(0, 255, 120 * 160 * 3).reshape(120, 160, 3).astype(np.uint8)
    Image.fromarray(grey).save(folder / "picture.png")
    return f"{folder / 'model'},{folder / 'picture.png'}"


def test_a_published_checkpoint_on_an_own_picture(checkpoint):
    view = attention.open_checkpoint(*checkpoint.split(","), side=128)
    assert view.picture.shape == (120, 160, 3)
    assert len(view.queries) == len(view.boxes) >= 1
    figure, data = attention.attention_decomposition(checkpoint)
    assert set(data["layer"]) <= {1, 2} and len(data) == 15 * min(len(view.boxes), 2)
    figure, data = attention.spatial_attention_maps(checkpoint)
    assert len(figure.axes) == 4


@pytest.mark.parametrize("data", ["model", "model,", ["a", "b", "c"]])
def test_an_incomplete_pair_is_refused(data):
    with pytest.raises(ValueError, match=r"data must be 'checkpoint,picture'"):
        attention.spatial_attention_maps(data)
