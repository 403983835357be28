"""The composition explorer in JupyterLab: pointer, finger, keys, buttons and Python make the same choice."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.browser

# A random model with compositions far from the identity.
SHOW = """
import torch
from marginalia.explorers import CompositionExplorer
from marginalia.heads import TinyTransformer, TransformerConfig, VARIANTS
torch.set_num_threads(1)
torch.manual_seed(0)
config = TransformerConfig(vocab=20, width=32, heads=4, layers=2, ffn=16, rotary=4,
                           composition=VARIANTS["{variant}"])
model = TinyTransformer(config)
for name, weight in model.named_parameters():
    if name.endswith(("W_2", "W_g")):
        torch.nn.init.normal_(weight, std=0.1)
labels = ["def", " area", "(", "r", ")", ":", "\\n", " return", " r", " r"]
explorer = CompositionExplorer(model, range(10), labels, pair=(7, 2))
explorer
"""
DYNAMIC, PLAIN = SHOW.replace("{variant}", "DCMHA"), SHOW.replace("{variant}", "MHA")

COLOURS = """(canvas) => {
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  return new Set(new Uint32Array(data.buffer)).size;
}"""


class Shown:
    """An explorer on a page, found by what a reader sees."""

    def __init__(self, page):
        self.page = page
        self.root = page.locator(".m-composition").last
        self.map, self.terms, self.flows = (self.root.locator("canvas").nth(i) for i in range(3))

    def pair(self, i: int, j: int) -> tuple[float, float]:
        """Where the middle of a cell of the map is on the page."""
        self.map.scroll_into_view_if_needed()
        frame = self.map.bounding_box()
        cell = min(frame["width"] - 66, 480) / 10
        return frame["x"] + 62 + (j + 0.5) * cell, frame["y"] + 62 + (i + 0.5) * cell

    def entry(self, k: int, n: int, m: int) -> tuple[float, float]:
        """Where an entry of term k is on the page."""
        self.terms.scroll_into_view_if_needed()
        frame = self.terms.bounding_box()
        side = min((frame["width"] - 74) / 3, 150)
        x, y = 18 + (k % 3) * (side + 20), 20 + (k // 3) * (side + 38)
        return frame["x"] + x + (m + 0.5) * side / 4, frame["y"] + y + (n + 0.5) * side / 4

    def head(self, side: str, n: int) -> tuple[float, float]:
        """Where a head's bar is on the page."""
        self.flows.scroll_into_view_if_needed()
        frame = self.flows.bounding_box()
        x = frame["x"] + (20 if side == "left" else frame["width"] - 20)
        return x, frame["y"] + 22 + (n + 0.5) * 28

    def button(self, name: str):
        return self.root.get_by_role("button", name=name, exact=True)

    def text(self, name: str) -> str:
        return self.root.locator(f".m-{name}").first.text_content()

    def wait(self, told: str, name: str = "status") -> None:
        """Until the status, or the line below it ("detail"), holds these words."""
        self.root.locator(f".m-{name}", has_text=re.compile(told)).wait_for(state="attached")


@pytest.fixture
def shown(notebook):
    """A new explorer in the notebook: layer 1, scores, query 7, key 2."""
    notebook.show(DYNAMIC)
    notebook.page.mouse.move(2, 2)
    shown = Shown(notebook.page)
    shown.wait("^Layer 1, scores, query 7 “·return”, key 2 “\\(”: head . changes most")
    return shown


def python_has(notebook, shown, **expected) -> None:
    """Until the traits in the kernel are these: a message may be held back for a moment."""
    for _ in range(50):
        code = f"import json; print(json.dumps({{n: getattr(explorer, n) for n in {list(expected)}}}))"
        if (told := json.loads(notebook.run(code))) == expected:
            return
        shown.page.wait_for_timeout(50)
    raise AssertionError(f"Python has {told}, not {expected}")


def number(text: str) -> float:
    return float(text.replace("−", "-"))


def test_it_appears_with_the_numbers_of_the_library(notebook, shown):
    code = "b, a = explorer.heads; m = abs(a - b).argmax(); t = explorer.terms; n = torch.tensor"
    told = notebook.run(f"{code}\nprint(m, b[m], a[m], *[float(n(each).norm()) for each in t.values()])")
    head, before, after, *norms = (float(each) for each in told.split())
    found = re.search(r"head (\d) changes most, (\S+) → (\S+)\.$", shown.text("status"))
    # told with three digits
    assert [number(each) for each in found.groups()] == pytest.approx([head, before, after], rel=0.006)
    found = re.fullmatch(
        r"Norm of C − I: ([\d.]+); largest term: ([a-z ]+), ([\d.]+)\.", shown.text("detail")
    )
    names = ["base", "query low rank", "query gate", "key low rank", "key gate"]
    assert [float(found[1]), float(found[3])] == pytest.approx([norms[0], max(norms[1:])], rel=0.006)
    assert found[2] == names[int(np.argmax(norms[1:]))]
    assert all(shown.root.locator("canvas").nth(i).evaluate(COLOURS) > 30 for i in range(3))


