"""A saved explorer works as a file: no kernel, no network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from marginalia.explorers import BoxExplorer

pytestmark = pytest.mark.browser

BOXES = [[20, 20, 60, 40], [120, 30, 50, 70], [40, 110, 90, 50], [170, 120, 50, 50.5]]
LABELS = ["</script><b>0", "", "tall", ""]


@pytest.fixture
def saved(tmp_path):
    """A page of an explorer with a generated image, and the explorer."""
    y, x = np.mgrid[:180, :240]
    picture = (127 + 60 * np.sin(x / 17) + 60 * np.cos(y / 23)).astype(np.uint8)
    explorer = BoxExplorer(BOXES, pixels=picture, labels=LABELS)
    return explorer.save_html(tmp_path / "box.html"), explorer


def open_saved(open_page, path: Path, **options):
    page = open_page(**options)
    page.goto(path.as_uri())
    page.locator(".m-mc", has_text="MC 0.").wait_for()
    return page


def test_it_shows_and_follows_without_a_kernel(open_page, saved):
    path, explorer = saved
    page = open_saved(open_page, path)
    assert page.locator(".m-mc").text_content() == f"MC {explorer.correlation:.3f}"
    canvas = page.locator("canvas").first
    canvas.focus()
    canvas.press("Tab")
    canvas.press("Shift+ArrowRight")
    moved = BoxExplorer([[30, 20, 60, 40], *BOXES[1:]], size=explorer.size)
    assert page.locator(".m-mc").text_content() == f"MC {moved.correlation:.3f}"
    assert page.locator(".m-status").text_content() == f"Box {LABELS[0]}: x 30, y 20, w 60, h 40 px."


def test_a_finger_drags_a_box(open_page, saved):
    path, _ = saved
    page = open_saved(open_page, path, has_touch=True, viewport={"width": 500, "height": 900})
    client = page.context.new_cdp_session(page)
    frame = page.locator("canvas").first.bounding_box()
    scale = (frame["width"] - 12) / 240  # 6 around the image
    start = {"x": frame["x"] + 6 + 145 * scale, "y": frame["y"] + 6 + 60 * scale}
    client.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [start]})
    for step in range(1, 6):
        at = {"x": start["x"] + step * 4 * scale, "y": start["y"] + step * 2 * scale}
        client.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": [at]})
    client.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    page.locator(".m-status", has_text="Box 1: x 140, y 40, w 50, h 70 px.").wait_for()
    assert page.evaluate("scrollY") == 0


@pytest.mark.parametrize(("name", "width", "scheme"), [("wide", 1000, "dark"), ("narrow", 400, "light")])
def test_it_fits_the_page(open_page, saved, root, name, width, scheme):
    path, _ = saved
    page = open_saved(open_page, path, viewport={"width": width, "height": 900}, color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    picture, matrix = (page.locator("canvas").nth(i).bounding_box() for i in (0, 2))
    beside = matrix["x"] > picture["x"] + picture["width"]
    assert beside == (name == "wide")
    folder = root / "build" / "screenshots"
    folder.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=folder / f"box_explorer_saved_{name}_{scheme}.png")
