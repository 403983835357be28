"""Boxes on an image in saved pages: add, delete, undo, what lies beneath, save; by mouse, finger and keys."""

from __future__ import annotations

import re

import pytest

from marginalia.explorers import BoxExplorer, RelationExplorer

from .views import ShownBoxes

pytestmark = pytest.mark.browser

NESTED = [[20, 20, 200, 160], [60, 50, 80, 60], [70, 60, 40, 30], [240, 30, 60, 50.5]]
INSIDE = (90, 75)  # of the first three boxes
AGAIN = 450  # milliseconds: later than a double-click


@pytest.fixture(params=[BoxExplorer, RelationExplorer])
def opened(request, open_saved):
    """Opens an explorer of boxes on a ground of 320 x 240 pixels."""

    def new(boxes=NESTED, **options):
        page = open_saved(request.param(boxes, size=(320, 240)), **options)
        shown = ShownBoxes(page, request.param.__name__.removesuffix("Explorer").lower())
        shown.size = (320, 240)
        shown.says("status", f"{len(boxes)} box")
        return shown

    return new


def count(shown) -> int:
    shown.press("Escape")
    shown.page.mouse.move(2, 2)
    shown.wait(r"^\d+ box")
    return int(shown.text("status").split()[0])


def test_by_mouse(opened):
    shown = opened()
    mouse = shown.page.mouse
    shown.drag((240, 150), (300, 200))
    shown.wait(r"^Box 4: x (239|240|241), y (149|150|151), w (59|60|61), h (49|50|51) px\.")
    shown.click("Delete box")
    assert count(shown) == 4
    shown.click("Undo")
    assert count(shown) == 5
    shown.click("Undo")  # one step, however long the drag was
    assert count(shown) == 4
    assert shown.button("Undo").is_disabled()
    for box in (2, 1, 0, 2):
        mouse.click(*shown.at(*INSIDE))
        shown.says("status", f"Box {box}: ")
        shown.page.wait_for_timeout(AGAIN)
    mouse.dblclick(*shown.at(270, 55))  # also inside of a box
    assert count(shown) == 5
    shown.page.keyboard.down("Shift")
    shown.drag((100, 130), (130, 150))
    shown.page.keyboard.up("Shift")
    assert count(shown) == 6
    shown.click("Undo", "Undo", "Add box")
    assert count(shown) == 5
    with shown.page.expect_download():
        shown.click("Save PNG")


def test_a_selected_box_does_not_hide_those_inside(opened):
    shown = opened()
    shown.page.mouse.click(*shown.at(21, 100))
    shown.says("status", "Box 0: x 20, y 20, w 200, h 160 px.")
    shown.page.mouse.move(*shown.at(*INSIDE))
    shown.says("status", "Box 2: x 70, y 60, w 40, h 30 px.")  # under the pointer: its name and its numbers
    shown.drag(INSIDE, (INSIDE[0] + 10, INSIDE[1] + 5))
    shown.wait(r"^Box 2: x (79|80|81), y (64|65|66), w 40, h 30 px\.")
    # what was chosen beneath is what a drag from there moves
    shown.page.mouse.click(*shown.at(110, 85))
    shown.page.wait_for_timeout(AGAIN)
    shown.page.mouse.click(*shown.at(110, 85))
    shown.says("status", "Box 1: x 60, y 50, w 80, h 60 px.")
    shown.page.wait_for_timeout(AGAIN)
    shown.drag((110, 85), (110, 105))
    shown.page.mouse.move(2, 2)
    shown.wait(r"^Box 1: x 60, y (69|70|71), w 80, h 60 px\.")


def test_a_click_that_jitters_moves_nothing_and_a_quick_second_press_may_drag(opened):
    shown = opened()
    mouse = shown.page.mouse
    x, y = shown.at(*INSIDE)
    for moves in (1, 2):
        mouse.move(x, y)
        mouse.down()
        mouse.move(x + moves, y + 1)
        mouse.up()
        shown.page.wait_for_timeout(AGAIN)
    shown.says("status", "Box 1: x 60, y 50, w 80, h 60 px.")  # beneath box 2, and neither has moved
    shown.press("]")
    shown.says("status", "Box 2: x 70, y 60, w 40, h 30 px.")
    mouse.click(*shown.at(230, 200))
    mouse.click(x, y)
    shown.drag(INSIDE, (INSIDE[0] + 20, INSIDE[1]))  # at once: no double-click
    assert count(shown) == 4
    shown.press("[", "[")
    shown.wait(r"^Box 2: x (89|90|91), y 60, w 40, h 30 px\.")


def test_escape_ends_a_drag_as_if_it_had_not_begun(opened):
    shown = opened()
    for start in (INSIDE, (240, 150)):
        shown.page.mouse.move(*shown.at(*start))
        shown.page.mouse.down()
        shown.page.mouse.move(*shown.at(start[0] + 40, start[1] + 30), steps=4)
        shown.page.keyboard.press("Escape")
        shown.page.mouse.move(*shown.at(start[0] + 60, start[1] + 30), steps=2)
        shown.page.mouse.up()
        assert count(shown) == 4
    shown.press("]", "]", "]")
    shown.says("status", "Box 2: x 70, y 60, w 40, h 30 px.")


