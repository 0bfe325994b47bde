"""Populations of sample neurons: which random numbers a neuron carries, and how they are drawn.

At infinite width the neurons of a layer are independent draws from one law; S sample neurons with weights p_i (sum 1)
stand for it, and every order parameter is a weighted average sum_i p_i o_i. The random numbers come from one
scrambled Sobol sequence per population, mapped to Gaussians: averages of smooth functions then converge faster than
S^-1/2. Rich dynamics is not polynomial in the noise, which is why this is no Gauss-Hermite grid.
"""

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtri
from scipy.stats import qmc

Noise = dict[str, np.ndarray]
Weights = dict[str, np.ndarray]


@dataclass(frozen=True)
class Population:
    """Identically distributed neurons, e.g. those of one hidden layer.

    name: unique within the field equations.
    gaussians: how many independent N(0, 1) numbers a neuron carries, the most influential first (the leading
        coordinates of a Sobol sequence are the most evenly filled).
    """

    name: str
    gaussians: int


def sample(populations: Iterable[Population], neurons: int, seed: int, replicate: int = 0) -> Noise:
    """Standard normal numbers (gaussians, neurons) for each population; one scrambling per seed and replicate."""
    return {
        population.name: _sobol_normal(neurons, population.gaussians, (seed, replicate, index))
        for index, population in enumerate(populations)
    }


def uniform_weights(noise: Mapping[str, ArrayLike]) -> Weights:
    """p_i = 1/S for every population."""
    return {name: np.full(np.shape(draws)[-1], 1.0 / np.shape(draws)[-1]) for name, draws in noise.items()}


def _sobol_normal(neurons: int, dimension: int, entropy: tuple[int, ...]) -> np.ndarray:
    sequence = qmc.Sobol(dimension, scramble=True, rng=np.random.default_rng(entropy))
    with warnings.catch_warnings():
        # Any number of neurons is allowed; powers of two are merely the best balanced.
        warnings.filterwarnings("ignore", message="The balance properties", category=UserWarning)
        points = sequence.random(neurons)
    tiny = np.finfo(float).eps
    return np.ascontiguousarray(ndtri(np.clip(points, tiny, 1 - tiny)).T)
