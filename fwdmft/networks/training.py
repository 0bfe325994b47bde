"""Training of finite networks by gradient descent on `jax.grad` of the loss, many members at once.

The step is theta <- theta + eta v, v <- momentum v - (gamma0^2 N grad loss + weight_decay theta), on the loss of the
centred prediction f(theta) - f(theta_0) where the parameterization centres. Nothing here is shared with the theory
but the schedule and the loss function.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fwdmft import losses
from fwdmft.networks.kernels import empirical_kernels
from fwdmft.networks.model import Network
from fwdmft.optimization import Plan
from fwdmft.spec.loss import LossSpec

Builder = Callable[[int, Array], Network]
"""(width, key) -> an untrained network."""


@dataclass(frozen=True)
class Task:
    """What every member of an ensemble is trained on, and what is measured.

    x: (point, ...), y: (point, output), train: (point,) mask, of what is observed: all points, or the test points if
    the plan has a stream (predictions must not be centred then). gamma0: richness at a width. center: centred
    predictions. dtype: of the networks.
    """

    build: Builder
    gamma0: Callable[[int], float]
    x: np.ndarray
    y: np.ndarray
    train: np.ndarray
    loss: LossSpec
    plan: Plan
    save_every: int
    center: bool
    kernels: bool
    dtype: Any


def trainer(task: Task, width: int) -> jax.stages.Wrapped:
    """Jitted function from keys (member,) to observables (member, time, ...) of networks of this width."""
    return jax.jit(jax.vmap(partial(_train_member, task, width)))


def _train_member(task: Task, width: int, key: Array) -> dict[str, Array]:
    model = _cast(task.build(width, key), task.dtype)
    passes = [(rung.coefficient, _one_pass(task, width, model, rung.substeps)) for rung in task.plan.ladder]
    if len(passes) == 1:
        return passes[0][1]
    return {name: sum((c * seen[name] for c, seen in passes), jnp.zeros(())) for name in passes[0][1]}


def _cast(model: Network, dtype: Any) -> Network:
    return jax.tree.map(lambda a: a.astype(dtype) if eqx.is_inexact_array(a) else a, model)


def _one_pass(task: Task, width: int, model: Network, substeps: int) -> dict[str, Array]:
    x, y = jnp.asarray(task.x, task.dtype), jnp.asarray(task.y, task.dtype)
    training, stream = np.flatnonzero(task.train), task.plan.stream
    x_train, y_train = (x[training], y[training]) if stream is None else (jnp.asarray(a, task.dtype) for a in stream)
    initial, static = eqx.partition(model, model.trained())
    gamma0 = task.gamma0(width)
    momentum, decay = task.plan.momentum, task.plan.weight_decay

    def predict(parameters: Network, x: Array) -> Array:
        return jax.vmap(eqx.combine(parameters, static))(x)

    origin = predict(initial, x) * (1.0 if task.center else 0.0)
    origin_train = origin[training] if stream is None else jnp.zeros_like(y_train)

    def loss(parameters: Network, chosen: Any) -> Array:
        return losses.total(task.loss, predict(parameters, x_train[chosen]) - origin_train[chosen], y_train[chosen])

    def descend(carry: tuple, step: tuple) -> tuple[tuple, None]:
        parameters, velocity = carry
        rate, batch = step
        gradient = jax.grad(loss)(parameters, slice(None) if batch is None else batch)
        velocity = jax.tree.map(
            lambda v, g, theta: momentum * v - (gamma0**2 * width * g + decay * theta), velocity, gradient, parameters
        )
        parameters = jax.tree.map(lambda theta, v: theta + (rate / substeps) * v, parameters, velocity)
        return (parameters, velocity), None

    def substepped(carry: tuple, step: tuple) -> tuple[tuple, None]:
        if substeps == 1:
            return descend(carry, step)
        return jax.lax.fori_loop(0, substeps, lambda _, c: descend(c, step)[0], carry), None

    def interval(carry: tuple, steps: tuple) -> tuple[tuple, dict[str, Array]]:
        seen = measure(task, width, eqx.combine(carry[0], static), x, origin)
        return jax.lax.scan(substepped, carry, steps)[0], seen

    rates, batches = task.plan.intervals(task.save_every)
    schedule = (jnp.asarray(rates, task.dtype), None if batches is None else jnp.asarray(batches))
    rest = jax.tree.map(jnp.zeros_like, initial)
    return jax.lax.scan(interval, (initial, rest), schedule)[1]


def measure(
    task: Task, width: int, model: Network, x: Float[Array, "point ..."], origin: Float[Array, "point output"]
) -> dict[str, Array]:
    """Prediction (point, output), loss (split) and, if asked for, the empirical kernels of one network."""
    f = jax.vmap(model)(x) - origin
    seen = {"prediction": f, "loss": split_losses(task.loss, f, task.y, task.train)}
    return seen | empirical_kernels(model, x, task.gamma0(width), width) if task.kernels else seen


def split_losses(
    loss: LossSpec, f: Float[Array, "*time point output"], y: np.ndarray, train: np.ndarray
) -> Float[Array, "*time split"]:
    """Losses of training and test points; NaN for an empty test set."""
    parts = []
    for chosen in (np.flatnonzero(train), np.flatnonzero(~train)):
        part = losses.total(loss, f[..., chosen, :], jnp.asarray(y[chosen], f.dtype))
        parts.append(part if len(chosen) else jnp.full_like(part, jnp.nan))
    return jnp.stack(parts, axis=-1)
