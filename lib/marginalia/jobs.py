"""Commands that take minutes, a few at a time, each in a process of its own with one thread."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
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


def run_jobs(
    jobs: Sequence[Job], at_a_time: int = 2, outcome: Callable[[Job], str] | None = None
) -> list[str]:
    """Do all jobs in their order, `at_a_time` side by side, and return the names of those that failed.

    What begins, how long it should take and how long it took is printed, with what `outcome` says of a job
    that went well. One failure does not keep the others from being done. When this process is interrupted,
    the commands that run are ended too.
    """
    waiting, running, failed = list(jobs), [], []
    with ExitStack() as stack:
        while waiting or running:
            while waiting and len(running) < at_a_time:
                job = waiting.pop(0)
                running.append((job, stack.enter_context(_ended(_begin(job))), time.monotonic()))
                print(f"{job.name}: begins, about {job.minutes:.0f} minutes", flush=True)
            time.sleep(0.2)
            for one in [one for one in running if one[1].poll() is not None]:
                running.remove(one)
                job, process, began = one
                took = f"{job.name}: {(time.monotonic() - began) / 60:.1f} minutes"
                if process.returncode:
                    failed.append(job.name)
                    print(f"{took}, failed; see {job.log}", flush=True)
                else:
                    print(f"{took}{', ' + outcome(job) if outcome else ''}", flush=True)
    return failed


def _begin(job: Job) -> subprocess.Popen:
    job.log.parent.mkdir(parents=True, exist_ok=True)
    with open(job.log, "a", encoding="utf-8") as log:
        return subprocess.Popen(
            job.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=os.environ | ONE_THREAD
        )


class _ended:
    """A process that does not outlive the block."""

    def __init__(self, process: subprocess.Popen):
        self.process = process

    def __enter__(self) -> subprocess.Popen:
        return self.process

    def __exit__(self, *error) -> None:
        if self.process.poll() is None:
            self.process.terminate()
        self.process.wait()
