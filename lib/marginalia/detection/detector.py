"""The detectors: a record of sizes, and the parts that each kind is put together from.

| kind        | cross-attention  | reference               | classes                | published as     |
|-------------|------------------|-------------------------|------------------------|------------------|
| detr        | DETR             | none (s = 0)            | softmax with no-object | DETR             |
| detr-focal  | DETR             | point from o_q          | sigmoid, prior 0.01    | Table 4, OR + FL |
| conditional | Conditional DETR | point from o_q          | sigmoid, prior 0.01    | Conditional DETR |
| dab         | Conditional DETR | anchor, moved by layers | sigmoid, prior 0.01    | DAB-DETR         |

Beside the papers: no dropout, group norm in the backbone, no rescaling of positions in DAB-DETR's encoder.
The backbone did not learn from ImageNet: `data/recipes/pretraining.py` has what stands in for that.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Shaped, UInt8
from torch import Tensor, nn

from ..boxes.geometry import cxcywh_to_xywh
from ..boxes.table import BoxTable
from .attention import positional_encoding, valid_positions
from .decoder import BoxHead, Decoder, DecoderLayer
from .encoder import Backbone, Encoder, EncoderLayer, standardise
from .groups import one_to_many
from .layers import ConditionalCrossAttention, ConditionalSelfAttention, DetrCrossAttention, DetrSelfAttention
from .queries import POINTS, SPATIAL_QUERIES, TRANSFORMS, AnchorQueries, LearnedQueries, PointQueries
from .relation import RELATIONS

KINDS = ("detr", "detr-focal", "conditional", "dab")
PRIOR = 0.01  # what a focal head gives every class before training
BATCH = 64  # images at a time in `predict_table`


@dataclass(frozen=True)
class DetectorConfig:
    """Sizes and parts of a detector; the defaults are the headline model on 64-pixel scenes."""

    kind: str = "conditional"  # one of KINDS
    width: int = 96  # of the model, H * D
    heads: int = 6
    encoder_layers: int = 2
    decoder_layers: int = 3
    ffn: int = 192  # hidden width of feed-forward blocks; the decoder's depends on the kind: `decoder_ffn`
    queries: int = 16
    classes: int = 10
    in_channels: int = 1
    stride: int = 4  # pixels a cell: 64-pixel images give 16 x 16 cells
    temperature: float = 20.0  # of the keys' positional encoding, and of the queries' where the next is None
    query_temperature: float | None = None  # 10000 beside 20 is the mixture in DAB-DETR's code
    reference: str | None = None  # one of POINTS in place of the kind's own; dab has anchors instead
    spatial_query: str = "csq"  # one of SPATIAL_QUERIES (Table 3); conditional and dab
    transform: str = "diagonal"  # a name of TRANSFORMS (Figure 5); conditional and dab
    relation: str | None = None  # one of RELATIONS: a position relation in the decoder (Relation DETR)
    relation_scale: float = 100.0  # of its highest frequency
    one_to_many: int = 0  # further queries, in training only, that do not see the others (H-DETR)

    def __post_init__(self):
        known = {"kind": KINDS, "spatial_query": SPATIAL_QUERIES, "transform": TRANSFORMS}
        known |= {"reference": (None, *POINTS), "relation": (None, *RELATIONS)}
        for field, names in known.items():
            if (value := getattr(self, field)) not in names:
                raise ValueError(
                    f"DetectorConfig: {field} {value!r} is not one of {', '.join(map(str, names))}"
                )
        if self.kind == "dab" and self.reference is not None:
            raise ValueError("DetectorConfig: dab has anchors; leave reference at None")
        if min(self.width, self.heads) < 1 or self.width % self.heads or self.width % 8:
            raise ValueError(
                f"DetectorConfig: width {self.width} is no multiple of 8 and of {self.heads} heads"
            )

    @property
    def focal(self) -> bool:
        """Whether class scores are sigmoids; if not, the last class of a softmax is no-object."""
        return self.kind != "detr"

    @property
    def point(self) -> str:
        """Which of POINTS makes the reference point."""
        return self.reference or ("fixed" if self.kind == "detr" else "predicted")


class DetectorOutput(NamedTuple):
    """Predictions of every decoder layer, the last is the answer; P is 2 for points and 4 for anchors."""

    logits: Float[Tensor, "L B Q C"]  # C + 1 for kind detr: no-object last
    boxes: Float[Tensor, "L B Q 4"]  # (cx, cy, w, h) in [0, 1]
    hidden: Float[Tensor, "L B Q width"]
    references: Float[Tensor, "L B Q P"]  # in [0, 1]

    def part(self, queries: slice) -> DetectorOutput:
        """Those of some of the queries."""
        return DetectorOutput(*(field[:, :, queries] for field in self))


class Detector(nn.Module):
    """Backbone, encoder, decoder and two heads; made by `build`."""

    def __init__(self, config: DetectorConfig, backbone: nn.Module, encoder: Encoder, decoder: Decoder):
        super().__init__()
        self.config = config
        self.names: Mapping[int, str] | None = None  # of the classes, where they are known
        self.backbone, self.encoder, self.decoder = backbone, encoder, decoder
        self.class_head = nn.Linear(config.width, config.classes + (not config.focal))

    def forward(
        self,
        pixels: Float[Tensor, "B channels S S"] | UInt8[Tensor, "B channels S S"],
        mask: Bool[Tensor, "B S S"] | None = None,
    ) -> DetectorOutput:
        """Predictions for images with values in [0, 1], or bytes; `mask` is False on padding."""
        # image to cells
        features = self.backbone(standardise(pixels))  # (B, width, h, w)
        h, w = features.shape[-2:]
        memory = features.flatten(2).mT.contiguous()  # (B, K, width)
        # where the cells are
        grid = memory.new_ones(1, h, w, dtype=torch.bool)
        if mask is not None:  # a cell is valid where the pixel at its upper left corner is
            grid = mask[:, :: self.config.stride, :: self.config.stride]
        positions = valid_positions(grid, memory.dtype)
        key_encoding = positional_encoding(positions, self.config.width, self.config.temperature)  # p_k
        valid = None if mask is None else grid.flatten(1)
        # cells among themselves, then queries against cells, then boxes beside the references
        memory = self.encoder(memory, key_encoding, valid)
        hidden, references = self.decoder(memory, key_encoding, valid)
        boxes = self.decoder.box_head(hidden, references)
        return DetectorOutput(self.class_head(hidden), boxes, hidden, references)


def build(config: DetectorConfig, seed: int = 0) -> Detector:
    """A detector with seeded initial weights; torch's own generator is left as it was.

    >>> model = build(DetectorConfig(kind="dab", width=32, heads=4, queries=5))
    >>> output = model(torch.rand(2, 1, 32, 32))
    >>> output.logits.shape, output.boxes.shape  # of each decoder layer
    (torch.Size([3, 2, 5, 10]), torch.Size([3, 2, 5, 4]))
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        detector = _assemble(config, decoder_ffn(config))
        _initialise(detector)
    return detector


