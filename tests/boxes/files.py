"""Small annotation files for tests."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image

VOC = (
    "<annotation><filename>{}.jpg</filename><size><width>200</width><height>100</height></size>{}"
    "</annotation>"
)
THING = "<object><name>{}</name>{}</object>"
CORNERS = "<bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox>"


def voc(name: str, *things: tuple) -> str:
    """A VOC file; a thing is (kind, xmin, ymin, xmax, ymax), or (kind,) without a box."""
    objects = (THING.format(kind, CORNERS.format(*box) if box else "") for kind, *box in things)
    return VOC.format(name, "".join(objects))


def png(mask: np.ndarray) -> bytes:
    """A mask as a PNG file."""
    file = io.BytesIO()
    Image.fromarray(mask.astype(np.uint8)).save(file, "PNG")
    return file.getvalue()


def tar(files: dict[str, str | bytes], mode: str = "w:gz") -> bytes:
    """An archive with these files."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as archive:
        for name, content in files.items():
            content = content.encode() if isinstance(content, str) else content
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return file.getvalue()


def put(folder: Path, content: dict | tuple) -> Path:
    """Write a folder {name: content} or a file (name, content), and return its path."""
    files = content if isinstance(content, dict) else dict([content])
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(text.encode() if isinstance(text, str) else text)
    return folder if isinstance(content, dict) else folder / content[0]


def put_packed(folder: Path, files: dict) -> Path:
    """Write the same files as an archive, and return its path."""
    return put(folder, ("set.tar.gz", tar(files)))
