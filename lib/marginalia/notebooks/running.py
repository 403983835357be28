"""Run notebooks top to bottom, two at a time, each in a folder and a kernel of its own."""

from __future__ import annotations

import math
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from queue import Empty

from jupyter_client import AsyncKernelClient, AsyncKernelManager
from jupyter_client.channels import AsyncZMQSocketChannel
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode
from traitlets import Type

from .checks import error_outputs, hidden_errors
from .pages import to_html
from .pairing import read_source, write

TIMEOUT = 600  # seconds for one cell
LOOK_AGAIN = 0.2  # seconds between looks for a reply that nobody announced


@dataclass(frozen=True)
class Result:
    """How one notebook ran."""

    name: str
    seconds: float
    figures: int  # figures saved by the notebook, each as svg, png, pdf and csv
    reads: tuple[str, ...]  # names in the data folder that it read, sorted
    error: str | None  # which cell failed and how; None: it ran to its end without one
    notebook: NotebookNode  # as executed, with widget state

    def __str__(self) -> str:
        status = "ok" if self.error is None else "FAILED"
        line = f"{status:6}  {self.name:32} {self.seconds:6.1f} s  {self.figures:3} figures"
        return line if self.error is None else f"{line}\n        {self.error}"


class _ThisInterpreter(KernelSpecManager):
    """Any kernel name means the Python that runs this, whatever kernels the user has registered."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        argv.append("--IPKernelApp.log_level=ERROR")  # it warns that loopback is not encrypted
        return KernelSpec(argv=argv, display_name="Python 3 (ipykernel)", language="python")


class _Channel(AsyncZMQSocketChannel):
    """A channel that looks again now and then.

    The notebook client answers Output widgets on the socket on which it waits for the kernel's reply. A reply
    that arrives during such a send wakes nobody: the cell would count as running until its time is up.
    """

    async def get_msg(self, timeout: float | None = None) -> dict:
        end = math.inf if timeout is None else time.monotonic() + timeout
        while True:
            left = max(end - time.monotonic(), 0)
            try:
                return await super().get_msg(min(left, LOOK_AGAIN))
            except Empty:
                if left <= LOOK_AGAIN:
                    raise


class _KernelClient(AsyncKernelClient):
    shell_channel_class = Type(_Channel)


class _Client(NotebookClient):
    """A notebook client that remembers where it is and every error that it was told of.

    An Output widget takes an error into itself and may be cleared or closed later, a button's handler prints
    its error and goes on: the cell counts as a success for the plain client either way.
    """

    def __init__(self, notebook: NotebookNode, **options):
        super().__init__(notebook, **options)
        self.cell = 0
        self.errors: list[tuple[int, str]] = []

    def create_kernel_manager(self) -> AsyncKernelManager:
        self.km = AsyncKernelManager(
            kernel_name="python3", kernel_spec_manager=_ThisInterpreter(), client_factory=_KernelClient
        )
        return self.km

    async def async_execute_cell(self, cell, cell_index, **options):
        self.cell = cell_index
        return await super().async_execute_cell(cell, cell_index, **options)

    def process_message(self, msg, cell, cell_index):
        if msg["msg_type"] == "error":
            content = msg["content"]
            self.errors.append((cell_index, f"{content['ename']}: {content['evalue']}"))
        return super().process_message(msg, cell, cell_index)


def kernel_environment(folder: Path) -> dict[str, str]:
    """The environment of a notebook's kernel, with everything that it may write inside `folder`."""
    threads = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL")}
    return {
        **os.environ,
        **threads,  # two notebooks share the cores, and sums come out the same everywhere
        "PYTHONHASHSEED": "0",
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        "IPYTHONDIR": str(folder / "ipython"),  # start-up files of the user are not part of the notebook
        "MARGINALIA_BUILD": str(folder / "build"),
        "MARGINALIA_READS": str(folder / "reads.log"),
    }


