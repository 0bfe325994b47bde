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

The two kinds of such matrices differ in how a side extends its basis: by conditioning on everything that is known
(`gaussian_matrix`), or as a record says (`replayed_matrix`).
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from fwdmft.engine.rows_in_use import Used, combinations, each_block, scalar_products
from fwdmft.engine.stencil import POINT, Stencil
from fwdmft.engine.update import Trained, Update, at_rest, heavy_ball


class MatrixPrior(NamedTuple):
    """Law of the initial matrix, and how closely vectors are resolved.

    sigma: standard deviation of the entries.
    ratio: N_in / N_out.
    tolerance: share of a vector's squared norm that a basis may leave out.
    stencil: what the matrices of a bank read.
    """

    sigma: float
    ratio: float
    tolerance: float | Float[Array, ""]
    stencil: Stencil = POINT

    def transposed(self) -> "MatrixPrior":
        return self._replace(ratio=1 / self.ratio, stencil=self.stencil.transposed)


class Product(NamedTuple):
    """W v / sqrt(N_in) for a block of vectors v, and their coordinates: v = sum_r coordinates_r E_r."""

    value: Float[Array, "vector place target"]
    coordinates: Float[Array, "capacity vector position"]


@runtime_checkable
class OneSidedMatrix(Protocol):
    """One direction of a matrix: E with Y, or E' with X. Rows that are not in use yet are zero."""

    @property
    def basis(self) -> Float[Array, "capacity source"]: ...

    @property
    def image(self) -> Float[Array, "capacity_offset target"]: ...

    @property
    def rank(self) -> Used:
        """Number of basis vectors, see `rows_in_use`."""
        ...

    def extended(
        self, other: Any, v: Float[Array, "vector source"], noise: Float[Array, "row target"], prior: MatrixPrior
    ) -> tuple[Any, Float[Array, "capacity vector"]]:
        """The side with a basis in which v lies, and the coordinates of v.

        other: the other side, of the same type as this one and what is returned. noise: N(0, 1) numbers of the
        target's neurons, for every basis vector and offset.
        """
        ...


class BasisMatrix(NamedTuple):
    """A matrix, or a bank, seen from both sides: E with Y (forward), E' with X (backward). See the module docstring.

    forward, backward: a `OneSidedMatrix` each, of the same type.
    learned: L (forward capacity, offset, backward capacity).
    """

    forward: Any
    backward: Any
    kept: Trained
    learned: Trained

    def apply(
        self, v: Float[Array, "vector position in"], noise: Float[Array, "row out"], prior: MatrixPrior
    ) -> tuple["BasisMatrix", Product]:
        """W v / sqrt(N_in) for vectors v. noise: see `OneSidedMatrix.extended`."""

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


def unlearned(forward: OneSidedMatrix, backward: OneSidedMatrix, momentum: bool, offsets: int) -> BasisMatrix:
    """A bank of so many matrices before training, seen from these sides."""
    dtype, ahead, back = forward.basis.dtype, len(forward.basis), len(backward.basis)
    kept, learned = jnp.ones((), dtype), jnp.zeros((ahead, offsets, back), dtype)
    return BasisMatrix(forward, backward, at_rest(kept, momentum), at_rest(learned, momentum))


def before_training(matrix: BasisMatrix, momentum: bool) -> BasisMatrix:
    """The same initial matrices without what they learned: all their products that are known stay known."""
    return unlearned(matrix.forward, matrix.backward, momentum, matrix.learned.value.shape[1])


def _acted(
    side: OneSidedMatrix,
    other: OneSidedMatrix,
    kept: Float[Array, ""],
    learned: Callable[[Float[Array, "row column"]], Float[Array, "row other_capacity"]],
    v: Float[Array, "vector position source"],
    noise: Float[Array, "row target"],
    prior: MatrixPrior,
) -> tuple[OneSidedMatrix, Product]:
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


def append(
    buffer: Float[Array, "capacity *rest"], rows: Float[Array, "new *rest"], start: Int[Array, ""]
) -> Float[Array, "capacity *rest"]:
    """Rows added from `start` on, where the buffer is zero."""
    there = jax.lax.dynamic_slice_in_dim(buffer, start, len(rows))
    return jax.lax.dynamic_update_slice_in_dim(buffer, there + rows, start, axis=0)
