"""The detectors: parts and sizes, references and anchors, what each ablation changes, predictions."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from marginalia.boxes.evaluation import evaluate
from marginalia.detection.attention import AttentionMaps, conditional_logits, detr_logits
from marginalia.detection.detector import (
    KINDS,
    DetectorConfig,
    DetectorOutput,
    build,
    parameters,
    predict_table,
    top_k,
)
from marginalia.detection.encoder import Backbone
from marginalia.detection.layers import inverse_sigmoid
from marginalia.detection.queries import POINTS, SPATIAL_QUERIES, TRANSFORMS
from marginalia.record import record

torch.set_num_threads(1)

SMALL = DetectorConfig(width=32, heads=4, encoder_layers=1, ffn=24, queries=6, classes=5)


@pytest.fixture
def pixels():
    return torch.randint(
        0, 256, (3, 1, 48, 48), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


def shake(model, scale=0.3):
    """Move all weights, so that nothing hides behind an initial 0 or 1."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += scale * torch.randn(parameter.shape, generator=generator)
    return model


def test_output_of_each_kind(kind, pixels):
    output = build(replace(SMALL, kind=kind))(pixels)
    assert isinstance(output, DetectorOutput)
    assert output.logits.shape == (3, 3, 6, 6 if kind == "detr" else 5)
    assert output.boxes.shape == (3, 3, 6, 4)
    assert output.hidden.shape == (3, 3, 6, 32)
    assert output.references.shape == (3, 3, 6, 4 if kind == "dab" else 2)
    assert ((output.boxes > 0) & (output.boxes < 1)).all()


def test_every_parameter_learns(kind, pixels):
    model = shake(build(replace(SMALL, kind=kind)))
    output = model(pixels)
    (output.logits.sigmoid().sum() + output.boxes.square().sum()).backward()
    idle = {name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()}
    # the first decoder layer's self-attention sees embeddings that are all zero
    empty = ("content_query", "content_key", "value")
    assert idle <= {f"decoder.layers.0.self_attention.{name}.weight" for name in empty}


def test_kinds_are_equally_large():
    sizes = [parameters(build(DetectorConfig(kind=kind))) for kind in KINDS]
    assert max(sizes) / min(sizes) < 1.05
    assert build(DetectorConfig()).decoder.layers[0].feed_forward.widen.out_features == DetectorConfig().ffn


def test_seed_decides_and_leaves_the_global_generator_alone(kind):
    config = replace(SMALL, kind=kind)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    one, same, other = build(config, 1), build(config, 1), build(config, 2)
    assert torch.equal(torch.rand(3), expected)
    for name, value in one.state_dict().items():
        assert torch.equal(value, same.state_dict()[name])
    assert not torch.equal(one.backbone[0][0].weight, other.backbone[0][0].weight)


def test_state_has_no_shared_tensors(kind, tmp_path):
    safetensors = pytest.importorskip("safetensors.torch")
    model, path = build(replace(SMALL, kind=kind), 1), tmp_path / "model.safetensors"
    safetensors.save_file(model.state_dict(), path)  # raises when two names are one tensor
    again = build(replace(SMALL, kind=kind), 2)
    again.load_state_dict(safetensors.load_file(path))
    pixels = torch.rand(1, 1, 32, 32)
    assert torch.equal(model(pixels).boxes, again(pixels).boxes)


@pytest.mark.parametrize(("side", "stride", "cells"), [(48, 4, 12), (64, 4, 16), (64, 8, 8)])
def test_map_size(side, stride, cells):
    model = build(replace(SMALL, stride=stride))
    assert model.backbone(torch.zeros(1, 1, side, side)).shape == (1, 32, cells, cells)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "yolo"}, "kind 'yolo' is not one of detr,"),
        ({"transform": "rotation"}, "transform 'rotation'"),
        ({"spatial_query": "csq-x"}, "spatial_query 'csq-x'"),
        ({"reference": "random"}, "reference 'random' is not one of None, predicted,"),
        ({"kind": "dab", "reference": "learned"}, "dab has anchors"),
        ({"width": 36}, "width 36 is no multiple of 8 and of 4 heads"),
        ({"heads": 0}, "of 0 heads"),
        ({"heads": -4}, "of -4 heads"),
        ({"width": 0}, "width 0 is no multiple"),
    ],
)
def test_impossible_configurations_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        replace(SMALL, **change)


