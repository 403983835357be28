"""The Rips explorer in JupyterLab and as a saved page: mouse, finger, keys, buttons, Python."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from marginalia.explorers import RipsExplorer

pytestmark = pytest.mark.browser

WINDOW = (-1.5, 2.5, -1.5, 1.5)
POINTS = [[0, 0], [1, 0], [1, 1], [0, 1], [2, 0.5]]
SHOW = f"""
import json
import numpy as np
from marginalia.explorers import RipsExplorer
explorer = RipsExplorer({POINTS}, length=1.2)
explorer.window = {WINDOW}
explorer
"""
MANY = np.random.default_rng(5).uniform((-1, -1), (2, 1), (40, 2)).round(3).tolist()


class Shown:
    """An explorer on a page, found by what a reader sees."""

    def __init__(self, page, window=WINDOW):
        self.page, self.window = page, window
        self.root = page.locator(".m-rips").last
        self.cloud, self.barcode, self.diagram, self.image = (
            self.root.locator("canvas").nth(i) for i in range(4)
        )

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Where a place of the plane is on the page."""
        self.cloud.scroll_into_view_if_needed()
        frame = self.cloud.bounding_box()
        left, right, low, high = self.window
        scale = min(frame["width"] / (right - left), frame["height"] / (high - low))
        x0 = frame["x"] + (frame["width"] - (right - left) * scale) / 2
        y0 = frame["y"] + (frame["height"] - (high - low) * scale) / 2
        return x0 + (x - left) * scale, y0 + (high - y) * scale

    def drag(self, start, end, steps: int = 5) -> None:
        self.page.mouse.move(*self.at(*start))
        self.page.mouse.down()
        self.page.mouse.move(*self.at(*end), steps=steps)
        self.page.mouse.up()

    def press(self, *keys: str) -> None:
        for key in keys:
            self.cloud.press(key)

    def click(self, name: str) -> None:
        self.root.get_by_role("button", name=name, exact=True).click()

    def text(self, name: str) -> str:
        return self.root.locator(f".m-{name}").text_content().replace("\u2060", "")

    def keys(self) -> list[str]:
        return self.root.locator(".m-key").all_text_contents()

    def wait(self, name: str, text: str) -> None:
        """Until a part of the view says this among other things."""
        self.root.locator(f".m-{name}", has_text=re.compile(re.escape(text))).first.wait_for(state="attached")


@pytest.fixture
def shown(notebook):
    """A new explorer with POINTS in the notebook."""
    notebook.show(SHOW)
    notebook.page.locator(".m-rips .m-counts", has_text="component").wait_for()
    return Shown(notebook.page)


def python_has(notebook, shown, expected, atol: float = 0) -> None:
    """Until these are the points in the kernel, and the view tells their complex."""
    for _ in range(60):
        points = json.loads(notebook.run("print(json.dumps(explorer.points))"))
        if np.shape(points) == np.shape(expected) and np.allclose(
            points, expected, rtol=0, atol=atol + 1e-12
        ):
            told = notebook.run("print(explorer.summary())").split("radius): ")[1].strip()
            shown.wait("counts", told)
            return
        shown.page.wait_for_timeout(50)
    raise AssertionError(f"Python has {points}, not {expected}")


def python_counts(notebook, shown, expected: int) -> None:
    """Until so many points are in the kernel."""
    for _ in range(60):
        found = int(notebook.run("print(len(explorer.points))"))
        if found == expected:
            return
        shown.page.wait_for_timeout(50)
    raise AssertionError(f"Python has {found} points, not {expected}")


def test_it_appears_with_the_numbers_of_the_library(notebook, shown):
    explorer = RipsExplorer(POINTS, length=1.2)
    counts = explorer.summary().split("radius): ")[1]
    assert shown.text("counts") == f"Edges up to length 1.2, balls of radius 0.6: {counts}."
    assert shown.keys() == ["H0: 5 bars", "H1: 1 bar"]
    end, peak = 1.5, explorer.image.max()
    told = f"H1: 20 × 20 nodes, bandwidth {end / 20:.3g}, weight = persistence, peak {peak:.3g}."
    assert shown.text("caption") == f"Persistence image of {told}"
    for canvas in (shown.cloud, shown.barcode, shown.diagram, shown.image):
        assert canvas.evaluate("c => c.width") > 150


