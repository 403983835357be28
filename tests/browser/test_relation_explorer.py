"""The relation explorer in JupyterLab and as a saved page: mouse, finger, keys, buttons, Python."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from marginalia.boxes.correlation import pearson
from marginalia.boxes.geometry import iou, xywh_to_xyxy
from marginalia.detection.relation import PositionRelation
from marginalia.explorers import BoxExplorer, RelationExplorer

pytestmark = pytest.mark.browser

SIZE = (384, 303)
BOXES = [[30, 20, 70, 60], [150, 30, 60, 90], [260, 60, 80, 50], [60, 150, 90, 70], [180, 60, 60, 80]]
TEN = [[20 + 36 * k, 20 + 23 * (k * 7 % 10), 40 + 3 * k, 30 + 5 * (k % 4)] for k in range(10)]
SHOW = f"""
import json
import torch
from skimage import data
from marginalia.detection.relation import PositionRelation
from marginalia.explorers import RelationExplorer
torch.set_num_threads(1)
torch.manual_seed(1)
relation = PositionRelation(8)
torch.nn.init.normal_(relation.projection.weight, std=0.5)
explorer = RelationExplorer({BOXES}, relation, pixels=data.coins())
explorer
"""


def made(boxes=BOXES, **options) -> RelationExplorer:
    """The explorer of SHOW, without an image unless given."""
    torch.manual_seed(1)
    relation = PositionRelation(8)
    torch.nn.init.normal_(relation.projection.weight, std=0.5)
    return RelationExplorer(boxes, relation, **({"size": SIZE} | options))


def digits(value: float) -> str:
    """Three digits that count, as the view writes them."""
    return f"{float(f'{value:.3g}'):g}".replace("-", "−")


class Shown:
    """An explorer on a page, found by what a reader sees."""

    def __init__(self, page):
        self.page = page
        self.root = page.locator(".m-relation").last
        self.picture, self.waves, self.rows = (self.root.locator("canvas").nth(i) for i in range(3))

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Where a place of the image is on the page."""
        self.picture.scroll_into_view_if_needed()
        frame = self.picture.bounding_box()
        scale = min((frame["width"] - 12) / SIZE[0], (frame["height"] - 12) / SIZE[1])  # 6 around
        left = frame["x"] + (frame["width"] - SIZE[0] * scale) / 2
        top = frame["y"] + (frame["height"] - SIZE[1] * scale) / 2
        return left + x * scale, top + y * scale

    def wave(self, row: int, column: int) -> dict:
        """Where a cell of the embedding is on its canvas."""
        wide = (self.waves.bounding_box()["width"] - 158) / 16
        return {"x": 158 + (column + 0.5) * wide, "y": 18 + (row + 0.5) * 18}

    def cell(self, row: int, column: int, count: int = len(BOXES)) -> dict:
        """Where a cell of the heads' rows is on their canvas; column -1: the bar."""
        width = self.rows.bounding_box()["width"]
        left = 48 + min(max(0.24 * width, 70), 120) + 8
        wide = min((width - left) / count, 48)
        y = 18 + (row + 0.5) * 19 + (8 if row >= 8 else 0) + (8 if row > 8 else 0)
        return {"x": left + (column + 0.5) * wide, "y": y}

    def drag(self, start, end, steps: int = 5) -> None:
        self.page.mouse.move(*self.at(*start))
        self.page.mouse.down()
        self.page.mouse.move(*self.at(*end), steps=steps)
        self.page.mouse.up()
        self.page.mouse.move(2, 2)

    def click(self, name: str) -> None:
        self.root.get_by_role("button", name=name, exact=True).click()

    def text(self, name: str) -> str:
        return self.root.locator(f".m-{name}").first.text_content()

    def values(self) -> list[str]:
        """Query, partner and head."""
        return self.root.locator(".m-value").all_text_contents()

    def wait(self, name: str, text: str) -> None:
        """Until a part of the view says this among other things."""
        self.root.locator(f".m-{name}", has_text=re.compile(re.escape(text))).first.wait_for(state="attached")


