"""Experiments and their results, computed once per test session."""

from collections.abc import Callable
from typing import Any

import pytest
import xarray as xr

import fwdmft

Runner = Callable[..., xr.DataTree]


@pytest.fixture(scope="session")
def two_points(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One training point, y = 1, and one test point; |x|^2 = D and overlap 1/2."""
    path = tmp_path_factory.mktemp("data") / "two_points.csv"
    path.write_text("x0,x1,y0,split\n1.4142135623730951,0,1,train\n0.7071067811865476,1.224744871391589,0,test\n")
    return str(path)


@pytest.fixture(scope="session")
def run() -> Runner:
    """Run an experiment given as a mapping without a name."""

    def runner(**sections: Any) -> xr.DataTree:
        return fwdmft.run(fwdmft.load_experiment({"name": "test", **sections}))

    return runner


@pytest.fixture(scope="session")
def tanh_run(run: Runner, two_points: str) -> xr.DataTree:
    """The setting of the known numbers: two-layer tanh at gamma0 = 1, with an ensemble."""
    return run(
        architecture={"kind": "mlp", "activation": "tanh"},
        parameterization={"kind": "mean_field", "gamma0": 1.0},
        optimizer={"kind": "gradient_descent", "learning_rate": 0.05, "steps": 60},
        data={"kind": "file", "path": two_points},
        theory={"neurons": 16384, "replicates": 16, "draws": 8192, "draw_width": 16},
        ensemble={"widths": [24, 72], "members": 40000},
    )
