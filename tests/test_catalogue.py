"""The list of the papers' figures and the published numbers: complete, well formed, true to their sources."""

from __future__ import annotations

import importlib
import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from marginalia.catalogue import Row, catalogue, find

ROOT = Path(__file__).resolve().parents[1]
PUBLISHED = ROOT / "data" / "published"
ROWS = catalogue(ROOT / "notebooks" / "figures.yml")
TABLES = sorted(PUBLISHED.glob("*.csv"))

PREFIXES = {
    "Conditional DETR": "conditional-detr",
    "DAB-DETR": "dab-detr",
    "Relation DETR": "relation-detr",
    "TopKD": "topkd",
    "RipsNet": "ripsnet",
    "DCMHA": "dcmha",
}
# Optional fields that a row of each status must and may have, besides `number`.
BY_STATUS = {
    "here": ({"notebook", "function", "differences"}, {"arguments", "data"}),
    "published numbers": ({"notebook", "differences", "data"}, {"function"}),
    "not confirmed": ({"differences"}, set()),
    "needs data that is not public": ({"differences"}, set()),
}
OPTIONAL = ("notebook", "function", "arguments", "data", "differences")
# Numbers that the source gives; any other number in the file would be a guess.
NUMBERED = {
    "conditional-detr": {("figure", n) for n in (1, 2, 3, 4, 5)} | {("table", n) for n in (1, 2, 3, 4)},
    "dab-detr": {("figure", n) for n in (3, 4, 6, 7, 10, 11, 13)}
    | {("table", n) for n in (2, 3, 6, 7, 8, 9)},
    "relation-detr": {("figure", 1)} | {("table", n) for n in range(1, 7)},
    "topkd": set(),
    "ripsnet": {("figure", 1), ("figure", 2), ("figure", 3), ("table", 1), ("table", 2)},
    "dcmha": {("figure", 2)},
}


SMALL = """
figures:
- {id: some-paper/curve, paper: Some Paper, kind: figure, number: 2, title: A | B, status: here,
   notebook: 20_curve, function: "some.module:curve", arguments: {points: 5}, differences: Fewer points.}
- {id: some-paper/results, paper: Some Paper, kind: table, number: null, title: Results,
   status: published numbers, notebook: 00_tour, data: [some.csv]}
- {id: other-paper/teaser, paper: Other Paper, kind: figure, title: Teaser, status: not confirmed}
"""


def names(row: Row) -> str:
    return row.id


def load(name: str) -> pd.DataFrame:
    return pd.read_csv(PUBLISHED / f"{name}.csv", comment="#", dtype={"schedule_epochs": str})


# Reading


@pytest.fixture
def plant(tmp_path):
    """Write a catalogue for the test."""

    def plant(text: str) -> Path:
        path = tmp_path / "figures.yml"
        path.write_text(text, encoding="utf-8")
        return path

    return plant


def test_rows_are_read_in_order_and_again_after_an_edit(plant):
    rows = catalogue(plant(SMALL))
    assert [row.id for row in rows] == ["some-paper/curve", "some-paper/results", "other-paper/teaser"]
    assert rows[0].arguments == {"points": 5} and rows[1].arguments == {}
    assert rows[1].data == ("some.csv",)
    assert catalogue(plant(SMALL.replace("Teaser", "Another")))[2].title == "Another"


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("status: not confirmed", "status: soon", r"row 3 \(other-paper/teaser\): .*'soon'.*`\$\.status`"),
        ("kind: table", "kind: tables", r"row 2 .*'tables'.*`\$\.kind`"),
        ("title: Teaser, ", "", r"row 3 .*missing required field `title`"),
        ("title: Teaser", "title: 3", r"row 3 .*`str`, got `int` - at `\$\.title`"),
        ("title: Teaser", "titel: Teaser", r"row 3 .*unknown field `titel`; near it: title"),
        ("other-paper/teaser", "teaser", r"row 3 \(teaser\): .*matching regex.*`\$\.id`"),
        ("id: other-paper/teaser, ", "", r"row 3 \(no id\): .*missing required field `id`"),
        ("other-paper/teaser", "some-paper/curve", r"row 3 \(some-paper/curve\): the `id` is used twice"),
        ("notebook: 20_curve, ", "", r"row 1 .*status 'here' needs the field `notebook`"),
        (", data: [some.csv]", "", r"row 2 .*needs the field `data`"),
        ("module:curve", "module.curve", r"row 1 .*matching regex.*`\$\.function`"),
        ("{points: 5}", "[5]", r"row 1 .*`object`, got `array` - at `\$\.arguments`"),
        ("figures:", "rows:", r"^figures\.yml: .*missing required field `figures`"),
        ("title: Teaser", "title: [Teaser", r"^figures\.yml: .*line 7"),
    ],
)
def test_a_wrong_row_is_named(plant, before, after, message):
    assert before in SMALL
    path = plant(SMALL.replace(before, after))
    with pytest.raises(ValueError, match=message) as caught:
        catalogue(path)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("figures.yml")


