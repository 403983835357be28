"""Groups of queries: open cells, who sees whom in a real layer, and one-to-many matching."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from marginalia.detection.detector import Detector, DetectorConfig, DetectorOutput, build, parameters
from marginalia.detection.groups import (
    QueryGroups,
    contrastive_noise,
    denoising,
    group_detr,
    moved_corners,
    one_to_many,
    relation_detr,
    repeated,
)
from marginalia.detection.losses import RECIPES, one_to_many_loss, set_loss
from marginalia.detection.matching import Weights, focal_cost, gather_targets, match
from marginalia.detection.relation import RELATIONS, PositionRelation

torch.set_num_threads(1)


def test_open_cells_and_blocks():
    groups = denoising(6, groups=3, size=4)
    assert groups.open_cells == 3 * 4 * (4 + 6) + 6**2 == int((~groups.mask()).sum())
    assert groups.block("matching") == slice(12, 18) and groups.block("noised 2") == slice(4, 8)
    assert one_to_many(6, 9).open_cells == 6**2 + 9**2
    assert group_detr(6, 3).open_cells == 3 * 6**2
    both = relation_detr(6, 9, groups=3, size=4)
    assert both.open_cells == groups.open_cells + 9**2 and torch.equal(both.mask()[:18, :18], groups.mask())
    for one in (groups, one_to_many(6, 9), group_detr(6, 3), both):
        assert not one.mask().all(1).any()  # every query sees something


def test_a_block_that_sees_nothing_is_refused():
    with pytest.raises(ValueError, match="second sees nothing"):
        QueryGroups(("first", "second"), (2, 2), np.array([[True, False], [False, False]]))


def test_repeated_targets_are_matched_as_often():
    targets = gather_targets(
        [np.full((2, 4), [[0.5], [0.2]]), np.zeros((0, 4)), np.full((1, 4), 0.3)], [[0, 1], [], [2]]
    )
    many = repeated(targets, 3)
    assert many.counts == (6, 0, 3) and many.labels.tolist() == [0, 1] * 3 + [2] * 3
    torch.manual_seed(0)
    logits, boxes = torch.randn(2, 3, 8, 3), torch.rand(2, 3, 8, 4)
    pairs = match(logits, boxes, many, focal_cost, Weights(2, 5, 2))
    key = many.boxes[pairs.box, 0] * 10 + many.labels[pairs.box] + 100 * pairs.image + 1000 * pairs.layer
    assert set(key.unique(return_counts=True)[1].tolist()) == {3} and len(pairs.box) == 2 * 9
    once = match(logits, boxes, repeated(targets, 1), focal_cost, Weights(2, 5, 2))
    plain = match(logits, boxes, targets, focal_cost, Weights(2, 5, 2))
    assert torch.equal(once.query, plain.query) and torch.equal(once.box, plain.box)


# --- denoising noise


@pytest.fixture(scope="module")
def crowd():
    """Two hundred boxes of ten classes in images of 3, 0, 150 and 47, within the unit square."""
    rng = np.random.default_rng(0)
    sizes = rng.uniform(0.05, 0.4, (200, 2))
    boxes = np.hstack([sizes / 2 + rng.random((200, 2)) * (1 - sizes), sizes])
    parts = np.split(boxes, [3, 3, 153]), np.split(rng.integers(10, size=200), [3, 3, 153])
    return gather_targets(*parts)


def test_positives_move_less_than_half_a_side_and_negatives_more(crowd):
    negative = torch.tensor([False, True] * 20)
    moved = moved_corners(crowd.boxes, negative, torch.Generator().manual_seed(0))
    cx, cy, w, h = crowd.boxes.double().T
    corners = torch.stack([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2], -1)
    r = (moved - corners[:, None]) / (torch.stack([w, h, w, h], -1) / 2)[:, None]
    size, slack = r.abs(), 1e-5  # of 32 bits, at boxes of at least .05
    assert size[:, ~negative].max() < 1 + slack
    assert size[:, negative].min() > 1 - slack and size[:, negative].max() < 2 + slack
    # uniform, to either side: means within four standard errors
    count = r[:, negative].numel()
    assert abs((r > 0).double().mean() - 0.5) < 4 * 0.5 / (2 * count) ** 0.5
    for part, middle in ((size[:, ~negative], 0.5), (size[:, negative], 1.5)):
        assert abs(part.mean() - middle) < 4 / (12 * count) ** 0.5
    # positives keep w, h > 0; along each axis a quarter of the negatives has both sides moved inwards
    inside_out = (moved[..., 2:] <= moved[..., :2]).any(-1)
    assert not inside_out[:, ~negative].any()
    pairs = inside_out[:, negative].numel()
    assert abs(inside_out[:, negative].double().mean() - 7 / 16) < 4 * 0.5 / pairs**0.5


def test_slots_know_their_box(crowd):
    few = gather_targets([crowd.boxes[:3], [], crowd.boxes[3:5]], [[4, 5, 6], [], [7, 8]])
    noised = contrastive_noise(few, 10, torch.Generator().manual_seed(0))
    assert (noised.groups, noised.size) == (33, 6) and noised.beside(7).open_cells == 33 * 6 * (6 + 7) + 7**2
    by_group = noised.answers_for.view(3, 33, 6)
    assert by_group[0].unique(dim=0).tolist() == [[0, 1, 2, -1, -1, -1]]
    assert by_group[2].unique(dim=0).tolist() == [[3, 4, -1, -1, -1, -1]]
    # padded slots: all of the second image, the third place in both halves of the third
    padded = torch.zeros(3, 33, 6, dtype=torch.bool)
    padded[1], padded[2, :, [2, 5]] = True, True
    assert torch.equal(noised.labels.view(3, 33, 6) == -1, padded)
    assert (noised.boxes.view(3, 33, 6, 4)[padded] == 0.5).all()
    # a positive lies around its box: its middle is less than half a side away
    known = noised.answers_for >= 0
    truth = few.boxes[noised.answers_for[known]]
    assert ((noised.boxes[known] - truth)[:, :2].abs() < truth[:, 2:] / 2 + 1e-6).all()
    # all corners were clipped
    xy, wh = noised.boxes.split(2, -1)
    assert (xy - wh / 2).min() > -1e-6 and (xy + wh / 2).max() < 1 + 1e-6


def test_a_quarter_of_the_labels_is_drawn_anew(crowd):
    noised = contrastive_noise(crowd, 10, torch.Generator().manual_seed(0), slots=15000)
    known = noised.answers_for >= 0
    changed = noised.labels[known] != crowd.labels[noised.answers_for[known]]
    share, count = 0.25 * 9 / 10, known.sum().item()  # one of ten draws is the old class
    assert count == 200 * 100
    assert abs(changed.double().mean() - share) < 4 * (share * (1 - share) / count) ** 0.5
    again = contrastive_noise(crowd, 10, torch.Generator().manual_seed(0), slots=15000)
    assert torch.equal(noised.labels, again.labels) and torch.equal(noised.boxes, again.boxes)


def test_the_number_of_groups_follows_the_fullest_image(crowd):
    groups = {n: contrastive_noise(gather_targets([crowd.boxes[:n]], [[0] * n]), 10) for n in (1, 3, 51, 120)}
    assert {n: one.groups for n, one in groups.items()} == {1: 100, 3: 33, 51: 1, 120: 1}
    empty = contrastive_noise(gather_targets([[], []], [[], []]), 10)
    assert empty.groups == 1 and empty.boxes.shape == (2, 0, 4)
    assert empty.beside(5).open_cells == 25


# --- in a decoder

LAYOUTS = {
    "one-to-many": one_to_many(4, 6),
    "group": group_detr(5, 2),
    "denoising": denoising(4, 2, 3),
    "relation": relation_detr(4, 6, 2, 3),
}


def outputs(model: Detector, training: bool = True) -> DetectorOutput:
    pixels = torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    with torch.no_grad():
        return model.train(training)(pixels)


def grouped(kind: str, groups: QueryGroups, relation: bool = False) -> Detector:
    """A small detector in 64 bits whose queries are in groups, with a relation or not."""
    config = DetectorConfig(kind=kind, width=32, heads=4, ffn=32, queries=sum(groups.sizes), encoder_layers=1)
    model = build(config).double()
    model.decoder.groups = groups
    if relation:
        torch.manual_seed(0)
        model.decoder.relation = PositionRelation(4).double()
    return model


def content(model: Detector) -> torch.nn.Parameter:
    """What tells queries apart."""
    queries = model.decoder.queries
    return queries.anchor if hasattr(queries, "anchor") else queries.object_query


@pytest.mark.parametrize("relation", [False, True])
@pytest.mark.parametrize("kind", ["detr", "conditional", "dab"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_blocks_that_see_each_other_depend_on_each_other(layout, kind, relation):
    groups = LAYOUTS[layout]
    model = grouped(kind, groups, relation)
    before = outputs(model)
    for k, changed in enumerate(groups.names):
        model = grouped(kind, groups, relation)
        content(model).data[groups.block(changed)] += 0.3
        after = outputs(model)
        for j, name in enumerate(groups.names):
            part = groups.block(name)
            same = torch.equal(before.hidden[:, :, part], after.hidden[:, :, part])
            assert same != groups.sees[j, k], (changed, name)  # each block sees itself too


@pytest.mark.parametrize("kind", ["conditional", "dab"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_afterwards_only_the_matching_queries_are_there(layout, kind):
    groups = LAYOUTS[layout]
    model = grouped(kind, groups, relation=True)
    training, evaluation = outputs(model), outputs(model, training=False)
    assert evaluation.hidden.shape[2] == groups.sizes[groups.names.index("matching")]
    torch.testing.assert_close(
        evaluation.hidden, training.hidden[:, :, groups.block("matching")], rtol=0, atol=1e-12
    )


def test_a_dead_relation_is_none_and_the_first_layer_has_none():
    plain = outputs(grouped("conditional", LAYOUTS["one-to-many"]))
    model = grouped("conditional", LAYOUTS["one-to-many"], relation=True)
    related = outputs(model)
    assert torch.equal(related.hidden[0], plain.hidden[0])
    assert not torch.equal(related.hidden[1, :, :4], plain.hidden[1, :, :4])
    assert torch.equal(related.hidden[:, :, 4:], plain.hidden[:, :, 4:])  # hybrid queries have no relation
    model.decoder.relation.projection.weight.data.zero_()
    model.decoder.relation.projection.bias.data.fill_(-0.1)
    assert torch.equal(outputs(model).hidden, plain.hidden)


def test_a_config_builds_relation_and_groups():
    """All have equally many parameters but for the relation's own and the further queries'."""
    plain, config = (
        DetectorConfig(width=32, heads=4, queries=5, relation=relation, one_to_many=more)
        for relation, more in ((None, 0), ("two layers", 7))
    )
    model = build(config)
    assert parameters(model) - parameters(build(plain)) == 4 * 64 + 4 + 7 * 32
    pixels = torch.rand(1, 1, 32, 32)
    assert model(pixels).boxes.shape[2] == 12 and model.eval()(pixels).boxes.shape[2] == 5
    with pytest.raises(ValueError, match="relation 'three layers' is not one of None, two layers"):
        DetectorConfig(relation="three layers")


def test_one_to_many_loss_is_two_losses():
    targets = gather_targets([[[0.5, 0.5, 0.4, 0.4]], [[0.3, 0.3, 0.2, 0.2]]], [[1], [2]])
    model = build(DetectorConfig(width=32, heads=4, queries=5, one_to_many=7))
    output, recipe = model(torch.rand(2, 1, 32, 32)), RECIPES["conditional"]
    first, second = one_to_many_loss(output, targets, recipe, model.decoder.groups, 3)
    alone = set_loss(DetectorOutput(*(field[:, :, :5] for field in output)), targets, recipe)
    assert torch.equal(first.total, alone.total)
    assert len(first.matches.box) == 3 * 2 and len(second.matches.box) == 3 * 2 * 3


def test_other_relations_differ_in_their_boxes_only():
    source, target = torch.rand(2, 2, 6, 4).unbind()
    for name, boxes in {
        "one layer": (target, target),
        "permuted": (source.roll(3, 1), target.roll(3, 1)),
    }.items():
        torch.manual_seed(0)
        other = RELATIONS[name](4)
        torch.manual_seed(0)
        assert torch.equal(other(source, target), PositionRelation(4)(*boxes))


def test_group_detr_is_its_groups_one_by_one():
    """The mask gives what each group gives alone, as folding groups into the batch does."""
    model = grouped("conditional", LAYOUTS["group"])
    whole = outputs(model)
    queries = content(model).data.clone()
    for name in model.decoder.groups.names:
        part = model.decoder.groups.block(name)
        alone = grouped("conditional", LAYOUTS["group"])
        alone.decoder.groups = None
        alone.decoder.queries.object_query = torch.nn.Parameter(queries[part])
        torch.testing.assert_close(outputs(alone).hidden, whole.hidden[:, :, part], rtol=0, atol=1e-12)