def test_the_mouse_adds_moves_and_selects(notebook, shown):
    shown.page.mouse.click(*shown.at(-1, -0.5))
    shown.wait("status", "Point 5: ")
    python_has(notebook, shown, [*POINTS, [-1, -0.5]], atol=0.02)  # whole pixels of the screen
    shown.drag((2, 0.5), (1.5, 0.75))
    python_has(notebook, shown, [*POINTS[:4], [1.5, 0.75], [-1, -0.5]], atol=0.02)
    shown.page.mouse.click(*shown.at(1, 1))  # a click on a point selects it, and adds none
    shown.wait("status", "Point 2: x 1, y 1.")
    assert notebook.run("print(explorer.selected)").strip() == "2"
    shown.drag((1, 1), (9, 9))  # a point stays in the window
    python_has(notebook, shown, [*POINTS[:2], [2.5, 1.5], POINTS[3], [1.5, 0.75], [-1, -0.5]], atol=0.02)


def test_keys_choose_move_add_and_remove(notebook, shown):
    shown.cloud.focus()
    shown.press("Tab", "Tab", "ArrowRight", "Shift+ArrowDown")  # 0.02, a two-hundredth of the window
    python_has(notebook, shown, [POINTS[0], [1.02, -0.2], *POINTS[2:]])
    assert shown.text("status") == "Point 1: x 1.02, y −0.2."
    shown.press("Delete")
    python_has(notebook, shown, [POINTS[0], *POINTS[2:]])
    shown.press("n")
    shown.wait("status", "Point 4: ")
    shown.press("Backspace")
    python_has(notebook, shown, [POINTS[0], *POINTS[2:]])
    shown.press("Escape")
    shown.wait("status", "4 points.")


def test_undo_redo_and_reset_by_keys_and_buttons(notebook, shown):
    for name in ("Undo", "Redo", "Delete point"):
        assert shown.root.get_by_role("button", name=name).is_disabled()
    shown.drag((2, 0.5), (1.5, 0.75))  # many moves, one step
    moved = [*POINTS[:4], [1.5, 0.75]]
    python_has(notebook, shown, moved, atol=0.02)
    shown.cloud.press("n")
    shown.cloud.press("Control+z")
    python_has(notebook, shown, moved, atol=0.02)
    shown.click("Undo")
    python_has(notebook, shown, POINTS)
    shown.click("Redo")
    python_has(notebook, shown, moved, atol=0.02)
    shown.cloud.press("Control+Shift+z")
    shown.wait("counts", "component")
    python_counts(notebook, shown, 6)
    shown.click("Add point")
    shown.click("Delete point")
    shown.click("Reset")
    python_has(notebook, shown, POINTS)
    shown.cloud.press("Control+z")  # a reset can be taken back
    python_counts(notebook, shown, 6)
    shown.click("Redo")
    python_has(notebook, shown, POINTS)
    notebook.run(f"explorer.points = {POINTS[:3]}")  # what Python does is a step as well
    python_has(notebook, shown, POINTS[:3])
    shown.click("Undo")
    python_has(notebook, shown, POINTS)


def test_keys_do_not_reach_the_notebook(notebook, shown):
    shown.cloud.focus()
    shown.press("ArrowDown", "x", "a", "d", "d", "Shift+ArrowDown", "Escape", "Enter", "Control+z")
    shown.barcode.press("ArrowDown")
    cells, mode = (f"jupyterapp.shell.currentWidget.content.{name}" for name in ("widgets.length", "mode"))
    assert shown.page.evaluate(cells) == 2
    assert shown.page.evaluate(mode) == "command"
    python_has(notebook, shown, POINTS)


def test_tab_leaves_after_the_last_point(notebook, shown):
    shown.cloud.focus()
    focused = "c => document.activeElement === c"
    for _ in POINTS:
        shown.press("Tab")
        assert shown.cloud.evaluate(focused)
    shown.press("Tab")
    assert not shown.cloud.evaluate(focused)


def test_the_slider_grows_the_complex(notebook, shown):
    slider = shown.root.locator("input")
    before = shown.cloud.screenshot()
    slider.fill("1.485")
    shown.wait(
        "counts",
        "Edges up to length 1.49, balls of radius 0.743: 8 edges, 5 triangles, 1 component, 0 loops.",
    )
    python_has(notebook, shown, POINTS)
    assert float(notebook.run("print(explorer.length)")) == 1.485
    assert shown.cloud.screenshot() != before
    slider.press("Home")
    shown.wait("counts", "length 0, balls of radius 0: 0 edges, 0 triangles, 5 components, 0 loops.")
    notebook.run("explorer.length = 1.2")
    shown.wait("counts", "1 component, 1 loop.")


