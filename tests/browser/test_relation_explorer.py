"""The relation explorer in JupyterLab and as a saved page: mouse, finger, keys, buttons, Python."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from marginalia.boxes.correlation import pearson
from marginalia.boxes.geometry import iou, xywh_to_xyxy
from marginalia.detection.relation import PositionRelation
from marginalia.explorers import RelationExplorer

from .views import BOXES, SHOW, SIZE, ShownBoxes

pytestmark = pytest.mark.browser


def made(boxes=BOXES, **options) -> RelationExplorer:
    """The explorer of SHOW, without an image unless given."""
    torch.manual_seed(1)
    relation = PositionRelation(8)
    torch.nn.init.normal_(relation.projection.weight, std=0.5)
    return RelationExplorer(boxes, relation, **({"size": SIZE} | options))


def digits(value: float) -> str:
    """Three digits that count, as the view writes them."""
    return f"{float(f'{value:.3g}'):g}".replace("-", "−")


class ShownRelation(ShownBoxes):
    def __init__(self, page):
        super().__init__(page, "relation")
        self.waves, self.rows = self.canvas(1), self.canvas(2)

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

    def values(self) -> list[str]:
        """Query, partner and head."""
        return self.texts("value")


@pytest.fixture
def shown(notebook):
    """A new explorer with BOXES in the notebook."""
    notebook.show(SHOW["relation"])
    shown = ShownRelation(notebook.page)
    shown.says("mc", "attention")
    return shown


def pair_text(explorer: RelationExplorer) -> str:
    """What the view must say of the pair, from the library's own numbers."""
    (i, j), boxes = explorer.pair, np.array(explorer.boxes, float)
    row = explorer.attention[:, i]
    weight = row.mean(0)[j] if explorer.head < 0 else row[explorer.head, j]
    rho, overlap = pearson(boxes)[i, j], iou(xywh_to_xyxy(boxes), xywh_to_xyxy(boxes))[i, j]
    return f"ρ {rho:.3f}, IoU {overlap:.3f}, attention {digits(100 * weight)} %".replace("-", "−")


def kernel_boxes(notebook, shown) -> list[list[float]]:
    """The boxes that Python has, once they are those of the view."""

    def shows(told) -> bool:
        boxes, pair, head = told
        return pair_text(made(boxes, pair=pair, head=head)) == shown.text("mc")

    return notebook.until("[explorer.boxes, explorer.pair, explorer.head]", shows)[0]


def test_it_appears_with_the_numbers_of_the_library(notebook, shown):
    explorer = made()
    assert shown.text("mc") == pair_text(explorer)
    assert shown.values() == ["0", "1", "mean"]
    assert shown.text("status") == "5 boxes."
    mean = explorer.attention[:, 0].mean(0)
    most = "itself" if mean.argmax() == 0 else f"box {mean.argmax()}"
    expected = f"Box 0 attends most to {most}, {digits(100 * mean.max())} %; uniform is 20 %."
    assert shown.text("detail") == expected


def test_a_drag_changes_the_numbers_and_python_sees_it(notebook, shown):
    shown.drag((65, 50), (95, 120))
    moved = kernel_boxes(notebook, shown)
    # whole pixels of the image; the mouse stands on whole pixels of the screen, hence the play of one
    np.testing.assert_allclose(moved[0], [60, 90, 70, 60], atol=1)
    assert moved[1:] == BOXES[1:]
    assert shown.text("mc") != pair_text(made())
    notebook.until("[explorer.selected, explorer.pair]", [0, [0, 1]])


def test_no_box_becomes_its_own_partner(notebook, shown):
    shown.rows.click(position=shown.cell(2, 0))  # its own column
    notebook.until("[explorer.pair, explorer.head]", [[0, 1], 2])
    shown.press("]", "Delete")
    notebook.until("[explorer.pair, len(explorer.boxes)]", [[0, 1], 4])
    notebook.run("explorer.pair = (3, 2); explorer.boxes = explorer.boxes[:3]")
    assert notebook.value("explorer.pair") == [2, 0]


