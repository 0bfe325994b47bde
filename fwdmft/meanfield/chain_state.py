"""What evolves and what happens in a chain of layers (`chain`), and the sums over places and outputs it is made of."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from fwdmft.meanfield.positions import Taps
from fwdmft.meanfield.weights import Trained

LocalMap = Callable[[Float[Array, "point position neuron"]], Float[Array, "point position neuron"]]
PullBack = Callable[[Array], tuple[Array]]


class ChainState(NamedTuple):
    """h: (point position, neuron) action of the input weights, or (rank, neuron) those themselves (see `weights`).

    biases: (neuron,) of the later layers, or None. w: (output, place, neuron). origin: w u at t = 0 per neuron (point,
    output, neuron), None if predictions are not centred. begun: whether it is known yet.
    """

    h: Trained
    matrices: tuple[Any, ...]
    biases: tuple[Trained | None, ...]
    w: Trained
    origin: Array | None
    begun: Array


class ChainActivity(NamedTuple):
    """What a forward and a backward pass found; tuples run over layers or matrices.

    h: (point, position, neuron) preactivations, v: features, u: (point, place, neuron) the pooled ones. pull_back:
    vector-Jacobian products from u to h. g: (point, output, position, neuron) backward fields of all layers but the
    first. z: (point, output, place, neuron) what arrives at the pooled features of all layers but the last.
    u_coordinates: (capacity, point, place), g_coordinates: (capacity, point output, position), of what a matrix acted
    on. state: the state with its matrices as these passes left them.
    """

    h: tuple[Array, ...]
    v: tuple[Array, ...]
    u: tuple[Array, ...]
    pull_back: tuple[PullBack, ...]
    g: tuple[Array, ...]
    z: tuple[Array, ...]
    u_coordinates: tuple[Array, ...]
    g_coordinates: tuple[Array, ...]
    state: ChainState


def pooled_features(local: LocalMap, pool: Taps, h: Array) -> tuple[Array, Array]:
    """Pooled features, and features."""
    v = local(h)
    return pool.mean(v), v


def contributions(
    u: Float[Array, "point place neuron"], w: Float[Array, "output place neuron"]
) -> Float[Array, "point output neuron"]:
    return jnp.sum(u[:, None] * w, axis=2) / w.shape[1] ** 0.5


def mix_outputs(residual: Float[Array, "point output"], fields: Float[Array, "point output *rest neuron"]) -> Array:
    """sum_c Delta_c g_c at each point."""
    return jnp.sum(residual[..., None, None] * fields, axis=1)
