"""Persistence diagrams of point clouds by gudhi or ripser, with gradients through gudhi's generators."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import gudhi
import numpy as np
import pandas as pd
import torch
from gudhi.sklearn.rips_persistence import RipsPersistence
from jaxtyping import Float
from ripser import ripser
from scipy.spatial.distance import pdist, squareform
from torch import Tensor
from tqdm.auto import tqdm

from marginalia.arrays import floats

AT_A_TIME = 500  # clouds between two steps of the progress bar

Bars = Float[np.ndarray, "m 2"] | Float[Tensor, "m 2"]


class Diagrams(tuple[tuple[Bars, ...], ...]):
    """Diagrams of K clouds: `d[cloud][dimension]` has a row (birth, death) a bar; inf: it never dies."""

    def __repr__(self) -> str:
        counts = [sum(map(len, each)) for each in zip(*self, strict=True)]
        bars = ", ".join(f"{count} bars in dimension {k}" for k, count in enumerate(counts))
        return f"Diagrams of {len(self)} clouds: {bars or 'none'}"

    def finite(self, dimension: int) -> list[Bars]:
        """The bars of one dimension that die, an (m, 2) a cloud."""
        return [cloud[dimension][cloud[dimension][:, 1] < np.inf] for cloud in self]

    def to_frame(self) -> pd.DataFrame:
        """A row a bar: cloud, dimension, birth, death (inf: it never dies)."""
        rows = [
            (i, k, *bar)
            for i, cloud in enumerate(self)
            for k, bars in enumerate(cloud)
            for bar in bars.tolist()
        ]
        return pd.DataFrame(rows, columns=["cloud", "dimension", "birth", "death"])


def diagrams(
    points: Sequence[Float[np.ndarray, "N D"] | Float[Tensor, "N D"]],
    max_dimension: int = 1,
    backend: Literal["gudhi", "ripser"] = "gudhi",
    metric: Literal["euclidean", "precomputed"] = "euclidean",
) -> Diagrams:
    """Vietoris-Rips persistence diagrams, dimensions 0 to `max_dimension`, of every cloud.

    points: a stack (K, N, D) or a sequence of clouds (N, D), which may differ in size; distance matrices
    (N, N) with metric="precomputed". Births and deaths are edge lengths (twice a radius), in the unit of the
    points, sorted by birth, then death. Bars of length 0 are left out, as both libraries do; `h0_deaths`
    keeps them. A cloud of one point has one bar (0, inf), an empty one none. gudhi computes in float64 on all
    cores, ripser in float32 on one.

    Tensors give tensors. Those that ask for gradients get them: each birth and death is then a distance of
    two of the points (gudhi's persistence generators), right where all distances are distinct. They take
    longer, and need the gudhi backend. Raises ValueError for shapes, NaN and infinite values; it names the
    cloud.

    >>> square = np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]])
    >>> diagrams([square])[0][1].round(3)
    array([[1.   , 1.414]])
    """
    gradients = any(isinstance(cloud, Tensor) and cloud.requires_grad for cloud in points)
    if backend not in BACKENDS or metric not in METRICS:
        raise ValueError(f"diagrams: no backend {backend!r} or no metric {metric!r}; see the docstring")
    if gradients and backend == "ripser":
        raise ValueError("diagrams: ripser has no gradients: use backend='gudhi', or detach the points")
    for i, cloud in enumerate(points):
        _check(cloud, i, metric)
    compute = _with_gradients if gradients else BACKENDS[backend]
    found = []
    with tqdm(total=len(points), unit="cloud", disable=len(points) <= AT_A_TIME) as progress:
        for start in range(0, len(points), AT_A_TIME):
            some = points[start : start + AT_A_TIME]
            for cloud, each in zip(some, compute(some, max_dimension, metric), strict=True):
                # both libraries give an empty cloud an infinite bar
                found.append(tuple(_sorted(bars[: len(bars) * (len(cloud) > 0)], cloud) for bars in each))
            progress.update(len(some))
    return Diagrams(found)


def _check(cloud, i: int, metric: str) -> None:
    """ValueError where a cloud is none."""
    values = _array(cloud)
    if values.ndim != 2:
        raise ValueError(f"diagrams: cloud {i} must be (N, D), not {values.shape}; put one cloud in a list")
    if not np.isfinite(values).all():
        raise ValueError(f"diagrams: cloud {i} has NaN or infinite values")
    if metric == "precomputed" and not (np.array_equal(values, values.T) and not values.diagonal().any()):
        raise ValueError(
            f"diagrams: matrix {i} must be square and symmetric, with zeros on its diagonal "
            "(torch.cdist: compute_mode='donot_use_mm_for_euclid_dist')"
        )


def _array(cloud) -> Float[np.ndarray, "N D"]:
    return cloud.detach().cpu().double().numpy() if isinstance(cloud, Tensor) else np.asarray(cloud, float)


def _sorted(bars: Bars, cloud) -> Bars:
    """Bars by birth, then death; a tensor where the cloud is one."""
    if isinstance(cloud, Tensor):
        bars = torch.as_tensor(bars).to(floats(cloud))  # of whole numbers too
    bars = bars.reshape(-1, 2)
    return bars[np.lexsort(_array(bars).T[::-1])]


def _by_gudhi(clouds: list, max_dimension: int, metric: str) -> list[list[Bars]]:
    rips = RipsPersistence(range(max_dimension + 1), input_type=METRICS[metric], n_jobs=-1)
    return rips.fit_transform([_array(cloud) for cloud in clouds])


def _by_ripser(clouds: list, max_dimension: int, metric: str) -> Iterator[list[Bars]]:
    for cloud in clouds:
        # Distances by scipy: ripser's own turn duplicates into bars of 1e-7.
        matrix = squareform(pdist(_array(cloud))) if metric == "euclidean" else _array(cloud)
        yield ripser(matrix, maxdim=max_dimension, distance_matrix=True)["dgms"]


def _with_gradients(clouds: list, max_dimension: int, metric: str) -> Iterator[list[Bars]]:
    for cloud in clouds:
        cloud = torch.as_tensor(cloud)
        # 1. All distances, with gradients. Those of duplicates are 0 and have none.
        exact = "donot_use_mm_for_euclid_dist"
        lengths = cloud if metric == "precomputed" else torch.cdist(cloud, cloud, compute_mode=exact)
        # 2. The filtration without gradients, and the edges at which bars begin and end.
        tree = gudhi.RipsComplex(distance_matrix=_array(lengths)).create_simplex_tree(max_dimension + 1)
        tree.compute_persistence(persistence_dim_max=True)  # a cloud of one point has no higher simplex
        zero, higher, infinite, _ = tree.flag_persistence_generators()
        # 3. Births and deaths are the lengths of these edges.
        died = lengths[zero[:, 1], zero[:, 2]]
        deaths = torch.cat([died, died.new_full((len(infinite),), torch.inf)])
        each = [torch.stack([torch.zeros_like(deaths), deaths], -1)]
        for k in range(max_dimension):
            edges = higher[k] if k < len(higher) else np.empty((0, 4), int)
            births, deaths = lengths[edges[:, 0], edges[:, 1]], lengths[edges[:, 2], edges[:, 3]]
            each.append(torch.stack([births, deaths], -1))
        yield each


BACKENDS = {"gudhi": _by_gudhi, "ripser": _by_ripser}
METRICS = {"euclidean": "point cloud", "precomputed": "full distance matrix"}  # and what gudhi calls them
