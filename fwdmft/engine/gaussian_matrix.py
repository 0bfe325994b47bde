"""Random matrices between two populations of sample neurons, by exact Gaussian conditioning.

A hidden matrix W acts on vectors that depend, through training, on W itself. It is never formed: what is known of it
are its products with two bases, see `basis_matrix` for W(0), E, E', Y, X, N_in, N_out, sigma. Here the bases are
orthonormal,

    <E_i E_j>_in = delta_ij      <E'_i E'_j>_out = delta_ij

where < >_in and < >_out are averages over the neurons at either side.

Let the matrix act on a vector that has a part outside of the basis, and let e_n be the direction of this part. Given
all that is known of W(0), its product with e_n is Gaussian. In law it is

    Y_n = r E' <X e_n>_in + sigma (xi - E' <E' xi>_out)

    r    sqrt(N_in / N_out)
    xi   fresh numbers N(0, 1), one for each neuron

The first term is known from the transposed products: <E'_i W(0) e_n> = <X_i e_n>. In the field theory it is the part
that the response functions A and B describe. The second term is what is still random: it has no part along E'. The
same holds for the transpose, with the roles of the sides exchanged. So a simulation with S neurons has the law of a
network of width S.

In a bank every offset has images of its own, which are conditioned by this formula each.

Trajectories are smooth in time, so a block of new vectors mostly lies in the span of earlier ones. What is left of
them is orthonormalised in the order of its size (`orthonormalising`), and directions above a tolerance are kept. After
the first steps there are few of them at a time, which costs less.

A matrix can keep a record of the averages that it used. Under this record a neuron needs no others beside it: see
`replayed_matrix`.

Source: the conditioning technique of Bolthausen (2014) for iterations with Gaussian matrices; Bordelon & Pehlevan 2022
(arXiv 2205.09653) for the field theory it replaces.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Shaped

from fwdmft.engine.basis_matrix import BasisMatrix, MatrixPrior, append, unlearned
from fwdmft.engine.orthonormalising import orthonormalising

FEW = 8
"""New directions are few if they are so many times fewer than the vectors of a block."""

CANCELLING = 1e-9
"""Tolerance below which a difference of squared norms does not tell what is left of a vector."""

ROUNDED = 1e-3
"""Share of a direction's squared norm below which it consists of rounding."""


class Record(NamedTuple):
    """The averages that one side used, for every block of vectors that it met.

    coordinates: of the vectors, in old and new directions.
    mixing: new directions as combinations of the residuals, the parts of the vectors outside of the basis.
    revealed: coefficients of the other side's basis in the images of new directions, for every offset.
    start: rank before the block.
    done, rank: number of blocks met, and of basis vectors after them.
    """

    coordinates: Float[Array, "block capacity vector"]
    mixing: Float[Array, "block direction vector"]
    revealed: Float[Array, "block capacity direction offset"]
    start: Int[Array, " block"]
    done: Int[Array, ""]
    rank: Int[Array, ""]


class OneSided(NamedTuple):
    """What is known of a matrix in one direction; rows from `rank` on are zero.

    basis: E.
    image: Y, of the initial matrix.
    rank: number of basis vectors.
    dropped: largest share of a vector's squared norm that was left out.
    full: whether there was no capacity for a direction. Then the side is not to be trusted.
    record: None if none is kept.
    """

    basis: Float[Array, "capacity source"]
    image: Float[Array, "capacity_offset target"]
    rank: Int[Array, ""]
    dropped: Float[Array, ""]
    full: Bool[Array, ""]
    record: Record | None

    def extended(
        self, other: "OneSided", v: Float[Array, "vector source"], noise: Float[Array, "row target"], prior: MatrixPrior
    ) -> tuple["OneSided", Float[Array, "capacity vector"]]:
        """See `OneSidedMatrix`.

        known: coordinates of v in the basis so far. unseen: squared norm of the part of v outside of the basis.
        """
        known = self.basis @ v.T / v.shape[-1]
        squares = jnp.mean(v**2, axis=-1)
        unseen = jax.lax.cond(
            prior.tolerance < CANCELLING,
            lambda: jnp.mean((v - known.T @ self.basis) ** 2, axis=-1),
            lambda: squares - jnp.sum(known**2, axis=0),
        )
        norms = jnp.where(squares > 0, squares, 1.0)
        new = unseen / norms > prior.tolerance
        fits = self.rank + len(v) <= len(self.basis)
        shapes = jax.eval_shape(lambda: _directions(self, other, v, known, v @ v.T, self.rank, noise, prior))
        fresh = jax.lax.cond(
            jnp.any(new) & fits,
            lambda: _resolved(self, other, v, known, norms, noise, prior, shapes),
            lambda: jax.tree.map(jnp.zeros_like, shapes)._replace(dropped=jnp.max(unseen / norms)),
        )
        coordinates = append(known, fresh.coordinates, self.rank)
        extended = OneSided(
            append(self.basis, fresh.basis, self.rank),
            append(self.image, fresh.image, prior.stencil.offsets * self.rank),
            self.rank + fresh.number,
            jnp.maximum(self.dropped, jnp.where(fits, fresh.dropped, 0.0)),
            self.full | (jnp.any(new) & ~fits),
            None if self.record is None else _noted(self.record, coordinates, fresh, self.rank),
        )
        return extended, coordinates


