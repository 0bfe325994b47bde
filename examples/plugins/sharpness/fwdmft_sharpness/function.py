"""What is computed."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np


def sharpness(q: Mapping[str, jax.Array], train: np.ndarray) -> jax.Array:
    """Largest eigenvalue of K between training points and outputs, K = gamma0^2 N J J^T with the Jacobian J of f.

    J^T J has the same eigenvalues: it is the Gauss-Newton matrix, the Hessian of the squared error without what is
    curved in f.
    """
    kernel = q["tangent_kernel"][train][:, :, train]
    return jnp.linalg.eigvalsh(kernel.reshape(kernel.shape[0] * kernel.shape[1], -1))[-1]
