"""The box explorer in Python: traits that refuse nonsense, numbers, the still picture, the saved page."""

from __future__ import annotations

import base64
import io
import itertools
import re

import numpy as np
import pytest
import traitlets

from marginalia.boxes.correlation import BOX_FORMATS, macroscopic_correlation
from marginalia.boxes.table import BoxTable, BoxWarning
from marginalia.boxes.uniform import uniform_boxes
from marginalia.explorers import BoxExplorer, box

BOXES = [[30, 20, 70, 60], [150, 30, 60, 90], [260, 60, 80, 50], [60, 150, 90, 70]]


def table(boxes=BOXES, sizes=((400, 300),), crowd=None) -> BoxTable:
    image = np.zeros(len(boxes), int)
    return BoxTable(boxes, image, (7,), sizes, image, {0: "cup"}, crowd=crowd)


@pytest.mark.parametrize("box_format", BOX_FORMATS)
def test_correlation_is_the_library_s(box_format):
    explorer = BoxExplorer(np.array(BOXES), size=(400, 300), box_format=box_format)
    assert explorer.correlation == macroscopic_correlation(table(), box_format)[0]


def test_band_is_that_of_its_draws():
    values = []
    for draw in range(200):
        boxes = uniform_boxes(np.array(BOXES, float)[:, 2:], (400, 300), seed=0, draw=draw)
        values.append(macroscopic_correlation(table(boxes))[0])
    low, high = np.quantile(values, [0.05, 0.95])
    assert BoxExplorer(BOXES, size=(400, 300)).band == pytest.approx((low, high), abs=1e-14)


def test_random_boxes_are_drawn_once_for_sentence_and_picture(monkeypatch):
    seen = []
    monkeypatch.setattr(box, "uniform_boxes", lambda *a, **k: seen.append(k) or uniform_boxes(*a, **k))
    BoxExplorer(BOXES)._repr_mimebundle_()
    assert len(seen) == box.DRAWS


@pytest.mark.parametrize(
    "change", [{"boxes": BOXES[1:]}, {"size": (900.0, 350.0)}, {"box_format": "xyxy"}], ids=str
)
def test_the_band_follows_what_it_is_made_of(change):
    given = {"boxes": BOXES, "size": (400.0, 300.0), "box_format": "xywh"}
    explorer = BoxExplorer(**given)
    before = explorer.band
    for name, value in change.items():
        setattr(explorer, name, value)
    assert explorer.band == BoxExplorer(**(given | change)).band != before


def test_numbers_follow_the_boxes():
    explorer = BoxExplorer(BOXES, size=(400, 300))
    before = explorer.correlation
    boxes = explorer.boxes
    boxes[0][0] += 50  # what comes out is a copy, so putting it back is a change
    explorer.boxes = boxes
    assert explorer.correlation != before
    assert explorer.boxes[0] == [80, 20, 70, 60]


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        ([[1, 2, 3]], r"shape \(1, 3\)"),
        ([[1, 2, 3, 4], [1, 2, float("nan"), 4]], "box 1 is"),
        ([[1, 2, 0, 4]], "w, h > 0"),
        ("boxes", "boxes"),
        ([[1, 2, 3, 4], [1, 2]], "boxes"),
    ],
)
def test_bad_boxes_are_refused(bad, told):
    explorer = BoxExplorer(BOXES)
    with pytest.raises(traitlets.TraitError, match=told):
        explorer.boxes = bad
    assert explorer.boxes == BOXES


def test_selected_is_a_box_that_exists():
    explorer = BoxExplorer(BOXES)
    explorer.selected = 3
    with pytest.raises(traitlets.TraitError, match="to 3, not 4"):
        explorer.selected = 4
    explorer.boxes = BOXES[:2]
    assert explorer.selected == -1


def test_size_comes_from_pixels_table_or_boxes():
    assert BoxExplorer(BOXES, pixels=np.zeros((200, 500, 3), np.uint8)).size == (500, 200)
    assert BoxExplorer(table()).size == (400, 300)
    assert BoxExplorer(table(sizes=((np.nan, np.nan),))).size == (340, 220)
    assert BoxExplorer(BOXES, size=(1000, 900)).size == (1000, 900)
    assert BoxExplorer().size == (640, 480)
    with pytest.raises(traitlets.TraitError, match="width and a height"):
        BoxExplorer(BOXES, size=(0, 10))


def test_a_table_gives_one_image_without_its_crowd():
    with pytest.warns(BoxWarning, match="image 7: 1 crowd"):
        explorer = BoxExplorer(table(crowd=np.array([False, True, False, False])))
    assert explorer.boxes == [BOXES[0], *BOXES[2:]]
    with pytest.raises(ValueError, match="index of the table's 1 images, not 1"):
        BoxExplorer(table(), image=1)


@pytest.mark.parametrize("shape", [(20, 30), (20, 30, 3), (20, 30, 4)])
def test_pixels_go_to_the_browser_as_they_are(shape, rng):
    from PIL import Image

    pixels = rng.integers(0, 256, shape, dtype=np.uint8)
    png = BoxExplorer(BOXES, pixels=pixels).png
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(png))), pixels)


@pytest.mark.parametrize("channels", [(), (3,), (4,)])
def test_large_pixels_are_shrunk_and_coordinates_are_not(channels):
    pixels = np.full((300, 4000, *channels), 200, np.uint8)
    pixels[:, 2000:] = 100
    explorer = BoxExplorer(BOXES, pixels=pixels)
    image = explorer.static().axes[0].images[0]
    assert image.get_array().shape == (75, 1000, *channels)
    left, right = image.get_array()[:, :490], image.get_array()[:, 510:]
    np.testing.assert_allclose(left, 200, atol=1)  # an alpha channel rounds
    np.testing.assert_allclose(right, 100, atol=1)
    assert explorer.size == (4000, 300) and image.get_extent() == [0, 4000, 300, 0]
    assert explorer.boxes == BOXES


