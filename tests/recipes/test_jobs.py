"""Commands side by side: order, failures, and what is left when the queue is interrupted or killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest

import jobs
from jobs import Job, run_jobs
from marginalia.store import read_table

HERE = f"import sys; sys.path.insert(0, {os.path.dirname(jobs.__file__)!r}); "


def job(tmp_path, name, code):
    return Job(name, (sys.executable, "-c", code), tmp_path / name / "log.txt", 1)


def asleep(tmp_path):
    """A job that would take ten minutes, and writes its process number first."""
    code = (
        HERE
        + "import jobs, os, time; print(os.getpid(), flush=True); jobs.end_with_parent(); time.sleep(600)"
    )
    return job(tmp_path, "asleep", code)


def test_all_are_done_and_failures_are_named(tmp_path, capsys):
    todo = [
        job(tmp_path, "good", "print('well')"),
        job(tmp_path, "bad", "raise SystemExit('broken')"),
        job(tmp_path, "late", "import os; print(os.environ['OMP_NUM_THREADS'])"),
    ]
    assert run_jobs(todo, 2, lambda done: f"result of {done.name}") == ["bad"]
    assert (tmp_path / "good" / "log.txt").read_text() == "well\n"
    assert (tmp_path / "bad" / "log.txt").read_text() == "broken\n"
    assert (tmp_path / "late" / "log.txt").read_text() == "1\n"
    said = capsys.readouterr().out
    assert "good: begins, about 1 minutes" in said
    assert "result of late" in said and "result of bad" not in said
    assert f"failed; see {tmp_path / 'bad' / 'log.txt'}" in said


def test_no_more_than_asked_for_run_at_a_time(tmp_path):
    code = (
        "import pathlib, time; here = pathlib.Path({0!r}); mark = here / {1!r}; mark.touch()\n"
        "time.sleep(0.3); print(len(list(here.glob('*.running')))); mark.unlink()"
    )
    todo = [job(tmp_path, str(k), code.format(str(tmp_path), f"{k}.running")) for k in range(3)]
    assert run_jobs(todo, 1, lambda done: "") == []
    assert [(tmp_path / str(k) / "log.txt").read_text() for k in range(3)] == ["1\n"] * 3


def test_an_interruption_ends_what_runs(tmp_path):
    def interrupt(done):
        raise KeyboardInterrupt

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):  # and comes back at once, not after ten minutes
        run_jobs([job(tmp_path, "quick", "pass"), asleep(tmp_path)], 2, interrupt)
    assert time.monotonic() - began < 60


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_killed_queue_leaves_no_process(tmp_path):
    code = HERE + (
        "import jobs, pathlib\n"
        f"jobs.run_jobs([jobs.Job('asleep', {asleep(tmp_path).command!r}, "
        f"pathlib.Path({str(tmp_path)!r}) / 'log.txt', 1)], 1, str)"
    )
    queue, log = subprocess.Popen([sys.executable, "-c", code]), tmp_path / "log.txt"
    wait_until(lambda: log.exists() and log.read_text().endswith("\n"))
    child = int(log.read_text())
    assert is_alive(child)
    queue.send_signal(signal.SIGKILL)
    queue.wait()
    wait_until(lambda: not is_alive(child))


def wait_until(true, seconds=30):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def is_alive(process: int) -> bool:
    """Whether it is there and no zombie, which a container without an init process keeps."""
    try:
        with open(f"/proc/{process}/stat", encoding="utf-8") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_runs_are_added_to_a_table_that_keeps_its_rows(folder):
    """Rows that are there stay; new ones come in the order of the names, and runs without a name go."""
    assert jobs.measured_runs("some") == set()
    first = pd.DataFrame({"run": ["a", "gone", "c"], "AP": [0.1, 0.2, 0.3]})
    jobs.add_runs("some", "first", first, ["a", "gone", "c"])
    jobs.add_runs("some", "of AP", pd.DataFrame({"run": ["b", "b"], "AP": [0.4, 0.5]}), ["a", "b", "c"])
    table = read_table("measured/some.csv")
    assert table["run"].tolist() == ["a", "b", "b", "c"] and table["AP"].tolist() == [0.1, 0.4, 0.5, 0.3]
    assert table.attrs["source"] == "of AP" and jobs.measured_runs("some") == {"a", "b", "c"}


def unused(*_):
    raise AssertionError("no work is begun")


@pytest.mark.parametrize("count", ["0", "-1"])
def test_no_jobs_at_a_time_is_an_error(count, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["train.py", "--jobs", count])
    with pytest.raises(SystemExit):
        jobs.command_line(unused, unused)
    assert f"--jobs must be 1 or more, not {count}" in capsys.readouterr().err


def test_a_checkout_that_cannot_be_written_to_is_said_before_the_work(monkeypatch):
    def refused(**_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(jobs, "TemporaryFile", refused)
    monkeypatch.setattr(sys, "argv", ["train.py"])
    with pytest.raises(SystemExit, match=r"the checkout cannot be written to .*copy it"):
        jobs.command_line(unused, unused)
