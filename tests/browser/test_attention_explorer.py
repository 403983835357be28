"""The attention explorer in JupyterLab: pointer, keys, buttons and Python all make the same choice."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.browser

FRAME = 33  # milliseconds: two frames at 60 Hz

# A random model with two things found: boxes and scores are put there, attention is its own.
SHOW = """
from dataclasses import replace
import torch
from marginalia.detection import DetectorConfig, build, capture_attention, make_scenes
from marginalia.explorers import AttentionExplorer
torch.set_num_threads(1)
scenes = make_scenes(1, split="val")
captured = capture_attention(build(DetectorConfig(queries=6)), torch.from_numpy(scenes.pixels))
boxes = [[.3, .3, .4, .4], [.3, .3, .2, .2], [.75, .7, .3, .4],
         [.7, .2, .2, .2], [.3, .3, .1, .1], [.2, .8, .2, .2]]
found = replace(captured.queries, boxes=torch.tensor([boxes]), labels=torch.tensor([[0, 1, 2, 3, 4, 5]]),
                scores=torch.tensor([[.6, .5, .9, .2, .1, .05]]))
explorer = AttentionExplorer(replace(captured, queries=found), scenes.pixels[0, 0], queries=5)
explorer.head = 0
explorer
"""
KEPT = [2, 0, 1, 3, 4]

COLOURS = """(canvas) => {
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  return new Set(new Uint32Array(data.buffer)).size;
}"""


class Shown:
    """An explorer on a page, found by what a reader sees."""

    def __init__(self, page):
        self.page = page
        self.root = page.locator(".m-attention").last
        self.picture, self.heads, _, self.product = (self.root.locator("canvas").nth(i) for i in range(4))

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Where a place of the square image, relative to it, is on the page."""
        self.picture.scroll_into_view_if_needed()
        frame = self.picture.bounding_box()
        side = min(frame["width"], frame["height"])
        return frame["x"] + x * side, frame["y"] + y * side

    def text(self, name: str) -> str:
        return self.root.locator(f".m-{name}").first.text_content()

    def wait(self, told: str) -> None:
        """Until the status holds these words."""
        self.root.locator(".m-status", has_text=re.compile(told)).wait_for(state="attached")


@pytest.fixture
def shown(notebook):
    """A new explorer in the notebook: query 2, layer 2, head 0, combined."""
    notebook.show(SHOW)
    notebook.page.mouse.move(2, 2)
    shown = Shown(notebook.page)
    shown.wait(r"^Query 2 \(“2”, score 0\.90\), layer 2, head 0, combined: peak ")
    return shown


def python_has(notebook, shown, **expected) -> None:
    """Until the traits in the kernel are these: a message may be held back for a moment."""
    for _ in range(50):
        code = f"import json; print(json.dumps({{n: getattr(explorer, n) for n in {list(expected)}}}))"
        if (told := json.loads(notebook.run(code))) == expected:
            return
        shown.page.wait_for_timeout(50)
    raise AssertionError(f"Python has {told}, not {expected}")


def test_it_appears_with_the_numbers_of_the_library(notebook, shown):
    told = notebook.run(
        "w = explorer.weights; print(float(w.max()), float(w.max() * w.size), int(w.argmax()))"
    )
    peak, times, cell = (float(number) for number in told.split())
    found = re.search(r"peak ([\d.]+) = ([\d.]+)× the uniform weight\.$", shown.text("status"))
    # told with two digits
    assert float(found[1]) == pytest.approx(peak, rel=0.06) and float(found[2]) == pytest.approx(
        times, rel=0.06
    )
    assert shown.text("cell").startswith(f"Peak at row {int(cell) // 16}, column {int(cell) % 16}: content ")
    assert "5 best of 6 queries; 1 left out, scores up to 0.05" in shown.text("kept")
    assert all(shown.root.locator("canvas").nth(i).evaluate(COLOURS) > 30 for i in range(4))


def test_pointing_at_a_box_chooses_its_query(notebook, shown):
    shown.page.mouse.move(*shown.at(0.13, 0.3))
    shown.wait("^Query 0 ")
    shown.page.mouse.move(*shown.at(0.3, 0.3))
    shown.wait("^Query 1 ")  # smaller; query 4 is smaller still, but not solid
    assert shown.text("cell").startswith("Cell at row 4, column 4: content ")
    python_has(notebook, shown, query=1)
    shown.page.mouse.move(*shown.at(0.7, 0.2))
    shown.wait("^Query 3 ")  # dotted, and nothing else is there
    shown.page.mouse.move(*shown.at(0.02, 0.95))  # the box of query 5, which was left out, is not far
    python_has(notebook, shown, query=3)


