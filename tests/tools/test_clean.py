"""Outputs that may be committed."""

from __future__ import annotations

import base64
import copy
import io
import tempfile
from pathlib import Path

import numpy as np
import pytest
from nbformat import v4
from PIL import Image

from tests.notebooks import checks
from tests.notebooks.helpers import one_cell
from tools.clean import PANEL, WIDGET, clean, clean_stream, clean_text, smaller_png

# one black pixel
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="


def display(**data):
    names = {"png": "image/png", "text": "text/plain", "html": "text/html", "widget": WIDGET}
    return v4.new_output("display_data", data={names[key]: value for key, value in data.items()})


def cleaned(notebook):
    clean(notebook)
    return notebook.cells[0].outputs


def test_widget_with_an_image_keeps_image_and_sentence():
    view = {"model_id": "a1", "version_major": 2}
    (output,) = cleaned(
        one_cell(display(widget=view, png=PIXEL, text="Five boxes; drag them in a notebook."))
    )
    assert dict(output.data) == {"image/png": PIXEL, "text/plain": "Five boxes; drag them in a notebook."}


@pytest.mark.parametrize(
    "text", ["VBox(children=(IntSlider(value=1), Output()))", "marginalia.explorers.Box(x=1)"]
)
@pytest.mark.parametrize("plot", [{}, {"png": PIXEL}])
def test_what_a_widget_calls_itself_becomes_a_sentence(text, plot):
    (output,) = cleaned(one_cell(display(widget={"model_id": "a1"}, text=text, **plot)))
    assert output.data["text/plain"] == PANEL and WIDGET not in output.data
    assert ("image/png" in output.data) == bool(plot)


def test_metadata_of_a_run_goes():
    notebook = one_cell(metadata={"execution": {"a": "2024"}, "tags": ["keep"]}, widgets={"state": {}})
    clean(notebook)
    assert "widgets" not in notebook.metadata and dict(notebook.cells[0].metadata) == {"tags": ["keep"]}


def test_text_loses_addresses_and_places(root):
    temporary = Path(tempfile.gettempdir()) / "ipykernel_123" / "456.py"
    assert clean_text("<Axes at 0x7f33c9a1b2c0>") == "<Axes>"
    assert clean_text(f"saved {root}/build/a.svg") == "saved build/a.svg"
    assert clean_text(f"{temporary}:3: UserWarning: x") == "cell:3: UserWarning: x"
    assert clean_text(f"{tempfile.gettempdir()}/marginalia-ab_1/a.txt") == "a.txt"
    assert clean_text(f"{Path(pytest.__file__)}:3").startswith("site-packages/pytest/")
    assert clean_text("0x7feb352d stays, as does 3 / 4") == "0x7feb352d stays, as does 3 / 4"


def test_progress_bars_leave_nothing():
    bar = "epoch:   0%|          | 0/3 [00:00<?, ?it/s]\repoch: 100%|####| 3/3 [00:01<00:00, 2.1it/s]\n"
    assert clean_stream(bar) == ""
    assert clean_stream(f"before\n{bar}after\n") == "before\nafter\n"
    assert clean_stream("step 1\rstep 2\rstep 3\ndone\r\n") == "step 3\ndone\n"
    assert clean_stream("accuracy 95%\n") == "accuracy 95%\n"


def test_empty_stream_goes():
    bar = v4.new_output("stream", name="stderr", text="\r 50%|##  | 1/2\r100%|####| 2/2")
    assert cleaned(one_cell(bar)) == []


def test_clean_notebook_passes_the_checks_and_stays_as_it_is():
    here = Path.home() / "x.json"
    dirty = one_cell(
        display(widget={"model_id": "a1"}, html=f"<b>{here}</b>", text="Box(x=1) at 0x7f33c9a1b2c0"),
        v4.new_output("stream", name="stderr", text="\r100%|##| 2/2\nreal words"),
        widgets={"state": {}},
    )
    clean(dirty)
    assert checks.widget_state(dirty) == [] and checks.machine_traces(dirty) == []
    again = copy.deepcopy(dirty)
    clean(again)
    assert again == dirty


def encoded(pixels) -> str:
    packed = io.BytesIO()
    Image.fromarray(pixels).save(packed, "png")
    return base64.b64encode(packed.getvalue()).decode()


def decoded(text) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(text))).convert("RGB"))


def test_drawings_are_packed_and_photographs_are_not(rng):
    palette = rng.integers(0, 256, (200, 3), dtype=np.uint8)
    drawing = palette[rng.integers(0, 200, (100, 100))]
    photograph = rng.integers(0, 256, (200, 200, 3), dtype=np.uint8)
    packed = smaller_png(encoded(drawing))
    assert len(packed) < len(encoded(drawing))
    assert np.array_equal(decoded(packed), drawing)  # its 200 colours all find a place
    assert smaller_png(encoded(photograph)) == encoded(photograph)
