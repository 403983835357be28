"""Files of a folder or an archive as names and bytes, without unpacking anything to disk.

A small archive can unpack to more than any memory holds, so that there are limits to what is read.
"""

from __future__ import annotations

import codecs
import os
import tarfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path, PurePath, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL import Image

IMAGE_FILES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif")

MEMBERS = 300_000  # files and folders of an archive
FILE_BYTES = 1 << 27  # of one mask, or of a header of an archive
TEXT_BYTES = 1 << 23  # of one file of labels or one annotation
TOTAL_BYTES = 1 << 32  # of all files of a set that are read
UNPACKED_BYTES = 1 << 33  # of a packed archive or file
SIDEWAYS = (5, 6, 7, 8)  # EXIF orientations that exchange width and height


class LimitError(ValueError):
    """Something is larger than what is read here; the message says how to go beyond it."""


class _Bounded:
    """An opened file of which no more is read at once than one file may hold; a header can ask for more."""

    def __init__(self, file):
        self.file = file
        self.seek, self.tell, self.close = file.seek, file.tell, file.close

    def read(self, size: int) -> bytes:
        if not 0 <= size <= FILE_BYTES:
            raise LimitError(
                f"a header of the archive asks for {size:,} bytes; unpack it and give the folder"
            )
        return self.file.read(size)


class _Archive(tarfile.TarFile):
    """A tar, packed or not, whose headers take no more memory than files may; used on an opened file."""

    def __init__(self, name, mode, fileobj, **options):
        super().__init__(name, mode, _Bounded(fileobj), **options)


def is_archive(path: Path) -> bool:
    """Whether the file is a tar, packed or not."""
    try:
        with path.open("rb") as file, _Archive.open(fileobj=file):
            return True
    except LimitError as error:
        raise LimitError(f"{path}: {error}") from None
    except Exception:  # of many kinds, where something else is packed, or a header is damaged
        return False


def members(path: Path, endings: Sequence[str]) -> dict[str, bytes]:
    """Contents of all files with one of the endings, by name inside the folder or archive, sorted by name.

    Raises ValueError for an archive that is cut off or holds the same name twice.
    """
    found, total = {}, 0
    for name, content in walk(path, lambda name: name.lower().endswith(tuple(endings))):
        if name in found:
            raise ValueError(f"{path}: holds {name} twice; pack it again with one of them")
        found[name] = content
        total += len(content)
        if total > TOTAL_BYTES:
            raise LimitError(
                f"{path}: its files hold more than {TOTAL_BYTES:,} bytes; read it in parts, or set "
                "marginalia.boxes.sources.TOTAL_BYTES higher"
            )
    return dict(sorted(found.items()))


