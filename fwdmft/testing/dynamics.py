"""Laws of whole trajectories: causality, relabelling, the lazy limit, Monte-Carlo errors."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np

from fwdmft.engine.lazy import LazyEquations
from fwdmft.engine.sobol_errors import POOLED, widening
from fwdmft.optimization import Plan
from fwdmft.testing.agreement import Estimate, assert_equal, assert_zero, note, rarely_exceeded
from fwdmft.testing.case import REPLICATES, SAMPLINGS, SEED, Case, Simulation, observe, observed
from fwdmft.testing.equations import assert_same
from fwdmft.testing.law import Law

MORE = 16
"""Factor between the two numbers of neurons whose Monte-Carlo errors are compared."""

NEARLY_LAZY = 0.02
"""gamma0 that is compared with the lazy limit, as is eight times as much."""

CLOSELY = 1e-9
"""Share of a vector's squared norm that bases leave out for that comparison."""


def a_shorter_run_is_the_beginning_of_a_longer_one(case: Case) -> None:
    """Nothing depends on what comes later."""
    saved = len(case.times) // 2 + 1
    steps = int(case.times[saved - 1]) + 1
    batches = None if case.plan.batches is None else case.plan.batches[:steps]
    shorter = replace(case.plan, learning_rates=case.plan.learning_rates[:steps], batches=batches)
    whole, begun = observe(case.simulation(case.few)), observe(case.simulation(case.few, plan=shorter))
    assert_same(begun, {name: a[:saved] for name, a in whole.items()})


def relabelling_points_relabels_results(case: Case) -> None:
    """Within standard errors, since neurons then carry other noise; and a network is built as if nothing happened."""
    order = np.roll(np.arange(len(case.x)), 1)
    other = replace(case, x=case.x[order], y=case.y[order], train=case.train[order])
    _assert_relabelled(case, other.simulation(case.neurons, plan=_relabelled(case, order), limit=True), "point", order)
    built = [jax.vmap(each.build(case.widths[0], jax.random.key(SEED)))(jnp.asarray(each.x)) for each in (case, other)]
    assert_equal("networks", built[1], built[0][order])


def relabelling_outputs_relabels_results(case: Case) -> None:
    """Within standard errors, since neurons then carry other noise."""
    order = np.roll(np.arange(case.y.shape[1]), 1)
    simulation = case.simulation(case.neurons, limit=True)
    targets = simulation.training.targets[:, order]
    _assert_relabelled(
        case, simulation._replace(training=replace(simulation.training, targets=targets)), "output", order
    )


def small_richness_is_the_lazy_limit(case: Case) -> None:
    """q(gamma0) - q(lazy) is quadratic in gamma0, once odd orders are averaged out as gamma0 -> -gamma0.

    Finitely many neurons cross a kink one by one, at random, which leaves an order of only one half.
    """
    count, plan = MORE * case.few, replace(case.plan, weight_decay=0.0)
    # What bases leave out must not count beside gamma0^2.
    equations = case.with_capacities(case.centred_equations.resolving(CLOSELY), case.neurons, plan)
    simulation = case.posed(equations, count, plan=plan)
    lazy = observed(simulation._replace(equations=LazyEquations(equations)))

    def distance(gamma0: float) -> np.ndarray:
        seen, other = (
            observed(each._replace(equations=equations.with_richness(g)))
            for each, g in ((simulation, gamma0), (_mirrored(simulation), -gamma0))
        )
        return np.array([np.linalg.norm((seen[name] + other[name]) / 2 - lazy[name]) for name in sorted(lazy)])

    near, far = distance(NEARLY_LAZY), distance(8 * NEARLY_LAZY)
    assert (near > 0).all(), "nothing is learned at small gamma0"
    orders = dict(zip(sorted(lazy), np.log2(far / near) / 3, strict=True))
    least = 1.9 if case.smooth else 0.5
    for name, order in orders.items():
        note(name, least / max(order, 1e-12), f"order {order:.2f} in gamma0, at least {least}")
    assert min(orders.values()) > least, f"orders in gamma0: {orders}"


