"""Where files are: the collection's own data, the reader's data, and downloads asked for by name.

Nothing here opens a connection except `fetch`, and nothing calls `fetch` by default.
"""

from __future__ import annotations

import difflib
import os
import sys
import tempfile
import warnings
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    import pandas as pd

CHUNK = 1 << 20  # bytes read, hashed or received at a time
TIMEOUT = 30  # seconds without a single byte before a connection counts as cut
ATTEMPTS = 3  # a cut connection is tried again this often in all


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
        beside = f"the checkout is {home}" if home else "the package does not run from a checkout"
        raise FileNotFoundError(
            f"no data folder: MARGINALIA_DATA {asked}, and {beside}. "
            "Use a checkout that has data/ (with the variable unset), or set the variable to such a folder"
        )
    return folder


def data_path(name: str) -> Path:
    """Path of a file or folder in the data folder, `measured/hist.csv` say.

    With MARGINALIA_READS set, the name is added to that log: the check for stale outputs learns from it
    what a notebook has read. Raises FileNotFoundError with similar names when there is no such file.
    """
    relative = PurePosixPath(name)
    if relative.is_absolute() or ".." in relative.parts or not relative.parts:
        raise ValueError(f"data_path: give a name inside the data folder, not {name!r}")
    folder = root()
    path = folder / relative
    if not path.exists():
        there = [p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()]
        raise FileNotFoundError(f"no {relative} in the data folder {folder}; {near(str(relative), there)}")
    log = os.environ.get("MARGINALIA_READS")
    if log:
        with open(log, "a", encoding="utf-8") as lines:
            lines.write(f"{relative}\n")
    return path


def read_table(name: str) -> pd.DataFrame:
    """A CSV file of the data folder; its leading `#` lines (source, command) go to `attrs["source"]`.

    Only leading lines are comments, so that a cell may hold a `#`. Raises FileNotFoundError or ValueError,
    naming the file.
    """
    import pandas as pd

    path = data_path(name)
    comments = []
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            if not line.startswith("#"):
                break
            comments.append(line.lstrip("#").strip())
    try:
        frame = pd.read_csv(path, skiprows=len(comments), encoding="utf-8")
    except ValueError as error:  # pandas' parser and empty-file errors are ValueErrors
        raise ValueError(f"{path}: not a readable CSV table: {str(error).strip()}") from error
    frame.attrs["source"] = "\n".join(comments)
    return frame


def test_data() -> Path | None:
    """Real data for tests: MARGINALIA_TEST_DATA, or `../shared/data` beside the checkout, else None."""
    pointed = os.environ.get("MARGINALIA_TEST_DATA")
    if pointed:
        folder = Path(pointed).expanduser()
        if not folder.is_dir():
            raise FileNotFoundError(f"MARGINALIA_TEST_DATA points to {pointed}, which is not a folder")
        return folder
    home = checkout()
    beside = home.parent / "shared" / "data" if home else None
    return beside if beside and beside.is_dir() else None


test_data.__test__ = False  # the name would make pytest collect it where it is imported


def cache() -> Path:
    """Folder for downloads: MARGINALIA_CACHE, or the user's cache folder; made when first written to."""
    pointed = os.environ.get("MARGINALIA_CACHE")
    if pointed:
        return Path(pointed).expanduser()
    import pooch

    return Path(pooch.os_cache("marginalia"))


def check_zip(path: Path, members: Iterable[str]) -> str | None:
    """What is wrong with a zip file (unreadable, a wrong CRC, a missing member), or None. Reads all of it."""
    try:
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()
            missing = set(members) - set(archive.namelist())
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        return f"it is not a whole zip file ({error})"
    if broken:
        return f"its entry {broken} is damaged"
    return f"it lacks {', '.join(sorted(missing))}" if missing else None


@dataclass(frozen=True)
class Download:
    """A file that can be fetched by name, and how to know that it arrived whole."""

    url: str
    licence: str
    sha256: str | None = None  # None where nobody gives one: then size and the structure of an archive count
    size: int | None = None  # bytes
    members: tuple[str, ...] = ()  # what to unpack from a zip archive; () keeps the file as it is

    def fault(self, path: Path) -> str | None:
        """What is wrong with a local file, or None. A right sha256 leaves nothing else to check."""
        if self.size is not None and path.stat().st_size != self.size:
            return f"it has {path.stat().st_size:,} bytes instead of {self.size:,}"
        if self.sha256 is not None:
            import pooch

            found = pooch.file_hash(str(path), alg="sha256")
            return None if found == self.sha256 else f"its sha256 is {found} instead of {self.sha256}"
        return check_zip(path, self.members) if self.members else None


