"""A reader's own photographs: three formats, what a training leaves, and what each wrong set is told."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import runs
import train_photographs as own
from marginalia.boxes import read_boxes
from marginalia.detection import load
from marginalia.figures import conditional_detr

NAMES = ("cup", "pot")
VOC = (
    "<annotation><filename>{}.png</filename><size><width>{}</width><height>{}</height></size>{}</annotation>"
)
THING = (
    "<object><name>{}</name><bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox>"
    "</object>"
)


def boxes_of(n):
    """A cup and a pot on image n, xywh in pixels of 64 x 48."""
    return [(4 + n, 6, 16, 20), (30, 10 + n, 24, 16)]


def put(folder: Path, format: str, count: int = 10, scale: int = 1) -> Path:
    """A set of `count` photographs in one of three formats; returns what DATA is."""
    where = folder / {"coco": "pictures", "voc": "JPEGImages", "yolo": "images"}[format]
    where.mkdir(parents=True)
    annotations = []
    for n in range(count):
        pixels = np.full((48, 64, 3), 50, np.uint8)
        for kind, (x, y, w, h) in enumerate(boxes_of(n)):
            pixels[y : y + h, x : x + w, kind] = 220
        Image.fromarray(pixels).resize((64 * scale, 48 * scale)).save(where / f"photo-{n}.png")
        annotations.append([(kind, *(scale * side for side in box)) for kind, box in enumerate(boxes_of(n))])
    width, height = 64 * scale, 48 * scale
    if format == "coco":
        rows = [(n, *box) for n, boxes in enumerate(annotations) for box in boxes]
        content = {
            "images": [
                {"id": n, "width": width, "height": height, "file_name": f"photo-{n}.png"}
                for n in range(count)
            ],
            "categories": [{"id": 3, "name": "cup"}, {"id": 8, "name": "pot"}, {"id": 9, "name": "none"}],
            "annotations": [
                {"id": i, "image_id": n, "category_id": (3, 8)[kind], "bbox": box}
                for i, (n, kind, *box) in enumerate(rows, start=1)
            ],
        }
        (folder / "labels.json").write_text(json.dumps(content))
        return folder / "labels.json"
    labels = folder / {"voc": "Annotations", "yolo": "labels"}[format]
    labels.mkdir()
    for n, boxes in enumerate(annotations):
        if format == "voc":
            things = "".join(THING.format(NAMES[k], x, y, x + w, y + h) for k, x, y, w, h in boxes)
            (labels / f"photo-{n}.xml").write_text(VOC.format(f"photo-{n}", width, height, things))
        else:
            parts = [
                (k, (x + w / 2) / width, (y + h / 2) / height, w / width, h / height)
                for k, x, y, w, h in boxes
            ]
            (labels / f"photo-{n}.txt").write_text("\n".join(" ".join(map(str, part)) for part in parts))
    if format == "yolo":
        (folder / "classes.txt").write_text("\n".join(NAMES))
    return folder


@pytest.fixture
def tiny(folder, monkeypatch):
    """Small detectors and a folder to build in; returns a folder for the set."""
    small = replace(runs.CELLS_DETECTOR, width=16, heads=2, decoder_layers=2, ffn=16, queries=8)
    monkeypatch.setattr(runs, "CELLS_DETECTOR", small)
    monkeypatch.setattr(own, "TIMED", 1)
    return folder / "set"


@pytest.mark.parametrize("format", ["coco", "voc", "yolo"])
def test_a_training_leaves_what_the_notebooks_take(tiny, capsys, format):
    data = put(tiny, format)
    own.train(data, None, "mine", "conditional", 3)
    told = capsys.readouterr().out
    assert "8 images to learn from, 2 held out" in told and "all stretched to 160 x 120 pixels" in told
    assert told.index("minutes on this machine (3 steps, 0 of them made)") < told.index("step 1: AP ")

    # the detector: class names, history, and figures on a photograph that was held out
    folder = runs.BUILD / "mine"
    model = load(folder / "mine.safetensors")
    assert model.names == dict(enumerate(NAMES)) and model.config.classes == 2
    assert pd.read_csv(folder / "mine.csv", comment="#")["step"].tolist() == [1, 2, 3]
    card = json.loads((folder / "mine.json").read_text())
    assert {"AP", "AP50 cup", "AP50 pot"} <= set(card["metrics"])
    image = next(line for line in told.splitlines() if line.startswith("IMAGE = ")).split('"')[1]
    view = conditional_detr.open_checkpoint(f"{folder / 'mine.safetensors'},{image}")
    assert view.names == model.names and view.pixels.shape == (48, 64, 3) and view.title == "mine"

    # ground truth of the photographs held out in their own pixels, and detections on them
    truth = read_boxes(folder / "ground_truth.json")
    assert len(truth.image_ids) == 2 and set(truth.names.values()) == set(NAMES)
    for n, file in enumerate(truth.files):
        number = int(Path(file).stem.split("-")[1])
        mine = truth.image == n
        np.testing.assert_allclose(truth.xywh[mine], boxes_of(number), atol=1e-6)
        assert [truth.names[c] for c in truth.category[mine]] == list(NAMES)
        assert (tiny / file).is_file()
    assert Path(image).relative_to(tiny.absolute()).as_posix() in truth.files
    found = read_boxes(folder / "detections.json", ground_truth=truth)
    assert len(found) == 2 * 8 * 2 and np.isfinite(found.score).all()  # images, queries, classes
    assert set(found.category) <= set(truth.names)


def test_a_training_that_was_broken_off_goes_on(tiny, monkeypatch, capsys):
    data = put(tiny, "coco")
    own.train(data, None, "whole", "detr", 4)
    measured = own.evaluation

    def kill(model, scenes, by_category):
        def measure(step):
            if step == 3:
                raise KeyboardInterrupt
            return measured(model, scenes, by_category)(step)

        return measure

    monkeypatch.setattr(own, "evaluation", kill)
    with pytest.raises(KeyboardInterrupt):
        own.train(data, None, "broken", "detr", 4)
    monkeypatch.setattr(own, "evaluation", measured)
    own.train(data, None, "broken", "detr", 4)
    assert "(4 steps, 2 of them made)" in capsys.readouterr().out
    whole, broken = (
        pd.read_csv(runs.BUILD / name / f"{name}.csv", comment="#").drop(columns="seconds")
        for name in ("whole", "broken")
    )
    assert whole.equals(broken)
    own.train(data, None, "broken", "detr", 4)
    assert "minutes" not in capsys.readouterr().out  # nothing is left to do
    with pytest.raises(ValueError, match="broken is of other images or settings; take another NAME"):
        own.train(data, None, "broken", "dab", 4)
    with pytest.raises(ValueError, match="broken is of other images or settings"):
        own.train(put(tiny.parent / "more", "coco", 11), None, "broken", "detr", 4)


def test_photographs_of_any_size_are_stretched_to_one(tmp_path):
    data = put(tmp_path, "yolo", 12)
    Image.open(tmp_path / "images/photo-3.png").resize((1280, 960)).save(tmp_path / "images/photo-3.png")
    Image.open(tmp_path / "images/photo-4.png").resize((60, 90)).save(tmp_path / "images/photo-4.png")
    table, scenes, folder = own.read_photographs(data)
    assert folder == tmp_path and scenes.pixels.shape == (12, 3, 120, 160)
    order = [int(Path(file).stem.split("-")[1]) for file in table.files]
    sizes = dict(zip(order, table.sizes.tolist(), strict=True))
    assert (sizes[0], sizes[3], sizes[4]) == ([64, 48], [1280, 960], [60, 90])
    for n, boxes, pixels in zip(order, scenes.boxes, scenes.pixels, strict=True):
        x, y, w, h = np.transpose(boxes_of(n))
        expected = np.stack([(x + w / 2) / 64, (y + h / 2) / 48, w / 64, h / 48], 1)
        np.testing.assert_allclose(boxes, expected, atol=1e-6)
        column, row = (boxes[0, :2] * (160, 120)).astype(int)
        assert pixels[0, row, column] > 150 > pixels[1, row, column]  # the cup is red


def test_images_may_lie_elsewhere(tmp_path):
    put(tmp_path, "yolo")
    (tmp_path / "images").rename(tmp_path / "elsewhere")
    table, scenes, _ = own.read_photographs(tmp_path / "labels", tmp_path / "elsewhere")
    np.testing.assert_allclose(table.xywh[:2], boxes_of(0), atol=1e-6)  # the labels alone know no pixels
    assert scenes.names == {0: "0", 1: "1"}  # classes.txt is not in labels


def test_images_beside_a_folder_of_annotations_are_found(tmp_path):
    put(tmp_path, "voc")
    table, _, folder = own.read_photographs(tmp_path / "Annotations")
    assert folder == tmp_path and table.files[0] == "JPEGImages/photo-0.png"


def test_images_are_called_as_in_coco(tmp_path):
    data = put(tmp_path, "coco")
    content = json.loads(data.read_text())
    for image in content["images"]:
        del image["file_name"]
    data.write_text(json.dumps(content))
    for file in (tmp_path / "pictures").iterdir():
        file.rename(file.with_name(f"{int(file.stem.split('-')[1]):012d}.png"))
    table, _, _ = own.read_photographs(data)
    assert table.files[7] == "pictures/000000000007.png"


def changed(data: Path, change) -> None:
    content = json.loads(data.read_text())
    change(content)
    data.write_text(json.dumps(content))


def cut_off(data):
    picture = data.parent / "pictures/photo-5.png"
    picture.write_bytes(picture.read_bytes()[:120])


WRONG = {
    "missing": (
        lambda data: (data.parent / "pictures/photo-5.png").unlink(),
        FileNotFoundError,
        r"no image 'photo-5\.png' in .* or below; say where .* IMAGES=folder",
    ),
    "text": (
        lambda data: (data.parent / "pictures/photo-5.png").write_text("a pointer"),
        ValueError,
        r"photo-5\.png is not an image that can be read",
    ),
    "cut off": (cut_off, ValueError, r"photo-5\.png is not an image that can be read"),
    "16 bits": (
        lambda data: Image.fromarray(np.zeros((48, 64), np.uint16)).save(
            data.parent / "pictures/photo-5.png"
        ),
        ValueError,
        r"photo-5\.png: its pixels have more than 8 bits; save it with 8",
    ),
    "turned": (
        lambda data: Image.new("RGB", (48, 64)).save(data.parent / "pictures/photo-5.png"),
        ValueError,
        r"photo-5\.png has 48 x 64 pixels, but .*labels\.json says 64 x 48 \(1 such in all\)",
    ),
    "twice": (
        lambda data: (data.parent / "photo-5.png").write_bytes(b""),
        ValueError,
        r"image 'photo-5\.png' could be photo-5\.png or pictures/photo-5\.png; give each",
    ),
    "no box": (
        lambda data: changed(data, lambda content: content.update(annotations=[])),
        ValueError,
        r"labels\.json: no box in it",
    ),
    "too many boxes": (
        lambda data: changed(data, lambda content: content.update(annotations=content["annotations"] * 21)),
        ValueError,
        r"image 0 has 42 boxes, and a detector is built for 40; cut images into tiles",
    ),
}


@pytest.mark.parametrize("case", WRONG)
@pytest.mark.filterwarnings("ignore")
def test_a_set_that_nothing_can_be_learnt_from_is_refused(tmp_path, monkeypatch, case):
    monkeypatch.setattr(own, "MOST", 40)
    spoil, error, message = WRONG[case]
    data = put(tmp_path, "coco")
    spoil(data)
    with pytest.raises(error, match=message):
        own.read_photographs(data)


def test_too_few_images_and_a_name_that_is_taken(tiny):
    data = put(tiny, "voc", 9)
    with pytest.raises(ValueError, match="9 images; at least 10 are needed"):
        own.train(data, None, "mine", "conditional", 3)
    with pytest.raises(ValueError, match="NAME=cells-detr-0 is a run of this collection"):
        own.train(data, None, "cells-detr-0", "conditional", 3)


def test_boxes_must_be_on_both_sides(tiny):
    data = put(tiny, "coco")
    changed(data, lambda content: content.update(annotations=content["annotations"][:2]))
    with pytest.raises(ValueError, match=r"none of the \d+ images (held out|to learn from) has a box"):
        own.train(data, None, "mine", "conditional", 3)


def test_what_was_dropped_is_told(tmp_path, capsys):
    data = put(tmp_path, "coco")
    empty = {"id": 99, "image_id": 2, "category_id": 3, "bbox": [1, 1, 0, 5]}
    changed(data, lambda content: content["annotations"].append(empty))
    own.read_photographs(data)
    assert "size not positive: 1 dropped, first: annotation 99" in capsys.readouterr().out


def test_queries_grow_with_the_boxes_of_an_image(tiny, monkeypatch):
    data = put(tiny, "coco")
    changed(data, lambda content: content["annotations"].extend(
        {"id": 100 + n, "image_id": 4, "category_id": 3, "bbox": [n, n, 9, 9]} for n in range(9)
    ))  # fmt: skip
    own.train(data, None, "mine", "conditional", 1)
    assert load(runs.BUILD / "mine" / "mine.safetensors").config.queries == 17  # 1.5 times 11


def test_the_command(root, tmp_path):
    command = ["make", "--no-print-directory", "-n", "train"]  # a make inside of `make test` says where it is
    told = subprocess.run(
        [*command, f"DATA={tmp_path}/my set", "NAME=mine", "STEPS=20", "KIND=detr"],
        cwd=root, capture_output=True, text=True, check=True,
    )  # fmt: skip
    line = " ".join(told.stdout.replace("\\\n", " ").split())
    assert line.endswith(
        f'data/recipes/train_photographs.py "{tmp_path}/my set" --name "mine" --kind detr --steps 20'
    )
    plain = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    assert plain.stdout.strip().endswith("data/recipes/train.py")
