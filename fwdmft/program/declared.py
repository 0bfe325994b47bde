"""What a forward program asks for by name: weights with their settings, and where they are used."""

import math
from dataclasses import dataclass

from fwdmft.engine.stencil import POINT, Stencil

Sites = tuple[int, ...]
"""Lengths of the axes between points and neurons."""


@dataclass(frozen=True)
class Input:
    """Input weights. The settings are those of `Net.input`.

    calls: sites of the x of each call, and features: D, once they are known.
    """

    name: str
    population: str
    sigma: float
    bias: float
    trained: bool
    features: int = 0
    calls: tuple[Sites, ...] = ()

    @property
    def rows(self) -> tuple[int, ...]:
        """Rows of x at each point, of every call."""
        return tuple(map(math.prod, self.calls))


@dataclass(frozen=True)
class Matrix:
    """A Gaussian matrix. The settings are those of `Net.dense`.

    uses: sites of the vectors that each use acts on, once they are known.
    """

    name: str
    source: str
    target: str
    sigma: float
    stencil: Stencil
    trained: bool
    uses: tuple[Sites, ...] = ()

    def vectors(self, use: int) -> int:
        """Vectors at each point that a use acts on at once; those at the positions of a bank count as one."""
        return math.prod(self.uses[use]) // self.stencil.sources

    def places(self, sites: Sites) -> Sites:
        """Sites of the product, from those of the vectors."""
        return sites if self.stencil == POINT else (*sites[:-1], self.stencil.places)


@dataclass(frozen=True)
class Vector:
    """Numbers of each neuron, see `Net.vector`."""

    name: str
    population: str
    shape: Sites
    mean: float
    sigma: float
    scale: float
    trained: bool


@dataclass(frozen=True)
class Readout:
    """A readout. The settings are those of `Net.readout`. sites: of what is read, once they are known."""

    name: str
    population: str
    sigma: float
    trained: bool
    sites: Sites = ()

    @property
    def places(self) -> int:
        return math.prod(self.sites)
