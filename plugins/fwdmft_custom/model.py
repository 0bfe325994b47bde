"""The user's module as a network of fwdmft: its outputs over gamma0, its parameters trained, its layers unknown."""

import sys
from collections.abc import Callable
from typing import Any, NoReturn

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fwdmft.plugin import InputError, Network, ParameterizationSpec
from fwdmft_custom.loading import function, refused, refusing
from fwdmft_custom.schema import Custom


class Wrapped(Network):
    """f = network(x) / gamma0, for the trained and the other leaves of a module that `restored` puts together."""

    parameters: Any
    others: Any
    restored: Callable[[Any, Any], Callable[[Array], Array]] = eqx.field(static=True)
    gamma0: float = eqx.field(static=True)
    outputs: int = eqx.field(static=True)
    name: str = eqx.field(static=True)

    def __call__(self, x: Array) -> Float[Array, " output"]:
        with refusing(self.name, "a module that can be called on one point"):
            raw = jnp.asarray(self.restored(self.parameters, self.others)(x))
        if raw.shape not in ((self.outputs,), () if self.outputs == 1 else (self.outputs,)):
            expected = f"a module with outputs of shape {(self.outputs,)}, as y has, not {raw.shape}"
            raise refused(self.name, expected)
        return raw.reshape(self.outputs) / self.gamma0

    def trained(self) -> "Wrapped":
        mask = jax.tree.map(eqx.is_inexact_array, self)
        nothing = jax.tree.map(lambda leaf: False, self.others)
        return eqx.tree_at(lambda one: one.others, mask, nothing)

    def shifts(self) -> tuple[Array, ...]:
        return ()

    def trace(self, x: Array, shifts: tuple[Array, ...]) -> tuple[Array, tuple[Array, ...]]:
        return self(x), ()


def model(
    spec: Custom, parameterization: ParameterizationSpec, x: np.ndarray, outputs: int, width: int, key: Array
) -> Wrapped:
    """The network that the user's function makes of width and key. Raises InputError for what is none."""
    if parameterization.sigma_w != 1:
        raise InputError(
            "parameterization.sigma_w", parameterization.sigma_w, "1: initial weights are the network's own"
        )
    build = function(spec.network)
    with refusing(spec.network, "a function of a width and a key that returns a network"):
        module = build(width, key)
        varies = _varies(lambda key: _parts(spec.network, build(width, key))[0], key)
    if not varies:
        expected = "a function that draws initial weights from its key; this one makes the same network of all keys"
        raise refused(spec.network, expected)
    parts = _parts(spec.network, module)
    return Wrapped(*parts, parameterization.richness(width), outputs, spec.network)


def _varies(parameters: Callable[[Array], Any], key: Array) -> bool:
    """Whether parameters are computed from a key at all."""
    program = jax.make_jaxpr(lambda key: jax.tree.leaves(parameters(key)))(key).jaxpr
    return any(one is program.invars[0] for equation in program.eqns for one in equation.invars)


def _parts(name: str, module: Any) -> tuple[Any, Any, Callable[[Any, Any], Callable[[Array], Array]]]:
    """Trained leaves, other leaves, and what puts them together."""
    if isinstance(module, eqx.Module) and callable(module):
        parameters, others = eqx.partition(module, eqx.is_inexact_array)
        return parameters, others, eqx.combine
    nnx = getattr(sys.modules.get("flax"), "nnx", None)
    if nnx is not None and isinstance(module, nnx.Module) and callable(module):
        graph, parameters, others = nnx.split(module, nnx.Param, ...)
        return parameters, others, lambda one, other: nnx.merge(graph, one, other)
    raise refused(name, f"a function that returns a callable Equinox or Flax nnx module, not {type(module).__name__}")


def field_equations(*arguments: Any) -> NoReturn:
    """There are none. Raises InputError."""
    expected = (
        "an architecture that has a theory; networks of your own are trained without: leave out theory, and take "
    )
    raise InputError("architecture.kind", "custom", f"{expected}optimizer gradient_descent")
