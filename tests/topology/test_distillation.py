"""Losses of distillation: what they are 0 for, whom their gradients reach, and the formulas by hand."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from scipy.spatial.distance import pdist
from scipy.special import log_softmax, softmax

from marginalia.topology import RipsNet, diagrams, h0_deaths
from marginalia.topology.distillation import (
    deaths_loss,
    distance_loss,
    distil,
    hint_loss,
    image_loss,
    kd_loss,
    persistent_cross_entropy,
    profile_loss,
    relational_loss,
    ripsnet_loss,
    topkd_loss,
)
from marginalia.topology.images import persistence_image, persistence_profile, topkd_weight
from marginalia.training import Options

torch.set_num_threads(1)
CLASSES, BATCH, WIDTH = 5, 12, 16
WINDOW = {"bandwidth": 0.5, "ranges": (2.0, 8.0, 0.0, 2.0)}


@pytest.fixture
def net():
    torch.manual_seed(1)
    return RipsNet.topkd(WIDTH)


@pytest.fixture
def losses(net):
    return {
        "hint": hint_loss,
        "relational": relational_loss,
        "distance": distance_loss,
        "deaths": deaths_loss,
        "profile": partial(profile_loss, bandwidth=0.5, ranges=(0, 8)),
        "ripsnet": partial(ripsnet_loss, net),
        "image": partial(image_loss, dimension=1, **WINDOW),
    }


NAMES = ("hint", "relational", "distance", "deaths", "profile", "ripsnet", "image")


def drawn(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).requires_grad_()


@pytest.mark.parametrize("name", NAMES)
def test_zero_for_equal_features_and_gradients_for_the_student_only(losses, net, name):
    f_s, f_t = drawn(0, BATCH, WIDTH), drawn(1, BATCH, WIDTH)
    assert losses[name](f_t, f_t).item() == pytest.approx(0, abs=1e-8)
    loss = losses[name](f_s, f_t)
    assert loss > 0
    loss.backward()
    assert f_s.grad.abs().sum() > 0 and f_t.grad is None
    assert all(weight.grad is None and weight.requires_grad for weight in net.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_topkd_loss_is_cross_entropy_where_the_student_is_the_teacher(losses, name):
    z, f, labels = drawn(2, BATCH, CLASSES), drawn(0, BATCH, WIDTH), torch.arange(BATCH) % CLASSES
    total, parts = topkd_loss(z, z, labels, f, f, losses[name])
    assert parts["kd"] == pytest.approx(0, abs=1e-6) and parts["topology"] == pytest.approx(0, abs=1e-8)
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
    settings = {"bandwidth": 0.5, "ranges": (0, 8)}
    s, t = (persistence_profile(h0_deaths(f.detach()), **settings, weight=topkd_weight) for f in (f_s, f_t))
    expected = (((s - t) / 3) ** 2).mean().item()
    assert profile_loss(f_s, f_t, scale=3, **settings).item() == pytest.approx(expected, rel=1e-5)


def test_images_by_hand_and_those_of_dimension_0_are_profiles():
    f_s, f_t = drawn(0, 24, 3), drawn(1, 24, 3)
    bars = diagrams([f.detach().double().numpy() for f in (f_s, f_t)])
    assert all(len(each[1]) for each in bars)
    s, t = (persistence_image(each[1], weight=topkd_weight, **WINDOW) for each in bars)
    assert image_loss(f_s, f_t, 1, scale=3, **WINDOW).item() == pytest.approx(
        ((s - t) ** 2).mean() / 9, rel=1e-4
    )
    at_birth_0 = image_loss(f_s, f_t, 0, 0.5, (0, 0, 0, 3)).item()
    peak = 1 / (np.sqrt(2 * np.pi) * 0.5)  # of the bump along birth
    assert at_birth_0 == pytest.approx(peak**2 * profile_loss(f_s, f_t, 0.5, (0, 3)).item(), rel=1e-5)


def test_distances_by_hand():
    f_s, f_t = drawn(0, BATCH, 4), drawn(1, BATCH, WIDTH)
    s, t = (pdist(f.detach().double().numpy()).mean() for f in (f_s, f_t))
    assert distance_loss(f_s, f_t).item() == pytest.approx((s - t) ** 2, rel=1e-5)


def test_persistent_cross_entropy_by_hand_is_blind_to_scale_and_least_for_equal_deaths():
    f_s, f_t = drawn(0, BATCH, 4), drawn(1, BATCH, WIDTH)
    s, t = (h0_deaths((f / f.norm(dim=1, keepdim=True)).detach()).double().numpy() / 0.1 for f in (f_s, f_t))
    loss = persistent_cross_entropy(f_s, f_t)
    assert loss.item() == pytest.approx(-(softmax(t) * log_softmax(s)).sum(), rel=1e-5)
    scales = torch.rand(BATCH, 1) + 0.5  # each point has its own
    assert persistent_cross_entropy(scales * f_s, f_t).item() == pytest.approx(loss.item(), rel=1e-5)
    entropy = -(softmax(t) * log_softmax(t)).sum()
    assert persistent_cross_entropy(f_t, f_t).item() == pytest.approx(entropy, rel=1e-5)
    loss.backward()
    assert f_s.grad.abs().sum() > 0 and f_t.grad is None


def networks():
    """A teacher with dropout, a narrower student, and batches of points in two classes."""
    torch.manual_seed(0)
    hidden = torch.nn.Sequential(torch.nn.Linear(2, 6), torch.nn.ReLU(), torch.nn.Dropout(0.5))
    teacher = torch.nn.Sequential(hidden, torch.nn.Linear(6, 2))
    student = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2))

    def batches(step):
        x = torch.randn(BATCH, 2)
        return x, (x[:, 0] > 0).long()

    return student, teacher, batches


def test_distil_teaches_student_and_adapter_and_leaves_the_teacher_as_it_was():
    student, teacher, batches = networks()
    adapter = torch.nn.Linear(3, 6)
    before = [{k: v.clone() for k, v in net.state_dict().items()} for net in (teacher, student, adapter)]
    options = Options(60, lr=0.05, clip=10, every=20)
    rows = distil(student, teacher, batches, options, hint_loss, ("1", "0"), delta=3, adapter=adapter)
    assert len(rows) == 3 and rows[-1]["topology"] < 0.5 * rows[0]["topology"]
    for row in rows:
        assert row["loss"] == pytest.approx(row["ce"] + row["kd"] + row["topology"], rel=1e-5)
    same = [
        all(torch.equal(v, held[k]) for k, v in net.state_dict().items())
        for net, held in zip((teacher, student, adapter), before, strict=True)
    ]
    assert same == [True, False, False]
    assert teacher.training and all(weight.grad is None for weight in teacher.parameters())


def test_distil_with_delta_0_is_the_control_whatever_the_topology():
    ends = []
    for topology in (deaths_loss, distance_loss):
        student, teacher, batches = networks()
        distil(student, teacher, batches, Options(5, lr=0.05), topology, ("1", "0"), delta=0)
        ends.append(student.state_dict())
    assert all(torch.equal(ends[0][k], ends[1][k]) for k in ends[0])
    assert any((ends[0][k] != networks()[0].state_dict()[k]).any() for k in ends[0])
