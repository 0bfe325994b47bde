"""Random matrices between two populations of sample neurons, by exact Gaussian conditioning.

A hidden matrix W with independent N(0, sigma^2) entries acts on vectors that depend, through training, on W itself.
It is never formed. What is known of it are its products with the vectors seen so far:

    E  (rank, in neuron)   orthonormal basis of the input vectors    Y = W E / sqrt(N_in)     <E_i E_j>_in = delta_ij
    E' (rank', out neuron) orthonormal basis of the output vectors   X = W^T E' / sqrt(N_out)

Given X, the product of W with a new direction E_n orthogonal to E is, in law,

    Y_n = r E' <X E_n>_in + sigma (e - E' <E' e>_out),    e ~ N(0, 1) per neuron,    r = sqrt(N_in / N_out)

The first term is what the transposed products revealed (the response functions A and B of the field theory), the
projection keeps <E' W E_n> consistent with it. The same holds for W^T with the roles exchanged. In law a simulation
with S neurons *is* a network of width S.

A convolution is a bank of n_k independent matrices W_k, one for each offset k, which read the vectors at positions of
their source (`Stencil`): at place a the product is sum_k W_k v_(a+k) / sqrt(n_k N_in). The vectors at all positions
share the bases E and E', every offset has its images Y_k and X_k, conditioned as above. One offset and one position are
an ordinary matrix.

Training adds rank-one terms s v^T / sqrt(N_in) whose vectors have been seen, s as an output and v as an input vector.
So what is learned maps one basis to the other, L_k = sum_ij learned_ikj E'_j E_i^T: numbers, of which none belongs to
a neuron. Momentum and weight decay are linear and apply to both parts alike.

Trajectories are smooth in time, so a block of new vectors mostly lies in the span of earlier ones. The residuals of a
block are orthonormalised in the order of their size (pivoted Gram-Schmidt), and those above a tolerance are kept.
After the first steps there are few of them at a time, which costs less.

Every product with neurons has one of two forms, A v^T and c A, with rows of length S: the two that are fastest.

A matrix can keep a record of the averages that it used. Under this record a neuron needs no company: see
`replayed_matrix`.

Source: the conditioning technique of Bolthausen (2014) for iterations with Gaussian matrices; Bordelon & Pehlevan 2022
(arXiv 2205.09653) for the field theory it replaces.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Shaped

from fwdmft.engine.stencil import POINT, Stencil
from fwdmft.engine.update import Trained, Update, at_rest, heavy_ball

FEW = 8
"""New directions are few if they are so many times fewer than the vectors of a block."""

CANCELLING = 1e-9
"""Tolerance below which a difference of squared norms does not tell what is left of a vector."""

ROUNDED = 1e-3
"""Share of a direction's squared norm below which it consists of rounding."""


class MatrixPrior(NamedTuple):
    """Law of the initial matrix, and how closely vectors are resolved.

    sigma: standard deviation of the entries. ratio: N_in / N_out. tolerance: share of a vector's squared norm that may
    be left out. stencil: what the matrices of a bank read.
    """

    sigma: float
    ratio: float
    tolerance: float | Float[Array, ""]
    stencil: Stencil = POINT

    def transposed(self) -> "MatrixPrior":
        return self._replace(ratio=1 / self.ratio, stencil=self.stencil.transposed)


class Product(NamedTuple):
    """W v / sqrt(N_in) for a block of vectors at positions, and their coordinates: v = sum_r coordinates_r basis_r."""

    value: Float[Array, "vector place target"]
    coordinates: Float[Array, "capacity vector position"]


class Record(NamedTuple):
    """The averages that one side used, for every block it was applied to.

    coordinates: of the vectors, old and new directions. mixing: new directions as combinations of the residuals.
    revealed: coefficients of the other side's basis in the images of new directions, for every offset. start: rank
    before the block. done: number of blocks seen.
    """

    coordinates: Float[Array, "block capacity vector"]
    mixing: Float[Array, "block direction vector"]
    revealed: Float[Array, "block capacity direction offset"]
    start: Int[Array, " block"]
    done: Int[Array, ""]


class OneSided(NamedTuple):
    """What is known of a matrix in one direction; rows from `rank` on are zero.

    basis: E. image: Y, of the initial matrix. rank: number of basis vectors. dropped: largest share of a vector's
    squared norm that was left out.
    full: whether the capacity did not suffice, so that the side is not to be trusted. record: None if not kept.
    """

    basis: Float[Array, "capacity source"]
    image: Float[Array, "capacity_offset target"]
    rank: Int[Array, ""]
    dropped: Float[Array, ""]
    full: Bool[Array, ""]
    record: Record | None