DOWNLOADS = {
    "coco2017-annotations": Download(
        # Plain http, because the certificate at this host is for another name; the checksum makes up for it.
        url="http://images.cocodataset.org/annotations/annotations_trainval2017.zip",
        licence="CC BY 4.0, COCO Consortium",
        # The publisher gives no checksum. Size and sha256 are those that several unrelated public projects
        # recorded for this file over the years, all alike.
        sha256="113a836d90195ee1f884e704da6304dfaaecff1f023f49b6ca93c4aaae470268",
        size=252_907_541,
        members=("annotations/instances_train2017.json", "annotations/instances_val2017.json"),
    )
}


def fetch(name: str, progress: bool = True) -> Path:
    """The local copy of a registered download, fetched first where it is missing or damaged.

    Returns the file, or for an archive the folder in which its members lie under their own names. A file
    appears under its name only once it was found whole; one put there by hand is checked in the same way.
    Raises ValueError for an unknown name and DownloadError, saying what to do, for everything else.
    """
    if name not in DOWNLOADS:
        raise ValueError(f"fetch: no download {name!r}; {near(name, DOWNLOADS)}")
    entry = DOWNLOADS[name]
    folder = cache() / name
    target = folder / PurePosixPath(urlsplit(entry.url).path).name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        fault = entry.fault(target) if target.exists() else "missing"
        if fault:
            if fault != "missing":
                warnings.warn(f"{target} is not used: {fault}; it is fetched again", stacklevel=2)
            if progress:
                print(f"{entry.url} ({entry.licence}) -> {target}", file=sys.stderr)
            _download(entry, target, progress)
        if entry.members:
            _unpack(target, entry.members)
    except DownloadError:
        raise
    except OSError as error:
        reason = error.strerror or error
        raise DownloadError(
            f"fetch: cannot write {error.filename or folder}: {reason}. "
            "Set MARGINALIA_CACHE to a folder that you may write to and that has room"
        ) from error
    return folder if entry.members else target


def _download(entry: Download, target: Path, progress: bool) -> None:
    """Receive into a temporary folder beside the target, check, then move into place in one step."""
    import pooch
    import requests  # pooch's own means of transport
    from tqdm import tqdm

    host = urlsplit(entry.url).netloc
    by_hand = f"To do it by hand, save {entry.url} as {target}"
    for attempt in range(1, ATTEMPTS + 1):
        with tempfile.TemporaryDirectory(prefix=".part-", dir=target.parent) as part:
            file = Path(part) / target.name
            # A bar of our own is closed when the connection is cut; pooch sets its total from the answer.
            bar = tqdm(total=entry.size or 1, unit="B", unit_scale=True, disable=not progress)
            receive = pooch.HTTPDownloader(progressbar=bar, chunk_size=CHUNK, timeout=TIMEOUT)
            try:
                with bar:
                    receive(entry.url, str(file), None)
            except requests.HTTPError as error:
                answer = f"{error.response.status_code} {error.response.reason}"
                raise DownloadError(f"fetch: {host} answered {answer} for {entry.url}. {by_hand}") from error
            except requests.RequestException as error:
                if attempt < ATTEMPTS:
                    continue
                arrived = file.stat().st_size if file.exists() else 0
                why = f"the connection was cut after {arrived:,} bytes" if arrived else "no connection"
                raise DownloadError(
                    f"fetch: {host}: {why}, {ATTEMPTS} times. Try again later. {by_hand}"
                ) from error
            fault = entry.fault(file)
            if fault:
                raise DownloadError(f"fetch: {entry.url} is not the expected file: {fault}. It was not kept")
            os.replace(file, target)
            return


def _unpack(archive: Path, members: tuple[str, ...]) -> None:
    """Put members beside their archive, unless they are there already with the size and CRC it names."""
    with zipfile.ZipFile(archive) as contents:
        for member in members:
            entry, target = contents.getinfo(member), archive.parent / member
            if target.is_file() and target.stat().st_size == entry.file_size and _crc(target) == entry.CRC:
                continue
            with tempfile.TemporaryDirectory(prefix=".part-", dir=archive.parent) as part:
                whole = contents.extract(entry, part)  # zipfile raises when the CRC is wrong
                target.parent.mkdir(parents=True, exist_ok=True)
                os.replace(whole, target)


def _crc(path: Path) -> int:
    """CRC-32 of a file, as zip archives use it."""
    crc = 0
    with open(path, "rb") as file:
        while block := file.read(CHUNK):
            crc = zlib.crc32(block, crc)
    return crc
