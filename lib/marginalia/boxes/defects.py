"""Generated steel surfaces with defects, laid out as in NEU-DET; none of it was photographed.

NEU-DET (hot-rolled steel strip, 200 x 200 pixels, six classes of defects) may not be passed on, so this
module draws pictures of its own. `LAYOUT` holds the few aggregated numbers, measured on its 1800 annotated
pictures, that the generator follows.

Reproduced: six classes of pictures in equal shares; the distribution of boxes a picture; the mix of classes
(one picture in fifteen holds a second class, nearly always inclusions or patches); each class's distributions
of width and height, their rank correlation, how both shrink where a picture holds more boxes, how alike they
are within a picture; the share of boxes that touch the picture's border.

Not reproduced: where boxes lie otherwise. Positions are uniform, with an attempt to keep the boxes of a
picture apart. What relates the places of neighbours in real pictures (rows of inclusions, streaks side by
side) is absent, so an excess correlation found here is not that of NEU-DET. The mean macroscopic correlation
comes out close all the same: .545 (1800 pictures, seed 0) against .553. The steel and the defects are
drawn from filtered noise; they share no pixel and no statistic of texture with real steel, and a detector's
score on them says nothing about a mill.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8

from .table import BoxTable

PICTURES = 300  # of each class in NEU-DET
SIDE = 200  # pixels, width and height of every picture
LEVELS = (0, 0.05, 0.15, 0.3, 0.5, 0.7, 0.85, 0.95, 1)  # of the quantiles in LAYOUT
MARGIN = 1  # real boxes that touch the border end this many pixels before it
PLACES = 40  # places tried for a box, so that it keeps clear of those already there


@dataclass(frozen=True)
class ClassLayout:
    """Aggregated layout of one class, measured on NEU-DET's 1800 pictures; lengths in pixels.

    `crowding` and `alike` are measured on normal scores (normal quantiles of the ranks) of width and height.
    """

    name: str
    counts: tuple[int, ...]  # pictures of this class with 1, 2, 3, ... boxes of it
    widths: tuple[int, ...]  # quantiles at LEVELS
    heights: tuple[int, ...]
    link: float  # rank correlation of width and height
    crowding: tuple[float, float]  # slope of width, of height, on the logarithm of the number of boxes
    alike: tuple[float, float, float]  # covariance of two boxes of a picture beyond that: w w, h h, w h
    border: tuple[
        float, float
    ]  # share of boxes, beyond chance, at the left or right, the top or bottom border
    company: tuple[
        tuple[int, tuple[int, ...]], ...
    ] = ()  # another class's index, pictures with 1, 2, ... of it


LAYOUT = (
    ClassLayout(
        "crazing", (43, 145, 93, 18, 1),
        (31, 61, 79, 100, 126, 150, 174, 191, 199), (29, 42, 50, 58, 70, 84, 100, 128, 197),
        -0.13, (0.05, -0.69), (0.17, 0.10, 0.02), (0.40, 0.17), ((1, (1,)), (2, (4,))),
    ),
    ClassLayout(
        "inclusion", (58, 85, 70, 41, 21, 11, 5, 5, 4),
        (10, 14, 17, 21, 25, 32, 40, 53, 138), (12, 26, 34, 45, 65, 97, 171, 196, 199),
        0.59, (-0.47, -0.27), (0.06, 0.13, 0.01), (0.03, 0.29),
    ),
    ClassLayout(
        "patches", (47, 88, 94, 48, 14, 9),
        (14, 27, 37, 44, 52, 65, 78, 91, 159), (13, 28, 40, 52, 72, 99, 131, 189, 199),
        0.50, (-0.12, -0.32), (0.07, 0.0, 0.0), (0.19, 0.45), ((1, (14, 10, 3, 1, 1)),),
    ),
    ClassLayout(
        "pitted_surface", (190, 95, 10, 4, 1),
        (23, 44, 64, 87, 125, 167, 195, 199, 199), (19, 79, 137, 175, 191, 196, 198, 199, 199),
        0.36, (-1.61, -0.82), (0.0, 0.20, 0.0), (0.51, 0.50), ((1, (3,)), (2, (22, 13, 1, 1))),
    ),
    ClassLayout(
        "rolled-in_scale", (63, 161, 61, 15),
        (21, 37, 45, 54, 68, 85, 106, 125, 176), (16, 29, 40, 55, 70, 93, 119, 152, 196),
        0.27, (-0.38, -0.75), (0.20, 0.0, 0.0), (0.08, 0.31),
    ),
    ClassLayout(
        "scratches", (130, 109, 46, 13, 2),
        (8, 11, 14, 17, 26, 48, 176, 198, 199), (9, 15, 23, 48, 130, 183, 198, 198, 199),
        -0.41, (-0.31, -0.53), (0.62, 0.54, -0.56), (0.09, 0.35), ((1, (35, 8, 4, 2)), (2, (1,)), (3, (1,))),
    ),
)  # fmt: skip


def generate_layout(images: int = 180, seed: int = 0, shared: float = 0.1) -> BoxTable:
    """Generated defect boxes without the pictures, laid out as in NEU-DET: see the module's text.

    A box whose intersection over union with an earlier one is above `shared` tries another place; with 1 it
    may lie anywhere. Picture i has class i mod 6 and does not depend on `images`. Raises ValueError for
    fewer than one picture.
    """
    if images < 1:
        raise ValueError(f"generate_layout: images must be at least 1, not {images}")
    drawn = [_draw_boxes(i % len(LAYOUT), shared, np.random.default_rng([seed, i, 0])) for i in range(images)]
    return BoxTable(
        xywh=np.concatenate([boxes for boxes, _ in drawn]),
        image=np.repeat(np.arange(images), [len(boxes) for boxes, _ in drawn]),
        image_ids=tuple(
            f"generated-{LAYOUT[i % len(LAYOUT)].name}-{i // len(LAYOUT)}" for i in range(images)
        ),
        sizes=np.full((images, 2), SIDE),
        category=np.concatenate([classes for _, classes in drawn]) + 1,
        names={number: layout.name for number, layout in enumerate(LAYOUT, start=1)},
    )


def generate_defects(images: int = 180, seed: int = 0) -> tuple[BoxTable, list[UInt8[np.ndarray, "200 200"]]]:
    """Generated grey pictures of steel with defects, and their boxes, laid out as in NEU-DET.

    The boxes are those of `generate_layout`; the pictures are drawn, not photographed: see the module's text
    for what follows the real set and what does not. One picture an image of the table, grey levels 0 to 255.
    Picture i depends on `seed` and i alone. Raises ValueError for fewer than one picture.
    """
    table = generate_layout(images, seed)
    pictures = []
    for i in range(images):
        rng = np.random.default_rng([seed, i, 1])
        surface = _steel(rng)
        here = table.image == i
        for (x, y, w, h), number in zip(table.xywh[here].astype(int), table.category[here], strict=True):
            surface[y : y + h, x : x + w] += APPEARANCE[LAYOUT[number - 1].name]((h, w), rng)
        surface += rng.normal(0, 2.5, surface.shape)
        pictures.append(surface.clip(0, 255).round().astype(np.uint8))
    return table, pictures


# -- where and how large --------------------------------------------------------------------------------


def _draw_boxes(kind: int, shared: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Boxes (N, 4) and class indices (N,) of one picture of class `kind`."""
    numbers = np.zeros(len(LAYOUT), int)
    for c, counts in ((kind, LAYOUT[kind].counts), *LAYOUT[kind].company):
        none = PICTURES - sum(counts)
        numbers[c] = rng.choice(len(counts) + 1, p=np.array([none, *counts]) / PICTURES)
    boxes = np.empty((0, 4))
    for c in np.flatnonzero(numbers):
        for size in _draw_sizes(LAYOUT[c], numbers[c], rng):
            boxes = np.vstack([boxes, _draw_place(size, boxes, LAYOUT[c].border, shared, rng)])
    return boxes, np.repeat(np.arange(len(LAYOUT)), numbers)


