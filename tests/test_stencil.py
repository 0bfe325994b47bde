"""What places read, and kernels between it, against plain sums and positions."""

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
