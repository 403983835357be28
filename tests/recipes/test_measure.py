"""`make measure`: every table is written from any boxes, and the committed ones are what it writes."""

from __future__ import annotations

import io

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
