"""Input weights and readout of a population: their random initial values, their action, their training.

Both are linear, so momentum and weight decay act on initial part and learned part alike, and it is enough to follow
the *action* of the weights on the data: preactivations h for the input weights, w itself for the readout. Where
training meets fresh points at every step, the input weights themselves are carried along instead.
Factors of eta, gamma0, D follow `fwdmft.meanfield`.
"""

from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fwdmft.errors import InputError
from fwdmft.meanfield.field_equations import Update
from fwdmft.meanfield.products import mix

TIED = 1e-6
"""Relative difference below which two entries of an eigenvector count as equal."""


class Trained(NamedTuple):
    """A trained quantity and its velocity (None where the optimizer has no momentum)."""

    value: Array
    velocity: Array | None


def at_rest(value: Array, momentum: bool) -> Trained:
    """A quantity before training."""
    return Trained(value, jnp.zeros_like(value) if momentum else None)


def heavy_ball(trained: Trained, direction: Array, update: Update) -> Trained:
    """v <- momentum v + direction - weight_decay theta, theta <- theta + learning_rate v."""
    velocity = direction
    if update.weight_decay:
        velocity = velocity - update.weight_decay * trained.value
    if trained.velocity is not None:
        velocity = velocity + update.momentum * trained.velocity
    value = trained.value + update.learning_rate * velocity
    return Trained(value, None if trained.velocity is None else velocity)


class InputWeights(eqx.Module):
    """h = W x / sqrt(D) + sigma_b b on all points, W_ij ~ N(0, sigma_w^2), b_i ~ N(0, 1).

    gram: (point, point) Phi^0 = x.x / D + sigma_b^2, through which training acts on h: a step with backward signal
        s = sum_c Delta_c g_c adds eta gamma0 s Phi^0 (the bias is one more, constant input).
    factor: (point, rank) with factor factor^T = sigma_w^2 x.x / D + sigma_b^2, columns by decreasing variance.
    root: (point, rank) with root root^T = gram. With many more points than features training acts through it: the cost
        of a step is then linear in the number of points.
    """

    gram: Float[Array, "point point"]
    factor: Float[Array, "point rank"]
    root: Float[Array, "point rank"]

    def __init__(self, x: Float[np.ndarray, "point feature"], sigma_w: float, sigma_b: float):
        if not sigma_b and not x.any():
            raise InputError("data.x", 0.0, "inputs of which some are not zero, or a bias: all preactivations are zero")
        overlaps = x @ x.T / x.shape[1]
        self.gram = jnp.asarray(overlaps + sigma_b**2)
        self.factor = jnp.asarray(_factor(sigma_w**2 * overlaps + sigma_b**2))
        self.root = jnp.asarray(_factor(overlaps + sigma_b**2))

    @property
    def points(self) -> int:
        return len(self.gram)

    @property
    def most(self) -> int:
        return len(self.gram)

    @property
    def rank(self) -> int:
        return self.factor.shape[1]

    def initial(self, noise: Float[Array, "rank neuron"]) -> Float[Array, "point neuron"]:
        return self.factor @ noise

    def preactivations(self, value: Float[Array, "point neuron"]) -> Float[Array, "point neuron"]:
        return value

    def direction(self, signal: Float[Array, "point neuron"], gamma0: Array) -> Float[Array, "point neuron"]:
        if 2 * self.root.shape[1] >= self.points:
            return gamma0 * mix(self.gram, signal)
        return gamma0 * mix(self.root, mix(self.root.T, signal))


class CarriedWeights(eqx.Module):
    """The same weights, themselves: neurons carry (W, b), so that they can be shown other points at every step.

    rows: (point, rank) x / sqrt(D), and sigma_b as a last column if there are biases: h = rows (W, b)^T. A step adds
        eta gamma0 rows^T s to (W, b), where s are the backward signals at these points.
    scales: (rank,) standard deviations of the initial W and b. most: the largest number of points shown at once.
    """

    rows: Float[Array, "point rank"]
    scales: Float[Array, " rank"]
    most: int = eqx.field(static=True)

    @property
    def points(self) -> int:
        return len(self.rows)

    @property
    def rank(self) -> int:
        return self.rows.shape[1]

    @property
    def root(self) -> Float[Array, "point rank"]:
        return self.rows

    @property
    def gram(self) -> Float[Array, "point point"]:
        return self.rows @ self.rows.T

    def initial(self, noise: Float[Array, "rank neuron"]) -> Float[Array, "rank neuron"]:
        return self.scales[:, None] * noise

    def preactivations(self, value: Float[Array, "rank neuron"]) -> Float[Array, "point neuron"]:
        return mix(self.rows, value)

    def direction(self, signal: Float[Array, "point neuron"], gamma0: Array) -> Float[Array, "rank neuron"]:
        return gamma0 * mix(self.rows.T, signal)

    def on(self, x: Float[Array, "point feature"]) -> "CarriedWeights":
        """The same weights acting on other points."""
        rows = x / x.shape[1] ** 0.5
        bias = jnp.broadcast_to(self.rows[0, x.shape[1] :], (len(x), self.rank - x.shape[1]))
        return CarriedWeights(jnp.concatenate([rows, bias], axis=1), self.scales, self.most)


def carried_weights(
    x: Float[np.ndarray, "point feature"], sigma_w: float, sigma_b: float, together: int
) -> CarriedWeights:
    """Weights seen by these points, later by up to `together` others at once."""
    bias = np.full((len(x), int(sigma_b > 0)), sigma_b)
    rows = np.concatenate([x / x.shape[1] ** 0.5, bias], axis=1)
    scales = np.concatenate([np.full(x.shape[1], sigma_w), np.ones(bias.shape[1])])
    return CarriedWeights(jnp.asarray(rows), jnp.asarray(scales), max(len(x), together))


def _factor(covariance: np.ndarray) -> np.ndarray:
    """Square root of a positive semi-definite matrix without its null space (repeated or dependent points).

    The largest entry of a column is positive, the first one where several are as large: the numbers that a neuron
    carries depend neither on rounding nor, without such ties, on the order of the points.
    """
    eigenvalues, vectors = np.linalg.eigh(covariance)
    keep = eigenvalues > 1e-13 * eigenvalues[-1]
    vectors, sizes = vectors[:, keep], np.abs(vectors[:, keep])
    largest = np.argmax(sizes > (1 - TIED) * np.max(sizes, axis=0), axis=0)
    vectors = vectors * np.sign(vectors[largest, np.arange(len(largest))])
    return (vectors * np.sqrt(eigenvalues[keep]))[:, ::-1]
