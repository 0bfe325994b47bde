"""Training of neurons that meet only in their predictions, and how it responds when something is added to those.

In a network without Gaussian matrices, a step needs of the other neurons only the residuals Delta, at the points that
it trains on.

Definitions
-----------
step     A substep of an interval between saved times.
seen     The points that a step trains on.
level    A training run of a step-halving ladder (`fwdmft.optimization`). All levels are trained side by side.
         Observables are a linear combination of those of the levels.
source   Numbers that are added to the predictions, at every step and seen point of every level.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int

from fwdmft.engine.dynamics import TrainingSignal
from fwdmft.engine.field_equations import FieldEquations, Noise, Observables, Sites, State
from fwdmft.engine.layers import strengths

TOGETHER = 1 << 13
"""Influences of single neurons that are computed at once, about."""

ByLevel = tuple[Float[Array, "... _saved _step _seen output"], ...]
"""Arrays (..., saved, step, seen, output), one for each level."""


class Task(eqx.Module):
    """The neurons that are trained, with their noise, and what they are trained on."""

    equations: FieldEquations
    noise: Noise
    training: TrainingSignal

    @property
    def widths(self) -> dict[str, float]:
        """Number of neurons of each population, in units of the network's width."""
        return {population.name: population.width for population in self.equations.populations}

    @property
    def starts(self) -> list[State]:
        """One state for each level."""
        momentum = self.training.momentum != 0
        return [self.equations.initial(self.noise, (), momentum=momentum) for _ in self.training.ladder]


class Step(NamedTuple):
    """rate: learning rate. batch: positions among the training points, None for all."""

    rate: Float[Array, "*time"]
    batch: Int[Array, "*time batch"] | None


def schedules(training: TrainingSignal) -> tuple[Step, ...]:
    """(saved, step) of every level."""
    return tuple(Step(*training.schedule(level.substeps)) for level in training.ladder)


def source_shapes(training: TrainingSignal) -> list[tuple[int, ...]]:
    """(saved, step, seen, output) of the predictions that each level trains on."""
    seen = len(training.targets) if training.batches is None else training.batches.shape[-1]
    saved, steps = training.rates.shape
    return [(saved, steps * level.substeps, seen, training.targets.shape[1]) for level in training.ladder]


def over_steps(body: Callable[[Any, Any], tuple[Any, Any]], carry: Any, xs: Any) -> tuple[Any, Any]:
    """`jax.lax.scan`, without a loop for a single step."""
    if len(jax.tree.leaves(xs)[0]) > 1:
        return jax.lax.scan(body, carry, xs)
    carry, y = body(carry, jax.tree.map(lambda a: a[0], xs))
    return carry, jax.tree.map(lambda a: a[None], y)


Contributed = dict[str, Float[Array, "seen output _neuron"]]


def _trained(
    task: Task,
    predictions: Callable[[Float[Array, "seen output"], Any], Float[Array, "seen output"]],
    given: tuple[Any, ...],
    observe: Callable[[list[Sites], Any], Any],
    extra: Any,
    keep: Callable[[Float[Array, "seen output"], Float[Array, "seen output"], Contributed], Any],
) -> tuple[Any, tuple[Any, ...]]:
    """Train all neurons together. Returns what is observed (saved, ...), and for each level what is kept (saved, step,
    ...).

    predictions(f, given): the predictions that a step trains on. f: those of the neurons (seen, output).
    given: for every level, an array (saved, step, ...). A step receives its own part.
    observe(sites, extra): what is observed at a saved time. sites: of every level.
    extra: arrays (saved, ...). A saved time receives its own part.
    keep(f, residual, x): what is kept of a step. f: the predictions trained on. residual: Delta. x: the contributions
    (seen, output, neuron) of every population to the predictions.
    """
    equations, training = task.equations, task.training

    def train(state: State, now: tuple[Step, Any]) -> tuple[State, Any]:
        step, given = now
        trained, seen = training.trained(equations, step.batch), training.seen(step.batch)
        state, fields = trained.forward(state, task.noise)
        used = predictions(fields.f[seen], given)
        residual = training.pull(used, step.batch)
        x = trained.prediction_sites(trained.sites(fields))
        kept = keep(used, residual, {name: each[seen] for name, each in x.items()})
        everywhere = training.placed(residual, step.batch, fields.f)
        return trained.step(state, fields, everywhere, training.update(step.rate)), kept

    def interval(states: list[State], now: tuple) -> tuple[list[State], tuple]:
        steps, given, extra = now
        passes = [equations.forward(state, task.noise) for state in states]
        sites = [equations.sites(fields) for _, fields in passes]
        levels = zip(passes, steps, given, strict=True)
        after = [over_steps(train, state, (step, each)) for (state, _), step, each in levels]
        return [state for state, _ in after], (observe(sites, extra), tuple(kept for _, kept in after))

    return jax.lax.scan(interval, task.starts, (schedules(training), given, extra))[1]


def _means(task: Task, sites: list[Sites]) -> Observables:
    return task.training.combined([task.equations.observe(each) for each in sites])


class Record(NamedTuple):
    """Of a training run, for every level.

    f: the predictions trained on.
    x: contributions of the neurons to them, for every population.
    """

    f: ByLevel
    x: tuple[dict[str, Float[Array, "_saved _step _seen output _neuron"]], ...]


def record(task: Task) -> Record:
    """Train all neurons, and keep what the responses need."""
    nothing = ((),) * len(task.training.ladder)
    _, kept = _trained(task, lambda f, _: f, nothing, lambda sites, _: (), None, lambda f, residual, x: (f, x))
    return Record(tuple(f for f, _ in kept), tuple(x for _, x in kept))


