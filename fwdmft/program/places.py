"""All that a neuron is fed, and all that it gives, in one array each.

A "place" is a point at a site of a use of some weights. A neuron of a population is fed input fields, products of
matrices and its own numbers, in this order. It gives vectors to matrices, then to readouts. Within the block of some
weights the places run over uses, then sites, then points.
"""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from fwdmft.engine.neurons import cut
from fwdmft.program.reading import Additions
from fwdmft.program.structure import Structure


class Block(NamedTuple):
    """The places of some weights among those of a population.

    kind: field of `Additions` for what is fed, or kind of `Cut` for what is given.
    number: of the weights among those of their kind.
    start: the first place.
    sites: how many there are in each use.
    """

    kind: str
    number: int
    start: int
    points: int
    sites: tuple[int, ...]

    @property
    def every(self) -> slice:
        return slice(self.start, self.start + self.points * sum(self.sites))

    def of_use(self, use: int) -> slice:
        start = self.start + self.points * sum(self.sites[:use])
        return slice(start, start + self.points * self.sites[use])


Owned = dict[str, list[tuple[str, tuple[int, ...]]]]
"""Of each kind of weights: their population, and sites of each use."""


class Blocks(NamedTuple):
    """Of what is fed to a population: input fields, products, its own numbers. Of what it gives to matrices and to
    readouts."""

    fed: list[Block]
    given: list[Block]


def blocks(structure: Structure, population: str, points: int) -> Blocks:
    """The places of a population."""
    fed: Owned = {
        "inputs": [(each.population, each.rows) for each in structure.inputs],
        "products": [(each.target, tuple(map(math.prod, each.uses))) for each in structure.matrices],
        "vectors": [(each.population, (math.prod(each.shape),)) for each in structure.vectors],
    }
    given: Owned = {
        "matrix": [(each.source, tuple(map(math.prod, each.uses))) for each in structure.matrices],
        "readout": [(each.population, (each.places,)) for each in structure.readouts],
    }
    return Blocks(_blocks(fed, population, points), _blocks(given, population, points))


def _blocks(kinds: Owned, population: str, points: int) -> list[Block]:
    made: list[Block] = []
    for kind, every in kinds.items():
        for number, (owner, sites) in enumerate(every):
            if owner == population:
                made.append(Block(kind, number, made[-1].every.stop if made else 0, points, sites))
    return made


def fed_by(block: Block, arrays: Additions) -> tuple[Float[Array, "point ... neuron"], ...]:
    """The arrays of a block of what is fed."""
    arrays_of_kind = getattr(arrays, block.kind)[block.number]
    return (arrays_of_kind,) if block.kind == "vectors" else arrays_of_kind


def at_places(arrays: Iterable[Float[Array, "point *site neuron"]]) -> Float[Array, "place neuron"]:
    """Arrays joined, site by site."""
    rows = [jnp.moveaxis(a.reshape(len(a), -1, a.shape[-1]), 1, 0).reshape(-1, a.shape[-1]) for a in arrays]
    return jnp.concatenate(rows)


def from_places(
    places: Float[Array, "place neuron"], like: Sequence[Float[Array, "point ... neuron"]]
) -> list[Float[Array, "point ... neuron"]]:
    """What `at_places` has joined, in the shapes of those arrays."""
    arrays = cut(places, [(math.prod(a.shape[1:-1]), len(a)) for a in like])
    return [jnp.swapaxes(a, 0, 1).reshape(each.shape) for a, each in zip(arrays, like, strict=True)]