def _where(notebook: NotebookNode, index: int) -> str:
    """A cell as its author finds it: position and first line."""
    first = notebook.cells[index].source.strip().split("\n")[0]
    return f"cell {index + 1} of {len(notebook.cells)} (`{first[:80]}`)"


def execute(notebook: NotebookNode, folder: Path, timeout: int = TIMEOUT) -> str | None:
    """Run all cells in place, working in `folder`; what went wrong and where, or None.

    Errors that a widget swallowed count, although the cell itself went on.
    """
    work = folder / "work"
    work.mkdir(parents=True, exist_ok=True)
    client = _Client(notebook, timeout=timeout, record_timing=False, coalesce_streams=True)
    try:
        client.execute(cwd=str(work), env=kernel_environment(folder))
    except CellExecutionError as error:
        return f"{_where(notebook, client.cell)}: {error.ename}: {_plain(error.evalue)}"
    except CellTimeoutError:
        return f"{_where(notebook, client.cell)}: ran longer than {timeout} s"
    except DeadKernelError as error:
        return f"{_where(notebook, client.cell)}: the kernel stopped ({_plain(str(error))})"
    except Exception as error:  # of the client itself: the other notebooks run on
        return f"{_where(notebook, client.cell)}: {type(error).__name__} while running: {_plain(str(error))}"
    if client.errors:
        index, error = client.errors[0]
        return f"{_where(notebook, index)}: hidden in an output or a widget: {_plain(error)}"
    problems = error_outputs(notebook) + hidden_errors(notebook)
    return problems[0] if problems else None


def _plain(text: str) -> str:
    """The first line that says something, without colour codes."""
    lines = re.sub(r"\x1b\[[0-9;]*m", "", text).strip().split("\n")
    return lines[0][:300]


def _collect_figures(made: Path, figures: Path) -> int:
    """Move a notebook's figures beside those of the others; how many there were, each in several formats."""
    files = [path for path in made.rglob("*") if path.is_file()]
    for path in files:
        target = figures / path.relative_to(made)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(path, target)
    return sum(path.suffix == ".svg" for path in files)


def run_one(source: Path, build: Path, timeout: int = TIMEOUT) -> Result:
    """Run one notebook into `notebooks/` (executed), `html/` (its page) and `figures/` of the build folder.

    A notebook that fails is left there too, as far as it came.
    """
    started = time.perf_counter()
    notebook = read_source(source)
    with tempfile.TemporaryDirectory(prefix="marginalia-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        error = execute(notebook, folder, timeout)
        log = folder / "reads.log"
        reads = sorted(set(log.read_text(encoding="utf-8").splitlines())) if log.is_file() else []
        figures = _collect_figures(folder / "build" / "figures", build / "figures")
    write(notebook, build / "notebooks" / f"{source.stem}.ipynb")
    page = build / "html" / f"{source.stem}.html"
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(to_html(notebook, source.stem), encoding="utf-8")
    return Result(source.stem, time.perf_counter() - started, figures, tuple(reads), error, notebook)


def run(
    sources: Iterable[Path],
    build: Path,
    jobs: int = 2,
    timeout: int = TIMEOUT,
    then: Callable[[Path, Result], None] = lambda source, result: None,
) -> list[Result]:
    """Run notebooks, `jobs` at a time, and print a line for each as it ends; failures do not stop the others.

    `then(source, result)` is called after each, in the calling thread. Results have the order of `sources`.
    """
    sources = list(sources)
    results: dict[Path, Result] = {}
    with ThreadPoolExecutor(max_workers=jobs) as pool:
        futures = {pool.submit(run_one, source, build.resolve(), timeout): source for source in sources}
        try:
            for future in as_completed(futures):
                source = futures[future]
                results[source] = future.result()
                print(results[source], flush=True)
                then(source, results[source])
        except KeyboardInterrupt:
            print("stopped", file=sys.stderr, flush=True)
            os._exit(130)  # exit would wait for the running cells; kernels end when their parent does
    return [results[source] for source in sources]
