"""The box explorer in JupyterLab: mouse, keys and Python all work on the same boxes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from marginalia.explorers import BoxExplorer

pytestmark = pytest.mark.browser

SIZE = (384, 303)
BOXES = [[30, 20, 70, 60], [150, 30, 60, 90], [260, 60, 80, 50], [60, 150, 90, 70], [220, 170, 50, 50.5]]
SHOW = f"""
import json
from skimage import data
from marginalia.explorers import BoxExplorer
explorer = BoxExplorer({BOXES}, pixels=data.coins())
explorer
"""

COLOURS = """(canvas) => {
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  return new Set(new Uint32Array(data.buffer)).size;
}"""


class Shown:
    """An explorer on a page, found by what a reader sees."""

    def __init__(self, page):
        self.page = page
        self.root = page.locator(".m-box").last
        self.picture = self.root.locator("canvas").first

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Where a place of the image is on the page."""
        self.picture.scroll_into_view_if_needed()
        frame = self.picture.bounding_box()
        scale = min((frame["width"] - 12) / SIZE[0], (frame["height"] - 12) / SIZE[1])  # 6 around
        left = frame["x"] + (frame["width"] - SIZE[0] * scale) / 2
        top = frame["y"] + (frame["height"] - SIZE[1] * scale) / 2
        return left + x * scale, top + y * scale

    def drag(self, start, end, steps: int = 5) -> None:
        self.page.mouse.move(*self.at(*start))
        self.page.mouse.down()
        self.page.mouse.move(*self.at(*end), steps=steps)
        self.page.mouse.up()

    def text(self, name: str) -> str:
        return self.root.locator(f".m-{name}").text_content()

    def wait(self, name: str, text: str) -> None:
        """Until a part of the view says exactly this."""
        exactly = re.compile(f"^{re.escape(text)}$")
        self.root.locator(f".m-{name}", has_text=exactly).wait_for(state="attached")


@pytest.fixture
def shown(notebook):
    """A new explorer with BOXES in the notebook."""
    notebook.show(SHOW)
    notebook.page.locator(".m-box .m-mc", has_text="MC 0.").wait_for()
    return Shown(notebook.page)


def mc_text(boxes) -> str:
    """What the view must say for these boxes, from the library's own numbers."""
    return f"MC {BoxExplorer(boxes, size=SIZE).correlation:.3f}"


def band_text(boxes) -> str:
    low, high = BoxExplorer(boxes, size=SIZE).band
    return f"random boxes: {low:.2f} to {high:.2f}"


def kernel_boxes(notebook, shown) -> list[list[float]]:
    """The boxes that Python has, once they are those of the view: a message may be held back for a moment."""
    for _ in range(50):
        boxes = json.loads(notebook.run("print(json.dumps(explorer.boxes))"))
        if len(boxes) >= 2 and mc_text(boxes) == shown.text("mc"):
            return boxes
        shown.page.wait_for_timeout(50)
    raise AssertionError(f"Python has {boxes}, but the view says {shown.text('mc')}")


def python_says(notebook, shown, code: str, expected: str) -> None:
    """Until an expression has a value in the kernel."""
    for _ in range(50):
        if (told := notebook.run(f"print({code})").strip()) == expected:
            return
        shown.page.wait_for_timeout(50)
    raise AssertionError(f"{code} is {told}, not {expected}")


def test_it_appears_with_the_numbers_of_the_library(notebook, shown):
    assert shown.text("mc") == mc_text(BOXES)
    assert shown.text("band") == band_text(BOXES)
    assert shown.text("status") == "5 boxes."
    assert shown.picture.evaluate(COLOURS) > 50  # a photograph, not an empty ground


def test_a_drag_changes_the_numbers_and_python_sees_it(notebook, shown):
    shown.drag((65, 50), (95, 120))
    moved = kernel_boxes(notebook, shown)
    assert moved[1:] == BOXES[1:]
    # whole pixels of the image; the mouse stands on whole pixels of the screen, hence the play of one
    np.testing.assert_allclose(moved[0], [60, 90, 70, 60], atol=1)
    assert shown.text("mc") == mc_text(moved) != mc_text(BOXES)
    assert shown.text("band") == band_text(BOXES)  # sizes stayed
    python_says(notebook, shown, "f'MC {explorer.correlation:.3f}'", shown.text("mc"))
    python_says(notebook, shown, "explorer.selected", "0")


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
    shown.picture.press("Delete")
    assert kernel_boxes(notebook, shown) == BOXES


def test_keys_choose_move_resize_add_and_remove(notebook, shown):
    picture = shown.picture
    picture.focus()
    for key in ("Tab", "Tab", "ArrowRight", "Shift+ArrowDown", "Alt+ArrowRight", "Control+Shift+ArrowUp"):
        picture.press(key)
    boxes = kernel_boxes(notebook, shown)
    assert boxes[1] == [151, 40, 61, 80]
    assert shown.text("status") == "Box 1: x 151, y 40, w 61, h 80 px."
    assert shown.text("mc") == mc_text(boxes)
    for key in ("]", "]", "[", "Backspace"):
        picture.press(key)
    assert kernel_boxes(notebook, shown) == [*boxes[:2], *boxes[3:]]
    for key in ("Escape", "n", "n"):
        picture.press(key)
    assert len(kernel_boxes(notebook, shown)) == 6
    picture.press("Escape")
    python_says(notebook, shown, "explorer.selected", "-1")


