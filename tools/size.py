"""Lines of code by room, beside the budgets of the design, and the ten longest functions: to be looked at.

Blank lines, comments and docstrings do not count. `python tools/size.py`
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

# A file counts in the first room that it lies in.
BUDGETS = {
    "lib/marginalia/boxes/": 2100,
    "lib/marginalia/detection/": 1900,
    "lib/marginalia/topology/": 600,
    "lib/marginalia/heads/": 850,
    "lib/marginalia/figures/": 950,
    "lib/marginalia/explorers/static/": 2600,
    "lib/marginalia/explorers/": 850,
    "lib/marginalia/plots.py": 250,
    "lib/marginalia/": 600,  # the modules that stand alone
    "data/recipes/": 900,
    "tools/": 350,
}
SILENT = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
}
FUNCTION = ast.FunctionDef | ast.AsyncFunctionDef


def javascript_lines(text: str) -> int:
    """How many lines of a script hold code."""
    lines = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL).splitlines()
    return sum(bool(line.strip()) and not line.strip().startswith("//") for line in lines)


def python_lines(text: str) -> set[int]:
    """Numbers of the lines of a module that hold code."""
    lines = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in SILENT:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, FUNCTION | ast.ClassDef | ast.Module) and ast.get_docstring(node) is not None:
            docstring = node.body[0]
            lines.difference_update(range(docstring.lineno, docstring.end_lineno + 1))
    return lines


def function_lines(text: str) -> dict[str, int]:
    """Lines of code of each function of a module, by its name."""
    lines = python_lines(text)
    nodes = (node for node in ast.walk(ast.parse(text)) if isinstance(node, FUNCTION))
    return {node.name: len(lines & {*range(node.lineno, node.end_lineno + 1)}) for node in nodes}


def main() -> None:
    """Print both tables."""
    rooms, functions = Counter(), Counter()
    for path in sorted(path for top in ("lib", "data", "tools") for path in (ROOT / top).rglob("*")):
        name = path.relative_to(ROOT).as_posix()
        room = next((room for room in BUDGETS if name.startswith(room)), None)
        if room is None or path.suffix not in {".py", ".js"}:
            continue
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".js":
            rooms[room] += javascript_lines(text)
        else:
            rooms[room] += len(python_lines(text))
            functions.update({f"{name}:{inner}": count for inner, count in function_lines(text).items()})
    print(" lines  budget")
    for room, budget in BUDGETS.items():
        print(f"{rooms[room]:6}  {budget:6}  {room}")
    library = sum(count for room, count in rooms.items() if room.startswith("lib/") and "static" not in room)
    print(f"{library:6}    8000  lib/marginalia/ in all, without JavaScript\n\nthe ten longest functions")
    for name, count in functions.most_common(10):
        print(f"{count:6}  {name}")


if __name__ == "__main__":
    main()
