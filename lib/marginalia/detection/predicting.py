"""From a detector's outputs to detections in pixels: COCO results, or a table of boxes with scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from ..boxes.geometry import cxcywh_to_xywh
from ..boxes.table import BoxTable
from .detector import Detector

BATCH = 64  # pictures at a time


def best(
    logits: Float[Tensor, "B Q C"], focal: bool, keep: int
) -> tuple[Float[Tensor, "B R"], Int[Tensor, "B R"], Int[Tensor, "B R"]]:
    """Scores, labels and query numbers of a layer's best predictions, best first; R is at most `keep`.

    Sigmoid heads: the best of all Q * C pairs, so that a query may speak twice. Softmax heads: each query
    once, with its best class beside no-object (the last).
    """
    if focal:
        scores, pair = logits.sigmoid().flatten(1).sort(dim=1, descending=True, stable=True)
        classes = logits.shape[-1]
        return scores[:, :keep], pair[:, :keep] % classes, pair[:, :keep] // classes
    scores, labels = logits.softmax(-1)[..., :-1].max(-1)  # (B, Q)
    scores, query = scores.sort(dim=1, descending=True, stable=True)
    return scores[:, :keep], labels.gather(1, query)[:, :keep], query[:, :keep]


def predict_table(
    model: Detector,
    pixels: Shaped[Tensor, "B channels S S"],
    image_ids: Sequence[int | str] | None = None,
    sizes: Float[np.ndarray, "B 2"] | None = None,
    names: Mapping[int, str] | None = None,
    keep: int = 100,
) -> BoxTable:
    """Detections of the last layer as a table with scores, in pixels; at most `keep` for each picture.

    `image_ids` default to 0 to B - 1, `sizes` (width, height) to those of `pixels`, `names` to class numbers.
    Raises ValueError when there are not as many ids or sizes as pictures.
    """
    image_ids = tuple(range(len(pixels)) if image_ids is None else image_ids)
    height, width = pixels.shape[-2:]
    sizes = np.tile((width, height), (len(pixels), 1)) if sizes is None else np.asarray(sizes)
    if not len(image_ids) == len(sizes) == len(pixels):
        raise ValueError(f"predict: {len(pixels)} pictures, {len(image_ids)} image_ids, {len(sizes)} sizes")
    scores, labels, boxes = _last_layer(model, pixels, keep)
    scale = np.tile(sizes, 2)[:, None]  # (B, 1, 4): width, height, width, height
    kept = scores.shape[1]
    return BoxTable(
        xywh=(cxcywh_to_xywh(boxes.double().numpy()) * scale).reshape(-1, 4),
        image=np.repeat(np.arange(len(pixels)), kept),
        image_ids=image_ids,
        sizes=sizes,
        category=labels.flatten().numpy(),
        names=names or {c: str(c) for c in range(model.config.classes)},
        score=scores.flatten().double().numpy(),
    )


def predict(
    model: Detector,
    pixels: Shaped[Tensor, "B channels S S"],
    image_ids: Sequence[int | str] | None = None,
    sizes: Float[np.ndarray, "B 2"] | None = None,
    keep: int = 100,
) -> list[dict]:
    """As `predict_table`, in COCO's result format: image_id, category_id, bbox (x, y, w, h), score."""
    table = predict_table(model, pixels, image_ids, sizes, keep=keep)
    columns = (column.tolist() for column in (table.image, table.category, table.xywh, table.score))
    return [
        {"image_id": table.image_ids[image], "category_id": category, "bbox": bbox, "score": score}
        for image, category, bbox, score in zip(*columns, strict=True)
    ]


@torch.inference_mode()
def _last_layer(model: Detector, pixels: Tensor, keep: int) -> tuple[Tensor, Tensor, Tensor]:
    device, found = next(model.parameters()).device, []
    for batch in pixels.split(BATCH):
        output = model(batch.to(device))
        scores, labels, query = best(output.logits[-1], model.config.focal, keep)
        boxes = output.boxes[-1].gather(1, query[..., None].expand(-1, -1, 4))
        found.append((scores.cpu(), labels.cpu(), boxes.cpu()))
    return tuple(torch.cat(part) for part in zip(*found, strict=True))
