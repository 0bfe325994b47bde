"""Populations of sample neurons: which random numbers a neuron carries, and how they are drawn.

At infinite width the neurons of a layer are independent draws from one law; S sample neurons with weights p_i (sum 1)
stand for it, and every order parameter is a weighted average sum_i p_i o_i. The leading random numbers come from one
scrambled Sobol sequence per population, mapped to Gaussians: averages of smooth functions then converge faster than
S^-1/2. Rich dynamics is not polynomial in the noise, which is why this is no Gauss-Hermite grid.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate

import numpy as np
from jaxtyping import Array, Float

from fwdmft.engine.sobol import sobol_normal
from fwdmft.errors import InputError

Noise = dict[str, Float[np.ndarray, "_number _neuron"]]

EVEN = 256
"""Coordinates of a Sobol sequence beyond this are no better than independent numbers."""

ROUNDED = 1e-6
"""Relative difference from a whole number that is left to the decimals of a ratio, such as .3333333."""


@dataclass(frozen=True)
class Population:
    """Identically distributed neurons, e.g. those of one hidden layer.

    name: unique within the field equations.
    gaussians: how many independent N(0, 1) numbers a neuron carries, the most influential first (the leading
        coordinates of a Sobol sequence are the most evenly filled).
    width: number of neurons in a network, in units of its width N.
    """

    name: str
    gaussians: int
    width: float = 1.0


def whole_neurons(ratio: float, width: int) -> int:
    """Number of neurons of a population in a network of width N.

    ratio: of the population's width to N. Nothing is rounded: q depends on the ratio, and another one of relative
    order 1/N would be taken for a part of b.
    Raises InputError (field "ensemble.widths") where ratio N is no whole number of neurons.
    """
    count = round(ratio * width)
    if count < 1 or abs(ratio * width - count) > ROUNDED * count:
        expected = f"a width N of which {ratio:g} N, the width of a layer, is whole; it is {ratio * width:g} here"
        raise InputError("ensemble.widths", width, expected)
    return count


def least_width(populations: Iterable[Population], most: int) -> int:
    """The least N of which every population has a whole number of neurons: so have its multiples, and no others.

    Raises InputError (field "architecture") where it is larger than `most`.
    """
    ratios = [population.width for population in populations]
    fractions = [Fraction(ratio).limit_denominator(most) for ratio in ratios]
    least = math.lcm(*(each.denominator for each in fractions))
    exact = all(abs(each - Fraction(ratio)) <= ROUNDED * ratio for each, ratio in zip(fractions, ratios, strict=True))
    if least > most or not exact:
        shown = [float(f"{ratio:.7g}") for ratio in dict.fromkeys(ratios)]
        expected = f"ratios of widths to N that are all whole numbers of neurons at some N up to {most}"
        raise InputError("architecture", shown, expected)
    return least


@dataclass(frozen=True)
class Supply:
    """Further N(0, 1) numbers of a population's neurons, drawn upon while training goes on.

    name: unique, also among populations. count: numbers per neuron; a longer supply begins like a shorter one.
    leading: how many of the first are drawn upon before the first training step. They belong to the population's Sobol
    sequence, up to `EVEN` of them; the others are pseudo-random.
    """

    name: str
    population: str
    count: int
    leading: int


def shares(populations: Iterable[Population], neurons: int) -> dict[str, int]:
    """Sample neurons of each population, in proportion to its width; the widest one has so many."""
    widths = {population.name: population.width for population in populations}
    widest = max(widths.values())
    return {name: max(1, round(neurons * width / widest)) for name, width in widths.items()}


def sample(
    populations: Iterable[Population],
    supplies: Iterable[Supply],
    neurons: int | dict[str, int],
    seed: int,
    replicate: int = 0,
    even: int = EVEN,
) -> Noise:
    """Standard normal numbers (gaussians, neurons) per population, (count, neurons) per supply.

    neurons: of every population, or of each by its name. even: how many numbers of a supply may belong to the Sobol
    sequence. One scrambling per seed and replicate.
    """
    noise: Noise = {}
    for index, population in enumerate(populations):
        size = neurons if isinstance(neurons, int) else neurons[population.name]
        entropy = (seed, replicate, index)
        own = [supply for supply in supplies if supply.population == population.name]
        counts = [population.gaussians, *(min(supply.leading, even) for supply in own)]
        first, *leading = np.split(sobol_normal(size, sum(counts), entropy), np.cumsum(counts)[:-1])
        noise[population.name] = first
        for number, (supply, rows) in enumerate(zip(own, leading, strict=True)):
            # Rows are drawn one after the other, so that more of them leave the first ones as they are.
            rng = np.random.default_rng((*entropy, number + 1))
            later = rng.standard_normal((max(0, supply.count - len(rows)), size))
            noise[supply.name] = np.concatenate([rows, later])[: supply.count]
    return noise


def cut(rows: Float[Array, "row *rest"], shapes: Iterable[tuple[int, ...]]) -> list[Float[Array, "..."]]:
    """Arrays (*shape, *rest), row by row."""
    shapes = list(shapes)
    ends = [0, *accumulate(map(math.prod, shapes))]
    return [rows[a:b].reshape(*each, *rows.shape[1:]) for a, b, each in zip(ends[:-1], ends[1:], shapes, strict=True)]
