"""A random matrix that is known by its products with the vectors of two bases, one at each side.

    N_in, N_out   numbers of neurons at either side
    W(0)          the initial matrix, with independent N(0, sigma^2) entries
    E             basis of the vectors that the matrix has acted on (rank, in neuron)
    E'            basis of the vectors that its transpose has acted on (rank', out neuron)
    Y             images W(0) E / sqrt(N_in)
    X             images W(0)^T E' / sqrt(N_out)

Training adds terms s v^T / sqrt(N_in). The transpose has acted on the signal s, and the matrix on v, so both lie in the
bases. What is learned is therefore a matrix L of numbers between the bases, of which none belongs to a neuron:

    W = kept W(0) + sum_ij L_ij E'_j E_i^T        kept: what weight decay left, 1 without

Momentum and weight decay are linear, so they act on `kept` and L alike.

A convolution is a bank of n_k independent matrices W_k, one for each offset k. It acts on vectors at positions of their
source (`Stencil`): at place a the product is sum_k W_k v_(a+k) / sqrt(n_k N_in). The vectors at all positions share the
bases; images and L have an index k more. One offset and one position are an ordinary matrix.

Every product with neurons has one of two forms, A v^T and c A, with rows of length S: the two that are fastest.

How a side extends its basis is in `gaussian_matrix`: by conditioning on everything that is known.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fwdmft.engine.gaussian_matrix import OneSided
from fwdmft.engine.matrix_law import MatrixPrior, Product
from fwdmft.engine.rows_in_use import combinations, each_block, scalar_products
from fwdmft.engine.stencil import Stencil
from fwdmft.engine.update import Trained, Update, at_rest, heavy_ball


class BasisMatrix(NamedTuple):
    """A matrix, or a bank, seen from both sides: E with Y (forward), E' with X (backward). See the module docstring.

    learned: L (forward capacity, offset, backward capacity).
    """

    forward: OneSided
    backward: OneSided
    kept: Trained
    learned: Trained

    def apply(
        self, v: Float[Array, "vector position in"], noise: Float[Array, "row out"], prior: MatrixPrior
    ) -> tuple["BasisMatrix", Product]:
        """W v / sqrt(N_in) for vectors v. noise: see `OneSided.extended`."""

        def learned(read: Float[Array, "row column"]) -> Float[Array, "row other_capacity"]:
            rows = self.learned.value.reshape(read.shape[1], -1)
            return combinations(read, rows, prior.stencil.offsets * self.forward.rank)

        side, product = _acted(self.forward, self.backward, self.kept.value, learned, v, noise, prior)
        return self._replace(forward=side), product

    def apply_transposed(
        self, v: Float[Array, "vector place out"], noise: Float[Array, "row in"], prior: MatrixPrior
    ) -> tuple["BasisMatrix", Product]:
        """W^T v / sqrt(N_out) for vectors v. prior: that of the matrix, not of its transpose."""
        prior = prior.transposed()

        def learned(read: Float[Array, "row column"]) -> Float[Array, "row other_capacity"]:
            by_offset = jnp.swapaxes(read.reshape(len(read), -1, prior.stencil.offsets), 1, 2).reshape(read.shape)
            rows = self.learned.value.reshape(len(self.learned.value), -1)
            return prior.ratio**0.5 * scalar_products(rows, self.forward.rank, by_offset).T

        side, product = _acted(self.backward, self.forward, self.kept.value, learned, v, noise, prior)
        return self._replace(backward=side), product

    def learn(
        self,
        signal: Float[Array, "vector place out"],
        signal_coordinates: Float[Array, "backward_capacity vector place"],
        v: Float[Array, "vector position in"],
        v_coordinates: Float[Array, "forward_capacity vector position"],
        prior: MatrixPrior,
        update: Update,
    ) -> "BasisMatrix":
        """One training step: W_k learns sum_(mu, a) s_mu,a v_mu,a+k^T / sqrt(n_k N_in).

        signal, v: s and v, which only their coordinates tell of here.
        """
        signals = signal_coordinates.reshape(len(signal_coordinates), -1).T
        read = _read(v_coordinates, prior.stencil).T.reshape(len(v_coordinates), prior.stencil.offsets, -1)

        def learned(read: Float[Array, "row offset signal"], before: Trained) -> Trained:
            return heavy_ball(before, (read.reshape(-1, len(signals)) @ signals).reshape(before.value.shape), update)

        return self._replace(
            kept=heavy_ball(self.kept, jnp.zeros_like(self.kept.value), update),
            learned=each_block(learned, self.forward.rank, read, self.learned),
        )


def untouched(
    capacities: tuple[int, int],
    neurons: tuple[int, int],
    momentum: bool,
    offsets: int = 1,
) -> BasisMatrix:
    """A bank of which nothing is known. capacities: of forward and backward side. neurons: in, out."""

    def side(own: int, source: int, target: int) -> OneSided:
        basis, images = jnp.zeros((own, source)), jnp.zeros((own * offsets, target))
        return OneSided(basis, images, jnp.zeros((), jnp.int32), jnp.zeros(()), jnp.zeros((), bool))

    forward, backward = side(capacities[0], *neurons), side(capacities[1], *neurons[::-1])
    return unlearned(forward, backward, momentum, offsets)


def unlearned(forward: OneSided, backward: OneSided, momentum: bool, offsets: int) -> BasisMatrix:
    """A bank of so many matrices before training, seen from these sides."""
    dtype, ahead, back = forward.basis.dtype, len(forward.basis), len(backward.basis)
    kept, learned = jnp.ones((), dtype), jnp.zeros((ahead, offsets, back), dtype)
    return BasisMatrix(forward, backward, at_rest(kept, momentum), at_rest(learned, momentum))


def before_training(matrix: BasisMatrix, momentum: bool) -> BasisMatrix:
    """The same initial matrices without what they learned: all their products that are known stay known."""
    return unlearned(matrix.forward, matrix.backward, momentum, matrix.learned.value.shape[1])


def _acted(
    side: OneSided,
    other: OneSided,
    kept: Float[Array, ""],
    learned: Callable[[Float[Array, "row column"]], Float[Array, "row other_capacity"]],
    v: Float[Array, "vector position source"],
    noise: Float[Array, "row target"],
    prior: MatrixPrior,
) -> tuple[OneSided, Product]:
    """The side with a basis in which the vectors v lie, and their products.

    learned: weights of the other basis in what the learned part makes of what is read (`_read`).
    """
    side, coordinates = side.extended(other, v.reshape(-1, v.shape[-1]), noise, prior)
    coordinates = coordinates.reshape(-1, *v.shape[:2])
    read = _read(coordinates, prior.stencil)
    value = combinations(kept * read, side.image, prior.stencil.offsets * side.rank)
    value = value + combinations(learned(read), other.basis, other.rank)
    return side, Product(value.reshape(len(v), prior.stencil.places, -1), coordinates)


def _read(coordinates: Float[Array, "capacity vector position"], stencil: Stencil) -> Float[Array, "row column"]:
    """The share of basis vector and offset (columns) in what arrives at vector and place (rows)."""
    read = jnp.transpose(stencil.read(coordinates), (1, 3, 0, 2)) / stencil.offsets**0.5
    return jax.lax.optimization_barrier(read.reshape(-1, len(coordinates) * stencil.offsets))
