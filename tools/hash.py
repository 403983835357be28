"""The hash that says whether committed outputs still belong to source, library and data."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import nbformat

from marginalia.store import root as data_root

from .pair import ROOT


def module_files(modules: Iterable[str], lib: Path) -> list[Path]:
    """Files of the modules of a package, by their dotted names; a package's `static` folder belongs to it."""
    files = []
    for name in modules:
        folder = lib.joinpath(*name.split("."))
        file = folder / "__init__.py" if folder.is_dir() else folder.with_suffix(".py")
        files += [file, *(folder / "static").glob("*.js")]
    return files


def data_files(names: Iterable[str], data: Path) -> list[Path]:
    """Files of the data folder by name; a folder stands for all its files."""
    paths = (data / name for name in names)
    return [file for path in paths for file in (path.rglob("*") if path.is_dir() else [path])]


def fingerprint(
    source: Path,
    modules: Iterable[str],
    reads: Iterable[str],
    lib: Path = ROOT / "lib",
    data: Path | None = None,
) -> str:
    """sha256 over a notebook's source, the modules that were imported and the data files that were read."""
    data = data or data_root()
    named = {source.name: source}
    named |= {path.relative_to(lib).as_posix(): path for path in module_files(modules, lib)}
    named |= {f"data/{path.relative_to(data).as_posix()}": path for path in data_files(reads, data)}
    total = hashlib.sha256()
    for name, path in sorted(named.items()):
        content = path.read_bytes().replace(b"\r\n", b"\n") if path.is_file() else b"missing"
        total.update(f"{name} {hashlib.sha256(content).hexdigest()}\n".encode())
    return total.hexdigest()


def stale(source: Path) -> bool:
    """True when the committed outputs do not belong to the source, library or data as they are now."""
    path = source.with_suffix(".ipynb")
    said = nbformat.read(path, as_version=4).metadata.get("marginalia", {}) if path.is_file() else {}
    return said.get("hash") != fingerprint(source, said.get("modules", []), said.get("data", []))
