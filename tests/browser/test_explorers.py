"""What all explorers do alike, in JupyterLab and as saved pages."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from .views import BOXES, POINTS, SHOW, Shown, made

pytestmark = pytest.mark.browser

# Keys on the first canvas that change what undo is about, in one step or in several.
CHANGES = {
    "attention": ["ArrowRight", "ArrowUp", "4"],
    "box": ["Tab", "ArrowRight", "Alt+ArrowDown", "n"],
    "composition": ["ArrowUp", "p", "t"],
    "relation": ["Tab", "ArrowRight", "n", "h", "w"],
    "rips": ["Tab", "ArrowRight", "Shift+ArrowDown", "Delete"],
}
KEPT = "{name: getattr(explorer, name) for name in explorer.given}"
COLOURS = """(canvas) => {
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  return new Set(new Uint32Array(data.buffer)).size;
}"""
THEME = "theme => jupyterapp.commands.execute('apputils:change-theme', { theme })"


@pytest.fixture(params=SHOW)
def name(request) -> str:
    return request.param


@pytest.fixture
def shown(notebook, name):
    notebook.show(SHOW[name])
    notebook.page.mouse.move(2, 2)
    return Shown(notebook.page, name)


def test_keys_do_not_reach_the_notebook(notebook, shown):
    shown.first.focus()
    shown.press("ArrowDown", "x", "a", "d", "d", "Shift+ArrowDown", "b", "m", "Escape", "Enter", "Control+z")
    cells, mode = (f"jupyterapp.shell.currentWidget.content.{each}" for each in ("widgets.length", "mode"))
    assert shown.page.evaluate(cells) == 2
    assert shown.page.evaluate(mode) == "command"
    dirty = "jupyterapp.shell.currentWidget.context.model.dirty"
    assert shown.page.evaluate(dirty)
    shown.press("Control+s")  # but saving still works from here
    shown.page.wait_for_function(f"() => !{dirty}")


@pytest.mark.parametrize("name", ["box", "relation", "rips"])
def test_tab_leaves_after_the_last_thing(shown, name):
    shown.first.focus()
    focused = "canvas => document.activeElement === canvas"
    for _ in POINTS if name == "rips" else BOXES:
        shown.press("Tab")
        assert shown.first.evaluate(focused)
    shown.press("Tab")
    assert not shown.first.evaluate(focused)


def test_undo_redo_and_reset_by_keys_and_buttons(notebook, shown, name):
    given = notebook.value(KEPT)
    for button in ("Undo", "Redo"):
        assert shown.button(button).is_disabled()
    shown.press(*CHANGES[name])
    changed = notebook.settled(KEPT)
    shown.click("Undo")
    notebook.until(KEPT, lambda told: told not in (given, changed))
    shown.click("Redo")
    notebook.until(KEPT, changed)
    assert shown.button("Redo").is_disabled()
    shown.click("Reset")
    notebook.until(KEPT, given)
    shown.press("Control+z")  # a reset can be taken back, in one step
    notebook.until(KEPT, changed)
    shown.press("Control+Shift+Z")
    notebook.until(KEPT, given)
    shown.click("Undo")
    shown.press("r")
    notebook.until(KEPT, given)


def test_it_says_that_the_kernel_is_gone(shown, name):
    assert shown.text("gone") == ""
    session = "jupyterapp.shell.currentWidget.sessionContext"
    # a restart, and the end of a kernel
    end = "shutdown(); " + f"await {session}.startKernel()" if name == "box" else "session.kernel.restart()"
    shown.page.evaluate(f"async () => {{ await {session}.{end}; }}")
    shown.press(*CHANGES[name])
    shown.says("gone", "The kernel does not answer: what is changed here stays in this view.")
    assert not shown.button("Undo").is_disabled()


def test_a_call_is_copied_and_a_picture_saved(notebook, shown, name):
    shown.press(*CHANGES[name])
    shown.click("Copy as Python")
    shown.root.get_by_text("Copied: a call that makes this explorer.").first.wait_for(state="attached")
    copied = shown.page.evaluate("navigator.clipboard.readText()")
    notebook.run(f"from anywidget import AnyWidget\ncopied = {copied}")
    notebook.run("own = set(explorer.keys) - set(AnyWidget.class_traits()) - {'_anywidget_id'}")
    own = "own - {'given', 'selected', 'window'}"
    notebook.until(f"[n for n in {own} if getattr(copied, n) != getattr(explorer, n)]", [])
    assert notebook.value(KEPT) != notebook.value("explorer.given")
    with shown.page.expect_download() as download:
        shown.click("Save PNG")
    assert download.value.suggested_filename == f"{name}.png"
    picture = np.asarray(Image.open(download.value.path()).convert("L"))
    root, status = (part.bounding_box() for part in (shown.root, shown.root.locator(".m-status").first))
    assert picture.shape[1] == round(root["width"])
    top, left = round(status["y"] - root["y"]), round(status["x"] - root["x"])
    words = picture[top : top + 20, left : left + 60]
    assert words.min() < 100 and words.max() > 240  # its words are there as well


def test_the_output_is_also_an_image_and_a_sentence(notebook, name):
    data = notebook.show(SHOW[name])
    assert data["text/plain"] == notebook.run("print(explorer.summary())").strip()
    assert data["image/png"].startswith("iVBOR")  # PNG, in base64


def test_it_is_drawn_in_both_themes(shown, name, screenshots):
    pictures = []
    for theme in ("Dark", "Light"):
        shown.page.evaluate(THEME, f"JupyterLab {theme}")
        light = str(theme == "Light").lower()
        shown.page.wait_for_function("l => document.body.dataset.jpThemeLight === l", arg=light)
        shown.page.locator("#jupyterlab-splash").wait_for(state="detached")
        pictures.append(shown.root.screenshot(path=screenshots / f"{name}_explorer_{theme.lower()}.png"))
    assert pictures[0] != pictures[1]
    counts = [
        shown.canvas(k).evaluate(COLOURS)
        for k in range(shown.root.locator("canvas").count())
        if shown.canvas(k).bounding_box()["height"]
    ]
    assert min(counts) > 20, counts


@pytest.mark.parametrize(("width", "scheme"), [(1000, "dark"), (400, "light")])
def test_a_saved_page_fits(open_saved, screenshots, name, width, scheme):
    page = open_saved(made(name), viewport={"width": width, "height": 900}, color_scheme=scheme)
    shown = Shown(page, name)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    left, right = (shown.root.locator(f".m-{side} canvas").first.bounding_box() for side in ("left", "right"))
    assert (right["x"] > left["x"] + left["width"]) == (width == 1000)
    page.screenshot(path=screenshots / f"{name}_explorer_saved_{width}_{scheme}.png", full_page=True)
