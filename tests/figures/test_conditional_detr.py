"""Figures of Conditional DETR: numbers of the shipped models and tables, and a reader's own checkpoint."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from marginalia.detection import cell_scenes, heads, load, make_scenes
from marginalia.detection.attention import positional_encoding, unprojected_logits
from marginalia.detection.detector import DetectorConfig, build
from marginalia.figures import conditional_detr, runs
from marginalia.store import read_table

torch.set_num_threads(1)
CONDITIONAL, CELLS = "headline-conditional-0", "cells-conditional-0"
GROUPS = ("cells", "headline")
TABLES = {
    "table_3": conditional_detr.spatial_query_forms,
    "figure_5": conditional_detr.transformation_forms,
    "table_4": conditional_detr.components,
    "reference_point": conditional_detr.reference_points,
}


@pytest.fixture(scope="module")
def view():
    return conditional_detr.open_view(CONDITIONAL)


def test_a_run_that_is_missing_or_has_not_ended_is_an_error(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"no measured/detection/small-csq-9\.csv"):
        runs.histories(["small-csq-0", "small-csq-9"])
    table = tmp_path / "measured" / "detection" / "early-0.csv"
    table.parent.mkdir(parents=True)
    table.write_text(
        '# settings: {"options": {"steps": 750}, "detector": {"kind": "dab"}}\nstep,AP\n375,0.1\n'
    )
    monkeypatch.setenv("MARGINALIA_DATA", str(tmp_path))
    with pytest.raises(ValueError, match=r"early-0\.csv ends before its last step"):
        runs.histories(["early-0"])


def test_histories_say_which_run_a_row_is_of():
    frame = runs.histories(["headline-detr-focal-1", "small-csq-2"])
    first, last = frame.iloc[0], frame.iloc[-1]
    assert first[["run", "base", "kind", "seed", "step"]].tolist() == [
        "headline-detr-focal-1", "headline-detr-focal", "detr-focal", 1, 125,
    ]  # fmt: skip
    assert last[["base", "kind", "seed", "step"]].tolist() == ["small-csq", "conditional", 2, 750]
    assert runs.settings("long-detr-0")["options"]["steps"] == 15_000


def test_a_view_knows_which_query_is_of_which_object(view):
    assert len(view.boxes) == len(view.queries) == 4
    predicted = view.captured.queries.boxes[0, view.queries].numpy()
    np.testing.assert_allclose(predicted, view.boxes, atol=0.12)
    assert view.pixels.shape == (conditional_detr.SHARP, conditional_detr.SHARP)
    assert sorted(set(view.summary["layer"])) == [1, 2]


def test_a_view_of_a_photograph_names_heads_by_red_cells():
    view = conditional_detr.open_view(CELLS, 4)
    assert view.pixels.shape == (120, 160, 3) and view.captured.combined.shape[-2:] == (15, 20)
    assert set(view.summary["category"]) == {"red cell"} and sorted(set(view.summary["layer"])) == [1, 2]
    np.testing.assert_array_equal(view.boxes, cell_scenes("test").boxes[4])
    assert len(view.queries) == len(set(view.queries)) == len(view.boxes)


@pytest.mark.parametrize("group", GROUPS)
def test_figure_1_has_a_row_a_model_and_a_column_a_side(group):
    figure, data = conditional_detr.spatial_attention_maps(group=group)
    assert len(figure.axes) == 12 and data["side"].tolist() == ["left", "top", "right", "bottom"] * 3
    assert (data["map"] == "spatial").all() and data["entropy"].between(0, np.log(300)).all()
    steps = {"headline": "1,500 steps", "cells": "2,400 steps"}[group]
    assert data["model"].iloc[0] == f"Conditional DETR, {steps}" and data["model"].nunique() == 3


def test_figure_4_shows_three_kinds_for_five_heads_and_two_objects(view):
    for group in GROUPS:
        figure, data = conditional_detr.attention_decomposition(group=group)
        assert len(figure.axes) == 30
        assert data.groupby(["object", "map"]).size().tolist() == [5] * 6
    _, one = conditional_detr.attention_decomposition(group="headline", scene=0)  # fewer objects than asked
    assert len(one) == 15 * min(2, one["object"].nunique())
    _, same = conditional_detr.attention_decomposition(view)  # of a reader's view, the first two
    assert same["object"].unique().tolist() == [0, 1]
    columns = ["side", "map", "query", "layer", "head", "entropy"]
    both = [frame.loc[frame["object"] == 1, columns].reset_index(drop=True) for frame in (data, same)]
    pd.testing.assert_frame_equal(*both)


def test_measured_heads_are_those_of_the_shipped_weights(view):
    """The table was measured with the weights of the last evaluation, which are stored in 16 bits too."""
    peaks = heads.peaks_of(load(CONDITIONAL), make_scenes(256, split="val"))["spatial"]
    again = heads.summarise(peaks).query("layer > 0")
    assert view.summary["objects"].tolist() == again["objects"].tolist()
    for column in ("x", "y", "x_range", "y_range", "x_width", "y_width", "entropy"):
        np.testing.assert_allclose(view.summary[column], again[column], rtol=0.02, atol=0.02)


def test_measured_heads_of_photographs_are_apart_by_class():
    peaks = heads.peaks_of(load(CELLS), cell_scenes("test"))["spatial"]
    for label, name in enumerate(("red cell", "white cell", "platelet")):
        again = heads.summarise(peaks.of(label)).query("layer > 0")
        held = runs.at_the_end(runs.late_heads([CELLS], name))
        assert held["objects"].tolist() == again["objects"].tolist()
        for column in ("x", "y", "x_range", "y_range"):
            np.testing.assert_allclose(held[column], again[column], rtol=0.02, atol=0.03)


@pytest.mark.parametrize("group", TABLES)
def test_tables_have_the_papers_rows_and_our_ends(group):
    _, data = TABLES[group]()
    rows, values = data["rows"].set_index("row"), data["runs"]
    assert list(rows.index) == list(runs.GROUPS[group]) and (rows["seeds"] == 3).all()
    assert rows["published"].to_dict() == conditional_detr.published(group)
    ends = runs.at_the_end(runs.histories(runs.run_names(group)))
    run = values.iloc[-1]
    same = ends[(ends["base"] == run["base"]) & (ends["seed"] == run["seed"])]
    assert run["value"] == same["AP"].item()


def test_published_numbers_have_the_names_of_our_rows():
    """GROUPS has the rows in the order of the files."""
    table = read_table("published/conditional_detr_spatial_query.csv").set_index("variant")["AP"]
    assert conditional_detr.published("table_3") == table.to_dict()
    table = read_table("published/conditional_detr_reference_point.csv")
    assert list(runs.GROUPS["reference_point"]) == table["reference_point"].str.split().str[0].tolist()
    named = conditional_detr.published("table_4")
    assert named == {"none": 34.9, "OR": 35.0, "FL": 35.3, "OR+FL": 36.9, "OR+FL+CSQ": 40.9}
    assert conditional_detr.published("figure_5")["single"] == 39.0


@pytest.mark.parametrize("group", GROUPS)
def test_our_numbers_and_the_papers_share_no_axis(group):
    figure, data = conditional_detr.convergence(group)
    assert set(data["runs"]["run"]) == set(runs.run_names(group))
    *ours, paper = figure.axes
    assert all(axes.get_ylim() == (0, 1) for axes in ours)
    assert paper.get_ylim()[0] > 30 and "epochs" in paper.get_xlabel()
    assert sorted(data["published"]["AP"]) == [36.7, 43.3, 43.8, 44.5, 45.1]


def test_steps_to_a_level_says_what_was_not_reached():
    _, data = conditional_detr.steps_to_level("AP50", 0.97)
    long = data["base"] == runs.LONG["headline"]
    assert len(data) == 13 and data.loc[long, "bound"].tolist() == ["at most"]
    short = data[~long]
    assert short["steps"].isna().all() and (short["bound"] == "neither").all()
    _, data = conditional_detr.steps_to_level("AP50", 0.5)
    assert data["steps"].notna().all()
    assert (data.loc[data["base"] == "headline-conditional", "ratio"] == 1).all()
    _, data = conditional_detr.steps_to_level("AP50", 0.3, "cells")
    assert len(data) == 13 and data["base"].str.contains("cells").all()


def test_curves_end_with_the_training_of_the_last_run():
    frame = runs.histories(["headline-detr-0", "headline-dab-0"])
    figure = conditional_detr.curves(frame, ["AP", "loss"])
    left, right = figure.axes
    assert left.get_xlim() == right.get_xlim() == (0, 1500)
    assert left.get_ylim() == (0, 1) and right.get_ylim()[1] > 1  # a loss has no upper end
    drop = left.lines[-1]
    assert drop.get_label() == "learning rate / 10" and list(drop.get_xdata()) == [1200, 1200]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A folder that transformers wrote, with random weights, and an image file."""
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
    Image.fromarray(grey).save(folder / "image.png")
    return f"{folder / 'model'},{folder / 'image.png'}"


