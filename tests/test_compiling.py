"""Options of XLA that keep programs alive."""

import subprocess
import sys

import jax
import pytest

from fwdmft import compiling

PROGRAM = """
import jax, jax.numpy as jnp
from fwdmft.compiling import jitted
shape = (3, 1, 2, 2, 8, 8, 8)
a, b = (jax.random.normal(jax.random.key(seed), shape) for seed in range(2))
summed = jitted(lambda a, b: jnp.sum(a * b, axis=3))(a, b)
assert jnp.allclose(summed, a[:, :, :, 0] * b[:, :, :, 0] + a[:, :, :, 1] * b[:, :, :, 1], atol=1e-5)
# Products of matrices, which that library keeps, of as many axes.
summed = jitted(lambda a, b: jnp.einsum("abcdefg,abchefg->abcdhefg", a, b), quick=True)(a, b)
assert jnp.allclose(summed, a[:, :, :, :, None] * b[:, :, :, None], atol=1e-5)
summed = jitted(lambda a, b: jnp.einsum("abcdefg,abchejg->abcdhefj", a, b), quick=True)(a, b)
assert jnp.allclose(summed, jnp.sum(a[:, :, :, :, None, :, :, None] * b[:, :, :, None, :, :, None], axis=-1), atol=1e-4)
"""


def test_sums_of_products_of_seven_axes_do_not_end_the_process() -> None:
    """They do in jaxlib 0.10.2 and 0.11.0 without our options."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    assert done.returncode == 0, f"exit {done.returncode}: {done.stderr[-500:]}"


def test_unknown_options_are_left_out_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling, "SAFE", {"xla_nobody_knows": 1, "xla_backend_optimization_level": 1})
    compiling._is_known.cache_clear()
    known = [name for name in compiling.SAFE if compiling._is_known(name)]
    assert known == (["xla_backend_optimization_level"] if jax.default_backend() == "cpu" else [])
    compiling._is_known.cache_clear()
