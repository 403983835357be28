"""The decoders against those of transformers: weights copied by a complete key map, then equal outputs."""

from __future__ import annotations

import re
from types import SimpleNamespace

import pytest
import torch

from marginalia.detection.attention import cell_positions, positional_encoding, valid_positions
from marginalia.detection.decoder import Decoder
from marginalia.detection.detector import DetectorConfig, build
from marginalia.detection.layers import inverse_sigmoid

transformers = pytest.importorskip("transformers")
torch.set_num_threads(1)

# Equal up to float32 rounding through three layers; the official code and transformers differ by 3e-6.
TOLERANCE = 1e-5
BATCH, HEIGHT, WIDTH = 2, 5, 7
SIZES = {"encoder_layers": 1, "decoder_layers": 3, "encoder_attention_heads": 4, "decoder_attention_heads": 4}
SIZES |= {"encoder_ffn_dim": 48, "decoder_ffn_dim": 48, "num_queries": 9, "num_labels": 5}

# transformers' name -> ours; all patterns are applied, in order.
NORMS = {
    r"layers\.(\d+)\.self_attn_layer_norm": r"layers.\1.self_norm",
    r"layers\.(\d+)\.encoder_attn_layer_norm": r"layers.\1.cross_norm",
    r"layers\.(\d+)\.final_layer_norm": r"layers.\1.final_norm",
    r"layers\.(\d+)\.mlp\.fc1": r"layers.\1.feed_forward.widen",
    r"layers\.(\d+)\.mlp\.fc2": r"layers.\1.feed_forward.narrow",
    r"layernorm": r"norm",
}
DETR = NORMS | {
    r"layers\.(\d+)\.self_attn\.": r"layers.\1.self_attention.",
    r"layers\.(\d+)\.encoder_attn\.": r"layers.\1.cross_attention.",
    r"\.q_proj": ".query",
    r"\.k_proj": ".key",
    r"\.v_proj": ".value",
    r"\.o_proj": ".output",
}
CONDITIONAL = NORMS | {
    r"layers\.(\d+)\.self_attn\.q_pos_proj": r"layers.\1.self_attention.position_query",
    r"layers\.(\d+)\.self_attn\.k_pos_proj": r"layers.\1.self_attention.position_key",
    r"layers\.(\d+)\.self_attn\.": r"layers.\1.self_attention.",
    r"layers\.(\d+)\.encoder_attn\.": r"layers.\1.cross_attention.",
    r"\.q_content_proj": ".content_query",
    r"\.k_content_proj": ".content_key",
    r"\.q_pos_sine_proj": ".spatial_query",
    r"\.q_pos_proj": ".object_query",
    r"\.k_pos_proj": ".spatial_key",
    r"\.v_proj": ".value",
    r"\.o_proj": ".output",
    r"query_scale\.layers\.0": "queries.spatial_query.transform.head.0",
    r"query_scale\.layers\.1": "queries.spatial_query.transform.head.2",
    r"ref_point_head\.layers\.0": "queries.point.head.0",
    r"ref_point_head\.layers\.1": "queries.point.head.2",
}
DAB = {
    r"layers\.(\d+)\.self_attn\.self_attn_query_content_proj": r"layers.\1.self_attention.content_query",
    r"layers\.(\d+)\.self_attn\.self_attn_query_pos_proj": r"layers.\1.self_attention.position_query",
    r"layers\.(\d+)\.self_attn\.self_attn_key_content_proj": r"layers.\1.self_attention.content_key",
    r"layers\.(\d+)\.self_attn\.self_attn_key_pos_proj": r"layers.\1.self_attention.position_key",
    r"layers\.(\d+)\.self_attn\.self_attn_value_proj": r"layers.\1.self_attention.value",
    r"layers\.(\d+)\.self_attn\.self_attn\.output_proj": r"layers.\1.self_attention.output",
    r"layers\.(\d+)\.self_attn\.self_attn_layer_norm": r"layers.\1.self_norm",
    r"layers\.(\d+)\.cross_attn\.cross_attn_layer_norm": r"layers.\1.cross_norm",
    r"layers\.(\d+)\.cross_attn\.cross_attn_query_content_proj": r"layers.\1.cross_attention.content_query",
    r"layers\.(\d+)\.cross_attn\.cross_attn_key_content_proj": r"layers.\1.cross_attention.content_key",
    r"layers\.(\d+)\.cross_attn\.cross_attn_query_pos_sine_proj": r"layers.\1.cross_attention.spatial_query",
    r"layers\.(\d+)\.cross_attn\.cross_attn_query_pos_proj": r"layers.\1.cross_attention.object_query",
    r"layers\.(\d+)\.cross_attn\.cross_attn_key_pos_proj": r"layers.\1.cross_attention.spatial_key",
    r"layers\.(\d+)\.cross_attn\.cross_attn_value_proj": r"layers.\1.cross_attention.value",
    r"layers\.(\d+)\.cross_attn\.cross_attn\.output_proj": r"layers.\1.cross_attention.output",
    r"layers\.(\d+)\.mlp\.final_layer_norm": r"layers.\1.final_norm",
    r"layers\.(\d+)\.mlp\.fc1": r"layers.\1.feed_forward.widen",
    r"layers\.(\d+)\.mlp\.fc2": r"layers.\1.feed_forward.narrow",
    r"layers\.(\d+)\.mlp\.activation_fn": r"layers.\1.feed_forward.activation",
    r"layernorm": "norm",
    r"query_scale\.layers\.0": "queries.spatial_query.transform.head.0",
    r"query_scale\.layers\.1": "queries.spatial_query.transform.head.2",
    r"ref_point_head\.layers\.0": "queries.position_head.0",
    r"ref_point_head\.layers\.1": "queries.position_head.2",
    r"ref_anchor_head\.layers\.0": "queries.size_head.0",
    r"ref_anchor_head\.layers\.1": "queries.size_head.2",
}
HEADS = {f"bbox_predictor.layers.{i}": f"box_head.offset.{2 * i}" for i in range(3)}


