"""Files of a folder or an archive as names and bytes, without unpacking anything to disk."""

from __future__ import annotations

import lzma
import os
import tarfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path, PurePath, PurePosixPath

import numpy as np

IMAGE_FILES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif")


def is_archive(path: Path) -> bool:
    """Whether the file is a tar, packed or not."""
    try:
        return path.is_file() and tarfile.is_tarfile(path)
    except (EOFError, zlib.error, lzma.LZMAError, OSError):  # packed, but cut off in its first bytes
        return False


def members(path: Path, endings: Sequence[str]) -> dict[str, bytes]:
    """Contents of all files with one of the endings, by name inside the folder or archive, sorted by name.

    Raises ValueError for an archive that is cut off or holds the same name twice.
    """
    found = {}
    for name, content in walk(path, lambda name: name.lower().endswith(tuple(endings))):
        if name in found:
            raise ValueError(f"{path}: holds {name} twice; pack it again with one of them")
        found[name] = content
    return dict(sorted(found.items()))


def walk(path: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    """Names and contents of the files whose name is wanted, one at a time; others are not read.

    An archive is read in memory and never unpacked, so names such as `../x` lead nowhere; links and
    devices in it are passed over, and so are hidden files (`._x.xml` is a by-product of archiving on macOS).
    """
    if path.is_dir():
        for name in listing(path):
            if wanted(name):
                yield name, (path / name).read_bytes()
        return
    last = "before its first file"
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                name = PurePosixPath(member.name)
                if member.isfile() and not name.name.startswith(".") and wanted(str(name)):
                    yield str(name), archive.extractfile(member).read()
                last = f"after {name}"
    except (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, OSError) as error:
        raise ValueError(f"{path}: the archive breaks off {last} ({error}); fetch it again") from error


def listing(folder: Path) -> list[str]:
    """Names of all visible files below a folder, sorted, with `/` between the parts."""
    files = (file for file in folder.rglob("*") if file.is_file() and not file.name.startswith("."))
    return sorted(file.relative_to(folder).as_posix() for file in files)


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
        return _sizes_in_folder(Path(sizes), ids, where)
    if isinstance(sizes, Mapping):
        if missing := [i for i in ids if i not in sizes]:
            raise ValueError(
                f"{where}: sizes says nothing about image {missing[0]!r} ({len(missing)} in all)"
            )
        values = np.array([sizes[i] for i in ids], np.float64)
    else:
        values = np.tile(np.asarray(sizes, np.float64), (len(ids), 1))
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
        return {file.stem: file for file in sorted(place.glob("*")) if _is_image(file)}

    files = []
    for name in names:
        label = folder.absolute() / name
        before, found, after = label.as_posix().rpartition("/labels/")
        places = [Path(f"{before}/images/{after}"), label] if found else [label]
        files.append(next((file for p in places if (file := images_in(p.parent).get(p.stem))), None))
    sizes = [None if file is None else _header_size(file) for file in files]
    return sizes, tuple(file and Path(os.path.relpath(file, folder)).as_posix() for file in files)


def _is_image(name: str | Path) -> bool:
    return PurePath(name).suffix.lower() in IMAGE_FILES


def _without_suffix(name: str) -> str:
    return str(PurePosixPath(name).with_suffix(""))


def _header_size(path: Path) -> tuple[int, int] | None:
    """Width and height as the header says; None for what is no image, such as a pointer to a large file."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            return image.size
    except (UnidentifiedImageError, OSError):
        return None


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
    sizes = [_header_size(folder / file) for file in files]
    if None in sizes:
        raise ValueError(f"{folder / files[sizes.index(None)]}: not an image that can be read")
    return np.array(sizes, np.float64), files
