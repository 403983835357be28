"""PASCAL VOC: one XML file per image."""

from __future__ import annotations

from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

import numpy as np
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from .checks import NO_BOX, NO_CATEGORY, Rows
from .sources import image_ids, members
from .table import BoxTable


def read_voc(path: Path) -> BoxTable:
    """A folder, an archive or one file of VOC annotations.

    x = xmin, y = ymin, w = xmax - xmin, h = ymax - ymin: no 1 is added, and nothing is taken off. In VOC's
    own files corners are 1-based and inclusive, so there a box of this table lies one pixel to the right
    and below, and is one pixel narrower; NEU-DET, BCCD and most tools write 0-based corners, which are met
    exactly. Categories are numbered from 1 in alphabetical order of their names. `difficult` objects are
    kept and counted.
    """
    texts = {path.name: path.read_bytes()} if path.suffix.lower() == ".xml" else members(path, (".xml",))
    if not texts:
        raise ValueError(f"{path}: no .xml file in it; VOC annotations are one XML file per image")
    things, sizes, files = [], [], []
    for i, (name, text) in enumerate(texts.items()):
        where = f"{path}: {name}"
        root = _parse(where, text)
        sizes.append([_number(root, f"size/{side}", where, missing=np.nan) for side in ("width", "height")])
        files.append(_text(root, "filename"))
        for k, thing in enumerate(root.iterfind("object"), start=1):
            where = f"{path}: {name}, object {k}"
            corners = thing.find("bndbox")
            box, label, hard = NO_BOX, "", False  # of what has no box nothing else is read
            if corners is not None:
                x, y, right, bottom = (_number(corners, c, where) for c in ("xmin", "ymin", "xmax", "ymax"))
                box, label = (x, y, right - x, bottom - y), _text(thing, "name")
                hard = _number(thing, "difficult", where, missing=0) > 0
            things.append((f"{name}, object {k}", i, label, box, hard))
    # numbers can be given only when all names are known
    names = dict(enumerate(sorted({label for _, _, label, _, _ in things} - {""}), start=1))
    numbers, rows = {label: c for c, label in names.items()}, Rows()
    for entry, i, label, box, _ in things:
        rows.add(entry, i, numbers.get(label, NO_CATEGORY), box)
    ids, files = image_ids(path, list(texts)), files if any(files) else ()
    return rows.table(ids, sizes, names, files, np.array([hard for *_, hard in things], bool))


def _parse(where: str, text: bytes) -> Element:
    """The root of one annotation; entities are refused, since a few lines of them can fill all memory."""
    try:
        root = fromstring(text)
    except DefusedXmlException as error:
        raise ValueError(
            f"{where} defines or fetches XML entities ({type(error).__name__}), which annotations "
            "never need; it was not read"
        ) from None
    except (ParseError, ValueError, LookupError) as error:  # the last two: an encoding that is not there
        what = "is empty" if not text.strip() else f"is not well-formed XML ({error})"
        raise ValueError(f"{where} {what}; fetch or export it again") from None
    if root.tag != "annotation":
        raise ValueError(f"{where} is XML, but its root is <{root.tag}> and not VOC's <annotation>")
    return root


def _text(element: Element, tag: str) -> str:
    return (element.findtext(tag) or "").strip()


def _number(element: Element, tag: str, where: str, missing: float | None = None) -> float:
    text = _text(element, tag)
    if not text and missing is not None:
        return missing
    try:
        return float(text)
    except ValueError:
        what = f"<{tag}> is {text!r:.40}, which is no number" if text else f"no <{tag}>"
        raise ValueError(f"{where}: {what}") from None
