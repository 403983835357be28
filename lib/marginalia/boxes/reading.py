"""Annotation files as people have them, read into a BoxTable.

What happens to input that is not as it should be; the same in every format where it can occur. An **error**
is one ValueError naming the file and the entry. **Dropped** means: not in the table, counted in its
`report`. **Kept** means: in the table, and counted in its `report` under the phrase given.

| what | what happens | phrase in the report |
|---|---|---|
| no such file or folder | error (FileNotFoundError), names the absolute path | |
| empty file; file or folder of no known format; format that does not fit | error | |
| zip archive; JSON in UTF-16; one YOLO or DeepPCB label file; data.yaml | error, says what to do | |
| folder with several COCO files and nothing else | error, names them | |
| JSON, gzip or archive cut off or damaged | error, names the last whole entry | |
| text that is not in UTF-8 and neither marked nor declared as something else | error, says what to do | |
| XML that is broken or defines entities | error | |
| names in data.yaml that are neither a list nor a mapping from number to name | error | |
| more than a limit of `sources`, `json_stream`, `yolo` or `defect_formats` (LimitError) | error, names it | |
| wrong number of values in a box; text where a number belongs | error | |
| annotation or detection for an image that is not listed | error | |
| image id, category id or name of a label file twice | error | |
| no size or file for an image where `sizes` was given | error | |
| NaN or infinity in a box | dropped | not a number |
| number beyond 1e9 in a box | dropped | too large for an image |
| width or height zero or negative | dropped | size not positive |
| detection of width or height zero | kept, as COCO's evaluation does | size zero, a false positive |
| annotation with no box, or with four nan | dropped | without a box |
| detection with a score of NaN or infinity | dropped | score not a number |
| text file among labels that holds no numbers, or two a line at most | dropped | text file without boxes |
| masks: value 255 beside other values | dropped | value 255, of no class |
| box (partly) outside its image, beyond rounding | kept as it is | outside the image |
| YOLO without `sizes`, and an image without file | kept | normalised, image sizes unknown |
| YOLO number above 2, where 1 is the whole side | kept as it is | above 2: pixels, not normalised? |
| x = y = w = h | kept | same coordinate four times (no correlation) |
| annotation id used before | kept | annotation id used before |
| one class of an image in two rows (Severstal) | kept | class of an image given again |
| no category | kept, category -1 | without a category |
| category missing in the list of categories | kept | category not listed |
| every box a crowd region, as some tools export | kept | all boxes are crowd |
| area negative or beyond MAX_AREA | kept, w * h instead | area negative or too large, not taken |
| VOC's `difficult` | kept | marked difficult |
| `difficult` that is no number | kept | difficult is no number |
| image without usable boxes | kept | images without boxes |
| image size missing, 0, infinite or no number | kept, size NaN | image size not given |

Ids may be numbers or strings; 1.0 is the id 1, and a number in the place of a name is its text. In an archive
only plain files count: it is read in memory and never unpacked, so that names such as `../x` and links lead
nowhere. What is hidden is passed over: paths with a part that begins with a dot, and __MACOSX.
"""

from __future__ import annotations

import codecs
import os
import zlib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from . import coco, defect_formats, voc, yolo
from .checks import Raw, validate
from .sources import LimitError, is_archive, listing, walk
from .table import BoxTable

FORMATS = {  # name -> what reads it, and what it is
    "coco": (coco.read_coco, "COCO annotations (.json, .json.gz, or a folder with one such file)"),
    "coco-results": (coco.read_results, "a list of COCO detections (.json, .json.gz; needs ground_truth=)"),
    "voc": (voc.read_voc, "PASCAL VOC XML (folder, .tar, .tar.gz; or one .xml)"),
    "yolo": (yolo.read_yolo, "YOLO labels (folder, .tar, .tar.gz of .txt)"),
    "deeppcb": (defect_formats.read_deeppcb, "DeepPCB labels (folder, .tar, .tar.gz of .txt)"),
    "severstal": (defect_formats.read_severstal, "Severstal's run lengths (.csv)"),
    "masks": (defect_formats.read_masks, "class masks (folder, .tar, .tar.gz of .png)"),
}
MESSAGE = 900  # characters of an error
_FILES_ONLY = ("coco", "coco-results", "severstal")
_WITHOUT_SIZES = ("yolo", "deeppcb")
_COCO_WORDS = (b'"images"', b'"annotations"', b'"categories"', b'"info"', b'"licenses"')
_DETECTION_WORDS = (b'"image_id"', b'"bbox"', b'"score"')


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
    beside the labels. Where one is not there, the whole table stays normalised, with sizes (1, 1). The size
    of an image is that in which it is shown, turned as its EXIF orientation says.

    Image ids are the file's own, or the stem of each image's file. Files are taken in the order of their
    names, so that the table does not depend on the disk. Images without boxes stay.

    Raises ValueError, FileNotFoundError or PermissionError; the table in this module's text says for what,
    and what is kept or dropped and counted in `report` instead.

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
    try:
        return validate(_read(Path(path).expanduser(), format, ground_truth, sizes))
    except (FileNotFoundError, PermissionError):
        raise
    except (OSError, RuntimeError) as error:  # a name too long for the disk, or a home that is not there
        raise ValueError(f"{path!s:.300} cannot be read ({error!s:.300})") from error
    except ValueError as error:  # names in files may have any length
        if len(str(error)) <= MESSAGE:
            raise
        kind = LimitError if isinstance(error, LimitError) else ValueError
        raise kind(f"{error!s:.{MESSAGE}}...") from None