def test_a_click_and_a_drag_choose_a_pair(notebook, shown):
    shown.page.mouse.click(*shown.pair(5, 3))
    shown.wait("query 5 “:”, key 3 “r”")
    python_has(notebook, shown, pair=[5, 3])
    shown.page.mouse.move(*shown.pair(8, 0))
    shown.page.mouse.down()
    for j in range(1, 5):
        shown.page.mouse.move(*shown.pair(8, j))
        shown.wait(f"query 8 “·r”, key {j} ")
    shown.page.mouse.up()
    python_has(notebook, shown, pair=[8, 4])
    shown.button("Undo").click()  # a drag is one step
    python_has(notebook, shown, pair=[5, 3])
    shown.page.mouse.click(*shown.pair(2, 6))
    shown.wait(r"query 2 “\(”, key 6 “↵” \(masked\)")


def test_pointing_tells_tokens_and_numbers(notebook, shown):
    shown.page.mouse.move(*shown.pair(6, 1))
    shown.wait(r"^Query 6 “↵”, key 1 “·area”: [\d.]+\.$", "detail")
    value = float(shown.text("detail").split()[-1][:-1])
    assert value == pytest.approx(float(notebook.run("print(explorer.shown[6, 1])")), rel=0.006)
    shown.page.mouse.move(*shown.pair(1, 6))
    shown.wait("masked", "detail")
    shown.page.mouse.move(*shown.entry(3, 2, 2))  # of the query gate; the term that is chosen is told
    shown.wait(r"^Head 2 gives head 2, by all terms: (\S+) × (\S+) = (\S+)\.$", "detail")
    told = [number(each) for each in re.findall(r"[−\d.]+\d", shown.text("detail").split(":")[1])]
    code = "print(explorer.terms['all'][2, 2], explorer.heads[0][2])"
    entry, before = (float(each) for each in notebook.run(code).split())
    assert told == pytest.approx([entry, before, entry * before], rel=0.006)
    shown.page.mouse.move(*shown.head("right", 3))
    shown.wait("^Head 3: .* before, .* after", "detail")
    shown.button("next term").click()
    shown.page.mouse.move(*shown.head("right", 3))
    shown.wait("^Head 3: .* with base alone, .* with all terms", "detail")
    shown.page.mouse.move(2, 2)
    shown.wait("^Norm of C", "detail")


def test_a_matrix_and_heads_can_be_clicked(notebook, shown):
    shown.page.mouse.click(*shown.entry(4, 1, 3))
    shown.wait("^Head 1 gives head 3, by key low rank", "detail")
    python_has(notebook, shown, term="key low rank")
    assert shown.root.locator(".m-value", has_text="1 → 3").count() == 1
    shown.page.mouse.click(*shown.head("left", 2))
    shown.page.mouse.move(2, 2)
    shown.wait("^Head 2: .* before", "detail")  # held
    shown.page.mouse.click(*shown.head("left", 2))  # again: lets go
    shown.page.mouse.move(2, 2)
    shown.wait("^Norm of C", "detail")


def test_keys_choose_everything(notebook, shown):
    shown.map.focus()
    for key in ("ArrowUp", "ArrowRight", "l", "p", "t", "m", "h", "+"):
        shown.map.press(key)
    shown.wait("^Layer 0, weights, query 6 “↵”, key 3 “r”")
    expected = {"pair": [6, 3], "layer": 0, "where": "post", "term": "base", "map": "before", "head": 0}
    python_has(notebook, shown, **expected, threshold=0.35)
    for key in ("ArrowDown", "ArrowLeft", "Shift+L", "Shift+T", "Shift+M", "Shift+H", "-"):
        shown.map.press(key)
    expected = {"pair": [7, 2], "layer": 1, "where": "post", "term": "all", "map": "change", "head": -1}
    python_has(notebook, shown, **expected, threshold=0.3)
    shown.map.press("r")
    python_has(notebook, shown, where="pre")
    shown.map.press("Control+z")
    python_has(notebook, shown, where="post")
    shown.map.press("Control+Shift+Z")
    python_has(notebook, shown, where="pre")
    spoken = shown.root.locator("[role=status]").text_content()
    assert spoken == f"{shown.text('status')} {shown.text('detail')}"


