"""Boxes put down at random: the hash that the browser shares, and the known levels of chance."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import kstest

from marginalia.boxes.correlation import macroscopic_correlation
from marginalia.boxes.uniform import lowbias32, random_layout, uniform_boxes


def lowbias32_by_hand(x: int) -> int:
    """The same hash in Python's unbounded integers."""
    x ^= x >> 16
    x = x * 0x7FEB352D % 2**32
    x ^= x >> 15
    x = x * 0x846CA68B % 2**32
    return x ^ (x >> 16)


def uniform_by_hand(seed, draw, box, axis) -> float:
    start = lowbias32_by_hand(lowbias32_by_hand(seed ^ 0x9E3779B9) ^ draw)
    return lowbias32_by_hand((start + 2 * box + axis) % 2**32) / 2**32


def test_the_hash_agrees_with_plain_integers():
    values = [0, 1, 2, 12345, 2**31, 2**32 - 1]
    assert lowbias32(np.array(values, np.uint32)).tolist() == [lowbias32_by_hand(v) for v in values]
    assert lowbias32(np.zeros(1, np.uint32))[0] == 0


@pytest.mark.parametrize(("seed", "draw"), [(0, 0), (1, 7), (2**32 - 1, 199), (123456789, 2**32 - 1)])
def test_places_follow_the_written_rule(seed, draw):
    wh, size = np.array([(30.0, 20), (5, 90), (700, 10)]), (640, 480)
    boxes = uniform_boxes(wh, size, seed, draw)
    np.testing.assert_array_equal(boxes[:, 2:], wh)
    for n, (w, h) in enumerate(wh):
        x = uniform_by_hand(seed, draw, n, 0) * max(640 - w, 0)
        y = uniform_by_hand(seed, draw, n, 1) * max(480 - h, 0)
        assert boxes[n, :2].tolist() == [x, y]  # the same operations in the same order: equal to the last bit


def test_places_are_uniform_and_inside():
    wh = np.tile([(0.2, 0.1)], (20_000, 1))
    boxes = uniform_boxes(wh, (1, 1), seed=3, draw=5)
    assert (boxes[:, :2] >= 0).all() and (boxes[:, :2] + wh <= 1).all()
    for axis, room in ((0, 0.8), (1, 0.9)):
        assert kstest(boxes[:, axis] / room, "uniform").pvalue > 0.01
    assert abs(np.corrcoef(boxes[:, 0], boxes[:, 1])[0, 1]) < 4 / 20_000**0.5
    draws = np.array([uniform_boxes([(0.0, 0.0)], (1, 1), 0, d)[0, 0] for d in range(4000)])
    assert kstest(draws, "uniform").pvalue > 0.01


# mean |rho| of independent uniform boxes with sides up to s; three digits, simulated: +- .004 is four
# standard errors of 100,000 pairs
LEVELS = {
    1.0: (0.563, 0.531, 0.686),
    0.5: (0.521, 0.543, 0.586),
    0.3: (0.589, 0.634, 0.630),
    0.2: (0.644, 0.683, 0.702),
    0.1: (0.702, 0.723, 0.822),
    0.05: (0.728, 0.739, 0.903),
    0.02: (0.743, 0.747, 0.959),
    0.001: (0.751, 0.751, 0.998),
}


@pytest.mark.parametrize("side", LEVELS)
def test_levels_of_chance_by_box_size(side):
    table = random_layout(count=2, side=side, images=100_000)
    for box_format, level in zip(("xywh", "cxcywh", "xyxy"), LEVELS[side], strict=True):
        assert macroscopic_correlation(table, box_format).mean() == pytest.approx(level, abs=0.004)


@pytest.mark.parametrize(
    ("size", "level"), [((1, 1), 0.589), ((640, 480), 0.596), ((1333, 800), 0.609), ((1920, 480), 0.697)]
)
def test_elongated_images_lift_the_level_in_pixels(size, level):
    table = random_layout(count=2, side=0.3, images=100_000, size=size)
    assert macroscopic_correlation(table).mean() == pytest.approx(level, abs=0.004)


def test_layouts_stay_inside():
    table = random_layout(count=5, side=0.4, images=300, size=(64, 48))
    assert (table.xywh[:, :2] >= 0).all() and (table.xywh[:, :2] + table.xywh[:, 2:] <= (64, 48)).all()
    assert table.counts.tolist() == [5] * 300
    with pytest.raises(ValueError, match="normalised to the image size"):
        random_layout(2, 30, 10)
