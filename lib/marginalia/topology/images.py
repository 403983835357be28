"""Persistence images and profiles: diagrams as arrays of one size, for numpy arrays and torch tensors alike.

A diagram is m bars (birth b, death t), its persistence is p = t - b. An image puts a normal bump of standard
deviation sigma, the bandwidth, at each (b, p), times a weight w(b, p), and adds them up on a grid (Adams et
al., JMLR 2017). A bump is a product of a function of birth and one of persistence, so an image is one product
of two small matrices, not a sum of m grids. Results keep the kind, device and precision of the diagrams, and
gradients flow through torch tensors.

Bars with an infinite birth or death count nothing, whatever the weight: pad a batch of diagrams with inf.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray
from scipy.spatial.distance import pdist
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from marginalia.arrays import Array, floats, module_of

Weight = Callable[[Array, Array], Array | float]  # (birth, persistence), both (*batch, m) -> weights
AT_A_TIME = 100_000  # numbers in one of the two matrices of a transformer's batch: what a cache holds


def persistence_weight(birth: Float[Array, "*batch m"], persistence: Float[Array, "*batch m"]) -> Array:
    """p: persim's default, continuous and 0 on the diagonal, as the stability of images asks."""
    return persistence


def ripsnet_weight(birth: Float[Array, "*batch m"], persistence: Float[Array, "*batch m"]) -> Array:
    """10 tanh p, of RipsNet's synthetic data: 9.6 at p = 2, so nearly constant beyond."""
    return 10 * module_of(persistence).tanh(persistence)


def topkd_weight(birth: Float[Array, "*batch m"], persistence: Float[Array, "*batch m"]) -> Array:
    """10 tanh p + 10 ln(100 b + 1), of TopKD's code: not 0 on the diagonal unless b = 0; needs b > -0.01."""
    return 10 * module_of(persistence).tanh(persistence) + 10 * module_of(birth).log(100 * birth + 1)


def persistence_image(
    diagram: Float[Array, "*batch m 2"],
    bandwidth: float,
    ranges: tuple[float, float, float, float],
    resolution: tuple[int, int] = (20, 20),
    weight: Weight = persistence_weight,
    convention: Literal["gudhi", "persim"] = "gudhi",
) -> Float[Array, "*batch r_p r_b"]:
    """The persistence image of a diagram or of a batch: rows by ascending persistence, columns by birth.

    diagram: (birth, death) of each bar, in any order; without bars the image is 0.
    bandwidth: standard deviation of a bump, in the unit of the diagram (persim's `sigma` is its square).
    ranges: lowest and highest birth, lowest and highest persistence; resolution: (r_b, r_p). Both are in the
    order of gudhi's `im_range` and `resolution`.
    convention: "gudhi" samples the density, with its factor 1 / (2 pi bandwidth^2), at nodes that include
    both ends of a range. "persim" integrates it over pixels whose outer edges are the ends. gudhi's image is
    this one flattened, persim's is its transpose.

    A range of no width gives gudhi's nodes one coordinate, and so equal columns (rows); persim's pixels would
    hold nothing. Beyond 8 bandwidths in float32 and 23 in float64 a bump stays level (1e-14 and 1e-115 of its
    height; 0 in persim's pixels), and so has no gradient. ValueError for NaN, also from the weight, for
    persim's pixels without width, and for a bandwidth that is not positive.

    >>> bars = np.array([[0.0, 1.0], [0.5, 2.5], [0.0, np.inf]])
    >>> persistence_image(bars, bandwidth=0.5, ranges=(0, 1, 0, 2), resolution=(2, 3)).round(2)
    array([[0.09, 0.01],
           [0.74, 0.19],
           [0.86, 0.78]])
    """
    low_b, high_b, low_p, high_p = ranges
    birth, persistence, weights = _points(diagram, weight)

    # bump k is weights[k] * over_persistence[j, k] * over_birth[i, k]; a matrix product sums over k
    over_birth = _bumps(birth, bandwidth, low_b, high_b, resolution[0], convention)  # (*batch, r_b, m)
    over_persistence = _bumps(persistence, bandwidth, low_p, high_p, resolution[1], convention)
    if convention == "gudhi":
        weights = weights / (2 * math.pi * bandwidth**2)  # the peak of a bump
    return (weights[..., None, :] * over_persistence) @ over_birth.mT  # (*batch, r_p, r_b)


def persistence_profile(
    deaths: Float[Array, "*batch m"],
    bandwidth: float,
    ranges: tuple[float, float],
    resolution: int = 20,
    weight: Weight = persistence_weight,
) -> Float[Array, "*batch r_p"]:
    """What an image says of bars born at 0, as in dimension 0: sum_k w(0, t_k) N(y_j; t_k, bandwidth^2).

    The nodes y_j run from one end of `ranges` to the other, as in gudhi's images. At birth 0 the bumps of an
    image are all alike: its column at birth x is this profile times N(x; 0, bandwidth^2). Infinite deaths
    count nothing. ValueError as in persistence_image.

    >>> persistence_profile(np.array([1.0, 2.0, np.inf]), bandwidth=0.5, ranges=(0, 2), resolution=3).round(2)
    array([0.11, 1.01, 1.7 ])
    """
    deaths = floats(deaths)
    module = module_of(deaths)
    _, persistence, weights = _points(module.stack([module.zeros_like(deaths), deaths], -1), weight)
    bumps = _bumps(persistence, bandwidth, *ranges, resolution, "gudhi")  # (*batch, r_p, m)
    peak = 1 / (math.sqrt(2 * math.pi) * bandwidth)
    return (bumps @ (peak * weights)[..., None])[..., 0]  # (*batch, r_p)


