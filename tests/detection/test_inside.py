"""Inside a decoder layer: the tensors fit together, and the measures are 0 where they must be."""

from __future__ import annotations

import pytest
import torch

from marginalia.detection.attention import marginal_product
from marginalia.detection.capture import capture_attention
from marginalia.detection.detector import DetectorConfig, build
from marginalia.detection.inside import first_layer_terms, kernel_departures, watch_layer

torch.set_num_threads(1)
SMALL = {"width": 32, "heads": 4, "encoder_layers": 1, "decoder_layers": 3, "ffn": 32, "queries": 5}
PIXELS = torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(0))  # 8 x 8 cells


@pytest.fixture(scope="module")
def model():
    """A small conditional detector whose projections have biases too, so that forgotten ones show."""
    model = build(DetectorConfig(**SMALL), seed=1)
    with torch.no_grad():
        for module in model.decoder.modules():
            if isinstance(module, torch.nn.Linear):
                torch.nn.init.normal_(module.bias, std=0.3, generator=torch.Generator().manual_seed(2))
    return model


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_tensors_of_a_layer_fit_together(model, layer):
    x = watch_layer(model, PIXELS, layer)
    torch.testing.assert_close(x["p_q"], x["lambda_q"] * x["p_s"])
    attention = capture_attention(model, PIXELS).combined[layer].flatten(-2)
    torch.testing.assert_close(x["attention"], attention, atol=1e-6, rtol=0)
    torch.testing.assert_close((x["q"] @ x["k"].mT / 4).softmax(-1), attention, atol=1e-6, rtol=0)  # 2D = 16
    assert x["v"].shape == (2, 4, 64, 8) and x["s"].shape == (1, 5, 2)
    assert x["f_next"].shape == x["f"].shape == x["attended"].shape == (2, 5, 32)
    if layer == 0:
        assert not x["f"].any() and (x["lambda_q"] == 1).all()
        torch.testing.assert_close(
            x["c_q"], x["c_q"][:1, :1].expand_as(x["c_q"])
        )  # nothing to tell them apart


def test_watching_leaves_no_hooks(model):
    watch_layer(model, PIXELS, 1)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_five_terms_are_the_logits_of_the_first_layer(model):
    terms = first_layer_terms(watch_layer(model, PIXELS, 0), heads=4)
    maps = capture_attention(model, PIXELS)
    logits = (maps.content_logits[0] + maps.spatial_logits[0]).flatten(-2)
    torch.testing.assert_close(sum(terms.values()), logits, atol=1e-5, rtol=0)
    for left_out in terms:
        rest = sum(term for name, term in terms.items() if name != left_out)
        assert (rest - logits).abs().max() > 1e-3


@pytest.mark.parametrize("kind", ["detr", "conditional", "dab"])
def test_spatial_maps_are_outer_products_whatever_the_projections(kind):
    maps = capture_attention(build(DetectorConfig(kind=kind, **SMALL), seed=3), PIXELS)
    torch.testing.assert_close(maps.spatial, marginal_product(maps.spatial), atol=1e-6, rtol=0)
    assert (maps.combined - marginal_product(maps.combined)).abs().max() > 1e-5


def test_departures_are_zero_without_projections_and_with_lambda_one():
    plain = build(DetectorConfig(**SMALL), seed=1)
    cross = plain.decoder.layers[1].cross_attention
    with torch.no_grad():
        for projection in (cross.spatial_query, cross.spatial_key):
            projection.weight.copy_(torch.eye(32))
        scale = plain.decoder.queries.spatial_query.transform.head[-1]
        scale.weight.zero_()
        scale.bias.fill_(1)
    measures, room = kernel_departures(plain, PIXELS, 1, (8, 8))
    assert measures["shift"].max() < 1e-3  # 1e-6 in the cells' denominators, logits of a few units
    # a head holds channels of one coordinate only, so nothing moves between rows
    assert measures["row sums"].max() < 1e-5
    assert room.shape == (5,)


def test_departures_of_projected_encodings(model):
    measures, _ = kernel_departures(model, PIXELS, 1, (8, 8))
    assert measures["shift"].shape == measures["row sums"].shape == (2, 4, 5)
    assert measures["shift"].median() > 0.1 and measures["row sums"].median() > 0.01


@pytest.mark.parametrize(
    "other", [{"kind": "dab"}, {"kind": "detr"}, {"spatial_query": "csq-p"}, {"transform": "full"}]
)
def test_other_models_are_refused(other):
    with pytest.raises(ValueError, match="model: needs"):
        watch_layer(build(DetectorConfig(**(SMALL | other))), PIXELS, 1)


def test_a_layer_that_is_not_there_is_refused(model):
    with pytest.raises(ValueError, match=r"no module is called 'decoder\.layers\.3'"):
        watch_layer(model, PIXELS, 3)
