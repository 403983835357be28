"""Real boxes that need no download: things segmented in photographs that come with scikit-image.

Five photographs lie inside scikit-image's own package: `coins`, `page`, `text`, `hubble_deep_field` and
`brick`, all in the public domain or CC0. Nobody has annotated them, so the reference boxes are segmented,
by one recipe for all:

1. grey levels, turned over where the things are darker than what is around them;
2. a Gaussian of sigma `smooth`, less a Gaussian of sigma `background` (uneven light goes);
3. Otsu's threshold times `level`, a closing by `close` (letters become words), holes filled, an opening
   by a disk of radius `open`;
4. connected components (8 neighbours) of at least `smallest` pixels that somewhere pass Otsu's threshold
   times `peak`; their boxes.

The parameters were set by eye, on the pictures with the boxes drawn in. They are references for looking at
methods, not ground truth made by people: galaxies fainter than the threshold have no box, a bright pair may
share one, a few foreground stars count as galaxies, and a stroke on `text` is what hangs together in ink.

Macroscopic correlation (MC) of the whole pictures: coins .658, page .657, text .690, hubble_deep_field .764,
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
Picture = UInt8[np.ndarray, "..."]  # (H, W) grey or (H, W, 3) red, green, blue
LEVELS = 8  # grey levels at which the detector cuts
HALF = 16.0  # difference in grey levels that scores 0.5


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
    pictures: tuple[Picture, ...]  # I of them, in the order of table.image_ids


def photographs(tiles: bool = False) -> Photographs:
    """The embedded photographs with their segmented reference boxes; nothing is downloaded.

    With `tiles` the photographs are cut into 90 disjoint tiles that cover them, as `cut_into_tiles`
    describes: five pictures are too few for an interval, and overlapping windows would make it too narrow.

    `table.image_ids` are names: "coins", or "coins-0-2" for the tile in row 0, column 2. Boxes are in
    pixels of the picture or of the tile.
    """
    pictures = tuple(_load(recipe.source) for recipe in RECIPES)
    pairs = list(zip(pictures, RECIPES, strict=True))
    boxes = [_boxes(_segment(_grey(p), r), r.smallest) for p, r in pairs]
    whole = _on_whole(pictures, boxes, category=[np.full(len(b), k) for k, b in enumerate(boxes, start=1)])
    if not tiles:
        return Photographs(whole, pictures)
    cut = tuple(tile for p, r in pairs for tile in _cut_picture(p, r.grid))
    return Photographs(cut_into_tiles(whole), cut)


def cut_into_tiles(table: BoxTable) -> BoxTable:
    """Boxes on whole photographs as boxes on tiles: each in the tile of its centre, cut off at its border.

    Every box lies in one tile only; what sticks out into a neighbouring tile has no box there. Detections
    are cut by the same rule as references, so this costs neither misses nor false alarms, but for the rare
    pair whose two centres lie on different sides of a border. `report` counts the boxes that were cut off.
    Raises ValueError for a table of other images.
    """
    if table.image_ids != tuple(r.source for r in RECIPES):
        raise ValueError(
            "cut_into_tiles: the table must hold the five images of photographs(), in that order"
        )
    xywh, image = table.xywh.copy(), np.empty(len(table), np.int64)
    ids, sizes = [], []
    for number, recipe in enumerate(RECIPES):
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
    report = dict(table.report)
    if len(cut := np.flatnonzero((xywh[:, 2:] < table.xywh[:, 2:]).any(axis=1))):
        first = f"box {cut[0]}, on {table.image_ids[table.image[cut[0]]]}"
        report["cut off at the border of a tile"] = Issue(len(cut), True, first)
    return replace(table, xywh=xywh, image=image, image_ids=tuple(ids), sizes=sizes, report=report)


def detect_photographs(tiles: bool = False) -> BoxTable:
    """Detections with scores on the same photographs, by a simple real method that knows no recipe.

    Each photograph is blurred, halved, and cut at `LEVELS` evenly spaced grey levels, from above and from
    below; the connected components are candidates. The score is c / (c + `HALF`), c the difference in grey
    levels between a candidate and the rim around its box. Of candidates that cover each other the one with
    the best score stays. The category is the most likely one for its width, height and signed difference to
    the rim, with the mean and spread of these in the reference boxes: the method knows how big and
    bright coins are, but not where they lie, nor which photograph it looks at.

    It fails as such methods do: words and strokes fall apart, faint galaxies get a box where the reference
    has none, and mortar between bricks is called a galaxy or a stroke. With `tiles` the detections are
    cut as `cut_into_tiles` describes. Same images, ids and categories as `photographs(tiles)`.
    """
    ground_truth = photographs()
    greys = [_grey(p) for p in ground_truth.pictures]
    boxes, scores, traits = zip(*(_candidates(g) for g in greys), strict=True)
    category = _likely_category(ground_truth.table, greys, np.concatenate(traits))
    counts = np.cumsum([len(b) for b in boxes])[:-1]
    whole = _on_whole(ground_truth.pictures, boxes, np.split(category, counts), scores)
    return cut_into_tiles(whole) if tiles else whole


def _candidates(
    grey: Float[np.ndarray, "H W"],
) -> tuple[Float[np.ndarray, "N 4"], Float[np.ndarray, " N"], Float[np.ndarray, "N 3"]]:
    """Boxes, scores and traits of the components of one photograph that are left after suppression."""
    from scipy import ndimage

    half = ndimage.gaussian_filter(grey, 1.5)[::2, ::2]
    low, high = np.percentile(half, [0.5, 99.5])
    found = []
    for level in np.linspace(low, high, LEVELS + 2)[1:-1]:
        for mask in (half > level, half < level):
            labels = ndimage.label(mask)[0]
            boxes = _boxes(labels, smallest=6)
            found.append(boxes[boxes[:, 2:].prod(axis=1) < 0.1 * half.size])  # larger: background
    x, y, w, h = 2 * np.concatenate(found).T
    boxes = np.stack([x, y, np.minimum(w, grey.shape[1] - x), np.minimum(h, grey.shape[0] - y)], axis=1)
    traits = _traits(boxes, grey)
    contrast = np.abs(traits[:, 2])
    scores = contrast / (contrast + HALF)
    kept = _suppress(boxes, scores)
    return boxes[kept], scores[kept], traits[kept]


def _traits(xywh: Float[np.ndarray, "N 4"], grey: Float[np.ndarray, "H W"]) -> Float[np.ndarray, "N 3"]:
    """log w, log h, and grey level inside less that of a rim of 3 pixels around: one row a box."""
    total = np.pad(grey.cumsum(0).cumsum(1), ((1, 0), (1, 0)))  # summed-area table

    def sums(x0, y0, x1, y1):
        x0, x1 = (np.clip(x, 0, grey.shape[1]).astype(int) for x in (x0, x1))
        y0, y1 = (np.clip(y, 0, grey.shape[0]).astype(int) for y in (y0, y1))
        inside = total[y1, x1] - total[y0, x1] - total[y1, x0] + total[y0, x0]
        return inside, (x1 - x0) * (y1 - y0)

    x, y, w, h = xywh.T
    inside, area = sums(x, y, x + w, y + h)
    around, wide = sums(x - 3, y - 3, x + w + 3, y + h + 3)
    rim = (around - inside) / np.maximum(wide - area, 1)
    return np.stack([np.log(w), np.log(h), inside / area - rim], axis=1)


def _suppress(xywh: Float[np.ndarray, "N 4"], scores: Float[np.ndarray, " N"]) -> Int[np.ndarray, " K"]:
    """Indices of boxes, best first, that do not share over half of the smaller box with a better one."""
    order = np.argsort(-scores, kind="stable")
    low, high = xywh[order, :2], xywh[order, :2] + xywh[order, 2:]
    area = xywh[order, 2:].prod(axis=1)
    left = np.ones(len(order), bool)
    for k in range(len(order)):
        if left[k]:
            rest = slice(k + 1, None)
            shared = np.minimum(high[k], high[rest]) - np.maximum(low[k], low[rest])
            left[rest] &= shared.clip(0).prod(axis=1) <= 0.5 * np.minimum(area[k], area[rest])
    return order[left]


def _likely_category(
    ground_truth: BoxTable, greys: list[Float[np.ndarray, "H W"]], traits: Float[np.ndarray, "N 3"]
) -> Int[np.ndarray, " N"]:
    """The category under whose normal distribution of traits, axis by axis, each row is most likely."""
    known = np.concatenate(
        [_traits(ground_truth.xywh[ground_truth.image == k], g) for k, g in enumerate(greys)]
    )
    numbers = np.array(list(ground_truth.names))
    means = np.stack([known[ground_truth.category == c].mean(axis=0) for c in numbers])  # (C, 3)
    spread = np.stack([known[ground_truth.category == c].std(axis=0) for c in numbers])
    distance = (((traits[:, None] - means) / spread) ** 2 + 2 * np.log(spread)).sum(axis=-1)  # (N, C)
    return numbers[distance.argmin(axis=1)]


def _on_whole(pictures, boxes, category, scores=None) -> BoxTable:
    """One table from one list entry a photograph."""
    return BoxTable(
        xywh=np.concatenate(boxes),
        image=np.repeat(np.arange(len(boxes)), [len(b) for b in boxes]),
        image_ids=tuple(r.source for r in RECIPES),
        sizes=[p.shape[1::-1] for p in pictures],
        category=np.concatenate(category),
        names={number: r.thing for number, r in enumerate(RECIPES, start=1)},
        score=None if scores is None else np.concatenate(scores),
    )


def _load(source: str) -> Picture:
    from skimage import data

    return np.ascontiguousarray(getattr(data, source)())


def _grey(picture: Picture) -> Float[np.ndarray, "H W"]:
    return picture @ LUMA if picture.ndim == 3 else picture.astype(np.float64)


def _segment(grey: Float[np.ndarray, "H W"], recipe: Recipe) -> Int[np.ndarray, "H W"]:
    """Labels of the connected things of one photograph (steps 1 to 4 but for the sizes); 0 is background."""
    from scipy import ndimage
    from skimage.filters import threshold_otsu
    from skimage.morphology import disk

    signal = ndimage.gaussian_filter(-grey if recipe.dark else grey, recipe.smooth)
    if recipe.background:
        signal = signal - ndimage.gaussian_filter(-grey if recipe.dark else grey, recipe.background)
    otsu = threshold_otsu(signal)
    margin = max(recipe.close)  # a closing erodes at the picture's border unless there is room for it
    room = np.pad(signal > recipe.level * otsu, margin)
    mask = ndimage.binary_closing(room, np.ones(recipe.close))[margin:-margin, margin:-margin]
    mask = ndimage.binary_fill_holes(mask)
    if recipe.open:
        mask = ndimage.binary_opening(mask, disk(recipe.open))
    labels, count = ndimage.label(mask, np.ones((3, 3)))
    tall = ndimage.maximum(signal, labels, np.arange(count + 1)) > recipe.peak * otsu
    return np.where(tall[labels], labels, 0)


def _boxes(labels: Int[np.ndarray, "H W"], smallest: int) -> Float[np.ndarray, "N 4"]:
    """Boxes xywh of the labelled things with at least `smallest` pixels."""
    from scipy import ndimage

    area = np.bincount(labels.ravel())
    found = [
        (s[1].start, s[0].start, s[1].stop - s[1].start, s[0].stop - s[0].start)
        for label, s in enumerate(ndimage.find_objects(labels), start=1)
        if s is not None and area[label] >= smallest
    ]
    return np.array(found, np.float64).reshape(-1, 4)


def _edges(size, grid: tuple[int, int]) -> tuple[Int[np.ndarray, " columns"], Int[np.ndarray, " rows"]]:
    """Pixel columns and rows where the tiles of a picture of this (width, height) begin and end."""
    return tuple(np.arange(n + 1) * int(side) // n for side, n in zip(size, grid[::-1], strict=True))


def _cut_picture(picture: Picture, grid: tuple[int, int]) -> list[Picture]:
    xs, ys = _edges(picture.shape[1::-1], grid)
    return [picture[ys[r] : ys[r + 1], xs[c] : xs[c + 1]] for r in range(grid[0]) for c in range(grid[1])]