@pytest.mark.parametrize(
    "pixels", [np.zeros((4, 5)), np.zeros((4, 5, 2), np.uint8), np.zeros((0, 5), np.uint8), [[0, 1]]]
)
def test_other_pixels_are_refused(pixels):
    with pytest.raises(ValueError, match="pixels: expected"):
        BoxExplorer(BOXES, pixels=pixels)


@pytest.mark.parametrize(
    ("boxes", "told"),
    [
        (BOXES, r"Box explorer: 4 boxes, MC 0\.\d\d \(5 to 95 % of random boxes: 0\.\d\d to 0\.\d\d\)"),
        (BOXES[:1], "Box explorer: 1 box; MC needs two boxes"),
        ([], "Box explorer: 0 boxes; MC needs two boxes"),
        (
            [*BOXES[:2], [40] * 4],
            r"Box explorer: 3 boxes \(1 left out of MC: four equal numbers\), MC 0\.\d\d \(.*\)",
        ),
    ],
)
def test_the_output_is_a_sentence_and_a_picture(boxes, told):
    data, _ = BoxExplorer(boxes)._repr_mimebundle_()
    assert re.fullmatch(told, data["text/plain"])
    assert base64.b64decode(data["image/png"]).startswith(b"\x89PNG")
    assert data["application/vnd.jupyter.widget-view+json"]["model_id"]


def test_labels_name_boxes_in_the_still_picture():
    explorer = BoxExplorer(BOXES, labels=["cup", ""])
    shown = {text.get_text() for text in explorer.static().axes[0].texts}
    assert shown == {"cup", "1", "2", "3"}


@pytest.mark.parametrize("boxes", [[], BOXES[:1], [[40] * 4] * 3])
def test_without_two_boxes_there_is_a_word_in_place_of_empty_panels(boxes):
    (picture,) = BoxExplorer(boxes).static().axes
    assert picture.get_title("left") == "MC needs two boxes" and len(picture.patches) == len(boxes)


def test_the_still_picture_calls_the_bound_a_bound():
    """(N - 3) / (3 (N - 1)) is a bound that only some N reach, and MC can lie below the level of chance."""
    note = BoxExplorer(BOXES).static().axes[-1].get_xlabel()
    assert note.endswith("line: no MC below 0.11\ndotted: 0.5, chance level")


def test_nothing_in_the_still_picture_runs_together(rng):
    """Numbers stay inside their cells, the note of the MC axis below it, and tick labels apart."""
    boxes = np.column_stack([rng.uniform(0, 700, (8, 2)), rng.uniform(20, 300, (8, 2))])
    figure = BoxExplorer(boxes, size=(1000, 1000)).static()
    figure.draw_without_rendering()
    picture, matrix, _, mc = figure.axes
    cell = matrix.get_window_extent().width / 8
    assert max(text.get_window_extent().width for text in matrix.texts) < 0.95 * cell
    own = mc.get_window_extent()
    assert matrix.get_tightbbox().y1 < figure.bbox.y1
    note = mc.xaxis.label.get_window_extent()
    assert own.x0 < note.x0 and note.x1 < own.x1
    assert picture.get_tightbbox().x1 + 8 < min(matrix.get_tightbbox().x0, mc.get_tightbbox().x0)


def apart(texts) -> bool:
    """Whether no two of them touch."""
    extents = [text.get_window_extent() for text in texts if text.get_text()]
    return not any(one.overlaps(other) for one, other in itertools.combinations(extents, 2))


@pytest.mark.parametrize("label", ["{}", "white blood cell {}", "很长很长很长很长很长的中文标签"])
@pytest.mark.parametrize("count", [2, 12, 60, 150])
def test_names_do_not_touch_however_many_and_long(count, label, rng):
    boxes = np.column_stack([rng.uniform(-50, 850, (count, 2)), rng.uniform(20, 300, (count, 2))])
    labels = [label.format(i) for i in range(count)]
    figure = BoxExplorer(boxes, size=(800, 600), labels=labels).static()
    figure.draw_without_rendering()
    picture, matrix, *_ = figure.axes
    frame = picture.get_window_extent().padded(1)
    assert all(frame.count_contains(tag.get_window_extent().corners()) == 4 for tag in picture.texts)
    assert apart(picture.texts)
    assert apart(matrix.get_xticklabels() + matrix.get_yticklabels())
    assert bool(picture.texts) == (count <= 100)
    assert len(picture.patches) == len(boxes)


def test_showing_leaves_the_reader_s_style_alone():
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    BoxExplorer(BOXES).static()
    assert dict(mpl.rcParams) == before


def test_saving_needs_its_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="make it first"):
        BoxExplorer(BOXES).save_html(tmp_path / "none" / "box.html")


def test_a_saved_page_holds_everything(tmp_path):
    pixels = np.zeros((30, 40), np.uint8)
    page = BoxExplorer([[1, 2, 3, 4]], pixels=pixels, labels=["</script>"]).save_html(tmp_path / "box.html")
    text = page.read_text(encoding="utf-8")
    assert text.count("</script>") == 1  # a label cannot end the script
    assert not re.search(r"https?://|\bsrc=|\bimport ", text)
