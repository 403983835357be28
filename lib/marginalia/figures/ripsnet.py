"""RipsNet (PMLR v196), on which TopKD builds."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from marginalia.plots import panels
from marginalia.store import read_table
from marginalia.style import CYCLE


def accuracy() -> tuple[Figure, pd.DataFrame]:
    """Table 1, its ModelNet10 part: published accuracy against the share of noisy points; bars: its spread.

    Returns (figure, data) with the columns of data/published/ripsnet_accuracy.csv.
    """
    table = read_table("published/ripsnet_accuracy.csv").query("data == 'ModelNet10'")
    figure, (axes,) = panels(1, 1, 2.7)
    for (method, curve), color in zip(table.groupby("method", sort=False), CYCLE, strict=False):
        style = {"color": color, "marker": "o", "lw": 1, "label": method}
        axes.errorbar(curve["noise_share"], curve["accuracy"], curve["spread"], **style)
    axes.set(xlabel="share of noisy points", ylabel="accuracy, percent", ylim=(0, None))
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return figure, table
