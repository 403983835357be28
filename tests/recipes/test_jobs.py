"""Commands side by side: order, failures, and what is left when the queue is interrupted."""

from __future__ import annotations

import sys

import pytest

from marginalia.jobs import Job, run_jobs


def job(tmp_path, name, code):
    return Job(name, (sys.executable, "-c", code), tmp_path / name / "log.txt", 1)


def test_all_are_done_and_failures_are_named(tmp_path, capsys):
    jobs = [
        job(tmp_path, "good", "print('well')"),
        job(tmp_path, "bad", "raise SystemExit('broken')"),
        job(tmp_path, "late", "import os; print(os.environ['OMP_NUM_THREADS'])"),
    ]
    assert run_jobs(jobs, 2, lambda done: f"result of {done.name}") == ["bad"]
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
    jobs = [job(tmp_path, str(k), code.format(str(tmp_path), f"{k}.running")) for k in range(3)]
    assert run_jobs(jobs, 1) == []
    assert [(tmp_path / str(k) / "log.txt").read_text() for k in range(3)] == ["1\n"] * 3


def test_an_interruption_ends_what_runs(tmp_path):
    def interrupt(done):
        raise KeyboardInterrupt

    asleep = job(tmp_path, "asleep", "import time; time.sleep(600)")
    with pytest.raises(KeyboardInterrupt):  # and comes back at once, not after ten minutes
        run_jobs([asleep, job(tmp_path, "quick", "pass")], 2, interrupt)