def test_a_click_holds_a_query(notebook, shown):
    shown.page.mouse.click(*shown.at(0.3, 0.3))
    shown.wait(r"^Query 1 \(“1”, score 0\.50, held\)")
    shown.page.mouse.move(*shown.at(0.75, 0.7))
    shown.page.wait_for_timeout(100)
    assert shown.text("status").startswith("Query 1 ")
    shown.page.mouse.click(*shown.at(0.75, 0.7))
    shown.wait("^Query 2 .*held")
    shown.page.mouse.click(*shown.at(0.75, 0.7))  # again: lets go
    shown.wait(r"^Query 2 \(“2”, score 0\.90\)")
    shown.page.mouse.move(*shown.at(0.3, 0.3))
    shown.wait("^Query 1 ")


def test_keys_choose_query_layer_head_and_kind(notebook, shown):
    shown.picture.focus()
    for key in ("ArrowRight", "ArrowUp", "4", "s"):
        shown.picture.press(key)
    shown.wait(r"^Query 0 \(“0”, score 0\.60, held\), layer 1, head 4, spatial: ")
    python_has(notebook, shown, query=0, layer=1, head=4, kind="spatial")
    for key in ("ArrowLeft", "ArrowLeft", "ArrowDown", "ArrowDown", "]", "]", "c"):
        shown.picture.press(key)
    python_has(notebook, shown, query=KEPT[-1], layer=2, head=0, kind="content")  # rounds, but for layers
    for key in ("[", "9", "B", "Escape"):
        shown.picture.press(key)  # there is no head 9
    python_has(notebook, shown, query=KEPT[-1], layer=2, head=5, kind="combined")
    spoken = shown.root.locator("[role=status]").text_content()
    assert spoken == shown.text("status") and "held" not in spoken


def test_everything_can_be_clicked(notebook, shown):
    button = lambda name: shown.root.get_by_role("button", name=name, exact=True)  # noqa: E731
    button("layer 0").click()
    button("content").click()
    button("query with the next lower score").click()
    python_has(notebook, shown, query=0, layer=0, head=0, kind="content")
    assert button("layer 0").get_attribute("aria-pressed") == "true"
    assert button("layer 2").get_attribute("aria-pressed") == "false"
    frame = shown.heads.bounding_box()
    shown.heads.click(position={"x": frame["width"] * 0.4, "y": frame["height"] * 0.75})
    python_has(notebook, shown, head=4)
    frame = shown.product.bounding_box()
    shown.product.click(position={"x": frame["width"] * 0.5, "y": 30})
    shown.page.keyboard.press("ArrowDown")  # keys work wherever the focus is
    python_has(notebook, shown, kind="spatial", layer=1)


def test_a_cell_of_the_product_is_told(notebook, shown):
    shown.product.hover(position={"x": 12, "y": 12})
    shown.root.locator(".m-cell", has_text="Cell at row 1, column 1: content ").wait_for()
    shown.page.mouse.move(2, 2)
    shown.root.locator(".m-cell", has_text="Peak at ").wait_for()


def test_python_chooses_and_the_view_follows(notebook, shown):
    notebook.run("explorer.query = 4; explorer.layer = 0; explorer.head = 3; explorer.kind = 'spatial'")
    shown.wait(r"^Query 4 \(“4”, score 0\.10\), layer 0, head 3, spatial: ")
    assert shown.root.get_by_role("button", name="spatial").get_attribute("aria-pressed") == "true"
    assert shown.text("title").endswith("spatial attention of query 4 in layer 0")


def test_keys_do_not_reach_the_notebook(notebook, shown):
    shown.picture.focus()
    for key in ("ArrowDown", "x", "a", "d", "d", "c", "b", "Escape", "Enter"):
        shown.picture.press(key)
    cells, mode = (f"jupyterapp.shell.currentWidget.content.{name}" for name in ("widgets.length", "mode"))
    assert shown.page.evaluate(cells) == 2
    assert shown.page.evaluate(mode) == "command"


def test_the_output_is_also_an_image_and_a_sentence(notebook):
    data = notebook.show(SHOW)
    assert data["text/plain"].startswith("Attention explorer: query 2 ('2', score 0.90), layer 2, head 0: ")
    assert data["image/png"].startswith("iVBOR")  # PNG, in base64


