"""Work on a real cluster of dask.distributed: the same bits, whoever computes, dies or is silent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
import psutil
import pytest
import xarray as xr
import yaml
from distributed import LocalCluster
from experiments import experiment, sweep
from typer.testing import CliRunner

import fwdmft
from fwdmft.cli import app
from fwdmft.corrections.linear_response import Response
from fwdmft.errors import ClusterError
from fwdmft.executors import Work
from fwdmft.executors.dask import SILENCE, DaskExecutor
from fwdmft.executors.shipping import packed, unpacked
from fwdmft.preparing import Prepared, prepare
from fwdmft.theory import solve

RATE = "optimizer.learning_rate"
TINY = experiment(
    optimizer={"kind": "gradient_descent", "learning_rate": 0.05, "steps": 3},
    data={"kind": "digits", "train": 3, "test": 1, "resolution": 2},
    theory=None,
    ensemble={"widths": [8], "members": 40, "samples": 2, "kernels": False},
)


@pytest.fixture(scope="module")
def cluster() -> Iterator[DaskExecutor]:
    """Two workers; whatever theory there is counts as worth sending."""
    with fwdmft.dask_executor(workers=2) as executor:
        executor.worth, executor.patience = 0.0, 1.0
        yield executor


@pytest.fixture(scope="module")
def expected() -> xr.DataTree:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fwdmft.networks.ensemble.chunk_size", lambda *_: 3)
        return fwdmft.run(fwdmft.load_experiment(TINY))


def trained(cluster: DaskExecutor, after_first: Callable[[], None] = lambda: None) -> xr.DataTree:
    """The same on the cluster, where something happens once the first members are known."""
    reported: list[int] = []

    def progress(stage: str, done: int, total: int) -> None:
        reported.append(done)
        if len(reported) == 2:
            after_first()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fwdmft.networks.ensemble.chunk_size", lambda *_: 3)
        actual = fwdmft.run(fwdmft.load_experiment(TINY), progress, executor=cluster)
    assert reported == [0, *range(3, 40, 3), 40]
    return actual


def assert_same_bits(actual: xr.DataTree, expected: xr.DataTree) -> None:
    for group in {"theory", "ensemble"} & set(expected.children):
        for name, one in expected[group].data_vars.items():
            if name != "seconds":
                assert actual[group][name].values.tobytes() == one.values.tobytes(), name


def pid_of_one(cluster: DaskExecutor) -> int:
    return next(iter(cluster.client.run(os.getpid).values()))


def test_two_workers(cluster: DaskExecutor, expected: xr.DataTree) -> None:
    assert_same_bits(trained(cluster), expected)


def test_one_worker_alone_while_the_other_is_silent(cluster: DaskExecutor, expected: xr.DataTree) -> None:
    """As if the network between were cut: what it was asked for is asked of the other, before it is given up."""
    pid, began = pid_of_one(cluster), time.monotonic()
    try:
        assert_same_bits(trained(cluster, lambda: os.kill(pid, signal.SIGSTOP)), expected)
        assert time.monotonic() - began < SILENCE
    finally:
        os.kill(pid, signal.SIGCONT)


def test_a_worker_that_dies_midway(cluster: DaskExecutor, expected: xr.DataTree) -> None:
    pid = pid_of_one(cluster)
    assert_same_bits(trained(cluster, lambda: os.kill(pid, signal.SIGKILL)), expected)
    assert not psutil.pid_exists(pid)


def test_workers_with_other_data_are_refused(cluster: DaskExecutor, tmp_path: Path) -> None:
    """Their results would be those of something else."""
    np.savez(tmp_path / "points.npz", x=np.eye(3), y=np.ones((3, 1)), train=2)
    given = fwdmft.load_experiment(TINY | {"data": {"kind": "file", "path": str(tmp_path / "points.npz")}})
    prepared = prepare(given)
    np.savez(tmp_path / "points.npz", x=np.eye(3), y=-np.ones((3, 1)), train=2)
    with pytest.raises(ClusterError, match="other facts than this process: data; expected the same files of data"):
        list(cluster.side_by_side(given, prepared)(Work(unpicklable_by_no_means, [0])))


def unpicklable_by_no_means() -> Callable[[Any], Any]:
    raise AssertionError("nothing is computed")


def test_what_workers_raise_is_reported(cluster: DaskExecutor) -> None:
    given = fwdmft.load_experiment(TINY)
    mapped = cluster.side_by_side(given, prepare(given))
    with pytest.raises(fwdmft.InputError, match="^field: got 7; expected less$"):
        list(mapped(Work(partial(refusing, 7), [0])))
    with pytest.raises(ClusterError, match="a worker on .*: unexpected ZeroDivisionError"):
        list(mapped(Work(partial(partial, divmod, 1), [0])))


def refusing(value: int) -> Callable[[Any], Any]:
    raise fwdmft.InputError("field", value, "less")


def bits(actual: Any) -> list[bytes]:
    leaves = jax.tree.leaves(vars(actual) if isinstance(actual, Response) else actual)
    return [np.asarray(a).tobytes() for a in leaves]


class Shipped:
    """Work that is packed, and so are its results; the first of each is compared with that of work that is not."""

    devices = 1

    def __init__(self, prepared: Prepared) -> None:
        self.prepared, self.sent = prepared, 0

    def _there(self, thing: Any) -> Any:
        return unpacked(packed(thing), self.prepared)

    def __call__(self, work: Work) -> Iterator[Any]:
        self.sent += 1
        function = self._there(work.recipe)()
        for number, item in enumerate(work.items):
            result = self._there(function(item))
            if number == 0:
                assert bits(work.recipe()(item)) == bits(result)
            yield result


@pytest.mark.parametrize(
    "changes",
    [{}, {"architecture": {"kind": "deep", "depth": 2}, "theory": {"neurons": 64, "replicates": 2, "draws": 64}}],
    ids=["response", "draws"],
)
def test_the_theory_travels(changes: dict) -> None:
    """Simulations, and samplings of linear response or draws with their control variates: to the last bit."""
    given = fwdmft.load_experiment(
        TINY | {"theory": {"neurons": 64, "replicates": 2, "bias": False}, "ensemble": None} | changes
    )
    prepared = prepare(given)
    shipped = Shipped(prepared)
    assert prepared.theory is not None
    with jax.enable_x64(True):
        solve(prepared.theory, side_by_side=shipped)
    assert shipped.sent == 2


DEVICES = """
import sys, jax, fwdmft
from fwdmft.networks import ensemble
from fwdmft.preparing import prepare