def _draw_sizes(layout: ClassLayout, number: int, rng: np.random.Generator) -> Float[np.ndarray, "N 2"]:
    """Widths and heights of `number` boxes of one class in one picture, whole pixels.

    Normal scores with the measured correlations, turned into lengths by the measured quantiles (a Gaussian
    copula).
    """
    from scipy.special import ndtr

    counts = np.array(layout.counts)
    boxes = counts * np.arange(1, len(counts) + 1)  # boxes that lie in pictures with 1, 2, ... of them
    logs = np.log(np.arange(1, len(counts) + 1))
    mean = np.average(logs, weights=boxes)
    spread = np.average((logs - mean) ** 2, weights=boxes)
    width, height, both = layout.alike
    common = [[width, both], [both, height]]
    own = [[1 - width, layout.link - both], [layout.link - both, 1 - height]]
    scatter = rng.multivariate_normal((0, 0), common) + rng.multivariate_normal((0, 0), own, number)
    crowding = np.array(layout.crowding)
    score = crowding * (np.log(number) - mean) + np.sqrt((1 - crowding**2 * spread).clip(0)) * scatter
    rank = ndtr(score)
    sides = [np.interp(rank[:, k], LEVELS, q) for k, q in enumerate((layout.widths, layout.heights))]
    return np.stack(sides, axis=1).round().clip(max=SIDE - MARGIN)


