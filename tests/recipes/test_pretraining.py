"""Backbones: their features in boxes, what a few steps teach them, and that all detectors start alike."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import pretraining
import train as trainer
from marginalia import store, training
from marginalia.detection.detector import KINDS, DetectorConfig
from marginalia.detection.loading import load
from marginalia.training import Options
from pretraining import box_features, build_classifier
from runs import BACKBONES, RUNS, SEEDS, Pretraining, Run, is_finished

TINY = DetectorConfig(width=16, heads=2, encoder_layers=1, decoder_layers=2, ffn=16, queries=8)


def tiny(monkeypatch, name="tiny-backbone", **changes) -> Pretraining:
    options = Options(steps=4, lr=2e-3, clip=1.0, seed=7, every=2)
    run = replace(Pretraining(name=name, width=16, options=options, side=32, batch=4), **changes)
    monkeypatch.setitem(BACKBONES, name, run)
    return run


def tiny_detector(monkeypatch, name="tiny-0", kind="conditional", seed=0) -> Run:
    options = Options(steps=2, seed=seed, every=2)
    detector = replace(TINY, kind=kind)
    run = Run(name=name, detector=detector, options=options, side=32, batch=4, backbone="tiny-backbone")
    monkeypatch.setitem(RUNS, name, run)
    return run


def test_box_features_are_means_over_the_pieces_of_cells_inside():
    rng = np.random.default_rng(0)
    features, image = rng.normal(size=(2, 3, 4, 5)), rng.integers(2, size=40)
    low, high = np.sort(rng.random((2, 40, 2)), axis=0)
    boxes = np.concatenate([(low + high) / 2, high - low], axis=1)
    found = box_features(*(torch.from_numpy(a) for a in (features, boxes, image)))
    for n in range(40):
        total, area = np.zeros(3), 0.0
        for row in range(4):
            for column in range(5):
                tall = min(high[n, 1], (row + 1) / 4) - max(low[n, 1], row / 4)
                wide = min(high[n, 0], (column + 1) / 5) - max(low[n, 0], column / 5)
                piece = max(tall, 0) * max(wide, 0)
                total += piece * features[image[n], :, row, column]
                area += piece
        np.testing.assert_allclose(found[n], total / area, atol=1e-12)  # sums of 20 terms, in 64 bits


def test_a_box_of_whole_cells_has_their_mean():
    features = torch.arange(32.0).reshape(1, 2, 4, 4)
    found = box_features(features, torch.tensor([[0.5, 0.25, 0.5, 0.5]]), torch.tensor([0]))
    torch.testing.assert_close(found, features[:, :, :2, 1:3].mean(dim=(2, 3)))


def test_a_few_steps_lower_the_loss(folder, monkeypatch):
    run = tiny(monkeypatch, options=Options(steps=60, lr=4e-3, clip=1.0, seed=7, every=20), batch=16)
    trainer.train(run)
    frame = store.read_table(f"measured/detection/{run.name}.csv")
    assert frame["step"].tolist() == [20, 40, 60]
    assert frame["loss"].iloc[-1] < frame["loss"].iloc[0]


def test_pretraining_leaves_rows_weights_and_a_card(folder, monkeypatch):
    run = tiny(monkeypatch)
    assert not is_finished(run)
    trainer.make(run.name)
    assert is_finished(run)
    weights, card = training.load(run.weights)
    build_classifier(run).load_state_dict(weights)
    assert card["run"] == run.name and card["width"] == 16
    assert set(card["metrics"]) == {"val_loss", "val_accuracy"}
    monkeypatch.setattr(trainer, "train", None)  # would fail if it were called
    trainer.make(run.name)


def test_initial_weights_depend_on_the_seed_and_leave_torch_alone(monkeypatch):
    run = tiny(monkeypatch)
    before = torch.get_rng_state()
    first, again = build_classifier(run).state_dict(), build_classifier(run).state_dict()
    other = build_classifier(replace(run, options=replace(run.options, seed=8))).state_dict()
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["head.weight"], other["head.weight"])


def test_all_kinds_start_from_the_same_backbone(folder, monkeypatch):
    run = tiny(monkeypatch)
    trainer.train(run)
    classifier = build_classifier(run)
    classifier.load_state_dict(training.load(run.weights)[0])
    pixels = torch.rand(2, 1, 32, 32)
    wanted = classifier.backbone(pixels)
    for seed, kind in enumerate(KINDS):
        model = trainer.initial(tiny_detector(monkeypatch, kind=kind, seed=seed))
        assert torch.equal(model.backbone(pixels), wanted)


def test_detectors_need_their_backbone(folder, monkeypatch):
    tiny(monkeypatch)
    with pytest.raises(FileNotFoundError, match=r"`python data/recipes/train\.py tiny-backbone` makes it"):
        trainer.initial(tiny_detector(monkeypatch))


def test_weights_of_a_step_open_by_their_path(folder, monkeypatch):
    trainer.train(tiny(monkeypatch))
    run = tiny_detector(monkeypatch)
    trainer.train(run)
    assert load(run.weights_at(2)).config == run.detector
    assert training.load(run.weights_at(2))[1]["backbone"] == BACKBONES["tiny-backbone"].settings()


def test_a_backbone_is_no_detector_to_load():
    with pytest.raises(ValueError, match=r"backbone-96\.json has no entry 'detector'"):
        load("backbone-96")


@pytest.fixture
def begun(monkeypatch):
    """Queues instead of processes: names of the jobs that were given to be done together."""
    queues: list[list[str]] = []

    def run_jobs(jobs, at_a_time, outcome):
        queues.append([job.name for job in jobs])
        return []

    monkeypatch.setattr(trainer, "run_jobs", run_jobs)
    return queues


def test_backbones_come_before_detectors(folder, begun, monkeypatch):
    trainer.main(["small-csq-0", "headline-detr-0"])
    trainer.main(["headline-detr-0"])
    trainer.main(["backbone-64"])
    assert begun == [
        ["backbone-96", "backbone-64"],
        ["headline-detr-0", "small-csq-0"],
        ["backbone-96"],
        ["headline-detr-0"],
        ["backbone-64"],
        [],
    ]


def test_a_backbone_that_is_there_is_not_made_again(folder, begun, monkeypatch):
    trainer.make(tiny(monkeypatch).name)
    tiny_detector(monkeypatch)
    trainer.main(["tiny-*"])
    assert begun == [[], ["tiny-0"]]


def test_no_detector_is_begun_without_its_backbone(folder, monkeypatch):
    monkeypatch.setattr(trainer, "run_jobs", lambda jobs, *rest: [job.name for job in jobs])
    assert trainer.main(["headline-detr-0"]) == ["backbone-96"]


def test_photographs_share_the_weights_for_grey(folder, monkeypatch):
    """On a grey photograph the backbone of three channels sees what that of digits saw."""
    run = tiny(monkeypatch)
    trainer.train(run)
    classifier = build_classifier(run)
    classifier.load_state_dict(training.load(run.weights)[0])
    digits = tiny_detector(monkeypatch)
    model = trainer.initial(replace(digits, detector=replace(digits.detector, in_channels=3)))
    grey = torch.rand(2, 1, 32, 32)
    found, wanted = model.backbone(grey.expand(-1, 3, -1, -1)), classifier.backbone(grey)
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=0)


def test_every_backbone_fits_its_run_and_has_scenes_of_its_own():
    assert {run.photographs for run in RUNS.values() if not run.backbone} == {"cells"}
    for run in RUNS.values():
        if not run.backbone:
            continue
        backbone = BACKBONES[run.backbone]
        assert (backbone.width, backbone.stride) == (run.detector.width, run.detector.stride)
        assert backbone.options.seed not in SEEDS
        assert run.settings()["backbone"] == backbone.settings()


@pytest.mark.parametrize("name", [name for name, run in BACKBONES.items() if run.shipped])
def test_shipped_weights_reach_the_accuracy_of_their_card(name):
    run = BACKBONES[name]
    weights, card = training.load(run.weights)
    model = build_classifier(run)
    model.load_state_dict(weights)
    with torch.no_grad():
        *_, evaluate = pretraining.parts(run, model)
        measured = evaluate(0)
    # 0.01: another processor may tip a digit in a hundred
    assert measured["val_accuracy"] == pytest.approx(card["metrics"]["val_accuracy"], abs=0.01)
    assert measured["val_accuracy"] > 0.9
