"""Interrupted ensembles: killed, taken up again, and bit for bit what they would have been."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import yaml
from experiments import experiment
from typer.testing import CliRunner, Result

import fwdmft
from fwdmft.checkpoint import Checkpoint, beside
from fwdmft.cli import app

SMALL = experiment(
    theory=None,
    data={"kind": "digits", "train": 3, "test": 2},
    ensemble={"widths": [3, 5], "members": 150, "samples": 80, "kernels": False},
)
HANGS = """
import sys, time, fwdmft
def progress(stage, done, total):
    if stage == "width 5" and done:
        time.sleep(600)
fwdmft.run(fwdmft.load_experiment(sys.argv[1]), progress, checkpoint=sys.argv[2], checkpoint_every=0)
"""


def call(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def saved(path: Path, **changes: Any) -> Path:
    path.write_text(yaml.safe_dump(SMALL | changes))
    return path


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """An experiment, and where its result would be, after SIGKILL in the middle of the second width."""
    folder = tmp_path_factory.mktemp("killed")
    file, output = saved(folder / "experiment.yaml"), folder / "result.nc"
    process = subprocess.Popen([sys.executable, "-c", HANGS, str(file), str(beside(output))])
    deadline = time.monotonic() + 120
    while not (beside(output) / "width-5.npz").exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    return file, output


def test_a_killed_run_goes_on_bit_for_bit(killed: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    file, output = killed
    whole = output.with_name("whole.nc")
    assert call("run", file, "-o", whole).exit_code == 0
    assert not beside(whole).exists()
    changed = saved(file.with_name("changed.yaml"), optimizer=SMALL["optimizer"] | {"learning_rate": 0.01})
    refused = call("run", changed, "-o", output)
    assert refused.exit_code == 2 and "its experiment differ" in refused.stderr and "--fresh" in refused.stderr
    with np.load(beside(output) / "width-5.npz") as stored:
        assert 0 < stored["number/done"] < 150
    monkeypatch.setattr("fwdmft.networks.ensemble.chunk_size", lambda *_: 7)  # as if memory were scarcer now
    resumed = call("run", file, "-o", output)
    assert resumed.exit_code == 0 and f"going on from {beside(output)}" in resumed.stderr
    assert not beside(output).exists()
    expected, found = (xr.load_dataset(path, group="ensemble").drop_vars("seconds") for path in (whole, output))
    xr.testing.assert_identical(expected, found)
    assert expected.sizes["sample"] == 80


def test_fresh_starts_over(tmp_path: Path) -> None:
    output = tmp_path / "result.nc"
    beside(output).mkdir()
    (beside(output) / "identity.json").write_text("{}")
    file = saved(tmp_path / "experiment.yaml", ensemble={"widths": [2], "members": 2})
    assert call("run", file, "-o", output).exit_code == 2
    result = call("run", file, "-o", output, "--fresh")
    assert result.exit_code == 0 and "going on" not in result.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["experiment.yaml", "result.nc"]


@pytest.mark.parametrize(
    ("error", "kept"), [(KeyboardInterrupt(), True), (MemoryError(), True), (fwdmft.ComputationError("no"), False)]
)
def test_what_failed_runs_leave(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Any, kept: bool) -> None:
    def run(_: Any, checkpoint: Path, **__: Any) -> None:
        checkpoint.mkdir()
        raise error

    monkeypatch.setitem(vars(fwdmft), "run", run)
    result = call("run", saved(tmp_path / "experiment.yaml"), "-o", tmp_path / "result.nc")
    assert beside(tmp_path / "result.nc").exists() == kept
    assert ("the same command goes on" in result.stderr) == isinstance(error, KeyboardInterrupt)


def test_everything_pending_is_written_when_it_is_time(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "kept", {"experiment": "one"}, every=3600)
    checkpoint.offer("width-2", lambda: {"a/b": np.array([1.0, np.nan])})
    assert not checkpoint.directory.exists()
    checkpoint.every = 0
    checkpoint.offer("draws-4", lambda: {"a": np.arange(3)})
    again = Checkpoint(checkpoint.directory, checkpoint.identity)
    np.testing.assert_array_equal((again.load("width-2") or {})["a/b"], [1.0, np.nan])
    np.testing.assert_array_equal((again.load("draws-4") or {})["a"], np.arange(3))
    assert again.load("width-8") is None


def test_unreadable_checkpoints_are_refused(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "kept", {"experiment": "one"}, every=0)
    checkpoint.offer("width-2", lambda: {"a": np.arange(3)})
    (checkpoint.directory / "width-2.npz").write_bytes(b"half a file")
    with pytest.raises(fwdmft.InputError, match="width-2.npz'; expected a readable file"):
        checkpoint.load("width-2")
    (checkpoint.directory / "identity.json").unlink()
    with pytest.raises(fwdmft.InputError, match="expected a checkpoint of fwdmft; remove it"):
        Checkpoint(checkpoint.directory, checkpoint.identity)
