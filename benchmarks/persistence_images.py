"""Persistence images of 2,000 diagrams of 63 bars: this library beside gudhi and persim, on one thread.

Run with `python benchmarks/persistence_images.py`.
"""

from __future__ import annotations

import os

os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")

import time

import numpy as np
import torch
from gudhi.representations import PersistenceImage as GudhiImage
from persim import PersistenceImager

from marginalia.topology.images import PersistenceImage, persistence_image, topkd_weight

DIAGRAMS, BARS = 2_000, 63
ROUNDS = 5
BANDWIDTH = 0.1


def generated(seed: int = 0) -> np.ndarray:
    """(DIAGRAMS, BARS, 2) births in [0, 1] and deaths up to 1 later."""
    birth, persistence = np.random.default_rng(seed).uniform(size=(2, DIAGRAMS, BARS))
    return np.stack([birth, birth + persistence], -1)


def seconds(function, *arguments):
    start = time.perf_counter()
    result = function(*arguments)
    return time.perf_counter() - start, result


def gudhis(r: int):
    """gudhi's transformer; its weight is called for one point."""

    def weight(point):
        return 10 * np.tanh(point[1]) + 10 * np.log(100 * point[0] + 1)

    return GudhiImage(bandwidth=BANDWIDTH, weight=weight, resolution=[r, r], im_range=[0, 1, 0, 1])


def persims(r: int) -> PersistenceImager:
    """persim's imager, r x r pixels on the unit square; ranges set in the constructor would lose pixels."""
    h = float(np.float32(1 / r))
    sigma = [[BANDWIDTH**2, 0.0], [0.0, BANDWIDTH**2]]
    imager = PersistenceImager(
        pixel_size=h, weight=topkd_weight, weight_params={}, kernel_params={"sigma": sigma}
    )
    imager.birth_range = imager.pers_range = (h / 4, r * h - h / 4)
    assert imager.resolution == (r, r)
    return imager


def main() -> None:
    torch.set_num_threads(1)
    batch = generated()
    diagrams = list(batch)
    tensor = torch.from_numpy(batch)
    print(f"{DIAGRAMS:,} diagrams of {BARS} bars, one thread; {ROUNDS} rounds, the ways in turn")
    for r in (20, 50):
        square, theirs = (0, 1, 0, 1), persims(r)
        image = PersistenceImage(BANDWIDTH, square, (r, r), topkd_weight).fit(diagrams)
        edge = r * theirs.pixel_size  # 1, but for the rounding of persim's pixel
        integral = PersistenceImage(BANDWIDTH, (0, edge, 0, edge), (r, r), topkd_weight, "persim").fit(
            diagrams
        )
        gudhi = gudhis(r).fit(diagrams)

        def in_torch(tensor, square=square, r=r):
            parts = tensor.split(100)
            return torch.cat([persistence_image(p, BANDWIDTH, square, (r, r), topkd_weight) for p in parts])

        ways = {
            "gudhi": lambda gudhi=gudhi: gudhi.transform(diagrams),
            "PersistenceImage": lambda image=image: image.transform(diagrams),
            "torch, float64": lambda in_torch=in_torch: in_torch(tensor),
            "torch, float32": lambda in_torch=in_torch: in_torch(tensor.float()),
            "persim": lambda theirs=theirs: theirs.transform(diagrams, skew=True),
            "PersistenceImage, persim": lambda integral=integral: integral.transform(diagrams),
        }
        spent, results = {name: [] for name in ways}, {}
        for _ in range(ROUNDS):
            for name, way in ways.items():
                took, results[name] = seconds(way)
                spent[name].append(took)
        results["persim"] = np.swapaxes(results["persim"], 1, 2)

        print(f"\n{f'{r} x {r}':26}   us/diagram   ratio (lowest to highest)   difference / maximum")
        for name in ways:
            peer = "persim" if "persim" in name else "gudhi"
            ratios = np.array(spent[peer]) / np.array(spent[name])
            expected = np.asarray(results[peer]).reshape(DIAGRAMS, -1)
            found = np.asarray(results[name]).reshape(DIAGRAMS, -1)
            print(
                f"{name:26} {np.median(spent[name]) / DIAGRAMS * 1e6:12.1f}   {np.median(ratios):5.1f}"
                f" ({ratios.min():.1f} to {ratios.max():.1f}) of {peer:8}"
                f"{np.abs(found - expected).max() / expected.max():14.1e}"
            )


if __name__ == "__main__":
    main()
