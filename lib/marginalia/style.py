"""One look for all figures: colours, names that keep their colour, fonts, sizes."""

from __future__ import annotations

import functools
from pathlib import Path

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

# A model, a data set, a frame has one name and one colour in the whole collection.
MODELS = {  # kind of detector -> its name
    "detr": "DETR",
    "detr-focal": "DETR + OR + FL",
    "conditional": "Conditional DETR",
    "dab": "DAB-DETR",
}
MODEL_COLORS = dict(zip(MODELS, (PALETTE[c] for c in ("vermilion", "purple", "blue", "green")), strict=True))
DATASETS = {  # name in the measured tables -> its name
    "coco_val2017": "COCO val2017",
    "voc2012_trainval": "VOC2012 trainval",
    "neu_det": "NEU-DET",
    "deeppcb": "DeepPCB",
    "bccd": "BCCD",
}
DATASET_COLORS = dict(zip(DATASETS.values(), CYCLE, strict=False))
DATASET_COLORS["your file"] = "black"
GROUND_TRUTH, DETECTION = PALETTE["orange"], PALETTE["sky"]  # frames; both show on ink, paper and sky

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
    }
    seaborn.set_theme(context="paper", style="whitegrid", palette=CYCLE, rc=rc)
