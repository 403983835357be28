"""Captured attention against what the models compute: sheet section 9, checks 1, 2, 11 and 15 to 18."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from marginalia.detection.attention import (
    AttentionMaps,
    combine_maps,
    conditional_logits,
    join_heads,
    split_heads,
)
from marginalia.detection.capture import (
    CONDITIONAL_PROJECTIONS,
    capture_attention,
    capture_self_attention,
    crop_to_valid,
)
from marginalia.detection.detector import KINDS, DetectorConfig, build
from marginalia.record import record

torch.set_num_threads(1)
PUBLISHED = ("Detr", "ConditionalDetr", "DabDetr")
FIRST, LATER = "(c_q + o_q) . (c_k + p_k)", "c_q . c_k"


def published(kind: str, **changes):
    """A tiny random model of transformers, with weights far enough from their start to give uneven maps."""
    transformers = pytest.importorskip("transformers")
    backbone = transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 12, 16, 24], depths=[1, 1, 1, 1], out_features=["stage4"]
    )
    sizes = {"encoder_layers": 1, "decoder_layers": 3, "num_queries": 5, "num_labels": 3} | changes
    sizes |= dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), 4)
    sizes |= dict.fromkeys(("encoder_ffn_dim", "decoder_ffn_dim"), 16)
    sizes["hidden_size" if kind == "DabDetr" else "d_model"] = 32
    config = getattr(transformers, f"{kind}Config")(backbone_config=backbone, **sizes)
    torch.manual_seed(0)
    return perturbed(getattr(transformers, f"{kind}ForObjectDetection")(config).eval())


def reported(model, pixels, mask=None):
    """The weights, (L, B, H, Q, K), that a model of transformers says it used: what `combined` must equal."""
    model.set_attn_implementation("eager")
    with torch.no_grad():
        output = model(pixel_values=pixels, pixel_mask=mask, output_attentions=True)
    return torch.stack(tuple(output.cross_attentions))


def perturbed(model, amount=0.2):
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(amount * torch.randn(parameter.shape, generator=generator))
    return model


@pytest.fixture
def pixels():
    return torch.randn(2, 3, 96, 128, generator=torch.Generator().manual_seed(2))


@pytest.fixture
def mask():
    """Two images padded below and to the right: 2 x 4 and 3 x 3 of 3 x 4 cells."""
    mask = torch.ones(2, 96, 128, dtype=torch.bool)
    mask[0, 60:] = False
    mask[1, :, 90:] = False
    return mask


@pytest.mark.parametrize("kind", PUBLISHED)
@pytest.mark.parametrize("padded", [False, True])
def test_combined_is_what_the_model_reports(kind, padded, pixels, mask):
    model = published(kind)
    model.set_attn_implementation("eager")
    mask = mask if padded else None
    maps = capture_attention(model, pixels, mask)
    expected = reported(model, pixels, mask)
    assert maps.combined.shape == (3, 2, 4, 5, 3, 4)
    # float32: the logits are sums in another order
    torch.testing.assert_close(maps.combined.flatten(-2), expected, atol=1e-6, rtol=0)
    assert expected.max() > 2 / 12  # twice a uniform map's weight: there is something to compare
    # the parts add up, but for rounding: logits reach 30
    assert maps.remainder.shape == (3,) and maps.remainder.max() < 1e-4


@pytest.mark.parametrize("kind", ["Detr", "ConditionalDetr"])
def test_sdpa_and_eager_give_the_same_maps(kind, pixels, mask):
    model = published(kind)
    assert model.config._attn_implementation == "sdpa"
    fused = capture_attention(model, pixels, mask)
    model.set_attn_implementation("eager")
    plain = capture_attention(model, pixels, mask)
    for field in ("content", "spatial", "combined", "content_logits", "spatial_logits"):
        # the kernels round differently, layer upon layer (hooked tensors differ by 2.5e-6, sheet 9.18)
        torch.testing.assert_close(getattr(fused, field), getattr(plain, field), atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", PUBLISHED)
def test_padded_cells_weigh_nothing_and_the_others_sum_to_one(kind, pixels, mask):
    maps = capture_attention(published(kind), pixels, mask)
    assert maps.valid.tolist()[0] == [[True] * 4, [True] * 4, [False] * 4]
    padding = ~maps.valid[None, :, None, None]
    for field in ("content", "spatial", "combined"):
        weights = getattr(maps, field)
        assert (weights * padding == 0).all()
        torch.testing.assert_close(weights.sum((-1, -2)), torch.ones(weights.shape[:-2]))


@pytest.mark.parametrize("kind", PUBLISHED)
def test_combined_is_the_product_of_content_and_spatial(kind, pixels):
    maps = capture_attention(published(kind), pixels)
    product = combine_maps(maps.content, maps.spatial)
    torch.testing.assert_close(product, maps.combined, atol=5e-6, rtol=0)  # float32; sharp maps reach 9e-7


class LowRank(torch.nn.Module):
    """A projection with an adapter of rank 2 beside it, as LoRA has it; there is no `weight` to be read."""

    def __init__(self, base):
        super().__init__()
        self.base = base
        generator = torch.Generator().manual_seed(4)
        self.down, self.up = (torch.randn(*size, generator=generator) for size in ((2, 32), (32, 2)))

    def forward(self, x, *args, **kwargs):
        return self.base(x, *args, **kwargs) + 0.1 * x @ self.down.T @ self.up.T


def adapted_maps_are_reported(model, pixels, before):
    """Maps of a model with adapters are what it reports, and not what it reported without them."""
    maps, expected = capture_attention(model, pixels), reported(model, pixels)
    assert (expected - before).abs().max() > 0.01  # ten thousand times the tolerance
    torch.testing.assert_close(maps.combined.flatten(-2), expected, atol=1e-6, rtol=0)
    product = combine_maps(maps.content, maps.spatial)
    torch.testing.assert_close(product, maps.combined, atol=5e-6, rtol=0)
    assert maps.remainder.max() < 1e-4


ADAPTED = [  # kind, projections of which cross-attention
    ("Detr", "encoder_attn", ["q_proj"]),
    ("Detr", "encoder_attn", ["k_proj"]),
    ("Detr", "encoder_attn", ["q_proj", "k_proj"]),
    ("ConditionalDetr", "encoder_attn", ["q_content_proj", "k_pos_proj"]),
    ("ConditionalDetr", "encoder_attn", ["q_pos_sine_proj", "k_content_proj"]),
    ("DabDetr", "cross_attn", ["cross_attn_query_content_proj", "cross_attn_key_pos_proj"]),
]


@pytest.mark.parametrize(("kind", "attention", "names"), ADAPTED)
def test_adapters_take_part(kind, attention, names, pixels):
    model = published(kind)
    before = reported(model, pixels)
    for layer in model.model.decoder.layers:
        within = getattr(layer, attention)
        for name in names:
            setattr(within, name, LowRank(getattr(within, name)))
    adapted_maps_are_reported(model, pixels, before)


@pytest.mark.parametrize(("kind", "attention", "names"), ADAPTED[:-1])  # transformers adds none to DAB-DETR
def test_adapters_of_peft_take_part(kind, attention, names, pixels):
    peft = pytest.importorskip("peft")
    model = published(kind)
    before = reported(model, pixels)
    model.add_adapter(peft.LoraConfig(target_modules=names, init_lora_weights=False, lora_dropout=0.5))
    model.eval()  # parts that were added drop values else
    adapted_maps_are_reported(model, pixels, before)


@pytest.mark.parametrize("kind", PUBLISHED)
@pytest.mark.parametrize("part", ["model", "model.decoder", "encoder_attn"])
@pytest.mark.filterwarnings("ignore:.*quantiz")  # torch moves this to another package
def test_weights_of_eight_bits_are_read_and_what_does_not_add_up_is_told(kind, part, pixels, mask):
    model = published(kind)
    model.set_attn_implementation("eager")
    ending = "cross_attn" if kind == "DabDetr" and part == "encoder_attn" else part
    for module in [module for name, module in model.named_modules() if name.endswith(ending)]:
        torch.ao.quantization.quantize_dynamic(module, {torch.nn.Linear}, dtype=torch.qint8, inplace=True)
    maps = capture_attention(model, pixels, mask)
    torch.testing.assert_close(maps.combined.flatten(-2), reported(model, pixels, mask), atol=1e-6, rtol=0)
    logits = maps.content_logits + maps.spatial_logits
    if kind == "Detr":  # each call rounds its input to 8 bits by itself, so parts and sum differ
        assert (maps.remainder > 1e-3).all()
        assert (maps.remainder < 0.1 * logits.abs().amax((1, 2, 3, 4, 5))).all()
        padding = ~maps.valid[None, :, None, None]
        other = logits.masked_fill(padding, -torch.inf).flatten(-2).softmax(-1)
        assert (other - maps.combined.flatten(-2)).abs().max() > 1e-4
    else:  # what the projections gave is what is multiplied
        assert (maps.remainder == 0).all()


@pytest.mark.parametrize(
    "kind, attention, names",
    [
        ("ConditionalDetr", "encoder_attn", CONDITIONAL_PROJECTIONS[1]),
        ("DabDetr", "cross_attn", CONDITIONAL_PROJECTIONS[2]),
    ],
)
def test_first_layer_needs_its_extra_terms(kind, attention, names, pixels):
    model = published(kind)
    expected = reported(model, pixels)
    assert capture_attention(model, pixels).content_terms == (FIRST, LATER, LATER)
    for index, layer in enumerate(model.model.decoder.layers):
        with record(getattr(layer, attention), names[:4]) as seen, torch.no_grad():
            model(pixels)
        cq, ck, sq, sk = (seen[name][0].output for name in names[:4])
        without = sum(conditional_logits(cq, ck, sq, sk, heads=4)).softmax(-1)
        assert ((without - expected[index]).abs().max() > 1e-3) == (index == 0)


def test_dab_with_kept_query_positions_has_the_extra_terms_in_all_layers(pixels):
    model = published("DabDetr", keep_query_pos=True)
    maps = capture_attention(model, pixels)
    assert maps.content_terms == (FIRST, FIRST, FIRST)
    torch.testing.assert_close(maps.combined.flatten(-2), reported(model, pixels), atol=1e-6, rtol=0)


def test_detr_spatial_part_is_the_whole_query_against_positions_only(pixels):
    model = published("Detr")
    maps = capture_attention(model, pixels)
    assert len(maps.content_terms) == 3  # one for each decoder layer
    assert maps.content_terms[0] == "(c_q + o_q) . c_k" and maps.spatial_terms[0] == "(c_q + o_q) . p_k"
    attention = model.model.decoder.layers[2].encoder_attn
    with record(attention) as calls, torch.no_grad():
        model(pixels)
        seen = calls[""][0].inputs
        query = attention.q_proj(seen["hidden_states"] + seen["position_embeddings"])
        key = attention.k_proj(seen["encoder_position_embeddings"]) - attention.k_proj.bias
        logits = split_heads(query, 4) @ split_heads(key, 4).mT / 8**0.5
    torch.testing.assert_close(maps.spatial_logits[2].flatten(-2), logits, atol=1e-5, rtol=1e-6)
    # the keys' bias is the same for all cells, so the map does not depend on where it is counted
    with_bias = split_heads(query, 4) @ split_heads(key + attention.k_proj.bias, 4).mT / 8**0.5
    torch.testing.assert_close(maps.spatial[2].flatten(-2), with_bias.softmax(-1), atol=1e-6, rtol=0)


def test_auxiliary_loss_changes_what_transformers_computes(pixels):
    """Documents 7.3: the flag normalises each layer's output once more; fails when that is repaired."""
    model = published("ConditionalDetr")
    off = capture_attention(model, pixels)
    for part in (model, model.model, model.model.decoder):
        part.config.auxiliary_loss = True
    on = capture_attention(model, pixels)
    torch.testing.assert_close(on.combined[0], off.combined[0])
    assert (on.combined[1:] - off.combined[1:]).abs().max() > 1e-3
    assert (on.queries.scores - off.queries.scores).abs().max() > 1e-3


