"""YOLO labels: a text file per image, a line `class cx cy w h` per box, in fractions of the sides."""

from __future__ import annotations

import reprlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np
from jaxtyping import Float

from .checks import HIGHEST_CLASS, Raw, Rows
from .sources import LimitError, decoded, image_ids, image_sizes, members, sizes_beside

ABOVE = 2  # normalised to the image size: a box that stands over a little stays below it
NAME_FILES = ("obj.names", "classes.txt", "data.yaml", "data.yml")
NAMES_BYTES = 1 << 18  # of a file of names; YAML is slow to read


def read_yolo(path: Path, sizes=None) -> Raw:
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
        if not (kind.is_integer() and 0 <= kind <= HIGHEST_CLASS):
            raise ValueError(f"{path}: {entry}: class {kind} is not a whole number from 0 on")
        if ABOVE < max(box) < np.inf:
            rows.mark(f"above {ABOVE}: pixels, not normalised?", entry)
        cx, cy, w, h = np.array(box) * np.tile(pixels[i], 2)
        rows.add(entry, i, int(kind), (cx - w / 2, cy - h / 2, w, h))
    return rows.raw(ids, pixels, names, files)


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

    Lists of images (`train.txt`, those of VOC) have one or two words a line, numbers too. Returns name ->
    [(line number, words), ...]. ValueError for a file of which some lines are numbers and others are not.
    """
    labels = {}
    for name, text in texts.items():
        if not name.lower().endswith(".txt") or PurePosixPath(name).name.lower() in NAME_FILES:
            continue
        lines = list(_lines(f"{path}: {name}", text))
        numeric = [all(map(is_number, words)) for _, words in lines]
        if lines and (not any(numeric) or all(len(words) <= 2 for _, words in lines)):
            rows.mark("text file without boxes", name, kept=False)
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
    for number, line in enumerate(decoded(where, text).splitlines(), start=1):
        if words := line.replace(",", " ").split():
            yield number, words


def is_number(word: str) -> bool:
    """Whether a word of a label file is a number, NaN among them; 2010_006215 is a name."""
    try:
        float(word)
    except ValueError:
        return False
    return "_" not in word


def named_lines(where: str, text: bytes, start: int) -> dict[int, str]:
    """The names in a text file, a line each, numbered from `start`."""
    return dict(enumerate(map(str.strip, decoded(where, text).strip().splitlines()), start=start))


def _class_names(path: Path, texts: dict[str, bytes]) -> dict[int, str]:
    """Names by class number from the first file that gives them; empty when there is none."""
    for wanted in NAME_FILES:
        for name, text in texts.items():
            if PurePosixPath(name).name.lower() == wanted:
                if not wanted.startswith("data."):
                    return named_lines(f"{path}: {name}", text, 0)
                if found := _names_of_yaml(f"{path}: {name}", text):
                    return found
    return {}


def _names_of_yaml(where: str, text: bytes) -> dict[int, str]:
    """The entry `names`: a list, or a mapping from class number; empty where there is none."""
    import yaml

    if len(text) > NAMES_BYTES:
        raise LimitError(f"{where} has more than {NAMES_BYTES:,} bytes; leave only `names` in it")
    text = decoded(where, text)
    try:
        # all as text: a class may be called `no` or 1.0. Nothing can multiply then, whatever anchors say.
        content = yaml.load(text, yaml.BaseLoader)
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # numbers of characters and versions
        raise ValueError(f"{where} is not valid YAML: {error!s:.300}") from None
    except RecursionError:
        raise LimitError(f"{where} is nested too deeply; leave only `names` in it") from None
    names = content.get("names", {}) if isinstance(content, dict) else {}
    pairs = list(names.items() if isinstance(names, dict) else enumerate(names))
    numbered = all(
        str(number).isdecimal() and len(str(number)) < 10 and isinstance(name, str) for number, name in pairs
    )
    if not isinstance(names, (dict, list)) or not numbered:
        raise ValueError(
            f"{where}: names must be a list of names, or lines `0: name` with a space behind the colon, "
            f"not {reprlib.repr(names):.80}"
        )
    return {int(number): name for number, name in pairs}
