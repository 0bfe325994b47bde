"""Activations, shared by theory and networks, against other implementations."""

from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from fwdmft.activations import activation, kinked
from fwdmft.registry import registry
from fwdmft.testing.agreement import ROUNDING

H = np.linspace(-4.0, 4.0, 42)

FORMULAS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "linear": lambda h: h,
    "tanh": np.tanh,
    "erf": special.erf,
    "relu": lambda h: h * (h > 0),
    "softplus": lambda h: np.logaddexp(h, 0),
    "gelu": lambda h: h * stats.norm.cdf(h),
}


@pytest.fixture(autouse=True)
def double_precision() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


def test_every_activation_has_a_formula() -> None:
    assert sorted(FORMULAS) == registry().kinds("activation") and [name for name in FORMULAS if kinked(name)] == [
        "relu"
    ]


@pytest.mark.parametrize("name", FORMULAS)
def test_values_slopes_scale_and_gain(name: str) -> None:
    phi = activation(name, scale=0.5, gain=3.0)
    np.testing.assert_allclose(phi(jnp.asarray(H)), 3.0 * FORMULAS[name](0.5 * H) / 0.5, rtol=ROUNDING, atol=ROUNDING)
    step = 1e-5
    slope = 3.0 * (FORMULAS[name](0.5 * (H + step)) - FORMULAS[name](0.5 * (H - step))) / step
    np.testing.assert_allclose(jax.vmap(jax.grad(phi))(jnp.asarray(H)), slope, atol=1e-8)
    assert activation(name) is activation(name)


def test_scale_of_relu_changes_nothing() -> None:
    """relu(a h) / a = relu(h), values and slopes, at the kink as well."""
    h = jnp.asarray([-2.0, -1e-3, 0.0, 1e-3, 2.0])
    for scale in (0.1, 10.0):
        scaled = activation("relu", scale=scale)
        np.testing.assert_allclose(scaled(h), activation("relu")(h), rtol=ROUNDING)
        np.testing.assert_allclose(
            jax.vmap(jax.grad(scaled))(h), jax.vmap(jax.grad(activation("relu")))(h), rtol=ROUNDING
        )