def _draw_place(size, others, border, shared, rng: np.random.Generator) -> Float[np.ndarray, " 4"]:
    """A box of this size at the border or anywhere, clear of the others if a few tries allow it."""
    free = SIDE - size
    corner = np.floor(rng.random((PLACES, 2)) * (free + 1))
    first = rng.random((PLACES, 2)) < 0.5
    at_border = rng.random((PLACES, 2)) < border
    corner = np.where(at_border, np.where(first, np.minimum(MARGIN, free), free), corner)
    low = np.maximum(corner[:, None], others[:, :2])  # (PLACES, others, 2)
    high = np.minimum(corner[:, None] + size, others[:, :2] + others[:, 2:])
    common = (high - low).clip(0).prod(axis=-1)  # (PLACES, others)
    union = size.prod() + others[:, 2:].prod(axis=1) - common
    worst = (common / union).max(axis=1, initial=0)
    place = np.argmax(worst <= shared) if (worst <= shared).any() else worst.argmin()
    return np.concatenate([corner[place], size])


# -- what it looks like: changes in grey level over a box of (h, w) pixels ------------------------------


def _noise(shape: tuple[int, int], sigma: tuple[float, float], rng: np.random.Generator) -> np.ndarray:
    """Gaussian noise smoothed by `sigma` rows and columns, mean 0, standard deviation 1."""
    from scipy.ndimage import gaussian_filter

    field = gaussian_filter(rng.normal(size=shape).astype(np.float32), sigma, mode="reflect", truncate=2.5)
    return (field - field.mean()) / max(field.std(), 1e-6)


def _steel(rng: np.random.Generator) -> Float[np.ndarray, "200 200"]:
    """Grey levels of an unharmed strip: rolling marks along the rows or columns, mottling, uneven light."""
    square = (SIDE, SIDE)
    marks = _noise(square, (0.6, 14), rng)
    if rng.random() < 0.5:
        marks = marks.T
    slope = rng.normal(0, 9, 2)
    y, x = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]
    light = rng.uniform(115, 160) + slope[0] * x + slope[1] * y
    return light + 4 * marks + 3 * _noise(square, (18, 18), rng) + 4 * _noise(square, (0.7, 0.7), rng)


def _cover(shape: tuple[int, int], ragged: float, rng: np.random.Generator) -> np.ndarray:
    """0 near the border of a box, 1 inside, with a ragged edge: a rounded shape that fills the box."""
    h, w = shape
    y, x = np.mgrid[-1 : 1 : h * 1j, -1 : 1 : w * 1j]
    radius = (np.abs(x) ** 3 + np.abs(y) ** 3) ** (1 / 3)
    bays = _noise(shape, (min(h / 10, 6) + 1, min(w / 10, 6) + 1), rng)
    outline = 1 + ragged * (bays - 0.5).clip(-2.5, 0.3)
    return ((outline - radius) * min(shape) / 5).clip(0, 1)


def _crazing(shape, rng):
    """A net of fine dark cracks: the edges between the cells of scattered points."""
    from scipy.spatial import cKDTree

    h, w = shape
    cell = np.array([8.5, 14.0])  # pixels; longer along the rows
    rows, columns = (np.arange(-0.5, n / c + 1) for n, c in zip(shape, cell, strict=True))
    points = np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1).reshape(-1, 2)
    points += rng.uniform(-0.42, 0.42, points.shape)  # scattered, but no two nearly the same
    bend = 0.28 * np.stack([_noise(shape, (3, 3), rng), _noise(shape, (3, 3), rng)])
    grid = np.moveaxis(np.mgrid[:h, :w] / cell[:, None, None] + bend, 0, -1).reshape(-1, 2)
    near = cKDTree(points).query(grid, k=2)[0].reshape(h, w, 2)
    cracks = np.exp(-(((near[..., 1] - near[..., 0]) / 0.11) ** 2))
    faint = (0.8 + 0.4 * _noise(shape, (6, 6), rng)).clip(0.2, 1.2)
    return -_cover(shape, 0.15, rng) * (58 * cracks * faint + 5)


