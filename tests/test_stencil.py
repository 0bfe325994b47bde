"""What places read, products with it, and kernels between it, against plain sums over positions."""

import jax
import numpy as np
import pytest

from fwdmft.engine.stencil import Stencil
from fwdmft.testing.agreement import assert_equal


@pytest.mark.parametrize(("offsets", "sources", "places"), [(9, 6, 4), (2, 7, 6)], ids=["few positions", "many"])
def test_overlap(offsets: int, sources: int, places: int) -> None:
    """Mean over offsets of the kernel between positions that are read, zero where nothing is."""
    assert (sources * places < offsets * (sources + places)) == (offsets == 9), "both ways to compute it are tried"
    rng = np.random.default_rng(0)
    reads = rng.integers(-1, sources, (offsets, places))
    kernel = rng.standard_normal((3, 2, sources, 3, 2, sources))
    expected = np.zeros((3, 2, places, 3, 2, places))
    for row in reads:
        for a, s in enumerate(row):
            for b, t in enumerate(row):
                if s >= 0 and t >= 0:
                    expected[:, :, a, :, :, b] += kernel[:, :, s, :, :, t] / offsets
    with jax.enable_x64(True):
        actual = Stencil(tuple(map(tuple, reads.tolist())), sources).overlap(jax.numpy.asarray(kernel), 2)
    assert_equal("overlap", np.asarray(actual), expected)


@pytest.mark.parametrize("lowest", [-1, 0], ids=["some read nothing", "all read"])
def test_rows_are_what_is_read(lowest: int) -> None:
    """Of fields with neurons last; zero where nothing is read."""
    rng = np.random.default_rng(0)
    reads = rng.integers(lowest, 5, (4, 3))
    stencil = Stencil(tuple(map(tuple, reads.tolist())), 5)
    a = rng.standard_normal((2, 5, 7))
    expected = np.where((reads.T < 0)[:, :, None], 0.0, a[:, reads.T])
    with jax.enable_x64(True):
        assert_equal("rows", np.asarray(stencil.rows(jax.numpy.asarray(a))), expected)


@pytest.mark.parametrize("lowest", [-1, 0], ids=["some read nothing", "all read"])
@pytest.mark.parametrize(("sources", "places"), [(6, 4), (4, 6)], ids=["fewer places", "more places"])
def test_products_with_a_bank(lowest: int, sources: int, places: int) -> None:
    """sum_k W_k v_(a+k), and its gradient sum_a s_a v_(a+k)^T, place by place."""
    rng = np.random.default_rng(0)
    reads = rng.integers(lowest, sources, (3, places))
    stencil = Stencil(tuple(map(tuple, reads.tolist())), sources)
    bank, v = rng.standard_normal((3, 5, 2)), rng.standard_normal((7, sources, 2))
    s = rng.standard_normal((7, places, 5))
    products, outer = np.zeros((7, places, 5)), np.zeros((3, 5, 2))
    for k, row in enumerate(reads):
        for a, position in enumerate(row):
            if position >= 0:
                products[:, a] += v[:, position] @ bank[k].T
                outer[k] += s[:, a].T @ v[:, position]
    with jax.enable_x64(True):
        bank, v, s = map(jax.numpy.asarray, (bank, v, s))
        assert_equal("products", np.asarray(stencil.products(bank, v)), products)
        assert_equal("outer products", np.asarray(stencil.outer_products(s, v)), outer)
