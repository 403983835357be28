"""Files that ask for more memory or time than they may: one clear error, soon."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import os
import tarfile
import zlib

import numpy as np
import pytest
import skimage.measure
from PIL import Image

from marginalia.boxes import defect_formats, json_stream, sources
from marginalia.boxes.defect_formats import components
from marginalia.boxes.reading import read_boxes
from marginalia.boxes.sources import LimitError, image_inside
from tests.boxes.files import png, put, tar, voc

ENTRY = '{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4]}'
COCO = f'"images": [{{"id": 1}}], "annotations": [{ENTRY}], "categories": [{{"id": 1, "name": "cup"}}]'


def header(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    """The header of a member of an archive, without its content."""
    member = tarfile.TarInfo(name)
    member.size, member.type = size, kind
    return member.tobuf(tarfile.GNU_FORMAT)


GIB = 1 << 30
PAX = header("x", 40 * GIB, tarfile.XHDTYPE)
ARCHIVES = {  # content, what the error says
    "a member of 40 GB": (header("a.xml", 40 * GIB), "bytes"),
    "a packed member of 40 GB": (gzip.compress(header("a.xml", 40 * GIB)), "bytes"),
    "another member of 40 GB before it": (gzip.compress(header("a.jpg", 40 * GIB)), "bytes; unpack it"),
    "a header of 40 GB": (PAX, "a header of the archive asks for"),
    "a packed header of 40 GB": (gzip.compress(PAX), "a header of the archive asks for"),
    "a header of 40 GB after a file": (
        tar({"b.xml": voc("b")}, "w")[:1024] + PAX,
        "a header of the archive asks for",
    ),
    "a name of 40 GB": (
        bz2.compress(header("x", 40 * GIB, tarfile.GNUTYPE_LONGNAME)),
        "a header of the archive",
    ),
}


@pytest.mark.parametrize(("content", "says"), ARCHIVES.values(), ids=ARCHIVES)
def test_an_archive_with_too_much_in_it(tmp_path, content, says):
    with pytest.raises(LimitError, match=says) as error:
        read_boxes(put(tmp_path, ("a.tar", content)), format="voc")
    assert "a.tar" in str(error.value)


def test_a_sparse_member(tmp_path):
    """A header of GNU's kind, which says that the file is 40 GB of zeros."""
    member = tarfile.TarInfo("a.xml")
    block = bytearray(member.tobuf(tarfile.GNU_FORMAT))
    block[156:157] = tarfile.GNUTYPE_SPARSE
    block[483:495] = b"%011o\0" % (8 * GIB - 1)  # the size when unpacked
    block[148:156] = b"        "
    block[148:156] = b"%06o\0 " % sum(block)
    with pytest.raises(LimitError, match=r"a\.xml has 8,589,934,591 bytes|more than"):
        read_boxes(put(tmp_path, ("a.tar", bytes(block) + bytes(1024))), format="voc")


def test_more_members_than_the_limit(tmp_path, monkeypatch):
    path = put(tmp_path, ("a.tar", tar({f"{i}.xml": voc(f"{i}") for i in range(20)}, "w")))
    assert len(read_boxes(path).image_ids) == 20
    monkeypatch.setattr(sources, "MEMBERS", 19)
    with pytest.raises(LimitError, match=r"more than 19 members .*; unpack it and give the folder"):
        read_boxes(path)


@pytest.mark.parametrize("pack", [False, True])
def test_files_together_above_the_limit(tmp_path, monkeypatch, pack):
    files = {f"{i}.xml": voc(f"{i}") for i in range(20)}
    path = put(tmp_path, ("a.tar", tar(files)) if pack else files)
    monkeypatch.setattr(sources, "TOTAL_BYTES", 1000)
    with pytest.raises(LimitError, match=r"more than 1,000 bytes; .*sources\.TOTAL_BYTES"):
        read_boxes(path)


def test_one_file_above_the_limit(tmp_path, monkeypatch):
    path = put(tmp_path, {"a.xml": voc("a") + " " * 5000})
    monkeypatch.setattr(sources, "TEXT_BYTES", 4000)
    for where in (
        path,
        path / "a.xml",
        put(tmp_path / "tar", ("a.tar", tar({"a.xml": voc("a") + " " * 5000}))),
    ):
        with pytest.raises(LimitError, match=r"a\.xml has 5,\d+ bytes.*sources\.TEXT_BYTES"):
            read_boxes(where)
    monkeypatch.setattr(sources, "FILE_BYTES", 60)
    with pytest.raises(LimitError, match=r"a\.png has \d+ bytes.*sources\.FILE_BYTES"):
        read_boxes(put(tmp_path / "masks", {"a.png": png(np.eye(9))}), format="masks")


