"""Conversions and overlap, for numpy arrays and torch tensors."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from marginalia.boxes.geometry import (
    cxcywh_to_xywh,
    cxcywh_to_xyxy,
    giou,
    giou_elementwise,
    iou,
    iou_elementwise,
    xywh_to_cxcywh,
    xywh_to_xyxy,
)

number = st.floats(-1000, 1000, allow_subnormal=False)
side = st.floats(0, 1000, allow_subnormal=False)
xywh_lists = st.lists(st.tuples(number, number, side, side), min_size=1, max_size=6)


def test_one_box_in_three_forms():
    assert xywh_to_xyxy([10, 20, 30, 40]).tolist() == [10, 20, 40, 60]
    assert xywh_to_cxcywh([10, 20, 30, 40]).tolist() == [25, 40, 30, 40]
    assert cxcywh_to_xywh([25, 40, 30, 40]).tolist() == [10, 20, 30, 40]
    assert cxcywh_to_xyxy([25, 40, 30, 40]).tolist() == [10, 20, 40, 60]


@given(xywh_lists)
def test_ways_that_lead_to_one_place(boxes):
    boxes = np.array(boxes)
    tolerance = {"rtol": 0, "atol": 1e-12 * 3000}  # sums of up to three sides
    np.testing.assert_allclose(cxcywh_to_xywh(xywh_to_cxcywh(boxes)), boxes, **tolerance)
    np.testing.assert_allclose(cxcywh_to_xyxy(xywh_to_cxcywh(boxes)), xywh_to_xyxy(boxes), **tolerance)


@given(xywh_lists, xywh_lists)
def test_torch_gives_what_numpy_gives(a, b):
    a, b = xywh_to_xyxy(np.array(a)), xywh_to_xyxy(np.array(b))
    for pairwise in (iou, giou):
        here = pairwise(torch.from_numpy(a), torch.from_numpy(b))
        assert isinstance(here, torch.Tensor)
        np.testing.assert_allclose(here.numpy(), pairwise(a, b), rtol=0, atol=1e-13)


def test_kind_width_and_leading_axes_stay():
    boxes = torch.rand(2, 3, 4, dtype=torch.float32)
    for convert in (xywh_to_xyxy, xywh_to_cxcywh, cxcywh_to_xywh, cxcywh_to_xyxy):
        result = convert(boxes)
        assert result.dtype == torch.float32 and result.shape == boxes.shape
        array = convert(boxes.numpy())
        assert array.dtype == np.float32 and isinstance(array, np.ndarray)
    assert xywh_to_cxcywh(np.array([[1, 1, 3, 3]], np.uint8)).tolist() == [[2.5, 2.5, 3, 3]]
    assert xywh_to_cxcywh(torch.tensor([[1, 1, 3, 3]])).tolist() == [[2.5, 2.5, 3, 3]]
    assert iou(np.zeros((0, 4)), np.zeros((3, 4))).shape == (0, 3)


def test_overlap_by_hand():
    a = [[0, 0, 2, 2]]
    b = [[1, 1, 3, 3], [0, 0, 2, 2], [4, 0, 6, 2], [2, 0, 4, 2]]
    np.testing.assert_allclose(iou(a, b), [[1 / 7, 1, 0, 0]])
    # around the first pair lies a 3 x 3 box of which 7 are covered; around the third a 6 x 2 box, 8 covered
    np.testing.assert_allclose(giou(a, b), [[1 / 7 - 2 / 9, 1, -4 / 12, 0]])
    np.testing.assert_allclose(iou_elementwise(a * 4, b), iou(a, b)[0])
    np.testing.assert_allclose(giou_elementwise(a * 4, b), giou(a, b)[0])


@given(xywh_lists, xywh_lists)
def test_overlap_identities(a, b):
    a, b = xywh_to_xyxy(np.array(a)), xywh_to_xyxy(np.array(b))
    overlap, general = iou(a, b), giou(a, b)
    assert overlap.shape == (len(a), len(b))
    assert (overlap >= 0).all() and (overlap <= 1 + 1e-9).all()
    # a union that cancels in rounding can be off by one part in 1e9 of the far larger coordinates
    assert (general <= overlap + 1e-9).all() and (general >= -1 - 1e-9).all()
    np.testing.assert_array_equal(overlap, iou(b, a).T)
    whole = (a[:, 2:] - a[:, :2]).prod(axis=1) > 0  # an area below the smallest float is none
    np.testing.assert_allclose(iou_elementwise(a, a)[whole], 1)


def test_boxes_without_area_overlap_nothing():
    point, flat, box = [1, 1, 1, 1], [0, 1, 2, 1], [0, 0, 2, 2]
    assert iou([point, flat], [point, flat, box]).tolist() == [[0, 0, 0], [0, 0, 0]]
    assert giou([point], [point]).tolist() == [[0]]
    underflown = [0, 0, 3e-99, 3e-248]  # sides of two floats, whose product is not one
    assert iou([underflown], [underflown]).tolist() == [[0]]


def test_gradients_flow_and_stay_finite():
    a = torch.tensor([[0.0, 0, 2, 2], [1, 1, 1, 1], [5, 5, 6, 6]], requires_grad=True)
    b = torch.tensor([[1.0, 1, 3, 3], [1, 1, 1, 1], [0, 0, 1, 1]])
    (iou_elementwise(a, b).sum() + giou_elementwise(a, b).sum()).backward()
    assert torch.isfinite(a.grad).all()
    assert a.grad[0].abs().min() > 0
    assert a.grad[2].abs().max() > 0  # apart: IoU is flat, GIoU still pulls


@pytest.mark.parametrize("overlap", [iou, giou, iou_elementwise, giou_elementwise])
def test_corners_in_the_wrong_order_are_refused(overlap):
    with pytest.raises(ValueError, match="x1 >= x0"):
        overlap([[50.0, 50, 20, 20]], [[0.0, 0, 1, 1]])


def test_last_axis_must_hold_four_numbers():
    with pytest.raises(ValueError, match=r"4 numbers.*\(3,\)"):
        xywh_to_xyxy([1, 2, 3])


def test_numpy_needs_no_torch():
    use = "import sys, marginalia.boxes.geometry as g; g.iou([[0, 0, 1, 1]], [[0, 0, 1, 1]])"
    code = f"{use}; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