def test_an_id_is_found_or_told_its_neighbours():
    assert find("conditional-detr/convergence").number == 2
    assert find("extra/mine") is None
    with pytest.raises(ValueError, match=r"near it: conditional-detr/convergence.*called extra/name"):
        find("conditional-detr/convergense")
    with pytest.raises(ValueError, match="small letters"):
        find("Not an ID")


# What is in it


@pytest.mark.parametrize("row", ROWS, ids=names)
def test_row_has_the_fields_of_its_status(row):
    must, may = BY_STATUS[row.status]
    given = {name for name in OPTIONAL if getattr(row, name)}
    assert must <= given <= must | may
    assert row.id.split("/")[0] == PREFIXES[row.paper]
    for text in (row.title, row.differences):
        assert text.strip() == text and len(text) > 10
    assert row.differences.endswith(".")


def test_numbers_are_the_confirmed_ones_and_no_others():
    for prefix, confirmed in NUMBERED.items():
        given = [(row.kind, row.number) for row in ROWS if row.id.startswith(prefix + "/")]
        given = [pair for pair in given if pair[1] is not None]
        assert len(given) == len(set(given)), f"{prefix}: a number twice"
        assert set(given) == confirmed, prefix


@pytest.mark.parametrize("row", [r for r in ROWS if r.status in ("here", "published numbers")], ids=names)
def test_what_is_shown_has_its_notebook(row):
    assert (ROOT / "notebooks" / f"{row.notebook}.py").is_file()
    assert (ROOT / "notebooks" / f"{row.notebook}.ipynb").is_file()


@pytest.mark.parametrize("row", [r for r in ROWS if r.function], ids=names)
def test_what_is_drawn_can_be_imported(row):
    module, _, function = row.function.partition(":")
    assert callable(getattr(importlib.import_module(module), function))


def test_rows_and_tables_of_published_numbers_belong_together():
    named = {name for row in ROWS for name in row.data}
    assert named == {path.name for path in TABLES}


# The README's table of it


@pytest.fixture(scope="module")
def tool():
    return SimpleNamespace(**runpy.run_path(str(ROOT / "tools" / "gallery.py")))


def test_the_gallery_is_put_between_its_markers(tool, plant):
    readme = f"before\n{tool.START}\nold\n{tool.END}\nafter\n"
    once = tool.put(readme, tool.gallery(catalogue(plant(SMALL))))
    assert once.startswith("before\n<!-- gallery:start -->\n\n### Some Paper\n")
    assert once.endswith("<!-- gallery:end -->\nafter\n")
    assert "| figure 2 | A \\| B | [20_curve](notebooks/20_curve.ipynb): `some-paper/curve` |" in once
    assert "| table | Results | published numbers, [00_tour](notebooks/00_tour.ipynb) |" in once
    assert "old" not in once
    for text in ("", f"{tool.END} {tool.START}", tool.START):
        with pytest.raises(ValueError, match=r"README\.md: expected <!-- gallery:start"):
            tool.put(text, "")


def test_the_readme_shows_the_catalogue(tool):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert tool.put(text, tool.gallery(ROWS)) == text, "run: python tools/gallery.py"


# Published numbers