class GaussianMatrix(NamedTuple):
    """A matrix seen from both sides.

    kept: what weight decay left of the initial matrix. learned: what training added, see the module docstring.
    """

    forward: OneSided
    backward: OneSided
    kept: Trained
    learned: Trained

    def apply(
        self, v: Float[Array, "vector position in"], noise: Float[Array, "row out"], prior: MatrixPrior
    ) -> tuple["GaussianMatrix", Product]:
        """W v / sqrt(N_in) for vectors v (vector, position, in neuron), with noise (capacity offset, out neuron) for
        new directions."""
        side, coordinates = _extended(self.forward, self.backward, v, noise, prior)
        changed = self._replace(forward=side)
        value = acted(side.image, self.backward.basis, self.kept.value, self.learned.value, coordinates, prior)
        return changed, Product(value, coordinates)

    def apply_transposed(
        self, v: Float[Array, "vector place out"], noise: Float[Array, "row in"], prior: MatrixPrior
    ) -> tuple["GaussianMatrix", Product]:
        """W^T v / sqrt(N_out) for vectors v (vector, place, out neuron), with noise (capacity offset, in neuron)."""
        prior = prior.transposed()
        side, coordinates = _extended(self.backward, self.forward, v, noise, prior)
        changed, learned = self._replace(backward=side), transposed(self.learned.value, prior)
        value = acted(side.image, self.forward.basis, self.kept.value, learned, coordinates, prior)
        return changed, Product(value, coordinates)

    def learn(
        self,
        signal: Float[Array, "vector place out"],
        signal_coordinates: Float[Array, "backward_capacity vector place"],
        v: Float[Array, "vector position in"],
        v_coordinates: Float[Array, "forward_capacity vector position"],
        prior: MatrixPrior,
        update: Update,
    ) -> "GaussianMatrix":
        """One training step: W_k learns sum_(mu, a) s_mu,a v_mu,a+k^T / sqrt(n_k N_in), of vectors that have been
        seen."""
        return self._replace(
            kept=heavy_ball(self.kept, jnp.zeros(()), update),
            learned=heavy_ball(self.learned, learned(v_coordinates, signal_coordinates, prior), update),
        )


def untouched(
    capacities: tuple[int, int],
    neurons: tuple[int, int],
    momentum: bool,
    offsets: int = 1,
    recorded: tuple[int, int, int] | None = None,
) -> GaussianMatrix:
    """A bank of which nothing is known.

    capacities: of forward and backward side. neurons: in, out. recorded: number of blocks to keep a record of, and
    vectors in a block forward and backward; None for no record.
    """
    ahead, back = capacities
    records: list[Record | None] = [None, None]
    if recorded is not None:
        blocks, *vectors = recorded
        sizes = zip((ahead, back), (back, ahead), vectors, strict=True)
        records = [_empty_record(blocks, own, other, each, offsets) for own, other, each in sizes]
    return GaussianMatrix(
        _unknown((ahead, neurons[0]), (ahead * offsets, neurons[1]), records[0]),
        _unknown((back, neurons[1]), (back * offsets, neurons[0]), records[1]),
        at_rest(jnp.ones(()), momentum),
        at_rest(jnp.zeros((ahead, offsets, back)), momentum),
    )


def _unknown(basis: tuple[int, int], images: tuple[int, int], record: Record | None) -> OneSided:
    return OneSided(
        jnp.zeros(basis),
        jnp.zeros(images),
        jnp.zeros((), jnp.int32),
        jnp.zeros(()),
        jnp.zeros((), bool),
        record,
    )


def _empty_record(blocks: int, own: int, other: int, vectors: int, offsets: int) -> Record:
    return Record(
        jnp.zeros((blocks, own, vectors)),
        jnp.zeros((blocks, vectors, vectors)),
        jnp.zeros((blocks, other, vectors, offsets)),
        jnp.zeros(blocks, jnp.int32),
        jnp.zeros((), jnp.int32),
    )


def acted(
    image: Float[Array, "capacity_offset target"],
    basis: Float[Array, "other_capacity target"],
    kept: Float[Array, ""],
    learned: Float[Array, "capacity offset other_capacity"],
    coordinates: Float[Array, "capacity vector position"],
    prior: MatrixPrior,
) -> Float[Array, "vector place target"]:
    """The products of vectors with these coordinates, from images of the basis and the basis of the other side."""
    read = read_coordinates(coordinates, prior.stencil)
    value = (kept * read) @ image + (read @ learned.reshape(read.shape[1], -1)) @ basis
    return value.reshape(coordinates.shape[1], prior.stencil.places, -1)


def learned(
    v_coordinates: Float[Array, "capacity vector position"],
    signal_coordinates: Float[Array, "other_capacity vector place"],
    prior: MatrixPrior,
) -> Float[Array, "capacity offset other_capacity"]:
    """What one step adds, per learning rate."""
    read = read_coordinates(v_coordinates, prior.stencil)
    gain = read.T @ signal_coordinates.reshape(len(signal_coordinates), -1).T
    return gain.reshape(len(v_coordinates), prior.stencil.offsets, -1)