@pytest.fixture
def shown(notebook):
    """A new explorer with BOXES in the notebook."""
    notebook.show(SHOW)
    notebook.page.locator(".m-relation .m-mc", has_text="attention").wait_for()
    return Shown(notebook.page)


def pair_text(explorer: RelationExplorer) -> str:
    """What the view must say of the pair, from the library's own numbers."""
    (i, j), boxes = explorer.pair, np.array(explorer.boxes, float)
    row = explorer.attention[:, i]
    weight = row.mean(0)[j] if explorer.head < 0 else row[explorer.head, j]
    rho, overlap = pearson(boxes)[i, j], iou(xywh_to_xyxy(boxes), xywh_to_xyxy(boxes))[i, j]
    return f"ρ {rho:.3f}, IoU {overlap:.3f}, attention {digits(100 * weight)} %".replace("-", "−")


def python_says(notebook, shown, code: str, expected) -> None:
    """Until an expression has a value in the kernel."""
    for _ in range(60):
        if (told := json.loads(notebook.run(f"print(json.dumps({code}))"))) == expected:
            return
        shown.page.wait_for_timeout(50)
    raise AssertionError(f"{code} is {told}, not {expected}")


def kernel_boxes(notebook, shown) -> list[list[float]]:
    """The boxes that Python has, once they are those of the view."""
    for _ in range(60):
        boxes, pair, head = json.loads(
            notebook.run("print(json.dumps([explorer.boxes, explorer.pair, explorer.head]))")
        )
        if pair_text(made(boxes, pair=pair, head=head)) == shown.text("mc"):
            return boxes
        shown.page.wait_for_timeout(50)
    raise AssertionError(f"Python has {boxes} and {pair}, but the view says {shown.text('mc')}")


def test_it_appears_with_the_numbers_of_the_library(notebook, shown):
    explorer = made()
    assert shown.text("mc") == pair_text(explorer)
    assert shown.values() == ["0", "1", "mean"]
    assert shown.text("status") == "5 boxes."
    mean = explorer.attention[:, 0].mean(0)
    most = "itself" if mean.argmax() == 0 else f"box {mean.argmax()}"
    expected = f"Box 0 attends most to {most}, {digits(100 * mean.max())} %; uniform is 20 %."
    assert shown.text("detail") == expected
    for canvas in (shown.picture, shown.waves, shown.rows):
        assert canvas.evaluate("c => c.width") > 150


def test_a_drag_changes_the_numbers_and_python_sees_it(notebook, shown):
    shown.drag((65, 50), (95, 120))
    moved = kernel_boxes(notebook, shown)
    # whole pixels of the image; the mouse stands on whole pixels of the screen, hence the play of one
    np.testing.assert_allclose(moved[0], [60, 90, 70, 60], atol=1)
    assert moved[1:] == BOXES[1:]
    assert shown.text("mc") != pair_text(made())
    python_says(notebook, shown, "[explorer.selected, explorer.pair]", [0, [0, 1]])


def test_the_last_two_boxes_clicked_are_the_pair(notebook, shown):
    shown.page.mouse.click(*shown.at(300, 80))
    shown.page.mouse.move(2, 2)
    python_says(notebook, shown, "[explorer.selected, explorer.pair]", [2, [2, 0]])
    shown.page.mouse.click(*shown.at(70, 200))
    shown.page.mouse.move(2, 2)
    python_says(notebook, shown, "explorer.pair", [3, 2])
    assert shown.text("mc") == pair_text(made(pair=(3, 2)))
    shown.page.mouse.move(*shown.at(65, 50))  # pointing at a box makes it the partner for as long
    shown.wait("mc", pair_text(made(pair=(3, 0))))
    shown.page.mouse.move(2, 2)
    shown.wait("mc", pair_text(made(pair=(3, 2))))


