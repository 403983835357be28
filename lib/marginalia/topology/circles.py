"""Clouds on one to three circles, on which RipsNet (PMLR v196) was first tested, and their exact loops."""

from __future__ import annotations

from collections.abc import Iterable

import gudhi
import numpy as np
from jaxtyping import Float, Int
from scipy.spatial.distance import pdist, squareform

CIRCLES = {1: ((2,), 5), 2: ((5, 3), 15), 3: ((5, 3, 2), 15)}  # radii, and how far out a centre may lie


def circles(
    clouds: int, points: int = 300, noise: float = 0.0, seed: int = 0
) -> tuple[Float[np.ndarray, "K N 2"], Int[np.ndarray, " K"]]:
    """K clouds of N points on circles that do not touch, and how many circles each has: 1, 2 or 3.

    Radii and places are those of RipsNet's authors: a single circle has radius 2, two have 5 and 3, three 5,
    3 and 2. noise: share of the points that are drawn anew, uniformly in the box around the circles.
    """
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(clouds) % 3 + 1)
    return np.stack([_cloud(rng, label, points, noise) for label in labels]), labels


def _cloud(rng: np.random.Generator, label: int, points: int, noise: float) -> Float[np.ndarray, "N 2"]:
    """One cloud, about equally many points on each circle."""
    # centres, drawn again until all circles are apart
    radii, reach = np.array(CIRCLES[label][0], float), CIRCLES[label][1]
    apart = squareform(radii[:, None] + radii, checks=False)  # (pairs,) sums of two radii
    centres = rng.uniform(-reach, reach, (len(radii), 2))
    while (pdist(centres) <= apart).any():
        centres = rng.uniform(-reach, reach, (len(radii), 2))

    # points on the circles in turn, then some of them anywhere in the box around
    own, angle = np.arange(points) % len(radii), rng.uniform(0, 2 * np.pi, points)
    cloud = centres[own] + radii[own, None] * np.stack([np.cos(angle), np.sin(angle)], -1)  # (N, 2)
    low, high = (centres - radii[:, None]).min(0), (centres + radii[:, None]).max(0)
    replaced = rng.permutation(points)[: round(noise * points)]
    cloud[replaced] = rng.uniform(low, high, (len(replaced), 2))
    return rng.permutation(cloud)


def alpha_loops(clouds: Iterable[Float[np.ndarray, "N 2"]]) -> list[Float[np.ndarray, "m 2"]]:
    """Loops (H1) of the alpha complex of each cloud: birth and death are *squared* radii, as gudhi has them.

    What RipsNet's authors compute. In the plane it is much faster than a Vietoris-Rips complex.
    """
    found = []
    for cloud in clouds:
        tree = gudhi.AlphaComplex(points=cloud).create_simplex_tree()
        tree.compute_persistence()
        found.append(tree.persistence_intervals_in_dimension(1).reshape(-1, 2))
    return found