def _inclusion(shape, rng):
    """A dark elongated spot with a ragged outline."""
    long, short = max(shape), min(shape)
    along = np.linspace(-1, 1, long)
    spindle = (1 - np.abs(along) ** 2.5).clip(0.02) ** 0.6

    def outline():
        bulges, notches = _noise((1, long), (0, long / 14 + 1), rng)[0], _noise((1, long), (0, 2), rng)[0]
        return spindle * (0.78 + 0.2 * bulges + 0.05 * notches).clip(0.2, 1)

    across = np.linspace(-1, 1, short)[:, None]
    edge = np.minimum(across + outline(), outline() - across) * short / 2  # pixels to the outline
    spot = (edge / 2 + 0.4).clip(0, 1)
    spot = spot.T if shape[0] >= shape[1] else spot
    return -spot * (60 + 9 * _noise(shape, (1.5, 1.5), rng))


def _patches(shape, rng):
    """A blotch, darker or brighter than the steel, with lighter and darker areas in it."""
    h, w = shape
    inner = 0.8 + 0.3 * _noise(shape, (h / 14 + 1, w / 14 + 1), rng) + 0.1 * _noise(shape, (0.8, 0.8), rng)
    return (-58 if rng.random() < 0.6 else 50) * _cover(shape, 0.14, rng) * inner.clip(0.3, 1.4)


def _pitted_surface(shape, rng):
    """Many small dark pits of different depth, denser in places."""
    from scipy.ndimage import gaussian_filter

    dense = (1 + 0.6 * _noise(shape, (14, 14), rng)).clip(0.1)
    pits = np.zeros(shape)
    for sigma, share in ((0.9, 0.022), (1.6, 0.006), (2.6, 0.0012)):
        seeds = (rng.random(shape) < share * dense) * rng.uniform(0.5, 1, shape)
        pits += gaussian_filter(seeds, sigma) * 2 * np.pi * sigma**2
    return -_cover(shape, 0.12, rng) * (70 * pits.clip(0, 1.3) + 3)


def _rolled_in_scale(shape, rng):
    """Dark specks with a bright rim on one side, drawn out along the rolling direction."""
    specks = (_noise(shape, (1.3, 2.6), rng) + 0.7 * _noise(shape, (7, 12), rng) - 0.75).clip(0, 1.2)
    rim = np.roll(specks, 2, axis=0) - specks
    return _cover(shape, 0.12, rng) * (38 * rim.clip(0) - 72 * specks)


def _scratches(shape, rng):
    """Bright thin streaks along the longer side, from one end of the box to the other."""
    long, short = max(shape), min(shape)
    along = np.linspace(-1, 1, long)
    thin = 1.0 + min(short, 30) / 30  # pixels
    reach = max((short - 1) / 2 - thin, 0.5)  # how far from the middle line a streak may go
    tilt = rng.choice([-1, 1]) * rng.uniform(0.75, 1)
    path = tilt * along + 0.05 * _noise((1, long), (0, long / 6 + 1), rng)[0] * (1 - along**2)
    across = np.arange(short)[:, None] - (short - 1) / 2
    taper = ((1 - np.abs(along)) * 6 + 0.35).clip(max=1)
    streaks = np.zeros((short, long))
    for k in range(rng.integers(1, 4)):
        shift, share = (
            (0, 1) if k == 0 else (rng.uniform(-0.7, 0.7), rng.uniform(0.25, 0.7))
        )  # fainter beside it
        bright = (0.85 + 0.25 * _noise((1, long), (0, 4), rng)[0]).clip(0.45, 1.2) * taper
        distance = (across - reach * (path + shift).clip(-1, 1)) / (thin * rng.uniform(0.6, 1))
        streaks = np.maximum(streaks, share * bright * np.exp(-(distance**2)))
    return 85 * (streaks.T if shape[0] >= shape[1] else streaks)


APPEARANCE: dict[str, Callable] = {
    "crazing": _crazing,
    "inclusion": _inclusion,
    "patches": _patches,
    "pitted_surface": _pitted_surface,
    "rolled-in_scale": _rolled_in_scale,
    "scratches": _scratches,
}
