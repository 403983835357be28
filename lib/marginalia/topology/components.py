"""Connected components of many point clouds at once: exact persistence in dimension 0, with gradients.

In the Vietoris-Rips filtration all points are born at 0, and a component dies when an edge joins it to
another: the finite deaths are the lengths of the edges of the minimum spanning tree (single-linkage heights).
"""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from marginalia.arrays import floats

AT_A_TIME = 2**20  # squared distances held at a time: 8 MB in float64
# Squared distances come from inner products, with an error of about eps |x|^2 (|x|: the largest norm in a
# centred cloud). A cloud with a tree edge whose square is below this share of |x|^2 is done again from
# differences.
SHORT = 1e-3


def h0_deaths(points: Float[Tensor, "*B N D"] | Float[np.ndarray, "*B N D"]):
    """Finite deaths of dimension 0, (*B, N - 1), ascending: lengths of the edges of minimum spanning trees.

    points: clouds of N points in D dimensions, tensors (on any device, with gradients) or arrays. Deaths are
    Euclidean edge lengths (twice a radius), in the unit of the points. Duplicates give deaths of 0, with
    gradient 0; a cloud of one point or none has no deaths, (*B, 0). The infinite bar is left out.
    Gradients hold the tree fixed, right where all distances are distinct: the death of edge (i, j) moves with
    x_i by (x_i - x_j) / length. Raises ValueError for NaN and infinite coordinates, naming the cloud.

    >>> h0_deaths(np.array([[0.0, 0.0], [3.0, 4.0], [3.0, 5.0]]))
    array([1., 5.])
    """
    points = floats(points)
    if not isinstance(points, Tensor):
        return h0_deaths(torch.from_numpy(points)).numpy()
    if points.ndim < 2:
        raise ValueError(f"h0_deaths: points must be (N, D) or (B, N, D), not {tuple(points.shape)}")
    *batch, n, dimensions = points.shape
    clouds = points.reshape(math.prod(batch), n, dimensions)  # (B, N, D)
    finite = clouds.sum((1, 2)).isfinite()  # not, as soon as one coordinate is not
    if not finite.all():
        raise ValueError(f"h0_deaths: cloud {int(finite.int().argmin())} has NaN or infinite coordinates")
    if n < 2:
        return points.new_zeros((*batch, 0))
    lengths = [_lengths(some) for some in clouds.split(max(1, AT_A_TIME // n**2))]  # (B, N - 1) in all
    return torch.cat(lengths).reshape(*batch, n - 1).sort(dim=-1).values


def _lengths(clouds: Float[Tensor, "B N D"]) -> Float[Tensor, "B N-1"]:
    """Lengths of the edges of the minimum spanning trees, in the order of Prim's algorithm."""
    b, n, dimensions = clouds.shape
    # 1. Which points the edges join. This choice has no gradient.
    with torch.no_grad():
        edges = _trees(clouds)  # (B, N - 1, 2)
    # 2. How far these are apart, from the points: exact, and differentiable.
    rows = edges + n * torch.arange(b, device=clouds.device)[:, None, None]  # of the stack of all points
    points = clouds.reshape(b * n, dimensions)
    start, end = (points.index_select(0, each.flatten()) for each in rows.unbind(-1))
    return torch.linalg.vector_norm(start.sub_(end), dim=-1).reshape(b, n - 1)


def _trees(clouds: Float[Tensor, "B N D"]) -> Int[Tensor, "B N-1 2"]:
    """Edges of the minimum spanning trees, from inner products where these are precise enough."""
    centred = clouds - clouds.mean(1, keepdim=True)
    norms = torch.linalg.vector_norm(centred, dim=-1).square()  # (B, N)
    inner = centred @ centred.mT  # (B, N, N)
    squared = inner.mul_(-2).add_(norms[:, :, None]).add_(norms[:, None])  # |x|^2 + |y|^2 - 2 x.y
    edges, lengths = _prim(squared)
    doubtful = lengths.amin(1) < SHORT * norms.amax(1)  # (B,)
    if doubtful.any():
        exact = torch.cdist(clouds[doubtful], clouds[doubtful], compute_mode="donot_use_mm_for_euclid_dist")
        edges[doubtful] = _prim(exact)[0]
    return edges


def _prim(distances: Float[Tensor, "B N N"]) -> tuple[Int[Tensor, "B N-1 2"], Float[Tensor, "B N-1"]]:
    """Prim's algorithm on B graphs in step: edges (from, to) in the order of their adding, and lengths."""
    b, n, _ = distances.shape
    first = n * torch.arange(b, device=distances.device)  # row of a cloud's point 0 in the stack of all rows
    rows = distances.reshape(b * n, n)
    # The tree begins at point 0. `nearest` is the distance of each outer point to the tree, `neighbour` the
    # point of the tree that it is to; points of the tree itself are at infinity.
    nearest = distances[:, 0].clone()  # (B, N)
    neighbour = torch.zeros_like(nearest, dtype=torch.long)  # (B, N)
    outer = torch.ones_like(neighbour, dtype=torch.bool)  # (B, N)
    nearest[:, 0], outer[:, 0] = torch.inf, False
    edges, lengths = [], []
    for _ in range(n - 1):
        # The nearest outer point joins the tree ...
        length, joined = nearest.min(1, keepdim=True)  # (B, 1)
        edges.append(torch.cat([neighbour.gather(1, joined), joined], 1))
        lengths.append(length)
        nearest.scatter_(1, joined, torch.inf)
        outer.scatter_(1, joined, False)
        # ... and is from now on the neighbour of those outer points to which it is nearer than the tree was.
        row = rows.index_select(0, first + joined[:, 0])  # (B, N)
        nearer = (row < nearest) & outer
        nearest = torch.where(nearer, row, nearest)
        neighbour = torch.where(nearer, joined, neighbour)
    return torch.stack(edges, 1), torch.cat(lengths, 1)
