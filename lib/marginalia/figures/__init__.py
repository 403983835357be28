"""The papers' figures and tables, one module a paper, and one way to save them.

Each public function of a module draws one figure or table of its paper and returns `(figure, data)`; below
the heading "Ours" stands what is in no paper, and in `detections` what is drawn of a detector on images.
`save` writes figure and numbers under the id that `notebooks/figures.yml` gives the figure, and `draw` does
it for an id alone.
"""

from __future__ import annotations

import importlib
import inspect
import os
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING

from marginalia import style
from marginalia.catalogue import catalogue, find
from marginalia.store import checkout

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


def save(
    figure: Figure,
    id: str,
    data: pd.DataFrame | Mapping[str, pd.DataFrame],
    out: str | Path | None = None,
) -> list[Path]:
    """Write a figure as svg, png and pdf, and its numbers as CSV (`name.csv`; `name-key.csv` for a mapping).

    They go to `<id>.*` in `out`, else in `figures/` of MARGINALIA_BUILD, of the checkout's `build/`, or of
    `./build`. `id` is one of `notebooks/figures.yml`, or `extra/name` for a figure that is in no paper. The
    same figure and data give the same bytes. The figure leaves pyplot's care, so that a notebook shows it
    once: where a cell ends with it. Raises ValueError for an unknown id.
    """
    import matplotlib as mpl
    from matplotlib import pyplot as plt

    find(id)
    folder, name = _folder(id, out), id.split("/")[1]
    # What would change from run to run (dates, random ids) or with the version is left out.
    metadata = {
        "svg": {"Date": None, "Creator": None},
        "png": {"Software": None},
        "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    }
    written = []
    with mpl.rc_context({"svg.hashsalt": "marginalia"}):
        for form, about in metadata.items():
            written.append(folder / f"{name}.{form}")
            figure.savefig(written[-1], metadata=about, dpi=200)
    plt.close(figure)
    for key, frame in (data if isinstance(data, Mapping) else {"": data}).items():
        written.append(folder / (f"{name}-{key}.csv" if key else f"{name}.csv"))
        named = any(level is not None for level in frame.index.names)
        frame.to_csv(written[-1], index=named, encoding="utf-8", lineterminator="\n")
    return written


def _build() -> Path:
    """Folder for everything that is made."""
    pointed = os.environ.get("MARGINALIA_BUILD")
    return Path(pointed).expanduser() if pointed else (checkout() or Path.cwd()) / "build"


def _folder(id: str, out: str | Path | None) -> Path:
    """Where the files of a figure go, made where it is missing; OSError where it cannot be written to."""
    folder = (Path(out) if out is not None else _build() / "figures") / id.split("/")[0]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        told = f"{folder} cannot be written to ({error.strerror}); name another folder"
        raise OSError(f"{told}, with --out or MARGINALIA_BUILD") from None


def draw(id: str, data: object = None, out: str | Path | None = None) -> list[Path]:
    """Draw one figure of the catalogue with its function, on `data` if given, and save it; returns the files.

    Raises ValueError when the id is unknown, is not drawn here, or takes no data; FileNotFoundError without a
    catalogue, OSError where `out` cannot be written to, both before the work.
    """
    row = find(id)
    if row is None:
        catalogue()  # FileNotFoundError, with what to do, where there is none
        raise ValueError(f"draw: {id} is not in the catalogue, which says what draws a figure")
    if row.function is None:
        raise ValueError(f"draw: {id} has no function, its status is: {row.status}")
    module, name = row.function.split(":")
    function = getattr(importlib.import_module(module), name)
    arguments = dict(row.arguments)
    if data is not None:
        if "data" not in inspect.signature(function).parameters:
            raise ValueError(f"draw: {id} takes no data; leave it out")
        arguments["data"] = data
    _folder(id, out)
    style.use_style()
    figure, frame = function(**arguments)
    return save(figure, id, frame, out)