@pytest.mark.parametrize("kind", PUBLISHED)
def test_queries_are_those_of_the_maps(kind, pixels, mask):
    model = published(kind)
    queries = capture_attention(model, pixels, mask).queries
    with torch.no_grad():
        output = model(pixels, pixel_mask=mask)
        inner = model.model(pixels, pixel_mask=mask)
    torch.testing.assert_close(queries.boxes, output.pred_boxes)
    logits = output.logits
    scores = logits.softmax(-1)[..., :-1] if kind == "Detr" else logits.sigmoid()
    torch.testing.assert_close(queries.scores, scores.amax(-1))
    assert (queries.labels == scores.argmax(-1)).all()
    if kind == "Detr":
        assert (queries.references == 0.5).all() and queries.references.shape == (3, 2, 5, 2)
    elif kind == "ConditionalDetr":  # its own field is (Q, B, 2), sheet 7.9
        torch.testing.assert_close(
            queries.references, inner.reference_points.transpose(0, 1).expand(3, 2, 5, 2)
        )
    else:
        assert queries.references.shape == (3, 2, 5, 4)
        torch.testing.assert_close(queries.references[0, 0], queries.references[0, 1])  # learned anchors
        assert (queries.references[2, 0] - queries.references[2, 1]).abs().max() > 1e-4  # moved ones


