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
LABELS = {"exact": "exact image", "exact without outliers": "exact, no outliers", "size": "six numbers"}
PUBLISHED = {"Gudhi": "exact", "RipsNet": "RipsNet sum"}  # the paper's names -> whose colour they have
EXAMPLE = 3  # seed of the cloud that is shown: the first one, on three circles
MOST = 60  # births beyond are not shown; the windows reach further, for rare clouds
LOOP_AXES = {"xlabel": "birth [radius²]", "ylabel": "persistence [radius²]", "xlim": (None, MOST)}


def trained(pooling: Literal["mean", "sum"] = "sum") -> tuple[RipsNet, PersistenceImage, float]:
    """A RipsNet fitted to circles (seed 0), what makes exact images, and the number they are divided by."""
    weights, card = training.load(data_path(f"weights/topology/ripsnet-circles-{pooling}.safetensors"))
    net = RipsNet(2, 400, pooling=pooling)
    net.load_state_dict(weights)
    maker = PersistenceImage(card["bandwidth"], tuple(card["ranges"]), weight=ripsnet_weight)
    return net.eval(), maker.fit([np.empty((0, 2))]), card["maximum"]


def pipeline() -> tuple[Figure, dict[str, pd.DataFrame]]:
    """Figure 1: a cloud on three circles, the diagram of its loops (alpha complex), and their image."""
    cloud, (_, maker, maximum) = circles(3, seed=EXAMPLE)[0][0], trained()
    (bars,) = alpha_loops([cloud])
    image = maker.transform([bars])[0].reshape(20, 20) / maximum
    figure, axes = panels(3, 3, 2.5, width_ratios=(1, 1, 1.15))
    axes[0].scatter(*cloud.T, 3, color="black", linewidth=0)
    axes[0].set(xlabel="x", ylabel="y", aspect="equal", title="cloud X")
    plots.persistence_diagram(axes[1], [bars], colors=[PALETTE["vermilion"]])
    axes[1].set(xlabel=LOOP_AXES["xlabel"], ylabel="death [radius²]", title="diagram of its loops, H1")
    shown = plots.persistence_image(axes[2], image, maker.ranges_)
    axes[2].set(title="persistence image", **LOOP_AXES)
    figure.colorbar(shown, ax=axes[2], label="of the training maximum")
    points, held = pd.DataFrame(cloud, columns=["x", "y"]), pd.DataFrame(bars, columns=["birth", "death"])
    return figure, {"cloud": points, "diagram": held, "image": pd.DataFrame(image)}


BOXES = {  # name -> column, row from the top, text, colour, where its arrow comes from
    "A": (0, 0, "clouds A, clean", "grey", None),
    "A images": (1, 0, "exact images of A", "blue", "A"),
    "net": (2, 0, "fit RipsNet: cloud → image", "vermilion", "A images"),
    "B": (0, 1.5, "clouds B, clean,\nwith labels", "grey", None),
    "B images": (1, 1.1, "exact images of B", "blue", "B"),
    "B net": (1, 1.9, "images of B by RipsNet, fixed", "vermilion", "B"),
    "forest": (2, 1.1, "fit classifier I", "blue", "B images"),
    "forest net": (2, 1.9, "fit classifier II", "vermilion", "B net"),
    "C": (0, 3.4, "clouds C, clean,\nand D, noisy", "grey", None),
    "C images": (1, 3, "exact images", "blue", "C"),
    "C net": (1, 3.8, "images by RipsNet, fixed", "vermilion", "C"),
    "score": (2, 3, "accuracy of classifier I", "blue", "C images"),
    "score net": (2, 3.8, "accuracy of classifier II", "vermilion", "C net"),
}


