"""Reading annotations and computing MC: read_boxes beside json.load, in seconds and in memory.

Run with `python benchmarks/reading.py`. The file is a generated one of the size of COCO's training
annotations (see generate.py). Each way runs in a process of its own, so that its peak memory is its own, in
turn with the other one; "whole path" is reading and then the macroscopic correlation of every image. Seconds
are those of a clock; "processor" is what all its processes computed, which other work on the machine hardly
changes.

What limits read_boxes, on its one core: two fifths of its time go into walking over the digits of polygons
that nobody wants (a decoder of no field at all takes as long), a quarter into turning Python's numbers into
arrays, an eighth into the fields themselves. What limits json.load: a Python object for each of 50 million
numbers, which is also where the memory goes.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from multiprocessing import Pool
from pathlib import Path

import numpy as np
from generate import ready

ROUNDS = 3


def read_boxes_way(path: Path) -> dict[str, float]:
    """This library."""
    from marginalia.boxes.correlation import macroscopic_correlation
    from marginalia.boxes.reading import read_boxes

    table = read_boxes(path)
    after = {"read, s": time.perf_counter(), "read, processor s": processor(), "read, MB": peak()}
    values = macroscopic_correlation(table)
    return after | {"whole path, s": time.perf_counter(), "mean": float(np.nanmean(values))}


def corrcoef_of_image(boxes: list[list[float]]) -> float:
    """Mean absolute correlation between the boxes of one image."""
    n = len(boxes)
    return (np.abs(np.corrcoef(boxes)).sum() - n) / (n * (n - 1))


def json_load_way(path: Path) -> dict[str, float]:
    """The usual code: everything into dicts, a list of boxes an image, numpy.corrcoef in two processes."""
    with path.open() as file:
        content = json.load(file)
    by_image = {image["id"]: [] for image in content["images"]}
    for annotation in content["annotations"]:
        if not annotation["iscrowd"]:
            by_image[annotation["image_id"]].append(annotation["bbox"])
    after = {"read, s": time.perf_counter(), "read, processor s": processor(), "read, MB": peak()}
    with Pool(2) as pool:
        values = pool.map(corrcoef_of_image, [boxes for boxes in by_image.values() if len(boxes) > 1])
    return after | {"whole path, s": time.perf_counter(), "mean": float(np.mean(values))}


WAYS = {"json.load": json_load_way, "read_boxes": read_boxes_way}


def peak() -> float:
    """Largest memory of this process so far, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def processor() -> float:
    """Seconds that this process and its ended children have computed."""
    spent = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(use.ru_utime + use.ru_stime for use in spent)


def measure(way: str, path: Path) -> dict[str, float]:
    """Seconds from the start of the work, and MB, of one way in a fresh process."""
    done = subprocess.run(
        [sys.executable, __file__, way, str(path)], check=True, capture_output=True, text=True
    )
    return json.loads(done.stdout)


def in_this_process(way: str, path: Path) -> dict[str, float]:
    """What `measure` starts; imports count, since a reader waits for them too."""
    start = time.perf_counter()
    found = WAYS[way](path)
    found |= {key: value - start for key, value in found.items() if key in ("read, s", "whole path, s")}
    return found | {"whole path, processor s": processor(), "whole path, MB": peak()}


def main() -> None:
    path = ready()
    rounds = [{way: measure(way, path) for way in WAYS} for _ in range(ROUNDS)]
    first = rounds[0]
    np.testing.assert_allclose(first["json.load"]["mean"], first["read_boxes"]["mean"], atol=1e-9)
    print(f"{path.stat().st_size / 1e6:.0f} MB of annotations; medians of {ROUNDS} rounds, the ways in turn")
    print(f"{'':24}" + "".join(f"{way:>12}" for way in WAYS) + "   ratio (smallest to largest)")
    for row in (f"{part}, {unit}" for part in ("read", "whole path") for unit in ("s", "processor s", "MB")):
        values = {way: np.array([r[way][row] for r in rounds]) for way in WAYS}
        ratios = values["json.load"] / values["read_boxes"]
        print(
            f"{row:24}"
            + "".join(f"{np.median(values[way]):12.1f}" for way in WAYS)
            + f"{np.median(ratios):8.1f} ({ratios.min():.1f} to {ratios.max():.1f})"
        )


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(in_this_process(sys.argv[1], Path(sys.argv[2]))))
    else:
        main()