@pytest.mark.parametrize("kind", ["ConditionalDetr", "Detr"])
def test_crop_leaves_the_image_alone(kind, pixels, mask):
    model = published(kind)
    maps = capture_attention(model, pixels, mask)
    for image, (h, w) in enumerate([(2, 4), (3, 3)]):
        part = crop_to_valid(maps, image)
        assert part.combined.shape == (3, 1, 4, 5, h, w) and part.valid is None
        torch.testing.assert_close(part.spatial.sum((-1, -2)), torch.ones(3, 1, 4, 5))
        assert torch.equal(part.combined[:, 0], maps.combined[:, image, ..., :h, :w])
        assert torch.equal(part.queries.boxes[0], maps.queries.boxes[image])
        assert part.content_terms == maps.content_terms
    assert crop_to_valid(capture_attention(model, pixels), 1).combined.shape == (3, 1, 4, 5, 3, 4)


def test_crop_of_plain_maps_and_its_errors():
    valid = torch.tensor([[[True, True, False], [True, False, False]]])
    maps = AttentionMaps.from_logits(torch.randn(1, 1, 1, 1, 6), torch.randn(1, 1, 1, 1, 6), 2, 3, valid)
    with pytest.raises(ValueError, match="image 0 are not a rectangle"):
        crop_to_valid(maps, 0)
    with pytest.raises(ValueError, match="image 1 of a batch of 1"):
        crop_to_valid(maps, 1)
    right = dataclasses.replace(maps, valid=torch.tensor([[[False, True, True], [False, True, True]]]))
    assert torch.equal(crop_to_valid(right, 0).spatial, maps.spatial[..., 1:])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("padded", [False, True])
