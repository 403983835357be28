"""Conversions between box formats, and overlap; for numpy arrays and torch tensors alike.

A box is four numbers on the last axis: `xywh` (top left corner, width, height), `xyxy` (two opposite
corners) or `cxcywh` (centre, width, height), in pixels or normalised to the image size. Every function keeps
the kind of array it was given; gradients flow through torch tensors. Lists become numpy arrays and whole
numbers become floats, because a centre may lie between two pixels.
"""

from __future__ import annotations

from types import ModuleType

from jaxtyping import Float

from marginalia.arrays import Array, floats, module_of


def _boxes(boxes: Array, name: str = "boxes") -> tuple[Array, ModuleType]:
    """The boxes as floats, and the module (numpy or torch) whose functions apply to them."""
    boxes = floats(boxes)
    if not boxes.ndim or boxes.shape[-1] != 4:
        raise ValueError(f"{name}: the last axis must hold the 4 numbers of a box, not {tuple(boxes.shape)}")
    return boxes, module_of(boxes)


def xywh_to_xyxy(boxes: Float[Array, "... 4"]) -> Float[Array, "... 4"]:
    """Top left corner, width, height -> two corners.

    >>> xywh_to_xyxy([10, 20, 30, 40])
    array([10., 20., 40., 60.])
    """
    boxes, module = _boxes(boxes)
    x, y, w, h = (boxes[..., k] for k in range(4))
    return module.stack([x, y, x + w, y + h], -1)


def xywh_to_cxcywh(boxes: Float[Array, "... 4"]) -> Float[Array, "... 4"]:
    """Top left corner, width, height -> centre, width, height."""
    boxes, module = _boxes(boxes)
    x, y, w, h = (boxes[..., k] for k in range(4))
    return module.stack([x + w / 2, y + h / 2, w, h], -1)


def cxcywh_to_xywh(boxes: Float[Array, "... 4"]) -> Float[Array, "... 4"]:
    """Centre, width, height -> top left corner, width, height."""
    boxes, module = _boxes(boxes)
    cx, cy, w, h = (boxes[..., k] for k in range(4))
    return module.stack([cx - w / 2, cy - h / 2, w, h], -1)


def cxcywh_to_xyxy(boxes: Float[Array, "... 4"]) -> Float[Array, "... 4"]:
    """Centre, width, height -> two corners."""
    boxes, module = _boxes(boxes)
    cx, cy, w, h = (boxes[..., k] for k in range(4))
    return module.stack([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2], -1)


def _corners(boxes: Array, name: str) -> tuple[Array, ModuleType]:
    boxes, module = _boxes(boxes, name)
    if (boxes[..., 2:] < boxes[..., :2]).any():
        raise ValueError(f"{name}: xyxy boxes need x1 >= x0 and y1 >= y0; convert with xywh_to_xyxy first?")
    return boxes, module


def _area(boxes: Array) -> Array:
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def _overlap(a: Array, b: Array, module: ModuleType) -> tuple[Array, Array]:
    """Intersection and union areas of boxes whose leading axes broadcast."""
    low = module.maximum(a[..., :2], b[..., :2])
    high = module.minimum(a[..., 2:], b[..., 2:])
    sides = (high - low).clip(0)  # negative where the boxes lie apart
    intersection = sides[..., 0] * sides[..., 1]
    return intersection, _area(a) + _area(b) - intersection


def _ratio(part: Array, whole: Array, module: ModuleType) -> Array:
    """part / whole, and 0 where both are 0; dividing by one there keeps the gradient finite too."""
    empty = whole <= 0
    safe = part / module.where(empty, module.ones_like(whole), whole)
    return module.where(empty, module.zeros_like(part), safe)


def iou_elementwise(a: Float[Array, "... 4"], b: Float[Array, "... 4"]) -> Float[Array, ...]:
    """Intersection over union of box pairs, both `xyxy` in one unit; leading axes broadcast.

    In [0, 1]. Two boxes without area have an empty union: their IoU is 0, not NaN, even where they coincide.
    Raises ValueError where a second corner lies left of or above the first.
    """
    (a, module), (b, _) = _corners(a, "a"), _corners(b, "b")
    return _ratio(*_overlap(a, b, module), module)


def giou_elementwise(a: Float[Array, "... 4"], b: Float[Array, "... 4"]) -> Float[Array, ...]:
    """Generalised IoU of box pairs, both `xyxy`: IoU minus the empty part of the smallest box around both.

    In (-1, 1]; 0 where the surrounding box has no area either (two equal points, two flat boxes on one line).
    Raises ValueError where a second corner lies left of or above the first.
    """
    (a, module), (b, _) = _corners(a, "a"), _corners(b, "b")
    intersection, union = _overlap(a, b, module)
    sides = module.maximum(a[..., 2:], b[..., 2:]) - module.minimum(a[..., :2], b[..., :2])
    hull = sides[..., 0] * sides[..., 1]
    return _ratio(intersection, union, module) - _ratio(hull - union, hull, module)


def iou(a: Float[Array, "N 4"], b: Float[Array, "M 4"]) -> Float[Array, "N M"]:
    """Intersection over union of every box of `a` with every box of `b`, both `xyxy`; see iou_elementwise.

    >>> iou([[0, 0, 2, 2]], [[0, 0, 2, 1], [1, 1, 2, 2], [5, 5, 6, 6]])
    array([[0.5 , 0.25, 0.  ]])
    """
    (a, _), (b, _) = _boxes(a, "a"), _boxes(b, "b")
    return iou_elementwise(a[..., :, None, :], b[..., None, :, :])  # (N, M)


def giou(a: Float[Array, "N 4"], b: Float[Array, "M 4"]) -> Float[Array, "N M"]:
    """Generalised IoU of every box of `a` with every box of `b`, both `xyxy`; see giou_elementwise."""
    (a, _), (b, _) = _boxes(a, "a"), _boxes(b, "b")
    return giou_elementwise(a[..., :, None, :], b[..., None, :, :])  # (N, M)
