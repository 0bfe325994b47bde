"""Signals: commands end at once, with the exit code of the signal, and leave whole files only."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import yaml
from experiments import experiment, sweep

TESTS = Path(__file__).parent
WRITES = """
import sys, numpy as np, xarray as xr, fwdmft
from result_stand_ins import tree

def run(*_, **__):
    stored = tree()
    large = np.random.default_rng(0).normal(size=(4000, 4000))
    stored["theory"]["large"] = xr.DataArray(large, dims=("row", "column"))
    return stored

vars(fwdmft)["run"] = run
from fwdmft.__main__ import main
main()
"""
SLEEPS = """
import os, time
from pathlib import Path
from fwdmft.sweeping import process

def write_point(job):
    Path(f"{job.path}.{os.getpid()}").touch()
    time.sleep(600)

process.write_point = write_point
process.answer()
"""
SWEEPS = f"""
from fwdmft.sweeping import process
process._COMMAND = {SLEEPS!r}
from fwdmft.__main__ import main
main()
"""


def ended(script: str, words: list[object], by: signal.Signals, ready: Callable[[], bool]) -> tuple[int, str]:
    """Exit code and messages of a command that was sent a signal when it was ready for it."""
    process = subprocess.Popen(
        [sys.executable, "-c", script, *map(str, words)], cwd=TESTS, stderr=subprocess.PIPE, text=True
    )
    limit = time.monotonic() + 60
    while not ready():
        assert process.poll() is None and time.monotonic() < limit
        time.sleep(0.01)
    os.kill(process.pid, by)
    _, said = process.communicate(timeout=2)
    return process.returncode, said


@pytest.mark.parametrize(("by", "code", "word"), [("SIGINT", 130, "interrupted"), ("SIGTERM", 143, "ended by SIGTERM")])
def test_while_a_result_is_written(tmp_path: Path, by: str, code: int, word: str) -> None:
    file, output = tmp_path / "experiment.yaml", tmp_path / "result.nc"
    file.write_text(yaml.safe_dump(experiment()))

    def writing() -> bool:
        return any(path.stat().st_size > 100_000 for path in tmp_path.glob("*.part"))

    words = ["run", file, "-o", output, "--compilation-cache", "off"]
    assert ended(WRITES, words, signal.Signals[by], writing) == (code, f"{word}\n")
    assert list(tmp_path.iterdir()) == [file]


def test_sweeps_end_with_their_points(tmp_path: Path) -> None:
    file, output = tmp_path / "sweep.yaml", tmp_path / "out"
    file.write_text(yaml.safe_dump(sweep(base=experiment(parameterization={"kind": "mean_field"}, name=None))))

    def begun() -> list[int]:
        return [int(path.suffix[1:]) for path in output.glob("*.nc.*")]

    words = ["sweep", file, "-o", output, "--jobs", 2, "--compilation-cache", "off"]
    code, said = ended(SWEEPS, words, signal.SIGINT, lambda: len(begun()) == 2)
    assert code == 130 and "interrupted; finished points are kept" in said and "Traceback" not in said
    limit = time.monotonic() + 2
    while any(map(psutil.pid_exists, begun())):
        assert time.monotonic() < limit
        time.sleep(0.01)
    assert list(output.glob("*.part")) == []


def test_ignored_signals_stay_ignored() -> None:
    """As under nohup, and for commands that a script has put into the background."""
    code = (
        "import os, signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); "
        "from fwdmft.interruption import end_on_signals; end_on_signals(); os.kill(os.getpid(), signal.SIGINT); "
        "time.sleep(0.5)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_an_interrupted_library_call_writes_the_result_first(tmp_path: Path) -> None:
    """In a script the exception comes when the file is whole, and closing it waits for nothing."""
    script = """
import os, signal, sys, xarray as xr
from result_stand_ins import tree
from fwdmft.results.write import write_result
write = xr.DataTree.to_netcdf
def interrupted(*given, **named):
    os.kill(os.getpid(), signal.SIGINT)
    write(*given, **named)
xr.DataTree.to_netcdf = interrupted
try:
    write_result(tree(), sys.argv[1])
except KeyboardInterrupt:
    sys.exit(7)
"""
    path = tmp_path / "result.nc"
    done = subprocess.run([sys.executable, "-c", script, str(path)], cwd=TESTS, timeout=60)
    assert done.returncode == 7 and [path] == list(tmp_path.iterdir())
