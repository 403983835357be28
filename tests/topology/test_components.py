"""H0 by minimum spanning trees, beside gudhi, ripser and scipy."""

from __future__ import annotations

import pathlib
import re

import numpy as np
import pytest
import torch
from gudhi import RipsComplex
from hypothesis import given, settings
from hypothesis import strategies as st
from ripser import ripser
from scipy.cluster.hierarchy import linkage
from scipy.spatial.distance import pdist, squareform

from marginalia.topology import components, h0_deaths


def by_gudhi(points) -> np.ndarray:
    """Finite deaths, bars of length 0 with them."""
    tree = RipsComplex(points=points).create_simplex_tree(max_dimension=1)
    tree.compute_persistence(min_persistence=-1)
    deaths = tree.persistence_intervals_in_dimension(0)[:, 1]
    return np.sort(deaths[np.isfinite(deaths)])


@pytest.mark.parametrize("shape", [(7, 2, 3), (5, 30, 2), (4, 64, 64), (3, 50, 300)])
def test_equal_to_gudhi_ripser_and_single_linkage(rng, shape):
    clouds = rng.normal(size=shape)
    ours = h0_deaths(clouds)
    assert (np.diff(ours) >= 0).all()
    for cloud, deaths in zip(clouds, ours, strict=True):
        scale = deaths.max()
        assert deaths == pytest.approx(by_gudhi(cloud), rel=0, abs=1e-12 * scale)
        assert deaths == pytest.approx(
            np.sort(linkage(pdist(cloud), "single")[:, 2]), rel=0, abs=1e-12 * scale
        )
        theirs = np.sort(ripser(squareform(pdist(cloud)), maxdim=0, distance_matrix=True)["dgms"][0][:-1, 1])
        assert deaths == pytest.approx(theirs, rel=1e-6)  # ripser computes in float32


@pytest.mark.parametrize("spread", [10.0, 1.0, 0.1, 1e-3, 1e-7])
def test_tight_clusters_far_from_each_other_and_from_the_origin(rng, spread):
    """Where distances are short beside the coordinates, inner products would not tell them apart."""
    centres = 1000 + 100 * rng.normal(size=(4, 32))
    clouds = (centres[:, None] + spread * rng.normal(size=(4, 16, 32))).reshape(1, 64, 32)
    for dtype in (np.float64, np.float32):
        rounded = clouds.astype(dtype)
        expected = by_gudhi(rounded[0].astype(float))
        # relative, and for coordinates of 1000 in steps of 1e-4 (float32) also the shortest ones
        assert h0_deaths(rounded)[0] == pytest.approx(expected, rel=1e-12 if dtype == np.float64 else 1e-6)


def test_duplicates_die_at_zero(rng):
    cloud = rng.normal(size=(10, 3))
    cloud = np.concatenate([cloud, cloud[:3]])
    deaths = h0_deaths(cloud)
    assert (deaths[:3] == 0).all() and (deaths[3:] > 0).all()
    assert deaths == pytest.approx(by_gudhi(cloud), abs=1e-14)
    points = torch.tensor(cloud, requires_grad=True)
    h0_deaths(points).sum().backward()
    assert points.grad.isfinite().all()


@pytest.mark.parametrize("shape, expected", [((2, 0, 3), (2, 0)), ((2, 1, 3), (2, 0)), ((0, 5, 3), (0, 4)),
                                             ((2, 3, 5, 4), (2, 3, 4)), ((1, 3), (0,))])  # fmt: skip
def test_shapes(shape, expected):
    assert h0_deaths(np.ones(shape)).shape == expected
    assert h0_deaths(torch.ones(shape)).shape == expected


def test_two_points_and_whole_numbers():
    assert h0_deaths(np.array([[[0, 0], [3, 4]]])).tolist() == [[5.0]]
    assert h0_deaths(np.ones((2, 3), np.float32)).dtype == np.float32


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_coordinate_that_is_no_number_names_its_cloud(value):
    clouds = np.zeros((3, 4, 2))
    clouds[1, 2, 0] = value
    with pytest.raises(ValueError, match="cloud 1 has NaN or infinite coordinates"):
        h0_deaths(clouds)
    with pytest.raises(ValueError, match=r"must be \(N, D\) or \(B, N, D\), not \(4,\)"):
        h0_deaths(np.zeros(4))


