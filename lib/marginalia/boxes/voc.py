"""PASCAL VOC: one XML file per image."""

from __future__ import annotations

import codecs
import re
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

import numpy as np
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from .checks import NO_BOX, NO_CATEGORY, Raw, Rows
from .sources import bounded, decoded, image_ids, members
from .yolo import is_number

# Python's codecs that no annotation is written in, some of which take quadratic time
_NO_TEXT = ("punycode", "idna", "unicode-escape", "raw-unicode-escape", "charmap", "utf-7")
_ENCODING = re.compile(rb"""\s*<\?xml[^>]*?\sencoding\s*=\s*["']([\w.-]+)["']""")


def read_voc(path: Path) -> Raw:
    """A folder, an archive or one file of VOC annotations.

    x = xmin, y = ymin, w = xmax - xmin, h = ymax - ymin: no 1 is added, and nothing is taken off. In VOC's
    own files corners are 1-based and inclusive, so there a box of this table lies one pixel to the right
    and below, and is one pixel narrower; NEU-DET, BCCD and most tools write 0-based corners, which are met
    exactly. An object with several <bndbox> is as many boxes. Categories are numbered from 1 in alphabetical
    order of their names. `difficult` objects are kept and counted.
    """
    if path.is_file() and path.suffix.lower() == ".xml":
        bounded(path, path.stat().st_size)
        texts = {path.name: path.read_bytes()}
    else:
        texts = members(path, (".xml",))
    if not texts:
        raise ValueError(f"{path}: no .xml file in it; VOC annotations are one XML file per image")
    rows, things, sizes, files = Rows(), [], [], []
    for i, (name, text) in enumerate(texts.items()):
        root = _parse(f"{path}: {name}", text)
        sizes.append([_number(_text(root, f"size/{side}")) for side in ("width", "height")])
        files.append(_text(root, "filename"))
        for k, thing in enumerate(root.iterfind("object"), start=1):
            where = f"{name}, object {k}"
            boxes = thing.findall("bndbox")
            if not boxes:  # then nothing else is read
                things.append((where, i, "", NO_BOX))
                continue
            hard = _number(_text(thing, "difficult") or "0")
            if hard > 0 or np.isnan(hard):
                rows.mark("marked difficult" if hard > 0 else "difficult is no number", where)
            for part, corners in enumerate(boxes, start=1):
                entry = where if len(boxes) == 1 else f"{where}, box {part}"
                x, y, right, bottom = (
                    _corner(corners, side, f"{path}: {entry}") for side in ("xmin", "ymin", "xmax", "ymax")
                )
                things.append((entry, i, _text(thing, "name"), (x, y, right - x, bottom - y)))
    # numbers can be given only when all names are known
    names = dict(enumerate(sorted({label for _, _, label, _ in things} - {""}), start=1))
    numbers = {label: c for c, label in names.items()}
    for entry, i, label, box in things:
        rows.add(entry, i, numbers.get(label, NO_CATEGORY), box)
    return rows.raw(image_ids(path, list(texts)), sizes, names, files if any(files) else ())


def xml_text(where: str, content: bytes) -> str:
    """The text of an XML file in the encoding that it is marked with or declares; else it is UTF-8.

    Decoded here, since the parser knows few encodings. ValueError where the bytes do not fit.
    """
    declared = _ENCODING.match(content)
    try:
        codec = codecs.lookup(declared[1].decode()).name if declared else "utf-8"
        if codec in _NO_TEXT:
            raise LookupError(codec)
        if codec not in ("utf-8", "utf-16"):
            return content.decode(codec)
    except (LookupError, ValueError):
        raise ValueError(
            f"{where}: its text is not in {declared[1].decode():.40}, as it says; save it as UTF-8"
        ) from None
    return decoded(where, content)


def _parse(where: str, content: bytes) -> Element:
    """The root of one annotation; entities are refused, since a few lines of them can fill all memory."""
    text = xml_text(where, content)
    try:
        root = fromstring(text)
    except DefusedXmlException as error:
        raise ValueError(
            f"{where} defines or fetches XML entities ({type(error).__name__}), which annotations "
            "never need; it was not read"
        ) from None
    except (ParseError, ValueError) as error:  # the latter: text that is half a character
        what = "is empty" if not text.strip() else f"is not well-formed XML ({error})"
        raise ValueError(f"{where} {what}; fetch or export it again") from None
    if root.tag != "annotation":
        raise ValueError(f"{where} is XML, but its root is <{root.tag:.60}> and not VOC's <annotation>")
    return root


def _text(element: Element, tag: str) -> str:
    return (element.findtext(tag) or "").strip()


def _number(text: str) -> float:
    """A number; NaN for what is none."""
    return float(text) if is_number(text) else np.nan


def _corner(element: Element, tag: str, where: str) -> float:
    text = _text(element, tag)
    if not is_number(text):
        what = f"<{tag}> is {text!r:.40}, which is no number" if text else f"no <{tag}>"
        raise ValueError(f"{where}: {what}")
    return float(text)
