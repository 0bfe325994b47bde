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

Source: the conditioning technique of Bolthausen (2014) for iterations with Gaussian matrices; Bordelon & Pehlevan 2022
(arXiv 2205.09653) for the field theory it replaces.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from fwdmft.engine.matrix_law import MatrixPrior
from fwdmft.engine.orthonormalising import orthonormalising
from fwdmft.engine.rows_in_use import combinations, each_block, scalar_products

TOGETHER = 16
"""New directions whose images are computed at once: after the first steps there are few in a block of vectors."""

CANCELLING = 1e-9
"""Tolerance below which a difference of squared norms does not tell what is left of a vector."""

ROUNDED = 1e-3
"""Share of a direction's squared norm below which it consists of rounding."""


class OneSided(NamedTuple):
    """What is known of a matrix in one direction; rows from `rank` on are zero.

    basis: E.
    image: Y, of the initial matrix.
    rank: number of basis vectors.
    dropped: largest share of a vector's squared norm that was left out.
    full: whether there was no capacity for a direction. Then the side is not to be trusted.
    """

    basis: Float[Array, "capacity source"]
    image: Float[Array, "capacity_offset target"]
    rank: Int[Array, ""]
    dropped: Float[Array, ""]
    full: Bool[Array, ""]

    def extended(
        self, other: "OneSided", v: Float[Array, "vector source"], noise: Float[Array, "row target"], prior: MatrixPrior
    ) -> tuple["OneSided", Float[Array, "capacity vector"]]:
        """The side with a basis in which v lies, and the coordinates of v.

        other: the other side. noise: N(0, 1) numbers of the target's neurons, for every basis vector and offset.

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
        )
        return extended, coordinates


class _Fresh(NamedTuple):
    """What a block of vectors adds to a side. Rows of new basis vectors and images are zero from `number` on.

    coordinates: of the vectors in the new directions.
    number: of new directions.
    dropped: largest share of a vector's squared norm that is left out.
    """

    basis: Float[Array, "vector source"]
    image: Float[Array, "vector_offset target"]
    coordinates: Float[Array, "vector vector"]
    number: Int[Array, ""]
    dropped: Float[Array, ""]


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
    image = _images(side, other, basis, number, noise, prior)
    return _Fresh(basis, image, basis @ v.T / size, number, dropped)


def _images(
    side: OneSided,
    other: OneSided,
    basis: Float[Array, "vector source"],
    number: Int[Array, ""],
    noise: Float[Array, "row target"],
    prior: MatrixPrior,
) -> Float[Array, "vector_offset target"]:
    """Images of new directions.

    basis: new directions. number: how many there are; the rest are zero.
    """
    count, offsets, neurons = len(basis), prior.stencil.offsets, noise.shape[-1]
    xi = jax.lax.dynamic_slice_in_dim(noise, offsets * side.rank, offsets * count).reshape(count, offsets, neurons)
    xi = xi * (jnp.arange(count) < number)[:, None, None]
    Given = tuple[Float[Array, "direction source"], Float[Array, "direction offset target"]]
    Images = Float[Array, "direction offset target"]

    def of(given: Given, _: Images) -> Images:
        e, xi = given
        # r <X e_n>, for every new direction, every offset and every vector of the other basis.
        revealed = scalar_products(other.image, offsets * other.rank, e).reshape(-1, offsets, len(e))
        revealed = prior.ratio**0.5 / e.shape[-1] * jnp.transpose(revealed, (2, 1, 0))
        projected = scalar_products(other.basis, other.rank, xi.reshape(-1, neurons)).T / neurons
        weights = revealed.reshape(projected.shape) - prior.sigma * projected
        return prior.sigma * xi + combinations(weights, other.basis, other.rank).reshape(xi.shape)

    return each_block(of, number, (basis, xi), jnp.zeros_like(xi), TOGETHER).reshape(-1, neurons)


def append(
    buffer: Float[Array, "capacity *rest"], rows: Float[Array, "new *rest"], start: Int[Array, ""]
) -> Float[Array, "capacity *rest"]:
    """Rows added from `start` on, where the buffer is zero."""
    there = jax.lax.dynamic_slice_in_dim(buffer, start, len(rows))
    return jax.lax.dynamic_update_slice_in_dim(buffer, there + rows, start, axis=0)
