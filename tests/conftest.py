"""What tests share. Compiling takes most of their time, and at their sizes the costlier optimisations do not pay."""

import os
import subprocess
import sys

import pytest
import xarray as xr

CHEAP = "--xla_backend_optimization_level=1 --xla_cpu_use_fusion_emitters=false"


def _accepted(flags: str) -> bool:
    """XLA ends the process at a flag it does not know, and which ones it knows changes between versions."""
    command = [sys.executable, "-c", "import jax; jax.devices()"]
    return subprocess.run(command, env=os.environ | {"XLA_FLAGS": flags}, capture_output=True).returncode == 0


if "XLA_FLAGS" not in os.environ:
    os.environ["XLA_FLAGS"] = CHEAP if _accepted(CHEAP) else ""


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
