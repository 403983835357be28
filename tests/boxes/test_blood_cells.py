"""The photographs of blood cells: what came from the archive, and the recipe that reduces it."""

from __future__ import annotations

import gzip
import io
import json
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from marginalia import store
from marginalia.boxes import cells, read_boxes

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "data" / "recipes"))
import make_cells


@pytest.fixture(scope="module")
def all_cells():
    return cells()


def test_all_of_them(all_cells):
    table = all_cells.table
    assert all_cells.pixels.shape == (364, 120, 160, 3) and all_cells.pixels.dtype == np.uint8
    assert len(table) == 4886 and not table.report
    counts = {name: int((table.category == number).sum()) for number, name in table.names.items()}
    assert counts == {"red cell": 4153, "white cell": 372, "platelet": 361}
    assert {part: int((all_cells.split == part).sum()) for part in ("train", "val", "test")} == {
        "train": 205,
        "val": 87,
        "test": 72,
    }
    x, y, w, h = table.xywh.T
    assert (x >= 0).all() and (y >= 0).all() and (x + w <= 160).all() and (y + h <= 120).all()


def test_boxes_lie_on_their_photographs(all_cells):
    """White cells are violet: inside their boxes there is less green than in the photograph."""
    table = all_cells.table
    white = next(k for k, name in table.names.items() if name == "white cell")
    darker = []
    for (x, y, w, h), image in zip(
        *(part[table.category == white] for part in (table.xywh, table.image)), strict=True
    ):
        green = all_cells.pixels[image][..., 1].astype(float)
        inside = green[int(y) : int(np.ceil(y + h)), int(x) : int(np.ceil(x + w))]
        darker.append(inside.mean() < green.mean())
    assert np.mean(darker) > 0.95


def test_a_quarter_of_the_original_boxes(all_cells):
    folder = store.test_data()
    if folder is None or not (folder / "bccd_boxes.json.gz").is_file():
        pytest.skip("the original boxes are not here")
    original = read_boxes(folder / "bccd_boxes.json.gz")
    assert np.allclose(all_cells.table.xywh, original.xywh / 4, rtol=0, atol=1e-12)
    assert (all_cells.table.image == original.image).all()


@pytest.fixture
def archive(tmp_path):
    """Two photographs of 640 x 480, one box each."""
    boxes = {"images": [], "annotations": [], "categories": [{"id": 1, "name": "RBC"}]}
    with tarfile.open(tmp_path / "bccd_images.tar", "w") as tar:

        def add(name, content):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))

        for k, part in enumerate(("train", "test"), 1):
            photograph = io.BytesIO()
            Image.new("RGB", (640, 480), (200, 10 * k, 0)).save(photograph, "JPEG")
            add(f"JPEGImages/{k}.jpg", photograph.getvalue())
            add(f"ImageSets/Main/{part}.txt", f"{k}\n".encode())
            boxes["images"].append({"id": k, "file_name": f"{k}.jpg", "width": 640, "height": 480})
            boxes["annotations"].append(
                {
                    "id": k,
                    "image_id": k,
                    "category_id": 1,
                    "bbox": [40, 20, 80, 100],
                    "area": 8000,
                    "iscrowd": 0,
                }
            )
        add("ImageSets/Main/val.txt", b"")
    with gzip.open(tmp_path / "bccd_boxes.json.gz", "wt") as file:
        json.dump(boxes, file)
    (tmp_path / "bccd_LICENSE.txt").write_text("MIT License")
    return tmp_path


def test_the_recipe(archive, tmp_path):
    out = tmp_path / "cells"
    make_cells.make(archive, out)
    made = json.loads((out / "boxes.json").read_text())
    assert [image["split"] for image in made["images"]] == ["train", "test"]
    assert made["annotations"][0]["bbox"] == [10, 5, 20, 25] and made["annotations"][0]["area"] == 500
    assert made["categories"] == [{"id": 1, "name": "red cell"}]
    with Image.open(out / "images" / "2.jpg") as small:
        assert small.size == (160, 120)
    assert (out / "LICENSE").read_text() == "MIT License" and "MIT licence" in (
        out / "README.txt"
    ).read_text()


def test_a_photograph_of_another_size(archive, tmp_path):
    with gzip.open(archive / "bccd_boxes.json.gz", "rt") as file:
        boxes = json.load(file)
    boxes["images"][1]["width"] = 100
    with gzip.open(archive / "bccd_boxes.json.gz", "wt") as file:
        json.dump(boxes, file)
    with pytest.raises(ValueError, match=r"2\.jpg is \(640, 480\)"):
        make_cells.make(archive, tmp_path / "cells")
