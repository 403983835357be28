"""Persistence images of 2,000 diagrams of 63 bars: this library beside gudhi and persim, on one thread.

Run with `python benchmarks/persistence_images.py`. All ways start from diagrams in memory, use TopKD's weight
and are timed in turn, in processor seconds; differences are given as a share of the largest value.

Measured in three runs of 7 rounds on a 2-core x86 machine, the lowest and highest of the runs' median ratios;
in brackets, of two runs on another machine.

                                20 x 20                      50 x 50                   difference
    times gudhi
    PersistenceImage            12.1 - 13.5 (14.2 - 14.4)    15.7 - 22.7 (15.8 - 16.7)    8e-16
    torch, float64              11.2 - 13.5 (10.2 - 10.5)    17.8 - 20.0 (11.1)           1e-15
    torch, float32              19.7 - 21.6 (16.8 - 17.0)    37.0 - 39.3 (23.9 - 24.4)    5e-7
    times persim
    PersistenceImage            26.3 - 31.5                  17.4 - 19.4                  2e-14
    torch, float64              24.5 - 32.7                  18.0 - 20.4                  2e-14

What limits PersistenceImage: at 20 x 20, of 14 us a diagram, 8 go into the bumps (passes over memory and new
pages more than the exponential), 2 into weighting and the product, the rest into checking the list; at
50 x 50 the product takes a third. persim's convention takes torch's error function, at each edge once: 1.7 ns
a value, where scipy's takes 12. Of gudhi's time at 20 x 20 a third are its calls of the weight, one a bar.
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
ROUNDS = 7
BANDWIDTH = 0.1


def generated(seed: int = 0) -> np.ndarray:
    """(DIAGRAMS, BARS, 2) births in [0, 1] and deaths up to 1 later."""
    birth, persistence = np.random.default_rng(seed).uniform(size=(2, DIAGRAMS, BARS))
    return np.stack([birth, birth + persistence], -1)


def seconds(function, *arguments):
    """Processor seconds, which other work on the machine hardly changes, and the result."""
    start = time.process_time()
    result = function(*arguments)
    return time.process_time() - start, result


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


def in_torch(tensor: torch.Tensor, *settings) -> torch.Tensor:
    """The function on tensors, 32 diagrams at a time."""
    return torch.cat([persistence_image(part, *settings) for part in tensor.split(32)])


def compare(r: int, batch: np.ndarray) -> None:
    """Time images of r x r pixels each way, and print a line each."""
    diagrams, tensor = list(batch), torch.from_numpy(batch)
    gudhi, persim = gudhis(r).fit(diagrams), persims(r)
    edge = r * persim.pixel_size  # 1, but for the rounding of persim's pixel
    sampled = (BANDWIDTH, (0, 1, 0, 1), (r, r), topkd_weight)
    integrated = (BANDWIDTH, (0, edge, 0, edge), (r, r), topkd_weight, "persim")
    image, integral = PersistenceImage(*sampled).fit(diagrams), PersistenceImage(*integrated).fit(diagrams)
    ways = {  # name: the peer it is compared with, and what to do
        "gudhi": ("gudhi", lambda: gudhi.transform(diagrams)),
        "PersistenceImage": ("gudhi", lambda: image.transform(diagrams)),
        "torch, float64": ("gudhi", lambda: in_torch(tensor, *sampled)),
        "torch, float32": ("gudhi", lambda: in_torch(tensor.float(), *sampled)),
        "persim": ("persim", lambda: np.swapaxes(persim.transform(diagrams, skew=True), 1, 2)),
        "PersistenceImage, persim": ("persim", lambda: integral.transform(diagrams)),
        "torch, float64, persim": ("persim", lambda: in_torch(tensor, *integrated)),
    }
    spent, results = {name: [] for name in ways}, {}
    for _ in range(ROUNDS):
        for name, (_, way) in ways.items():
            took, result = seconds(way)
            spent[name].append(took)
            results[name] = np.asarray(result).reshape(DIAGRAMS, -1)

    print(f"\n{f'{r} x {r}':26}  us/diagram    ratio (lowest to highest)   difference / maximum")
    for name, (peer, _) in ways.items():
        ratios = np.array(spent[peer]) / np.array(spent[name])
        error = np.abs(results[name] - results[peer]).max() / results[peer].max()
        print(
            f"{name:26} {np.median(spent[name]) / DIAGRAMS * 1e6:11.1f} {np.median(ratios):8.1f}"
            f" ({ratios.min():4.1f} to {ratios.max():4.1f}) of {peer:8}{error:12.1e}"
        )


def main() -> None:
    torch.set_num_threads(1)
    batch = generated()
    print(f"{DIAGRAMS:,} diagrams of {BARS} bars, one thread; {ROUNDS} rounds, the ways in turn")
    for r in (20, 50):
        compare(r, batch)


if __name__ == "__main__":
    main()
