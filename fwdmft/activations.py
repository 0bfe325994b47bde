"""Activation functions phi(h), elementwise, shared by theory and networks.

`scale` a and `gain` c turn phi into c phi(a h) / a: a < 1 moves an odd activation towards its linear part, and
gain sqrt(2) is the convention for ReLU that keeps |phi|^2 = |h|^2 on average.
"""

from collections.abc import Callable
from functools import cache

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Activation = Callable[[Float[Array, "*shape"]], Float[Array, "*shape"]]


def _gelu(h: Array) -> Array:
    return jax.nn.gelu(h, approximate=False)


ACTIVATIONS: dict[str, Activation] = {
    "linear": lambda h: h,
    "tanh": jnp.tanh,
    "erf": jax.scipy.special.erf,
    "relu": jax.nn.relu,
    "softplus": jax.nn.softplus,
    "gelu": _gelu,
}


KINKED = frozenset({"relu"})
"""Activations that cannot be differentiated twice."""


@cache
def activation(name: str, scale: float = 1.0, gain: float = 1.0) -> Activation:
    """phi(h) = gain * base(scale * h) / scale for the base activation `name` (a key of `ACTIVATIONS`).

    The same arguments give the same function object, so that programs compiled for it are found again.
    """
    base = ACTIVATIONS[name]
    if scale == 1.0 and gain == 1.0:
        return base
    return _scaled(base, scale, gain)


def _scaled(base: Activation, scale: float, gain: float) -> Activation:
    return lambda h: (gain / scale) * base(scale * h)
