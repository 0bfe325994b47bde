"""Errors of q from few simulations hold what they say: two of them 95.4 %."""

import jax
import numpy as np
import pytest
from networks_of import dense_network
from scipy import stats

from fwdmft.engine.dynamics import training_signal
from fwdmft.engine.infinite_width import noise_of
from fwdmft.engine.simulation import Observing, infinite_width
from fwdmft.engine.sobol_errors import sobol_error, spread_error, widening
from fwdmft.experiment.loss import SquaredError
from fwdmft.optimization import Plan

HELD = float(stats.norm.sf(2.0) * 2)
"""Share that is beyond two standard errors."""


@pytest.mark.parametrize("count", [2, 3, 4, 8])
def test_two_errors_from_the_spread_hold_what_two_normal_ones_do(count: int) -> None:
    samples = np.random.default_rng(count).standard_normal((count, 20000))
    beyond = np.abs(samples.mean(axis=0)) > 2 * spread_error(samples)
    assert abs(beyond.mean() - HELD) < 4 * (HELD / beyond.size) ** 0.5


@pytest.fixture(scope="module")
def predictions() -> np.ndarray:
    """f (simulation, entry) of a two-layer network on one training point, in simulations of 64 neurons."""
    with jax.enable_x64(True):
        equations = dense_network(np.array([[1.0, 0.5], [0.3, -1.0]]), 1.0)
        training = training_signal(Plan(np.full(9, 0.1)), SquaredError(), np.ones((2, 1)), np.array([True, False]), 4)
        collected = []
        for number in range(600):
            one = infinite_width(equations, lambda e, n=number: noise_of(e, 64, 0, n), training, Observing())
            assert one is not None
            collected.append(one.seen["prediction"][1:].ravel())
    return np.stack(collected)


@pytest.mark.parametrize("count", [2, 4])
def test_two_errors_from_spread_and_sigma_hold_at_least_as_much(predictions: np.ndarray, count: int) -> None:
    """With the variance of independent neurons, ten times that of Sobol points.

    Entries of one group fluctuate together: groups count once.
    """
    groups = predictions.reshape(-1, count, predictions.shape[1])
    truth, independent = predictions.mean(axis=0), 10 * predictions.var(axis=0) / count
    spread = groups.std(axis=1, ddof=1) / count**0.5
    errors = np.stack([sobol_error(each, independent, count) for each in spread])
    beyond = np.mean(np.abs(groups.mean(axis=1) - truth) > 2 * errors)
    assert beyond < HELD + 4 * (HELD / len(groups)) ** 0.5


def test_both_estimates_of_an_error_agree_where_they_should() -> None:
    """Entries whose spreads are all the same part of what independent neurons leave; zero where nothing fluctuates."""
    independent = np.array([0.0, 1.0, 4.0, 0.25])
    spread = 0.3 * independent**0.5
    np.testing.assert_allclose(sobol_error(spread, independent, 3), widening(4) * spread)
    # Sobol points are taken to do no worse than independent ones.
    large = 2 * independent**0.5
    np.testing.assert_allclose(sobol_error(large, independent, 3), widening(4) * (2.5 * independent) ** 0.5)
