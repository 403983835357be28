"""One look for all figures, and one way to save them.

Plot functions return `(figure, data)`; `save` writes both under the id that `notebooks/figures.yml` gives
the figure, and `draw` does it for an id alone.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from marginalia.catalogue import Row, catalogue, find
from marginalia.store import checkout

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

__all__ = [
    "CJK_FONTS",
    "CYCLE",
    "DIVERGING",
    "PALETTE",
    "SEQUENTIAL",
    "WIDTH",
    "Row",
    "catalogue",
    "cjk_font",
    "draw",
    "save",
    "text",
    "use_style",
]

# Okabe and Ito's colours, told apart with any of the three kinds of colour blindness.
PALETTE = {
    "blue": "#0072B2",
    "vermilion": "#D55E00",
    "green": "#009E73",
    "purple": "#CC79A7",
    "orange": "#E69F00",
    "sky": "#56B4E9",
    "grey": "#5F5F5F",  # references and chance levels
    "yellow": "#F0E442",  # for areas: too pale for a line on white
}
CYCLE = [PALETTE[name] for name in ("blue", "vermilion", "green", "purple", "orange", "sky", "grey")]
SEQUENTIAL = "cividis"  # magnitudes
DIVERGING = "RdBu_r"  # only around a zero that means something, with limits symmetric about it
WIDTH = {"column": 3.5, "page": 7.0}  # inches

# Sans before serif, simplified before the others; the collection's Chinese is simplified.
CJK_FONTS = (
    "Noto Sans CJK SC",
    "Source Han Sans SC",
    "PingFang SC",
    "Hiragino Sans GB",
    "Microsoft YaHei",
    "SimHei",
    "WenQuanYi Micro Hei",
    "WenQuanYi Zen Hei",
    "Noto Sans CJK JP",
    "Noto Serif CJK SC",
    "Noto Serif CJK JP",
    "Arial Unicode MS",
)


@functools.cache
def cjk_font() -> str | None:
    """Name of an installed font with Chinese characters, or None."""
    from matplotlib import font_manager

    # matplotlib remembers fonts between runs, also those whose file is gone
    there = {font.name for font in font_manager.fontManager.ttflist if Path(font.fname).is_file()}
    return next((name for name in CJK_FONTS if name in there), None)


def text(en: str, zh: str) -> str:
    """The Chinese text where a font for it is installed, else the English one."""
    return zh if cjk_font() else en


def use_style() -> None:
    """Set matplotlib and seaborn up for figures that read well at page width (7 inches)."""
    import seaborn

    rc = {
        "figure.figsize": (WIDTH["page"], 3.2),
        "figure.dpi": 110,  # on screen and in the notebook's committed outputs
        "savefig.dpi": 200,
        "figure.constrained_layout.use": True,
        # DejaVu comes with matplotlib, so figures look the same everywhere
        "font.family": ["DejaVu Sans", *filter(None, [cjk_font()])],
        "font.size": 9,
        "axes.titlesize": 9,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "axes.titlepad": 7,
        "axes.labelsize": 9,
        "axes.labelcolor": "#333333",
        "axes.edgecolor": "#8C8C8C",
        "axes.linewidth": 0.8,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.axisbelow": True,
        "grid.color": "#E6E6E6",
        "grid.linewidth": 0.6,
        "xtick.labelsize": 8,
        "ytick.labelsize": 8,
        "xtick.color": "#4D4D4D",
        "ytick.color": "#4D4D4D",
        "legend.fontsize": 8,
        "legend.title_fontsize": 8,
        "legend.frameon": False,  # a filled frame would hide data; put the legend beside the curves
        "legend.handlelength": 1.6,
        "lines.linewidth": 1.5,
        "errorbar.capsize": 2,
        "lines.markersize": 4.5,
        "patch.linewidth": 0.6,
        "image.cmap": SEQUENTIAL,
        "image.interpolation": "nearest",  # a matrix shows its cells
        "mathtext.fontset": "dejavusans",
        "pdf.fonttype": 3,  # type 42 would embed CJK fonts (CFF outlines) in a way that not all viewers read
    }
    seaborn.set_theme(context="paper", style="whitegrid", palette=CYCLE, rc=rc)


def save(
    figure: Figure,
    id: str,
    data: pd.DataFrame | Mapping[str, pd.DataFrame],
    out: str | Path | None = None,
) -> list[Path]:
    """Write a figure as svg, png and pdf, and its numbers as CSV (`name.csv`; `name-key.csv` for a mapping).

    They go to `<id>.*` in `out`, else in `figures/` of MARGINALIA_BUILD, of the checkout's `build/`, or of
    `./build`. `id` is one of `notebooks/figures.yml`, or `extra/name` for a figure that is in no paper. The
    same figure and data give the same bytes. The figure leaves pyplot's care, so that a notebook shows it
    once: where a cell ends with it. Raises ValueError for an unknown id.
    """
    import matplotlib as mpl
    from matplotlib import pyplot as plt

    find(id)
    frames = _frames(data)
    folder, name = id.split("/")
    folder = (Path(out) if out is not None else _build() / "figures") / folder
    folder.mkdir(parents=True, exist_ok=True)
    # What would change from run to run (dates, random ids) or with the version is left out.
    metadata = {
        "svg": {"Date": None, "Creator": None},
        "png": {"Software": None},
        "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    }
    written = []
    with mpl.rc_context({"svg.hashsalt": "marginalia"}):
        for form, about in metadata.items():
            written.append(folder / f"{name}.{form}")
            figure.savefig(written[-1], metadata=about, dpi=200)
    plt.close(figure)
    for key, frame in frames.items():
        written.append(folder / (f"{name}-{key}.csv" if key else f"{name}.csv"))
        named = any(level is not None for level in frame.index.names)
        frame.to_csv(written[-1], index=named, encoding="utf-8", lineterminator="\n")
    return written


def _frames(data: pd.DataFrame | Mapping[str, pd.DataFrame]) -> Mapping[str, pd.DataFrame]:
    """The frames to write by the end of their file name; a single frame has none."""
    import pandas as pd

    frames = data if isinstance(data, Mapping) else {"": data}
    for key, frame in frames.items():
        if not isinstance(frame, pd.DataFrame):
            which = f"data[{key!r}]" if key else "data"
            raise TypeError(f"save: {which} is of type {type(frame).__name__}, not a DataFrame")
        if isinstance(data, Mapping) and not re.fullmatch(r"\w+(-\w+)*", str(key), re.ASCII):
            raise ValueError(f"save: {key!r} cannot end a file name; use letters, digits, - and _")
    if not frames:
        raise ValueError("save: data is empty; every figure is saved with its numbers")
    return frames


def _build() -> Path:
    """Folder for everything that is made."""
    pointed = os.environ.get("MARGINALIA_BUILD")
    return Path(pointed).expanduser() if pointed else (checkout() or Path.cwd()) / "build"


def draw(id: str, data: object = None, out: str | Path | None = None) -> list[Path]:
    """Draw one figure of the catalogue with its function, on `data` if given, and save it; returns the files.

    Raises ValueError when the id is unknown, is not drawn here, or takes no data.
    """
    row = find(id)
    if row is None:
        raise ValueError(f"draw: {id} is not in the catalogue, which says what draws a figure")
    if row.function is None:
        raise ValueError(f"draw: {id} has no function, its status is: {row.status}")
    module, name = row.function.split(":")
    function = getattr(importlib.import_module(module), name, None)
    if function is None:
        raise ValueError(f"draw: {id} names {row.function}, but {module} has no {name}")
    arguments = dict(row.arguments)
    if data is not None:
        if "data" not in inspect.signature(function).parameters:
            raise ValueError(f"draw: {id} takes no data; leave it out")
        arguments["data"] = data
    use_style()
    figure, frame = function(**arguments)
    return save(figure, id, frame, out)
