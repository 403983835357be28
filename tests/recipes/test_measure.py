"""`make measure`: every table is written from any boxes, and the committed ones are what it writes."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import measure
from marginalia import store
from marginalia.boxes.nulls import NULLS, excess_correlation
from marginalia.boxes.reading import read_boxes
from marginalia.boxes.uniform import random_layout
from measure import FEWER, MEASURES, SETS, SHUFFLES

LIMIT = 100_000  # bytes of one table


def folder(root):
    return root / "data" / "measured"


@pytest.mark.parametrize("function", MEASURES, ids=lambda f: f.__name__)
def test_every_table_is_written_from_any_boxes(function, tmp_path, monkeypatch):
    monkeypatch.setattr(measure, "SHUFFLES", 3)
    monkeypatch.setattr(measure, "FEWER", 3)
    tables = {name: random_layout(5, 0.3, 12, seed=k, size=(64, 48)) for k, name in enumerate(SETS)}
    path = measure.write(tmp_path, function, tables)
    text = path.read_text(encoding="utf-8")
    assert path.name == f"{function.__name__}.csv"
    assert "# Written by: make measure" in text
    frame = pd.read_csv(io.StringIO("".join(x for x in text.splitlines(True) if not x.startswith("#"))))
    assert len(frame)
    assert all(f"# {name}: {SETS[name]}" in text for name in frame["dataset"])


def test_committed_tables_are_small_and_say_where_they_come_from(root):
    for function, shuffles in MEASURES.items():
        path = folder(root) / f"{function.__name__}.csv"
        assert path.stat().st_size < LIMIT, path.name
        source = store.read_table(f"measured/{path.name}").attrs["source"]
        assert "Written by: make measure" in source
        assert source.startswith(function.__doc__.strip().splitlines()[0])
        assert not shuffles or f"{shuffles} shuffles" in source


def test_committed_excess_covers_every_set_and_null():
    frame = store.read_table("measured/excess.csv")
    assert set(zip(frame["dataset"], frame["null"], strict=True)) == {(s, n) for s in SETS for n in NULLS}
    assert (frame["shuffles"] == SHUFFLES).all()
    np.testing.assert_allclose(frame["observed"] - frame["null_mean"], frame["excess"], atol=2e-6)  # 6 digits


def test_an_excess_is_found_where_there_is_one(monkeypatch):
    """In `related` the boxes of an image are nearly the same; in `unrelated` nothing relates them."""
    monkeypatch.setattr(measure, "DRAWS", 25)  # also the shuffles: p-values from 1/26 on
    monkeypatch.setattr(measure, "LARGE", ("related", "unrelated"))
    unrelated = random_layout(5, 0.3, 120, seed=1, size=(64, 48))
    first = unrelated.xywh[np.searchsorted(unrelated.image, unrelated.image)]  # of the box's image
    related = replace(unrelated, xywh=first + 0.1 * unrelated.xywh)
    rows = list(measure.images_needed({"related": related, "unrelated": unrelated}))
    frame = pd.DataFrame(rows).set_index(["dataset", "images"])
    assert list(frame.index) == [(name, n) for name in ("related", "unrelated") for n in (25, 50, 120)]
    assert frame["draws"].tolist() == [25, 25, 1] * 2
    assert (frame.loc["related", ["found", "p_small"]] == 1).all(axis=None)
    assert (frame.loc["related", ["wrong", "p_alone"]] == 0).all(axis=None)
    # 25 draws with a chance of .05 each: more than 5 in 1 of 100 such tests
    assert (frame.loc["unrelated", ["found", "p_small"]].iloc[:2] <= 0.2).all(axis=None)
    whole = excess_correlation(unrelated, "count", FEWER)
    row = frame.loc[("unrelated", 120)]
    assert row["excess"] == whole.excess
    assert row["half_width"] == pytest.approx((whole.interval[1] - whole.interval[0]) / 2)


def test_draws_are_sorted_by_side_and_by_p_value():
    low, high = (-0.1, 0.1, -0.3, -0.1), (0.2, 0.3, -0.1, 0.2)
    p_values = (0.5, 0.01, 0.04, 0.01)
    found = [
        replace(excess_correlation(random_layout(3, 0.3, 5), shuffles=2), interval=interval, p_value=p)
        for *interval, p in zip(low, high, p_values, strict=True)
    ]
    row = measure._over_draws(found, 0.15)
    assert {k: row[k] for k in ("found", "wrong", "covered", "p_small", "p_alone")} == {
        "found": 0.25,
        "wrong": 0.25,
        "covered": 0.75,
        "p_small": 0.75,
        "p_alone": 0.25,
    }
    assert measure._over_draws(found, -0.2)["found"] == 0.25
    assert row["half_width"] == pytest.approx(0.125)  # (.15 + .1 + .1 + .15) / 4


def test_committed_draws_cover_the_large_sets():
    frame = store.read_table("measured/images_needed.csv")
    wholes = frame[frame["draws"] == 1].set_index("dataset")
    excess = store.read_table("measured/excess.csv").query("null == 'count'").set_index("dataset")
    assert set(wholes.index) == set(measure.LARGE)
    assert (wholes["images"] == excess["images"][wholes.index]).all()
    # fewer shuffles than in excess.csv: four standard errors of their mean
    error = 4 * excess["null_std"][wholes.index] / FEWER**0.5
    assert ((wholes["excess"] - excess["excess"][wholes.index]).abs() < error).all()
    for name, part in frame[frame["draws"] > 1].groupby("dataset"):
        allowed = [n for n in measure.IMAGES if 2 * n <= wholes.loc[name, "images"]]
        assert part["images"].tolist() == allowed
    assert (frame[["found", "wrong", "covered", "p_small"]].stack().between(0, 1)).all()
    assert (frame["p_alone"] <= frame["p_small"]).all()


def test_committed_histograms_hold_every_image():
    frame = store.read_table("measured/mc_histograms.csv")
    images = store.read_table("measured/sizes.csv").set_index("dataset")["images_2"]
    for (name, _), part in frame.groupby(["dataset", "box_format"]):
        for column in ("observed", "count", "free"):
            assert part[column].sum() == pytest.approx(images[name], abs=0.6)  # counts are rounded to .01


def test_committed_numbers_are_those_of_the_real_data(shared_data):
    """One small data set again, shuffles and all: seeds make it exact but for the six digits written."""
    table = read_boxes(shared_data / "bccd_boxes.json.gz")
    frame = store.read_table("measured/excess.csv").set_index(["dataset", "null"])
    for null in NULLS:
        record = excess_correlation(table, null, SHUFFLES)
        row = frame.loc[("bccd", null)]
        assert row["observed"] == pytest.approx(record.observed, rel=1e-5)
        assert row["null_mean"] == pytest.approx(record.null_mean, rel=1e-5)
        assert (row["low"], row["high"]) == pytest.approx(record.interval, rel=1e-5)
        assert row["p_value"] == pytest.approx(record.p_value, rel=1e-5)
    again = excess_correlation(table, "count", FEWER, box_format="xyxy", normalized=True)
    frame = store.read_table("measured/box_formats.csv")
    chosen = frame.query("dataset == 'bccd' and box_format == 'xyxy' and normalized and null == 'count'")
    assert chosen["null_mean"].item() == pytest.approx(again.null_mean, rel=1e-5)


def test_committed_draws_are_those_of_the_real_data(shared_data, monkeypatch):
    """One row again: a hundred draws of the smallest set."""
    monkeypatch.setattr(measure, "LARGE", ("bccd",))
    monkeypatch.setattr(measure, "IMAGES", (25,))
    row = next(measure.images_needed({"bccd": read_boxes(shared_data / "bccd_boxes.json.gz")}))
    committed = store.read_table("measured/images_needed.csv").query("dataset == 'bccd' and images == 25")
    assert row.pop("dataset") == "bccd"
    assert committed.drop(columns="dataset").squeeze().to_dict() == pytest.approx(row, rel=1e-5)


def test_without_the_data_it_says_what_to_set(monkeypatch):
    monkeypatch.setattr(store, "test_data", lambda: None)
    with pytest.raises(FileNotFoundError, match="are not here; set MARGINALIA_TEST_DATA") as error:
        measure.main()
    assert "bccd_boxes.json.gz" in str(error.value) and "voc100_detections.json.gz" in str(error.value)


def test_with_some_of_the_data_it_names_the_rest(tmp_path, monkeypatch):
    (tmp_path / "bccd_boxes.json.gz").touch()
    monkeypatch.setattr(store, "test_data", lambda: tmp_path)
    with pytest.raises(FileNotFoundError, match=r"which lacks coco_val2017_boxes\.json\.gz") as error:
        measure.main()
    lacks, files = str(error.value).split("; set MARGINALIA_TEST_DATA")
    assert "bccd" not in lacks and "bccd_boxes.json.gz" in files
