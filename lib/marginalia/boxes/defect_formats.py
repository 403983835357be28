"""Formats of industrial defect sets: DeepPCB's text, Severstal's run lengths, folders of masks."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np
from jaxtyping import Bool, Float, Int

from .checks import RawBoxes, settle
from .sources import image_ids, image_sizes, members
from .table import BoxTable, Finding
from .yolo import label_files

DEEPPCB_NAMES = {1: "open", 2: "short", 3: "mousebite", 4: "spur", 5: "copper", 6: "pin-hole"}
DEEPPCB_SIZE = (640, 640)  # every picture of the published set
SEVERSTAL_SIZE = (1600, 256)  # width and height of every picture of the published set
VOID = 255  # what VOC-style masks paint on borders that belong to no class


def read_deeppcb(path: Path, sizes=None) -> BoxTable:
    """DeepPCB: a folder or archive of text files, a line `x1 y1 x2 y2 type` per defect, in pixels.

    Numbers stand apart by spaces (the published files) or commas (as their documentation says). w = x2 -
    x1, h = y2 - y1. The files give no image size: 640 x 640 unless `sizes` says otherwise. Text files
    without numbers (the lists of the split) are set aside and counted.
    """
    labels, findings = label_files(path, members(path, (".txt",)))
    corners, image, category, entries = [], [], [], []
    for i, (name, lines) in enumerate(labels.items()):
        for number, words in lines:
            entry = f"{name}, line {number}"
            if len(words) != 5:
                raise ValueError(
                    f"{path}: {entry} has {len(words)} numbers, but a defect has 5: x1 y1 x2 y2 type"
                )
            if not words[4].isdigit():
                raise ValueError(f"{path}: {entry}: type {words[4]!r} is not a whole number")
            corners.append([float(word) for word in words[:4]])
            category.append(int(words[4]))
            image.append(i)
            entries.append(entry)
    ids = image_ids(path, list(labels))
    pixels, files = image_sizes(DEEPPCB_SIZE if sizes is None else sizes, ids, path)
    corners = np.array(corners, np.float64).reshape(-1, 4)
    xywh = np.hstack([corners[:, :2], corners[:, 2:] - corners[:, :2]])
    return settle(
        RawBoxes(
            xywh,
            np.array(image, np.int64),
            ids,
            pixels,
            np.array(category, np.int64),
            DEEPPCB_NAMES,
            entries.__getitem__,
            files=files,
            findings=findings,
        )
    )


def read_severstal(path: Path) -> BoxTable:
    """Severstal: a CSV of ImageId, ClassId, EncodedPixels or ImageId_ClassId, EncodedPixels.

    Runs are `start length` pairs, counted from 1 down the columns of a picture of 256 rows and 1600
    columns. A row is one class of one picture and may hold many defects, so **each connected component
    (diagonals included) is a box**; `area` is its number of pixels. Rows without runs are pictures without
    defects. Classes have no names.
    """
    boxes, image, category, area, entries = [], [], [], [], []
    ids: dict[str, int] = {}
    findings = {}
    seen = set()
    for number, name, label, runs in _severstal_rows(path):
        where = f"row {number} ({name})"
        i = ids.setdefault(name, len(ids))
        if not runs:
            continue
        if (name, label) in seen:
            earlier = findings.get("class of an image given again")
            findings["class of an image given again"] = Finding(
                earlier.count + 1 if earlier else 1, True, earlier.first if earlier else where
            )
        seen.add((name, label))
        xywh, pixels = component_boxes(_runs_to_mask(runs, f"{path}: {where}"))
        boxes.append(xywh)
        area.append(pixels)
        image += [i] * len(xywh)
        category += [label] * len(xywh)
        entries += [where] * len(xywh)
    return settle(
        RawBoxes(
            np.concatenate([np.zeros((0, 4)), *boxes]),
            np.array(image, np.int64),
            [PurePosixPath(name).stem for name in ids],
            np.tile(SEVERSTAL_SIZE, (len(ids), 1)),
            np.array(category, np.int64),
            {c: str(c) for c in sorted(set(category))},
            entries.__getitem__,
            area=np.concatenate([np.zeros(0), *area]),
            files=tuple(ids),
            findings=findings,
        )
    )


def read_masks(path: Path) -> BoxTable:
    """A folder or archive of PNG masks whose pixel values are classes, 0 for the background.

    **Each connected component of one class (diagonals included) is a box**; `area` is its number of pixels.
    A value of 255 is VOC's border that belongs to no class and is set aside, unless 255 is the only value
    in the whole set, as in masks of one kind of defect. Class names come from classes.txt (line 1 is class
    1) when it is there.
    """
    texts = members(path, (".png", "classes.txt"))
    pictures = {name: text for name, text in texts.items() if name.lower().endswith(".png")}
    if not pictures:
        raise ValueError(f"{path}: no .png file in it; masks are one PNG file per image")
    boxes, image, category, area, entries, sizes = [], [], [], [], [], []
    for i, (name, text) in enumerate(pictures.items()):
        mask = _open_mask(f"{path}: {name}", text)
        sizes.append(mask.shape[::-1])
        for value in np.unique(mask[mask > 0]).tolist():
            xywh, pixels = component_boxes(mask == value)
            boxes.append(xywh)
            area.append(pixels)
            image += [i] * len(xywh)
            category += [value] * len(xywh)
            entries += [f"{name}, value {value}, part {k + 1}" for k in range(len(xywh))]
    category = np.array(category, np.int64)
    void = (category == VOID) & (category != VOID).any()
    rows = np.flatnonzero(~void)
    first_void = Finding(int(void.sum()), False, entries[int(np.argmax(void))]) if void.any() else None
    listed = next((t for n, t in texts.items() if not n.lower().endswith(".png")), b"").decode(
        errors="replace"
    )
    names = dict(enumerate((line.strip() for line in listed.strip().splitlines()), start=1))
    return settle(
        RawBoxes(
            np.concatenate([np.zeros((0, 4)), *boxes])[rows],
            np.array(image, np.int64)[rows],
            image_ids(path, list(pictures)),
            sizes,
            category[rows],
            names or {c: str(c) for c in sorted(set(category[rows].tolist()))},
            lambda i: entries[rows[i]],
            area=np.concatenate([np.zeros(0), *area])[rows],
            files=tuple(pictures),
            findings={"part of no class (value 255)": first_void} if first_void else {},
        )
    )


def component_boxes(mask: Bool[np.ndarray, "H W"]) -> tuple[Float[np.ndarray, "N 4"], Int[np.ndarray, " N"]]:
    """Boxes xywh and pixel counts of the connected components of a mask, diagonal neighbours included."""
    from scipy import ndimage

    labels, _ = ndimage.label(mask, structure=np.ones((3, 3)))
    slices = ndimage.find_objects(labels)
    corners = [(c.start, r.start, c.stop - c.start, r.stop - r.start) for r, c in slices]
    return np.array(corners, np.float64).reshape(-1, 4), np.bincount(labels.ravel(), minlength=1)[1:]


def _severstal_rows(path: Path) -> Iterator[tuple[int, str, int, str]]:
    """Row number in the file, image name, class and runs of each row."""
    rows = csv.reader(io.StringIO(path.read_text("utf-8-sig"), newline=""))
    header = [word.strip() for word in next(rows, [])]
    joined = header == ["ImageId_ClassId", "EncodedPixels"]
    if not joined and header != ["ImageId", "ClassId", "EncodedPixels"]:
        raise ValueError(
            f"{path}: the first line is {','.join(header)!r:.60}, not ImageId,ClassId,EncodedPixels"
        )
    for number, row in enumerate(rows, start=2):
        if not row:
            continue
        if len(row) != len(header):
            raise ValueError(f"{path}: row {number} has {len(row)} fields instead of {len(header)}")
        name, label = row[0].rsplit("_", 1) if joined and "_" in row[0] else row[:2]
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
        raise ValueError(f"{where}: a run lies outside the {width} x {height} pixels of the picture")
    # +1 where a run starts, -1 behind its end; the running sum is positive inside runs
    edges = np.zeros(width * height + 1, np.int64)
    np.add.at(edges, starts, 1)
    np.add.at(edges, starts + lengths, -1)
    return (np.cumsum(edges[:-1]) > 0).reshape(width, height).T


def _open_mask(where: str, text: bytes) -> Int[np.ndarray, "H W"]:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(text)) as picture:
            mask = np.array(picture)
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise ValueError(f"{where} is not a picture that can be read ({error})") from None
    if mask.ndim != 2:
        raise ValueError(f"{where} has {mask.shape[2]} channels; a mask has one, whose values are classes")
    return mask.astype(np.int64)


def looks_like_mask(text: bytes) -> str | None:
    """ "masks" if this is a picture of one channel with few values."""
    try:
        return "masks" if len(np.unique(_open_mask("", text))) <= 64 else None
    except ValueError:
        return None
