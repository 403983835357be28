"""What a committed notebook must be like: each check returns its problems as sentences.

The limits are those that keep a notebook readable in one sitting, and GitHub able to show it.
"""

from __future__ import annotations

import ast
import re
import statistics
from collections.abc import Iterator
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from tools.pair import METADATA, read
from tools.refresh import stale
from tools.run import TRACEBACK

CELLS = (20, 35)  # the tour may be shorter
MEDIAN_LINES = 10  # of a code cell, below
MOST_LINES = 30  # of a code cell, at most
MOST_BYTES = 1_000_000
TOUR = "00_tour"

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
ADDRESS = re.compile(r"\bat 0x[0-9a-fA-F]{4,}")
ABSOLUTE = re.compile(
    r"(?<![\w./~<-])/(?:home|root|Users|tmp|var|opt|usr|private|mnt|work|srv)/[\w.][^\s'\",:)<]*|\b[A-Z]:\\\\?[A-Za-z_]\w*"
)


def _code(notebook: NotebookNode) -> Iterator[tuple[int, NotebookNode]]:
    """Code cells with their position, counted from 1."""
    for number, cell in enumerate(notebook.cells, 1):
        if cell.cell_type == "code":
            yield number, cell


def _tree(cell: NotebookNode) -> ast.Module:
    """Syntax of a code cell; a cell that Python cannot read (a magic, a mistake) counts as empty."""
    try:
        return ast.parse(cell.source)
    except SyntaxError:
        return ast.Module(body=[], type_ignores=[])


def not_in_sync(source: Path) -> list[str]:
    """Cells in which NN_name.py and NN_name.ipynb differ."""
    path = source.with_suffix(".ipynb")
    again = "edit the .py, then run `python -m tools.pair`"
    if not path.is_file():
        return [f"{path.name} is missing: {again}"]
    if not source.is_file():
        return [f"{source.name} is missing beside {path.name}"]
    edited, committed = read(source).cells, nbformat.read(path, as_version=4).cells
    for number, (a, b) in enumerate(zip(edited, committed, strict=False), 1):
        if (a.cell_type, a.source, a.metadata) != (b.cell_type, b.source, b.metadata):
            return [f"cell {number} differs between {source.name} and {path.name}: {again}"]
    if len(edited) != len(committed):
        return [f"{source.name} has {len(edited)} cells, {path.name} has {len(committed)}: {again}"]
    return []


def errors(notebook: NotebookNode) -> list[str]:
    """Outputs of type error, whether or not the run stopped there, and tracebacks that were only printed."""
    problems = []
    for number, cell in _code(notebook):
        for output in cell.outputs:
            if output.output_type == "error":
                problems.append(f"cell {number}: error output {output.ename}: {output.evalue}")
            elif output.output_type == "stream" and TRACEBACK in output.text:
                problems.append(f"cell {number}: a traceback in its {output.name} stream")
    return problems


def widget_state(notebook: NotebookNode) -> list[str]:
    """Widget state or views without it: GitHub refuses the one, nobody can show the other."""
    problems = ["metadata.widgets is there"] if "widgets" in notebook.metadata else []
    problems += [
        f"cell {number}: a widget view in its output"
        for number, cell in _code(notebook)
        for output in cell.outputs
        if WIDGET_VIEW in output.get("data", {})
    ]
    return problems


def _texts(notebook: NotebookNode) -> Iterator[tuple[str, str]]:
    """Everything in a notebook that a person reads, with where it stands."""
    for number, cell in enumerate(notebook.cells, 1):
        yield f"cell {number}", cell.source
        for output in cell.get("outputs", []):
            if output.output_type == "stream":
                yield f"cell {number}, output", output.text
            elif output.output_type == "error":
                yield f"cell {number}, output", "\n".join(output.traceback)
            else:
                for kind, value in output.data.items():
                    if isinstance(value, str) and (kind.startswith("text/") or kind == "image/svg+xml"):
                        yield f"cell {number}, output", value


def machine_traces(notebook: NotebookNode) -> list[str]:
    """Absolute paths, object addresses, progress bars and times of execution."""
    problems = []
    for where, text in _texts(notebook):
        if found := ABSOLUTE.search(text):
            problems.append(f"{where}: absolute path {found[0]}")
        if "output" in where and (found := ADDRESS.search(text)):
            problems.append(f"{where}: object address ({found[0]})")
        if "output" in where and "\r" in text:
            problems.append(f"{where}: what is left of a progress bar")
    problems += [f"cell {n}: times of execution" for n, c in _code(notebook) if "execution" in c.metadata]
    extra = set(notebook.metadata) - {*METADATA, "marginalia"}
    return problems + [f"metadata.{key} is there" for key in sorted(extra)]