def _assemble(config: DetectorConfig, ffn: int) -> Detector:
    """A detector whose decoder has feed-forward blocks of hidden width `ffn`."""
    width, heads = config.width, config.heads
    encoder = Encoder(EncoderLayer(width, heads, config.ffn) for _ in range(config.encoder_layers))
    layers = [_decoder_layer(config, ffn, first=index == 0) for index in range(config.decoder_layers)]
    relation = config.relation and RELATIONS[config.relation](heads, scale=config.relation_scale)
    groups = one_to_many(config.queries, config.one_to_many) if config.one_to_many else None
    decoder = Decoder(_queries(config), layers, BoxHead(width), width, relation, groups)
    return Detector(config, Backbone(config.in_channels, width, config.stride), encoder, decoder)


def _queries(config: DetectorConfig) -> LearnedQueries | AnchorQueries:
    queries, width = config.queries + config.one_to_many, config.width
    if config.kind in ("detr", "detr-focal"):
        return LearnedQueries(queries, width, config.point)
    spatial_query = SPATIAL_QUERIES[config.spatial_query](config.transform, width, config.heads)
    temperature = config.query_temperature or config.temperature
    if config.kind == "dab":
        return AnchorQueries(queries, width, spatial_query, temperature)
    return PointQueries(queries, width, config.point, spatial_query, temperature)


def _decoder_layer(config: DetectorConfig, ffn: int, first: bool) -> DecoderLayer:
    width, heads = config.width, config.heads
    if config.kind in ("detr", "detr-focal"):
        attention = DetrSelfAttention(width, heads), DetrCrossAttention(width, heads)
    else:
        attention = ConditionalSelfAttention(width, heads), ConditionalCrossAttention(width, heads, first)
    activation = nn.PReLU() if config.kind == "dab" else nn.ReLU()
    return DecoderLayer(width, *attention, ffn, activation)


