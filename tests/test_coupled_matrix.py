"""Matrices whose first products follow given numbers: independent entries, and networks that share their randomness."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array
from random_matrices import BANK, IN, LAW, OUT

from fwdmft.engine.coupled_matrix import CoupledMatrix
from fwdmft.engine.matrix_law import MatrixPrior

RUNS = 40_000


def untouched(prior: MatrixPrior, key: Array) -> CoupledMatrix:
    numbers = jax.random.normal(key, (prior.stencil.offsets, OUT, IN))
    return CoupledMatrix(prior.sigma * numbers, jnp.zeros((0, IN)), jnp.zeros((0, OUT)))


def entries(prior: MatrixPrior, project: bool = True) -> np.ndarray:
    """Entries / sigma of many matrices (run, entry) after products of both sides, each with vectors that depend on all
    products before. project: or not, which is wrong."""
    offsets, positions = prior.stencil.offsets, prior.stencil.sources

    def placed(vector: Array) -> Array:
        """At every position."""
        return jnp.broadcast_to(vector, (1, positions, len(vector)))

    def one(key: Array) -> Array:
        keys = jax.random.split(key, 3)
        ahead = jax.random.normal(keys[0], (2 * positions * offsets, OUT))
        back = jax.random.normal(keys[1], (2 * positions * offsets, IN))
        matrix = untouched(prior, keys[2])

        def forget(matrix: CoupledMatrix, side: str) -> CoupledMatrix:
            return matrix if project else replace(matrix, **{side: 0 * getattr(matrix, side)})

        matrix, product = forget(matrix, "backward").apply(placed(jnp.ones(IN)), ahead, prior)
        u = jnp.sum(product.value, axis=(0, 1))
        matrix, product = forget(matrix, "forward").apply_transposed(placed(u), back, prior)
        v = jnp.sum(product.value, axis=(0, 1)) + u[:IN]
        matrix, product = forget(matrix, "backward").apply(placed(v), ahead, prior)
        u = jnp.sum(product.value, axis=(0, 1)) * jnp.sum(u**2) + jnp.sum(v**2)
        matrix, _ = forget(matrix, "forward").apply_transposed(placed(u), back, prior)
        return matrix.weights.ravel() / prior.sigma

    return np.asarray(jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(0), RUNS)), np.float64)


def deviations(x: np.ndarray) -> float:
    """The largest deviation from moments of independent N(0, 1) numbers, in standard errors."""
    count = x.shape[1]
    pairs = np.triu_indices(count, 1)
    actual = []
    for power, mean, square in ((1, 0, 1), (2, 1, 3), (4, 3, 105)):
        actual.append((np.mean(x**power, axis=0) - mean) / np.sqrt(square - mean**2))
    for power, variance in ((1, 1), (2, 4)):
        centred = x**power - (power == 2)
        actual.append((centred.T @ centred / len(x))[pairs] / np.sqrt(variance))
    # Of squared singular values: they see correlations of four entries.
    w = x.reshape(len(x), -1, OUT, IN)
    gram = np.einsum("rkoi,rkoj->rkij", w, w)
    traces = np.einsum("rkij,rkij->rk", gram, gram)
    expected = IN * OUT * (IN + OUT + 1)
    actual.append((traces.mean(0) - expected) / traces.std(0))
    return float(np.max(np.abs(np.concatenate(actual))) * np.sqrt(len(x)))


@pytest.mark.parametrize("prior", [LAW, BANK])
def test_entries_are_independent(prior: MatrixPrior) -> None:
    assert deviations(entries(prior)) < 4.5


def test_without_projection_the_law_breaks() -> None:
    assert deviations(entries(LAW, project=False)) > 10


def crowded(complete: bool | None) -> np.ndarray:
    """Entries / sigma after products with two vectors of which one is followed, and with one that depends on the other.

    complete: what is said of the vectors in between, None for the truth.
    """

    def one(key: Array) -> Array:
        keys = jax.random.split(key, 3)
        matrix = untouched(LAW, keys[0])
        vectors = jnp.array([[1.0, 1.0, 1.0], [1.0, -1.0, 0.0]])
        matrix, product = matrix.apply(vectors[:, None], jax.random.normal(keys[1], (1, OUT)), LAW)
        assert not matrix.complete
        matrix = matrix if complete is None else replace(matrix, complete=complete)
        u = product.value[1, 0] * jnp.sum(product.value[1, 0] ** 2)
        matrix, _ = matrix.apply_transposed(u[None, None], jax.random.normal(keys[2], (1, IN)), LAW)
        return matrix.weights.ravel() / LAW.sigma

    return np.asarray(jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(0), RUNS)), np.float64)


def test_nothing_changes_once_a_vector_is_not_followed() -> None:
    assert deviations(crowded(None)) < 4.5
    assert deviations(crowded(True)) > 10


def test_products_follow_the_numbers() -> None:
    """Of orthogonal vectors in their order, as many as there are numbers for; one that adds nothing uses its own up."""
    ahead = jax.random.normal(jax.random.key(1), (3 * 2, OUT))
    vectors = jnp.array([[2.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 3.0]])
    before = untouched(BANK, jax.random.key(0))
    # One position, which the first offset reads: the second one only follows.
    matrix, _ = before.apply(vectors[:, None], ahead, BANK)
    numbers = BANK.sigma * ahead.reshape(3, 2, OUT)
    np.testing.assert_allclose(matrix.weights[:, :, 0], numbers[0], rtol=1e-6)
    np.testing.assert_allclose(matrix.weights[:, :, 2], numbers[2], rtol=1e-6)
    np.testing.assert_allclose(matrix.weights[:, :, 1], before.weights[:, :, 1], rtol=1e-6)
    back = jax.random.normal(jax.random.key(2), (1 * 2, IN))
    after, _ = matrix.apply_transposed(jnp.eye(OUT)[:1, None], back, BANK)
    # Known products stay; what is left of the row follows.
    np.testing.assert_allclose(after.weights[:, :, 0], numbers[0], rtol=1e-6)
    np.testing.assert_allclose(after.weights[:, 0, 1], BANK.sigma * back[:, 1], rtol=1e-6)
    np.testing.assert_allclose(after.weights[:, 1:], matrix.weights[:, 1:], rtol=1e-6)
