"""Formats of industrial defect sets: DeepPCB's text, Severstal's run lengths, folders of masks."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter
from pathlib import Path, PurePosixPath

import numpy as np
from jaxtyping import Bool, Int

from .checks import HIGHEST_CLASS, Raw, Rows
from .sources import LimitError, decoded, image_ids, image_sizes, members, opened_image
from .yolo import box_lines, label_files, named_lines

DEEPPCB_NAMES = {1: "open", 2: "short", 3: "mousebite", 4: "spur", 5: "copper", 6: "pin-hole"}
DEEPPCB_SIZE = (640, 640)  # every image of the published set
SEVERSTAL_SIZE = (1600, 256)  # width and height of every image of the published set
VOID = 255  # what VOC-style masks paint on borders that belong to no class
PARTS = 100_000  # connected components of a mask; a photograph has more


def read_deeppcb(path: Path, sizes=None) -> Raw:
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
        if not (kind.is_integer() and abs(kind) <= HIGHEST_CLASS):
            raise ValueError(f"{path}: {entry}: type {kind} is not a whole number")
        rows.add(entry, i, int(kind), (x, y, right - x, bottom - y))
    return rows.raw(ids, pixels, DEEPPCB_NAMES, files)


def read_severstal(path: Path) -> Raw:
    """Severstal: a CSV of ImageId, ClassId, EncodedPixels or ImageId_ClassId, EncodedPixels.

    Runs are `start length` pairs, counted from 1 down the columns of an image of 256 rows and 1600
    columns. A row is one class of one image and may hold many defects, so **each connected component
    (diagonals included) is a box**; `area` is its number of pixels. Rows without runs are images without
    defects. Classes have no names.
    """
    rows, index, seen = Rows(), {}, set()
    for number, name, label, runs in _severstal_rows(path):
        where = f"row {number} ({name:.60})"
        i = index.setdefault(name, len(index))
        if not runs:
            continue
        if (name, label) in seen:
            rows.mark("class of an image given again", where)
        seen.add((name, label))
        mask, first = _runs_to_mask(runs, f"{path}: {where}")
        for k, (_, (x, *ywh), pixels) in enumerate(components(mask, f"{path}: {where}"), start=1):
            rows.add(f"{where}, part {k}", i, label, (first + x, *ywh), pixels)
    return rows.raw(image_ids(path, list(index)), [SEVERSTAL_SIZE] * len(index), {}, index)


def read_masks(path: Path) -> Raw:
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
    for name, text in masks.items():
        mask = _open_mask(f"{path}: {name}", text)
        sizes.append(mask.shape[::-1])
        found.append(components(mask, f"{path}: {name}"))
    # 255 is a border of no class, unless there is nothing else
    borders = {value for parts in found for value, *_ in parts} != {VOID}
    rows = Rows()
    for i, (name, parts) in enumerate(zip(masks, found, strict=True)):
        if borders and any(value == VOID for value, *_ in parts):
            rows.mark("value 255, of no class", name, kept=False)
            parts = [part for part in parts if part[0] != VOID]
        for value, same in groupby(parts, itemgetter(0)):
            for k, (_, xywh, pixels) in enumerate(same, start=1):
                rows.add(f"{name}, value {value}, part {k}", i, value, xywh, pixels)
    listed = {name: text for name, text in texts.items() if name not in masks}
    names = next((named_lines(f"{path}: {name}", text, 1) for name, text in listed.items()), {})
    return rows.raw(image_ids(path, list(masks)), sizes, names, masks)


def components(mask: Int[np.ndarray, "H W"], where: str) -> list[tuple[int, tuple[int, int, int, int], int]]:
    """Value, box (x, y, w, h) and number of pixels of each part of a mask, sorted by value.

    A part is connected, diagonals included, of one value, not 0. LimitError, naming `where`, for more than
    PARTS.
    """
    from scipy.ndimage import find_objects
    from skimage.measure import label

    labels, count = label(mask, background=0, return_num=True, connectivity=2)  # all values in one pass
    if count > PARTS:
        raise LimitError(
            f"{where} has {count:,} parts, more than {PARTS:,}; if it is no photograph but a mask, set "
            "marginalia.boxes.defect_formats.PARTS higher"
        )
    values = np.zeros(count + 1, np.int64)
    values[labels] = mask
    pixels = np.bincount(labels.ravel(), minlength=count + 1).tolist()
    parts = [
        (int(values[n]), (c.start, r.start, c.stop - c.start, r.stop - r.start), pixels[n])
        for n, (r, c) in enumerate(find_objects(labels), start=1)
    ]
    return sorted(parts, key=itemgetter(0))


def _severstal_rows(path: Path) -> Iterator[tuple[int, str, int, str]]:
    """Row number in the file, image name, class and runs of each row."""
    rows = _csv_rows(path)
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
        if not PurePosixPath(name).name:
            raise ValueError(f"{path}: row {number} names no image")
        runs = row[-1].strip()
        if runs and not (label.strip().isdecimal() and len(label) < 10):
            raise ValueError(f"{path}: row {number} ({name:.60}): class {label!r:.40} is not a whole number")
        yield number, name, int(label) if runs else 0, runs


def _csv_rows(path: Path) -> Iterator[list[str]]:
    rows = csv.reader(io.StringIO(decoded(str(path), path.read_bytes()), newline=""))
    try:
        yield from rows
    except csv.Error as error:
        told = f"{path}: line {rows.line_num} is no CSV ({error})"
        raise ValueError(f"{told}; csv.field_size_limit(...) allows longer fields") from None


def _runs_to_mask(runs: str, where: str) -> tuple[Bool[np.ndarray, "H W"], int]:
    """The mask of a text of `start length` pairs, which count from 1 down the columns, and its first column.

    W reaches from the first column with a run to the last.
    """
    width, height = SEVERSTAL_SIZE
    words = runs.split()
    if not all(map(str.isdecimal, words)):
        raise ValueError(f"{where}: run lengths are whole numbers, not {runs!r:.40}")
    numbers = np.array(words, float)  # a whole number may be too large for an integer
    if len(numbers) % 2:
        raise ValueError(
            f"{where}: {len(numbers)} numbers, but run lengths come in pairs of start and length"
        )
    starts, ends = numbers[::2] - 1, numbers[::2] - 1 + numbers[1::2]
    if (starts < 0).any() or (ends <= starts).any() or (ends > width * height).any():
        raise ValueError(f"{where}: a run lies outside the {width} x {height} pixels of the image")
    # +1 where a run starts, -1 behind its end; the running sum is positive inside runs
    first, last = int(starts.min()) // height, -int(-ends.max() // height)
    pixels = (last - first) * height
    begin, end = ((at - first * height).astype(int) for at in (starts, ends))
    begin, end = (np.bincount(at, minlength=pixels + 1) for at in (begin, end))
    return (np.cumsum(begin - end)[:-1] > 0).reshape(-1, height).T, first


def _open_mask(where: str, text: bytes) -> Int[np.ndarray, "H W"]:
    with opened_image(where, io.BytesIO(text)) as image:
        mask = np.array(image)
    if mask.ndim != 2:
        raise ValueError(f"{where} has {mask.shape[2]} channels; a mask has one, whose values are classes")
    if not (mask.dtype == bool or mask.dtype.kind in "iu") or mask.min() < 0 or mask.max() > HIGHEST_CLASS:
        raise ValueError(
            f"{where} has pixels of {mask.dtype}, not all of them whole numbers that can be classes"
        )
    return mask.view(np.uint8) if mask.dtype == bool else mask


def looks_like_mask(text: bytes) -> str | None:
    """ "masks" if this is an image of one channel with few values, "" if it is another one, None if none."""
    try:
        with opened_image("", io.BytesIO(text)) as image:
            pixels = np.array(image)
    except ValueError:
        return None
    return "masks" if pixels.ndim == 2 and len(np.unique(pixels)) <= 64 else ""