def not_run_in_order(notebook: NotebookNode) -> list[str]:
    """Outputs are there and were made top to bottom: execution counts are 1, 2, 3, ..."""
    counts = [cell.execution_count for _, cell in _code(notebook) if cell.source.strip()]
    if not any(counts):
        return ["no outputs: run `make outputs`"]
    if counts != list(range(1, len(counts) + 1)):
        return [f"execution counts are {counts}, not 1, 2, 3, ..."]
    return []


def size(path: Path) -> list[str]:
    """More bytes than a page may have."""
    found = path.stat().st_size
    return [f"{found / 1000:.0f} kB, at most {MOST_BYTES // 1000} kB"] if found > MOST_BYTES else []


def lengths(notebook: NotebookNode, tour: bool = False) -> list[str]:
    """Too many or too few cells, code cells that are too long."""
    problems = []
    count, (fewest, most) = len(notebook.cells), CELLS
    if count > most or (count < fewest and not tour):
        problems.append(f"{count} cells, not {fewest} to {most}")
    lines = {number: len(cell.source.splitlines()) for number, cell in _code(notebook)}
    long = {number: count for number, count in lines.items() if count > MOST_LINES}
    problems += [f"cell {n}: {k} lines of code, at most {MOST_LINES}" for n, k in long.items()]
    median = statistics.median(lines.values()) if lines else 0
    if median >= MEDIAN_LINES:
        problems.append(f"median code cell has {median:g} lines, not under {MEDIAN_LINES}")
    return problems


def opening(notebook: NotebookNode) -> list[str]:
    """What the first cell must say: title, paper and figure, minutes, and the summary in Chinese."""
    first = notebook.cells[0] if notebook.cells else None
    if first is None or first.cell_type != "markdown":
        return ["the first cell is not text"]
    wanted = {
        "a title (`# ...`)": r"^# \S",
        "the paper": r"(?i)\bpapers?\b",
        "a figure, table, equation or section": r"(?i)\b(fig(ures?|s)?|tables?|equations?|eqs?|sections?)\b",
        "minutes": r"(?i)\bminutes?\b",
        "中文摘要": "中文摘要",
    }
    missing = [name for name, pattern in wanted.items() if not re.search(pattern, first.source, re.MULTILINE)]
    return [f"the first cell lacks {', '.join(missing)}"] if missing else []


def _is_plain(value: ast.expr) -> bool:
    """True for a number, text, None, or a container of such."""
    try:
        ast.literal_eval(value)
    except ValueError:
        return False
    return True


def parameters(notebook: NotebookNode) -> list[str]:
    """The cell tagged `parameters`: there once, only simple assignments, FAST and RETRAIN among them."""
    tagged = [cell for _, cell in _code(notebook) if "parameters" in cell.metadata.get("tags", [])]
    if len(tagged) != 1:
        return [f"{len(tagged)} cells tagged `parameters`, not one"]
    problems, names = [], set()
    for node in _tree(tagged[0]).body:
        match node:
            case ast.Assign(targets=[ast.Name(name)], value=value) if _is_plain(value):
                names.add(name)
            case _:
                problems.append(
                    f"parameters: `{ast.unparse(node)[:60]}` does not set a name to a plain value"
                )
    if missing := sorted({"FAST", "RETRAIN"} - names):
        problems.append(f"parameters: {' and '.join(missing)} missing")
    return problems


def claims(notebook: NotebookNode) -> list[str]:
    """At least one assert guards a sentence, and the notebook ends with a summary."""
    nodes = (node for _, cell in _code(notebook) for node in ast.walk(_tree(cell)))
    asserts = any(isinstance(node, ast.Assert) for node in nodes)
    texts = (cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    summary = any(re.search(r"(?im)^#+ .*\bsummary\b", text) for text in texts)
    return ([] if asserts else ["no assert"]) + ([] if summary else ["no heading with the word summary"])


COMMITTED = (
    errors,
    widget_state,
    machine_traces,
    not_run_in_order,
    opening,
    parameters,
    claims,
)


def check(source: Path) -> list[str]:
    """All problems of a committed notebook, by its .py file."""
    problems = not_in_sync(source)
    path = source.with_suffix(".ipynb")
    if not path.is_file():
        return problems
    if stale(source):
        problems.append("outputs are stale (source, library or data changed): run `make outputs`")
    notebook = nbformat.read(path, as_version=4)
    for one in COMMITTED:
        problems += one(notebook)
    return problems + lengths(notebook, tour=source.stem == TOUR) + size(path)
