"""The box explorer in JupyterLab: mouse, keys and Python all work on the same boxes."""

from __future__ import annotations

import numpy as np
import pytest

from marginalia.explorers import BoxExplorer

from .views import BOXES, SHOW, SIZE, ShownBoxes

pytestmark = pytest.mark.browser


@pytest.fixture
def shown(notebook):
    """A new explorer with BOXES in the notebook."""
    notebook.show(SHOW["box"])
    shown = ShownBoxes(notebook.page, "box")
    shown.says("mc", "MC 0.")
    return shown


def mc_text(boxes) -> str:
    """What the view must say for these boxes, from the library's own numbers."""
    return f"MC {BoxExplorer(boxes, size=SIZE).correlation:.3f}"


def band_text(boxes) -> str:
    low, high = BoxExplorer(boxes, size=SIZE).band
    return f"random boxes: {low:.2f} to {high:.2f}"


def kernel_boxes(notebook, shown) -> list[list[float]]:
    """The boxes that Python has, once they are those of the view."""
    return notebook.until(
        "explorer.boxes", lambda boxes: len(boxes) >= 2 and mc_text(boxes) == shown.text("mc")
    )


def test_it_appears_with_the_numbers_of_the_library(notebook, shown):
    assert shown.text("mc") == mc_text(BOXES)
    assert shown.text("band") == band_text(BOXES)
    assert shown.text("status") == "5 boxes."


def test_a_drag_changes_the_numbers_and_python_sees_it(notebook, shown):
    shown.drag((65, 50), (95, 120))
    moved = kernel_boxes(notebook, shown)
    assert moved[1:] == BOXES[1:]
    # whole pixels of the image; the mouse stands on whole pixels of the screen, hence the play of one
    np.testing.assert_allclose(moved[0], [60, 90, 70, 60], atol=1)
    assert shown.text("mc") == mc_text(moved) != mc_text(BOXES)
    assert shown.text("band") == band_text(BOXES)  # sizes stayed
    notebook.until("f'MC {explorer.correlation:.3f}'", shown.text("mc"))
    notebook.has(selected=0)


def test_handles_resize_and_boxes_stay_inside(notebook, shown):
    shown.page.mouse.click(*shown.at(65, 50))
    shown.drag((100, 80), (120, 110))
    resized = kernel_boxes(notebook, shown)[0]
    np.testing.assert_allclose(resized, [30, 20, 90, 90], atol=1)
    assert shown.text("band") == band_text([resized, *BOXES[1:]]) != band_text(BOXES)
    shown.drag((60, 60), (2, 2))
    shown.drag((20, 20), (2, 2))
    assert kernel_boxes(notebook, shown)[0][:2] == [0, 0]


def test_double_click_adds_and_delete_removes(notebook, shown):
    shown.page.mouse.dblclick(*shown.at(330, 250))
    added = kernel_boxes(notebook, shown)
    assert len(added) == 6
    x, y, w, h = added[5]
    assert x <= 330 <= x + w <= SIZE[0] and y <= 250 <= y + h <= SIZE[1]
    assert shown.text("mc") == mc_text(added)
    shown.press("Delete")
    assert kernel_boxes(notebook, shown) == BOXES


def test_keys_choose_move_resize_add_and_remove(notebook, shown):
    shown.first.focus()
    shown.press("Tab", "Tab", "ArrowRight", "Shift+ArrowDown", "Alt+ArrowRight", "Control+Shift+ArrowUp")
    boxes = kernel_boxes(notebook, shown)
    assert boxes[1] == [151, 40, 61, 80]
    assert shown.text("status") == "Box 1: x 151, y 40, w 61, h 80 px."
    assert shown.text("mc") == mc_text(boxes)
    shown.press("]", "]", "[", "Backspace")
    assert kernel_boxes(notebook, shown) == [*boxes[:2], *boxes[3:]]
    shown.press("Escape", "n", "n")
    assert len(kernel_boxes(notebook, shown)) == 6
    shown.press("Escape")
    notebook.has(selected=-1)


def test_python_sets_traits_and_the_view_follows(notebook, shown):
    other = [[10, 10, 40, 60], [200, 100, 90, 30], [100, 200, 20, 80]]
    notebook.run(f"explorer.boxes = {other}; explorer.selected = 2")
    shown.says("mc", mc_text(other))
    assert shown.text("status") == "Box 2: x 100, y 200, w 20, h 80 px."
    notebook.run("explorer.box_format = 'cxcywh'")
    shown.says("mc", f"MC {BoxExplorer(other, size=SIZE, box_format='cxcywh').correlation:.3f}")
    notebook.run("explorer.labels = ['cup', 'spoon', 'plate']")
    shown.says("status", "Box plate: x 100, y 200, w 20, h 80 px.")
    notebook.run("explorer.boxes = [[1, 2, 3, 4]]")
    shown.says("mc", "MC needs two boxes")


def test_python_wins_over_a_drag_that_holds_an_old_box(notebook, shown):
    shown.page.mouse.move(*shown.at(65, 50))
    shown.page.mouse.down()
    notebook.run(f"explorer.boxes = {BOXES[1:]}")
    shown.says("mc", mc_text(BOXES[1:]))
    shown.page.mouse.move(*shown.at(200, 200), steps=3)
    shown.page.mouse.up()
    assert kernel_boxes(notebook, shown) == BOXES[1:]


def test_boxes_without_variance_are_left_out_and_named(notebook, shown):
    boxes = [*BOXES, [40, 40, 40, 40]]
    notebook.run(f"explorer.boxes = {boxes}")
    shown.says("status", "6 boxes. Left out of MC (four equal numbers): 5.")
    assert shown.text("mc") == mc_text(boxes) == mc_text(BOXES)


def test_the_matrix_tells_a_pair(notebook, shown):
    shown.canvas(2).focus()
    shown.canvas(2).press("ArrowRight")
    value = np.corrcoef(BOXES[0], BOXES[1])[0, 1]
    told = f"{value:.3f}".replace("-", "−")
    assert shown.text("status") == f"Boxes 0 and 1: correlation {told}."


def test_no_move_of_a_drag_is_lost(notebook, shown):
    """To an echo of an older state from Python."""
    shown.page.mouse.move(*shown.at(65, 50))
    shown.page.mouse.down()
    shown.page.mouse.move(*shown.at(125, 56), steps=60)
    shown.page.mouse.up()
    np.testing.assert_allclose(kernel_boxes(notebook, shown)[0], [90, 26, 70, 60], atol=1)
