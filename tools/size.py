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
DOCUMENTED = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Module


def javascript_lines(text: str) -> int:
    """How many lines of a script hold code."""
    lines = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL).splitlines()
    return sum(bool(line.strip()) and not line.strip().startswith("//") for line in lines)


def python_lines(text: str) -> set[int]:
    """Numbers of the lines of a module that hold code."""
    lines = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.string.strip() and token.type != tokenize.COMMENT:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, DOCUMENTED) and ast.get_docstring(node) is not None:
            docstring = node.body[0]
            lines.difference_update(range(docstring.lineno, docstring.end_lineno + 1))
    return lines


def main() -> None:
    """Print both tables."""
    rooms, functions = Counter(), Counter()
    for path in (path for top in ("lib", "data", "tools") for path in (ROOT / top).rglob("*")):
        name = path.relative_to(ROOT).as_posix()
        room = next((room for room in BUDGETS if name.startswith(room)), None)
        if room and path.suffix == ".js":
            rooms[room] += javascript_lines(path.read_text(encoding="utf-8"))
        elif room and path.suffix == ".py":
            text = path.read_text(encoding="utf-8")
            lines = python_lines(text)
            rooms[room] += len(lines)
            for node in ast.walk(ast.parse(text)):
                if isinstance(node, ast.FunctionDef):
                    inside = lines & {*range(node.lineno, node.end_lineno + 1)}
                    functions[f"{name}:{node.name}"] = len(inside)
    print(" lines  budget")
    for room, budget in BUDGETS.items():
        print(f"{rooms[room]:6}  {budget:6}  {room}")
    library = sum(count for room, count in rooms.items() if room.startswith("lib/") and "static" not in room)
    print(f"{library:6}    8000  lib/marginalia/ in all, without JavaScript\n\nthe ten longest functions")
    for name, count in functions.most_common(10):
        print(f"{count:6}  {name}")


if __name__ == "__main__":
    main()
