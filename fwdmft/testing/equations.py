"""Laws of the field equations that hold to rounding, for whichever neurons."""

from dataclasses import replace
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from fwdmft.engine.field_equations import Observables
from fwdmft.engine.simulation import gaussian_matrices
from fwdmft.engine.update import Update
from fwdmft.experiment.loss import SquaredError
from fwdmft.testing.agreement import assert_equal, note
from fwdmft.testing.case import Case, Simulation, observe
from fwdmft.testing.law import Law

SMALL_TARGETS = 2.0**-20
"""Factor on targets at which training is compared with that at full size; multiplying by it does not round."""

SMALL_RATE = 1e-2
"""Learning rate, in units of the case's first one, at which a step is compared with eta K Delta, as with 1/8 of it."""

EXACTLY = 1e-13
"""Share of a vector's squared norm that bases leave out for that comparison: nothing but rounding."""


def observables_have_the_declared_dimensions(case: Case) -> None:
    """Sizes follow the dimension names, and predictions are (point, output)."""
    seen, dims = observe(case.simulation(case.few)), case.equations.dims
    sizes = {"point": len(case.x), "output": case.y.shape[1], "layer": len(seen["feature_kernel"][0])}
    sizes |= dict(zip(case.architecture.axes, case.x.shape[1:], strict=False))
    assert dims["prediction"] == ("point", "output"), dims["prediction"]
    assert set(seen) == set(dims), f"observed {sorted(seen)}, declared {sorted(dims)}"
    for name, value in seen.items():
        note(name, 0.0, f"{value.shape[1:]}")
        assert value.ndim == 1 + len(dims[name]), f"{name}: {value.shape[1:]}, declared {dims[name]}"
        # Dimensions of an architecture's own are as long wherever they occur.
        expected = tuple(
            sizes.setdefault(dim.removesuffix("_prime"), size)
            for dim, size in zip(dims[name], value.shape[1:], strict=True)
        )
        assert value.shape[1:] == expected, f"{name}: {value.shape[1:]}, declared {expected}"


def copying_neurons_changes_nothing(case: Case) -> None:
    """Every neuron twice, with the same noise, that for new directions of random matrices included."""
    once = case.simulation(case.few)
    twice = once._replace(noise=jax.tree.map(lambda a: jnp.concatenate([a, a], axis=-1), once.noise))
    assert_same(observe(twice), observe(once))


def relabelling_neurons_changes_nothing(case: Case) -> None:
    """Every population in an order of its own."""
    once = case.simulation(case.few)
    rng = np.random.default_rng(0)
    orders = {population.name: rng.permutation(case.few) for population in once.equations.populations}
    owners = {supply.name: supply.population for supply in once.equations.supplies}
    noise = {name: rows[:, orders[owners.get(name, name)]] for name, rows in once.noise.items()}
    assert_same(observe(once._replace(noise=noise)), observe(once))


def small_targets_are_large_richness(case: Case) -> None:
    """(y, gamma0) -> (s y, gamma0 / s) makes s f of f and leaves kernels alone, for the squared error.

    From gamma0 = 1, since bases resolve features more finely below it.
    """
    rich = case.simulation(case.few)
    training = replace(rich.training, loss=SquaredError())
    rich = rich._replace(equations=case.equations.with_richness(1.0), training=training)
    small = rich._replace(
        equations=case.equations.with_richness(1 / SMALL_TARGETS),
        training=replace(training, targets=SMALL_TARGETS * training.targets),
    )
    expected, seen = observe(rich), observe(small)
    assert_same(seen | {"prediction": seen["prediction"] / SMALL_TARGETS}, expected)


def forward_predicts_what_is_observed(case: Case) -> None:
    """The prediction that training uses is the observable."""
    walk = _walk(case.simulation(case.few))
    assert_equal("forward", walk.reached.prediction, walk.reached.observed["prediction"])


def a_step_without_residual_changes_nothing(case: Case) -> None:
    """Neither does one with learning rate zero."""
    walk = _walk(case.simulation(case.few))
    before = walk.reached.observed
    assert_same(walk.without_residual, before)
    assert_same(walk.without_rate, before)
    moved = np.max(np.abs(walk.after["prediction"] - before["prediction"]))
    assert moved > 0, "a step with residual and learning rate changed nothing either"


def a_first_step_follows_the_tangent_kernel(case: Case) -> None:
    """f(1) - f(0) = eta K Delta, up to the second order in eta.

    K is observed, while the step trains the weights: no term of K is missing, and none has another factor. Finitely
    many neurons cross a kink one by one, which leaves an order between one and two.
    """
    simulation = case.posed(case.with_capacities(case.equations.resolving(EXACTLY), case.neurons), case.few)
    rate = SMALL_RATE * float(case.plan.learning_rates[0])
    errors = []
    for each in (rate, rate / 8):
        change, expected = _first_step(simulation, each)
        errors.append(float(np.linalg.norm(change - expected)) / float(np.linalg.norm(expected)))
    assert errors[0] < 0.5, f"a step differs from eta K Delta by {errors[0]:.2g} of it"
    order = float(np.log2(errors[0] / max(errors[1], 1e-12)) / 3)
    least = 0.9 if case.smooth else 0.5
    note("f(1) - f(0) - eta K Delta", least / max(order, 1e-12), f"order {order:.2f} in eta, at least {least}")
    assert order > least, f"f(1) - f(0) - eta K Delta, relative: {errors} at eta, eta / 8"