def test_a_published_checkpoint_on_an_own_image(checkpoint):
    view = conditional_detr.open_checkpoint(checkpoint, side=128)
    assert view.pixels.shape == (120, 160, 3) and set(view.summary["layer"]) == {1, 2}
    assert len(view.queries) == len(view.boxes) >= 1
    assert view.title == "model" and view.names == {n: f"LABEL_{n}" for n in range(5)}
    _, data = conditional_detr.attention_decomposition(checkpoint)
    assert set(data["layer"]) <= {1, 2} and len(data) == 15 * min(len(view.boxes), 2)
    figure, _ = conditional_detr.spatial_attention_maps(view)
    assert len(figure.axes) == 4


def test_a_checkpoint_of_one_layer_has_its_heads_in_layer_0(checkpoint, tmp_path):
    model = load(checkpoint.split(",")[0])
    model.model.decoder.layers = model.model.decoder.layers[:1]
    model.config.decoder_layers = 1
    model.save_pretrained(tmp_path)
    view = conditional_detr.open_checkpoint(f"{tmp_path},{checkpoint.split(',')[1]}", side=64)
    assert len(view.captured.spatial) == 1 and set(view.summary["layer"]) == {0}


IMAGES = {  # what is done to the bytes of an image, what is said
    "text": (lambda _: b"an image", r"image\.png is not an image that can be read"),
    "empty": (lambda _: b"", r"image\.png is not an image that can be read"),
    "pointer": (lambda _: b"version https://git-lfs.github.com/spec/v1\n", r"image\.png is not an image"),
    "cut": (
        lambda whole: whole[: len(whole) // 2],
        r"image\.png is not an image that can be read .*truncated",
    ),
}


@pytest.mark.parametrize(("damage", "says"), IMAGES.values(), ids=IMAGES)
def test_what_is_no_image_is_named(checkpoint, tmp_path, damage, says):
    model, image = checkpoint.split(",")
    file = tmp_path / "image.png"
    file.write_bytes(damage(Path(image).read_bytes()))
    with pytest.raises(ValueError, match=says):
        conditional_detr.open_checkpoint(f"{model},{file}")


def test_an_image_that_is_not_there_is_named(checkpoint, tmp_path):
    for name in ("other.png", "."):
        with pytest.raises(FileNotFoundError, match="there is no such image"):
            conditional_detr.open_checkpoint(f"{checkpoint.split(',')[0]},{tmp_path / name}")


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "1", "I;16"])
def test_an_image_of_another_mode_is_shown_in_colour(checkpoint, tmp_path, mode):
    Image.new(mode, (40, 30)).save(tmp_path / "image.png")
    view = conditional_detr.open_checkpoint(f"{checkpoint.split(',')[0]},{tmp_path / 'image.png'}", side=64)
    assert view.pixels.shape == (30, 40, 3)


