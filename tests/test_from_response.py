"""Sigma and b of two-layer networks from linear response: right where they are known, to the stated error."""

from typing import Any

import jax
import numpy as np
import pytest
from networks_of import dense_network

import fwdmft.corrections.from_response as module
from fwdmft.corrections.finite_width import JUDGED
from fwdmft.corrections.from_response import SAMPLINGS, _system, first_try, from_response
from fwdmft.engine.infinite_width import relative
from fwdmft.engine.sobol_errors import spread_error
from fwdmft.errors import ComputationError
from fwdmft.experiment.halves import TheorySpec
from fwdmft.experiment.loss import SquaredError
from fwdmft.optimization import Plan
from fwdmft.testing.agreement import ROUNDING, Estimate, assert_zero
from fwdmft.theory import TheoryResult, TheoryTask, solve

GAMMA0, RATE, TARGET = 1.5, 0.4, 1.3
A = RATE * GAMMA0 * TARGET


def posed(rate: float = RATE, **settings: Any) -> TheoryTask:
    """One step of a linear network on one point with |x|^2 = D, the worked case of `fwdmft.engine`."""
    equations = dense_network(np.ones((1, 1)), GAMMA0, activation="linear", smooth=True)
    return TheoryTask(
        equations=equations,
        richness=lambda width: GAMMA0,
        lazy=False,
        y=np.full((1, 1), TARGET),
        train=np.array([True]),
        loss=SquaredError(),
        plan=Plan(np.full(2, rate)),
        spec=TheorySpec(seed=1, **settings),
    )


def solved(rate: float = RATE, **settings: Any) -> TheoryResult:
    with jax.enable_x64(True):
        return solve(posed(rate, **settings))


@pytest.fixture(scope="module")
def precise() -> TheoryResult:
    return solved(relative_error=0.01)


def test_sigma_and_b_are_those_of_the_worked_case(precise: TheoryResult) -> None:
    """f' = eta y K + eta^2 gamma0 y^2 A and K' = (1 + a^2) K + 4 a A, linear in A and K, of variances 1 and 4."""
    sigma = {
        "prediction": 4 * (RATE * TARGET) ** 2 + RATE**4 * GAMMA0**2 * TARGET**4,
        "tangent_kernel": 4 * (1 + A**2) ** 2 + 16 * A**2,
    }
    for name, exact in sigma.items():
        for part, expected in (("variance", exact), ("bias", 0.0)):
            value, error = (getattr(precise, f"{part}{end}")[name][1].ravel() for end in ("", "_standard_error"))
            assert_zero(f"{part} of {name}", Estimate.of(value - expected, error, SAMPLINGS), exact)
    assert 0 < precise.variance_standard_error["tangent_kernel"][1].item() < 0.02 * sigma["tangent_kernel"]


def test_neurons_follow_from_the_error() -> None:
    """b, which is zero here, is not asked for."""
    asked = {error: solved(relative_error=error, bias=False) for error in (0.3, 0.001)}
    for error, result in asked.items():
        assert 0 < result.diagnostics["relative_error_variance"] < error
    assert asked[0.001].diagnostics["response_neurons"] > asked[0.3].diagnostics["response_neurons"]
    assert solved(neurons=512, bias=False).diagnostics["response_neurons"] == 512


def test_samplings_are_means_of_systems(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of its own, numbered in turn; and the error falls with their number."""
    monkeypatch.setattr(module, "NEURONS_TIMES_ERROR", 1.0)
    task = posed(relative_error=0.01, bias=False)
    with jax.enable_x64(True):
        count, respond = first_try(task), _system(task, first_try(task))
        actual = from_response(task, lambda *_: None)
        systems = actual.diagnostics["response_neurons"] // count
        each = [respond(number).variance["tangent_kernel"] for number in range(SAMPLINGS * systems)]
    samplings = np.reshape(each, (systems, SAMPLINGS, -1)).mean(axis=0)
    assert systems > 1 and actual.diagnostics["relative_error_variance"] < 0.015
    np.testing.assert_allclose(actual.variance["tangent_kernel"].ravel(), samplings.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(actual.variance_error["tangent_kernel"].ravel(), spread_error(samplings), rtol=1e-9)


def test_what_is_left_out_of_contributions_is_small_beside_the_stated_error() -> None:
    """Of four points, three of which are learned in 20 steps."""
    rng, stated = np.random.default_rng(0), 0.1
    task = TheoryTask(
        equations=dense_network(rng.normal(size=(4, 3)), GAMMA0, smooth=True),
        richness=lambda width: GAMMA0,
        lazy=False,
        y=rng.normal(size=(4, 1)),
        train=np.arange(4) < 3,
        loss=SquaredError(),
        plan=Plan(np.full(20, 0.2)),
        spec=TheorySpec(save_every=5, relative_error=stated, bias=False),
    )
    with jax.enable_x64(True):
        response = _system(task, 256)(0)
    for name in JUDGED:
        left_out = relative(response.truncation["variance"][name], response.variance[name])
        assert 0 < left_out < stated / 10, name


def test_covariances_hold_the_variances(precise: TheoryResult) -> None:
    variance, covariance = precise.variance["prediction"].ravel(), precise.prediction_covariance
    assert covariance is not None and precise.equal_time_covariances is not None
    np.testing.assert_allclose(np.diag(covariance.reshape(2, 2)), variance, rtol=ROUNDING, atol=ROUNDING)
    assert precise.equal_time_covariances.shape == (SAMPLINGS, 2, 1, 1, 1)
    np.testing.assert_allclose(precise.equal_time_covariances.mean(axis=0).ravel(), variance, atol=ROUNDING)


@pytest.mark.parametrize("neurons", [None, 512])
def test_what_is_too_large_to_have_an_error_is_reported(neurons: int | None) -> None:
    """Sigma of K is about the fourth power of the rate: finite, but no square of its error is."""
    with pytest.raises(ComputationError, match="influence of single neurons overflows"):
        solved(rate=1e60, neurons=neurons)
