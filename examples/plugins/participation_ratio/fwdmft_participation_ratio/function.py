"""What is computed."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np


def participation_ratio(q: Mapping[str, jax.Array], train: np.ndarray) -> jax.Array:
    """(tr Phi)^2 / tr Phi^2 of every layer, between 1 (all points look alike) and the number of training points."""
    kernel = q["feature_kernel"][:, train][:, :, train]
    return jnp.einsum("lmm->l", kernel) ** 2 / jnp.sum(kernel**2, axis=(1, 2))
