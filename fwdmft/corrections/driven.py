"""Training of neurons that meet only in their predictions, and how it responds when something is added to those.

Without Gaussian matrices a step reads nothing off the other neurons but the residuals Delta of the points it trains on.
Rungs of a step-halving ladder are trained side by side: what is observed is a linear combination of theirs. "Steps" are
the substeps of an interval between saved times, "seen" points those that a step trains on.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int

from fwdmft import losses
from fwdmft.engine.dynamics import TrainingSignal
from fwdmft.engine.field_equations import FieldEquations, Noise, Observables, Sites, State
from fwdmft.engine.layers import strengths
from fwdmft.engine.update import Update

TOGETHER = 1 << 13
"""Influences of single neurons that are computed at once, about."""

ByRung = tuple[Float[Array, "... _saved _step _seen output"], ...]
"""Arrays (..., saved, step, seen, output), one for each rung."""


class Task(eqx.Module):
    """What is trained, and by what."""

    equations: FieldEquations
    noise: Noise
    training: TrainingSignal

    @property
    def widths(self) -> dict[str, float]:
        """Number of neurons of each population, in units of the network's width."""
        return {population.name: population.width for population in self.equations.populations}

    @property
    def starts(self) -> list[State]:
        """One state for each rung."""
        momentum = self.training.momentum != 0
        return [self.equations.initial(self.noise, (), momentum=momentum) for _ in self.training.ladder]


class Step(NamedTuple):
    """rate: learning rate. batch: positions among the training points, None for all."""

    rate: Float[Array, "*time"]
    batch: Int[Array, "*time batch"] | None

    def seen(self, training: TrainingSignal) -> Any:
        """Index of the points seen among those of the equations that the step trains."""
        if training.stream is not None:
            return slice(None)
        return training.train if self.batch is None else training.train[self.batch]

    def residual(self, training: TrainingSignal, f: Float[Array, "seen output"]) -> Float[Array, "seen output"]:
        """Delta, given the predictions."""
        return losses.residual(
            training.loss, f, training.targets if self.batch is None else training.targets[self.batch]
        )

    def placed(
        self, training: TrainingSignal, values: Float[Array, "seen output"], like: Float[Array, "point output"]
    ) -> Float[Array, "point output"]:
        """Values at the points seen, zero at the others."""
        return jnp.zeros_like(like).at[self.seen(training)].set(values)

    def update(self, training: TrainingSignal) -> Update:
        return Update(self.rate, training.momentum, training.weight_decay)


def schedules(training: TrainingSignal) -> tuple[Step, ...]:
    """(saved, step) of every rung."""

    def of_rung(substeps: int) -> Step:
        batches = None if training.batches is None else jnp.repeat(training.batches, substeps, axis=1)
        return Step(jnp.repeat(training.rates / substeps, substeps, axis=1), batches)

    return tuple(of_rung(rung.substeps) for rung in training.ladder)


def source_shapes(training: TrainingSignal) -> list[tuple[int, ...]]:
    """(saved, step, seen, output) of the predictions that each rung trains on."""
    seen = len(training.targets) if training.batches is None else training.batches.shape[-1]
    saved, steps = training.rates.shape
    return [(saved, steps * rung.substeps, seen, training.targets.shape[1]) for rung in training.ladder]


def over_steps(body: Callable[[Any, Any], tuple[Any, Any]], carry: Any, xs: Any) -> tuple[Any, Any]:
    """`jax.lax.scan`, without a loop for a single step."""
    if len(jax.tree.leaves(xs)[0]) > 1:
        return jax.lax.scan(body, carry, xs)
    carry, y = body(carry, jax.tree.map(lambda a: a[0], xs))
    return carry, jax.tree.map(lambda a: a[None], y)


def combined(training: TrainingSignal, parts: Sequence[Any]) -> Any:
    """Sum over the rungs of a ladder."""
    coefficients = [rung.coefficient for rung in training.ladder]
    return jax.tree.map(lambda *leaves: sum(c * a for c, a in zip(coefficients, leaves, strict=True)), *parts)


Contributed = dict[str, Float[Array, "seen output _neuron"]]


def _trained(
    task: Task,
    predictions: Callable[[Float[Array, "seen output"], Any], Float[Array, "seen output"]],
    given: tuple[Any, ...],
    observe: Callable[[list[Sites], Any], Any],
    extra: Any,
    keep: Callable[[Float[Array, "seen output"], Float[Array, "seen output"], Contributed], Any],
) -> tuple[Any, tuple[Any, ...]]:
    """Train all neurons together; what was observed (saved, ...), and kept (saved, step, ...) of each rung.

    predictions: those to train on, from the neurons' own f (seen, output) and the part of `given` that belongs to the
    step. observe: of the sites of every rung, and the part of `extra` that belongs to a saved time. keep: of
    predictions trained on, residuals, and contributions (seen, output, neuron) of every population to the former.
    """
    equations, training = task.equations, task.training

    def train(state: State, now: tuple[Step, Any]) -> tuple[State, Any]:
        step, given = now
        trained, seen = training.trained(equations, step.batch), step.seen(training)
        state, fields = trained.forward(state, task.noise)
        used = predictions(fields.f[seen], given)
        residual = step.residual(training, used)
        x = trained.prediction_sites(trained.sites(fields))
        kept = keep(used, residual, {name: each[seen] for name, each in x.items()})
        return trained.step(state, fields, step.placed(training, residual, fields.f), step.update(training)), kept

    def interval(states: list[State], now: tuple) -> tuple[list[State], tuple]:
        steps, given, extra = now
        passes = [equations.forward(state, task.noise) for state in states]
        sites = [equations.sites(fields) for _, fields in passes]
        rungs = zip(passes, steps, given, strict=True)
        after = [over_steps(train, state, (step, each)) for (state, _), step, each in rungs]
        return [state for state, _ in after], (observe(sites, extra), tuple(kept for _, kept in after))

    return jax.lax.scan(interval, task.starts, (schedules(training), given, extra))[1]


