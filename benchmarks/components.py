"""Persistence of many clouds: this library beside gudhi as TopKD calls it, ripser, scipy and RipsNet.

Run with `python benchmarks/components.py`. One core, the ways in turn in one run, processor seconds, which
other work on the machine changes less than the clock. giotto-ph and torch-topological are timed where they
are installed. RESULTS
"""

from __future__ import annotations

import os

os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # gudhi's `diagrams` takes every core it may

import time
from collections.abc import Callable

import numpy as np
import torch
from gudhi import AlphaComplex, RipsComplex
from ripser import ripser
from scipy.cluster.hierarchy import linkage
from scipy.spatial.distance import pdist, squareform

from marginalia.topology import RipsNet, diagrams, h0_deaths, persistence_profile

try:
    from gph import ripser_parallel
except ImportError:
    ripser_parallel = None
try:
    from torch_topological.nn import VietorisRipsComplex
except ImportError:
    VietorisRipsComplex = None

CLOUDS, POINTS, WIDTH = 512, 64, 64
FEW = 24  # clouds for dimension 1
BATCHES = (1, 8, 64, 512)
ROUNDS = 7

Diagram = list[np.ndarray]  # (m, 2) a dimension


def by_gudhi(cloud: np.ndarray, dimension: int) -> Diagram:
    """Diagrams of dimensions 0 to `dimension`, through a tree of simplices."""
    tree = RipsComplex(points=cloud).create_simplex_tree(max_dimension=dimension + 1)
    tree.persistence()
    return [tree.persistence_intervals_in_dimension(k) for k in range(dimension + 1)]


def by_alpha(cloud: np.ndarray) -> Diagram:
    """Diagrams of dimensions 0 and 1 of the alpha complex, as RipsNet's authors compute them."""
    tree = AlphaComplex(points=cloud).create_simplex_tree()
    tree.persistence()
    return [tree.persistence_intervals_in_dimension(k) for k in range(2)]


def by_ripser(cloud: np.ndarray, dimension: int) -> Diagram:
    return ripser(squareform(pdist(cloud)), maxdim=dimension, distance_matrix=True)["dgms"]


def by_giotto(cloud: np.ndarray, dimension: int) -> Diagram:
    return ripser_parallel(cloud, maxdim=dimension, n_threads=1)["dgms"]


def by_torch_topological(clouds: np.ndarray, dimension: int) -> list[Diagram]:
    """It takes a batch, in a loop, and leaves out the infinite bar."""
    found = VietorisRipsComplex(dim=dimension)(torch.from_numpy(clouds))
    return [[bars.diagram.numpy() for bars in each] for each in found]


def installed(clouds: np.ndarray, dimension: int, kept: Callable) -> dict[str, Callable[[], np.ndarray]]:
    """The ways of those peers that are here."""
    ways = {}
    if ripser_parallel is not None:
        ways["giotto-ph"] = lambda: kept([by_giotto(x, dimension) for x in clouds])
    if VietorisRipsComplex is not None:
        ways["torch-topological"] = lambda: kept(by_torch_topological(clouds, dimension))
    return ways


def deaths(found: list[Diagram]) -> np.ndarray:
    """Finite deaths of dimension 0, sorted, a row a cloud."""
    return np.array([np.sort(zero[np.isfinite(zero[:, 1]), 1]) for zero, *_ in found])


def loops(found: list[Diagram]) -> np.ndarray:
    """All bars of dimension 1, sorted within each cloud."""
    return np.concatenate([one[np.lexsort((one[:, 1], one[:, 0]))] for _, one in found])


def compare(ways: dict[str, Callable[[], np.ndarray]], clouds: int) -> None:
    """Time each way, and print its ratio to the first and how far its result is from that one's."""
    spent, results = {name: [] for name in ways}, {}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            start = time.process_time()
            results[name] = way()
            spent[name].append(time.process_time() - start)
    first = next(iter(ways))
    for name in ways:
        ratios = np.array(spent[first]) / np.array(spent[name])
        same = results[name].shape == results[first].shape
        apart = f"{np.abs(results[name] - results[first]).max():.1e}" if same else "an image"
        print(
            f"{name:28}{np.median(spent[name]) / clouds * 1e6:9.1f} us/cloud {np.median(ratios):6.1f}"
            f" ({ratios.min():.1f} to {ratios.max():.1f})   largest difference {apart}"
        )


