"""Pairing, the hash of source, library and data, and outputs that are refreshed only where it changed."""

from __future__ import annotations

import nbformat
import pytest

from marginalia.notebooks import checks, find, refresh, sync
from marginalia.notebooks.hashing import fingerprint, library_files, stale

from .helpers import FIRST, code_cell, good_notebook, text_cell, write_notebook


def test_sync_keeps_outputs_of_unchanged_cells(tmp_path):
    source = write_notebook(tmp_path, "01_small", code_cell("x = 1") + code_cell("x") + code_cell("x"))
    path = source.with_suffix(".ipynb")
    assert sync(source) and not sync(source)
    notebook = nbformat.read(path, as_version=4)
    for number, cell in enumerate(notebook.cells, 1):
        cell.execution_count = number
        cell.outputs = [nbformat.v4.new_output("stream", text=f"{number}")]
    nbformat.write(notebook, path)
    write_notebook(
        tmp_path, "01_small", text_cell("New.") + code_cell("x = 2") + code_cell("x") + code_cell("x")
    )
    assert sync(source)
    said = [[o.text for o in c.get("outputs", [])] for c in nbformat.read(path, as_version=4).cells]
    assert said == [[], [], ["2"], ["3"]]


def test_cell_ids_follow_from_the_text(tmp_path):
    def ids(text):
        source = write_notebook(tmp_path, "01_small", text)
        sync(source)
        notebook = nbformat.read(source.with_suffix(".ipynb"), as_version=4)
        nbformat.validate(notebook)
        return [cell.id for cell in notebook.cells]

    before = ids(code_cell("x") + code_cell("x"))
    assert len(set(before)) == 2
    assert ids(text_cell("New.") + code_cell("x") + code_cell("x"))[1:] == before


def test_find(tmp_path):
    for name in ("20_b", "00_tour"):
        write_notebook(tmp_path, name, FIRST)
    (tmp_path / "notebooks" / "helper.py").write_text("")
    assert [s.stem for s in find(root=tmp_path)] == ["00_tour", "20_b"]
    assert [s.stem for s in find(["20", "notebooks/00_tour.ipynb"], tmp_path)] == ["00_tour", "20_b"]
    with pytest.raises(FileNotFoundError, match="no notebook 21_b; near it: 20_b"):
        find(["21_b"], tmp_path)


@pytest.fixture
def package(tmp_path):
    """A package whose modules import one another in the ways that Python allows."""
    files = {
        "__init__.py": "def __getattr__(name): ...",
        "alone.py": "",
        "store.py": "",
        "boxes/__init__.py": "from .table import Table",
        "boxes/table.py": "import numpy",
        "boxes/geometry.py": "def f():\n    from ..store import root",
        "boxes/other.py": "",
        "boxes/plots/pearson.py": "from marginalia.boxes import geometry",
        "late/__init__.py": "def __getattr__(name): ...",
        "late/a.py": "",
        "late/b.py": "",
        "later/__init__.py": "from ..alone import names\n__getattr__, __all__ = names()",
        "later/a.py": "",
        "explorers/__init__.py": "from .box import Explorer",
        "explorers/box.py": "",
        "explorers/static/canvas.js": "",
    }
    for name, text in files.items():
        path = tmp_path / "lib" / "marginalia" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return tmp_path / "lib" / "marginalia"


BOXES = ["__init__", "boxes/__init__", "boxes/table"]


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("import numpy", []),
        ("import marginalia", ["__init__"]),
        ("from marginalia import alone", ["__init__", "alone"]),
        ("import marginalia.boxes.other", [*BOXES, "boxes/other"]),
        ("from marginalia.boxes import Table", BOXES),
        ("import marginalia as m\nm.boxes.Table", BOXES),
        ("from marginalia import boxes as b\nb.other.x", [*BOXES, "boxes/other"]),
        ("def f():\n    from marginalia.boxes.geometry import f", [*BOXES, "boxes/geometry", "store"]),
        (
            "from marginalia.boxes.plots import pearson",
            [*BOXES, "boxes/geometry", "boxes/plots/pearson", "store"],
        ),
        ("from marginalia.late import Thing", ["__init__", "late/__init__", "late/a", "late/b"]),
        ("from marginalia.later import Thing", ["__init__", "alone", "later/__init__", "later/a"]),
        (
            "from marginalia.explorers import Explorer",
            ["__init__", "explorers/__init__", "explorers/box", "explorers/static/canvas"],
        ),
    ],
)
def test_library_files(tmp_path, package, code, found):
    source = write_notebook(tmp_path, "01_small", code_cell(code))
    files = [f.relative_to(package).with_suffix("").as_posix() for f in library_files(source, package)]
    assert files == sorted(found)


def test_hash_changes_with_what_it_stands_for(tmp_path, package):
    source = write_notebook(tmp_path, "01_small", code_cell("from marginalia.boxes import Table"))
    data = tmp_path / "data"
    (data / "measured").mkdir(parents=True)
    (data / "measured" / "a.csv").write_text("1")

    def now(*reads):
        return fingerprint(source, reads, package, data)

    first = now("measured/a.csv")
    assert first == now("measured/a.csv", "measured/a.csv") == now("measured")
    (package / "boxes" / "other.py").write_text("# not imported")
    assert now("measured/a.csv") == first
    (data / "measured" / "a.csv").write_text("2")
    second = now("measured/a.csv")
    (package / "boxes" / "table.py").write_text("# imported")
    third = now("measured/a.csv")
    source.write_text(code_cell("from marginalia.boxes import Table\n"))
    (data / "measured" / "a.csv").unlink()
    assert len({first, second, third, now("measured/a.csv"), now()}) == 5


def test_refresh_runs_what_is_stale_and_a_failure_changes_nothing(tmp_path, capsys):
    source = write_notebook(tmp_path, "01_small", good_notebook())
    path = source.with_suffix(".ipynb")
    (result,) = refresh([source], tmp_path / "build")
    assert result.error is None and not stale(source)
    assert checks.check(source) == []
    first = path.read_bytes()
    assert refresh([source], tmp_path / "build") == []
    assert "fresh   01_small" in capsys.readouterr().out

    write_notebook(tmp_path, "01_small", good_notebook().replace("print(1 + 1)", "print(1 / 0)"))
    assert stale(source)
    problems = "\n".join(checks.check(source))
    assert "cell 21 differs" in problems and "stale" in problems
    (result,) = refresh([source], tmp_path / "build")
    assert "cell 21 of 22 (`print(1 / 0)`)" in result.error and stale(source)

    write_notebook(tmp_path, "01_small", good_notebook())
    refresh([source], tmp_path / "build", all_of_them=True)
    notebook = nbformat.read(path, as_version=4)
    assert set(notebook.metadata.marginalia) == {"hash", "data", "seconds"}
    notebook.metadata.marginalia.seconds = nbformat.reads(first.decode(), 4).metadata.marginalia.seconds
    nbformat.write(notebook, tmp_path / "again.ipynb")
    assert nbformat.reads(first.decode(), 4) == nbformat.read(tmp_path / "again.ipynb", 4)