def _points(diagram: Array, weight: Weight) -> tuple[Array, Array, Array]:
    """Birth, persistence and weight of each bar, (*batch, m) each; infinite bars have weight 0."""
    diagram = floats(diagram)
    module = module_of(diagram)
    if diagram.ndim < 2 or diagram.shape[-1] != 2:
        raise ValueError(f"diagram: (..., m, 2) births and deaths are needed, not {tuple(diagram.shape)}")
    if module.isnan(diagram).any():
        raise ValueError("diagram: NaN among births and deaths; pad with inf, which counts nothing")

    # a bar from 0 to 1 stands in for an infinite one, so that weight and gradient stay finite
    birth, death = diagram[..., 0], diagram[..., 1]  # (*batch, m)
    finite = module.isfinite(birth) & module.isfinite(death)
    birth, death = module.where(finite, birth, 0), module.where(finite, death, 1)
    persistence = death - birth
    weights = weight(birth, persistence) + 0 * birth  # a constant weight may be one number
    if module.isnan(weights).any():
        raise ValueError("weight: it gives NaN for a bar of the diagram")
    return birth, persistence, module.where(finite, weights, 0)


def _bumps(
    x: Float[Array, "*batch m"], bandwidth: float, low: float, high: float, resolution: int, convention: str
) -> Float[Array, "*batch r m"]:
    """The normal density around each x, over its peak, at r nodes from low to high; or over r pixels."""
    if not 0 < bandwidth < math.inf:
        raise ValueError(f"bandwidth: a positive number is needed, not {bandwidth}")
    if convention not in ("gudhi", "persim"):
        raise ValueError(f"convention: 'gudhi' or 'persim', not {convention!r}")
    if not -math.inf < low <= high < math.inf or (convention == "persim" and low == high):
        raise ValueError(f"ranges: two finite ascending ends, apart for persim's pixels, not {low}, {high}")
    module = module_of(x)
    nodes = resolution + (convention == "persim")  # r pixels have r + 1 edges
    nodes = module.linspace(low, high, nodes, dtype=x.dtype, device=x.device)  # (r,)

    # far from x a bump, or the product of two, would be a denormal number, which a processor is slow with:
    # from the limit on it stays at tiny^(3/8), so that the product leaves room for weights and bandwidths
    limit = max(8, math.sqrt(-0.75 * math.log(module.finfo(x.dtype).tiny)))
    apart = nodes[:, None] - x[..., None, :]  # (*batch, r, m)
    if convention == "gudhi":
        return module.exp((apart * apart * (-0.5 / bandwidth**2)).clip(min=-0.5 * limit**2))
    from torch import as_tensor, erf  # seven times as fast as scipy's

    z = (apart * (1 / bandwidth)).clip(-limit, limit)
    below = erf(as_tensor(z) * math.sqrt(0.5)) / 2  # (*batch, r + 1, m)
    mass = below[..., 1:, :] - below[..., :-1, :]
    return mass.numpy() if module is np else mass


