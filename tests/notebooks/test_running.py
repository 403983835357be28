"""Running small notebooks: what is left, what is said, and the errors that other runners miss."""

from __future__ import annotations

import asyncio
import subprocess
from concurrent.futures import ThreadPoolExecutor
from queue import Empty

import nbformat
import pytest
from nbclient import NotebookClient

from marginalia.notebooks import checks, run, running
from marginalia.notebooks.pairing import read_source
from marginalia.notebooks.running import execute, run_one

from .helpers import FIRST, code_cell, write_notebook

CALLBACKS = {
    "interactive": """
import ipywidgets as widgets

def draw(n):
    raise ValueError("planted")

slider = widgets.IntSlider(1)
panel = widgets.interactive_output(draw, {"n": slider})
panel
""",
    "button": """
import ipywidgets as widgets

out = widgets.Output()
button = widgets.Button()

def clicked(_):
    with out:
        raise ValueError("planted")

button.on_click(clicked)
button.click()
out
""",
}
CLEARED = """
import ipywidgets as widgets

out = widgets.Output()
with out:
    raise ValueError("planted")
out.clear_output()
out.close()
"""
PLAIN_BUTTON = """
import ipywidgets as widgets

def clicked(_):
    raise ValueError("planted")

button = widgets.Button()
button.on_click(clicked)
button.click()
"""


class PlainClient(NotebookClient):
    """What the usual runners use, in this interpreter and on a connection that does not hang."""

    create_kernel_manager = running._Client.create_kernel_manager


@pytest.mark.parametrize("kind", CALLBACKS)
def test_error_in_a_callback_leaves_the_plain_client_green_and_is_found(tmp_path, kind):
    source = write_notebook(tmp_path, "01_planted", FIRST + code_cell(CALLBACKS[kind]))
    notebook = read_source(source)
    PlainClient(notebook).execute(cwd=str(tmp_path))  # does not raise
    assert checks.error_outputs(notebook) == []
    assert checks.hidden_errors(notebook) == ["in an Output widget: ValueError: planted"]
    error = execute(read_source(source), tmp_path)
    assert error.startswith("cell 2 of 2 (`import ipywidgets as widgets`)")
    assert error.endswith("ValueError: planted")


@pytest.mark.parametrize("code", [CLEARED, PLAIN_BUTTON], ids=["cleared widget", "button without Output"])
def test_error_that_leaves_no_trace_in_widget_state_is_found(tmp_path, code):
    source = write_notebook(tmp_path, "01_planted", FIRST + code_cell(code))
    notebook = read_source(source)
    error = execute(notebook, tmp_path)
    assert checks.hidden_errors(notebook) == []
    assert "cell 2" in error and "ValueError: planted" in error


def test_reply_that_was_not_announced_is_found(monkeypatch):
    """Sending on a socket can swallow the news that something arrived on it; a second look finds it."""
    looks = []

    async def get_msg(self, timeout):
        looks.append(timeout)
        if len(looks) < 3:
            raise Empty
        return {"content": "the reply"}

    monkeypatch.setattr(running.AsyncZMQSocketChannel, "get_msg", get_msg)
    channel = object.__new__(running._Channel)  # without a socket

    def ask(timeout):
        with ThreadPoolExecutor() as pool:  # a browser test before this one may leave a loop in this thread
            return pool.submit(asyncio.run, channel.get_msg(timeout)).result()

    assert ask(600) == {"content": "the reply"}
    assert looks == [running.LOOK_AGAIN] * 3
    looks.clear()
    with pytest.raises(Empty):
        ask(0)
    assert looks == [0]