def _read(path: Path, format: str | None, ground_truth: BoxTable | None, sizes) -> Raw:
    """What the file's one reader finds, once the arguments go together."""
    # is it there, and is it something that can be read?
    if not path.exists():
        hint = "; relative paths start at the working folder, which for a notebook is notebooks/"
        hint = "" if path.is_absolute() else hint
        raise FileNotFoundError(f"{path.absolute()}: there is no such file or folder{hint}")
    if not (path.is_file() or path.is_dir()):
        raise ValueError(
            f"{path}: neither a file nor a folder, but a device or pipe; save it as a file first"
        )
    if format is not None and format not in FORMATS:
        raise ValueError(f"format {format!r} is not known; known are {', '.join(FORMATS)}")
    _refuse(path, format)
    # the format, and whether the other arguments go with it
    format = format or find_format(path)
    read, what = FORMATS[format]
    if format == "coco" and path.is_dir():
        path = _only_coco_file(path)
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
    more = {"coco-results": (ground_truth,)} | dict.fromkeys(_WITHOUT_SIZES, (sizes,))
    return read(path, *more.get(format, ()))


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
    if suffix == ".txt" and (format in ("yolo", "deeppcb") or _of_labels("", head)):
        raise ValueError(f"{path}: this is the label file of one image; give the folder with all of them")


def find_format(path: Path) -> str:
    """Name of the format in FORMATS that the beginning of the content fits; ValueError when none does."""
    found = _of_file(path) if path.is_file() and not is_archive(path) else _of_members(path)
    if found is None:
        known = "\n".join(f"  {name}: {what}" for name, (_, what) in FORMATS.items())
        raise ValueError(f"{path}: none of the known formats was found here; known are\n{known}")
    return found


def _beginning(path: Path) -> bytes:
    """The first bytes of a file, unpacked."""
    with path.open("rb") as file:
        head = file.read(4096)
    if head.startswith(b"\x1f\x8b"):
        try:
            head = zlib.decompressobj(wbits=31).decompress(head, 4096)
        except zlib.error as error:
            raise ValueError(f"{path}: its gzip packing is damaged ({error}); fetch it again") from None
    return head.removeprefix(b"\xef\xbb\xbf").lstrip()


def _of_file(path: Path) -> str | None:
    if not path.stat().st_size:
        raise ValueError(f"{path}: the file is empty")
    head = _beginning(path)
    other = head[:1] == b"[" and head[1:].strip() != b"]"
    if other and not any(word in head for word in _DETECTION_WORDS):
        raise ValueError(
            f"{path}: a JSON list, but not of detections, which have image_id, category_id, bbox and score; "
            f"it begins {head[:60].decode(errors='replace')!r}"
        )
    beginnings = {b"{": "coco", b"[": "coco-results", b"<": "voc", b"ImageId": "severstal"}
    return next((name for start, name in beginnings.items() if head.startswith(start)), None)


def _of_members(path: Path) -> str | None:
    """The format of a folder or archive; the first file that decides for a format is enough for it."""
    look = {
        ".xml": lambda where, text: "voc" if "<annotation" in voc.xml_text(where, text) else None,
        ".txt": _of_labels,
        ".png": lambda _, text: defect_formats.looks_like_mask(text),
    }
    found = {}

    def undecided(name: str) -> bool:
        kind = PurePosixPath(name).suffix.lower()
        return kind in look and kind not in found

    for name, text in walk(path, undecided):
        kind = PurePosixPath(name).suffix.lower()
        if (guess := look[kind](f"{path}: {name}", text)) is not None:
            found[kind] = guess
    if ".xml" in found and ".txt" in found:
        raise ValueError(f"{path} holds both {found['.xml']} and {found['.txt']}; say which one with format=")
    # images beside annotations are what is annotated; alone, they may be masks
    coco_file = path.is_dir() and _coco_files(path)
    return (
        found.get(".xml") or found.get(".txt") or ("coco" if coco_file else None) or found.get(".png") or None
    )


def _coco_files(folder: Path) -> list[str]:
    """Files of a folder that begin as COCO annotations do."""
    files = [name for name in listing(folder) if name.lower().endswith((".json", ".json.gz"))]
    return [name for name in files if any(word in _beginning(folder / name) for word in _COCO_WORDS)]


def _only_coco_file(folder: Path) -> Path:
    """The one COCO file of a folder, as tools export it; ValueError when there are none or several."""
    files = _coco_files(folder)
    if len(files) != 1:
        there = f"several COCO files: {', '.join(files[:5])}" if files else "no COCO file"
        raise ValueError(f"{folder} is a folder with {there}; give the path of one file")
    return folder / files[0]


def _of_labels(_: str, text: bytes) -> str | None:
    """DeepPCB if the first line is whole numbers, two corners and a type; YOLO if a class and numbers."""
    utf16 = text.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    lines = text.decode("utf-16" if utf16 else "utf-8-sig", errors="replace").strip().splitlines()
    words = lines[0].replace(",", " ").split() if lines else []
    if len(words) == 5 and all(map(str.isdecimal, words)):
        x, y, right, bottom, kind = map(float, words)
        if max(right, bottom) > 1 and x < right and y < bottom and kind in defect_formats.DEEPPCB_NAMES:
            return "deeppcb"
    numbers = all(map(yolo.is_number, words))
    return "yolo" if len(words) > 2 and numbers and float(words[0]).is_integer() else None
