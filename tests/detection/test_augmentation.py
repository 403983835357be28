"""Images varied at random: boxes stay on their pixels, and what is cut off is dropped by one rule."""

from __future__ import annotations

import numpy as np
import pytest

from marginalia.boxes.geometry import cxcywh_to_xyxy
from marginalia.detection.augmentation import LEAST, SMALLEST, augment
from marginalia.detection.scenes import SceneBatch

H, W = 96, 128
GROUND = 60


def painted(count=1):
    """Photographs with two rectangles: label 0 is bright in the first channel, label 1 in the second."""
    corners = np.array([(16, 20, 56, 44), (70, 50, 112, 84)])  # left, top, right, bottom in pixels
    pixels = np.full((count, 3, H, W), GROUND, np.uint8)
    for label, (left, top, right, bottom) in enumerate(corners):
        pixels[:, label, top:bottom, left:right] = 240
    low, high = corners[:, :2] / (W, H), corners[:, 2:] / (W, H)
    boxes = np.concatenate([(low + high) / 2, high - low], axis=1).astype(np.float32)
    return SceneBatch(pixels, [boxes] * count, [np.array([0, 1])] * count, {0: "red", 1: "green"})


class Draws:
    """A generator whose draws are chosen: side of the cut-out, its corner, mirrored or not."""

    def __init__(self, side=1.0, corner=0.0, mirrored=False):
        self.side, self.rest = side, [corner, 0.0 if mirrored else 0.9]

    def uniform(self, low, high, shape):
        return np.full(shape, self.side if low == SMALLEST else 0.0)

    def random(self, shape):
        return np.full(shape, self.rest.pop(0))


@pytest.mark.parametrize("upside_down", [False, True])
def test_boxes_follow_their_pixels(upside_down):
    scenes, found = painted(8), 0
    for seed in range(5):
        varied = augment(scenes, np.random.default_rng(seed), upside_down)
        for pixels, boxes, labels in zip(varied.pixels, varied.boxes, varied.labels, strict=True):
            for box, label in zip(boxes, labels, strict=True):
                channel = pixels[label].astype(int)
                rows, columns = np.nonzero(channel > (channel.min() + channel.max()) / 2)
                seen = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
                # a pixel: edges are interpolated
                np.testing.assert_allclose(cxcywh_to_xyxy(box) * (W, H, W, H), seen, atol=1)
                found += 1
    assert found > 60  # of 80; the others are cut off


def test_a_draw_that_changes_nothing_returns_the_image():
    scenes = painted(2)
    same = augment(scenes, Draws())
    assert np.array_equal(same.pixels, scenes.pixels) and same.names == scenes.names
    np.testing.assert_allclose(same.boxes, scenes.boxes, atol=1e-7)
    assert np.array_equal(same.labels, scenes.labels)


@pytest.mark.parametrize("upside_down", [False, True])
def test_mirrored_images_are_exactly_that(upside_down):
    scenes = painted()
    turned = augment(scenes, Draws(mirrored=True), upside_down)
    axes = (2, 3) if upside_down else (3,)
    assert np.array_equal(turned.pixels, np.flip(scenes.pixels, axes))
    centre = scenes.boxes[0][:, :2]
    expected = np.where([True, upside_down], 1 - centre, centre)
    np.testing.assert_allclose(turned.boxes[0][:, :2], expected, atol=1e-7)


def test_images_are_turned_over_only_where_they_may_be():
    pixels = np.zeros((64, 1, 16, 16), np.uint8)
    pixels[:, :, :3] = 200  # in every cut-out or above it; never below
    scenes = SceneBatch(pixels, [np.zeros((0, 4), np.float32)] * 64, [np.zeros(0, int)] * 64)
    for upside_down in (False, True):
        varied = augment(scenes, np.random.default_rng(0), upside_down).pixels
        assert (varied[:, :, -1] > 100).any() == upside_down


def test_a_box_needs_a_part_of_itself_inside():
    """The cut-out is the left 0.6 of the image; boxes are as wide as 0.2 and have a known part in it."""
    inside = np.array([1, LEAST + 0.01, LEAST - 0.01, 0])
    boxes = np.stack([0.6 - 0.2 * inside + 0.1, *np.full((3, 4), [[0.3], [0.2], [0.1]])], axis=1)
    scenes = SceneBatch(np.zeros((1, 1, 8, 8), np.uint8), [boxes.astype(np.float32)], [np.arange(4)])
    cut = augment(scenes, Draws(side=0.6))
    assert cut.labels[0].tolist() == [0, 1]
    left, top, right, bottom = cxcywh_to_xyxy(cut.boxes[0]).T
    np.testing.assert_allclose(right, 1, atol=1e-6)
    np.testing.assert_allclose((right - left) * 0.6, 0.2 * inside[:2], atol=1e-6)
    np.testing.assert_allclose((top * 0.6, bottom * 0.6), [[0.25] * 2, [0.35] * 2], atol=1e-6)


def test_a_seed_says_all_and_the_batch_stays_as_it_was():
    scenes, before = painted(3), painted(3)
    first, again, other = (augment(scenes, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(first.pixels, again.pixels)
    assert all(map(np.array_equal, first.boxes, again.boxes))
    assert not np.array_equal(first.pixels, other.pixels)
    assert np.array_equal(scenes.pixels, before.pixels)
    assert all(map(np.array_equal, scenes.boxes, before.boxes))