def test_every_button_does_what_it_says(notebook, shown):
    for name in ("Undo", "Redo", "Delete box"):
        assert shown.root.get_by_role("button", name=name).is_disabled()
    for _ in range(2):
        shown.click("next partner")
    assert shown.values()[:2] == ["0", "3"]
    shown.click("next query")
    assert shown.values()[:2] == ["1", "3"]
    shown.click("previous partner")
    shown.click("Swap")
    python_says(notebook, shown, "[explorer.selected, explorer.pair]", [2, [2, 1]])
    shown.click("next head")
    assert shown.values()[2] == "0"
    assert shown.text("mc") == pair_text(made(pair=(2, 1), head=0))
    shown.click("previous head")
    shown.click("previous head")
    assert shown.values()[2] == "7"
    shown.click("random weights")
    explorer = made(pair=(2, 1), head=7)
    explorer.weights = "random"
    shown.wait("mc", pair_text(explorer))
    assert "random weights" in shown.root.locator(".m-title").nth(1).text_content()
    python_says(notebook, shown, "explorer.weights", "random")
    shown.click("given weights")
    shown.click("Delete box")
    python_says(notebook, shown, "[len(explorer.boxes), explorer.pair]", [4, [2, 1]])
    shown.click("Add box")
    python_says(notebook, shown, "[len(explorer.boxes), explorer.pair]", [5, [4, 2]])
    shown.click("Reset")
    python_says(notebook, shown, "explorer.boxes", BOXES)


def test_undo_and_redo_by_keys_and_buttons(notebook, shown):
    shown.drag((65, 50), (95, 120))
    moved = kernel_boxes(notebook, shown)
    shown.picture.press("Delete")
    python_says(notebook, shown, "explorer.boxes", moved[1:])
    shown.picture.press("Control+z")
    python_says(notebook, shown, "explorer.boxes", moved)
    shown.click("Undo")
    python_says(notebook, shown, "explorer.boxes", BOXES)
    shown.picture.press("Control+Shift+z")
    python_says(notebook, shown, "explorer.boxes", moved)
    shown.picture.press("r")
    python_says(notebook, shown, "explorer.boxes", BOXES)
    shown.picture.press("Control+z")
    python_says(notebook, shown, "explorer.boxes", moved)


def test_keys_do_all_that_buttons_do(notebook, shown):
    shown.picture.focus()
    for key in ("Tab", "Tab", "ArrowRight", "Shift+ArrowDown", "Alt+ArrowRight", "p", "p", "h", "w"):
        shown.picture.press(key)
    python_says(notebook, shown, "explorer.boxes[1]", [151, 40, 61, 90])
    python_says(notebook, shown, "[explorer.pair, explorer.head, explorer.weights]", [[1, 2], 0, "random"])
    for key in ("w", "Shift+P", "x", "Shift+H", "Escape"):
        shown.picture.press(key)
    python_says(notebook, shown, "[explorer.pair, explorer.head, explorer.weights]", [[1, 1], -1, "given"])
    python_says(notebook, shown, "explorer.selected", -1)
    for key in ("n", "Backspace"):
        shown.picture.press(key)
    python_says(notebook, shown, "len(explorer.boxes)", 5)


def test_keys_do_not_reach_the_notebook(notebook, shown):
    shown.picture.focus()
    for key in ("ArrowDown", "a", "d", "d", "Shift+ArrowDown", "Escape", "Enter", "Control+z"):
        shown.picture.press(key)
    cells, mode = (f"jupyterapp.shell.currentWidget.content.{name}" for name in ("widgets.length", "mode"))
    assert shown.page.evaluate(cells) == 2
    assert shown.page.evaluate(mode) == "command"
    python_says(notebook, shown, "explorer.boxes", BOXES)


