"""Macroscopic correlation of a COCO-train-sized data set: this library beside numpy.corrcoef an image.

Run with `python benchmarks/correlation.py [--images 118000]`. Both ways start from boxes in memory and are
timed in turn, in the same run, on the same generated boxes. The usual way gets what it is usually given: a
dict of lists of boxes, one list an image, and a pool of two processes.
"""

from __future__ import annotations

import argparse
import time
from multiprocessing import Pool

import numpy as np

from marginalia.boxes.correlation import macroscopic_correlation
from marginalia.boxes.nulls import excess_correlation
from marginalia.boxes.table import BoxTable

REPEATS = 5


def generated(images: int, seed: int = 0) -> BoxTable:
    """Boxes in any order, 7.3 an image on average with a heavy tail up to 93, as in COCO train2017."""
    rng = np.random.default_rng(seed)
    count = np.clip(np.round(rng.lognormal(1.55, 0.935, images)), 1, 93).astype(int)
    image = rng.permutation(np.repeat(np.arange(images), count))
    wh = np.exp(rng.normal([4.0, 4.0], 1.0, (len(image), 2))).clip(4, 400)
    corner = rng.uniform(size=wh.shape) * (np.array([640, 480]) - wh).clip(0)
    sizes = np.tile([640.0, 480.0], (images, 1))
    return BoxTable(
        np.hstack([corner, wh]), image, tuple(range(images)), sizes, np.zeros_like(image), {0: "thing"}
    )


def corrcoef_of_image(boxes: list[list[float]]) -> float | None:
    """The usual code: correlation matrix of the rows, mean of absolute values off the diagonal."""
    n = len(boxes)
    return (np.abs(np.corrcoef(boxes)).sum() - n) / (n * (n - 1)) if n > 1 else None


def usual(by_image: dict[int, list]) -> list[float | None]:
    with Pool(2) as pool:
        return pool.map(corrcoef_of_image, by_image.values())


def seconds(function, *arguments):
    start = time.perf_counter()
    result = function(*arguments)
    return time.perf_counter() - start, result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=118_000)
    table = generated(parser.parse_args().images)
    by_image = {i: [] for i in range(len(table.image_ids))}
    for i, box in zip(table.image.tolist(), table.xywh.tolist(), strict=True):
        by_image[i].append(box)

    print(f"{len(table):,} boxes, {len(by_image):,} images; {REPEATS} rounds, the two ways in turn")
    ours, theirs = [], []
    for _ in range(REPEATS):
        spent, here = seconds(macroscopic_correlation, table)
        ours.append(spent)
        spent, there = seconds(usual, by_image)
        theirs.append(spent)
    there = np.array([np.nan if value is None else value for value in there])
    print(f"largest difference {np.nanmax(np.abs(here - there)):.1e}")
    print(f"numpy.corrcoef, 2 processes   {np.median(theirs):8.3f} s")
    print(f"macroscopic_correlation       {np.median(ours):8.3f} s")
    ratios = np.array(theirs) / np.array(ours)
    print(
        f"ratio, median of rounds       {np.median(ratios):8.1f}   ({ratios.min():.1f} to {ratios.max():.1f})"
    )

    small = generated(5_000)
    spent, _ = seconds(excess_correlation, small)
    print(f"excess_correlation, 200 shuffles of {len(small):,} boxes in 5,000 images: {spent:.2f} s")


if __name__ == "__main__":
    main()
