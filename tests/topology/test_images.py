"""Images and profiles beside gudhi and persim, and beside what they must add up to."""

from __future__ import annotations

import math

import gudhi.representations
import numpy as np
import persim
import pytest
import torch
from scipy.spatial.distance import cdist
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from marginalia.topology import images
from marginalia.topology.images import (
    PersistenceImage,
    PersistenceProfile,
    persistence_image,
    persistence_profile,
    persistence_weight,
    ripsnet_weight,
    topkd_weight,
)

WINDOW = (0.1, 1.3, -0.2, 1.1)  # some bars lie outside
SQUARE = (0, 1, 0, 1)
WEIGHTS = [persistence_weight, ripsnet_weight, topkd_weight, lambda b, p: 1.0]


def bars(rng, *shape):
    """(*shape, 2) births in [0, 1], deaths up to 1 later."""
    birth, persistence = rng.random((2, *shape))
    return np.stack([birth, birth + persistence], -1)


def assert_same(found, expected, tolerance=1e-12):
    """Equal up to a share of the largest value."""
    found, expected = np.asarray(found), np.asarray(expected)
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * np.abs(expected).max())


def gudhis(diagrams, bandwidth, ranges, resolution, weight=persistence_weight):
    """(N, r_p, r_b), by gudhi."""
    tool = gudhi.representations.PersistenceImage(
        bandwidth=bandwidth,
        weight=lambda point: weight(point[0], point[1]),
        im_range=list(ranges),
        resolution=list(resolution),
    )
    return tool.fit_transform(diagrams).reshape(-1, resolution[1], resolution[0])


def persims(diagram, bandwidth, low, resolution, pixel, weight=persistence_weight):
    """The image by persim, turned as ours, of pixels counted from `low`; and the ranges of their edges.

    persim loses or adds a pixel unless the side is a float32 and the range ends within the last pixel.
    """
    pixel = float(np.float32(pixel))
    tool = persim.PersistenceImager(
        pixel_size=pixel,
        weight=weight,
        weight_params={},
        kernel_params={"sigma": [[bandwidth**2, 0.0], [0.0, bandwidth**2]]},
    )
    r_b, r_p = resolution
    tool.birth_range = (low[0] + pixel / 4, low[0] + r_b * pixel - pixel / 4)
    tool.pers_range = (low[1] + pixel / 4, low[1] + r_p * pixel - pixel / 4)
    assert tool.resolution == (r_b, r_p)
    edges = (low[0], low[0] + r_b * pixel, low[1], low[1] + r_p * pixel)
    return tool.transform(diagram, skew=True).T, edges


@pytest.mark.parametrize("weight", WEIGHTS)
def test_the_sampled_image_is_gudhis(rng, weight):
    diagrams = [bars(rng, m) for m in (1, 5, 63)]
    expected = gudhis(diagrams, 0.15, WINDOW, (20, 13), weight)
    for diagram, image in zip(diagrams, expected, strict=True):
        for kind in (np.asarray, torch.tensor):
            assert_same(persistence_image(kind(diagram), 0.15, WINDOW, (20, 13), weight), image)


@pytest.mark.parametrize("weight", WEIGHTS[:3])
def test_the_integrated_image_is_persims(rng, weight):
    for resolution, pixel in (((20, 13), 0.05), ((7, 7), 1 / 7), ((93, 4), 1 / 93)):
        diagram = bars(rng, 30)
        expected, edges = persims(diagram, 0.15, (0.1, -0.2), resolution, pixel, weight)
        for kind in (np.asarray, torch.tensor):
            found = persistence_image(kind(diagram), 0.15, edges, resolution, weight, "persim")
            assert_same(found, expected)


def test_the_conventions_differ_by_the_midpoint_error(rng):
    """Nodes in the middle of pixels: the difference is at most (h / bandwidth)^2 / 12 of the maximum."""
    for r, bandwidth in ((20, 0.1), (50, 0.1), (20, 0.3)):
        h = 1 / (r - 1)
        diagram = bars(rng, 30)
        sampled = persistence_image(diagram, bandwidth, SQUARE, (r, r))
        pixels = (-h / 2, 1 + h / 2) * 2
        integrated = persistence_image(diagram, bandwidth, pixels, (r, r), convention="persim") / h**2
        error = np.abs(sampled - integrated).max() / integrated.max()
        assert 0 < error <= (h / bandwidth) ** 2 / 12