# Moves from box to box and cell to cell: handlers, the frames they asked for, and the painting, which
# reading a pixel waits for; in milliseconds.
TIMED = """async (picture) => {
  const canvases = [...picture.closest(".m-attention").querySelectorAll("canvas")];
  const next = window.requestAnimationFrame.bind(window);
  let spent = 0;
  const timed = (act) => {
    const start = performance.now();
    act();
    spent += performance.now() - start;
  };
  window.requestAnimationFrame = (act) => next((time) => timed(() => act(time)));
  const frame = picture.getBoundingClientRect();
  const side = Math.min(frame.width, frame.height);
  const times = [];
  for (let step = 0; step < 40; step += 1) {
    const [x, y] = [[0.12, 0.3], [0.3, 0.3], [0.75, 0.7], [0.7, 0.2]][step % 4];
    const place = { clientX: frame.x + (x + step / 1000) * side, clientY: frame.y + y * side, pointerId: 1 };
    spent = 0;
    timed(() => picture.dispatchEvent(new PointerEvent("pointermove", place)));
    await new Promise((done) => next(() => next(done)));
    timed(() => canvases.forEach((canvas) => canvas.getContext("2d").getImageData(0, 0, 1, 1)));
    times.push(spent);
  }
  window.requestAnimationFrame = next;
  return times;
}"""


def test_a_pointer_move_is_redrawn_within_a_frame(notebook, shown):
    """The best of three medians: other work on the machine can only make a measurement longer."""
    rounds = [shown.picture.evaluate(TIMED) for _ in range(3)]
    best = min(np.median(times) for times in rounds)
    print(f"\na pointer move takes {best:.2f} ms (median), {min(map(max, rounds)):.2f} ms at most")
    shown.wait("^Query 3 ")  # the last box: moves did change the choice
    assert best < FRAME


@pytest.fixture
def saved(tmp_path):
    """A page of an explorer, and the explorer."""
    namespace: dict = {}
    exec(SHOW, namespace)
    return namespace["explorer"].save_html(tmp_path / "attention.html"), namespace["explorer"]


def test_a_saved_page_works_without_a_kernel(open_page, saved):
    path, explorer = saved
    page = open_page(has_touch=True)
    page.goto(path.as_uri())
    shown = Shown(page)
    shown.wait("^Query 2 ")
    page.touchscreen.tap(*shown.at(0.3, 0.3))
    shown.wait("^Query 1 .*held")
    shown.picture.press("ArrowUp")
    shown.picture.press("c")
    explorer.query, explorer.layer, explorer.kind = 1, 1, "content"
    shown.wait(r"layer 1, head 0, content: peak ")
    told = float(re.search(r"peak ([\d.]+) =", shown.text("status"))[1])
    assert told == pytest.approx(explorer.weights.max(), rel=0.06)  # two digits


@pytest.mark.parametrize(("name", "width", "scheme"), [("wide", 1000, "dark"), ("narrow", 400, "light")])
def test_it_fits_the_page(open_page, saved, root, name, width, scheme):
    page = open_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page.goto(saved[0].as_uri())
    shown = Shown(page)
    shown.wait("^Query 2 ")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    picture, product = (canvas.bounding_box() for canvas in (shown.picture, shown.product))
    beside = product["x"] > picture["x"] + picture["width"]
    assert beside == (name == "wide")
    folder = root / "build" / "screenshots"
    folder.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=folder / f"attention_explorer_saved_{name}_{scheme}.png", full_page=True)


THEME = "theme => jupyterapp.commands.execute('apputils:change-theme', { theme })"


def test_screenshots(notebook, shown, root: Path):
    """Images to look at, in both themes."""
    folder = root / "build" / "screenshots"
    folder.mkdir(parents=True, exist_ok=True)
    shown.page.mouse.click(*shown.at(0.3, 0.3))
    for name, theme in (("light", "JupyterLab Light"), ("dark", "JupyterLab Dark")):
        shown.page.evaluate(THEME, theme)
        light = str(name == "light").lower()
        shown.page.wait_for_function("l => document.body.dataset.jpThemeLight === l", arg=light)
        shown.page.locator("#jupyterlab-splash").wait_for(state="detached")
        shown.root.screenshot(path=folder / f"attention_explorer_{name}.png")
    shown.page.evaluate(THEME, "JupyterLab Light")
    shown.page.wait_for_function("() => document.body.dataset.jpThemeLight === 'true'")
