"""Random matrices as a single mean-field neuron sees them, under the averages that a large simulation has recorded.

At infinite width a neuron meets the others only through averages. `gaussian_matrix` records those that it uses
(`Record`). Under this record the trajectory of a neuron depends on its own random numbers alone, so that any number of
mean-field neurons can be simulated, each without company. Nothing is averaged here:

    new direction   e_n = sum_m mixing_nm (v_m - sum_r coordinates_rm e_r)
    image of it     sum_k revealed_kn e'_k + xi_n
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int

from fwdmft.engine.basis_matrix import BasisMatrix, MatrixPrior, append, unlearned
from fwdmft.engine.gaussian_matrix import Record


class OneSidedRecord(NamedTuple):
    """What a `Record` says of the blocks of one side, with room for its directions and no more.

    coordinates: of the vectors in directions met earlier (`old`), and in all of them. mixing: see `Record`. revealed:
    rows for every new direction and offset. start: rank before the block.
    """

    old: Float[Array, "block vector capacity"]
    coordinates: Float[Array, "block capacity vector"]
    mixing: Float[Array, "block direction vector"]
    revealed: Float[Array, "block direction_offset other_capacity"]
    start: Int[Array, " block"]


class MatrixRecord(NamedTuple):
    """What is needed to replay a matrix.

    earlier: (backward, forward direction) whether the backward one was met first. Its shape tells how many there are.
    """

    forward: OneSidedRecord
    backward: OneSidedRecord
    earlier: Bool[Array, "backward forward"]

    @property
    def capacities(self) -> tuple[int, int]:
        """Room for directions, forward and backward: zero rows are written behind the last one."""
        return self.forward.coordinates.shape[1], self.backward.coordinates.shape[1]


class ReplayedOneSided(NamedTuple):
    """One direction of a matrix. done: number of blocks replayed so far."""

    basis: Float[Array, "capacity source"]
    image: Float[Array, "capacity_offset target"]
    record: OneSidedRecord
    done: Int[Array, ""]

    def extended(
        self,
        other: "ReplayedOneSided",
        v: Float[Array, "vector source"],
        noise: Float[Array, "row target"],
        prior: MatrixPrior,
    ) -> tuple["ReplayedOneSided", Float[Array, "capacity vector"]]:
        """See `OneSidedMatrix`: with the directions that the next block of vectors brought in the recording."""
        offsets = prior.stencil.offsets
        record = _of_block(OneSidedRecord(*(a[self.done] for a in self.record)), len(v), offsets)

        def new() -> tuple[Float[Array, "vector source"], Float[Array, "vector_offset target"]]:
            fresh = record.mixing @ (v - record.old @ self.basis)
            e = jax.lax.dynamic_slice_in_dim(noise, offsets * record.start, offsets * len(v))
            keep = jnp.repeat(jnp.any(record.mixing != 0, axis=1), offsets)
            return fresh, prior.sigma * keep[:, None] * e + record.revealed @ other.basis

        nothing = jax.tree.map(jnp.zeros_like, jax.eval_shape(new))
        fresh, image = jax.lax.cond(jnp.any(record.mixing != 0), new, lambda: nothing)
        basis = append(self.basis, fresh, record.start)
        images = append(self.image, image, offsets * record.start)
        return ReplayedOneSided(basis, images, self.record, self.done + 1), record.coordinates

    @property
    def rank(self) -> int:
        """See `OneSidedMatrix`: there is room for the directions of the record and no more."""
        return len(self.basis)


def recorded(forward: Record, backward: Record, uses: int) -> MatrixRecord:
    """The record of a matrix after training. uses: blocks of a pass, of either side.

    In a pass all forward blocks come before all backward ones.
    """
    records = [jax.tree.map(np.asarray, record) for record in (forward, backward)]
    capacities = [_capacity(record) for record in records]
    sides = [_cut(records[i], capacities[i], capacities[1 - i]) for i in range(2)]
    blocks = [np.searchsorted(record.start, np.arange(record.rank), side="right") for record in records]
    passes = [(block - 1) // uses for block in blocks]
    return MatrixRecord(sides[0], sides[1], jnp.asarray(passes[1][:, None] < passes[0]))


def _capacity(record: Record) -> int:
    """Rows that are written to: those of a block all at once, of which some may be zero."""
    written = np.any(record.mixing != 0, axis=(1, 2))
    return max([int(record.rank), *(record.start[written] + record.mixing.shape[2]).tolist(), record.mixing.shape[2]])


def _cut(record: Record, capacity: int, other: int) -> OneSidedRecord:
    coordinates = record.coordinates[:, :capacity]
    old = jnp.where(jnp.arange(capacity)[:, None] < record.start[:, None, None], coordinates, 0.0)
    revealed = jnp.moveaxis(record.revealed[:, :other], 1, -1)
    revealed = revealed.reshape(len(revealed), -1, other)
    return OneSidedRecord(
        jnp.swapaxes(old, 1, 2), *map(jnp.asarray, (coordinates, record.mixing, revealed, record.start))
    )


def replayed(
    record: MatrixRecord, neurons: tuple[int, int], momentum: bool, offsets: int, dtype: DTypeLike
) -> BasisMatrix:
    """A matrix before training, between so many mean-field neurons (in, out)."""

    def side(own: OneSidedRecord, source: int, target: int) -> ReplayedOneSided:
        capacity = own.coordinates.shape[1]
        image = jnp.zeros((capacity * offsets, target), dtype)
        own = jax.tree.map(lambda a: jnp.asarray(a, dtype) if jnp.issubdtype(a.dtype, jnp.floating) else a, own)
        return ReplayedOneSided(jnp.zeros((capacity, source), dtype), image, own, jnp.zeros((), jnp.int32))

    return unlearned(side(record.forward, *neurons), side(record.backward, *neurons[::-1]), momentum, offsets)


def _of_block(record: OneSidedRecord, vectors: int, offsets: int) -> OneSidedRecord:
    """What a record says of a block that has fewer vectors than others."""
    return OneSidedRecord(
        record.old[:vectors],
        record.coordinates[:, :vectors],
        record.mixing[:vectors, :vectors],
        record.revealed[: offsets * vectors],
        record.start,
    )
