"""A real JupyterLab on loopback and a headless Chromium: tests look at explorers where readers do."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

BROWSERS = ("chromium", "google-chrome", "chromium-browser")  # as in .ci/system-packages and the tour
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
QUIET = {"fetchNews": "false", "checkForUpdates": False, "doNotDisturbMode": True}

# Sets the source of a cell of the open notebook, runs it, and gives its outputs when it is done.
RUN_CELL = """async ([index, source]) => {
  const panel = jupyterapp.shell.currentWidget;
  await panel.context.ready;
  await panel.sessionContext.ready;
  panel.content.activeCellIndex = index;
  panel.content.activeCell.model.sharedModel.setSource(source);
  await jupyterapp.commands.execute("notebook:run-cell");
  return panel.content.widgets[index].model.outputs.toJSON();
}"""

LOAD = """async (source) => {
  const address = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
  window.module = await import(address);
}"""


@pytest.fixture(scope="session")
def chromium():
    """Headless Chromium through playwright; without one the tests skip, or fail where CI=true."""
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        reason = f"none of {', '.join(BROWSERS)} is here: install one to run the browser tests"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium):
    """Opens pages that collect what went wrong: errors of scripts, and requests that leave the machine."""
    contexts, wrong = [], []

    def new(**options):
        context = chromium.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(10_000)
        watch(page, wrong)
        return page

    yield new
    for context in contexts:
        context.close()
    assert not wrong, wrong


@pytest.fixture
def open_module(open_page):
    """Opens an empty page with an explorer's joined module as `module`."""

    def opened(explorer):
        page = open_page()
        page.goto("about:blank")
        page.evaluate(LOAD, explorer._esm)
        return page

    return opened


@pytest.fixture
def open_saved(open_page, tmp_path):
    """Opens the saved page of an explorer."""

    def opened(explorer, **options):
        page = open_page(**options)
        page.goto(explorer.save_html(tmp_path / "explorer.html").as_uri())
        return page

    return opened


@pytest.fixture(scope="session")
def screenshots(root) -> Path:
    """The folder for images to look at."""
    folder = root / "build" / "screenshots"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def watch(page, wrong: list[str]) -> None:
    """Note errors of the page's scripts and requests to other machines."""
    own = ("http://127.0.0.1", "ws://127.0.0.1", "file:", "data:", "blob:", "about:")
    page.on("pageerror", lambda error: wrong.append(f"error on the page: {error}"))
    page.on("request", lambda r: None if r.url.startswith(own) else wrong.append(f"request to {r.url}"))


@dataclass(frozen=True)
class Lab:
    """A running JupyterLab."""

    url: str
    token: str
    folder: Path  # what it serves

    def address(self, name: str) -> str:
        """Where a file of the folder is shown alone on the page."""
        return f"{self.url}doc/tree/{name}?token={self.token}"


@pytest.fixture(scope="session")
def lab(tmp_path_factory):
    """JupyterLab of this interpreter's environment; settings and files in a temporary folder."""
    home = tmp_path_factory.mktemp("jupyter")
    folder = home / "notebooks"
    folder.mkdir()
    settings = home / "settings" / "@jupyterlab" / "apputils-extension"
    settings.mkdir(parents=True)
    (settings / "notification.jupyterlab-settings").write_text(json.dumps(QUIET), encoding="utf-8")
    own = {name: str(home / name) for name in ("config", "data", "runtime", "ipython")}
    token = secrets.token_hex(16)
    environment = {
        **os.environ,
        "JUPYTER_CONFIG_DIR": own["config"],
        "JUPYTER_DATA_DIR": own["data"],
        "JUPYTER_RUNTIME_DIR": own["runtime"],
        "IPYTHONDIR": own["ipython"],
        "JUPYTERLAB_SETTINGS_DIR": str(home / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"),
        "JUPYTER_TOKEN": token,
    }
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1"]
    command += ["--port=0", f"--ServerApp.root_dir={folder}", "--LabApp.expose_app_in_browser=True"]
    log = home / "log.txt"
    with log.open("w") as stream:
        server = subprocess.Popen(command, env=environment, stdout=stream, stderr=subprocess.STDOUT)
    try:
        yield Lab(_address(Path(own["runtime"]), server, log), token, folder)
    finally:
        server.terminate()
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()


def _address(runtime: Path, server: subprocess.Popen, log: Path, patience: float = 90) -> str:
    """The server's own word on where it listens, once it answers there."""
    end = time.monotonic() + patience
    while time.monotonic() < end and server.poll() is None:
        for told in runtime.glob("jpserver-*.json"):
            try:
                url = json.loads(told.read_text())["url"]
                with urllib.request.urlopen(f"{url}api", timeout=5):
                    return url
            except (OSError, ValueError):
                pass  # half written, or not listening yet
        time.sleep(0.1)
    raise RuntimeError(f"JupyterLab did not start:\n{log.read_text()[-2000:]}")


class Notebook:
    """A notebook of two cells in JupyterLab: the first shows an explorer, the second talks to the kernel."""

    def __init__(self, page):
        self.page = page

    def show(self, code: str) -> dict:
        """Run code in the first cell; the data of what it displays, by media type."""
        outputs = self.page.evaluate(RUN_CELL, [0, code])
        return _checked(outputs)[-1]["data"]

    def run(self, code: str) -> str:
        """Run code in the second cell; what it printed."""
        return "".join(o.get("text", "") for o in _checked(self.page.evaluate(RUN_CELL, [1, code])))

    def value(self, code: str):
        """What an expression is in the kernel."""
        return json.loads(self.run(f"import json; print(json.dumps({code}))"))

    def until(self, code: str, expected: Callable | object):
        """The value of an expression in the kernel, once it is (or satisfies) what is expected.

        A message may be held back for a moment.
        """
        for _ in range(60):
            told = self.value(code)
            if expected(told) if callable(expected) else told == expected:
                return told
            self.page.wait_for_timeout(50)
        raise AssertionError(f"{code} is {told}, not {expected}")

    def settled(self, code: str):
        """The value of an expression in the kernel, once it stays the same for a while."""
        before, told = None, self.value(code)
        while told != before:
            self.page.wait_for_timeout(300)
            before, told = told, self.value(code)
        return told

    def has(self, **expected) -> None:
        """Until traits of the explorer in the kernel are these."""
        self.until(f"{{n: getattr(explorer, n) for n in {list(expected)}}}", expected)


def _checked(outputs: list[dict]) -> list[dict]:
    for output in outputs:
        assert output["output_type"] != "error", "\n".join(output["traceback"])
    return outputs


@pytest.fixture(scope="session")
def notebook(lab, chromium):
    """One notebook for all tests of a session: starting JupyterLab's page and a kernel is what takes long."""
    empty = {"cell_type": "code", "metadata": {}, "source": "", "outputs": [], "execution_count": None}
    cells = [{**empty, "id": name} for name in ("show", "run")]
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    content = {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}
    (lab.folder / "explorer.ipynb").write_text(json.dumps(content), encoding="utf-8")
    permissions = ["clipboard-read", "clipboard-write"]
    context = chromium.new_context(viewport={"width": 1150, "height": 800}, permissions=permissions)
    page = context.new_page()
    page.set_default_timeout(60_000)
    wrong: list[str] = []
    watch(page, wrong)
    page.goto(lab.address("explorer.ipynb"))
    page.wait_for_function("() => window.jupyterapp?.shell?.currentWidget?.content?.widgets?.length === 2")
    page.set_default_timeout(20_000)
    yield Notebook(page)
    context.close()
    assert not wrong, wrong
