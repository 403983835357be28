"""A notebook is two files: NN_name.py is edited, NN_name.ipynb carries the same cells and their outputs.

`python -m tools.pair [NAME ...]` writes each .ipynb from its .py, and runs nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import jupytext
import nbformat
from jupytext.combine import combine_inputs_with_outputs
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parents[1]

# Said here and not taken from the kernel, so that another Python version makes no difference to the file.
METADATA = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"file_extension": ".py", "name": "python", "pygments_lexer": "ipython3"},
}


def find(names: Sequence[str] = (), folder: Path = ROOT / "notebooks") -> list[Path]:
    """Sources (NN_name.py) of all notebooks, in order; with names, of those that begin with one of them."""
    sources = sorted(folder.glob("[0-9][0-9]_*.py"))
    for name in names:
        if not any(source.stem.startswith(name) for source in sources):
            raise SystemExit(f"no notebook {name}: there are {', '.join(source.stem for source in sources)}")
    return [source for source in sources if source.stem.startswith(tuple(names) or "")]


def read(source: Path) -> NotebookNode:
    """Cells of a .py, with outputs, ids and our metadata of the .ipynb beside it, where there is one."""
    notebook = jupytext.read(source, fmt="py:percent")
    path = source.with_suffix(".ipynb")
    kept = {}
    if path.is_file():
        before = nbformat.read(path, as_version=4)
        kept = {key: value for key, value in before.metadata.items() if key == "marginalia"}
        notebook = combine_inputs_with_outputs(notebook, before)
    notebook.metadata = nbformat.from_dict({**METADATA, **kept})
    notebook.nbformat_minor = 5
    for cell in notebook.cells:  # jupytext also notes how many blank lines follow a cell in the .py
        cell.metadata = nbformat.from_dict({k: v for k, v in cell.metadata.items() if k == "tags"})
    return notebook


if __name__ == "__main__":
    for source in find(sys.argv[1:]):
        nbformat.write(read(source), source.with_suffix(".ipynb"))