def test_cells_tell_their_numbers(notebook, shown):
    explorer = made()
    shown.waves.hover(position=shown.wave(0, 4))  # sin of the first number times the third frequency
    shown.wait("detail", "sin(10 × ")
    assert shown.text("detail").endswith("of log(|Δx| / w + 1).")
    shown.rows.hover(position=shown.cell(3, 2))
    bias, weight = explorer.relation[3, 0, 2], explorer.attention[3, 0, 2]
    shown.wait("detail", f"Rel(0, 2) = {digits(bias)}, attention(0, 2) = {digits(100 * weight)} %.")
    assert shown.text("mc") == pair_text(made(pair=(0, 2)))
    shown.rows.hover(position=shown.cell(8, 4))
    mean = digits(100 * explorer.attention[:, 0, 4].mean())
    shown.wait("detail", f"Mean of heads: attention(0, 4) = {mean} %.")
    shown.rows.hover(position=shown.cell(9, 3))
    rho = pearson(np.array(BOXES, float))[0, 3]
    shown.wait("detail", f"ρ(0, 3) = {rho:.3f}.".replace("-", "−"))
    shown.rows.hover(position=shown.cell(10, 1))
    shown.wait("detail", "IoU(0, 1) = 0.000.")
    shown.page.mouse.move(2, 2)
    shown.wait("mc", pair_text(explorer))
    shown.rows.click(position=shown.cell(5, 3))  # a click holds both
    shown.page.mouse.move(2, 2)
    python_says(notebook, shown, "[explorer.pair, explorer.head]", [[0, 3], 5])
    shown.wait("mc", pair_text(made(pair=(0, 3), head=5)))
    shown.rows.click(position=shown.cell(8, -1))
    python_says(notebook, shown, "[explorer.pair, explorer.head]", [[0, 3], -1])


def test_python_sets_traits_and_the_view_follows(notebook, shown):
    other = [[10, 10, 40, 60], [200, 100, 90, 30], [100, 200, 20, 80]]
    notebook.run(f"explorer.boxes = {other}; explorer.selected = 2")
    shown.wait("mc", pair_text(made(other, pair=(2, 0))))
    assert shown.values() == ["2", "0", "mean"]
    notebook.run("explorer.labels = ['cup', 'spoon', 'plate']; explorer.pair = (1, 2); explorer.head = 4")
    shown.wait("mc", pair_text(made(other, pair=(1, 2), head=4)))
    assert shown.values() == ["spoon", "plate", "4"]
    notebook.run("explorer.boxes = []")
    shown.wait("mc", "Add a box")
    notebook.run("explorer.boxes = [[1, 2, 3, 4]]")
    shown.wait("detail", "attends most to itself, 100 %; uniform is 100 %.")


def test_python_wins_over_a_drag_that_holds_an_old_box(notebook, shown):
    shown.page.mouse.move(*shown.at(65, 50))
    shown.page.mouse.down()
    notebook.run(f"explorer.boxes = {BOXES[1:]}")
    shown.wait("mc", pair_text(made(BOXES[1:])))
    shown.page.mouse.move(*shown.at(200, 200), steps=3)
    shown.page.mouse.up()
    python_says(notebook, shown, "explorer.boxes", BOXES[1:])


STUB = """() => {
  Object.defineProperty(navigator, "clipboard",
    { configurable: true, value: { writeText: async (text) => { window.copied = text; } } });
  HTMLAnchorElement.prototype.click = function () { window.saved = [this.download, this.href]; };
}"""


def test_boxes_are_copied_as_python_and_the_picture_saved(open_page, tmp_path):
    explorer = made(labels=["cup", "", "", "", ""], pair=(3, 1), head=2)
    shown = open_saved(open_page, tmp_path, explorer)
    shown.page.evaluate(STUB)
    shown.click("Copy as Python")
    shown.wait("status", "Copied: a call that makes this explorer.")
    torch.manual_seed(2)
    names = {"RelationExplorer": RelationExplorer, "relation": PositionRelation(8)}
    copied = eval(shown.page.evaluate("window.copied"), names)
    for name in ("boxes", "size", "labels", "pair", "head", "box_format", "weights"):
        assert getattr(copied, name) == getattr(explorer, name)
    shown.click("Save PNG")
    name, address = shown.page.evaluate("window.saved")
    assert name == "relation.png" and address.startswith("data:image/png;base64,iVBOR")
    assert len(address) > 10_000