FIGURE = """
import os, pathlib
folder = pathlib.Path(os.environ["MARGINALIA_BUILD"]) / "figures" / "paper"
folder.mkdir(parents=True)
for kind in ("svg", "png", "pdf", "csv"):
    (folder / f"shape.{kind}").write_text("x")
pathlib.Path("left-behind.txt").write_text("in the kernel's own folder")
"""


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """A checkout with a notebook that works and one that fails, both run; (root, results, printed lines)."""
    root = tmp_path_factory.mktemp("checkout")
    (root / ".gitignore").write_text("build/\n", encoding="utf-8")
    good = (
        FIRST
        + "# Also $a<b$, $$\\frac{1}{2}$$ and `cost = $5 + $6`.\n"
        + code_cell(FIGURE)
        + code_cell("'$x$'")
    )
    sources = [
        write_notebook(root, "01_good", good),
        write_notebook(root, "02_bad", FIRST + code_cell("x = 1") + code_cell("x / 0\nprint('not here')")),
    ]
    for command in (["init", "-q"], ["add", "."]):
        subprocess.run(["git", *command], cwd=root, check=True)
    with pytest.MonkeyPatch.context() as patch:
        lines = []
        patch.setattr("builtins.print", lambda *words, **_: lines.append(" ".join(map(str, words))))
        results = run(sources, root / "build")
    return root, results, lines


def test_one_line_for_a_notebook_and_a_failure_stops_no_other(ran):
    _, (good, bad), lines = ran
    assert good.error is None and good.figures == 1
    assert bad.error == "cell 3 of 3 (`x / 0`): ZeroDivisionError: division by zero"
    assert sorted(line.split()[:2] for line in lines) == [["FAILED", "02_bad"], ["ok", "01_good"]]
    assert str(good).endswith("1 figures") and "cell 3 of 3" in str(bad)


def test_what_is_left_is_in_the_build_folder(ran):
    root, _, _ = ran
    build = root / "build"
    assert sorted(path.name for path in (build / "notebooks").iterdir()) == ["01_good.ipynb", "02_bad.ipynb"]
    assert sorted(path.name for path in (build / "html").iterdir()) == ["01_good.html", "02_bad.html"]
    assert len(list((build / "figures" / "paper").iterdir())) == 4
    nbformat.validate(nbformat.read(build / "notebooks" / "01_good.ipynb", as_version=4))
    status = subprocess.run(
        ["git", "status", "--short"], cwd=root, check=True, capture_output=True, text=True
    )
    assert {line[0] for line in status.stdout.splitlines()} == {"A"}  # only what was added before the run


def test_page_needs_no_network(ran):
    page = (ran[0] / "build" / "html" / "01_good.html").read_text(encoding="utf-8")
    body = page[page.index("<body") :]
    assert "<script" not in page and "<link" not in page and 'src="http' not in page and "@import" not in page
    assert body.count("<math") == 2 and 'display="block"' in body
    assert "cost = $5 + $6" in body and "'$x$'" in body
    assert "<title>A small notebook</title>" in page


def test_user_kernels_and_start_up_files_do_not_matter(tmp_path, monkeypatch):
    startup = tmp_path / "ipython" / "profile_default" / "startup"
    startup.mkdir(parents=True)
    (startup / "00.py").write_text("1 / 0", encoding="utf-8")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "nothing"))
    monkeypatch.setenv("MPLBACKEND", "Agg")
    code = "import sys, os\nassert os.environ['MPLBACKEND'].endswith('backend_inline')\nsys.executable"
    result = run_one(write_notebook(tmp_path, "01_small", code_cell(code)), tmp_path / "build")
    assert result.error is None


def test_cell_that_takes_too_long(tmp_path):
    source = write_notebook(tmp_path, "01_slow", code_cell("import time\ntime.sleep(60)"))
    assert "ran longer than 1 s" in execute(read_source(source), tmp_path, timeout=1)


def test_kernel_that_dies(tmp_path):
    source = write_notebook(tmp_path, "01_dead", code_cell("import os\nos._exit(1)"))
    error = execute(read_source(source), tmp_path)
    assert error.startswith("cell 1 of 1 (`import os`): the kernel stopped")
