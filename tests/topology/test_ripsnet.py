"""RipsNet: sizes, symmetries and bounds, the authors' weights, and a fit beside its controls."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from marginalia.topology import RipsNet, fit_ripsnet, load_ripsnet, size_features

torch.set_num_threads(1)

# of the sheet; those of 64 and 128 are also in the logs beside the authors' weights
PARAMETERS = {16: 106_616, 32: 107_656, 64: 113_896, 128: 137_128, 256: 226_600, 512: 577_576, 1024: 839_720,
              2048: 2_872_104}  # fmt: skip


@pytest.mark.parametrize("width, parameters", PARAMETERS.items())
def test_parameters_of_topkd(width, parameters):
    assert sum(p.numel() for p in RipsNet.topkd(width).parameters()) == parameters


@pytest.fixture(params=["mean", "sum"])
def net(request):
    torch.manual_seed(0)
    return RipsNet.topkd(64, request.param)


def test_symmetries(net):
    clouds = torch.randn(5, 30, 64)
    images = net(clouds)
    assert images.shape == (5, 400) and images.min() >= 0 and images.max() <= 1
    close = {"rtol": 0, "atol": 1e-6}  # float32
    assert torch.allclose(net(clouds[:, torch.randperm(30)]), images, **close)
    assert torch.allclose(torch.stack([net(cloud) for cloud in clouds]), images, **close)
    repeated = torch.allclose(net(torch.cat([clouds, clouds], 1)), images, **close)
    assert repeated == (net.pooling == "mean")


def test_moving_points_moves_the_image_no_further_than_the_weights_allow():
    """|R(X) - R(Y)| <= product of spectral norms / 4 * mean |x - y|, for mean pooling."""
    torch.manual_seed(0)
    net = RipsNet.topkd(16)
    layers = [m for m in net.modules() if isinstance(m, torch.nn.Linear)]
    bound = np.prod([torch.linalg.matrix_norm(m.weight, 2).item() for m in layers]) / 4
    x = torch.randn(50, 20, 16)
    y = x + torch.randn_like(x) * 10 ** torch.linspace(-3, 1, 50)[:, None, None]
    moved = (x - y).norm(dim=-1).mean(-1)
    assert ((net(x) - net(y)).norm(dim=-1) <= bound * moved + 1e-6).all()


def as_theirs(net: RipsNet) -> dict:
    """State as TopKD's authors save it."""
    linear = [m for m in net.modules() if isinstance(m, torch.nn.Linear)]
    named = {f"layer{i}.linear.{k}": v for i, m in enumerate(linear, 1) for k, v in m.state_dict().items()}
    return {"epoch": 3, "model": named, "best_acc": torch.tensor(0.001)}


def test_a_file_of_the_same_form(net, tmp_path):
    torch.save(as_theirs(net), tmp_path / "best.pth")
    points = torch.randn(2, 9, 64)
    assert (load_ripsnet(tmp_path / "best.pth", net.pooling)(points) == net(points)).all()