def renamed(name: str, rules: dict[str, str]) -> str:
    for pattern, ours in rules.items():
        name = re.sub(pattern, ours, name)
    return name


def copy_weights(theirs, decoder: Decoder, rules: dict[str, str], queries: torch.Tensor) -> None:
    """Every tensor of a decoder, its queries and the box head; nothing may be left over on either side."""
    state = {renamed(name, rules): value for name, value in theirs.model.decoder.state_dict().items()}
    for name in [name for name in state if name.startswith("bbox_embed")]:
        del state[name]  # in DAB-DETR the box head again, tied to `bbox_predictor`
    for name, value in theirs.bbox_predictor.state_dict().items():
        state[renamed(f"bbox_predictor.{name}", HEADS)] = value
    state["queries.anchor" if queries.shape[-1] == 4 else "queries.object_query"] = queries
    decoder.load_state_dict(state, strict=True)


def shaken(model):
    """All weights moved away from what initialisation leaves at 0 or 1, so that no term can hide."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return model.eval()


@pytest.fixture(scope="module", params=[False, True], ids=["whole", "padded"])
def inputs(request):
    """Memory, valid cells and width of a batch in which, when padded, the second image is smaller."""
    valid = torch.ones(BATCH, HEIGHT, WIDTH, dtype=torch.bool)
    if request.param:
        valid[1, 3:] = valid[1, :, 4:] = False
    memory = torch.randn(BATCH, HEIGHT * WIDTH, 64, generator=torch.Generator().manual_seed(2))
    return SimpleNamespace(memory=memory, valid=valid, keys=valid.flatten(1))


def backbone():
    return transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 8], depths=[1, 1], out_features=["stage2"], layer_type="basic"
    )


def ours(kind: str, rules: dict[str, str], theirs, queries: torch.Tensor, **options) -> Decoder:
    config = DetectorConfig(kind=kind, width=64, heads=4, ffn=48, queries=9, classes=5, **options)
    decoder = build(config).decoder
    width = theirs.config.decoder_ffn_dim  # `build` balances this between kinds; here it is given
    for layer in decoder.layers:
        layer.feed_forward.widen = torch.nn.Linear(64, width)
        layer.feed_forward.narrow = torch.nn.Linear(width, 64)
    copy_weights(theirs, decoder, rules, queries)
    return decoder.eval()


def close(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    torch.testing.assert_close(ours, theirs, atol=TOLERANCE, rtol=0)


def outputs_of_both(theirs, decoder, queries, key_encoding, inputs):
    """Their output, and our states and references, of the same queries; the states must be theirs."""
    position = queries.expand(BATCH, -1, -1)
    expected = theirs.model.decoder(
        inputs_embeds=torch.zeros_like(position),
        encoder_hidden_states=inputs.memory,
        encoder_attention_mask=inputs.keys,
        spatial_position_embeddings=key_encoding,
        object_queries_position_embeddings=position,
        output_hidden_states=True,
    )
    hidden, references = decoder(inputs.memory, key_encoding, inputs.keys)
    close(hidden[:-1], decoder.norm(torch.stack(expected.hidden_states[1:-1])))  # the last is normed already
    close(hidden[-1], expected.last_hidden_state)
    return expected, hidden, references


@torch.no_grad()
def test_detr(inputs):
    config = transformers.DetrConfig(d_model=64, use_timm_backbone=False, backbone_config=backbone(), **SIZES)
    theirs = shaken(transformers.DetrForObjectDetection(config))
    queries = theirs.model.query_position_embeddings.weight
    decoder = ours("detr", DETR, theirs, queries)
    key_encoding = positional_encoding(valid_positions(inputs.valid), 64)
    expected, hidden, references = outputs_of_both(theirs, decoder, queries, key_encoding, inputs)
    assert (references == 0.5).all()
    boxes = decoder.box_head(hidden[-1], references[-1])
    close(boxes, theirs.bbox_predictor(expected.last_hidden_state).sigmoid())


@torch.no_grad()
def test_conditional_detr(inputs):
    config = transformers.ConditionalDetrConfig(
        d_model=64, use_timm_backbone=False, backbone_config=backbone(), **SIZES
    )
    theirs = shaken(transformers.ConditionalDetrForObjectDetection(config))
    queries = theirs.model.query_position_embeddings.weight
    decoder = ours("conditional", CONDITIONAL, theirs, queries, temperature=10000.0)
    key_encoding = positional_encoding(valid_positions(inputs.valid), 64)
    expected, hidden, references = outputs_of_both(theirs, decoder, queries, key_encoding, inputs)
    points = expected.reference_points.transpose(0, 1)  # theirs is (Q, B, 2)
    close(references, points.expand_as(references))
    offsets = theirs.bbox_predictor(expected.last_hidden_state)
    offsets[..., :2] += inverse_sigmoid(points)
    close(decoder.box_head(hidden[-1], references[-1]), offsets.sigmoid())


@torch.no_grad()
@pytest.mark.parametrize("key_temperature", [20, 10])
def test_dab_detr(inputs, key_temperature):
    """With the mixture of the published code: keys at 20 (or 10), queries at 10000."""
    config = transformers.DabDetrConfig(
        hidden_size=64,
        temperature_height=key_temperature,
        temperature_width=key_temperature,
        use_timm_backbone=False,
        backbone_config=backbone(),
        **SIZES,
    )
    theirs = shaken(transformers.DabDetrForObjectDetection(config))
    anchors = theirs.model.query_refpoint_embeddings.weight
    options = {"temperature": float(key_temperature), "query_temperature": 10000.0}
    decoder = ours("dab", DAB, theirs, anchors, **options)
    position = theirs.model.backbone.position_embedding(inputs.memory, inputs.valid)
    key_encoding = positional_encoding(valid_positions(inputs.valid), 64, key_temperature)
    # compared only where attention can see it
    torch.testing.assert_close(
        key_encoding[inputs.keys], position.flatten(2).mT[inputs.keys], atol=1e-6, rtol=0
    )
    expected = theirs.model.decoder(
        inputs_embeds=torch.zeros(BATCH, 9, 64),
        query_position_embeddings=anchors.expand(BATCH, -1, -1),
        object_queries=key_encoding,
        encoder_hidden_states=inputs.memory,
        memory_key_padding_mask=inputs.keys,
    )
    hidden, references = decoder(inputs.memory, key_encoding, inputs.keys)
    close(hidden, expected.intermediate_hidden_states)
    close(hidden[-1], expected.last_hidden_state)
    close(references, expected.reference_points)
    assert (references[0] - references[1]).abs().max() > 0.01  # the anchors do move here
    offsets = theirs.bbox_predictor(expected.intermediate_hidden_states)
    close(decoder.box_head(hidden, references), (offsets + inverse_sigmoid(references)).sigmoid())


@pytest.mark.parametrize("coordinates", [2, 4])
def test_encoding_equals_that_of_transformers(coordinates):
    from transformers.models.conditional_detr import modeling_conditional_detr as module

    points = torch.rand(3, 5, coordinates, generator=torch.Generator().manual_seed(0))
    theirs = module.encode_sinusoidal_position_embedding(points, num_pos_feats=128)
    assert torch.equal(positional_encoding(points, 256), theirs)


def test_key_encoding_equals_that_of_transformers(inputs):
    from transformers.models.conditional_detr import modeling_conditional_detr as module

    position = module.ConditionalDetrSinePositionEmbedding(128, normalize=True)
    shape, device = (BATCH, 64, HEIGHT, WIDTH), torch.device("cpu")
    theirs = position(shape=shape, device=device, dtype=torch.float32, mask=inputs.valid)
    encoding = positional_encoding(valid_positions(inputs.valid), 256)
    assert torch.equal(encoding, theirs.flatten(2).mT)
    if inputs.valid.all():
        assert torch.equal(positional_encoding(cell_positions(HEIGHT, WIDTH), 256), encoding[0])


@torch.no_grad()
def test_auxiliary_loss_changes_what_transformers_computes():
    """Sheet 7.3: with the flag, layers get normalised inputs. When this fails, upstream has changed."""
    config = transformers.ConditionalDetrConfig(
        d_model=64, use_timm_backbone=False, backbone_config=backbone(), **SIZES
    )
    theirs = shaken(transformers.ConditionalDetrForObjectDetection(config))
    pixels = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    logits = {}
    for flag in (False, True):
        theirs.model.decoder.config.auxiliary_loss = flag
        logits[flag] = theirs(pixels).logits
    assert (logits[True] - logits[False]).abs().max() > 1e-2
