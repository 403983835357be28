"""Each check on a notebook that has what it looks for, and on one that has not."""

from __future__ import annotations

import nbformat
import pytest
from nbformat import v4

from tools.pair import read

from . import checks
from .helpers import FIRST, LAST, PARAMETERS, code_cell, good_notebook, one_cell, text_cell, write_notebook


def stream(text, name="stdout"):
    return v4.new_output("stream", name=name, text=text)


ERROR = v4.new_output("error", ename="ValueError", evalue="planted", traceback=["..."])


def paired(source):
    """Write the .ipynb of a .py."""
    nbformat.write(read(source), source.with_suffix(".ipynb"))


def test_pair_in_sync(tmp_path):
    source = write_notebook(tmp_path, "01_small", good_notebook())
    assert "missing" in checks.not_in_sync(source)[0]
    paired(source)
    assert checks.not_in_sync(source) == []
    write_notebook(tmp_path, "01_small", good_notebook().replace("Beat 3.", "Beat three."))
    assert "cell 9 differs" in checks.not_in_sync(source)[0]
    write_notebook(tmp_path, "01_small", good_notebook() + text_cell("One more."))
    assert "01_small.py has 23 cells, 01_small.ipynb has 22" in checks.not_in_sync(source)[0]


def test_pair_differs_in_tags(tmp_path):
    source = write_notebook(tmp_path, "01_small", good_notebook())
    paired(source)
    write_notebook(tmp_path, "01_small", good_notebook().replace(' tags=["parameters"]', ""))
    assert "cell 2 differs" in checks.not_in_sync(source)[0]


def test_errors():
    assert checks.errors(one_cell(ERROR)) == ["cell 1: error output ValueError: planted"]
    printed = stream("Traceback (most recent call last):\n  ...\nValueError: planted\n", "stderr")
    assert checks.errors(one_cell(printed)) == ["cell 1: a traceback in its stderr stream"]
    assert checks.errors(one_cell(stream("fine"))) == []


def test_widget_state_and_views():
    view = v4.new_output("display_data", data={checks.WIDGET_VIEW: {"model_id": "a1"}, "text/plain": "x"})
    problems = checks.widget_state(one_cell(view, widgets={}))
    assert problems == ["metadata.widgets is there", "cell 1: a widget view in its output"]
    assert checks.widget_state(one_cell(stream("fine"))) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("saved /" + "home/ada/marginalia/build/a.png", "absolute path"),
        ("C:" + r"\Users\ada\a.png", "absolute path"),
        ("<Axes at 0x7f33c9a1b2c0>", "object address"),
        ("10%\r20%", "progress bar"),
    ],
)
def test_traces_of_the_machine(text, said):
    problems = checks.machine_traces(one_cell(stream(text)))
    assert len(problems) == 1 and said in problems[0] and "cell 1, output" in problems[0]


def test_absolute_path_in_the_source():
    assert "absolute path" in checks.machine_traces(one_cell(source="open('/" + "home/ada/x.json')"))[0]


@pytest.mark.parametrize(
    "text",
    [
        "mix 0x7feb352d, then 1/2 of data/measured/x.csv",
        "see https://example.org/home/page and <a href='https://example.org/usr/x'>",
        "../shared/data, ~/data, build/figures/a.svg",
        "and/or, 3 / 4, AP/AR",
    ],
)
def test_innocent_text_passes(text):
    assert checks.machine_traces(one_cell(stream(text))) == []


def test_times_and_foreign_metadata():
    timed = one_cell(metadata={"execution": {"iopub.execute_input": "2024"}}, papermill={})
    assert checks.machine_traces(timed) == ["cell 1: times of execution", "metadata.papermill is there"]


def test_order_of_execution():
    notebook = one_cell()
    assert checks.not_run_in_order(notebook) == []
    notebook.cells[0].execution_count = 4
    assert "[4]" in checks.not_run_in_order(notebook)[0]
    notebook.cells[0].execution_count = None
    assert "no outputs" in checks.not_run_in_order(notebook)[0]


def test_size(tmp_path):
    path = tmp_path / "a.ipynb"
    for size, too_large in ((1_000_000, 0), (1_000_001, 1)):
        path.write_bytes(b"x" * size)
        assert len(checks.size(path)) == too_large


def source_cells(tmp_path, *parts):
    return read(write_notebook(tmp_path, "01_small", "\n".join(parts)))


def test_lengths(tmp_path):
    good = read(write_notebook(tmp_path, "01_small", good_notebook()))
    assert checks.lengths(good) == []
    short = source_cells(tmp_path, FIRST, code_cell("x = 1"))
    assert checks.lengths(short) == ["2 cells, not 20 to 35"]
    assert checks.lengths(short, tour=True) == []
    long = source_cells(tmp_path, FIRST, code_cell("x = 1\n" * 31))
    assert checks.lengths(long, tour=True) == [
        "cell 2: 31 lines of code, at most 30",
        "median code cell has 31 lines, not under 10",
    ]
    many = source_cells(tmp_path, *[text_cell(f"{n}") for n in range(36)])
    assert checks.lengths(many, tour=True) == ["36 cells, not 20 to 35"]


@pytest.mark.parametrize(
    ("cut", "named"),
    [
        ("# A small notebook", "a title"),
        ("paper", "the paper"),
        ("figure 1", "a figure"),
        ("minutes", "minutes"),
        ("中文摘要", "中文摘要"),
    ],
)
def test_opening(tmp_path, cut, named):
    assert checks.opening(source_cells(tmp_path, FIRST)) == []
    assert named in checks.opening(source_cells(tmp_path, FIRST.replace(cut, "")))[0]


def test_opening_is_text(tmp_path):
    assert checks.opening(source_cells(tmp_path, PARAMETERS)) == ["the first cell is not text"]


def test_parameters(tmp_path):
    assert checks.parameters(source_cells(tmp_path, PARAMETERS)) == []
    assert checks.parameters(source_cells(tmp_path, FIRST)) == ["0 cells tagged `parameters`, not one"]
    more = PARAMETERS + "DATA = None\nSEEDS = (0, 1)\nSHIFT = -1\n"
    assert checks.parameters(source_cells(tmp_path, more)) == []


@pytest.mark.parametrize(
    "line", ["n = len('abc')", "import os", "a = b = 1", "a[0] = 1", "print(FAST)", "a += 1"]
)
def test_parameters_hold_only_plain_values(tmp_path, line):
    problems = checks.parameters(source_cells(tmp_path, PARAMETERS + line))
    assert len(problems) == 1 and line.split()[0].split("(")[0] in problems[0]


def test_parameters_have_the_two_names(tmp_path):
    cut = PARAMETERS.replace("RETRAIN = False\n", "")
    assert checks.parameters(source_cells(tmp_path, cut)) == ["parameters: RETRAIN missing"]


def test_claims(tmp_path):
    assert checks.claims(source_cells(tmp_path, code_cell("assert 1 + 1 == 2"), LAST)) == []
    without = checks.claims(source_cells(tmp_path, code_cell("# assert nothing"), text_cell("A summary.")))
    assert without == ["no assert", "no heading with the word summary"]
