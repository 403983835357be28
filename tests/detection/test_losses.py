"""The set losses against transformers', against formulas written out, and in the cases without boxes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
import torch

from marginalia.detection.losses import NO_OBJECT, RECIPES, box_losses, focal_loss, set_loss, softmax_loss
from marginalia.detection.matching import Matches, Targets, gather_targets, match

torch.set_num_threads(1)
LAYERS, QUERIES, CLASSES = 3, 6, 4
COUNTS = (2, 0, 3)
KINDS = list(RECIPES)


class Output(NamedTuple):
    logits: torch.Tensor
    boxes: torch.Tensor


def random_case(kind="conditional", counts=COUNTS, seed=0) -> tuple[Output, Targets]:
    source = torch.Generator().manual_seed(seed)
    width = CLASSES + (kind == "detr")
    logits = 2 * torch.randn(LAYERS, len(counts), QUERIES, width, generator=source)
    boxes = 0.2 + 0.5 * torch.rand(LAYERS, len(counts), QUERIES, 4, generator=source)
    ground_truth = 0.2 + 0.5 * torch.rand(sum(counts), 4, generator=source)
    labels = torch.randint(CLASSES, (sum(counts),), generator=source)
    return Output(logits.requires_grad_(), boxes.requires_grad_()), Targets(
        ground_truth, labels, tuple(counts)
    )


def criterion(kind: str):
    """transformers' criterion for a kind; its own weights are not used (sheet 7.4)."""
    pytest.importorskip("transformers")
    from transformers.loss import loss_deformable_detr as focal
    from transformers.loss import loss_for_object_detection as softmax

    weights = RECIPES[kind].cost_weights
    costs = {"class_cost": weights.classes, "bbox_cost": weights.l1, "giou_cost": weights.giou}
    if kind == "detr":
        matcher = softmax.HungarianMatcher(**costs)
        return softmax.ImageLoss(matcher, CLASSES, NO_OBJECT, ["labels", "boxes"])
    matcher = focal.DeformableDetrHungarianMatcher(**costs)
    return focal.DeformableDetrImageLoss(matcher, CLASSES, 0.25, ["labels", "boxes"])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(3))
def test_agrees_with_transformers(kind, seed):
    output, targets = random_case(kind, seed=seed)
    parts = zip(targets.labels.split(COUNTS), targets.boxes.split(COUNTS), strict=True)
    listed = [{"class_labels": label, "boxes": box} for label, box in parts]
    layers = [{"logits": a, "pred_boxes": b} for a, b in zip(*output, strict=True)]
    theirs = criterion(kind)({**layers[-1], "auxiliary_outputs": layers[:-1]}, listed)
    ours = set_loss(output, targets, RECIPES[kind])
    for part, name in ((ours.classes, "loss_ce"), (ours.l1, "loss_bbox"), (ours.giou, "loss_giou")):
        expected = torch.stack([theirs[f"{name}_{i}"] for i in range(LAYERS - 1)] + [theirs[name]])
        assert torch.allclose(part, expected, atol=1e-5)  # float32 sums in another order


@pytest.mark.parametrize(
    ("kind", "weights"),
    [("detr", (1, 5, 2)), ("detr-focal", (2, 5, 2)), ("conditional", (2, 5, 2)), ("dab", (1, 5, 2))],
)
def test_total_is_the_weighted_sum_over_layers(kind, weights):
    output, targets = random_case(kind)
    loss = set_loss(output, targets, RECIPES[kind])
    parts = zip(weights, (loss.classes, loss.l1, loss.giou), strict=True)
    assert loss.total.item() == pytest.approx(sum(w * p.sum().item() for w, p in parts), rel=1e-5)


def one_pair() -> tuple[Targets, Matches]:
    """One image, one layer: query 1 answers for the only box, which is of class 2."""
    targets = Targets(torch.tensor([[0.5, 0.5, 0.2, 0.4]]), torch.tensor([2]), (1,))
    return targets, Matches(*(torch.tensor([k]) for k in (0, 0, 1, 0)))


def test_focal_loss_written_out():
    logits = torch.linspace(-2, 2, QUERIES * CLASSES, dtype=torch.float64).view(1, 1, QUERIES, CLASSES)
    p = 1 / (1 + np.exp(-logits[0, 0].numpy()))
    expected = 0.75 * p**2 * -np.log(1 - p)
    expected[1, 2] = 0.25 * (1 - p[1, 2]) ** 2 * -np.log(p[1, 2])
    assert focal_loss(logits, *one_pair()).item() == pytest.approx(expected.sum(), rel=1e-12)


