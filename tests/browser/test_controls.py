"""Controls above a figure in JupyterLab: labels are whole, and one change draws once, in place."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.browser

SHOW = """
import matplotlib.pyplot as plt
from marginalia.controls import with_controls
drawn = []

def draw(largest_side=3, temperature=1.0, kind="line", query_low_rank=True):
    drawn.append(largest_side)
    figure, axes = plt.subplots(figsize=(7, 3))
    axes.plot([0, largest_side])
    if largest_side == 9:
        raise ValueError("planted")
    return figure

with_controls(draw, largest_side=(0, 9), temperature=(0.0, 10000.0), kind=["line", "dots"])
"""
# Parts of the panel whose content does not fit, and parts that reach beyond it.
CUT = """(root) => [...root.querySelectorAll("*")].filter((part) => part.scrollWidth > part.clientWidth
  && getComputedStyle(part).overflowX !== "visible").map((part) => part.outerHTML)"""
BEYOND = """(root) => [...root.querySelectorAll("*")].filter((part) =>
  part.getBoundingClientRect().right > root.getBoundingClientRect().right + 0.5).map((p) => p.outerHTML)"""
# Notes, at every frame, how high the panel is.
WATCH = """(root) => {
  const heights = window.heights = new Set();
  const look = () => { heights.add(root.offsetHeight); requestAnimationFrame(look); };
  look();
}"""


@pytest.fixture(params=[1150, 400])
def panel(notebook, request):
    """The panel, on a page of this width, with its figure."""
    page = notebook.page
    page.set_viewport_size({"width": request.param, "height": 800})
    notebook.show(SHOW)
    page.mouse.move(2, 2)
    panel = page.locator(".widget-interact").last
    page.wait_for_function("() => [...document.querySelectorAll('.widget-image')].at(-1)?.naturalWidth > 100")
    yield panel
    page.set_viewport_size({"width": 1150, "height": 800})


def test_nothing_is_cut(panel, screenshots):
    width = panel.evaluate("() => innerWidth")
    panel.screenshot(path=screenshots / f"controls_{width}.png")
    labels = panel.locator(".widget-label, .widget-label-basic").all_inner_texts()
    assert [label for label in labels if label != "\u200b"] == [
        "largest side",
        "temperature",
        "kind",
        "query low rank",
    ]
    assert panel.evaluate(CUT) == panel.evaluate(BEYOND) == []


def test_keys_and_mouse_draw_once_and_the_page_stays(notebook, panel):
    page, handle = notebook.page, panel.locator(".noUi-handle").first
    handle.scroll_into_view_if_needed()
    panel.evaluate(WATCH)
    image = panel.locator("img").element_handle()
    source = image.get_attribute("src")
    handle.press("ArrowRight")
    notebook.until("drawn", [3, 4])
    place = handle.bounding_box()
    x, y = place["x"] + place["width"] / 2, place["y"] + place["height"] / 2
    track = panel.locator(".noUi-base").first.bounding_box()
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(track["x"] + 7.1 / 9 * track["width"], y, steps=8)
    assert notebook.settled("drawn") == [3, 4]  # not while it is dragged
    page.mouse.up()
    assert notebook.until("drawn", lambda told: len(told) > 2) == [3, 4, 7]
    assert notebook.settled("drawn") == [3, 4, 7]
    page.wait_for_function("([image, old]) => image.src !== old", arg=[image, source])
    assert len(page.evaluate("[...heights]")) == 1


def test_an_error_is_shown_until_the_next_figure(notebook, panel, screenshots):
    panel.locator(".noUi-handle").first.press("End")
    panel.get_by_text("ValueError: planted").wait_for()
    assert panel.get_by_text("planted").count() == 1
    told = panel.locator(".jp-OutputArea").inner_text()
    assert 'raise ValueError("planted")' in told and "ipywidgets" not in told and "controls.py" not in told
    panel.screenshot(path=screenshots / "controls_error.png")
    panel.locator(".noUi-handle").first.press("ArrowLeft")
    panel.get_by_text("planted").wait_for(state="detached")
    notebook.until("drawn", [3, 9, 8])
    assert notebook.value("plt.get_fignums()") == []
