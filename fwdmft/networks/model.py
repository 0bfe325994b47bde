"""What the engine asks of a finite network."""

from abc import abstractmethod
from collections.abc import Callable

import equinox as eqx
import jax
from jaxtyping import Array, Float, Key

OfLayers = tuple[Float[Array, "... _neuron"], ...]
"""Of one point, an array (*site, neuron) for each hidden layer."""

Quantities = dict[str, Float[Array, "..."]]
"""What is measured of a network, or of many, by name."""


class Network(eqx.Module):
    """One network of width N, an ordinary Equinox module.

    Laws: `__call__(x)` equals `trace(x, shifts())[0]`; entries of every initial weight matrix are independent normal.
    """

    def __call__(self, x: Float[Array, "..."]) -> Float[Array, " output"]:
        """Raw prediction f (not centred) for one point."""
        return self.trace(x, self.shifts())[0]

    def trained(self) -> "Network":
        """The module with True in place of every array that is trained; by default all inexact arrays are."""
        return jax.tree.map(eqx.is_inexact_array, self)

    @abstractmethod
    def shifts(self) -> OfLayers:
        """Zeros in the shape of the preactivations h^l of each hidden layer, for `trace`; neurons come last. None where
        the layers are not known: only the tangent kernel is measured then."""

    @abstractmethod
    def trace(self, x: Float[Array, "..."], shifts: OfLayers) -> tuple[Float[Array, " output"], OfLayers]:
        """Prediction and features phi(h^l) when each h^l is shifted; derivatives in the shifts give d f / d h^l."""

    def observables(self, x: Float[Array, "..."]) -> dict[str, Float[Array, "..."]]:
        """What the architecture declares to observe of one point, by name: its dimensions without "point"."""
        return {}


def activations(build: Callable[[Key[Array, ""]], Network], x: jax.ShapeDtypeStruct) -> int:
    """Numbers that a network computes for one point, about: preactivations, or all results where layers are unknown."""
    network = eqx.filter_eval_shape(build, jax.random.key(0))
    shifts = eqx.filter_eval_shape(lambda network: network.shifts(), network)
    if shifts:
        return sum(a.size for a in jax.tree.leaves(shifts))
    program, *_ = eqx.filter_make_jaxpr(lambda network, x: network(x))(network, x)
    return sum(variable.aval.size for equation in program.jaxpr.eqns for variable in equation.outvars)
