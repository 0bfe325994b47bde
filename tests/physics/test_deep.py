"""Deep networks against closed forms, the dense propagator of the field theory, and two-layer networks."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from benchmarks import dense_hessian
from fwdmft.testing.agreement import Estimate, assert_zero
from tests.oracles import deep_linear
from tests.physics.comparison import known, of_theory
from tests.physics.conftest import Runner


def write(path: Path, x: np.ndarray, y: list[float], train: int) -> dict[str, Any]:
    np.savez(path, x=x, y=np.array(y)[:, None], train=train)
    return {"kind": "file", "path": str(path)}


def deep(run: Runner, data: dict[str, Any], **sections: Any) -> xr.DataTree:
    depth, activation, gamma0, rate, steps = (
        sections.pop(k) for k in ("depth", "activation", "gamma0", "rate", "steps")
    )
    return run(
        architecture={"kind": "deep", "depth": depth, "activation": activation, **sections.pop("architecture", {})},
        parameterization={"kind": "mean_field", "gamma0": gamma0},
        optimizer={"kind": "gradient_descent", "learning_rate": rate, "steps": steps},
        data=data,
        **sections,
    )


def assert_precise(actual: Estimate, expected: np.ndarray) -> None:
    """Standard errors of all entries together tell 3 % of these."""
    size, precision = (float(np.sqrt(np.mean(a))) for a in (expected**2, sum(actual.squared_errors)))
    assert precision < 0.03 * size, "too imprecise to tell"


def test_linear_networks_at_infinite_width(run: Runner, tmp_path: Path) -> None:
    """Two training points and one more, three layers, gamma0 = 2: f, K and kernels between all pairs of times."""
    x = np.array([[1.0, 0.4], [-0.3, 1.2], [0.8, -0.9]])
    data = write(tmp_path / "points.npz", x, [1.0, -0.7, 0.0], 2)
    theory = {"neurons": 8192, "replicates": 8, "two_time": True, "fluctuations": False, "bias": False}
    # What bases leave out is no part of standard errors: 1e-4 of f at 1e-6 of squared norms.
    theory["basis_tolerance"] = 1e-9
    actual = deep(run, data, depth=3, activation="linear", gamma0=2.0, rate=0.05, steps=14, theory=theory)
    exact = deep_linear.solve(x @ x.T / 2, np.array([1.0, -0.7]), depth=3, gamma0=2.0, learning_rate=0.05, steps=14)
    pairs = {
        "prediction": exact.prediction,
        "tangent_kernel": exact.tangent_kernel,
        "feature_kernel_two_time": exact.feature_kernel,
        "gradient_kernel_two_time": exact.gradient_kernel,
    }
    for name, expected in pairs.items():
        values = of_theory(actual, name, output=0, output_prime=0)
        by_time = np.moveaxis(expected, 1, 0) if "two_time" in name else expected  # from (layer, time, ...)
        assert_zero(name, values - known(by_time), float(np.max(np.abs(expected))))
    assert float(np.abs(exact.prediction - np.array([1.0, -0.7, 0.0])).min()) < 0.1, "hardly trained"


def test_linear_networks_at_finite_width(run: Runner, tmp_path: Path) -> None:
    """N Var of f, K and the kernels of every layer against the dense propagator of the field theory."""
    data = write(tmp_path / "point.npz", np.ones((1, 1)), [1.0], 1)
    theory = {
        "neurons": 4096,
        "bias": False,
        "covariance": False,
        "draws": 4096,
        "draw_width": 24,
        "relative_error": 0.01,
    }
    actual = deep(run, data, depth=3, activation="linear", gamma0=3.0, rate=0.015, steps=12, theory=theory)
    exact = dense_hessian.solve(3, 12, 3.0, 0.015)
    pairs = {
        "prediction_variance": exact["variance_f"],
        "tangent_kernel_variance": exact["variance_kernel"],
        "feature_kernel_variance": exact["variance_feature"],
        "gradient_kernel_variance": exact["variance_gradient"],
    }
    for name, expected in pairs.items():
        values = of_theory(actual, name)
        by_time = expected.T.reshape(values.value.shape)  # from (layer, time)
        assert_zero(name, values - known(by_time), float(np.max(expected)))
        assert_precise(values, expected)


@pytest.mark.parametrize(("activation", "gain", "unit"), [("linear", 1.0, 2), ("relu", 2**0.5, 5)])
def test_variances_of_kernels_accumulate_through_layers(
    run: Runner, tmp_path: Path, activation: str, gain: float, unit: int
) -> None:
    """At t = 0 and |x|^2 = D: N Var Phi^l = 2 l and N Var G^l = 2 (L + 1 - l), or 5 in place of 2 for sqrt(2) ReLU."""
    data = write(tmp_path / "point.npz", np.ones((1, 1)), [1.0], 1)
    theory = {
        "neurons": 8192,
        "draws": 4096,
        "draw_width": 32,
        "bias": False,
        "covariance": False,
        "relative_error": 0.01,
    }
    settings = {"depth": 3, "activation": activation, "gamma0": 1.0, "rate": 0.01, "steps": 1}
    actual = deep(run, data, **settings, architecture={"gain": gain}, theory=theory)
    layers = np.arange(1, 4)
    for name, expected in (("feature_kernel", unit * layers), ("gradient_kernel", unit * (4 - layers))):
        values = of_theory(actual, f"{name}_variance", time=0, point=0, point_prime=0, output=0, output_prime=0)
        assert_zero(name, values - known(expected), float(np.max(expected)))
        assert_precise(values, expected)


def test_one_hidden_layer_is_a_two_layer_network(run: Runner, two_points: str) -> None:
    """Exactly."""
    settings: dict[str, Any] = {
        "parameterization": {"kind": "mean_field", "gamma0": 1.5},
        "optimizer": {"kind": "gradient_descent", "learning_rate": 0.1, "steps": 5, "momentum": 0.5},
        "data": {"kind": "file", "path": two_points},
        "theory": {"neurons": 256, "replicates": 2, "draws": 128, "draw_width": 8},
    }
    actual = run(architecture={"kind": "deep", "depth": 1, "activation": "tanh", "bias": 0.3}, **settings)["theory"]
    expected = run(architecture={"kind": "mlp", "activation": "tanh", "bias": 0.3}, **settings)["theory"]
    xr.testing.assert_identical(actual.to_dataset(), expected.to_dataset())