def transposed(
    learned: Float[Array, "capacity offset other_capacity"], prior: MatrixPrior
) -> Float[Array, "other_capacity offset capacity"]:
    """What was learned as seen from the other side. prior: of the transposed matrix."""
    return prior.ratio**0.5 * jnp.swapaxes(learned, 0, 2)


def read_coordinates(
    coordinates: Float[Array, "capacity vector position"], stencil: Stencil
) -> Float[Array, "row column"]:
    """The share of basis vector and offset (columns) in what arrives at vector and place (rows)."""
    read = jnp.transpose(stencil.read(coordinates), (1, 3, 0, 2)) / stencil.offsets**0.5
    return jax.lax.optimization_barrier(read.reshape(-1, len(coordinates) * stencil.offsets))


def _extended(
    side: OneSided,
    other: OneSided,
    v: Float[Array, "vector position source"],
    noise: Float[Array, "row target"],
    prior: MatrixPrior,
) -> tuple[OneSided, Float[Array, "capacity vector position"]]:
    """Extend the side so that it resolves v (vector, position, source); their coordinates."""
    shape, v = v.shape, v.reshape(-1, v.shape[-1])
    known = side.basis @ v.T / v.shape[-1]
    squares = jnp.mean(v**2, axis=-1)
    unseen = jax.lax.cond(
        prior.tolerance < CANCELLING,
        lambda: jnp.mean((v - known.T @ side.basis) ** 2, axis=-1),
        lambda: squares - jnp.sum(known**2, axis=0),
    )
    norms = jnp.where(squares > 0, squares, 1.0)
    new = unseen / norms > prior.tolerance
    room = side.rank + len(v) <= len(side.basis)
    fresh = jax.lax.cond(
        jnp.any(new) & room,
        lambda: _resolved(side, other, v, known, norms, noise, prior),
        lambda: _nothing_new(side, other, v, jnp.max(unseen / norms), prior.stencil.offsets),
    )
    coordinates = append(known, fresh.coordinates, side.rank)
    extended = OneSided(
        append(side.basis, fresh.basis, side.rank),
        append(side.image, fresh.image, prior.stencil.offsets * side.rank),
        side.rank + fresh.number,
        jnp.maximum(side.dropped, jnp.where(room, fresh.dropped, 0.0)),
        side.full | (jnp.any(new) & ~room),
        None if side.record is None else _noted(side.record, coordinates, fresh, side.rank),
    )
    return extended, coordinates.reshape(-1, *shape[:2])


class _Fresh(NamedTuple):
    """New basis vectors with their images, zero rows last, and the coordinates of a block of vectors."""

    basis: Float[Array, "vector source"]
    image: Float[Array, "vector_offset target"]
    coordinates: Float[Array, "vector vector"]
    mixing: Float[Array, "vector vector"]
    revealed: Float[Array, "capacity vector offset"]
    number: Int[Array, ""]
    dropped: Float[Array, ""]


def _noted(record: Record, coordinates: Float[Array, "capacity vector"], fresh: _Fresh, rank: Int[Array, ""]) -> Record:
    def put(buffer: Shaped[Array, "block *axis"], value: Shaped[Array, "..."]) -> Shaped[Array, "block *axis"]:
        # Other uses of the matrix may have larger blocks.
        return jax.lax.dynamic_update_index_in_dim(buffer, _filled(value, buffer[0]), record.done, 0)

    return Record(
        put(record.coordinates, coordinates),
        put(record.mixing, fresh.mixing),
        put(record.revealed, fresh.revealed),
        put(record.start, rank),
        record.done + 1,
    )


def _nothing_new(
    side: OneSided, other: OneSided, v: Float[Array, "vector source"], dropped: Float[Array, ""], offsets: int
) -> _Fresh:
    count = len(v)
    none = jnp.zeros((count, count))
    return _Fresh(
        jnp.zeros_like(v),
        jnp.zeros((count * offsets, side.image.shape[1])),
        none,
        none,
        jnp.zeros((len(other.basis), count, offsets)),
        jnp.zeros((), side.rank.dtype),
        dropped,
    )


def _resolved(
    side: OneSided,
    other: OneSided,
    v: Float[Array, "vector source"],
    known: Float[Array, "capacity vector"],
    norms: Float[Array, " vector"],
    noise: Float[Array, "row target"],
    prior: MatrixPrior,
) -> _Fresh:
    size = v.shape[-1]

    def of_residuals() -> Float[Array, "vector vector"]:
        residual = v - known.T @ side.basis
        return residual @ residual.T / size

    scatter = jax.lax.cond(prior.tolerance < CANCELLING, of_residuals, lambda: v @ v.T / size - known.T @ known)
    mixing, number, dropped = orthonormalising(scatter, norms, prior.tolerance)

    def of(directions: int) -> _Fresh:
        found = _directions(side, other, v, known, mixing[:directions], number, noise, prior)
        return jax.tree.map(_filled, found._replace(dropped=dropped), full)

    full = jax.eval_shape(lambda: _directions(side, other, v, known, mixing, number, noise, prior))
    few = len(v) // FEW
    if few < 2:
        return of(len(v))
    return jax.lax.cond(number <= few, lambda: of(few), lambda: of(len(v)))


