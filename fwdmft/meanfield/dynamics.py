"""One causal pass of the mean-field dynamics, as a differentiable function of the neurons' weights.

Two sets of weights enter a pass: `p_dynamics`, with which neurons interact while they train, and `p_observed`, with
which the saved quantities are averaged. They are the same p; keeping them apart lets the fluctuation code tell the
direct influence of a neuron (it is one term of an average) from the indirect one (it changed how all others trained).
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from fwdmft import losses
from fwdmft.meanfield.field_equations import Bases, FieldEquations, NeuronWeights, Sites, State, Update
from fwdmft.optimization import Plan, Rung
from fwdmft.spec.loss import LossSpec


class Drive(eqx.Module):
    """What training imposes on the neurons: targets, loss, and the optimizer's plan.

    targets: (training point, output). train: positions of the training points among all points.
    rates: (saved, step) learning rates of the steps after each saved time. batches: (saved, step, batch size)
    positions among the training points, or None for all. See `Plan.intervals`.
    stream: (training point, feature) where none of the training points is observed; `train` is then empty.
    """

    targets: Float[Array, "train output"]
    train: Int[Array, " train"]
    rates: Float[Array, "saved step"]
    batches: Int[Array, "saved step batch"] | None
    momentum: float = eqx.field(static=True)
    weight_decay: float = eqx.field(static=True)
    loss: LossSpec = eqx.field(static=True)
    ladder: tuple[Rung, ...] = eqx.field(static=True)
    stream: Float[Array, "train feature"] | None = None

    def trained(self, equations: FieldEquations, batch: Int[Array, " batch"] | None) -> FieldEquations:
        """The equations on the points that a step trains on, as far as those are not among the observed ones."""
        if self.stream is None:
            return equations
        return equations.on(self.stream[slice(None) if batch is None else batch])

    def residual(
        self, f: Float[Array, "point output"], batch: Int[Array, " batch"] | None
    ) -> Float[Array, "point output"]:
        """Delta at every point that the step sees, zero where it does not train."""
        chosen = slice(None) if batch is None else batch
        if self.stream is not None:
            return losses.residual(self.loss, f, self.targets[chosen])
        points = self.train[chosen]
        return jnp.zeros_like(f).at[points].set(losses.residual(self.loss, f[points], self.targets[chosen]))


def make_drive(plan: Plan, loss: LossSpec, y: np.ndarray, train: np.ndarray, save_every: int) -> Drive:
    """The drive of a plan for targets y (point, output) and a mask of training points, none with a stream."""
    positions, stream = np.flatnonzero(train), plan.stream
    rates, batches = plan.intervals(save_every)
    return Drive(
        targets=jnp.asarray(y[positions] if stream is None else stream.y),
        train=jnp.asarray(positions),
        rates=jnp.asarray(rates),
        batches=None if batches is None else jnp.asarray(batches),
        momentum=plan.momentum,
        weight_decay=plan.weight_decay,
        loss=loss,
        ladder=plan.ladder,
        stream=None if stream is None else jnp.asarray(stream.x),
    )


class Trajectory(NamedTuple):
    """What was collected (time axis first), and how well random matrices were resolved on the way."""

    seen: Any
    bases: Bases


def trajectory(
    equations: FieldEquations,
    noise: dict[str, Array],
    drive: Drive,
    p: NeuronWeights,
    observe: Callable[[Sites], Any],
    summarise: Callable[[Any], Any] = lambda collected: collected,
    halting: bool = False,
) -> Trajectory:
    """Train the neurons once and summarise what `observe(sites)` collects before the update of every saved step.

    summarise: applied to the collected arrays, which have a leading time axis. halting: stop, and collect zeros from
    then on, when a basis is full (a pass that is repeated with more room).
    With a step-halving ladder the passes are combined rung by rung, see `fwdmft.optimization`.
    """
    passes = [
        (rung.coefficient, _one_pass(equations, noise, drive, p, observe, summarise, rung.substeps, halting))
        for rung in drive.ladder
    ]
    if len(passes) == 1:
        return passes[0][1]
    seen = jax.tree.map(
        lambda *leaves: sum(c * leaf for (c, _), leaf in zip(passes, leaves, strict=True)),
        *[each.seen for _, each in passes],
    )
    return Trajectory(seen, jax.tree.map(lambda *parts: jnp.max(jnp.stack(parts), 0), *[b.bases for _, b in passes]))


def _one_pass(
    equations: FieldEquations,
    noise: dict[str, Array],
    drive: Drive,
    p: NeuronWeights,
    observe: Callable[[Sites], Any],
    summarise: Callable[[Any], Any],
    substeps: int,
    halting: bool,
) -> Trajectory:
    Step = tuple[Array, Array | None]

    def train(state: State, found: tuple[Array, Any] | None, step: Step) -> State:
        """found: of the forward pass on the points trained on, if there was one already."""
        rate, batch = step
        trained = drive.trained(equations, batch)
        f, activity = trained.forward(state, noise, p) if found is None else found
        update = Update(rate / substeps, drive.momentum, drive.weight_decay)
        return trained.step(state, activity, drive.residual(f, batch), update, p)

    def train_step(state: State, found: tuple[Array, Any] | None, step: Step) -> State:
        state = train(state, found, step)
        if substeps == 1:
            return state
        return jax.lax.fori_loop(1, substeps, lambda _, s: train(s, None, step), state)

    def interval(state: State, steps: Step) -> tuple[State, Any]:
        found = equations.forward(state, noise, p)
        seen = observe(equations.sites(state, found[1], p))
        first = jax.tree.map(lambda a: a[0], steps)
        if drive.stream is None:
            state = train_step(state, found, first)
        else:
            state = train_step(equations.remembered(state, found[1]), None, first)
        if steps[0].shape[0] > 1:
            later = jax.tree.map(lambda a: a[1:], steps)
            state, _ = jax.lax.scan(lambda s, step: (train_step(s, None, step), None), state, later)
        return state, seen

    def full(state: State) -> Array:
        return jnp.any(equations.bases(state).full)

    state = equations.initial(noise, p, momentum=drive.momentum != 0)
    schedule = drive.rates, drive.batches
    if halting and equations.supplies:
        state, seen = _scan_until(full, interval, state, schedule)
        return Trajectory(summarise(seen), equations.bases(state))
    saved = drive.rates.shape[0]
    blocks = _blocks(saved)
    schedule = jax.tree.map(lambda a: _padded(a, blocks[0] * blocks[1]), schedule)
    state, seen = checkpointed_scan(interval, state, schedule, blocks)
    return Trajectory(summarise(jax.tree.map(lambda a: a[:saved], seen)), equations.bases(state))


def _scan_until(
    halt: Callable[[Any], Array], body: Callable[[Any, Any], tuple[Any, Any]], carry: Any, xs: Any
) -> tuple[Any, Any]:
    """`jax.lax.scan` that ends early, with zeros for what was not reached. It has no reverse mode."""
    length = len(jax.tree.leaves(xs)[0])

    def at(i: Array) -> Any:
        return jax.tree.map(lambda a: a[i], xs)

    def go_on(reached: tuple[Array, Any, Any]) -> Array:
        return (reached[0] < length) & ~halt(reached[1])

    def step(reached: tuple[Array, Any, Any]) -> tuple[Array, Any, Any]:
        i, carry, ys = reached
        carry, y = body(carry, at(i))
        return i + 1, carry, jax.tree.map(lambda all_, one: all_.at[i].set(one), ys, y)

    _, y = jax.eval_shape(body, carry, at(jnp.zeros((), int)))
    nothing = jax.tree.map(lambda a: jnp.zeros((length, *a.shape), a.dtype), y)
    _, carry, ys = jax.lax.while_loop(go_on, step, (jnp.zeros((), int), carry, nothing))
    return carry, ys


def _padded(a: Array, length: int) -> Array:
    return jnp.concatenate([a, jnp.zeros((length - a.shape[0], *a.shape[1:]), a.dtype)])


def _blocks(length: int) -> tuple[int, int]:
    """(outer, inner) with outer * inner >= length, both about sqrt(length), with the least padding."""
    root = math.isqrt(length)
    inner = min(range(max(1, root // 2), 2 * root + 1), key=lambda m: (-(-length // m) * m, abs(m - root)))
    return -(-length // inner), inner


def checkpointed_scan(
    body: Callable[[Any, Any], tuple[Any, Any]], carry: Any, xs: Any, blocks: tuple[int, int]
) -> tuple[Any, Any]:
    """`jax.lax.scan` over outer * inner steps whose reverse pass stores about outer + inner carries.

    It keeps the carry at block boundaries and, for the block at hand, at step boundaries, and recomputes everything
    else (one extra forward pass per level).
    """
    step = jax.checkpoint(body, prevent_cse=False)

    def block(carry: Any, xs: Any) -> tuple[Any, Any]:
        return jax.lax.scan(step, carry, xs)

    xs = jax.tree.map(lambda a: a.reshape(*blocks, *a.shape[1:]), xs)
    carry, ys = jax.lax.scan(jax.checkpoint(block, prevent_cse=False), carry, xs)
    return carry, jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:]), ys)
