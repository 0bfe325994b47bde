"""Random matrices as a single mean-field neuron sees them, under the averages that a large simulation has recorded.

At infinite width a neuron meets the others only through averages. `gaussian_matrix` records those that it uses
(`Record`). Under this record the trajectory of a neuron depends on its own random numbers alone, so that any number of
mean-field neurons can be simulated, each without company. Nothing is averaged here:

    new direction   e_n = sum_m mixing_nm (v_m - sum_r coordinates_rm e_r)
    image of it     sum_k revealed_kn e'_k + sigma xi_n
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int

from fwdmft.meanfield.field_equations import Update
from fwdmft.meanfield.gaussian_matrix import GaussianMatrix, Law, Product, Record, append, learned, products
from fwdmft.meanfield.weights import Trained, at_rest, heavy_ball


class ReplayedSide(NamedTuple):
    """One direction of a matrix. record: with `done` the number of blocks replayed so far."""

    basis: Float[Array, "capacity source"]
    action: Trained
    record: Record


class ReplayedMatrix(NamedTuple):
    """A matrix under a record. kept: what weight decay left of the initial matrix."""

    forward: ReplayedSide
    backward: ReplayedSide
    kept: Trained

    def apply(self, v: Array, noise: Array, law: Law) -> tuple["ReplayedMatrix", Product]:
        """W v / sqrt(N_in), as `GaussianMatrix.apply`."""
        side, product = _act(self.forward, self.backward, self.kept, v, noise, law)
        return self._replace(forward=side), product

    def apply_transposed(self, v: Array, noise: Array, law: Law) -> tuple["ReplayedMatrix", Product]:
        """W^T v / sqrt(N_out), as `GaussianMatrix.apply_transposed`."""
        side, product = _act(self.backward, self.forward, self.kept, v, noise, law.transposed())
        return self._replace(backward=side), product

    def learn(
        self, signal: Array, signal_coordinates: Array, v: Array, v_coordinates: Array, law: Law, update: Update
    ) -> "ReplayedMatrix":
        """One training step, as `GaussianMatrix.learn`."""
        ahead = learned(v_coordinates, signal, law.taps)
        back = learned(signal_coordinates, v, law.taps.transposed) / law.ratio**0.5
        return ReplayedMatrix(
            self.forward._replace(action=heavy_ball(self.forward.action, ahead, update)),
            self.backward._replace(action=heavy_ball(self.backward.action, back, update)),
            heavy_ball(self.kept, jnp.zeros((), ahead.dtype), update),
        )


class MatrixRecord(NamedTuple):
    """What is needed to replay a matrix, and the order in which directions were met (see `explicit_matrix`)."""

    forward: Record
    backward: Record
    order: tuple[Bool[Array, " event"], Int[Array, " event"]]


def recorded(matrix: GaussianMatrix) -> MatrixRecord:
    """The record of a matrix at the end of a pass."""
    sides = matrix.forward, matrix.backward
    records, events = [], []
    for backward, side in enumerate(sides):
        record = side.record
        assert record is not None, "the matrix kept no record"
        records.append(record)
        blocks = jnp.sum(jnp.arange(len(side.basis))[:, None] >= record.start[None], axis=1)
        unused = jnp.arange(len(side.basis)) >= side.rank
        events.append(jnp.where(unused, jnp.iinfo(jnp.int32).max, 2 * blocks + backward))
    when = jnp.concatenate(events)
    which = jnp.argsort(when, stable=True)
    number = jnp.concatenate([jnp.arange(len(side.basis)) for side in sides])
    is_backward = jnp.concatenate([jnp.full(len(side.basis), bool(b)) for b, side in enumerate(sides)])
    return MatrixRecord(records[0], records[1], (is_backward[which], number[which]))


def replayed(
    record: MatrixRecord, neurons: tuple[int, int], momentum: bool, offsets: int, dtype: DTypeLike
) -> ReplayedMatrix:
    """A matrix before training, between so many mean-field neurons (in, out)."""

    def side(own: Record, source: int, target: int) -> ReplayedSide:
        capacity = own.coordinates.shape[1]
        basis = jnp.zeros((capacity, source), dtype)
        action = at_rest(jnp.zeros((capacity, offsets, target), dtype), momentum)
        own = jax.tree.map(lambda a: a.astype(dtype) if jnp.issubdtype(a.dtype, jnp.floating) else a, own)
        return ReplayedSide(basis, action, own._replace(done=jnp.zeros((), jnp.int32)))

    return ReplayedMatrix(
        side(record.forward, *neurons),
        side(record.backward, *neurons[::-1]),
        at_rest(jnp.ones((), dtype), momentum),
    )


def _act(
    side: ReplayedSide, other: ReplayedSide, kept: Trained, v: Array, noise: Array, law: Law
) -> tuple[ReplayedSide, Product]:
    shape, v = v.shape, v.reshape(-1, v.shape[-1])
    noise = noise.reshape(-1, law.taps.offsets, noise.shape[-1])
    record = side.record
    coordinates, mixing, revealed, start = (a[record.done] for a in record[:4])
    old = jnp.where(jnp.arange(len(coordinates))[:, None] < start, coordinates, 0.0)
    fresh = mixing @ (v - old.T @ side.basis)
    keep = jnp.any(mixing != 0, axis=1)
    e = jax.lax.dynamic_slice_in_dim(noise, start, len(v)) * keep[:, None, None]
    image = law.sigma * e + jnp.einsum("kvo,kn->von", revealed, other.basis)
    action = append(side.action.value, kept.value * image, start)
    velocity = None
    if side.action.velocity is not None:
        assert kept.velocity is not None
        velocity = append(side.action.velocity, kept.velocity * image, start)
    coordinates = coordinates.reshape(-1, *shape[:2])
    extended = ReplayedSide(
        append(side.basis, fresh, start), Trained(action, velocity), record._replace(done=record.done + 1)
    )
    return extended, Product(products(action, coordinates, law.taps), coordinates)