def test_stride_that_is_no_power_of_two_is_refused():
    with pytest.raises(ValueError, match="power of two"):
        build(replace(SMALL, stride=6))


# --- heads and references


def test_boxes_start_at_their_references(pixels):
    """Zero-initialised box head: (sigma(s), 0.5, 0.5), and for DAB-DETR the anchor itself."""
    for kind in ("detr-focal", "conditional", "dab"):
        output = build(replace(SMALL, kind=kind))(pixels)
        points = output.references.shape[-1]
        torch.testing.assert_close(output.boxes[..., :points], output.references, atol=1e-6, rtol=0)
        assert (output.boxes[..., points:] == 0.5).all()
    detr = build(replace(SMALL, kind="detr"))(pixels)
    assert (detr.references == 0.5).all()
    assert (detr.boxes[..., :2] != 0.5).any()


def test_focal_heads_start_at_their_prior(pixels):
    head = build(replace(SMALL, kind="conditional")).class_head
    torch.testing.assert_close(head.bias, torch.full((5,), -math.log(99)))
    assert not torch.equal(
        build(replace(SMALL, kind="detr")).class_head.bias, torch.full((6,), -math.log(99))
    )


def test_inverse_sigmoid_round_trip():
    logits = torch.linspace(-11, 11, 2001)
    p = logits.sigmoid()
    torch.testing.assert_close(inverse_sigmoid(p).sigmoid(), p, atol=1e-5, rtol=0)
    back = (inverse_sigmoid(p) - logits).abs()
    # float32 has few values near 1: 1 - p loses digits as the logit grows
    assert back[logits.abs() <= 7].max() < 1e-4
    assert back.max() < 3e-3
    assert inverse_sigmoid(torch.tensor([0.0, 1.0])).abs().max() == pytest.approx(math.log(1e5), abs=1e-3)


@pytest.mark.parametrize("reference", POINTS)
def test_references_of_points_are_the_same_in_every_image_and_layer(reference, pixels):
    references = shake(build(replace(SMALL, reference=reference)))(pixels).references
    assert torch.equal(references, references[:1, :1].expand_as(references))
    spread = references[0, 0].std(0)
    assert (spread == 0).all() if reference == "fixed" else (spread > 0.05).all()


def test_offset_regression_is_independent_of_the_losses(pixels):
    """Table 4: none, OR, FL, OR + FL."""
    for kind in ("detr", "detr-focal"):
        for reference in ("fixed", "predicted"):
            model = build(replace(SMALL, kind=kind, reference=reference))
            assert (model(pixels).references == 0.5).all() == (reference == "fixed")
            assert model.class_head.out_features == (6 if kind == "detr" else 5)


def test_anchors_move_with_the_image_only_after_the_first_layer(pixels):
    model = build(replace(SMALL, kind="dab"))
    still = model(pixels).references
    torch.testing.assert_close(still, still[:1, :1].expand_as(still), atol=1e-6, rtol=0)
    torch.nn.init.normal_(model.decoder.box_head.offset[-1].weight)
    moved = model(pixels).references
    torch.testing.assert_close(moved[0], still[0], atol=1e-6, rtol=0)
    assert (moved[1:, 0] - moved[1:, 1]).abs().amax() > 1e-4


