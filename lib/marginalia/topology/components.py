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
from tqdm.auto import tqdm

from marginalia.arrays import Array, floats, module_of

AT_A_TIME = 2**21  # bytes of distances held at a time: what a cache holds
# Squared distances come from inner products, with an error of about eps |x|^2 (|x|: the largest norm in a
# centred cloud). In a cloud with a square below this share of |x|^2, distances come from differences.
SHORT = 1e-3
SHOWN = 500  # steps from which on there is a progress bar: a second or more


def h0_deaths(points: Float[Tensor, "*B N D"] | Float[np.ndarray, "*B N D"]):
    """Finite deaths of dimension 0, (*B, N - 1), ascending: lengths of the edges of minimum spanning trees.

    points: clouds of N points in D dimensions, tensors (on any device, with gradients) or arrays, also
    memory-mapped ones: clouds are read and computed some at a time, with a progress bar where they are many.
    Deaths are Euclidean edge lengths (twice a radius), in the unit of the points. Duplicates give deaths of
    0, with gradient 0; a cloud of one point or none has no deaths, (*B, 0). The infinite bar is left out.
    Gradients hold the tree fixed, right where all distances are distinct: the death of edge (i, j) moves with
    x_i by (x_i - x_j) / length. Squares of coordinates must neither over- nor underflow (1e-18 to 1e18 in
    float32); where edges nearly tie, float32 may take one that is longer by a ten-thousandth. Raises
    ValueError for NaN and infinite coordinates, naming the cloud. From file to file: `python -m marginalia
    deaths FILE OUT`.

    >>> h0_deaths(np.array([[0.0, 0.0], [3.0, 4.0], [3.0, 5.0]]))
    array([1., 5.])
    """
    given = points if isinstance(points, Tensor) else np.asarray(points)
    if given.ndim < 2:
        raise ValueError(f"h0_deaths: points must be (N, D) or (B, N, D), not {tuple(given.shape)}")
    *batch, n, dimensions = given.shape
    clouds = given.reshape(math.prod(batch), n, dimensions)  # (B, N, D)
    deaths = _tensor(clouds[:0]).new_empty(len(clouds), max(0, n - 1))
    step = max(1, AT_A_TIME // (given.itemsize * max(1, n) ** 2))
    with tqdm(total=len(clouds), unit="cloud", disable=len(clouds) <= SHOWN * step) as progress:
        for start in range(0, len(clouds), step):
            some = _tensor(clouds[start : start + step])
            wide = torch.promote_types(some.dtype, torch.float32)  # sums of float16 would overflow
            finite = some.sum((1, 2), dtype=wide).isfinite()  # not, as soon as one coordinate is not
            if not finite.all():
                bad = start + int(finite.int().argmin())
                raise ValueError(f"h0_deaths: cloud {bad} has NaN or infinite coordinates")
            deaths[start : start + step] = _lengths(some).sort(-1).values
            progress.update(len(some))
    deaths = deaths.reshape(*batch, max(0, n - 1))
    return deaths if isinstance(points, Tensor) else deaths.numpy()


def _tensor(clouds: Float[Array, "B N D"]) -> Float[Tensor, "B N D"]:
    """Clouds as a tensor of floats; arrays are copied where torch asks for it, as read-only ones."""
    clouds = floats(clouds)
    if isinstance(clouds, Tensor):
        return clouds
    return torch.from_numpy(np.require(clouds, clouds.dtype.newbyteorder("="), ("W", "C")))


def _lengths(clouds: Float[Tensor, "B N D"]) -> Float[Tensor, "B N-1"]:
    """Lengths of the edges of the minimum spanning trees, in the order of the points 1 to N - 1."""
    b, n, dimensions = clouds.shape
    if n < 2:
        return clouds.new_zeros(b, 0)
    # 1. Which points the edges join: in float32 at least, also in mixed precision. It has no gradient.
    with torch.no_grad(), torch.autocast(clouds.device.type, enabled=False):
        wide = clouds.to(torch.promote_types(clouds.dtype, torch.float32))
        parents = torch.as_tensor(_prim(_distances(wide)))
    # 2. How far these are apart, from the points: exact, and differentiable.
    points = clouds.reshape(b * n, dimensions)
    edges = points.index_select(0, parents).sub_(points)  # (B * N, D)
    return torch.linalg.vector_norm(edges, dim=-1).reshape(b, n)[:, 1:]


def _distances(clouds: Float[Tensor, "B N D"]) -> Float[Array, "B N N"]:
    """Halves of squared distances from inner products, or where these are not precise enough, distances.

    In main memory they are a numpy array: Prim's many short steps take a fifth of torch's time in numpy.
    """
    centred = clouds - clouds.mean(1, keepdim=True)
    inner = centred @ centred.mT  # (B, N, N)
    half = inner.diagonal(dim1=1, dim2=2) / 2  # (B, N)
    squared = torch.sub(half[:, :, None], inner, out=inner).add_(half[:, None])  # |x|^2/2 - x.y + |y|^2/2
    squared.diagonal(dim1=1, dim2=2).fill_(torch.inf)
    doubtful = squared.amin((1, 2)) < SHORT * half.amax(1)  # (B,)
    if doubtful.any():
        some = clouds[doubtful]
        squared[doubtful] = torch.cdist(some, some, compute_mode="donot_use_mm_for_euclid_dist")
    return squared.numpy() if squared.device.type == "cpu" else squared


def _prim(distances: Float[Array, "B N N"]) -> Int[Array, " B*N"]:
    """Prim's algorithm on B graphs in step: the parent of each point in a tree that is rooted at point 0.

    Points are numbered through all graphs, from 0 to B * N - 1. A root is its own parent.
    """
    module = module_of(distances)
    b, n, _ = distances.shape
    rows = distances.reshape(b * n, n)
    first = n * module.arange(b, device=distances.device)  # point 0 of each cloud
    parents = module.arange(b * n, device=distances.device)
    # `nearest` is the distance of each point to the tree. `inside` is inf at the points of the tree and -inf
    # elsewhere, `outside` the reverse: after a maximum with one of them, a minimum is over the other side.
    nearest = rows[first]  # (B, N)
    inside = module.full_like(nearest, -math.inf)
    outside, masked = -inside, module.empty_like(nearest)
    joined = first
    for _ in range(n - 1):
        inside.reshape(-1)[joined] = math.inf
        outside.reshape(-1)[joined] = -math.inf
        # The nearest point outside joins the tree, by an edge from the point inside that it is nearest to.
        joined = first + module.maximum(nearest, inside, out=masked).argmin(1)  # (B,)
        row = rows[joined]  # (B, N)
        parents[joined] = first + module.maximum(row, outside, out=masked).argmin(1)
        module.minimum(nearest, row, out=nearest)
    return parents