def test_during_a_drag_keys_do_nothing(opened):
    shown = opened()
    shown.page.mouse.move(*shown.at(*INSIDE))
    shown.page.mouse.down()
    shown.page.mouse.move(*shown.at(INSIDE[0] + 10, INSIDE[1] + 10), steps=3)
    for key in ("]", "Tab", "n", "Delete", "Control+z"):
        shown.page.keyboard.press(key)
    shown.page.mouse.move(*shown.at(INSIDE[0] + 20, INSIDE[1] + 10), steps=3)
    shown.page.mouse.up()
    shown.page.mouse.move(2, 2)
    shown.wait(r"^Box 2: x (89|90|91), y (69|70|71), w 40, h 30 px\.")
    assert count(shown) == 4
    shown.click("Undo")
    assert count(shown) == 4
    shown.press("]", "]", "]")
    shown.says("status", "Box 2: x 70, y 60, w 40, h 30 px.")


def test_a_small_box_is_moved_by_finger_and_not_resized(opened):
    shown = opened([[100, 100, 26, 24], *NESTED[3:]], has_touch=True, viewport={"width": 420, "height": 900})
    for _ in range(2):
        shown.page.wait_for_timeout(AGAIN)
        box = [float(number) for number in re.findall(r"\b[xy] (\d+)", shown.text("status"))] or [100, 100]
        x, y = shown.at(box[0] + 13, box[1] + 12)
        shown.touch((x, y), (x + 15, y + 15), (x + 30, y + 30))
        shown.wait(rf"^Box 0: x (?!{box[0]:.0f},)\d+, y \d+, w 26, h 24 px\.")


def test_a_button_that_is_used_up_leaves_the_keys_to_the_boxes(opened):
    shown = opened(NESTED[2:])
    shown.press("]")
    for _ in range(2):
        shown.button("Delete box").press("Enter")
    assert shown.first.evaluate("canvas => document.activeElement === canvas")
    shown.page.keyboard.press("Control+z")
    shown.page.keyboard.press("Control+z")
    assert count(shown) == 2


def test_by_finger(opened):
    shown = opened(has_touch=True, viewport={"width": 420, "height": 900})
    for box in (2, 1, 0):
        shown.touch(shown.at(*INSIDE))
        shown.says("status", f"Box {box}: ")
        shown.page.wait_for_timeout(AGAIN)
    x, y = shown.at(*INSIDE)
    shown.touch((x, y), (x + 20, y + 10), (x + 40, y + 20))
    shown.wait(r"^Box 0: x [456]\d, y [34]\d, w 200, h 160 px\.")
    shown.button("Delete box").tap()
    shown.wait("^Box 0: x 60, y 50, w 80, h 60 px")  # the next one
    shown.button("Undo").tap()
    shown.button("Undo").tap()
    shown.button("Redo").tap()
    shown.button("Reset").tap()
    shown.wait("^4 boxes")
    shown.button("Add box").tap()
    shown.says("status", "Box 4: ")
    page = shown.page
    page.wait_for_timeout(AGAIN)
    shown.touch(shown.at(280, 200))
    shown.touch(shown.at(280, 200))  # twice: one more
    shown.says("status", "Box 5: ")
    with page.expect_download():
        shown.button("Save PNG").tap()


def test_by_keys(opened):
    shown = opened()
    shown.first.focus()
    shown.press("n", "Delete", "Control+z")
    assert count(shown) == 5
    shown.press("Control+z")
    assert count(shown) == 4
    shown.press("Control+Shift+Z", "r")
    assert count(shown) == 4
    shown.press("]", "]", "]")  # whatever lies on it
    shown.says("status", "Box 2: ")
    with shown.page.expect_download():
        shown.press("s")


def test_a_box_outside_of_the_image_is_caught_by_its_name(opened):
    shown = opened([*NESTED, [-400, 300, 50, 60]])
    shown.page.mouse.click(*shown.at(3, 235))  # its tag stands in the corner
    shown.says("status", "Box 4: x -400, y 300, w 50, h 60 px.")
    shown.press("ArrowRight", "Shift+ArrowUp")
    shown.page.mouse.move(2, 2)
    shown.says("status", "Box 4: x -399, y 290, w 50, h 60 px.")


def test_without_a_clipboard_the_call_stands_there_to_be_copied(opened):
    shown = opened()
    shown.page.evaluate("() => { navigator.clipboard.writeText = () => Promise.reject(new Error('no')) }")
    shown.click("Copy as Python")
    field = shown.root.get_by_label("a call that makes this explorer")
    field.wait_for()
    boxes = "[[20,20,200,160],[60,50,80,60],[70,60,40,30],[240,30,60,50.5]]"
    assert field.input_value().startswith((f"BoxExplorer({boxes}", f"RelationExplorer({boxes}"))
    field.press("ArrowRight")  # belongs to the text
    shown.press("n")  # what stands there is no longer what is shown
    assert not field.is_visible()
