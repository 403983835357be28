"""Diagrams of clouds whose shape is known, and of the two backends beside each other."""

from __future__ import annotations

import itertools
import tracemalloc

import gudhi
import numpy as np
import pytest
import torch
from persim import bottleneck
from scipy.spatial.distance import directed_hausdorff, pdist, squareform

from marginalia.topology import diagrams, h0_deaths

BACKENDS = ("gudhi", "ripser")
CLOSE = {"gudhi": 1e-12, "ripser": 1e-6}  # ripser computes in float32


@pytest.mark.parametrize("backend", BACKENDS)
def test_triangle_and_square(backend):
    triangle = np.array([[0, 0], [1, 0], [0.5, np.sqrt(0.75)]])
    square = np.array([[0, 0], [1, 0], [1, 1], [0, 1]])
    three, four = diagrams([triangle, square], backend=backend)
    assert three[0] == pytest.approx(np.array([[0, 1], [0, 1], [0, np.inf]]), abs=CLOSE[backend])
    assert three[1].shape == (0, 2)
    assert four[0] == pytest.approx(np.array([[0, 1]] * 3 + [[0, np.inf]]), abs=CLOSE[backend])
    assert four[1] == pytest.approx(np.array([[1, np.sqrt(2)]]), abs=CLOSE[backend])


def test_alpha_complexes_measure_otherwise():
    """gudhi's alpha filtration is in squared radii, and has a loop in a triangle, where Rips has none."""
    triangle = np.array([[0, 0], [1, 0], [0.5, np.sqrt(0.75)]])
    tree = gudhi.AlphaComplex(points=triangle).create_simplex_tree()
    tree.compute_persistence()
    assert tree.persistence_intervals_in_dimension(1) == pytest.approx(np.array([[0.25, 1 / 3]]))
    zero = tree.persistence_intervals_in_dimension(0)[:, 1]
    assert sorted(2 * np.sqrt(zero))[:2] == pytest.approx(diagrams([triangle])[0][0][:2, 1])


@pytest.mark.parametrize("m", [2, 3, 4, 5])
def test_grid(m):
    grid = np.array(list(itertools.product(range(m), repeat=2)), float)
    (zero, one), = diagrams([grid])  # fmt: skip
    assert zero[:-1] == pytest.approx(np.tile([0.0, 1], (m * m - 1, 1)))
    assert one == pytest.approx(np.tile([1, np.sqrt(2)], ((m - 1) ** 2, 1)))


@pytest.mark.parametrize("backend", BACKENDS)
def test_regular_polygons(backend):
    for n in range(4, 40):
        angles = 2 * np.pi * np.arange(n) / n
        one = diagrams([np.stack([np.cos(angles), np.sin(angles)], 1)], backend=backend)[0][1]
        expected = [2 * np.sin(np.pi / n), 2 * np.sin(np.pi * np.ceil(n / 3) / n)]
        longest = one[np.argmax(one[:, 1] - one[:, 0])]
        assert longest == pytest.approx(expected, abs=CLOSE[backend])
        assert ((one[:, 1] - one[:, 0]) > 1e-6).sum() == 1


def test_backends_agree_and_h0_is_h0_deaths(rng):
    clouds = rng.normal(size=(6, 25, 4))
    first, second = (diagrams(clouds, max_dimension=2, backend=backend) for backend in BACKENDS)
    for ours, theirs in zip(first, second, strict=True):
        for a, b in zip(ours, theirs, strict=True):
            assert a == pytest.approx(b, rel=1e-5, abs=1e-6)
    assert [bars[:, 1].tolist() for bars in first.finite(0)] == h0_deaths(clouds).tolist()


@pytest.mark.parametrize("backend", BACKENDS)
def test_small_and_repeated(backend, rng):
    cloud = rng.normal(size=(10, 2))
    clouds = [np.empty((0, 2)), np.ones((1, 2)), np.ones((3, 2)), np.concatenate([cloud, cloud[:3]])]
    found = diagrams(clouds, backend=backend)
    assert [len(zero) for zero, _ in found] == [0, 1, 1, 10]
    assert found[1][0].tolist() == found[2][0].tolist() == [[0, np.inf]]
    assert found[3][1] == pytest.approx(diagrams([cloud], backend=backend)[0][1])


def test_gradients_of_both_dimensions(rng):
    points = torch.tensor(rng.normal(size=(15, 2)), requires_grad=True)

    def lengths(x):
        zero, one = diagrams([x])[0]
        return torch.cat([zero[zero[:, 1].isfinite(), 1], (one[:, 1] - one[:, 0]) ** 2])

    assert len(lengths(points)) > 14  # there is a loop
    assert torch.autograd.gradcheck(lengths, points, atol=1e-6)
    with_gradients, without = diagrams([points], 2), diagrams([points.detach()], 2)
    for a, b in zip(with_gradients[0], without[0], strict=True):
        assert a.detach().numpy() == pytest.approx(b.numpy(), abs=1e-14)
    # a cloud of each kind that has no or few bars
    few = [torch.zeros(n, 2, requires_grad=True) for n in (0, 1, 2)]
    assert [zero.tolist() for zero, _ in diagrams(few)] == [[], [[0, np.inf]], [[0, np.inf]]]
    matrix = torch.cdist(points, points)
    sums = [sum(b[b.isfinite()].sum() for b in diagrams([x], metric=kind)[0])
            for x, kind in ((points, "euclidean"), (matrix, "precomputed"))]  # fmt: skip
    assert sums[0].item() == pytest.approx(sums[1].item())
    assert torch.allclose(*(torch.autograd.grad(s, points, retain_graph=True)[0] for s in sums))


