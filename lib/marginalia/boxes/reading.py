"""Annotation files as people have them, read into a BoxTable.

What happens to input that is not as it should be; the same in every format where it can occur. An **error**
is one ValueError naming the file and the entry. **Dropped** means: not in the table, counted in its
`report`. **Kept** means: in the table, and counted in its `report` under the phrase given.

| what | what happens | phrase in the report |
|---|---|---|
| no such file or folder | error (FileNotFoundError), names the absolute path | |
| empty file; file or folder of no known format; format that does not fit | error | |
| zip archive; text in UTF-16; one YOLO or DeepPCB label file; data.yaml | error, says what to do | |
| JSON, gzip or archive cut off or damaged | error, names the last whole entry | |
| XML that is broken or defines entities | error | |
| wrong number of values in a box; text where a number belongs | error | |
| annotation or detection for an image that is not listed | error | |
| image id, category id or name of a label file twice | error | |
| no size or file for an image where `sizes` was given | error | |
| NaN or infinity in a box | dropped | not a number |
| width or height zero or negative | dropped | size not positive |
| annotation with no box, or with four nan | dropped | without a box |
| detection with a score of NaN or infinity | dropped | score not a number |
| text file among labels that holds no numbers | dropped | text file without numbers |
| masks: value 255 beside other values | dropped | value 255, of no class |
| box (partly) outside its image, beyond rounding | kept as it is | outside the image |
| YOLO without `sizes`, and an image without file | kept | normalised, image sizes unknown |
| YOLO number above 2, where 1 is the whole side | kept as it is | above 2: pixels, not normalised? |
| x = y = w = h | kept | same coordinate four times (no correlation) |
| annotation id used before | kept | annotation id used before |
| one class of an image in two rows (Severstal) | kept | class of an image given again |
| no category | kept, category -1 | without a category |
| category missing in the list of categories | kept | category not listed |
| VOC's `difficult` | kept | marked difficult |
| image without usable boxes | kept | images without boxes |
| image size missing or 0 | kept, size NaN | image size not given |

Ids may be numbers or strings. In an archive only plain files count: it is read in memory and never
unpacked, so that names such as `../x` and links lead nowhere. Hidden files are passed over.
"""

from __future__ import annotations

import codecs
import os
import zlib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from . import coco, defect_formats, voc, yolo
from .sources import is_archive, walk
from .table import BoxTable

FORMATS = {  # name -> what reads it, and what it is
    "coco": (coco.read_coco, "COCO annotations (.json, .json.gz)"),
    "coco-results": (coco.read_results, "a list of COCO detections (.json, .json.gz; needs ground_truth=)"),
    "voc": (voc.read_voc, "PASCAL VOC XML (folder, .tar, .tar.gz; or one .xml)"),
    "yolo": (yolo.read_yolo, "YOLO labels (folder, .tar, .tar.gz of .txt)"),
    "deeppcb": (defect_formats.read_deeppcb, "DeepPCB labels (folder, .tar, .tar.gz of .txt)"),
    "severstal": (defect_formats.read_severstal, "Severstal's run lengths (.csv)"),
    "masks": (defect_formats.read_masks, "class masks (folder, .tar, .tar.gz of .png)"),
}
_FILES_ONLY = ("coco", "coco-results", "severstal")
_WITHOUT_SIZES = ("yolo", "deeppcb")


def read_boxes(
    path: str | os.PathLike,
    format: str | None = None,
    ground_truth: BoxTable | None = None,
    sizes: tuple[float, float] | Mapping[str, tuple[float, float]] | str | os.PathLike | None = None,
) -> BoxTable:
    """Read annotated boxes, or detections, of any format in FORMATS into a table.

    The format is found by looking into the files; `format` says it where they could be read in two ways.
    `ground_truth` is the table whose images a list of detections is about. `sizes` gives image sizes where
    the format has none (yolo, deeppcb): (width, height) in pixels, a mapping from image id to that, or a
    folder of the images, of which only headers are read. For a folder of YOLO labels without `sizes`, images
    are looked for in `images` in the place of `labels` (also with a split behind it, `labels/val`), then
    beside the labels. Where one is not there, the whole table stays normalised, with sizes (1, 1).

    Image ids are the file's own, or the stem of each image's file. Files are taken in the order of their
    names, so that the table does not depend on the disk. Images without boxes stay.

    Raises ValueError or FileNotFoundError; the table in this module's text says for what, and what is kept or
    dropped and counted in `report` instead.

    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "labels.json"
    >>> _ = file.write_text('''{"images": [{"id": 7, "width": 64, "height": 48}],
    ...     "categories": [{"id": 1, "name": "cup"}], "annotations": [
    ...     {"id": 1, "image_id": 7, "category_id": 1, "bbox": [8, 6, 20, 10]},
    ...     {"id": 2, "image_id": 7, "category_id": 1, "bbox": [8, 6, 0, 10]}]}''')
    >>> read_boxes(file)
    BoxTable(1 boxes, 1 images, 1 categories)
      size not positive: 1 dropped, first: annotation 2
    """
    # is it there, and is it something that can be read?
    path = Path(path).expanduser()
    if not path.exists():
        hint = "; relative paths start at the working folder, which for a notebook is notebooks/"
        hint = "" if path.is_absolute() else hint
        raise FileNotFoundError(f"{path.absolute()}: there is no such file or folder{hint}")
    if format is not None and format not in FORMATS:
        raise ValueError(f"format {format!r} is not known; known are {', '.join(FORMATS)}")
    _refuse(path, format)
    # the format, and whether the other arguments go with it
    format = format or find_format(path)
    read, what = FORMATS[format]
    if format in _FILES_ONLY and not path.is_file():
        raise ValueError(f"{path} is a folder; format {format!r} is one file: {what}")
    if (ground_truth is not None) != (format == "coco-results"):
        raise ValueError(
            f"{path}: a list of detections needs ground_truth=, the table of its images"
            if ground_truth is None
            else f"{path}: ground_truth= belongs to a list of detections, and this is {what}"
        )
    if sizes is not None and format not in _WITHOUT_SIZES:
        raise ValueError(f"{path}: sizes= is for labels that give none; {what} has its own")
    if format == "coco-results":
        return read(path, ground_truth)
    return read(path, sizes) if format in _WITHOUT_SIZES else read(path)