Seen = Float[Array, "seen output"]


class Driven(NamedTuple):
    """Responses to sources, with a leading axis of directions.

    observables: (direction, saved, ...). f, residual: (direction, saved, step, seen, output) of what is trained on.
    """

    observables: Observables
    f: ByLevel
    residual: ByLevel


def driven(task: Task, f: ByLevel, sources: ByLevel) -> Driven:
    """First derivatives of a training run in sources, one for each direction.

    f: predictions of the run whose derivatives are taken. The neurons of `task` may be fewer than those that gave f:
    they are trained on f, and only changes of f are their own.
    sources: (direction, saved, step, seen, output) for every level.
    """

    def predictions(own: Seen, given: tuple[Seen, Seen]) -> Seen:
        f, source = given
        return f + (own - jax.lax.stop_gradient(own)) + source

    def run(sources: ByLevel) -> Driven:
        given = tuple(zip(f, sources, strict=True))
        means, kept = _trained(
            task, predictions, given, lambda sites, _: _means(task, sites), None, lambda f, residual, x: (f, residual)
        )
        return Driven(means, tuple(f for f, _ in kept), tuple(residual for _, residual in kept))

    none = jax.tree.map(jnp.zeros_like, f)
    return jax.vmap(lambda source: jax.jvp(run, (none,), (source,))[1])(sources)


class Influences(NamedTuple):
    """Influences psi / sqrt(n) of single neurons (`linear_response`). n: neurons of their population in units of N.

    mean: the observables.
    variance: mean square of the influences on every observable, summed over populations.
    prediction: influences on the predictions, for every population.
    strength: influences on the strengths of the layers' kernels, for every population; {} without layers.
    """

    mean: Observables
    variance: Observables
    prediction: dict[str, Float[Array, "saved _neuron point output"]]
    strength: dict[str, Float[Array, "saved _neuron kernel layer"]]


def influences(
    task: Task, f: ByLevel, responses: Observables, amplitudes: dict[str, Float[Array, "direction neuron"]]
) -> Influences:
    """The influence of every neuron: its own contribution less the mean, plus its amplitudes times the responses.

    f: predictions trained on. responses: of observables to the sources (direction, saved, ...). amplitudes: of the
    sources in the contributions of each neuron, for every population.
    """

    def observe(sites: list[Sites], responses: Observables) -> Influences:
        each = {name: _of_population(task, name, sites, responses, rows.T) for name, rows in amplitudes.items()}
        variance = jax.tree.map(lambda *a: sum(a), *[squares for squares, _ in each.values()])
        prediction = {name: kept[0] for name, (_, kept) in each.items()}
        strength = {name: kept[1] for name, (_, kept) in each.items() if kept[1] is not None}
        return Influences(_means(task, sites), variance, prediction, strength)

    by_time = {name: jnp.moveaxis(a, 1, 0) for name, a in responses.items()}
    return _trained(task, lambda own, f: f, f, observe, by_time, lambda f, residual, x: ())[0]


OfNeurons = tuple[Float[Array, "neuron point output"], Float[Array, "neuron kernel layer"] | None]


def _of_population(
    task: Task, name: str, sites: list[Sites], responses: Observables, amplitudes: Float[Array, "neuron direction"]
) -> tuple[Observables, OfNeurons]:
    """At one time, for the neurons of population `name`: mean squares of their influences on the observables, and the
    influences themselves on predictions and strengths.

    sites: of every level. responses: (direction, ...).
    """
    equations, training = task.equations, task.training
    means = [{key: equations.averages(key, each[key]) for key in each} for each in sites]

    def own(site: list[Any]) -> Observables:
        def of_level(site: Any, mean: dict[str, Any]) -> Observables:
            alone = equations.averages(name, jax.tree.map(lambda a: a[..., None], site))
            change = jax.tree.map(jnp.subtract, alone, mean[name])
            tangent = {key: change if key == name else jax.tree.map(jnp.zeros_like, mean[key]) for key in mean}
            return jax.jvp(equations.assemble, (mean,), (tangent,))[1]

        return training.combined([of_level(*pair) for pair in zip(site, means, strict=True)])

    def chunk(total: Observables, some: tuple[Any, Float[Array, "neuron direction"]]) -> tuple[Observables, OfNeurons]:
        site, amplitudes = some
        indirect = jax.vmap(separate)(amplitudes @ jax.vmap(lambda a: ravel_pytree(a)[0])(responses))
        psi = jax.tree.map(lambda a, b: (a + b) / task.widths[name] ** 0.5, jax.vmap(own)(site), indirect)
        squares = jax.tree.map(lambda total, a: total + jnp.sum(a**2, axis=0) / count, total, psi)
        return squares, (psi["prediction"], strengths(psi) if equations.layers else None)

    separate = ravel_pytree(jax.tree.map(lambda a: a[0], responses))[1]
    numbers = sum(a[0].size for a in responses.values())
    count = len(amplitudes)
    size = max(d for d in range(1, count + 1) if count % d == 0 and (d == 1 or d * numbers <= TOGETHER))
    by_neuron = jax.tree.map(lambda a: jnp.moveaxis(a, -1, 0), [each[name] for each in sites])
    chunks = jax.tree.map(lambda a: a.reshape(-1, size, *a.shape[1:]), (by_neuron, amplitudes))
    none = {key: jnp.zeros(a.shape[1:]) for key, a in responses.items()}
    total, kept = over_steps(chunk, none, chunks)
    return total, jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:]), kept)
