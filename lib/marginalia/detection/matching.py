"""Which query answers for which box: the Hungarian matching of DETR, Conditional DETR and DAB-DETR.

Axes: L decoder layers, B images, Q queries, C classes, N boxes of the whole batch, M boxes in its fullest
image. Boxes are `cxcywh`, normalised to the image. Sheet of Conditional DETR, section 2.5.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from ..boxes.geometry import cxcywh_to_xyxy, giou, iou_elementwise

ALPHA, GAMMA = 0.25, 2.0  # of the focal loss and of the cost made after it


@dataclass(frozen=True)
class Targets:
    """The ground-truth boxes of a batch, one image after the other; an image may have none."""

    boxes: Float[Tensor, "N 4"]  # cxcywh in [0, 1]
    labels: Int[Tensor, " N"]  # class index, 0 to C - 1
    counts: tuple[int, ...]  # boxes in each of the B images

    @property
    def image(self) -> Int[Tensor, " N"]:
        """Index of the image of each box."""
        counts = torch.tensor(self.counts, device=self.boxes.device)
        return torch.repeat_interleave(torch.arange(len(counts), device=counts.device), counts)

    @property
    def total(self) -> int:
        """Number of boxes, at least 1: what the losses are divided by."""
        return max(len(self.boxes), 1)


@dataclass(frozen=True)
class Weights:
    """How much each of the three terms counts, in a cost or in a loss."""

    classes: float
    l1: float
    giou: float


@dataclass(frozen=True)
class Matches:
    """R pairs of a query and a box; each layer is matched by itself and adds its own pairs."""

    layer: Int[Tensor, " R"]
    image: Int[Tensor, " R"]
    query: Int[Tensor, " R"]
    box: Int[Tensor, " R"]  # index into the N boxes of the targets


ClassCost = Callable[[Float[Tensor, "... C"]], Float[Tensor, "... C"]]


def gather_targets(
    boxes: Sequence[Float[np.ndarray, "n 4"]],
    labels: Sequence[Int[np.ndarray, " n"]],
) -> Targets:
    """Boxes and labels of each image -> one record. ValueError where their numbers differ."""
    counts = tuple(len(one) for one in boxes)
    if counts != tuple(len(one) for one in labels):
        raise ValueError("gather_targets: every image needs as many labels as boxes")
    flat = [torch.as_tensor(one, dtype=torch.float32).reshape(-1, 4) for one in boxes]
    named = [torch.as_tensor(one, dtype=torch.int64).reshape(-1) for one in labels]
    return Targets(torch.cat(flat), torch.cat(named), counts)


def focal_cost(logits: Float[Tensor, "... C"]) -> Float[Tensor, "... C"]:
    """Focal loss of giving the query each class, minus that of not giving it; sigmoid classes."""
    p, eps = logits.sigmoid(), 1e-8  # eps keeps the logarithm finite where a probability is 0 or 1
    wanted = ALPHA * (1 - p) ** GAMMA * -(p + eps).log()
    unwanted = (1 - ALPHA) * p**GAMMA * -(1 - p + eps).log()
    return wanted - unwanted


def softmax_cost(logits: Float[Tensor, "... C"]) -> Float[Tensor, "... C"]:
    """Minus the probability of each class; the last class is "no object" and is never a target."""
    return -logits.softmax(-1)


@torch.no_grad()
def match(
    logits: Float[Tensor, "L B Q C"],
    boxes: Float[Tensor, "L B Q 4"],
    targets: Targets,
    class_cost: ClassCost,
    weights: Weights,
) -> Matches:
    """The cheapest way to give every box a query of its own, in each layer and image by itself.

    Where an image has more boxes than queries, the boxes that cost most stay without one. Pairs come sorted
    by layer, image and query. ValueError when the costs are not finite or the targets are of another batch.

    >>> targets = gather_targets([[[0.2, 0.2, 0.1, 0.1], [0.8, 0.8, 0.1, 0.1]]], [[0, 0]])  # of one image
    >>> boxes = torch.tensor([[0.8, 0.8, 0.1, 0.1], [0.5, 0.5, 0.1, 0.1], [0.2, 0.3, 0.1, 0.1]])
    >>> pairs = match(torch.zeros(1, 1, 3, 1), boxes[None, None], targets, focal_cost, Weights(2, 5, 2))
    >>> pairs.query, pairs.box  # queries 0 and 2 are taken
    (tensor([0, 2]), tensor([1, 0]))
    """
    if len(targets.counts) != logits.shape[1]:
        raise ValueError(f"match: targets of {len(targets.counts)} images, logits of {logits.shape[1]}")
    if not len(targets.boxes):
        return Matches(*torch.zeros(4, 0, dtype=torch.int64, device=logits.device))

    # Gather the m-th box of every image. Past an image's last box any box will do: it is never looked at.
    counts = np.array(targets.counts)
    first = counts.cumsum() - counts
    column = (first[:, None] + np.arange(counts.max())).clip(max=len(targets.boxes) - 1)
    column = torch.from_numpy(column).to(boxes.device)  # (B, M)
    true_boxes, true_labels = targets.boxes[column], targets.labels[column]  # (B, M, 4), (B, M)

    # First cost: the class. What it costs each query to give its own class to each box.
    label = true_labels[None, :, None].expand(*logits.shape[:3], -1)  # (L, B, Q, M)
    by_class = class_cost(logits).gather(-1, label)  # (L, B, Q, M)

    # Second cost: the L1 distance between the four numbers of the boxes.
    distance = (boxes[..., None, :] - true_boxes[:, None]).abs().sum(-1)  # (L, B, Q, M)

    # Third cost: minus GIoU, which unlike the distance does not grow with the boxes.
    corners = cxcywh_to_xyxy(true_boxes).expand(len(boxes), -1, -1, -1)  # (L, B, M, 4)
    overlap = giou(cxcywh_to_xyxy(boxes), corners)  # (L, B, Q, M)

    # Combine.
    costs = weights.classes * by_class + weights.l1 * distance - weights.giou * overlap  # (L, B, Q, M)
    costs = costs.cpu().numpy()
    if not np.isfinite(costs).all():
        raise ValueError("match: the costs are not all finite; has the training diverged?")

    # Solve each layer and image by itself, on the columns of its own boxes.
    pairs = []
    for layer, image in np.ndindex(costs.shape[:2]):
        query, box = linear_sum_assignment(costs[layer, image, :, : counts[image]])
        pairs += [(layer, image, q, b) for q, b in zip(query, first[image] + box, strict=True)]
    return Matches(*torch.tensor(np.array(pairs).T, device=logits.device))


def matched_iou(boxes: Float[Tensor, "L B Q 4"], targets: Targets, matches: Matches) -> Float[Tensor, " R"]:
    """IoU of every matched query's box with the box that it answers for."""
    chosen = boxes[matches.layer, matches.image, matches.query]
    return iou_elementwise(cxcywh_to_xyxy(chosen), cxcywh_to_xyxy(targets.boxes[matches.box]))
