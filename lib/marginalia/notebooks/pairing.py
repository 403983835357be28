"""A notebook is two files: NN_name.py is edited, NN_name.ipynb carries the same cells and their outputs."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import jupytext
import nbformat
from nbformat import NotebookNode

from marginalia.store import checkout, near

# Said here and not taken from the kernel, so that another Python version makes no difference to the file.
METADATA = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"file_extension": ".py", "name": "python", "pygments_lexer": "ipython3"},
}


def project(root: Path | None = None) -> Path:
    """The checkout that holds `notebooks/`: `root`, else the one that the package runs from."""
    folder = root or checkout() or Path.cwd()
    if not (folder / "notebooks").is_dir():
        raise FileNotFoundError(f"no notebooks folder in {folder}: run from a checkout of the project")
    return folder


def find(names: Sequence[str] = (), root: Path | None = None) -> list[Path]:
    """The sources (NN_name.py) of all notebooks, in order; with names, those that begin with one of them.

    Raises FileNotFoundError for a name that no notebook begins with.
    """
    sources = sorted((project(root) / "notebooks").glob("[0-9][0-9]_*.py"))
    if not names:
        return sources
    wanted = [Path(name).name.removesuffix(".ipynb").removesuffix(".py") for name in names]
    for name in wanted:
        if not any(source.stem.startswith(name) for source in sources):
            raise FileNotFoundError(f"no notebook {name}; {near(name, (s.stem for s in sources))}")
    return [source for source in sources if source.stem.startswith(tuple(wanted))]


def read_source(source: Path) -> NotebookNode:
    """The notebook of a .py file, without outputs."""
    notebook = jupytext.read(source, fmt="py:percent")
    notebook.metadata = nbformat.from_dict(METADATA)
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    for cell in notebook.cells:
        for key in ("lines_to_next_cell", "lines_to_end_of_cell_marker"):  # blank lines of the .py
            cell.metadata.pop(key, None)
    name_cells(notebook)
    return notebook


def name_cells(notebook: NotebookNode) -> None:
    """Give each cell an id that follows from its text, so that another run changes nothing."""
    seen: dict[str, int] = defaultdict(int)
    for cell in notebook.cells:
        key = f"{cell.cell_type}\n{cell.source}"
        cell.id = hashlib.sha256(f"{seen[key]}\n{key}".encode()).hexdigest()[:12]
        seen[key] += 1


def write(notebook: NotebookNode, path: Path) -> bool:
    """Write an .ipynb, whole or not at all; False when the file already says the same."""
    text = nbformat.writes(notebook, version=4, indent=1, ensure_ascii=False).rstrip("\n") + "\n"
    if path.is_file() and path.read_text(encoding="utf-8") == text:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".part")
    beside.write_text(text, encoding="utf-8")
    beside.replace(path)
    return True


def sync(source: Path) -> bool:
    """Write the .ipynb of a .py file, keeping the outputs of unchanged cells; True if it was written."""
    notebook, path = read_source(source), source.with_suffix(".ipynb")
    if path.is_file():
        old = nbformat.read(path, as_version=4)
        outputs: dict[str, list[NotebookNode]] = defaultdict(list)
        for cell in old.cells:
            if cell.cell_type == "code":
                outputs[cell.source].append(cell)
        for cell in notebook.cells:
            if cell.cell_type == "code" and outputs[cell.source]:
                same = outputs[cell.source].pop(0)
                cell.outputs, cell.execution_count = same.outputs, same.execution_count
        if "marginalia" in old.metadata:
            notebook.metadata["marginalia"] = old.metadata["marginalia"]
    return write(notebook, path)
