"""Buffers of which only the first rows are in use: what is done with these, block by block.

Blocks of rows are taken up to the last row in use, so that time follows the rows in use, whatever a buffer may hold.
A block stays in a processor's cache while it is worked on. `used`, the number of rows in use, is an int where all of
them are: then nothing is cut.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

BLOCK = 1 << 18
"""Numbers of a block, about: two megabytes in double precision."""

LEAST = 8
"""Rows of a block at least."""

Used = int | Int[Array, ""]


def scalar_products(
    rows: Float[Array, "capacity number"], used: Used, v: Float[Array, "vector number"]
) -> Float[Array, "capacity vector"]:
    """Scalar products of rows with vectors v, not divided by anything; zero for rows that are not in use."""
    nothing = jnp.zeros((len(rows), len(v)), v.dtype)
    return each_block(lambda block, _: block @ v.T, used, rows, nothing)


def combinations(
    weights: Float[Array, "combination capacity"], rows: Float[Array, "capacity number"], used: Used
) -> Float[Array, "combination number"]:
    """Sums of the rows in use with these weights."""
    block = _block(rows)
    if isinstance(used, int) or block == len(rows):
        return weights @ rows

    def one(i: Int[Array, ""], sums: Float[Array, "combination number"]) -> Float[Array, "combination number"]:
        start, new = _start(i, block, len(rows))
        taken = jax.lax.dynamic_slice_in_dim(weights, start, block, axis=1)
        return sums + jnp.where(new, taken, 0.0) @ jax.lax.dynamic_slice_in_dim(rows, start, block)

    nothing = jnp.zeros((len(weights), rows.shape[1]), rows.dtype)
    return jax.lax.fori_loop(0, -(-used // block), one, nothing)


def each_block(
    function: Callable[[Any, Any], Any], used: Used, given: Any, replaced: Any, rows: int | None = None
) -> Any:
    """`replaced` with function(block of given, block of replaced) in place of its rows in use.

    given, replaced: arrays, or trees of them, with as many rows each. The function acts on each row alike.
    rows: of a block; None for as many as stay in the cache.
    """
    arrays = jax.tree.leaves((given, replaced))
    capacity = len(arrays[0])
    block = min(map(_block, arrays)) if rows is None else min(rows, capacity)
    if isinstance(used, int) or block == capacity:
        return function(given, replaced)

    def one(i: Int[Array, ""], replaced: Any) -> Any:
        start, new = _start(i, block, capacity)
        there, old = jax.tree.map(lambda a: jax.lax.dynamic_slice_in_dim(a, start, block), (given, replaced))

        def put(a: Float[Array, "..."], old: Float[Array, "..."], fresh: Float[Array, "..."]) -> Float[Array, "..."]:
            fresh = jnp.where(new.reshape(-1, *(1,) * (a.ndim - 1)), fresh, old)
            return jax.lax.dynamic_update_slice_in_dim(a, fresh, start, 0)

        return jax.tree.map(put, replaced, old, function(there, old))

    return jax.lax.fori_loop(0, -(-used // block), one, replaced)


def _block(rows: Float[Array, "capacity *number"]) -> int:
    """Rows of a block; all of them on accelerators, which read fast but start slowly."""
    if jax.default_backend() != "cpu":
        return len(rows)
    return min(len(rows), max(LEAST, BLOCK * len(rows) // max(1, rows.size)))


def _start(i: Int[Array, ""], block: int, capacity: int) -> tuple[Int[Array, ""], Bool[Array, " row"]]:
    """Where block i begins, and which of its rows no block before has: the last one may begin within it."""
    start = jnp.minimum(i * block, capacity - block)
    return start, start + jnp.arange(block) >= i * block
