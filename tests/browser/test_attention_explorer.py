"""The attention explorer in JupyterLab: pointer, keys, buttons and Python all make the same choice."""

from __future__ import annotations

import re

import pytest

from .views import SHOW, Shown, made

pytestmark = pytest.mark.browser

KEPT = [2, 0, 1, 3, 4]


class ShownAttention(Shown):
    def __init__(self, page):
        super().__init__(page, "attention")
        self.picture, self.heads, self.product, self.bars = (self.canvas(i) for i in (0, 1, 4, 5))

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Where a place of the square image, relative to it, is on the page."""
        frame = self.frame(0)
        side = min(frame["width"], frame["height"])
        return frame["x"] + x * side, frame["y"] + y * side


@pytest.fixture
def shown(notebook):
    """A new explorer in the notebook: query 2, layer 2, head 0, combined."""
    notebook.show(SHOW["attention"])
    notebook.page.mouse.move(2, 2)
    shown = ShownAttention(notebook.page)
    shown.wait(r"^Query 2 \(“2”, score 0\.90\), layer 2, head 0, combined: peak ")
    return shown


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


def test_pointing_at_a_box_chooses_its_query(notebook, shown):
    shown.page.mouse.move(*shown.at(0.13, 0.3))
    shown.wait("^Query 0 ")
    shown.page.mouse.move(*shown.at(0.3, 0.3))
    shown.wait("^Query 1 ")  # smaller; query 4 is smaller still, but the threshold hides it
    assert shown.text("cell").startswith("Cell at row 4, column 4: content ")
    notebook.has(query=1)
    shown.page.mouse.move(*shown.at(0.7, 0.2))  # only query 3 is there, with a score of 0.2
    notebook.has(query=1)
    notebook.run("explorer.threshold = 0.15")
    shown.says("value", "0.15: 4 of 5")
    shown.page.mouse.move(*shown.at(0.71, 0.2))
    shown.wait("^Query 3 ")
    shown.page.mouse.move(*shown.at(0.02, 0.95))  # the box of query 5, which was left out, is not far
    notebook.has(query=3)


def test_a_click_holds_a_query(notebook, shown):
    shown.page.mouse.click(*shown.at(0.3, 0.3))
    shown.wait(r"^Query 1 \(“1”, score 0\.50, held\)")
    shown.page.mouse.move(*shown.at(0.75, 0.7))
    shown.says("cell", "Query 2 (“2”, score 0.90) is here. Cell at row ")
    assert shown.text("status").startswith("Query 1 ")
    shown.page.mouse.click(*shown.at(0.75, 0.7))
    shown.wait("^Query 2 .*held")
    shown.page.mouse.click(*shown.at(0.75, 0.7))  # again: lets go
    shown.wait(r"^Query 2 \(“2”, score 0\.90\)")
    shown.page.mouse.move(*shown.at(0.3, 0.3))
    shown.wait("^Query 1 ")


def test_keys_choose_query_layer_head_and_kind(notebook, shown):
    shown.picture.focus()
    shown.press("ArrowRight", "ArrowUp", "4", "s")
    shown.wait(r"^Query 0 \(“0”, score 0\.60, held\), layer 1, head 4, spatial: ")
    notebook.has(query=0, layer=1, head=4, kind="spatial")
    shown.press("ArrowLeft", "ArrowLeft", "ArrowDown", "ArrowDown", "]", "]", "]", "c")
    notebook.has(query=KEPT[-1], layer=2, head=0, kind="content")  # rounds, but for layers
    shown.press("[", "9", "B", "Escape")  # before head 0 is the mean; there is no head 9
    notebook.has(query=KEPT[-1], layer=2, head=-1, kind="combined")
    spoken = shown.root.locator("[role=status]").text_content()
    assert spoken == shown.text("status") and "held" not in spoken


def test_everything_can_be_clicked(notebook, shown):
    shown.click("0", "content", "next query", "previous head")
    notebook.has(query=0, layer=0, head=-1, kind="content")
    assert shown.button("0").get_attribute("aria-pressed") == "true"
    assert shown.button("2").get_attribute("aria-pressed") == "false"
    frame = shown.heads.bounding_box()
    shown.heads.click(position={"x": frame["width"] * 0.4, "y": frame["height"] * 0.75})
    notebook.has(head=5)
    frame = shown.product.bounding_box()
    shown.product.click(position={"x": frame["width"] * 0.5, "y": 30})
    shown.page.keyboard.press("ArrowDown")  # keys work wherever the focus is
    notebook.has(kind="spatial", layer=1)


def test_a_cell_of_the_product_is_told(notebook, shown):
    width = shown.product.bounding_box()["width"]
    cell = (width - 6 - 2 * max(20, min(30, width / 14))) / 3 / 16
    shown.product.hover(position={"x": 3 + 1.5 * cell, "y": 3 + 1.5 * cell})
    shown.root.locator(".m-cell", has_text="Cell at row 1, column 1: content ").wait_for()
    shown.page.mouse.move(2, 2)
    shown.root.locator(".m-cell", has_text="Peak at ").wait_for()


def test_python_chooses_and_the_view_follows(notebook, shown):
    notebook.run("explorer.query = 4; explorer.layer = 0; explorer.head = 3; explorer.kind = 'spatial'")
    shown.wait(r"^Query 4 \(“4”, score 0\.10\), layer 0, head 3, spatial: ")
    assert shown.button("spatial").get_attribute("aria-pressed") == "true"
    assert shown.text("title").endswith("spatial attention of query 4 in layer 0")


def test_a_click_goes_through_what_lies_beneath(notebook, shown):
    notebook.run("explorer.threshold = 0")
    for query in (4, 1, 0):  # by size
        shown.page.mouse.click(*shown.at(0.3, 0.3))
        shown.wait(f"^Query {query} .*held")
    shown.page.mouse.click(*shown.at(0.3, 0.3))  # after the last it lets go
    shown.wait(r"^Query 0 \(“0”, score 0\.60\)")
    shown.page.mouse.click(*shown.at(0.101, 0.3))  # its border
    shown.wait("^Query 0 .*held")


def test_sliders_set_threshold_and_opacity(notebook, shown):
    threshold, opacity = (shown.root.get_by_label(name) for name in ("threshold", "opacity"))
    shown.says("value", "0.30: 3 of 5")
    before = shown.picture.evaluate("canvas => canvas.toDataURL()")
    threshold.focus()
    for _ in range(15):
        threshold.press("ArrowLeft")  # the arrow belongs to the slider, and chooses no query
    notebook.has(threshold=0.15, query=2)
    frame = opacity.bounding_box()
    shown.page.mouse.click(frame["x"] + 2, frame["y"] + frame["height"] / 2)
    notebook.until("explorer.opacity", lambda told: told < 0.05)
    assert shown.picture.evaluate("canvas => canvas.toDataURL()") != before
    shown.click("Undo")
    notebook.has(opacity=0.85, threshold=0.15)


def test_a_cell_tells_the_queries_that_look_at_it(notebook, shown):
    shown.click("Cell → queries")
    shown.wait(r"^Cell at row \d+, column \d+, layer 2, head 0, combined: most from query ")
    shown.page.mouse.click(*shown.at(0.72, 0.22))
    shown.page.mouse.move(2, 2)
    notebook.has(cell=3 * 16 + 11, query=2)
    best = notebook.value("explorer.kept[int(explorer.looks.argmax())]")
    shown.wait(f"^Cell at row 3, column 11, .*: most from query {best} ")
    shown.press("ArrowRight", "ArrowDown")
    notebook.has(cell=4 * 16 + 12, query=2, layer=2)
    shown.page.mouse.move(*shown.at(0.2, 0.2))
    shown.wait("^Cell at row 3, column 3, ")
    shown.press("ArrowLeft")  # a mouse that rests does not hide what keys choose
    shown.wait("^Cell at row 4, column 11, ")
    shown.press("ArrowRight")
    shown.page.mouse.move(2, 2)
    notebook.has(cell=4 * 16 + 12)
    frame = shown.bars.bounding_box()
    shown.bars.hover(position={"x": 40 + 2.5 * (frame["width"] - 40) / 5, "y": 30})
    told = notebook.value("float(explorer.looks[2] * explorer.weights.size)")
    shown.wait(r"^Query 1 \(“1”, score 0\.50\) gives the cell at row 4, column 12 ", "cell")
    assert float(shown.text("cell").split("column 12 ")[1].split("×")[0]) == pytest.approx(told, rel=0.06)
    shown.bars.click(position={"x": 40 + 2.5 * (frame["width"] - 40) / 5, "y": 30})
    notebook.has(query=1, cell=4 * 16 + 12)
    shown.press("q")
    shown.wait("^Query 1 .*held")
    notebook.has(cell=-1)


def test_a_pinned_map_stands_beside_the_present_one(notebook, shown):
    assert shown.canvas(3).bounding_box()["height"] == 0
    shown.click("Pin")
    shown.press("4", "ArrowRight")
    notebook.has(pinned={"query": 2, "layer": 2, "head": 0, "kind": "combined"}, head=4, query=0)
    peaks = notebook.value("[float(explorer._map(2, 2, 0, 'combined').max()), float(explorer.weights.max())]")
    most = float(shown.text("pinned").split("from 0 to ")[1])
    assert most == pytest.approx(max(peaks), rel=0.06)
    assert shown.canvas(3).bounding_box()["height"] > 100
    shown.press("p")
    notebook.has(pinned={})


def test_all_layers_and_heads_at_once(notebook, shown):
    shown.click("All layers")
    frame = shown.heads.bounding_box()
    wide = (frame["width"] - 23 - 6 * 4) / 7
    shown.heads.click(position={"x": 20 + 6.5 * wide + 24, "y": 3 + wide + 22 + wide / 2})
    notebook.has(layer=1, head=-1, query=2)
    shown.wait("^Query 2 .*layer 1, mean of heads, combined: peak ")


def test_undo_takes_back_a_choice(notebook, shown):
    shown.press("4", "s")
    shown.page.mouse.move(*shown.at(0.3, 0.3))  # pointing at a query is no step ...
    shown.wait("^Query 1 ")
    shown.page.mouse.click(*shown.at(0.3, 0.3))  # ... but holding it is
    shown.page.mouse.move(2, 2)
    shown.press("Control+z")
    notebook.has(query=2, head=4, kind="spatial")
    shown.click("Undo")
    notebook.has(query=2, head=4, kind="combined")
    shown.press("r")
    notebook.has(query=2, layer=2, head=0, kind="combined")


def test_a_saved_page_works_without_a_kernel(open_saved):
    explorer = made("attention")
    page = open_saved(explorer, has_touch=True)
    shown = ShownAttention(page)
    shown.wait("^Query 2 ")
    page.touchscreen.tap(*shown.at(0.3, 0.3))
    shown.wait("^Query 1 .*held")
    page.wait_for_timeout(450)
    page.touchscreen.tap(*shown.at(0.3, 0.3))
    shown.wait("^Query 0 .*held")
    shown.button("Undo").tap()
    shown.button("Cell → queries").tap()
    page.touchscreen.tap(*shown.at(0.03, 0.03))
    shown.wait("^Cell at row 0, column 0, ")
    threshold = shown.root.get_by_label("threshold").bounding_box()
    page.touchscreen.tap(threshold["x"] + threshold["width"] - 3, threshold["y"] + threshold["height"] / 2)
    shown.says("value", ": 1 of 5")
    shown.button("Cell → queries").tap()
    shown.wait("^Query 1 ")
    with page.expect_download():
        shown.button("Save PNG").tap()
    shown.press("ArrowUp", "c")
    explorer.query, explorer.layer, explorer.kind = 1, 1, "content"
    shown.wait(r"layer 1, head 0, content: peak ")
    told = float(re.search(r"peak ([\d.]+) =", shown.text("status"))[1])
    assert told == pytest.approx(explorer.weights.max(), rel=0.06)  # two digits