def test_gradient_of_anchors(pixels):
    """The anchor that enters layer l >= 2 carries none; the reported box's carries it to layer l - 1."""
    model = shake(build(replace(SMALL, kind="dab")))
    entered = []
    position = model.decoder.queries.position
    model.decoder.queries.position = lambda references, kept: (
        entered.append(references) or position(references, kept)
    )
    output = model(pixels)
    assert [r.requires_grad for r in entered] == [True, False, False]
    before = model.decoder.layers[1].final_norm.bias  # layer 2 moves the anchor that layer 3 reports against
    (through,) = torch.autograd.grad(output.references[2].sum(), before)
    assert through.abs().max() > 0


# --- attention as the model computes it


@torch.no_grad()
def attentions(model, pixels):
    """Of each decoder layer: what entered its cross-attention, left its parts, and entered `output`."""
    with record(model, "decoder.layers.*.cross_attention*") as seen:
        model(pixels)
    layers = []
    for index in range(len(model.decoder.layers)):
        name = f"decoder.layers.{index}.cross_attention"
        calls = {
            part.removeprefix(name).lstrip("."): calls
            for part, calls in seen.items()
            if part.startswith(name)
        }
        left = {part: one[0].output for part, one in calls.items() if one}
        layers.append((calls[""][0].inputs, left, calls["output"][0].inputs["input"]))
    return layers


PARTS = ("content_query", "content_key", "spatial_query", "spatial_key", "value")


@pytest.mark.parametrize("kind", ["conditional", "dab"])
def test_content_and_spatial_logits_rebuild_the_attention(kind, pixels):
    """The softmax of their sum gives what the layer computed; in the first layer with the extra terms."""
    model = shake(build(replace(SMALL, kind=kind)))
    for index, (_, left, joined) in enumerate(attentions(model, pixels)):
        cq, ck, sq, sk, value = (left[name] for name in PARTS)
        bare = conditional_logits(cq, ck, sq, sk, 4)
        if index == 0:
            full = conditional_logits(cq + left["object_query"], ck + sk, sq, sk, 4)
            assert (attended(*full, value) - attended(*bare, value)).abs().max() > 1e-2
        else:
            full = bare
            assert "object_query" not in left
        torch.testing.assert_close(attended(*full, value), joined, atol=1e-4, rtol=0)  # large logits, 32 bits
        wrong = attended(*(logits * 2**0.5 for logits in full), value)  # 1 / sqrt(D)
        assert (wrong - joined).abs().max() > 1e-3


def attended(content, spatial, value):
    weights = AttentionMaps.from_logits(content[None], spatial[None], 12, 12).combined[0].flatten(-2)
    v = value.unflatten(-1, (4, -1)).transpose(1, 2)
    return (weights @ v).transpose(1, 2).flatten(-2)


def test_four_terms_rebuild_detrs_attention(pixels):
    model = shake(build(replace(SMALL, kind="detr-focal")))
    for layer, (entered, left, joined) in zip(model.decoder.layers, attentions(model, pixels), strict=True):
        vectors = (entered[name] for name in ("content", "position", "memory", "key_encoding"))
        with torch.no_grad():
            terms, combined = detr_logits(*vectors, layer.cross_attention.query, layer.cross_attention.key, 4)
        for content, spatial in ((terms.content, terms.spatial), (combined, torch.zeros_like(combined))):
            torch.testing.assert_close(attended(content, spatial, left["value"]), joined, atol=1e-5, rtol=0)


def test_padding_changes_nothing(kind):
    """Whatever lies in the padding: same predictions, as if the encoder had never seen it."""
    model = shake(build(replace(SMALL, kind=kind)), scale=0.1)
    memory = torch.randn(1, 30, 32, generator=torch.Generator().manual_seed(0))
    cells, valid = torch.randn(1, 30, 32), torch.ones(1, 30, dtype=torch.bool)
    valid[:, 20:] = False
    expected = model.decoder(model.encoder(memory[:, :20], cells[:, :20]), cells[:, :20])
    for filling in (0.0, 7.0):
        memory[:, 20:] = filling
        padded = model.decoder(model.encoder(memory, cells, valid), cells, valid)
        torch.testing.assert_close(padded[0], expected[0], atol=1e-5, rtol=0)


