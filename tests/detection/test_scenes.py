"""Generated scenes: the boxes fit what is drawn, the layouts are what they claim, nothing is hidden state."""

from __future__ import annotations

import socket

import numpy as np
import pytest

from marginalia.boxes.blood_cells import cells
from marginalia.boxes.correlation import macroscopic_correlation
from marginalia.boxes.evaluation import evaluate
from marginalia.boxes.geometry import cxcywh_to_xyxy, iou
from marginalia.boxes.nulls import excess_correlation
from marginalia.boxes.similarity import pair_similarity
from marginalia.boxes.table import BoxTable
from marginalia.detection import scenes
from marginalia.detection.glyphs import load_glyphs
from marginalia.detection.scenes import (
    LAYOUTS,
    SPLITS,
    SceneBatch,
    as_boxes,
    cell_scenes,
    from_boxes,
    make_scenes,
)


@pytest.fixture(scope="module")
def batches():
    return {layout: make_scenes(300, layout) for layout in LAYOUTS}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_shapes_types_and_ranges(batches, layout):
    batch = batches[layout]
    assert batch.pixels.shape == (300, 1, 64, 64)
    assert batch.pixels.dtype == np.uint8
    assert {len(labels) for labels in batch.labels} == {1, 2, 3, 4}
    assert set(np.concatenate(batch.labels)) == set(range(10))
    for boxes, labels in zip(batch.boxes, batch.labels, strict=True):
        assert boxes.dtype == np.float32
        assert boxes.shape == (len(labels), 4)
        corners = cxcywh_to_xyxy(boxes)
        assert corners.min() >= 0
        assert corners.max() <= 1
        if layout not in ("overlapping", "loose"):
            assert np.triu(iou(corners, corners), 1).max() < 0.2
        # 0.2 to 0.45, plus or minus 3 % (loose: 24 %) and the rounding to whole pixels
        deviation = 0.24 if layout == "loose" else 0.03
        assert boxes[:, 3].min() >= 0.2 * (1 - deviation) - 1.01 / 64
        assert boxes[:, 3].max() <= 0.45 * (1 + deviation) + 1.01 / 64


def scene_at(index: int, **arguments) -> SceneBatch:
    return make_scenes(1, first=index, **arguments)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("split", SPLITS)
def test_a_scene_depends_on_its_arguments_alone(layout, split):
    together = make_scenes(4, layout, split, seed=3, side=48, first=5)
    for index in (8, 5):  # in another order
        alone = scene_at(index, layout=layout, split=split, seed=3, side=48)
        np.testing.assert_array_equal(alone.pixels[0], together.pixels[index - 5])
        np.testing.assert_array_equal(alone.boxes[0], together.boxes[index - 5])
        np.testing.assert_array_equal(alone.labels[0], together.labels[index - 5])


def test_every_argument_makes_another_scene():
    usual = {"index": 0, "layout": "scattered", "split": "train", "seed": 0}
    others = {"index": 1, "layout": "arranged", "split": "val", "seed": 1}
    images = [scene_at(**usual).pixels]
    images += [scene_at(**usual | {name: value}).pixels for name, value in others.items()]
    assert len({image.tobytes() for image in images}) == 5


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_side_changes_the_resolution_only(layout):
    for index in range(10):
        small, large = (scene_at(index, layout=layout, side=side) for side in (48, 128))
        np.testing.assert_array_equal(small.labels[0], large.labels[0])
        # edges of boxes are rounded to pixels, and a narrow tip may miss a pixel's centre
        np.testing.assert_allclose(
            cxcywh_to_xyxy(small.boxes[0]), cxcywh_to_xyxy(large.boxes[0]), atol=1.5 / 48
        )


@pytest.mark.parametrize("side", [48, 64, 128])
def test_boxes_are_tight_around_the_drawn_stroke(monkeypatch, side):
    plain = np.zeros((2 * side, 2 * side), np.float32)
    monkeypatch.setattr(scenes, "_texture", lambda *_: plain)  # on a plain ground the image shows the ink
    exact = 0
    for index in range(60):
        scene = scene_at(index, side=side, digits=(1, 1))
        grey = scene.pixels[0, 0].astype(float)
        ground = np.median(grey)
        ink = np.abs(grey - ground)
        rows, columns = (np.flatnonzero((ink > ink.max() / 2).any(axis=axis)) for axis in (1, 0))
        drawn = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
        stated = cxcywh_to_xyxy(scene.boxes[0].astype(float))[0] * side
        assert np.abs(drawn - stated).max() < 1.01
        exact += np.abs(drawn - stated).max() < 0.01
    assert exact >= 57  # grey levels are whole numbers, so a pixel that is half ink may fall either way


