"""What tests share. Compiling takes most of their time, and at their sizes the costlier optimisations do not pay."""

import os
import subprocess
import sys
from typing import Any

import pytest
import xarray as xr

CHEAP = "--xla_cpu_use_fusion_emitters=false"


def _accepted(flags: str) -> bool:
    """XLA ends the process at a flag it does not know, and which ones it knows changes between versions."""
    command = [sys.executable, "-c", "import jax; jax.devices()"]
    return subprocess.run(command, env=os.environ | {"XLA_FLAGS": flags}, capture_output=True).returncode == 0


if "XLA_FLAGS" not in os.environ:
    os.environ["XLA_FLAGS"] = CHEAP if _accepted(CHEAP) else ""
os.environ["FWDMFT_COMPILATION_CACHE"] = "off"  # tests leave the user's directories alone
os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"  # in processes that tests start


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Optimisations only for tests that run longer than they compile."""
    import jax

    jax.config.update("jax_disable_most_optimizations", item.get_closest_marker("optimized") is None)


TABLES = {"test_architectures.py", "test_deep_networks.py", "test_gallery.py"}
"""Files whose tests share what they computed with those of the same first parameter only."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest begins first, so that no process ends long after the others."""
    items.sort(key=lambda item: ("physics" not in item.path.parts, item.path.name not in TABLES))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Tests that share what they computed run in one process.

    Marks of groups do not reach the scheduler with every version of pytest (pytest-xdist, issue 1386).
    """
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            path, _, test = nodeid.partition("::")
            case = test.partition("[")[2].rstrip("]").partition("-")[0]
            return f"{path} {case}" if path.rpartition("/")[2] in TABLES else path

    return Scheduling(config, log)


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