def main() -> None:
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    rng = np.random.default_rng(0)
    clouds = rng.normal(size=(CLOUDS, POINTS, WIDTH))
    single = clouds.astype(np.float32)
    net = RipsNet.topkd(WIDTH).eval()
    for name, module in (("giotto-ph", ripser_parallel), ("torch-topological", VietorisRipsComplex)):
        if module is None:
            print(f"{name} is not installed here, and left out")

    print(f"\ndimension 0, {CLOUDS} clouds of {POINTS} x {WIDTH}; times as fast as the first way")
    compare(
        {
            "gudhi, simplex tree": lambda: deaths([by_gudhi(x, 0) for x in clouds]),
            "ripser": lambda: deaths([by_ripser(x, 0) for x in clouds]),
            "scipy, single linkage": lambda: np.array([np.sort(linkage(pdist(x))[:, 2]) for x in clouds]),
            **installed(clouds, 0, deaths),
            "h0_deaths, float64": lambda: h0_deaths(clouds),
            "h0_deaths, float32": lambda: h0_deaths(single),
            "  and their profiles": lambda: persistence_profile(h0_deaths(single), 0.5, (0, 12)),
            "RipsNet, float32": lambda: net(torch.from_numpy(single)).numpy(),
        },
        CLOUDS,
    )
    few = clouds[:FEW]
    print(f"\ndimensions 0 and 1, {FEW} clouds of {POINTS} x {WIDTH}")
    compare(
        {
            "gudhi, simplex tree": lambda: loops([by_gudhi(x, 1) for x in few]),
            **installed(few, 1, loops),
            "diagrams, ripser": lambda: loops(diagrams(few, backend="ripser")),
            "diagrams, gudhi": lambda: loops(diagrams(few)),
        },
        FEW,
    )
    plane = rng.normal(size=(100, 300, 2))
    small = RipsNet(2, 400).eval()
    print("\ndimension 1 of alpha complexes, 100 clouds of 300 x 2")
    compare(
        {
            "gudhi, alpha complex": lambda: loops([by_alpha(x) for x in plane]),
            "RipsNet, float32": lambda: small(torch.from_numpy(plane).float()).numpy(),
        },
        len(plane),
    )

    print("\nh0_deaths, float32, us a cloud by points N and clouds B; beside it, scipy's for one cloud")
    print("     N" + "".join(f"{f'B = {b}':>10}" for b in BATCHES) + f"{'scipy':>10}")
    for n in (64, 128, 256, 512, 1024, 2048):
        print(f"{n:6}" + "".join(f"{cell:>10}" for cell in growth(rng, n)))


def growth(rng: np.random.Generator, n: int) -> list[str]:
    """Microseconds a cloud of n points: by `h0_deaths` of each number of clouds, and by scipy of one."""
    points = rng.normal(size=(max(BATCHES), n, WIDTH)).astype(np.float32)
    short = [b for b in BATCHES if b * n**2 <= 2**26]
    ours = [f"{median_us(lambda b=b: h0_deaths(points[:b]), b):.0f}" for b in short]
    scipys = f"{median_us(lambda: linkage(pdist(points[0])), 1):.0f}"
    return [*ours, *["-"] * (len(BATCHES) - len(ours)), scipys]


def median_us(way: Callable, clouds: int) -> float:
    """Microseconds of the processor a cloud, the median of at least three rounds and of half a second."""
    spent = []
    while len(spent) < 3 or sum(spent) < 0.5:
        start = time.process_time()
        way()
        spent.append(time.process_time() - start)
    return np.median(spent) / clouds * 1e6


if __name__ == "__main__":
    main()
