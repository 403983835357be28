"""Recording what passes through modules: of plain torch models and of transformers."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from marginalia.record import record

X = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def model():
    return nn.Sequential(nn.Linear(3, 5), nn.ReLU(inplace=True), nn.Sequential(nn.Linear(5, 2), nn.Tanh()))


def hooks(model: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def test_what_goes_in_and_out(model):
    with record(model, ["0", "2"]) as seen:
        output = model(X)
    assert list(seen) == ["0", "2"] and len(seen["0"]) == 1
    assert torch.equal(seen["0"][0].inputs["input"], X)
    assert torch.equal(seen["0"][0].output, model[0](X))
    assert torch.equal(seen["2"][0].output, output)
    assert hooks(model) == 0


def test_patterns_nested_modules_and_everything(model):
    with record(model, "2.*") as seen:
        model(X)
    assert list(seen) == ["2.0", "2.1"]
    assert torch.equal(seen["2.1"][0].inputs["input"], seen["2.0"][0].output)
    with record(model) as seen:
        output = model(X)
    assert list(seen) == ["", "0", "1", "2", "2.0", "2.1"]
    assert torch.equal(seen[""][0].output, output)


def test_tensors_are_as_they_were_although_an_operation_in_place_follows(model):
    with record(model, ["0", "1"]) as seen:
        model(X)
    assert (seen["0"][0].output < 0).any() and (seen["1"][0].inputs["input"] < 0).any()
    assert (seen["1"][0].output >= 0).all()


def test_every_pass_is_kept_and_modules_that_rest_have_none(model):
    with record(model, ["0", "2"]) as seen:
        for part in X.split(1):
            model[0](part)
    assert torch.equal(torch.cat([call.inputs["input"] for call in seen["0"]]), X)
    assert seen["2"] == []
    model(X)
    assert len(seen["0"]) == 4  # the block is over


def test_gradients_are_kept_when_asked_for(model):
    with record(model, "0") as seen:
        model(X)
    assert not seen["0"][0].output.requires_grad
    model[1] = nn.ReLU()
    with record(model, "0", gradients=True) as seen:
        loss = model(X).square().sum()
    (gradient,) = torch.autograd.grad(loss, seen["0"][0].output)
    assert gradient.shape == (4, 5) and gradient.any()


class Scaled(nn.Module):
    def forward(self, x, *, factor=1.0, bias=None):
        return {"y": x * factor, "parts": (x, bias)}


def test_keyword_inputs_and_outputs_in_containers():
    model = Scaled()
    x = X.clone().requires_grad_()
    with record(model, "") as seen:
        model(x, factor=2.0)
        model(x=x)
    first, second = seen[""]
    assert first.inputs["factor"] == 2.0 and list(second.inputs) == ["x"]
    assert torch.equal(first.output["y"], 2 * X) and not first.output["parts"][0].requires_grad
    assert first.output["parts"][1] is None


def test_hooks_go_also_after_an_error(model):
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"), record(model) as seen:
        model(torch.zeros(4, 7))
    assert hooks(model) == 0
    assert seen["0"][0].inputs["input"].shape == (4, 7) and seen["0"][0].output is None


def test_unknown_names_are_told_with_near_ones(model):
    named = nn.ModuleDict({"encoder": nn.Linear(1, 1), "decoder": nn.Linear(1, 1)})
    with (
        pytest.raises(ValueError, match=r"no module is called 'encodr'; near it: encoder"),
        record(named, "encodr"),
    ):
        pass
    with (
        pytest.raises(ValueError, match=r"no module is called 'layers\.\*'"),
        record(model, ["0", "layers.*"]),
    ):
        pass
    assert hooks(model) == 0


def test_a_model_of_transformers():
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(n_embd=8, n_layer=2, n_head=2, vocab_size=11, n_positions=6)
    model = transformers.GPT2Model(config).eval()
    with record(model, ["h.*.attn", ""]) as seen, torch.no_grad():
        model(input_ids=torch.arange(5)[None])
    assert list(seen) == ["h.0.attn", "h.1.attn", ""]
    assert seen["h.1.attn"][0].inputs["hidden_states"].shape == (1, 5, 8)
    assert seen["h.1.attn"][0].output[0].shape == (1, 5, 8)
    assert seen[""][0].output.last_hidden_state.shape == (1, 5, 8)
