"""The fitting loop: it learns, it can be killed at any step without a trace, and its weights come back."""

from __future__ import annotations

import contextlib
import json
import pathlib
import pickle
import random

import numpy as np
import pytest
import torch
from torch import nn

from marginalia import store, training
from marginalia.training import Options, fit, learning_rate, load, save

torch.set_num_threads(1)
OPTIONS = Options(steps=20, lr=0.05, warm_up=3, every=4, seed=3)


class Killed(Exception):
    pass


def small_model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.2), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 1))


def batches(index: int) -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.from_numpy(np.random.default_rng(index).normal(size=(16, 3))).float()
    return x, x.sum(1, keepdim=True)


def regression(model: nn.Module, kill_at: int | None = None):
    """A step that also draws from every generator, as augmentation might."""
    made = 0

    def step(batch):
        nonlocal made
        if made == kill_at:
            raise Killed
        made += 1
        x, y = batch
        x = x + 0.01 * (random.random() + np.random.random())  # noqa: NPY002 -- the global one is meant
        error = (model(x) - y).square().mean()
        return error, {"doubled": 2 * error.item(), "drawn": random.random()}

    return step


def without_time(rows):
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


def same(a: nn.Module, b: nn.Module) -> bool:
    one, other = a.state_dict(), b.state_dict()
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def evaluation(model):
    return lambda step: {"training": model.training, "output": model(torch.ones(1, 3)).item(), "at": step}


def test_it_learns_and_reports():
    model = nn.Linear(3, 1)
    options = Options(steps=300, lr=0.05, every=100, clip=10)
    rows = fit(model, lambda b: ((model(b[0]) - b[1]).square().mean(), {}), batches, options)
    assert [row["step"] for row in rows] == [100, 200, 300]
    assert rows[-1]["loss"] < 1e-3 < rows[0]["loss"]
    assert torch.allclose(model.weight, torch.ones(3), atol=1e-2)


def test_rows_hold_means_since_the_last_row():
    model, seen = small_model(), []
    step = regression(model)

    def recording(batch):
        seen.append(step(batch))
        return seen[-1]

    rows = fit(model, recording, batches, Options(steps=10, every=4))
    losses = [loss.item() for loss, _ in seen]
    assert [row["step"] for row in rows] == [4, 8, 10]  # the last step gets one too
    for row, part in zip(rows, (losses[:4], losses[4:8], losses[8:]), strict=True):
        assert row["loss"] == pytest.approx(np.mean(part))
        assert row["doubled"] == pytest.approx(2 * np.mean(part))


@pytest.mark.parametrize("kill_at", [0, 3, 5, 7, 12, 19])
def test_a_killed_run_goes_on_as_if_it_had_not_been(tmp_path, kill_at):
    whole = small_model()
    expected = fit(whole, regression(whole), batches, OPTIONS, evaluation(whole), tmp_path / "whole.csv")

    state, table = tmp_path / "state.pt", tmp_path / "killed.csv"
    model = small_model()
    with pytest.raises(Killed):
        fit(model, regression(model, kill_at), batches, OPTIONS, evaluation(model), table, state=state)
    assert state.exists() == (kill_at >= OPTIONS.every)
    random.seed(99)  # a new process begins with other states
    torch.manual_seed(99)
    again = small_model()
    if state.exists():
        nn.init.zeros_(again[0].weight)  # what the checkpoint holds must win
    rows = fit(again, regression(again), batches, OPTIONS, evaluation(again), table, state=state)
    assert without_time(rows) == without_time(expected)
    assert same(again, whole)

    texts = [path.read_text().splitlines() for path in (tmp_path / "whole.csv", table)]
    assert len(texts[0]) == len(texts[1]) == 1 + len(expected)


def test_a_finished_run_is_not_repeated(tmp_path):
    state, model = tmp_path / "state.pt", small_model()
    rows = fit(model, regression(model), batches, OPTIONS, state=state)
    again = small_model()
    assert fit(again, regression(again, kill_at=0), batches, OPTIONS, state=state) == rows
    assert same(again, model)