def test_a_bar_tells_its_edges_by_mouse_keys_and_buttons(notebook, shown):
    loop = "H1 bar 1 of 1: born at 1 with edge "
    frame = shown.barcode.bounding_box()
    place = {"x": 8 + (frame["width"] - 18) * 1.2 / 1.5, "y": 8 + (frame["height"] - 42) * (1 - 6.5 / 8)}
    plain = shown.cloud.screenshot()
    shown.barcode.hover(position=place)
    shown.wait("status", loop)
    assert re.search(
        r"dies at 1.41 with triangle [0-3]–[0-3]–[0-3] \(dashed\); persistence 0.414.$", shown.text("status")
    )
    assert shown.cloud.screenshot() != plain  # its edges
    marked = shown.diagram.screenshot()
    shown.page.mouse.move(2, 2)
    shown.wait("status", "5 points.")
    assert shown.diagram.screenshot() != marked  # its dot
    shown.barcode.click(position=place)
    shown.page.mouse.move(2, 2)
    assert shown.text("status").startswith(loop)  # held
    shown.barcode.press("ArrowDown")
    assert shown.text("status") == "H0 bar 1 of 5 never dies: in the end all points are one component."
    shown.barcode.press("ArrowLeft")
    assert re.match(r"H0 bar 2 of 5: dies at 1\.12, when edge [12]–4 \(dashed\) joins", shown.text("status"))
    shown.click("choose the bar above")
    shown.click("choose the bar above")
    assert shown.text("status").startswith(loop)
    shown.barcode.press("Escape")
    shown.wait("status", "5 points.")
    frame = shown.diagram.bounding_box()
    left = 48  # about: it depends on the width of 0.75, the longest number
    wide, tall = frame["width"] - left - 10, frame["height"] - 66
    place = {"x": left + wide / 1.5, "y": 32 + tall * (1 - np.sqrt(2) / 1.5)}
    shown.diagram.hover(position=place)
    shown.wait("status", loop)


def test_a_held_bar_stays_with_its_loop_in_a_drag(notebook, shown):
    shown.barcode.press("ArrowDown")  # from the top: the loop
    assert shown.text("status").startswith("H1 bar 1 of 1: born at 1 with")
    shown.drag((0, 0), (-0.1, -0.1))
    assert shown.text("status").startswith("H1 bar 1 of 1: born at 1.1 with edge 0–")


def test_the_image_of_the_other_dimension(notebook, shown):
    shown.click("H0")
    shown.wait("caption", "Persistence image of H0: ")
    assert notebook.run("print(explorer.dimension)").strip() == "0"
    notebook.run("explorer.dimension = 1")
    shown.wait("caption", "Persistence image of H1: ")


def test_beyond_40_points_the_kernel_answers(notebook, shown):
    notebook.run(f"explorer.points = {MANY}")
    python_has(notebook, shown, MANY)
    shown.page.mouse.click(*shown.at(-1.2, 1.2))
    expected = f"H1: {len(RipsExplorer([*MANY, [-1.2, 1.2]]).bars[1])} bars"
    shown.wait("key", expected)
    python_counts(notebook, shown, 41)
    assert "not known" not in shown.text("counts")
    shown.barcode.press("ArrowDown")
    assert re.match(
        r"H1 bar \d+ of \d+: born at .* with edge \d+–\d+ \(solid\), dies at .* with edge",
        shown.text("status"),
    )


def test_a_kernel_that_does_not_answer_is_missed(notebook, shown):
    notebook.run("explorer.unobserve_all('points')")
    notebook.run(f"explorer.points = {[*MANY, [0.0, 0.0]]}")
    why = "the browser finds loops of at most 40 points, and there are 41"
    shown.wait("key", f"H1: {why}; waiting for the kernel.")
    assert shown.text("counts").endswith("loops not known.")
    assert shown.text("caption") == "No persistence image: H1 is not known."
    shown.wait("key", f"H1 is missing: {why}. The kernel does not answer.")
    notebook.run(f"explorer.points = {MANY}")
    shown.wait("key", f"H1: {len(RipsExplorer(MANY).bars[1])} bars")


def test_python_wins_over_a_drag_that_holds_an_old_point(notebook, shown):
    shown.page.mouse.move(*shown.at(2, 0.5))
    shown.page.mouse.down()
    notebook.run(f"explorer.points = {POINTS[:4]}")
    shown.wait("key", "H0: 4 bars")
    shown.page.mouse.move(*shown.at(1.5, 0.75), steps=3)
    shown.page.mouse.up()
    python_has(notebook, shown, POINTS[:4])