def protocol() -> tuple[Figure, pd.DataFrame]:
    """Figure 2: three sets of clouds fit the approximation, fit two classifiers, and test both."""
    figure, (axes,) = panels(1, 1, 3.2)
    axes.set(xlim=(-0.6, 2.5), ylim=(4.25, -0.45))
    axes.axis("off")
    drawn = {}
    for name, (x, y, text, color, source) in BOXES.items():
        frame = {"boxstyle": "round,pad=0.5", "facecolor": "white", "edgecolor": PALETTE[color]}
        box = axes.text(x, y, text, ha="center", va="center", fontsize=8, bbox=frame | {"linewidth": 1.4})
        drawn[name] = box.get_bbox_patch()
        if source:
            ends = {"patchA": drawn[source], "patchB": drawn[name], "shrinkA": 2, "shrinkB": 2}
            arrow = {"arrowstyle": "-|>", "color": PALETTE[color]} | ends
            axes.annotate("", (x, y), BOXES[source][:2], arrowprops=arrow)
    for y, text in ((0, "1. approximate"), (1.5, "2. train"), (3.4, "3. test")):
        axes.text(-0.62, y - 0.42, text, fontsize=8.5, weight="bold", ha="left")
    arrows = [(source, name) for name, (*_, source) in BOXES.items() if source]
    return figure, pd.DataFrame(arrows, columns=["from", "to"])


def clean_and_noisy() -> tuple[Figure, pd.DataFrame]:
    """Figure 3: one cloud, clean and with a third of its points replaced; exact image and RipsNet's.

    All images share one scale of colours, which ends at the maximum of the training images.
    """
    net, maker, maximum = trained()
    figure, axes = panels(6, 3, 2.2)
    rows = []
    for line, (name, noise) in zip(np.reshape(axes, (2, 3)), (("clean", 0), ("noisy", 1 / 3)), strict=True):
        cloud = circles(3, noise=noise, seed=EXAMPLE)[0][0]
        exact = maker.transform(alpha_loops([cloud]))[0] / maximum
        with torch.no_grad():
            learned = net(torch.from_numpy(cloud).float()).numpy()
        line[0].scatter(*cloud.T, 3, color="black", linewidth=0)
        line[0].set(xlabel="x", ylabel="y", aspect="equal", title=f"{name} cloud")
        for panel, image, title in zip(
            line[1:], (exact, learned), ("exact image", "RipsNet's image"), strict=True
        ):
            shown = plots.persistence_image(panel, image.reshape(20, 20), maker.ranges_, vmax=1)
            panel.set(title=title, **LOOP_AXES)
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
    published = pd.concat([paper.assign(by="paper"), tutorial.assign(by="tutorial")]).sort_values(
        "method", key=lambda names: names.map(list(paper["method"].unique()).index), kind="stable"
    )
    published = published.assign(input=published["method"] + ", " + published["by"])
    ours = read_table("measured/topology/ripsnet_accuracy.csv").query("scale == 'as drawn'")
    ours = ours[ours["input"].isin(["exact", "RipsNet mean", "RipsNet sum"])]
    order = list(published["input"].unique())
    table = published.pivot(index="input", columns="noise_share", values="accuracy").loc[order]

    figure, axes = panels(2, 2, 3.0, width_ratios=(1.1, 1))
    _clean_and_noisy(axes[0], table.set_axis(["clean", "noisy"], axis=1).reset_index(), "published")
    for row in published.dropna(subset="spread").itertuples():
        low, high = row.accuracy - row.spread, row.accuracy + row.spread
        color = COLORS.get(PUBLISHED.get(row.method), plots.NEUTRAL)
        axes[0].hlines(order.index(row.input) + 0.3, low, high, color=color, linewidth=1)
    _clean_and_noisy(axes[1], ours, f"here, {ours['seed'].nunique()} seeds")
    _legend(figure)
    return figure, {"published": published, "ours": ours}


