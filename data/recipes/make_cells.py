"""Reduce the photographs of blood cells (BCCD) to what is part of the collection: data/cells.

`python data/recipes/make_cells.py` reads `bccd_images.tar`, `bccd_boxes.json.gz` and `bccd_LICENSE.txt` from
the folder that MARGINALIA_TEST_DATA names, in a few seconds. Photographs become JPEG of 160 x 120, boxes one
COCO JSON in pixels of the small images, with the authors' split as an entry of each image.
"""

from __future__ import annotations

import gzip
import io
import json
import shutil
import tarfile
from pathlib import Path

from PIL import Image

from marginalia import store

SIZE, QUALITY = (160, 120), 88
NAMES = {"RBC": "red cell", "WBC": "white cell", "Platelets": "platelet"}
ABOUT = """\
BCCD: photographs of blood cells under a microscope, with boxes of red cells, white cells and platelets.

364 photographs of 640 x 480, here at 160 x 120, and 4,886 boxes (two of zero size were left out).
From https://github.com/Shenggan/BCCD_Dataset, MIT licence (LICENSE beside this file); original photographs
and annotations by cosmicad and akshaylamba. split: the authors' (train 205, val 87, test 72).
The boxes are not complete: of twenty photographs that were looked at (drawn at random) each has red cells
without a box, and in two of them no red cell has one (BloodImage_00147, BloodImage_00258). So it is in 15
of all 364. In the 72 of test at least 17 % of the red cells have none (data/measured/cells_unlabelled.csv).
Written by: python data/recipes/make_cells.py
"""


def make(source: Path, out: Path) -> None:
    """Photographs, boxes, licence and a text that says what they are."""
    with gzip.open(source / "bccd_boxes.json.gz", "rt", encoding="utf-8") as file:
        boxes = json.load(file)
    (out / "images").mkdir(parents=True, exist_ok=True)
    split = {}
    with tarfile.open(source / "bccd_images.tar") as archive:
        for part in ("train", "val", "test"):
            names = archive.extractfile(f"ImageSets/Main/{part}.txt").read().decode().split()
            split |= {f"{name}.jpg": part for name in names}
        for image in boxes["images"]:
            photograph = Image.open(
                io.BytesIO(archive.extractfile(f"JPEGImages/{image['file_name']}").read())
            )
            if photograph.size != (image["width"], image["height"]):
                raise ValueError(f"{image['file_name']} is {photograph.size}, its boxes are of another size")
            small = photograph.convert("RGB").resize(SIZE, Image.Resampling.LANCZOS)
            small.save(out / "images" / image["file_name"], quality=QUALITY, optimize=True)

    scale = SIZE[0] / boxes["images"][0]["width"]
    images = [
        {"id": image["id"], "file_name": image["file_name"], "width": SIZE[0], "height": SIZE[1]}
        | {"split": split[image["file_name"]]}
        for image in boxes["images"]
    ]
    annotations = [
        one | {"bbox": [scale * x for x in one["bbox"]], "area": scale**2 * one["area"]}
        for one in boxes["annotations"]
    ]
    categories = [{"id": one["id"], "name": NAMES[one["name"]]} for one in boxes["categories"]]
    made = {"images": images, "annotations": annotations, "categories": categories}
    (out / "boxes.json").write_text(json.dumps(made, separators=(",", ":")) + "\n", encoding="utf-8")
    (out / "README.txt").write_text(ABOUT, encoding="utf-8")
    shutil.copyfile(source / "bccd_LICENSE.txt", out / "LICENSE")


if __name__ == "__main__":
    folder = store.test_data()
    if folder is None:
        raise SystemExit("set MARGINALIA_TEST_DATA to the folder with bccd_images.tar")
    make(folder, store.root() / "cells")
