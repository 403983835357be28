"""The executed notebooks as pages with an index and a search, in build/html: `python -m tools.site`."""

from __future__ import annotations

import ast
import re
import sys
import tempfile
from pathlib import Path

import nbformat
from sphinx.cmd.build import build_main

from .clean import clean
from .pair import ROOT, find

INDEX = """# Marginalia

Notebooks in the margins of four papers, which are taken apart and put together again on an ordinary laptop.

```{toctree}
:maxdepth: 1

PAGES
```
"""
# To a module, as GitHub follows it: [`figures.dab_detr.anchors`](../lib/marginalia/figures/dab_detr.py)
MODULE = re.compile(r"\[([^\]]+)\]\(\.\./(lib/[\w/]+)\.py\)")


def module_link(found: re.Match) -> str:
    """The same link to the module's page, and there to the function where the text ends with its name."""
    text, path = found.groups()
    name = text.strip("`").rpartition(".")[2]
    anchor = f"#{name.lower()}" if text[0] == "`" and name != Path(path).name else ""
    return f"[{text}]({path}.md{anchor})"


def module_page(path: Path) -> str:
    """Source of a module as a page, cut into its functions and classes, each under its name."""
    source = path.read_text(encoding="utf-8")
    lines = source.splitlines()
    parts, start = [f"---\norphan: true\n---\n# {path.stem}"], 0
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            first = min([node.lineno, *(one.lineno for one in node.decorator_list)]) - 1
            parts += ["````python", *lines[start:first], "````", f"## `{node.name}`"]
            start = first
    return "\n".join([*parts, "````python", *lines[start:], "````"])


def write_sources(notebooks: list[Path], folder: Path) -> None:
    """What Sphinx reads: the notebooks, cleaned, the modules that they link to, and an index."""
    modules = set()
    for path in notebooks:
        notebook = nbformat.read(path, as_version=4)
        clean(notebook)
        for cell in notebook.cells:
            if cell.cell_type == "markdown":
                modules |= {found[2] for found in MODULE.finditer(cell.source)}
                cell.source = MODULE.sub(module_link, cell.source)
        nbformat.write(notebook, folder / path.name)
    for name in modules:
        page = folder / f"{name}.md"
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(module_page(ROOT / f"{name}.py"), encoding="utf-8")
    index = INDEX.replace("PAGES", "\n".join(path.stem for path in notebooks))
    (folder / "index.md").write_text(index, encoding="utf-8")


def build(build: Path, sources: list[Path] | None = None) -> int:
    """Make `html` of the build folder anew from the notebooks that ran; not 0 where Sphinx had to complain.

    A notebook that has not run yet is shown with its committed outputs.
    """
    ran = {path.name: path for path in (build / "notebooks").glob("*.ipynb")}
    committed = (source.with_suffix(".ipynb") for source in sources or find())
    notebooks = [ran.get(path.name, path) for path in committed]
    build.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".html-", dir=build) as name:
        folder, made = Path(name, "sources"), Path(name, "html")
        folder.mkdir()
        write_sources(notebooks, folder)
        quiet = ["-q", "-W", "-c", str(ROOT / "tools"), "-d", str(Path(name, "read"))]
        wrong = build_main([*quiet, str(folder), str(made)])
        if wrong < 2:  # 1: it warned; 2: it did not come to the end
            if (build / "html").exists():
                (build / "html").rename(Path(name, "before"))
            made.rename(build / "html")
    return wrong


if __name__ == "__main__":
    sys.exit(build(ROOT / "build"))
