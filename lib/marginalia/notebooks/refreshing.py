"""Put the outputs of a run into the committed notebooks, where they are stale or on demand."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import nbformat

from .cleaning import clean
from .hashing import fingerprint, stale
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