def test_an_image_is_turned_as_it_is_shown(checkpoint, tmp_path):
    turned = Image.Exif()
    turned[0x0112] = 6  # a quarter, as telephones write it
    Image.new("RGB", (160, 120)).save(tmp_path / "image.jpg", exif=turned)
    view = conditional_detr.open_checkpoint(f"{checkpoint.split(',')[0]},{tmp_path / 'image.jpg'}", side=128)
    assert view.pixels.shape == (160, 120, 3)
    assert view.captured.combined.shape[-2:] == (6, 4)


@pytest.mark.parametrize("data", ["model", "model,", "a,b,c"])
def test_an_incomplete_pair_is_refused(data):
    with pytest.raises(ValueError, match=r"data must be 'checkpoint,image'"):
        conditional_detr.spatial_attention_maps(data)


# --- positional encodings and the decoder layer


def test_shapes_are_those_of_the_model_that_is_given():
    config = DetectorConfig(width=64, heads=8, queries=7, encoder_layers=1)
    figure, data = conditional_detr.decoder_layer(build(config))
    sizes = {"1": 1, "B": 1, "Q": 7, "K": 256, "H": 8, "D": 8, "2D": 16, "width": 64, "2": 2}
    for row in data.itertuples():
        assert row.shape == tuple(sizes[axis] for axis in row.axes.strip("()").split(", ")), row.tensor
    written = {text.get_text().rpartition("\n")[2] for text in figure.axes[0].texts}
    assert {" × ".join(map(str, shape)) for shape in data["shape"]} <= written
    with pytest.raises(ValueError, match="model: needs a conditional detector"):
        conditional_detr.decoder_layer(build(DetectorConfig(kind="dab")))


def test_the_decoder_layer_is_on_the_page_and_no_box_lies_on_another():
    figure, _ = conditional_detr.decoder_layer()
    figure.draw_without_rendering()
    texts = figure.axes[0].texts
    boxes = [text.get_bbox_patch().get_window_extent() for text in texts if text.get_bbox_patch()]
    for extent in (*boxes, *(text.get_window_extent() for text in texts)):
        assert figure.bbox.contains(extent.x0, extent.y0) and figure.bbox.contains(extent.x1, extent.y1)
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


def test_trained_heads_have_a_row_each():
    measures = {name: torch.rand(2, 3, 4) for name in ("shift", "row sums")}  # (B, H, Q)
    room = torch.tensor([True, True, True, False])
    found = torch.ones(2, 4, dtype=torch.bool)
    measured = {2: (measures, room), 3: (measures, room)}
    figure, data = conditional_detr.trained_kernels(measured, found)
    assert len(data) == 2 * 2 * 3 and set(data["queries"]) == {6} and set(data["layer"]) == {2, 3}
    kept = measures["shift"][:, 0][:, :3]
    assert data.loc[0, "median"] == pytest.approx(float(kept.quantile(0.5)))
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["layer 2", "layer 3"]
