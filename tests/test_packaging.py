"""What the files beside the code say about it, held true."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

import marginalia

TEXT = {"", ".py", ".md", ".toml", ".yml", ".txt", ".cff", ".html", ".js", ".ipynb", ".csv", ".json", ".cfg"}
# Split, so that this file does not hold what it looks for.
REGISTRIES = [
    "pypi." + "org",
    "python" + "hosted.org",
    "npm" + "js.org",
    "ana" + "conda.org",
    "download.py" + "torch.org",
]
HOMES = re.compile(r"(?<![\w.])/" + r"(?:home|root|Users|work)/\w+")


def tracked(root: Path) -> list[Path]:
    """Text files under version control; in a copy without git there are none to look at."""
    done = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True, text=True)
    if done.returncode:
        pytest.skip("this is not a git checkout")
    paths = [root / name for name in done.stdout.split("\0") if name]
    return [path for path in paths if path.suffix in TEXT and path.is_file()]


@pytest.fixture(scope="module")
def project(root):
    with open(root / "pyproject.toml", "rb") as file:
        return tomllib.load(file)


@pytest.fixture(scope="module")
def pins(root) -> dict[str, Requirement]:
    lines = (root / "requirements.txt").read_text(encoding="utf-8").splitlines()
    found = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(one.name): one for one in found}


def test_every_pin_is_exact(pins):
    for one in pins.values():
        assert [s.operator for s in one.specifier] == ["=="], f"{one} is not pinned"
        assert "+" not in str(one.specifier), f"{one} exists on one machine only"


def test_every_requirement_is_pinned_inside_its_range(project, pins):
    wanted = [*project["project"]["dependencies"], *project["project"]["optional-dependencies"]["dev"]]
    wanted += project["build-system"]["requires"]  # the Makefile builds without a network
    for requirement in map(Requirement, wanted):
        pin = pins.get(canonicalize_name(requirement.name))
        assert pin is not None, f"{requirement} is not in requirements.txt"
        version = next(iter(pin.specifier)).version
        assert requirement.specifier.contains(version), f"{pin} is outside {requirement}"


def test_pins_belong_together(pins):
    """The set is whole: nothing that a pinned package asks for is missing or outside its range."""
    from importlib.metadata import PackageNotFoundError, requires

    for name in pins:
        try:
            wanted = requires(name) or []
        except PackageNotFoundError:
            continue  # pinned for another system
        for requirement in map(Requirement, wanted):
            if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
                continue
            pin = pins.get(canonicalize_name(requirement.name))
            if pin is None and name == "torch":
                continue  # which asks for its own GPU libraries, pinned by itself, where a build uses them
            assert pin is not None, f"{name} asks for {requirement}, which is not pinned"
            version = next(iter(pin.specifier)).version
            assert requirement.specifier.contains(version, prereleases=True), f"{name} asks for {requirement}"


def test_pins_work_on_the_oldest_python(project, pins):
    from importlib.metadata import PackageNotFoundError, metadata

    oldest = project["project"]["requires-python"].removeprefix(">=") + ".0"
    for name in pins:
        try:
            asks = metadata(name)["Requires-Python"]
        except PackageNotFoundError:
            continue  # pinned for another system
        assert not asks or SpecifierSet(asks).contains(oldest), f"{name} asks for Python {asks}"


def test_conda_environment_installs_the_same_pins(root, project):
    content = yaml.safe_load((root / "environment.yml").read_text(encoding="utf-8"))
    python, pip, inside = content["dependencies"]
    assert python.startswith("python=") and pip == "pip"
    assert inside == {"pip": ["-r requirements.txt", "-e ."]}  # the package itself too
    assert Requirement("python" + project["project"]["requires-python"]).specifier.contains(
        python.split("=")[1]
    )


def test_version_is_the_same_everywhere(root):
    citation = yaml.safe_load((root / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == marginalia.__version__
    newest = re.search(r"^## (\S+)", (root / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert newest[1] == marginalia.__version__


def test_licence_is_the_same_everywhere(root, project):
    citation = yaml.safe_load((root / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["license"] == project["project"]["license"] == "Apache-2.0"
    assert "Apache License" in (root / "LICENSE").read_text(encoding="utf-8")[:200]


def test_no_registry_and_no_home_folder_is_named(root):
    for path in tracked(root):
        text = path.read_text(encoding="utf-8")
        named = [host for host in REGISTRIES if host in text] + HOMES.findall(text)
        assert not named, f"{path.relative_to(root)} names {named[0]}"


def test_import_is_light():
    code = (
        "import sys, marginalia, marginalia.__main__\n"
        "heavy = {'torch', 'matplotlib', 'pandas', 'numpy', 'nbclient', 'ipywidgets'} & set(sys.modules)\n"
        "sys.exit(f'loaded {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


DRAWING = {"plots", "style", "figures", "explorers", "controls"}
NOT_BELOW = {  # room -> what it must not import
    "boxes": {"detection", *DRAWING},
    "detection": DRAWING,
    "topology": {"boxes", "detection", *DRAWING},
    "figures": {"explorers"},
    "explorers": {"figures"},
}


def test_each_room_imports_only_what_lies_below_it(root):
    """And nothing in the package imports the tools, the recipes or what only they need."""
    lib, outside = root / "lib" / "marginalia", {path.stem for path in (root / "data/recipes").glob("*.py")}
    outside |= {"tools", "nbclient", "jupytext", "sphinx", "pytest"}
    for path in lib.rglob("*.py"):
        package = ["marginalia", *path.relative_to(lib).parts[:-1]]
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                before = package[: len(package) - node.level + 1] if node.level else []
                base = ".".join([*before, *([node.module] if node.module else [])])
                names = [f"{base}.{alias.name}" for alias in node.names]
            else:
                continue
            for first, second, *_ in (f"{name}..".split(".") for name in names):
                assert first not in outside, f"{path.name} imports {first}"
                assert second not in NOT_BELOW.get((*package, "")[1], ()) or first != "marginalia", path


@pytest.mark.parametrize("command", [("check", "--output-format=concise"), ("format", "--diff")])
def test_ruff_finds_nothing(root, command):
    done = subprocess.run(
        [sys.executable, "-m", "ruff", *command, "lib", "tools", "data", "tests", "benchmarks"],
        cwd=root,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.skipif(not shutil.which("make"), reason="make is not here")
@pytest.mark.parametrize("user", ["0", "1000"])
def test_lab_starts_for_root_too(root, tmp_path, user):
    (tmp_path / "id").write_text(f"#!/bin/sh\necho {user}\n")
    (tmp_path / "id").chmod(0o755)
    environment = os.environ | {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    command = ["make", "--no-print-directory", "-n", "lab"]  # make itself may have started this test
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert ("--allow-root" in done.stdout) == (user == "0")
    assert done.stdout.rstrip().endswith("notebooks/00_tour.ipynb")


def test_tests_and_ci_know_the_same_browsers(root):
    names = re.search(
        r"^BROWSERS = (\(.*?\))", (root / "tests/browser/conftest.py").read_text("utf-8"), re.M
    )[1]
    asked = re.search(r"command -v (chromium.*?) >", (root / ".ci/system-packages").read_text("utf-8"))[1]
    assert ast.literal_eval(names) == tuple(asked.split())


def test_scripts_of_ci_are_whole(root):
    for name in (".ci/run", ".ci/system-packages"):
        path = root / name
        assert path.stat().st_mode & 0o100, f"{name} cannot be run"
        subprocess.run(["bash", "-n", path], check=True)
