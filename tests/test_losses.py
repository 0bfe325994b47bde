"""Losses: their values, their residuals, and their expectation over networks of width N."""

from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit, log_softmax, softmax

from fwdmft import losses
from fwdmft.experiment.loss import Logistic, LossSpec, SoftmaxCrossEntropy, SquaredError
from fwdmft.results.theory_loss import theory_loss
from fwdmft.testing.agreement import ROUNDING
from fwdmft.theory import TheoryResult

POINTS, OUTPUTS = 3, 2
KINDS = (SquaredError, Logistic, SoftmaxCrossEntropy)


@pytest.fixture(autouse=True)
def double_precision() -> Any:
    with jax.enable_x64(True):
        yield


def targets(loss: LossSpec) -> np.ndarray:
    draws = np.random.default_rng(0).normal(size=(POINTS, OUTPUTS))
    kinds = {"squared_error": draws, "logistic": np.sign(draws), "softmax_cross_entropy": softmax(draws, axis=1)}
    return kinds[loss.kind]


def predictions(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(*shape, POINTS, OUTPUTS))


def by_hand(loss: LossSpec, f: np.ndarray, y: np.ndarray) -> np.ndarray:
    """ell of each point with numpy."""
    return {
        "squared_error": lambda: ((f - y) ** 2).sum(-1) / 2,
        "logistic": lambda: np.log(1 + np.exp(-y * f)).sum(-1),
        "softmax_cross_entropy": lambda: -(y * log_softmax(f, axis=-1)).sum(-1),
    }[loss.kind]()


@pytest.mark.parametrize("kind", KINDS)
def test_sum_and_mean_over_points(kind: type[LossSpec]) -> None:
    f, y = predictions(4), targets(kind())
    np.testing.assert_allclose(losses.total(kind(), f, y), by_hand(kind(), f, y).sum(-1), rtol=ROUNDING)
    mean = kind(reduction="mean")
    np.testing.assert_allclose(losses.total(mean, f, y), by_hand(mean, f, y).mean(-1), rtol=ROUNDING)


@pytest.mark.parametrize("reduction", ["sum", "mean"])
@pytest.mark.parametrize("kind", KINDS)
def test_residual_is_minus_the_slope(kind: Any, reduction: str) -> None:
    loss = kind(reduction=reduction)
    f, y, h = predictions(), targets(loss), 1e-5
    steps = h * np.eye(f.size).reshape(-1, *f.shape)
    slope = (losses.total(loss, f + steps, y) - losses.total(loss, f - steps, y)) / (2 * h)
    np.testing.assert_allclose(losses.residual(loss, f, y), -slope.reshape(f.shape), atol=ROUNDING)


def test_residuals_by_hand() -> None:
    f = predictions()
    for loss, expected in (
        (SquaredError(), lambda y: y - f),
        (SquaredError(reduction="mean"), lambda y: (y - f) / POINTS),
        (Logistic(), lambda y: y * expit(-y * f)),
        (SoftmaxCrossEntropy(), lambda y: y - softmax(f, axis=1)),
    ):
        y = targets(loss)
        np.testing.assert_allclose(losses.residual(loss, f, y), expected(y), rtol=ROUNDING)


@pytest.mark.parametrize("f", [1e3, -1e3])
def test_confident_predictions_stay_finite(f: float) -> None:
    for loss in (Logistic(), SoftmaxCrossEntropy()):
        confident, y = jnp.array([[f, 0.0]]), jnp.array([[1.0, 0.0]])
        assert (
            jnp.isfinite(losses.total(loss, confident, y)) and jnp.isfinite(losses.residual(loss, confident, y)).all()
        )


def expected_loss(
    loss: LossSpec, f: np.ndarray, y: np.ndarray, sigma: np.ndarray, b: np.ndarray, width: int
) -> np.ndarray:
    """E total(f_N) for f_N ~ N(f + b / N, Sigma / N), by Gauss-Hermite quadrature (which has no sampling error)."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(30)
    xi = np.stack(np.meshgrid(nodes, nodes), axis=-1).reshape(-1, OUTPUTS)
    weight = np.outer(weights, weights).ravel() / (2 * np.pi)
    spread = np.einsum("tpcd,kd->ktpc", np.linalg.cholesky(sigma), xi)
    networks = f + b / width + spread / width**0.5
    return np.tensordot(weight, losses.total(loss, networks, y), axes=1)


@pytest.mark.parametrize("reduction", ["sum", "mean"])
@pytest.mark.parametrize("kind", KINDS)
def test_shift_is_that_of_the_expectation_to_order_one_over_width(kind: Any, reduction: str) -> None:
    """What is left falls as N^-2."""
    loss, times = kind(reduction=reduction), 2
    f, b, y = predictions(times), predictions(times)[::-1], targets(loss)
    root = np.random.default_rng(2).normal(size=(times, POINTS, OUTPUTS, OUTPUTS))
    sigma = root @ np.swapaxes(root, -1, -2)
    widths, errors = (100, 400), []
    for width in widths:
        exact = expected_loss(loss, f, y, sigma, b, width)
        errors.append(np.abs(losses.total(loss, f, y) + losses.shift(loss, f, y, sigma, b) / width - exact))
    assert (np.round(np.log(errors[0] / errors[1]) / np.log(4)) == 2).all()


def test_theory_loss_has_the_error_of_its_samplings() -> None:
    """One training and one test point; N (E L_N - L) = (f - y) b + Sigma / 2 in each of two samplings."""
    f, y = np.array([[0.0, 0.0], [0.4, 0.1]]), np.array([1.0, -1.0])
    covariances, biases = (
        np.array([[[0.0, 0.0], [0.6, 0.8]], [[0.0, 0.0], [1.0, 0.4]]]),
        np.array([[[0.0, 0.0]] * 2] * 2),
    )
    errors = np.array([[0.0, 0.0], [0.02, 0.03]])
    biases[:, 1] = [[0.1, -0.2], [0.3, 0.2]]
    theory = TheoryResult(
        times=np.arange(2),
        dims={},
        mean={"prediction": f[..., None]},
        variance={"prediction": covariances.mean(axis=0)[..., None]},
        bias={"prediction": biases.mean(axis=0)[..., None]},
        equal_time_covariances=covariances[..., None, None],
        prediction_biases=biases[..., None],
        standard_error={"prediction": errors[..., None]},
    )
    data = SimpleNamespace(y=y[:, None], train=np.array([True, False]))
    with jax.enable_x64(True):
        actual = theory_loss(SquaredError(), data, theory, [10, 40])  # type: ignore[arg-type]
    infinite = (f - y) ** 2 / 2
    shifts = (f - y) * biases + covariances / 2
    assert actual.at_width is not None and actual.at_width_error is not None
    np.testing.assert_allclose(actual.infinite, infinite)
    np.testing.assert_allclose(actual.infinite_error, abs(f - y) * errors)
    for place, width in enumerate((10, 40)):
        np.testing.assert_allclose(actual.at_width[place], infinite + shifts.mean(axis=0) / width)
        np.testing.assert_allclose(actual.at_width_error[place], abs(shifts[0] - shifts[1]) / 2 / width, atol=ROUNDING)