def test_checkpoints_of_other_options_are_refused(tmp_path):
    state, model = tmp_path / "state.pt", small_model()
    fit(model, regression(model), batches, OPTIONS, state=state)
    with pytest.raises(ValueError, match=r"state.pt is of a run with other options \(lr 0.05 and not 0.1\)"):
        fit(model, regression(model), batches, Options(**{**vars(OPTIONS), "lr": 0.1}), state=state)


def test_a_checkpoint_that_holds_code_is_refused_and_not_run(tmp_path):
    """Opening a pickle runs what it asks for: a checkpoint of somebody else must not be able to."""
    state, touched, model = tmp_path / "state.pt", tmp_path / "touched", small_model()
    fit(model, regression(model), batches, OPTIONS, state=state)
    torch.save(torch.load(state) | {"more": Payload(touched)}, state)
    with pytest.raises(pickle.UnpicklingError, match="Weights only load failed"):
        fit(model, regression(model), batches, OPTIONS, state=state)
    assert not touched.exists()


class Payload:
    """Makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return pathlib.Path.touch, (self.path,)


def test_equal_seeds_give_equal_runs_and_others_do_not():
    models = [small_model() for _ in range(3)]
    for model, seed in zip(models, (3, 3, 4), strict=True):
        fit(model, regression(model), batches, Options(steps=5, seed=seed))
    assert same(models[0], models[1]) and not same(models[0], models[2])


def test_table_is_readable_while_the_run_goes_on(tmp_path, monkeypatch):
    monkeypatch.setenv("MARGINALIA_DATA", str(tmp_path))
    lengths = []

    def evaluate(step):
        there = (tmp_path / "run.csv").read_text().splitlines()
        lengths.append(len(there))
        return {"value": step / 3}

    model = small_model()
    table = tmp_path / "run.csv"
    rows = fit(model, regression(model), batches, OPTIONS, evaluate, table, header="what\nhow")
    # two lines of comment, then the names of the columns with the first row
    assert lengths == [2, 4, 5, 6, 7]
    frame = store.read_table("run.csv")
    assert frame.attrs["source"] == "what\nhow"
    assert list(frame) == ["step", "seconds", "lr", "loss", "doubled", "drawn", "value"]
    assert frame["value"].tolist() == pytest.approx([row["value"] for row in rows], rel=1e-5)


def test_evaluation_has_no_gradient_and_leaves_training_mode():
    model, seen = small_model(), []

    def evaluate(step):
        seen.append((model.training, torch.is_grad_enabled()))
        return {}

    fit(model, regression(model), batches, Options(steps=2, every=1), evaluate)
    assert seen == [(False, False)] * 2
    model.train()


def test_learning_rate():
    options = Options(steps=10, lr=1.0, warm_up=4)
    rates = [learning_rate(step, options) for step in range(10)]
    assert rates == pytest.approx([0.25, 0.5, 0.75, 1, 1, 1, 1, 1, 0.1, 0.1])
    assert learning_rate(9, Options(steps=10, lr=1.0, drop_at=1)) == 1.0


def test_gradients_are_clipped():
    model = nn.Linear(1, 1, bias=False)
    norms = []

    class Recorder(torch.optim.AdamW):
        def step(self, closure=None):
            norms.append(model.weight.grad.norm().item())
            return super().step(closure)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim, "AdamW", Recorder)
        fit(model, lambda batch: (1e3 * model.weight.sum(), {}), lambda index: None, Options(steps=2))
    assert norms == pytest.approx([0.1, 0.1], rel=1e-4)


def test_a_loss_that_is_not_finite_stops_the_run():
    model = nn.Linear(1, 1)
    with pytest.raises(FloatingPointError, match="the loss is nan at step 0"):
        fit(model, lambda batch: (model.weight.sum() * torch.nan, {}), lambda index: None, Options(steps=2))


def test_weights_come_back(tmp_path):
    model, path = small_model(), tmp_path / "small.safetensors"
    save(model, path, {"seed": 3, "metrics": {"AP50": 0.5}})
    state, card = load(path)
    assert card == json.loads(path.with_suffix(".json").read_text())
    assert (card["seed"], card["parameters"], len(card["sha256"])) == (3, 57, 64)
    again = small_model()
    again.load_state_dict(state)
    assert all(value.dtype in (torch.float32, torch.int64) for value in state.values())
    assert torch.allclose(again[0].weight, model[0].weight, rtol=2**-11, atol=0)  # 16 bits keep 11 digits
    assert torch.equal(again[0].weight, model[0].weight.half().float())


def test_weights_shared_by_two_names_can_be_saved(tmp_path):
    head = nn.Linear(2, 2)
    save(nn.ModuleList([head, head]), tmp_path / "tied.safetensors", {})
    assert set(load(tmp_path / "tied.safetensors")[0]) == {"0.weight", "0.bias", "1.weight", "1.bias"}


def test_weights_that_are_not_as_the_card_says_are_refused(tmp_path):
    path = tmp_path / "small.safetensors"
    save(small_model(), path, {})
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(ValueError, match=r"small.json says"):
        load(path)
    path.with_suffix(".json").unlink()
    with pytest.raises(FileNotFoundError, match=r"small\.json"):
        load(path)


def test_a_write_that_fails_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    state, model = tmp_path / "state.pt", small_model()
    options = Options(steps=20, every=10)
    with pytest.raises(Killed):
        fit(model, regression(model, kill_at=10), batches, options, state=state)
    before = state.read_bytes()

    def fails(what, path):
        path.write_bytes(b"half of it")
        raise OSError("no room")

    monkeypatch.setattr(training.torch, "save", fails)
    with pytest.raises(OSError, match="no room"):
        fit(model, regression(model), batches, options, state=state)
    assert [path.name for path in tmp_path.iterdir()] == ["state.pt"]
    assert state.read_bytes() == before


def test_cosine_rate():
    options = training.Options(steps=100, lr=2.0, warm_up=10)
    rates = [training.cosine_rate(step, options, end=0.05) for step in range(100)]
    assert rates[0] == pytest.approx(0.2) and rates[9] == pytest.approx(2) and rates[-1] == pytest.approx(0.1)
    assert rates[54] == pytest.approx(2 * (0.05 + 0.95 / 2))  # half of the way
    assert (np.diff(rates[9:]) < 0).all()


def test_several_optimizers_keep_their_proportions(tmp_path):
    """Also over a break; plain gradient descent by hand is the judge."""

    def optimizers(model, options):
        pair = model.weight, model.bias
        return [torch.optim.SGD([p], options.lr * k) for p, k in zip(pair, (1, 10), strict=True)]

    def loss(x):
        return model(x).square().mean(), {}

    options = training.Options(steps=4, lr=0.01, clip=1e9, drop_at=1, every=2)
    x = torch.randn(8, 3, generator=torch.Generator().manual_seed(1))
    ends = []
    for state in (None, tmp_path / "state.pt"):
        torch.manual_seed(0)
        model = torch.nn.Linear(3, 1)
        weight, bias = model.weight.detach().clone(), model.bias.detach().clone()
        for whole in (False, True) if state else (True,):

            def batches(index, whole=whole):
                if index == 2 and not whole:
                    raise KeyboardInterrupt
                return x

            with contextlib.suppress(KeyboardInterrupt):
                training.fit(model, loss, batches, options, state=state, optimizers=optimizers)
        ends.append(model.state_dict())
    for _ in range(4):
        out = x @ weight.T + bias
        weight = weight - 0.01 * 2 * (out.T @ x) / 8
        bias = bias - 0.1 * 2 * out.mean(0)
    for end in ends:
        assert torch.allclose(end["weight"], weight, atol=1e-6) and torch.allclose(
            end["bias"], bias, atol=1e-6
        )
