"""Blocks of rows: the same as the rows in use all at once, however they are cut."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_gaussian_matrix import BANK, LAW, implicit, sequence

from fwdmft.engine import gaussian_matrix, rows_in_use
from fwdmft.engine.matrix_law import MatrixPrior
from fwdmft.engine.rows_in_use import combinations, each_block, scalar_products
from fwdmft.testing.agreement import ROUNDING

CAPACITY, NUMBERS, BLOCK = 11, 6, 4
"""Not a multiple of the block: the last one begins within the one before."""


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows_in_use, "BLOCK", BLOCK * NUMBERS)
    monkeypatch.setattr(rows_in_use, "LEAST", 1)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("used", [0, 3, 4, 5, 8, 9, CAPACITY])
def test_products_and_changes_of_rows_in_use(used: int) -> None:
    with jax.enable_x64(True):
        rng = np.random.default_rng(used)
        rows, other = rng.standard_normal((2, CAPACITY, NUMBERS))
        rows[used:] = other[used:] = 0.0
        v, weights = rng.standard_normal((2, NUMBERS)), rng.standard_normal((3, CAPACITY))
        count = jnp.asarray(used)
        np.testing.assert_allclose(scalar_products(jnp.asarray(rows), count, v), rows @ v.T, rtol=0, atol=ROUNDING)
        actual = combinations(jnp.asarray(weights), jnp.asarray(rows), count)
        np.testing.assert_allclose(actual, weights @ rows, rtol=0, atol=ROUNDING)
        # Each row changes once, also where blocks overlap.
        added = each_block(lambda a, b: a + 2 * b, count, jnp.asarray(rows), jnp.asarray(other))
        np.testing.assert_allclose(added, rows + 2 * other, rtol=0, atol=ROUNDING)


def test_rows_behind_the_last_block_are_not_read() -> None:
    """As many blocks are taken as rows in use ask for, so that time follows these: ones behind them do not count."""
    rows = jnp.ones((4 * rows_in_use.LEAST, rows_in_use.BLOCK), jnp.float32)
    taken = combinations(jnp.ones((1, len(rows))), rows, jnp.asarray(1))
    np.testing.assert_array_equal(taken, rows_in_use.LEAST)


@pytest.mark.parametrize("prior", [LAW, BANK], ids=["matrix", "bank"])
def test_a_matrix_in_blocks_is_the_same_matrix(prior: MatrixPrior, monkeypatch: pytest.MonkeyPatch) -> None:
    with jax.enable_x64(True):
        whole = np.asarray(sequence(implicit(jax.random.key(0), prior=prior), prior.stencil.sources))
        monkeypatch.setattr(rows_in_use, "BLOCK", 1)
        monkeypatch.setattr(rows_in_use, "LEAST", 3)
        monkeypatch.setattr(gaussian_matrix, "TOGETHER", 2)
        actual = sequence(implicit(jax.random.key(0), prior=prior), prior.stencil.sources)
    np.testing.assert_allclose(actual, whole, rtol=0, atol=ROUNDING * np.abs(whole).max())
