"""Closed forms: kernels at initialisation, linear networks, gradient flow."""

from pathlib import Path

import jax
import numpy as np
import pytest
import xarray as xr
from networks_of import dense_network
from scipy.integrate import solve_ivp

from fwdmft.corrections.linear_response import Response, linear_response
from fwdmft.engine.dynamics import training_signal
from fwdmft.experiment.loss import SquaredError
from fwdmft.optimization import Plan
from fwdmft.testing.agreement import Estimate, assert_zero, extrapolated
from tests.physics.comparison import known, of_theory
from tests.physics.conftest import Runner

GAMMA0, RATE, STEPS, TARGET = 1.5, 0.05, 40, 1.3
OVERLAP = np.array([[1.0, 0.5], [0.5, 1.0]])


def _one_point(path: Path) -> dict[str, str]:
    file = path / "point.csv"
    file.write_text(f"x0,y0,split\n1,{TARGET},train\n")
    return {"kind": "file", "path": str(file)}


def _initial(run: Runner, two_points: str, **architecture: object) -> xr.DataTree:
    return run(
        architecture={"kind": "mlp", **architecture},
        optimizer={"kind": "gradient_descent", "learning_rate": 0.01, "steps": 1},
        data={"kind": "file", "path": two_points},
        theory={"neurons": 16384, "replicates": 8, "draws": 2048, "draw_width": 8},
    )


def _check(tree: xr.DataTree, name: str, expected: np.ndarray) -> None:
    """At t = 0, of one layer and one output."""
    first = {"time": 0, "layer": 0, "output": 0, "output_prime": 0}
    assert_zero(name, of_theory(tree, name, **first) - known(expected), float(np.max(np.abs(expected))))


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
        diagonal = {"time": 0, "layer": 0, "point": 0, "point_prime": 0, "output": 0, "output_prime": 0}
        assert_zero(name, of_theory(theory, f"{name}_variance", **diagonal) - known(5.0), 5.0)


