"""Formulas and the index of the pages that are read without a network."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree

import pytest
from nbformat import v4

from marginalia.notebooks.pages import latex_to_html, link_pages, mathml, title, to_html, write_site


@pytest.mark.parametrize(
    "formula",
    [
        r"\rho_{ij} = \frac{\operatorname{cov}(b_i, b_j)}{\sigma_i \sigma_j}",
        r"\begin{aligned} a &= b \\ c &< d \end{aligned}",
        r"\begin{align*} a &= b \\ c &= d \end{align*}",
        r"\begin{equation} a = b \label{eq:one} \end{equation}",
        r"f(x) = \begin{cases} 1 & x > 0 \\ 0 & \text{else} \end{cases}",
    ],
)
def test_formulas_become_mathml(formula):
    tree = ElementTree.fromstring(mathml(formula, "block"))  # raises where a sign was left unescaped
    assert tree.attrib["display"] == "block"
    assert "\\" not in "".join(tree.itertext())


def test_formula_that_cannot_be_converted_stays_readable():
    assert mathml(r"a < \frac{") == r"<code>a &lt; \frac{</code>"


def page(*cells):
    """Head and body of a notebook's page."""
    return to_html(v4.new_notebook(cells=list(cells)), "name").split("<body")


def test_every_kind_of_formula_in_text():
    text = "$a_1$ and $$b$$ and\n\n\\begin{align}c &= d\\end{align}\n\n"
    text += "but `$code$`, \\$5 and\n\n```python\nx = '$y$'\n```"
    _, body = page(v4.new_markdown_cell(text))
    assert body.count("<math") == 3 and body.count('display="block"') == 2
    assert "<code>$code$</code>" in body and "$y$" in body and "align}" not in body


def test_outputs_of_type_latex():
    assert latex_to_html(r"$\displaystyle x^2$").startswith("<math")
    assert latex_to_html(r"a < $x$").startswith("a &lt; <math")
    assert 'display="block"' in latex_to_html(r"\begin{equation}x\end{equation}")
    output = v4.new_output("display_data", data={"text/latex": "$$x^2$$", "text/plain": "x**2"})
    _, body = page(v4.new_code_cell("show()", outputs=[output]))
    assert body.count("<math") == 1


def test_title():
    cells = [v4.new_code_cell("# no"), v4.new_markdown_cell("text\n# The *title* of `it`")]
    assert title(v4.new_notebook(cells=cells)) == "The title of it"
    assert "<title>name</title>" in page()[0]


def test_long_lines_of_code_stay_inside_their_cell():
    head, _ = page(v4.new_code_cell("x = " + "1 + " * 99 + "1"))
    assert re.search(r"\.highlight pre \{[^}]*white-space: pre-wrap", head)


def test_links_to_notebooks_lead_to_their_pages(tmp_path):
    text = "[a](20_a.ipynb), [p](20_a.ipynb#part), [b](99_b.ipynb), [f](http://x.y/20_a.ipynb), `20_a.ipynb`"
    linking = v4.new_notebook(cells=[v4.new_markdown_cell(text)])
    (tmp_path / "00_tour.html").write_text(to_html(linking, "00_tour"), encoding="utf-8")
    (tmp_path / "20_a.html").write_text("the page", encoding="utf-8")
    link_pages(tmp_path)
    body = (tmp_path / "00_tour.html").read_text(encoding="utf-8").split("<body")[1]
    hrefs = re.findall(r'href="([^"]*)"', body)
    assert hrefs == ["20_a.html", "20_a.html#part", "99_b.ipynb", "http://x.y/20_a.ipynb"]
    assert "<code>20_a.ipynb</code>" in body


def test_site_links_all_pages_with_the_tour_first(tmp_path):
    with pytest.raises(FileNotFoundError, match="make notebooks"):
        write_site(tmp_path)
    (tmp_path / "html").mkdir()
    for name, heading in (("20_pearson", "Pearson &amp; boxes"), ("00_tour", "The tour")):
        (tmp_path / "html" / f"{name}.html").write_text(f"<title>{heading}</title>", encoding="utf-8")
    index = write_site(tmp_path)
    text = index.read_text(encoding="utf-8")
    assert text.index('<a href="00_tour.html">The tour</a>') < text.index("Pearson &amp; boxes")
    assert all((index.parent / name).is_file() for name in ("00_tour.html", "20_pearson.html"))
