"""Where files are: the collection's own data, the reader's data, and downloads asked for by name.

Nothing here opens a connection except `fetch`, and nothing calls `fetch` by default.
"""

from __future__ import annotations

import difflib
import os
import shutil
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    import pandas as pd

ATTEMPTS = 3  # a download that fails is tried this often in all


class DownloadError(OSError):
    """A download did not arrive whole; the message says why and what can be done."""


def checkout() -> Path | None:
    """The folder of the project when the package runs from a checkout, else None."""
    folder = Path(__file__).resolve().parents[2]
    return folder if (folder / "pyproject.toml").is_file() else None


def near(name: str, names: Iterable[str]) -> str:
    """The known names most like `name`, as the end of an error message."""
    names = sorted(names)
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    return f"near it: {', '.join(close)}" if close else f"there are {len(names)}: {', '.join(names[:8])}"


def root() -> Path:
    """The data folder: where MARGINALIA_DATA points, or `data/` of the checkout.

    Raises FileNotFoundError when neither is there.
    """
    pointed, home = os.environ.get("MARGINALIA_DATA"), checkout()
    folder = Path(pointed).expanduser() if pointed else home / "data" if home else None
    if folder is None or not folder.is_dir():
        asked = f"points to {pointed}, which is not a folder" if pointed else "is not set"
        raise FileNotFoundError(
            f"no data folder: MARGINALIA_DATA {asked}. Set it to the folder data/ of a checkout, "
            "or unset it and run the package from a checkout"
        )
    return folder


def data_path(name: str) -> Path:
    """Path of a file or folder in the data folder, `measured/hist.csv` say.

    Raises FileNotFoundError with similar names when there is no such file.
    """
    folder = root()
    path = folder / name
    if not path.exists():
        there = [p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()]
        raise FileNotFoundError(f"no {name} in the data folder {folder}; {near(name, there)}")
    note_read(name)
    return path


def note_read(name: str) -> None:
    """Add a name, as seen from the data folder, to the log MARGINALIA_READS, if there is one.

    The check for stale outputs learns from it what a notebook has read.
    """
    log = os.environ.get("MARGINALIA_READS")
    if log:
        with open(log, "a", encoding="utf-8") as lines:
            lines.write(f"{name}\n")


def read_table(name: str) -> pd.DataFrame:
    """A CSV file of the data folder; its leading `#` lines (source, command) go to `attrs["source"]`.

    Only leading lines are comments, so that a cell may hold a `#`. Raises FileNotFoundError or ValueError,
    naming the file.
    """
    import pandas as pd

    path = data_path(name)
    with open(path, encoding="utf-8") as lines:
        comments = [line.lstrip("#").strip() for line in takewhile(lambda line: line[0] == "#", lines)]
    try:
        frame = pd.read_csv(path, skiprows=len(comments), encoding="utf-8")
    except ValueError as error:  # pandas' parser and empty-file errors are ValueErrors
        raise ValueError(f"{path}: not a readable CSV table: {str(error).strip()}") from error
    frame.attrs["source"] = "\n".join(comments)
    return frame


def test_data() -> Path | None:
    """Real data for tests: MARGINALIA_TEST_DATA, or `../shared/data` beside the checkout, else None."""
    pointed, home = os.environ.get("MARGINALIA_TEST_DATA"), checkout()
    folder = Path(pointed).expanduser() if pointed else home.parent / "shared" / "data" if home else None
    return folder if folder and folder.is_dir() else None


test_data.__test__ = False  # the name would make pytest collect it where it is imported


@dataclass(frozen=True)
class Download:
    """A file that can be fetched by name."""

    url: str
    licence: str
    sha256: str
    members: tuple[str, ...] = ()  # what to unpack from a zip archive; () keeps the file as it is


DOWNLOADS = {
    "coco2017-annotations": Download(
        # Plain http, because the certificate at this host is for another name; the checksum makes up for it.
        url="http://images.cocodataset.org/annotations/annotations_trainval2017.zip",
        licence="CC BY 4.0, COCO Consortium",
        # The publisher gives no checksum. This is the one that several unrelated public projects recorded
        # for this file over the years, all alike; it has 252,907,541 bytes.
        sha256="113a836d90195ee1f884e704da6304dfaaecff1f023f49b6ca93c4aaae470268",
        members=("annotations/instances_train2017.json", "annotations/instances_val2017.json"),
    )
}


def fetch(name: str) -> Path:
    """The local copy of a registered download, fetched first where it is missing or damaged.

    It lies below MARGINALIA_CACHE, or the user's cache folder. Returns the file, or for an archive the folder
    in which its members lie under their own names. A file appears under its name only once it was found
    whole; one put there by hand is checked in the same way. Raises ValueError for an unknown name and
    DownloadError, saying what to do, for everything else.
    """
    import pooch
    import requests  # pooch's own means of transport
    from filelock import FileLock

    if name not in DOWNLOADS:
        raise ValueError(f"fetch: no download {name!r}; {near(name, DOWNLOADS)}")
    entry = DOWNLOADS[name]
    cache = Path(os.environ.get("MARGINALIA_CACHE") or pooch.os_cache("marginalia")).expanduser()
    folder = cache / name
    target = folder / entry.url.rpartition("/")[2]
    files = pooch.create(folder, base_url="", retry_if_failed=ATTEMPTS - 1)
    files.registry[target.name], files.urls[target.name] = entry.sha256, entry.url
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # A cache for many readers may be read-only. Else one process at a time: what is temporary then was
        # left by one that was killed.
        with FileLock(folder / ".lock") if os.access(folder, os.W_OK) else nullcontext():
            for left in folder.glob("tmp*"):
                shutil.rmtree(left) if left.is_dir() else left.unlink()
            if not target.exists():
                print(f"{name}: {entry.licence}", file=sys.stderr)
            files.fetch(target.name, progressbar=True)
            for member in entry.members:
                _unpack(target, member)
    except (requests.RequestException, ValueError) as error:  # ValueError: the checksum is another one
        raise DownloadError(
            f"fetch: {urlsplit(entry.url).netloc}, {ATTEMPTS} times: {error}. "
            f"Try again later. To do it by hand, save {entry.url} as {target}"
        ) from error
    except OSError as error:
        raise DownloadError(
            f"fetch: cannot write {error.filename or folder}: {error.strerror or error}. "
            "Set MARGINALIA_CACHE to a folder that you may write to and that has room"
        ) from error
    return folder if entry.members else target


def _unpack(archive: Path, member: str) -> None:
    """Put a member beside its archive in one step, unless it is there with the CRC that the archive names."""
    target = archive.parent / member
    with zipfile.ZipFile(archive) as contents:
        if target.is_file() and zlib.crc32(target.read_bytes()) == contents.getinfo(member).CRC:
            return
        with tempfile.TemporaryDirectory(dir=archive.parent) as part:
            whole = contents.extract(member, part)
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(whole, target)
