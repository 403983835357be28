"""Run the notebooks whose committed outputs are stale, and replace these outputs.

`python -m tools.refresh [NAME ...]`: a notebook that is named runs, stale or not.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

import nbformat

from .clean import clean
from .hash import fingerprint, stale
from .pair import METADATA, ROOT, find
from .run import Result, run


def store_outputs(source: Path, result: Result) -> None:
    """Write what a run gave into the committed notebook, cleaned, with the hash of what is behind it."""
    said = {
        "data": result.data,
        "hash": fingerprint(source, result.modules, result.data),
        "modules": result.modules,
    }
    clean(result.notebook)
    result.notebook.metadata = nbformat.from_dict({**METADATA, "marginalia": said})
    nbformat.write(result.notebook, source.with_suffix(".ipynb"))


def refresh(sources: Iterable[Path], build: Path) -> int:
    """Run notebooks and store the outputs of those that ran to their end; how many did not."""
    failed = 0
    for source, result in run(sources, build):
        if result.error:
            failed += 1
        else:
            store_outputs(source, result)
    return failed


if __name__ == "__main__":
    chosen = find(sys.argv[1:]) if sys.argv[1:] else [source for source in find() if stale(source)]
    print(f"{len(chosen)} of {len(find())} notebooks to run")
    sys.exit(1 if refresh(chosen, ROOT / "build") else 0)
