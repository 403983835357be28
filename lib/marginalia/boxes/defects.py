"""Images of steel with defects, drawn by a program, to show what such images and their labels look like.

The six classes bear the names of NEU-DET (hot-rolled steel strip, 200 x 200 pixels), whose images may not be
passed on. Everything here is made up: the surface is filtered noise, and how many defects there are, how
large, and where, was chosen by hand so that a reader sees them. Nothing measured on these images says
anything about steel.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, UInt8

from .geometry import iou, xywh_to_xyxy
from .table import BoxTable

SIDE = 200  # pixels, width and height of every image


def generate_defects(images: int = 12, seed: int = 0) -> tuple[BoxTable, list[UInt8[np.ndarray, "200 200"]]]:
    """Drawn grey images of steel with defects, and the box of each defect; grey levels 0 to 255.

    Image i shows class i mod 6 and depends on `seed` and i alone.

    >>> table, pixels = generate_defects(6)
    >>> len(table.image_ids), pixels[0].shape, table.names[table.category[0]]
    (6, (200, 200), 'crazing')
    """
    boxes, counts, pixels = [], [], []
    for i in range(images):
        rng = np.random.default_rng([seed, i])
        most, smallest, largest, draw = DEFECTS[list(DEFECTS)[i % len(DEFECTS)]]
        surface = _steel(rng)
        mine = np.empty((0, 4), int)
        for _ in range(rng.integers(1, most + 1)):
            # of some places, the one that shares least with the defects already there
            size = rng.integers(smallest, largest)
            places = np.hstack([rng.integers(SIDE - size, size=(20, 2)), np.tile(size, (20, 1))])
            shared = iou(xywh_to_xyxy(places), xywh_to_xyxy(mine)).max(axis=1, initial=0)
            mine = np.vstack([mine, places[shared.argmin()]])
            x, y, w, h = mine[-1]
            surface[y : y + h, x : x + w] += draw((h, w), rng)
        boxes.append(mine)
        counts.append(len(mine))
        pixels.append((surface + rng.normal(0, 2.5, surface.shape)).clip(0, 255).astype(np.uint8))
    image = np.repeat(np.arange(images), counts)
    names = dict(enumerate(DEFECTS, start=1))
    ids = tuple(f"drawn-{i}" for i in range(images))
    category = image % len(DEFECTS) + 1
    return BoxTable(np.concatenate(boxes), image, ids, np.full((images, 2), SIDE), category, names), pixels


def _noise(shape: tuple[int, int], sigma: tuple[float, float], rng: np.random.Generator) -> np.ndarray:
    """Gaussian noise smoothed by `sigma` rows and columns, mean 0, standard deviation 1."""
    from scipy.ndimage import gaussian_filter

    field = gaussian_filter(rng.normal(size=shape), sigma)
    return (field - field.mean()) / field.std()


def _steel(rng: np.random.Generator) -> Float[np.ndarray, "200 200"]:
    """Grey levels of a strip without defects: rolling marks along the rows, and mottling."""
    square = (SIDE, SIDE)
    return rng.uniform(115, 160) + 4 * _noise(square, (0.6, 14), rng) + 5 * _noise(square, (18, 18), rng)


# -- change in grey level over a box of (h, w) pixels -----------------------------------------------------


def _cover(shape: tuple[int, int]) -> np.ndarray:
    """1 in the middle of a box, falling to 0 at its border: a rounded shape that fills the box."""
    y, x = (np.linspace(-1, 1, n) for n in shape)
    return (3 - 3 * (y[:, None] ** 4 + x**4)).clip(0, 1)


def _crazing(shape, rng):
    """A net of fine dark cracks: where smooth noise is near zero."""
    return -60 * _cover(shape) * np.exp(-((_noise(shape, (3, 4), rng) / 0.15) ** 2))


def _inclusion(shape, rng):
    """A dark spot that fills its box."""
    return -_cover(shape) * (60 + 9 * _noise(shape, (1.5, 1.5), rng))


def _patches(shape, rng):
    """A blotch, darker or brighter than the steel, of uneven strength."""
    strength = (0.8 + 0.3 * _noise(shape, (6, 6), rng)).clip(0.3)
    return rng.choice([-58, 50]) * _cover(shape) * strength


def _pitted_surface(shape, rng):
    """Many small dark pits."""
    return -60 * _cover(shape) * (_noise(shape, (1.2, 1.2), rng) - 1.2).clip(0, 1)


def _rolled_in_scale(shape, rng):
    """Dark specks, drawn out along the rolling direction."""
    return -70 * _cover(shape) * (_noise(shape, (1.3, 4), rng) - 0.7).clip(0, 1)


def _scratches(shape, rng):
    """A bright thin streak from one corner of the box to the opposite one."""
    y, x = (np.arange(n) / n for n in shape)
    distance = np.abs(y[:, None] - x) * min(shape)
    return 80 * np.exp(-((distance / 2) ** 2))[:: rng.choice([-1, 1])]


DEFECTS = {  # name -> most in an image, smallest and largest width and height, appearance
    "crazing": (3, (60, 40), (190, 90), _crazing),
    "inclusion": (5, (14, 30), (40, 120), _inclusion),
    "patches": (4, (30, 30), (80, 100), _patches),
    "pitted_surface": (2, (60, 80), (180, 190), _pitted_surface),
    "rolled-in_scale": (3, (40, 40), (100, 110), _rolled_in_scale),
    "scratches": (3, (10, 60), (40, 190), _scratches),
}
