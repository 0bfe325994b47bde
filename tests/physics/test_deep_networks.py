"""Deep networks at finite width: N Var and b against ensembles, made by independent code or trained here."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import xarray as xr

from fwdmft.testing.agreement import Estimate, assert_zero
from tests.physics.comparison import OBSERVABLES, assert_networks_agree, of_theory, recorded_limit
from tests.physics.conftest import Runner

REFERENCE = Path(__file__).parent.parent / "reference"


class Case(NamedTuple):
    """Theory and narrow networks of a reference file (see `tests/reference`), and the file: arrays have time first."""

    tree: xr.DataTree
    reference: dict[str, np.ndarray]

    def of(self, name: str) -> Estimate:
        """A variable of the theory in the axes of the file: (time, [layer,] point, ...), one output."""
        return of_theory(self.tree, name, output=0, output_prime=0)


WIDTH = 64
"""Of the networks trained here, which remove the next order in 1/N from those of the files."""

EVERY = 3
"""Steps between the times that are compared."""

FILES = (pytest.param(("deep_tanh_2", 24), marks=pytest.mark.optimized), ("deep_linear_3", 40))


@pytest.fixture(scope="module", params=FILES, ids=lambda param: param[0])
def case(request: pytest.FixtureRequest, run: Runner) -> Case:
    """A reference file up to a number of steps: those at which variances grow, peak, and begin to fall, or all."""
    name, steps = request.param
    path = REFERENCE / f"{name}.npz"
    with np.load(path) as file:
        times = [*range(0, steps - 1, EVERY), steps - 1]
        reference = {key: a[times] if key.endswith(("_mean", "_variance")) else a for key, a in file.items()}
    depth, activation, gamma0, rate = (
        reference[name].item() for name in ("depth", "activation", "gamma0", "learning_rate")
    )
    tree = run(
        architecture={"kind": "deep", "depth": depth, "activation": activation},
        parameterization={"kind": "mean_field", "gamma0": gamma0},
        optimizer={"kind": "gradient_descent", "learning_rate": rate, "steps": steps},
        data={"kind": "file", "path": str(path)},
        theory={
            "neurons": 8192,
            "replicates": 8,
            "draws": 2048,
            "draw_width": 16,
            "basis_tolerance": 1e-5,
            "save_every": EVERY,
            "covariance": False,
        },
        ensemble={"widths": [WIDTH], "members": 1500, "samples": 0, "save_every": EVERY},
    )
    return Case(tree, reference)


def test_reference_means(case: Case) -> None:
    """Mean predictions are q + b / N."""
    width, members = int(case.reference["width"]), int(case.reference["members"])
    error = np.sqrt(case.reference["prediction_variance"] / members)
    measured = Estimate.of(case.reference["prediction_mean"], error, members)
    assert_zero("mean", measured - case.of("prediction") - case.of("prediction_bias") * (1 / width), 1.0)


@pytest.mark.parametrize("name", OBSERVABLES)
def test_reference_variances(case: Case, name: str) -> None:
    """N Var at all times and layers."""
    sigma = case.of(f"{name}_variance")
    assert_zero(f"N Var {name}", recorded_limit(case.tree, name, case.reference) - sigma, float(np.max(sigma.value)))


def test_unequal_widths_frozen_weights_and_biases(run: Runner, two_points: str) -> None:
    """Together, as their factors of the layers' widths meet in kernels, updates and fluctuations."""
    architecture: dict[str, Any] = {"kind": "deep", "depth": 2, "activation": "tanh", "bias": 0.5}
    tree = run(
        architecture=architecture | {"width_ratios": [0.5, 2.0], "frozen": [0]},
        parameterization={"kind": "mean_field", "gamma0": 1.5},
        optimizer={"kind": "gradient_descent", "learning_rate": 0.1, "steps": 10},
        data={"kind": "file", "path": two_points},
        theory={"neurons": 2048, "draws": 4096, "draw_width": 8, "save_every": 3, "covariance": False},
        ensemble={"widths": [48, 144], "members": [3000, 2000], "samples": 0, "save_every": 3},
    )
    assert_networks_agree(tree)