def test_the_box_explorer_has_the_same_buttons(open_page, tmp_path):
    explorer = BoxExplorer(BOXES, size=SIZE, labels=["cup", "", "", "", ""])
    page = open_page()
    page.goto(explorer.save_html(tmp_path / "box.html").as_uri())
    page.locator(".m-mc", has_text="MC 0.").wait_for()
    page.evaluate(STUB)
    press = lambda name: page.get_by_role("button", name=name, exact=True).click()  # noqa: E731
    picture, told = page.locator("canvas").first, page.locator(".m-mc").text_content
    picture.focus()
    picture.press("Tab")
    press("Delete box")
    assert told() == f"MC {BoxExplorer(BOXES[1:], size=SIZE).correlation:.3f}"
    press("Undo")
    assert told() == f"MC {explorer.correlation:.3f}"
    press("Redo")
    press("Add box")
    press("Reset")
    press("Copy as Python")
    page.locator(".m-status", has_text="Copied: ").wait_for()
    copied = eval(page.evaluate("window.copied"), {"BoxExplorer": BoxExplorer})
    assert (copied.boxes, copied.size, copied.labels) == (explorer.boxes, explorer.size, explorer.labels)
    press("Save PNG")
    assert page.evaluate("window.saved")[0] == "box.png"


# Moves of a box, with all that follows from them and the painting, which reading a pixel waits for.
TIMED = """async (picture) => {
  const canvases = [...picture.closest(".m-relation").querySelectorAll("canvas")];
  const next = window.requestAnimationFrame.bind(window);
  let spent = 0;
  const timed = (act) => {
    const start = performance.now();
    act();
    spent += performance.now() - start;
  };
  window.requestAnimationFrame = (act) => next((time) => timed(() => act(time)));
  const frame = picture.getBoundingClientRect();
  const times = [];
  for (let step = 0; step < 60; step += 1) {
    const place = { clientX: frame.x + 100 + 2 * step, clientY: frame.y + 80 + (step % 7), pointerId: 1 };
    spent = 0;
    timed(() => picture.dispatchEvent(new PointerEvent("pointermove", place)));
    await new Promise((done) => next(() => next(done)));
    timed(() => canvases.forEach((canvas) => canvas.getContext("2d").getImageData(0, 0, 1, 1)));
    times.push(spent);
  }
  window.requestAnimationFrame = next;
  return times;
}"""


def test_how_long_a_pointer_move_takes_with_ten_boxes(notebook, shown):
    notebook.run(f"explorer.boxes = {TEN}")
    shown.wait("status", "10 boxes.")
    x, y, w, h = TEN[4]
    shown.page.mouse.move(*shown.at(x + w / 2, y + h / 2))
    shown.page.mouse.down()
    times = shown.picture.evaluate(TIMED)
    shown.page.mouse.up()
    print(
        f"\na move of one of ten boxes takes {np.median(times):.1f} ms (median), {max(times):.1f} ms at most"
    )
    shown.page.mouse.move(2, 2)
    boxes = kernel_boxes(notebook, shown)
    assert sum(a != b for a, b in zip(boxes, TEN, strict=True)) == 1


def test_the_output_is_also_an_image_and_a_sentence(notebook):
    data = notebook.show(SHOW)
    assert data["text/plain"] == made().summary()
    assert data["image/png"].startswith("iVBOR")  # PNG, in base64


THEME = "theme => jupyterapp.commands.execute('apputils:change-theme', { theme })"


def test_screenshots(notebook, shown, root: Path):
    """Images to look at, in both themes."""
    folder = root / "build" / "screenshots"
    folder.mkdir(parents=True, exist_ok=True)
    shown.page.mouse.click(*shown.at(170, 110))
    for name, theme in (("light", "JupyterLab Light"), ("dark", "JupyterLab Dark")):
        shown.page.evaluate(THEME, theme)
        light = str(name == "light").lower()
        shown.page.wait_for_function("l => document.body.dataset.jpThemeLight === l", arg=light)
        shown.page.locator("#jupyterlab-splash").wait_for(state="detached")
        shown.root.screenshot(path=folder / f"relation_explorer_{name}.png")
    shown.page.evaluate(THEME, "JupyterLab Light")
    shown.page.wait_for_function("() => document.body.dataset.jpThemeLight === 'true'")


