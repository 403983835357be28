"""The Rips explorer in JupyterLab and as a saved page: mouse, finger, keys, buttons, Python."""

from __future__ import annotations

import re

import numpy as np
import pytest

from marginalia.explorers import RipsExplorer

from .views import POINTS, SHOW, WINDOW, Shown

pytestmark = pytest.mark.browser

MANY = np.random.default_rng(5).uniform((-1, -1), (2, 1), (40, 2)).round(3).tolist()


class ShownRips(Shown):
    def __init__(self, page, window=WINDOW):
        super().__init__(page, "rips")
        self.window = window
        self.barcode, self.diagram = self.canvas(1), self.canvas(2)

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Where a place of the plane is on the page."""
        frame = self.frame(0)
        left, right, low, high = self.window
        scale = min(frame["width"] / (right - left), frame["height"] / (high - low))
        x0 = frame["x"] + (frame["width"] - (right - left) * scale) / 2
        y0 = frame["y"] + (frame["height"] - (high - low) * scale) / 2
        return x0 + (x - left) * scale, y0 + (high - y) * scale

    def keys(self) -> list[str]:
        return self.texts("key")


@pytest.fixture
def shown(notebook):
    """A new explorer with POINTS in the notebook."""
    notebook.show(SHOW["rips"])
    shown = ShownRips(notebook.page)
    shown.says("counts", "component")
    return shown


def python_has(notebook, shown, expected, atol: float = 0) -> None:
    """Until these are the points in the kernel, and the view tells their complex."""

    def near(points) -> bool:
        same = np.shape(points) == np.shape(expected)
        return same and np.allclose(points, expected, rtol=0, atol=atol + 1e-12)

    notebook.until("explorer.points", near)
    shown.says("counts", notebook.run("print(explorer.summary())").split("radius): ")[1].strip())


def test_it_appears_with_the_numbers_of_the_library(notebook, shown):
    explorer = RipsExplorer(POINTS, length=1.2)
    counts = explorer.summary().split("radius): ")[1]
    assert shown.text("counts") == f"Edges up to length 1.2, balls of radius 0.6: {counts}."
    assert shown.keys() == ["H0: 5 bars", "H1: 1 bar"]
    end, peak = 1.5, explorer.image.max()
    told = f"H1: 20 × 20 nodes, bandwidth {end / 20:.3g}, weight = persistence, peak {peak:.3g}."
    assert shown.text("caption") == f"Persistence image of {told}"


def test_a_held_bar_is_let_go(notebook, shown):
    for end in (lambda: shown.click("Reset"), lambda: shown.press("Escape")):
        shown.click("choose the bar above")
        shown.wait("^H. bar ")
        end()
        shown.wait("^5 points")


def test_undo_and_reset_take_back_length_and_dimension(notebook, shown):
    slider = shown.root.get_by_label("length")
    slider.press("End")
    shown.click("H0")
    notebook.has(length=1.5, dimension=0)
    shown.click("Undo", "Undo")
    notebook.has(length=1.2, dimension=1)
    shown.click("Redo", "Reset")
    notebook.has(length=1.2, dimension=1)


def test_a_click_goes_through_points_that_lie_on_each_other(notebook, shown):
    notebook.run(f"explorer.points = {[*POINTS, [1, 0.98], [1, 0.96]]}")
    for point in (2, 5, 6, 2):
        shown.page.mouse.click(*shown.at(1, 1))
        shown.says("status", f"Point {point}: x 1, ")
        notebook.has(selected=point)
    shown.drag((1, 1), (0.5, 0.5))  # what was chosen beneath is moved
    moved = notebook.until("explorer.points", lambda points: points[2] != [1, 1])
    assert moved[5:] == [[1, 0.98], [1, 0.96]]


def test_the_mouse_adds_moves_and_selects(notebook, shown):
    shown.page.mouse.click(*shown.at(-1, -0.5))
    shown.says("status", "Point 5: ")
    python_has(notebook, shown, [*POINTS, [-1, -0.5]], atol=0.02)  # whole pixels of the screen
    shown.drag((2, 0.5), (1.5, 0.75))
    python_has(notebook, shown, [*POINTS[:4], [1.5, 0.75], [-1, -0.5]], atol=0.02)
    shown.page.mouse.click(*shown.at(1, 1))  # a click on a point selects it, and adds none
    shown.says("status", "Point 2: x 1, y 1.")
    assert notebook.run("print(explorer.selected)").strip() == "2"
    shown.drag((1, 1), (9, 9))  # a point stays in the window
    python_has(notebook, shown, [*POINTS[:2], [2.5, 1.5], POINTS[3], [1.5, 0.75], [-1, -0.5]], atol=0.02)


def test_keys_choose_move_add_and_remove(notebook, shown):
    shown.first.focus()
    shown.press("Tab", "Tab", "ArrowRight", "Shift+ArrowDown")  # 0.02, a two-hundredth of the window
    python_has(notebook, shown, [POINTS[0], [1.02, -0.2], *POINTS[2:]])
    assert shown.text("status") == "Point 1: x 1.02, y −0.2."
    shown.press("Delete")
    python_has(notebook, shown, [POINTS[0], *POINTS[2:]])
    shown.press("n")
    shown.says("status", "Point 4: ")
    shown.press("Backspace")
    python_has(notebook, shown, [POINTS[0], *POINTS[2:]])
    shown.press("Escape")
    shown.says("status", "4 points.")


def test_a_drag_and_what_python_does_are_one_step_each(notebook, shown):
    assert shown.button("Delete point").is_disabled()
    shown.drag((2, 0.5), (1.5, 0.75))
    moved = [*POINTS[:4], [1.5, 0.75]]
    python_has(notebook, shown, moved, atol=0.02)
    notebook.run(f"explorer.points = {POINTS[:3]}")
    python_has(notebook, shown, POINTS[:3])
    shown.click("Undo")
    python_has(notebook, shown, moved, atol=0.02)
    shown.click("Undo")
    python_has(notebook, shown, POINTS)
    shown.click("Add point", "Add point", "Delete point")
    notebook.until("len(explorer.points)", 6)


def test_the_slider_grows_the_complex(notebook, shown):
    slider = shown.root.locator("input")
    before = shown.first.screenshot()
    slider.fill("1.485")
    shown.says(
        "counts",
        "Edges up to length 1.49, balls of radius 0.743: 8 edges, 5 triangles, 1 component, 0 loops.",
    )
    python_has(notebook, shown, POINTS)
    assert float(notebook.run("print(explorer.length)")) == 1.485
    assert shown.first.screenshot() != before
    slider.press("Home")
    shown.says("counts", "length 0, balls of radius 0: 0 edges, 0 triangles, 5 components, 0 loops.")
    notebook.run("explorer.length = 1.2")
    shown.says("counts", "1 component, 1 loop.")


def test_a_bar_tells_its_edges_by_mouse_keys_and_buttons(notebook, shown):
    loop = "H1 bar 1 of 1: born at 1 with edge "
    frame = shown.barcode.bounding_box()
    place = {"x": 8 + (frame["width"] - 18) * 1.2 / 1.5, "y": 8 + (frame["height"] - 42) * (1 - 6.5 / 8)}
    plain = shown.first.screenshot()
    shown.barcode.hover(position=place)
    shown.says("status", loop)
    assert re.search(
        r"dies at 1.41 with triangle [0-3]–[0-3]–[0-3] \(dashed\); persistence 0.414.$", shown.text("status")
    )
    assert shown.first.screenshot() != plain  # its edges
    marked = shown.diagram.screenshot()
    shown.page.mouse.move(2, 2)
    shown.says("status", "5 points.")
    assert shown.diagram.screenshot() != marked  # its dot
    shown.barcode.click(position=place)
    shown.page.mouse.move(2, 2)
    assert shown.text("status").startswith(loop)  # held
    shown.barcode.press("ArrowDown")
    assert shown.text("status") == "H0 bar 1 of 5 never dies: in the end all points are one component."
    shown.barcode.press("ArrowLeft")
    assert re.match(r"H0 bar 2 of 5: dies at 1\.12, when edge [12]–4 \(dashed\) joins", shown.text("status"))
    shown.click("choose the bar above", "choose the bar above")
    assert shown.text("status").startswith(loop)
    shown.barcode.press("Escape")
    shown.says("status", "5 points.")
    frame = shown.diagram.bounding_box()
    left = 48  # about: it depends on the width of 0.75, the longest number
    wide, tall = frame["width"] - left - 10, frame["height"] - 66
    place = {"x": left + wide / 1.5, "y": 32 + tall * (1 - np.sqrt(2) / 1.5)}
    shown.diagram.hover(position=place)
    shown.says("status", loop)


def test_a_held_bar_stays_with_its_loop_in_a_drag(notebook, shown):
    shown.barcode.press("ArrowDown")  # from the top: the loop
    assert shown.text("status").startswith("H1 bar 1 of 1: born at 1 with")
    shown.drag((0, 0), (-0.1, -0.1))
    assert shown.text("status").startswith("H1 bar 1 of 1: born at 1.1 with edge 0–")


def test_the_image_of_the_other_dimension(notebook, shown):
    shown.click("H0")
    shown.says("caption", "Persistence image of H0: ")
    assert notebook.run("print(explorer.dimension)").strip() == "0"
    notebook.run("explorer.dimension = 1")
    shown.says("caption", "Persistence image of H1: ")


def test_beyond_40_points_the_kernel_answers(notebook, shown):
    notebook.run(f"explorer.points = {MANY}")
    python_has(notebook, shown, MANY)
    shown.page.mouse.click(*shown.at(-1.2, 1.2))
    expected = f"H1: {len(RipsExplorer([*MANY, [-1.2, 1.2]]).bars[1])} bars"
    shown.says("key", expected)
    notebook.until("len(explorer.points)", 41)
    assert "not known" not in shown.text("counts")
    shown.barcode.press("ArrowDown")
    assert re.match(
        r"H1 bar \d+ of \d+: born at .* with edge \d+–\d+ \(solid\), dies at .* with edge",
        shown.text("status"),
    )


def test_a_kernel_that_does_not_answer_is_missed(notebook, shown):
    notebook.run(f"explorer.points = {MANY}")
    shown.says("counts", notebook.run("print(explorer.summary())").split("radius): ")[1].strip())
    notebook.run("explorer._msg_callbacks.callbacks.clear(); explorer.unobserve_all('points')")
    shown.page.mouse.click(*shown.at(-1.2, 1.2))
    why = "the browser finds loops of at most 40 points, and there are 41"
    shown.says("key", f"H1: {why}; waiting for the kernel.")
    assert shown.text("counts").endswith("loops not known.")
    assert shown.text("caption") == "No persistence image: H1 is not known."
    shown.says("key", f"H1 is missing: {why}.")
    shown.says("gone", "The kernel does not answer")
    notebook.run("explorer.on_msg(lambda *told: explorer.send({}))")
    shown.click("Undo")
    shown.says("key", f"H1: {len(RipsExplorer(MANY).bars[1])} bars")
    shown.root.locator(".m-gone:empty").wait_for(state="attached")


def test_python_wins_over_a_drag_that_holds_an_old_point(notebook, shown):
    shown.page.mouse.move(*shown.at(2, 0.5))
    shown.page.mouse.down()
    notebook.run(f"explorer.points = {POINTS[:4]}")
    shown.says("key", "H0: 4 bars")
    shown.page.mouse.move(*shown.at(1.5, 0.75), steps=3)
    shown.page.mouse.up()
    python_has(notebook, shown, POINTS[:4])


# ---- a saved page


def test_a_saved_page_works_without_a_kernel(open_saved):
    explorer = RipsExplorer(POINTS, length=1.2)
    shown = ShownRips(open_saved(explorer), explorer.window)
    shown.first.focus()
    shown.press("Tab", "Shift+ArrowLeft", "n")
    assert shown.keys()[0] == "H0: 6 bars"
    shown.press("Control+z", "Control+z")
    counts = explorer.summary().split("radius): ")[1]
    assert shown.text("counts").endswith(f"radius 0.6: {counts}.")
    assert shown.keys() == ["H0: 5 bars", "H1: 1 bar"]


def test_a_saved_page_says_that_it_has_no_kernel_to_ask(open_saved):
    explorer = RipsExplorer([*MANY, [0.1, 0.2]])
    shown = ShownRips(open_saved(explorer), explorer.window)
    assert shown.keys()[1] == f"H1: {len(explorer.bars[1])} bars"  # saved with the page
    shown.first.focus()
    shown.press("Tab", "ArrowRight")
    why = "the browser finds loops of at most 40 points, and there are 41. This page has no kernel."
    assert shown.keys() == ["H0: 41 bars", f"H1 is missing: {why}"]
    shown.press("Control+z")
    assert shown.keys()[1] == f"H1: {len(explorer.bars[1])} bars"
    shown.press("Delete")
    assert shown.keys()[1] == f"H1: {len(RipsExplorer([*MANY[1:], [0.1, 0.2]]).bars[1])} bars"  # 40: its own


def test_a_finger_adds_and_drags(open_saved):
    size = {"width": 420, "height": 900}
    explorer = RipsExplorer(POINTS, length=1.2)
    shown = ShownRips(open_saved(explorer, has_touch=True, viewport=size), explorer.window)
    shown.page.touchscreen.tap(*shown.at(0.5, -0.2))
    shown.says("status", "Point 5: x 0.5")
    (x, y), (far_x, far_y) = shown.at(2, 0.5), shown.at(1.6, 0.7)
    shown.touch(*((x + part * (far_x - x), y + part * (far_y - y)) for part in (0, 0.25, 0.5, 0.75, 1)))
    shown.says("status", "Point 4: x 1.6")
    assert shown.keys()[0] == "H0: 6 bars"  # a drag adds no point
    assert shown.page.evaluate("scrollY") == 0
    x, y = shown.at(-1.2, 1)
    shown.touch(*((x, y + 20 * part) for part in range(6)))
    shown.page.wait_for_timeout(200)
    assert shown.keys()[0] == "H0: 6 bars"  # nor does a finger that moves the page
