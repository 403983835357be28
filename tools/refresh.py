"""Run the notebooks whose committed outputs are stale, and replace these outputs.

A hash in each notebook says to which source, library and data its outputs belong.

`python -m tools.refresh [NAME ...]`: a notebook that is named runs, stale or not.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable
from pathlib import Path

import nbformat

from marginalia.store import root as data_root

from .clean import clean
from .pair import METADATA, ROOT, find
from .run import run


def fingerprint(source: Path, modules: Iterable[str], reads: Iterable[str]) -> str:
    """sha256 over a notebook's source, the modules that were imported and the data files that were read.

    A folder of the data stands for all its files; the scripts in `static` belong to their package.
    """
    lib, data = ROOT / "lib", data_root()
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


def refresh(sources: Iterable[Path], build: Path) -> int:
    """Run notebooks and store the outputs of those that ran to their end; how many did not.

    Outputs are cleaned, and a hash says what is behind them.
    """
    failed = 0
    for source, result in run(sources, build):
        if result.error:
            failed += 1
            continue
        behind = fingerprint(source, result.modules, result.data)
        said = {"data": result.data, "hash": behind, "modules": result.modules}
        clean(result.notebook)
        result.notebook.metadata = nbformat.from_dict({**METADATA, "marginalia": said})
        nbformat.write(result.notebook, source.with_suffix(".ipynb"))
    return failed


if __name__ == "__main__":
    chosen = find(sys.argv[1:]) if sys.argv[1:] else [source for source in find() if stale(source)]
    print(f"{len(chosen)} of {len(find())} notebooks to run")
    sys.exit(1 if refresh(chosen, ROOT / "build") else 0)
