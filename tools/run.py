"""Run notebooks from top to bottom, two at a time, each in a folder and a kernel of its own.

`python -m tools.run [NAME ...]` leaves executed notebooks, figures and pages in build/.
"""

from __future__ import annotations

import ast
import math
import os
import re
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from queue import Empty

import nbformat
from ipykernel.kernelspec import get_kernel_dict
from jupyter_client import AsyncKernelClient, AsyncKernelManager
from jupyter_client.channels import AsyncZMQSocketChannel
from jupyter_client.kernelspec import KernelSpec
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode
from traitlets import Int, List, Type

from . import pair, site

TIMEOUT = 600  # seconds for one cell
LOOK_AGAIN = 0.2  # seconds between looks for a reply that nobody announced
TRACEBACK = "Traceback (most recent call last)"
MODULES = "' '.join(sorted(n for n in __import__('sys').modules if n.split('.')[0] == 'marginalia'))"


@dataclass(frozen=True)
class Result:
    """How one notebook ran."""

    name: str
    notebook: NotebookNode  # as executed, with widget state
    seconds: float
    data: list[str]  # names in the data folder that it read, sorted
    modules: list[str]  # modules of the package that were imported in the end, sorted
    error: str | None  # which cell failed and how; None: it ran to its end without one

    def __str__(self) -> str:
        status = "FAILED" if self.error else "ok"
        line = f"{status:6}  {self.name:32} {self.seconds:6.1f} s"
        return f"{line}\n        {self.error}" if self.error else line


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


class _Manager(AsyncKernelManager):
    """Starts the Python that runs this, whatever kernels the user has registered."""

    client_factory = Type(_KernelClient)

    @property
    def kernel_spec(self) -> KernelSpec:
        # of loopback and of its end a kernel speaks too loud
        return KernelSpec(**get_kernel_dict(["--IPKernelApp.log_level=CRITICAL"]))


class _Client(NotebookClient):
    """A notebook client that keeps every error that it is told of, and what was imported in the end.

    An Output widget takes an error into itself and may be cleared or closed later, a button's handler prints
    its error and goes on: the cell counts as a success for the plain client either way.
    """

    kernel_manager_class = Type(_Manager)
    cell = Int()  # the one that runs, or ran last
    errors = List()  # each with the position of its cell
    modules = List()

    async def async_execute_cell(self, cell, cell_index, **options):
        self.cell = cell_index
        done = await super().async_execute_cell(cell, cell_index, **options)
        if cell_index == len(self.nb.cells) - 1:
            question = self.kc.execute("", silent=True, user_expressions={"modules": MODULES})
            reply = await self.async_wait_for_reply(question)
            answer = reply["content"]["user_expressions"]["modules"]["data"]["text/plain"]
            self.modules = ast.literal_eval(answer).split()
        return done

    def process_message(self, msg, cell, cell_index):
        content = msg["content"]
        if msg["msg_type"] == "error":
            self.errors.append((cell_index, f"{content['ename']}: {content['evalue']}"))
        elif msg["msg_type"] == "stream" and TRACEBACK in content["text"]:
            self.errors.append((cell_index, content["text"].strip().split("\n")[-1]))
        return super().process_message(msg, cell, cell_index)


def kernel_environment(folder: Path, build: Path) -> dict[str, str]:
    """The environment of a notebook's kernel: figures go to `build`, all else that it writes to `folder`."""
    threads = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL")}
    return {
        **os.environ,
        **threads,  # two notebooks share the cores, and sums come out the same everywhere
        "PYTHONHASHSEED": "0",
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        "IPYTHONDIR": str(folder / "ipython"),  # start-up files of the user are not part of the notebook
        "MARGINALIA_BUILD": str(build),
        "MARGINALIA_READS": str(folder / "reads.log"),
    }


def execute(
    notebook: NotebookNode, folder: Path, build: Path, timeout: int = TIMEOUT
) -> tuple[list[str], str | None]:
    """Run all cells in place, working in `folder`; modules imported, and what went wrong and where.

    Errors that a widget swallowed count, although the cell itself went on.
    """
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    work = folder / "work"
    work.mkdir()
    client = _Client(notebook, timeout=timeout, record_timing=False, coalesce_streams=True)
    try:
        client.execute(cwd=str(work), env=kernel_environment(folder, build))
    except CellExecutionError:
        pass  # it is among the errors that the client keeps
    except Exception as error:  # of the kernel or the client; the other notebooks run on
        client.errors.insert(0, (client.cell, f"{type(error).__name__}: {error}"))
    if not client.errors:
        return client.modules, None
    index, said = client.errors[0]
    first = notebook.cells[index].source.strip().split("\n")[0]
    said = re.sub(r"\x1b\[[0-9;]*m", "", said).strip().split("\n")[0]  # without colour codes
    return client.modules, f"cell {index + 1} of {len(notebook.cells)} (`{first[:80]}`): {said[:300]}"


def run_one(source: Path, build: Path) -> Result:
    """Run one notebook into `notebooks/` and `figures/` of the build folder, as far as it comes."""
    started = time.perf_counter()
    notebook = pair.read(source)
    with tempfile.TemporaryDirectory(prefix="marginalia-", ignore_cleanup_errors=True) as name:
        modules, error = execute(notebook, Path(name), build)
        log = Path(name, "reads.log")
        reads = sorted(set(log.read_text(encoding="utf-8").splitlines())) if log.is_file() else []
    (build / "notebooks").mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, build / "notebooks" / f"{source.stem}.ipynb")
    return Result(source.stem, notebook, time.perf_counter() - started, reads, modules, error)


def run(sources: Iterable[Path], build: Path) -> Iterator[tuple[Path, Result]]:
    """Run notebooks, two at a time; print a line for each and yield it as it ends. Failures stop no other."""
    with ThreadPoolExecutor(max_workers=2) as pool:
        futures = {pool.submit(run_one, source, build.resolve()): source for source in sources}
        try:
            for future in as_completed(futures):
                print(future.result(), flush=True)
                yield futures[future], future.result()
        except KeyboardInterrupt:
            os._exit(130)  # exit would wait for the running cells; kernels end when their parent does


def main(names: list[str]) -> int:
    """Run notebooks and build the pages of the whole collection; 1 where something went wrong."""
    build = pair.ROOT / "build"
    results = [result for _, result in run(pair.find(names), build)]
    wrong = site.build(build)
    failed = sum(result.error is not None for result in results)
    print(f"{len(results) - failed} of {len(results)} notebooks ran; read them from {build}/html/index.html")
    return 1 if failed or wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
