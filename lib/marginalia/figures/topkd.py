"""TopKD (ICML 2024): distillation by the shape of a batch of features, with students of digits trained here.

The numbers of the paper's figures and tables are not confirmed, so each function says what it draws. Students
and their accuracies: data/recipes/measure_distillation.py.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import stats
from sklearn.decomposition import PCA
from torch import Tensor, nn
from torch.nn.functional import mse_loss, pad

from marginalia import plots, training
from marginalia.store import data_path, read_table
from marginalia.style import CYCLE, PALETTE
from marginalia.topology import RipsNet, collect_features, h0_deaths, persistence_profile
from marginalia.topology.digits import FEATURES, TEACHER, classifier, cloud_batches, digits
from marginalia.topology.distillation import distance_loss, distil
from marginalia.topology.images import topkd_weight

NETWORKS = {"teacher": PALETTE["sky"], "student": PALETTE["orange"]}
COLORS = {  # exact image, RipsNet and size as in `ripsnet`
    "KD": PALETTE["grey"],
    "relational": PALETTE["orange"],
    "mean distance": PALETTE["green"],
    "sorted deaths": PALETTE["purple"],
    "exact image": PALETTE["blue"],
    "RipsNet": PALETTE["vermilion"],
}
PARTS = {"ce": "cross-entropy", "kd": "α × KD", "topology": "δ × topology"}
LIKE_TEACHER = "layer == 3 and student == 'mlp' and steps == 640"
ONE_DELTA = ["KD", "mean distance, δ = 1", "sorted deaths, δ = 1", "RipsNet, δ = 5"]
FEW = ["relational, δ = 25", *ONE_DELTA]


def overview() -> tuple[Figure, pd.DataFrame]:
    """From a batch of digits to the loss: features of teacher and student, H0 bars, exact image, RipsNet's.

    The student has learned from logits for 200 steps. Features lie on the first two principal axes of the
    teacher's batch. Returns (figure, data), data with the deaths of both.
    """
    teacher, net, window = trained()
    x = digits()[1].x[:64]
    networks = teacher, student_after(200, teacher)
    clouds = torch.stack([collect_features(network, [x], FEATURES)[0] for network in networks])
    deaths = h0_deaths(clouds).numpy()  # (2, 63)
    exact = exact_profile(clouds, **window)[..., None].expand(2, 20, 20)
    predicted = net(clouds).detach().view(2, 20, 20)
    pca = PCA(2).fit(clouds[0])

    figure, axes = plots.panels(10, 5, 1.6, ("16 of 64 images", "features", "H0 bars", "exact", "RipsNet"))
    plots.bare(axes[0], (40, 40))
    tiles = pad(x[:16].view(4, 4, 8, 8), (1, 1, 1, 1)).transpose(1, 2).reshape(40, 40)
    axes[0].imshow(1 - tiles.numpy(), "gray", extent=(0, 40, 40, 0))
    axes[5].axis("off")
    gaps = f"exact {mse_loss(*exact):.3f}\nRipsNet {mse_loss(*predicted):.3f}"
    said = f"mean squared difference\nof the two images\n\n{gaps}"
    axes[5].text(0.5, 0.5, said, ha="center", va="center", fontsize=8)
    for k, (name, color) in enumerate(NETWORKS.items()):
        points, bars, *images = axes[5 * k + 1 : 5 * k + 5]
        points.scatter(*pca.transform(clouds[k]).T, 6, color=color)
        points.set(ylabel=name, xticks=[], yticks=[])
        bars.hlines(range(63), 0, deaths[k], color=color, linewidth=1)
        bars.set(xlim=(0, deaths.max()), yticks=[], xlabel="edge length")
        for panel, image in zip(images, (exact[k], predicted[k]), strict=True):
            plots.persistence_image(panel, image.numpy(), (0, 0, *window["ranges"]), vmax=1)
            panel.set(xlabel="", ylabel="", xticks=[])
        images[0].set_ylabel("persistence")
    axes[6].set(xlim=axes[1].get_xlim(), ylim=axes[1].get_ylim())
    return figure, pd.DataFrame(deaths.T, columns=list(NETWORKS))


def ripsnet_training() -> tuple[Figure, pd.DataFrame]:
    """The fit of RipsNet to clouds of the teacher (the paper's first algorithm) beside two controls.

    Left batches that are drawn alike, right batches that vary. Returns (figure, data): error by step.
    """
    table = read_table("measured/topology/distillation_ripsnet.csv")
    figure, axes = plots.panels(2, 2, 2.5)
    for panel, (name, fit) in zip(axes, table.groupby("clouds"), strict=True):
        panel.plot(fit["step"], fit["mse"], color=COLORS["RipsNet"], label="RipsNet")
        mean, size = fit[["mse_mean_image", "mse_size"]].iloc[0]
        panel.axhline(mean, color=plots.NEUTRAL, linestyle=plots.DASHED, label="mean image")
        panel.axhline(size, color=COLORS["mean distance"], label="size alone (random forest)")
        r2 = 1 - fit["mse"].iloc[-1] / mean
        panel.set(xlabel="steps", ylim=(0, 1.15 * fit["mse"].max()), title=f"batches {name}: R² = {r2:.2f}")
    axes[0].set_ylabel("squared error, held-out clouds")
    axes[1].legend(loc="center right")
    return figure, table


def student_training() -> tuple[Figure, pd.DataFrame]:
    """The parts of the loss while students learn (the paper's second algorithm): mean and range of seeds.

    Each part with its weight. Returns (figure, data): parts by loss, seed and step.
    """
    table = read_table("measured/topology/distillation_steps.csv")
    figure, axes = plots.panels(4, 4, 2.4, sharey=True)
    for panel, ((loss, delta), runs) in zip(axes, table.groupby(["loss", "delta"], sort=False), strict=True):
        for (part, text), color in zip(PARTS.items(), CYCLE, strict=False):
            if runs[part].any():  # KD alone has no topology
                plots.seed_curves(panel, runs, part, color, text)
        panel.set(yscale="log", xlabel="steps", title=label(loss, 2, delta).replace(", ", "\n"))
    axes[0].set_ylabel("part of the loss")
    plots.legend(figure, {text: {"color": color} for text, color in zip(PARTS.values(), CYCLE, strict=False)})
    return figure, table


def same_architecture() -> tuple[Figure, dict[str, pd.DataFrame]]:
    """Losses for a student like its teacher: accuracy beside KD alone, here; published accuracies apart.

    Left every seed, mean and t interval; in the middle how far H0 deaths stay from the teacher's. Right
    CIFAR-100, resnet56 to resnet20: other data and teachers, and not one rule of choosing the epoch.
    """
    ours = students().query(f"{LIKE_TEACHER} and batch == 64 and alpha == 2")
    return _beside_published(ours, "resnet56", "resnet20")


def different_architectures() -> tuple[Figure, dict[str, pd.DataFrame]]:
    """Losses for a small CNN with 16 features, beside KD alone; published: wrn40-2 to ShuffleNetV1.

    As `same_architecture`. Losses of features themselves need an adapter, a linear map from 16 to 64.
    """
    return _beside_published(students().query("student == 'cnn' and alpha == 2"), "wrn40-2", "shufflev1")


def _beside_published(ours: pd.DataFrame, teacher: str, student: str):
    figure, axes = plots.panels(3, 3, 1.6 + 0.19 * ours["name"].nunique(), width_ratios=(1.6, 0.9, 1.2))
    summary = draw_leads(axes[0], ours)
    if summary["low"].min() < -20:  # students that collapsed
        ticks = [-50, -10, -5, 0, 5]
        axes[0].set_xscale("symlog", linthresh=10)
        axes[0].set(xticks=ticks, xticklabels=ticks, xlim=(1.2 * ours["lead"].min(), None))
        axes[0].set_xlabel("points above KD, log below −10")
    gaps = ours.groupby("name")["gap"].mean()
    axes[1].plot(gaps[summary.index], range(len(summary)), "o", color="black")
    axes[1].axvline(gaps["KD"], color=plots.NEUTRAL, linewidth=1)
    axes[1].set(yticks=[], ylim=axes[0].get_ylim(), xlim=(0, None), xlabel="gap of H0 deaths")
    axes[1].set_title("line: KD")
    table = published(teacher, student)
    for (source, part), color in zip(table.groupby("source", sort=False), CYCLE[2:], strict=False):
        axes[2].plot(part["accuracy"], part.index, "D", color=color, label=source)
    plots.lines(axes[2], table["method"])
    axes[2].set(title="published, CIFAR-100", xlabel="accuracy, percent")
    figure.legend(loc="outside lower right", ncols=2)
    return figure, {"here": summary.reset_index(), "published": table}


def homology_dimension() -> tuple[Figure, pd.DataFrame]:
    """Exact images of components, of loops and of both, in batches of 32: accuracy beside KD alone."""
    return leads_alone(students().query("loss in ('H0 image', 'H1 image', 'H0 and H1 image')"))


def number_of_points() -> tuple[Figure, pd.DataFrame]:
    """Lead over KD alone against the size of the batch, the number of points of a cloud; equal steps.

    Returns (figure, data): mean lead, lowest and highest, by loss and size.
    """
    chosen = students().query(f"{LIKE_TEACHER} and name in @ONE_DELTA")
    figure, (axes,) = plots.panels(1, 1, 2.6)
    for place, (loss, runs) in enumerate(chosen.query("loss != 'KD'").groupby("loss", sort=False)):
        axes.plot(2 ** (0.1 * place - 0.1) * runs["batch"], runs["lead"], ".", color=COLORS[loss], alpha=0.6)
        axes.plot(runs.groupby("batch")["lead"].mean(), color=COLORS[loss], label=loss)
    axes.axhline(0, color=plots.NEUTRAL, linewidth=1)
    sizes = sorted(chosen["batch"].unique())
    axes.set_xscale("log", base=2)
    axes.set_xticks(sizes, sizes)
    axes.set(xlabel="images in a batch (dots: seeds, moved sideways by loss)", ylabel="points above KD")
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    leads = chosen.groupby(["loss", "batch"], sort=False)["lead"]
    return figure, leads.agg(["mean", "min", "max"]).reset_index()


def loss_terms() -> tuple[Figure, pd.DataFrame]:
    """Cross-entropy with KD, with topology, with both: accuracy beside KD alone, the control at delta = 0."""
    chosen = students().query(f"{LIKE_TEACHER} and batch == 64")
    return leads_alone(chosen.query("alpha != 2 or name in @ONE_DELTA"))


def matched_stage() -> tuple[Figure, pd.DataFrame]:
    """Which hidden layer's features are matched, the first or the second: accuracy beside KD alone."""
    chosen = students().query("student == 'mlp' and steps == 640 and batch == 64 and name in @ONE_DELTA")
    chosen = chosen.query("loss in ('mean distance', 'sorted deaths')")
    return leads_alone(chosen, ", layer " + chosen["layer"].map({1: "1 of 2", 3: "2 of 2"}))


def leads_alone(chosen: pd.DataFrame, more: pd.Series | str = "") -> tuple[Figure, pd.DataFrame]:
    """Students' leads over KD alone as a figure of its own; more: what is added to their names."""
    chosen = chosen.assign(name=chosen["name"] + more)
    figure, (axes,) = plots.panels(1, 1, 0.9 + 0.26 * chosen["name"].nunique())
    return figure, draw_leads(axes, chosen).reset_index()


def approximation_error() -> tuple[Figure, pd.DataFrame]:
    """Exact and approximated images of a batch drawn alike, of a varied one, and of a student's batch.

    The images have 20 equal columns: one is drawn as a line. The student has not learned yet, and RipsNet was
    fitted to the teacher. Returns (figure, data): both values by persistence.
    """
    teacher, net, window = trained()
    clouds = {
        "teacher, drawn alike": cloud_batches(teacher, 1, seed=1, varied=False)[0],
        "teacher, varied": cloud_batches(teacher, 1, seed=3)[0],
        "student before its training": cloud_batches(student_after(0, teacher), 1, seed=1, varied=False)[0],
    }
    mean = exact_profile(cloud_batches(teacher, 200, seed=2), **window).mean(0).numpy()
    figure, axes = plots.panels(3, 3, 2.5, sharey=True)
    y, rows = np.linspace(*window["ranges"], 20), []
    for panel, (name, cloud) in zip(axes, clouds.items(), strict=True):
        exact = exact_profile(cloud, **window).numpy()
        predicted = net(cloud).detach().view(20, 20).mean(1).numpy()
        panel.plot(y, exact, color=COLORS["exact image"], label="exact")
        panel.plot(y, predicted, color=COLORS["RipsNet"], label="RipsNet")
        panel.plot(y, mean, color=plots.NEUTRAL, linestyle=plots.DASHED, label="mean image")
        panel.set(title=name, xlabel="persistence")
        rows.append(pd.DataFrame({"cloud": name, "persistence": y, "exact": exact, "predicted": predicted}))
    axes[0].set_ylabel("value of an image's row")
    axes[2].legend()
    return figure, pd.concat(rows)


def embedding() -> tuple[Figure, pd.DataFrame]:
    """Features of teacher and students of one seed, 150 test images, by a PCA fitted on each; scales differ.

    Returns (figure, data): places, digit, and the share of the variance that the two axes hold.
    """
    table = read_table("measured/topology/distillation_embedding.csv")
    figure, axes = plots.panels(6, 3, 2.2)
    for panel, (model, part) in zip(axes, table.groupby("model", sort=False), strict=False):
        for digit, points in part.iloc[:150].groupby("digit"):  # more would cover each other
            color = CYCLE[digit % len(CYCLE)]
            panel.scatter(points["x"], points["y"], 49, marker=f"${digit}$", color=color, linewidth=0)
        panel.set(xticks=[], yticks=[], title=f"{model} ({part['explained'].iloc[0]:.0%})")
    return figure, table


def computing_time() -> tuple[Figure, pd.DataFrame]:
    """CPU milliseconds a batch of 64: one image by three ways, then each loss with its gradient."""
    table = read_table("measured/topology/distillation_times.csv")
    figure, (axes,) = plots.panels(1, 1, 3.4)
    colors = [NETWORKS["teacher" if name.startswith("one image") else "student"] for name in table["name"]]
    bars = axes.barh(table.index, table["ms"], color=colors, lw=0)
    axes.bar_label(bars, fmt="%.2f", padding=3, fontsize=8)
    axes.set(xscale="log", xlabel="CPU milliseconds a batch of 64, one thread")
    plots.lines(axes, table["name"])
    return figure, table


# --- Ours


def longer_training() -> tuple[Figure, pd.DataFrame]:
    """Whether a lead over KD alone is more than a faster start: students that learn twice as long."""
    chosen = students().query("batch == 64 and layer == 3 and student == 'mlp' and name in @FEW")
    return leads_alone(chosen, ", " + chosen["steps"].astype(str) + " steps")


# --- what they share


def trained() -> tuple[nn.Sequential, RipsNet, dict]:
    """The teacher, the RipsNet that was fitted to it, and bandwidth, ranges and scale of its images."""
    teacher, net = classifier(*TEACHER), RipsNet.topkd(TEACHER[-1])
    for model, name in ((teacher, "teacher"), (net, "ripsnet")):
        weights, card = training.load(data_path(f"weights/topology/digits-{name}.safetensors"))
        model.load_state_dict(weights)
    return teacher.eval(), net.eval(), card["window"]


def student_after(steps: int, teacher: nn.Module) -> nn.Sequential:
    """A student that has learned so many steps by KD alone."""
    torch.manual_seed(0)
    student, layers = classifier(64, 8, 64), (FEATURES, FEATURES)
    options = training.Options(steps, 5e-3, clip=10)
    distil(student, teacher, digits(200)[0].batches(64), options, distance_loss, layers, delta=0)
    return student.eval()


def exact_profile(
    cloud: Float[Tensor, "*B N D"], bandwidth: float, ranges: tuple[float, float], scale: float
) -> Float[Tensor, "*B 20"]:
    """A column of the exact H0 image with TopKD's weight."""
    return persistence_profile(h0_deaths(cloud), bandwidth, ranges, weight=topkd_weight) / scale


def students() -> pd.DataFrame:
    """A row a student: what it learned with, by columns and as its `name`, and what was measured.

    `lead`: points of accuracy above KD alone (alpha 2) of the same batch, student, steps and seed.
    """
    table = read_table("measured/topology/distillation.csv")
    same = ["batch", "student", "steps", "seed"]
    control = table.query("loss == 'KD' and alpha == 2").set_index(same)["accuracy"]
    lead = 100 * (table["accuracy"] - table[same].join(control, on=same)["accuracy"])
    return table.assign(name=[*map(label, table["loss"], table["alpha"], table["delta"])], lead=lead)


def published(teacher: str, student: str) -> pd.DataFrame:
    """Confirmed accuracies on CIFAR-100 for a pair of networks: method, accuracy, source."""
    readmes = read_table("published/topkd_baselines.csv")
    log = read_table("published/topkd_cifar100.csv").rename(columns={"student_accuracy": "accuracy"})
    again = read_table("published/topkd_rerun.csv").rename(columns={"last_epoch": "accuracy"})
    tables = {
        "other authors' READMEs": readmes[~readmes["method"].str.contains("alone")],
        "TopKD's log: best epoch on test data": log.assign(method="TopKD"),
        "trained again by PCE's authors, last epoch": again,
    }
    table = pd.concat([part.assign(source=source) for source, part in tables.items()])
    chosen = (table["teacher"] == teacher) & (table["student"] == student)
    return table.loc[chosen, ["method", "accuracy", "source"]].reset_index(drop=True)


def label(loss: str, alpha: float, delta: float) -> str:
    """What a student learned with, in words: the loss, its delta, and an alpha that is not 2."""
    weight = f", δ = {delta:g}" if delta else ""
    return loss + weight + (f", α = {alpha:g}" if alpha != 2 and loss != "CE" else "")


def compare(table: pd.DataFrame) -> pd.DataFrame:
    """Mean lead over KD alone by name, its 95 % t interval, p of the paired t test, and Holm's p."""
    rows = {}
    for name, lead in table.groupby("name", sort=False)["lead"]:
        test = stats.ttest_1samp(lead, 0)
        rows[name] = (len(lead), lead.mean(), *test.confidence_interval(), test.pvalue)
    frame = pd.DataFrame.from_dict(rows, orient="index", columns=["seeds", "lead", "low", "high", "p"])
    ordered = frame["p"].sort_values()
    return frame.assign(holm=(ordered * np.arange(len(ordered), 0, -1)).cummax().clip(upper=1))


def draw_leads(axes: Axes, table: pd.DataFrame) -> pd.DataFrame:
    """Every seed's lead over KD alone, its mean and t interval, a name a line; returns `compare`."""
    table = table.query("loss != 'KD' or alpha != 2")
    summary = compare(table)
    plots.intervals(axes, summary, "lead", color="black", dots=table.set_index("name")["lead"])
    axes.set(xlabel="points above KD", title=f"{table['seed'].nunique()} seeds, digits")
    return summary
