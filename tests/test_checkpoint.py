"""Interrupted ensembles: killed, taken up again, and bit for bit what they would have been."""

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import yaml
from experiments import experiment
from typer.testing import CliRunner, Result

import fwdmft
from fwdmft.checkpoint import Checkpoint, beside, discard
from fwdmft.cli import app
from fwdmft.errors import FwdmftWarning

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


RUNS = [sys.executable, "-m", "fwdmft", "run", "--checkpoint-every", "0", "--compilation-cache", "off"]


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """An experiment, and where its result would be, after SIGINT in the first width and SIGKILL in the second."""
    folder = tmp_path_factory.mktemp("killed")
    file, output = saved(folder / "experiment.yaml"), folder / "result.nc"
    first = subprocess.Popen([*RUNS, str(file), "-o", str(output)], stderr=subprocess.PIPE, text=True)
    ended(first, beside(output) / "width-3.npz", signal.SIGINT)
    assert first.returncode == 130 and first.stderr is not None
    said = first.stderr.read()
    assert f"interrupted; {beside(output)} is kept: the same command goes on from there" in said
    assert "Traceback" not in said and not list(folder.glob("**/*.part")) and not output.exists()
    second = subprocess.Popen([sys.executable, "-c", HANGS, str(file), str(beside(output))])
    ended(second, beside(output) / "width-5.npz", signal.SIGKILL)
    return file, output


def ended(process: subprocess.Popen, file: Path, by: signal.Signals) -> None:
    """Send a process a signal when it has written a file, and wait until it has ended."""
    deadline = time.monotonic() + 120
    while not file.exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(process.pid, by)
    process.wait(2)


def test_a_killed_run_goes_on_bit_for_bit(killed: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    file, output = killed
    whole = output.with_name("whole.nc")
    assert call("run", file, "-o", whole).exit_code == 0
    assert not beside(whole).exists()
    changed = saved(file.with_name("changed.yaml"), optimizer=SMALL["optimizer"] | {"learning_rate": 0.01})
    refused = call("run", changed, "-o", output)
    assert refused.exit_code == 2 and "its experiment differ" in refused.stderr and "--fresh" in refused.stderr
    assert "going on" not in refused.stderr
    with np.load(beside(output) / "width-5.npz") as stored:
        assert 0 < stored["number/done"] < 150
    monkeypatch.setattr("fwdmft.networks.ensemble.chunk_size", lambda *_: 7)  # as if memory were scarcer now
    resumed = call("run", file, "-o", output)
    assert resumed.exit_code == 0 and resumed.stderr.count(f"going on from {beside(output)}") == 1
    assert not beside(output).exists()
    results = (fwdmft.open_result(path)["ensemble"] for path in (whole, output))
    expected, actual = (each.to_dataset().drop_vars("seconds") for each in results)
    xr.testing.assert_identical(expected, actual)
    assert expected.sizes["sample"] == 80


def test_fresh_starts_over(tmp_path: Path) -> None:
    output = tmp_path / "result.nc"
    beside(output).mkdir()
    (beside(output) / "identity.json").write_text("{}")
    file = saved(tmp_path / "experiment.yaml", ensemble={"widths": [2], "members": 2})
    refused = call("run", file, "-o", output)
    assert refused.exit_code == 2 and "the same command" not in refused.stderr and "going on" not in refused.stderr
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
    assert ("the same command goes on" in result.stderr) == kept


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


@pytest.fixture
def written(tmp_path: Path) -> Checkpoint:
    checkpoint = Checkpoint(tmp_path / "kept", {"experiment": "one"}, every=0)
    checkpoint.offer("width-2", lambda: {"a": np.arange(300), "b": np.arange(3)})
    return checkpoint


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:200])


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _flip(path: Path) -> None:
    changed = bytearray(path.read_bytes())
    changed[400] ^= 4
    path.write_bytes(changed)


def _drop_an_entry(path: Path) -> None:
    np.savez(path, a=np.arange(300))


@pytest.mark.parametrize("damage", [_cut, _empty, _flip, _drop_an_entry])
def test_damaged_parts_start_over(written: Checkpoint, damage: Callable[[Path], None]) -> None:
    assert written.load("width-2") is not None
    damage(written.directory / "width-2.npz")
    with pytest.warns(FwdmftWarning, match="width-2.npz is damaged .*: this part starts over"):
        assert written.load("width-2") is None


@pytest.mark.parametrize("identity", ["", "[]", "{", None])
def test_directories_that_are_no_checkpoint_are_refused(written: Checkpoint, identity: str | None) -> None:
    file = written.directory / "identity.json"
    file.unlink() if identity is None else file.write_text(identity)
    with pytest.raises(fwdmft.InputError, match="expected a checkpoint of fwdmft; remove it"):
        Checkpoint(written.directory, written.identity)


def test_an_empty_directory_is_a_checkpoint_of_nothing(tmp_path: Path) -> None:
    beside(tmp_path / "result.nc").mkdir()
    assert Checkpoint(beside(tmp_path / "result.nc"), {"experiment": "one"}).load("width-2") is None


def test_discarding_takes_nothing_else_along(written: Checkpoint) -> None:
    mine = written.directory / "notes.txt"
    mine.write_text("not yours")
    discard(written.directory)
    assert list(written.directory.iterdir()) == [mine]
    mine.unlink()
    discard(written.directory)
    assert not written.directory.exists()


def test_a_full_disk_does_not_end_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    checkpoint = Checkpoint(tmp_path / "kept", {"experiment": "one"}, every=0)
    monkeypatch.setattr(np, "savez", full)
    with pytest.warns(
        FwdmftWarning, match=r"no checkpoint in .*kept \(No space left on device\): the computation goes"
    ):
        checkpoint.offer("width-2", lambda: {"a": np.arange(3)})
    assert [path.name for path in checkpoint.directory.iterdir()] == ["identity.json"]
    monkeypatch.undo()
    monkeypatch.setattr("fwdmft.checkpoint._COST", 0.0)
    checkpoint.offer("width-4", lambda: {"a": np.arange(3)})
    assert Checkpoint(checkpoint.directory, checkpoint.identity).load("width-2") is not None