HEADERS = {
    "checksum": lambda text: text[:1024] + b"x" * 512 + text[1536:],
    "size": lambda text: text[:1148] + b"zzzzzzzzzzz" + text[1159:],
    "negative size": lambda text: text[:1148] + b"\xff" * 12 + text[1160:],
}


@pytest.mark.parametrize("damage", HEADERS.values(), ids=HEADERS)
def test_a_damaged_header_is_not_the_end(tmp_path, damage):
    """What follows would be lost without a word."""
    whole = tar({f"{i}.xml": voc(f"{i}") for i in range(9)}, "w")
    with pytest.raises(ValueError, match=r"breaks off after 0\.xml"):
        read_boxes(put(tmp_path, ("a.tar", damage(whole))), format="voc")


def pax(text: bytes) -> bytes:
    """An archive of one VOC file with a pax header of this content before it."""
    padded = text + bytes(-len(text) % 512)
    return (
        header("x", len(text), tarfile.XHDTYPE) + padded + tar({"a.xml": voc("a", ("cat", 1, 2, 3, 4))}, "w")
    )


@pytest.mark.parametrize(
    "text", [b"99 path=x\n", b"0 a=b\n", b"x" * 60, b"29 GNU.sparse.map=a,b,c,d,e,f\n", b"\xff" * 30]
)
def test_odd_pax_headers(tmp_path, text):
    try:
        assert len(read_boxes(put(tmp_path, ("a.tar", pax(text))), format="voc")) == 1
    except ValueError as error:
        assert "a.tar" in str(error)


def test_a_million_headers_in_a_row(tmp_path):
    """Each pax header leads to the next one, which Python's own reader follows by calling itself."""
    one = header("x", 0, tarfile.XHDTYPE)
    with pytest.raises(ValueError, match=r"a\.tar"):
        read_boxes(put(tmp_path, ("a.tar", one * 5000)), format="voc")


@pytest.mark.parametrize("name", ["/dev/zero", "pipe"])
def test_devices_and_pipes(tmp_path, name):
    if name == "pipe":
        name = tmp_path / "pipe"
        os.mkfifo(name)
    with pytest.raises(ValueError, match="neither a file nor a folder, but a device or pipe"):
        read_boxes(name)


def test_a_pipe_among_files_is_passed_over(tmp_path):
    put(tmp_path, {"labels/a.txt": "0 .5 .5 .5 .5", "images/b.txt": ""})
    os.mkfifo(tmp_path / "labels" / "b.txt")
    os.mkfifo(tmp_path / "images" / "a.png")
    assert len(read_boxes(tmp_path)) == 1


