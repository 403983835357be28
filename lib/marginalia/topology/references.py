"""Gaussian clouds with the mean and covariance of a given one: in what differs from them there is shape."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from scipy.linalg import null_space
from scipy.stats import ortho_group


def gaussian_references(
    points: Float[np.ndarray, "N D"], count: int, groups: Int[np.ndarray, " N"] | None = None, seed: int = 0
) -> Float[np.ndarray, "count N D"]:
    """Clouds with exactly the mean and covariance of `points`, otherwise like draws of a Gaussian.

    What the mean leaves open, N - 1 directions of the space of points, is turned by uniform random rotations
    and reflections (Langsrud, Rotation tests, 2005). If the points are independent draws of one Gaussian,
    these clouds have the distribution of the given one, given its mean and covariance: a test in which the
    given cloud is one of count + 1 is exact, also for N < D.

    groups: a label a point; each group keeps its own mean, and all together the covariance within groups.
    Clouds with equal N, groups, count and seed are turned alike. Raises ValueError for NaN and infinite
    coordinates, and where fewer than two directions are open.

    >>> cloud = np.random.default_rng(0).exponential(size=(50, 2))
    >>> reference = gaussian_references(cloud, 3)[0]
    >>> np.allclose(reference.mean(0), cloud.mean(0)), np.allclose(np.cov(reference.T), np.cov(cloud.T))
    (True, True)
    """
    points = np.asarray(points, float)
    if points.ndim != 2 or not np.isfinite(points).all():
        raise ValueError(f"gaussian_references: points must be finite and (N, D), not {points.shape}")
    found, own = np.unique(np.zeros(len(points)) if groups is None else groups, return_inverse=True)
    design = np.eye(len(found))[own]  # (N, G)
    free = null_space(design.T)  # (N, N - G): orthonormal, orthogonal to the indicators of the groups
    left = free.shape[1]
    if left < 2:
        raise ValueError(f"gaussian_references: {len(points)} points in {design.shape[1]} groups are too few")
    rotations = ortho_group.rvs(left, size=count, random_state=np.random.default_rng(seed))
    rotations = rotations.reshape(count, left, left)  # also where count is 1
    centred = free.T @ points  # (N - G, D)
    return points - free @ centred + free @ (rotations @ centred)
