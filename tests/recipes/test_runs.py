"""The registry of trainings, and one tiny training from its first step to its rows and weights."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

import measure_heads
import runs
import train as trainer
from marginalia import training
from marginalia.boxes.table import BoxTable
from marginalia.detection import load, make_scenes
from marginalia.detection.detector import KINDS, DetectorConfig, build, parameters
from marginalia.detection.scenes import SceneBatch
from marginalia.store import read_table
from marginalia.training import Options
from runs import BACKBONES, RUNS, SEEDS, Run, find, is_finished, is_trained

TINY = DetectorConfig(width=16, heads=2, encoder_layers=1, decoder_layers=2, ffn=16, queries=8)


def tiny(monkeypatch, name="tiny-0", **changes) -> Run:
    options = Options(steps=4, lr=1e-3, every=2)
    run = replace(Run(name=name, detector=TINY, options=options, side=32, batch=4), **changes)
    monkeypatch.setitem(RUNS, name, run)
    return run


def rows(run):
    return read_table(f"measured/detection/{run.name}.csv")


ONE_SEED = {"long-detr-0", "long-cells-detr-0", "cells-digits-conditional-0", "cells-digits-detr-focal-0"}
ONE_SEED |= {"headline-relation-0"}
ONE_SEED |= {f"cells-{rate}-0" for rate in ("fast-detr", "slow-detr-focal", "slow-conditional", "slow-dab")}


FIVE_SEEDS = {
    f"{layout}-{part}-{seed}"
    for layout in ("arranged", "scattered")
    for part in ("base", "relation", "hybrid", "both", "permuted")
    for seed in range(5)
}
AGAIN = {f"scattered-base-{seed}" for seed in SEEDS}  # small-csq, with what is measured of crowding


def test_every_run_is_there_for_every_seed_but_a_few():
    bases = {name.rsplit("-", 1)[0] for name in RUNS.keys() - ONE_SEED}
    assert {f"{base}-{seed}" for base in bases for seed in SEEDS} | ONE_SEED | FIVE_SEEDS == set(RUNS)
    assert all(run.options.seed == int(run.name.rsplit("-", 1)[1]) for run in RUNS.values())


def test_no_two_runs_are_the_same():
    settings = [str(run.settings()) for run in RUNS.values() if run.name not in AGAIN]
    assert len(set(settings)) == len(settings)


def test_the_collection_has_all_of_them_and_no_others(root):
    """`make train` has nothing to do: no table was measured with other settings, none is missing."""
    assert all(is_finished(run) for run in find())
    held = {path.stem for path in (root / "data/measured/detection").glob("*.csv")}
    assert held == set(BACKBONES | RUNS)
    assert {path.stem for path in (root / "data/measured/heads").glob("*.csv")} == {
        run.name for run in RUNS.values() if run.heads_measured
    }
    for run in find():
        if run.shipped:
            card = training.load(run.weights)[1]
            assert {key: card[key] for key in run.settings()} == run.settings()


@pytest.mark.parametrize("group", ["headline", "cells"])
def test_the_kinds_of_a_group_are_equally_large(group):
    sizes = [parameters(build(RUNS[f"{group}-{kind}-0"].detector)) for kind in KINDS]
    assert max(sizes) / min(sizes) < 1.05


@pytest.mark.parametrize(
    "names", [("long-detr-0", "headline-detr-0"), ("long-cells-detr-0", "cells-detr-0")], ids=str
)
def test_the_long_run_is_ten_times_the_short_one(names):
    long, short = (RUNS[name] for name in names)
    assert long.options.steps == 10 * short.options.steps
    assert long.detector == short.detector and long.options.lr == short.options.lr


def test_the_last_step_is_an_evaluation():
    assert all(run.options.steps % run.options.every == 0 for run in find())


def test_find():
    assert [run.name for run in find(["headline-dab-*"])] == [f"headline-dab-{seed}" for seed in SEEDS]
    assert len(find()) == len(RUNS) + len(BACKBONES)
    with pytest.raises(ValueError, match=r"no run 'headline-dap-0'; near it: headline-dab-0"):
        find(["headline-dap-0"])


def test_a_run_leaves_rows_weights_and_a_card(folder, monkeypatch):
    run = tiny(monkeypatch, shipped=True)
    assert not is_finished(run)
    trainer.make(run.name)
    assert is_finished(run)
    frame = rows(run)
    assert frame["step"].tolist() == [2, 4]
    measured = ["AP", "AP50", "AP75", "AR", "AP50_any"]
    measured += ["found", "duplicates", "found_3", "duplicates_3", "mean_iou", "iou_75"]
    assert frame[["loss", "class_loss", *measured]].notna().all(axis=None)
    state, card = training.load(run.weights)
    model = build(run.detector)
    model.load_state_dict(state)
    assert DetectorConfig(**card["detector"]) == run.detector
    assert (card["run"], card["options"]["seed"]) == ("tiny-0", 0)
    assert list(card["metrics"]) == measured
    kept, _ = training.load(run.weights_at(2))
    assert any(not torch.equal(kept[name], state[name]) for name in state)


def test_crowding_counts_queries_that_find_an_object_again():
    """Two objects; of four detections the surest two are one object twice."""
    image = {"image_ids": (0,), "sizes": [(64, 64)], "names": {0: "any"}}
    there, elsewhere = (4, 4, 20, 20), (36, 36, 20, 20)
    objects = BoxTable([there, elsewhere], image=[0, 0], category=[0, 0], **image)
    boxes, score = [there, there, elsewhere, (30, 4, 8, 8)], [0.9, 0.8, 0.7, 0.6]
    found = BoxTable(boxes, image=[0] * 4, category=[0] * 4, score=score, **image)
    expected = {"found": 0.5, "duplicates": 0.5, "found_3": 1, "duplicates_3": 0.5}
    assert trainer.crowding(objects, found) == expected


def test_a_finished_run_is_not_repeated(folder, monkeypatch, capsys):
    run = tiny(monkeypatch)
    trainer.make(run.name)
    before = run.table.read_text()
    monkeypatch.setattr(trainer.training, "fit", None)  # would fail if it were called
    trainer.make(run.name)
    assert trainer.main(["tiny-*"]) == []
    assert run.table.read_text() == before
    assert "1 of 1 runs are there" in capsys.readouterr().out


def test_a_killed_run_goes_on(folder, monkeypatch):
    whole, run = tiny(monkeypatch, "whole-0"), tiny(monkeypatch, "killed-0")
    trainer.make(whole.name)
    made = trainer.make_scenes

    def kill(count, *settings):
        if settings[1] == "train" and settings[-1] == 3 * run.batch:
            raise KeyboardInterrupt
        return made(count, *settings)

    monkeypatch.setattr(trainer, "make_scenes", kill)
    with pytest.raises(KeyboardInterrupt):
        trainer.make(run.name)
    assert not is_finished(run) and rows(run)["step"].tolist() == [2]
    monkeypatch.setattr(trainer, "make_scenes", made)
    trainer.make(run.name)
    frames = [rows(one).drop(columns="seconds") for one in (whole, run)]
    assert frames[0].equals(frames[1])


def test_results_of_other_settings_are_not_taken(folder, monkeypatch):
    run = tiny(monkeypatch)
    trainer.make(run.name)
    with pytest.raises(ValueError, match=r"tiny-0.csv was measured with other settings"):
        is_finished(replace(run, batch=8))


def test_one_run_is_not_made_twice_at_a_time(folder, monkeypatch):
    """A process waits while another one holds the lock of a run."""
    run = tiny(monkeypatch)
    made = []
    monkeypatch.setattr(trainer, "train", lambda run: made.append(run.name))
    monkeypatch.setattr(trainer, "measure_heads", lambda run: None)
    run.folder.mkdir(parents=True)
    other = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(run.folder / "lock")], stdout=subprocess.PIPE, text=True
    )
    assert other.stdout.readline() == "held\n"
    began = time.monotonic()
    trainer.make(run.name)
    assert time.monotonic() - began > 0.4 and made == ["tiny-0"]
    assert other.wait() == 0


HOLD = """
import sys, time, filelock
with filelock.FileLock(sys.argv[1]):
    print("held", flush=True)
    time.sleep(0.5)
