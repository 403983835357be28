"""The store: where data is found, and downloads against a small server on the loopback."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import os
import subprocess
import sys
import threading
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pandas as pd
import pytest

from marginalia import store


def zipped(**members: bytes) -> bytes:
    """A zip archive in memory; `__` in a name stands for a folder."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "/") + ".json", content)
    return buffer.getvalue()


# Incompressible, so that a download takes several blocks and can be cut in the middle.
NOISE = b"".join(hashlib.sha256(bytes([i, j])).digest() for i in range(256) for j in range(256))
ARCHIVE = zipped(annotations__instances_val=b'{"images": []}' + NOISE, annotations__captions=b"{}")
SHA256 = hashlib.sha256(ARCHIVE).hexdigest()
MEMBER = "annotations/instances_val.json"


class Server(ThreadingHTTPServer):
    """Serves `body` at /file.zip; the first `cuts` answers stop half way, and all wait there for `hold`.

    Everything else is 404.
    """

    body, cuts, asked, hold = ARCHIVE, 0, 0, None

    def address(self, path: str = "/file.zip") -> str:
        return f"http://127.0.0.1:{self.server_port}{path}"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked += 1
        if self.path != "/file.zip":
            self.send_error(404)
            return
        body = self.server.body
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.server.cuts > 0:
            self.server.cuts -= 1
            body = body[: len(body) // 2]
        half = len(body) // 2
        self.wfile.write(body[:half])
        if self.server.hold:
            self.server.hold.wait(20)
        with contextlib.suppress(OSError):  # the other end was killed
            self.wfile.write(body[half:])

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr("pooch.core.time.sleep", lambda seconds: None)  # between two tries
    with Server(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def offer(server, monkeypatch, tmp_path):
    """Register one download of the server, under a cache folder of the test's own."""
    monkeypatch.setenv("MARGINALIA_CACHE", str(tmp_path / "cache"))

    def offer(path="/file.zip", sha256=SHA256, members=()) -> Path:
        entry = store.Download(server.address(path), "none needed", sha256, members)
        monkeypatch.setattr(store, "DOWNLOADS", {"small": entry})
        return tmp_path / "cache" / "small"

    return offer


def files(folder: Path) -> list[str]:
    paths = (p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    return sorted(path for path in paths if path != ".lock")


# Downloads


def test_a_good_download_is_kept_and_only_the_members_needed_are_unpacked(offer, capsys):
    folder = offer(members=(MEMBER,))
    assert store.fetch("small") == folder
    assert files(folder) == [MEMBER, "file.zip"]
    assert (folder / MEMBER).read_bytes().endswith(NOISE)
    out, err = capsys.readouterr()
    assert out == "" and "100%" in err and "none needed" in err  # the bar and the licence


def test_a_single_file_is_returned_itself(offer):
    folder = offer()
    assert store.fetch("small") == folder / "file.zip"
    assert (folder / "file.zip").read_bytes() == ARCHIVE


def test_the_second_call_uses_the_cache_and_is_quiet(offer, server, capsys):
    offer(members=(MEMBER,))
    first = store.fetch("small")
    server.shutdown()
    capsys.readouterr()
    assert store.fetch("small") == first
    assert server.asked == 1
    assert capsys.readouterr() == ("", "")


def test_a_file_put_there_by_hand_is_used(offer, server):
    folder = offer(members=(MEMBER,))
    folder.mkdir(parents=True)
    (folder / "file.zip").write_bytes(ARCHIVE)
    assert (store.fetch("small") / MEMBER).is_file()
    assert server.asked == 0


def test_a_cache_that_may_only_be_read_is_enough(offer, monkeypatch):
    offer(members=(MEMBER,))
    folder = store.fetch("small")
    (folder / ".lock").unlink(missing_ok=True)
    monkeypatch.setattr(store.os, "access", lambda path, mode: False)  # permission bits do not stop root
    assert store.fetch("small") == folder
    assert not (folder / ".lock").exists()


def test_what_a_killed_download_left_is_swept(offer, server):
    folder = offer(members=(MEMBER,))
    server.hold = threading.Event()
    code = "from marginalia import store; store.DOWNLOADS = {'small': store.%r}; store.fetch('small')"
    killed = subprocess.Popen(
        [sys.executable, "-c", code % store.DOWNLOADS["small"]], stderr=subprocess.DEVNULL
    )
    arrived = 0
    while not arrived:
        assert killed.poll() is None
        time.sleep(0.01)
        with contextlib.suppress(
            FileNotFoundError
        ):  # pooch tries whether it may write, with a file that is gone at once
            arrived = sum(path.stat().st_size for path in folder.glob("tmp*"))
    killed.kill()
    killed.wait()
    server.hold.set()
    (folder / "tmpfolder" / "annotations").mkdir(parents=True)  # killed while it unpacked
    (folder / "tmpfolder" / MEMBER).write_bytes(b"half")
    assert len(files(folder)) == 2
    store.fetch("small")
    assert files(folder) == [MEMBER, "file.zip"] and not (folder / "tmpfolder").exists()


def test_of_two_calls_at_once_one_downloads(offer, server):
    folder = offer(members=(MEMBER,))
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(store.fetch, ["small"] * 2)) == [folder] * 2
    assert server.asked == 1 and files(folder) == [MEMBER, "file.zip"]


def test_a_connection_cut_once_is_restarted(offer, server):
    server.cuts = 1
    folder = offer()
    assert store.fetch("small").read_bytes() == ARCHIVE
    assert server.asked == 2
    assert files(folder) == ["file.zip"]


def test_a_connection_cut_every_time_leaves_nothing_and_the_next_call_works(offer, server):
    server.cuts = store.ATTEMPTS
    folder = offer(members=(MEMBER,))
    with pytest.raises(
        store.DownloadError, match=r"127\.0\.0\.1.*, 3 times: .*[Cc]onnection.*by hand"
    ) as caught:
        store.fetch("small")
    assert "\n" not in str(caught.value)
    assert files(folder) == []
    assert (store.fetch("small") / MEMBER).is_file()


@pytest.mark.parametrize(
    "body",
    [b"<html>please log in</html>", ARCHIVE[:-30], ARCHIVE[:-1] + b"?"],
    ids=["page", "cut", "flipped"],
)
def test_another_file_is_not_kept(offer, server, body):
    server.body = body
    folder = offer(members=(MEMBER,))
    with pytest.raises(store.DownloadError, match=f"expected {SHA256} but got .*by hand"):
        store.fetch("small")
    assert files(folder) == []


def test_an_address_that_is_gone_is_one_clear_error(offer):
    offer("/gone.zip")
    with pytest.raises(store.DownloadError, match=r"404 Client Error: Not Found .*by hand, save .*gone\.zip"):
        store.fetch("small")


def test_no_network_says_what_to_do(offer, server):
    folder = offer()
    server.shutdown()
    server.server_close()
    with pytest.raises(store.DownloadError, match=r"Connection.*by hand, save http.*as .*file\.zip"):
        store.fetch("small")
    assert files(folder) == []


def test_a_cache_that_cannot_be_made_is_named(offer, monkeypatch, tmp_path):
    # A file stands where the folder should be: this binds root too, whom permission bits do not stop.
    offer()
    (tmp_path / "taken").write_text("")
    monkeypatch.setenv("MARGINALIA_CACHE", str(tmp_path / "taken" / "cache"))
    with pytest.raises(store.DownloadError, match=r"cannot write .*taken.*Set MARGINALIA_CACHE"):
        store.fetch("small")


@pytest.mark.parametrize("reason", [errno.EACCES, errno.ENOSPC], ids=["no permission", "disk full"])
@pytest.mark.parametrize("where", ["shutil.move", "os.replace"], ids=["download", "unpack"])
def test_a_disk_that_refuses_is_named(offer, monkeypatch, where, reason):
    folder = offer(members=(MEMBER,))

    def refuse(source, target):
        raise OSError(reason, os.strerror(reason), str(target))

    with monkeypatch.context() as patch:
        patch.setattr(where, refuse)
        with pytest.raises(store.DownloadError, match=rf"cannot write .*small.*: {os.strerror(reason)}"):
            store.fetch("small")
    assert files(folder) == (["file.zip"] if where == "os.replace" else [])


def test_a_damaged_file_in_the_cache_is_fetched_again(offer, server):
    folder = offer(members=(MEMBER,))
    store.fetch("small")
    (folder / "file.zip").write_bytes(ARCHIVE[:-1] + b"?")
    store.fetch("small")
    assert (folder / "file.zip").read_bytes() == ARCHIVE
    assert server.asked == 2


def test_a_damaged_member_in_the_cache_is_unpacked_again(offer, server):
    folder = offer(members=(MEMBER,))
    store.fetch("small")
    whole = (folder / MEMBER).read_bytes()
    (folder / MEMBER).write_bytes(whole[:-1] + b"?")  # the same length
    store.fetch("small")
    assert (folder / MEMBER).read_bytes() == whole
    assert server.asked == 1


def test_an_unknown_name_is_told_the_near_ones():
    with pytest.raises(ValueError, match="coco2017-annotations"):
        store.fetch("coco2017")


def test_importing_opens_no_socket_and_loads_nothing_heavy():
    program = (
        "import socket, sys\n"
        "def refuse(*_, **__): raise SystemExit('a socket was opened')\n"
        "socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse\n"
        "import marginalia, marginalia.store, marginalia.figures\n"
        "print([m for m in ('pooch', 'requests', 'pandas', 'matplotlib', 'torch') if m in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "[]", "")


# Data


@pytest.fixture
def data(monkeypatch, tmp_path) -> Path:
    """A data folder of the test's own."""
    folder = tmp_path / "data"
    (folder / "measured").mkdir(parents=True)
    monkeypatch.setenv("MARGINALIA_DATA", str(folder))
    monkeypatch.delenv("MARGINALIA_READS", raising=False)
    return folder


def test_the_data_folder_is_the_checkouts_own(monkeypatch, root):
    monkeypatch.delenv("MARGINALIA_DATA", raising=False)
    assert store.checkout() == root
    assert store.root() == root / "data"


def test_the_variable_comes_first(data):
    assert store.root() == data


def test_no_data_folder_says_both_ways(monkeypatch, tmp_path):
    monkeypatch.setattr(store, "checkout", lambda: None)
    monkeypatch.delenv("MARGINALIA_DATA", raising=False)
    with pytest.raises(FileNotFoundError, match=r"MARGINALIA_DATA is not set.*from a checkout"):
        store.root()
    monkeypatch.setenv("MARGINALIA_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(FileNotFoundError, match=r"nowhere, which is not a folder.*checkout"):
        store.root()


def test_a_missing_file_is_named_with_its_neighbours(data):
    (data / "measured" / "histogram.csv").write_text("a\n1\n")
    with pytest.raises(FileNotFoundError, match=r"no measured/histgram.*near it: measured/histogram\.csv"):
        store.data_path("measured/histgram.csv")


def test_reads_are_logged_for_the_stale_check(data, monkeypatch, tmp_path):
    (data / "measured" / "a.csv").write_text("x\n1\n")
    monkeypatch.setenv("MARGINALIA_READS", str(tmp_path / "reads"))
    store.data_path("measured/a.csv")
    store.read_table("measured/a.csv")
    assert (tmp_path / "reads").read_text().splitlines() == ["measured/a.csv"] * 2


def test_a_table_keeps_its_source_and_its_hashes(data):
    text = "# source: sheet 2, table 1\n# command: make measure\nset,colour\n数据,#0072B2\nb,#\n"
    (data / "measured" / "a.csv").write_text(text, encoding="utf-8")
    frame = store.read_table("measured/a.csv")
    pd.testing.assert_frame_equal(frame, pd.DataFrame({"set": ["数据", "b"], "colour": ["#0072B2", "#"]}))
    assert frame.attrs["source"] == "source: sheet 2, table 1\ncommand: make measure"


@pytest.mark.parametrize(
    "text", ["", "# only a comment\n", "a,b\n1,2\n1,2,3\n"], ids=["empty", "comment", "ragged"]
)
def test_a_broken_table_is_named(data, text):
    (data / "measured" / "a.csv").write_text(text)
    with pytest.raises(ValueError, match=r"measured/a\.csv: not a readable CSV"):
        store.read_table("measured/a.csv")


def test_every_table_of_the_collection_can_be_read_and_has_a_source(monkeypatch, root):
    monkeypatch.delenv("MARGINALIA_DATA", raising=False)
    for path in sorted((root / "data").rglob("*.csv")):
        frame = store.read_table(path.relative_to(root / "data").as_posix())
        assert len(frame), f"{path.name} is empty"
        assert frame.attrs["source"], f"{path.name} opens with no # line that says where it comes from"


def test_real_data_for_tests_is_optional(monkeypatch, tmp_path):
    monkeypatch.setenv("MARGINALIA_TEST_DATA", str(tmp_path))
    assert store.test_data() == tmp_path
    monkeypatch.setenv("MARGINALIA_TEST_DATA", str(tmp_path / "none"))
    assert store.test_data() is None
    monkeypatch.delenv("MARGINALIA_TEST_DATA")
    monkeypatch.setattr(store, "checkout", lambda: tmp_path / "checkout")
    assert store.test_data() is None