@pytest.mark.parametrize("r", [20, 50])
def test_the_midpoint_error_is_nearly_reached_inside_the_window_and_passed_outside(rng, r):
    h = 1 / (r - 1)

    def share(diagram):
        """Of (h / bandwidth)^2 / 12."""
        sampled = persistence_image(diagram, 0.1, SQUARE, (r, r))
        pixels = (-h / 2, 1 + h / 2) * 2
        integrated = persistence_image(diagram, 0.1, pixels, (r, r), convention="persim") / h**2
        return np.abs(sampled - integrated).max() / sampled.max() / ((h / 0.1) ** 2 / 12)

    shares = [share(bars(rng, m)) for m in rng.integers(1, 40, 100)]
    assert 0.8 < max(shares) <= 1
    assert share(np.array([[0.5, 1.8]])) > 2  # three bandwidths above the window


@pytest.mark.parametrize("convention", ["gudhi", "persim"])
def test_images_add_up(rng, convention):
    def image(diagram, weight=topkd_weight):
        return persistence_image(diagram, 0.1, SQUARE, (9, 8), weight, convention)

    d, e = bars(rng, 20), bars(rng, 31)
    assert_same(image(np.concatenate([d, e])), image(d) + image(e))
    assert_same(image(d[::-1]), image(d))
    mixed = image(d, lambda b, p: 3 * topkd_weight(b, p) + 2 * persistence_weight(b, p))
    assert_same(mixed, 3 * image(d) + 2 * image(d, persistence_weight))
    assert image(d).min() >= 0
    assert image(np.empty((0, 2))).tolist() == np.zeros((8, 9)).tolist()
    assert not image(torch.empty(3, 0, 2)).any()


def test_the_integrated_image_holds_all_weights(rng):
    """On a wide grid its pixels add up to the weights; the sampled one to them divided by a pixel's area."""
    diagram = bars(rng, 40)
    total = topkd_weight(diagram[:, 0], diagram[:, 1] - diagram[:, 0]).sum()
    wide = (-2, 3, -2, 3)
    image = persistence_image(diagram, 0.1, wide, (30, 40), topkd_weight, "persim")
    assert image.sum() == pytest.approx(total, rel=1e-12)
    sampled = persistence_image(diagram, 0.1, wide, (101, 101), topkd_weight)
    assert sampled.sum() * 0.05**2 == pytest.approx(total, rel=1e-12)


def test_in_dimension_0_the_image_is_its_profile_repeated(rng):
    """The recipe of TopKD: all births are 0, so the range of births has no width, and columns are equal."""
    deaths = rng.random((4, 63)) + 0.5
    diagrams = np.stack([0 * deaths, deaths], -1)
    ranges = (deaths.min(), deaths.max())
    image = persistence_image(diagrams, 0.2, (0, 0, *ranges), weight=topkd_weight)
    assert_same(image, gudhis(list(diagrams), 0.2, (0, 0, *ranges), (20, 20), topkd_weight))
    assert np.ptp(image, axis=2).max() == 0
    profile = persistence_profile(deaths, 0.2, ranges, weight=topkd_weight)  # (4, 20)
    assert_same(image, np.repeat(profile[..., None] / (math.sqrt(2 * math.pi) * 0.2), 20, 2))
    assert len(np.unique(image[0])) <= 20

    # with a width, the image is the outer product of the profile and one bump at birth 0
    birth = np.linspace(-1, 1, 7)
    bump = np.exp(-(birth**2) / (2 * 0.2**2)) / (math.sqrt(2 * math.pi) * 0.2)
    image = persistence_image(diagrams, 0.2, (-1, 1, *ranges), (7, 20), topkd_weight)
    assert_same(image, profile[..., None] * bump)