"""


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
    merged = trainer.one_category(guesses)
    assert merged.score.tolist() == [0.9, 0.5, 0.3]
    assert set(merged.category) == {0}


def test_heads_are_measured_with_a_run(folder, monkeypatch):
    run = tiny(monkeypatch)
    trainer.make(run.name)
    frame = read_table("measured/heads/tiny-0.csv")
    assert sorted(frame["step"].unique()) == measure_heads.evaluation_steps(run) == [2, 4]
    assert frame.groupby(["step", "map"]).size().tolist() == [4] * 6  # two layers of two heads, three maps
    assert {"x_permuted", "y_permuted", "objects"} <= set(frame)
    run.heads_table.unlink()
    assert is_trained(run) and not is_finished(run)
    before = run.table.read_text()
    trainer.make(run.name)  # nothing is trained again, its heads are measured
    assert is_finished(run) and run.table.read_text() == before


def test_heads_are_measured_after_the_last_step_too():
    steps = measure_heads.evaluation_steps
    assert steps(RUNS["headline-detr-0"]) == [250, 500, 750, 1000, 1250, 1500]
    assert steps(RUNS["long-detr-0"])[-1] == 15000
    assert steps(RUNS["small-csq-0"]) == [runs.SMALL.steps]


def test_fixed_queries_are_those_of_the_finished_run(folder, monkeypatch):
    learned = tiny(monkeypatch, "learned-0", detector=replace(TINY, kind="detr-focal"))
    fixed = tiny(monkeypatch, "fixed-0", detector=learned.detector, queries_from="learned-0")
    with pytest.raises(FileNotFoundError):
        trainer.initial(fixed)
    trainer.make(learned.name)
    trainer.make(fixed.name)
    name = "decoder.queries.object_query"
    taken, kept = (training.load(run.weights)[0][name] for run in (learned, fixed))
    assert torch.equal(taken, kept)
    assert fixed.settings()["queries_from"] == "learned-0" and "queries_from" not in learned.settings()
    other = "encoder.layers.0.feed_forward.widen.weight"
    assert not torch.equal(*(training.load(run.weights)[0][other] for run in (learned, fixed)))


# --- photographs


@pytest.fixture
def photographs(monkeypatch):
    """In place of the blood cells: scenes in three channels, whose digits are of three classes."""
    scenes = make_scenes(12, side=32)
    labels = [labels % 3 for labels in scenes.labels]
    names = {0: "red cell", 1: "white cell", 2: "platelet"}
    batch = SceneBatch(scenes.pixels.repeat(3, axis=1), scenes.boxes, labels, names)
    for module in (trainer, measure_heads):
        monkeypatch.setattr(module, "cell_scenes", lambda *splits: batch.part(slice(0, 8)))
    return batch


def tiny_photographs(monkeypatch, **changes) -> Run:
    detector = replace(TINY, in_channels=3, classes=3)
    return tiny(monkeypatch, "photographed-0", photographs="cells", detector=detector, **changes)


def test_a_run_on_photographs_is_measured_by_category(folder, monkeypatch, photographs):
    run = tiny_photographs(monkeypatch, shipped=True)
    trainer.make(run.name)
    assert is_finished(run)
    each = {f"{metric} {name}" for metric in ("AP", "AP50") for name in photographs.names.values()}
    assert each <= set(rows(run)) and each <= set(training.load(run.weights)[1]["metrics"])
    assert load(run.weights).names == photographs.names
    frame = read_table("measured/heads/photographed-0.csv")
    assert frame.groupby(["step", "map", "category"]).size().tolist() == [4] * 18  # layers and heads
    # objects of each class, the same for all heads and kinds of map
    assert frame.groupby(["step", "category"])["objects"].nunique().eq(1).all()


def test_settings_of_photographs_say_nothing_of_scenes(monkeypatch):
    settings = tiny_photographs(monkeypatch).settings()
    assert set(settings) == {"detector", "options", "photographs", "batch", "backbone"}
    assert "photographs" not in tiny(monkeypatch).settings()


def test_batches_show_each_photograph_once_a_pass(monkeypatch):
    monkeypatch.setattr(trainer, "augment", lambda scenes, rng, upside_down: scenes)
    count, batch = 14, 4  # three batches a pass, and two photographs that wait
    pixels = np.arange(count, dtype=np.uint8).reshape(-1, 1, 1, 1)
    scenes = SceneBatch(pixels, [np.zeros((0, 4))] * count, [np.zeros(0, int)] * count)
    batches = trainer.varied(scenes, batch, seed=0, upside_down=False)
    shown = [batches(index).pixels.ravel().tolist() for index in range(30)]
    passes = np.reshape(shown, (10, -1)).tolist()
    assert all(len(set(one)) == len(one) == 3 * batch for one in passes)
    assert len({tuple(one) for one in passes}) == 10  # no two in the same order
    assert {n for one in passes for n in one} == set(range(count))
    assert batches(17).pixels.ravel().tolist() == shown[17]  # of its number alone
    other = trainer.varied(scenes, batch, seed=1, upside_down=False)
    assert other(0).pixels.ravel().tolist() != shown[0]


def test_batches_are_varied_anew_each_time(photographs):
    batches = trainer.varied(photographs, 12, seed=0, upside_down=True)  # one batch a pass
    first, again, second = batches(0), batches(0), batches(1)
    assert np.array_equal(first.pixels, again.pixels)
    assert not np.array_equal(first.pixels, second.pixels)
