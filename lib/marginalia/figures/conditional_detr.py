"""Conditional DETR (ICCV 2021)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from marginalia.plots import panels
from marginalia.store import read_table
from marginalia.style import CYCLE

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


def coco() -> tuple[Figure, pd.DataFrame]:
    """Table 1: published AP of Conditional DETR and DETR against training epochs, a panel a backbone.

    Two points are joined by dots: nothing is published between. Returns (figure, data) with the columns of
    data/published/conditional_detr_coco.csv.
    """
    table = read_table("published/conditional_detr_coco.csv")
    table = table[table["model"].isin(["Conditional DETR", "DETR"])]
    figure, axes = panels(4, 4, 2.4, sharey=True)
    for panel, (backbone, rows) in zip(axes, table.groupby("backbone", sort=False), strict=True):
        for (model, curve), color in zip(rows.groupby("model"), CYCLE, strict=False):
            curve = curve.sort_values("epochs")
            line = "o-" if len(curve) > 2 else "o:"
            panel.semilogx(curve["epochs"], curve["AP"], line, color=color, label=model)
        panel.set(title=backbone, xlabel="epochs", xticks=[50, 108, 500], xticklabels=["50", "108", "500"])
        panel.minorticks_off()
    axes[0].set_ylabel("AP, percent")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper right", ncols=2)
    return figure, table
