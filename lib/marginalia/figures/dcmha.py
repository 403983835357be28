"""DCMHA / DCFormer (ICML 2024): attention heads that are composed for each pair of tokens."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from marginalia.plots import NEUTRAL, panels
from marginalia.store import read_table
from marginalia.style import CYCLE


def training_speed() -> tuple[Figure, pd.DataFrame]:
    """Published training steps a second (TPU v3) of composed models, as a share of the plain model's.

    From comments of the first author; the paper's own table could not be read. Returns (figure, data), data
    with columns model (size and variant) and ratio.
    """
    speed = read_table("published/dcmha_training_speed_tpu.csv").query("hardware == 'TPU v3'")
    plain = speed[speed["variant"] == "baseline"].set_index("model")["steps_per_second"]
    composed = speed[speed["variant"] != "baseline"].reset_index(drop=True)
    ratio = composed["steps_per_second"] / composed["model"].map(plain)
    table = (composed["model"] + ": " + composed["variant"]).to_frame("model").assign(ratio=ratio)

    figure, (axes,) = panels(1, 1, 1.9)
    bars = axes.barh(table["model"], table["ratio"], color=CYCLE[0], height=0.6, lw=0)
    axes.bar_label(bars, fmt="%.2f", padding=3, fontsize=8)
    axes.axvline(1, color=NEUTRAL, lw=1)
    axes.set(xlabel="training steps a second, as a share of the plain model's", xlim=(0, 1.05))
    axes.grid(axis="y", visible=False)
    axes.invert_yaxis()
    return figure, table
