"""Outputs fit to be committed: no widget state, addresses, paths of this machine or progress bars."""

from __future__ import annotations

import base64
import io
import re
import sys
import tempfile
from pathlib import Path

from nbformat import NotebookNode
from PIL import Image

from .pair import ROOT

WIDGET = "application/vnd.jupyter.widget-view+json"
DRAWING = 20_000  # colours; what has more of them is a photograph
PANEL = "Interactive panel: run the notebook to use it."
ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
REPR = re.compile(r"[A-Za-z_][\w.]*\(")  # `VBox(children=...`: what a widget calls itself
BAR = re.compile(r"\d+%\||\d+(\.\d+)?[kMG]?(it|B)/s")  # what tqdm and pooch draw
CELL = re.compile(r"(?:/private)?(?:/tmp|/var/folders/[^\s:'\"]*?)/ipykernel_\d+/\d+\.py")  # in a warning
PACKAGES = re.compile(r"/[^\s'\"]*/(?:site|dist)-packages/")


def clean_text(text: str) -> str:
    """Text without object addresses and without the places where this machine keeps its files."""
    text = PACKAGES.sub("site-packages/", CELL.sub("cell", ADDRESS.sub("", text)))
    text = re.sub(re.escape(tempfile.gettempdir()) + r"/marginalia-\w+/", "", text)
    for folder in (sys.prefix, sys.base_prefix, ROOT):  # the one inside before the one around it
        text = text.replace(f"{folder}/", "")
    return text.replace(f"{Path.home()}/", "~/")


def clean_stream(text: str) -> str:
    """What is left on the screen: the last state of a line drawn again and again, no progress bars."""
    lines = [line.rstrip("\r").rsplit("\r", 1)[-1] for line in text.split("\n")]
    return clean_text("\n".join(line for line in lines if not BAR.search(line)))


def smaller_png(encoded: str) -> str:
    """The same drawing in at most 256 colours, base64, which takes a third of the room.

    A photograph, which would show bands, and a drawing that gains nothing stay as they are.
    """
    raw = base64.b64decode(encoded)
    drawing = Image.open(io.BytesIO(raw)).convert("RGB")
    if drawing.getcolors(DRAWING) is None:
        return encoded
    packed = io.BytesIO()
    few = drawing.quantize(256, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    few.save(packed, "png", optimize=True)
    return base64.b64encode(packed.getvalue()).decode() if packed.tell() < len(raw) else encoded


def _clean_bundle(data: NotebookNode) -> None:
    """Leave a picture and a sentence where a widget was, small pictures and clean text elsewhere."""
    if "image/png" in data:
        data["image/png"] = smaller_png(data["image/png"])
    if data.pop(WIDGET, None) is not None:
        text = data.get("text/plain", "")
        if not text or REPR.match(text):
            data["text/plain"] = PANEL
    for kind, value in data.items():
        if isinstance(value, str) and (kind.startswith("text/") or kind == "image/svg+xml"):
            data[kind] = clean_text(value)


def clean(notebook: NotebookNode) -> None:
    """Clean all outputs of an executed notebook in place, and drop what a run leaves in the metadata."""
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type != "code":
            continue
        kept = []
        for output in cell.outputs:
            if output.output_type == "stream":
                output.text = clean_stream(output.text)
                if not output.text.strip():
                    continue
            elif output.output_type != "error":
                _clean_bundle(output.data)
            kept.append(output)
        cell.outputs = kept
