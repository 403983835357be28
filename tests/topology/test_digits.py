"""Digits: which images are whose, and what a teacher's clouds are drawn from."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from marginalia.record import record
from marginalia.topology import h0_deaths
from marginalia.topology.digits import (
    CNN_FEATURES,
    FEATURES,
    classifier,
    cloud_batches,
    digits,
    small_cnn,
    train_teacher,
)

torch.set_num_threads(1)


def rows(images):
    return {tuple(x.tolist()) for x in images.x}


def test_split_is_fixed_balanced_and_without_overlap():
    train, test = digits()
    assert (len(train.x), len(test.x)) == (1200, 597)
    assert not rows(train) & rows(test)
    assert train.x.min() >= 0 and train.x.max() == 1
    for part in (train, test):
        assert part.y.bincount().float().div(len(part.y)).sub(0.1).abs().max() < 0.005


def test_labelled_images_are_a_balanced_part_of_the_training_images_by_seed():
    (train, test), (few, same), (other, _) = digits(), digits(200, 0), digits(200, 1)
    assert len(few.x) == 200 and rows(few) < rows(train) and rows(few) != rows(other)
    assert torch.equal(same.x, test.x) and torch.equal(digits(200, 0)[0].x, few.x)
    assert set(few.y.bincount().tolist()) <= {19, 20, 21}


def test_batches_do_not_repeat_an_image_and_keep_labels():
    few, _ = digits(200)
    known = {tuple(x.tolist()): y for x, y in zip(few.x, few.y, strict=True)}
    torch.manual_seed(0)
    x, y = few.batches(64)(0)
    assert len({tuple(each.tolist()) for each in x}) == 64
    assert all(known[tuple(each.tolist())] == label for each, label in zip(x, y, strict=True))


def test_teacher_learns_and_accuracy_is_counted_on_its_images():
    teacher, history = train_teacher(steps=160)
    _, test = digits()
    assert [row["step"] for row in history] == list(range(20, 161, 20))
    assert test.accuracy(teacher) > 0.9 and not teacher.training
    by_hand = np.mean([(teacher(x[None]).argmax() == y).item() for x, y in zip(test.x, test.y, strict=True)])
    assert test.accuracy(teacher) == pytest.approx(by_hand)
    again, _ = train_teacher(steps=160)
    assert torch.equal(again[0].weight, teacher[0].weight)


def test_feature_layers_are_the_last_before_the_classes():
    teacher, cnn = classifier(64, 256, 64), small_cnn()
    for model, layer, shape in ((teacher, FEATURES, (3, 64)), (cnn, CNN_FEATURES, (3, 16, 4, 4))):
        with record(model, layer) as seen:
            assert model(torch.rand(3, 64)).shape == (3, 10)
        assert seen[layer][0].output.shape == shape and seen[layer][0].output.min() == 0  # after ReLU


def test_varied_batches_differ_more_than_those_drawn_alike():
    torch.manual_seed(0)
    teacher = classifier(64, 256, 64)
    alike, varied = (cloud_batches(teacher, 40, 16, varied=varied) for varied in (False, True))
    assert alike.shape == varied.shape == (40, 16, 64)
    assert h0_deaths(varied).mean(1).std() > 2 * h0_deaths(alike).mean(1).std()
    assert torch.equal(cloud_batches(teacher, 40, 16), varied)
    assert h0_deaths(alike).min() > 0  # no image twice in a batch


def test_evaluate_sees_the_model_as_it_is():
    seen = {}

    def evaluate(model, made):
        seen[made] = model[0].weight.detach().clone()
        return {"size": float(seen[made].norm())}

    model, rows = train_teacher(steps=16, evaluate=evaluate)
    assert list(seen) == [row["step"] for row in rows] == list(range(2, 17, 2))
    assert torch.equal(seen[16], model[0].weight) and not torch.equal(seen[2], seen[16])
    assert rows[0]["size"] == float(seen[2].norm())


def test_no_steps_is_the_start():
    model, rows = train_teacher(seed=1, steps=0)
    torch.manual_seed(1)
    assert rows == [] and torch.equal(model[0].weight, torch.nn.Linear(64, 256).weight)