# ---- a saved page


def open_saved(open_page, folder: Path, explorer: RelationExplorer, **options) -> Shown:
    page = open_page(**options)
    page.goto(explorer.save_html(folder / "relation.html").as_uri())
    page.locator(".m-relation .m-mc", has_text="attention").wait_for()
    return Shown(page)


def test_a_saved_page_works_without_a_kernel(open_page, tmp_path):
    shown = open_saved(open_page, tmp_path, made())
    shown.picture.focus()
    for key in ("Tab", "Shift+ArrowRight", "p"):
        shown.picture.press(key)
    moved = [[40, 20, 70, 60], *BOXES[1:]]
    assert shown.text("mc") == pair_text(made(moved, pair=(0, 2)))
    for key in ("Delete", "Control+z", "Control+z"):
        shown.picture.press(key)
    assert shown.text("mc") == pair_text(made(pair=(0, 1)))


def test_without_given_weights_nothing_can_be_chosen(open_page, tmp_path):
    shown = open_saved(open_page, tmp_path, RelationExplorer(BOXES, size=SIZE))
    assert shown.text("mc") == pair_text(RelationExplorer(BOXES, size=SIZE))
    assert shown.root.get_by_role("button", name="random weights").count() == 0
    assert "random weights" in shown.root.locator(".m-title").nth(1).text_content()
    shown.picture.press("w")


def test_a_finger_drags_a_box_and_taps_cells(open_page, tmp_path):
    size = {"width": 420, "height": 900}
    shown = open_saved(open_page, tmp_path, made(), has_touch=True, viewport=size)
    client = shown.page.context.new_cdp_session(shown.page)
    (x, y), (far_x, far_y) = shown.at(65, 50), shown.at(85, 60)

    def touch(kind: str, *points) -> None:
        client.send(
            "Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": a, "y": b} for a, b in points]}
        )

    touch("touchStart", (x, y))
    for part in (0.25, 0.5, 0.75, 1):
        touch("touchMove", (x + part * (far_x - x), y + part * (far_y - y)))
    touch("touchEnd")
    shown.wait("status", "Box 0: x 50, y 30, w 70, h 60 px.")
    assert shown.page.evaluate("scrollY") == 0
    shown.rows.tap(position=shown.cell(2, 3))
    assert shown.values() == ["0", "3", "2"]
    shown.waves.tap(position=shown.wave(1, 1))
    shown.wait("detail", "cos(100 × ")
    shown.page.touchscreen.tap(*shown.at(300, 80))
    shown.wait("detail", "Box 2 attends most to ")
    assert shown.values() == ["2", "0", "2"]


@pytest.mark.parametrize(
    ("name", "width", "scheme"),
    [("wide", 1000, "dark"), ("wide", 1000, "light"), ("narrow", 400, "light"), ("narrow", 400, "dark")],
)
def test_it_fits_the_page(open_page, tmp_path, root, name, width, scheme):
    from skimage import data

    explorer = made(TEN, pixels=data.coins(), pair=(3, 4))
    size = {"width": width, "height": 900}
    shown = open_saved(open_page, tmp_path, explorer, viewport=size, color_scheme=scheme)
    assert shown.page.evaluate("document.documentElement.scrollWidth") <= width
    picture, rows = (canvas.bounding_box() for canvas in (shown.picture, shown.rows))
    assert (rows["x"] > picture["x"] + picture["width"]) == (name == "wide")
    folder = root / "build" / "screenshots"
    folder.mkdir(parents=True, exist_ok=True)
    shown.page.screenshot(path=folder / f"relation_explorer_saved_{name}_{scheme}.png", full_page=True)
