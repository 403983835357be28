"""Distillation: controls for all settings, no test image in the schedule, rows that are not made twice."""

from __future__ import annotations

import multiprocessing.dummy

import numpy as np
import pandas as pd
import pytest
import torch

import measure_distillation as recipe
from marginalia.figures import topkd
from marginalia.topology import h0_deaths
from marginalia.topology.digits import cloud_batches, digits
from measure_distillation import Setting


@pytest.fixture
def short(monkeypatch, tmp_path):
    """One seed, in this process, with tables in an empty folder."""
    monkeypatch.setattr(recipe, "FOLDER", tmp_path)
    monkeypatch.setattr(recipe, "SEEDS", range(1))
    monkeypatch.setattr(recipe, "PROCESSES", 1)
    monkeypatch.setattr(recipe.multiprocessing, "get_context", lambda *_: multiprocessing.dummy)


def test_each_setting_is_there_once_and_has_its_control():
    settings = list(recipe.settings())
    assert len(set(settings)) == len(settings)
    controls = {(one.batch, one.student) for one in settings if one[:3] == ("KD", 2, 0)}
    assert {(one.batch, one.student) for one in settings} == controls
    assert set(recipe.BY_STEP) <= set(settings)
    assert {one.loss for one in settings if one.delta} == recipe.topologies().keys()
    assert {one.loss for one in settings if not one.delta} == {"CE", "KD"}


def test_schedule_sees_no_test_image(short, monkeypatch):
    train, _ = digits()
    monkeypatch.setattr(recipe.digits, "digits", lambda: (train, None))
    monkeypatch.setattr(recipe, "LENGTHS", (8,))
    recipe.schedule()
    table = recipe.read("distillation_schedule")
    assert len(table) == 5 * len(recipe.RATES) and table["accuracy"].between(0.05, 1).all()


def test_schedule_that_was_measured_gives_the_one_in_use():
    table = recipe.read("distillation_schedule")
    assert table.groupby(["steps", "lr"])["accuracy"].mean().idxmax() == (recipe.STEPS, recipe.RATE)


@pytest.mark.parametrize(
    "setting",
    [
        Setting("CE", 0, steps=16),
        Setting("sorted deaths", delta=1, layer="1", steps=16),
        Setting("RipsNet", delta=5, student="cnn", steps=16),
    ],
)
def test_row_is_what_its_student_gives_on_test_images(short, setting):
    found, history = recipe.row((setting, 1))
    student, features, _ = recipe.distilled(setting, 1, digits(200, 1)[0])
    test = digits()[1]
    assert found["accuracy"] == test.accuracy(student)
    clouds = torch.stack([features(test.x[k : k + 64]) for k in range(0, 576, 64)])
    assert found["mean_death"] == pytest.approx(h0_deaths(clouds).mean().item(), rel=1e-5)
    assert (found["share"] > 0) == (setting.delta > 0)
    assert history["step"].tolist() == list(range(2, 17, 2))


def test_students_that_are_there_are_not_trained_again(short, monkeypatch, capsys):
    some = [Setting("KD", steps=16), Setting("CE", 0, steps=16), Setting("RipsNet", delta=5, steps=16)]
    monkeypatch.setattr(recipe, "BY_STEP", some[::2])
    monkeypatch.setattr(recipe, "settings", lambda: some[:2])
    recipe.students()
    first = recipe.read("distillation")
    monkeypatch.setattr(recipe, "settings", lambda: some)
    recipe.students()
    table = recipe.read("distillation")
    printed = [line.split()[3] for line in capsys.readouterr().out.splitlines()]
    assert printed == ["1", "2", "3"]  # each was trained once
    assert table["loss"].tolist() == ["KD", "CE", "RipsNet"]
    pd.testing.assert_frame_equal(table.iloc[:2], first, check_dtype=False)
    assert recipe.read("distillation_steps")["loss"].unique().tolist() == ["KD", "RipsNet"]


def test_image_of_topkd_is_ours_up_to_the_bump_along_birth():
    window = recipe.topologies()["exact image"].keywords
    cloud = cloud_batches(recipe.trained()[0], 1, 20)[0]
    theirs = recipe.gudhi_image(cloud.double().numpy(), window).reshape(20, 20)
    profile = topkd.exact_profile(cloud.double(), **window)
    peak = 1 / (np.sqrt(2 * np.pi) * window["bandwidth"])
    np.testing.assert_allclose(theirs, peak * profile[:, None].expand(-1, 20), rtol=1e-9, atol=1e-12)


def test_teacher_and_ripsnet_are_those_of_the_cards():
    teacher, test = recipe.trained()[0], digits()[1]
    card = recipe.training.load(recipe.WEIGHTS / "digits-teacher.safetensors")[1]
    assert test.accuracy(teacher) == pytest.approx(card["accuracy_test"], abs=0.01)
    _, net, window = recipe.trained()
    held = cloud_batches(teacher, 300, seed=5)
    error = net(held).view(-1, 20, 20) - topkd.exact_profile(held, **window)[..., None]
    mse = recipe.training.load(recipe.WEIGHTS / "digits-ripsnet.safetensors")[1]["mse"]
    assert error.square().mean().item() == pytest.approx(mse, rel=0.3)
