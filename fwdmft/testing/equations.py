"""Laws of the field equations that hold to rounding, for whichever neurons and weights."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from fwdmft.meanfield.field_equations import FieldEquations, NeuronWeights, Observables, Sites, Update
from fwdmft.meanfield.influences import Problem
from fwdmft.meanfield.lazy import with_richness
from fwdmft.testing.agreement import assert_equal
from fwdmft.testing.case import Case, observe
from fwdmft.testing.law import Law

COPIED = 8
"""Neurons of each population that are made idle or copied."""


def observables_have_the_declared_dimensions(case: Case) -> None:
    """Sizes follow the dimension names, and predictions are (point, output)."""
    seen, dims = observe(case.problem(case.few), weights(case)), case.equations.dims
    sizes = {"point": len(case.x), "output": case.y.shape[1], "layer": len(seen["feature_kernel"][0])}
    assert dims["prediction"] == ("point", "output"), dims["prediction"]
    assert set(seen) == set(dims), f"observed {sorted(seen)}, declared {sorted(dims)}"
    for name, value in seen.items():
        expected = tuple(sizes[dim.removesuffix("_prime")] for dim in dims[name])
        assert value.shape[1:] == expected, f"{name}: {value.shape[1:]}, declared {expected}"


def neurons_of_weight_zero_have_no_effect(case: Case) -> None:
    """Whatever noise they carry."""
    problem, p = case.problem(case.few), idle(weights(case))
    other = eqx.tree_at(lambda q: q.noise, problem, jax.tree.map(_other_last_neurons, problem.noise))
    assert_same(observe(other, p), observe(problem, p))


def splitting_a_neuron_changes_nothing(case: Case) -> None:
    """A neuron replaced by two copies that share its weight."""
    problem, p = case.problem(case.few), idle(weights(case))
    copied = eqx.tree_at(lambda q: q.noise, problem, jax.tree.map(_last_neurons_like_first, problem.noise))
    assert_same(observe(copied, jax.tree.map(_shared_with_last, p)), observe(problem, p))


def averages_are_linear_in_p(case: Case) -> None:
    """averages(p + 2 p') = averages(p) + 2 averages(p'), at trained neurons."""
    sites, p, other = _walk(case.problem(case.few), weights(case)).sites, weights(case), weights(case, seed=1)
    for name in sites:
        average = {key: case.equations.averages(name, sites[name], q[name]) for key, q in (("p", p), ("other", other))}
        both = case.equations.averages(name, sites[name], p[name] + 2 * other[name])
        expected = jax.tree.map(lambda a, b: a + 2 * b, average["p"], average["other"])
        for actual, value in zip(jax.tree.leaves(both), jax.tree.leaves(expected), strict=True):
            assert_equal(f"averages of {name}", actual, value)


def forward_predicts_what_is_observed(case: Case) -> None:
    """The prediction that training uses is the observable, and the sum over neurons of their contributions."""
    walk, p = _walk(case.problem(case.few), weights(case)), weights(case)
    assert_equal("forward", walk.prediction, walk.before["prediction"])
    contributions = case.equations.prediction_sites(walk.sites)
    total = sum((np.asarray(c @ p[name]) for name, c in contributions.items()), np.zeros(walk.prediction.shape))
    assert_equal("prediction_sites", total, walk.prediction)


def a_step_without_residual_changes_nothing(case: Case) -> None:
    """Neither does one with learning rate zero."""
    walk = _walk(case.problem(case.few), weights(case))
    assert_same(walk.without_residual, walk.before)
    assert_same(walk.without_rate, walk.before)
    moved = np.max(np.abs(walk.after["prediction"] - walk.before["prediction"]))
    assert moved > 0, "a step with residual and learning rate changed nothing either"


def initial_kernels_do_not_depend_on_richness(case: Case) -> None:
    """Kernels at t = 0 are those of gamma0 = 2 gamma0, later ones are not."""
    problem, p = case.problem(case.few), weights(case)
    richer = eqx.tree_at(
        lambda q: q.equations, problem, with_richness(case.equations, 2 * float(case.equations.gamma0))
    )
    seen, expected = observe(richer, p), observe(problem, p)
    for name in kernels(case):
        assert_equal(name, seen[name][0], expected[name][0])
    changed = np.max(np.abs(seen["tangent_kernel"][-1] - expected["tangent_kernel"][-1]))
    assert changed > 0, "trained kernels do not depend on gamma0"


def kernels_are_positive_semidefinite(case: Case) -> None:
    """And symmetric, at infinite width and in networks."""
    for source in (observe(case.problem(case.few), weights(case)), case.ensembles[0].mean):
        for name in kernels(case):
            for matrix in _matrices(np.asarray(source[name]), case.equations.dims[name]):
                assert_equal(f"{name} transposed", matrix.T, matrix)
                values = np.linalg.eigvalsh(matrix)
                assert values[0] >= -1e-9 * values[-1], f"{name}: eigenvalue {values[0]:.3g} (largest {values[-1]:.3g})"


def direct_variance_is_that_of_single_neurons(case: Case) -> None:
    """A faster `direct_variance` equals the general one."""
    equations, p = case.equations, weights(case)
    sites = _walk(case.problem(case.few), p).sites
    general = eqx.filter_jit(FieldEquations.direct_variance)(equations, sites, p)
    assert_same(equations.direct_variance(sites, p), general)


LAWS = tuple(
    map(
        Law,
        (
            observables_have_the_declared_dimensions,
            neurons_of_weight_zero_have_no_effect,
            splitting_a_neuron_changes_nothing,
            averages_are_linear_in_p,
            forward_predicts_what_is_observed,
            a_step_without_residual_changes_nothing,
            initial_kernels_do_not_depend_on_richness,
            kernels_are_positive_semidefinite,
            direct_variance_is_that_of_single_neurons,
        ),
    )
)


def weights(case: Case, seed: int = 0) -> NeuronWeights:
    """Unequal weights (sum 1) of `few` neurons in each population."""
    rng = np.random.default_rng(seed)
    drawn = {population.name: rng.uniform(0.5, 1.5, case.few) for population in case.equations.populations}
    return {name: jnp.asarray(w / w.sum()) for name, w in drawn.items()}


def idle(p: NeuronWeights) -> NeuronWeights:
    """The last neurons of each population lose their weight."""
    return {name: w.at[-COPIED:].set(0.0) / jnp.sum(w[:-COPIED]) for name, w in p.items()}


def kernels(case: Case) -> list[str]:
    """Observables that are matrices between points."""
    return [name for name, dims in case.equations.dims.items() if "point_prime" in dims]


def assert_same(actual: Observables, expected: Observables) -> None:
    for name in expected:
        assert_equal(name, actual[name], expected[name])


def _other_last_neurons(noise: Array) -> Array:
    return noise.at[:, -COPIED:].set(-2.0 * noise[:, :COPIED])


def _last_neurons_like_first(noise: Array) -> Array:
    return noise.at[:, -COPIED:].set(noise[:, :COPIED])


def _shared_with_last(w: Array) -> Array:
    return w.at[:COPIED].multiply(0.75).at[-COPIED:].set(0.25 * w[:COPIED])


def _matrices(values: np.ndarray, dims: tuple[str, ...]) -> np.ndarray:
    """Kernels (time, layer?, *rows, *columns) as a stack of square matrices."""
    rows = sum(dim != "layer" and not dim.endswith("_prime") for dim in dims)
    size = int(np.prod(values.shape[-rows:]))
    return values.reshape(-1, size, size)


class _Walk(NamedTuple):
    """Two steps of training, then: what is predicted and observed, and observed after three further kinds of step."""

    prediction: Array
    sites: Sites
    before: Observables
    without_residual: Observables
    without_rate: Observables
    after: Observables


@eqx.filter_jit
def _walk(problem: Problem, p: NeuronWeights) -> _Walk:
    equations, rate = problem.equations, problem.drive.rates[0, 0]
    state = equations.initial(problem.noise, p, momentum=False)
    for _ in range(2):
        f, activity = equations.forward(state, problem.noise, p)
        state = equations.step(state, activity, problem.drive.residual(f, None), Update(rate, 0.0, 0.0), p)
    f, activity = equations.forward(state, problem.noise, p)
    residual = problem.drive.residual(f, None)

    def observed_after(rate: Array, residual: Array) -> Observables:
        later = equations.step(state, activity, residual, Update(rate, 0.0, 0.0), p)
        return equations.observe(equations.sites(later, equations.forward(later, problem.noise, p)[1], p), p)

    sites = equations.sites(state, activity, p)
    return _Walk(
        prediction=f,
        sites=sites,
        before=equations.observe(sites, p),
        without_residual=observed_after(rate, jnp.zeros_like(f)),
        without_rate=observed_after(jnp.zeros_like(rate), residual),
        after=observed_after(rate, residual),
    )
