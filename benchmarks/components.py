"""Persistence of 512 clouds of 64 points in 64 dimensions: this library beside gudhi as TopKD calls it.

Run with `python benchmarks/components.py`. One thread, the ways in turn in one run, medians of the rounds.

Measured in three runs on two cores, times as fast as gudhi's tree of simplices: dimension 0 by `h0_deaths`
10.5 to 11.3 in float32 (differences 1e-6) and 5.0 to 6.5 in float64 (5e-15), by scipy's single linkage,
which has no gradient, 6; dimension 1 by `diagrams` 14 with gudhi on both cores (8 where another program had
one of them), 6.4 with ripser on one. In float64 new memory limits: rounds take 50 or 90 us a cloud, as the
system hands out pages. A cloud alone takes 1.2 ms, the overhead of 63 steps of Prim's algorithm in torch; in
64 clouds it hardly shows.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch
from gudhi import RipsComplex
from ripser import ripser
from scipy.cluster.hierarchy import linkage
from scipy.spatial.distance import pdist, squareform

from marginalia.topology import diagrams, h0_deaths

CLOUDS, POINTS, WIDTH = 512, 64, 64
FEW = 24  # clouds for dimension 1
ROUNDS = 5


def by_gudhi(cloud: np.ndarray, dimension: int) -> list[np.ndarray]:
    """Diagrams of dimensions 0 to `dimension`, through a tree of simplices."""
    tree = RipsComplex(points=cloud).create_simplex_tree(max_dimension=dimension + 1)
    tree.persistence()
    return [tree.persistence_intervals_in_dimension(k) for k in range(dimension + 1)]


def by_ripser(cloud: np.ndarray, dimension: int) -> list[np.ndarray]:
    return ripser(squareform(pdist(cloud)), maxdim=dimension, distance_matrix=True)["dgms"]


def deaths(found: list[list[np.ndarray]]) -> np.ndarray:
    """Finite deaths of dimension 0, sorted, a row a cloud."""
    return np.array([np.sort(zero[np.isfinite(zero[:, 1]), 1]) for zero, *_ in found])


def loops(found: list[list[np.ndarray]]) -> np.ndarray:
    """All bars of dimension 1, sorted within each cloud."""
    return np.concatenate([one[np.lexsort((one[:, 1], one[:, 0]))] for _, one in found])


def compare(ways: dict[str, Callable[[], np.ndarray]], clouds: int) -> None:
    """Time each way, and print its ratio to the first and how far its result is from that one's."""
    spent, results = {name: [] for name in ways}, {}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            start = time.perf_counter()
            results[name] = way()
            spent[name].append(time.perf_counter() - start)
    first = next(iter(ways))
    for name in ways:
        ratios = np.array(spent[first]) / np.array(spent[name])
        apart = np.abs(results[name] - results[first]).max()
        print(
            f"{name:36}{np.median(spent[name]) / clouds * 1e6:9.0f} us/cloud {np.median(ratios):6.1f}"
            f" ({ratios.min():.1f} to {ratios.max():.1f})   largest difference {apart:.1e}"
        )


def main() -> None:
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    clouds = rng.normal(size=(CLOUDS, POINTS, WIDTH))
    single = clouds.astype(np.float32)
    print(f"dimension 0, {CLOUDS} clouds of {POINTS} x {WIDTH}")
    compare(
        {
            "gudhi, simplex tree": lambda: deaths([by_gudhi(x, 0) for x in clouds]),
            "ripser": lambda: deaths([by_ripser(x, 0) for x in clouds]),
            "scipy, single linkage": lambda: np.array([np.sort(linkage(pdist(x))[:, 2]) for x in clouds]),
            "h0_deaths, float64": lambda: h0_deaths(clouds),
            "h0_deaths, float32": lambda: h0_deaths(single),
        },
        CLOUDS,
    )
    few = clouds[:FEW]
    print(f"dimensions 0 and 1, {FEW} clouds; gudhi's `diagrams` on all cores")
    compare(
        {
            "gudhi, simplex tree": lambda: loops([by_gudhi(x, 1) for x in few]),
            "diagrams, ripser": lambda: loops(diagrams(few, backend="ripser")),
            "diagrams, gudhi": lambda: loops(diagrams(few)),
        },
        FEW,
    )
    print("h0_deaths, float32, by the number of points and of clouds")
    for n, b in [(64, 1), (64, 8), (64, 64), (64, 512), (64, 4096), (256, 64), (1024, 8), (2048, 4)]:
        points = torch.from_numpy(rng.normal(size=(b, n, WIDTH)).astype(np.float32))
        took = []
        for _ in range(ROUNDS):
            start = time.perf_counter()
            h0_deaths(points)
            took.append(time.perf_counter() - start)
        print(f"N = {n:5}, B = {b:5}: {np.median(took) / b * 1e6:9.0f} us/cloud")


if __name__ == "__main__":
    main()
