"""What tests share. Compiling takes most of their time, and at their sizes the costlier optimisations do not pay."""

import gc
import os
import signal
import subprocess
import sys
from threading import Lock
from typing import Any

import pytest
import xarray as xr
from mappings import forget_programs

CHEAP = "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"


def _accepted(flags: str) -> bool:
    """XLA ends the process at a flag it does not know, and which ones it knows changes between versions."""
    command = [sys.executable, "-c", "import jax; jax.devices()"]
    return subprocess.run(command, env=os.environ | {"XLA_FLAGS": flags}, capture_output=True).returncode == 0


if "XLA_FLAGS" not in os.environ:
    os.environ["XLA_FLAGS"] = CHEAP if _accepted(CHEAP) else ""
os.environ["FWDMFT_COMPILATION_CACHE"] = "off"  # tests leave the user's directories alone
os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"  # in processes that tests start
# Where a shell started the tests in the background, they and their processes would ignore the interruptions they test.
signal.signal(signal.SIGINT, signal.default_int_handler)
# Python looks for cycles again and again while JAX traces, which makes a great many objects that stay.
gc.set_threshold(200_000, 50, 100)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Optimisations only for tests that run longer than they compile."""
    import jax

    from fwdmft import compiling

    cheap = item.get_closest_marker("optimized") is None
    jax.config.update("jax_disable_most_optimizations", cheap)
    if compiling.QUICK["xla_backend_optimization_level"] != (not cheap):  # options of a program go before that setting
        compiling.QUICK["xla_backend_optimization_level"] = int(not cheap)
        compiling._program.cache_clear()


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Between files and cases, programs of the last one are forgotten if there are many."""
    if nextitem is None or _group(nextitem.nodeid) != _group(item.nodeid):
        forget_programs()


TABLES = {"test_architectures.py", "test_deep_networks.py", "test_gallery.py"}
"""Files whose tests share what they computed with those of the same first parameter only."""


def _group(nodeid: str) -> str:
    """Tests with the same one share what they computed."""
    path, _, test = nodeid.partition("::")
    case = test.partition("[")[2].rstrip("]").partition("-")[0]
    return f"{path} {case}" if path.rpartition("/")[2] in TABLES else path


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Of several processes none ends long after the others, as what takes longest begins first."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: ("physics" not in item.path.parts, item.path.name not in TABLES))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Tests that share what they computed run in one process.

    Marks of groups do not reach the scheduler with every version of pytest (pytest-xdist, issue 1386).
    """
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return _group(nodeid)

    return Scheduling(config, log)


@pytest.fixture
def sweeps_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Points of sweeps are computed in this process, which need not start and has what others compiled.

    `test_sweep_processes` is about those of their own. The netCDF library takes one thread at a time.
    """
    from fwdmft.sweeping.process import Job, Processes, write_point

    turn = Lock()

    def compute(_: Processes, job: Job) -> str | None:
        with turn:
            return write_point(job)

    monkeypatch.setattr(Processes, "compute", compute)
    monkeypatch.setattr("fwdmft.compilation_cache.use_cache", lambda directory: None)


@pytest.fixture(scope="module", params=[1, 3], ids=["one output", "three outputs"])
def outputs(request: pytest.FixtureRequest) -> int:
    return request.param


@pytest.fixture(scope="module")
def tree(outputs: int) -> xr.DataTree:
    """A result that looks like a real one."""
    import result_stand_ins as stand_ins

    return stand_ins.tree(outputs)


@pytest.fixture(scope="module")
def reread(tree: xr.DataTree, tmp_path_factory: pytest.TempPathFactory) -> xr.DataTree:
    """The same after it was written."""
    from fwdmft.results import open_result, write_result

    return open_result(write_result(tree, tmp_path_factory.mktemp("results") / "result.nc"))
