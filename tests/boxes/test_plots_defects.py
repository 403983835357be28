"""Figures about defect data sets: what they hand back, and the corners that a notebook does not reach."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt

from marginalia.boxes.defects import generate_defects, generate_layout
from marginalia.boxes.plots import defects as plots
from marginalia.store import read_table


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def layout():
    return generate_layout(120, seed=3)


def title(axis):
    """Where a title stands is a matter of style."""
    return axis.get_title(loc="left") or axis.get_title()


def forest(groups=("a", "b"), **columns):
    return pd.DataFrame({"group": list(groups), "excess": 0.1, "low": -0.1, "high": 0.3} | columns)


def test_classes_follow_the_generator(layout):
    assert tuple(layout.names.values()) == plots.CLASSES


def test_one_panel_a_set_and_none_left_over():
    figure, data = plots.excess_by_group({"one": forest(), "two": forest(), "three": forest("abc")}, "excess")
    assert [title(axis) for axis in figure.axes] == ["one", "two", "three"]
    assert len(data) == 7 and set(data["panel"]) == {"one", "two", "three"}


def test_groups_without_a_finding_have_open_markers():
    figure, _ = plots.excess_by_group({"": forest(q_value=[0.01, 0.2])}, "excess")
    sure, open_ = figure.axes[0].collections[-1].get_facecolor()
    assert tuple(open_) == (1, 1, 1, 1) and tuple(sure) != (1, 1, 1, 1)


def test_series_of_a_group_stand_beside_each_other():
    both = pd.concat([forest(series="x"), forest(series="y")])
    figure, _ = plots.excess_by_group({"": both}, "excess")
    heights = np.concatenate(
        [c.get_offsets()[:, 1] for c in figure.axes[0].collections if len(c.get_offsets()) == 2]
    )
    assert len(set(heights.tolist())) == 4
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["x", "y"]


def test_comparison_counts_pictures_and_takes_the_measured_levels(layout):
    measured = read_table("measured/neu_det_layout.csv")
    _, data = plots.layout_comparison(layout, measured)
    boxes = data[(data["class"] == "scratches") & (data["quantity"] == "boxes")].set_index("level")
    held = np.bincount(layout.image[layout.category == 6])
    assert boxes.loc[1, "generated"] == pytest.approx((held == 1).sum() / (held > 0).sum(), abs=1e-12)
    assert boxes["measured"].sum() == pytest.approx(1, abs=1e-12)
    widths = data[(data["class"] == "crazing") & (data["quantity"] == "width")]
    part = layout.xywh[layout.category == 1, 2] / 200
    assert np.allclose(widths["generated"], np.quantile(part, widths["level"]), atol=1e-12)


def test_contact_sheet_says_that_its_pictures_are_generated():
    table, pictures = generate_defects(6, seed=1)
    figure, data = plots.contact_sheet(table, pictures, each=1)
    assert "drawn, not photographed" in figure.get_suptitle()
    assert len(data) == len(table)


@pytest.mark.parametrize("name", plots.CLASSES)
def test_picture_of_each_class(name, layout):
    figure, data = plots.generated_picture(name, 0, layout)
    assert "generated" in title(figure.axes[0])
    assert data["mc"].between(0, 1).all()


def test_picture_with_a_single_box_has_no_mc(layout):
    single = next(s for s in range(20) if generate_layout(6, s).counts[3] == 1)
    figure, _ = plots.generated_picture("pitted_surface", single, layout)
    assert "no MC" in title(figure.axes[1])


def test_unknown_class_is_named(layout):
    with pytest.raises(ValueError, match=r"crazing, inclusion.*'rust'"):
        plots.generated_picture("rust", 0, layout)
