"""What is computed. Source: Ramachandran, Zoph & Le, arXiv:1710.05941, with beta = 1."""

import jax


def swish(h: jax.Array) -> jax.Array:
    """phi(h) = h / (1 + exp(-h)), elementwise."""
    return h * jax.nn.sigmoid(h)
