"""Room for the bases of random matrices: how much there is at first, when it does not suffice, how it grows."""

import math
from collections.abc import Iterable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from fwdmft.engine.basis_matrix import BasisMatrix
from fwdmft.engine.field_equations import Pairs, RandomMatrix

NEURONS_PER_VECTOR = 4
"""A basis of k vectors takes k of the S dimensions of neuron space; what is left of the randomness is off by k/S."""


GROWTH = 1.75
"""Vectors are expected to be so many times more than there were when a basis was full."""


class Bases(NamedTuple):
    """How vectors were resolved that random matrices acted on, one entry per matrix and direction.

    rank: basis vectors used. dropped: largest share of a vector's squared norm left out. full: there was not room for
    all, so the pass is not to be trusted.
    """

    rank: Int[Array, " side"]
    dropped: Float[Array, " side"]
    full: Bool[Array, " side"]


def bases(matrices: tuple[BasisMatrix, ...]) -> Bases:
    """Of the forward and the backward side of each matrix in turn."""
    sides = [side for matrix in matrices for side in (matrix.forward, matrix.backward)]
    if not sides:
        return Bases(jnp.zeros(0, int), jnp.zeros(0), jnp.zeros(0, bool))
    return Bases(*(jnp.stack([getattr(side, name) for side in sides]) for name in Bases._fields))


def largest(each: Iterable[Bases]) -> Bases:
    """Of several passes."""
    return jax.tree.map(lambda *a: np.max(a, axis=0), *each)


def at_first(blocks: list[tuple[int, int]], times: int, few: int = 0) -> Pairs:
    """Capacities for so many times the vectors of a step (`blocks`), or twice as many if these are few."""

    def rows(block: int) -> int:
        return _capacity(max(times * block, min(2 * times * block, few)) + 4, block)

    return tuple((rows(ahead), rows(back)) for ahead, back in blocks)


def fitted(matrices: tuple[RandomMatrix, ...], bases: Bases) -> Pairs:
    """Capacities that suit what a pass used, or larger ones where it found bases full."""
    rank, full = np.asarray(bases.rank).tolist(), np.asarray(bases.full).tolist()
    old, each = ([number for m in matrices for number in getattr(m, name)] for name in ("capacities", "blocks"))
    if any(full):
        # The pass was broken off, so what it used is the least that is needed, of all bases.
        needed = [_capacity(GROWTH * used, block) for used, block in zip(rank, each, strict=True)]
        new = [max(pair) for pair in zip(needed, old, strict=True)]
    else:
        new = [_capacity(1.15 * used, block) for used, block in zip(rank, each, strict=True)]
    return tuple(zip(new[::2], new[1::2], strict=True))


def expected(matrices: tuple[RandomMatrix, ...], neurons: int) -> Pairs:
    """Room that training is expected to need, from what there is at first: grown twice, if so many neurons allow it."""
    most = GROWTH * neurons / NEURONS_PER_VECTOR

    def side(capacity: int, block: int) -> int:
        return max(capacity, min(int(GROWTH**2 * capacity), _capacity(most, block)))

    pairs = [[side(*each) for each in zip(m.capacities, m.blocks, strict=True)] for m in matrices]
    return tuple((ahead, back) for ahead, back in pairs)


def numbers(matrices: tuple[RandomMatrix, ...], neurons: int) -> int:
    """How many numbers bases take: with images, the noise of these, and what is learned between bases."""
    learned = sum(2 * m.offsets * math.prod(m.capacities) for m in matrices)
    return neurons * of_a_neuron(matrices, tuple(m.capacities for m in matrices)) + learned


def of_a_neuron(matrices: tuple[RandomMatrix, ...], capacities: Pairs) -> int:
    """Numbers of one neuron in each layer: in bases of these capacities, images, and the noise of these."""
    return sum(sum(pair) * (1 + 2 * m.offsets) for m, pair in zip(matrices, capacities, strict=True))


def _capacity(needed: float, block: int) -> int:
    """Rows that hold `needed` vectors and one more block, in multiples of four."""
    return 4 * math.ceil((needed + block + 1) / 4)
