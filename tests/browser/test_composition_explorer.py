"""The composition explorer in JupyterLab: pointer, finger, keys, buttons and Python make the same choice."""

from __future__ import annotations

import re

import numpy as np
import pytest

from .views import SHOW, Shown, made

pytestmark = pytest.mark.browser


class ShownComposition(Shown):
    def __init__(self, page):
        super().__init__(page, "composition")

    def pair(self, i: int, j: int) -> tuple[float, float]:
        """Where the middle of a cell of the map is on the page."""
        frame = self.frame(0)
        cell = min(frame["width"] - 66, 480) / 10
        return frame["x"] + 62 + (j + 0.5) * cell, frame["y"] + 62 + (i + 0.5) * cell

    def entry(self, k: int, n: int, m: int) -> tuple[float, float]:
        """Where an entry of term k is on the page."""
        frame = self.frame(1)
        side = min((frame["width"] - 74) / 3, 150)
        x, y = 18 + (k % 3) * (side + 20), 20 + (k // 3) * (side + 38)
        return frame["x"] + x + (m + 0.5) * side / 4, frame["y"] + y + (n + 0.5) * side / 4

    def head(self, side: str, n: int) -> tuple[float, float]:
        """Where a head's bar is on the page."""
        frame = self.frame(2)
        x = frame["x"] + (20 if side == "left" else frame["width"] - 20)
        return x, frame["y"] + 22 + (n + 0.5) * 28


@pytest.fixture
def shown(notebook):
    """A new explorer in the notebook: layer 1, scores, query 7, key 2."""
    notebook.show(SHOW["composition"])
    notebook.page.mouse.move(2, 2)
    shown = ShownComposition(notebook.page)
    shown.wait("^Layer 1, scores, query 7 “·return”, key 2 “\\(”: head . changes most")
    return shown


def number(text: str) -> float:
    return float(text.replace("−", "-"))


def test_escape_ends_a_drag_on_the_map(notebook, shown):
    shown.page.mouse.move(*shown.pair(5, 1))
    shown.page.mouse.down()
    shown.page.mouse.move(*shown.pair(6, 3), steps=3)
    shown.wait("query 6 ")
    shown.page.keyboard.press("Escape")
    shown.page.mouse.move(*shown.pair(8, 3), steps=3)
    shown.page.mouse.up()
    notebook.has(pair=[7, 2])
    assert shown.button("Undo").is_disabled()


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


def test_a_click_and_a_drag_choose_a_pair(notebook, shown):
    shown.page.mouse.click(*shown.pair(5, 3))
    shown.wait("query 5 “:”, key 3 “r”")
    notebook.has(pair=[5, 3])
    shown.page.mouse.move(*shown.pair(8, 0))
    shown.page.mouse.down()
    for j in range(1, 5):
        shown.page.mouse.move(*shown.pair(8, j))
        shown.wait(f"query 8 “·r”, key {j} ")
    shown.page.mouse.up()
    notebook.has(pair=[8, 4])
    shown.button("Undo").click()  # a drag is one step
    notebook.has(pair=[5, 3])
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
    notebook.has(term="key low rank")
    assert shown.root.locator(".m-value", has_text="1 → 3").count() == 1
    shown.page.mouse.click(*shown.head("left", 2))
    shown.page.mouse.move(2, 2)
    shown.wait("^Head 2: .* before", "detail")  # held
    shown.page.mouse.click(*shown.head("left", 2))  # again: lets go
    shown.page.mouse.move(2, 2)
    shown.wait("^Norm of C", "detail")


def test_keys_choose_everything(notebook, shown):
    shown.first.focus()
    shown.press("ArrowUp", "ArrowRight", "l", "p", "t", "m", "h", "+")
    shown.wait("^Layer 0, weights, query 6 “↵”, key 3 “r”")
    expected = {"pair": [6, 3], "layer": 0, "where": "post", "term": "base", "map": "before", "head": 0}
    notebook.has(**expected, threshold=0.35)
    shown.press("ArrowDown", "ArrowLeft", "Shift+L", "Shift+T", "Shift+M", "Shift+H", "-")
    expected = {"pair": [7, 2], "layer": 1, "where": "post", "term": "all", "map": "change", "head": -1}
    notebook.has(**expected, threshold=0.3)
    spoken = shown.root.locator("[role=status]").text_content()
    assert spoken == f"{shown.text('status')} {shown.text('detail')}"


def test_flows_are_walked_from_the_largest(notebook, shown):
    told = notebook.value("(-abs(explorer.terms['all'])).argsort(axis=None, stable=True)[:2].tolist()")
    shown.first.focus()
    for flow in told:
        shown.press("f")
        shown.wait(f"^Head {flow // 4} gives head {flow % 4}, by all terms", "detail")
    shown.press("Shift+F")
    shown.wait(f"^Head {told[0] // 4} gives head {told[0] % 4}", "detail")
    shown.press("Escape")
    shown.wait("^Norm of C", "detail")
    shown.press("Shift+F")  # the smallest that is drawn
    shown.wait("^Head . gives head .", "detail")
    share = "abs(explorer.terms['all']) / abs(explorer.terms['all']).max()"
    n, m = re.findall(r"ead (\d)", shown.text("detail"))
    smallest = notebook.run(f"s = {share}; print(s[{n}, {m}] == s[s >= 0.3].min())")
    assert smallest.strip() == "True"


def test_everything_has_a_button(notebook, shown):
    shown.click(
        "next layer", "weights (post)", "next term", "next key", "previous query", "next head", "after"
    )
    shown.click("next threshold", "next flow")
    shown.page.keyboard.press("ArrowDown")  # keys work after a button too: query 7 again
    expected = {"pair": [7, 3], "layer": 0, "where": "post", "term": "base", "map": "after", "head": 0}
    notebook.has(**expected, threshold=0.35)
    assert shown.button("weights (post)").get_attribute("aria-pressed") == "true"
    assert shown.button("change").get_attribute("aria-pressed") == "false"


def test_python_chooses_and_the_view_follows(notebook, shown):
    notebook.run("explorer.pair = (9, 9); explorer.where = 'post'; explorer.term = 'key gate'")
    shown.wait("^Layer 1, weights, query 9 “·r”, key 9 “·r”")
    assert shown.root.locator(".m-value", has_text="key gate").count() == 1
    shown.button("Undo").click()
    notebook.has(pair=[9, 9], where="post", term="all")


def test_plain_heads_say_so(notebook):
    notebook.show(SHOW["composition"].replace('VARIANTS["DCMHA"]', 'VARIANTS["MHA"]'))
    shown = ShownComposition(notebook.page)
    shown.wait("^Plain heads: C = I for every pair", "detail")
    shown.wait("no change")
    notebook.has(map="before")


def test_a_saved_page_works_by_finger_without_a_kernel(open_saved):
    explorer = made("composition")
    page = open_saved(explorer, has_touch=True, viewport={"width": 500, "height": 900})
    shown = ShownComposition(page)
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


def test_a_finger_that_moves_over_the_map_scrolls_the_page(open_saved):
    page = open_saved(made("composition"), has_touch=True, viewport={"width": 400, "height": 500})
    shown = ShownComposition(page)
    shown.wait("query 7")
    x, y = shown.pair(4, 1)
    shown.touch(*((x, y - 20 * k) for k in range(7)))
    page.wait_for_function("scrollY > 50")
    assert "query 7" in shown.text("status")
