"""Train a detector on one's own photographs: `make train DATA=folder`. What it leaves opens in the notebooks.

DATA is annotations in any format of `read_boxes`, with the images in the same folder or below it, or where
--images says. One image in five, drawn with seed 0, is held out. Images are stretched to one size, the
shorter side SHORTER pixels and the median aspect ratio of the set; boxes are normalised to the image size,
so they stretch with it. Beside that all is as for the blood cells (`runs.CELLS`), but nothing is turned
upside down.
"""

from __future__ import annotations

import argparse
import copy
import hashlib
import json
import math
import re
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path, PurePath

import numpy as np
import pandas as pd
import torch
from PIL import Image, ImageOps
from tqdm import tqdm

import runs
from jobs import check_writable
from marginalia import training
from marginalia.boxes.reading import read_boxes
from marginalia.boxes.sources import IMAGE_FILES, listing, opened_image, shown_size
from marginalia.boxes.table import BoxTable
from marginalia.detection import predict_table
from marginalia.detection.detector import KINDS, Detector, build
from marginalia.detection.loading import SHORTER
from marginalia.detection.scenes import SceneBatch, from_boxes
from train import descent, evaluation, varied

FEWEST = 10  # images of a set
MOST = 200  # boxes of an image
BATCH = 8  # images of a step, as for the blood cells
EVALUATIONS = 12  # in a training, evenly spaced; each leaves a checkpoint
TIMED = 5  # steps made for the estimate


def read_photographs(data: Path, images: Path | None = None) -> tuple[BoxTable, SceneBatch, Path]:
    """Boxes in pixels of the image files, the same as detectors take them, and the folder of `table.files`.

    Categories without a box are left out. What `read_boxes` reports is printed. ValueError or
    FileNotFoundError, naming the file, for a set that nothing can be learnt from.
    """
    table = read_boxes(data)
    print(f"{data}: {table}")
    if len(table.image_ids) < FEWEST:
        raise ValueError(f"{data}: {len(table.image_ids)} images; at least {FEWEST} are needed")
    if not (~table.crowd).any():
        raise ValueError(f"{data}: no box in it; annotate what is to be found")
    if table.counts.max() > MOST:
        worst = table.image_ids[table.counts.argmax()]
        raise ValueError(
            f"{data}: image {worst!r} has {table.counts.max()} boxes, and a detector is built for {MOST}; "
            "cut images into tiles"
        )
    folder = images or (data if data.is_dir() else data.parent)
    if images is None and folder.name.lower() in ("annotations", "labels"):  # images stand beside it
        folder = folder.absolute().parent
    files = find_images(table, folder)
    sizes = np.array([shown_size(folder / file) for file in files])

    # boxes in pixels of the files; sizes (1, 1) are those of YOLO labels whose images lie elsewhere
    scale = np.nan_to_num(sizes / table.sizes, nan=1)
    stretched = (np.abs(np.log(scale[:, 0] / scale[:, 1])) > 0.02) & (table.sizes != 1).any(1)
    if stretched.any():
        n = int(stretched.argmax())
        told = "{:.0f} x {:.0f}".format(*table.sizes[n])
        raise ValueError(
            f"{folder / files[n]} has {sizes[n, 0]} x {sizes[n, 1]} pixels, but {data} says {told} "
            f"({stretched.sum()} such in all); correct the annotations, or turn the image"
        )
    used = np.unique(table.category).tolist()
    table = replace(
        table,
        xywh=table.xywh * np.tile(scale, 2)[table.image],
        area=None if table.area is None else table.area * scale.prod(1)[table.image],
        sizes=sizes,
        files=files,
        names={category: table.names.get(category, str(category)) for category in used},
    )

    # pixels, all of one size
    aspect = np.median(sizes[:, 0] / sizes[:, 1])
    size = [8 * round(SHORTER * max(ratio, 1) / 8) for ratio in (aspect, 1 / aspect)]
    bar = tqdm(files, "images", disable=None, leave=False)
    pixels = np.stack([np.asarray(opened(folder / file, size)) for file in bar])
    return table, from_boxes(table, pixels), folder