def test_stability(rng):
    """The bottleneck distance is at most twice the Hausdorff distance, which two pairs of points reach."""
    pair = diagrams([np.array([[0.0], [1]]), np.array([[-0.1], [1.1]])])
    assert gudhi.bottleneck_distance(*(d[0] for d in pair)) == pytest.approx(0.2)
    for _ in range(30):
        x = rng.normal(size=(12, 2))
        y = x + 0.2 * rng.normal(size=x.shape)
        bound = 2 * max(directed_hausdorff(x, y)[0], directed_hausdorff(y, x)[0])
        found = diagrams([x, y])
        for k in (0, 1):
            a, b = found.finite(k)
            distance = gudhi.bottleneck_distance(a, b)
            assert distance <= bound + 1e-12
            if len(a) and len(b):
                assert bottleneck(a, b) == pytest.approx(distance, abs=1e-12)


@pytest.mark.parametrize("backend", BACKENDS)
def test_distance_matrices(rng, backend):
    cloud = rng.normal(size=(12, 3))
    matrix = squareform(pdist(cloud))
    by_points, by_matrix = (
        diagrams([x], backend=backend, metric=kind)[0]
        for x, kind in ((cloud, "euclidean"), (matrix, "precomputed"))
    )
    for a, b in zip(by_points, by_matrix, strict=True):
        assert a == pytest.approx(b, abs=1e-12)


def test_many_clouds_keep_their_order_and_become_a_table(rng):
    clouds = [rng.normal(size=(n % 5, 2)) for n in range(1203)]  # three steps of the progress bar
    found = diagrams(clouds)
    assert [len(zero) for zero, _ in found] == [n % 5 for n in range(1203)]
    frame = found.to_frame()
    assert np.isinf(frame["death"]).sum() == sum(n % 5 > 0 for n in range(1203))
    assert len(frame) == sum(len(bars) for cloud in found for bars in cloud)
    assert len(found.finite(0)[4]) == 3
    assert repr(found).startswith("Diagrams of 1203 clouds: 2403 bars in dimension 0")


def test_clouds_are_converted_some_at_a_time(rng, tmp_path, monkeypatch):
    """A mapped file in float32 is not held a second time in float64."""
    np.save(tmp_path / "clouds.npy", rng.normal(size=(400, 10, 500)).astype(np.float32))
    mapped = np.load(tmp_path / "clouds.npy", mmap_mode="r")
    monkeypatch.setitem(diagrams.__globals__, "AT_A_TIME", 20)  # the function hides its module
    tracemalloc.start()
    found = diagrams(mapped)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < mapped.nbytes / 4
    assert found.finite(0)[399].tolist() == diagrams([np.array(mapped[399], float)]).finite(0)[0].tolist()


@pytest.mark.parametrize(
    "points, options, message",
    [
        (np.zeros((4, 2)), {}, r"cloud 0 must be \(N, D\), not \(2,\); put one cloud in a list"),
        ([np.zeros((4, 2)), np.full((2, 2), np.nan)], {}, "cloud 1 has NaN or infinite values"),
        ([np.arange(9.0).reshape(3, 3)], {"metric": "precomputed"}, "matrix 0 must be square and symmetric"),
        ([np.zeros((4, 2))], {"backend": "giotto"}, "no backend 'giotto'"),
        ([np.zeros((4, 2))], {"metric": "cosine"}, "no metric 'cosine'"),
        ([torch.zeros(4, 2, requires_grad=True)], {"backend": "ripser"}, "ripser has no gradients"),
    ],
)
def test_what_cannot_be_computed(points, options, message):
    with pytest.raises(ValueError, match=message):
        diagrams(points, **options)


@pytest.mark.parametrize("backend, gradients", [("gudhi", False), ("ripser", False), ("gudhi", True)])
def test_bars_are_sorted_and_keep_the_kind(rng, backend, gradients):
    cloud = torch.tensor(rng.normal(size=(40, 2)), dtype=torch.float32, requires_grad=gradients)
    one = diagrams([cloud], backend=backend)[0][1]
    assert one.dtype == torch.float32 and len(one) > 5
    assert one.tolist() == sorted(one.tolist())  # by birth, then death


def test_whole_numbers_do_not_cut_their_diagrams():
    points = torch.tensor([[0, 0], [1, 1], [3, 4]])
    found = diagrams([points])[0][0]
    assert torch.equal(found, diagrams([points.float()])[0][0]) and found[-1, 1] == torch.inf
