"""Closed forms: kernels at initialisation, linear networks, gradient flow."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from scipy.integrate import solve_ivp

from tests.physics.conftest import Runner

GAMMA0, RATE, STEPS, TARGET = 1.5, 0.05, 40, 1.3
OVERLAP = np.array([[1.0, 0.5], [0.5, 1.0]])


def _one_point(path: Path) -> dict[str, str]:
    file = path / "point.csv"
    file.write_text(f"x0,y0,split\n1,{TARGET},train\n")
    return {"kind": "file", "path": str(file)}


def _initial(run: Runner, two_points: str, **architecture: object) -> xr.Dataset:
    tree = run(
        architecture={"kind": "mlp", **architecture},
        optimizer={"kind": "gradient_descent", "learning_rate": 0.01, "steps": 1},
        data={"kind": "file", "path": two_points},
        theory={"neurons": 16384},
    )
    return tree["theory"].to_dataset().isel(time=0)


def _check(theory: xr.Dataset, name: str, expected: np.ndarray) -> None:
    """Within 4 standard errors; where a kernel does not vary over neurons, exactly."""
    error = theory[f"{name}_standard_error"].values.squeeze()
    np.testing.assert_array_less(np.abs(theory[name].values.squeeze() - expected), 4 * error + 1e-9)


def test_erf_kernels(run: Runner, two_points: str) -> None:
    """Williams 1996: <erf erf> = 2/pi asin(2 S12 / sqrt((1 + 2 S11)(1 + 2 S22))) and its derivative in S12."""
    theory = _initial(run, two_points, activation="erf")
    feature = 2 / np.pi * np.arcsin(2 * OVERLAP / 3)
    gradient = 4 / np.pi / np.sqrt(9 - 4 * OVERLAP**2)
    _check(theory, "feature_kernel", feature)
    _check(theory, "gradient_kernel", gradient)
    _check(theory, "tangent_kernel", feature + gradient * OVERLAP)


def test_relu_kernels(run: Runner, two_points: str) -> None:
    """Arc-cosine kernels (Cho & Saul 2009) at gain sqrt(2)."""
    theory = _initial(run, two_points, activation="relu", gain=2**0.5)
    angle = np.arccos(OVERLAP)
    _check(theory, "feature_kernel", (np.sin(angle) + (np.pi - angle) * np.cos(angle)) / np.pi)
    _check(theory, "gradient_kernel", (np.pi - angle) / np.pi)


def test_relu_variances(run: Runner, two_points: str) -> None:
    """N Var Phi = 5 and N Var G = 5 on the diagonal: fourth moments of a half-Gaussian, and w^4 with it."""
    theory = _initial(run, two_points, activation="relu", gain=2**0.5)
    for name in ("feature_kernel", "gradient_kernel"):
        variance = theory[f"{name}_variance"].values.squeeze()[0, 0]
        error = theory[f"{name}_variance_standard_error"].values.squeeze()[0, 0]
        assert abs(variance - 5) < 4 * error


@pytest.fixture(scope="module")
def linear(run: Runner, tmp_path_factory: pytest.TempPathFactory) -> xr.Dataset:
    tree = run(
        architecture={"kind": "mlp", "activation": "linear"},
        parameterization={"kind": "mean_field", "gamma0": GAMMA0},
        optimizer={"kind": "gradient_descent", "learning_rate": RATE, "steps": STEPS},
        data=_one_point(tmp_path_factory.mktemp("linear")),
        theory={"neurons": 16384, "fluctuations": False, "bias": False},
    )
    return tree["theory"].to_dataset()


def test_linear_recursion(linear: xr.Dataset) -> None:
    """Two coupled recursions, exact in discrete time: f and K of a linear network on one point with |x|^2 = D."""
    f, kernel = [0.0], [2.0]
    for _ in range(STEPS - 1):
        delta = TARGET - f[-1]
        step = RATE * GAMMA0
        f_next = f[-1] + RATE * kernel[-1] * delta + step**2 * f[-1] * delta**2
        kernel.append(kernel[-1] + 4 * step * GAMMA0 * f[-1] * delta + (step * delta) ** 2 * kernel[-1])
        f.append(f_next)
    np.testing.assert_allclose(linear["prediction"].values.squeeze()[1:], f[1:], rtol=1e-3)
    np.testing.assert_allclose(linear["tangent_kernel"].values.squeeze(), kernel, rtol=1e-3)


def test_gradient_flow(run: Runner, tmp_path: Path) -> None:
    """df/dt = K (y - f), dK/dt = 4 gamma0^2 f (y - f): the recursion's small-step limit, integrated by scipy.

    With f(0) = 0 and K(0) = 2 in the samples too only up to sampling error, the comparison starts from theirs.
    """
    tree = run(
        architecture={"kind": "mlp", "activation": "linear"},
        parameterization={"kind": "mean_field", "gamma0": GAMMA0},
        optimizer={"kind": "gradient_flow", "learning_rate": 0.1, "steps": 11, "tolerance": 1e-8},
        data=_one_point(tmp_path),
        theory={"neurons": 65536, "fluctuations": False, "bias": False},
    )
    exact = solve_ivp(
        lambda t, z: [z[1] * (TARGET - z[0]), 4 * GAMMA0**2 * z[0] * (TARGET - z[0])],
        (0, 1),
        (0.0, 2.0),
        t_eval=np.linspace(0, 1, 11),
        rtol=1e-10,
        atol=1e-12,
    )
    theory = tree["theory"].to_dataset()
    np.testing.assert_allclose(theory["prediction"].values.squeeze()[1:], exact.y[0][1:], rtol=3e-4)
    np.testing.assert_allclose(theory["tangent_kernel"].values.squeeze(), exact.y[1], rtol=3e-4)
