"""Groups of queries: open cells, who sees whom in a real layer, and one-to-many matching."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from marginalia.detection.groups import QueryGroups, denoising, group_detr, one_to_many, repeated
from marginalia.detection.matching import Weights, focal_cost, gather_targets, match

torch.set_num_threads(1)


def test_open_cells_and_blocks():
    groups = denoising(6, groups=3, size=4)
    assert groups.open_cells == 3 * 4 * (4 + 6) + 6**2 == int((~groups.mask()).sum())
    assert groups.block("matching") == slice(12, 18) and groups.block("noised 2") == slice(4, 8)
    assert one_to_many(6, 9).open_cells == 6**2 + 9**2
    assert group_detr(6, 3).open_cells == 3 * 6**2
    for one in (groups, one_to_many(6, 9), group_detr(6, 3)):
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