def test_the_profile_by_its_formula():
    deaths, y = np.array([0.5, 2.0, np.inf]), np.array([0.0, 1.0, 2.0])
    density = np.exp(-((y[:, None] - deaths[:2]) ** 2) / (2 * 0.3**2)) / math.sqrt(2 * math.pi * 0.3**2)
    expected = density @ (10 * np.tanh(deaths[:2]))
    assert_same(persistence_profile(deaths, 0.3, (0, 2), 3, ripsnet_weight), expected)
    assert_same(persistence_profile(torch.tensor(deaths), 0.3, (0, 2), 3, ripsnet_weight), expected)
    assert persistence_profile([], 0.3, (0, 2), 3).tolist() == [0, 0, 0]


@pytest.mark.parametrize("convention", ["gudhi", "persim"])
@pytest.mark.parametrize("weight", [*WEIGHTS, lambda b, p: 1 / p, lambda b, p: p**0.5])
def test_infinite_bars_count_nothing(rng, convention, weight):
    diagram = bars(rng, 3, 12)
    padding = np.array([[0.3, np.inf], [np.inf, np.inf], [-np.inf, 0.2], [-np.inf, np.inf]])
    padded = np.concatenate([diagram, np.broadcast_to(padding, (3, 4, 2))], 1)
    expected = persistence_image(diagram, 0.1, SQUARE, (5, 6), weight, convention)
    assert_same(persistence_image(padded, 0.1, SQUARE, (5, 6), weight, convention), expected)
    tensor = torch.tensor(padded, requires_grad=True)
    image = persistence_image(tensor, 0.1, SQUARE, (5, 6), weight, convention)
    assert_same(image.detach(), expected)
    image.square().sum().backward()
    assert tensor.grad.isfinite().all()
    assert not tensor.grad[:, 12:].any()


@pytest.mark.parametrize("convention", ["gudhi", "persim"])
def test_a_batch_is_its_diagrams(rng, convention):
    batch = bars(rng, 2, 3, 12)
    for kind in (np.asarray, torch.tensor):
        together = persistence_image(kind(batch), 0.1, SQUARE, (5, 6), topkd_weight, convention)
        assert together.shape == (2, 3, 6, 5)
        for i, j in np.ndindex(2, 3):
            alone = persistence_image(kind(batch[i, j]), 0.1, SQUARE, (5, 6), topkd_weight, convention)
            assert_same(together[i, j], alone, 1e-14)


@pytest.mark.parametrize("convention", ["gudhi", "persim"])
@pytest.mark.parametrize("weight", WEIGHTS)
def test_gradients_are_central_differences(rng, convention, weight):
    diagram = bars(rng, 6)
    target = torch.tensor(rng.random((5, 4)))

    def loss(diagram):
        image = persistence_image(torch.as_tensor(diagram), 0.3, SQUARE, (4, 5), weight, convention)
        return (image * target).sum()

    tensor = torch.tensor(diagram, requires_grad=True)
    loss(tensor).backward()
    steps = 1e-5 * np.eye(12).reshape(12, 6, 2)
    expected = [(loss(diagram + step) - loss(diagram - step)) / 2e-5 for step in steps]
    assert_same(tensor.grad.ravel(), expected, 1e-6)


def test_gradients_of_a_profile(rng):
    deaths = torch.tensor([*rng.random(6), math.inf], requires_grad=True)
    profile = lambda deaths: persistence_profile(deaths, 0.3, (0, 1), 5, topkd_weight)  # noqa: E731
    assert torch.autograd.gradcheck(lambda finite: profile(torch.cat([finite, deaths[6:]])), deaths[:6])
    profile(deaths).sum().backward()
    assert deaths.grad[:6].all() and deaths.grad[6] == 0


@pytest.mark.parametrize("convention", ["gudhi", "persim"])
def test_float32_is_near_float64(rng, convention):
    diagram = bars(rng, 40)
    expected = persistence_image(diagram, 0.1, SQUARE, (20, 20), topkd_weight, convention)
    single = diagram.astype(np.float32)
    for weight in (topkd_weight, lambda b, p: topkd_weight(b, p) * 1.0):
        for kind, dtype in ((np.asarray, np.float32), (torch.tensor, torch.float32)):
            found = persistence_image(kind(single), 0.1, SQUARE, (20, 20), weight, convention)
            assert found.dtype == dtype
            assert_same(found, expected, 2e-6)
    assert persistence_image(single, 0.1, SQUARE, weight=lambda b, p: 1.0).dtype == np.float32


