"""Time and memory of `python -m marginalia deaths` on a file of many clouds, and of `diagrams` on some.

Run with `python benchmarks/many_clouds.py [CLOUDS]`: 100,000 unless told otherwise, of 64 points in 64
dimensions in float32, written into a temporary file of 1.6 GB first. Own memory is what Linux calls RssAnon.
Pages of the mapped file, which the system takes back when it needs room, are not in it.

Measured once each on a 2-core x86 machine with five other programs at work: 100,000 clouds (1.6 GB) in 6.5 s
of the processor, 18 s by the clock, with at most 178 MB; 200,000 clouds (3.3 GB) with at most 208 MB. About
150 MB are Python, torch and scipy, and 25 or 50 the deaths. Diagrams of dimensions 0 and 1 take 3.6 KB a
cloud, of which 1.9 are the bars themselves; points are converted 500 clouds at a time.
"""

from __future__ import annotations

import os

os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")

import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from marginalia.topology import diagrams, h0_deaths

POINTS, WIDTH = 64, 64
AT_A_TIME = 1000  # clouds written at a time
FEW = 4000  # clouds for diagrams


def own_memory(process: int | str = "self") -> float:
    """Megabytes of memory that no file stands behind; 0 for a process that has ended."""
    found = re.search(r"RssAnon:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text())
    return int(found[1]) / 1024 if found else 0


def write(path: Path, clouds: int) -> None:
    """Gaussian clouds, without holding them all."""
    rng = np.random.default_rng(0)
    file = np.lib.format.open_memmap(path, "w+", np.float32, (clouds, POINTS, WIDTH))
    for start in range(0, clouds, AT_A_TIME):
        some = file[start : start + AT_A_TIME]
        some[:] = rng.standard_normal(some.shape, np.float32)


def command(given: Path, out: Path) -> None:
    """Run the command, print its time and the most own memory that it had, and check some of its results."""
    start, peak = time.perf_counter(), 0.0
    process = subprocess.Popen([sys.executable, "-m", "marginalia", "deaths", given, out])
    while process.poll() is None:
        peak = max(peak, own_memory(process.pid))
        time.sleep(0.02)
    took = time.perf_counter() - start
    processor = os.times().children_user + os.times().children_system
    if process.returncode:
        sys.exit(process.returncode)
    clouds, deaths = np.load(given, mmap_mode="r"), np.load(out, mmap_mode="r")
    ends = [*range(100), *range(len(clouds) - 100, len(clouds))]
    assert (deaths[ends] == h0_deaths(clouds[ends])).all()
    print(
        f"deaths of {len(clouds):,} clouds, a file of {given.stat().st_size / 1e9:.1f} GB: {took:.1f} s, "
        f"{processor:.1f} s of the processor; own memory at most {peak:.0f} MB"
    )


def some_diagrams(given: Path) -> None:
    """Own memory while diagrams are computed: it grows with the bars, not with the points."""
    clouds = np.load(given, mmap_mode="r")[:FEW]
    diagrams(clouds[:100])
    before, start = own_memory(), time.perf_counter()
    found = diagrams(clouds)
    took, grown = time.perf_counter() - start, own_memory() - before
    bars = sum(each.nbytes for cloud in found for each in cloud)
    print(
        f"diagrams of {FEW:,} clouds, dimensions 0 and 1: {took / FEW * 1e3:.2f} ms a cloud; "
        f"own memory grows by {grown / FEW * 1024:.1f} KB a cloud, of which {bars / FEW / 1024:.1f} are bars"
    )


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        given = Path(folder) / "features.npy"
        write(given, int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
        command(given, Path(folder) / "deaths.npy")
        some_diagrams(given)


if __name__ == "__main__":
    main()
