"""Write a file of the shape and size of COCO's training annotations, from a seed.

Nothing in it is COCO's: the boxes are uniform random ones. What it shares with the real file is what costs
time and memory: 118,000 images, about 860,000 boxes, the number of boxes an image, a polygon a box, one
per cent crowd regions with run lengths, and about 450 MB of text.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np

CATEGORIES = 80
IMAGES = 118_000


def box_counts(images: int, rng: np.random.Generator) -> np.ndarray:
    """Boxes an image: (images,) integers, mean about 7.3, one in a hundred empty, heavy tail capped at 90."""
    counts = np.ceil(rng.lognormal(mean=1.36, sigma=1.08, size=images))
    counts[rng.random(images) < 0.01] = 0
    return np.minimum(counts, 90).astype(int)


def polygon(box: list[float], angles: np.ndarray, radii: np.ndarray) -> list[float]:
    """A closed outline around the middle of the box, flat list x0, y0, x1, y1, ... with two decimals."""
    x, y, w, h = box
    outline = np.stack(
        [x + w / 2 * (1 + radii * np.cos(angles)), y + h / 2 * (1 + radii * np.sin(angles))], 1
    )
    return np.round(outline, 2).ravel().tolist()


def annotations(images: range, sizes: np.ndarray, first_id: int, rng: np.random.Generator) -> list[dict]:
    """The annotations of some images, in COCO's words."""
    counts = box_counts(len(images), rng)
    owner = np.repeat(np.arange(len(images)), counts)
    n = len(owner)
    wh = np.maximum(np.round(sizes[owner] * rng.beta(0.8, 3.0, (n, 2)), 2), 1.0)
    xy = np.round(rng.random((n, 2)) * (sizes[owner] - wh), 2)
    boxes = np.hstack([xy, wh]).tolist()
    categories = rng.integers(1, CATEGORIES + 1, n).tolist()
    crowd = (rng.random(n) < 0.01).tolist()
    points = np.minimum(3 + rng.gamma(1.6, 15.7, n), 400).astype(int)
    angles = [np.linspace(0, 2 * np.pi, p, endpoint=False) for p in range(401)]
    radii = rng.uniform(0.5, 1.0, points.sum())
    starts = np.concatenate([[0], np.cumsum(points)])
    entries = []
    for i, box in enumerate(boxes):
        if crowd[i]:
            counts_rle = rng.integers(1, 900, 2 * points[i]).tolist()
            shape = {"counts": counts_rle, "size": sizes[owner[i], ::-1].tolist()}
        else:
            shape = [polygon(box, angles[points[i]], radii[starts[i] : starts[i + 1]])]
        entries.append(
            {
                "segmentation": shape,
                "area": round(box[2] * box[3] * 0.7, 4),
                "iscrowd": int(crowd[i]),
                "image_id": images[owner[i]],
                "bbox": box,
                "category_id": categories[i],
                "id": first_id + i,
            }
        )
    return entries


def write(path: Path, images: int = IMAGES, seed: int = 0, step: int = 2000) -> int:
    """Write the file, `step` images at a time; returns the number of boxes."""
    rng = np.random.default_rng(seed)
    sizes = np.where(rng.random((images, 1)) < 0.7, [[640, 480]], [[427, 640]])
    encode = msgspec.json.Encoder().encode
    described = [
        {"file_name": f"{i:012d}.jpg", "height": int(h), "width": int(w), "id": i}
        for i, (w, h) in enumerate(sizes, start=1)
    ]
    partial = path.with_suffix(".partial")
    boxes = 0
    with partial.open("wb") as file:
        file.write(b'{"info":{"description":"generated"},"licenses":[],"images":%b' % encode(described))
        file.write(b',"annotations":[')
        for start in range(0, images, step):
            chosen = range(start + 1, min(start + step, images) + 1)
            entries = annotations(chosen, sizes[start : start + step], boxes + 1, rng)
            if entries:
                file.write((b"," if boxes else b"") + encode(entries)[1:-1])
            boxes += len(entries)
        named = [{"supercategory": "thing", "id": c, "name": f"thing {c}"} for c in range(1, CATEGORIES + 1)]
        file.write(b'],"categories":%b}' % encode(named))
    partial.replace(path)  # a half-written file never carries the name
    return boxes


def ready() -> Path:
    """The file in build/, written unless it is there already and younger than this script."""
    path = Path(__file__).resolve().parents[1] / "build" / "benchmarks" / "coco_train_sized.json"
    if not path.exists() or path.stat().st_mtime < Path(__file__).stat().st_mtime:
        path.parent.mkdir(parents=True, exist_ok=True)
        print(f"{write(path):,} boxes written to {path.name}")
    return path


if __name__ == "__main__":
    print(f"{ready().stat().st_size / 1e6:.0f} MB, kept in build/benchmarks")
