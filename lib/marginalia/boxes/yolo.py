"""YOLO labels: a text file per image, a line `class cx cy w h` per box, in fractions of the sides."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np
from jaxtyping import Float

from .checks import Rows
from .sources import image_ids, image_sizes, members, sizes_beside
from .table import BoxTable

ABOVE = 2  # normalised to the image size: a box that stands over a little stays below it
NAME_FILES = ("obj.names", "classes.txt", "data.yaml", "data.yml")


def read_yolo(path: Path, sizes=None) -> BoxTable:
    """A folder or archive of YOLO labels; an empty label file is an image without boxes.

    `sizes` is (width, height) in pixels, a mapping from image id to that, or a folder of the image files.
    Without it, sizes come from the images beside the labels (`sizes_beside`), if every one is there; else
    the table stays normalised to the image size, and all sizes are (1, 1). Class names come from obj.names,
    classes.txt or data.yaml in the same place; class numbers count from 0 and stay as they are.
    """
    rows = Rows()
    texts = members(path, (".txt", ".names", ".yaml", ".yml"))
    names = _class_names(path, texts)
    labels = label_files(path, texts, rows)
    ids = image_ids(path, list(labels))
    pixels, files = _own_sizes(path, labels, ids, rows) if sizes is None else image_sizes(sizes, ids, path)
    for i, entry, (kind, *box) in box_lines(path, labels, "class cx cy w h"):
        if not kind.is_integer() or kind < 0:
            raise ValueError(f"{path}: {entry}: class {kind} is not a whole number from 0 on")
        if ABOVE < max(box) < np.inf:
            rows.mark(f"above {ABOVE}: pixels, not normalised?", entry)
        cx, cy, w, h = np.array(box) * np.tile(pixels[i], 2)
        rows.add(entry, i, int(kind), (cx - w / 2, cy - h / 2, w, h))
    return rows.table(ids, pixels, names, files)


def _own_sizes(
    path: Path, labels: dict[str, list], ids: list[str], rows: Rows
) -> tuple[Float[np.ndarray, "I 2"], tuple[str, ...]]:
    """Sizes and names of the images beside the labels; (1, 1) where one is missing, and it is marked."""
    sizes, files = sizes_beside(path, list(labels)) if path.is_dir() else ([None] * len(ids), ())
    if None not in sizes:
        return np.array(sizes, np.float64), files
    for name, size in zip(ids, sizes, strict=True):
        if size is None:
            rows.mark("normalised, image sizes unknown", f"image {name}")
    return np.ones((len(ids), 2)), ()


def label_files(path: Path, texts: dict[str, bytes], rows: Rows) -> dict[str, list]:
    """Text files that hold numbers, split into words; any other text file is dropped, and marked.

    Returns name -> [(line number, words), ...]. ValueError for a file of which some lines are numbers and
    others are not.
    """
    labels = {}
    for name, text in texts.items():
        if not name.endswith(".txt") or PurePosixPath(name).name in NAME_FILES:
            continue
        lines = list(_lines(f"{path}: {name}", text))
        numeric = [all(map(is_number, words)) for _, words in lines]
        if lines and not any(numeric):
            rows.mark("text file without numbers", name, kept=False)
        elif not all(numeric):
            number, words = lines[numeric.index(False)]
            said = " ".join(words)
            raise ValueError(f"{path}: {name}, line {number} is not a line of numbers: {said!r:.60}")
        else:
            labels[name] = lines
    if not labels:
        there = ", ".join([*texts][:3]) or "other files"
        raise ValueError(f"{path}: no text file with labels in it, only {there}")
    return labels


def box_lines(path: Path, labels: dict[str, list], meaning: str) -> Iterator[tuple[int, str, list[float]]]:
    """Image index, place in the file and five numbers of each box; `meaning` names them in errors."""
    for i, (name, lines) in enumerate(labels.items()):
        for number, words in lines:
            if len(words) != 5:
                raise ValueError(
                    f"{path}: {name}, line {number} has {len(words)} numbers, but a box has 5: {meaning} "
                    "(outlines and scores are not read)"
                )
            yield i, f"{name}, line {number}", [float(word) for word in words]


def _lines(where: str, text: bytes) -> Iterator[tuple[int, list[str]]]:
    """Line numbers and words of the lines that are not blank; words stand apart by spaces or commas."""
    try:
        decoded = text.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(f"{where} is not a text file in UTF-8") from None
    for number, line in enumerate(decoded.splitlines(), start=1):
        if words := line.replace(",", " ").split():
            yield number, words


def is_number(word: str) -> bool:
    """Whether a word of a label file is a number, NaN among them."""
    try:
        float(word)
    except ValueError:
        return False
    return True


def _class_names(path: Path, texts: dict[str, bytes]) -> dict[int, str]:
    """Names by class number from the first file that gives them; empty when there is none."""
    for wanted in NAME_FILES:
        for name, text in texts.items():
            if PurePosixPath(name).name == wanted:
                decoded = text.decode("utf-8-sig", errors="replace")
                if not wanted.startswith("data."):
                    return dict(enumerate(line.strip() for line in decoded.strip().splitlines()))
                if found := _names_of_yaml(f"{path}: {name}", decoded):
                    return found
    return {}


def _names_of_yaml(where: str, text: str) -> dict[int, str]:
    import yaml

    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"{where} is not valid YAML: {error}") from None
    names = content.get("names") if isinstance(content, dict) else None
    if isinstance(names, list):
        names = dict(enumerate(names))
    return {int(c): str(name) for c, name in (names or {}).items()}
