"""Cheap compilation for small problems, and for them alone."""

import jax
import numpy as np
import pytest

from fwdmft.meanfield.compiling import CHEAP, SMALL, compiler_options


def test_small_problems_are_compiled_cheaply() -> None:
    assert compiler_options(SMALL / 2) == CHEAP
    assert compiler_options(SMALL) == {}


@pytest.mark.optimized  # or both programs would be cheap
def test_cheap_programs_compute_the_same() -> None:
    h = np.linspace(-3, 3, 101)

    def total(h: jax.Array) -> jax.Array:
        return jax.lax.scan(lambda a, x: (jax.numpy.tanh(a + x), None), 0.0, h)[0]

    with jax.enable_x64(True):
        lowered = jax.jit(jax.grad(total)).lower(h)
        found = [lowered.compile(compiler_options=compiler_options(size))(h) for size in (0.0, SMALL)]
    np.testing.assert_allclose(found[0], found[1], rtol=1e-12, atol=1e-300)