def untouched(
    capacities: tuple[int, int],
    neurons: tuple[int, int],
    momentum: bool,
    offsets: int = 1,
    recorded: tuple[int, int, int] | None = None,
) -> BasisMatrix:
    """A bank of which nothing is known.

    capacities: of forward and backward side. neurons: in, out. recorded: number of blocks to keep a record of, and
    vectors in a block forward and backward; None for no record.
    """

    def side(own: int, other: int, source: int, target: int, block: int) -> OneSided:
        record = None if recorded is None else _empty_record(recorded[0], own, other, recorded[block], offsets)
        basis, images = jnp.zeros((own, source)), jnp.zeros((own * offsets, target))
        return OneSided(basis, images, jnp.zeros((), jnp.int32), jnp.zeros(()), jnp.zeros((), bool), record)

    forward, backward = side(*capacities, *neurons, 1), side(*capacities[::-1], *neurons[::-1], 2)
    return unlearned(forward, backward, momentum, offsets)


def _empty_record(blocks: int, own: int, other: int, vectors: int, offsets: int) -> Record:
    return Record(
        jnp.zeros((blocks, own, vectors)),
        jnp.zeros((blocks, vectors, vectors)),
        jnp.zeros((blocks, other, vectors, offsets)),
        jnp.zeros(blocks, jnp.int32),
        *(jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32)),
    )


class _Fresh(NamedTuple):
    """What a block of vectors adds to a side. Rows of new basis vectors and images are zero from `number` on.

    coordinates: of the vectors in the new directions.
    mixing, revealed: see `Record`.
    number: of new directions.
    dropped: largest share of a vector's squared norm that is left out.
    """

    basis: Float[Array, "vector source"]
    image: Float[Array, "vector_offset target"]
    coordinates: Float[Array, "vector vector"]
    mixing: Float[Array, "vector vector"]
    revealed: Float[Array, "capacity vector offset"]
    number: Int[Array, ""]
    dropped: Float[Array, ""]


def _noted(record: Record, coordinates: Float[Array, "capacity vector"], fresh: _Fresh, rank: Int[Array, ""]) -> Record:
    """The record with one more block. coordinates: of its vectors, in all directions. rank: before it."""

    def put(buffer: Shaped[Array, "block *axis"], value: Shaped[Array, "..."]) -> Shaped[Array, "block *axis"]:
        # Other uses of the matrix may have larger blocks.
        return jax.lax.dynamic_update_index_in_dim(buffer, _filled(value, buffer[0]), record.done, 0)

    return Record(
        put(record.coordinates, coordinates),
        put(record.mixing, fresh.mixing),
        put(record.revealed, fresh.revealed),
        put(record.start, rank),
        record.done + 1,
        rank + fresh.number,
    )


def _resolved(
    side: OneSided,
    other: OneSided,
    v: Float[Array, "vector source"],
    known: Float[Array, "capacity vector"],
    norms: Float[Array, " vector"],
    noise: Float[Array, "row target"],
    prior: MatrixPrior,
    shapes: _Fresh,
) -> _Fresh:
    """What a block adds that has new directions.

    known: coordinates of v in the basis so far. norms: squared norms of v, 1 for a vector that vanishes. shapes: of
    what is returned.
    The new directions are computed all at once, or the first few alone if there are no more.
    """
    size = v.shape[-1]

    def of_residuals() -> Float[Array, "vector vector"]:
        residual = v - known.T @ side.basis
        return residual @ residual.T / size

    scatter = jax.lax.cond(prior.tolerance < CANCELLING, of_residuals, lambda: v @ v.T / size - known.T @ known)
    mixing, number, dropped = orthonormalising(scatter, norms, prior.tolerance)

    def of(directions: int) -> _Fresh:
        fresh = _directions(side, other, v, known, mixing[:directions], number, noise, prior)
        return jax.tree.map(_filled, fresh._replace(dropped=dropped), shapes)

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
    """New directions and their images, by the formula of the module docstring.

    mixing: rows of coefficients. The first `number` directions are mixing (v - known^T basis), made orthonormal once
    more, because rounding leaves them not quite orthogonal.
    """
    size, count = v.shape[-1], len(mixing)
    rows = mixing @ v - (mixing @ known.T) @ side.basis
    rows = rows - (side.basis @ rows.T / size).T @ side.basis
    again, number, _ = orthonormalising(rows @ rows.T / size, jnp.ones(count), ROUNDED)
    basis = again @ rows
    offsets = prior.stencil.offsets
    keep = jnp.repeat(jnp.arange(count) < number, offsets)
    xi = jax.lax.dynamic_slice_in_dim(noise, offsets * side.rank, offsets * count) * keep[:, None]
    # r <X e_n>, for every vector of the other basis, every new direction and every offset.
    revealed = prior.ratio**0.5 * (other.image @ basis.T / size).reshape(-1, offsets, count)
    revealed = jnp.swapaxes(revealed, 1, 2)
    projected = other.basis @ xi.T / xi.shape[-1]
    image = prior.sigma * xi + (revealed.reshape(projected.shape) - prior.sigma * projected).T @ other.basis
    number = number.astype(side.rank.dtype)
    return _Fresh(basis, image, basis @ v.T / size, again @ mixing, revealed, number, jnp.zeros(()))
