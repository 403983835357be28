"""Measure RipsNet on circles and on features of digits, and train the two networks that notebook 33 shows.

`python data/recipes/measure_ripsnet.py` writes data/measured/topology/ripsnet_*.csv and the weights in
data/weights/topology, in about twenty minutes on one core.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from pathlib import Path
from timeit import timeit

import numpy as np
import pandas as pd
import torch
from scipy.spatial.distance import pdist, squareform
from sklearn.ensemble import RandomForestClassifier

from marginalia import store, training
from marginalia.figures.ripsnet import trained
from marginalia.topology import PersistenceImage, RipsNet, collect_features, fit_ripsnet, h0_deaths
from marginalia.topology.circles import alpha_loops, circles
from marginalia.topology.digits import FEATURES, digits, train_teacher
from marginalia.topology.images import persistence_profile, ripsnet_weight
from marginalia.topology.ripsnet import size_features


def one_size(clouds: np.ndarray) -> np.ndarray:
    """Clouds (K, N, D) moved to the origin and scaled so that the root mean square distance from it is 1."""
    centred = clouds - clouds.mean(1, keepdims=True)
    return centred / np.sqrt(np.square(centred).sum(2).mean(1))[:, None, None]


def without_outliers(cloud: np.ndarray) -> np.ndarray:
    """The points (N, D) whose fifth neighbour is at most three times as far as that of the median point."""
    distance = np.sort(squareform(pdist(cloud)), axis=1)[:, 5]
    return cloud[distance <= 3 * np.median(distance)]


SEEDS = range(5)
# How clouds are scaled, and the bandwidth of their images. None: the authors' rule, a quantile over the first
# 200 bars. On clouds of one size it gave 1.3e-4 with seed 1, narrower than a pixel (.05): images were empty.
SCALES = {"as drawn": (lambda clouds: clouds, None), "one size": (one_size, 0.1)}
# With 2e-3 the sum over 300 points diverged, with 5e-4 the mean had not left the mean image after 3,000 steps
# (clouds of one size, seed 0).
RATES = {"mean": 2e-3, "sum": 5e-4}
STEPS, CLOUDS, POINTS, NOISE = 2000, 900, 300, 1 / 3  # CLOUDS: for the network, and again for classifiers
TEST, REPEATS, BATCHES = 300, 5, 3000


def splits(seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Clouds and labels: for the network, for the classifiers, clean and noisy test clouds."""
    sizes = ((CLOUDS, 0), (CLOUDS, 0), (TEST, 0), (TEST, NOISE))
    return [circles(count, POINTS, noise, 10 * seed + k) for k, (count, noise) in enumerate(sizes)]


def accuracy(seed: int, scale: str) -> tuple[list[dict], dict[str, tuple[RipsNet, dict]]]:
    """Rows of one seed, and the fitted networks with the numbers that their images need."""
    scaled, bandwidth = SCALES[scale]
    sets = [(scaled(x), y) for x, y in splits(seed)]
    loops = [alpha_loops(x) for x, _ in sets]
    maker = PersistenceImage(bandwidth, weight=ripsnet_weight).fit(loops[0])
    maximum = maker.transform(loops[0]).max()
    kept = [alpha_loops(map(without_outliers, x)) for x, _ in sets]

    inputs = {
        "exact": [maker.transform(each) / maximum for each in loops],
        "exact without outliers": [maker.transform(each) / maximum for each in kept],
        "size": [size_features(x) for x, _ in sets],
    }
    r2, nets = {}, {}
    for pooling, rate in RATES.items():
        torch.manual_seed(seed)
        net = RipsNet(2, 400, pooling=pooling)
        fit = fit_ripsnet(net, sets[0][0], inputs["exact"][0], STEPS, rate, seed)
        with torch.no_grad():
            inputs[f"RipsNet {pooling}"] = [fit.net(torch.from_numpy(x).float()).numpy() for x, _ in sets]
        r2 |= {f"RipsNet {pooling}": fit.r2, "size": 1 - fit.mse_size / fit.mse_mean_image}
        about = {"bandwidth": maker.bandwidth_, "ranges": maker.ranges_, "maximum": maximum}
        nets[pooling] = fit.net, about | {"steps": STEPS, "lr": rate, "r2": fit.r2}
    rows = []
    for name, x in inputs.items():
        forest = RandomForestClassifier(random_state=seed).fit(x[1], sets[1][1])
        clean, noisy = (forest.score(x[k], sets[k][1]) for k in (2, 3))
        row = {"scale": scale, "seed": seed, "input": name, "clean": clean, "noisy": noisy}
        rows.append(row | {"r2": r2.get(name)})
    return rows, nets


