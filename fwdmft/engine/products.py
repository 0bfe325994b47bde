"""Products between few rows and many neurons, fast whether "few" is one point or a hundred.

The neuron axis comes last. Matrix products suit many rows; with only a few, a sum of elementwise products fuses with
its surroundings.
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


def gram(a: Float[Array, "*rest neuron"]) -> Float[Array, "..."]:
    """Averages <a a'> over neurons for all pairs of leading indices, shape (*rest, *rest)."""
    rows = a.reshape(-1, a.shape[-1])
    pairs = jnp.mean(rows[:, None] * rows, axis=-1) if len(rows) <= FEW else rows @ rows.T / rows.shape[-1]
    return pairs.reshape(*a.shape[:-1], *a.shape[:-1])