def find_images(table: BoxTable, folder: Path) -> tuple[str, ...]:
    """The file of each image as seen from the folder, found by the annotations' name for it, or its id.

    FileNotFoundError when one is missing; ValueError when two files could be meant.
    """
    there = defaultdict(set)
    for name in listing(folder) if folder.is_dir() else ():
        if name.lower().endswith(IMAGE_FILES):
            for key in (name, PurePath(name).name, PurePath(name).stem):
                there[key].add(name)
    files = []
    for n, identity in enumerate(table.image_ids):
        named = table.files[n] if table.files and table.files[n] else str(identity)
        keys = [named.removeprefix("../"), PurePath(named).name, PurePath(named).stem, str(identity)]
        keys += [f"{identity:012d}"] if isinstance(identity, int) else []  # as COCO 2017 names its files
        found = next((there[key] for key in keys if key in there), ())
        if not found:
            told = f"no image {named!r} in {folder.absolute()} or below"
            raise FileNotFoundError(f"{told}; say where the images are: make train DATA=... IMAGES=folder")
        if len(found) > 1:
            told = f"{folder}: image {named!r} could be {' or '.join(sorted(found)[:2])}"
            raise ValueError(f"{told}; give each file a name of its own, or IMAGES=folder")
        files += found
    return tuple(files)


def opened(path: Path, size: Sequence[int]) -> Image.Image:
    """An image as it is shown, in colour and stretched to a (width, height).

    ValueError for what is no image, is cut off, or has more than 8 bits a channel.
    """
    with opened_image(str(path), path) as image:
        deep = image.mode[0] in "IF"
        shown = ImageOps.exif_transpose(image).convert("RGB")  # annotations are drawn on it so
    if deep:
        raise ValueError(f"{path}: its pixels have more than 8 bits; save it with 8 bits a channel")
    return shown.resize(size, Image.Resampling.LANCZOS)


