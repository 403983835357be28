"""Losses of distillation: what they are 0 for, whom their gradients reach, and the formulas by hand."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from scipy.spatial.distance import pdist
from scipy.special import log_softmax

from marginalia.topology import RipsNet, h0_deaths
from marginalia.topology.distillation import (
    deaths_loss,
    hint_loss,
    kd_loss,
    profile_loss,
    relational_loss,
    ripsnet_loss,
    topkd_loss,
)
from marginalia.topology.images import persistence_profile, ripsnet_weight

torch.set_num_threads(1)
CLASSES, BATCH, WIDTH = 5, 12, 16


@pytest.fixture
def net():
    torch.manual_seed(1)
    return RipsNet.topkd(WIDTH)


@pytest.fixture
def losses(net):
    return {
        "hint": hint_loss,
        "relational": relational_loss,
        "deaths": deaths_loss,
        "profile": partial(profile_loss, bandwidth=0.5, ranges=(0, 8)),
        "ripsnet": partial(ripsnet_loss, net),
    }


NAMES = ("hint", "relational", "deaths", "profile", "ripsnet")


def drawn(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).requires_grad_()


@pytest.mark.parametrize("name", NAMES)
def test_zero_for_equal_features_and_gradients_for_the_student_only(losses, net, name):
    f_s, f_t = drawn(0, BATCH, WIDTH), drawn(1, BATCH, WIDTH)
    assert losses[name](f_t, f_t).item() == 0
    loss = losses[name](f_s, f_t)
    assert loss > 0
    loss.backward()
    assert f_s.grad.abs().sum() > 0 and f_t.grad is None
    assert all(weight.grad is None and weight.requires_grad for weight in net.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_topkd_loss_is_cross_entropy_where_the_student_is_the_teacher(losses, name):
    z, f, labels = drawn(2, BATCH, CLASSES), drawn(0, BATCH, WIDTH), torch.arange(BATCH) % CLASSES
    total, parts = topkd_loss(z, z, labels, f, f, losses[name])
    assert parts["kd"] == pytest.approx(0, abs=1e-6) and parts["topology"] == 0
    assert total.item() == pytest.approx(torch.nn.functional.cross_entropy(z, labels).item(), rel=1e-6)
    other, parts = topkd_loss(z, 2 * z, labels, f, 2 * f, losses[name], alpha=0, delta=3)
    assert parts["topology"] == pytest.approx(3 * losses[name](f, 2 * f).item())
    assert other.item() == pytest.approx(sum(parts.values()), rel=1e-6)


def test_projection_learns_with_the_student(net):
    project = torch.nn.Linear(8, WIDTH)
    ripsnet_loss(net, project(drawn(3, BATCH, 8)), drawn(1, BATCH, WIDTH)).backward()
    assert project.weight.grad.abs().sum() > 0


def test_kd_by_hand():
    z_s, z_t = drawn(4, BATCH, CLASSES), drawn(5, BATCH, CLASSES)
    s, t = (log_softmax(z.detach().double().numpy() / 4, axis=-1) for z in (z_s, z_t))
    assert kd_loss(z_s, z_t).item() == pytest.approx(16 / BATCH * (np.exp(t) * (t - s)).sum(), rel=1e-5)


def test_relations_by_hand():
    f_s, f_t = drawn(0, BATCH, 4), drawn(1, BATCH, WIDTH)  # widths may differ
    s, t = (pdist(f.detach().double().numpy()) for f in (f_s, f_t))
    apart = np.abs(s / s.mean() - t / t.mean())
    expected = np.where(apart < 1, apart**2 / 2, apart - 0.5).mean()
    assert relational_loss(f_s, f_t).item() == pytest.approx(expected, rel=1e-5)
    assert relational_loss(3 * f_s, f_t).item() == pytest.approx(expected, rel=1e-5)  # blind to scale


def test_deaths_by_hand_and_what_descending_them_does():
    """Descent brings the student's deaths to the teacher's, in a space of another width."""
    f_t = drawn(1, BATCH, WIDTH)
    f_s = drawn(0, BATCH, 4)
    s, t = h0_deaths(f_s).detach(), h0_deaths(f_t).detach()
    assert deaths_loss(f_s, f_t).item() == pytest.approx(((s - t) ** 2).mean().item())
    optimizer = torch.optim.Adam([f_s], 0.05)
    for _ in range(300):
        optimizer.zero_grad()
        deaths_loss(f_s, f_t).backward()
        optimizer.step()
    assert (h0_deaths(f_s) - t).abs().mean() < 0.05 * (s - t).abs().mean()


def test_alpha_and_the_teachers_logits():
    z_s, z_t = drawn(4, BATCH, CLASSES), drawn(5, BATCH, CLASSES)
    f, labels = drawn(0, BATCH, WIDTH), torch.arange(BATCH) % CLASSES
    total, parts = topkd_loss(z_s, z_t, labels, f, f, hint_loss, alpha=3)
    assert parts["kd"] == pytest.approx(3 * kd_loss(z_s, z_t).item())
    total.backward()
    assert z_s.grad.abs().sum() > 0 and z_t.grad is None


def test_profiles_by_hand():
    f_s, f_t = drawn(0, BATCH, 4), drawn(1, BATCH, WIDTH)
    settings = {"bandwidth": 0.5, "ranges": (0, 8), "weight": ripsnet_weight}
    s, t = (persistence_profile(h0_deaths(f.detach()), **settings) for f in (f_s, f_t))
    expected = (((s - t) / 3) ** 2).mean().item()
    assert profile_loss(f_s, f_t, scale=3, **settings).item() == pytest.approx(expected, rel=1e-5)
