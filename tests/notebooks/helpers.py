"""Small notebooks for tests: written as their authors write them, as a .py file."""

from __future__ import annotations

from pathlib import Path

from nbformat import NotebookNode, v4

FIRST = """\
# %% [markdown]
# # A small notebook
#
# What is shown: figure 1 of the paper. Two minutes.
#
# **中文摘要** 一个小例子。
"""
PARAMETERS = """\
# %% tags=["parameters"]
FAST = True
RETRAIN = False
"""
LAST = """\
# %% [markdown]
# ## Summary
# Sums add up.
"""


def text_cell(text: str) -> str:
    return "# %% [markdown]\n" + "".join(f"# {line}\n" for line in text.split("\n"))


def code_cell(code: str) -> str:
    return f"# %%\n{code.strip()}\n"


def good_notebook() -> str:
    """A notebook that passes every check once it has outputs."""
    beats = [
        part for n in range(9) for part in (text_cell(f"Beat {n}."), code_cell(f"assert {n} + 1 == {n + 1}"))
    ]
    return "\n".join([FIRST, PARAMETERS, *beats, code_cell("print(1 + 1)"), LAST])


def write_notebook(root: Path, name: str, text: str) -> Path:
    """The .py of a notebook in `root`/notebooks."""
    path = root / "notebooks" / f"{name}.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def one_cell(*outputs, source="1 + 1", metadata=None, **state) -> NotebookNode:
    """A notebook of one code cell that ran, with the given outputs."""
    cell = v4.new_code_cell(source, outputs=list(outputs), execution_count=1, metadata=metadata or {})
    return v4.new_notebook(cells=[cell], metadata=state)
