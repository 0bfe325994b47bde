"""Laws that tie networks to the theory: E q_N = q + b / N and N Var q_N = Sigma, to leading order.

Both have corrections of relative order 1/N. Ensembles at two widths remove it by extrapolation; what remains is of
relative order 1/(N_1 N_2). Draws, of which Sigma and b are made, are networks of their width to all orders. Differences
are measured against standard errors alone.
"""

import jax
import numpy as np

from fwdmft.corrections import samples
from fwdmft.corrections.sample_estimates import GROUPS
from fwdmft.networks.ensemble import WidthStatistics
from fwdmft.testing.agreement import Estimate, assert_zero, extrapolated
from fwdmft.testing.case import CHUNK, CHUNKS, COMPARED, SEED, Case
from fwdmft.testing.law import Law


def networks_of_draws_are_those_of_the_builder(case: Case) -> None:
    """Mean and variance over draws of q_n, and of r times wider ones, are those over trained networks of these widths.

    Draws share random numbers between widths, and simulate fields; networks are built by the plugin and
    trained by automatic derivatives of the loss.
    """
    shapes = samples.observable_shapes(case.sampler)
    keys = jax.random.split(jax.random.key(SEED), (CHUNKS, CHUNK))
    every = [samples.draws(case.sampler, each) for each in keys]
    mean, difference, change = (
        np.concatenate([np.asarray(getattr(draw, name)) for draw in every]) for name in ("mean", "difference", "change")
    )
    parts = mean[:, None] + samples.PARTS * samples.CONTRASTS.T @ difference
    both = (case.drawn, parts.reshape(-1, parts.shape[-1])), (samples.PARTS * case.drawn, mean + change)
    for width, drawn in both:
        networks = case.ensemble(width, COMPARED)
        start = 0
        for name, shape in shapes.items():
            size = int(np.prod(shape))
            q, start = drawn[:, start : start + size].reshape(-1, *shape), start + size
            for kind, of_draws, of_networks in (
                ("E", _mean_of(q), _mean(networks, name)),
                ("Var", _variance_of(q), _variance(networks, name)),
            ):
                assert_zero(f"{kind} {name} at width {width}", of_draws - of_networks, _size(of_networks.value))


def initial_kernels_are_those_of_networks(case: Case) -> None:
    """At t = 0, extrapolated to infinite width."""
    for name, expected in case.infinite_width.items():
        networks = extrapolated(case.widths, [_mean(e, name) for e in case.ensembles])
        assert_zero(name, (networks - expected)[0], _size(expected.value))


def variance_of_networks_is_sigma_over_width(case: Case) -> None:
    """N Var q_N, extrapolated, is the theory's variance."""
    for name, variance in case.theory.variance.items():
        expected = Estimate.of(variance, case.theory.variance_standard_error[name], GROUPS)
        networks = extrapolated(case.widths, [_variance(e, name) * e.width for e in case.ensembles])
        assert_zero(f"N Var {name}", networks - expected, _size(variance))


def mean_of_networks_is_shifted_by_bias_over_width(case: Case) -> None:
    """N (E q_N - q), extrapolated, is the theory's bias.

    The same q enters at both widths, so its error is taken once.
    """
    first, second = case.widths
    for name, bias in case.theory.bias.items():
        expected = Estimate.of(bias, case.theory.bias_standard_error[name], GROUPS)
        mean = case.infinite_width[name]
        networks = extrapolated(case.widths, [_mean(e, name) * e.width for e in case.ensembles])
        assert_zero(f"bias of {name}", networks - mean * (first + second) - expected, second * _size(mean.value))


LAWS = tuple(
    map(
        Law,
        (
            networks_of_draws_are_those_of_the_builder,
            initial_kernels_are_those_of_networks,
            variance_of_networks_is_sigma_over_width,
            mean_of_networks_is_shifted_by_bias_over_width,
        ),
    )
)


def _mean(ensemble: WidthStatistics, name: str) -> Estimate:
    return Estimate.of(ensemble.mean[name], ensemble.mean_standard_error[name], ensemble.members)


def _variance(ensemble: WidthStatistics, name: str) -> Estimate:
    return Estimate.of(ensemble.variance[name], ensemble.variance_standard_error[name], ensemble.members)


def _mean_of(q: np.ndarray) -> Estimate:
    """Over members (member, ...)."""
    return Estimate.of(q.mean(axis=0), q.std(axis=0, ddof=1) / len(q) ** 0.5, len(q))


def _variance_of(q: np.ndarray) -> Estimate:
    """Over members (member, ...); its error from their fourth moments."""
    squares = (q - q.mean(axis=0)) ** 2
    return Estimate.of(q.var(axis=0, ddof=1), squares.std(axis=0, ddof=1) / len(q) ** 0.5, len(q))


def _size(values: np.ndarray) -> float:
    return float(np.max(np.abs(values)))
