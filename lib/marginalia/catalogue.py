"""The catalogue, `notebooks/figures.yml`: every figure and table of the papers, and where it is shown."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from marginalia.store import checkout, near

ID = r"[a-z0-9]+(-[a-z0-9]+)*/[a-z0-9]+(-[a-z0-9]+)*"
NEEDED = {"here": ("notebook", "function", "differences"), "published numbers": ("notebook", "data")}


class Row(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One figure, table or algorithm of a paper, and where it is shown here."""

    id: Annotated[str, msgspec.Meta(pattern=f"^{ID}$")]  # paper/what-it-shows
    paper: str
    kind: Literal["figure", "table", "algorithm"]
    title: str  # what it shows, in our words
    status: Literal["here", "planned", "published numbers", "not confirmed", "needs data that is not public"]
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
    figures: tuple[Row, ...]


def catalogue(path: str | Path | None = None) -> tuple[Row, ...]:
    """The rows of `notebooks/figures.yml` of the checkout, or of another such file, in its order.

    Raises FileNotFoundError where there is none and ValueError that names file, row and field where a row is
    wrong: `$.figures[0]` is the first.
    """
    if path is None and checkout() is None:
        raise FileNotFoundError("no notebooks/figures.yml: run from a checkout of the project")
    path = Path(path or checkout() / "notebooks" / "figures.yml")
    try:
        rows = msgspec.yaml.decode(path.read_bytes(), type=_Catalogue).figures
    except msgspec.DecodeError as error:
        raise ValueError(f"{path.name}: {' '.join(str(error).split())}") from error
    for id, times in Counter(row.id for row in rows).items():
        if times > 1:
            raise ValueError(f"{path.name}: the `id` {id} is used twice")
    return rows


def find(id: str) -> Row | None:
    """The row of an id; None for `extra/name` (in no paper) and where there is no catalogue to ask."""
    if not re.fullmatch(ID, id):
        raise ValueError(f"figure id {id!r}: write paper/name in small letters, digits and hyphens")
    if id.startswith("extra/") or checkout() is None:
        return None
    rows = {row.id: row for row in catalogue()}
    if id not in rows:
        raise ValueError(f"no figure {id!r}; {near(id, rows)}. What is in no paper is called extra/name")
    return rows[id]
