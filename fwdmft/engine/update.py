"""One training step of any trained quantity."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float


class Update(NamedTuple):
    """One training step: v <- momentum v + direction - weight_decay theta, theta <- theta + learning_rate v."""

    learning_rate: Float[Array, ""]
    momentum: float
    weight_decay: float


class Trained(NamedTuple):
    """A trained quantity and its velocity (None where the optimizer has no momentum)."""

    value: Float[Array, "*axis"]
    velocity: Float[Array, "*axis"] | None


def at_rest(value: Float[Array, "..."], momentum: bool) -> Trained:
    """A quantity before training."""
    return Trained(value, jnp.zeros_like(value) if momentum else None)


def heavy_ball(trained: Trained, direction: Float[Array, "..."], update: Update) -> Trained:
    """v <- momentum v + direction - weight_decay theta, theta <- theta + learning_rate v."""
    velocity = direction
    if update.weight_decay:
        velocity = velocity - update.weight_decay * trained.value
    if trained.velocity is not None:
        velocity = velocity + update.momentum * trained.velocity
    value = trained.value + update.learning_rate * velocity
    return Trained(value, None if trained.velocity is None else velocity)
