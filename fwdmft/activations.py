"""Activation functions phi(h), elementwise, shared by theory and networks; plugins may register more.

`scale` a and `gain` c turn phi into c phi(a h) / a: a < 1 moves an odd activation towards its linear part, and
gain sqrt(2) is the convention for ReLU that keeps |phi|^2 = |h|^2 on average.
"""

from collections.abc import Callable
from functools import cache

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fwdmft.errors import PluginError
from fwdmft.registry import ActivationFunction, registry

Activation = Callable[[Float[Array, "*shape"]], Float[Array, "*shape"]]


def linear(h: Array) -> Array:
    return h


def gelu(h: Array) -> Array:
    return jax.nn.gelu(h, approximate=False)


tanh, erf, relu, softplus = jnp.tanh, jax.scipy.special.erf, jax.nn.relu, jax.nn.softplus


def kinked(name: str) -> bool:
    """Whether the activation of this name cannot be differentiated twice everywhere."""
    registered: ActivationFunction = registry().get("activation", name)
    return registered.kinked


@cache
def activation(name: str, scale: float = 1.0, gain: float = 1.0) -> Activation:
    """phi(h) = gain * base(scale * h) / scale for the base activation that is registered as `name`.

    The same arguments give the same function object, so that programs compiled for it are found again. Raises
    PluginError where the base activation is not elementwise.
    """
    registered: ActivationFunction = registry().get("activation", name)
    probe = jax.ShapeDtypeStruct((2, 3), jnp.float32)
    value = jax.eval_shape(registered.function, probe)
    if getattr(value, "shape", None) != probe.shape or value.dtype != probe.dtype:
        origin = registry().origin("activation", name)
        raise PluginError(f"{origin} makes {value} of {probe}; expected the same shape and type")
    return registered.function if scale == 1.0 and gain == 1.0 else _scaled(registered.function, scale, gain)


def _scaled(base: Activation, scale: float, gain: float) -> Activation:
    return lambda h: (gain / scale) * base(scale * h)