def test_flows_are_walked_from_the_largest(notebook, shown):
    told = json.loads(
        notebook.run("print((-abs(explorer.terms['all'])).argsort(axis=None, stable=True)[:2].tolist())")
    )
    shown.map.focus()
    for flow in told:
        shown.map.press("f")
        shown.wait(f"^Head {flow // 4} gives head {flow % 4}, by all terms", "detail")
    shown.map.press("Shift+F")
    shown.wait(f"^Head {told[0] // 4} gives head {told[0] % 4}", "detail")
    shown.map.press("Escape")
    shown.wait("^Norm of C", "detail")
    shown.map.press("Shift+F")  # the smallest that is drawn
    shown.wait("^Head . gives head .", "detail")
    share = "abs(explorer.terms['all']) / abs(explorer.terms['all']).max()"
    n, m = re.findall(r"ead (\d)", shown.text("detail"))
    smallest = notebook.run(f"s = {share}; print(s[{n}, {m}] == s[s >= 0.3].min())")
    assert smallest.strip() == "True"


def test_everything_has_a_button(notebook, shown):
    for name in ("next layer", "weights (post)", "next term", "next key", "previous query", "next head"):
        shown.button(name).click()
    for name in ("after", "next threshold", "next flow"):
        shown.button(name).click()
    expected = {"pair": [6, 3], "layer": 0, "where": "post", "term": "base", "map": "after", "head": 0}
    python_has(notebook, shown, **expected, threshold=0.35)
    assert shown.button("weights (post)").get_attribute("aria-pressed") == "true"
    assert shown.button("change").get_attribute("aria-pressed") == "false"
    assert shown.button("Redo").is_disabled()
    shown.button("Undo").click()
    python_has(notebook, shown, threshold=0.3)
    shown.button("Redo").click()
    python_has(notebook, shown, threshold=0.35)
    shown.button("Reset").click()
    shown.button("Undo").click()  # all that the reset changed is one step
    python_has(notebook, shown, **expected, threshold=0.35)
    shown.button("Redo").click()
    shown.page.keyboard.press("ArrowDown")  # keys work wherever the focus is
    python_has(notebook, shown, pair=[8, 2], layer=1, where="pre", term="all", map="change", head=-1)


def test_python_chooses_and_the_view_follows(notebook, shown):
    notebook.run("explorer.pair = (9, 9); explorer.where = 'post'; explorer.term = 'key gate'")
    shown.wait("^Layer 1, weights, query 9 “·r”, key 9 “·r”")
    assert shown.root.locator(".m-value", has_text="key gate").count() == 1
    shown.button("Undo").click()
    python_has(notebook, shown, pair=[9, 9], where="post", term="all")


def test_a_call_is_copied_and_a_picture_saved(notebook, shown):
    shown.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    shown.button("Copy as Python").click()
    shown.wait("^Copied: a call", "detail")
    copied = shown.page.evaluate("navigator.clipboard.readText()")
    assert copied.startswith("CompositionExplorer(model, tokens, labels, layer=1, where=")
    code = f"from numpy import arange\ntokens = arange(10)\nprint({copied}.given == explorer.given)"
    assert notebook.run(code).strip() == "True"
    with shown.page.expect_download() as download:
        shown.button("Save PNG").click()
    assert download.value.suggested_filename == "composition.png"
    assert Path(download.value.path()).read_bytes().startswith(b"\x89PNG")


def test_plain_heads_say_so(notebook):
    notebook.show(PLAIN)
    shown = Shown(notebook.page)
    shown.wait("^Plain heads: C = I for every pair", "detail")
    shown.wait("no change")
    python_has(notebook, shown, map="before")


def test_keys_do_not_reach_the_notebook(notebook, shown):
    shown.map.focus()
    for key in ("ArrowDown", "x", "a", "d", "d", "m", "c", "b", "Escape", "Enter"):
        shown.map.press(key)
    cells, mode = (f"jupyterapp.shell.currentWidget.content.{name}" for name in ("widgets.length", "mode"))
    assert shown.page.evaluate(cells) == 2
    assert shown.page.evaluate(mode) == "command"


def test_the_output_is_also_an_image_and_a_sentence(notebook):
    data = notebook.show(DYNAMIC)
    assert data["text/plain"].startswith("Composition explorer: layer 1, scores, query 7 (' return'), key 2 ")
    assert data["image/png"].startswith("iVBOR")  # PNG, in base64


@pytest.fixture
def saved(tmp_path):
    """A page of an explorer, and the explorer."""
    namespace: dict = {}
    exec(DYNAMIC, namespace)
    return namespace["explorer"].save_html(tmp_path / "composition.html"), namespace["explorer"]


