"""Write the README's table of figures from notebooks/figures.yml: `make gallery`."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

from marginalia.catalogue import Row, catalogue

README = Path(__file__).resolve().parents[1] / "README.md"
START, END = "<!-- gallery:start -->", "<!-- gallery:end -->"


def gallery(rows: tuple[Row, ...]) -> str:
    """The rows as Markdown, one table a paper."""
    parts = []
    for paper, own in groupby(rows, lambda row: row.paper):
        parts += [f"### {paper}", "", "| in the paper | what it shows | here |", "|---|---|---|"]
        for row in own:
            label = row.kind if row.number is None else f"{row.kind} {row.number}"
            title = row.title.replace("|", "\\|")
            parts.append(f"| {label} | {title} | {shown(row)} |")
        parts.append("")
    return "\n".join(parts)


def shown(row: Row) -> str:
    """What a reader finds here: the notebook's link where there is something to see, else the status."""
    link = f"[{row.notebook}](notebooks/{row.notebook}.ipynb)"
    if row.status == "here":
        return f"{link}: `{row.id}`"
    return f"{row.status}, {link}" if row.status == "published numbers" else row.status


def put(readme: str, table: str) -> str:
    """The README's text with the table between its two markers."""
    before, _, rest = readme.partition(START)
    _, end, after = rest.partition(END)
    if not end:
        raise ValueError(f"{README.name}: expected {START} and then {END}")
    return f"{before}{START}\n\n{table}\n{END}{after}"


if __name__ == "__main__":
    README.write_text(put(README.read_text(encoding="utf-8"), gallery(catalogue())), encoding="utf-8")