def _clean_and_noisy(axes: Axes, frame: pd.DataFrame, title: str) -> None:
    """A line an `input`: mean accuracy on clean clouds filled, on noisy ones open; seeds as dots below."""
    means = frame.groupby("input", sort=False)[["clean", "noisy"]].mean()
    methods = [name.split(",")[0] for name in means.index]
    colors = [COLORS.get(PUBLISHED.get(name, name), plots.NEUTRAL) for name in methods]
    plots.dumbbells(axes, means.rename(index=LABELS).index, means["clean"], means["noisy"], colors)
    for place, (name, color) in enumerate(zip(means.index, colors, strict=True)):
        own = frame[frame["input"] == name]
        if len(own) > 1:
            axes.scatter(own["clean"], np.full(len(own), place + 0.3), 8, color=color, linewidth=0)
            axes.scatter(
                own["noisy"], np.full(len(own), place + 0.3), 8, "white", edgecolor=color, linewidth=0.7
            )
    axes.axvline(1 / 3, color=plots.NEUTRAL, linewidth=0.8, linestyle=plots.DASHED)
    axes.set(xlim=(0.28, 1.04), xlabel="accuracy (dashed: chance)", title=title)


def _legend(figure: Figure) -> None:
    point = {"color": plots.NEUTRAL, "marker": "o", "linewidth": 0, "markersize": 6}
    entries = {"clean clouds": point, "noisy clouds": point | {"markerfacecolor": "white"}}
    plots.legend(figure, entries | {"one seed": point | {"markersize": 3}})


def seconds() -> tuple[Figure, pd.DataFrame]:
    """Table 2: seconds to turn a set of clouds into images, published and here (each repeat a dot)."""
    paper = read_table("published/ripsnet_seconds.csv").query("data == 'synthetic circles'")
    ours = read_table("measured/topology/ripsnet_seconds.csv")
    figure, axes = panels(2, 2, 1.9, sharex=True)
    parts = {"paper, circles": paper, f"here, {ours['clouds'].iloc[0]} clouds": ours}
    for panel, (title, part) in zip(axes, parts.items(), strict=True):
        colors = [COLORS.get(PUBLISHED.get(name, name), plots.NEUTRAL) for name in part["method"]]
        panel.scatter(part["seconds"], part["method"].replace(LABELS), 30, color=colors)
        panel.set(xscale="log", xlim=(0.01, 500), xlabel="seconds (log scale)", title=title)
        panel.margins(y=0.4)
        panel.invert_yaxis()
    return figure, pd.concat([paper, ours.assign(data="here")])


# --- Ours


def size_control() -> tuple[Figure, pd.DataFrame]:
    """Accuracies on circles as drawn and scaled to one size, beside six numbers without topology."""
    table = read_table("measured/topology/ripsnet_accuracy.csv")
    figure, axes = panels(2, 2, 2.8, sharey=True)
    for panel, (scale, part) in zip(axes, table.groupby("scale", sort=False), strict=True):
        _clean_and_noisy(panel, part, f"circles {scale}" if scale == "as drawn" else f"circles of {scale}")
    _legend(figure)
    return figure, table


def moved_points() -> tuple[Figure, pd.DataFrame]:
    """Change of the exact image and of RipsNet's (mean) when points of one circle move to its centre.

    Changes are norms, relative to the norm of the first image; `longest bar` is the largest persistence.
    """
    net, maker, maximum = trained("mean")
    clouds, labels = circles(3, seed=5)
    circle, images, rows = clouds[labels == 1][0], {"exact": [], "RipsNet mean": []}, []
    for count in (0, 1, 2, 5, 10, 20, 50, 100):
        cloud = circle.copy()
        cloud[:count] = circle.mean(0) + np.random.default_rng(0).normal(0, 0.3, (count, 2))
        (bars,) = alpha_loops([cloud])
        images["exact"].append(maker.transform([bars])[0] / maximum)
        with torch.no_grad():
            images["RipsNet mean"].append(net(torch.from_numpy(cloud).float()).numpy())
        rows.append({"points moved": count, "longest bar": np.diff(bars).max()})
    changes = pd.DataFrame(rows)
    figure, (axes,) = panels(1, 1, 2.4)
    for name, found in images.items():
        change = np.stack(found) - found[0]  # (counts, 400)
        changes[name] = np.linalg.norm(change, axis=1) / np.linalg.norm(found[0])
        axes.plot("points moved", name, ".-", data=changes, color=COLORS[name], label=LABELS.get(name, name))
    axes.set(xlabel="points moved to the centre, of 300", ylabel="change of image / its norm", ylim=(0, None))
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return figure, changes