@pytest.mark.parametrize("convention", ["gudhi", "persim"])
@pytest.mark.parametrize("bandwidth", [0.01, 1.0, 100.0])
def test_no_denormal_numbers(convention, bandwidth):
    """A processor is many times slower with them; H0 diagrams on a wide grid are where they arise."""
    x = torch.linspace(0, 60 * bandwidth, 500)
    for tensor in (x, x.double()):
        tiny = torch.finfo(tensor.dtype).tiny
        bumps = images._bumps(tensor, bandwidth, 0, 60 * bandwidth, 30, convention)
        product = bumps[:, None] * bumps
        for values in (bumps, product) if convention == "gudhi" else (bumps,):
            assert not ((values > 0) & (values < tiny)).any()


def test_whole_numbers_and_lists():
    expected = persistence_image(np.array([[0.0, 1.0], [1.0, 3.0]]), 0.5, (0, 2, 0, 2), (3, 3))
    assert_same(persistence_image([[0, 1], [1, 3]], 0.5, (0, 2, 0, 2), (3, 3)), expected)
    assert_same(persistence_image(torch.tensor([[0, 1], [1, 3]]), 0.5, (0, 2, 0, 2), (3, 3)), expected, 1e-6)


@pytest.mark.parametrize("kind", [np.array, torch.tensor])
def test_what_has_no_image(kind):
    good = kind([[0.0, 1.0]])
    for diagram in ([[0.0, math.nan]], [[math.nan, 1.0]], [[math.nan, math.inf]]):
        with pytest.raises(ValueError, match="NaN"):
            persistence_image(kind(diagram), 0.1, SQUARE)
    with pytest.raises(ValueError, match=r"not \(1, 3\)"):
        persistence_image(kind([[0.0, 1.0, 2.0]]), 0.1, SQUARE)
    with pytest.raises(ValueError, match=r"not \(2,\)"):
        persistence_image(good[0], 0.1, SQUARE)
    for bandwidth in (0, -1, math.nan, math.inf):
        with pytest.raises(ValueError, match="bandwidth"):
            persistence_image(good, bandwidth, SQUARE)
    for ranges in ((1, 0, 0, 1), (0, 1, 0, math.inf), (0, math.nan, 0, 1)):
        with pytest.raises(ValueError, match="ranges"):
            persistence_image(good, 0.1, ranges)
    with pytest.raises(ValueError, match="apart for persim"):
        persistence_image(good, 0.1, (0, 0, 0, 1), convention="persim")
    with pytest.raises(ValueError, match="'gudhi' or 'persim'"):
        persistence_image(good, 0.1, SQUARE, convention="Gudhi")
    with pytest.raises(ValueError, match="weight: it gives NaN"):
        persistence_image(good, 0.1, SQUARE, weight=lambda b, p: p * math.nan)


def test_fit_chooses_as_ripsnets_authors_do(rng):
    diagrams = [bars(rng, m) for m in (150, 0, 90, 300)]
    diagrams[0] = np.insert(diagrams[0], 3, [0.1, np.inf], 0)
    diagrams[2][:19] = diagrams[0][:19]  # equal points, which their quantile leaves out
    points = np.concatenate(diagrams)
    points = points[np.isfinite(points).all(1)]
    points = np.stack([points[:, 0], points[:, 1] - points[:, 0]], 1)
    distances = cdist(points[:200], points[:200]).ravel()
    bandwidth = np.quantile(distances[distances > 1e-5], 0.2)

    tool = PersistenceImage(resolution=(20, 10), weight=topkd_weight).fit(diagrams)
    assert tool.bandwidth_ == pytest.approx(bandwidth, rel=1e-12)
    low, high = points.min(0), points.max(0)
    assert tool.ranges_ == (low[0], high[0], low[1], high[1])
    finite = [diagram[np.isfinite(diagram).all(1)] for diagram in diagrams]
    expected = gudhis(finite, bandwidth, tool.ranges_, (20, 10), topkd_weight)
    assert_same(tool.transform(diagrams), expected.reshape(4, 200))
    given = PersistenceImage(0.2, SQUARE).fit([np.empty((0, 2))])  # nothing to choose
    assert (given.bandwidth_, given.ranges_) == (0.2, SQUARE)


