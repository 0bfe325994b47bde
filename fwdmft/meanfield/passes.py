"""The passes through the dynamics from which fluctuations are made, compiled side by side.

`look` is a plain pass, `influences` reverse passes on combinations of observables, `responses` forward passes along
reweightings of the neurons. Directions travel in blocks of a fixed number, so that each program is compiled once.
"""

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fwdmft.meanfield import dynamics
from fwdmft.meanfield.dynamics import Drive
from fwdmft.meanfield.field_equations import Bases, FieldEquations, NeuronWeights, Observables, Sites
from fwdmft.meanfield.gaussian_matrix import of_first
from fwdmft.meanfield.layers import Layers, strength_covariance, strengths, two_time_kernels, two_time_variance
from fwdmft.meanfield.room import OutOfRoom, check_room

AXIS = "reweighting"
"""Name of the axis along which passes run side by side."""


class Steps(NamedTuple):
    """Lengths of difference quotients along scaled directions: the largest that all of these allow.

    length: in units of the direction; N^(-1/2) is what separates networks of width N. relative: change of the neurons'
    weights, root mean square. largest: the same of a single neuron.
    """

    length: float
    relative: float
    largest: float


SMALL = Steps(1.0, 2e-3, 1.0)
ACROSS_KINKS = Steps(0.05, 0.3, 0.5)
"""Where activations bend sharply, second derivatives are averages over the few neurons in the bend, which cancel to a
large part. Networks of width 400, whose neurons move through it, do not differ from q by much more than b / N."""

Collected = tuple[Observables, Layers]


class Problem(eqx.Module):
    """Everything a pass needs apart from the weights it is differentiated in.

    two_time: observe two-time kernels as well. steps: of difference quotients.
    """

    equations: FieldEquations
    noise: dict[str, Array]
    drive: Drive
    two_time: bool = eqx.field(static=True, default=False)
    steps: Steps = eqx.field(static=True, default=SMALL)

    def trajectory(
        self,
        p: NeuronWeights,
        observe: Callable[[Sites], Any],
        summarise: Callable[[Any], Any],
        halting: bool = False,
    ) -> dynamics.Trajectory:
        """See `dynamics.trajectory`."""
        return dynamics.trajectory(self.equations, self.noise, self.drive, p, observe, summarise, halting)

    def collect(self, sites: Sites, p: NeuronWeights) -> Collected:
        """What is kept at each time, to be made into observables by `complete`."""
        layers = self.equations.layer_sites(sites) if self.two_time else ()
        return self.equations.observe(sites, p), layers

    def complete(self, collected: Collected, p: NeuronWeights) -> Observables:
        """Observables of a whole pass: (time, ...), and those named in `layers.TWO_TIME_DIMS`."""
        seen, layers = collected
        return seen | two_time_kernels(layers, self.by_layer(p)) if layers else seen

    def observed(
        self, p_dynamics: NeuronWeights, p_observed: NeuronWeights, halting: bool = False
    ) -> dynamics.Trajectory:
        """Observables, with separate weights for the dynamics and for what is averaged at last."""
        return self.trajectory(
            p_dynamics,
            lambda sites: self.collect(sites, p_observed),
            lambda seen: self.complete(seen, p_observed),
            halting,
        )

    def observables(self, p_dynamics: NeuronWeights, p_observed: NeuronWeights) -> Observables:
        """Those alone."""
        return self.observed(p_dynamics, p_observed).seen

    def total_and_direct(self, p: NeuronWeights, unmoved: Callable[[Sites], Sites]) -> tuple[Observables, Observables]:
        """Observables of a pass with weights p, and of the sites that `unmoved` makes of those it went through."""
        return self.trajectory(
            p,
            lambda sites: (self.collect(sites, p), self.collect(unmoved(sites), p)),
            lambda seen: (self.complete(seen[0], p), self.complete(seen[1], p)),
        ).seen

    def smoothed(self) -> "Problem":
        """The problem that derivatives are taken of, see `FieldEquations.smoothed`; this one if that is the same."""
        equations = self.equations.smoothed()
        return self if equations is self.equations else replace(self, equations=equations, steps=ACROSS_KINKS)

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
    """Observables along one pass, without derivatives. It stops where a basis is full."""
    return problem.observed(p, p, halting=True)


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
        try:
            check_room(seen.bases, p)
        except OutOfRoom as error:
            equations = equations.fitted(error.bases)
        else:
            return equations, seen


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
            return problem.total_and_direct(p, jax.lax.stop_gradient)

        def slope(p: NeuronWeights) -> tuple[Observables, Observables]:
            return jax.jvp(total_and_direct, (p,), (dp,))[1]

        if not bias:
            return slope(p), {}
        first, (second, _) = jax.jvp(slope, (p,), (dp,))
        return first, second

    (total, direct), second = jax.vmap(along)(directions)
    return _summed(problem, total, direct, second, weights)


