"""Room for the bases of random matrices: how much there is at first, when it does not suffice, how it grows."""

import math

import numpy as np

from fwdmft.errors import ComputationError
from fwdmft.meanfield.field_equations import Bases, NeuronWeights

NEURONS_PER_VECTOR = 4
"""A basis of k vectors takes k of the S dimensions of neuron space; what is left of the randomness is off by k/S."""

Pairs = tuple[tuple[int, int], ...]
"""A number for the forward and the backward side of every matrix."""


class OutOfRoom(Exception):
    """Bases were full. The pass is to be repeated with more room."""

    def __init__(self, bases: Bases):
        super().__init__(bases)
        self.bases = bases


def check_room(bases: Bases, p: NeuronWeights) -> None:
    """Raise OutOfRoom if a basis was full, ComputationError if one has too many vectors for the neurons."""
    rank, count = int(np.max(bases.rank, initial=0)), min(len(weights) for weights in p.values())
    if count < NEURONS_PER_VECTOR * rank:
        raise ComputationError(
            f"random matrices act on {rank} or more independent vectors, too many for {count} sample neurons; "
            f"expected at least {NEURONS_PER_VECTOR} times as many neurons as vectors: raise theory.neurons, or lower "
            "theory.replicates, which share them where fluctuations are computed"
        )
    if np.any(bases.full):
        raise OutOfRoom(bases)


def at_first(blocks: list[tuple[int, int]], times: int) -> Pairs:
    """Capacities for so many times the vectors of a step (`blocks`)."""
    return tuple((_capacity(times * ahead + 4, ahead), _capacity(times * back + 4, back)) for ahead, back in blocks)


def fitted(capacities: Pairs, blocks: list[tuple[int, int]], bases: Bases) -> Pairs:
    """Capacities that suit what a pass used, or larger ones where it found bases full."""
    rank, full = np.asarray(bases.rank).tolist(), np.asarray(bases.full).tolist()
    old, each = ([number for pair in pairs for number in pair] for pairs in (capacities, blocks))
    if any(full):
        # The pass was broken off, so what it used is the least that is needed: bases well on the way to be full are
        # enlarged as well.
        short = [over or 2 * used > capacity for over, used, capacity in zip(full, rank, old, strict=True)]
        grown = [_capacity(1.5 * capacity, block) for capacity, block in zip(old, each, strict=True)]
        new = [more if few else capacity for few, more, capacity in zip(short, grown, old, strict=True)]
    else:
        new = [_capacity(1.15 * used, block) for used, block in zip(rank, each, strict=True)]
    return tuple(zip(new[::2], new[1::2], strict=True))


def _capacity(needed: float, block: int) -> int:
    """Rows that hold `needed` vectors and one more block, in multiples of four."""
    return 4 * math.ceil((needed + block + 1) / 4)
