"""Distil a teacher of digits with each loss, over seeds: tables of data/measured/topology, and two weights.

`python data/recipes/measure_distillation.py [part ...]`, half an hour on two cores; PARTS has the names of
its parts. Students whose rows are there are not trained again, so it can be broken off.

Steps and learning rate are chosen on training images only (`schedule`): the best for the control, KD alone,
of five rates and up to 640 steps. A row is the accuracy after the last step, on test images.
"""

from __future__ import annotations

import multiprocessing
import sys
import time
from collections.abc import Callable, Iterator
from functools import cache, partial
from itertools import product
from timeit import timeit
from typing import NamedTuple

import gudhi
import numpy as np
import pandas as pd
import torch
from gudhi.representations import PersistenceImage as GudhiImage
from sklearn.decomposition import PCA
from sklearn.model_selection import train_test_split
from torch import Tensor, nn

import marginalia.topology.digits as digits
from marginalia import store, training
from marginalia.figures import topkd
from marginalia.topology import PersistenceImage, PersistenceProfile, RipsNet, collect_features, diagrams
from marginalia.topology import distillation as losses
from marginalia.topology.components import h0_deaths
from marginalia.topology.images import topkd_weight
from marginalia.topology.ripsnet import fit_ripsnet

SEEDS, LABELLED, PROCESSES = range(10), 200, 2
RATES, LENGTHS = (2e-3, 5e-3, 1e-2, 2e-2, 4e-2), (320, 640)
STEPS, RATE = 640, 2e-2  # what `schedule` says
FOLDER = store.root() / "measured" / "topology"
WEIGHTS = store.root() / "weights" / "topology"
ABOUT = """\
Students of scikit-learn's handwritten digits with 200 labelled images, and their teacher, which had 1,200.
Written by: python data/recipes/measure_distillation.py
"""


class Setting(NamedTuple):
    """What one student learns with: a row of distillation.csv for each seed."""

    loss: str
    alpha: float = 2
    delta: float = 0
    batch: int = 64
    layer: str = digits.FEATURES  # of teacher and student; the small CNN has one of its own
    student: str = "mlp"
    steps: int = STEPS


KD = Setting("KD")
ALONE = Setting("mean distance", 2, 1), Setting("sorted deaths", 2, 1), Setting("RipsNet", 2, 5)
FEW = KD, Setting("relational", 2, 25), *ALONE
BY_STEP = KD, Setting("RipsNet", 2, 5), Setting("sorted deaths", 2, 1), Setting("exact image", 2, 500)


def settings() -> Iterator[Setting]:
    """All of them. Delta 0 is the control of its alpha, batch, layer and student."""
    weights = {
        "features": (0.1, 1),
        "relational": (1, 25),
        "mean distance": (0.1, 1),
        "sorted deaths": (0.1, 1),
        "exact image": (5, 50, 500),
        "RipsNet": (5, 50, 500),
        "PCE": (1, 10),
    }
    yield from (Setting("CE", 0), KD, Setting("KD", 4))
    yield from (Setting(loss, 2, delta) for loss, some in weights.items() for delta in some)
    yield from (one._replace(alpha=0) for one in ALONE)  # topology without KD
    yield from (one._replace(batch=batch) for one in (*ALONE, KD) for batch in (8, 16, 32, 128))
    yield from (Setting(loss, 2, 5, 32) for loss in ("H0 image", "H1 image", "H0 and H1 image"))
    yield from (one._replace(layer="1") for one in ALONE[:2])
    # whether a lead is more than a faster start, and whether it is there where no unit of the bottleneck dies
    yield from (one._replace(steps=2 * STEPS) for one in FEW)
    yield from (one._replace(student="leaky") for one in FEW)
    other = Setting("CE", 0), Setting("features", 2, 1), Setting("exact image", 2, 5), Setting("PCE", 2, 10)
    yield from (one._replace(student="cnn") for one in (*FEW, *other))


# --- the teacher, its RipsNet, and the windows of exact images


def fit_all() -> None:
    """Train the teacher, fit RipsNet to its clouds, and write both; the card holds the window of the images.

    The window is chosen from the clouds as TopKD's authors do. A second network sees batches that are all
    drawn alike, for comparison; the table has both.
    """
    teacher, path = digits.train_teacher()[0], WEIGHTS / "digits-teacher.safetensors"
    about = {"widths": digits.TEACHER, "accuracy_test": digits.digits()[1].accuracy(teacher)}
    training.save(teacher, path, about | {"data": "scikit-learn's digits"})
    teacher.load_state_dict(training.load(path)[0])  # as it is stored, in 16 bits
    rows = []
    for varied in (False, True):
        clouds = digits.cloud_batches(teacher, 2000, varied=varied)
        bars = [np.stack([np.zeros_like(each), each], 1) for each in h0_deaths(clouds).numpy()]
        profiles, window = windowed(PersistenceProfile, bars)  # (K, 20)
        images = np.repeat(profiles / window["scale"], 20, axis=1)
        torch.manual_seed(0)
        fit = fit_ripsnet(RipsNet.topkd(64), clouds.numpy(), images, steps=4000)
        controls = {"mse_mean_image": fit.mse_mean_image, "mse_size": fit.mse_size}
        rows.append(fit.history.assign(clouds="varied" if varied else "alike", **controls))
    about = {"window": window, "r2": fit.r2, "mse": fit.mse, "clouds": "varied batches of 64 digits"}
    training.save(fit.net, WEIGHTS / "digits-ripsnet.safetensors", about | controls)
    write("distillation_ripsnet", pd.concat(rows))