# Moves of the pair by key, each redrawn and painted, which reading a pixel waits for; milliseconds each.
TIMED = """async (map) => {
  const canvases = [...map.closest(".m-composition").querySelectorAll("canvas")];
  const next = window.requestAnimationFrame.bind(window);
  let spent = 0;
  const timed = (act) => {
    const start = performance.now();
    act();
    spent += performance.now() - start;
  };
  window.requestAnimationFrame = (act) => next((time) => timed(() => act(time)));
  const times = [];
  for (let step = 0; step < 40; step += 1) {
    const key = ["ArrowUp", "ArrowLeft", "ArrowDown", "ArrowRight"][step % 4];
    spent = 0;
    timed(() => map.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true })));
    await new Promise((done) => next(() => next(done)));
    timed(() => canvases.forEach((canvas) => canvas.getContext("2d").getImageData(0, 0, 1, 1)));
    times.push(spent);
  }
  window.requestAnimationFrame = next;
  return times;
}"""


def test_how_long_a_change_of_the_pair_takes_is_printed(open_page, saved):
    page = open_page()
    page.goto(saved[0].as_uri())
    shown = Shown(page)
    shown.wait("query 7")
    times = shown.map.evaluate(TIMED)
    shown.wait("query 7 “·return”, key 2")  # round and back
    print(f"\na change of the pair takes {np.median(times):.2f} ms (median), {max(times):.2f} ms at most")
    assert len(times) == 40


def test_a_saved_page_works_by_finger_without_a_kernel(open_page, saved):
    path, explorer = saved
    page = open_page(has_touch=True, viewport={"width": 500, "height": 900})
    page.goto(path.as_uri())
    shown = Shown(page)
    shown.wait("query 7")
    page.touchscreen.tap(*shown.pair(4, 1))
    shown.wait(r"query 4 “\)”, key 1 “·area”")
    page.touchscreen.tap(*shown.entry(2, 0, 3))
    shown.wait("^Head 0 gives head 3, by query low rank: ", "detail")
    explorer.pair = (4, 1)
    told = number(re.search(r": (\S+) ×", shown.text("detail"))[1])
    assert told == pytest.approx(explorer.terms["query low rank"][0, 3], rel=0.006)
    page.touchscreen.tap(*shown.head("left", 1))
    shown.wait("^Head 1: ", "detail")
    shown.button("weights (post)").tap()
    shown.wait("^Layer 1, weights, query 4")


def test_a_finger_that_moves_over_the_map_scrolls_the_page(open_page, saved):
    page = open_page(has_touch=True, viewport={"width": 400, "height": 500})
    page.goto(saved[0].as_uri())
    shown = Shown(page)
    shown.wait("query 7")
    client = page.context.new_cdp_session(page)
    x, y = shown.pair(4, 1)
    for k, name in enumerate(("touchStart", *["touchMove"] * 6, "touchEnd")):
        points = [] if name == "touchEnd" else [{"x": x, "y": y - 20 * k}]
        client.send("Input.dispatchTouchEvent", {"type": name, "touchPoints": points})
    page.wait_for_function("scrollY > 50")
    assert "query 7" in shown.text("status")


@pytest.mark.parametrize(("name", "width", "scheme"), [("wide", 1000, "dark"), ("narrow", 400, "light")])
def test_it_fits_the_page(open_page, saved, root, name, width, scheme):
    page = open_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page.goto(saved[0].as_uri())
    shown = Shown(page)
    shown.wait("query 7")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    first, second = (canvas.bounding_box() for canvas in (shown.map, shown.terms))
    assert (second["x"] > first["x"] + first["width"]) == (name == "wide")
    folder = root / "build" / "screenshots"
    folder.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=folder / f"composition_explorer_saved_{name}_{scheme}.png", full_page=True)


THEME = "theme => jupyterapp.commands.execute('apputils:change-theme', { theme })"


def test_screenshots(notebook, shown, root: Path):
    """Images to look at, in both themes."""
    folder = root / "build" / "screenshots"
    folder.mkdir(parents=True, exist_ok=True)
    for name, theme in (("light", "JupyterLab Light"), ("dark", "JupyterLab Dark")):
        shown.page.evaluate(THEME, theme)
        light = str(name == "light").lower()
        shown.page.wait_for_function("l => document.body.dataset.jpThemeLight === l", arg=light)
        shown.page.locator("#jupyterlab-splash").wait_for(state="detached")
        shown.root.screenshot(path=folder / f"composition_explorer_{name}.png")
    shown.page.evaluate(THEME, "JupyterLab Light")
    shown.page.wait_for_function("() => document.body.dataset.jpThemeLight === 'true'")
