"""Embedded photographs: what the segmentation gives, and that tiles and boxes belong together."""

from __future__ import annotations

import socket

import numpy as np
import pytest

from marginalia.boxes.photographs import RECIPES, photographs
from marginalia.boxes.table import BoxTable


@pytest.fixture(scope="module")
def whole():
    return photographs()


@pytest.fixture(scope="module")
def tiles():
    return photographs(tiles=True)


def mean_absolute_correlation(xywh: np.ndarray) -> float:
    # numpy's own corrcoef, so that this test does not lean on the library's correlation
    rho = np.abs(np.corrcoef(xywh))
    return (rho.sum() - len(rho)) / (len(rho) * (len(rho) - 1))


def inside(table: BoxTable) -> bool:
    low, high = table.xywh[:, :2], table.xywh[:, :2] + table.xywh[:, 2:]
    return bool(
        (low >= 0).all() and (high <= table.sizes[table.image]).all() and (table.xywh[:, 2:] > 0).all()
    )


def test_nothing_is_fetched(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("photographs() opened a connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    assert len(photographs().pixels) == 5


def test_whole_images_give_the_stated_boxes_and_correlations(whole):
    table = whole.table
    # another version of scipy or scikit-image may move a threshold by a grey level: some boxes, .01 of MC
    stated = {"coins": (24, 0.658), "page": (47, 0.657), "text": (35, 0.690)}
    stated |= {"hubble_deep_field": (381, 0.764), "brick": (88, 0.614)}
    assert table.image_ids == tuple(stated)
    assert list(table.names.values()) == ["coin", "word", "stroke", "galaxy", "brick"]
    for number, (count, correlation) in enumerate(stated.values()):
        boxes = table.xywh[table.image == number]
        assert len(boxes) == pytest.approx(count, rel=0.05)
        assert mean_absolute_correlation(boxes) == pytest.approx(correlation, abs=0.01)


def test_every_coin_has_its_box(whole):
    # the photograph shows 24 coins in four rows of six, 35 to 65 pixels across
    coins = whole.table.xywh[whole.table.category == 1]
    assert len(coins) == 24
    assert coins[:, 2:].min() >= 33
    assert np.ptp(coins[:, 2] / coins[:, 3]) < 0.5


@pytest.mark.parametrize("tiles", [False, True])
def test_pixels_fit_the_table(tiles):
    result = photographs(tiles)
    assert len(result.pixels) == len(result.table.image_ids)
    for pixels, size in zip(result.pixels, result.table.sizes, strict=True):
        assert pixels.dtype == np.uint8
        assert pixels.shape[1::-1] == tuple(size)
    assert inside(result.table)


def test_tiles_cover_each_photograph_once(whole, tiles):
    at = 0
    for pixels, recipe in zip(whole.pixels, RECIPES, strict=True):
        rows, columns = recipe.grid
        mine = tiles.pixels[at : at + rows * columns]
        assert tiles.table.image_ids[at].startswith(recipe.source)
        joined = np.concatenate(
            [np.concatenate(mine[r * columns : (r + 1) * columns], axis=1) for r in range(rows)]
        )
        np.testing.assert_array_equal(joined, pixels)
        at += rows * columns
    assert at == len(tiles.pixels) == 90


def test_tiles_keep_every_box_and_count_the_cut_ones(whole, tiles):
    assert len(tiles.table) == len(whole.table)
    assert (tiles.table.category == whole.table.category).all()
    smaller = (tiles.table.xywh[:, 2:] < whole.table.xywh[:, 2:]).any(axis=1)
    (issue,) = tiles.table.report.values()
    assert issue.kept
    assert issue.count == smaller.sum()
    # the centre lies in the tile, so at least half of each side does
    assert (tiles.table.xywh[:, 2:] >= whole.table.xywh[:, 2:] / 2).all()


def test_a_box_shows_the_same_pixels_on_its_tile(whole, tiles):
    uncut = np.flatnonzero((tiles.table.xywh[:, 2:] == whole.table.xywh[:, 2:]).all(axis=1))
    for box in uncut[::20]:
        crops = []
        for result in (whole, tiles):
            x, y, w, h = result.table.xywh[box].astype(int)
            crops.append(result.pixels[result.table.image[box]][y : y + h, x : x + w])
        np.testing.assert_array_equal(*crops)


def test_things_stand_out_from_their_surroundings(whole):
    # a word is darker than the paper around it, a galaxy brighter than the sky
    sign = {1: 1, 2: -1, 3: -1, 4: 1, 5: -1}
    for number, pixels in enumerate(whole.pixels):
        grey = pixels.mean(axis=-1) if pixels.ndim == 3 else pixels.astype(float)
        covered = np.zeros(grey.shape, bool)
        for x, y, w, h in whole.table.xywh[whole.table.image == number].astype(int):
            covered[y : y + h, x : x + w] = True
        assert sign[number + 1] * (grey[covered].mean() - grey[~covered].mean()) > 5
