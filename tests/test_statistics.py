"""Streaming moments: against numpy, against exact formulas, and whatever the chunks."""

import numpy as np
import pytest

from fwdmft.networks.statistics import Moments
from fwdmft.testing.agreement import ROUNDING

STATISTICS = ("mean", "variance", "mean_standard_error", "variance_standard_error")


def streamed(values: np.ndarray, chunk: int) -> Moments:
    moments = Moments()
    for start in range(0, len(values), chunk):
        moments.add(values[start : start + chunk])
    return moments


def test_against_numpy() -> None:
    values = np.random.default_rng(0).gamma(2.0, size=(500, 3, 2))
    moments = streamed(values, 64)
    np.testing.assert_allclose(moments.mean, values.mean(axis=0), rtol=ROUNDING)
    np.testing.assert_allclose(moments.variance, values.var(axis=0, ddof=1), rtol=ROUNDING)
    np.testing.assert_allclose(moments.mean_standard_error, values.std(axis=0, ddof=1) / 500**0.5, rtol=ROUNDING)
    fourth = ((values - values.mean(axis=0)) ** 4).mean(axis=0)
    expected = np.sqrt((fourth - values.var(axis=0, ddof=1) ** 2 * 497 / 499) / 500)
    np.testing.assert_allclose(moments.variance_standard_error, expected, rtol=ROUNDING)


@pytest.mark.parametrize("chunk", [1, 7, 100])
def test_chunks_make_no_difference(chunk: int) -> None:
    values = np.random.default_rng(1).normal(size=(100, 4))
    for name in STATISTICS:
        np.testing.assert_allclose(getattr(streamed(values, chunk), name), getattr(streamed(values, 50), name))


def test_no_members_change_nothing() -> None:
    moments = streamed(np.arange(6.0), 6)
    moments.add(np.empty(0))
    assert (moments.count, float(moments.mean), float(moments.variance)) == (6, 2.5, 3.5)


def test_large_offsets_do_not_cancel() -> None:
    """float32 members far from zero, as kernels of wide networks are, are summed in float64 about their mean."""
    values = (1e4 + np.random.default_rng(2).normal(size=(1000, 2))).astype(np.float32)
    exact = values.astype(np.longdouble)
    np.testing.assert_allclose(streamed(values, 10).variance, exact.var(axis=0, ddof=1).astype(float), rtol=ROUNDING)


def test_equal_members_have_no_variance() -> None:
    moments = streamed(np.full((10, 2), 0.1), 3)
    assert not moments.variance.any() and not moments.variance_standard_error.any()


# Variance and kurtosis.
DISTRIBUTIONS = {"normal": (1.0, 3.0), "exponential": (1.0, 9.0), "uniform": (1 / 12, 1.8)}


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_standard_errors_are_those_of_repeated_ensembles(name: str) -> None:
    """What ensembles of n members promise is how much they differ, by the exact formulas for finite n."""
    n, repeats = 200, 20000
    v, kurtosis = DISTRIBUTIONS[name]
    fourth = kurtosis * v**2
    moments = streamed(getattr(np.random.default_rng(3), name)(size=(n, repeats)), 50)
    mean_error, variance_error = v / n, (fourth - (n - 3) / (n - 1) * v**2) / n
    _assert_mean((moments.mean - moments.mean.mean()) ** 2, mean_error)
    _assert_mean((moments.variance - v) ** 2, variance_error)
    _assert_mean(moments.mean_standard_error**2, mean_error)
    # A sample's own fourth moment is biased at finite n, and so is the error that is estimated from it.
    sample_fourth = (n - 1) * ((n**2 - 3 * n + 3) * fourth + 3 * (2 * n - 3) * v**2) / n**3
    estimated = (sample_fourth - (n - 3) / (n - 1) * (v**2 + variance_error)) / n
    _assert_mean(moments.variance_standard_error**2, estimated)


def _assert_mean(repeated: np.ndarray, expected: float) -> None:
    """Within four standard errors."""
    assert abs(repeated.mean() - expected) < 4 * repeated.std() / len(repeated) ** 0.5
