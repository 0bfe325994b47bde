"""Training of finite networks by gradient descent on `jax.grad` of the loss, many members at once.

The step is theta <- theta + eta v, v <- momentum v - (gamma0^2 N grad loss + weight_decay theta), on the loss of the
centred prediction f(theta) - f(theta_0) where the parameterization centres. Nothing here is shared with the theory
but the schedule and the loss function.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Bool, Float, Int, Key

from fwdmft import losses
from fwdmft.alignment import alignment
from fwdmft.classes import accuracy, are_classes
from fwdmft.compiling import jitted
from fwdmft.experiment.loss import LossSpec
from fwdmft.kernel_points import kernel_points
from fwdmft.networks.kernels import empirical_kernels
from fwdmft.networks.model import Network, Quantities, activations
from fwdmft.observables import ObservableFunction, evaluated
from fwdmft.optimization import Plan

EVALUATED = 256
"""Points at which a network is evaluated at once, which bounds the memory that measuring takes."""

LARGE = 4096
"""Activations in one step from which networks are trained one after the other (measured with dense networks)."""

Builder = Callable[[int, Key[Array, ""]], Network]
"""(width, key) -> an untrained network."""


@dataclass(frozen=True)
class Task:
    """What every member of an ensemble is trained on, and what is measured.

    x: (point, ...), y: (point, output), train: (point,) mask, of what is observed: all points, or the test points if
    the plan has a stream (predictions must not be centred then). gamma0: richness at a width. center: centred
    predictions. dtype: of the networks. kernel_points: measure kernels on so many training points alone.
    final_only: keep predictions at the last time alone, as "final_prediction"; metrics are kept at all times.
    observables: dimensions of what the architecture observes besides, measured of all points where kernels are.
    functions: of predictions and kernels, observed besides, without `kernel_points` and a stream.
    """

    build: Builder
    gamma0: Callable[[int], float]
    x: Float[np.ndarray, "point ..."]
    y: Float[np.ndarray, "point output"]
    train: Bool[np.ndarray, " point"]
    loss: LossSpec
    plan: Plan
    save_every: int
    center: bool
    kernels: bool
    dtype: Any
    kernel_points: int | None = None
    final_only: bool = False
    observables: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    functions: tuple[ObservableFunction, ...] = ()

    @property
    def times(self) -> Int[np.ndarray, " time"]:
        """Steps at which quantities are measured: every `save_every`-th and the last."""
        return self.plan.saved(self.save_every)

    @property
    def kernel_at(self) -> Int[np.ndarray, " kernel_point"]:
        """Positions of the points between which kernels are measured."""
        chosen = kernel_points(self.kernel_points, self.train)
        return np.arange(len(self.x)) if chosen is None else chosen


class Numbers(NamedTuple):
    """The numbers in a task. Compiled programs take them as arguments, so that one serves all tasks of a shape.

    x, y: points that are observed. stream: (x, y) of the points that are trained on, None if they are among those.
    rates: learning rate of each step. batches: positions among the points that are trained on, for each step, or None
    for all.
    """

    x: Float[Array, "point ..."]
    y: Float[Array, "point output"]
    stream: tuple[Float[Array, "train ..."], Float[Array, "train output"]] | None
    rates: Float[Array, " step"]
    batches: Int[Array, "step batch"] | None

    @classmethod
    def of(cls, task: Task) -> "Numbers":
        def rounded(a: Float[np.ndarray, "*axis"]) -> Float[Array, "*axis"]:
            return jnp.asarray(a, task.dtype)

        plan = task.plan
        stream = None if plan.stream is None else (rounded(plan.stream.x), rounded(plan.stream.y))
        batches = None if plan.batches is None else jnp.asarray(plan.batches)
        return cls(rounded(task.x), rounded(task.y), stream, rounded(plan.learning_rates), batches)


Trainer = Callable[[Key[Array, "..."]], Quantities]
"""From keys (member,) to observables (member, time, ...)."""


def trainer(task: Task, width: int) -> Trainer:
    """Training of networks of this width, compiled when it is first called."""
    return partial(_program(task, width), Numbers.of(task))


def compiled_trainer(task: Task, width: int, keys: Key[Array, " member"]) -> Trainer:
    """The same for so many keys at a time, compiled at once."""
    numbers = Numbers.of(task)
    return partial(_program(task, width).lower(numbers, keys).compile(), numbers)


def trainer_on_devices(
    task: Task, width: int, keys: Key[Array, "device member"], devices: Sequence[jax.Device]
) -> Trainer:
    """The same on several devices at once, from keys (device, member) to observables (device, member, time, ...).

    Each device runs the program that a single one runs, so that numbers are the same to the last bit.
    """
    mesh, train_members = Mesh(np.array(devices), ("device",)), _members(task, width)
    common, spread = PartitionSpec(), PartitionSpec("device")

    def own(numbers: Numbers, keys: Key[Array, "device member"]) -> Quantities:
        return {name: a[None] for name, a in train_members(numbers, keys[0]).items()}

    program = jitted(jax.shard_map(own, mesh=mesh, in_specs=(common, spread), out_specs=spread, check_vma=False))
    numbers = jax.device_put(Numbers.of(task), NamedSharding(mesh, common))
    sharding = NamedSharding(mesh, spread)
    compiled = program.lower(numbers, jax.device_put(keys, sharding)).compile()
    return lambda keys: compiled(numbers, jax.device_put(keys, sharding))


def _program(task: Task, width: int) -> jax.stages.Wrapped:
    """Jitted function from numbers and keys (member,) to observables (member, time, ...) of networks of this width."""
    return jitted(_members(task, width))


def _members(task: Task, width: int) -> Callable[[Numbers, Key[Array, " member"]], Quantities]:
    """The function that `_program` compiles.

    Small networks are trained side by side; large ones one after the other, whose matrix products are then those of
    one network (up to twice as fast on a processor as products with a member axis).
    """
    side_by_side = activity(task, width) < LARGE

    def train_members(numbers: Numbers, keys: Key[Array, " member"]) -> Quantities:
        train = partial(_train_member, task, width, numbers)
        return jax.vmap(train)(keys) if side_by_side else jax.lax.map(train, keys)

    return train_members


def activity(task: Task, width: int) -> int:
    """Activations of one network in one step: training points at a time, and neurons in all layers."""
    trained = int(task.train.sum()) if task.plan.batches is None else task.plan.batches.shape[1]
    return trained * activations(partial(task.build, width), jax.ShapeDtypeStruct(task.x.shape[1:], task.dtype))


def _train_member(task: Task, width: int, numbers: Numbers, key: Key[Array, ""]) -> Quantities:
    model = _cast(task.build(width, key), task.dtype)
    ladder = task.plan.ladder
    if len(ladder) == 1:
        return _one_pass(task, width, numbers, model, ladder[0].substeps)
    # One after the other, so that all levels are compiled as one.
    levels = jax.lax.map(partial(_one_pass, task, width, numbers, model), jnp.array([r.substeps for r in ladder]))
    combined = {
        name: sum((r.coefficient * a[i] for i, r in enumerate(ladder)), jnp.zeros(())) for name, a in levels.items()
    }
    return combined | metrics(task, numbers.y, combined)


def _cast(model: Network, dtype: Any) -> Network:
    return jax.tree.map(lambda a: a.astype(dtype) if eqx.is_inexact_array(a) else a, model)


def _one_pass(task: Task, width: int, numbers: Numbers, model: Network, substeps: int | Int[Array, ""]) -> Quantities:
    x, y, stream, rates, batches = numbers
    training = np.flatnonzero(task.train)
    x_train, y_train = (x[training], y[training]) if stream is None else stream
    initial, static = eqx.partition(model, model.trained())
    gamma0 = task.gamma0(width)
    momentum, decay = task.plan.momentum, task.plan.weight_decay

    def predict(parameters: Network, x: Float[Array, "point ..."]) -> Float[Array, "point output"]:
        return jax.vmap(eqx.combine(parameters, static))(x)

    origin = evaluate(model, x) * (1.0 if task.center else 0.0)
    origin_train = origin[training] if stream is None else jnp.zeros_like(y_train)

    def loss(parameters: Network, chosen: Any) -> Float[Array, ""]:
        return losses.total(task.loss, predict(parameters, x_train[chosen]) - origin_train[chosen], y_train[chosen])

    def descend(carry: tuple, rate: Float[Array, ""], batch: Any) -> tuple:
        parameters, velocity = carry
        gradient = jax.grad(loss)(parameters, batch)
        velocity = jax.tree.map(
            lambda v, g, theta: momentum * v - (gamma0**2 * width * g + decay * theta), velocity, gradient, parameters
        )
        return jax.tree.map(lambda theta, v: theta + (rate / substeps) * v, parameters, velocity), velocity

    def step(t: Int[Array, ""], carry: tuple) -> tuple:
        batch = slice(None) if batches is None else batches[t]
        if isinstance(substeps, int) and substeps == 1:
            return descend(carry, rates[t], batch)
        return jax.lax.fori_loop(0, substeps, lambda _, c: descend(c, rates[t], batch), carry)

    def interval(carry: tuple, span: tuple) -> tuple[tuple, Quantities]:
        network = eqx.combine(carry[0], static)
        f = evaluate(network, x) - origin
        if task.center:
            # Rounding would decide the class of every point before training.
            f = jnp.where(span[0] == 0, 0.0, f)
        seen = measure(task, width, network, x, y, f)
        if task.final_only:
            del seen["prediction"]
        return jax.lax.fori_loop(span[0], span[1], step, carry), seen

    spans = jnp.asarray(task.times), jnp.asarray([*task.times[1:], task.times[-1]])
    end, seen = jax.lax.scan(interval, (initial, jax.tree.map(jnp.zeros_like, initial)), spans)
    if task.final_only:
        seen["final_prediction"] = evaluate(eqx.combine(end[0], static), x) - origin
    return seen


def evaluate(model: Network, x: Float[Array, "point ..."]) -> Float[Array, "point output"]:
    """Raw predictions."""
    return _of_points(model, x)


def _of_points(function: Callable[[Float[Array, "..."]], Any], x: Float[Array, "point ..."]) -> Any:
    """function(x) of every point, a limited number of points at a time."""
    return jax.vmap(function)(x) if len(x) <= EVALUATED else jax.lax.map(function, x, batch_size=EVALUATED)


def measure(
    task: Task,
    width: int,
    model: Network,
    x: Float[Array, "point ..."],
    y: Float[Array, "point output"],
    f: Float[Array, "point output"],
) -> Quantities:
    """Prediction f (point, output) of targets y, metrics and, if asked for, kernels and observables of one network."""
    seen = {"prediction": f}
    if task.kernels:
        seen |= empirical_kernels(model, x[task.kernel_at], task.gamma0(width), width)
        seen |= observed(model, x, task.observables)
        seen |= evaluated(task.functions, seen, task.train)
    return seen | metrics(task, y, seen)


def observed(model: Network, x: Float[Array, "point ..."], dims: Mapping[str, tuple[str, ...]]) -> Quantities:
    """What one network observes of all points, with the axis of points where `dims` has it."""
    if not dims:
        return {}
    values = _of_points(model.observables, x)
    return {name: jnp.moveaxis(values[name], 0, axes.index("point")) for name, axes in dims.items()}


def metrics(task: Task, y: Float[Array, "point output"], seen: Quantities) -> Quantities:
    """Small numbers that follow from targets, predictions (..., point, output) and kernels of one network.

    loss, accuracy (of targets that are classes), and mean_square of the prediction: (..., split), NaN for a set
    without points. member_feature_alignment with the targets over the training points: (..., layer).
    """
    numbers: Quantities = {}
    if "prediction" in seen:
        f = seen["prediction"]
        numbers["loss"] = split_losses(task.loss, f, y, task.train)
        numbers["mean_square"] = by_split(lambda f, y: jnp.mean(f**2, axis=(-2, -1)), f, y, task.train)
        if are_classes(task.y):
            numbers["accuracy"] = by_split(accuracy, f, y, task.train)
    if "feature_kernel" in seen and np.any(task.train):
        chosen = np.flatnonzero(task.train[task.kernel_at])
        kernel = seen["feature_kernel"][..., chosen, :][..., chosen]
        numbers["member_feature_alignment"] = alignment(kernel, y[task.kernel_at][chosen], undefined=0.0)
    return numbers


def by_split(
    function: Callable[[Float[Array, "*time point output"], Any], Float[Array, "*time"]],
    f: Float[Array, "*time point output"],
    y: Any,
    train: Bool[np.ndarray, " point"],
) -> Float[Array, "*time split"]:
    """function(f, y) of training and of test points; NaN for a set without points."""
    splits = [np.flatnonzero(train), np.flatnonzero(~train)]
    parts = [function(f[..., chosen, :], jnp.asarray(y[chosen], f.dtype)) for chosen in splits if len(chosen)]
    nothing = jnp.full_like(parts[0], jnp.nan)
    return jnp.stack([parts.pop(0) if len(chosen) else nothing for chosen in splits], axis=-1)


def split_losses(
    loss: LossSpec, f: Float[Array, "*time point output"], y: Any, train: Bool[np.ndarray, " point"]
) -> Float[Array, "*time split"]:
    """Losses of training and test points; NaN for a set without points."""
    return by_split(partial(losses.total, loss), f, y, train)
