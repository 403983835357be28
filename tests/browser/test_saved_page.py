"""A saved explorer works as a file: no kernel, no network."""

from __future__ import annotations

import numpy as np
import pytest

from marginalia.explorers import BoxExplorer

from .views import Shown

pytestmark = pytest.mark.browser

BOXES = [[20, 20, 60, 40], [120, 30, 50, 70], [40, 110, 90, 50], [170, 120, 50, 50.5]]
LABELS = ["</script><b>0", "", "tall", ""]


@pytest.fixture
def explorer() -> BoxExplorer:
    """Four boxes on a generated image."""
    y, x = np.mgrid[:180, :240]
    picture = (127 + 60 * np.sin(x / 17) + 60 * np.cos(y / 23)).astype(np.uint8)
    return BoxExplorer(BOXES, pixels=picture, labels=LABELS)


def test_it_shows_and_follows_without_a_kernel(open_saved, explorer):
    shown = Shown(open_saved(explorer), "box")
    shown.says("mc", f"MC {explorer.correlation:.3f}")
    assert shown.page.title() == shown.page.locator("main h1").text_content() == "BoxExplorer"
    shown.press("Tab", "Shift+ArrowRight")
    moved = BoxExplorer([[30, 20, 60, 40], *BOXES[1:]], size=explorer.size)
    assert shown.text("mc") == f"MC {moved.correlation:.3f}"
    assert shown.text("status") == f"Box {LABELS[0]}: x 30, y 20, w 60, h 40 px."


def test_a_finger_drags_a_box(open_saved, explorer):
    shown = Shown(open_saved(explorer, has_touch=True, viewport={"width": 500, "height": 900}), "box")
    shown.says("mc", "MC 0.")
    frame = shown.frame(0)
    scale = (frame["width"] - 12) / 240  # 6 around the image
    x, y = frame["x"] + 6 + 145 * scale, frame["y"] + 6 + 60 * scale
    shown.touch(*((x + 4 * step * scale, y + 2 * step * scale) for step in range(6)))
    shown.says("status", "Box 1: x 140, y 40, w 50, h 70 px.")
    assert shown.page.evaluate("scrollY") == 0