def test_a_mask_of_ones_is_no_mask(kind, pixels):
    model = build(replace(SMALL, kind=kind))
    masked = model(pixels, torch.ones(3, 48, 48, dtype=torch.bool))
    torch.testing.assert_close(masked.boxes, model(pixels).boxes, atol=1e-6, rtol=0)


# --- the spatial query: Table 3 and Figure 5


def spatial_queries(config, pixels, seed=0):
    """p_q of every layer, before projection."""
    model = build(config, seed)
    return model, [entered["spatial"] for entered, _, _ in attentions(model, pixels)]


def test_first_layer_has_no_transformation(pixels):
    config = replace(SMALL, decoder_layers=3)
    _, plain = spatial_queries(replace(config, transform="identity"), pixels)
    for transform in TRANSFORMS:
        model = build(replace(config, transform=transform))
        shake(model.decoder.queries.spatial_query)
        reference = build(replace(config, transform="identity"))
        reference.load_state_dict(model.state_dict(), strict=False)
        first, expected = (attentions(m, pixels)[0][0]["spatial"] for m in (model, reference))
        assert torch.equal(first, expected)
    assert torch.equal(plain[0], plain[2])


def test_identity_is_csq_p_bit_for_bit(pixels):
    identity = build(replace(SMALL, transform="identity"))(pixels)
    csq_p = build(replace(SMALL, spatial_query="csq-p", transform="identity"))(pixels)
    assert all(torch.equal(a, b) for a, b in zip(identity, csq_p, strict=True))
    diagonal = build(replace(SMALL, spatial_query="csq-p"))(pixels)  # the unused T is not even there
    assert diagonal.boxes.shape == csq_p.boxes.shape


def test_what_the_spatial_query_is_made_of(pixels):
    made = {name: spatial_queries(replace(SMALL, spatial_query=name), pixels) for name in SPATIAL_QUERIES}
    encoding = made["csq-p"][1][0]
    torch.testing.assert_close(encoding.square().sum(-1), torch.full((3, 6), 16.0))  # width / 2
    for name in ("csq", "csq-i"):
        assert torch.equal(made[name][1][0], made[name][1][0][:1].expand_as(encoding))
        assert (made[name][1][1][0] - made[name][1][1][1]).abs().max() > 1e-4  # depends on the image
    assert all(torch.equal(p, encoding) for p in made["csq-p"][1])
    assert (made["csq-t"][1][0] == 1).all()
    assert (made["csq-c"][1][0] == 0).all()
    csq, csq_i = made["csq"][0], made["csq-i"][0]
    assert parameters(csq) == parameters(csq_i) == parameters(made["csq-t"][0])
    assert parameters(made["csq-p"][0]) == parameters(made["csq-c"][0]) == parameters(csq) - 2 * 32 * 33


