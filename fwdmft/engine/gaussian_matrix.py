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
from fwdmft.engine.rows_in_use import combinations, each_block, scalar_products

TOGETHER = 16
"""New directions whose images are computed at once: after the first steps there are few in a block of vectors."""

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
        known = scalar_products(self.basis, self.rank, v) / v.shape[-1]
        squares = jnp.mean(v**2, axis=-1)
        unseen = jax.lax.cond(
            prior.tolerance < CANCELLING,
            lambda: jnp.mean((v - combinations(known.T, self.basis, self.rank)) ** 2, axis=-1),
            lambda: squares - jnp.sum(known**2, axis=0),
        )
        norms = jnp.where(squares > 0, squares, 1.0)
        new = unseen / norms > prior.tolerance
        fits = self.rank + len(v) <= len(self.basis)

        def directions() -> _Fresh:
            return _directions(self, other, v, known, norms, noise, prior)

        nothing = jax.tree.map(jnp.zeros_like, jax.eval_shape(directions))
        nothing = nothing._replace(dropped=jnp.max(unseen / norms))
        fresh = jax.lax.cond(jnp.any(new) & fits, directions, lambda: nothing)
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
        filled = jnp.zeros(buffer.shape[1:], value.dtype).at[tuple(map(slice, value.shape))].set(value)
        return jax.lax.dynamic_update_index_in_dim(buffer, filled, record.done, 0)

    return Record(
        put(record.coordinates, coordinates),
        put(record.mixing, fresh.mixing),
        put(record.revealed, fresh.revealed),
        put(record.start, rank),
        record.done + 1,
        rank + fresh.number,
    )


def _directions(
    side: OneSided,
    other: OneSided,
    v: Float[Array, "vector source"],
    known: Float[Array, "capacity vector"],
    norms: Float[Array, " vector"],
    noise: Float[Array, "row target"],
    prior: MatrixPrior,
) -> _Fresh:
    """What a block adds that has new directions, by the formula of the module docstring.

    known: coordinates of v in the basis so far. norms: squared norms of v, 1 for a vector that vanishes.
    """
    size = v.shape[-1]

    def of_residuals() -> Float[Array, "vector vector"]:
        residual = v - combinations(known.T, side.basis, side.rank)
        return residual @ residual.T / size

    scatter = jax.lax.cond(prior.tolerance < CANCELLING, of_residuals, lambda: v @ v.T / size - known.T @ known)
    mixing, number, dropped = orthonormalising(scatter, norms, prior.tolerance)
    rows = mixing @ v - combinations(mixing @ known.T, side.basis, side.rank)
    # A second time: rounding leaves a part along the basis, which every further direction would make larger.
    rows = rows - combinations(scalar_products(side.basis, side.rank, rows).T / size, side.basis, side.rank)
    again, number, _ = orthonormalising(rows @ rows.T / size, jnp.ones(len(v)), ROUNDED)
    basis, number = again @ rows, number.astype(side.rank.dtype)
    image, revealed = _images(side, other, basis, number, noise, prior)
    return _Fresh(basis, image, basis @ v.T / size, again @ mixing, revealed, number, dropped)


def _images(
    side: OneSided,
    other: OneSided,
    basis: Float[Array, "vector source"],
    number: Int[Array, ""],
    noise: Float[Array, "row target"],
    prior: MatrixPrior,
) -> tuple[Float[Array, "vector_offset target"], Float[Array, "capacity vector offset"]]:
    """Images of new directions, and what of them is known from the other side (`Record.revealed`).

    basis: new directions. number: how many there are; the rest are zero.
    """
    count, offsets, neurons = len(basis), prior.stencil.offsets, noise.shape[-1]
    xi = jax.lax.dynamic_slice_in_dim(noise, offsets * side.rank, offsets * count).reshape(count, offsets, neurons)
    xi = xi * (jnp.arange(count) < number)[:, None, None]
    Given = tuple[Float[Array, "direction source"], Float[Array, "direction offset target"]]
    Images = tuple[Float[Array, "direction offset target"], Float[Array, "direction offset capacity"]]

    def of(given: Given, _: Images) -> Images:
        e, xi = given
        # r <X e_n>, for every new direction, every offset and every vector of the other basis.
        revealed = scalar_products(other.image, offsets * other.rank, e).reshape(-1, offsets, len(e))
        revealed = prior.ratio**0.5 / e.shape[-1] * jnp.transpose(revealed, (2, 1, 0))
        projected = scalar_products(other.basis, other.rank, xi.reshape(-1, neurons)).T / neurons
        weights = revealed.reshape(projected.shape) - prior.sigma * projected
        return prior.sigma * xi + combinations(weights, other.basis, other.rank).reshape(xi.shape), revealed

    nothing = jnp.zeros_like(xi), jnp.zeros((count, offsets, len(other.basis)))
    image, revealed = each_block(of, number, (basis, xi), nothing, TOGETHER)
    return image.reshape(-1, neurons), jnp.moveaxis(revealed, -1, 0)
