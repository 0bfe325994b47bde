"""Deep networks at finite width: N Var and b against ensembles, made by independent code or trained here."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import xarray as xr

from fwdmft.meanfield.sample_estimates import GROUPS
from fwdmft.results.comparison import mean_residual, variance_residual
from fwdmft.testing.agreement import Estimate
from tests.physics.conftest import Runner

REFERENCE = Path(__file__).parent.parent / "reference"
REPLICATES = 8
OBSERVABLES = ("prediction", "tangent_kernel", "feature_kernel", "gradient_kernel")


class Case(NamedTuple):
    """The theory of a reference file (see `tests/reference`), and the file: arrays have time first."""

    theory: xr.Dataset
    reference: dict[str, np.ndarray]

    def of(self, name: str) -> np.ndarray:
        """A variable of the theory in the axes of the file: (time, [layer,] point, ...), one output."""
        values = self.theory[name].isel(output=0, output_prime=0, missing_dims="ignore")
        return values.transpose("time", ...).values


FILES = (pytest.param(("deep_tanh_2", 24), marks=pytest.mark.optimized), ("deep_linear_3", 40))


@pytest.fixture(scope="module", params=FILES, ids=lambda param: param[0])
def case(request: pytest.FixtureRequest, run: Runner) -> Case:
    """A reference file up to a number of steps: those at which variances grow, peak, and begin to fall, or all."""
    name, steps = request.param
    path = REFERENCE / f"{name}.npz"
    with np.load(path) as file:
        reference = {key: a[:steps] if key.endswith(("_mean", "_variance")) else a for key, a in file.items()}
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
            "replicates": REPLICATES,
            "draws": 2048,
            "draw_width": 32,
            "basis_tolerance": 1e-5,
            "covariance": False,
        },
    )
    return Case(tree["theory"].to_dataset(), reference)


def test_reference_means(case: Case) -> None:
    """Mean predictions within 4 standard errors plus the computed b / N."""
    width, members = int(case.reference["width"]), int(case.reference["members"])
    errors = (
        np.sqrt(case.reference["prediction_variance"] / members),
        case.of("prediction_standard_error"),
        case.of("prediction_bias_standard_error") / width,
    )
    error = np.sqrt(sum(e**2 for e in errors))
    difference = case.reference["prediction_mean"] - case.of("prediction") - case.of("prediction_bias") / width
    assert float(np.max(np.abs(difference[1:]) / error[1:])) < 4


@pytest.mark.parametrize("name", OBSERVABLES)
def test_reference_variances(case: Case, name: str) -> None:
    """N Var at all times and layers within 4 %, the next order, and 4 standard errors (see `fwdmft.testing.agreement`).

    The latter are sqrt(2/M) for near-Gaussian members. Next order: a residual Delta that decays to zero at a Gaussian
    rate is log-normal, with v = N Var / (N Delta^2) the variance of its logarithm, and N Var = N Delta^2 e^v (e^v - 1).
    """
    width = int(case.reference["width"])
    measured = width * case.reference[f"{name}_variance"]
    computed = case.of(f"{name}_variance")
    members = int(case.reference["members"])
    difference = Estimate.of(measured, measured * np.sqrt(2 / members), members) - Estimate.of(
        computed, case.of(f"{name}_variance_standard_error"), GROUPS
    )
    next_order = np.zeros_like(computed)
    if name == "prediction":
        trained = slice(int(case.reference["train"]))
        v = computed[:, trained] / (width * (case.reference["y"] - case.of(name))[:, trained] ** 2)
        next_order[:, trained] = 1.5 * v * computed[:, trained]
    allowed = 0.04 * computed + next_order + difference.bound
    np.testing.assert_array_less(np.abs(difference.value), allowed + 1e-12)


def test_unequal_widths_frozen_weights_and_biases(run: Runner, two_points: str) -> None:
    """Together, as their factors of the layers' widths meet in kernels, updates and fluctuations."""
    architecture: dict[str, Any] = {"kind": "deep", "depth": 2, "activation": "tanh", "bias": 0.5}
    tree = run(
        architecture=architecture | {"width_ratios": [0.5, 2.0], "frozen": [0]},
        parameterization={"kind": "mean_field", "gamma0": 1.5},
        optimizer={"kind": "gradient_descent", "learning_rate": 0.1, "steps": 10},
        data={"kind": "file", "path": two_points},
        theory={"neurons": 2048, "draws": 2048, "draw_width": 16, "save_every": 3, "covariance": False},
        ensemble={"widths": [256], "members": 1000, "samples": 0},
    )
    theory, ensemble = tree["theory"].to_dataset(), tree["ensemble"].to_dataset()
    for name in OBSERVABLES:
        for residual in (mean_residual(theory, ensemble, name), variance_residual(theory, ensemble, name)):
            value, error = residual[:2]
            moving = error > 1e-6 * error.max()  # centred predictions rest at t = 0
            assert float((abs(value) / error).where(moving).max()) < 4, name
