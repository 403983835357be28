"""Tables about composed heads: above the rows stands the docstring of the function that makes them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from marginalia import store, training


def write(name: str, way: Callable, rows: Iterable[Mapping], more: str = "", digits: int = 4) -> None:
    """data/measured/composition/NAME.csv. way: makes the rows; more: is said below its docstring."""
    rows = list(rows)
    about = f"{inspect.getdoc(way)}\n{more}Written by: python data/recipes/{Path(inspect.getfile(way)).name}"
    training.write_table(store.root() / "measured/composition" / f"{name}.csv", about, rows, f"%.{digits}g")
    print(f"{name}: {len(rows)} rows", flush=True)
