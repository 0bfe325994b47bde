"""Activations, shared by theory and networks, against other implementations."""

from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from fwdmft.activations import ACTIVATIONS, KINK_BANDWIDTH, activation

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
    assert set(FORMULAS) == set(ACTIVATIONS)


@pytest.mark.parametrize("name", FORMULAS)
def test_values_slopes_scale_and_gain(name: str) -> None:
    phi = activation(name, scale=0.5, gain=3.0)
    np.testing.assert_allclose(phi(jnp.asarray(H)), 3.0 * FORMULAS[name](0.5 * H) / 0.5, rtol=1e-12, atol=1e-14)
    step = 1e-5
    slope = 3.0 * (FORMULAS[name](0.5 * (H + step)) - FORMULAS[name](0.5 * (H - step))) / step
    np.testing.assert_allclose(jax.vmap(jax.grad(phi))(jnp.asarray(H)), slope, atol=1e-8)
    assert activation(name) is ACTIVATIONS[name]


def test_relu_has_a_second_derivative_of_unit_weight() -> None:
    """The delta function at the kink: without it neurons that cross the kink would be lost to fluctuations."""
    relu = activation("relu")
    h = jnp.linspace(-4.0, 4.0, 4001)
    curvature = jax.vmap(jax.grad(jax.grad(relu)))(h)
    assert float(jnp.sum(curvature) * (h[1] - h[0])) == pytest.approx(1.0, abs=1e-6)
    assert float(jnp.sum(curvature * h)) == pytest.approx(0.0, abs=1e-6)
    assert float(jnp.abs(curvature[jnp.abs(h) > 6 * KINK_BANDWIDTH]).max()) < 1e-5


def test_the_slope_of_relu_does_not_know_the_scale_of_its_input() -> None:
    """phi'(c h)^2, averaged over Gaussian h, is the same for all c > 0, up to the third order in the bandwidth."""
    phi = activation("relu")
    h = jnp.linspace(-8, 8, 200_001)
    weight = jnp.exp(-(h**2) / 2) / jnp.exp(-(h**2) / 2).sum()
    slope = jax.vmap(jax.grad(phi))
    assert abs(jax.jvp(lambda c: jnp.sum(weight * slope(c * h) ** 2), (1.0,), (1.0,))[1]) < KINK_BANDWIDTH**3
