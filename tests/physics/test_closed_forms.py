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
        theory={"neurons": 16384, "replicates": 8, "draws": 2048, "draw_width": 16},
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
    found = {}
    for name, which in (("A", np.array([1.0, 0.0])), ("K", np.array([0.0, 1.0]))):
        offsets = np.array([-step, 0.0, step])
        f, kernel = _recursion(offsets * which[0], 2.0 + offsets * which[1])
        stencil = [-0.5 / step, 0, 0.5 / step] if order == 1 else [step**-2, -2 * step**-2, step**-2]
        found[name] = np.stack([f @ stencil, kernel @ stencil])
    return found


@pytest.fixture(scope="module")
def linear(run: Runner, tmp_path_factory: pytest.TempPathFactory) -> xr.Dataset:
    tree = run(
        architecture={"kind": "mlp", "activation": "linear"},
        parameterization={"kind": "mean_field", "gamma0": GAMMA0},
        optimizer={"kind": "gradient_descent", "learning_rate": RATE, "steps": STEPS},
        data=_one_point(tmp_path_factory.mktemp("linear")),
        theory={"neurons": 16384, "replicates": 16, "draws": 16384, "draw_width": 32},
    )
    return tree["theory"].to_dataset()


def test_linear_recursion(linear: xr.Dataset) -> None:
    """Infinite width, to the stated 1e-3 with 2^14 neurons."""
    f, kernel = _recursion(np.zeros(()), np.full((), 2.0))
    np.testing.assert_allclose(linear["prediction"].values.squeeze()[1:], f[1:], rtol=1e-3)
    np.testing.assert_allclose(linear["tangent_kernel"].values.squeeze(), kernel, rtol=1e-3)


def test_linear_fluctuations_and_bias(linear: xr.Dataset) -> None:
    """Sigma = q_A^2 + 4 q_K^2 and b = (q_AA + 4 q_KK) / 2, as N Var A = 1, N Var K = 4 and the two are uncorrelated."""
    first, second = _derivatives(1), _derivatives(2)
    sigma = first["A"] ** 2 + 4 * first["K"] ** 2
    bias = (second["A"] + 4 * second["K"]) / 2
    for i, name in enumerate(("prediction", "tangent_kernel")):
        for kind, expected in (("variance", sigma[i]), ("bias", bias[i])):
            error = linear[f"{name}_{kind}_standard_error"].values.squeeze()
            difference = linear[f"{name}_{kind}"].values.squeeze() - expected
            np.testing.assert_array_less(np.abs(difference), 4 * error + 1e-6, err_msg=f"{name} {kind}")
            # The comparison resolves both to better than 3 % of their largest value.
            assert error.max() < 0.03 * np.abs(expected).max()


def test_orders_in_width() -> None:
    """E |f_N - f|^2 falls as N^-1, and E f_N - f - b/N as N^-2, by regression over exact finite networks.

    b is the closed form that the engine's b equals within its error bars in the test before; those error bars would
    blur the second order.
    """
    widths, members = np.array([8, 12, 16, 24, 32]), 500_000
    infinite = _recursion(np.zeros(()), np.full((), 2.0))[0]
    rng = np.random.default_rng(0)
    late = 8  # a time of strong feature learning, where the second order is resolved
    slopes, second = _derivatives(1), _derivatives(2)
    bias = (second["A"] + 4 * second["K"])[0, late] / 2
    squared, shift = [], []
    for width in widths:
        # w.h given |w| is normal; |w|^2 and |h|^2 are chi-square: exact in law, and no network needs to be stored.
        w, along = rng.chisquare(width, members), rng.standard_normal(members)
        across = rng.chisquare(width - 1, members)
        alignment, kernel = np.sqrt(w) * along / width, (w + along**2 + across) / width
        deviation = _recursion(alignment, kernel)[0][late] - infinite[late]
        squared.append(np.mean(deviation**2))
        # The linear part has mean zero exactly, so taking it off leaves the mean alone and most of the noise out.
        linear_part = slopes["A"][0, late] * alignment + slopes["K"][0, late] * (kernel - 2)
        shift.append(np.mean(deviation - linear_part) - bias / width)
    slope = np.polyfit(np.log(widths), np.log(squared), 1)[0]
    assert abs(slope + 1) < 0.1
    slope = np.polyfit(np.log(widths), np.log(np.abs(shift)), 1)[0]
    assert abs(slope + 2) < 0.1


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
