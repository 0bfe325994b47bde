"""Products between few rows and many neurons, fast whether "few" is one point or a hundred.

The neuron axis comes last and is long. Matrix products suit many rows; with only a few (and with the batches of
directions that travel together in `fluctuations`) a sum of elementwise products fuses with its surroundings, while a
batched matrix product would not.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

FEW = 4
"""Up to this many rows, sums of elementwise products are used."""


def mix(matrix: Float[Array, "row column"], rows: Float[Array, "column neuron"]) -> Float[Array, "row neuron"]:
    """matrix @ rows."""
    columns = matrix.shape[1]
    if columns > FEW:
        return matrix @ rows
    return sum((matrix[:, j, None] * rows[j] for j in range(1, columns)), matrix[:, 0, None] * rows[0])


def gram(a: Float[Array, "*rest neuron"], p: Float[Array, " neuron"]) -> Array:
    """Weighted averages <a a'> = sum_i p_i a_i a'_i over all pairs of leading indices, shape (*rest, *rest)."""
    rows = a.reshape(-1, a.shape[-1])
    weighted = p * rows
    pairs = jnp.sum(weighted[:, None] * rows, axis=-1) if len(rows) <= FEW else weighted @ rows.T
    return pairs.reshape(*a.shape[:-1], *a.shape[:-1])