def test_own_detector_attends_with_the_captured_maps(kind, padded):
    """The layer's output follows from values and combined maps: the detector itself keeps no weights."""
    model = perturbed(build(DetectorConfig(kind=kind, width=48, heads=4, queries=5, decoder_layers=2)), 0.1)
    pixels = torch.rand(2, 1, 32, 48, generator=torch.Generator().manual_seed(3))
    mask = torch.ones(2, 32, 48, dtype=torch.bool)
    mask[1, 20:] = mask[1, :, 40:] = False
    with record(model, "decoder.layers.*.cross_attention*") as seen:
        maps = capture_attention(model, pixels, mask if padded else None)
    assert maps.combined.shape == (2, 2, 4, 5, 8, 12)
    for index, layer in enumerate(model.decoder.layers):
        name = f"decoder.layers.{index}.cross_attention"
        value = split_heads(seen[f"{name}.value"][0].output, 4)  # (B, H, K, D)
        with torch.no_grad():
            gathered = (maps.combined[index].flatten(-2) @ value).transpose(1, 2).flatten(-2)
            output = layer.cross_attention.output(gathered)
        torch.testing.assert_close(output, seen[name][0].output, atol=1e-5, rtol=1e-5)  # float32
    if padded:
        assert (maps.combined * ~maps.valid[None, :, None, None] == 0).all()
        assert crop_to_valid(maps, 1).combined.shape[-2:] == (5, 10)
    conditional = kind in ("conditional", "dab")
    assert maps.content_terms == ((FIRST, LATER) if conditional else ("(c_q + o_q) . c_k",) * 2)
    assert maps.queries.references.shape == (2, 2, 5, 4 if kind == "dab" else 2)
    assert maps.queries.scores.shape == maps.queries.labels.shape == (2, 5)
    assert maps.queries.labels.max() < 10


def test_model_is_left_as_it_was(pixels):
    model = published("ConditionalDetr").train()
    model.model.backbone.eval()
    modes = [module.training for module in model.modules()]
    maps = capture_attention(model, pixels)
    assert [module.training for module in model.modules()] == modes
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert not maps.combined.requires_grad
    with pytest.raises(ValueError, match="channel"):  # of transformers, in the middle of the pass
        capture_attention(model, pixels[:, :1])
    assert [module.training for module in model.modules()] == modes
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_half_precision_models_give_full_precision_maps(pixels):
    model = published("ConditionalDetr").to(torch.bfloat16)
    maps = capture_attention(model, pixels.to(torch.bfloat16))
    assert maps.combined.dtype == torch.float32


