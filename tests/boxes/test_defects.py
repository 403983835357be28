"""Generated defects: the layout follows the measured numbers, and every box shows its defect."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pytest

from marginalia.boxes.defects import LAYOUT, LEVELS, SIDE, generate_defects, generate_layout


@pytest.fixture(scope="module")
def layout():
    return generate_layout(1800, seed=0)


@pytest.fixture(scope="module")
def drawn():
    return generate_defects(60, seed=1)


def at_border(boxes: np.ndarray) -> np.ndarray:
    """Share of boxes that end within 3 pixels of a border: left or right, top or bottom."""
    low, high = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
    return ((low <= 3) | (high >= SIDE - 3)).mean(axis=0)


def test_same_seed_same_pictures():
    first, again = generate_defects(8, seed=3), generate_defects(8, seed=3)
    np.testing.assert_array_equal(first[0].xywh, again[0].xywh)
    np.testing.assert_array_equal(first[1], again[1])
    assert not np.array_equal(generate_defects(8, seed=4)[1], first[1])


def test_a_picture_does_not_depend_on_how_many_there_are():
    few, many = generate_defects(3, seed=5), generate_defects(7, seed=5)
    np.testing.assert_array_equal(few[1], many[1][:3])
    assert few[0].image_ids == many[0].image_ids[:3]
    np.testing.assert_array_equal(few[0].xywh, many[0].xywh[many[0].image < 3])


def test_pictures_and_table_fit(drawn):
    table, pictures = drawn
    assert len(pictures) == len(table.image_ids) == 60
    assert all(p.shape == (SIDE, SIDE) and p.dtype == np.uint8 for p in pictures)
    assert (table.sizes == SIDE).all()
    assert all(name.startswith("generated-") for name in table.image_ids)
    np.testing.assert_array_equal(generate_layout(60, seed=1).xywh, table.xywh)


def test_boxes_lie_inside(layout):
    x, y, w, h = layout.xywh.T
    assert (layout.xywh == layout.xywh.round()).all()
    assert min(x.min(), y.min()) >= 0
    assert max((x + w).max(), (y + h).max()) <= SIDE
    assert min(w.min(), h.min()) >= 8  # the smallest side in NEU-DET


def test_counts_and_mix_follow_the_measured_ones(layout):
    measured = np.array([689, 1011, 881, 432, 628, 548])  # boxes of each class in NEU-DET's 1800 pictures
    made = np.bincount(layout.category, minlength=7)[1:]
    # standard error of such a sum over 300 pictures is about 3.5 % (inclusion: 5 %); three of them
    np.testing.assert_allclose(made, measured, rtol=0.12)
    share = np.bincount(layout.counts, minlength=10)[[1, 2, 3, 4, 5]] / 1800
    np.testing.assert_allclose(share, np.array([483, 673, 390, 154, 59]) / 1800, atol=0.035)  # 3 s.e.
    assert layout.counts.min() >= 1
    mixed = [len(set(layout.category[layout.image == i])) > 1 for i in range(1800)]
    assert np.mean(mixed) == pytest.approx(123 / 1800, abs=0.025)


@pytest.mark.parametrize("number", range(6))
def test_sizes_follow_the_measured_ones(layout, number):
    boxes = layout.xywh[layout.category == number + 1]
    # boxes of a picture are alike, so a share of 400 to 1000 boxes has a standard error of about 0.03; the
    # normal copula and overlapping places given up add to it
    leeway = 0.1
    for side, quantiles in ((boxes[:, 2], LAYOUT[number].widths), (boxes[:, 3], LAYOUT[number].heights)):
        for level, length in zip(LEVELS[1:-1], quantiles[1:-1], strict=True):
            assert (side < length).mean() - leeway <= level <= (side <= length).mean() + leeway


def test_border_share_follows_the_measured_one(layout):
    # share of NEU-DET's boxes that end within 3 pixels of the left or right, the top or bottom border
    measured = [(0.51, 0.23), (0.08, 0.42), (0.24, 0.52), (0.66, 0.82), (0.14, 0.37), (0.26, 0.58)]
    for number, share in enumerate(measured, start=1):
        # tries that would overlap another box are given up, which favours the border
        assert at_border(layout.xywh[layout.category == number]) == pytest.approx(share, abs=0.1)


def test_boxes_of_a_picture_keep_apart(layout):
    shared = []
    for i in range(300):
        boxes = layout.xywh[layout.image == i]
        low, high = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
        common = (np.minimum(high[:, None], high) - np.maximum(low[:, None], low)).clip(0).prod(axis=-1)
        union = boxes[:, 2:].prod(axis=1)[:, None] + boxes[:, 2:].prod(axis=1) - common
        shared += (common / union)[np.triu_indices(len(boxes), 1)].tolist()
    assert np.mean(np.array(shared) > 0.1) < 0.1


def test_every_defect_is_visible(drawn):
    table, pictures = drawn
    for i, picture in enumerate(pictures):
        grey = picture.astype(float)
        clear = np.ones(grey.shape, bool)
        for x, y, w, h in table.xywh[table.image == i].astype(int):
            clear[y : y + h, x : x + w] = False
        if clear.sum() < 400:  # a pitted surface may fill the picture
            continue
        steel = grey[clear]
        for x, y, w, h in table.xywh[table.image == i].astype(int):
            unusual = np.abs(grey[y : y + h, x : x + w] - np.median(steel)) > 3.5 * steel.std()
            # at least a line half as long as the longer side; of clear steel one pixel in 1000 is so unusual
            assert unusual.sum() > max(w, h) / 2, (table.image_ids[i], (x, y, w, h))
        assert (np.abs(steel - np.median(steel)) > 3.5 * steel.std()).mean() < 0.005


def test_no_picture_is_an_error():
    with pytest.raises(ValueError, match="at least 1"):
        generate_defects(0)


def test_the_numbers_are_those_of_the_real_set(shared_data):
    with gzip.open(shared_data / "neu_det_boxes.json.gz") as file:
        data = json.load(file)
    names = [c.name for c in LAYOUT]
    assert [c["name"] for c in data["categories"]] == names
    kind = {i["id"]: names.index(i["file_name"].rsplit("_", 1)[0]) for i in data["images"]}
    image = np.array([a["image_id"] for a in data["annotations"]])
    category = np.array([a["category_id"] for a in data["annotations"]]) - 1
    boxes = np.array([a["bbox"] for a in data["annotations"]], float)
    host = np.array([kind[i] for i in image.tolist()])
    for number, c in enumerate(LAYOUT):
        mine = category == number
        np.testing.assert_array_equal(np.quantile(boxes[mine, 2], LEVELS).round(), c.widths)
        np.testing.assert_array_equal(np.quantile(boxes[mine, 3], LEVELS).round(), c.heights)
        per_picture = np.unique(image[mine & (host == number)], return_counts=True)[1]
        np.testing.assert_array_equal(np.bincount(per_picture)[1:], c.counts)
        chance = np.minimum(1, 8 / (SIDE - boxes[mine, 2:] + 1)).mean(axis=0)  # within 3 pixels, if uniform
        border = (at_border(boxes[mine]) - chance) / (1 - chance)
        assert border == pytest.approx(c.border, abs=0.006)  # two decimals
        company = {}
        for other in set(range(6)) - {number}:
            guests = np.unique(image[(category == other) & (host == number)], return_counts=True)[1]
            if len(guests):
                company[other] = tuple(np.bincount(guests)[1:].tolist())
        assert company == dict(c.company)
