"""The registry of trainings, and one tiny training from its first step to its rows and weights."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest
import torch

from marginalia import training
from marginalia.boxes.table import BoxTable
from marginalia.detection import measure_heads, runs
from marginalia.detection import train as trainer
from marginalia.detection.detector import DetectorConfig, build, parameters
from marginalia.detection.runs import GROUPS, RUNS, SEEDS, Run, find, histories, is_finished, missing
from marginalia.training import Options

torch.set_num_threads(1)
TINY = DetectorConfig(width=16, heads=2, encoder_layers=1, decoder_layers=2, ffn=16, queries=8)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty data folder and a build folder of its own."""
    monkeypatch.setenv("MARGINALIA_DATA", str(tmp_path))
    monkeypatch.setattr(runs.store, "checkout", lambda: tmp_path)
    monkeypatch.setattr(trainer, "VALIDATION", 8)
    monkeypatch.setattr(measure_heads, "SCENES", 4)
    return tmp_path


def tiny(monkeypatch, name="tiny-0", **changes) -> Run:
    options = Options(steps=4, lr=1e-3, every=2, checkpoint=2)
    run = replace(Run(name, TINY, options, side=32, batch=4), **changes)
    monkeypatch.setitem(RUNS, name, run)
    return run


def test_every_group_has_its_runs_for_every_seed():
    for rows in GROUPS.values():
        for base in rows.values():
            assert {f"{base}-{seed}" for seed in SEEDS} <= set(RUNS)
    used = {base for rows in GROUPS.values() for base in rows.values()} | {runs.LONG}
    assert {name.rsplit("-", 1)[0] for name in RUNS} == used


def test_no_two_runs_are_the_same():
    settings = [str(run.settings()) for run in RUNS.values()]
    assert len(set(settings)) == len(settings)


def test_runs_of_one_group_differ_in_the_detector_and_seed_only():
    for group, rows in GROUPS.items():
        own = [RUNS[f"{base}-{seed}"] for base in rows.values() for seed in SEEDS]
        same = {(run.layout, run.digits, run.batch, replace(run.options, seed=0)) for run in own}
        assert len(same) == 1
        assert len({run.side for run in own}) == (2 if group == "temperature" else 1)
        assert all(run.options.seed == int(run.name.rsplit("-", 1)[1]) for run in own)


def test_headline_models_are_equally_large():
    sizes = [parameters(build(RUNS[f"{base}-0"].detector)) for base in GROUPS["headline"].values()]
    assert max(sizes) / min(sizes) < 1.05


def test_the_long_run_is_ten_times_the_short_one():
    long, short = RUNS[f"{runs.LONG}-0"], RUNS["headline-detr-0"]
    assert long.options.steps == 10 * short.options.steps
    assert long.detector == short.detector and long.options.lr == short.options.lr


def test_evaluations_and_checkpoints_fall_on_whole_steps():
    for run in RUNS.values():
        assert run.options.steps % run.options.every == 0
        assert run.options.checkpoint <= 1000


def test_find():
    assert [run.name for run in find(["headline-dab-*"])] == [f"headline-dab-{seed}" for seed in SEEDS]
    assert len(find()) == len(RUNS)
    with pytest.raises(ValueError, match=r"no run 'headline-dap-0'; near it: headline-dab-0"):
        find(["headline-dap-0"])


def test_a_run_leaves_rows_weights_and_a_card(folder, monkeypatch):
    run = tiny(monkeypatch, shipped=True)
    assert not is_finished(run)
    trainer.train(run)
    assert is_finished(run)
    frame = histories(["tiny-*"])
    assert frame["step"].tolist() == [2, 4]
    assert frame.iloc[0][["run", "base", "kind", "seed"]].tolist() == ["tiny-0", "tiny", "conditional", 0]
    assert (
        frame[["loss", "class_loss", "AP", "AP50", "AP75", "AP50_any", "mean_iou", "iou_75"]]
        .notna()
        .all(axis=None)
    )
    assert frame.attrs["missing"] == []
    state, card = training.load(run.weights)
    model = build(run.detector)
    model.load_state_dict(state)
    assert DetectorConfig(**card["detector"]) == run.detector
    assert (card["run"], card["options"]["seed"]) == ("tiny-0", 0)
    assert set(card["metrics"]) == {"AP", "AP50", "AP75", "AP50_any", "mean_iou", "iou_75"}
    kept, _ = training.load(run.weights_at(2))
    assert any(not torch.equal(kept[name], state[name]) for name in state)


def test_a_finished_run_is_not_repeated(folder, monkeypatch, capsys):
    run = tiny(monkeypatch)
    trainer.train(run)
    before = run.table.read_text()
    monkeypatch.setattr(trainer.training, "fit", None)  # would fail if it were called
    trainer.train(run)
    assert trainer.main(["tiny-*"]) == []
    assert run.table.read_text() == before
    assert "1 of 1 runs are there" in capsys.readouterr().out