def test_two_clusters(rng):
    """The largest death is the distance between the clusters."""
    a, b = rng.uniform(size=(20, 2)), rng.uniform((5, 0), (6, 1), (15, 2))
    between = np.linalg.norm(a[:, None] - b, axis=-1).min()
    assert h0_deaths(np.concatenate([a, b]))[-1] == pytest.approx(between, rel=1e-14)


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(2, 20), d=st.integers(1, 5), scale=st.floats(1e-3, 1e3))
def test_moves_scales_and_orders(seed, n, d, scale):
    rng = np.random.default_rng(seed)
    cloud = rng.normal(size=(n, d))
    rotation = np.linalg.qr(rng.normal(size=(d, d)))[0]
    moved = (scale * cloud @ rotation + rng.normal(size=d))[rng.permutation(n)]
    assert h0_deaths(moved) == pytest.approx(scale * h0_deaths(cloud), rel=1e-9, abs=1e-12 * (1 + scale))


def test_scale_and_rotation_to_rounding(rng):
    cloud = rng.normal(size=(40, 6))
    rotation = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    assert h0_deaths(7 * cloud @ rotation) == pytest.approx(7 * h0_deaths(cloud), rel=1e-12)


def test_gradient(rng):
    """Against central differences, of a loss that weighs each death by its rank."""
    points = torch.tensor(rng.normal(size=(2, 12, 3)), requires_grad=True)
    weights = torch.arange(1.0, 12, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: (weights * h0_deaths(x) ** 2).sum(), points, atol=1e-6)


def test_clouds_that_do_not_fit_at_once(rng, monkeypatch):
    clouds = rng.normal(size=(9, 8, 3))
    whole = h0_deaths(clouds)
    monkeypatch.setattr(components, "AT_A_TIME", 2 * 64 * 8)  # two clouds
    assert (h0_deaths(clouds) == whole).all()
    points = [torch.tensor(clouds, requires_grad=True) for _ in range(2)]
    h0_deaths(points[0]).square().sum().backward()
    sum(h0_deaths(cloud).square().sum() for cloud in points[1]).backward()
    assert (points[0].grad == points[1].grad).all()
    clouds[7, 0, 0] = np.nan
    with pytest.raises(ValueError, match="cloud 7 has NaN"):
        h0_deaths(clouds)


@pytest.mark.parametrize("kind", ["float32", ">f4", "float64", "int64"])
def test_a_file_mapped_read_only(rng, tmp_path, kind, recwarn):
    np.save(tmp_path / "clouds.npy", (100 * rng.normal(size=(5, 8, 3))).astype(kind))
    mapped = np.load(tmp_path / "clouds.npy", mmap_mode="r")
    assert (h0_deaths(mapped) == h0_deaths(np.array(mapped))).all()
    assert not recwarn.list  # torch warns of tensors that share memory which must not be written to


@pytest.mark.skipif(not pathlib.Path("/proc/self/status").exists(), reason="memory is read from Linux")
def test_many_clouds_take_little_memory_and_show_their_progress(rng, monkeypatch, capsys):
    """The memory between results that were kept one by one once grew by 1.4 MB a step."""

    def own_memory() -> int:
        return int(re.search(r"RssAnon:\s+(\d+) kB", pathlib.Path("/proc/self/status").read_text())[1]) * 1024

    cloud = rng.normal(size=(64, 64)).astype(np.float32)
    clouds = np.broadcast_to(cloud, (20_000, 64, 64))  # in memory once
    monkeypatch.setattr(components, "SHOWN", 100)  # of 157 steps
    before = own_memory()
    deaths = h0_deaths(clouds)
    assert own_memory() - before < 50e6  # 5 MB of deaths, and arrays of one step, 2 MB each
    assert (deaths == h0_deaths(cloud)).all()
    assert "20000/20000" in capsys.readouterr().err


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_half_precision(rng, kind):
    """The tree is found in float32, the lengths are in the precision of the points."""
    cloud = torch.tensor(100 + rng.normal(size=(64, 64))).to(kind)  # the sum is beyond float16
    deaths = h0_deaths(cloud)
    assert deaths.dtype == kind
    assert deaths.double().numpy() == pytest.approx(
        by_gudhi(cloud.double().numpy()), rel=torch.finfo(kind).eps
    )
    points = torch.tensor(rng.normal(size=(20, 3)))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert (h0_deaths(points) == h0_deaths(points.clone())).all()
        assert h0_deaths(points).numpy() == pytest.approx(by_gudhi(points.numpy()), rel=1e-12)


def test_prim_takes_the_same_edges_of_arrays_and_of_tensors(rng):
    """Tensors are what it gets on another device."""
    distances = rng.uniform(size=(4, 9, 9))
    distances += distances.mT
    parents = components._prim(distances)
    assert components._prim(torch.from_numpy(distances)).tolist() == parents.tolist()
    assert parents[::9].tolist() == [0, 9, 18, 27]  # the roots


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_on_a_gpu(rng):
    clouds = torch.tensor(rng.normal(size=(4096, 64, 64)))
    assert torch.allclose(h0_deaths(clouds.cuda()).cpu(), h0_deaths(clouds), rtol=1e-12, atol=1e-12)
