"""Every row of the table in reading.py: one clear error, or kept or dropped and counted."""

from __future__ import annotations

import gzip
import io
import json
import lzma
import tarfile

import numpy as np
import pytest
from PIL import Image

from marginalia.boxes import reading
from marginalia.boxes.reading import read_boxes
from tests.boxes.files import png, put, tar, voc

BOMB = """<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "bbbb"><!ENTITY c "&b;&b;&b;">]>
<annotation><filename>&c;</filename></annotation>"""


def coco(**changes) -> str:
    """A COCO file of one image and two good boxes; `changes` go into the second annotation."""
    good = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4]}
    bad = {"id": 2, "image_id": 1, "category_id": 1, "bbox": [5, 6, 7, 8], **changes}
    bad = {key: value for key, value in bad.items() if value is not ...}
    return json.dumps(
        {
            "images": [{"id": 1, "width": 99, "height": 99}],
            "annotations": [good, bad],
            "categories": [{"id": 1, "name": "dog"}],
        }
    )


def results(**changes) -> str:
    """A list of two detections; `changes` go into the second."""
    good = {"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}
    return json.dumps([good, {**good, **changes}])


def corners(*values) -> str:
    """A VOC file of one good object and one with these corners, or without any."""
    return voc("a", ("dog", 1, 2, 3, 4), ("dog", *values))


def mask(value: int, more: int = 0) -> bytes:
    """A PNG mask with one part of one value, and one of another."""
    pixels = np.zeros((9, 9))
    pixels[1:3, 1:4] = value
    pixels[5:7, 5:7] = more
    return png(pixels)


@pytest.fixture
def ground_truth(tmp_path):
    return read_boxes(put(tmp_path / "ground_truth", ("truth.json", coco())))


REPEATED_IMAGE = coco().replace('"images": [', '"images": [{"id": 1}, ')
REPEATED_CATEGORY = coco().replace('"categories": [', '"categories": [{"id": 1}, ')
LONG = json.dumps({"images": [{"id": 1}], "annotations": [
    {"id": i, "image_id": 1, "category_id": 1, "bbox": [i % 89, i % 97, 1, 1]} for i in range(1, 9000)
]}).encode()  # fmt: skip
VOC_SET = {f"{i}.xml": corners(1, 2, 3, 4 + i) + " " * 700 for i in range(30)}

# Rows of the table that occur more than once below
NO_FORMAT = "empty file; file or folder of no known format; format that does not fit"
DAMAGED = "JSON, gzip or archive cut off or damaged"
BAD_XML = "XML that is broken or defines entities"
WRONG = "wrong number of values in a box; text where a number belongs"
UNLISTED = "annotation or detection for an image that is not listed"
TWICE = "image id, category id or name of a label file twice"
NO_SIZE = "no size or file for an image where `sizes` was given"
NAN = "NaN or infinity in a box"
FAR = "number beyond 1e9 in a box"
EMPTY = "width or height zero or negative"
BOXLESS = "annotation with no box, or with four nan"
OUTSIDE = "box (partly) outside its image, beyond rounding"
REPEATED = "annotation id used before"
NO_CATEGORY = "no category"
UNKNOWN_SIZE = "image size missing, 0, infinite or no number"
NEARLY = "zip archive; JSON in UTF-16; one YOLO or DeepPCB label file; data.yaml"
SEVERAL = "folder with several COCO files and nothing else"
NOT_UTF8 = "text that is not in UTF-8 and neither marked nor declared as something else"
NAMES = "names in data.yaml that are neither a list nor a mapping from number to name"
LIMIT = "more than a limit of `sources`, `json_stream`, `yolo` or `defect_formats` (LimitError)"
LIST = "text file among labels that holds no numbers, or two a line at most"
FLAT = "detection of width or height zero"
AREA = "area negative or beyond MAX_AREA"
NORMALISED = "YOLO without `sizes`, and an image without file"
ABOVE = "YOLO number above 2, where 1 is the whole side"

YOLO = {"a.txt": "0 .5 .5 .1 .1"}
GBK = "划痕".encode("gbk")
ALIASES = "a0: &a0 [x, x, x, x, x, x]\n" + "".join(
    f"a{k + 1}: &a{k + 1} [{', '.join([f'*a{k}'] * 9)}]\n" for k in range(8)
)
ALIASES += "names: *a8"
CROWD = coco(iscrowd=1).replace('"bbox": [1', '"iscrowd": 1, "bbox": [1')

# row of the table, the content, options, what the message says besides the file's name
ERRORS = [
    (NO_FORMAT, ("a.json", ""), {}, "is empty"),
    (NO_FORMAT, ("a.json", " \n"), {"format": "coco"}, "is empty"),
    (NO_FORMAT, ("a.json", "{}"), {}, "no 'images' and no 'annotations'"),
    (NO_FORMAT, ("a.json", '{"shapes": [{"a": "]"}]}'), {}, "beside 'shapes'"),
    (NO_FORMAT, ("a.json", "[]"), {"format": "coco"}, "a COCO annotation file is one .* here is a list"),
    (NO_FORMAT, ("a.txt", "hello"), {}, "none of the"),
    (NO_FORMAT, {"a.jpg": "x"}, {}, "none of the"),
    (NO_FORMAT, ("a.tar", tar({"b.md": ""}, "w")), {}, "none of the"),
    (NO_FORMAT, {"a.txt": "0 .5 .5 .1 .1"}, {"format": "coco"}, "is a folder with no COCO file"),
    (NO_FORMAT, {"a.txt": "0 .5 .5 .1 .1"}, {"format": "voc"}, "no .xml file"),
    (NO_FORMAT, {"a.txt": "hello"}, {"format": "yolo"}, "no text file with labels"),
    (NO_FORMAT, {"a.xml": corners(1, 2, 3, 4)}, {"format": "masks"}, "no .png file"),
    (NO_FORMAT, {"a.xml": corners(1, 2, 3, 4), "a.txt": "0 .5 .5 .1 .1"}, {}, "holds both voc and yolo"),
    (NO_FORMAT, ("a.json", coco()), {"format": "csv"}, "format 'csv' is not known"),
    (NO_FORMAT, ("a.json", results()), {}, "needs ground_truth="),
    (NO_FORMAT, ("a.json", coco()), {"ground_truth": True}, "ground_truth= belongs"),
    (NO_FORMAT, ("a.json", coco()), {"sizes": (9, 9)}, "sizes= is for"),
    (NO_FORMAT, ("a.csv", "ImageId,Label\n"), {}, "not ImageId,ClassId,EncodedPixels"),
    (NO_FORMAT, {"a.png": "no image"}, {"format": "masks"}, r"a\.png is not an image"),
    (NO_FORMAT, ("a.json", '{"images": null, "annotations": []}'), {}, "images are a list .* here is null"),
    (NO_FORMAT, ("a.json", '{"images": {"a": 1}}'), {}, "images are a list .* here is an object"),
    (NO_FORMAT, ("a.json", '{"annotations": 7.5}'), {}, "annotations are a list .* here is 7.5"),
    (NO_FORMAT, ("a.json", '{"annotations": "a.csv"}'), {}, 'annotations are a list .* here is "a.csv"'),
    (NO_FORMAT, ("a.json", '[{"name": "a.jpg", "labels": []}]'), {}, "a JSON list, but not of detections"),
    (NO_FORMAT, ("a.json", "[[1, 2, 3, 4]]"), {}, "a JSON list, but not of detections"),
    (
        NO_FORMAT,
        ("a.json", '[{"name": "a.jpg"}]'),
        {"format": "coco-results", "ground_truth": True},
        "detection number 1: .* missing required field image_id",
    ),
    (NO_FORMAT, ("a.json", '{"image_id": 1}\n{"image_id": 2}\n'), {}, "as in JSON lines"),
    (SEVERAL, {"a/b.json": coco(), "b/c.json": coco()}, {}, "several COCO files: a/b.json, b/c.json; give"),
    (SEVERAL, {"b.json": coco(), "c.json": coco()}, {"format": "coco"}, "several COCO files"),
    (DAMAGED, ("a.json", LONG[:-2000]), {}, r"cut off after annotation number \d+ \(id"),
    (DAMAGED, ("a.json.gz", gzip.compress(LONG)[:-2000]), {}, r"cut off after annotation number \d+ .*gzip"),
    (DAMAGED, ("a.json.gz", gzip.compress(LONG)[:-4]), {}, "gzip"),
    (DAMAGED, ("a.json.gz", gzip.compress(LONG)[:-8] + b"12345678"), {}, "gzip"),
    (DAMAGED, ("a.json.gz", b"\x1f\x8b\x08" + b"\xff" * 50), {}, "gzip"),
    (DAMAGED, ("a.json", coco() + "]"), {}, "not valid JSON"),
    (
        DAMAGED,
        ("a.json", coco().replace(', "bbox": [5', ', "bbox" [5')),
        {},
        "annotation number 2 is not valid JSON",
    ),
    (DAMAGED, ("a.json", coco().replace("}, {", "} {")), {}, "number 2 .*comma"),
    (DAMAGED, ("a.json", coco().replace("[{", "[,{", 1)), {}, "not valid JSON"),
    (DAMAGED, ("a.tgz", tar(VOC_SET)[:-300]), {}, r"breaks off"),
    (DAMAGED, ("a.tar", tar(VOC_SET, "w")[:9000]), {}, r"breaks off after \d+\.xml"),
    (DAMAGED, ("a.tar.xz", lzma.compress(tar(VOC_SET, "w"))[:-100]), {}, "breaks off"),
    (NEARLY, ("a.zip", b"PK\x03\x04 and more"), {}, "unpack it first"),
    (NEARLY, ("a.zip", b"PK\x03\x04 and more"), {"format": "yolo"}, "unpack it first"),
    (NEARLY, ("a.json", coco().encode("utf-16")), {}, "in UTF-16; save it in UTF-8"),
    (NEARLY, ("a.json", coco().encode("utf-16")), {"format": "coco"}, "in UTF-16; save it in UTF-8"),
    (NEARLY, ("a.txt", "0 .5 .5 .1 .1"), {}, "label file of one image; give the folder"),
    (NEARLY, ("a.txt", "10 20 30 40 2"), {}, "label file of one image; give the folder"),
    (NEARLY, ("a.txt", ""), {"format": "yolo"}, "label file of one image; give the folder"),
    (NEARLY, ("data.yaml", "names: [a]"), {}, "give the folder with its labels"),
    (
        NOT_UTF8,
        ("a.json", coco().encode().replace(b"dog", GBK)),
        {},
        r"category number 1 \(id 1\) holds text",
    ),
    (NOT_UTF8, ("a.json", coco().replace("dog", r"\ud800")), {}, r"category number 1 \(id 1\) holds text"),
    (
        NOT_UTF8,
        YOLO | {"classes.txt": b"cat\n" + GBK},
        {},
        r"classes\.txt, line 2: not .* save the file as UTF-8",
    ),
    (NOT_UTF8, YOLO | {"data.yaml": b"names: [" + GBK + b"]"}, {}, r"data\.yaml, line 1: not text in UTF-8"),
    (NOT_UTF8, YOLO | {"b.txt": GBK}, {}, r"b\.txt, line 1: not text in UTF-8"),
    (NOT_UTF8, {"a.png": mask(1), "classes.txt": GBK}, {}, r"classes\.txt, line 1: not text in UTF-8"),
    (NOT_UTF8, ("a.csv", b"ImageId,ClassId,EncodedPixels\n" + GBK), {}, r"a\.csv, line 2: not text in UTF-8"),
    (NOT_UTF8, {"a.xml": voc("a").encode() + GBK}, {}, r"a\.xml, line 1: not text in UTF-8"),
    (
        NOT_UTF8,
        {"a.xml": b'<?xml version="1.0" encoding="utf-7-or-so"?>' + voc("a").encode()},
        {},
        "not in utf-7-or-so, as it says; save it as UTF-8",
    ),
    (NOT_UTF8, {"a.xml": b'<?xml version="1.0" encoding="zlib"?>' + voc("a").encode()}, {}, "not in zlib"),
    *(
        (NAMES, YOLO | {"data.yaml": text}, {}, r"data\.yaml: names must be a list")
        for text in (
            "names: cat dog",
            "names: 3",
            "names:\n  0:cat\n  1:dog",
            "names: {cat: 0}",
            "names: {²: cat}",
            "names: [[cat], dog]",
            "names: [{0: cat}]",
            "names: {-1: cat}",
        )
    ),
    (NAMES, YOLO | {"data.yaml": "names: [cat"}, {}, r"data\.yaml is not valid YAML"),
    (NAMES, YOLO | {"data.yaml": '"\\UFFFFFFFF"'}, {}, r"data\.yaml is not valid YAML"),
    (NAMES, YOLO | {"data.yaml": '"\\U00110000"'}, {}, r"data\.yaml is not valid YAML"),
    (NAMES, YOLO | {"data.yaml": f"%YAML {'1' * 4301}.1\n---\na"}, {}, r"data\.yaml is not valid YAML"),
    (NAMES, YOLO | {"data.yaml": f"names:\n ? {'1' * 4301}\n : a"}, {}, r"data\.yaml: names must be"),
    (NAMES, YOLO | {"data.yaml": ALIASES}, {}, r"data\.yaml: names must be"),
    (LIMIT, YOLO | {"data.yaml": "names: " + "[" * 5000}, {}, r"data\.yaml is nested too deeply"),
    (LIMIT, YOLO | {"data.yaml": "#" * 2**21}, {}, r"data\.yaml has more than 262,144 bytes"),
    (BAD_XML, {"a.xml": BOMB}, {}, r"a\.xml defines or fetches XML entities"),
    (BAD_XML, {"a.xml": corners(1, 2, 3, 4)[:-5]}, {}, r"a\.xml is not well-formed"),
    (BAD_XML, {"a.xml": corners(1, 2, 3, 4), "b.xml": ""}, {}, r"b\.xml is empty"),
    (BAD_XML, {"a.xml": corners(1, 2, 3, 4), "b.xml": "<svg/>"}, {}, r"b\.xml.*<svg>"),
    (
        WRONG,
        ("a.json", coco(bbox=[1, 2, 3])),
        {},
        r"annotation number 2 \(id 2\): .*length 4, got 3 - at \$\.bbox",
    ),
    (
        WRONG,
        ("a.json", coco(bbox=[1, 2, 3, "4"])),
        {},
        r"annotation number 2 \(id 2\): Expected float, got str - at \$\.bbox",
    ),
    (WRONG, ("a.json", coco(category_id="1")), {}, r"\(id 2\)"),
    (WRONG, ("a.json", coco(category_id=2**70)), {}, r"\(id 2\)"),
    (WRONG, ("a.json", coco(image_id=...)), {}, "image_id"),
    (WRONG, ("a.json", coco().replace("[{", "[3, {")), {}, "number 1: Expected object, got int"),
    (WRONG, {"a.xml": corners(1, "two", 3, 4)}, {}, r"a\.xml, object 2: <ymin> is 'two'"),
    (WRONG, {"a.xml": corners(1, "", 3, 4)}, {}, "no <ymin>"),
    (WRONG, {"a.txt": "0 .5 .5 .1 .1\n0 .5 .5"}, {}, r"a\.txt, line 2 has 3 numbers"),
    (WRONG, {"a.txt": "0 .5 .5 .1 .1\n0 .5 .5 .1 x"}, {}, r"a\.txt, line 2 is not a line of numbers"),
    (WRONG, {"a.txt": "0 .5 .5 .1 .1\n-1 .5 .5 .1 .1"}, {}, "class -1.0 is not"),
    (WRONG, {"a.txt": "1 2 3 4 5\n1 2 3 4 .5"}, {}, r"line 2: type 0\.5"),
    (WRONG, {"a.txt": "1 2 3 4 5\n1 2 3 4 " + "9" * 30}, {}, r"line 2: type 1e\+30"),
    (WRONG, {"a.txt": "9" * 30 + " .5 .5 .1 .1"}, {}, r"line 1: class 1e\+30 is not"),
    (WRONG, {"a.txt": "0 .5 .5 .1 .1\n² .5 .5 .1 .1"}, {}, r"a\.txt, line 2 is not a line of numbers"),
    (WRONG, {"a.txt": "0 .5 .5 .1"}, {}, r"a\.txt, line 1 has 4 numbers"),
    (WRONG, ("a.json", coco(id=1.5)), {}, "annotation number 2 .*got float - at .*id"),
    (WRONG, ("a.json", coco(image_id=float("nan"))), {}, "annotation number 2"),
    (WRONG, ("a.json", coco(area=[1])), {}, r"annotation number 2 \(id 2\): Expected float"),
    (WRONG, ("a.json", coco(area=[[]]).replace("[[]]", "9" * 5000)), {}, "annotation number 2: .*digits"),
    (WRONG, ("a.json", coco(s=[]).replace("[]", "[" * 5000 + "]" * 5000)), {}, "number 2 is nested too deep"),
    (WRONG, ("a.json", coco().replace("[{", "[[[3]], {")), {}, "number 1: Expected object, got array"),
    (WRONG, ("a.csv", "ImageId,ClassId,EncodedPixels\na.jpg,1," + "1 " * 99_999), {}, "line 2 is no CSV"),
    (TWICE, ("a.csv", "ImageId,ClassId,EncodedPixels\na.jpg,1,1 1\na.png,1,1 1"), {}, "describe image 'a'"),
    (WRONG, {"a.png": mask(1), "b.png": b"no"}, {}, r"b\.png"),
    *(
        (WRONG, ("a.csv", f"ImageId,ClassId,EncodedPixels\na.jpg,{label},{runs}\n"), {}, rf"row 2 .*{says}")
        for label, runs, says in [
            ("1", "5", "pairs"),
            ("1", "x 5", "whole"),
            ("1", "0 5", "outside"),
            ("1", "409600 2", "outside"),
            ("1", f"1 {2**63 - 1}", "outside"),
            ("1", "1 " + "9" * 30, "outside"),
            ("1", "9" * 5000 + " 1", "outside"),
            ("1", "1 ²", "whole"),
            ("1", "1 1.5", "whole"),
            ("²", "1 1", "class '²'"),
            ("9" * 30, "1 1", "class '9999"),
            ("x", "1 1", "class 'x'"),
            ("1", "1 1,9", "fields"),
        ]
    ),
    (UNLISTED, ("a.json", coco(image_id=9)), {}, "annotation 2 is for image 9"),
    (UNLISTED, ("a.json", coco(image_id="1")), {}, "for image '1'"),
    (UNLISTED, ("a.json", results(image_id=9)), {"ground_truth": True}, "detection 2 is for image 9"),
    (TWICE, ("a.json", REPEATED_IMAGE), {}, "image id 1 is given twice"),
    (TWICE, ("a.json", REPEATED_CATEGORY), {}, "category id 1 is given twice"),
    (TWICE, ("a.json", coco()[:-1] + ', "images": []}'), {}, "stands in the"),
    (TWICE, {"a.xml": corners(1, 2, 3, 4), "a.XML": corners(1, 2, 3, 4)}, {}, "two files describe image 'a'"),
    (NO_SIZE, {"a.txt": "0 .5 .5 .1 .1"}, {"sizes": {"b": (9, 9)}}, "sizes says nothing about image 'a'"),
    (NO_SIZE, {"a.txt": "0 .5 .5 .1 .1"}, {"sizes": "."}, "no image for 'a'"),
    (NO_SIZE, {"a.txt": "0 .5 .5 .1 .1", "a.jpg": "x"}, {"sizes": "."}, "not an image"),
]

DROPPED, KEPT = (1, False), (2, True)
# row of the table, the content, options, (boxes left, kept), the first entry named
COUNTED = [
    (NAN, ("a.json", coco(bbox=[1, float("nan"), 3, 4])), {}, DROPPED, "annotation 2"),
    (NAN, ("a.json", coco(bbox=[1, 2, float("inf"), 4])), {}, DROPPED, "annotation 2"),
    (NAN, ("a.json", coco().replace("[5,", "[1e999,")), {}, DROPPED, "annotation 2"),
    (NAN, {"a.xml": corners(1, 2, 3, "nan")}, {}, DROPPED, "a.xml, object 2"),
    (NAN, {"a.txt": "0 .5 .5 .1 .1\n0 nan .5 .1 .1"}, {}, DROPPED, "a.txt, line 2"),
    (FAR, ("a.json", coco(bbox=[0, 0, 1e200, 1e200])), {}, DROPPED, "annotation 2"),
    (FAR, ("a.json", coco(bbox=[1e308, 0, 1e308, 1])), {}, DROPPED, "annotation 2"),
    (FAR, ("a.json", results(bbox=[0, -2e9, 1, 1])), {"ground_truth": True}, DROPPED, "detection 2"),
    (FAR, {"a.xml": corners(0, 0, 3, "1e308")}, {}, DROPPED, "a.xml, object 2"),
    (EMPTY, ("a.json", coco(bbox=[1, 2, 0, 4])), {}, DROPPED, "annotation 2"),
    (EMPTY, ("a.json", coco(bbox=[1, 2, 3, -4])), {}, DROPPED, "annotation 2"),
    (EMPTY, ("a.json", results(bbox=[1, 2, 3, -4])), {"ground_truth": True}, DROPPED, "detection 2"),
    (FLAT, ("a.json", results(bbox=[1, 2, 0, 4])), {"ground_truth": True}, KEPT, "detection 2"),
    (FLAT, ("a.json", results(bbox=[1, 2, 0, 0])), {"ground_truth": True}, KEPT, "detection 2"),
    *((AREA, ("a.json", coco(area=area)), {}, KEPT, "annotation 2") for area in (-1, 1e11, float("inf"))),
    ("every box a crowd region, as some tools export", ("a.json", CROWD), {}, (2, True), "annotation 1"),
    (EMPTY, {"a.xml": corners(5, 2, 3, 4)}, {}, DROPPED, "a.xml, object 2"),
    (EMPTY, {"a.txt": "1 2 3 4 1\n9 9 9 9 1"}, {}, DROPPED, "a.txt, line 2"),
    (BOXLESS, ("a.json", coco(bbox=...)), {}, DROPPED, "annotation 2"),
    (BOXLESS, ("a.json", coco(bbox=None, id=None)), {}, DROPPED, "annotation number 2"),
    (
        BOXLESS,
        {"a.xml": corners()},
        {},
        DROPPED,
        "a.xml, object 2",
    ),
    (
        "detection with a score of NaN or infinity",
        ("a.json", results(score=float("nan"))),
        {"ground_truth": True},
        DROPPED,
        "detection 2",
    ),
    *(
        (LIST, YOLO | {"train.txt": text}, {}, DROPPED, "train.txt")
        for text in ("images/a.jpg", "000001\n000002\n", "2010_006215 1\n2010_006216 -1", "cat\n1")
    ),
    ("masks: value 255 beside other values", {"a.png": mask(1, 255)}, {}, DROPPED, "a.png"),
    (OUTSIDE, ("a.json", coco(bbox=[-1, 2, 3, 4])), {}, KEPT, "annotation 2"),
    (OUTSIDE, ("a.json", coco(bbox=[90, 2, 9.1, 4])), {}, KEPT, "annotation 2"),
    (OUTSIDE, {"a.txt": "0 .5 .5 .1 .1\n0 .9 .5 .3 .1"}, {}, KEPT, "a.txt, line 2"),
    (
        OUTSIDE,
        ("a.json", coco(bbox=[-1, 2, 3, 4]).replace('"width": 99', '"width": 0')),
        {},
        KEPT,
        "annotation 2",
    ),
    (NORMALISED, {"a.txt": "0 .5 .5 .1 .1\n0 .9 .5 .1 .1"}, {}, KEPT, "image a"),
    (ABOVE, {"a.txt": "0 .5 .5 .1 .1\n0 40 50 20 10"}, {}, KEPT, "a.txt, line 2"),
    ("x = y = w = h", ("a.json", coco(bbox=[7, 7, 7, 7])), {}, KEPT, "annotation 2"),
    (REPEATED, ("a.json", coco(id=1)), {}, KEPT, "annotation 1"),
    (
        REPEATED,
        ("a.json", coco(id="x").replace('"id": 1, "image_id"', '"id": "x", "image_id"')),
        {},
        KEPT,
        "annotation x",
    ),
    (
        "one class of an image in two rows (Severstal)",
        ("a.csv", "ImageId,ClassId,EncodedPixels\na.jpg,1,1 9\na.jpg,1,9999 9"),
        {},
        KEPT,
        "row 3 (a.jpg)",
    ),
    (NO_CATEGORY, ("a.json", coco(category_id=...)), {}, KEPT, "annotation 2"),
    (
        NO_CATEGORY,
        {"a.xml": corners(1, 2, 3, 4).replace("<name>dog</name>", "", 1)},
        {},
        KEPT,
        "a.xml, object 1",
    ),
    ("category missing in the list of categories", ("a.json", coco(category_id=7)), {}, KEPT, "annotation 2"),
    (
        "VOC's `difficult`",
        {"a.xml": corners(1, 2, 3, 4).replace("</name>", "</name><difficult>1</difficult>", 1)},
        {},
        KEPT,
        "a.xml, object 1",
    ),
    *(
        (
            "`difficult` that is no number",
            {"a.xml": corners(1, 2, 3, 4).replace("</name>", f"</name><difficult>{text}</difficult>", 1)},
            {},
            KEPT,
            "a.xml, object 1",
        )
        for text in ("Unspecified", "false", "nan")
    ),
    (
        "image without usable boxes",
        ("a.json", coco().replace('"images": [', '"images": [{"id": 5, "width": 9, "height": 9},')),
        {},
        KEPT,
        "image 5",
    ),
    (UNKNOWN_SIZE, ("a.json", coco().replace('"width": 99', '"width": 0')), {}, KEPT, "image 1"),
    (UNKNOWN_SIZE, ("a.json", coco().replace('"width": 99, ', "")), {}, KEPT, "image 1"),
    (UNKNOWN_SIZE, ("a.json", coco().replace('"width": 99', '"width": 1e999')), {}, KEPT, "image 1"),
    (UNKNOWN_SIZE, {"a.xml": corners(1, 2, 3, 4).replace("<width>200</width>", "")}, {}, KEPT, "image a"),
    (UNKNOWN_SIZE, {"a.xml": corners(1, 2, 3, 4).replace("<width>200", "<width>wide")}, {}, KEPT, "image a"),
]


def table_rows() -> dict[str, tuple[str, str]]:
    """What stands in the table: first column -> the other two."""
    lines = [line for line in reading.__doc__.splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[1:]]
    return {first: (second, third) for first, second, third in cells}


def test_every_row_is_tested():
    tested = {case[0] for case in ERRORS + COUNTED} | {"no such file or folder"}
    assert tested == set(table_rows())


def options_for(options, folder, ground_truth):
    """Options with the ground truth and the folder filled in."""
    filled = {"ground_truth": ground_truth} if options.get("ground_truth") else {}
    if options.get("sizes") == ".":
        filled["sizes"] = folder
    return options | filled


@pytest.mark.parametrize(("row", "content", "options", "says"), ERRORS)
def test_error(tmp_path, ground_truth, row, content, options, says):
    folder = tmp_path / "bad"
    path = put(folder, content)
    with pytest.raises(ValueError, match=f"(?s){says}") as error:
        read_boxes(path, **options_for(options, folder, ground_truth))
    if "format" not in says:
        assert str(path) in str(error.value)
    assert table_rows()[row][0].startswith("error")


@pytest.mark.parametrize(("row", "content", "options", "left", "first"), COUNTED)
def test_counted(tmp_path, ground_truth, row, content, options, left, first):
    folder = tmp_path / "odd"
    table = read_boxes(put(folder, content), **options_for(options, folder, ground_truth))
    does, phrase = table_rows()[row]
    boxes, kept = left
    assert len(table) == boxes
    issue = table.report[phrase]
    assert (issue.count, issue.kept, issue.first) == (2 if table.crowd.any() else 1, kept, first)
    assert does.startswith("kept" if kept else "dropped")
    assert np.isfinite(table.xywh).all()
    assert (table.xywh[:, 2:] > 0).all() or row == FLAT
    assert table.area is None or not (table.area < 0).any()


def test_good_files_have_nothing_to_report(tmp_path):
    assert not read_boxes(put(tmp_path, ("a.json", coco()))).report


def test_no_such_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"absent\.json: there is no such file or folder$"):
        read_boxes(tmp_path / "absent.json")


