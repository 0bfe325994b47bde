"""What tests share. Compiling takes most of their time, and at their sizes the costlier optimisations do not pay."""

import os
import subprocess
import sys

import pytest
import xarray as xr

CHEAP = "--xla_cpu_use_fusion_emitters=false"


def _accepted(flags: str) -> bool:
    """XLA ends the process at a flag it does not know, and which ones it knows changes between versions."""
    command = [sys.executable, "-c", "import jax; jax.devices()"]
    return subprocess.run(command, env=os.environ | {"XLA_FLAGS": flags}, capture_output=True).returncode == 0


if "XLA_FLAGS" not in os.environ:
    os.environ["XLA_FLAGS"] = CHEAP if _accepted(CHEAP) else ""
os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"  # in processes that tests start


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Optimisations only for tests that run longer than they compile."""
    import jax

    jax.config.update("jax_disable_most_optimizations", item.get_closest_marker("optimized") is None)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that share what they computed run in one process: those of a file, or of a case of its table.

    What takes longest begins first, so that no process ends long after the others. pytest-xdist looks at the groups in
    a hook of the same name, and has to find them there.
    """

    def lasts(item: pytest.Item) -> int:
        return 0 if "physics" in item.path.parts else 1 if _case(item) else 2

    items.sort(key=lasts)
    for item in items:
        item.add_marker(pytest.mark.xdist_group(f"{item.path.name} {_case(item)}"))


def _case(item: pytest.Item) -> str:
    callspec = getattr(item, "callspec", None)
    return str(callspec.params.get("case", "")) if callspec is not None else ""


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