def test_the_last_two_boxes_clicked_are_the_pair(notebook, shown):
    shown.page.mouse.click(*shown.at(300, 80))
    shown.page.mouse.move(2, 2)
    notebook.until("[explorer.selected, explorer.pair]", [2, [2, 0]])
    shown.page.mouse.click(*shown.at(70, 200))
    shown.page.mouse.move(2, 2)
    notebook.until("explorer.pair", [3, 2])
    assert shown.text("mc") == pair_text(made(pair=(3, 2)))
    shown.page.mouse.move(*shown.at(65, 50))  # pointing at a box makes it the partner for as long
    shown.says("mc", pair_text(made(pair=(3, 0))))
    shown.page.mouse.move(2, 2)
    shown.says("mc", pair_text(made(pair=(3, 2))))


def test_every_button_does_what_it_says(notebook, shown):
    assert shown.button("Delete box").is_disabled()
    shown.click("next partner", "next partner")
    assert shown.values()[:2] == ["0", "3"]
    shown.click("next query")
    assert shown.values()[:2] == ["1", "3"]
    shown.click("previous partner", "Swap")
    notebook.until("[explorer.selected, explorer.pair]", [2, [2, 1]])
    shown.click("next head")
    assert shown.values()[2] == "0"
    assert shown.text("mc") == pair_text(made(pair=(2, 1), head=0))
    shown.click("previous head", "previous head")
    assert shown.values()[2] == "7"
    shown.click("random weights")
    explorer = made(pair=(2, 1), head=7)
    explorer.weights = "random"
    shown.says("mc", pair_text(explorer))
    assert "random weights" in shown.root.locator(".m-title").nth(1).text_content()
    notebook.until("explorer.weights", "random")
    shown.click("given weights", "Delete box")
    notebook.until("[len(explorer.boxes), explorer.pair]", [4, [2, 1]])
    shown.click("Add box")
    notebook.until("[len(explorer.boxes), explorer.pair]", [5, [4, 2]])
    shown.click("Reset")
    notebook.until("explorer.boxes", BOXES)


def test_keys_do_all_that_buttons_do(notebook, shown):
    shown.first.focus()
    shown.press("Tab", "Tab", "ArrowRight", "Shift+ArrowDown", "Alt+ArrowRight", "p", "p", "h", "w")
    notebook.until("explorer.boxes[1]", [151, 40, 61, 90])
    notebook.until(
        "[explorer.pair, explorer.head, explorer.weights]", [[1, 3], 0, "random"]
    )  # no box is its own partner
    shown.press("w", "Shift+P", "x", "Shift+H", "Escape")
    notebook.until("[explorer.pair, explorer.head, explorer.weights]", [[2, 1], -1, "given"])
    notebook.until("explorer.selected", -1)
    shown.press("n", "Backspace")
    notebook.until("len(explorer.boxes)", 5)


