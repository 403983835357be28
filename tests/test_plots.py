"""What is drawn again and again: the marks lie where the numbers are."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt

from marginalia import plots, style


@pytest.fixture
def axes():
    plt.switch_backend("agg")
    with mpl.rc_context():
        style.use_style()
        yield plt.subplots()[1]
    plt.close("all")


def test_a_row_of_panels_has_no_empty_ones():
    figure, axes = plots.panels(5, 3, height=1.5)
    assert len(axes) == len(figure.axes) == 5
    assert figure.get_size_inches().tolist() == [style.WIDTH["page"], 3.0]
    plt.close(figure)


def test_boxes_lie_where_they_are_and_have_a_rim_on_an_image(axes):
    boxes = np.array([[1, 2, 3, 4], [5, 0, 1, 1]])
    plots.boxes_on(axes, boxes, (8, 6), color=["red", "blue"], labels=["a", "b"])
    assert [patch.get_bbox().bounds for patch in axes.patches] == [tuple(box) for box in boxes.astype(float)]
    assert [text.get_text() for text in axes.texts] == ["a", "b"]
    assert not axes.patches[0].get_path_effects() and axes.get_ylim() == (6, 0)
    plots.boxes_on(axes, boxes[:1], (8, 6), np.zeros((6, 8), np.uint8))
    assert axes.patches[-1].get_path_effects()


def test_tags_stay_in_the_image_and_none_lies_below_another(axes):
    boxes = [[0, 0, 3, 3], [7.9, 3, 1, 1], [2, 2, 2, 2], [2.1, 2, 3, 3], [9, 1, 1, 1], [1, 5, 1, 1]]
    plots.boxes_on(axes, boxes, (8, 6), labels=["top", "right", "below", "above", "outside", ""])
    axes.figure.set_layout_engine("constrained")
    plots.place_tags(axes)
    axes.figure.draw_without_rendering()
    assert [tag.get_text() for tag in axes.texts] == ["top", "right", "above"]
    frame = axes.get_window_extent().padded(1)
    assert all(frame.count_contains(tag.get_window_extent().corners()) == 4 for tag in axes.texts)
    assert axes.texts[2].get_position() == pytest.approx((2.1, 2))


def test_a_map_over_an_image_shows_what_is_above_uniform(axes, rng):
    weights = rng.random((3, 4))
    weights /= weights.sum()
    shown = plots.map_over(axes, weights, np.zeros((30, 40), np.uint8), box=(0.5, 0.5, 0.2, 0.4))
    opacity = shown.get_array()[..., 3]
    assert np.array_equal(opacity > 0, weights > 1 / 12) and np.isclose(opacity.max(), 0.9)
    assert np.allclose(axes.patches[0].get_bbox().bounds, (0.4, 0.3, 0.2, 0.4))
    assert plots.times_uniform(np.full((2, 5), 0.1)) == "1×"


def test_a_matrix_writes_its_numbers(axes):
    plots.matrix(axes, [[1, -0.001], [np.nan, -2]], diverging=True, digits=1)
    assert [text.get_text() for text in axes.texts] == ["1.0", "0.0", "−2.0"]


def test_intervals_stand_from_the_top_in_the_order_of_the_frame(axes):
    frame = pd.DataFrame({"group": ["b", "a", "b"], "x": [1, 2, 3.0], "low": [0, 1, 2], "high": [2, 3, 4]})
    plots.intervals(axes, frame, "x", "group", open=[False, True, False], reference=None)
    assert [label.get_text() for label in axes.get_yticklabels()] == ["b", "a"]
    marks = axes.collections[-1]
    assert marks.get_offsets().tolist() == [[1, 0], [2, 1], [3, 0]] and axes.yaxis_inverted()
    assert marks.get_facecolor()[1].tolist() == [1, 1, 1, 1]


def test_curves_tell_how_many_seeds_there_are(axes):
    runs = pd.DataFrame({"step": [1, 2, 1, 2], "seed": [0, 0, 1, 1], "AP": [0.0, 1, 2, 3]})
    plots.seed_curves(axes, runs, "AP", "red", "model")
    assert axes.lines[-1].get_ydata().tolist() == [1, 2]
    assert axes.get_legend_handles_labels()[1] == ["model (2 seeds)"]


def test_matrix_has_its_limits_and_readable_numbers(axes):
    shown = plots.matrix(axes, [[1, -0.2], [np.nan, -2]], diverging=True, digits=1)
    assert shown.get_clim() == (-2, 2)
    assert [text.get_color() for text in axes.texts] == ["black", "black", "white"]


def test_intervals_go_from_low_to_high_in_the_asked_order(axes):
    frame = pd.DataFrame({"group": ["b", "a"], "x": [1, 2.0], "low": [0, 1], "high": [2, 5]})
    plots.intervals(axes, frame, "x", "group", shift=0.25, order=["c", "a", "b"], reference=None)
    lines, _ = axes.collections
    assert [s.tolist() for s in lines.get_segments()] == [[[0, 2.25], [2, 2.25]], [[1, 1.25], [5, 1.25]]]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["c", "a", "b"]


def test_ranges_of_seeds_have_their_mean_and_a_dot_for_each(axes):
    runs = pd.DataFrame({"line": list("abab"), "AP": [1.0, 2, 3, 2]})
    plots.seed_ranges(axes, runs, "AP", "line", order=["b", "a"])
    assert [label.get_text() for label in axes.get_yticklabels()] == ["b", "a"]
    assert axes.collections[-1].get_offsets().tolist() == [[2, 1], [2, 0]]  # a above b in the frame
    dots = axes.lines[0]
    assert dots.get_xdata().tolist() == [1, 2, 3, 2] and len(set(dots.get_ydata())) == 4


def test_arrows_of_a_flow_chart_go_from_block_to_block(axes):
    blocks = {"a": (0.2, 0.5, "blue", "A"), "b": (0.8, 0.5, "none", "B", {"linestyle": "--"})}
    plots.diagram(axes, blocks, [("a", "b"), ("b", "a", {"via": [(0.8, 0.1), (0.2, 0.1)]})])
    first, second, there, back = axes.texts
    assert [text.get_text() for text in (first, second)] == ["A", "B"]
    assert first.get_bbox_patch().get_edgecolor() == mpl.colors.to_rgba(style.PALETTE["blue"])
    assert tuple(there.xyann) == (0.2, 0.5) and there.xy == (0.8, 0.5)
    assert there.arrow_patch.patchB is second.get_bbox_patch()
    assert tuple(back.xyann) == (0.2, 0.1) and back.xy == (0.2, 0.5)
    assert axes.lines[1].get_xydata().tolist() == [[0.8, 0.5], [0.8, 0.1], [0.2, 0.1]]
    assert axes.get_xlim() == (0, 1)


def test_the_band_of_seed_curves_holds_all_seeds(axes):
    runs = pd.DataFrame({"step": [1, 2, 1, 2], "seed": [0, 0, 1, 1], "AP": [0.0, 1, 2, 3]})
    plots.seed_curves(axes, runs, "AP", "red", "model")
    y = axes.collections[0].get_paths()[0].vertices[:, 1]
    assert (y.min(), y.max()) == (0, 3)


def test_dumbbells_have_both_ends(axes):
    plots.dumbbells(axes, ["a", "b"], [1, 2], [3, 0])
    second, first = axes.collections[1:]
    assert first.get_offsets().tolist() == [[1, 0], [2, 1]]
    assert second.get_offsets().tolist() == [[3, 0], [0, 1]]


def test_enlarged_images_show_their_pixels(axes):
    plots.boxes_on(axes, np.zeros((0, 4)), (64, 64), np.zeros((64, 64), np.uint8))
    assert axes.images[0].get_interpolation() == "nearest"


BARS = [np.array([[0, 1.0], [0, 2], [0, np.inf]]), np.array([[1, 1.5]])]


def test_a_diagram_keeps_endless_bars_on_a_line_of_their_own(axes):
    plots.persistence_diagram(axes, BARS)
    finite, endless, loops, none = (dots.get_offsets() for dots in axes.collections)
    assert finite.tolist() == [[0, 1], [0, 2]] and loops.tolist() == [[1, 1.5]] and len(none) == 0
    assert endless.tolist() == [[0, 1.08 * 1.05 * 2]] and endless[0, 1] < axes.get_ylim()[1]
    assert axes.get_xlim()[1] == 2.1 and axes.get_legend_handles_labels()[1] == ["H0", "H1"]


def test_a_barcode_has_a_line_a_bar_and_an_arrow_for_the_endless(axes):
    plots.barcode(axes, BARS, limit=1.8)
    lines = [path.vertices for bars in axes.collections[::2] for path in bars.get_paths()]
    assert [line[:, 0].tolist() for line in lines] == [[0, 1], [0, 1.8], [0, 1.8], [1, 1.5]]
    assert [line[0, 1] for line in lines] == [0, 1, 2, 4]
    endless, none = (arrows.get_offsets() for arrows in axes.collections[1::2])
    assert endless.tolist() == [[1.8, 2]] and len(none) == 0


@pytest.mark.parametrize("bars", [[], [np.empty((0, 2))], [np.array([[0, np.inf]])]])
def test_diagrams_without_finite_bars_can_be_drawn(axes, bars):
    plots.persistence_diagram(axes, bars)
    plots.barcode(axes, bars)
    axes.figure.canvas.draw()


def test_an_image_lies_on_its_plane_with_pixels_about_the_nodes(axes, rng):
    image = rng.random((3, 5))
    shown = plots.persistence_image(axes, image, (0, 4, 1, 2))
    assert shown.get_extent() == [-0.5, 4.5, 0.75, 2.25] and shown.origin == "lower"
    one = plots.persistence_image(axes, image[:, :1], (0, 0, 1, 2))  # a range of no width has a pixel too
    assert one.get_extent()[:2] == [-0.5, 0.5]