def windowed(kind: type, bars: list[np.ndarray]) -> tuple[np.ndarray, dict]:
    """Images (or profiles) of diagrams, and the window that was chosen from them, with the largest value."""
    fitted = kind(weight=topkd_weight)
    vectors = fitted.fit_transform(bars)
    window = {"bandwidth": fitted.bandwidth_, "ranges": fitted.ranges_, "scale": float(vectors.max())}
    return vectors, window


trained = cache(topkd.trained)


@cache
def topologies() -> dict[str, losses.Topology]:
    """The losses of features by name, each with the window it needs."""
    teacher, net, window = trained()
    # Images for dimensions 0 and 1, whose windows are chosen for batches of 32.
    bars = diagrams(digits.cloud_batches(teacher, 300, 32).numpy())
    windows = (windowed(PersistenceImage, bars.finite(dimension))[1] for dimension in (0, 1))
    h0, h1 = (partial(losses.image_loss, dimension=k, **chosen) for k, chosen in enumerate(windows))
    return {
        "features": losses.hint_loss,
        "relational": losses.relational_loss,
        "mean distance": losses.distance_loss,
        "sorted deaths": losses.deaths_loss,
        "exact image": partial(losses.profile_loss, **window),
        "RipsNet": partial(losses.ripsnet_loss, net),
        "PCE": losses.persistent_cross_entropy,
        "H0 image": h0,
        "H1 image": h1,
        "H0 and H1 image": lambda f_s, f_t: h0(f_s, f_t) + h1(f_s, f_t),
    }


# --- students