def _filled(a: Shaped[Array, "..."], like: jax.ShapeDtypeStruct | Shaped[Array, "..."]) -> Shaped[Array, "..."]:
    """With zeros, to another shape."""
    return jnp.zeros(like.shape, a.dtype).at[tuple(map(slice, a.shape))].set(a)


def _directions(
    side: OneSided,
    other: OneSided,
    v: Float[Array, "vector source"],
    known: Float[Array, "capacity vector"],
    mixing: Float[Array, "direction vector"],
    number: Int[Array, ""],
    noise: Float[Array, "row target"],
    prior: MatrixPrior,
) -> _Fresh:
    """The first `number` directions mixing (v - known^T basis), made orthonormal once more, and their images."""
    size, count = v.shape[-1], len(mixing)
    rows = mixing @ v - (mixing @ known.T) @ side.basis
    # Once more, as rounding leaves the residual not quite orthogonal.
    rows = rows - (side.basis @ rows.T / size).T @ side.basis
    again, number, _ = orthonormalising(rows @ rows.T / size, jnp.ones(count), ROUNDED)
    basis = again @ rows
    offsets = prior.stencil.offsets
    keep = jnp.repeat(jnp.arange(count) < number, offsets)
    e = jax.lax.dynamic_slice_in_dim(noise, offsets * side.rank, offsets * count) * keep[:, None]
    # Of every other basis vector, for every new direction and offset.
    response = prior.ratio**0.5 * (other.image @ basis.T / size).reshape(-1, offsets, count)
    response = jnp.swapaxes(response, 1, 2)
    projected = other.basis @ e.T / e.shape[-1]
    image = prior.sigma * e + (response.reshape(projected.shape) - prior.sigma * projected).T @ other.basis
    number = number.astype(side.rank.dtype)
    return _Fresh(basis, image, basis @ v.T / size, again @ mixing, response, number, jnp.zeros(()))


def orthonormalising(
    scatter: Float[Array, "vector vector"], norms: Float[Array, " vector"], tolerance: float | Float[Array, ""]
) -> tuple[Float[Array, "direction vector"], Int[Array, ""], Float[Array, ""]]:
    """Rows b with b scatter b^T = 1, from vectors in the order of what is left of them (pivoted Gram-Schmidt).

    scatter: <r r'> of the vectors. norms: squared norms that the tolerance refers to. Returns the rows, zero ones
    last, how many there are, and the largest share of a norm that is left out.
    """
    count = len(scatter)

    def more(carry: tuple[Array, Array, Array]) -> Array:
        _, left, number = carry
        return (number < count) & (jnp.max(jnp.diagonal(left) / norms) > tolerance)

    def one(carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        rows, left, number = carry
        shares = jnp.diagonal(left) / norms
        # All of a vector is left if nothing is known yet. Rounding shall not decide between equals.
        pivot = jnp.argmax(shares > (1 - 1e-6) * jnp.max(shares))
        row = jax.nn.one_hot(pivot, count, dtype=scatter.dtype)
        row = row - (rows @ scatter[pivot]) @ rows
        # Once more, for what rounding left.
        row = row - (rows @ (scatter @ row)) @ rows
        square = row @ scatter @ row
        # What is left of a vector may be rounding, down to a negative square: then it is taken for nothing.
        some = square > 0
        row = jnp.where(some, row / jnp.sqrt(jnp.where(some, square, 1.0)), 0.0)
        image = scatter @ row
        rest = jnp.where(some, left - jnp.outer(image, image), left.at[pivot].set(0.0).at[:, pivot].set(0.0))
        return rows.at[number].set(row), rest, number + some

    start = jnp.zeros_like(scatter), scatter, jnp.zeros((), jnp.int32)
    rows, left, number = jax.lax.while_loop(more, one, start)
    return rows, number, jnp.max(jnp.diagonal(left) / norms)


def append(
    buffer: Float[Array, "capacity *rest"], rows: Float[Array, "new *rest"], start: Int[Array, ""]
) -> Float[Array, "capacity *rest"]:
    """Rows added from `start` on, where the buffer is zero."""
    there = jax.lax.dynamic_slice_in_dim(buffer, start, len(rows))
    return jax.lax.dynamic_update_slice_in_dim(buffer, there + rows, start, axis=0)
