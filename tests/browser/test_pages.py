"""The pages of the notebooks, opened from the disk: formulas, links, search, and nothing from the network."""

from __future__ import annotations

import pytest
from nbformat import v4, write

from tools import site
from tools.clean import WIDGET
from tools.pair import METADATA

pytestmark = [
    pytest.mark.browser,
    pytest.mark.filterwarnings(
        "ignore::sphinx.deprecation.RemovedInSphinx11Warning"
    ),  # of the theme and of MyST
]

FORMULA = r"The encoding is $a \sin u \sin v$, and inside a paragraph $$\frac{1}{2}$$ too."
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
SOURCE = "Drawn by [`store.checkout`](../lib/marginalia/store.py)."


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Two notebooks as pages; the folder with the pages."""
    folder = tmp_path_factory.mktemp("checkout")
    plot = v4.new_output("display_data", data={"image/png": PIXEL, "text/plain": "<Figure>"})
    widget = {"model_id": "a1", "version_major": 2, "version_minor": 0}
    view = v4.new_output("display_data", data={WIDGET: widget, "text/plain": "VBox(children=())"})
    first = [
        v4.new_markdown_cell(
            "# The tour 导览\n\n**中文摘要。** 两个框的相关系数。\n\n## 第一节\n\n[next](20_b.ipynb)"
        ),
        v4.new_markdown_cell(FORMULA),
        v4.new_markdown_cell("\\begin{align}\nc &= d \\\\\ne &< f\n\\end{align}"),
        v4.new_code_cell("show()", outputs=[plot, view], metadata={"tags": ["hide-input"]}),
        v4.new_markdown_cell(SOURCE),
    ]
    second = [v4.new_markdown_cell("# Boxes\n\n[first](00_a.ipynb)")]
    (folder / "notebooks").mkdir()
    for name, cells in (("00_a", first), ("20_b", second)):
        write(v4.new_notebook(cells=cells, metadata=METADATA), folder / "notebooks" / f"{name}.ipynb")
    sources = sorted((folder / "notebooks").iterdir())
    assert site.build(folder / "build", sources) == 0
    return folder / "build" / "html"


@pytest.fixture
def page(open_page, pages):
    """The first notebook's page; errors on the console fail the test."""
    said = []
    page = open_page()
    page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
    page.goto((pages / "00_a.html").as_uri())
    yield page
    assert said == []


def test_formulas_are_set(page):
    page.wait_for_selector("mjx-container")
    assert page.locator("mjx-container").count() == 3
    assert page.locator("mjx-container[display=true]").count() == 2
    spoken = page.locator("mjx-container").first.evaluate(
        "node => MathJax.startup.document.getMathItemsWithin(node)[0].math"
    )
    assert spoken == r"a \sin u \sin v"
    words = page.locator("mjx-container").first.locator("mjx-mi")
    assert words.evaluate_all("nodes => nodes.map(node => node.childElementCount)") == [1, 3, 1, 3, 1]
    assert page.locator("mjx-merror").count() == 0


def test_chinese_text_outputs_and_folded_code(page):
    assert page.locator("h1").first.inner_text().startswith("The tour 导览")
    assert page.locator("article h2").first.inner_text().startswith("第一节")
    assert page.locator(".cell_output img").evaluate("image => image.naturalWidth") == 1
    assert page.get_by_text("run the notebook to use it").count() == 1
    assert not page.get_by_text("show()").is_visible()


def test_links_lead_to_pages(page):
    page.get_by_role("link", name="store.checkout").click()
    assert page.url.endswith("lib/marginalia/store.html#checkout")
    assert "def checkout()" in page.locator("#checkout").inner_text()
    page.go_back()
    page.get_by_role("link", name="next", exact=True).click()
    assert page.url.endswith("20_b.html")
    page.locator(".prev-next-area a.left-prev").click()
    assert page.url.endswith("00_a.html")
    page.locator(".prev-next-area a.right-next").click()
    assert page.url.endswith("20_b.html")


def test_index_and_search(page, pages):
    page.goto((pages / "index.html").as_uri())
    assert page.locator("article .toctree-wrapper a").all_inner_texts() == ["The tour 导览", "Boxes"]
    page.goto((pages / "search.html").as_uri() + "?q=paragraph")
    page.wait_for_selector("#search-results li")
    assert "00_a.html" in page.locator("#search-results li a").first.get_attribute("href")


def test_dark_follows_the_system(page, open_page, pages):
    dark = open_page(color_scheme="dark")
    dark.goto((pages / "00_a.html").as_uri())
    colour = "getComputedStyle(document.body).backgroundColor"
    assert dark.evaluate(colour) != page.evaluate(colour)


def test_what_is_missing_is_said(tmp_path, capfd):
    source = tmp_path / "00_a.ipynb"
    write(v4.new_notebook(cells=[v4.new_markdown_cell("# A\n\n[b](21_b.ipynb) ![c](c.png)")]), source)
    assert site.build(tmp_path / "build", [source]) == 1
    said = capfd.readouterr().err
    assert "21_b.ipynb" in said and "c.png" in said
    assert [path.name for path in (tmp_path / "build").iterdir()] == ["html"]


def test_pages_that_did_not_become_whole_leave_the_old_ones(tmp_path, monkeypatch):
    old = tmp_path / "html" / "old.html"
    old.parent.mkdir()
    old.touch()
    monkeypatch.setattr(site, "build_main", lambda arguments: 2)
    assert site.build(tmp_path, []) == 2
    assert list(tmp_path.rglob("*.*")) == [old]
