"""Input weights and readout of a population: their random initial values, their action, their training.

Both are linear, so momentum and weight decay act on initial part and learned part alike, and it is enough to follow
the *action* of the weights on the data: preactivations h for the input weights, w itself for the readout. Where
training meets fresh points at every step, the input weights themselves are carried along instead.
Factors of eta, gamma0, D follow `fwdmft.engine`.
"""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fwdmft.engine.products import mix
from fwdmft.errors import InputError

TIED = 1e-6
"""Relative difference below which two entries of an eigenvector count as equal."""


class InputWeights(eqx.Module):
    """h = W x / sqrt(D) + sigma_b b on all points, W_ij ~ N(0, sigma_w^2), b_i ~ N(0, 1).

    factor: (point, rank) with factor factor^T = sigma_w^2 x.x / D + sigma_b^2, columns by decreasing variance.
    root: (point, rank) with root root^T = Phi^0 = x.x / D + sigma_b^2, through which training acts on h: a step with
        backward signal s = sum_c Delta_c g_c adds eta gamma0 s Phi^0 (the bias is one more, constant input).
    gram: Phi^0 itself where points are few, None otherwise: time and memory are linear in the number of points.
    """

    factor: Float[Array, "point rank"]
    root: Float[Array, "point rank"]
    gram: Float[Array, "point point"] | None

    def __init__(self, x: Float[np.ndarray, "point feature"], sigma_w: float, sigma_b: float):
        if not sigma_b and not x.any():
            raise InputError("data.x", 0.0, "inputs of which some are not zero, or a bias: all preactivations are zero")
        rows = _rows(x, sigma_b)
        self.factor = jnp.asarray(_factor(rows * _scales(x, sigma_w, sigma_b)))
        self.root = jnp.asarray(_factor(rows))
        few = len(rows) <= 2 * self.root.shape[1]
        self.gram = jnp.asarray(rows @ rows.T) if few else None

    @property
    def rank(self) -> int:
        return self.factor.shape[1]

    def initial(self, noise: Float[Array, "rank neuron"]) -> Float[Array, "point neuron"]:
        return self.factor @ noise

    def preactivations(self, value: Float[Array, "point neuron"]) -> Float[Array, "point neuron"]:
        return value

    def direction(self, signal: Float[Array, "point neuron"], gamma0: Float[Array, ""]) -> Float[Array, "point neuron"]:
        if self.gram is not None:
            return gamma0 * mix(self.gram, signal)
        return gamma0 * mix(self.root, mix(self.root.T, signal))


class CarriedWeights(eqx.Module):
    """The same weights, themselves: neurons carry (W, b), so that they can be shown other points at every step.

    root: (point, rank) x / sqrt(D), and sigma_b as a last column if there are biases: h = root (W, b)^T. A step adds
        eta gamma0 root^T s to (W, b), where s are the backward signals at these points.
    scales: (rank,) standard deviations of the initial W and b.
    """

    root: Float[Array, "point rank"]
    scales: Float[Array, " rank"]

    @property
    def rank(self) -> int:
        return self.root.shape[1]

    def initial(self, noise: Float[Array, "rank neuron"]) -> Float[Array, "rank neuron"]:
        return self.scales[:, None] * noise

    def preactivations(self, value: Float[Array, "rank neuron"]) -> Float[Array, "point neuron"]:
        return mix(self.root, value)

    def direction(self, signal: Float[Array, "point neuron"], gamma0: Float[Array, ""]) -> Float[Array, "rank neuron"]:
        return gamma0 * mix(self.root.T, signal)

    def on(self, x: Float[Array, "point feature"]) -> "CarriedWeights":
        """The same weights acting on other points."""
        rows = x / x.shape[1] ** 0.5
        bias = jnp.broadcast_to(self.root[0, x.shape[1] :], (len(x), self.rank - x.shape[1]))
        return CarriedWeights(jnp.concatenate([rows, bias], axis=1), self.scales)


def carried_weights(x: Float[np.ndarray, "point feature"], sigma_w: float, sigma_b: float) -> CarriedWeights:
    """Weights seen by these points, later by others."""
    rows, scales = _rows(x, sigma_b), _scales(x, sigma_w, sigma_b)
    return CarriedWeights(jnp.asarray(rows), jnp.asarray(scales))


def _rows(x: Float[np.ndarray, "point feature"], sigma_b: float) -> Float[np.ndarray, "point rank"]:
    """x / sqrt(D), and sigma_b as a last column if there are biases."""
    bias = np.full((len(x), int(sigma_b > 0)), sigma_b)
    return np.concatenate([x / x.shape[1] ** 0.5, bias], axis=1)


def _scales(x: Float[np.ndarray, "point feature"], sigma_w: float, sigma_b: float) -> Float[np.ndarray, " rank"]:
    """Standard deviations of the initial weights behind these columns."""
    return np.concatenate([np.full(x.shape[1], sigma_w), np.ones(int(sigma_b > 0))])


def _factor(rows: Float[np.ndarray, "point column"]) -> Float[np.ndarray, "point rank"]:
    """Left singular vectors times singular values, the largest first, without those that vanish.

    They come from the Gram matrix of points or of columns, whichever is smaller. The largest entry of each is positive,
    the first one where several are as large: the numbers that a neuron carries depend neither on rounding nor, without
    such ties, on the order of the points.
    """
    if len(rows) <= rows.shape[1]:
        squares, vectors = np.linalg.eigh(rows @ rows.T)
        columns = vectors * np.sqrt(np.maximum(squares, 0.0))
    else:
        squares, directions = np.linalg.eigh(rows.T @ rows)
        columns = rows @ directions
    columns = columns[:, squares > 1e-13 * squares[-1]][:, ::-1]
    sizes = np.abs(columns)
    largest = np.argmax(sizes > (1 - TIED) * np.max(sizes, axis=0), axis=0)
    return columns * np.sign(columns[largest, np.arange(len(largest))])