def _refuse(path: Path, format: str | None) -> None:
    """ValueError for one file that is nearly what can be read, and what to give instead."""
    if not path.is_file():
        return
    with path.open("rb") as file:
        head = file.read(4096)
    if head.startswith(b"PK\x03\x04"):
        raise ValueError(f"{path}: zip archives are not read; unpack it first and give the folder")
    suffix = path.suffix.lower()
    if suffix != ".xml" and head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise ValueError(f"{path}: the text is in UTF-16; save it in UTF-8, as annotation files are")
    if suffix in (".yaml", ".yml"):
        raise ValueError(f"{path}: this describes a data set; give the folder with its labels")
    if suffix == ".txt" and (format in ("yolo", "deeppcb") or _of_labels(head)):
        raise ValueError(f"{path}: this is the label file of one image; give the folder with all of them")


def find_format(path: Path) -> str:
    """Name of the format in FORMATS that the beginning of the content fits; ValueError when none does."""
    found = _of_file(path) if path.is_file() and not is_archive(path) else _of_members(path)
    if found is None:
        known = "\n".join(f"  {name}: {what}" for name, (_, what) in FORMATS.items())
        raise ValueError(f"{path}: none of the known formats was found here; known are\n{known}")
    return found


def _of_file(path: Path) -> str | None:
    with path.open("rb") as file:
        head = file.read(4096)
    if not head:
        raise ValueError(f"{path}: the file is empty")
    if head.startswith(b"\x1f\x8b"):
        try:
            head = zlib.decompressobj(wbits=31).decompress(head, 4096)
        except zlib.error as error:
            raise ValueError(f"{path}: its gzip packing is damaged ({error}); fetch it again") from None
    head = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    beginnings = {b"{": "coco", b"[": "coco-results", b"<": "voc", b"ImageId": "severstal"}
    return next((name for start, name in beginnings.items() if head.startswith(start)), None)


def _of_members(path: Path) -> str | None:
    """The format of a folder or archive; the first file that decides for a format is enough for it."""
    look = {
        ".xml": lambda text: "voc" if b"<annotation" in text else None,
        ".txt": _of_labels,
        ".png": defect_formats.looks_like_mask,
    }
    found = {}

    def undecided(name: str) -> bool:
        kind = PurePosixPath(name).suffix.lower()
        return kind in look and kind not in found

    for name, text in walk(path, undecided):
        kind = PurePosixPath(name).suffix.lower()
        if guess := look[kind](text):
            found[kind] = guess
    if ".xml" in found and ".txt" in found:
        raise ValueError(f"{path} holds both {found['.xml']} and {found['.txt']}; say which one with format=")
    # images beside annotations are what is annotated; alone, they may be masks
    return found.get(".xml") or found.get(".txt") or found.get(".png")


def _of_labels(text: bytes) -> str | None:
    """DeepPCB if the first line is whole numbers, two corners and a type; YOLO if a class and numbers."""
    lines = text.decode("utf-8-sig", errors="replace").strip().splitlines()
    words = lines[0].replace(",", " ").split() if lines else []
    if len(words) == 5 and all(map(str.isdigit, words)):
        x, y, right, bottom, kind = map(int, words)
        if max(right, bottom) > 1 and x < right and y < bottom and kind in defect_formats.DEEPPCB_NAMES:
            return "deeppcb"
    numbers = all(map(yolo.is_number, words))
    return "yolo" if len(words) > 1 and words[0].isdigit() and numbers else None
