"""The catalogue, `notebooks/figures.yml`: every figure and table of the papers, and where it is shown."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from marginalia.store import checkout, near, note_read

ID = r"[a-z0-9]+(-[a-z0-9]+)*/[a-z0-9]+(-[a-z0-9]+)*"
NEEDED = {"here": ("notebook", "function", "differences"), "published numbers": ("notebook", "data")}


class Row(msgspec.Struct, frozen=True):
    """One figure, table or algorithm of a paper, and where it is shown here."""

    id: Annotated[str, msgspec.Meta(pattern=f"^{ID}$")]  # paper/what-it-shows
    paper: str
    kind: Literal["figure", "table", "algorithm"]
    title: str  # what it shows, in our words
    status: Literal["here", "published numbers", "not confirmed", "needs data that is not public"]
    number: int | str | None = None  # the paper's own number where it was confirmed
    notebook: str | None = None  # name without ending
    function: Annotated[str, msgspec.Meta(pattern=r"^\w+(\.\w+)*:\w+$")] | None = None  # package.module:name
    arguments: dict[str, object] = {}  # given to the function
    data: tuple[str, ...] = ()  # files of data/published/ with the paper's numbers
    differences: str | None = None  # between the paper's and ours

    def __post_init__(self):
        for name in NEEDED.get(self.status, ()):
            if not getattr(self, name):
                raise ValueError(f"the status {self.status!r} needs the field `{name}`")


class _Catalogue(msgspec.Struct):
    figures: list[dict[str, object]]


def catalogue(path: str | Path | None = None) -> tuple[Row, ...]:
    """The rows of `notebooks/figures.yml` of the checkout, or of another such file, in its order.

    Raises FileNotFoundError where there is none and ValueError that names file, row and field where a row is
    wrong.
    """
    if path is None:
        note_read("../notebooks/figures.yml")
    path = Path(path) if path else _catalogue_path()
    if path is None:
        raise FileNotFoundError("no notebooks/figures.yml: run from a checkout of the project")
    try:
        entries = msgspec.yaml.decode(path.read_bytes(), type=_Catalogue).figures
    except msgspec.DecodeError as error:
        raise ValueError(f"{path.name}: {' '.join(str(error).split())}") from error
    rows = {}
    for n, entry in enumerate(entries, 1):
        where = f"{path.name}, row {n} ({entry.get('id', 'no id')})"
        for name in entry.keys() - set(Row.__struct_fields__):
            raise ValueError(f"{where}: unknown field `{name}`; {near(name, Row.__struct_fields__)}")
        try:
            row = msgspec.convert(entry, Row)
        except msgspec.ValidationError as error:
            raise ValueError(f"{where}: {error}") from error
        if row.id in rows:
            raise ValueError(f"{where}: the `id` is used twice")
        rows[row.id] = row
    return tuple(rows.values())


def _catalogue_path() -> Path | None:
    """The checkout's notebooks/figures.yml, if it is there."""
    home = checkout()
    path = home / "notebooks" / "figures.yml" if home else None
    return path if path and path.is_file() else None


def find(id: str) -> Row | None:
    """The row of an id; None for `extra/name` (in no paper) and where there is no catalogue to ask."""
    if not re.fullmatch(ID, id):
        raise ValueError(f"figure id {id!r}: write paper/name in small letters, digits and hyphens")
    if id.startswith("extra/") or not (path := _catalogue_path()):
        return None
    rows = {row.id: row for row in catalogue(path)}
    if id not in rows:
        raise ValueError(
            f"no figure {id!r} in {path.name}; {near(id, rows)}. What is in no paper is called extra/name"
        )
    return rows[id]
