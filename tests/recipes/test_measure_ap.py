"""AP per image of the real pairs: the committed tables, and the intervals in them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import measure_ap
from marginalia import store


def test_committed_tables_are_what_the_data_give(shared_data, root, tmp_path):
    for path in measure_ap.measure(shared_data, tmp_path):
        fresh, committed = (pd.read_csv(p, comment="#") for p in (path, root / "data/measured" / path.name))
        pd.testing.assert_frame_equal(fresh, committed, atol=2e-6)  # six decimals are written


@pytest.mark.parametrize("column", ["AP", "F1", "LRP"])
@pytest.mark.parametrize("dataset", measure_ap.PAIRS)
def test_intervals_of_means_are_those_of_normal_theory(dataset, column):
    """A hundred images are enough for mean -+ 1.96 standard errors; quantiles of 90 % would be off by .3."""
    images = store.read_table("measured/per_image_ap.csv").query("dataset == @dataset and AP.notna()")
    summary = store.read_table("measured/ap_summary.csv").query("dataset == @dataset").set_index("figure")
    row, error = summary.loc[f"mean of the images' {column}"], images[column].sem()
    assert row["value"] == pytest.approx(images[column].mean(), abs=1e-6)
    assert row["images"] == len(images)
    # Monte Carlo error of such a quantile from 1000 resamples: .07 standard errors
    low, high = row["low"] - row["value"], row["high"] - row["value"]
    np.testing.assert_allclose([low / error, high / error], [-1.96, 1.96], atol=0.25)


def test_a_rank_correlation_lies_in_its_interval():
    rows = store.read_table("measured/ap_summary.csv").query("figure.str.startswith('Spearman')")
    assert len(rows) == 2 * 6
    assert ((rows["low"] < rows["value"]) & (rows["value"] < rows["high"])).all()