def decoder_ffn(config: DetectorConfig) -> int:
    """Hidden width of the decoder's feed-forward blocks that makes all kinds equally large.

    Conditional DETR with its own parts has `config.ffn`; each other kind gets as much more or less as brings
    it nearest to that number of parameters. Ablations within a kind keep the kind's width, as in the paper.
    """
    a_unit = config.decoder_layers * (2 * config.width + 1)  # one more hidden unit in every layer
    plain = replace(config, reference=None, spatial_query="csq", transform="diagonal", relation=None)
    with torch.device("meta"):  # sizes only
        wanted, found = (
            parameters(_assemble(replace(plain, kind=kind), config.ffn))
            for kind in ("conditional", config.kind)
        )
    return max(1, config.ffn + round((wanted - found) / a_unit))


def parameters(model: nn.Module) -> int:
    """Number of trained numbers in a model."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


@torch.no_grad()
def _initialise(detector: Detector) -> None:
    """Xavier weights and zero biases in the transformer; for focal heads the prior, and boxes with no offset.

    Then training starts with boxes at their references, with w = h = 0.5 where the reference has no size;
    DETR does not do this. A position relation keeps torch's own initial numbers, as in its published code.
    """
    for part in (detector.encoder, detector.decoder):
        for name, module in part.named_modules():
            if isinstance(module, nn.Linear) and not name.startswith("relation."):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
    if detector.config.focal:
        nn.init.constant_(detector.class_head.bias, -math.log((1 - PRIOR) / PRIOR))
        nn.init.zeros_(detector.decoder.box_head.offset[-1].weight)
        nn.init.zeros_(detector.decoder.box_head.offset[-1].bias)


# --- from outputs to detections


def top_k(
    logits: Float[Tensor, "B Q C"], focal: bool, k: int
) -> tuple[Float[Tensor, "B R"], Int[Tensor, "B R"], Int[Tensor, "B R"]]:
    """Scores, labels and query numbers of a layer's surest predictions, in that order; R is at most k.

    Sigmoid heads: of all Q * C pairs, so that a query may answer with two classes. Softmax heads: each query
    once, with its likeliest class beside no-object (the last).
    """
    if focal:
        scores, pair = logits.sigmoid().flatten(1).sort(dim=1, descending=True, stable=True)
        classes = logits.shape[-1]
        return scores[:, :k], pair[:, :k] % classes, pair[:, :k] // classes
    scores, labels = logits.softmax(-1)[..., :-1].max(-1)  # (B, Q)
    scores, query = scores.sort(dim=1, descending=True, stable=True)
    return scores[:, :k], labels.gather(1, query)[:, :k], query[:, :k]


@torch.inference_mode()
def predict_table(
    model: Detector,
    pixels: Shaped[Tensor, "B channels S S"],
    image_ids: Sequence[int | str],
    sizes: Float[np.ndarray, "B 2"],
    names: Mapping[int, str],
    k: int = 100,
) -> BoxTable:
    """Detections of the last layer with scores, in pixels of images of `sizes` (w, h); at most k each."""
    # the surest predictions of every image
    device, found = next(model.parameters()).device, []
    for batch in pixels.split(BATCH):
        output = model(batch.to(device))
        scores, labels, query = top_k(output.logits[-1], model.config.focal, k)  # (B, R) each
        boxes = output.boxes[-1].gather(1, query[..., None].expand(-1, -1, 4))  # (B, R, 4)
        found.append((scores.cpu(), labels.cpu(), boxes.cpu()))
    scores, labels, boxes = (torch.cat(part) for part in zip(*found, strict=True))
    # from normalised boxes to pixels, then one row a prediction
    scale = np.tile(sizes, 2)[:, None]  # (B, 1, 4): width, height, width, height
    return BoxTable(
        xywh=(cxcywh_to_xywh(boxes.double().numpy()) * scale).reshape(-1, 4),
        image=np.repeat(np.arange(len(pixels)), scores.shape[1]),
        image_ids=tuple(image_ids),
        sizes=sizes,
        category=labels.flatten().numpy(),
        names=names,
        score=scores.flatten().double().numpy(),
    )
