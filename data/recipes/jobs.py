"""Commands that take minutes, a few at a time, each in a process of its own with one thread."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")


@dataclass(frozen=True)
class Job:
    """Something to do: a command, and where its output goes."""

    name: str
    command: tuple[str, ...]
    log: Path
    minutes: float  # as expected


def run_jobs(jobs: Sequence[Job], at_a_time: int, outcome: Callable[[Job], str]) -> list[str]:
    """Do all jobs in their order, `at_a_time` side by side, and return the names of those that failed.

    What begins, how long it should take and how long it took is printed, with what `outcome` says of a job
    that went well. One failure does not keep the others from being done. Commands that call
    `end_with_parent` end when this process does, however it ends.
    """
    inherited, held = os.pipe()  # the commands read from it, and come to its end when `held` is closed

    def run(job: Job) -> bool:
        print(f"{job.name}: begins, about {job.minutes:.0f} minutes", flush=True)
        began = time.monotonic()
        job.log.parent.mkdir(parents=True, exist_ok=True)
        with open(job.log, "a", encoding="utf-8") as log:
            done = subprocess.run(
                job.command, stdin=inherited, stdout=log, stderr=log, env=os.environ | ONE_THREAD
            )
        result = f"failed; see {job.log}" if done.returncode else outcome(job)
        print(f"{job.name}: {(time.monotonic() - began) / 60:.1f} minutes, {result}", flush=True)
        return done.returncode == 0

    pool = ThreadPoolExecutor(at_a_time)
    try:
        return [job.name for job, went_well in zip(jobs, pool.map(run, jobs), strict=True) if not went_well]
    finally:
        os.close(held)
        pool.shutdown(cancel_futures=True)
        os.close(inherited)


def end_with_parent() -> None:
    """In a command of `run_jobs`: end this process when the one that began it ends or is interrupted."""

    def watch() -> None:
        os.read(0, 1)  # returns when no process holds the other end any more
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
