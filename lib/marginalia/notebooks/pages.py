"""Executed notebooks as pages that need no network: formulas as MathML, widgets as their picture."""

from __future__ import annotations

import copy
import html
import re
import shutil
from pathlib import Path

from jinja2 import DictLoader, pass_context
from latex2mathml.converter import convert
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from nbformat import NotebookNode

from .cleaning import clean

# The template of JupyterLab's look without the scripts that it would load from elsewhere.
TEMPLATE = """
{%- extends 'index.html.j2' -%}
{%- block html_head_js -%}{%- endblock -%}
{%- block jupyter_widgets -%}{%- endblock -%}
{%- block html_head_js_mathjax -%}{%- endblock -%}
{%- block html_head_js_mermaidjs -%}{%- endblock -%}
{%- block html_head_css -%}
<style>
main { max-width: 1000px; margin: 0 auto; }
math[display="block"] { margin: 0.8em 0; overflow-x: auto; overflow-y: hidden; }
mtd[columnalign="left"] { text-align: left; }
mtd[columnalign="right"] { text-align: right; }
.jp-InputArea-editor .highlight pre { white-space: pre-wrap; overflow-wrap: anywhere; }
.jp-RenderedImage img { max-width: 100%; height: auto; }
</style>
{%- endblock -%}
{%- block data_latex scoped -%}
<div class="jp-RenderedHTMLCommon jp-OutputArea-output">{{ output.data['text/latex'] | latex2html }}</div>
{%- endblock -%}
"""
INDEX = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Marginalia</title>
<style>body {{ font: 1.1rem/1.6 sans-serif; max-width: 40rem; margin: 3rem auto; padding: 0 1rem; }}</style>
</head>
<body>
<h1>Marginalia</h1>
<ul>
{items}
</ul>
</body>
</html>
"""
LINK = re.compile(r'(<a\b[^>]*\bhref=")([\w.-]+)\.ipynb(?=["#])')  # to another notebook, which lies beside it
# The converter knows one environment for aligned lines, and needs none for a single formula.
ALIGNED = re.compile(r"\\(begin|end)\{(?:align|aligned|split|gather|gathered|multline|eqnarray)\*?\}")
SINGLE = re.compile(
    r"\\(?:begin|end)\{(?:equation|displaymath|math)\*?\}|\\(?:label|tag)\{[^}]*\}|\\nonumber"
)


def mathml(formula: str, display: str = "inline") -> str:
    """MathML of a LaTeX formula; the formula itself, as code, where it cannot be converted."""
    known = SINGLE.sub("", ALIGNED.sub(r"\\\1{align*}", formula)).strip()
    try:
        return convert(known, display=display)
    except Exception:  # the converter raises whatever its parser stumbles over; the page is still readable
        return f"<code>{html.escape(formula.strip())}</code>"


def latex_to_html(text: str) -> str:
    """A display of type text/latex: formulas between dollar signs, or one environment."""
    text = text.strip()
    if text.startswith(r"\begin"):
        return mathml(text, "block")
    parts = re.split(r"\$\$(.+?)\$\$|\$(.+?)\$", text, flags=re.DOTALL)  # text, block, inline, text, ...
    done = [html.escape(parts[0])]
    for block, inline, plain in zip(parts[1::3], parts[2::3], parts[3::3], strict=True):
        done += [mathml(block, "block") if block else mathml(inline), html.escape(plain)]
    return "".join(done)


class _MathRenderer(IPythonRenderer):
    """Markdown to HTML with MathML where other renderers leave LaTeX for a script."""

    def block_math(self, body: str) -> str:
        return mathml(body, "block")

    def inline_math(self, body: str) -> str:
        return mathml(body)

    def latex_environment(self, name: str, body: str) -> str:
        return mathml(rf"\begin{{{name}}}{body}\end{{{name}}}", "block")


class _Exporter(HTMLExporter):
    def __init__(self):
        super().__init__(
            extra_loaders=[DictLoader({"offline.html.j2": TEMPLATE})],
            template_name="lab",
            template_file="offline.html.j2",
            exclude_anchor_links=True,
        )
        self.log.setLevel("ERROR")  # it warns of pictures without a description, which notebooks cannot carry

    def default_filters(self):
        yield from super().default_filters()
        yield "latex2html", latex_to_html

    @pass_context
    def markdown2html(self, context, source: str) -> str:
        attachments = context.get("cell", {}).get("attachments", {})
        renderer = _MathRenderer(escape=False, attachments=attachments, exclude_anchor_links=True)
        return MarkdownWithMath(renderer=renderer).render(source)


def to_html(notebook: NotebookNode, name: str) -> str:
    """One page of an executed notebook; it loads nothing, from the network or from beside it."""
    shown = copy.deepcopy(notebook)
    clean(shown)
    shown.metadata["title"] = title(notebook) or name
    return _Exporter().from_notebook_node(shown)[0]


def title(notebook: NotebookNode) -> str:
    """The first heading, without its mark-up; empty when there is none."""
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and (found := re.search(r"^# +(.+)$", cell.source, re.MULTILINE)):
            return re.sub(r"[*_`]", "", found[1]).strip()
    return ""


def link_pages(folder: Path) -> None:
    """Turn links to notebooks whose page lies in the same folder into links to that page."""
    pages = {page.stem: page for page in folder.glob("*.html")}

    def linked(found: re.Match) -> str:
        return f"{found[1]}{found[2]}.{'html' if found[2] in pages else 'ipynb'}"

    for page in pages.values():
        text = page.read_text(encoding="utf-8")
        if (new := LINK.sub(linked, text)) != text:
            page.write_text(new, encoding="utf-8")


def write_site(build: Path) -> Path:
    """Put the pages of `build/html` behind one index, the tour first, in `build/site`; the index.

    Raises FileNotFoundError when there are no pages yet.
    """
    pages = sorted((build / "html").glob("*.html"))
    if not pages:
        raise FileNotFoundError(f"no pages in {build / 'html'}: run `make notebooks` first")
    site = build / "site"
    shutil.rmtree(site, ignore_errors=True)
    site.mkdir(parents=True)
    items = []
    for page in pages:  # 00_tour sorts first
        shutil.copy(page, site / page.name)
        heading = re.search(r"<title>(.*?)</title>", page.read_text(encoding="utf-8"), re.DOTALL)
        items.append(f'<li><a href="{page.name}">{heading[1].strip() if heading else page.stem}</a></li>')
    link_pages(site)
    index = site / "index.html"
    index.write_text(INDEX.format(items="\n".join(items)), encoding="utf-8")
    return index
