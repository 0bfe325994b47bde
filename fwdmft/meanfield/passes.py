"""The passes through the dynamics from which fluctuations are made, compiled side by side.

`look` is a plain pass, `influences` reverse passes on combinations of observables, `responses` forward passes along
reweightings of the neurons. Directions travel in blocks of a fixed number, so that each program is compiled once.
"""

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fwdmft.errors import ComputationError
from fwdmft.meanfield import dynamics
from fwdmft.meanfield.dynamics import Drive
from fwdmft.meanfield.field_equations import Bases, FieldEquations, NeuronWeights, Observables, Sites
from fwdmft.meanfield.layers import Layers, strength_covariance, strengths, two_time_kernels, two_time_variance

NEURONS_PER_VECTOR = 4
"""A basis of k vectors takes k of the S dimensions of neuron space; what is left of the randomness is off by k/S."""


Collected = tuple[Observables, Layers]


class Problem(eqx.Module):
    """Everything a pass needs apart from the weights it is differentiated in.

    two_time: observe two-time kernels as well.
    """

    equations: FieldEquations
    noise: dict[str, Array]
    drive: Drive
    two_time: bool = eqx.field(static=True, default=False)

    def trajectory(
        self, p: NeuronWeights, observe: Callable[[Sites], Any], summarise: Callable[[Any], Any]
    ) -> dynamics.Trajectory:
        """See `dynamics.trajectory`."""
        return dynamics.trajectory(self.equations, self.noise, self.drive, p, observe, summarise)

    def collect(self, sites: Sites, p: NeuronWeights) -> Collected:
        """What is kept at each time, to be made into observables by `complete`."""
        layers = self.equations.layer_sites(sites) if self.two_time else ()
        return self.equations.observe(sites, p), layers

    def complete(self, collected: Collected, p: NeuronWeights) -> Observables:
        """Observables of a whole pass: (time, ...), and those named in `layers.TWO_TIME_DIMS`."""
        seen, layers = collected
        return seen | two_time_kernels(layers, self.by_layer(p)) if layers else seen

    def observed(self, p_dynamics: NeuronWeights, p_observed: NeuronWeights) -> dynamics.Trajectory:
        """Observables, with separate weights for the dynamics and for what is averaged at last."""
        return self.trajectory(
            p_dynamics, lambda sites: self.collect(sites, p_observed), lambda seen: self.complete(seen, p_observed)
        )

    def observables(self, p_dynamics: NeuronWeights, p_observed: NeuronWeights) -> Observables:
        """Those alone."""
        return self.observed(p_dynamics, p_observed).seen

    def by_layer(self, values: Mapping[str, Any]) -> list[Any]:
        """What belongs to the population of each layer."""
        return [values[name] for name in self.equations.layers]

    def equal_weights(self) -> NeuronWeights:
        """p_i = 1/S for every population."""
        counts = {population.name: self.noise[population.name].shape[-1] for population in self.equations.populations}
        return {name: jnp.full(count, 1.0 / count) for name, count in counts.items()}

    @property
    def widths(self) -> dict[str, float]:
        """Number of neurons of each population, in units of the network's width."""
        return {population.name: population.width for population in self.equations.populations}


@eqx.filter_jit
def plain(problem: Problem, p: NeuronWeights) -> dynamics.Trajectory:
    """Observables along one pass, without derivatives."""
    return problem.observed(p, p)


def with_room(
    equations: FieldEquations, pose: Callable[[FieldEquations], Problem]
) -> tuple[FieldEquations, dynamics.Trajectory]:
    """The equations with as much room for bases as the problem needs, and the pass that showed it.

    Raises ComputationError when a basis needs too many vectors for the number of sample neurons.
    """
    while True:
        problem = pose(equations)
        p = problem.equal_weights()
        seen = plain(problem, p)
        if not np.any(seen.bases.full):
            return equations, seen
        _check_neurons(seen.bases, min(len(weights) for weights in p.values()))
        equations = equations.fitted(seen.bases)


def _check_neurons(bases: Bases, count: int) -> None:
    rank = int(np.max(bases.rank, initial=0))
    if count < NEURONS_PER_VECTOR * rank:
        raise ComputationError(
            f"random matrices act on more than {rank} independent vectors, too many for {count} sample neurons; "
            f"expected at least {NEURONS_PER_VECTOR} times as many neurons as vectors: raise theory.neurons, or lower "
            "theory.replicates, which share them where fluctuations are computed"
        )


class Look(NamedTuple):
    """Observables, their direct variance, contributions of neurons to predictions, and the bases of matrices.

    strength_covariance: direct covariance among layers (time, kernel, layer, kernel, layer), None without layers.
    """

    mean: Observables
    direct_variance: Observables
    prediction_sites: dict[str, Array]
    strength_covariance: Array | None
    bases: Bases


class Joint(NamedTuple):
    """Quantities whose covariances are wanted, not only their variances, or their response to reweighting.

    prediction: (..., time, point, output). strength: of the layers' kernels (..., time, kernel, layer) or None.
    """

    prediction: Array
    strength: Array | None


class Responses(NamedTuple):
    """Weighted sums over a block of directions, and the response of some observables to each of them.

    variance: of squared derivatives, total minus direct. half_second: of half second derivatives ({} if not asked
    for). total, direct: with a leading axis of directions.
    """

    variance: Observables
    half_second: Observables
    total: Joint
    direct: Joint