def test_a_folder_that_may_not_be_read(tmp_path, monkeypatch):
    """Boxes in it would be lost without a word; the user of tests may read all, so scandir stands in."""
    put(tmp_path, {"a.xml": voc("a"), "b/c.xml": voc("c")})
    scan = os.scandir

    def scandir(path):
        if str(path).endswith("b"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(PermissionError, match=r"Permission denied: .*b"):
        read_boxes(tmp_path)


# --- JSON


LARGE = {
    "one string": lambda n: '{"info": "' + "x" * n + f'", {COCO}}}',
    "one string inside": lambda n: '{"info": ["' + "x" * n + f'"], {COCO}}}',
    "escapes": lambda n: '{"info": "' + r"\n" * (n // 2) + f'", {COCO}}}',
    "one key": lambda n: '{"' + "x" * n + f'": 1, {COCO}}}',
    "many keys": lambda n: "{" + "".join(f'"{i}": [{i}], ' for i in range(n // 800)) + COCO + "}",
    "brackets": lambda n: '{"info": ' + "[" * (n // 2) + "]" * (n // 2) + f", {COCO}}}",
    "one name": lambda n: f"{{{COCO}}}".replace("cup", "x" * n),
    "one entry": lambda n: f"{{{COCO}}}".replace('"bbox"', f'"x": [{"1.25, " * (n // 6)}1], "bbox"'),
}


class Looks:
    """A pattern, and how many bytes its matches have looked at."""

    def __init__(self, pattern):
        self.pattern, self.bytes = pattern, 0

    def match(self, text, at):
        found = self.pattern.match(text, at)
        self.bytes += (found.end() if found else len(text)) - at
        return found


@pytest.mark.parametrize("text", LARGE.values(), ids=LARGE)
def test_looks_are_in_proportion_to_the_text(tmp_path, monkeypatch, text):
    """Bytes looked at, in place of seconds, for sixteen times the text: buffers that double look at a byte
    one to three times, so at most 48 times as many; a quadratic way looks at 256 times as many.
    """
    brackets, looked = json_stream._brackets, []
    begin = json_stream.JsonStream.__init__  # with short blocks, so that there are many
    monkeypatch.setattr(json_stream.JsonStream, "__init__", lambda self, path, _: begin(self, path, 1 << 12))
    for size in (125_000, 2_000_000):
        scalars, windows = Looks(json_stream._SCALAR), []

        def counted(part, windows=windows):
            windows.append(len(part))
            return brackets(part)

        path = put(tmp_path, ("a.json", text(size)))
        with monkeypatch.context() as patch:
            patch.setattr(json_stream, "_SCALAR", scalars)
            patch.setattr(json_stream, "_brackets", counted)
            assert len(read_boxes(path)) == 1
        looked.append(scalars.bytes + sum(windows))
    assert looked[1] < 64 * looked[0]


def test_one_long_id_among_many(tmp_path):
    """Strings of numpy would all be as long as the longest: 20 GB here."""
    ids = ["x" * 1_000_000, *range(20_000)]
    content = {
        "images": [{"id": i} for i in ids],
        "annotations": [{"id": i, "image_id": i, "bbox": [1, 2, 3, 4], "category_id": 1} for i in ids],
    }
    table = read_boxes(put(tmp_path, ("a.json", json.dumps(content))))
    assert len(table) == len(table.image_ids) == 20_001
    assert max(len(issue.first) for issue in table.report.values()) < 100


MESSAGES = {  # each with something very long in it
    "keys": "{" + ", ".join(f'"{i}": 1' for i in range(20_000)) + "}",
    "key": json.dumps({"x" * 10**6: 1}),
    "key twice": '{"%s": 1, "%s": 1}' % (("x" * 10**6,) * 2),
    "image twice": json.dumps({"annotations": [], "images": [{"id": "x" * 10**6}] * 2}),
    "image that is not there": json.dumps(
        {"images": [], "annotations": [{"id": "y" * 10**6, "image_id": "x" * 10**6}]}
    ),
    "number": '{"annotations": [{"image_id": 1, "id": %s}]}' % ("9" * 10**6),
    "wrong kind": '{"annotations": "%s"}' % ("x" * 10**6),
    "broken off": '{"annotations": [{"id": "%s", "image_id": 1}' % ("x" * 10**6),
}


@pytest.mark.parametrize("text", MESSAGES.values(), ids=MESSAGES)
def test_messages_stay_short(tmp_path, text):
    path = put(tmp_path, ("a.json", text))
    with pytest.raises(ValueError, match=r"a\.json") as error:
        read_boxes(path)
    assert len(str(error.value).removeprefix(str(path))) < 600


def test_a_json_file_that_unpacks_to_more_than_the_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(json_stream, "UNPACKED_BYTES", 1 << 22)
    path = put(tmp_path, ("a.json.gz", gzip.compress(b'{"info": [' + b" " * (1 << 23) + b"]")))
    with pytest.raises(
        LimitError, match=r"a\.json\.gz unpacks to more than 4,194,304 bytes; unpack it first"
    ):
        read_boxes(path)


def test_an_entry_longer_than_the_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(json_stream, "ENTRY_BYTES", 1 << 22)
    path = put(tmp_path, ("a.json", '{"annotations": [{"x": "' + "x" * (1 << 24)))
    with pytest.raises(
        LimitError, match=r"4,194,304 bytes are one value, before its first annotation.*ENTRY_B"
    ):
        read_boxes(path)


# --- images


def big(side: int) -> bytes:
    """The beginning of a PNG of so many pixels a side, black throughout, of which nothing else follows."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return len(content).to_bytes(4) + kind + content + zlib.crc32(kind + content).to_bytes(4)

    shape = side.to_bytes(4) * 2 + b"\x08\0\0\0\0"
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", shape)
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("side", [10_000, 20_000])  # Pillow warns of the first and refuses the second
def test_images_of_too_many_pixels(tmp_path, side):
    says = "more than 89,478,485 pixels; if that is right, set PIL.Image.MAX_IMAGE_PIXELS"
    put(tmp_path, {"labels/a.txt": "0 .5 .5 .5 .5", "images/a.png": big(side)})
    for options in ({}, {"sizes": tmp_path / "images"}):
        with pytest.raises(LimitError, match=rf"a\.png has {says}"):
            read_boxes(tmp_path / "labels", **options)
    with pytest.raises(LimitError, match=rf"a\.png has {says}"):
        read_boxes(tmp_path / "images", format="masks")
    with pytest.raises(LimitError, match=rf"a\.png has {says}"):
        image_inside(tmp_path / "images", "a.png")


def test_a_larger_image_may_be_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    put(tmp_path, {"labels/a.txt": "0 .5 .5 .5 .5", "images/a.png": big(20_000)})
    assert read_boxes(tmp_path).sizes.tolist() == [[20_000, 20_000]]


def test_a_mask_of_thousands_of_values(tmp_path, monkeypatch):
    """All values are labelled in one pass: one pass a value took minutes."""
    values = np.arange(300, 20_300, dtype=np.uint16).reshape(100, 200)
    file = io.BytesIO()
    Image.fromarray(values).save(file, "PNG")
    passes, label = [], skimage.measure.label
    monkeypatch.setattr(skimage.measure, "label", lambda *a, **more: passes.append(a) or label(*a, **more))
    table = read_boxes(put(tmp_path, {"a.png": file.getvalue()}), format="masks")
    assert len(passes) == 1
    assert table.category.tolist() == values.ravel().tolist()
    assert (table.xywh[:, 2:] == 1).all() and (table.area == 1).all()


def test_a_photograph_is_no_mask(tmp_path, monkeypatch):
    monkeypatch.setattr(defect_formats, "PARTS", 50)
    noise = np.random.default_rng(0).integers(0, 255, (50, 50))
    with pytest.raises(LimitError, match=r"a\.png has [\d,]+ parts, more than 50.*defect_formats.PARTS"):
        read_boxes(put(tmp_path, {"a.png": png(noise)}), format="masks")


def test_components_are_those_of_each_value_alone():
    from scipy import ndimage

    mask = np.random.default_rng(1).integers(0, 4, (40, 60))
    found = components(mask, "")
    for value in (1, 2, 3):
        labels, count = ndimage.label(mask == value, np.ones((3, 3)))
        mine = sorted((box, pixels) for one, box, pixels in found if one == value)
        places = ndimage.find_objects(labels)
        boxes = [(c.start, r.start, c.stop - c.start, r.stop - r.start) for r, c in places]
        assert mine == sorted(zip(boxes, np.bincount(labels.ravel())[1:].tolist(), strict=True))
        assert count == len(mine)


# --- images that annotations name


def test_images_inside_a_folder(tmp_path):
    turned = Image.Exif()
    turned[0x0112] = 6
    put(tmp_path, {"set/sub/b.png": png(np.zeros((4, 6))), "secret.png": png(np.zeros((4, 6)))})
    Image.new("L", (10, 20)).save(tmp_path / "set" / "turned.jpg", exif=turned)
    folder = tmp_path / "set"
    assert image_inside(folder, "sub/b.png").size == (6, 4)
    assert image_inside(folder, "sub/../sub/b.png").mode == "RGB"
    assert image_inside(folder, str(folder / "sub" / "b.png")).size == (6, 4)
    assert image_inside(folder, "turned.jpg").size == (20, 10)
    for name in ("../secret.png", "sub/../../secret.png", str(tmp_path / "secret.png"), "../set2/a.png"):
        with pytest.raises(ValueError, match=r"leads out of .*set; only images inside are shown"):
            image_inside(folder, name)


@pytest.mark.parametrize("content", [b"", b"<html>", b"version https://git-lfs", png(np.eye(9))[:50]])
def test_what_is_no_image_is_said(tmp_path, content):
    with pytest.raises(ValueError, match=r"a\.png is not an image that can be read"):
        image_inside(put(tmp_path, {"a.png": content}), "a.png")


@pytest.mark.parametrize("name", ["absent.png", ".", "", "a\0.png"])
def test_an_image_that_is_not_there(tmp_path, name):
    with pytest.raises(FileNotFoundError, match="there is no such image"):
        image_inside(tmp_path, name)