@pytest.mark.parametrize("path", TABLES, ids=lambda path: path.stem)
def test_table_says_what_it_is_and_every_row_says_where_it_is_from(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    comments = [line for line in lines if line.startswith("#")]
    assert len(comments) >= 2 and lines[: len(comments)] == comments
    assert all(line.startswith("# ") for line in comments)
    assert any(line.startswith("# Paper") for line in comments)
    # '#' inside a row would cut it off for readers that take it for a comment.
    assert not any("#" in line for line in lines[len(comments) :])

    table = load(path.stem)
    assert len(table) and not table.duplicated().any()
    assert table.columns[-1] == "source"
    assert table["source"].str.len().gt(5).all()
    assert not table["source"].str.contains("memory|unconfirmed", case=False).any()


@pytest.mark.parametrize("path", [p for p in TABLES if "AP" in load(p.stem)], ids=lambda path: path.stem)
def test_average_precisions_are_plausible(path):
    table = load(path.stem)
    assert table["AP"].dropna().between(20, 70).all()
    if "AP50" in table:
        full = table.dropna(subset=["AP50"])
        assert (full["AP75"] > full["AP"] - 0.5).all() and (full["AP50"] > full["AP75"]).all()
    if "AP_small" in table:
        full = table.dropna(subset=["AP_small"])
        assert (full["AP_small"] < full["AP"]).all() and (full["AP_large"] > full["AP"]).all()
        assert full["AP_medium"].between(full["AP_small"], full["AP_large"]).all()


@pytest.mark.parametrize(
    ("name", "column", "low", "high"),
    [
        ("conditional_detr_coco", "gflops", 70, 270),
        ("conditional_detr_coco", "parameters_million", 30, 70),
        ("conditional_detr_coco_multi_scale", "gflops", 170, 260),
        ("conditional_detr_coco_multi_scale", "epochs", 36, 108),
        ("dab_detr_runtime", "seconds_per_image", 0.01, 0.1),
        ("relation_detr_convergence", "reading_error", 0.3, 0.3),
        ("topkd_cifar100", "student_accuracy", 60, 80),
        ("topkd_baselines", "accuracy", 60, 80),
        ("ripsnet_accuracy", "accuracy", 10, 100),
        ("ripsnet_accuracy", "spread", 0, 6),
        ("ripsnet_seconds", "seconds", 0.1, 200),
        ("dcmha_training_speed_tpu", "steps_per_second", 0.02, 1),
        ("dcmha_training_speed_gpu", "seconds_per_step", 5, 70),
        ("dcmha_configurations", "learning_rate", 1e-4, 4e-4),
    ],
)
def test_other_numbers_are_plausible(name, column, low, high):
    assert load(name)[column].dropna().between(low, high).all()


@pytest.mark.parametrize(
    ("name", "where", "column", "value"),
    [
        ("conditional_detr_coco", {"model": "Conditional DETR", "backbone": "R50", "epochs": 50}, "AP", 40.9),
        (
            "conditional_detr_coco",
            {"model": "Conditional DETR", "backbone": "DC5-R101", "epochs": 108},
            "AP",
            45.9,
        ),
        ("conditional_detr_coco", {"model": "DETR", "backbone": "R101", "epochs": 500}, "AP_small", 21.9),
        ("conditional_detr_coco", {"model": "UP-DETR", "epochs": 300}, "AP", 42.8),
        (
            "conditional_detr_coco_multi_scale",
            {"model": "TSP-RCNN", "backbone": "R101", "epochs": 96},
            "AP",
            46.5,
        ),
        ("conditional_detr_released", {"model": "Conditional DETR", "backbone": "R50"}, "AP", 41.0),
        ("conditional_detr_transformation", {"form": "diagonal"}, "AP", 40.9),
        ("conditional_detr_spatial_query", {"variant": "CSQ-I"}, "AP", 40.2),
        ("conditional_detr_reference_point", {"reference_point": "learned parameter"}, "AP", 40.7),
        ("dab_detr_coco", {"model": "DAB-DETR", "backbone": "R50", "three_patterns": "no"}, "AP", 42.2),
        (
            "dab_detr_coco",
            {"model": "DAB-DETR", "backbone": "DC5-R101", "three_patterns": "yes"},
            "gflops",
            296,
        ),
        ("dab_detr_temperature", {"temperature": 20}, "AP", 40.1),
        ("dab_detr_depth", {"decoder_layers": 2}, "AP", 40.2),
        (
            "relation_detr_coco",
            {"model": "Relation DETR", "backbone": "R50", "schedule_epochs": "12"},
            "AP",
            51.7,
        ),
        ("relation_detr_coco", {"model": "Relation DETR", "schedule_epochs": "4+24"}, "AP", 63.5),
        ("relation_detr_sa_det_100k", {"model": "Relation DETR"}, "AP", 45.0),
        ("relation_detr_convergence", {"model": "Relation DETR", "epoch": 2}, "AP", 40.8),
        ("relation_detr_convergence", {"model": "DINO", "epoch": 12}, "AP", 50.2),
        ("topkd_cifar100", {"teacher": "resnet56"}, "student_accuracy", 71.74),
        (
            "topkd_baselines",
            {"teacher": "vgg13", "student": "mobilenetv2", "method": "CRD"},
            "accuracy",
            69.73,
        ),
        (
            "ripsnet_accuracy",
            {"data": "ModelNet10", "noise_share": 0.5, "method": "RipsNet"},
            "accuracy",
            31.6,
        ),
        ("ripsnet_seconds", {"data": "synthetic circles", "method": "RipsNet"}, "seconds", 0.4),
        (
            "dcmha_training_speed_gpu",
            {"model": "DCFormer, compiled", "tokens": 4096, "batch": 6},
            "seconds_per_step",
            13.79,
        ),
        ("dcmha_configurations", {"size": "405M"}, "steps", 13500),
        ("dcmha_compute", {"quantity": "compute multiplier"}, "high", 2.0),
    ],
)
def test_a_number_as_its_source_prints_it(name, where, column, value):
    table = load(name)
    found = table[np.logical_and.reduce([table[key] == wanted for key, wanted in where.items()])]
    assert len(found) == 1
    assert found[column].item() == value


def test_what_is_known_second_hand_only_is_left_out():
    dino = load("relation_detr_coco").set_index("model").loc["DINO, 4 scales"]
    assert dino["AP"] == 49.0
    assert dino[["AP50", "AP75", "AP_small", "AP_medium", "AP_large"]].isna().all()
    imagenet = load("topkd_baselines").query("data == 'ImageNet'")
    assert set(imagenet["method"]) == {"KD", "DKD"}  # teacher and student alone: not seen at the source


def test_every_curve_of_the_convergence_figure_is_whole():
    counts = load("relation_detr_convergence").groupby("model")["epoch"].agg(["size", "min", "max"])
    assert (counts == [12, 1, 12]).all(axis=None) and len(counts) == 5