def walk(path: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    """Names and contents of the files whose name is wanted, one at a time; others are not read.

    An archive is read in memory and never unpacked, so names such as `../x` lead nowhere; links and
    devices in it are passed over, and so is what is hidden (see `visible`).
    """
    if path.is_dir():
        for name in listing(path):
            if wanted(name):
                bounded(path / name, (path / name).stat().st_size)
                yield name, (path / name).read_bytes()
        return
    last, count = "before its first file", 0
    unpacked = max(UNPACKED_BYTES, path.stat().st_size)  # what is not packed may have any size
    try:
        with path.open("rb") as file, _Archive.open(fileobj=file) as archive:
            while (member := archive.next()) is not None:
                archive.members.clear()  # it would keep the headers of all
                count += 1
                name = str(PurePosixPath(member.name))
                if count > MEMBERS or member.offset_data + member.size > unpacked:
                    raise LimitError(
                        f"the archive has more than {MEMBERS:,} members or {unpacked:,} bytes; unpack it and "
                        "give the folder"
                    )
                if member.isfile() and visible(name) and wanted(name):
                    bounded(name, member.size)
                    yield name, archive.extractfile(member).read()
                last = f"after {name:.200}"
            # an archive ends with zeros, or with the file; a damaged header looks like the end
            archive.fileobj.seek(archive.offset)
            if archive.fileobj.read(512).strip(b"\0"):
                raise tarfile.TarError("a damaged header")
            # only at the end of its packing is its checksum compared
            while archive.fileobj.read(1 << 20) and archive.fileobj.tell() <= unpacked:
                pass
    except LimitError as error:
        raise LimitError(f"{path}: {error}") from None
    except Exception as error:  # of many kinds, by what is damaged
        raise ValueError(f"{path}: the archive breaks off {last} ({error}); fetch it again") from error


def bounded(name: str | Path, size: int):
    """LimitError for a file with more bytes than one of its kind may have."""
    text = PurePath(name).suffix.lower() in (".xml", ".txt")
    limit, most = ("TEXT_BYTES", TEXT_BYTES) if text else ("FILE_BYTES", FILE_BYTES)
    if size > most:
        raise LimitError(
            f"{name} has {size:,} bytes, more than {most:,}; if that is right, set "
            f"marginalia.boxes.sources.{limit} higher"
        )


def visible(name: str) -> bool:
    """Whether no part of a name is hidden: editors, JupyterLab, git and macOS keep copies in such folders."""
    parts = [part for part in name.split("/") if part != ".."]
    return not any(part.startswith(".") or part == "__MACOSX" for part in parts)


def listing(folder: Path) -> list[str]:
    """Names of all visible files below a folder, sorted, with `/` between the parts.

    Links to folders are followed, but no folder is read twice, so that a loop ends. PermissionError for a
    folder in it that may not be read.
    """

    def refused(error: OSError):
        raise error

    names, seen = [], set()
    for place, folders, files in os.walk(folder, onerror=refused, followlinks=True):
        if (real := os.path.realpath(place)) in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(filter(visible, folders))
        names += [Path(place, name) for name in files if visible(name) and Path(place, name).is_file()]
    return sorted(name.relative_to(folder).as_posix() for name in names)


def decoded(where: str, content: bytes) -> str:
    """Text in UTF-8, or UTF-16 where its first bytes mark it; ValueError, naming `where`, for another one."""
    utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return content.decode("utf-16" if utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(f"{where}, line {line}: not text in UTF-8; save the file as UTF-8") from None


@contextmanager
def opened_image(where: str, file) -> Iterator[Image.Image]:
    """An image of which the header is read, and what is done with it; ValueError where Pillow cannot."""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file) as image:
                yield image
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise LimitError(
            f"{where} has more than {Image.MAX_IMAGE_PIXELS:,} pixels; if that is right, set "
            "PIL.Image.MAX_IMAGE_PIXELS higher"
        ) from None
    except Exception as error:  # of many kinds, by what is damaged
        if isinstance(error, (FileNotFoundError, PermissionError)):
            raise
        raise ValueError(f"{where} is not an image that can be read ({error})") from None


def image_inside(folder: Path, name: str) -> Image.Image:
    """The image that annotations call `name`, in colour, turned as its EXIF orientation says.

    ValueError for a name that leads out of the folder, since annotations of others must not show one's other
    files, and for what is no image; FileNotFoundError where there is none. Links in the folder are followed.
    """
    from PIL import ImageOps

    folder = Path(os.path.normpath(folder.absolute()))
    path = Path(os.path.normpath(folder / name))
    if not path.is_relative_to(folder):
        raise ValueError(f"{name!r:.200} leads out of {folder}; only images inside are shown")
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such image")
    with opened_image(str(path), path) as image:
        return ImageOps.exif_transpose(image).convert("RGB")


def image_ids(path: Path, names: Sequence[str]) -> list[str]:
    """An id for each file: its stem, or, where two folders share a stem, the whole name without suffix."""
    stems = [PurePosixPath(name).stem for name in names]
    if len(set(stems)) == len(stems):
        return stems
    ids = [_without_suffix(name) for name in names]
    twice = [i for i, times in Counter(ids).items() if times > 1]
    if twice:
        raise ValueError(f"{path}: two files describe image {twice[0]!r}; leave one of them out")
    return ids


def image_sizes(sizes, ids: Sequence[str], where: Path) -> tuple[np.ndarray, tuple[str, ...]]:
    """Width and height of each image, (I, 2) pixels, and the names of the image files where there are any.

    `sizes` is one (width, height) for all, a mapping from id to (width, height), or a folder of images
    named like the ids, of which only the headers are read. Raises ValueError for an id without a size.
    """
    if isinstance(sizes, (str, Path)):
        return _sizes_in_folder(Path(sizes).expanduser(), ids, where)
    if isinstance(sizes, Mapping):
        if missing := [i for i in ids if i not in sizes]:
            raise ValueError(
                f"{where}: sizes says nothing about image {missing[0]!r} ({len(missing)} in all)"
            )
        values = [sizes[i] for i in ids]
    else:
        values = [sizes] * len(ids)
    try:
        values = np.array(values, np.float64).reshape(-1, 2)
    except (TypeError, ValueError):
        values = np.empty(0)
    if values.shape != (len(ids), 2) or not (values > 0).all():
        raise ValueError(
            "sizes: give (width, height) in pixels, a mapping from image id to that, or a folder "
            f"of images; not {sizes!r:.80}"
        )
    return values, ()


def sizes_beside(
    folder: Path, names: Sequence[str]
) -> tuple[list[tuple[int, int] | None], tuple[str | None, ...]]:
    """Width and height of the image of each label file, and its file; None where there is none to read.

    `names` are label files inside the folder. An image is looked for in `images` in the place of the last
    `labels` on the way to its label file, then beside it; files are named as seen from the folder.
    """

    @cache
    def images_in(place: Path) -> dict[str, Path]:
        return {file.stem: file for file in sorted(place.glob("*")) if _is_image(file) and file.is_file()}

    files = []
    for name in names:
        label = folder.absolute() / name
        before, found, after = label.as_posix().rpartition("/labels/")
        places = [Path(f"{before}/images/{after}"), label] if found else [label]
        files.append(next((file for p in places if (file := images_in(p.parent).get(p.stem))), None))
    sizes = [None] * len(files)
    for i, file in enumerate(files):
        try:
            sizes[i] = file and shown_size(file)
        except LimitError:
            raise
        except ValueError:  # no image, such as a pointer to a large file
            continue
    return sizes, tuple(file and Path(os.path.relpath(file, folder)).as_posix() for file in files)


def _is_image(name: str | Path) -> bool:
    return PurePath(name).suffix.lower() in IMAGE_FILES


def _without_suffix(name: str) -> str:
    return str(PurePosixPath(name).with_suffix(""))


def shown_size(path: Path) -> tuple[int, int]:
    """Width and height of an image as it is shown and annotated: turned as its EXIF orientation says."""
    from PIL import ExifTags, Image

    with opened_image(str(path), path) as image:
        turn = 1
        if image.format != "TIFF":  # which Pillow turns itself
            with suppress(Exception):  # of many kinds, where the EXIF data are damaged; then nothing turns
                turn = Image.Image.getexif(image).get(ExifTags.Base.Orientation)  # of the header alone
        return image.size[::-1] if turn in SIDEWAYS else image.size


def _sizes_in_folder(folder: Path, ids: Sequence[str], where: Path) -> tuple[np.ndarray, tuple[str, ...]]:
    if not folder.is_dir():
        raise FileNotFoundError(f"sizes: there is no folder {folder}")
    images = {}
    for name in filter(_is_image, listing(folder)):
        # by stem, and by the whole name where labels of two folders share their stems
        images.setdefault(PurePosixPath(name).stem, name)
        images.setdefault(_without_suffix(name), name)
    missing = [i for i in ids if i not in images]
    if missing:
        raise ValueError(f"{where}: no image for {missing[0]!r} in {folder} ({len(missing)} missing in all)")
    files = tuple(images[i] for i in ids)
    return np.array([shown_size(folder / file) for file in files], np.float64), files
