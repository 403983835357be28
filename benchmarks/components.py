"""Persistence of many clouds: this library beside gudhi as TopKD calls it, ripser, scipy and RipsNet.

Run with `python benchmarks/components.py`. One core, the ways in turn in one run, processor seconds, which
other work on the machine changes less than the clock. giotto-ph and torch-topological are timed where they
are installed.

Measured in three runs of 7 rounds on a 2-core x86 machine that other programs kept busy: median ratios of the
runs, and the lowest and highest of all rounds (gudhi 3.13, ripser 0.6.15, giotto-ph 0.2.4, torch-topological
0.1.9, torch 2.13, numpy 2.4).

    dimension 0, 512 clouds of 64 x 64    times gudhi's tree of simplices      largest difference
    h0_deaths, float64                     7.3 -  7.7   ( 6.1 to  8.4)          5e-15
    h0_deaths, float32                    12.4 - 13.6   (11.3 to 14.6)          1e-6
    scipy's single linkage, no gradient    4.3 -  4.5   ( 3.8 to  5.1)          0
    torch-topological                      1.0 -  1.1   ( 1.0 to  1.2)          5e-15
    giotto-ph                              0.9 -  1.0   ( 0.9 to  1.0)          5e-7
    ripser                                 1.2          ( 1.1 to  1.2)          5e-7
    RipsNet's forward pass                15   - 20     (10.5 to 26.2)          an image, not deaths

    dimensions 0 and 1, 24 of them
    diagrams, gudhi                       12.6 - 12.9   (11.6 to 13.7)          0
    diagrams, ripser                       7.0 -  7.2   ( 6.7 to  7.5)          5e-7
    giotto-ph                              7.8 -  8.1   ( 7.3 to  8.4)          5e-7
    torch-topological                      8.1 -  8.2   ( 7.2 to  8.7)          5e-15

So exact deaths cost about as much as the image that RipsNet predicts: 42 to 50 us a cloud in float32, and 48
to 57 with their profiles, where RipsNet takes 31 to 38. Of alpha complexes of 300 points in a plane, 2.2 to
2.7 ms, its images are 43 to 48 times as fast.

What limits h0_deaths: in float64, of 71 us a cloud, distances take 30 (13 to 18 of them the inner products)
and Prim's algorithm 20; in float32, of 39, they take 12 and 16. A cloud alone takes .6 to .7 ms, of which
.26 are the calls of the 63 steps. From N = 128 on time grows with N^2: 8 to 10 ms for N = 1,024, alone or
among many, of which Prim's algorithm is 5, and 24 to 29 for 2,048 (scipy 13 to 14 and 58 to 63).
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
