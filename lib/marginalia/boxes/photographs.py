"""Real boxes that need no download: things segmented in photographs that come with scikit-image.

Five photographs lie inside scikit-image's own package: `coins`, `page`, `text`, `hubble_deep_field` and
`brick`, all in the public domain or CC0. Nobody has annotated them, so the reference boxes are segmented,
by one recipe for all:

1. grey levels, turned over where the things are darker than what is around them;
2. a Gaussian of sigma `smooth`, minus a Gaussian of sigma `background` (uneven light goes);
3. Otsu's threshold times `level`, a closing by `close` (letters become words), holes filled, an opening
   by a disk of radius `open`;
4. connected components (8 neighbours) of at least `smallest` pixels that somewhere pass Otsu's threshold
   times `peak`; their boxes.

The parameters were set by eye, on the images with the boxes drawn in. They are references for looking at
methods, not ground truth made by people: galaxies fainter than the threshold have no box, a bright pair may
share one, a few foreground stars count as galaxies, and a stroke on `text` is what hangs together in ink.

Macroscopic correlation (MC) of the whole images: coins .658, page .657, text .690, hubble_deep_field .764,
brick .614; mean over tiles .608. Bare Otsu, without steps 2 and 3 and with components of 20 pixels or more,
gives .646 (coins), .648 (text) and .764 (hubble_deep_field), but .956 on `page`, where it finds letters and a
dark margin instead of words.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int, UInt8

from .table import BoxTable, Issue

LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R 601 weights of red, green, blue
Pixels = UInt8[np.ndarray, "..."]  # (H, W) grey or (H, W, 3) red, green, blue


@dataclass(frozen=True)
class Recipe:
    """How the reference boxes of one photograph are segmented; lengths in pixels."""

    source: str  # the function of skimage.data
    thing: str  # what the boxes hold: the category
    dark: bool  # things are darker than what is around them
    smooth: float  # sigma of the first Gaussian
    background: float  # sigma of the Gaussian that is taken away; 0: none
    level: float  # threshold, in units of Otsu's
    peak: float  # threshold that a thing must pass somewhere, in units of Otsu's
    close: tuple[int, int]  # rows and columns of the closing; (1, 1): none
    open: int  # radius of the opening; 0: none
    smallest: int  # pixels of the smallest thing
    grid: tuple[int, int]  # rows and columns of tiles


RECIPES = (
    Recipe("coins", "coin", False, 1.5, 60, 1.0, 1.0, (3, 3), 5, 200, (3, 4)),
    Recipe("page", "word", True, 0.5, 10, 0.9, 0.9, (3, 5), 0, 25, (3, 4)),
    Recipe("text", "stroke", True, 1.0, 10, 1.6, 2.8, (1, 3), 0, 25, (2, 4)),
    Recipe("hubble_deep_field", "galaxy", False, 1.0, 0, 1.0, 1.0, (1, 1), 0, 12, (6, 7)),
    Recipe("brick", "brick", True, 1.5, 25, 1.0, 1.0, (1, 1), 4, 150, (4, 4)),
)


@dataclass(frozen=True)
class Photographs:
    """Photographs or tiles of them, with boxes in each."""

    table: BoxTable  # boxes; I images
    pixels: tuple[Pixels, ...]  # I of them, in the order of table.image_ids


def photographs(tiles: bool = False) -> Photographs:
    """The embedded photographs with their segmented reference boxes; nothing is downloaded.

    With `tiles` the photographs are cut into 90 disjoint tiles that cover them: five images are too few for
    an interval, and overlapping windows would make it too narrow. Each box lies in the tile of its centre
    only, cut off at the border; `table.report` counts the boxes that were cut off.

    `table.image_ids` are names: "coins", or "coins-0-2" for the tile in row 0, column 2. Boxes are in
    pixels of the photograph or of the tile.
    """
    from skimage import data

    pixels = tuple(np.ascontiguousarray(getattr(data, recipe.source)()) for recipe in RECIPES)
    boxes = [_segment(p, recipe) for p, recipe in zip(pixels, RECIPES, strict=True)]
    image = np.repeat(np.arange(len(RECIPES)), [len(b) for b in boxes])
    table = BoxTable(
        xywh=np.concatenate(boxes),
        image=image,
        image_ids=tuple(recipe.source for recipe in RECIPES),
        sizes=[p.shape[1::-1] for p in pixels],
        category=image + 1,
        names={number: recipe.thing for number, recipe in enumerate(RECIPES, start=1)},
    )
    if not tiles:
        return Photographs(table, pixels)
    cut = [_cut(p, recipe.grid) for p, recipe in zip(pixels, RECIPES, strict=True)]
    return Photographs(_in_tiles(table), tuple(tile for part in cut for tile in part))


def _segment(pixels: Pixels, recipe: Recipe) -> Float[np.ndarray, "N 4"]:
    """Boxes xywh of the things of one photograph."""
    from scipy import ndimage
    from skimage.filters import threshold_otsu
    from skimage.morphology import disk

    # 1, 2: bright things on an even background
    grey = pixels @ LUMA if pixels.ndim == 3 else pixels.astype(np.float64)
    grey = -grey if recipe.dark else grey
    signal = ndimage.gaussian_filter(grey, recipe.smooth)
    if recipe.background:
        signal = signal - ndimage.gaussian_filter(grey, recipe.background)

    # 3: threshold and mend; a closing erodes at the image's border unless there is room for it
    otsu = threshold_otsu(signal)
    margin = max(recipe.close)
    room = np.pad(signal > recipe.level * otsu, margin)
    mask = ndimage.binary_closing(room, np.ones(recipe.close))[margin:-margin, margin:-margin]
    mask = ndimage.binary_fill_holes(mask)
    if recipe.open:
        mask = ndimage.binary_opening(mask, disk(recipe.open))

    # 4: boxes of the components that are large and clear enough
    labels, count = ndimage.label(mask, np.ones((3, 3)))
    number = np.arange(1, count + 1)
    large = np.bincount(labels.ravel())[1:] >= recipe.smallest
    clear = ndimage.maximum(signal, labels, number) > recipe.peak * otsu
    places = [place for place, kept in zip(ndimage.find_objects(labels), large & clear, strict=True) if kept]
    return np.array([(x.start, y.start, x.stop - x.start, y.stop - y.start) for y, x in places], np.float64)


def _in_tiles(table: BoxTable) -> BoxTable:
    """Boxes on whole photographs as boxes on tiles."""
    xywh, image = table.xywh.copy(), np.empty(len(table), np.int64)
    ids, sizes = [], []
    for number, recipe in enumerate(RECIPES):
        # the tile that holds each centre, and what of the box lies in it
        xs, ys = _edges(table.sizes[number], recipe.grid)
        mine = np.flatnonzero(table.image == number)
        x, y, w, h = table.xywh[mine].T
        column = np.searchsorted(xs, x + w / 2, side="right") - 1
        row = np.searchsorted(ys, y + h / 2, side="right") - 1
        left, top = np.maximum(x, xs[column]), np.maximum(y, ys[row])
        right, bottom = np.minimum(x + w, xs[column + 1]), np.minimum(y + h, ys[row + 1])
        xywh[mine] = np.stack([left - xs[column], top - ys[row], right - left, bottom - top], axis=1)
        image[mine] = len(ids) + row * recipe.grid[1] + column
        ids += [f"{recipe.source}-{r}-{c}" for r in range(recipe.grid[0]) for c in range(recipe.grid[1])]
        sizes += [(w, h) for h in np.diff(ys) for w in np.diff(xs)]
    cut = np.flatnonzero((xywh[:, 2:] < table.xywh[:, 2:]).any(axis=1))
    first = f"box {cut[0]}, on {table.image_ids[table.image[cut[0]]]}"
    report = {"cut off at the border of a tile": Issue(len(cut), True, first)}
    return replace(table, xywh=xywh, image=image, image_ids=tuple(ids), sizes=sizes, report=report)


def _edges(size, grid: tuple[int, int]) -> tuple[Int[np.ndarray, " columns"], Int[np.ndarray, " rows"]]:
    """Pixel columns and rows where the tiles of an image of this (width, height) begin and end."""
    return tuple(np.arange(n + 1) * int(side) // n for side, n in zip(size, grid[::-1], strict=True))


def _cut(pixels: Pixels, grid: tuple[int, int]) -> list[Pixels]:
    xs, ys = _edges(pixels.shape[1::-1], grid)
    return [pixels[ys[r] : ys[r + 1], xs[c] : xs[c + 1]] for r in range(grid[0]) for c in range(grid[1])]
