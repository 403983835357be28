"""Pairing, the hash of source, library and data, and outputs that are refreshed only where it changed."""

from __future__ import annotations

import nbformat
import pytest

from tests.notebooks.checks import check
from tests.notebooks.helpers import FIRST, code_cell, good_notebook, text_cell, write_notebook
from tools import refresh as tool
from tools.pair import find, read
from tools.refresh import fingerprint, refresh, stale


def test_pairing_keeps_outputs_and_ids_of_unchanged_cells(tmp_path):
    source = write_notebook(tmp_path, "01_small", code_cell("x = 1") + code_cell("x") + code_cell("x"))
    notebook = read(source)
    for number, cell in enumerate(notebook.cells, 1):
        cell.execution_count = number
        cell.outputs = [nbformat.v4.new_output("stream", text=f"{number}")]
    nbformat.write(notebook, source.with_suffix(".ipynb"))
    write_notebook(tmp_path, "01_small", text_cell("New.") + code_cell("y") + code_cell("x") + code_cell("x"))
    again = read(source)
    nbformat.validate(again)
    assert [cell.source for cell in again.cells] == ["New.", "y", "x", "x"]
    assert [cell.outputs[0].text for cell in again.cells[2:]] == ["2", "3"]
    assert [cell.id for cell in again.cells[2:]] == [cell.id for cell in notebook.cells[1:]]


def test_find(tmp_path):
    for name in ("20_b", "00_tour"):
        write_notebook(tmp_path, name, FIRST)
    folder = tmp_path / "notebooks"
    (folder / "helper.py").write_text("")
    assert [s.stem for s in find(folder=folder)] == ["00_tour", "20_b"]
    assert [s.stem for s in find(["20"], folder)] == ["20_b"]
    with pytest.raises(SystemExit, match="no notebook 21_b: there are 00_tour, 20_b"):
        find(["21_b"], folder)


def test_hash_changes_with_what_it_stands_for(tmp_path, monkeypatch):
    source = write_notebook(tmp_path, "01_small", code_cell("from marginalia.explorers import box"))
    lib, data = tmp_path / "lib", tmp_path / "data"
    monkeypatch.setattr(tool, "ROOT", tmp_path)
    monkeypatch.setenv("MARGINALIA_DATA", str(data))
    static = lib / "marginalia" / "explorers" / "static"
    static.mkdir(parents=True)
    (data / "measured").mkdir(parents=True)
    for path in (lib / "marginalia" / "boxes.py", lib / "marginalia" / "other.py", static / "box.js"):
        path.write_text("1")
    (data / "measured" / "a.csv").write_text("1")

    def now(modules=("marginalia.boxes", "marginalia.explorers"), reads=("measured/a.csv",)):
        return fingerprint(source, modules, reads)

    first = now()
    assert first == now(reads=["measured/a.csv", "measured/a.csv"]) == now(reads=["measured"])
    (lib / "marginalia" / "other.py").write_text("# not imported")
    assert now() == first
    found = {first, now(modules=[]), now(reads=[])}
    for path in (lib / "marginalia" / "boxes.py", static / "box.js", data / "measured" / "a.csv", source):
        path.write_text("2")
        found.add(now())
    (data / "measured" / "a.csv").unlink()
    assert len(found | {now()}) == 8


def test_refresh_stores_what_ran_and_a_failure_changes_nothing(tmp_path):
    text = good_notebook().replace("print(1 + 1)", "import marginalia.store\nprint(1 + 1)")
    source = write_notebook(tmp_path, "01_small", text)
    path = source.with_suffix(".ipynb")
    assert stale(source)
    assert refresh([source], tmp_path / "build") == 0
    assert not stale(source) and check(source) == []
    assert nbformat.read(path, as_version=4).metadata.marginalia.modules == ["marginalia", "marginalia.store"]
    first = path.read_bytes()

    write_notebook(tmp_path, "01_small", text.replace("print(1 + 1)", "print(1 / 0)"))
    problems = "\n".join(check(source))
    assert "cell 21 differs" in problems and "stale" in problems
    assert refresh([source], tmp_path / "build") == 1
    assert path.read_bytes() == first and stale(source)

    write_notebook(tmp_path, "01_small", text)
    assert refresh([source], tmp_path / "build") == 0
    assert path.read_bytes() == first  # another run of the same changes nothing
