"""Running small notebooks: what is left, what is said, and the errors that other runners miss."""

from __future__ import annotations

import asyncio
import subprocess
from concurrent.futures import ThreadPoolExecutor
from queue import Empty

import nbformat
import pytest
from nbclient import NotebookClient

from tests.notebooks.helpers import FIRST, code_cell, write_notebook
from tools import pair, run

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
    "cleared widget": """
import ipywidgets as widgets

out = widgets.Output()
with out:
    raise ValueError("planted")
out.clear_output()
out.close()
""",
    "button without Output": """
import ipywidgets as widgets

def clicked(_):
    raise ValueError("planted")

button = widgets.Button()
button.on_click(clicked)
button.click()
""",
    "thread": """
import threading

def work():
    raise ValueError("planted")

thread = threading.Thread(target=work)
thread.start()
thread.join()
""",
}


class PlainClient(NotebookClient):
    """What the usual runners use, in this interpreter and on a connection that does not hang."""

    kernel_manager_class = run._Client.kernel_manager_class


@pytest.mark.parametrize("kind", CALLBACKS)
def test_error_that_leaves_the_plain_client_green_is_found(tmp_path, kind):
    source = write_notebook(tmp_path, "01_planted", FIRST + code_cell(CALLBACKS[kind]))
    PlainClient(pair.read(source)).execute(cwd=str(tmp_path))  # does not raise
    _, error = run.execute(pair.read(source), tmp_path, tmp_path)
    assert error.startswith("cell 2 of 2 (`import ") and error.endswith("ValueError: planted")


def test_reply_that_was_not_announced_is_found(monkeypatch):
    """Sending on a socket can swallow the news that something arrived on it; a second look finds it."""
    looks = []

    async def get_msg(self, timeout):
        looks.append(timeout)
        if len(looks) < 3:
            raise Empty
        return {"content": "the reply"}

    monkeypatch.setattr(run.AsyncZMQSocketChannel, "get_msg", get_msg)
    channel = object.__new__(run._Channel)  # without a socket

    def ask(timeout):
        with ThreadPoolExecutor() as pool:  # a browser test before this one may leave a loop in this thread
            return pool.submit(asyncio.run, channel.get_msg(timeout)).result()

    assert ask(600) == {"content": "the reply"}
    assert looks == [run.LOOK_AGAIN] * 3
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
READ = """
from marginalia.store import data_path
path = data_path("published/dab_detr_depth.csv")
"""


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """A checkout with a notebook that works and one that fails, both run; (root, results, printed lines)."""
    root = tmp_path_factory.mktemp("checkout")
    (root / ".gitignore").write_text("build/\n", encoding="utf-8")
    sources = [
        write_notebook(root, "01_good", FIRST + code_cell(FIGURE) + code_cell(READ)),
        write_notebook(root, "02_bad", FIRST + code_cell("x = 1") + code_cell("x / 0\nprint('not here')")),
    ]
    for command in (["init", "-q"], ["add", "."]):
        subprocess.run(["git", *command], cwd=root, check=True)
    with pytest.MonkeyPatch.context() as patch:
        lines = []
        patch.setattr("builtins.print", lambda *words, **_: lines.append(" ".join(map(str, words))))
        results = dict(run.run(sources, root / "build"))
    return root, [results[source] for source in sources], lines


def test_one_line_for_a_notebook_and_a_failure_stops_no_other(ran):
    _, (good, bad), lines = ran
    assert good.error is None
    assert bad.error == "cell 3 of 3 (`x / 0`): ZeroDivisionError: division by zero"
    assert sorted(line.split()[:2] for line in lines) == [["FAILED", "02_bad"], ["ok", "01_good"]]
    assert "cell 3 of 3" in str(bad)


def test_what_was_read_and_imported_is_known_and_leaves_no_trace(ran):
    _, (good, _), _ = ran
    assert good.data == ["published/dab_detr_depth.csv"]
    assert good.modules == ["marginalia", "marginalia.store"]
    assert [cell.get("execution_count") for cell in good.notebook.cells] == [None, 1, 2]
    assert good.notebook.cells[2].outputs == []


def test_what_is_left_is_in_the_build_folder(ran):
    root, _, _ = ran
    build = root / "build"
    assert sorted(path.name for path in (build / "notebooks").iterdir()) == ["01_good.ipynb", "02_bad.ipynb"]
    assert len(list((build / "figures" / "paper").iterdir())) == 4
    nbformat.validate(nbformat.read(build / "notebooks" / "01_good.ipynb", as_version=4))
    status = subprocess.run(
        ["git", "status", "--short"], cwd=root, check=True, capture_output=True, text=True
    )
    assert {line[0] for line in status.stdout.splitlines()} == {"A"}  # only what was added before the run


def test_user_kernels_and_start_up_files_do_not_matter(tmp_path, monkeypatch):
    startup = tmp_path / "ipython" / "profile_default" / "startup"
    startup.mkdir(parents=True)
    (startup / "00.py").write_text("1 / 0", encoding="utf-8")
    kernel = tmp_path / "kernels" / "python3" / "kernel.json"
    kernel.parent.mkdir(parents=True)
    kernel.write_text('{"argv": ["false"], "display_name": "broken", "language": "python"}', encoding="utf-8")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    monkeypatch.setenv("JUPYTER_PREFER_ENV_PATH", "0")
    monkeypatch.setenv("MPLBACKEND", "Agg")
    code = "import sys, os\nassert os.environ['MPLBACKEND'].endswith('backend_inline')\nsys.executable"
    source = write_notebook(tmp_path, "01_small", code_cell(code))
    assert run.execute(pair.read(source), tmp_path, tmp_path) == ([], None)


def test_cell_that_takes_too_long(tmp_path):
    source = write_notebook(tmp_path, "01_slow", code_cell("import time\ntime.sleep(60)"))
    assert (
        "CellTimeoutError: A cell timed out"
        in run.execute(pair.read(source), tmp_path, tmp_path, timeout=1)[1]
    )


def test_kernel_that_dies(tmp_path):
    source = write_notebook(tmp_path, "01_dead", code_cell("import os\nos._exit(1)"))
    _, error = run.execute(pair.read(source), tmp_path, tmp_path)
    assert error.startswith("cell 1 of 1 (`import os`): DeadKernelError")


def test_a_notebook_that_fails_or_a_page_with_a_fault_turns_the_command_red(monkeypatch, capsys):
    good, bad = (run.Result(name, None, 1.0, [], [], error) for name, error in (("a", None), ("b", "no")))
    for results, wrong, code in (([good], 0, 0), ([good, bad], 0, 1), ([good], 1, 1)):
        monkeypatch.setattr(
            run, "run", lambda sources, build, results=results: [(None, one) for one in results]
        )
        monkeypatch.setattr(run.site, "build", lambda build, wrong=wrong: wrong)
        assert run.main([]) == code
    assert "1 of 2 notebooks ran" in capsys.readouterr().out
