"""The position relation: the sheet's identities, and equality with the equations written out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import linear

from marginalia.detection import DetectorConfig, build, relation
from marginalia.detection.loading import load_relation
from marginalia.detection.relation import PositionRelation, embed, frequencies, relative_geometry


def some_boxes(*shape: int, seed: int = 0) -> torch.Tensor:
    """Boxes in [0, 1] with sides of .02 to .32, float64."""
    draw = torch.rand(*shape, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.cat([draw[..., :2], 0.02 + 0.3 * draw[..., 2:]], -1)


def written_out(module: PositionRelation, source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """max(0, W embed(e) + B) with the whole embedding, as the published code has it."""
    waves = embed(relative_geometry(source, target), module.frequency)
    return linear(waves, module.projection.weight, module.projection.bias).relu().movedim(-1, 1)


def test_shapes_and_number_of_parameters():
    source, target = some_boxes(2, 5), some_boxes(2, 7, seed=1)
    geometry = relative_geometry(source, target)
    assert geometry.shape == (2, 5, 7, 4) and embed(geometry, frequencies()).shape == (2, 5, 7, 64)
    module = PositionRelation().double()
    assert module(source, target).shape == (2, 8, 5, 7)
    assert sum(p.numel() for p in module.parameters()) == 520
    np.testing.assert_allclose(frequencies(), [100, 31.6, 10, 3.16, 1, 0.316, 0.1, 0.0316], rtol=2e-3)


def test_geometry_of_two_boxes_by_hand():
    source, target = (
        torch.tensor([[[0.3, 0.4, 0.1, 0.2]]]).double(),
        torch.tensor([[[0.5, 0.3, 0.2, 0.1]]]).double(),
    )
    by_hand = [np.log(0.2 / 0.1 + 1), np.log(0.1 / 0.2 + 1), np.log(0.1 / 0.2), np.log(0.2 / 0.1)]
    np.testing.assert_allclose(relative_geometry(source, target, eps=0)[0, 0, 0], by_hand, atol=1e-6)


def test_a_box_beside_itself():
    boxes = some_boxes(1, 6)
    geometry = relative_geometry(boxes, boxes)
    own = geometry[0].diagonal().T
    assert (own == 0).all()
    assert (embed(own, frequencies()) == torch.tensor([0.0, 1.0]).repeat(32)).all()
    diagonal = PositionRelation().double()(boxes, boxes).diagonal(dim1=2, dim2=3)  # (1, H, 6)
    torch.testing.assert_close(diagonal, diagonal[..., :1].expand_as(diagonal), rtol=0, atol=1e-12)


def test_identities_of_the_geometry():
    boxes = some_boxes(1, 6)
    e = relative_geometry(boxes, boxes)[0]
    size = e[..., 2:]
    torch.testing.assert_close(size, -size.transpose(0, 1), rtol=0, atol=1e-12)
    torch.testing.assert_close(
        size[:, :, None] + size[None], size[:, None].expand(-1, 6, -1, -1), rtol=0, atol=1e-12
    )
    cross = (e[..., :2].exp() - 1) * size.exp()  # |x_i - x_j| in widths of the other box
    torch.testing.assert_close(cross, e[..., :2].transpose(0, 1).exp() - 1, rtol=1e-10, atol=1e-12)
    assert (e[..., :2] >= 0).all()
    waves = embed(e, frequencies())
    torch.testing.assert_close((waves**2).unflatten(-1, (32, 2)).sum(-1), torch.ones(6, 6, 32).double())


def test_what_leaves_the_geometry_unchanged():
    boxes, shift = some_boxes(1, 6), torch.tensor([0.3, -0.1, 0, 0])
    for eps in (0, relation.EPS):
        e = relative_geometry(boxes, boxes, eps)
        mirrored = boxes * torch.tensor([-1, 1, 1, 1]) + torch.tensor([1, 0, 0, 0])
        for moved in (boxes + shift, mirrored):
            torch.testing.assert_close(relative_geometry(moved, moved, eps), e, rtol=0, atol=1e-12)
        scaled = boxes * torch.tensor([0.5, 2, 0.5, 2])
        apart = (relative_geometry(scaled, scaled, eps) - e).abs().max()
        assert apart < 1e-12 if eps == 0 else 1e-5 < apart < 5e-4  # the eps breaks it


@pytest.mark.parametrize("rows", [1, 20, 10**6])
def test_the_relation_is_that_of_the_equations(rows, monkeypatch):
    """Value and gradient, for any number of rows at a time; a wrong sign of a sine would show at once."""
    monkeypatch.setattr(relation, "PAIRS", rows)
    torch.manual_seed(0)
    module, source, target = PositionRelation(6).double(), some_boxes(2, 9), some_boxes(2, 11, seed=1)
    module.frequency = module.frequency.double()
    found, expected = module(source, target), written_out(module, source, target)
    assert (found >= 0).all() and (found > 0).any() and (found == 0).any()
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    upstream = torch.randn_like(found)
    for one, other in zip(
        torch.autograd.grad((found * upstream).sum(), module.parameters()),
        torch.autograd.grad((expected * upstream).sum(), module.parameters()),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-11)


def test_float32_is_as_good_as_written_out():
    module, boxes = PositionRelation(), some_boxes(1, 60).float()
    double = PositionRelation().double()
    double.load_state_dict({k: v.double() for k, v in module.state_dict().items()})
    exact = written_out(double, boxes.double(), boxes.double())
    ours, plain = (
        (one - exact).abs().max() for one in (module(boxes, boxes), written_out(module, boxes, boxes))
    )
    assert ours < 1e-4 and ours < 3 * plain


def test_no_gradient_reaches_the_boxes():
    boxes = some_boxes(1, 4).float().requires_grad_()
    module = PositionRelation()
    module(boxes, boxes).sum().backward()
    assert boxes.grad is None and module.projection.weight.grad.abs().sum() > 0


def test_the_bias_multiplies_the_attention():
    """softmax(a + Rel) is softmax(a) exp(Rel), normalised; what is added to a row cancels."""
    boxes, logits = some_boxes(1, 5), torch.randn(1, 8, 5, 5).double()
    bias = PositionRelation().double()(boxes, boxes).detach()
    weights = (logits + bias).softmax(-1)
    product = logits.softmax(-1) * bias.exp()
    torch.testing.assert_close(weights, product / product.sum(-1, keepdim=True), rtol=0, atol=1e-12)
    torch.testing.assert_close(
        (logits + bias + torch.randn(1, 8, 5, 1)).softmax(-1), weights, rtol=0, atol=1e-12
    )


def test_torchs_attention_takes_it_as_a_mask():
    torch.manual_seed(0)
    attention, boxes, x = (
        nn.MultiheadAttention(32, 8, batch_first=True).double(),
        some_boxes(2, 5),
        torch.randn(2, 5, 32).double(),
    )
    bias = PositionRelation().double()(boxes, boxes).detach()
    _, weights = attention(x, x, x, attn_mask=bias.flatten(0, 1), average_attn_weights=False)
    q, k, _ = (
        part.unflatten(-1, (8, 4)).transpose(1, 2)
        for part in linear(x, attention.in_proj_weight, attention.in_proj_bias).chunk(3, -1)
    )
    torch.testing.assert_close(weights, (q @ k.mT / 4**0.5 + bias).softmax(-1), rtol=0, atol=1e-12)


def test_the_relation_of_a_published_checkpoint(tmp_path):
    """Names and shapes as in the published code, in a file made here."""
    torch.manual_seed(0)
    weight, bias, boxes = torch.randn(8, 64, 1, 1), torch.randn(8), some_boxes(1, 6).float()
    prefix = "transformer.decoder.position_relation_embedding.pos_proj.0"
    file = tmp_path / "relation.pth"
    torch.save({"model": {f"{prefix}.weight": weight, f"{prefix}.bias": bias, "other": bias}}, file)
    module = load_relation(file)
    waves = embed(relative_geometry(boxes, boxes), frequencies())
    expected = nn.functional.conv2d(waves.permute(0, 3, 1, 2), weight, bias).relu()
    torch.testing.assert_close(module(boxes, boxes), expected, rtol=0, atol=1e-3)
    torch.save({"other": bias}, file)
    with pytest.raises(ValueError, match=r"relation\.pth: expected position_relation.* found none"):
        load_relation(file)


def test_a_detector_starts_with_the_published_initial_numbers():
    """torch's own for 64 inputs: W and B uniform within 1/8, not zero."""
    projection = build(DetectorConfig(relation="two layers")).decoder.relation.projection
    for parameter in (projection.weight, projection.bias):
        assert 0 < parameter.abs().max() <= 1 / 8
