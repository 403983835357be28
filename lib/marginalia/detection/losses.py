"""Losses of predicted boxes against the ground truth, every decoder layer matched by itself.

Sheet of Conditional DETR, section 2.5. Boxes are `cxcywh`, normalised to the image; axes as in `matching`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from ..boxes.geometry import cxcywh_to_xyxy, giou_elementwise
from .detector import DetectorOutput
from .groups import MATCHING, ONE_TO_MANY, QueryGroups, repeated
from .matching import ALPHA, GAMMA, ClassCost, Matches, Targets, Weights, focal_cost, match, softmax_cost

NO_OBJECT = 0.1  # weight of the "no object" class among the others

ClassLoss = Callable[[Float[Tensor, "L B Q C"], Targets, Matches], Float[Tensor, " L"]]


@dataclass(frozen=True)
class Recipe:
    """How a kind of detector is matched and scored."""

    class_cost: ClassCost
    class_loss: ClassLoss
    cost_weights: Weights
    loss_weights: Weights


@dataclass(frozen=True)
class SetLoss:
    """The loss to descend and, unweighted, what it is made of in each layer."""

    total: Float[Tensor, ""]  # weighted, summed over terms and layers
    classes: Float[Tensor, " L"]
    l1: Float[Tensor, " L"]
    giou: Float[Tensor, " L"]  # 1 - GIoU
    matches: Matches


def focal_loss(logits: Float[Tensor, "L B Q C"], targets: Targets, matches: Matches) -> Float[Tensor, " L"]:
    """Sigmoid focal loss, summed over images, queries and classes, divided by the number of boxes.

    >>> from marginalia.detection.matching import gather_targets
    >>> targets = gather_targets([[[0.5, 0.5, 0.2, 0.2]]], [[1]])  # one box of class 1
    >>> first = Matches(*torch.zeros(4, 1, dtype=torch.int64))  # query 0 answers for it
    >>> focal_loss(torch.tensor([[[[-4.0, 4.0]]]]), targets, first).item() < 1e-4
    True
    """
    # 1 at the class of the box that a query answers for, 0 everywhere else
    wanted = torch.zeros_like(logits)
    wanted[matches.layer, matches.image, matches.query, targets.labels[matches.box]] = 1.0
    # cross-entropy in which what is sure already counts little (gamma) and absent classes count more (alpha)
    entropy = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    p = logits.sigmoid()
    missed = p + wanted - 2 * p * wanted  # 1 - p where the class is wanted, p elsewhere
    weight = ALPHA * wanted + (1 - ALPHA) * (1 - wanted)
    return (weight * missed**GAMMA * entropy).sum((1, 2, 3)) / targets.total


def softmax_loss(logits: Float[Tensor, "L B Q C"], targets: Targets, matches: Matches) -> Float[Tensor, " L"]:
    """Cross-entropy over the classes and, as the last one, "no object", which counts NO_OBJECT.

    A mean over all queries, weighted by class: its denominator is not the number of boxes.
    """
    # the class of the box that a query answers for, no-object for the queries without one
    nothing = logits.shape[-1] - 1
    wanted = torch.full(logits.shape[:-1], nothing, device=logits.device)
    wanted[matches.layer, matches.image, matches.query] = targets.labels[matches.box]
    # cross-entropy, weighted: most queries have no object
    entropy = F.cross_entropy(logits.flatten(0, 2), wanted.flatten(), reduction="none").view(wanted.shape)
    weight = torch.where(wanted == nothing, NO_OBJECT, 1.0)  # (L, B, Q)
    return (weight * entropy).sum((1, 2)) / weight.sum((1, 2))


def box_losses(
    boxes: Float[Tensor, "L B Q 4"], targets: Targets, matches: Matches
) -> tuple[Float[Tensor, " L"], Float[Tensor, " L"]]:
    """L1 distance (over the four numbers) and 1 - GIoU of matched pairs, summed, divided by the boxes."""
    # each pair's two boxes, and how far they are apart
    chosen = boxes[matches.layer, matches.image, matches.query]  # (R, 4)
    ground_truth = targets.boxes[matches.box]
    distance = (chosen - ground_truth).abs().sum(-1)
    gap = 1 - giou_elementwise(cxcywh_to_xyxy(chosen), cxcywh_to_xyxy(ground_truth))
    # summed within each layer
    zero = boxes.new_zeros(len(boxes))
    l1, giou = (zero.index_add(0, matches.layer, one) / targets.total for one in (distance, gap))
    return l1, giou


def set_loss(output: DetectorOutput, targets: Targets, recipe: Recipe) -> SetLoss:
    """Match every layer's predictions with the ground-truth boxes, and add up the losses of all layers.

    A batch without any box has only a class loss.
    """
    matches = match(output.logits, output.boxes, targets, recipe.class_cost, recipe.cost_weights)
    classes = recipe.class_loss(output.logits, targets, matches)
    l1, giou = box_losses(output.boxes, targets, matches)
    weights = recipe.loss_weights
    total = (weights.classes * classes + weights.l1 * l1 + weights.giou * giou).sum()
    return SetLoss(total, classes, l1, giou, matches)


def one_to_many_loss(
    output: DetectorOutput, targets: Targets, recipe: Recipe, groups: QueryGroups, times: int
) -> tuple[SetLoss, SetLoss]:
    """The losses of matching queries, and of one-to-many queries against every box `times` times.

    Each is divided by its own number of boxes. Relation DETR adds the two (lambda = 1).
    """
    matching = set_loss(output.part(groups.block(MATCHING)), targets, recipe)
    return matching, set_loss(output.part(groups.block(ONE_TO_MANY)), repeated(targets, times), recipe)


_FOCAL = Recipe(focal_cost, focal_loss, Weights(2, 5, 2), Weights(2, 5, 2))
RECIPES = {
    "detr": Recipe(softmax_cost, softmax_loss, Weights(1, 5, 2), Weights(1, 5, 2)),
    "detr-focal": _FOCAL,  # as Conditional DETR: what then differs is the attention alone
    "conditional": _FOCAL,
    "dab": Recipe(focal_cost, focal_loss, Weights(2, 5, 2), Weights(1, 5, 2)),
}
