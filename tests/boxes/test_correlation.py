"""Pearson correlation of boxes and its mean over an image: the identities of the sheet, one by one."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kstest

from marginalia.boxes.correlation import BOX_FORMATS, ZERO_VARIANCE, macroscopic_correlation, pearson
from marginalia.boxes.geometry import xywh_to_cxcywh, xywh_to_xyxy
from marginalia.boxes.table import BoxTable, BoxWarning

# reference layout of eight boxes in a unit image, top left corner, width, height
L8 = np.array(
    [
        (0.05, 0.08, 0.10, 0.04),
        (0.20, 0.03, 0.06, 0.12),
        (0.30, 0.10, 0.05, 0.05),
        (0.10, 0.22, 0.12, 0.08),
        (0.02, 0.30, 0.04, 0.09),
        (0.25, 0.25, 0.08, 0.03),
        (0.33, 0.30, 0.06, 0.06),
        (0.15, 0.35, 0.05, 0.04),
    ]
)


def table_of(*images, size=(1.0, 1.0), **more) -> BoxTable:
    """A table with one image for each array of boxes."""
    image = np.repeat(np.arange(len(images)), [len(boxes) for boxes in images])
    boxes = np.concatenate([np.reshape(boxes, (-1, 4)) for boxes in images])
    ids = tuple(f"image {k}" for k in range(len(images)))
    return BoxTable(boxes, image, ids, np.tile(size, (len(ids), 1)), np.zeros(len(boxes)), {0: "box"}, **more)


def mc(boxes, **options) -> float:
    return macroscopic_correlation(table_of(boxes), **options)[0]


def mc_by_two_loops(boxes) -> float:
    total = 0.0
    for i, a in enumerate(boxes):
        for j, b in enumerate(boxes):
            if i != j:
                total += abs(np.dot(a - a.mean(), b - b.mean()) / (4 * a.std() * b.std()))
    return total / (len(boxes) * (len(boxes) - 1))


def layouts(smallest=2, largest=9):
    # coordinates on a grid of 1/8: differences are exact, so that rounding alone decides the tolerance
    box = st.tuples(*[st.integers(0, 4000).map(lambda v: v / 8)] * 4).filter(lambda b: max(b) - min(b) > 1)
    return st.lists(box, min_size=smallest, max_size=largest).map(np.array)


# --- check 1


def test_within_zero_and_one_and_nan_below_two_boxes(rng):
    table = table_of(*(rng.uniform(size=(n, 4)) for n in (5, 1, 0, 2)))
    value = macroscopic_correlation(table)
    assert np.isnan(value).tolist() == [False, True, True, False]
    assert (value[[0, 3]] >= 0).all() and (value[[0, 3]] <= 1).all()
    assert macroscopic_correlation(table.where(np.zeros(len(table), bool))).shape == (4,)


@pytest.mark.parametrize("flat", [[0, 0, 0, 0], [3, 3, 3, 3], [0.1, 0.1, 0.1, 0.1 + 1e-15]])
def test_a_box_without_variance_is_counted_and_left_out(rng, flat):
    boxes = rng.uniform(size=(4, 4))
    table = table_of(boxes, np.vstack([boxes, [flat]]))
    report = {}
    value = macroscopic_correlation(table, report=report)
    assert value[0] == pytest.approx(value[1], abs=1e-15)
    assert report[ZERO_VARIANCE].count == 1 and not report[ZERO_VARIANCE].kept
    assert report[ZERO_VARIANCE].first == "box 8, in image 'image 1'"
    with pytest.warns(BoxWarning, match=r"zero variance.*1 dropped, first: box 8"):
        macroscopic_correlation(table)
    rho = pearson(np.vstack([boxes, [flat]]))
    assert np.isnan(rho[-1]).all() and np.isnan(rho[:, -1]).all() and np.isfinite(rho[:-1, :-1]).all()


def test_nothing_is_said_when_there_is_nothing_to_say(rng):
    report = {}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        macroscopic_correlation(table_of(rng.uniform(size=(5, 4))), report=report)
    assert report == {}


def test_a_lattice_whose_side_is_its_step_holds_a_box_without_variance():
    corner = np.arange(10) / 10
    boxes = [(x, y, 0.1, 0.1) for x in corner for y in corner]
    report = {}
    assert np.isfinite(mc(boxes, report=report))
    assert report[ZERO_VARIANCE].count == 1  # x = y = w = h = 0.1


# --- checks 2 and 3


@given(layouts(), st.randoms(use_true_random=False))
def test_the_order_of_boxes_does_not_matter(boxes, random):
    order = list(range(len(boxes)))
    random.shuffle(order)
    assert mc(boxes[order]) == pytest.approx(mc(boxes), abs=1e-12)


@given(layouts(), st.data())
def test_each_box_may_be_stretched_and_shifted_as_a_vector(boxes, data):
    n = len(boxes)
    scale = st.floats(0.1, 10) | st.floats(-10, -0.1)
    a = np.array(data.draw(st.lists(scale, min_size=n, max_size=n)))[:, None]
    c = np.array(data.draw(st.lists(st.floats(-100, 100), min_size=n, max_size=n)))[:, None]
    signs = np.sign(a) * np.sign(a).T
    # boxes differ by at least 1 of up to 5000 after the shift: rounding leaves some 1e-16 * 5000 / 0.1 of it
    np.testing.assert_allclose(pearson(a * boxes + c), signs * pearson(boxes), rtol=0, atol=1e-10)
    assert mc(a * boxes + c) == pytest.approx(mc(boxes), abs=1e-10)


def test_scaling_the_image_changes_nothing_moving_the_boxes_does():
    for box_format in BOX_FORMATS:
        assert mc(L8 * 640, box_format=box_format) == pytest.approx(mc(L8, box_format=box_format), abs=1e-12)
    moved = [mc(L8 + np.array([t, t, 0, 0])) for t in (0, 0.2, 0.4, 0.6)]
    np.testing.assert_allclose(moved, [0.513, 0.860, 0.945, 0.971], atol=5e-4)  # printed to three digits


def test_a_mirror_image_has_another_correlation():
    x, y, w, h = L8.T
    mirrored = np.stack([1 - x - w, y, w, h], axis=1)
    for box_format, before, after in (("xywh", 0.513, 0.961), ("cxcywh", 0.562, 0.966)):
        assert mc(L8, box_format=box_format) == pytest.approx(before, abs=5e-4)
        assert mc(mirrored, box_format=box_format) == pytest.approx(after, abs=5e-4)


# --- check 4


@given(layouts(2, 2))
def test_two_boxes_have_the_size_of_their_correlation(boxes):
    assert mc(boxes) == pytest.approx(abs(pearson(boxes)[0, 1]), abs=1e-12)


def test_layouts_with_known_values():
    t = np.arange(8) / 10 + 0.1
    squares = np.stack([t, t, np.full(8, 0.033), np.full(8, 0.033)], axis=1)
    assert mc(squares) == pytest.approx(1, abs=1e-12)
    assert mc(np.tile([[0.1, 0.2, 0.3, 0.1]], (5, 1))) == pytest.approx(1, abs=1e-12)
    oblong = np.stack([t, t, np.full(8, 0.05), np.full(8, 0.08)], axis=1)
    assert mc(oblong) == pytest.approx(0.970, abs=5e-4)
    row = [(k / 10, 0.5, 0.05, 0.05) for k in range(10)]
    assert mc(row) == pytest.approx(0.7595, abs=5e-5)
    centre = (np.arange(10) + 0.5) / 10
    lattice = np.array([(x - 0.01, y - 0.01, 0.02, 0.02) for x in centre for y in centre])
    assert mc(lattice) == pytest.approx(0.730, abs=5e-4)
    assert mc(lattice, box_format="cxcywh") == pytest.approx(0.738, abs=5e-4)


# --- check 5


@given(layouts(4, 12))
def test_never_below_the_bound_of_three_dimensions(boxes):
    n = len(boxes)
    assert mc(boxes) >= (n - 3) / (3 * (n - 1)) - 1e-12


def test_the_bound_is_reached_by_doubled_axes_and_tends_to_a_third():
    basis = np.linalg.svd(np.eye(4) - 0.25)[0][:, :3]  # of the vectors with mean zero
    axes = np.eye(3) @ basis.T
    assert mc(axes) == pytest.approx(0, abs=1e-12)  # three boxes can be unrelated, four cannot
    for copies in (2, 10, 200):
        n = 3 * copies
        assert mc(np.tile(axes, (copies, 1))) == pytest.approx((n - 3) / (3 * (n - 1)), abs=1e-12)
    assert mc(np.tile(axes, (200, 1))) == pytest.approx(1 / 3, abs=2e-3)  # 2 / (3 (N - 1)) below


# --- check 6


def test_unrelated_entries_give_one_half(rng):
    pairs = rng.normal(size=(100_000, 2, 4))
    value = macroscopic_correlation(table_of(*pairs))
    assert value.mean() == pytest.approx(0.5, abs=0.004)  # four standard errors
    assert value.std() == pytest.approx(0.2887, abs=0.004)
    signed = [pearson(pair)[0, 1] for pair in pairs[:20_000]]
    assert kstest(signed, "uniform", args=(-1, 2)).pvalue > 0.01


def test_points_give_three_quarters(rng):
    pairs = np.concatenate([rng.uniform(size=(100_000, 2, 2)), np.full((100_000, 2, 2), 1e-6)], axis=-1)
    assert macroscopic_correlation(table_of(*pairs)).mean() == pytest.approx(0.751, abs=0.004)


@pytest.mark.parametrize(
    ("n", "sd"), [(2, 0.288), (3, 0.166), (5, 0.089), (10, 0.044), (20, 0.021), (50, 0.008)]
)
def test_more_boxes_narrow_the_spread_and_keep_the_mean(rng, n, sd):
    value = macroscopic_correlation(table_of(*rng.normal(size=(4000, n, 4))))
    assert value.mean() == pytest.approx(0.5, abs=5 * sd / 4000**0.5)
    assert value.std() == pytest.approx(sd, rel=0.08)  # printed to one or two digits; 4000 images


# --- check 7


@given(layouts())
def test_equals_two_loops(boxes):
    assert mc(boxes) == pytest.approx(mc_by_two_loops(boxes), abs=1e-12)


def test_equals_numpy_on_images_of_every_size(rng):
    counts = [*range(2, 40), 300, 400, 2, 3]  # 400 boxes do not fit into one block of correlations
    images = [np.abs(rng.normal(200, 100, (n, 4))) for n in counts]
    table = table_of(*images)
    mixed = rng.permutation(len(table))
    table = BoxTable(
        table.xywh[mixed],
        table.image[mixed],
        table.image_ids,
        table.sizes,
        table.category[mixed],
        table.names,
    )
    value = macroscopic_correlation(table)
    for boxes, here in zip(images, value, strict=True):
        rho = np.abs(np.corrcoef(boxes))
        n = len(boxes)
        np.testing.assert_allclose(pearson(boxes), np.corrcoef(boxes), rtol=0, atol=1e-12)
        assert here == pytest.approx((rho.sum() - n) / (n * (n - 1)), abs=1e-12)


# --- box formats, crowd, bad input


def test_box_formats_and_normalisation_are_what_they_say(rng):
    boxes = rng.uniform(1, 100, (6, 4))
    table = table_of(boxes, size=(640, 480))
    parts = boxes / [640, 480, 640, 480]
    for box_format, turn in (("xywh", np.asarray), ("cxcywh", xywh_to_cxcywh), ("xyxy", xywh_to_xyxy)):
        assert macroscopic_correlation(table, box_format)[0] == pytest.approx(mc_by_two_loops(turn(boxes)))
        normalized = macroscopic_correlation(table, box_format, normalized=True)[0]
        assert normalized == pytest.approx(mc_by_two_loops(turn(parts)))


def test_crowd_boxes_take_part_only_when_asked(rng):
    boxes = rng.uniform(size=(5, 4))
    table = table_of(boxes, crowd=np.array([False, False, False, False, True]))
    assert macroscopic_correlation(table)[0] == pytest.approx(mc(boxes[:4]))
    assert macroscopic_correlation(replace(table, crowd=None))[0] == pytest.approx(mc(boxes))


def test_bad_input_is_named(rng):
    boxes = rng.uniform(size=(3, 4))
    with pytest.raises(ValueError, match="xywh, cxcywh, xyxy, not 'xyhw'"):
        mc(boxes, box_format="xyhw")
    with pytest.raises(ValueError, match=r"needs image sizes, but 1 images .* have none, first 'image 0'"):
        macroscopic_correlation(table_of(boxes, size=(np.nan, np.nan)), normalized=True)
    boxes[1, 2] = np.nan
    with pytest.raises(ValueError, match="box 1, in image 'image 0', is not finite"):
        mc(boxes)
    with pytest.raises(ValueError, match=r"\(N, 4\), not \(4,\)"):
        pearson(np.ones(4))