task, present = prepare(fwdmft.load_experiment(eval(sys.argv[1]))).ensemble, jax.devices()
assert len(present) == 4
ensemble.chunk_size = lambda *_: 3
computed = ensemble.train_ensemble(task, 8, 40, 0, 2)  # 14 chunks, four at a time
ensemble.devices = lambda: present[:1]
alone = ensemble.train_ensemble(task, 8, 40, 0, 2)
for name, mean in computed.mean.items():
    assert mean.tobytes() == alone.mean[name].tobytes(), name
    assert computed.variance[name].tobytes() == alone.variance[name].tobytes(), name
    assert computed.groups.keys() == alone.groups.keys()
"""


def test_members_on_several_devices() -> None:
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=4"
    command = [sys.executable, "-c", DEVICES, repr(TINY)]
    done = subprocess.run(command, env=os.environ | {"XLA_FLAGS": flags}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


RATES = ["learning_rate=0.05", "learning_rate=0.06"]


def test_points_of_sweeps(cluster: DaskExecutor, tmp_path: Path) -> None:
    """The same bits on 1, 2 and 4 workers, one processor a point, as on this machine with all of its processors.

    The simulation is so large that its last digits depend on the threads that it is compiled for.
    """
    base = TINY | {
        "parameterization": {"kind": "mean_field"},
        "data": {"kind": "digits", "train": 12, "test": 4, "resolution": 8},
        "theory": {"neurons": 4096, "replicates": 2, "fluctuations": False, "bias": False, "kernel_points": 1},
        "ensemble": None,
    }
    grid = fwdmft.load_sweep(sweep(base=base, over={RATE: [0.05, 0.06]}))
    assert sorted(fwdmft.run_sweep(grid, tmp_path / "here").computed) == RATES
    reported: list[int] = []

    def there(place: str, executor: DaskExecutor) -> None:
        outcome = fwdmft.run_sweep(grid, tmp_path / place, progress=lambda *a: reported.append(a[1]), executor=executor)
        assert sorted(outcome.computed) == RATES
        for name in RATES:
            actual, expected = (fwdmft.open_result(tmp_path / each / f"{name}.nc") for each in (place, "here"))
            assert_same_bits(actual, expected)

    there("2", cluster)
    with (
        LocalCluster(1, threads_per_worker=1, host="127.0.0.1", dashboard_address=None) as growing,
        fwdmft.dask_executor(growing.scheduler_address) as other,
    ):
        there("1", other)
        growing.scale(4)
        other.client.wait_for_workers(4)
        there("4", other)
    assert reported == [0, 1, 2] * 3
    with pytest.raises(fwdmft.InputError, match="jobs: got 2; expected 1 with an executor"):
        fwdmft.run_sweep(grid, tmp_path, jobs=2, executor=cluster)


# --- the command ---


def refused(*words: str) -> str:
    actual = CliRunner().invoke(app, ["run", "experiment.yaml", "-o", "result.nc", *words])
    assert actual.exit_code == 2
    return actual.output.strip()


def test_clusters_that_cannot_be_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "experiment.yaml").write_text(yaml.safe_dump(TINY))
    assert refused("--executor", "x") == "executor: got 'x'; expected local or dask"
    assert refused("--scheduler", "x") == "scheduler: got 'x'; expected no address without --executor dask"
    monkeypatch.setattr("fwdmft.executors.dask.CONNECTING", "100 ms")
    for address, reason in (("x", "missing port number"), ("y://h:1", "unknown address"), ("tcp://127.0.0.1:1", "Tim")):
        said = refused("--executor", "dask", "--scheduler", address)
        assert said.startswith(f"scheduler: got '{address}'; expected the address of a dask scheduler that answers")
        assert reason in said and "\n" not in said
    monkeypatch.setitem(sys.modules, "distributed", None)
    words = "expected dask.distributed to be installed: pip install 'fwdmft[distributed]'"
    assert refused("--executor", "dask") == f"executor: got 'dask'; {words}"
    assert [path.name for path in tmp_path.iterdir()] == ["experiment.yaml"]


def test_the_cluster_ends_with_the_command(tmp_path: Path) -> None:
    """At Ctrl-C, and no process is left."""
    (tmp_path / "experiment.yaml").write_text(yaml.safe_dump(TINY | {"ensemble": {"widths": [8], "members": 10**6}}))
    words = ["run", "experiment.yaml", "-o", "result.nc", "--executor", "dask"]
    process = psutil.Popen([sys.executable, "-m", "fwdmft", *words], cwd=tmp_path, stderr=subprocess.PIPE)
    workers: list[psutil.Process] = []
    limit = time.monotonic() + 60
    while len(workers) < 2:
        assert process.poll() is None and time.monotonic() < limit
        workers = [one for one in process.children() if "spawn_main" in " ".join(one.cmdline())]
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=10)
    assert process.returncode == 130 and said.decode().strip() == "interrupted"
    assert not psutil.wait_procs(workers, timeout=10)[1]