def test_fit_widens_a_range_without_width(rng):
    diagrams = [np.stack([np.zeros(30), rng.random(30) + 1], 1) for _ in range(3)]
    for convention in ("gudhi", "persim"):
        tool = PersistenceImage(convention=convention).fit(diagrams)
        assert tool.ranges_[:2] == (-3 * tool.bandwidth_, 3 * tool.bandwidth_)
        assert np.ptp(tool.transform(diagrams).reshape(3, 20, 20), axis=2).min() > 0
    profile = PersistenceProfile().fit(diagrams)
    assert profile.ranges_ == tool.ranges_[2:]
    assert profile.bandwidth_ == tool.bandwidth_
    deaths = np.array([diagram[:, 1] for diagram in diagrams])
    expected = persistence_profile(deaths, profile.bandwidth_, profile.ranges_)
    assert_same(profile.transform(diagrams), expected)


def test_diagrams_of_any_length_in_batches(rng, monkeypatch):
    diagrams = [bars(rng, m) for m in (0, 7, 1, 30, 0, 12)]
    diagrams[1] = diagrams[1].tolist()  # a list does as well
    tool = PersistenceImage(0.1, SQUARE, (6, 5), topkd_weight).fit(diagrams)
    whole = tool.transform(diagrams)
    alone = [persistence_image(diagram, 0.1, SQUARE, (6, 5), topkd_weight).ravel() for diagram in diagrams]
    assert_same(whole, alone)
    for at_a_time in (1, 400, 1000):
        monkeypatch.setattr(images, "AT_A_TIME", at_a_time)
        assert_same(tool.transform(diagrams), whole)
    assert not tool.transform([np.empty((0, 2))] * 3).any()


def test_a_part_of_scikit_learn(rng):
    diagrams = [bars(rng, 9) for _ in range(8)]
    for tool in (PersistenceImage(resolution=(6, 5)), PersistenceProfile(0.3, (0, 1), 7)):
        assert clone(tool).get_params() == tool.get_params()
        with pytest.raises(NotFittedError):
            tool.transform(diagrams)
        born_at_0 = [diagram * [0, 1] for diagram in diagrams]
        assert make_pipeline(tool, StandardScaler()).fit_transform(born_at_0).shape[0] == 8


@pytest.mark.parametrize("tool", [PersistenceImage(), PersistenceProfile()])
def test_what_cannot_be_fitted(tool):
    good = [np.array([[0.0, 1.0], [0.0, 2.0]])]
    fitted = clone(tool).fit(good)
    for use in (tool.fit, fitted.transform):
        with pytest.raises(ValueError, match="the list is empty"):
            use([])
        with pytest.raises(ValueError, match="NaN in number 2"):
            use([*good, np.empty((0, 2)), np.array([[0.0, 1.0], [0.0, math.nan]])])
        with pytest.raises(ValueError, match=r"number 1 is \(1, 3\)"):
            use([*good, np.zeros((1, 3))])
        with pytest.raises(ValueError, match=r"number 0 is \(2,\)"):
            use(good[0])  # one diagram, not in a list
    for diagrams in ([np.empty((0, 2))] * 2, [np.array([[0.0, math.inf]])]):
        with pytest.raises(ValueError, match="no finite bar"):
            tool.fit(diagrams)
    with pytest.raises(ValueError, match="give bandwidth"):
        tool.fit([np.array([[0.0, 1.0]] * 5)])


def test_a_profile_is_for_bars_born_at_0():
    for birth in (0.1, -np.inf):
        with pytest.raises(ValueError, match="born at 0"):
            PersistenceProfile(0.1, (0, 1)).fit_transform([np.array([[birth, 1.0]])])