def test_points_are_copied_as_python_and_the_picture_saved(notebook, shown):
    stub = """() => {
      Object.defineProperty(navigator, "clipboard",
        { configurable: true, value: { writeText: async (text) => { window.copied = text; } } });
      HTMLAnchorElement.prototype.click = function () { window.saved = [this.download, this.href]; };
    }"""
    shown.page.evaluate(f"() => {{ window.anchor = HTMLAnchorElement.prototype.click; ({stub})(); }}")
    shown.click("Copy as Python")
    shown.wait("status", "Copied: ")
    copied = eval(shown.page.evaluate("window.copied"), {"RipsExplorer": RipsExplorer})
    assert (copied.points, copied.length) == (POINTS, 1.2)
    shown.click("Save PNG")
    name, address = shown.page.evaluate("window.saved")
    shown.page.evaluate("() => { HTMLAnchorElement.prototype.click = window.anchor; }")
    assert name == "rips.png" and address.startswith("data:image/png;base64,iVBOR") and len(address) > 10_000


# Moves of a point, with all that follows from them and the painting, which reading a pixel waits for.
TIMED = """async (cloud) => {
  const canvases = [...cloud.closest(".m-rips").querySelectorAll("canvas")];
  const next = window.requestAnimationFrame.bind(window);
  let spent = 0;
  const timed = (act) => {
    const start = performance.now();
    act();
    spent += performance.now() - start;
  };
  window.requestAnimationFrame = (act) => next((time) => timed(() => act(time)));
  const frame = cloud.getBoundingClientRect();
  const times = [];
  for (let step = 0; step < 60; step += 1) {
    const place = { clientX: frame.x + 100 + 3 * step, clientY: frame.y + 80 + (step % 7), pointerId: 1 };
    spent = 0;
    timed(() => cloud.dispatchEvent(new PointerEvent("pointermove", place)));
    await new Promise((done) => next(() => next(done)));
    timed(() => canvases.forEach((canvas) => canvas.getContext("2d").getImageData(0, 0, 1, 1)));
    times.push(spent);
  }
  window.requestAnimationFrame = next;
  return times;
}"""


def test_how_long_a_pointer_move_takes_with_40_points(notebook, shown):
    notebook.run(f"explorer.points = {MANY}; explorer.length = 0.6")
    python_has(notebook, shown, MANY)
    rounds = []
    for _ in range(3):
        x, y = json.loads(notebook.run("print(json.dumps(explorer.points))"))[0]
        shown.page.mouse.move(*shown.at(x, y))
        shown.page.mouse.down()
        rounds.append(shown.cloud.evaluate(TIMED))
        shown.page.mouse.up()
        shown.page.wait_for_timeout(300)
    best = min(map(np.median, rounds))
    worst = min(map(max, rounds))
    print(f"\na pointer move with 40 points takes {best:.1f} ms (median), {worst:.1f} ms at most")
    points = json.loads(notebook.run("print(json.dumps(explorer.points))"))
    assert points[1:] == MANY[1:] and points[0] != MANY[0]


def test_the_output_is_also_an_image_and_a_sentence(notebook):
    data = notebook.show(SHOW)
    assert data["text/plain"].startswith("Rips explorer: 5 points; edges up to 1.2 ")
    assert data["image/png"].startswith("iVBOR")  # PNG, in base64


THEME = "theme => jupyterapp.commands.execute('apputils:change-theme', { theme })"


def test_screenshots(notebook, root: Path):
    """Images to look at, in both themes."""
    folder = root / "build" / "screenshots"
    folder.mkdir(parents=True, exist_ok=True)
    notebook.show(SHOW.replace(f"{POINTS}, length=1.2", "").replace(f"explorer.window = {WINDOW}", ""))
    shown = Shown(notebook.page)
    shown.wait("key", "H0: 36 bars")
    shown.barcode.press("ArrowDown")
    for name, theme in (("light", "JupyterLab Light"), ("dark", "JupyterLab Dark")):
        shown.page.evaluate(THEME, theme)
        light = str(name == "light").lower()
        shown.page.wait_for_function("l => document.body.dataset.jpThemeLight === l", arg=light)
        shown.page.locator("#jupyterlab-splash").wait_for(state="detached")
        shown.root.screenshot(path=folder / f"rips_explorer_{name}.png")
    shown.page.evaluate(THEME, "JupyterLab Light")
    shown.page.wait_for_function("() => document.body.dataset.jpThemeLight === 'true'")


