"""The position relation beside its equations written out: time and peak memory, in one run.

Run with `python benchmarks/relation.py`, on one thread: 900 boxes against 900, eight heads.

Measured in one run on a 2-core x86 machine; processor seconds, and MB above the start:

                        forward          and backward
    PositionRelation    0.13    98       0.34   121
    written out         0.51   507       0.52   537

So less than a quarter of the memory in two thirds of the time. What limits is sine and cosine of the two
distances, which belong to pairs of boxes; those of the two ratios belong to single boxes. The backward pass
makes the former once more. Rel itself takes 25 MB, its gradient as much.
"""

from __future__ import annotations

import os

os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch
from composition import memory
from torch import Tensor
from torch.nn.functional import linear

from marginalia.detection.relation import PositionRelation, embed, relative_geometry

BOXES, ROUNDS = 900, 5


def written_out(module: PositionRelation, boxes: Tensor) -> Tensor:
    """max(0, W embed(e) + B) with the whole embedding, which autograd keeps for the gradient of W."""
    with torch.no_grad():
        waves = embed(relative_geometry(boxes, boxes), module.frequency)
    return linear(waves, module.projection.weight, module.projection.bias).relu().movedim(-1, 1)


WAYS = {"PositionRelation": lambda module, boxes: module(boxes, boxes), "written out": written_out}


def measure_one(name: str, both: bool) -> None:
    """Print [seconds, MB] of a forward, or a forward and backward, in this fresh process."""
    torch.manual_seed(0)
    module, boxes = PositionRelation(), torch.rand(1, BOXES, 4) * 0.3 + 0.02

    def run(boxes: Tensor) -> None:
        with torch.set_grad_enabled(both):
            relation = WAYS[name](module, boxes)
        if both:
            relation.sum().backward()

    run(boxes[:, :20])
    Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten
    before = memory("VmRSS")
    run(boxes)
    peak, times = memory("VmHWM") - before, []
    for _ in range(ROUNDS):
        start = time.process_time()
        run(boxes)
        times.append(time.process_time() - start)
    print(json.dumps([statistics.median(times), peak]))


def main() -> None:
    print(f"{'':<20}forward: s     MB   and backward: s     MB")
    for name in WAYS:
        cells = []
        for both in ("", "both"):
            command = [sys.executable, __file__, "--one", name, both]
            cells += json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        print("{:<20}{:10.3f}{:7.0f}{:18.3f}{:7.0f}".format(name, *cells), flush=True)


if __name__ == "__main__":
    measure_one(sys.argv[2], bool(sys.argv[3])) if sys.argv[1:2] == ["--one"] else main()
