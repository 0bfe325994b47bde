"""One causal pass of training, through the fields of all neurons.

The same pass serves a large simulation at infinite width and networks of few neurons: they differ in the random
matrices (see `field_equations`).
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from fwdmft import losses
from fwdmft.engine.field_equations import FieldEquations, Fields, Noise, State
from fwdmft.engine.update import Update
from fwdmft.experiment.loss import LossSpec
from fwdmft.optimization import Plan, RichardsonLevel


class TrainingSignal(eqx.Module):
    """What training imposes on the neurons: targets, loss, and the optimizer's plan.

    targets: (training point, output). train: positions of the training points among the observed ones.
    rates: (saved, step) learning rates of the steps after each saved time. batches: (saved, step, batch size)
    positions among the training points, or None for all. lengths: how many of these steps there are, as the rest are
    zeros. See `Plan.intervals`.
    stream: (training point, feature) where none of the training points is observed; `train` is then empty.
    """

    targets: Float[Array, "train output"]
    train: Int[Array, " observed"]
    rates: Float[Array, "saved step"]
    batches: Int[Array, "saved step batch"] | None
    lengths: Int[Array, " saved"]
    momentum: float = eqx.field(static=True)
    weight_decay: float = eqx.field(static=True)
    loss: LossSpec = eqx.field(static=True)
    ladder: tuple[RichardsonLevel, ...] = eqx.field(static=True)
    stream: Float[Array, "train feature"] | None = None

    def trained(self, equations: FieldEquations, batch: Int[Array, " batch"] | None) -> FieldEquations:
        """The equations on the points that a step trains on, as far as those are not among the observed ones."""
        if self.stream is None:
            return equations
        return equations.on(self.stream[slice(None) if batch is None else batch])

    def seen(self, batch: Int[Array, " batch"] | None) -> Any:
        """Index of the points that a step trains on, among those of the equations that it trains."""
        if self.stream is not None:
            return slice(None)
        return self.train if batch is None else self.train[batch]

    def pull(self, f: Float[Array, "seen output"], batch: Int[Array, " batch"] | None) -> Float[Array, "seen output"]:
        """Delta, given the predictions at the points seen."""
        return losses.residual(self.loss, f, self.targets if batch is None else self.targets[batch])

    def placed(
        self,
        values: Float[Array, "seen output"],
        batch: Int[Array, " batch"] | None,
        like: Float[Array, "point output"],
    ) -> Float[Array, "point output"]:
        """Values at the points seen, zero at the others; of the shape of `like`."""
        return jnp.zeros_like(like).at[self.seen(batch)].set(values)

    def residual(
        self, f: Float[Array, "point output"], batch: Int[Array, " batch"] | None
    ) -> Float[Array, "point output"]:
        """Delta at every point of the equations, zero where the step does not train."""
        return self.placed(self.pull(f[self.seen(batch)], batch), batch, f)

    def update(self, rate: Float[Array, ""]) -> Update:
        """What a step does at this learning rate."""
        return Update(rate, self.momentum, self.weight_decay)

    def schedule(self, substeps: int) -> tuple[Float[Array, "saved substep"], Int[Array, "saved substep batch"] | None]:
        """Learning rate and batch of every substep."""
        batches = None if self.batches is None else jnp.repeat(self.batches, substeps, axis=1)
        return jnp.repeat(self.rates, substeps, axis=1) / substeps, batches

    def without_ladder(self) -> "TrainingSignal":
        """Of whatever level."""
        return replace(self, ladder=())

    def combined(self, levels: Sequence[Any]) -> Any:
        """What a step-halving ladder makes of its levels, see `fwdmft.optimization`."""
        coefficients = [level.coefficient for level in self.ladder]
        return jax.tree.map(lambda *leaves: sum(c * a for c, a in zip(coefficients, leaves, strict=True)), *levels)


def training_signal(
    plan: Plan, loss: LossSpec, y: Float[np.ndarray, "point output"], train: Bool[np.ndarray, " point"], save_every: int
) -> TrainingSignal:
    """The training signal of a plan for targets y (point, output) and a mask of training points, none with a stream."""
    positions, stream = np.flatnonzero(train), plan.stream
    rates, batches = plan.intervals(save_every)
    lengths = np.diff(plan.saved(save_every), append=plan.steps - 1)
    return TrainingSignal(
        targets=jnp.asarray(y[positions] if stream is None else stream.y),
        train=jnp.asarray(positions),
        rates=jnp.asarray(rates),
        batches=None if batches is None else jnp.asarray(batches),
        lengths=jnp.asarray(lengths),
        momentum=plan.momentum,
        weight_decay=plan.weight_decay,
        loss=loss,
        ladder=plan.ladder,
        stream=None if stream is None else jnp.asarray(stream.x),
    )


class Trajectory(NamedTuple):
    """What was collected (time axis first), and the state after training."""

    seen: Any
    state: State


Observe = Callable[[FieldEquations, Fields], Any]


def trajectory(
    equations: FieldEquations, noise: Noise, matrices: tuple[Any, ...], training: TrainingSignal, observe: Observe
) -> Any:
    """What `observe(equations, fields)` collects before the update of every saved step, a time axis first."""

    def of_level(substeps: Any) -> Any:
        return one_pass(equations, noise, matrices, training, observe, substeps).seen

    if len(training.ladder) == 1:
        return training.combined([of_level(training.ladder[0].substeps)])
    # One after the other, so that all levels are compiled as one.
    levels = jax.lax.map(of_level, jnp.array([level.substeps for level in training.ladder]))
    return training.combined([jax.tree.map(lambda a, i=i: a[i], levels) for i in range(len(training.ladder))])


def one_pass(
    equations: FieldEquations,
    noise: Noise,
    matrices: tuple[Any, ...],
    training: TrainingSignal,
    observe: Observe,
    substeps: int | Int[Array, ""],
    *,
    halt: Callable[[State], Bool[Array, ""]] | None = None,
) -> Trajectory:
    """Train the neurons once.

    substeps: of every step. halt: stop once this is true of the state, and collect zeros from then on.
    """
    Step = tuple[Float[Array, "*time"], Int[Array, "*time batch"] | None]

    def train(state: State, equations: FieldEquations, fields: Fields, step: Step) -> State:
        """fields: of the forward pass on the points trained on."""
        rate, batch = step
        return equations.step(state, fields, training.residual(fields.f, batch), training.update(rate))

    def interval(state: State, span: tuple[Step, Int[Array, ""]]) -> tuple[State, Any]:
        """The first forward pass on the points trained on is also what is observed, so that it is compiled once."""
        steps, length = span

        def at(i: Int[Array, ""]) -> Step:
            rate, batch = jax.tree.map(lambda a: a[i // substeps], steps)
            return rate / substeps, batch

        def one(i: Int[Array, ""], inner: tuple[State, Any]) -> tuple[State, Any]:
            state, seen = inner
            state, fields = equations.forward(state, noise)
            seen = jax.lax.cond(i == 0, lambda: observe(equations, fields), lambda: seen)
            return train(state, equations, fields, at(i)), seen

        def one_of_stream(i: Int[Array, ""], state: State) -> State:
            step = at(i)
            trained = training.trained(equations, step[1])
            state, fields = trained.forward(state, noise)
            return train(state, trained, fields, step)

        if training.stream is None:
            # What is observed last is followed by an update that nothing is seen of.
            return jax.lax.fori_loop(0, jnp.maximum(length, 1), one, (state, nothing))
        state, fields = equations.forward(state, noise)
        return jax.lax.fori_loop(0, length, one_of_stream, state), observe(equations, fields)

    start = equations.initial(noise, matrices, momentum=training.momentum != 0)
    first = jax.eval_shape(lambda: observe(equations, equations.forward(start, noise)[1]))
    nothing = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), first)
    schedule = (training.rates, training.batches), substeps * training.lengths
    state, seen = (
        jax.lax.scan(interval, start, schedule) if halt is None else _scan_until(halt, interval, start, schedule)
    )
    return Trajectory(seen, state)


def _scan_until(
    halt: Callable[[Any], Bool[Array, ""]], body: Callable[[Any, Any], tuple[Any, Any]], carry: Any, xs: Any
) -> tuple[Any, Any]:
    """`jax.lax.scan` that ends early, with zeros for what was not reached."""
    length = len(jax.tree.leaves(xs)[0])
    Reached = tuple[Int[Array, ""], Any, Any]

    def at(i: Int[Array, ""]) -> Any:
        return jax.tree.map(lambda a: a[i], xs)

    def go_on(reached: Reached) -> Bool[Array, ""]:
        return (reached[0] < length) & ~halt(reached[1])

    def step(reached: Reached) -> Reached:
        i, carry, ys = reached
        carry, y = body(carry, at(i))
        return i + 1, carry, jax.tree.map(lambda all_, one: all_.at[i].set(one), ys, y)

    _, y = jax.eval_shape(body, carry, at(jnp.zeros((), int)))
    nothing = jax.tree.map(lambda a: jnp.zeros((length, *a.shape), a.dtype), y)
    _, carry, ys = jax.lax.while_loop(go_on, step, (jnp.zeros((), int), carry, nothing))
    return carry, ys
