"""Commands that take minutes, a few at a time, each in a process of its own with one thread.

Also the command line of the recipes that make runs (`train`, `train_language`).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from tempfile import TemporaryFile
from typing import TypeVar

import pandas as pd

from marginalia import store, training

T = TypeVar("T")

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


def chosen(runs: Mapping[str, T], patterns: Iterable[str] = ()) -> list[T]:
    """Those whose names fit a pattern (`headline-*`), all without any. ValueError where none fits one."""
    patterns = tuple(patterns) or ("*",)
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in runs):
            raise ValueError(f"no run {pattern!r}; {store.near(pattern, runs)}")
    return [run for name, run in runs.items() if any(fnmatchcase(name, pattern) for pattern in patterns)]


def check_writable() -> None:
    """OSError, before any work, where the checkout, into which runs are made, cannot be written to."""
    try:
        with TemporaryFile(dir=Path(__file__).parents[2]):
            pass
    except OSError as error:
        raise OSError(f"the checkout cannot be written to ({error}); copy it to where it can") from None


def command_line(one: Callable[[str], None], several: Callable[[list[str], int], list[str]]) -> None:
    """Make the runs of the command line: `several` gets patterns of names and how many at a time.

    It returns the names of those that failed, and has each made by this command with `--job NAME`, where
    `one` makes it.
    """
    parser = argparse.ArgumentParser(description="Make the trainings whose measurements are missing.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="runs, by name or pattern (all)")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="runs at a time (2)")
    parser.add_argument("--job", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.jobs < 1:
        parser.error(f"--jobs must be 1 or more, not {options.jobs}")
    if options.job:
        end_with_parent()
        sys.exit(one(options.job))
    try:
        check_writable()
        sys.exit(1 if several(options.names, options.jobs) else 0)
    except (ValueError, OSError) as error:
        sys.exit(f"{parser.prog}: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


def measured_runs(name: str) -> set[str]:
    """The runs of a table of data/measured with a column `run`; none where there is no table."""
    try:
        return set(store.read_table(f"measured/{name}.csv")["run"])
    except FileNotFoundError:
        return set()


def add_runs(name: str, about: str, new: pd.DataFrame, runs: Sequence[str]) -> None:
    """Add rows of new runs to a table of data/measured, in the order of `runs`; rows of other runs go.

    What is there stays as it is, since the weights of old runs may be gone. Delete a run's rows to measure it
    again.
    """
    there = [store.read_table(f"measured/{name}.csv")] if measured_runs(name) else []
    table = pd.concat([*there, new])
    place = table["run"].map({run: place for place, run in enumerate(runs)})
    table = table[place.notna()].iloc[place.dropna().argsort(kind="stable")]
    training.write_table(store.root() / "measured" / f"{name}.csv", about, table, "%.5g")
