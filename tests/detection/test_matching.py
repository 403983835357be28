"""The Hungarian matching against brute force and transformers, and under changes that must not matter."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
import torch

from marginalia.boxes.geometry import cxcywh_to_xyxy, giou
from marginalia.detection.losses import RECIPES
from marginalia.detection.matching import (
    Targets,
    Weights,
    focal_cost,
    gather_targets,
    match,
    matched_iou,
    softmax_cost,
)

torch.set_num_threads(1)
LAYERS, QUERIES, CLASSES = 2, 5, 3
COUNTS = (3, 0, 1, 4)


def random_boxes(*shape: int, seed: int) -> torch.Tensor:
    """cxcywh boxes inside the image."""
    draw = torch.rand(*shape, 4, generator=torch.Generator().manual_seed(seed))
    side = 0.1 + 0.3 * draw[..., 2:]
    return torch.cat([side / 2 + (1 - side) * draw[..., :2], side], -1)


def random_case(counts=COUNTS, classes=CLASSES, seed=0) -> tuple[torch.Tensor, torch.Tensor, Targets]:
    source = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(LAYERS, len(counts), QUERIES, classes, generator=source)
    boxes = random_boxes(LAYERS, len(counts), QUERIES, seed=seed + 1)
    labels = torch.randint(CLASSES, (sum(counts),), generator=source)
    return logits, boxes, Targets(random_boxes(sum(counts), seed=seed + 2), labels, tuple(counts))


def pairs_of(matches) -> list[tuple[int, ...]]:
    return list(zip(*(getattr(matches, k).tolist() for k in ("layer", "image", "query", "box")), strict=True))


def cost_table(logits, boxes, targets, class_cost, weights) -> torch.Tensor:
    """What it costs each of Q queries to answer for each of M boxes, one pair after the other."""
    table = torch.zeros(len(boxes), len(targets.boxes))
    for q, predicted in enumerate(boxes):
        for m, (box, label) in enumerate(zip(targets.boxes, targets.labels, strict=True)):
            overlap = giou(cxcywh_to_xyxy(predicted[None]), cxcywh_to_xyxy(box[None])).item()
            parts = class_cost(logits[q])[label], (predicted - box).abs().sum(), -overlap
            table[q, m] = weights.classes * parts[0] + weights.l1 * parts[1] + weights.giou * parts[2]
    return table


@pytest.mark.parametrize("cost", [focal_cost, softmax_cost])
def test_no_other_assignment_is_cheaper(cost):
    logits, boxes, targets = random_case()
    weights = Weights(2, 5, 2)
    found = match(logits, boxes, targets, cost, weights)
    first = np.cumsum((0, *COUNTS))
    for layer in range(LAYERS):
        for image, count in enumerate(COUNTS):
            mine = (found.layer == layer) & (found.image == image)
            query, column = found.query[mine], found.box[mine] - first[image]
            assert sorted(column.tolist()) == list(range(count))
            assert len(set(query.tolist())) == count
            part = slice(first[image], first[image] + count)
            own = Targets(targets.boxes[part], targets.labels[part], (count,))
            table = cost_table(logits[layer, image], boxes[layer, image], own, cost, weights)
            every = [
                sum(table[q, m].item() for m, q in enumerate(choice))
                for choice in permutations(range(QUERIES), count)
            ]
            # sums of a few float32 numbers in another order
            assert table[query, column].sum().item() == pytest.approx(min(every), abs=1e-5)


@pytest.mark.parametrize("kind", ["detr", "conditional", "dab"])
def test_agrees_with_transformers(kind):
    pytest.importorskip("transformers")
    from transformers.loss.loss_deformable_detr import DeformableDetrHungarianMatcher
    from transformers.loss.loss_for_object_detection import HungarianMatcher

    recipe = RECIPES[kind]
    theirs = HungarianMatcher if recipe.class_cost is softmax_cost else DeformableDetrHungarianMatcher
    weights = recipe.cost_weights
    matcher = theirs(class_cost=weights.classes, bbox_cost=weights.l1, giou_cost=weights.giou)
    for seed in range(10):
        logits, boxes, targets = random_case(classes=CLASSES + 1, seed=seed)
        listed = [
            {"class_labels": label, "boxes": box}
            for label, box in zip(targets.labels.split(COUNTS), targets.boxes.split(COUNTS), strict=True)
        ]
        expected = []
        for layer in range(LAYERS):
            indices = matcher({"logits": logits[layer], "pred_boxes": boxes[layer]}, listed)
            for image, (query, column) in enumerate(indices):
                first = sum(COUNTS[:image])
                expected += [
                    (layer, image, q, first + c) for q, c in zip(query.tolist(), column.tolist(), strict=True)
                ]
        assert pairs_of(match(logits, boxes, targets, recipe.class_cost, weights)) == expected


def test_focal_cost_written_out():
    p = torch.tensor(0.3).double()
    expected = -0.25 * 0.7**2 * np.log(0.3) + 0.75 * 0.3**2 * np.log(0.7)
    # the guard against log 0 changes the eighth digit
    assert focal_cost(torch.logit(p)).item() == pytest.approx(expected, abs=1e-7)


def test_each_layer_and_image_is_matched_by_itself():
    logits, boxes, targets = random_case()
    whole = pairs_of(match(logits, boxes, targets, focal_cost, Weights(2, 5, 2)))
    for layer in range(LAYERS):
        for image, count in enumerate(COUNTS):
            first = sum(COUNTS[:image])
            own = Targets(targets.boxes[first:][:count], targets.labels[first:][:count], (count,))
            part = np.s_[layer : layer + 1, image : image + 1]
            alone = match(logits[part], boxes[part], own, focal_cost, Weights(2, 5, 2))
            moved = [(layer, image, q, b + first) for _, _, q, b in pairs_of(alone)]
            assert moved == [one for one in whole if one[:2] == (layer, image)]


def test_order_of_queries_and_boxes_does_not_matter():
    logits, boxes, targets = random_case((4,))
    plain = {
        (layer, q, b)
        for layer, _, q, b in pairs_of(match(logits, boxes, targets, focal_cost, Weights(2, 5, 2)))
    }
    of_query, of_box = torch.tensor([3, 0, 4, 1, 2]), torch.tensor([2, 0, 3, 1])
    mixed = Targets(targets.boxes[of_box], targets.labels[of_box], targets.counts)
    found = match(logits[:, :, of_query], boxes[:, :, of_query], mixed, focal_cost, Weights(2, 5, 2))
    assert {(layer, of_query[q].item(), of_box[b].item()) for layer, _, q, b in pairs_of(found)} == plain


def test_no_box_anywhere_gives_no_pair():
    logits, boxes, _ = random_case((1, 1))
    nothing = gather_targets([np.zeros((0, 4))] * 2, [np.zeros(0)] * 2)
    found = match(logits, boxes, nothing, focal_cost, Weights(2, 5, 2))
    assert pairs_of(found) == []
    assert matched_iou(boxes, nothing, found).shape == (0,)
    assert nothing.total == 1


def test_more_boxes_than_queries_leaves_some_without():
    logits, boxes, targets = random_case((7, 2))
    found = match(logits, boxes, targets, focal_cost, Weights(2, 5, 2))
    assert ((found.image == 0).sum(), (found.image == 1).sum()) == (LAYERS * QUERIES, LAYERS * 2)


def test_gathered_targets():
    targets = gather_targets([np.ones((2, 4)), np.zeros((0, 4)), np.ones((1, 4))], [[1, 2], [], [0]])
    assert targets.boxes.shape == (3, 4) and targets.boxes.dtype == torch.float32
    assert targets.labels.tolist() == [1, 2, 0]
    assert targets.image.tolist() == [0, 0, 2]
    assert targets.counts == (2, 0, 1)
    with pytest.raises(ValueError, match="as many labels"):
        gather_targets([np.ones((2, 4))], [[1]])


def test_iou_of_matched_pairs():
    _, _, targets = random_case((2,))
    boxes = targets.boxes[[1, 0]][None, None]
    found = match(torch.zeros(1, 1, 2, CLASSES), boxes, targets, focal_cost, Weights(2, 5, 2))
    assert found.box.tolist() == [1, 0]
    assert torch.allclose(matched_iou(boxes, targets, found), torch.ones(2))


def test_what_is_wrong_is_said():
    logits, boxes, targets = random_case()
    with pytest.raises(ValueError, match="targets of 4 images, logits of 3"):
        match(logits[:, :3], boxes[:, :3], targets, focal_cost, Weights(2, 5, 2))
    logits[0, 0, 0] = torch.nan
    with pytest.raises(ValueError, match="not all finite"):
        match(logits, boxes, targets, focal_cost, Weights(2, 5, 2))
