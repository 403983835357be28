"""Controls above a figure: made alike from what they are given, and the figure follows them."""

from __future__ import annotations

import io

import ipywidgets as widgets
import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image

from marginalia.controls import with_controls
from tests.notebooks.helpers import FIRST, code_cell, write_notebook
from tools import pair, run
from tools.clean import PANEL, clean


def line(slope, largest_side=0.3, kind="line", grid=True, own=1):
    figure, axes = plt.subplots(figsize=(4, 3), dpi=50)
    axes.plot([0, slope, largest_side])
    return figure


CONTROLS = {
    "slope": (-2, 4),
    "largest_side": (0.0, 1.0, 0.05),
    "kind": {"a dotted line": "dots", "a line": "line"},
    "grid": True,
    "own": widgets.SelectionSlider(options=[1, 5, 9], value=5, description="their own"),
}


def pixels(shown) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(shown.children[-1].value)).convert("L"))


def test_controls_are_those_of_ipywidgets_and_act_alike():
    *knobs, _, _ = with_controls(line, **CONTROLS).children
    kinds = ["IntSlider", "FloatSlider", "Dropdown", "Checkbox", "SelectionSlider"]
    assert [type(knob).__name__ for knob in knobs] == kinds
    assert [knob.description for knob in knobs] == ["slope", "largest side", "kind", "grid", "their own"]
    assert [knob.value for knob in knobs] == [1, 0.3, "line", True, 5]  # a default of `line` counts
    assert [knob.continuous_update for knob in knobs if "Slider" in type(knob).__name__] == [False] * 3
    assert len({knob.style.description_width for knob in knobs}) == 1


@pytest.mark.parametrize("draw", [line, lambda slope: (line(slope), "data")])
def test_the_figure_follows_and_is_closed(draw):
    shown = with_controls(draw, slope=(0, 4))
    first = pixels(shown)
    assert first.shape == (150, 200)
    shown.children[0].value = 4
    second = pixels(shown)
    assert second.shape == first.shape and (second != first).any()
    assert plt.get_fignums() == []


BROKEN = """
import ipywidgets as widgets, matplotlib.pyplot as plt
from marginalia.controls import with_controls

def draw(slope):
    plt.figure()
    raise ValueError("planted")

with_controls(draw, slope=(0, 4))
"""


def test_an_error_is_shown_once_and_the_run_tells_of_it(tmp_path):
    left = code_cell("import matplotlib.pyplot as plt\nassert plt.get_fignums() == []")
    source = write_notebook(tmp_path, "01_broken", FIRST + code_cell(BROKEN) + left)
    notebook = pair.read(source)
    _, error = run.execute(notebook, tmp_path, tmp_path, tmp_path)
    assert error.startswith("cell 2 of 3 (`import ") and error.endswith("ValueError: planted")
    states = notebook.metadata.widgets["application/vnd.jupyter.widget-state+json"]["state"].values()
    ((told,),) = (each["state"]["outputs"] for each in states if each["model_name"] == "OutputModel")
    assert (told["ename"], told["evalue"]) == ("ValueError", "planted")
    clean(notebook)
    (output,) = notebook.cells[1].outputs
    assert dict(output.data) == {"text/plain": PANEL}
    assert notebook.cells[2].outputs == []
