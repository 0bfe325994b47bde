"""Laws that tie networks to the theory: E q_N = q + b / N and N Var q_N = Sigma, to leading order.

Both have corrections of relative order 1/N. Ensembles at two widths remove it by extrapolation; what remains is of
relative order 1/(N_1 N_2). Differences are measured against standard errors alone.
"""

import numpy as np

from fwdmft.networks.ensemble import WidthStatistics
from fwdmft.testing.agreement import Estimate, assert_zero
from fwdmft.testing.case import REPLICATES, Case
from fwdmft.testing.law import Law


def initial_kernels_are_those_of_networks(case: Case) -> None:
    """At t = 0, extrapolated to infinite width."""
    for name, expected in case.infinite_width.items():
        networks = _extrapolated(case, [_mean(e, name) for e in case.ensembles])
        assert_zero(name, (networks - expected)[0], _size(expected.value))


def variance_of_networks_is_sigma_over_width(case: Case) -> None:
    """N Var q_N, extrapolated, is the theory's variance."""
    for name, variance in case.theory.variance.items():
        expected = Estimate.of(variance, case.theory.variance_standard_error[name], REPLICATES)
        networks = _extrapolated(case, [_variance(e, name) * e.width for e in case.ensembles])
        assert_zero(f"N Var {name}", networks - expected, _size(variance))


def mean_of_networks_is_shifted_by_bias_over_width(case: Case) -> None:
    """N (E q_N - q), extrapolated, is the theory's bias.

    The same q enters at both widths, so its error is taken once.
    """
    first, second = case.widths
    for name, bias in case.theory.bias.items():
        expected = Estimate.of(bias, case.theory.bias_standard_error[name], REPLICATES)
        mean = case.infinite_width[name]
        networks = _extrapolated(case, [_mean(e, name) * e.width for e in case.ensembles])
        assert_zero(f"bias of {name}", networks - mean * (first + second) - expected, second * _size(mean.value))


LAWS = tuple(
    map(
        Law,
        (
            initial_kernels_are_those_of_networks,
            variance_of_networks_is_sigma_over_width,
            mean_of_networks_is_shifted_by_bias_over_width,
        ),
    )
)


def _extrapolated(case: Case, at_widths: list[Estimate]) -> Estimate:
    """The limit N -> infinity of a + c / N, from two widths.

    Applied to N q_N = N q + b + c / N it gives b + (N_1 + N_2) q.
    """
    first, second = case.widths
    return at_widths[1] * (second / (second - first)) - at_widths[0] * (first / (second - first))


def _mean(ensemble: WidthStatistics, name: str) -> Estimate:
    return Estimate.of(ensemble.mean[name], ensemble.mean_standard_error[name], ensemble.members)


def _variance(ensemble: WidthStatistics, name: str) -> Estimate:
    return Estimate.of(ensemble.variance[name], ensemble.variance_standard_error[name], ensemble.members)


def _size(values: np.ndarray) -> float:
    return float(np.max(np.abs(values)))