def iid_digits(seed: int) -> Iterator[dict]:
    """R2 of profiles of a teacher's features: batches drawn alike, and batches of one to ten classes."""
    teacher, _ = train_teacher(seed)
    train, rng = digits()[0], np.random.default_rng(seed)
    features = collect_features(teacher, [train.x], FEATURES)[0].numpy()  # (1200, 64)
    for kind in ("drawn alike", "one to ten classes"):
        clouds = []
        for _ in range(BATCHES):
            classes = rng.permutation(10)[: rng.integers(1, 11) if kind != "drawn alike" else 10]
            clouds.append(features[rng.choice(np.flatnonzero(np.isin(train.y, classes)), 64, replace=False)])
        deaths = h0_deaths(np.stack(clouds))  # (K, 63)
        ranges = float(deaths.min()), float(deaths.max())
        profiles = persistence_profile(deaths, np.ptp(ranges) / 20, ranges, weight=ripsnet_weight)
        torch.manual_seed(seed)
        net = RipsNet(64, 20, pooling="mean")
        fit = fit_ripsnet(net, np.stack(clouds), profiles / profiles.max(), STEPS, seed=seed)
        row = {"batches": kind, "seed": seed, "r2": fit.r2, "r2_size": 1 - fit.mse_size / fit.mse_mean_image}
        yield row | {"mse": fit.mse, "mse_mean": fit.mse_mean_image}


@torch.no_grad()
def seconds() -> Iterator[dict]:
    """Wall-clock seconds for one set of clouds, one thread, exact and by the shipped network in turn."""
    net, maker, _ = trained()
    x = circles(TEST, POINTS)[0]
    tensor = torch.from_numpy(x).float()
    ways = {"exact": lambda: maker.transform(alpha_loops(x)), "RipsNet": lambda: net(tensor)}
    for repeat in range(REPEATS):
        for name, way in ways.items():
            row = {"method": name, "repeat": repeat, "clouds": TEST}
            yield row | {"seconds": timeit(way, number=1)}


NOTES = {
    "accuracy": f"""\
Accuracy of random forests on clouds of one, two or three circles, {TEST} clean and {TEST} noisy ones.
scale: as the authors draw them; or one size: centred, root mean square distance 1, bandwidth 0.1.
input: what the forest is given; size: the six numbers of marginalia.topology.size_features.
r2: of the images of clean clouds, by the network, or by a forest from the six numbers.
{CLOUDS} clouds fit the network (three quarters) and measure r2 (the last quarter); {CLOUDS} others fit the
forest. {POINTS} points, noise replaces a third of them; alpha H1 images 20 x 20; {STEPS} steps of AdamW,
learning rate by pooling {RATES}.
""",
    "digits": f"""\
R2 of H0 persistence profiles of features of a teacher of digits, on a quarter of {BATCHES} batches of 64.
RipsNet with mean pooling, {STEPS} steps; r2_size: a random forest from size_features.
""",
    "seconds": f"""\
Seconds for {TEST} clouds of {POINTS} points, one thread of a shared machine, both ways in turn.
Compare their ratio, not their size.
""",
}


def write(folder: Path, name: str, rows: list[dict]) -> None:
    """A table with what it is above."""
    about = NOTES[name] + "Written by: python data/recipes/measure_ripsnet.py"
    training.write_table(folder / f"ripsnet_{name}.csv", about, rows, "%.5g")


def main() -> None:
    """All tables and the weights."""
    torch.set_num_threads(1)
    out, weights = store.root() / "measured" / "topology", store.root() / "weights" / "topology"
    found = []
    for seed, scale in product(SEEDS, SCALES):
        rows, nets = accuracy(seed, scale)
        found += rows
        print(pd.DataFrame(rows).round(3).to_string(), flush=True)
        for pooling, (net, about) in nets.items() if (seed, scale) == (0, "as drawn") else ():
            what = {"what": "RipsNet of clouds on one to three circles", "pooling": pooling, "seed": seed}
            training.save(net, weights / f"ripsnet-circles-{pooling}.safetensors", what | about)
    write(out, "accuracy", found)
    write(out, "digits", [row for seed in SEEDS for row in iid_digits(seed)])
    write(out, "seconds", list(seconds()))


if __name__ == "__main__":
    main()