def distilled(
    setting: Setting, seed: int, train: digits.Images, rate: float = RATE
) -> tuple[nn.Module, Callable[[Tensor], Tensor], list[training.Row]]:
    """A student, its features of images (behind its adapter, if it has one), and the rows of its training."""
    torch.manual_seed(seed)
    cnn = setting.student == "cnn"
    student = digits.small_cnn() if cnn else digits.classifier(64, 8, 64)
    if setting.student == "leaky":
        student[1] = nn.LeakyReLU(0.1)  # after the bottleneck of 8 units
    layer = digits.CNN_FEATURES if cnn else setting.layer
    # only losses of the features themselves need equal widths
    adapter = nn.Linear(16, 64) if cnn and setting.loss in ("features", "RipsNet") else nn.Identity()
    # CE and KD have none: with their delta of 0 any loss will do
    topology = topologies().get(setting.loss, losses.distance_loss)
    batches = train.batches(setting.batch)
    options = training.Options(setting.steps, rate, clip=10, seed=seed, every=setting.steps // 8)
    layers = layer, setting.layer
    rows = losses.distil(
        student, trained()[0], batches, options, topology, layers, setting.alpha, setting.delta, adapter
    )
    return student, lambda x: adapter(collect_features(student, [x], layer)[0]).detach(), rows


def row(task: tuple[Setting, int]) -> tuple[dict, pd.DataFrame]:
    """A student's row of distillation.csv, and its losses by step."""
    setting, seed = task
    torch.set_num_threads(1)
    (train, _), (_, test) = digits.digits(LABELLED, seed), digits.digits()
    student, features, rows = distilled(setting, seed, train)
    clouds = test.x[:576].split(64)  # nine clouds of test images, the same for all
    of_student = h0_deaths(torch.stack([features(x) for x in clouds]))
    of_teacher = h0_deaths(torch.stack(collect_features(trained()[0], clouds, setting.layer)))
    history = pd.DataFrame(rows)
    first = collect_features(student, [test.x], "2" if setting.student == "cnn" else "1")[0]  # (N, 8)
    key = setting._asdict() | {"seed": seed}
    found = key | {
        "accuracy": test.accuracy(student),
        "gap": (of_student - of_teacher).abs().mean().item(),
        "mean_death": of_student.mean().item(),
        "share": history["topology"].mean() / history["loss"].mean(),
        "units": int(((first > 0).float().mean(0) > 0.01).sum()),  # of 8, active for 1 % of the test images
    }
    return found, history[["step", "ce", "kd", "topology"]].assign(**key)


def students() -> None:
    """distillation.csv, and distillation_steps.csv with the losses of some of them by step."""
    table, steps = read("distillation"), read("distillation_steps")
    done = set(table.reindex(columns=[*Setting._fields, "seed"]).itertuples(index=False, name=None))
    tasks = [(one, seed) for one, seed in product(settings(), SEEDS) if (*one, seed) not in done]
    with multiprocessing.get_context("spawn").Pool(PROCESSES) as pool:
        for (setting, _), (found, history) in zip(tasks, pool.imap(row, tasks), strict=True):
            table = pd.concat([table, pd.DataFrame([found])])
            write("distillation", table)
            if setting in BY_STEP:
                steps = pd.concat([steps, history])
                write("distillation_steps", steps)
            print("students so far:", len(table), *found.values(), flush=True)


def schedule() -> None:
    """Accuracy of KD alone on 1,000 training images, after learning from the other 200, by steps and rate.

    The teacher knows these images, the student does not. The best mean is what all students learn with: the
    control is as strong as it gets.
    """
    train, rows = digits.digits()[0], []
    for steps, rate, seed in product(LENGTHS, RATES, range(5)):
        parts = train_test_split(*train, train_size=LABELLED, stratify=train.y, random_state=seed)
        labelled, held = digits.Images(*parts[::2]), digits.Images(*parts[1::2])
        student, _, _ = distilled(KD._replace(steps=steps), seed + 1000, labelled, rate)
        rows.append({"steps": steps, "lr": rate, "seed": seed, "accuracy": held.accuracy(student)})
    write("distillation_schedule", pd.DataFrame(rows))


def embedding() -> None:
    """Features of 300 test images of the teacher and of students of seed 0, by a PCA fitted on each."""
    (train, _), (_, test) = digits.digits(LABELLED, 0), digits.digits()
    x, y = test.x[:300], test.y[:300]
    found = {"teacher": collect_features(trained()[0], [x], digits.FEATURES)[0]}
    for one in (Setting("CE", 0), *BY_STEP):
        found[topkd.label(one.loss, one.alpha, one.delta)] = distilled(one, 0, train)[1](x)
    frames = []
    for model, features in found.items():
        pca = PCA(2, svd_solver="full").fit(features)
        places = pd.DataFrame(pca.transform(features), columns=["x", "y"])
        frames.append(places.assign(model=model, digit=y, explained=pca.explained_variance_ratio_.sum()))
    write("distillation_embedding", pd.concat(frames))


# --- milliseconds


def times() -> None:
    """CPU milliseconds of a batch of 64 with one thread, the least of 30 interleaved repeats.

    Of one image, of each loss with its gradient, and of a whole step of KD alone.
    """
    torch.set_num_threads(1)
    teacher, net, window = trained()
    f_t, f_s = collect_features(teacher, digits.digits()[0].x[:128].split(64), digits.FEATURES)
    f_s = f_s.requires_grad_()
    ways = {
        "one image, gudhi as in TopKD": partial(gudhi_image, f_t.double().numpy(), window),
        "one image, exact": partial(topkd.exact_profile, f_t, **window),
        "one image, RipsNet": partial(net, f_t),
    }
    for name, loss in topologies().items():
        ways[name] = lambda loss=loss: loss(f_s, f_t).backward()
    seconds, rows = partial(timeit, timer=time.process_time, number=1), []
    for _, (name, way) in product(range(30), ways.items()):
        rows.append({"name": name, "ms": 1000 * seconds(way)})
    for seed in range(3):
        way = partial(distilled, KD._replace(steps=400), seed, digits.digits(LABELLED)[0])
        rows.append({"name": "whole step, KD alone", "ms": 1000 * seconds(way) / 400})
    write("distillation_times", pd.DataFrame(rows).groupby("name", sort=False, as_index=False).min())


def gudhi_image(points: np.ndarray, window: dict) -> np.ndarray:
    """The steps of TopKD's code: complex, simplex tree, finite bars of dimension 0, gudhi's image."""
    tree = gudhi.RipsComplex(points=points).create_simplex_tree(max_dimension=1)
    tree.persistence()
    bars = tree.persistence_intervals_in_dimension(0)
    ranges = [0, 0, *window["ranges"]]
    image = GudhiImage(window["bandwidth"], lambda bar: 10 * np.tanh(bar[1]), [20, 20], ranges)
    return image.fit_transform([bars[np.isfinite(bars).all(1)]]) / window["scale"]


# --- tables


def read(name: str) -> pd.DataFrame:
    """A table as far as it is there."""
    path = FOLDER / f"{name}.csv"
    return pd.read_csv(path, comment="#", dtype={"layer": str}) if path.is_file() else pd.DataFrame()


def write(name: str, table: pd.DataFrame) -> None:
    """Replace a table, below what it is about."""
    training.write_table(FOLDER / f"{name}.csv", ABOUT, table, "%.4g")


PARTS = (fit_all, schedule, students, embedding, times)  # in this order: each needs what came before

if __name__ == "__main__":
    for part in PARTS:
        if len(sys.argv) == 1 or part.__name__ in sys.argv:
            part()