def test_files_that_are_none(net, tmp_path):
    theirs = as_theirs(net)
    theirs["model"]["layer5.linear.bias"] = torch.zeros(100)  # TopKD's has none
    torch.save(theirs, tmp_path / "biased.pth")
    torch.save(as_theirs(RipsNet(48, 400)), tmp_path / "wide.pth")
    (tmp_path / "text.pth").write_text("not weights")
    torch.save({"model": {"fc.weight": torch.zeros(2, 2)}}, tmp_path / "other.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    for name in ("text", "other", "list", "biased", "wide"):
        with pytest.raises(ValueError, match=rf"{name}\.pth is not a RipsNet of TopKD"):
            load_ripsnet(tmp_path / f"{name}.pth", "mean")
    with pytest.raises(FileNotFoundError):
        load_ripsnet(tmp_path / "none.pth", "mean")
    with pytest.raises(ValueError, match="pooling is 'mean' or 'sum', not 'max'"):
        RipsNet(2, 100, pooling="max")
    with pytest.raises(ValueError, match=r"widths are \[16, 32, .*\], not 48"):
        RipsNet.topkd(48)


@pytest.mark.parametrize("name, pooling, width", [("resnet56", "mean", 64), ("wrn_40_2", "sum", 128)])
def test_the_authors_weights(shared_data, name, pooling, width):
    net = load_ripsnet(shared_data / "topkd" / f"ripsnet_{name}_{pooling}_dim0_best.pth", pooling)
    assert sum(p.numel() for p in net.parameters()) == PARAMETERS[width]
    images = net(torch.randn(4, 64, width).relu()).reshape(4, 20, 20)
    # All births of dimension 0 are 0: a network fitted to such images gives twenty nearly equal columns.
    assert images.std(-1).mean() < 0.1 * images.std(-2).mean()


def test_the_student_of_the_authors_is_no_ripsnet(shared_data):
    with pytest.raises(ValueError, match="is not a RipsNet of TopKD"):
        load_ripsnet(shared_data / "topkd" / "student_resnet20_cifar100_best.pth", "mean")


def test_a_fit_beside_its_controls(rng):
    """Images that show the radius of a circle are learned; images drawn at random cannot be."""
    radius = rng.uniform(0.3, 1, 200)
    angles = rng.uniform(0, 2 * np.pi, (200, 40))
    clouds = radius[:, None, None] * np.stack([np.cos(angles), np.sin(angles)], -1)
    images = np.exp(-((np.linspace(0, 1, 25) - radius[:, None]) ** 2) / 0.02)
    fit = fit_ripsnet(RipsNet(2, 25, pooling="mean"), clouds, images, steps=600)
    assert fit.r2 > 0.8 and fit.mse_size < 0.2 * fit.mse_mean_image
    assert fit.mse == pytest.approx(np.square(images[150:] - fit.net(torch.tensor(clouds[150:]).float())
                                              .detach().numpy()).mean(), rel=1e-4)  # fmt: skip
    assert fit.mse_mean_image == pytest.approx(
        np.square(images[150:] - images[:150].mean(0)).mean(), rel=1e-4
    )
    assert fit.history["step"].iloc[-1] == 600
    assert fit.r2 == pytest.approx(1 - fit.mse / fit.mse_mean_image)
    assert "mse_mean_image=" in repr(fit) and "mse_size=" in repr(fit)  # the controls are reported
    noise = fit_ripsnet(RipsNet(2, 25, pooling="mean"), clouds, rng.uniform(size=images.shape), steps=60)
    assert noise.r2 < 0.1
    with pytest.raises(ValueError, match=r"need images \(200, 25\), not .* and \(200, 24\)"):
        fit_ripsnet(RipsNet(2, 25), clouds, images[:, :24])
    with pytest.raises(ValueError, match=r"clouds \(K, N, D\) need .*, not \(40, 2\)"):
        fit_ripsnet(RipsNet(2, 25), clouds[0], images[:40])
    with pytest.raises(ValueError, match=r"images must lie in \[0, 1\]"):
        fit_ripsnet(RipsNet(2, 25), clouds, 2 * images)


def test_size_features():
    square = np.array([[[0, 0], [2, 0], [2, 1], [0, 1.0]]])
    assert size_features(square)[0] == pytest.approx([2, 1, 1, 0.5, 0.5, 1])


def test_held_out_clouds_are_not_fitted_and_all_others_are(rng):
    clouds, images = rng.normal(size=(40, 10, 2)), rng.uniform(size=(40, 9))

    def weights(images):
        torch.manual_seed(0)
        fit = fit_ripsnet(RipsNet(2, 9, pooling="mean"), clouds, images, steps=20)
        return torch.nn.utils.parameters_to_vector(fit.net.parameters())

    first, unseen, seen = weights(images), images.copy(), images.copy()
    unseen[30:], seen[29] = 1 - unseen[30:], 1 - seen[29]
    assert torch.equal(weights(unseen), first) and not torch.equal(weights(seen), first)
