"""Points of a sweep are computed in processes of their own, which end with it and share the processors."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from experiments import GAMMA0, experiment, sweep

import fwdmft
from fwdmft.sweeping.process import Job, Processes

JOB = Job({"name": "no experiment"}, "", "", False, None, 1, 1)


def test_a_process_that_dies_is_a_failed_point(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (Processes().compute(JOB) or "").startswith("architecture: got nothing")
    for command, words in (
        ("import os; os._exit(9)", "ended without a word (exit code 9)"),
        ("import os; os.kill(os.getpid(), 9)", "ended by SIGKILL, perhaps for lack of memory"),
    ):
        monkeypatch.setattr("fwdmft.sweeping.process._COMMAND", command)
        assert words in (Processes().compute(JOB) or "")


SLOW = """
import os, sys, time
from pathlib import Path
from fwdmft import files
from fwdmft.sweeping import process

def write_point(job):
    with files.replacing(Path(job.path)):
        Path(job.path + ".process").write_text(str(os.getpid()))
        time.sleep(600)

process.write_point = write_point
process.answer()
"""
SWEEP = """
import sys
from fwdmft.sweeping import process
process._COMMAND = sys.argv[1]
process.Processes().compute(process.Job({}, "", sys.argv[2], False, None, 1, 1))
"""


def test_points_end_with_the_sweep_and_leave_no_half_files(tmp_path: Path) -> None:
    """Even if that is killed without a chance to tell them."""
    process_file = tmp_path / "result.nc.process"
    sweep = subprocess.Popen([sys.executable, "-c", SWEEP, SLOW, str(tmp_path / "result.nc")])
    within(60, lambda: process_file.exists() and process_file.read_text() != "")
    assert any(path.suffix == ".part" for path in tmp_path.iterdir())
    sweep.kill()
    sweep.wait()
    within(60, lambda: not psutil.pid_exists(int(process_file.read_text())))
    assert list(tmp_path.iterdir()) == [process_file]


def test_a_sweep_that_is_given_up_ends_its_points(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fwdmft.sweeping.process._COMMAND", SLOW)
    process_file, under_way = tmp_path / "result.nc.process", Processes()
    with ThreadPoolExecutor(1) as pool:
        point = pool.submit(under_way.compute, replace(JOB, path=str(tmp_path / "result.nc")))
        within(60, process_file.exists)
        under_way.end()
        assert point.result(2) == "its process ended without a word (exit code 143)"
    assert list(tmp_path.iterdir()) == [process_file]
    assert under_way.compute(JOB) == "the sweep was ended"


def test_jobs_share_the_processors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """But are all compiled for as many threads as the process that asks."""
    seen: list[Job] = []
    monkeypatch.setattr("fwdmft.sweeping.run.processors", lambda: 8)
    monkeypatch.setattr("fwdmft.sweeping.run.compiled_threads", lambda: 9)
    monkeypatch.setattr(Processes, "compute", lambda _, job: seen.append(job))
    for jobs in (1, 2, 100):
        fwdmft.run_sweep(fwdmft.load_sweep(sweep(over={GAMMA0: [1, 2, 3]})), tmp_path, jobs)
    assert [job.processors for job in seen] == [8] * 3 + [4] * 3 + [2] * 3
    assert {job.threads for job in seen} == {9}


def within(seconds: float, happened: Callable[[], bool]) -> None:
    """Wait for something; fail if it takes longer than that."""
    limit = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < limit
        time.sleep(0.1)


def test_points_are_computed_in_processes_of_their_own(tmp_path: Path) -> None:
    """The real thing: two small ensembles, one of which cannot be had."""
    base = experiment(theory=None, ensemble={"widths": [8], "members": 4, "samples": 0, "kernels": False})
    base["optimizer"] = base["optimizer"] | {"steps": 2, "weight_decay": 0.1}
    grid = fwdmft.load_sweep(sweep(base=base, over={"parameterization.kind": ["mean_field", "neural_tangent"]}))
    outcome = fwdmft.run_sweep(grid, tmp_path, jobs=2)
    assert outcome.computed == ["kind=mean_field"]
    assert outcome.failed["kind=neural_tangent"].startswith("optimizer.weight_decay: got 0.1; expected 0 in the lazy")
    assert fwdmft.open_result(tmp_path / "kind=mean_field.nc")["ensemble/members"].item() == 4
    assert not (tmp_path / "kind=neural_tangent.nc").exists()
    assert {path.suffix for path in tmp_path.iterdir()} == {".nc", ".json"}