def test_cells_tell_their_numbers(notebook, shown):
    explorer = made()
    shown.waves.hover(position=shown.wave(0, 4))  # sin of the first number times the third frequency
    shown.says("detail", "sin(10 × ")
    assert shown.text("detail").endswith("of log(|Δx| / w + 1).")
    shown.rows.hover(position=shown.cell(3, 2))
    bias, weight = explorer.relation[3, 0, 2], explorer.attention[3, 0, 2]
    shown.says("detail", f"Rel(0, 2) = {digits(bias)}, attention(0, 2) = {digits(100 * weight)} %.")
    assert shown.text("mc") == pair_text(made(pair=(0, 2)))
    shown.rows.hover(position=shown.cell(8, 4))
    mean = digits(100 * explorer.attention[:, 0, 4].mean())
    shown.says("detail", f"Mean of heads: attention(0, 4) = {mean} %.")
    shown.rows.hover(position=shown.cell(9, 3))
    rho = pearson(np.array(BOXES, float))[0, 3]
    shown.says("detail", f"ρ(0, 3) = {rho:.3f}.".replace("-", "−"))
    shown.rows.hover(position=shown.cell(10, 1))
    shown.says("detail", "IoU(0, 1) = 0.000.")
    shown.page.mouse.move(2, 2)
    shown.says("mc", pair_text(explorer))
    shown.rows.click(position=shown.cell(5, 3))  # a click holds both
    shown.page.mouse.move(2, 2)
    notebook.until("[explorer.pair, explorer.head]", [[0, 3], 5])
    shown.says("mc", pair_text(made(pair=(0, 3), head=5)))
    shown.rows.click(position=shown.cell(8, -1))
    notebook.until("[explorer.pair, explorer.head]", [[0, 3], -1])


def test_python_sets_traits_and_the_view_follows(notebook, shown):
    other = [[10, 10, 40, 60], [200, 100, 90, 30], [100, 200, 20, 80]]
    notebook.run(f"explorer.boxes = {other}; explorer.selected = 2")
    shown.says("mc", pair_text(made(other, pair=(2, 0))))
    assert shown.values() == ["2", "0", "mean"]
    notebook.run("explorer.labels = ['cup', 'spoon', 'plate']; explorer.pair = (1, 2); explorer.head = 4")
    shown.says("mc", pair_text(made(other, pair=(1, 2), head=4)))
    assert shown.values() == ["spoon", "plate", "4"]
    notebook.run("explorer.boxes = []")
    shown.says("mc", "A pair needs two boxes")
    notebook.run("explorer.boxes = [[1, 2, 3, 4]]")
    shown.says("status", "1 box.")
    assert [shown.text(name) for name in ("mc", "geometry", "bias", "detail")] == [
        "A pair needs two boxes",
        *3 * [""],
    ]


# ---- a saved page


def test_a_saved_page_works_without_a_kernel(open_saved):
    shown = ShownRelation(open_saved(made()))
    shown.first.focus()
    shown.press("Tab", "Shift+ArrowRight", "p")
    moved = [[40, 20, 70, 60], *BOXES[1:]]
    assert shown.text("mc") == pair_text(made(moved, pair=(0, 2)))
    shown.press("Delete", "Control+z", "Control+z", "Control+z")
    assert shown.text("mc") == pair_text(made(pair=(0, 1)))


def test_without_given_weights_nothing_can_be_chosen(open_saved):
    shown = ShownRelation(open_saved(RelationExplorer(BOXES, size=SIZE)))
    assert shown.text("mc") == pair_text(RelationExplorer(BOXES, size=SIZE))
    assert shown.root.get_by_role("button", name="random weights").count() == 0
    assert "random weights" in shown.root.locator(".m-title").nth(1).text_content()
    shown.press("w")


def test_a_finger_drags_a_box_and_taps_cells(open_saved):
    size = {"width": 420, "height": 900}
    shown = ShownRelation(open_saved(made(), has_touch=True, viewport=size))
    (x, y), (far_x, far_y) = shown.at(65, 50), shown.at(85, 60)
    shown.touch(*((x + part * (far_x - x), y + part * (far_y - y)) for part in (0, 0.25, 0.5, 0.75, 1)))
    shown.says("status", "Box 0: x 50, y 30, w 70, h 60 px.")
    assert shown.page.evaluate("scrollY") == 0
    shown.rows.tap(position=shown.cell(2, 3))
    assert shown.values() == ["0", "3", "2"]
    shown.waves.tap(position=shown.wave(1, 1))
    shown.says("detail", "cos(100 × ")
    shown.page.touchscreen.tap(*shown.at(300, 80))
    shown.says("detail", "Box 2 attends most to ")
    assert shown.values() == ["2", "0", "2"]