def test_softmax_loss_written_out():
    logits = torch.linspace(-2, 2, QUERIES * (CLASSES + 1)).double().sin().view(1, 1, QUERIES, CLASSES + 1)
    p = np.exp(logits[0, 0].numpy())
    p /= p.sum(1, keepdims=True)
    weight, wanted = np.full(QUERIES, 0.1), np.full(QUERIES, CLASSES)
    weight[1], wanted[1] = 1, 2
    expected = (weight * -np.log(p[np.arange(QUERIES), wanted])).sum() / weight.sum()
    # the weights are float32 tenths
    assert softmax_loss(logits, *one_pair()).item() == pytest.approx(expected, rel=1e-7)


def test_box_losses_written_out():
    boxes = torch.zeros(1, 1, QUERIES, 4)
    boxes[0, 0, 1] = torch.tensor([0.6, 0.5, 0.2, 0.4])  # moved right by half its width
    l1, giou = box_losses(boxes, *one_pair())
    assert l1.tolist() == pytest.approx([0.1], rel=1e-5)
    assert giou.tolist() == pytest.approx(
        [1 - 1 / 3], rel=1e-5
    )  # the smallest box around both is their union


@pytest.mark.parametrize("kind", KINDS)
def test_right_predictions_cost_nothing(kind):
    _, targets = random_case(kind)
    logits = torch.full((LAYERS, 3, QUERIES, CLASSES + (kind == "detr")), -20.0)
    boxes = torch.full((LAYERS, 3, QUERIES, 4), 0.5)
    if kind == "detr":
        logits[..., -1] = 0.0
    first = np.cumsum((0, *COUNTS))
    for image, count in enumerate(COUNTS):
        for k in range(count):
            logits[:, image, k, targets.labels[first[image] + k]] = 20.0
            boxes[:, image, k] = targets.boxes[first[image] + k]
    assert set_loss(Output(logits, boxes), targets, RECIPES[kind]).total.item() == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_only_matched_boxes_get_a_gradient(kind):
    output, targets = random_case(kind)
    loss = set_loss(output, targets, RECIPES[kind])
    loss.total.backward()
    moved = output.boxes.grad.abs().sum(-1) > 0  # (L, B, Q)
    matched = torch.zeros_like(moved)
    matched[loss.matches.layer, loss.matches.image, loss.matches.query] = True
    assert (moved == matched).all()
    assert (output.logits.grad.abs().sum(-1) > 0).all()  # every query learns whether it sees something


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_without_boxes_has_only_a_class_loss(kind):
    output, _ = random_case(kind)
    nothing = gather_targets([np.zeros((0, 4))] * 3, [np.zeros(0)] * 3)
    loss = set_loss(output, nothing, RECIPES[kind])
    loss.total.backward()
    assert (loss.classes > 0).all()
    assert not loss.l1.any() and not loss.giou.any()
    assert torch.isfinite(output.logits.grad).all()


@pytest.mark.parametrize("kind", KINDS)
def test_order_of_images_and_queries_does_not_matter(kind):
    output, targets = random_case(kind)
    plain = set_loss(output, targets, RECIPES[kind]).total
    order, of_query = [2, 0, 1], torch.randperm(QUERIES, generator=torch.Generator().manual_seed(3))
    boxes, labels = targets.boxes.split(COUNTS), targets.labels.split(COUNTS)
    moved = Targets(
        torch.cat([boxes[k] for k in order]),
        torch.cat([labels[k] for k in order]),
        tuple(COUNTS[k] for k in order),
    )
    mixed = Output(output.logits[:, order][:, :, of_query], output.boxes[:, order][:, :, of_query])
    assert set_loss(mixed, moved, RECIPES[kind]).total.item() == pytest.approx(plain.item(), rel=1e-5)


def test_focal_kinds_share_their_matching():
    output, targets = random_case()
    found = [
        match(*output, targets, RECIPES[kind].class_cost, RECIPES[kind].cost_weights)
        for kind in ("detr-focal", "conditional", "dab")
    ]
    assert all(torch.equal(found[0].query, other.query) for other in found[1:])
