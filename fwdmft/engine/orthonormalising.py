"""Orthonormal combinations of vectors, of which only the scalar products are known."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

Carry = tuple[Float[Array, "direction vector"], Float[Array, "vector vector"], Int[Array, ""]]


def orthonormalising(
    scatter: Float[Array, "vector vector"], norms: Float[Array, " vector"], tolerance: float | Float[Array, ""]
) -> tuple[Float[Array, "direction vector"], Int[Array, ""], Float[Array, ""]]:
    """Rows b with b scatter b^T = 1, by pivoted Gram-Schmidt: the vector of which most is left comes next.

    scatter: scalar products <r r'> of the vectors.
    norms: squared norms. It ends when at most `tolerance` times its norm is left of every vector.
    Returns the rows, zero ones last; how many there are; and the largest share of a norm that is left.
    """
    count = len(scatter)

    def more(carry: Carry) -> Bool[Array, ""]:
        _, left, number = carry
        return (number < count) & (jnp.max(jnp.diagonal(left) / norms) > tolerance)

    def one(carry: Carry) -> Carry:
        rows, left, number = carry
        shares = jnp.diagonal(left) / norms
        # All of a vector is left if nothing is known yet. Rounding shall not decide between equals.
        pivot = jnp.argmax(shares > (1 - 1e-6) * jnp.max(shares))
        row = jax.nn.one_hot(pivot, count, dtype=scatter.dtype)
        row = row - (rows @ scatter[pivot]) @ rows
        # A second time, because rounding leaves a part along earlier rows.
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