def _means(task: Task, sites: list[Sites]) -> Observables:
    return combined(task.training, [task.equations.observe(each) for each in sites])


class Record(NamedTuple):
    """Of a training run: predictions trained on, and neurons' contributions (saved, step, seen, output, neuron) to
    them, per rung."""

    f: ByRung
    x: tuple[dict[str, Float[Array, "_saved _step _seen output _neuron"]], ...]


def record(task: Task) -> Record:
    """Train all neurons."""
    nothing = ((),) * len(task.training.ladder)
    _, kept = _trained(task, lambda f, _: f, nothing, lambda sites, _: (), None, lambda f, residual, x: (f, x))
    return Record(tuple(f for f, _ in kept), tuple(x for _, x in kept))


Seen = Float[Array, "seen output"]


class Driven(NamedTuple):
    """Responses to sources, with a leading axis of directions.

    observables: (direction, saved, ...). f, residual: (direction, saved, step, seen, output) of what is trained on.
    """

    observables: Observables
    f: ByRung
    residual: ByRung


def driven(task: Task, f: ByRung, sources: ByRung) -> Driven:
    """First derivatives along sources (direction, ...) that are added to the predictions.

    f: predictions trained on. With fewer neurons than those come from, responses are theirs along that training run.
    """

    def predictions(own: Seen, given: tuple[Seen, Seen]) -> Seen:
        f, source = given
        return f + (own - jax.lax.stop_gradient(own)) + source

    def run(sources: ByRung) -> Driven:
        given = tuple(zip(f, sources, strict=True))
        means, kept = _trained(
            task, predictions, given, lambda sites, _: _means(task, sites), None, lambda f, residual, x: (f, residual)
        )
        return Driven(means, tuple(f for f, _ in kept), tuple(residual for _, residual in kept))

    none = jax.tree.map(jnp.zeros_like, f)
    return jax.vmap(lambda source: jax.jvp(run, (none,), (source,))[1])(sources)


class Influences(NamedTuple):
    """psi / sqrt(n), n being the number of neurons of a population in units of N.

    mean: observables. variance: mean square of influences on observables. prediction, strength: influences on the
    predictions (saved, neuron, point, output) and on the strengths of the layers' kernels (saved, neuron, kernel,
    layer), None without layers, per population.
    """

    mean: Observables
    variance: Observables
    prediction: dict[str, Float[Array, "saved _neuron point output"]]
    strength: dict[str, Float[Array, "saved _neuron kernel layer"] | None] | None


def influences(
    task: Task, f: ByRung, responses: Observables, amplitudes: dict[str, Float[Array, "direction neuron"]]
) -> Influences:
    """Of every neuron: its own centred contribution, and its amplitudes times responses (direction, saved, ...).

    f: predictions trained on.
    """

    def observe(sites: list[Sites], responses: Observables) -> Influences:
        each = {name: _of_population(task, name, sites, responses, rows.T) for name, rows in amplitudes.items()}
        variance = jax.tree.map(lambda *a: sum(a), *[squares for squares, _ in each.values()])
        strength = {name: kept[1] for name, (_, kept) in each.items()} if task.equations.layers else None
        return Influences(_means(task, sites), variance, {name: kept[0] for name, (_, kept) in each.items()}, strength)

    by_time = {name: jnp.moveaxis(a, 1, 0) for name, a in responses.items()}
    return _trained(task, lambda own, f: f, f, observe, by_time, lambda f, residual, x: ())[0]


OfNeurons = tuple[Float[Array, "neuron point output"], Float[Array, "neuron kernel layer"] | None]


def _of_population(
    task: Task, name: str, sites: list[Sites], responses: Observables, amplitudes: Float[Array, "neuron direction"]
) -> tuple[Observables, OfNeurons]:
    """Mean squares of its neurons' influences, and those (neuron, ...) on predictions and strengths, at one time."""
    equations, training = task.equations, task.training
    means = [{key: equations.averages(key, each[key]) for key in each} for each in sites]

    def own(site: list[Any]) -> Observables:
        def of_rung(site: Any, mean: dict[str, Any]) -> Observables:
            alone = equations.averages(name, jax.tree.map(lambda a: a[..., None], site))
            change = jax.tree.map(jnp.subtract, alone, mean[name])
            tangent = {key: change if key == name else jax.tree.map(jnp.zeros_like, mean[key]) for key in mean}
            return jax.jvp(equations.assemble, (mean,), (tangent,))[1]

        return combined(training, [of_rung(*pair) for pair in zip(site, means, strict=True)])

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
