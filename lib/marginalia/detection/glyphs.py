"""Handwritten digits as outlines that are sharp at any size.

scikit-learn's `load_digits` (in its package, no download) holds 1797 digits of 8 x 8 cells, each cell the ink
in a block of 4 x 4 pixels, 0 to 16. A cubic spline goes through the 64 numbers; the outline of the stroke is
one of its contours, the one nearest to 7 that is in one piece and has the holes that the number should have.
94 digits (5 %, over half of them the number 8) have no such contour and are left out.

Who wrote which digit is not recorded. The documentation says 13 people; the labels, in the order of
`load_digits`, run 14 times through the same sequence of about 130, so a run seems to be one person's form
(and one person to have filled in two). The digits from the 12th run on are held out for validation: they
come from other hands than those before, but perhaps for that one person.

Lengths are in cells.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.interpolate import BSpline

from ..boxes.geometry import xywh_to_xyxy

_HELD_OUT = 1415  # where the 12th run begins
_HOLES = ({1}, {0}, {0, 1}, {0}, {0, 1}, {0}, {1}, {0}, {2}, {1})  # of a well-drawn 0, 1, ... 9
_LEVELS = (7, 6.5, 7.5, 6, 8, 5.5, 8.5, 5, 9, 4.5, 9.5, 4, 10)  # where to look for the outline, in turn
_CUBIC = BSpline.basis_element(np.arange(-2.0, 3), extrapolate=False)  # weight of a coefficient, by distance
_PAD = 3  # empty cells around a digit, so that its spline can fall to zero


@dataclass(frozen=True)
class Glyphs:
    """G handwritten digits."""

    splines: Float[np.ndarray, "G 14 14"]  # coefficients of the cubic B-splines, rows and columns
    levels: Float[np.ndarray, " G"]  # the stroke is where the spline is above this
    corners: Float[np.ndarray, "G 4"]  # xyxy of the stroke, cells
    digits: Int[np.ndarray, " G"]
    held_out: Bool[np.ndarray, " G"]  # for validation

    @property
    def aspect(self) -> Float[np.ndarray, " G"]:
        """Width of each stroke by its height."""
        return (self.corners[:, 2] - self.corners[:, 0]) / (self.corners[:, 3] - self.corners[:, 1])

    def pool(self, digit: int, held_out: bool) -> Int[np.ndarray, " P"]:
        """The glyphs of one number, of training or of validation."""
        return np.flatnonzero((self.digits == digit) & (self.held_out == held_out))

    def draw(
        self, glyph: int, place: Float[np.ndarray, " 4"], side: int
    ) -> tuple[tuple[slice, slice], Float[np.ndarray, "h w"]]:
        """Rows and columns around a glyph at `place`, and how far inside the stroke their centres lie.

        The glyph fills `place`: xywh in pixels of an image of side x side, with the glyph's aspect. The
        distance to the outline in pixels, positive inside, is taken to first order: (spline - level) /
        |gradient|.
        """
        left, top, _, bottom = self.corners[glyph]
        scale = place[3] / (bottom - top)  # pixels a cell
        (rows, down), (columns, across) = (
            _pixels(place[axis], place[axis + 2], origin, scale, side)
            for axis, origin in ((1, top), (0, left))
        )
        part = self.splines[glyph] @ across[1].T  # (14, w)
        height = down[1] @ part - self.levels[glyph]
        gradient = np.hypot(down[1] @ (self.splines[glyph] @ across[0].T), down[0] @ part) / scale
        return (rows, columns), height / np.maximum(gradient, 1e-6)


@lru_cache(maxsize=1)
def load_glyphs() -> Glyphs:
    """All digits that have a good outline."""
    from scipy.ndimage import spline_filter1d
    from sklearn.datasets import load_digits

    # a spline through each digit
    source = load_digits()
    padded = np.pad(source.images, ((0, 0), (_PAD, _PAD), (_PAD, _PAD)))
    splines = spline_filter1d(spline_filter1d(padded, axis=1), axis=2)  # cubic
    # the level whose contour is the outline; digits without one are left out
    coarse, fine = (_cubic(np.arange(-0.5, 8.5, 1 / n) + 0.5 / n) for n in (5, 20))
    fields = coarse @ splines @ coarse.T  # five points a cell are enough to count pieces and holes
    pairs = zip(fields, source.target, strict=True)
    levels = np.array([_outline(field, _HOLES[digit]) for field, digit in pairs])
    good = np.flatnonzero(np.isfinite(levels))
    # the box around the stroke
    boxes = np.array([around(fine @ splines[k] @ fine.T > levels[k]) for k in good])  # fine steps
    corners = xywh_to_xyxy(boxes) / 20 - 0.5
    return Glyphs(splines[good], levels[good], corners, source.target[good], good >= _HELD_OUT)


def around(mask: Bool[np.ndarray, "h w"]) -> Int[np.ndarray, " 4"]:
    """xywh of the smallest box around the True pixels; there must be one."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return np.array([columns[0], rows[0], columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1])


def _outline(field: Float[np.ndarray, "n n"], holes: set[int]) -> float:
    """The first of the levels whose contour is in one piece with one of these numbers of holes, or NaN."""
    from scipy.ndimage import label

    for level in _LEVELS:
        mask = field > level
        if label(mask, np.ones((3, 3)))[1] == 1 and label(~mask)[1] - 1 in holes:
            return level
    return np.nan


def _pixels(start: float, length: float, origin: float, scale: float, side: int):
    """Pixels of one axis up to two beyond a stroke, and the spline's slopes and values at their centres."""
    low, high = max(int(start) - 2, 0), min(int(start + length) + 3, side)
    at = origin + (np.arange(low, high) + 0.5 - start) / scale  # cells
    return slice(low, high), (_cubic(at, 1), _cubic(at))


def _cubic(at: Float[np.ndarray, " n"], derivative: int = 0) -> Float[np.ndarray, "n 14"]:
    """Weight of each coefficient in a cubic spline, or in its derivative."""
    distance = at[:, None] - (np.arange(8 + 2 * _PAD) + 0.5 - _PAD)  # from the place of each coefficient
    return np.nan_to_num(_CUBIC(distance, derivative))  # NaN beyond 2
