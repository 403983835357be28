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
from .run import run


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
