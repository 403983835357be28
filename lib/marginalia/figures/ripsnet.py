"""RipsNet (PMLR v196), on which TopKD builds: its figures with circles of our own, its tables beside ours."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from marginalia import plots, training
from marginalia.plots import panels
from marginalia.store import data_path, read_table
from marginalia.style import CYCLE, PALETTE
from marginalia.topology.circles import alpha_loops, circles
from marginalia.topology.images import PersistenceImage, ripsnet_weight
from marginalia.topology.ripsnet import RipsNet

COLORS = {  # what a classifier is given -> one colour everywhere
    "exact": PALETTE["blue"],
    "exact without outliers": PALETTE["sky"],
    "RipsNet mean": PALETTE["vermilion"],
    "RipsNet sum": PALETTE["purple"],
    "size": PALETTE["green"],
}
COLORS |= {"Gudhi": COLORS["exact"], "RipsNet": COLORS["RipsNet sum"]}  # the paper's names
LABELS = {"exact": "exact image", "exact without outliers": "exact, no outliers", "size": "six numbers"}
EXAMPLE = 3  # seed of the cloud that is shown: the first one, on three circles
# births beyond 60 are not shown; the windows reach further, for rare clouds
LOOP_AXES = {"xlabel": "birth [radius²]", "ylabel": "persistence [radius²]", "xlim": (None, 60)}


def trained(pooling: Literal["mean", "sum"] = "sum") -> tuple[RipsNet, PersistenceImage, float]:
    """A RipsNet fitted to circles (seed 0), what makes exact images, and the number they are divided by."""
    weights, card = training.load(data_path(f"weights/topology/ripsnet-circles-{pooling}.safetensors"))
    net = RipsNet(2, 400, pooling=pooling)
    net.load_state_dict(weights)
    maker = PersistenceImage(card["bandwidth"], tuple(card["ranges"]), weight=ripsnet_weight)
    return net.eval(), maker.fit([np.empty((0, 2))]), card["maximum"]


def images_of(cloud: np.ndarray, pooling: Literal["mean", "sum"] = "sum") -> tuple[np.ndarray, ...]:
    """Loops (m, 2) of a cloud (N, 2) on circles, their exact image over the training maximum, and RipsNet's.

    Images are (20, 20), rows by ascending persistence.
    """
    net, maker, maximum = trained(pooling)
    (bars,) = alpha_loops([cloud])
    with torch.no_grad():
        learned = net(torch.from_numpy(cloud).float()).numpy()
    return bars, maker.transform([bars]).reshape(20, 20) / maximum, learned.reshape(20, 20)


def pipeline() -> tuple[Figure, dict[str, pd.DataFrame]]:
    """Figure 1: a cloud on three circles, the diagram of its loops (alpha complex), and their image."""
    cloud = circles(3, seed=EXAMPLE)[0][0]
    bars, image, _ = images_of(cloud)
    figure, axes = panels(3, 3, 2.5, width_ratios=(1, 1, 1.15))
    axes[0].scatter(*cloud.T, 3, color="black", linewidth=0)
    axes[0].set(xlabel="x", ylabel="y", aspect="equal", title="cloud X")
    plots.persistence_diagram(axes[1], [bars], colors=[PALETTE["vermilion"]])
    axes[1].set(xlabel=LOOP_AXES["xlabel"], ylabel="death [radius²]", title="diagram of its loops, H1")
    shown = plots.persistence_image(axes[2], image, trained()[1].ranges_)
    axes[2].set(title="persistence image", **LOOP_AXES)
    figure.colorbar(shown, ax=axes[2], label="of the training maximum")
    points, held = pd.DataFrame(cloud, columns=["x", "y"]), pd.DataFrame(bars, columns=["birth", "death"])
    return figure, {"cloud": points, "diagram": held, "image": pd.DataFrame(image)}


BOXES = {  # name -> column, row from the top, colour, text, where its arrow comes from
    "A": (0, 0, "grey", "clouds A, clean", None),
    "A images": (1, 0, "blue", "exact images of A", "A"),
    "net": (2, 0, "vermilion", "fit RipsNet: cloud → image", "A images"),
    "B": (0, 1.5, "grey", "clouds B, clean,\nwith labels", None),
    "B images": (1, 1.1, "blue", "exact images of B", "B"),
    "B net": (1, 1.9, "vermilion", "images of B by RipsNet, fixed", "B"),
    "forest": (2, 1.1, "blue", "fit classifier I", "B images"),
    "forest net": (2, 1.9, "vermilion", "fit classifier II", "B net"),
    "C": (0, 3.4, "grey", "clouds C, clean,\nand D, noisy", None),
    "C images": (1, 3, "blue", "exact images", "C"),
    "C net": (1, 3.8, "vermilion", "images by RipsNet, fixed", "C"),
    "score": (2, 3, "blue", "accuracy of classifier I", "C images"),
    "score net": (2, 3.8, "vermilion", "accuracy of classifier II", "C net"),
}


def protocol() -> tuple[Figure, pd.DataFrame]:
    """Figure 2: three sets of clouds fit the approximation, fit two classifiers, and test both."""
    arrows = [(source, name) for name, (*_, source) in BOXES.items() if source]
    figure, (axes,) = panels(1, 1, 3.2)
    axes.set(xlim=(-0.6, 2.5), ylim=(4.25, -0.45))
    plots.diagram(axes, {name: block for name, (*block, _) in BOXES.items()}, arrows)
    for y, text in ((0, "1. approximate"), (1.5, "2. train"), (3.4, "3. test")):
        axes.text(-0.62, y - 0.42, text, fontsize=8.5, weight="bold", ha="left")
    return figure, pd.DataFrame(arrows, columns=["from", "to"])


def clean_and_noisy() -> tuple[Figure, pd.DataFrame]:
    """Figure 3: one cloud, clean and with a third of its points replaced; exact image and RipsNet's.

    All images share one scale of colours, which ends at the maximum of the training images.
    """
    figure, axes = panels(6, 3, 2.2)
    ranges, rows = trained()[1].ranges_, []
    for line, (name, noise) in zip(np.reshape(axes, (2, 3)), (("clean", 0), ("noisy", 1 / 3)), strict=True):
        cloud = circles(3, noise=noise, seed=EXAMPLE)[0][0]
        _, exact, learned = images_of(cloud)
        line[0].scatter(*cloud.T, 3, color="black", linewidth=0)
        line[0].set(xlabel="x", ylabel="y", aspect="equal", title=f"{name} cloud")
        for panel, image, title in zip(line[1:], (exact, learned), ("exact", "RipsNet's"), strict=True):
            shown = plots.persistence_image(panel, image, ranges, vmax=1)
            panel.set(title=f"{title} image", **LOOP_AXES)
        rows.append({"cloud": name, "exact_maximum": exact.max(), "ripsnet_maximum": learned.max(),
                     "mean_squared_difference": np.square(exact - learned).mean()})  # fmt: skip
    figure.colorbar(shown, ax=axes, label="of the training maximum", shrink=0.6, extend="max")
    return figure, pd.DataFrame(rows)


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


def accuracy_on_circles() -> tuple[Figure, dict[str, pd.DataFrame]]:
    """Table 1, its circles: accuracies of paper, with spread, and tutorial, and ours, all seeds."""
    paper = read_table("published/ripsnet_accuracy.csv").query("data == 'synthetic circles'")
    paper = paper.assign(accuracy=paper["accuracy"] / 100, spread=paper["spread"] / 100)
    tutorial = read_table("published/ripsnet_tutorial.csv").query("vectors == 'images'")
    published = pd.concat([paper.assign(by="paper"), tutorial.assign(by="tutorial")])
    published = published.assign(input=published["method"] + ", " + published["by"])
    published = pd.concat([own for _, own in published.groupby("method", sort=False)])  # side by side
    ours = read_table("measured/topology/ripsnet_accuracy.csv").query("scale == 'as drawn'")
    ours = ours[ours["input"].isin(["exact", "RipsNet mean", "RipsNet sum"])]
    lines = list(published["input"].unique())
    table = published.pivot(index="input", columns="noise_share", values="accuracy").loc[lines]
    table = table.set_axis(["clean", "noisy"], axis=1).reset_index()
    parts = {"published": table, f"here, {ours['seed'].nunique()} seeds": ours}
    figure, axes = _clean_and_noisy(parts, 3.0, width_ratios=(1.1, 1))
    for row in published.dropna(subset="spread").itertuples():
        low, high = row.accuracy - row.spread, row.accuracy + row.spread
        color = COLORS.get(row.method, plots.NEUTRAL)
        axes[0].hlines(lines.index(row.input) + 0.3, low, high, color=color, linewidth=1)
    return figure, {"published": published, "ours": ours}


def _clean_and_noisy(parts: dict[str, pd.DataFrame], height: float, **options) -> tuple[Figure, list[Axes]]:
    """A panel a part, a line an `input`: mean accuracy on clean clouds filled, on noisy ones open.

    Seeds, where there are some, are dots below the line.
    """
    figure, axes = panels(len(parts), 2, height, **options)
    for panel, (title, frame) in zip(axes, parts.items(), strict=True):
        means = frame.groupby("input", sort=False)[["clean", "noisy"]].mean()
        colors = {name: COLORS.get(name.split(",")[0], plots.NEUTRAL) for name in means.index}
        labels = means.rename(index=LABELS).index
        plots.dumbbells(panel, labels, means["clean"], means["noisy"], list(colors.values()))
        if "seed" in frame:
            below, hue = frame["input"].map(list(means.index).index) + 0.3, frame["input"].map(colors)
            panel.scatter(frame["clean"], below, 8, hue, linewidth=0)
            panel.scatter(frame["noisy"], below, 8, "white", edgecolor=hue, linewidth=0.7)
        panel.axvline(1 / 3, color=plots.NEUTRAL, linewidth=0.8, linestyle=plots.DASHED)
        panel.set(xlim=(0.28, 1.04), xlabel="accuracy (dashed: chance)", title=title)
    point = {"color": plots.NEUTRAL, "marker": "o", "linewidth": 0, "markersize": 6}
    entries = {"clean clouds": point, "noisy clouds": point | {"markerfacecolor": "white"}}
    plots.legend(figure, entries | {"one seed": point | {"markersize": 3}})
    return figure, axes


def seconds() -> tuple[Figure, pd.DataFrame]:
    """Table 2: seconds to turn a set of clouds into images, published and here (each repeat a dot)."""
    paper = read_table("published/ripsnet_seconds.csv").query("data == 'synthetic circles'")
    ours = read_table("measured/topology/ripsnet_seconds.csv")
    figure, axes = panels(2, 2, 1.9, sharex=True)
    parts = {"paper, circles": paper, f"here, {ours['clouds'].iloc[0]} clouds": ours}
    for panel, (title, part) in zip(axes, parts.items(), strict=True):
        colors = [COLORS.get(name, plots.NEUTRAL) for name in part["method"]]
        names = part["method"].replace(LABELS)
        panel.scatter(part["seconds"], names.factorize()[0], 30, color=colors)
        panel.set(xscale="log", xlim=(0.01, 500), xlabel="seconds (log scale)", title=title)
        plots.lines(panel, names.unique())
    return figure, pd.concat([paper, ours.assign(data="here")])


# --- Ours


def size_control() -> tuple[Figure, pd.DataFrame]:
    """Accuracies on circles as drawn and scaled to one size, beside six numbers without topology."""
    table = read_table("measured/topology/ripsnet_accuracy.csv")
    titles = {"as drawn": "circles as drawn", "one size": "circles of one size"}
    parts = {titles[scale]: part for scale, part in table.groupby("scale", sort=False)}
    return _clean_and_noisy(parts, 2.8, sharey=True)[0], table
