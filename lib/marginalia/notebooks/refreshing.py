"""Which notebooks have to run again, for their committed outputs or for their page; storing the outputs."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import nbformat

from marginalia.store import root as data_root

from .checks import error_outputs, hidden_errors, not_run_in_order
from .cleaning import clean
from .hashing import fingerprint, library_files, stale
from .pairing import METADATA, name_cells, sync, write
from .running import Result, run


def store_outputs(source: Path, result: Result) -> None:
    """Write what a run gave into the committed notebook, cleaned; a run that failed changes nothing."""
    if result.error is not None:
        return
    notebook = result.notebook
    clean(notebook)
    name_cells(notebook)
    said = {
        "data": list(result.reads),
        "hash": fingerprint(source, result.reads),
        "seconds": round(result.seconds),
    }
    notebook.metadata = nbformat.from_dict({**METADATA, "marginalia": said})
    write(notebook, source.with_suffix(".ipynb"))


def refresh(sources: Iterable[Path], build: Path, all_of_them: bool = False, jobs: int = 2) -> list[Result]:
    """Run the notebooks whose committed outputs are stale, or all, and replace these outputs."""
    chosen = []
    for source in sources:
        sync(source)
        if all_of_them or stale(source):
            chosen.append(source)
        else:
            print(f"fresh   {source.stem}")
    return run(chosen, build, jobs, then=store_outputs)


def page_missing(source: Path, build: Path) -> bool:
    """True when the build has no page of a whole run that is newer than source, library and data."""
    page, executed = build / "html" / f"{source.stem}.html", build / "notebooks" / f"{source.stem}.ipynb"
    if not (page.is_file() and executed.is_file()):
        return True
    behind = [source, *library_files(source), *data_root().rglob("*")]
    if max(path.stat().st_mtime for path in behind) > page.stat().st_mtime:
        return True
    notebook = nbformat.read(executed, as_version=4)
    return any(problem(notebook) for problem in (error_outputs, hidden_errors, not_run_in_order))