def error_bars_shrink_with_more_neurons(case: Case) -> None:
    """As S^(-1/2) or faster, and never above that of independent neurons, sqrt(Sigma / S)."""
    few, many = (_spread(case, count) for count in (case.few, MORE * case.few))
    allowed = rarely_exceeded(SAMPLINGS - 1, SAMPLINGS - 1)
    for name, variance in case.theory.variance.items():
        spreads = [float(np.sum(spread[name])) for spread in (few, many)]
        assert spreads[1] > 0, f"{name}: all samplings are the same"
        assert spreads[1] <= allowed * spreads[0] / MORE, f"{name}: {spreads} at S and {MORE} S"
        # Sigma itself is known up to its error, which entries may share.
        largest = variance + 2 * case.theory.variance_standard_error[name]
        promised = float(np.sum(largest)) / (MORE * case.few)
        shrunk = spreads[0] / spreads[1]
        note(name, MORE / allowed / shrunk, f"variance {shrunk:.3g} times smaller, at least {MORE / allowed:.2g}")
        assert spreads[1] <= allowed * promised, f"{name}: spread {spreads[1]:.3g}, promised {promised:.3g}"


def error_bars_are_honest(case: Case) -> None:
    """The theory's mean is that of other samplings up to its standard error, their spread, widened as they are few."""
    for name, mean in case.theory.mean.items():
        promised, expected = case.theory.standard_error[name], case.infinite_width[name]
        seen = Estimate.of(mean, promised, REPLICATES)
        assert_zero(name, seen - expected, float(np.max(np.abs(mean))))
        spread = promised / widening(POOLED * (REPLICATES - 1))
        ratio = float(np.sum(spread**2) / np.sum(expected.squared_errors[0] * SAMPLINGS / REPLICATES))
        smallest, largest = (
            1 / rarely_exceeded(SAMPLINGS - 1, REPLICATES - 1),
            rarely_exceeded(REPLICATES - 1, SAMPLINGS - 1),
        )
        note(name, max(smallest / ratio, ratio / largest), f"{ratio:.2f}, from {smallest:.2g} to {largest:.2g}")
        assert smallest < ratio < largest, f"{name}: squared standard error is {ratio:.3g} of what samplings show"


LAWS = tuple(
    map(
        Law,
        (
            a_shorter_run_is_the_beginning_of_a_longer_one,
            relabelling_points_relabels_results,
            relabelling_outputs_relabels_results,
            small_richness_is_the_lazy_limit,
            error_bars_shrink_with_more_neurons,
            error_bars_are_honest,
        ),
    )
)


def _mirrored(simulation: Simulation) -> Simulation:
    """That for -gamma0 whose average with the one for gamma0 has no odd order, whatever the sample neurons.

    What training adds to a vector changes sign with gamma0, so the noise of the new directions has to do so as well.
    """
    flipped = {
        supply.name: simulation.noise[supply.name].at[supply.leading :].multiply(-1.0)
        for supply in simulation.equations.supplies
    }
    return simulation._replace(noise=simulation.noise | flipped)


def _relabelled(case: Case, order: np.ndarray) -> Plan:
    """The plan that trains on the same points when they come in another order."""
    if case.plan.batches is None:
        return case.plan
    places = np.searchsorted(np.flatnonzero(case.train), order[case.train[order]])
    return replace(case.plan, batches=np.argsort(places)[case.plan.batches])


def _assert_relabelled(case: Case, other: Simulation, label: str, order: np.ndarray) -> None:
    """What is seen with points or outputs in this order is infinite width."""
    seen = observed(other)
    for name, expected in case.infinite_width.items():
        back = _relabel(seen[name], case.equations.dims[name], label, np.argsort(order))
        spread = np.sqrt(SAMPLINGS * expected.squared_errors[0])
        assert_zero(name, Estimate.of(back, spread, SAMPLINGS) - expected, float(np.max(np.abs(back))))


def _relabel(values: np.ndarray, dims: tuple[str, ...], label: str, order: np.ndarray) -> np.ndarray:
    for axis, dim in enumerate(dims):
        if dim.removesuffix("_prime") == label:
            values = np.take(values, order, axis=axis + 1)
    return values


def _spread(case: Case, count: int) -> dict[str, np.ndarray]:
    """Variance over independent samplings."""
    return {name: np.var(seen, axis=0, ddof=1) for name, seen in case.samplings(count).items()}