def test_every_digit_can_be_told_from_the_ground():
    # the stroke's grey level and the ground's differ by at least 50; half-covered pixels take some away
    for index in range(100):
        scene = scene_at(index, digits=(1, 1))
        grey = scene.pixels[0, 0].astype(float)
        x0, y0, x1, y1 = np.rint(cxcywh_to_xyxy(scene.boxes[0][0]) * 64).astype(int)
        inside, ground = grey[y0:y1, x0:x1], np.median(grey)
        strongest = np.sort(np.abs(inside - ground).ravel())[-inside.size // 5 :]
        assert strongest.mean() > 45


def test_training_and_validation_share_no_digit():
    glyphs = load_glyphs()
    assert len(glyphs.digits) == 1703  # of 1797
    for digit in range(10):
        train, held_out = glyphs.pool(digit, False), glyphs.pool(digit, True)
        assert not set(train) & set(held_out)
        assert len(train) > 100
        assert len(held_out) > 15
    assert not glyphs.held_out[
        : np.argmax(glyphs.held_out)
    ].any()  # the last ones in the order of load_digits
    assert glyphs.held_out[np.argmax(glyphs.held_out) :].all()


def layouts(layout: str, count: int = 1500) -> BoxTable:
    """Boxes of many layouts in [0, 1], without the images."""
    aspect, boxes = load_glyphs().aspect, []
    for i in range(count):
        rng = np.random.default_rng(i)
        boxes.append(LAYOUTS[layout](rng.choice(aspect, rng.integers(1, 5)), rng))
    image = np.repeat(np.arange(count), [len(b) for b in boxes])
    return BoxTable(
        np.concatenate(boxes),
        image,
        tuple(range(count)),
        np.ones((count, 2)),
        np.zeros(len(image)),
        {0: "digit"},
    )


def differences(table: BoxTable) -> dict[str, float]:
    pairs = pair_similarity(table, "count", shuffles=10)
    return {pair.feature: pair.within - pair.between for pair in pairs}


def test_arranged_boxes_are_related():
    table = layouts("arranged")
    excess = excess_correlation(table, "count", shuffles=50, bootstrap=300)
    assert excess.interval[0] > 0
    for difference in differences(table).values():
        assert difference < -0.1


def test_scattered_boxes_are_related_by_the_rule_on_overlap_alone():
    found = differences(ruled := layouts("scattered"))
    # 1500 images give these means to about .01
    assert abs(found["|log w ratio|"]) < 0.03
    assert abs(found["|log h ratio|"]) < 0.03
    assert found["x offset"] > 0  # further apart than chance, not closer
    assert found["y offset"] > 0

    free = layouts("overlapping")
    low, high = excess_correlation(free, "count", shuffles=50, bootstrap=300).interval
    assert low < 0 < high
    assert max(map(abs, differences(free).values())) < 0.05
    related, ruled, free = (
        np.nanmean(macroscopic_correlation(t)) for t in (layouts("arranged"), ruled, free)
    )
    assert ruled < free < related


def test_excess_does_not_measure_order():
    """Grids without any deviation lie on either side of chance, by where and how large they are."""
    intervals = {
        layout: excess_correlation(layouts(layout), "count", shuffles=50, bootstrap=300).interval
        for layout in ("centred", "loose", "smallest")
    }
    assert intervals["centred"][1] < 0 < intervals["loose"][0]
    assert intervals["loose"][1] < intervals["smallest"][0]


def test_more_digits_fit_all_layouts():
    for layout in LAYOUTS:
        batch = make_scenes(20, layout, digits=(5, 6))
        assert {len(labels) for labels in batch.labels} == {5, 6}


def test_table_of_the_boxes(batches):
    batch = batches["scattered"]
    table = as_boxes(batch)
    assert table.image_ids == tuple(range(300))
    assert (table.sizes == 64).all()
    assert table.names[7] == "7"
    np.testing.assert_array_equal(table.category[table.image == 4], batch.labels[4])
    edges = np.column_stack([table.xywh[:, :2], table.xywh[:, :2] + table.xywh[:, 2:]])
    np.testing.assert_allclose(edges, np.rint(edges), atol=1e-4)  # whole pixels, kept as float32


def test_the_table_is_a_reference_for_the_evaluation(batches):
    table = as_boxes(batches["scattered"])
    found = BoxTable(
        table.xywh,
        table.image,
        table.image_ids,
        table.sizes,
        table.category,
        table.names,
        score=np.ones(len(table)),
    )
    assert evaluate(table, found)["AP"] == pytest.approx(1)


def test_photographs_come_back_as_the_same_table():
    found = cells()
    scenes = from_boxes(found.table, found.pixels)
    assert np.array_equal(scenes.pixels.transpose(0, 2, 3, 1), found.pixels)
    back, order = as_boxes(scenes), np.argsort(found.table.image, kind="stable")
    np.testing.assert_allclose(back.xywh, found.table.xywh[order], atol=1e-4)  # boxes are in 32 bits
    assert np.array_equal(back.image, found.table.image[order])
    assert np.array_equal(back.sizes, found.table.sizes)
    named = [[table.names[c] for c in table.category.tolist()] for table in (back, found.table)]
    assert named[0] == [named[1][n] for n in order]


def test_labels_count_the_categories_and_crowds_are_left_out():
    boxes = [(0, 0, 10, 10), (5, 5, 5, 5), (1, 2, 4, 6), (0, 0, 20, 10)]
    names, crowd = {7: "cup", 3: "pot"}, [False, False, False, True]
    table = BoxTable(boxes, [2, 0, 2, 0], "abc", [(20, 10)] * 3, [7, 3, 9, 3], names, crowd)
    scenes = from_boxes(table, np.zeros((3, 5, 10, 3), np.uint8))
    assert [labels.tolist() for labels in scenes.labels] == [[0], [], [1, 2]]
    assert scenes.names == {0: "pot", 1: "cup", 2: "9"}  # 9 has no name in the table
    assert scenes.pixels.shape == (3, 3, 5, 10)
    np.testing.assert_allclose(scenes.boxes[2], [(0.25, 0.5, 0.5, 1), (0.15, 0.5, 0.2, 0.6)], atol=1e-7)


@pytest.mark.parametrize("chosen", [slice(2, 5), [4, 0], np.array([3, 3, 1])], ids=str)
def test_a_part_of_a_batch(batches, chosen):
    whole = batches["scattered"]
    part, numbers = whole.part(chosen), np.arange(300)[chosen]
    assert np.array_equal(part.pixels, whole.pixels[numbers]) and part.names == whole.names
    assert all(part.boxes[i] is whole.boxes[n] for i, n in enumerate(numbers))
    assert all(part.labels[i] is whole.labels[n] for i, n in enumerate(numbers))


def test_photographs_of_cells_by_split():
    found = cells()
    parts = {split: cell_scenes(split) for split in ("train", "val", "test")}
    assert sum(len(part.pixels) for part in parts.values()) == len(found.pixels) == 364
    test = found.split == "test"
    assert np.array_equal(parts["test"].pixels, found.pixels[test].transpose(0, 3, 1, 2))
    assert [len(boxes) for boxes in parts["test"].boxes] == found.table.counts[test].tolist()
    assert parts["val"].names == {0: "red cell", 1: "white cell", 2: "platelet"}
    joined = cell_scenes("train", "val")
    assert len(joined.pixels) == len(parts["train"].pixels) + len(parts["val"].pixels)


def test_nothing_is_fetched(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("a scene opened a connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    load_glyphs.cache_clear()
    scenes._texture.cache_clear()
    assert len(make_scenes(20).boxes) == 20


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"layout": "sorted"}, "layout must be one of scattered, arranged"),
        ({"split": "test"}, "split must be one of train, val"),
        ({"seed": -1}, "non-negative"),
        ({"index": -1}, "non-negative"),
        ({"side": 8}, "side must be 32 to 512 pixels, not 8"),
        ({"digits": (0, 4)}, r"digits must be \(fewest, most\) within 1 to 6"),
        ({"digits": (3, 2)}, "digits must be"),
        ({"digits": (1, 7)}, "digits must be"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        scene_at(**{"index": 0} | arguments)
