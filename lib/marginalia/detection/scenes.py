"""Images of handwritten digits on real textures, made from a seed, to train small detectors on.

The digits are those of `glyphs`, other ones for training than for validation; the textures are scikit-image's
brick, grass and gravel, which come with it. Layouts, from boxes without any relation to strict order:

    overlapping  heights and places uniform and independent
    scattered    as above, but for images in which two boxes overlap
    loose        rows, columns and blocks, heights within 24 %, centres up to 0.04 away from their place
    arranged     rows, columns and blocks of one height (within 3 %) and one gap
    centred      as arranged, without any deviation and in the middle of the image
    smallest     as arranged, without any deviation and of the smallest height

How that shows beside boxes permuted between images with similar numbers:

                                      overlapping  scattered  loose  arranged  centred  smallest
    macroscopic correlation, excess     -.003        -.057    +.053    +.029    -.093     +.163
    |log h ratio|, within - between     -.001        -.002    -.100    -.223    -.245     -.021
    x offset, within - between          -.004        +.088    -.130    -.310    -.041     -.462

(3000 images each; `boxes.nulls.excess_correlation`, `boxes.similarity.pair_similarity`). Lengths are
normalised to the image's side unless they say pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial

import numpy as np
from jaxtyping import Float, Int, UInt8

from ..boxes.blood_cells import cells
from ..boxes.geometry import cxcywh_to_xywh, iou, xywh_to_cxcywh, xywh_to_xyxy
from ..boxes.table import BoxTable
from .glyphs import around, load_glyphs

SPLITS = ("train", "val")
TEXTURES = ("brick", "grass", "gravel")
VIEWS = (128, 192, 256)  # pixels of a texture that fill the image's side
HEIGHTS = (0.2, 0.45)  # smallest and largest digit
GAPS = (0.02, 0.04)  # between neighbours of an arranged image
OVERLAP = 0.1  # largest IoU of two boxes of a scattered image
NAMES = {digit: str(digit) for digit in range(10)}

_GRIDS = {  # number of digits -> rows and columns to choose from; the last row may be shorter
    1: ((1, 1),),
    2: ((1, 2), (2, 1)),
    3: ((1, 3), (3, 1)),
    4: ((2, 2), (1, 4), (4, 1)),
    5: ((2, 3), (3, 2)),
    6: ((2, 3), (3, 2)),
}


@dataclass(frozen=True)
class SceneBatch:
    """B images of one size with what is in them: digits, or the objects of photographs."""

    pixels: UInt8[np.ndarray, "B channels h w"]  # of digits: one channel of grey levels, h = w
    boxes: list[Float[np.ndarray, "N 4"]]  # float32, cxcywh in [0, 1]; digits: around pixels that are ink
    labels: list[Int[np.ndarray, " N"]]  # 0 to C - 1; digits: 0 to 9
    names: Mapping[int, str] = field(default_factory=lambda: NAMES)  # of the labels

    def part(self, chosen: slice | Sequence[int]) -> SceneBatch:
        """Some of the images."""
        index = np.arange(len(self.pixels))[chosen]
        boxes, labels = ([one[n] for n in index] for one in (self.boxes, self.labels))
        return SceneBatch(self.pixels[index], boxes, labels, self.names)


def make_scenes(
    count: int,
    layout: str = "scattered",
    split: str = "train",
    seed: int = 0,
    side: int = 64,
    digits: tuple[int, int] = (1, 4),
    first: int = 0,
) -> SceneBatch:
    """Images `first` to `first + count - 1`, side x side pixels with `digits` (fewest, most) digits each.

    Each number of digits is equally likely. An image depends on its index and the other arguments alone, and
    `side` changes nothing but its resolution. Raises ValueError for unknown names, a side outside 32 to 512,
    and digits outside 1 to 6.

    >>> scenes = make_scenes(2, "arranged")
    >>> scenes.pixels.shape, [len(boxes) for boxes in scenes.boxes]
    ((2, 1, 64, 64), [3, 3])
    """
    for name, value, known in (("layout", layout, LAYOUTS), ("split", split, SPLITS)):
        if value not in known:
            raise ValueError(f"{name} must be one of {', '.join(known)}, not {value!r}")
    if not 32 <= side <= 512:
        raise ValueError(f"side must be 32 to 512 pixels, not {side}")
    if not 1 <= digits[0] <= digits[1] <= max(_GRIDS):
        raise ValueError(f"digits must be (fewest, most) within 1 to {max(_GRIDS)}, not {digits}")
    streams = [[SPLITS.index(split), list(LAYOUTS).index(layout), seed, first + i] for i in range(count)]
    scenes = [_scene(np.random.default_rng(key), layout, split == "val", side, digits) for key in streams]
    pixels, boxes, labels = zip(*scenes, strict=True)
    return SceneBatch(np.stack(pixels), list(boxes), list(labels))


def _scene(
    rng: np.random.Generator, layout: str, held_out: bool, side: int, digits: tuple[int, int]
) -> tuple[UInt8[np.ndarray, "1 S S"], Float[np.ndarray, "N 4"], Int[np.ndarray, " N"]]:
    """Pixels, boxes and labels of one image."""
    # which digits, in whose handwriting, and where
    labels = rng.integers(10, size=rng.integers(digits[0], digits[1] + 1))
    glyphs = load_glyphs()
    pools = [glyphs.pool(digit, held_out) for digit in labels]
    chosen = np.array([pool[rng.integers(len(pool))] for pool in pools])
    places = LAYOUTS[layout](glyphs.aspect[chosen], rng) * side  # xywh in pixels
    # the ground
    ground, roughness, texture = _ground(side, rng)
    pixels = ground + roughness * texture
    # one digit after the other
    boxes = np.empty((len(labels), 4))
    for n, (glyph, place) in enumerate(zip(chosen, places, strict=True)):
        window, inside = glyphs.draw(glyph, place, side)
        relief = roughness * texture[window]
        # first the bare ground, one pixel beyond the stroke: two strokes of one colour stay apart
        for reach, paint in ((1, ground + relief), (0, _ink(ground, roughness, rng) + 0.3 * relief)):
            cover = (inside + reach + 0.5).clip(0, 1)
            pixels[window] += cover * (paint - pixels[window])
        # its box, around the pixels whose centre is ink
        boxes[n] = around(inside > 0)
        boxes[n, :2] += window[1].start, window[0].start
    boxes = xywh_to_cxcywh(boxes / side).astype(np.float32)
    return pixels.clip(0, 255).round().astype(np.uint8)[None], boxes, labels


def as_boxes(batch: SceneBatch) -> BoxTable:
    """The boxes as a table in pixels: images 0 to B - 1, categories are the labels."""
    counts = [len(labels) for labels in batch.labels]
    size = np.array(batch.pixels.shape[:1:-1])  # w, h
    return BoxTable(
        xywh=cxcywh_to_xywh(np.concatenate(batch.boxes).astype(np.float64)) * np.tile(size, 2),
        image=np.repeat(np.arange(len(counts)), counts),
        image_ids=tuple(range(len(counts))),
        sizes=np.tile(size, (len(counts), 1)),
        category=np.concatenate(batch.labels),
        names=batch.names,
    )


def cell_scenes(*splits: str) -> SceneBatch:
    """The photographs of `boxes.cells` in some splits ("train", "val", "test"), as detectors take them.

    >>> cell_scenes("test").pixels.shape
    (72, 3, 120, 160)
    """
    found = cells()
    return from_boxes(found.table, found.pixels).part(np.flatnonzero(np.isin(found.split, splits)))


def from_boxes(table: BoxTable, pixels: UInt8[np.ndarray, "I h w channels"]) -> SceneBatch:
    """Photographs with their boxes, as detectors take them; the way back is `as_boxes`.

    pixels: in the order of table.image_ids. Labels count the categories in the order of their ids; one that
    the table does not name goes by its id. Regions with many objects (crowd) are left out.
    """
    table = table.where(~table.crowd)
    categories = sorted({*table.names, *table.category.tolist()})
    boxes = (xywh_to_cxcywh(table.xywh) / np.tile(table.sizes, 2)[table.image]).astype(np.float32)
    labels = np.searchsorted(categories, table.category)
    order = np.argsort(table.image, kind="stable")
    ends = np.cumsum(table.counts)[:-1]
    return SceneBatch(
        np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)),
        np.split(boxes[order], ends),
        np.split(labels[order], ends),
        {label: table.names.get(category, str(category)) for label, category in enumerate(categories)},
    )


# -- where and how large: xywh of N digits of the given aspects ----------------------------------------


def _scattered(
    aspect: Float[np.ndarray, " N"], rng: np.random.Generator, overlap: float = OVERLAP
) -> Float[np.ndarray, "N 4"]:
    """Heights and places uniform and independent, but for layouts with an IoU above `overlap`."""
    while True:
        height = rng.uniform(*HEIGHTS, len(aspect))
        wh = np.stack([height * aspect, height], axis=1)
        corner = rng.random((32, *wh.shape)) * (1 - wh)  # 32 attempts at once
        attempts = np.concatenate([corner, np.broadcast_to(wh, corner.shape)], axis=-1)  # (32, N, 4)
        corners = xywh_to_xyxy(attempts)
        shared = np.triu(iou(corners, corners), 1).max(axis=(1, 2))
        if (shared <= overlap).any():
            return attempts[np.argmax(shared <= overlap)]


def _arranged(
    aspect: Float[np.ndarray, " N"],
    rng: np.random.Generator,
    deviation: float = 1.0,
    centred: bool = False,
    smallest: bool = False,
) -> Float[np.ndarray, "N 4"]:
    """Centres on a grid, the same gap between neighbours' cells; one height in an image.

    deviation: 1 lets heights differ by 3 % and centres by 0.005, other values by as many times that.
    """
    # rows, columns and gap with which the digits are not too small
    grids = _GRIDS[len(aspect)]
    while True:
        rows, columns = grids[rng.integers(len(grids))]
        gap = rng.uniform(*GAPS)
        widest = aspect.max()
        room = min((1 - (columns - 1) * gap) / (columns * widest), (1 - (rows - 1) * gap) / rows)
        room /= 1 + 0.03 * deviation
        if room > HEIGHTS[0]:
            break
    # the grid's cells, and the grid in the image
    height = HEIGHTS[0] if smallest else rng.uniform(HEIGHTS[0], min(HEIGHTS[1], room))
    cell = height * np.array([widest, 1])
    block = np.array([columns, rows]) * (cell + gap) - gap
    row, column = np.divmod(np.arange(len(aspect)), columns)
    place = 0.5 if centred else rng.random(2)
    centre = np.stack([column, row], axis=1) * (cell + gap) + cell / 2 + place * (1 - block)
    # digits in the middle of their cells, nearly
    heights = height * rng.uniform(1 - 0.03 * deviation, 1 + 0.03 * deviation, len(aspect))
    wh = np.stack([heights * aspect, heights], axis=1)
    corner = centre + rng.uniform(-0.005 * deviation, 0.005 * deviation, wh.shape) - wh / 2
    return np.concatenate([corner.clip(0, 1 - wh), wh], axis=1)


LAYOUTS: dict[str, Callable] = {  # their order is part of the seed of a scene
    "scattered": _scattered,
    "arranged": _arranged,
    "overlapping": partial(_scattered, overlap=1),
    "loose": partial(_arranged, deviation=8),
    "centred": partial(_arranged, deviation=0, centred=True),
    "smallest": partial(_arranged, deviation=0, smallest=True),
}


# -- appearance ---------------------------------------------------------------------------------------


def _ground(side: int, rng: np.random.Generator) -> tuple[float, float, Float[np.ndarray, "S S"]]:
    """A grey level, by how many levels a texture departs from it, and a piece of that texture."""
    texture = _texture(TEXTURES[rng.integers(len(TEXTURES))], side, VIEWS[rng.integers(len(VIEWS))])
    # a piece of it, perhaps turned
    top, left = ((len(texture) - side + 1) * rng.random(2)).astype(int)
    piece = texture[top : top + side, left : left + side]
    turn = rng.random(3) < 0.5
    piece = piece[:: -1 if turn[0] else 1, :: -1 if turn[1] else 1]
    return rng.uniform(70, 185), rng.uniform(8, 20), piece.T if turn[2] else piece


def _ink(ground: float, roughness: float, rng: np.random.Generator) -> float:
    """A grey level that can be told from the ground: darker or brighter by 70 to 150."""
    contrast = 50 + 2.5 * roughness  # at least
    room = {-1: ground - 10, 1: 245 - ground}  # one of the two is 117 or more
    signs = [sign for sign in room if room[sign] > contrast]
    sign = signs[rng.integers(len(signs))]
    return ground + sign * rng.uniform(contrast, min(room[sign], 150))


@lru_cache(maxsize=36)
def _texture(name: str, side: int, view: int) -> Float[np.ndarray, "T T"]:
    """A texture in which `view` of its own pixels became `side`; mean 0, standard deviation 1."""
    from PIL import Image
    from skimage import data

    whole = Image.fromarray(getattr(data, name)().astype(np.float32))
    width = round(whole.width * side / view)
    texture = np.asarray(whole.resize((width, width), Image.Resampling.LANCZOS))
    return (texture - texture.mean()) / texture.std()