def train(data: Path, images: Path | None, name: str, kind: str, steps: int) -> None:
    """Train, and leave weights, card, history and detections in build/train/NAME.

    A training that was broken off goes on. ValueError when NAME has other images or settings.
    """
    if name in runs.BACKBONES | runs.RUNS:
        raise ValueError(f"NAME={name} is a run of this collection; take another one")
    table, scenes, where = read_photographs(data, images)
    mixed = np.random.default_rng(0).permutation(len(scenes.pixels))
    held_out, known = np.sort(mixed[: len(mixed) // 5]), np.sort(mixed[len(mixed) // 5 :])
    for part, chosen in (("held out", held_out), ("to learn from", known)):
        if not np.isin(table.image[~table.crowd], chosen).any():
            raise ValueError(f"{data}: none of the {len(chosen)} images {part} has a box; annotate more")

    # what determines the result, beside the images by their content
    queries = max(runs.CELLS_DETECTOR.queries, math.ceil(1.5 * table.counts.max()))
    config = replace(runs.CELLS_DETECTOR, kind=kind, queries=queries, classes=len(scenes.names))
    every = max(1, steps // EVALUATIONS)
    options = replace(runs.CELLS, lr=runs.RATES[kind], steps=steps, every=every)
    content = hashlib.sha256(scenes.pixels)
    content.update(np.concatenate([*map(np.ravel, scenes.boxes), *scenes.labels]))
    card = {"run": name, "detector": asdict(config), "options": asdict(options), "batch": BATCH}
    card |= {"names": scenes.names, "photographs": content.hexdigest()}
    folder, settings = runs.BUILD / name, f"settings: {json.dumps(card)}"
    history, state = folder / f"{name}.csv", folder / "checkpoint.pt"
    if history.is_file() and f"# {settings}" not in history.read_text("utf-8").splitlines():
        raise ValueError(f"{folder} is of other images or settings; take another NAME, or delete it")

    # before the first step: what is trained on what, and how long it takes
    model, test = build(config, options.seed), scenes.part(held_out)
    batches = varied(scenes.part(known), BATCH, options.seed, upside_down=False)
    measure = evaluation(model, test, by_category=False)
    about = f"{len(known)} images to learn from, {len(held_out)} held out (one in five, seed 0)"
    height, width = scenes.pixels.shape[2:]
    print(f"{about}, all stretched to {width} x {height} pixels")
    print(f"{len(scenes.names)} classes: {', '.join(scenes.names.values())}; {queries} queries")
    made = int(pd.read_csv(history, comment="#")["step"].iloc[-1]) if state.is_file() else 0
    if made < steps:
        left = math.ceil(minutes(model, batches, measure, options, steps - made))
        print(f"about {left} minutes on this machine ({steps} steps, {made} of them made)")
        print("It can be broken off: the same command goes on from the last line below.", flush=True)

    def measure_and_tell(step: int) -> dict[str, float]:
        found = measure(step)
        print(f"step {step}: AP {found['AP']:.3f}, AP50 {found['AP50']:.3f}", flush=True)
        return found

    header = f"{name}: {about}\n{settings}"
    training.fit(model, descent(model), batches, options, measure_and_tell, history, header, state)

    weights = folder / f"{name}.safetensors"
    save_measured(model, test, weights, card)
    truth, found = write_coco(folder, table, held_out, model, torch.from_numpy(test.pixels))
    most = max(held_out, key=lambda n: table.counts[n])
    lines = {
        "notebook 12": {"CHECKPOINT": weights, "IMAGE": where / table.files[most]},
        "notebook 25": {"GROUND_TRUTH": truth, "DETECTIONS": found, "IMAGES": where},
        "notebooks 21 and 24": {"DATA": data},
    }
    for notebook, parameters in lines.items():
        print(f"\nIn the parameters cell of {notebook}:")
        print(*(f'{key} = "{path.absolute().as_posix()}"' for key, path in parameters.items()), sep="\n")


def minutes(model: Detector, batches, measure, options: training.Options, left: int) -> float:
    """What `left` steps with their evaluations take, from a few steps of a copy and one evaluation."""
    trial = copy.deepcopy(model)
    training.fit(trial, descent(trial), batches, replace(options, steps=1))  # the first step is slower
    began = time.monotonic()
    training.fit(trial, descent(trial), batches, replace(options, steps=TIMED))
    a_step, began = (time.monotonic() - began) / TIMED, time.monotonic()
    with torch.no_grad():
        measure(0)
    return left * (a_step + (time.monotonic() - began) / options.every) / 60


def save_measured(model: Detector, test: SceneBatch, path: Path, card: dict[str, object]) -> None:
    """Weights and card for `load`; the metrics, printed too, are of the weights as stored, in 16 bits."""
    model.half().float().eval()
    with torch.no_grad():
        measured = evaluation(model, test, by_category=True)(card["options"]["steps"])
    metrics = {key: round(value, 6) for key, value in measured.items() if not np.isnan(value)}
    training.save(model, path, card | {"metrics": metrics})
    print("on the images held out: " + ", ".join(f"{key} {value:.3f}" for key, value in metrics.items()))


def write_coco(
    folder: Path, table: BoxTable, held_out: Sequence[int], model: Detector, pixels: torch.Tensor
) -> tuple[Path, Path]:
    """Ground truth and detections of the images held out as COCO's JSON, in pixels of the image files."""
    sizes, categories = table.sizes[held_out], sorted(table.names)  # as `from_boxes` counts the labels
    ids = [table.image_ids[n] for n in held_out]
    images = zip(ids, [table.files[n] for n in held_out], *sizes.astype(int).T.tolist(), strict=True)
    truth = table.where(np.isin(table.image, held_out))
    area = truth.xywh[:, 2:].prod(1) if truth.area is None else truth.area
    columns = (truth.image, truth.category, truth.xywh, area, truth.crowd.astype(int))
    boxes = zip(range(1, len(truth) + 1), *(column.tolist() for column in columns), strict=True)
    ground_truth = {
        "images": [dict(zip(("id", "file_name", "width", "height"), row, strict=True)) for row in images],
        "categories": [{"id": category, "name": table.names[category]} for category in categories],
        "annotations": [
            {"id": number, "image_id": table.image_ids[image], "category_id": category}
            | {"bbox": box, "area": size, "iscrowd": crowd}
            for number, image, category, box, size, crowd in boxes
        ],
    }
    found = predict_table(model, pixels, ids, sizes, table.names)
    columns = (found.image, found.category, found.xywh.round(2), found.score.round(5))
    detections = [
        {"image_id": ids[image], "category_id": categories[label], "bbox": box, "score": score}
        for image, label, box, score in zip(*(column.tolist() for column in columns), strict=True)
    ]
    paths = folder / "ground_truth.json", folder / "detections.json"
    for path, content in zip(paths, (ground_truth, detections), strict=True):
        path.write_text(json.dumps(content), encoding="utf-8")
    return paths


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Train a detector on your own photographs.")
    parser.add_argument("data", type=Path, help="annotations in any format of read_boxes, images with them")
    parser.add_argument("--images", type=Path, help="folder of the images, where they are not there")
    parser.add_argument("--name", help="of the folder in build/train (that of the data)")
    parser.add_argument("--kind", choices=KINDS, default="conditional")
    parser.add_argument("--steps", type=int, default=runs.CELLS.steps)
    options = parser.parse_args()
    data, images = (path and path.expanduser() for path in (options.data, options.images))
    name = re.sub(r"[^\w.-]+", "-", options.name or data.absolute().name.partition(".")[0])
    try:
        check_writable()
        train(data, images, name, options.kind, options.steps)
    except (ValueError, OSError) as error:
        sys.exit(f"{parser.prog}: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
