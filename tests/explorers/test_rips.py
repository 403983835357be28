"""The Rips explorer in Python: traits that refuse nonsense, bars, the still picture, the saved page."""

from __future__ import annotations

import base64
import itertools
import re
import warnings

import numpy as np
import pytest
import traitlets
from matplotlib.path import Path
from scipy.spatial.distance import cdist

from marginalia.explorers import RipsExplorer
from marginalia.explorers.rips import _covering
from marginalia.topology import diagrams, h0_deaths, persistence_image

SQUARE = [[0, 0], [1, 0], [1, 1], [0, 1]]


def circle(n: int) -> np.ndarray:
    angle = 2 * np.pi * np.arange(n) / n
    return np.stack([np.cos(angle), np.sin(angle)], 1)


def test_bars_are_those_of_the_library(rng):
    points = rng.normal(size=(30, 2))
    explorer = RipsExplorer(points)
    np.testing.assert_array_equal(explorer.bars[1], diagrams([points])[0][1])
    np.testing.assert_allclose(explorer.bars[0][:-1, 1], h0_deaths(points), rtol=0, atol=1e-12)


def test_bars_follow_the_points():
    explorer = RipsExplorer(SQUARE)
    np.testing.assert_allclose(explorer.bars[1], [[1, np.sqrt(2)]])
    points = explorer.points
    points[2] = [0.5, 0.5]  # what comes out is a copy, so putting it back is a change
    explorer.points = points
    assert len(explorer.bars[1]) == 0


def test_the_default_cloud_is_a_circle_and_a_cluster():
    explorer = RipsExplorer()
    assert explorer.points == RipsExplorer().points
    persistence = np.sort(np.ptp(explorer.bars[1], axis=1))
    assert persistence[-1] > 10 * persistence[-2]  # one loop ...
    deaths = explorer.bars[0][:-1, 1]
    assert deaths[-1] > 1.5 * deaths[-2]  # ... and two components
    assert " 2 components, 1 loop" in explorer.summary()


def test_the_length_begins_where_the_longest_loop_is_there():
    explorer = RipsExplorer(circle(20))
    (birth, death), *_ = sorted(explorer.bars[1], key=np.ptp, reverse=True)
    assert birth < explorer.length < death
    assert RipsExplorer([[0, 0], [1, 1]]).length > 0
    assert RipsExplorer(circle(20), length=0.1).length == 0.1


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        (
            [[1, 2, 3]],
            r"points: expected at most 200 points x, y with finite numbers, not the shape \(1, 3\)",
        ),
        ([[1, 2], [1, float("nan")]], "point 1 is"),
        (np.zeros((201, 2)), "at most 200 points"),
        ("points", "points"),
        ([[1, 2], [1]], "points"),
    ],
)
def test_bad_points_are_refused(bad, told):
    explorer = RipsExplorer(SQUARE)
    with pytest.raises(traitlets.TraitError, match=told):
        explorer.points = bad
    assert explorer.points == SQUARE
    with pytest.raises(traitlets.TraitError, match=told):
        RipsExplorer(bad)


@pytest.mark.parametrize(
    ("name", "bad", "told"),
    [
        ("length", -0.1, "expected 0 or more, not -0.1"),
        ("length", float("nan"), "expected 0 or more"),
        ("length", float("inf"), "expected 0 or more"),
        ("selected", 4, "to 3, not 4"),
        ("selected", -2, "to 3, not -2"),
        ("dimension", 2, "dimension"),
        ("window", (0, 0, 1, 1), "window: expected"),
        ("window", (0, float("inf"), 0, 1), "window: expected"),
    ],
)
def test_other_nonsense_is_refused(name, bad, told):
    explorer = RipsExplorer(SQUARE)
    before = getattr(explorer, name)
    with pytest.raises(traitlets.TraitError, match=told):
        setattr(explorer, name, bad)
    assert getattr(explorer, name) == before


def test_selected_is_a_point_that_exists():
    explorer = RipsExplorer(SQUARE)
    explorer.selected = 3
    explorer.points = SQUARE[:2]
    assert explorer.selected == -1


def test_the_window_follows_points_that_lie_outside():
    explorer = RipsExplorer(SQUARE)
    left, right, low, high = before = explorer.window
    assert left < 0 < 1 < right and low < 0 < 1 < high
    explorer.points = [[0.5, 0.5], *SQUARE[1:]]
    assert explorer.window == before
    explorer.points = [[50, 0.5], *SQUARE[1:]]
    assert explorer.window[1] > 50
    flat = RipsExplorer([[0, 7], [4, 7]]).window
    assert flat[3] - flat[2] > 2  # room above and below points on a line


def test_the_view_is_told_the_loops_of_more_than_40_points():
    assert RipsExplorer(circle(40)).answer == {}
    explorer = RipsExplorer(circle(41))
    assert explorer.answer == {"points": explorer.points, "bars": explorer.bars[1].tolist()}
    explorer.points = 2 * circle(50)
    assert explorer.answer == {"points": explorer.points, "bars": explorer.bars[1].tolist()}


