"""Drawn defects: repeatable, inside their image, and each to be seen in its box."""

from __future__ import annotations

import numpy as np
import pytest

from marginalia.boxes.defects import SIDE, generate_defects


@pytest.fixture(scope="module")
def drawn():
    return generate_defects(60, seed=1)


def test_an_image_depends_on_seed_and_number_alone():
    few, many = generate_defects(3, seed=5), generate_defects(7, seed=5)
    np.testing.assert_array_equal(few[1], many[1][:3])
    np.testing.assert_array_equal(few[0].xywh, many[0].xywh[many[0].image < 3])
    assert not np.array_equal(generate_defects(3, seed=4)[1], few[1])


def test_pixels_and_boxes_fit(drawn):
    table, pixels = drawn
    assert len(pixels) == len(table.image_ids) == 60
    assert all(p.shape == (SIDE, SIDE) and p.dtype == np.uint8 for p in pixels)
    assert (table.sizes == SIDE).all() and table.counts.min() >= 1
    assert (table.xywh[:, :2] >= 0).all() and (table.xywh[:, :2] + table.xywh[:, 2:] <= SIDE).all()
    assert (table.category == table.image % 6 + 1).all() and len(table.names) == 6


def test_every_defect_is_visible(drawn):
    table, pixels = drawn
    for i, image in enumerate(pixels):
        clear = np.ones(image.shape, bool)
        boxes = table.xywh[table.image == i].astype(int)
        for x, y, w, h in boxes:
            clear[y : y + h, x : x + w] = False
        steel = image[clear].astype(float)
        for x, y, w, h in boxes:
            unusual = np.abs(image[y : y + h, x : x + w] - np.median(steel)) > 3 * steel.std()
            assert unusual.sum() > max(w, h) / 2, (i, (x, y, w, h))  # a line half as long as the box