def test_a_killed_run_goes_on(folder, monkeypatch):
    whole = tiny(monkeypatch, "whole-0")
    trainer.train(whole)
    run = tiny(monkeypatch, "killed-0")
    made = trainer.make_scenes

    def kill(count, *settings):
        if settings[1] == "train" and settings[-1] == 3 * run.batch:
            raise KeyboardInterrupt
        return made(count, *settings)

    monkeypatch.setattr(trainer, "make_scenes", kill)
    with pytest.raises(KeyboardInterrupt):
        trainer.train(run)
    assert not is_finished(run) and "killed-0" in missing()
    assert histories(["killed-*"]).attrs["missing"] == ["killed-0"]
    monkeypatch.setattr(trainer, "make_scenes", made)
    trainer.train(run)
    frames = [
        histories([pattern]).drop(columns=["run", "base", "seconds"]) for pattern in ("whole-*", "killed-*")
    ]
    assert frames[0].equals(frames[1])


def test_results_of_other_settings_are_not_taken(folder, monkeypatch):
    run = tiny(monkeypatch)
    trainer.train(run)
    with pytest.raises(ValueError, match=r"tiny-0.csv was measured with other settings"):
        is_finished(replace(run, batch=8))


@pytest.mark.skipif(trainer.fcntl is None, reason="no file locks here")
def test_one_run_is_not_made_twice_at_a_time(folder, monkeypatch):
    run = tiny(monkeypatch)
    run.folder.mkdir(parents=True)
    descriptor = os.open(run.folder / "lock", os.O_CREAT | os.O_WRONLY)
    trainer.fcntl.flock(descriptor, trainer.fcntl.LOCK_EX)
    with pytest.raises(ValueError, match="tiny-0 is being trained by another process"):
        trainer.train(run)
    os.close(descriptor)


def test_categories_merge_without_counting_a_query_twice():
    box, other = [1.0, 2, 3, 4], [5.0, 6, 7, 8]
    guesses = BoxTable(
        xywh=[box, other, box, box],
        image=[0, 0, 0, 1],
        image_ids=(0, 1),
        sizes=[[64, 64]] * 2,
        category=[3, 5, 8, 3],
        names={k: str(k) for k in range(10)},
        score=[0.9, 0.5, 0.4, 0.3],
    )
    merged = trainer._one_category(guesses)
    assert merged.score.tolist() == [0.9, 0.5, 0.3]
    assert set(merged.category) == {0}


def test_heads_are_measured_with_a_run(folder, monkeypatch):
    run = tiny(monkeypatch)
    trainer.train(run)
    assert runs.is_complete(run)
    frame = runs.head_histories(["tiny-*"])
    assert sorted(frame["step"].unique()) == measure_heads.moments(run) == [2, 4]
    assert frame.groupby(["step", "map"]).size().tolist() == [4] * 6  # two layers of two heads, three maps
    assert {"x_permuted", "y_permuted", "side", "objects"} <= set(frame)
    assert frame.attrs["missing"] == []
    run.heads_table.unlink()
    assert runs.head_histories(["tiny-*"]).attrs["missing"] == ["tiny-0"]
    before = run.table.read_text()
    trainer.train(run)  # nothing is trained again, its heads are measured
    assert runs.is_complete(run) and run.table.read_text() == before


def test_moments_end_with_the_last_step():
    assert measure_heads.moments(RUNS["headline-detr-0"]) == [250, 500, 750, 1000, 1250, 1500]
    assert measure_heads.moments(RUNS[f"{runs.LONG}-0"])[-1] == RUNS[f"{runs.LONG}-0"].options.steps
    assert measure_heads.moments(RUNS["small-csq-0"]) == [runs.SMALL.steps]


def test_fixed_queries_are_those_of_the_finished_run(folder, monkeypatch):
    learned = tiny(monkeypatch, "learned-0", detector=replace(TINY, kind="detr-focal"))
    fixed = tiny(monkeypatch, "fixed-0", detector=learned.detector, queries_from="learned-0")
    with pytest.raises(FileNotFoundError):
        trainer.initial(fixed)
    trainer.train(learned)
    trainer.train(fixed)
    name = "decoder.queries.object_query"
    taken, kept = (training.load(run.weights)[0][name] for run in (learned, fixed))
    assert torch.equal(taken, kept)
    assert fixed.settings()["queries_from"] == "learned-0" and "queries_from" not in learned.settings()
    other = "encoder.layers.0.feed_forward.widen.weight"
    assert not torch.equal(*(training.load(run.weights)[0][other] for run in (learned, fixed)))
