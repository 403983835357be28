"""The hash that says whether committed outputs still belong to source, library and data."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import nbformat

from marginalia.store import root as data_root

from .pair import ROOT


def fingerprint(
    source: Path,
    modules: Iterable[str],
    reads: Iterable[str],
    lib: Path = ROOT / "lib",
    data: Path | None = None,
) -> str:
    """sha256 over a notebook's source, the modules that were imported and the data files that were read.

    A folder of the data stands for all its files; the scripts in `static` belong to their package.
    """
    data = data or data_root()
    named = {source.name: source}
    for path in (lib / name.replace(".", "/") for name in modules):
        package = [path / "__init__.py", *(path / "static").glob("*.js")]
        files = package if path.is_dir() else [path.with_suffix(".py")]
        named |= {file.relative_to(lib).as_posix(): file for file in files}
    for path in (data / name for name in reads):
        files = path.rglob("*") if path.is_dir() else [path]
        named |= {f"data/{file.relative_to(data).as_posix()}": file for file in files}
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