def test_no_such_relative_path_says_where_it_looked(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match="working folder") as error:
        read_boxes("mine/absent.json")
    assert str(tmp_path / "mine" / "absent.json") in str(error.value)


def test_no_such_folder_of_images(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent"):
        read_boxes(put(tmp_path / "labels", {"a.txt": "0 .5 .5 .1 .1"}), sizes=tmp_path / "absent")


def test_category_of_a_box_without_one(tmp_path):
    table = read_boxes(put(tmp_path, ("a.json", coco(category_id=...))))
    assert table.category.tolist() == [1, -1]
    assert "category not listed" not in table.report


def test_nan_among_many_entries_names_the_right_one(tmp_path):
    text = LONG.replace(b'"id": 5000,', b'"id": 5000, "area": NaN, "x": "},{",').decode()
    text = text.replace(
        '"id": 7000, "image_id": 1, "category_id": 1, "bbox": [', '"id": 7000, "image_id": 1, "bbox": [NaN, '
    )
    with pytest.raises(ValueError, match=r"annotation number 7000 \(id 7000\)"):
        read_boxes(put(tmp_path, ("a.json", text)))


def test_an_archive_is_never_unpacked(tmp_path, monkeypatch):
    """Names that lead outside and links are only names; nothing is written anywhere."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        content = corners(1, 2, 3, 4).encode()
        for name in ("../../outside.xml", "/absolute.xml"):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        link = tarfile.TarInfo("link.xml")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
        archive.addfile(link)
        device = tarfile.TarInfo("device.xml")
        device.type = tarfile.FIFOTYPE
        archive.addfile(device)
    inner = tmp_path / "in" / "side"
    path = put(inner, ("a.tar", file.getvalue()))
    monkeypatch.chdir(inner)
    table = read_boxes(path)
    assert table.image_ids == ("outside", "absolute")
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == ["a.tar"]


def test_an_archive_with_one_name_twice(tmp_path):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for _ in range(2):
            member = tarfile.TarInfo("a.xml")
            member.size = len(corners(1, 2, 3, 4))
            archive.addfile(member, io.BytesIO(corners(1, 2, 3, 4).encode()))
    with pytest.raises(ValueError, match=r"holds a\.xml twice"):
        read_boxes(put(tmp_path, ("a.tar", file.getvalue())))


@pytest.mark.parametrize("sizes", [(0, 5), (1, 2, 3), 7, "text", (1, "b"), {"a": "xy"}, {"a": (1, 2, 3)}])
def test_sizes_that_are_none(tmp_path, sizes):
    with pytest.raises((ValueError, FileNotFoundError), match="sizes"):
        read_boxes(put(tmp_path, {"a.txt": "0 .5 .5 .1 .1"}), sizes=sizes)


NAMELESS = [
    ("~nobody-of-this-name/a.json", "cannot be read"),
    ("x" * 300, "cannot be read"),
    ("x/" * 3000, "cannot be read"),
]


@pytest.mark.parametrize(("path", "told"), NAMELESS)
def test_paths_that_no_disk_has_are_one_short_error(path, told):
    with pytest.raises(ValueError, match=told) as error:
        read_boxes(path)
    assert path[:50] in str(error.value) and len(str(error.value)) < 1000


def test_a_folder_with_the_name_of_a_file_is_a_folder(tmp_path):
    folder = put(tmp_path / "d.xml", {"a.xml": voc("a", ("dog", 1, 2, 3, 4))})
    assert len(read_boxes(folder)) == len(read_boxes(folder, format="voc")) == 1


def test_long_names_make_no_long_errors(tmp_path):
    archive = tar({"n" * 100_000 + ".xml": "<annotation>"})
    csv = "ImageId,ClassId,EncodedPixels\n{0}.png,1,1 1\n{0}.jpg,1,1 1\n".format("n" * 100_000)
    for name, content in (("a.tar.gz", archive), ("a.csv", csv)):
        with pytest.raises(ValueError, match=name) as error:
            read_boxes(put(tmp_path, (name, content)))
        assert len(str(error.value)) < 1000


@pytest.mark.parametrize("codec", ["punycode", "idna", "unicode_escape", "utf-7", "charmap", "x" * 1000])
def test_codecs_that_are_no_encodings_of_text_are_refused(tmp_path, codec):
    path = put(tmp_path, ("a.xml", f'<?xml version="1.0" encoding="{codec}"?><annotation/>'))
    with pytest.raises(ValueError, match=r"a\.xml.* as it says; save it as UTF-8") as error:
        read_boxes(path)
    assert len(str(error.value)) < 1000


def test_linked_folders_are_read_once(tmp_path):
    put(tmp_path / "other", {"b.xml": voc("b", ("dog", 1, 2, 3, 4))})
    folder = put(tmp_path / "set", {"a.xml": voc("a", ("dog", 1, 2, 3, 4))})
    for name, to in {"more": "../other", "again": "../other", "loop": ".", "up": ".."}.items():
        (folder / name).symlink_to(to)
    assert read_boxes(folder).image_ids == ("a", "b")


@pytest.mark.parametrize("value", [0.5, np.nan, 1e30, -1.0])
def test_masks_have_whole_numbers_as_pixels(tmp_path, value):
    file = io.BytesIO()
    Image.fromarray(np.full((2, 2), value, np.float32)).save(file, "TIFF")
    put(tmp_path, {"a.png": file.getvalue(), "b.png": png(np.eye(9))})
    with pytest.raises(ValueError, match=r"a\.png has pixels of float32"):
        read_boxes(tmp_path, format="masks")


@pytest.mark.parametrize("number", ["1_0", "1\u00b2", "0x10"])
def test_what_only_python_takes_for_a_number_is_none(tmp_path, number):
    with pytest.raises(ValueError, match=r"a\.xml, object 2: <xmax> is .*, which is no number"):
        read_boxes(put(tmp_path, ("a.xml", corners(1, 2, number, 4))))


def test_a_damaged_image_beside_labels_is_no_image(tmp_path):
    damaged = b"II\x2b\x00\x08\x00\x00\x00" + (2**62).to_bytes(8, "little")
    put(tmp_path, {"labels/a.txt": "0 .5 .5 .1 .1", "images/a.tif": damaged})
    assert "normalised, image sizes unknown" in read_boxes(tmp_path / "labels").report
    with pytest.raises(ValueError, match=r"a\.tif is not an image"):
        read_boxes(tmp_path / "labels", sizes=tmp_path / "images")


def test_rows_of_severstal_without_an_image(tmp_path):
    for name in ("", "/"):
        path = put(tmp_path, ("a.csv", f"ImageId,ClassId,EncodedPixels\nb.jpg,1,1 1\n{name},1,1 1\n"))
        with pytest.raises(ValueError, match=r"a\.csv: row 3 names no image"):
            read_boxes(path)
