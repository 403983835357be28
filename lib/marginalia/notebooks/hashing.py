"""The hash that says whether committed outputs still belong to source, library and data."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable
from pathlib import Path

import nbformat

import marginalia
from marginalia.store import root as data_root

PACKAGE = Path(marginalia.__file__).parent


def _module_file(dotted: str, package: Path) -> Path | None:
    """File of a module named from the package's own name on, if there is one."""
    base = package.joinpath(*dotted.split(".")[1:])
    for file in (base / "__init__.py", base.with_suffix(".py")):
        if file.is_file() and dotted.split(".")[0] == package.name:
            return file
    return None


def _behind(dotted: str, package: Path) -> set[Path]:
    """Files behind a dotted name: the module and its packages, or where the package may load it from."""
    files: set[Path] = set()
    parts = dotted.split(".")
    for i in range(len(parts)):
        file = _module_file(".".join(parts[: i + 1]), package)
        if file:
            files.add(file)
            continue
        if package.joinpath(*parts[1 : i + 1]).is_dir() and parts[0] == package.name:
            continue  # a folder of modules without a file of its own
        before = _module_file(".".join(parts[:i]), package) if i else None
        if before and before.name == "__init__.py" and _is_loaded_late(parts[i], before):
            files |= set(before.parent.glob("*.py"))
        break
    return files


def _is_loaded_late(name: str, init: Path) -> bool:
    """True for a name that a package finds only when asked for it; any of its modules may hold it."""
    bound = set()
    for node in ast.parse(init.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            bound |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            bound.add(node.name)
        elif isinstance(node, ast.Assign):
            names = (name for target in node.targets for name in ast.walk(target))  # also those of a tuple
            bound |= {name.id for name in names if isinstance(name, ast.Name)}
    return "__getattr__" in bound and name not in bound and not name.startswith("__")


def _imports(tree: ast.AST, here: str, package: Path) -> set[Path]:
    """Files of the package that source text imports, anywhere in it; `here` is the package it lies in."""
    files: set[Path] = set()
    own: dict[str, str] = {}  # names that stand for modules of the package
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for name in node.names:
                files |= _behind(name.name, package)
                first = name.name.split(".")[0]
                own[name.asname or first] = name.name if name.asname else first
        elif isinstance(node, ast.ImportFrom):
            start = ".".join(here.split(".")[: here.count(".") + 2 - node.level]) if node.level else ""
            base = ".".join(filter(None, [start, node.module]))
            files |= _behind(base, package)
            for name in node.names:
                own[name.asname or name.name] = f"{base}.{name.name}"
                files |= _behind(f"{base}.{name.name}", package)
    for node in ast.walk(tree):  # after `import marginalia`, a subpackage loads when it is named
        dotted = _dotted(node)
        if dotted and dotted.split(".")[0] in own:
            first, _, rest = dotted.partition(".")
            files |= _behind(".".join(filter(None, [own[first], rest])), package)
    return files


def _dotted(node: ast.AST) -> str | None:
    """`a.b.c` of an attribute node that is nothing but names."""
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(parts)]) if isinstance(node, ast.Name) and parts else None


def library_files(source: Path, package: Path = PACKAGE) -> list[Path]:
    """All files of the package that a notebook's source imports, directly or through others, sorted.

    Scripts in the `static` folder of a package that is imported belong to it.
    """
    found: set[Path] = set()
    waiting = _imports(ast.parse(source.read_text(encoding="utf-8")), "", package)
    while waiting:
        file = waiting.pop()
        found.add(file)
        here = ".".join([package.name, *file.parent.relative_to(package).parts])
        waiting |= _imports(ast.parse(file.read_text(encoding="utf-8")), here, package) - found
        if file.name == "__init__.py":
            found |= {path for path in (file.parent / "static").glob("*") if path.is_file()}
    return sorted(found)


def _data_files(names: Iterable[str], data: Path) -> list[tuple[str, Path]]:
    """Names read, with the files behind them: a folder stands for all its files."""
    pairs = []
    for name in sorted(set(names)):
        path = data / name
        inside = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
        pairs += [(file.relative_to(data).as_posix(), file) for file in inside]
    return pairs


def fingerprint(source: Path, reads: Iterable[str], package: Path = PACKAGE, data: Path | None = None) -> str:
    """sha256 over a notebook's source, the library files it imports and the data files it read."""
    total = hashlib.sha256()
    data = data or data_root()
    pairs = [(source.name, source)]
    pairs += [(path.relative_to(package.parent).as_posix(), path) for path in library_files(source, package)]
    pairs += [(f"data/{name}", path) for name, path in _data_files(reads, data)]
    for name, path in pairs:
        content = path.read_bytes().replace(b"\r\n", b"\n") if path.is_file() else b"missing"
        total.update(f"{name} {hashlib.sha256(content).hexdigest()}\n".encode())
    return total.hexdigest()


def stale(source: Path, package: Path = PACKAGE, data: Path | None = None) -> bool:
    """True when the committed outputs do not belong to the source, library or data as they are now."""
    path = source.with_suffix(".ipynb")
    if not path.is_file():
        return True
    said = nbformat.read(path, as_version=4).metadata.get("marginalia", {})
    return said.get("hash") != fingerprint(source, said.get("data", []), package, data)
