"""The catalogue, `notebooks/figures.yml`: every figure and table of the papers, and where it is shown."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path

from marginalia.store import checkout, near

STATUSES = ("here", "planned", "published numbers", "not confirmed", "needs data that is not public")
KINDS = ("figure", "table", "algorithm")
MARKERS = ("<!-- gallery:start -->", "<!-- gallery:end -->")
ID = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*/[a-z0-9]+(-[a-z0-9]+)*")


@dataclass(frozen=True)
class Row:
    """One figure, table or algorithm of a paper, and where it is shown here."""

    id: str  # paper/what-it-shows
    paper: str
    kind: str  # one of KINDS
    title: str  # what it shows, in our words
    status: str  # one of STATUSES
    number: int | str | None = None  # the paper's own number where it was confirmed
    notebook: str | None = None  # name without ending
    function: str | None = None  # package.module:name, returns (figure, data)
    arguments: Mapping[str, object] = field(default_factory=dict)  # given to the function
    data: tuple[str, ...] = ()  # files of data/published/ with the paper's numbers
    differences: str | None = None  # between the paper's and ours


def _catalogue_path() -> Path | None:
    """The checkout's notebooks/figures.yml, if it is there."""
    home = checkout()
    path = home / "notebooks" / "figures.yml" if home else None
    return path if path and path.is_file() else None


def catalogue(path: str | Path | None = None) -> tuple[Row, ...]:
    """The rows of `notebooks/figures.yml` of the checkout, or of another such file, in its order.

    Raises FileNotFoundError where there is none and ValueError that names file and row where a row is wrong.
    """
    path = path or _catalogue_path()
    if path is None:
        raise FileNotFoundError("no notebooks/figures.yml: run from a checkout of the project")
    return _read_catalogue(Path(path), Path(path).stat().st_mtime_ns)


@functools.lru_cache(maxsize=4)
def _read_catalogue(path: Path, changed: int) -> tuple[Row, ...]:
    """Read and check a catalogue; `changed` makes an edited file be read again."""
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{path.name} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict) or not isinstance(content.get("figures"), list):
        raise ValueError(f"{path.name}: expected a list of rows under the key `figures`")
    rows = tuple(_row(entry, f"{path.name}, row {n}") for n, entry in enumerate(content["figures"], 1))
    seen = set()
    for n, row in enumerate(rows, 1):
        if row.id in seen:
            raise ValueError(f"{path.name}, row {n}: the id {row.id} is used twice")
        seen.add(row.id)
    return rows


def _row(entry: object, where: str) -> Row:
    """One checked row; `where` opens the error message."""
    if not isinstance(entry, dict):
        raise ValueError(f"{where}: expected fields, found {entry!r}")
    where = f"{where} ({entry.get('id', 'no id')})"
    known = [f.name for f in fields(Row)]
    for name in entry:
        if name not in known:
            raise ValueError(f"{where}: unknown field {name!r}; {near(str(name), known)}")
    for name in ("id", "paper", "kind", "title", "status"):
        if not isinstance(entry.get(name), str):
            raise ValueError(f"{where}: {name} is missing or not text")
    if not ID.fullmatch(entry["id"]):
        raise ValueError(f"{where}: an id is paper/name in small letters, digits and hyphens")
    for name, allowed in (("kind", KINDS), ("status", STATUSES)):
        if entry[name] not in allowed:
            raise ValueError(f"{where}: {name} is {entry[name]!r}, not one of: {', '.join(allowed)}")
    needed = {"here": ("notebook", "function", "differences"), "published numbers": ("notebook", "data")}
    for name in needed.get(entry["status"], ()):
        if not entry.get(name):
            raise ValueError(f"{where}: status {entry['status']!r} needs {name}")
    if entry.get("function") and not re.fullmatch(r"\w+(\.\w+)*:\w+", entry["function"]):
        raise ValueError(f"{where}: function is {entry['function']!r}, not package.module:name")
    if not isinstance(entry.get("arguments") or {}, dict):
        raise ValueError(f"{where}: arguments is not a mapping")
    settled = {"arguments": entry.get("arguments") or {}, "data": tuple(entry.get("data") or ())}
    return Row(**{**entry, **settled})


def find(id: str) -> Row | None:
    """The row of an id; None for `extra/name` (in no paper) and where there is no catalogue to ask."""
    if not ID.fullmatch(id):
        raise ValueError(f"figure id {id!r}: write paper/name in small letters, digits and hyphens")
    if id.startswith("extra/") or not (path := _catalogue_path()):
        return None
    rows = {row.id: row for row in catalogue(path)}
    if id not in rows:
        raise ValueError(
            f"no figure {id!r} in {path.name}; {near(id, rows)}. What is in no paper is called extra/name"
        )
    return rows[id]


def gallery_markdown() -> str:
    """The README's table of figures, one section a paper, generated from the catalogue."""
    papers: dict[str, list[Row]] = {}
    for row in catalogue():
        papers.setdefault(row.paper, []).append(row)
    parts = []
    for paper, rows in papers.items():
        parts += [f"### {paper}", "", "| in the paper | what it shows | here |", "|---|---|---|"]
        parts += [f"| {_label(row)} | {_cell(row.title)} | {_here(row)} |" for row in rows]
        parts.append("")
    return "\n".join(parts)


def _cell(words: str) -> str:
    """Text that stays in one cell of a Markdown table."""
    return " ".join(words.split()).replace("|", "\\|")


def _label(row: Row) -> str:
    return f"{row.kind} {row.number}" if row.number is not None else row.kind


def _here(row: Row) -> str:
    """What a reader finds here: the notebook's link where there is something to see, else the status."""
    link = f"[{row.notebook}](notebooks/{row.notebook}.ipynb)"
    if row.status == "here":
        return f"{link}: `{row.id}`"
    return f"{row.status}, {link}" if row.status == "published numbers" else row.status


def write_gallery(readme_path: str | Path) -> None:
    """Put the generated table between the gallery markers of a README; ValueError when they are not there."""
    path = Path(readme_path)
    readme = path.read_text(encoding="utf-8")
    start, end = (readme.find(marker) for marker in MARKERS)
    if start < 0 or end < start or any(readme.count(marker) != 1 for marker in MARKERS):
        raise ValueError(f"{path.name}: expected {MARKERS[0]} and then {MARKERS[1]}, once each")
    table = f"{readme[: start + len(MARKERS[0])]}\n\n{gallery_markdown()}\n{readme[end:]}"
    if table != readme:
        path.write_text(table, encoding="utf-8")
