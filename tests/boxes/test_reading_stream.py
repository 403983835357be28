"""However a COCO file is cut into blocks, it reads as json.load reads it."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marginalia.boxes.checks import validate
from marginalia.boxes.coco import Annotation, read_coco
from marginalia.boxes.json_stream import JsonStream

# strings that look like the end of one entry and the start of the next, and quotes that do not end a string
NASTY = ["},{", '"},{"', "\\", '\\"},{', "]", "}],", "{", "é \u2028", "a\nb"]
numbers = st.floats(-1e4, 1e4).map(lambda v: round(v, 2))
words = st.lists(st.sampled_from(NASTY), max_size=4).map("".join)
nested = st.recursive(
    numbers | words | st.none() | st.booleans(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=8,
)
annotations = st.fixed_dictionaries(
    {
        "segmentation": nested | st.lists(st.dictionaries(words, nested, max_size=2), max_size=4),
        "bbox": st.tuples(numbers, numbers, st.integers(1, 500), st.integers(1, 500)),
        "iscrowd": st.sampled_from([0, 1]),
        "category_id": st.integers(1, 3),
        "image_id": st.integers(1, 4),
    },
    optional={"area": numbers.map(abs), "caption": words, "extra": nested},
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """One folder for all examples of a property."""
    return tmp_path_factory.mktemp("coco")


@st.composite
def documents(draw):
    """A small COCO file as a dict whose keys are in any order, and how it is written down."""
    entries = draw(st.lists(annotations, max_size=25))
    for i, entry in enumerate(entries, start=1):
        entry["id"] = i
    parts = {
        "images": [{"id": i, "width": 640, "height": 480, "file_name": draw(words)} for i in range(1, 5)],
        "annotations": entries,
        "categories": [{"id": c, "name": f"kind {c}"} for c in range(1, 4)],
        "info": draw(nested),
        "licenses": draw(nested),
    }
    order = draw(st.permutations(list(parts)))
    text = json.dumps(
        {key: parts[key] for key in order},
        indent=draw(st.sampled_from([None, None, 0, 1, 4])),
        ensure_ascii=draw(st.booleans()),
    )
    return parts, text.encode()


@settings(max_examples=150, deadline=None)
@given(document=documents(), block=st.integers(16, 1500), packed=st.booleans())
def test_any_block_size_reads_what_json_load_reads(folder, document, block, packed):
    parts, text = document
    path = folder / "file.json"
    path.write_bytes(gzip.compress(text) if packed else text)
    table = validate(read_coco(path, block))
    entries = parts["annotations"]
    np.testing.assert_array_equal(table.xywh, np.array([e["bbox"] for e in entries], float).reshape(-1, 4))
    assert [table.image_ids[i] for i in table.image] == [e["image_id"] for e in entries]
    assert table.category.tolist() == [e["category_id"] for e in entries]
    assert table.crowd.tolist() == [e["iscrowd"] == 1 for e in entries]
    area = [e.get("area", np.nan) for e in entries]
    if np.isnan(area).all():
        assert table.area is None
    else:
        np.testing.assert_array_equal(table.area, area)
    assert table.image_ids == (1, 2, 3, 4)
    assert table.names == {1: "kind 1", 2: "kind 2", 3: "kind 3"}


@settings(max_examples=100, deadline=None)
@given(document=documents(), block=st.integers(16, 1500), cut=st.floats(0, 1, exclude_max=True))
def test_a_file_cut_anywhere_is_an_error_that_names_it(folder, document, block, cut):
    text = document[1]
    path = folder / "file.json"
    path.write_bytes(text[: int(cut * len(text))])
    with pytest.raises(ValueError, match=r"file\.json: the file is (cut off|empty)"):
        read_coco(path, block)


@settings(max_examples=150, deadline=None)
@given(document=documents(), block=st.integers(16, 1500), where=st.floats(0, 1, exclude_max=True),
       put=st.sampled_from([b"", b"]", b"}", b",", b'"', b"[", b"{", b"x"]))  # fmt: skip
def test_a_damaged_byte_is_an_error_where_json_load_sees_one(folder, document, block, where, put):
    parts = {
        key: value for key, value in document[0].items() if key in ("images", "annotations", "categories")
    }
    text = json.dumps(parts).encode()  # without the parts that are only walked over, not decoded
    at = int(where * len(text))
    broken = text[:at] + put + text[at + 1 :]
    path = folder / "file.json"
    path.write_bytes(broken)
    try:
        json.loads(broken)
    except ValueError:
        with pytest.raises(ValueError, match=r"file\.json"):
            read_coco(path, block)


def test_blocks_bound_the_buffer(tmp_path):
    entry = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 1, 1], "segmentation": [[0.5] * 40]}
    path = tmp_path / "file.json"
    path.write_text(json.dumps([entry] * 2000))
    longest = 0
    with JsonStream(path, 4096) as text:
        for _ in text.entries(Annotation, "annotation", dict):
            longest = max(longest, len(text.buffer))
    assert path.stat().st_size > 400_000
    assert longest <= 2 * 4096


def test_an_entry_longer_than_many_blocks(tmp_path):
    long = {"id": 1, "image_id": 1, "bbox": [0, 0, 1, 1], "segmentation": [list(range(5000))]}
    content = {"annotations": [long, {**long, "id": 2}], "images": [{"id": 1}], "categories": []}
    path = tmp_path / "file.json"
    path.write_text(json.dumps(content))
    assert len(read_coco(path, block=64).table) == 2


def test_gzip_in_several_parts_and_padded(tmp_path):
    content = json.dumps({"images": [{"id": 1}], "annotations": [], "categories": []}).encode()
    path: Path = tmp_path / "file.json.gz"
    path.write_bytes(gzip.compress(content[:20]) + gzip.compress(content[20:]) + b"\0" * 100)
    assert read_coco(path).table.image_ids == (1,)