@eqx.filter_jit
def look(problem: Problem, p: NeuronWeights) -> Look:
    """One plain pass."""
    equations = problem.equations
    layers, populations = equations.layers, equations.populations

    def observe(sites: Sites) -> tuple:
        together = strength_covariance(equations.layer_sites(sites), layers, populations, p) if layers else None
        direct = equations.direct_variance(sites, p)
        return problem.collect(sites, p), direct, equations.prediction_sites(sites), together

    def summarise(seen: tuple) -> tuple:
        collected, direct, sites, together = seen
        if collected[1]:
            weights, widths = problem.by_layer(p), problem.by_layer(problem.widths)
            direct = direct | two_time_variance(collected[1], weights, widths)
        return problem.complete(collected, p), direct, sites, together

    (mean, direct, sites, together), bases = problem.trajectory(p, observe, summarise)
    return Look(mean, direct, sites, together, bases)


@eqx.filter_jit
def influences(problem: Problem, p: NeuronWeights, combinations: Observables) -> Float[Array, "count stacked"]:
    """Indirect influences sqrt(p_i) d q / d p_i of the neurons on linear combinations of observables (count, ...).

    Populations are stacked in alphabetical order. Not centred.
    """
    _, pull_back = jax.vjp(lambda p_dynamics: problem.observables(p_dynamics, p), p)

    def influence(combination: Observables) -> Array:
        (gradient,) = pull_back(combination)
        return jnp.concatenate([jnp.sqrt(p[name] / problem.widths[name]) * gradient[name] for name in sorted(p)])

    return jax.vmap(influence)(combinations)


@eqx.filter_jit
def responses(
    problem: Problem,
    p: NeuronWeights,
    directions: Float[Array, "count stacked"],
    weights: Float[Array, " count"],
    bias: bool,
) -> Responses:
    """Derivatives of the observables along scaled directions; second derivatives too if `bias`.

    weights: of the directions in both sums.
    """

    def along(z: Array) -> tuple[tuple[Observables, Observables], Observables]:
        dp = reweighting(p, z, problem.widths)

        def total_and_direct(p: NeuronWeights) -> tuple[Observables, Observables]:
            return problem.trajectory(
                p,
                lambda sites: (problem.collect(sites, p), problem.collect(jax.lax.stop_gradient(sites), p)),
                lambda seen: (problem.complete(seen[0], p), problem.complete(seen[1], p)),
            ).seen

        def slope(p: NeuronWeights) -> tuple[Observables, Observables]:
            return jax.jvp(total_and_direct, (p,), (dp,))[1]

        if not bias:
            return slope(p), {}
        first, (second, _) = jax.jvp(slope, (p,), (dp,))
        return first, second

    (total, direct), second = jax.vmap(along)(directions)
    return Responses(
        {name: jnp.tensordot(weights, total[name] ** 2 - direct[name] ** 2, axes=1) for name in total},
        {name: jnp.tensordot(weights, value, axes=1) / 2 for name, value in second.items()},
        _joint(problem, total),
        _joint(problem, direct),
    )


def _joint(problem: Problem, derivatives: Observables) -> Joint:
    """Strengths are linear in the kernels, so they respond like the kernels."""
    return Joint(derivatives["prediction"], strengths(derivatives) if problem.equations.layers else None)


def reweighting(p: NeuronWeights, z: Float[Array, " stacked"], widths: dict[str, float]) -> NeuronWeights:
    """The change of p along a scaled direction: sqrt(p_i / n) z_i for each population, n its width in units of N."""
    ends = np.cumsum([p[name].shape[0] for name in sorted(p)])
    parts = jnp.split(z, ends[:-1])
    return {name: jnp.sqrt(p[name] / widths[name]) * part for name, part in zip(sorted(p), parts, strict=True)}


class Passes:
    """The passes compiled for problems that differ from a first one only in the values of their arrays.

    Compilation takes longer than many runs, so the programs are compiled at once, in threads.
    """

    def __init__(self, problem: Problem, p: NeuronWeights, block: int, bias: bool):
        self.block = block
        shapes = jax.eval_shape(problem.observables, p, p)
        combinations = {name: np.zeros((block, *a.shape)) for name, a in shapes.items()}
        directions = np.zeros((block, sum(len(weights) for weights in p.values())))
        programs: dict[Any, tuple] = {
            responses: (problem, p, directions, np.zeros(block), bias),
            influences: (problem, p, combinations),
            look: (problem, p),
        }
        pool = ThreadPoolExecutor(max_workers=2)
        self._programs: dict[Any, Future] = {
            function: pool.submit(_compiled, function, arguments) for function, arguments in programs.items()
        }
        self._bias = bias
        pool.shutdown(wait=False)

    def look(self, problem: Problem, p: NeuronWeights) -> Look:
        return self._programs[look].result()(problem, p)

    def influences(self, problem: Problem, p: NeuronWeights, combinations: Observables) -> Array:
        return self._programs[influences].result()(problem, p, combinations)

    def responses(self, problem: Problem, p: NeuronWeights, directions: np.ndarray, weights: np.ndarray) -> Responses:
        return self._programs[responses].result()(problem, p, directions, weights, self._bias)


def _compiled(function: Any, arguments: tuple) -> Callable:
    # JAX keeps its precision setting per thread.
    with jax.enable_x64(True):
        return function.lower(*arguments).compile()