def test_keys_do_not_reach_the_notebook(notebook, shown):
    shown.picture.focus()
    for key in ("ArrowDown", "x", "a", "d", "d", "Shift+ArrowDown", "Escape", "Enter"):
        shown.picture.press(key)
    cells, mode = (f"jupyterapp.shell.currentWidget.content.{name}" for name in ("widgets.length", "mode"))
    assert shown.page.evaluate(cells) == 2
    assert shown.page.evaluate(mode) == "command"
    dirty = "jupyterapp.shell.currentWidget.context.model.dirty"
    assert shown.page.evaluate(dirty)
    shown.picture.press("Control+s")  # but saving still works from here
    shown.page.wait_for_function(f"() => !{dirty}")
    assert kernel_boxes(notebook, shown) == BOXES


def test_tab_leaves_after_the_last_box(notebook, shown):
    shown.picture.focus()
    focused = "c => document.activeElement === c"
    for _ in BOXES:
        shown.picture.press("Tab")
        assert shown.picture.evaluate(focused)
    shown.picture.press("Tab")
    assert not shown.picture.evaluate(focused)


def test_python_sets_traits_and_the_view_follows(notebook, shown):
    other = [[10, 10, 40, 60], [200, 100, 90, 30], [100, 200, 20, 80]]
    notebook.run(f"explorer.boxes = {other}; explorer.selected = 2")
    shown.wait("mc", mc_text(other))
    assert shown.text("status") == "Box 2: x 100, y 200, w 20, h 80 px."
    notebook.run("explorer.box_format = 'cxcywh'")
    shown.wait("mc", f"MC {BoxExplorer(other, size=SIZE, box_format='cxcywh').correlation:.3f}")
    notebook.run("explorer.labels = ['cup', 'spoon', 'plate']")
    shown.wait("status", "Box plate: x 100, y 200, w 20, h 80 px.")
    notebook.run("explorer.boxes = [[1, 2, 3, 4]]")
    shown.wait("mc", "MC needs two boxes")


def test_python_wins_over_a_drag_that_holds_an_old_box(notebook, shown):
    shown.page.mouse.move(*shown.at(65, 50))
    shown.page.mouse.down()
    notebook.run(f"explorer.boxes = {BOXES[1:]}")
    shown.wait("mc", mc_text(BOXES[1:]))
    shown.page.mouse.move(*shown.at(200, 200), steps=3)
    shown.page.mouse.up()
    assert kernel_boxes(notebook, shown) == BOXES[1:]


def test_boxes_without_variance_are_left_out_and_named(notebook, shown):
    boxes = [*BOXES, [40, 40, 40, 40]]
    notebook.run(f"explorer.boxes = {boxes}")
    shown.wait("status", "6 boxes. Left out of MC (four equal numbers): 5.")
    assert shown.text("mc") == mc_text(boxes) == mc_text(BOXES)


def test_the_matrix_tells_a_pair(notebook, shown):
    matrix = shown.root.locator("canvas").nth(2)
    matrix.focus()
    matrix.press("ArrowRight")
    value = np.corrcoef(BOXES[0], BOXES[1])[0, 1]
    told = f"{value:.3f}".replace("-", "−")
    assert shown.text("status") == f"Boxes 0 and 1: correlation {told}."


def test_the_output_is_also_an_image_and_a_sentence(notebook):
    data = notebook.show(SHOW)
    assert data["text/plain"] == BoxExplorer(BOXES, size=SIZE).summary()
    assert data["image/png"].startswith("iVBOR")  # PNG, in base64


# Redraws for pointer moves while a box is held: handlers, then the frames they asked for, in milliseconds.
TIMED = """async (canvas) => {
  const next = window.requestAnimationFrame.bind(window);
  let spent = 0;
  window.requestAnimationFrame = (act) => next((time) => {
    const start = performance.now();
    act(time);
    spent += performance.now() - start;
  });
  const frame = canvas.getBoundingClientRect();
  const times = [];
  for (let step = 0; step < 60; step += 1) {
    const place = { clientX: frame.x + 100 + step, clientY: frame.y + 80 + (step % 7), pointerId: 1 };
    spent = 0;
    const start = performance.now();
    canvas.dispatchEvent(new PointerEvent("pointermove", place));
    spent += performance.now() - start;
    await new Promise((done) => next(() => next(done)));
    times.push(spent);
  }
  window.requestAnimationFrame = next;
  return times;
}"""


def test_how_long_a_pointer_move_takes(notebook, shown):
    shown.page.mouse.move(*shown.at(65, 50))
    shown.page.mouse.down()
    times = shown.picture.evaluate(TIMED)
    shown.page.mouse.up()
    median, worst = np.median(times), max(times)
    print(f"\na pointer move takes {median:.2f} ms (median of {len(times)}), {worst:.2f} ms at most")
    steps = kernel_boxes(notebook, shown)[0][0] - BOXES[0][0]
    assert steps > 20  # all moves counted, none was lost to an echo of an older state


def test_screenshots(notebook, shown, root: Path):
    """Images to look at, in both themes."""
    folder = root / "build" / "screenshots"
    folder.mkdir(parents=True, exist_ok=True)
    shown.page.mouse.click(*shown.at(180, 70))
    for name, theme in (("light", "JupyterLab Light"), ("dark", "JupyterLab Dark")):
        change = "theme => jupyterapp.commands.execute('apputils:change-theme', { theme })"
        shown.page.evaluate(change, theme)
        light = str(name == "light").lower()
        shown.page.wait_for_function("l => document.body.dataset.jpThemeLight === l", arg=light)
        shown.page.locator("#jupyterlab-splash").wait_for(state="detached")
        shown.page.screenshot(path=folder / f"box_explorer_{name}.png")
    shown.page.evaluate(change, "JupyterLab Light")
    shown.page.wait_for_function("() => document.body.dataset.jpThemeLight === 'true'")
