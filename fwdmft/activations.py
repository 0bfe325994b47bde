"""Activation functions phi(h), elementwise, shared by theory and networks.

`scale` a and `gain` c turn phi into c phi(a h) / a: a < 1 moves an odd activation towards its linear part, and
gain sqrt(2) is the convention for ReLU that keeps |phi|^2 = |h|^2 on average.

ReLU. Its slope is a step, whose own derivative is a delta function at h = 0. Networks never differentiate twice, but
fluctuations do: reweighting neurons moves preactivations across the kink. Passes that are differentiated (for Sigma and
b, never for infinite width) go through a smooth twin, whose slope rises within `KINK_BANDWIDTH` eps of zero,

    sigma(x) = Phi(x) + 2 (sqrt(2) - 1) x varphi(x),    x = h / eps      Phi, varphi: of the normal distribution

chosen so that int (sigma - step) = int (sigma^2 - step) = 0: averages of slopes and gradient kernels are changed at
second order in eps only. Fourth moments of the slope, and with them N Var G, are so by less than 7 % of eps times the
density of h at zero. It would not do to leave the pass as it is and differentiate the step as if it were smooth: a
neuron that rests slightly below zero would have a slope of the slope there, and at every step a derivative that grows.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import jax
import jax.numpy as jnp
from jax.scipy.stats import norm
from jaxtyping import Array, Float

Activation = Callable[[Float[Array, "*shape"]], Float[Array, "*shape"]]

KINK_BANDWIDTH = 0.1
"""eps, in units of a h."""


@dataclass(frozen=True)
class Kinked:
    """An activation with kinks, and the smooth one that stands for it where fluctuations are computed."""

    exact: Activation
    smoothed: Activation

    def __call__(self, h: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        return self.exact(h)


def _smoothed_relu(h: Array) -> Array:
    x = h / KINK_BANDWIDTH
    return KINK_BANDWIDTH * (x * norm.cdf(x) + (3 - 2 * 2**0.5) * norm.pdf(x))


def _gelu(h: Array) -> Array:
    return jax.nn.gelu(h, approximate=False)


ACTIVATIONS: dict[str, Activation] = {
    "linear": lambda h: h,
    "tanh": jnp.tanh,
    "erf": jax.scipy.special.erf,
    "relu": Kinked(jax.nn.relu, _smoothed_relu),
    "softplus": jax.nn.softplus,
    "gelu": _gelu,
}


@cache
def activation(name: str, scale: float = 1.0, gain: float = 1.0) -> Activation:
    """phi(h) = gain * base(scale * h) / scale for the base activation `name` (a key of `ACTIVATIONS`).

    The same arguments give the same function object, so that programs compiled for it are found again.
    """
    base = ACTIVATIONS[name]
    if scale == 1.0 and gain == 1.0:
        return base
    if isinstance(base, Kinked):
        return Kinked(_scaled(base.exact, scale, gain), _scaled(base.smoothed, scale, gain))
    return _scaled(base, scale, gain)


def _scaled(base: Activation, scale: float, gain: float) -> Activation:
    return lambda h: (gain / scale) * base(scale * h)
