"""Random matrices of finite networks, entry by entry, whose randomness can be shared with mean-field neurons.

`between` draws a matrix in the law of independent N(0, sigma^2) entries. With `shared_with` it has the same law, but
its products with given vectors follow given numbers, as far as they can: W e_r = Y_r + ..., where Y_r are the numbers
that a mean-field neuron receives for the direction e_r (`replayed_matrix`). Then the network and the mean-field neurons
have most of their randomness in common.

How. Let directions be processed in the causal order in which training met them; a direction may depend on all numbers
of earlier ones. Let u be the part of an input direction that is orthogonal to the earlier ones, of norm 1, and F an
orthonormal basis of the earlier output directions. Given F^T W, the vector (1 - F F^T) W u is still Gaussian and
independent of everything before. It is replaced by (1 - F F^T) xi with the numbers xi of this direction:

    W <- W + (1 - F F^T) (xi - W u) u^T

which changes neither F^T W nor the products with earlier directions. Directions of the output side are treated alike,
with numbers zeta. Gram-Schmidt in the causal order needs one side only, and the outcome of all these steps is

    (1 - P') W (1 - P) + (1 - P') Xi E^T + E' Zeta^T (1 - P) + E' G E^T,    P = E E^T, P' = E' E'^T

with the orthonormal bases E, E' of both sides, and G = Zeta^T E or E'^T Xi, entry by entry: whichever came first.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from fwdmft.engine.basis_matrix import MatrixPrior, Product
from fwdmft.engine.field_equations import Noise, RandomMatrix
from fwdmft.engine.update import Trained, Update, at_rest, heavy_ball


class ExplicitMatrix(NamedTuple):
    """A bank of matrices W_k (offset, out neuron, in neuron). It needs no noise and no coordinates."""

    weights: Trained

    def apply(
        self, v: Float[Array, "vector position in"], noise: Float[Array, "row out"] | None, prior: MatrixPrior
    ) -> tuple["ExplicitMatrix", Product]:
        """W v / sqrt(N_in) for vectors v (vector, position, in neuron)."""
        return self, _product(self.weights.value, v, prior)

    def apply_transposed(
        self, v: Float[Array, "vector place out"], noise: Float[Array, "row in"] | None, prior: MatrixPrior
    ) -> tuple["ExplicitMatrix", Product]:
        """W^T v / sqrt(N_out) for vectors v (vector, place, out neuron)."""
        return self, _product(jnp.swapaxes(self.weights.value, 1, 2), v, prior.transposed())

    def learn(
        self,
        signal: Float[Array, "vector place out"],
        signal_coordinates: Float[Array, "none vector place"],
        v: Float[Array, "vector position in"],
        v_coordinates: Float[Array, "none vector position"],
        prior: MatrixPrior,
        update: Update,
    ) -> "ExplicitMatrix":
        """One training step: W_k learns sum_(mu, a) s_mu,a v_mu,a+k^T / sqrt(n_k N_in)."""
        gain = prior.stencil.outer_products(signal, v) / (prior.stencil.offsets * v.shape[-1]) ** 0.5
        return ExplicitMatrix(heavy_ball(self.weights, gain, update))


def _product(
    weights: Float[Array, "offset out in"], v: Float[Array, "vector position in"], prior: MatrixPrior
) -> Product:
    value = prior.stencil.products(weights, v) / (prior.stencil.offsets * v.shape[-1]) ** 0.5
    return Product(value, jnp.zeros((0, *v.shape[:2]), v.dtype))


def shape(prior: MatrixPrior, neurons: tuple[int, int]) -> tuple[int, int, int]:
    """Shape (offset, out neuron, in neuron) of a bank. neurons: in, out."""
    return prior.stencil.offsets, neurons[1], neurons[0]


def of(numbers: Float[Array, "offset out in"], prior: MatrixPrior, momentum: bool) -> ExplicitMatrix:
    """A bank with independent entries, from numbers N(0, 1)."""
    return ExplicitMatrix(at_rest(prior.sigma * numbers, momentum))


def empty(matrices: Sequence[RandomMatrix], noise: Noise) -> tuple[ExplicitMatrix, ...]:
    """Matrices of zeros between the populations of this noise: of all random matrices they are traced the fastest."""
    return tuple(of(jnp.zeros(shape(m.prior, m.neurons(noise))), m.prior, False) for m in matrices)


class Directions(NamedTuple):
    """Directions of one side in their order, and the N(0, 1) numbers that belong to the products with them."""

    vectors: Float[Array, "direction source"]
    numbers: Float[Array, "direction offset target"]


def shared_with(
    matrix: ExplicitMatrix,
    forward: Directions,
    backward: Directions,
    earlier: Bool[Array, "backward forward"],
    prior: MatrixPrior,
) -> ExplicitMatrix:
    """The matrix with products that follow the numbers of the directions; the law of its entries stays the same.

    earlier: whether the direction of the backward side was met before the one of the forward side. Directions behind
    as many as there are neurons change nothing.
    """
    w = matrix.weights.value
    e, xi = _orthonormal(forward, prior)
    f, zeta = _orthonormal(backward, prior)
    xi = jnp.swapaxes(xi, 1, 2)
    between = jnp.where(earlier[: len(f), : len(e)], zeta @ e.T - f @ xi, 0.0)
    back = zeta - f @ w
    w = w + (xi - w @ e.T) @ e + f.T @ (back + (between - back @ e.T) @ e)
    return ExplicitMatrix(at_rest(w, matrix.weights.velocity is not None))


def _orthonormal(
    directions: Directions, prior: MatrixPrior
) -> tuple[Float[Array, "direction source"], Float[Array, "offset direction target"]]:
    """An orthonormal basis of at most as many directions as there are neurons, and the products with it."""
    count = min(directions.vectors.shape)
    units = orthonormal(directions.vectors[:count], directions.vectors[:0])
    return units, prior.sigma * jnp.swapaxes(directions.numbers[:count], 0, 1)


def orthonormal(
    vectors: Float[Array, "direction source"], before: Float[Array, "earlier source"]
) -> Float[Array, "direction source"]:
    """Gram-Schmidt in the order of the vectors, behind earlier ones that are orthonormal already.

    A direction of which next to nothing is left becomes zero. This is no call of a QR routine, as several of those wait
    for each other forever in some versions of XLA.
    """

    def one(
        units: Float[Array, "all source"], each: tuple[Int[Array, ""], Float[Array, " source"]]
    ) -> tuple[Float[Array, "all source"], None]:
        number, vector = each
        size = jnp.sqrt(vector @ vector)
        left = vector - (units @ vector) @ units
        left = left - (units @ left) @ units
        norm = jnp.sqrt(left @ left)
        some = norm > 1e-3 * size
        return units.at[number].set(jnp.where(some, left / jnp.where(some, norm, 1.0), 0.0)), None

    if not len(vectors):
        return vectors
    start, end = len(before), len(before) + len(vectors)
    units, _ = jax.lax.scan(one, jnp.concatenate([before, jnp.zeros_like(vectors)]), (jnp.arange(start, end), vectors))
    return units[start:]