class _DiagramTransformer(TransformerMixin, BaseEstimator):
    """What image and profile share: bandwidth and ranges from a list of diagrams, batches of bounded size."""

    def fit(self, diagrams: Sequence[Float[ndarray, "m 2"]], y: None = None) -> Self:
        """Choose what was not given, from the finite bars of all diagrams; see the class."""
        points, _ = _validated(diagrams)
        points = points[np.isfinite(points).all(1)]
        points[:, 1] -= points[:, 0]  # (birth, persistence)
        if not len(points) and (self.bandwidth is None or self.ranges is None):
            raise ValueError("diagrams: no finite bar to choose from; give both bandwidth and ranges")

        # the 20 % quantile of the distances between the first 200 points, as RipsNet's authors have it
        self.bandwidth_, self.ranges_ = self.bandwidth, self.ranges
        if self.bandwidth is None:
            distances = pdist(points[:200])
            distances = np.repeat(distances[distances > 1e-5], 2)  # each pair twice, as in their full matrix
            if not len(distances):
                raise ValueError("diagrams: no two of the first 200 bars are 1e-5 apart; give bandwidth")
            self.bandwidth_ = float(np.quantile(distances, 0.2))

        # from the lowest to the highest coordinate; where these are equal, a window that shows a whole bump
        if self.ranges is None:
            low, high = points[:, self._axes].min(0), points[:, self._axes].max(0)
            margin = np.where(low == high, 3 * self.bandwidth_, 0)
            self.ranges_ = tuple(np.stack([low - margin, high + margin], 1).ravel().tolist())
        return self

    def transform(self, diagrams: Sequence[Float[ndarray, "m 2"]]) -> Float[ndarray, "N r"]:
        """One row a diagram; see the class."""
        check_is_fitted(self)
        points, bars = _validated(diagrams)
        end = np.cumsum(bars)
        step = max(1, AT_A_TIME // max(1, bars.max() * np.max(self.resolution)))
        vectors = np.empty((len(bars), np.prod(self.resolution)))
        for start in range(0, len(bars), step):
            part = slice(start, start + step)
            # diagrams of different lengths are padded
            held = np.arange(bars[part].max()) < bars[part, None]  # (n, m)
            padded = np.full((*held.shape, 2), np.inf)
            padded[held] = points[end[start] - bars[start] : end[part][-1]]
            vectors[part] = self._vectors(padded)
        return vectors


@dataclass(eq=False, repr=False)  # its __init__ is as scikit-learn wants it
class PersistenceImage(_DiagramTransformer):
    """Persistence images for scikit-learn: a list of N diagrams, (m, 2) arrays each, to (N, r_p * r_b).

    Parameters as in persistence_image. Where they are None, `fit` chooses as the authors of RipsNet and TopKD
    do: `bandwidth_` is the 20 % quantile of the distances above 1e-5 between the first 200 points (birth,
    persistence), so it depends on the order of the diagrams; `ranges_` go from the smallest to the largest
    coordinate. Unlike there, a range of no width is widened by three bandwidths on both sides, which is where
    diagrams of dimension 0, all born at 0, have a bump along birth; for their equal columns give ranges
    (0, 0, low, high). They also divide by the largest value of the training images, which is left to you.

    ValueError for an empty list, NaN, arrays that are not (m, 2), and where there is nothing to choose from.

    >>> diagrams = [np.array([[0.0, 1.0], [0.5, 2.5]]), np.array([[0.2, 1.8]]), np.empty((0, 2))]
    >>> images = PersistenceImage(resolution=(10, 5)).fit_transform(diagrams)
    >>> images.shape, images[0].reshape(5, 10).shape
    ((3, 50), (5, 10))
    """

    bandwidth: float | None = None
    ranges: tuple[float, float, float, float] | None = None
    resolution: tuple[int, int] = (20, 20)
    weight: Weight = persistence_weight
    convention: Literal["gudhi", "persim"] = "gudhi"
    _axes = (0, 1)

    def _vectors(self, batch: Float[ndarray, "N m 2"]) -> Float[ndarray, "N r"]:
        settings = (self.bandwidth_, self.ranges_, self.resolution, self.weight, self.convention)
        return persistence_image(batch, *settings).reshape(len(batch), -1)


@dataclass(eq=False, repr=False)
class PersistenceProfile(_DiagramTransformer):
    """Persistence profiles for scikit-learn: a list of N diagrams born at 0, (m, 2) arrays, to (N, r_p).

    Parameters as in persistence_profile; where they are None, `fit` chooses as PersistenceImage does.
    ValueError as there, and for a bar that is not born at 0.

    >>> diagrams = [np.array([[0.0, 1.0], [0.0, 2.5], [0.0, np.inf]]), np.array([[0.0, 1.8]])]
    >>> PersistenceProfile(bandwidth=0.5, resolution=4).fit_transform(diagrams).round(2)
    array([[0.82, 0.75, 1.32, 2.  ],
           [0.4 , 1.2 , 1.33, 0.54]])
    """

    bandwidth: float | None = None
    ranges: tuple[float, float] | None = None
    resolution: int = 20
    weight: Weight = persistence_weight
    _axes = (1,)

    def _vectors(self, batch: Float[ndarray, "N m 2"]) -> Float[ndarray, "N r"]:
        if ((batch[..., 0] != 0) & (batch[..., 0] != np.inf)).any():  # inf pads
            raise ValueError("diagrams: a profile is for bars born at 0; use PersistenceImage")
        return persistence_profile(batch[..., 1], self.bandwidth_, self.ranges_, self.resolution, self.weight)


def _validated(diagrams: Sequence[Float[ndarray, "m 2"]]) -> tuple[Float[ndarray, "M 2"], Int[ndarray, " N"]]:
    """The bars of all diagrams, one after the other, and how many each has."""
    try:
        diagrams = [np.asarray(diagram, float) for diagram in diagrams]
    except ValueError as error:
        raise ValueError("diagrams: a list of (m, 2) arrays; of `Diagrams`, .finite(dimension)") from error
    if not diagrams:
        raise ValueError("diagrams: the list is empty")
    for k, diagram in enumerate(diagrams):
        if diagram.ndim != 2 or diagram.shape[1] != 2:
            raise ValueError(f"diagrams: a list of (m, 2) arrays is needed; number {k} is {diagram.shape}")
    points, bars = np.concatenate(diagrams), np.array([len(diagram) for diagram in diagrams])
    if np.isnan(points).any():
        first = np.isnan(points).any(1).argmax()
        raise ValueError(f"diagrams: NaN in number {np.searchsorted(np.cumsum(bars), first, side='right')}")
    return points, bars
