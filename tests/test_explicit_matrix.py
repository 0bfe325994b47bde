"""Explicit matrices: their products, and how they learn."""

import jax
import jax.numpy as jnp
import numpy as np
from random_matrices import BANK, IN, OUT

from fwdmft.engine.explicit_matrix import ExplicitMatrix
from fwdmft.engine.update import Update, at_rest
from fwdmft.testing.agreement import ROUNDING


def test_products_and_learning_are_those_of_numpy() -> None:
    rng = np.random.default_rng(3)
    w = rng.standard_normal((2, OUT, IN))
    v, s = rng.standard_normal((5, 2, IN)), rng.standard_normal((5, 2, OUT))
    with jax.enable_x64(True):
        matrix = ExplicitMatrix(at_rest(jnp.asarray(w), True))
        ahead = matrix.apply(jnp.asarray(v), jnp.zeros(0), BANK)[1].value
        back = matrix.apply_transposed(jnp.asarray(s), jnp.zeros(0), BANK)[1].value
        update = Update(jnp.asarray(0.1), 0.9, 0.01)
        nothing = jnp.zeros(0)
        once = matrix.learn(jnp.asarray(s), nothing, jnp.asarray(v), nothing, BANK, update)
        twice = once.learn(jnp.asarray(s), nothing, jnp.asarray(v), nothing, BANK, update)
    # Offset 0 reads positions 0 and 1 at places 0 and 1, offset 1 reads position 1 at place 0.
    expected = np.stack([v[:, 0] @ w[0].T + v[:, 1] @ w[1].T, v[:, 1] @ w[0].T], axis=1) / np.sqrt(2 * IN)
    np.testing.assert_allclose(ahead, expected, atol=ROUNDING)
    expected = np.stack([s[:, 0] @ w[0], s[:, 1] @ w[0] + s[:, 0] @ w[1]], axis=1) / np.sqrt(2 * OUT)
    np.testing.assert_allclose(back, expected, atol=ROUNDING)
    gain = np.stack([s[:, 0].T @ v[:, 0] + s[:, 1].T @ v[:, 1], s[:, 0].T @ v[:, 1]]) / np.sqrt(2 * IN)
    velocity = gain - 0.01 * w
    after = w + 0.1 * velocity
    np.testing.assert_allclose(once.weights.value, after, atol=ROUNDING)
    velocity = 0.9 * velocity + gain - 0.01 * after
    np.testing.assert_allclose(twice.weights.value, after + 0.1 * velocity, atol=ROUNDING)