def test_diagonal_scales_channels_and_the_other_forms_agree_with_matrices():
    f, encoding = torch.randn(2, 6, 32), torch.randn(2, 6, 32)
    for name, blocks in (("full", 1), ("block", 4)):
        transform = TRANSFORMS[name](32, 4)
        parts = transform.head(f).unflatten(-1, (blocks, 32 // blocks, 32 // blocks))
        for b in range(2):
            for q in range(6):
                matrix = torch.block_diag(*parts[b, q])
                torch.testing.assert_close(
                    transform(f, encoding)[b, q], matrix @ encoding[b, q], atol=1e-5, rtol=0
                )
    diagonal, single = TRANSFORMS["diagonal"](32, 4), TRANSFORMS["single"](32, 4)
    assert diagonal.head(f).shape == f.shape
    assert single.head(f).shape == (2, 6, 1)
    torch.testing.assert_close(single(f, encoding), single.head(f) * encoding)
    assert TRANSFORMS["identity"](32, 4) is None


def test_dab_without_modulation_has_conditional_detrs_spatial_query():
    """w_ref / w = h_ref / h = 1: both kinds make the same p_q from the same parts."""
    dab, conditional = (build(replace(SMALL, kind=kind)).decoder.queries for kind in ("dab", "conditional"))
    conditional.spatial_query.load_state_dict(dab.spatial_query.state_dict())
    f, content = torch.randn(2, 6, 32), torch.randn(2, 6, 32)
    wished = dab.size_head(f).sigmoid()
    anchors = torch.cat((torch.rand(2, 6, 2), wished), -1)
    for first in (True, False):
        expected = conditional.spatial(anchors[..., :2], first, f, content)
        torch.testing.assert_close(dab.spatial(anchors, first, f, content), expected)


def test_query_temperature_is_its_own(pixels):
    same, explicit, mixed = (
        build(replace(SMALL, kind="dab", query_temperature=t))(pixels).hidden for t in (None, 20.0, 10000.0)
    )
    assert torch.equal(same, explicit)
    assert (same - mixed).abs().max() > 1e-3


# --- predictions


def test_top_k_of_sigmoid_and_softmax_heads():
    logits = torch.tensor([[[2.0, 1.0, -9.0], [0.0, -1.0, 5.0]]])  # two queries
    scores, labels, query = top_k(logits, focal=True, k=4)
    assert labels.tolist() == [[2, 0, 1, 0]]
    assert query.tolist() == [[1, 0, 0, 1]]
    torch.testing.assert_close(scores, torch.tensor([[5.0, 2.0, 1.0, 0.0]]).sigmoid())
    scores, labels, query = top_k(logits, focal=False, k=4)  # the third class is no-object
    assert labels.tolist() == [[0, 0]]
    assert query.tolist() == [[0, 1]]
    torch.testing.assert_close(scores[0], logits.softmax(-1)[0, :, 0])


NAMES = {c: str(c) for c in range(5)}


def test_predictions_as_a_table(kind, pixels):
    model = build(replace(SMALL, kind=kind))
    sizes = np.array([[48, 48], [96, 24], [10, 20]])
    table = predict_table(model, pixels, ["a", "b", "c"], sizes, NAMES, k=5)
    assert len(table) == 15 and table.image_ids == ("a", "b", "c")
    assert table.image.tolist() == [0] * 5 + [1] * 5 + [2] * 5
    output = model(pixels)
    scores, labels, query = top_k(output.logits[-1], model.config.focal, 5)
    np.testing.assert_allclose(table.score, scores.detach().flatten(), atol=1e-6)
    assert table.category.tolist() == labels.flatten().tolist()
    cx, cy, w, h = output.boxes[-1, 1, query[1, 0]].detach().double().numpy()
    np.testing.assert_allclose(
        table.xywh[5], [(cx - w / 2) * 96, (cy - h / 2) * 24, w * 96, h * 24], atol=1e-4
    )


def test_predictions_as_ground_truth_are_perfect(pixels):
    """A table of predictions fits the evaluation: scored against itself it is perfect."""
    table = predict_table(build(SMALL), pixels, range(3), np.full((3, 2), 48), NAMES, k=4)
    ground_truth = replace(table, score=None)
    assert evaluate(ground_truth, table)["AP"] == pytest.approx(1)


@pytest.mark.parametrize(
    "width, stride, channels",
    [(96, 4, (32, 64, 96)), (96, 8, (32, 64, 96, 96)), (64, 16, (32, 64, 64, 64, 64)), (16, 2, (16, 16))],
)
def test_channels_of_the_backbone_double_up_to_the_width(width, stride, channels):
    backbone = Backbone(3, width, stride)
    layers = [module for module in backbone.modules() if isinstance(module, torch.nn.Conv2d)]
    assert tuple(layer.out_channels for layer in layers) == (*channels, width)
    assert layers[0].in_channels == 3
    assert backbone(torch.zeros(1, 3, 48, 80)).shape == (1, width, 48 // stride, 80 // stride)
