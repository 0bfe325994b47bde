"""Standard errors of q from a few simulations, each with Sobol points of its own.

A standard error from few simulations is itself uncertain, mostly too small. It is widened until two of it hold what two
standard errors of a normal variable hold, 95.4 %: for R simulations by the quantile of Student's distribution with
R - 1 degrees of freedom. What is pooled over the entries of an observable is known better, by how much depends on how
much they fluctuate together. Measured over 2000 simulations of two-layer networks, R = 2 to 8, it is as if from
2 (R - 1) degrees of freedom for one training point and from 4 (R - 1) for three.
"""

import numpy as np
from jaxtyping import Float
from scipy.special import ndtr, stdtrit

POOLED = 2
"""Degrees of freedom of a pooled error, in units of those of a single entry; on the safe side."""


def widening(freedom: int) -> float:
    """Factor on a standard error from so many degrees of freedom, see the module's docstring."""
    return float(stdtrit(freedom, ndtr(2.0))) / 2


def spread_error(samples: Float[np.ndarray, "simulation *axis"]) -> Float[np.ndarray, "*axis"]:
    """Standard error of the mean over simulations (simulation, ...), from their spread alone."""
    count = len(samples)
    return widening(count - 1) * samples.std(axis=0, ddof=1) / count**0.5


def sobol_error(
    spread: Float[np.ndarray, "*axis"], independent: Float[np.ndarray, "*axis"], simulations: int
) -> Float[np.ndarray, "*axis"]:
    """Standard error of an observable from its spread over few simulations and from Sigma.

    spread: standard error of each entry from the spread alone, not widened. independent: the variance that as many
    independent neurons would leave. One factor per observable, pooled over its entries, says by how much Sobol points
    do better than those; of both estimates the mean (in variance) is taken, and widened.
    """
    expected = float(np.sum(independent))
    gain = min(1.0, float(np.sum(spread**2)) / expected) if expected > 0 else 1.0
    return widening(POOLED * (simulations - 1)) * np.sqrt((spread**2 + gain * independent) / 2)
