"""The pictures of the tour: four papers side by side, and some of the numbers that they print."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from marginalia.style import CYCLE, DIVERGING, PALETTE, WIDTH

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

BLANK = {"xticks": [], "yticks": []}
STEPS = ("what goes in", "what is computed", "what comes out")


def four_papers(
    maps: Mapping[str, Float[np.ndarray, "y x"]],
    boxes: Float[np.ndarray, "N 4"],
    geometry: Float[np.ndarray, "N 4"],
    attention: Mapping[str, Float[np.ndarray, " N"]],
    cloud: Float[np.ndarray, "P 2"],
    edges: Float[np.ndarray, "E 2"],
    diagram: Float[np.ndarray, "E 2"],
    image: Float[np.ndarray, "r r"],
    heads: Mapping[str, Float[np.ndarray, "H _"]],
) -> tuple[Figure, dict[str, pd.DataFrame]]:
    """One column a paper, three steps down, drawn from live arrays; returns the figure and its numbers.

    maps: three attention maps by caption (Conditional DETR). boxes: centre, width, height in [0, 1], with
    geometry, the first box's view of each, and attention, its weights by name (Relation DETR). cloud, edges:
    points and the pairs that its spanning tree joins, with diagram and image (TopKD). heads: three matrices
    with a row a head by caption (DCMHA).
    """
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(3, 4, figsize=(WIDTH["page"], 5.9))
    for panel, (name, values) in zip(panels[:, 0], maps.items(), strict=True):
        panel.imshow(values)
        panel.set(xlabel=name, **BLANK)
    _relation(panels[:, 1], boxes, geometry, attention)
    _topology(panels[:, 2], cloud, edges, diagram, image)
    for panel, (name, values) in zip(panels[:, 3], heads.items(), strict=True):
        panel.imshow(values, cmap=DIVERGING, vmin=-1.5, vmax=1.5, aspect="auto")
        panel.set(xlabel=name, xticks=[], yticks=range(len(values)), yticklabels=range(1, len(values) + 1))
    for panel, name in zip(panels[0], ("Conditional DETR", "Relation DETR", "TopKD", "DCMHA"), strict=True):
        panel.set_title(name, loc="center")
    for panel, step in zip(panels[:, 0], STEPS, strict=True):
        panel.set_ylabel(step, color=PALETTE["grey"], labelpad=8)
    for panel in panels.flat:
        panel.set_box_aspect(1)
        panel.grid(False)
        panel.xaxis.label.set_size(8)
        panel.tick_params(length=2, labelsize=7)
    return figure, _numbers(maps, boxes, geometry, attention, cloud, diagram, image, heads)


def _relation(
    panels: np.ndarray,
    boxes: Float[np.ndarray, "N 4"],
    geometry: Float[np.ndarray, "N 4"],
    attention: Mapping[str, Float[np.ndarray, " N"]],
) -> None:
    """Boxes, the relative geometry of the first one, and its attention with and without the bias."""
    import matplotlib.pyplot as plt

    letters = [chr(ord("A") + i) for i in range(len(boxes))]
    for i, (letter, (u, v, w, h)) in enumerate(zip(letters, boxes, strict=True)):
        colour = PALETTE["grey"] if i else PALETTE["vermilion"]
        panels[0].add_patch(plt.Rectangle((u - w / 2, v - h / 2), w, h, fill=False, ec=colour, lw=1.2))
        panels[0].text(u + w / 2 - 0.02, v + h / 2 - 0.02, letter, color=colour, ha="right", fontsize=7)
    panels[0].set(xlim=(0, 1), ylim=(1, 0), xlabel="six boxes, A asks", **BLANK)
    limit = np.abs(geometry).max()
    panels[1].imshow(geometry.T, cmap=DIVERGING, vmin=-limit, vmax=limit, aspect="auto")
    panels[1].set(xlabel="where the others lie for A", xticks=range(len(boxes)), xticklabels=letters)
    panels[1].set(yticks=range(4), yticklabels=["dx", "dy", "w", "h"])
    for shift, colour, (name, values) in zip((-0.2, 0.2), ("grey", "blue"), attention.items(), strict=True):
        panels[2].bar(np.arange(len(boxes)) + shift, values, 0.4, color=PALETTE[colour], label=name, lw=0)
    panels[2].set(xlabel="attention of A", xticks=range(len(boxes)), xticklabels=letters)
    panels[2].legend(fontsize=7, handlelength=0.8, borderaxespad=0)


def _topology(
    panels: np.ndarray,
    cloud: Float[np.ndarray, "P 2"],
    edges: Float[np.ndarray, "E 2"],
    diagram: Float[np.ndarray, "E 2"],
    image: Float[np.ndarray, "r r"],
) -> None:
    """A cloud with its spanning tree, its diagram and its persistence image."""
    for i, j in edges:
        panels[0].plot(*cloud[[i, j]].T, color=PALETTE["sky"], lw=0.9)
    panels[0].plot(*cloud.T, ".", color=PALETTE["blue"], ms=4)
    panels[0].set(xlabel="a batch as a cloud", **BLANK)
    top = 1.08 * diagram.max()
    panels[1].plot([0, top], [0, top], color=PALETTE["grey"], lw=0.8)
    panels[1].plot(*diagram.T, "o", color=PALETTE["blue"], ms=3.5, mew=0, alpha=0.6, clip_on=False)
    panels[1].set(xlabel="diagram: born, died", xlim=(-0.04 * top, top), ylim=(0, top))
    panels[1].set(xticks=[0, 1], yticks=[0, 1])
    panels[2].imshow(image, origin="lower")
    panels[2].set(xlabel="persistence image", **BLANK)


def _numbers(maps, boxes, geometry, attention, cloud, diagram, image, heads) -> dict[str, pd.DataFrame]:
    """What is drawn, one table a panel or group of panels."""
    import pandas as pd

    relation = pd.DataFrame(
        np.hstack([boxes, geometry]), columns=["cx", "cy", "w", "h", "e_dx", "e_dy", "e_w", "e_h"]
    )
    tables = {
        "relation": relation.assign(**{f"attention_{n.replace(' ', '_')}": v for n, v in attention.items()}),
        "cloud": pd.DataFrame(cloud, columns=["x", "y"]),
        "diagram": pd.DataFrame(diagram, columns=["born", "died"]),
        "image": pd.DataFrame(image),
    }
    tables |= {f"map-{i}": pd.DataFrame(values) for i, values in enumerate(maps.values(), 1)}
    return tables | {f"heads-{i}": pd.DataFrame(values) for i, values in enumerate(heads.values(), 1)}


def ap_by_epochs(table: pd.DataFrame) -> tuple[Figure, pd.DataFrame]:
    """Published AP of two models against training epochs, a panel a backbone.

    table: columns model, backbone, epochs, AP. A curve of two points is dotted: nothing is known between.
    """
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, 4, figsize=(WIDTH["page"], 2.5), sharey=True)
    for panel, (backbone, rows) in zip(panels, table.groupby("backbone", sort=False), strict=True):
        for (model, curve), colour in zip(rows.groupby("model"), CYCLE, strict=False):
            style = "o-" if len(curve) > 2 else "o:"
            panel.plot("epochs", "AP", style, data=curve.sort_values("epochs"), color=colour, label=model)
        panel.set(title=backbone, xscale="log", xlabel="epochs")
        panel.set_xticks([50, 108, 500], ["50", "108", "500"])
        panel.minorticks_off()
    panels[0].set_ylabel("AP, percent")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper right", ncols=2)
    return figure, table


def convergence(table: pd.DataFrame) -> tuple[Figure, pd.DataFrame]:
    """Published AP of detectors after each epoch, with the error of reading them from a picture.

    table: columns model, epoch, AP, reading_error.
    """
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(WIDTH["page"], 2.9))
    for (model, curve), colour in zip(table.groupby("model", sort=False), CYCLE, strict=False):
        low, high = curve["AP"] - curve["reading_error"], curve["AP"] + curve["reading_error"]
        axes.fill_between(curve["epoch"], low, high, color=colour, alpha=0.3, lw=0)
        axes.plot("epoch", "AP", data=curve, color=colour, lw=1, label=f"{curve['AP'].iloc[-1]}  {model}")
    axes.set(xlabel="epoch", ylabel="AP, percent", xticks=range(1, 13))
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), title="at epoch 12", alignment="left")
    return figure, table


def accuracy_under_noise(table: pd.DataFrame) -> tuple[Figure, pd.DataFrame]:
    """Published accuracy of methods against the share of noisy points.

    table: columns method, noise_share, accuracy, spread.
    """
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(WIDTH["page"], 2.7))
    for (method, curve), colour in zip(table.groupby("method", sort=False), CYCLE, strict=False):
        axes.errorbar(
            "noise_share", "accuracy", "spread", data=curve, color=colour, marker="o", lw=1, label=method
        )
    axes.set(xlabel="share of noisy points", ylabel="accuracy, percent", ylim=(0, None))
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return figure, table


def training_speed(ratio: pd.Series) -> tuple[Figure, pd.DataFrame]:
    """Training steps a second as a share of the plain model's; the index names the models."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(WIDTH["page"], 1.9))
    bars = axes.barh(ratio.index, ratio, color=PALETTE["blue"], height=0.6, lw=0)
    axes.bar_label(bars, fmt="%.2f", padding=3, fontsize=8)
    axes.axvline(1, color=PALETTE["grey"], lw=1)
    axes.set(xlabel="training steps a second, as a share of the plain model's", xlim=(0, 1.05))
    axes.grid(False, axis="y")
    axes.invert_yaxis()
    return figure, ratio.rename("ratio").rename_axis("model").reset_index()