def _recursion(alignment: np.ndarray, kernel: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """f and K (time, ...) of linear networks of any width on one point with |x|^2 = D, exactly in discrete time.

    They depend on the initial weights only through A = w.h / N and K = (w.w + h.h) / N, and with
    a = eta gamma0 (y - f), f = (A - A(0)) / gamma0, a step is A += a K + a^2 A, K += 4 a A + a^2 K.
    """
    start, f, kernels = alignment, [], []
    for _ in range(STEPS):
        f.append((alignment - start) / GAMMA0)
        kernels.append(kernel)
        a = RATE * GAMMA0 * (TARGET - f[-1])
        alignment, kernel = alignment + a * kernel + a**2 * alignment, kernel + 4 * a * alignment + a**2 * kernel
    return np.stack(f), np.stack(kernels)


def _derivatives(order: int, step: float = 1e-3) -> dict[str, np.ndarray]:
    """Central differences of f and K (time,) in A and K at infinite width, where A = 0 and K = 2."""
    actual = {}
    for name, which in (("A", np.array([1.0, 0.0])), ("K", np.array([0.0, 1.0]))):
        offsets = np.array([-step, 0.0, step])
        f, kernel = _recursion(offsets * which[0], 2.0 + offsets * which[1])
        stencil = [-0.5 / step, 0, 0.5 / step] if order == 1 else [step**-2, -2 * step**-2, step**-2]
        actual[name] = np.stack([f @ stencil, kernel @ stencil])
    return actual


@pytest.fixture(scope="module")
def linear(run: Runner, tmp_path_factory: pytest.TempPathFactory) -> xr.DataTree:
    return run(
        architecture={"kind": "mlp", "activation": "linear"},
        parameterization={"kind": "mean_field", "gamma0": GAMMA0},
        optimizer={"kind": "gradient_descent", "learning_rate": RATE, "steps": STEPS},
        data=_one_point(tmp_path_factory.mktemp("linear")),
        theory={"neurons": 16384, "replicates": 16, "draws": 8192, "draw_width": 64, "relative_error": 0.01},
    )


def _of_point(tree: xr.DataTree, name: str) -> Estimate:
    """(time,)"""
    return of_theory(tree, name, point=0, output=0, point_prime=0, output_prime=0)


def test_linear_recursion(linear: xr.DataTree) -> None:
    """Infinite width."""
    expected = _recursion(np.zeros(()), np.full((), 2.0))
    for name, exact in zip(("prediction", "tangent_kernel"), expected, strict=True):
        assert_zero(name, _of_point(linear, name) - known(exact), float(np.max(np.abs(exact))))


def test_linear_fluctuations_and_bias(linear: xr.DataTree) -> None:
    """Sigma = q_A^2 + 4 q_K^2 and b = (q_AA + 4 q_KK) / 2, as N Var A = 1, N Var K = 4 and the two are uncorrelated."""
    first, second = _derivatives(1), _derivatives(2)
    sigma = first["A"] ** 2 + 4 * first["K"] ** 2
    bias = (second["A"] + 4 * second["K"]) / 2
    for i, name in enumerate(("prediction", "tangent_kernel")):
        for kind, expected in (("variance", sigma[i]), ("bias", bias[i])):
            actual, scale = _of_point(linear, f"{name}_{kind}"), np.abs(expected).max()
            assert_zero(f"{name} {kind}", actual - known(expected), float(scale))
            assert np.sqrt(actual.squared_errors[0].max()) < 0.03 * scale, "too uncertain to tell"


def _response() -> Response:
    """f, Sigma and b of the engine, exactly: from 36 neurons with the moments of Gaussian ones up to the fourth."""
    node = np.array([3**0.5, -(3**0.5), 0, 0, 0, 0])
    noise = {"hidden_1": np.stack([a.ravel() for a in np.meshgrid(node, node)])}
    with jax.enable_x64(True):
        equations = dense_network(np.ones((1, 1)), GAMMA0, activation="linear")
        training = training_signal(
            Plan(np.full(STEPS, RATE)), SquaredError(), np.full((1, 1), TARGET), np.array([True]), 1
        )
        return linear_response(equations, noise, training, bias=True, covariance=False, key=None, tolerance=1e-14)


def test_orders_in_width() -> None:
    """N E |f_N - f|^2 tends to Sigma and N (E f_N - f) to b, f, Sigma and b from the engine: by extrapolation over
    finite networks that are exact in law, at a time of strong feature learning."""
    widths, members, late = (8, 16, 32), 500_000, 8
    rng, response = np.random.default_rng(0), _response()
    f, sigma, bias = (a["prediction"][late, 0, 0] for a in (response.mean, response.variance, response.bias))
    slopes = _derivatives(1)
    squared, shift = [], []
    for width in widths:
        # w.h given |w| is normal; |w|^2 and |h|^2 are chi-square: no network needs to be stored.
        w, along = rng.chisquare(width, members), rng.standard_normal(members)
        across = rng.chisquare(width - 1, members)
        alignment, kernel = np.sqrt(w) * along / width, (w + along**2 + across) / width
        deviation = _recursion(alignment, kernel)[0][late] - f
        # The linear part has mean zero exactly, so taking it off leaves the mean alone and most of the noise out.
        linear_part = slopes["A"][0, late] * alignment + slopes["K"][0, late] * (kernel - 2)
        for actual, each in ((squared, width * deviation**2), (shift, width * (deviation - linear_part))):
            actual.append(Estimate.of(each.mean(), each.std() / members**0.5, members))
    for name, actual, expected in (("Sigma", squared, sigma), ("b", shift, bias)):
        difference = extrapolated(widths, actual) - known(expected)
        assert difference.bound < 0.1 * abs(expected), "too uncertain to tell"
        assert_zero(name, difference, float(abs(expected)))


def test_gradient_flow(run: Runner, tmp_path: Path) -> None:
    """df/dt = K (y - f), dK/dt = 4 gamma0^2 f (y - f): the recursion's small-step limit, integrated by scipy."""
    tree = run(
        architecture={"kind": "mlp", "activation": "linear"},
        parameterization={"kind": "mean_field", "gamma0": GAMMA0},
        optimizer={"kind": "gradient_flow", "learning_rate": 0.1, "steps": 11, "tolerance": 1e-8},
        data=_one_point(tmp_path),
        theory={"neurons": 16384, "replicates": 16, "fluctuations": False, "bias": False},
    )
    exact = solve_ivp(
        lambda t, z: [z[1] * (TARGET - z[0]), 4 * GAMMA0**2 * z[0] * (TARGET - z[0])],
        (0, 1),
        (0.0, 2.0),
        t_eval=np.linspace(0, 1, 11),
        rtol=1e-10,
        atol=1e-12,
    )
    for name, expected in zip(("prediction", "tangent_kernel"), exact.y, strict=True):
        assert_zero(name, _of_point(tree, name) - known(expected), float(np.max(expected)))