def test_the_image_has_the_settings_that_are_shown(rng):
    explorer = RipsExplorer(rng.normal(size=(25, 2)))
    for dimension in (0, 1):
        explorer.dimension = dimension
        bars = explorer.bars[dimension]
        end = explorer.static().axes[1].get_xlim()[1]  # of the barcode
        deaths = explorer.bars[0][:-1, 1].max(), explorer.bars[1][:, 1].max(initial=0)
        assert 1.05 * max(deaths) <= end < 1.5 * max(deaths)
        expected = persistence_image(bars, end / 20, (0, end, 0, end), (20, 20))
        np.testing.assert_array_equal(explorer.image, expected)


@pytest.mark.parametrize(
    ("points", "length", "told"),
    [
        (SQUARE, 1.2, "4 points; {}: 4 edges, 0 triangles, 1 component, 1 loop"),
        (SQUARE, 1.5, "4 points; {}: 6 edges, 4 triangles, 1 component, 0 loops"),
        ([[2, 1]], 0.5, "1 point; {}: 0 edges, 0 triangles, 1 component, 0 loops"),
        ([], 0.5, "0 points; {}: 0 edges, 0 triangles, 0 components, 0 loops"),
    ],
)
def test_the_output_is_a_sentence_and_a_picture(points, length, told):
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a layout that does not fit is a warning
        data, _ = RipsExplorer(points, length=length)._repr_mimebundle_()
    told = told.format(f"edges up to {length} (balls of half that radius)")
    assert data["text/plain"] == f"Rips explorer: {told}"
    assert base64.b64decode(data["image/png"]).startswith(b"\x89PNG")
    assert data["application/vnd.jupyter.widget-view+json"]["model_id"]


def test_the_still_picture_shows_edges_and_bars():
    explorer = RipsExplorer(SQUARE, length=1.2)
    cloud, barcode, diagram, image, _ = explorer.static().axes
    (edges,) = cloud.collections
    assert {tuple(map(tuple, edge)) for edge in edges.get_segments()} == {
        ((0, 0), (1, 0)), ((1, 0), (1, 1)), ((1, 1), (0, 1)), ((0, 0), (0, 1)),
    }  # fmt: skip
    assert len(cloud.patches) == 1  # balls, and no triangle yet
    explorer.length = 1.5
    assert len(explorer.static().axes[0].patches) == 2
    assert barcode.get_xlabel() == "length (twice the radius of the balls)"
    assert [len(each.get_offsets()) for each in diagram.collections] == [
        3,
        1,
        1,
        0,
    ]  # dying, endless; by dimension
    np.testing.assert_array_equal(image.images[0].get_array(), explorer.image)


def test_without_points_there_is_a_word_in_place_of_empty_panels():
    (cloud,) = RipsExplorer([]).static().axes
    assert cloud.get_title("left") == "No points"


def test_an_image_of_no_bars_has_the_colour_of_nought():
    image = RipsExplorer(SQUARE[:2]).static().axes[3]
    assert image.get_title("left") == "Persistence image of H1: no finite bars"
    assert image.images[0].get_clim() == (0, 1) and not image.images[0].get_array().any()


@pytest.mark.parametrize("scale", [1, 1000])
def test_nothing_in_the_still_picture_runs_together(scale, rng):
    figure = RipsExplorer(scale * rng.normal(size=(60, 2))).static()
    figure.draw_without_rendering()
    cloud, barcode, diagram, image, bar = (axes.get_tightbbox() for axes in figure.axes)
    assert cloud.x1 < barcode.x0 and diagram.x1 < image.x0 and image.x1 < bar.x0
    assert diagram.y1 < cloud.y0 and image.y1 < barcode.y0
    assert min(cloud.x0, diagram.x0, diagram.y0) >= 0 and bar.x1 <= figure.bbox.x1


def test_the_triangles_that_are_drawn_cover_all_of_the_complex(rng):
    points = rng.normal(size=(20, 2))
    distances = cdist(points, points)
    edges = np.argwhere(np.triu((distances > 0) & (distances <= 1.2)))
    drawn = _covering(points, edges)
    every = [
        each for each in itertools.combinations(range(20), 3) if distances[np.ix_(each, each)].max() <= 1.2
    ]
    assert {tuple(sorted(each)) for each in drawn} < set(every) and len(drawn) <= 2 * len(edges)
    places = rng.uniform(-2, 2, (1000, 2))
    inside = [
        np.any([Path(points[list(each)]).contains_points(places) for each in some], axis=0)
        for some in (drawn, every)
    ]
    np.testing.assert_array_equal(*inside)
    assert 0.1 < inside[0].mean() < 0.9


def test_showing_leaves_the_reader_s_style_alone():
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    RipsExplorer(SQUARE).static()
    assert dict(mpl.rcParams) == before


def test_a_saved_page_holds_everything(tmp_path):
    path = RipsExplorer(circle(41)).save_html(tmp_path / "rips.html")
    text = path.read_text(encoding="utf-8")
    assert text.count("</script>") == 1
    assert not re.search(r"https?://|\bsrc=|\bimport ", text)
    assert '"answer": {"points"' in text  # its loops, which the page cannot find itself