# ---- a saved page


def open_saved(open_page, folder: Path, explorer: RipsExplorer, **options) -> Shown:
    page = open_page(**options)
    page.goto(explorer.save_html(folder / "rips.html").as_uri())
    page.locator(".m-rips .m-counts", has_text="component").wait_for()
    return Shown(page, explorer.window)


def test_a_saved_page_works_without_a_kernel(open_page, tmp_path):
    explorer = RipsExplorer(POINTS, length=1.2)
    shown = open_saved(open_page, tmp_path, explorer)
    shown.cloud.focus()
    shown.press("Tab", "Shift+ArrowLeft", "n")
    assert shown.keys()[0] == "H0: 6 bars"
    shown.press("Control+z", "Control+z")
    counts = explorer.summary().split("radius): ")[1]
    assert shown.text("counts").endswith(f"radius 0.6: {counts}.")
    assert shown.keys() == ["H0: 5 bars", "H1: 1 bar"]


def test_a_saved_page_says_that_it_has_no_kernel_to_ask(open_page, tmp_path):
    explorer = RipsExplorer([*MANY, [0.1, 0.2]])
    shown = open_saved(open_page, tmp_path, explorer)
    assert shown.keys()[1] == f"H1: {len(explorer.bars[1])} bars"  # saved with the page
    shown.cloud.focus()
    shown.press("Tab", "ArrowRight")
    why = "the browser finds loops of at most 40 points, and there are 41. This page has no kernel."
    assert shown.keys() == ["H0: 41 bars", f"H1 is missing: {why}"]
    shown.press("Control+z")
    assert shown.keys()[1] == f"H1: {len(explorer.bars[1])} bars"
    shown.press("Delete")
    assert shown.keys()[1] == f"H1: {len(RipsExplorer([*MANY[1:], [0.1, 0.2]]).bars[1])} bars"  # 40: its own


def test_a_finger_adds_and_drags(open_page, tmp_path):
    size = {"width": 420, "height": 900}
    shown = open_saved(open_page, tmp_path, RipsExplorer(POINTS, length=1.2), has_touch=True, viewport=size)
    shown.page.touchscreen.tap(*shown.at(0.5, -0.2))
    shown.wait("status", "Point 5: x 0.5")
    client = shown.page.context.new_cdp_session(shown.page)
    (x, y), (far_x, far_y) = shown.at(2, 0.5), shown.at(1.6, 0.7)

    def touch(kind: str, *points) -> None:
        client.send(
            "Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": a, "y": b} for a, b in points]}
        )

    touch("touchStart", (x, y))
    for part in (0.25, 0.5, 0.75, 1):
        touch("touchMove", (x + part * (far_x - x), y + part * (far_y - y)))
    touch("touchEnd")
    shown.wait("status", "Point 4: x 1.6")
    assert shown.keys()[0] == "H0: 6 bars"  # a drag adds no point
    assert shown.page.evaluate("scrollY") == 0
    x, y = shown.at(-1.2, 1)
    touch("touchStart", (x, y))
    for part in range(1, 6):
        touch("touchMove", (x, y + 20 * part))
    touch("touchEnd")
    shown.page.wait_for_timeout(200)
    assert shown.keys()[0] == "H0: 6 bars"  # nor does a finger that moves the page


@pytest.mark.parametrize(
    ("name", "width", "scheme"),
    [("wide", 1000, "dark"), ("wide", 1100, "light"), ("narrow", 400, "light"), ("narrow", 400, "dark")],
)
def test_it_fits_the_page(open_page, tmp_path, root, name, width, scheme):
    size = {"width": width, "height": 900}
    shown = open_saved(open_page, tmp_path, RipsExplorer(), viewport=size, color_scheme=scheme)
    assert shown.page.evaluate("document.documentElement.scrollWidth") <= width
    cloud, barcode, diagram, image = (
        canvas.bounding_box() for canvas in (shown.cloud, shown.barcode, shown.diagram, shown.image)
    )
    assert (barcode["x"] > cloud["x"] + cloud["width"]) == (name == "wide")
    assert image["x"] > diagram["x"] + diagram["width"] and image["width"] > 150
    shown.barcode.press("ArrowDown")
    folder = root / "build" / "screenshots"
    folder.mkdir(parents=True, exist_ok=True)
    shown.page.screenshot(path=folder / f"rips_explorer_saved_{name}_{scheme}.png", full_page=True)
