"""What the engine asks of a finite network."""

from abc import abstractmethod

import equinox as eqx
import jax
from jaxtyping import Array, Float

OfLayers = tuple[Float[Array, "... _neuron"], ...]
"""Of one point, an array (*site, neuron) for each hidden layer."""


class Network(eqx.Module):
    """One network of width N, an ordinary Equinox module.

    Laws: `__call__(x)` equals `trace(x, shifts())[0]`; entries of every initial weight matrix are independent normal.
    """

    @abstractmethod
    def __call__(self, x: Float[Array, "..."]) -> Float[Array, " output"]:
        """Raw prediction f (not centred) for one point."""

    def trained(self) -> "Network":
        """The module with True in place of every array that is trained; by default all inexact arrays are."""
        return jax.tree.map(eqx.is_inexact_array, self)

    @abstractmethod
    def shifts(self) -> OfLayers:
        """Zeros in the shape of the preactivations h^l of each hidden layer, for `trace`; neurons come last."""

    @abstractmethod
    def trace(self, x: Float[Array, "..."], shifts: OfLayers) -> tuple[Float[Array, " output"], OfLayers]:
        """Prediction and features phi(h^l) when each h^l is shifted; derivatives in the shifts give d f / d h^l."""

    def observables(self, x: Float[Array, "..."]) -> dict[str, Float[Array, "..."]]:
        """What the architecture declares to observe of one point, by name: its dimensions without "point"."""
        return {}
