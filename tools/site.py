"""The executed notebooks as pages with an index and a search, in build/html: `python -m tools.site`."""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
from pathlib import Path

import nbformat
from sphinx.cmd.build import build_main

from .clean import clean
from .pair import ROOT, find

# To a module, as GitHub follows it: [`figures.dab_detr.anchors`](../lib/marginalia/figures/dab_detr.py)
MODULE = re.compile(r"\[([^\]]+)\]\(\.\./(lib/[\w/]+)\.py\)")
HEAD = re.compile(r"^((?:@.*\n)*(?:def|class) (\w+))", re.MULTILINE)  # of a function or class


def module_link(found: re.Match) -> str:
    """The same link to the module's page, and there to the function where the text ends with its name."""
    text, path = found.groups()
    name = text.strip("`").rpartition(".")[2]
    anchor = f"#{name.lower()}" if text[0] == "`" and name != Path(path).name else ""
    return f"[{text}]({path}.md{anchor})"


def module_page(path: Path) -> str:
    """Source of a module as a page, cut into its functions and classes, each under its name."""
    source = HEAD.sub(r"````\n## `\2`\n````python\n\1", path.read_text(encoding="utf-8"))
    return f"---\norphan: true\n---\n# {path.stem}\n````python\n{source}\n````"


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
    shutil.copy(ROOT / "tools" / "index.md", folder)


def build(build: Path, sources: list[Path] | None = None) -> int:
    """Make `html` of the build folder anew from the notebooks that ran; not 0 where Sphinx had to complain.

    A notebook that has not run yet is shown with its committed outputs.
    """
    committed = [source.with_suffix(".ipynb") for source in sources or find()]
    ran = [build / "notebooks" / path.name for path in committed]
    notebooks = [new if new.is_file() else old for new, old in zip(ran, committed, strict=True)]
    build.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".html-", dir=build) as name:
        folder, made = Path(name, "sources"), Path(name, "html")
        folder.mkdir()
        write_sources(notebooks, folder)
        quiet = ["-q", "-W", "-c", str(ROOT / "tools"), "-d", str(Path(name, "read"))]
        wrong = build_main([*quiet, str(folder), str(made)])
        if wrong < 2:  # 1: it warned; 2: it did not come to the end
            shutil.rmtree(build / "html", ignore_errors=True)
            made.rename(build / "html")
    return wrong


if __name__ == "__main__":
    sys.exit(build(ROOT / "build"))
