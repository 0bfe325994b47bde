"""Activations, shared by theory and networks, against other implementations."""

from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from fwdmft.activations import ACTIVATIONS, KINK_BANDWIDTH, Kinked, activation

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


def test_smoothed_relu() -> None:
    """Its slope is a step in the first two moments, nearly so in the fourth; away from the kink it is ReLU."""
    relu = activation("relu")
    assert isinstance(relu, Kinked)
    h = jnp.linspace(-2.0, 2.0, 40_001)
    slope, step = jax.vmap(jax.grad(relu.smoothed))(h), h > 0
    for power in (1, 2):
        # The grid has half a point of the step.
        assert abs(float(jnp.sum(slope**power - step) * (h[1] - h[0]))) < 0.51 * float(h[1] - h[0])
    assert 0 < float(jnp.sum(slope**4 - step) * (h[1] - h[0])) < 0.07 * KINK_BANDWIDTH
    away = jnp.abs(h) > 8 * KINK_BANDWIDTH
    np.testing.assert_allclose(relu.smoothed(h)[away], relu(h)[away], atol=1e-9)
    scaled = activation("relu", scale=0.5, gain=3.0)
    assert isinstance(scaled, Kinked)
    np.testing.assert_allclose(scaled.smoothed(h), 6.0 * relu.smoothed(0.5 * h), atol=1e-12)


def test_gradient_kernels_of_smoothed_relu() -> None:
    """<phi'(h)^2> over Gaussian h is that of ReLU, 1/2, up to the second order in the bandwidth."""
    slope = jax.vmap(jax.grad(activation("relu").smoothed))
    h = jnp.linspace(-8, 8, 200_001)
    weight = jnp.exp(-(h**2) / 2) / jnp.exp(-(h**2) / 2).sum()
    assert abs(jnp.sum(weight * slope(h) ** 2) - 0.5) < KINK_BANDWIDTH**2