def test_other_models_are_refused_by_name(pixels):
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    yolos = transformers.YolosForObjectDetection(transformers.YolosConfig(image_size=[32, 32], **sizes))
    detr = published("Detr")
    table = transformers.TableTransformerConfig(
        backbone_config=detr.config.backbone_config, use_timm_backbone=False, d_model=32, encoder_layers=1,
        decoder_layers=1, encoder_attention_heads=4, decoder_attention_heads=4, encoder_ffn_dim=8,
    )  # fmt: skip
    table = transformers.TableTransformerForObjectDetection(table)  # a copy of DETR under other names
    wrapped = torch.nn.DataParallel(detr)
    others = (
        yolos,
        *(published(kind).model for kind in PUBLISHED),
        table,
        wrapped,
        detr.model.decoder,
    )
    for model in (*others, torch.nn.Linear(2, 2), "detr", None):
        name = type(model).__name__
        with pytest.raises(TypeError, match=rf"ConditionalDetrForObjectDetection.*not {name}$"):
            capture_attention(model, pixels)
    for kind in PUBLISHED:
        changed = published(kind)
        changed.model.decoder = torch.nn.Identity()
        with pytest.raises(TypeError, match=f"{kind}ForObjectDetection has no cross-attention with names"):
            capture_attention(changed, pixels)
    namesake = type("DetrForObjectDetection", (torch.nn.Linear,), {})(2, 2)
    with pytest.raises(TypeError, match="DetrForObjectDetection has no cross-attention with names"):
        capture_attention(namesake, pixels)


def test_wrong_shapes_are_told(pixels, mask):
    model = build(DetectorConfig(in_channels=3, width=48))
    with pytest.raises(ValueError, match=r"batch \(B, channels, height, width\), not \(3, 96, 128\)"):
        capture_attention(model, pixels[0])
    with pytest.raises(ValueError, match=r"mask must be \(2, 96, 128\).*not \(2, 3, 96, 128\)"):
        capture_attention(model, pixels, mask[:, None].expand(-1, 3, -1, -1))


@pytest.mark.parametrize("kind", [*PUBLISHED, "own"])
def test_an_image_without_a_valid_cell_is_told(kind, pixels, mask):
    model = build(DetectorConfig(in_channels=3, width=48, stride=32)) if kind == "own" else published(kind)
    empty = mask & torch.tensor([True, False])[:, None, None]  # nothing but padding
    with pytest.raises(ValueError, match="mask: leaves no cell of image 1 of the batch valid"):
        capture_attention(model, pixels, empty)
    with pytest.raises(ValueError, match="mask: leaves no cell of image 0 of the batch valid"):
        capture_attention(model, pixels, torch.zeros_like(mask, dtype=torch.int64))
    # between the pixels that stand for cells, every 32 of them
    for rows, columns in (
        ((40, 60), (50, 60)),
        ((1, 32), (0, 128)),
        ((0, 96), (97, 128)),
        ((95, 96), (127, 128)),
    ):
        narrow = mask.clone()
        narrow[1] = False
        narrow[1, slice(*rows), slice(*columns)] = True
        with pytest.raises(ValueError, match="mask: leaves no cell of image 1 of the batch valid"):
            capture_attention(model, pixels, narrow)
    # one such pixel is a cell, and has all the attention
    narrow[1, 64, 96] = True
    maps = capture_attention(model, pixels, narrow)
    assert (maps.combined[:, 1, ..., 2, 3] == 1).all() and maps.spatial.isfinite().all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("relation", [None, "two layers"])
def test_self_attention_is_that_of_the_pass(kind, relation):
    """Weights times values, joined and projected, are what the layer's self-attention returned."""
    config = DetectorConfig(kind=kind, width=32, heads=4, queries=6, decoder_layers=3, relation=relation)
    model = build(config, seed=1).eval()
    if relation:  # biases that differ
        torch.nn.init.normal_(model.decoder.relation.projection.weight)
    pixels = torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    names = [f"decoder.layers.{n}.self_attention" for n in (1, 2)]
    with torch.no_grad(), record(model, [*names, *(f"{name}.value" for name in names)]) as seen:
        output = model(pixels)
    found = capture_self_attention(model, pixels)
    for weights, name in zip(found.weights, names, strict=True):
        values = split_heads(seen[f"{name}.value"][-1].output, 4)
        attended = model.get_submodule(name).output(join_heads(weights @ values))
        torch.testing.assert_close(attended, seen[name][-1].output, atol=1e-5, rtol=1e-4)
    assert torch.equal(found.boxes, output.boxes[:-1])
    assert found.bias.any() == (relation is not None)
    if relation:
        bias = model.decoder.relation(found.boxes[0], found.boxes[1])
        torch.testing.assert_close(found.bias[1], bias, atol=1e-4, rtol=1e-4)