@eqx.filter_jit
def differences(
    problem: Problem,
    p: NeuronWeights,
    directions: Float[Array, "count stacked"],
    weights: Float[Array, " count"],
    bias: bool,
) -> Responses:
    """The same by central differences, which cost two passes per direction and suit large states.

    The passes along all directions run side by side with one that is not reweighted, the first, and follow its
    decisions. problem: with equations that do (`FieldEquations.following`).
    """
    steps = jnp.stack([_step(problem, p, z) for z in directions])

    def one_pass(z: Array) -> tuple[Observables, Observables]:
        moved = jax.tree.map(jnp.add, p, reweighting(p, z, problem.widths))

        return problem.total_and_direct(moved, lambda sites: jax.tree.map(lambda a: of_first(a, AXIS), sites))

    scaled = directions * steps[:, None]
    found = jax.vmap(one_pass, axis_name=AXIS)(jnp.concatenate([jnp.zeros_like(scaled[:1]), scaled, -scaled]))

    def by_step(values: Array, power: int) -> Array:
        return values / (steps**power).reshape(-1, *(1,) * (values.ndim - 1))

    def slope(q: Array) -> Array:
        forward, backward = jnp.split(q[1:], 2)
        return by_step((forward - backward) / 2, 1)

    def curvature(q: Array) -> Array:
        forward, backward = jnp.split(q[1:], 2)
        return by_step(forward - 2 * q[:1] + backward, 2)

    (total, direct), second = jax.tree.map(slope, found), jax.tree.map(curvature, found[0]) if bias else {}
    return _summed(problem, total, direct, second, weights)


def _step(problem: Problem, p: NeuronWeights, z: Array) -> Float[Array, ""]:
    """How far to go along a direction."""
    changes = reweighting(p, z, problem.widths)
    relative = jnp.concatenate([changes[name] / p[name] for name in sorted(p)])
    size, largest = jnp.sqrt(jnp.mean(relative**2)), jnp.max(jnp.abs(relative))
    allowed = problem.steps.relative / size, problem.steps.largest / largest
    return jnp.where(size > 0, jnp.minimum(problem.steps.length, jnp.minimum(*allowed)), 1.0)


def _summed(
    problem: Problem, total: Observables, direct: Observables, second: Observables, weights: Array
) -> Responses:
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

    Derivatives are those of smoothed problems. Compilation takes longer than many runs, so the programs are compiled at
    once, in threads. options: of the compiler.
    """

    def __init__(
        self, problem: Problem, p: NeuronWeights, block: int, bias: bool, options: Mapping[str, Any] | None = None
    ):
        self.block = block
        shapes = jax.eval_shape(problem.observables, p, p)
        combinations = {name: np.zeros((block, *a.shape)) for name, a in shapes.items()}
        directions = np.zeros((block, sum(len(weights) for weights in p.values())))
        smoothed = problem.smoothed()
        respond = responses if smoothed.equations.following(AXIS) is None else differences
        # The one that takes longest begins first.
        programs: dict[Any, tuple] = {
            influences: (smoothed, p, combinations),
            respond: (self._led(smoothed), p, directions, np.zeros(block), bias),
            look: (problem, p),
        }
        if smoothed is not problem:
            programs[plain] = (smoothed, p)
        pool = ThreadPoolExecutor(max_workers=2)
        self._programs: dict[Any, Future] = {
            function: pool.submit(_compiled, function, arguments, dict(options or {}))
            for function, arguments in programs.items()
        }
        self._respond, self._bias = respond, bias
        pool.shutdown(wait=False)

    def look(self, problem: Problem, p: NeuronWeights) -> Look:
        """Of the problem as it is; the bases are the larger ones of it and its smoothed twin."""
        seen = self._programs[look].result()(problem, p)
        smoothed = problem.smoothed()
        if smoothed is problem:
            return seen
        bases = self._programs[plain].result()(smoothed, p).bases
        return seen._replace(bases=jax.tree.map(jnp.maximum, seen.bases, bases))

    def influences(self, problem: Problem, p: NeuronWeights, combinations: Observables) -> Array:
        return self._programs[influences].result()(problem.smoothed(), p, combinations)

    def responses(self, problem: Problem, p: NeuronWeights, directions: np.ndarray, weights: np.ndarray) -> Responses:
        led = self._led(problem.smoothed())
        return self._programs[self._respond].result()(led, p, directions, weights, self._bias)

    def _led(self, problem: Problem) -> Problem:
        """The problem for passes that follow a first one, where its equations allow for that."""
        equations = problem.equations.following(AXIS)
        return problem if equations is None else replace(problem, equations=equations)


def _compiled(function: Any, arguments: tuple, options: dict[str, Any]) -> Callable:
    # JAX keeps its precision setting per thread.
    with jax.enable_x64(True):
        return function.lower(*arguments).compile(compiler_options=options)