def initial_kernels_do_not_depend_on_richness(case: Case) -> None:
    """Kernels at t = 0 are those of gamma0 = 2 gamma0, later ones are not."""
    simulation = case.simulation(case.few)
    richer = case.equations.with_richness(2 * float(case.equations.gamma0))
    seen, expected = observe(simulation._replace(equations=richer)), observe(simulation)
    for name in kernels(case):
        assert_equal(name, seen[name][0], expected[name][0])
    changed = np.max(np.abs(seen["tangent_kernel"][-1] - expected["tangent_kernel"][-1]))
    assert changed > 0, "trained kernels do not depend on gamma0"


def kernels_are_positive_semidefinite(case: Case) -> None:
    """And symmetric, at infinite width and in networks."""
    for source in (observe(case.simulation(case.few)), case.ensembles[0].mean):
        for name in kernels(case):
            for matrix in _matrices(np.asarray(source[name]), case.equations.dims[name]):
                assert_equal(f"{name} transposed", matrix.T, matrix)
                values = np.linalg.eigvalsh(matrix)
                note(name, -values[0] / (1e-9 * values[-1]), f"eigenvalues from {values[0]:.2g} to {values[-1]:.2g}")
                assert values[0] >= -1e-9 * values[-1], f"{name}: eigenvalue {values[0]:.3g} (largest {values[-1]:.3g})"


LAWS = tuple(
    map(
        Law,
        (
            observables_have_the_declared_dimensions,
            copying_neurons_changes_nothing,
            relabelling_neurons_changes_nothing,
            small_targets_are_large_richness,
            forward_predicts_what_is_observed,
            a_step_without_residual_changes_nothing,
            a_first_step_follows_the_tangent_kernel,
            initial_kernels_do_not_depend_on_richness,
            kernels_are_positive_semidefinite,
        ),
    )
)


def kernels(case: Case) -> list[str]:
    """Observables that are matrices between points."""
    return [name for name, dims in case.equations.dims.items() if "point_prime" in dims]


def assert_same(actual: Observables, expected: Observables) -> None:
    for name in expected:
        assert_equal(name, actual[name], expected[name])


def _matrices(values: np.ndarray, dims: tuple[str, ...]) -> np.ndarray:
    """Kernels (time, layer?, *rows, *columns) as a stack of square matrices."""
    rows = sum(dim != "layer" and not dim.endswith("_prime") for dim in dims)
    size = int(np.prod(values.shape[-rows:]))
    return values.reshape(-1, size, size)


class _Stepped(NamedTuple):
    """A pass: what it predicts and observes, its residual Delta (point, output), and the state after a step."""

    prediction: Array
    observed: Observables
    residual: Array
    later: Any


@eqx.filter_jit
def _stepped(simulation: Simulation, state: Any, rate: Array, share: Array) -> _Stepped:
    """A pass from this state, and a step of a learning rate with a share of the residual.

    All laws of single steps call this one program, which takes longer to compile than to run.
    """
    equations, noise, training = simulation
    state, fields = equations.forward(state, noise)
    residual = training.residual(fields.f, None)
    later = equations.step(state, fields, share * residual, Update(rate, 0.0, 0.0))
    return _Stepped(fields.f, equations.observe(equations.sites(fields)), residual, later)


@eqx.filter_jit
def _initial(simulation: Simulation) -> Any:
    equations, noise, _ = simulation
    return equations.initial(noise, gaussian_matrices(equations, noise, False), momentum=False)


class _Walk(NamedTuple):
    """Two steps of training, then: a pass, and what is observed after three further kinds of step."""

    reached: _Stepped
    without_residual: Observables
    without_rate: Observables
    after: Observables


def _walk(simulation: Simulation) -> _Walk:
    rate, state = simulation.training.rates[0, 0], _initial(simulation)

    def stepped(state: Any, rate: Array, share: float = 1.0) -> _Stepped:
        return _stepped(simulation, state, rate, jnp.asarray(share))

    for _ in range(2):
        state = stepped(state, rate).later
    reached = stepped(state, rate)
    others = stepped(state, rate, share=0.0), stepped(state, jnp.zeros_like(rate)), reached
    return _Walk(reached, *(stepped(each.later, rate).observed for each in others))


def _first_step(simulation: Simulation, rate: float) -> tuple[np.ndarray, np.ndarray]:
    """f(1) - f(0), and eta K Delta (point, output)."""
    eta, all_of_it = jnp.asarray(rate, simulation.training.rates.dtype), jnp.asarray(1.0)
    first = _stepped(simulation, _initial(simulation), eta, all_of_it)
    second = _stepped(simulation, first.later, eta, all_of_it)
    change = np.asarray(second.prediction) - np.asarray(first.prediction)
    return change, rate * np.tensordot(np.asarray(first.observed["tangent_kernel"]), np.asarray(first.residual), axes=2)
