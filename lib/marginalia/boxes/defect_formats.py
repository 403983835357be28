"""Formats of industrial defect sets: DeepPCB's text, Severstal's run lengths, folders of masks."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np
from jaxtyping import Bool, Int

from .checks import Rows
from .sources import image_ids, image_sizes, members
from .table import BoxTable
from .yolo import box_lines, label_files

DEEPPCB_NAMES = {1: "open", 2: "short", 3: "mousebite", 4: "spur", 5: "copper", 6: "pin-hole"}
DEEPPCB_SIZE = (640, 640)  # every image of the published set
SEVERSTAL_SIZE = (1600, 256)  # width and height of every image of the published set
VOID = 255  # what VOC-style masks paint on borders that belong to no class


def read_deeppcb(path: Path, sizes=None) -> BoxTable:
    """DeepPCB: a folder or archive of text files, a line `x1 y1 x2 y2 type` per defect, in pixels.

    Numbers stand apart by spaces (the published files) or commas (as their documentation says). w = x2 -
    x1, h = y2 - y1. The files give no image size: 640 x 640 unless `sizes` says otherwise. Text files
    without numbers (the lists of the split) are dropped and counted.
    """
    rows = Rows()
    labels = label_files(path, members(path, (".txt",)), rows)
    ids = image_ids(path, list(labels))
    pixels, files = image_sizes(DEEPPCB_SIZE if sizes is None else sizes, ids, path)
    for i, entry, (x, y, right, bottom, kind) in box_lines(path, labels, "x1 y1 x2 y2 type"):
        if not kind.is_integer():
            raise ValueError(f"{path}: {entry}: type {kind} is not a whole number")
        rows.add(entry, i, int(kind), (x, y, right - x, bottom - y))
    return rows.table(ids, pixels, DEEPPCB_NAMES, files)


def read_severstal(path: Path) -> BoxTable:
    """Severstal: a CSV of ImageId, ClassId, EncodedPixels or ImageId_ClassId, EncodedPixels.

    Runs are `start length` pairs, counted from 1 down the columns of an image of 256 rows and 1600
    columns. A row is one class of one image and may hold many defects, so **each connected component
    (diagonals included) is a box**; `area` is its number of pixels. Rows without runs are images without
    defects. Classes have no names.
    """
    rows, index, seen = Rows(), {}, set()
    for number, name, label, runs in _severstal_rows(path):
        where = f"row {number} ({name})"
        i = index.setdefault(name, len(index))
        if not runs:
            continue
        if (name, label) in seen:
            rows.mark("class of an image given again", where)
        seen.add((name, label))
        for k, (xywh, pixels) in enumerate(component_boxes(_runs_to_mask(runs, f"{path}: {where}")), start=1):
            rows.add(f"{where}, part {k}", i, label, xywh, pixels)
    ids = [PurePosixPath(name).stem for name in index]
    return rows.table(ids, [SEVERSTAL_SIZE] * len(index), {}, index)


def read_masks(path: Path) -> BoxTable:
    """A folder or archive of PNG masks whose pixel values are classes, 0 for the background.

    **Each connected component of one class (diagonals included) is a box**; `area` is its number of pixels.
    A value of 255 is VOC's border that belongs to no class and is dropped, unless 255 is the only value
    in the whole set, as in masks of one kind of defect. Class names come from classes.txt (line 1 is class
    1) when it is there.
    """
    texts = members(path, (".png", "classes.txt"))
    masks = {name: text for name, text in texts.items() if name.lower().endswith(".png")}
    if not masks:
        raise ValueError(f"{path}: no .png file in it; masks are one PNG file per image")
    sizes, found = [], []
    for i, (name, text) in enumerate(masks.items()):
        mask = _open_mask(f"{path}: {name}", text)
        sizes.append(mask.shape[::-1])
        values = np.unique(mask[mask > 0]).tolist()
        found += [(i, name, value, component_boxes(mask == value)) for value in values]
    # 255 is a border of no class, unless there is nothing else
    borders = {value for _, _, value, _ in found} != {VOID}
    rows = Rows()
    for i, name, value, parts in found:
        if value == VOID and borders:
            rows.mark("value 255, of no class", name, kept=False)
            continue
        for k, (xywh, pixels) in enumerate(parts, start=1):
            rows.add(f"{name}, value {value}, part {k}", i, value, xywh, pixels)
    listed = next((text for name, text in texts.items() if name not in masks), b"").decode(errors="replace")
    names = dict(enumerate(map(str.strip, listed.strip().splitlines()), start=1))
    return rows.table(image_ids(path, list(masks)), sizes, names, masks)


def component_boxes(mask: Bool[np.ndarray, "H W"]) -> list[tuple[tuple[int, int, int, int], int]]:
    """Box (x, y, w, h) and pixel count of each connected component of a mask, diagonals included."""
    from scipy import ndimage

    labels, _ = ndimage.label(mask, structure=np.ones((3, 3)))
    pixels = np.bincount(labels.ravel())[1:].tolist()
    corners = (
        (c.start, r.start, c.stop - c.start, r.stop - r.start) for r, c in ndimage.find_objects(labels)
    )
    return list(zip(corners, pixels, strict=True))


def _severstal_rows(path: Path) -> Iterator[tuple[int, str, int, str]]:
    """Row number in the file, image name, class and runs of each row."""
    rows = csv.reader(io.StringIO(path.read_text("utf-8-sig"), newline=""))
    header = [word.strip() for word in next(rows, [])]
    if "_".join(header) != "ImageId_ClassId_EncodedPixels":
        raise ValueError(
            f"{path}: the first line is {','.join(header)!r:.60}, not ImageId,ClassId,EncodedPixels"
        )
    for number, row in enumerate(rows, start=2):
        if not row:
            continue
        if len(row) != len(header):
            raise ValueError(f"{path}: row {number} has {len(row)} fields instead of {len(header)}")
        joined = "_".join(row[:-1])
        name, label = joined.rsplit("_", 1) if "_" in joined else (joined, "")
        runs = row[-1].strip()
        if runs and not label.strip().isdigit():
            raise ValueError(f"{path}: row {number} ({name}): class {label!r} is not a whole number")
        yield number, name, int(label) if runs else 0, runs


def _runs_to_mask(runs: str, where: str) -> Bool[np.ndarray, "H W"]:
    """The mask of a text of `start length` pairs, which count from 1 down the columns."""
    width, height = SEVERSTAL_SIZE
    try:
        numbers = np.array(runs.split(), np.int64)
    except ValueError:
        raise ValueError(f"{where}: run lengths are whole numbers, not {runs!r:.40}") from None
    if len(numbers) % 2:
        raise ValueError(
            f"{where}: {len(numbers)} numbers, but run lengths come in pairs of start and length"
        )
    starts, lengths = numbers[::2] - 1, numbers[1::2]
    if (starts < 0).any() or (lengths <= 0).any() or (starts + lengths > width * height).any():
        raise ValueError(f"{where}: a run lies outside the {width} x {height} pixels of the image")
    # +1 where a run starts, -1 behind its end; the running sum is positive inside runs
    begin, end = (np.bincount(where, minlength=width * height + 1) for where in (starts, starts + lengths))
    return (np.cumsum(begin - end)[:-1] > 0).reshape(width, height).T


def _open_mask(where: str, text: bytes) -> Int[np.ndarray, "H W"]:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(text)) as image:
            mask = np.array(image)
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise ValueError(f"{where} is not an image that can be read ({error})") from None
    if mask.ndim != 2:
        raise ValueError(f"{where} has {mask.shape[2]} channels; a mask has one, whose values are classes")
    return mask


def looks_like_mask(text: bytes) -> str | None:
    """ "masks" if this is an image of one channel with few values."""
    try:
        return "masks" if len(np.unique(_open_mask("", text))) <= 64 else None
    except ValueError:
        return None
