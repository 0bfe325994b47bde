"""b from the means of draws, with the next order in 1/n in its error.

    E m - q = (b + k) / n        E Y = - ((1 - 1/r) b + (1 - 1/r^2) k) / n        k = c / n of q_n = q + b/n + c/n^2

There are two equations for b and k, but the first needs q, whose error is multiplied by n, and k is small. So k is
taken for a random number of mean zero and of the size that Sigma shows, whose own next order is known from the growth
of variances: V_n = Sigma (1 + a/n) and k is about (a/n) b. Generalised least squares then weigh both equations, and
what is not known of k is in the error of b.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from fwdmft.corrections.sample_estimates import STEP
from fwdmft.corrections.samples import PARTS


class Bias(NamedTuple):
    """b with its standard error; as each group of draws has it; and q from draws alone, less q, in standard errors."""

    value: np.ndarray
    error: np.ndarray
    groups: np.ndarray
    check: np.ndarray


def bias(
    mean: np.ndarray,
    change: np.ndarray,
    width: int,
    q: np.ndarray | None,
    q_error: np.ndarray | None,
    relative: np.ndarray,
    alike: Iterable[slice],
) -> Bias:
    """From E m and E Y (group, observable) at width n.

    q, q_error: at infinite width, with standard error; None if it is not known, then E Y tells b. relative: |a| / n,
    the relative size of the next order, of every observable. alike: where the entries of one observable are, which are
    of one size.
    """
    groups, n = len(mean), width
    noise = np.stack([np.stack([_covariance(a, b) for b in (mean, change)]) for a in (mean, change)]) / groups
    shape = np.array([1.0, 1 / PARTS - 1]) / n
    next_shape = np.array([1.0, PARTS**-2 - 1]) / n
    size = relative * _typical(-STEP * n * change.mean(axis=0), alike)
    if q is None or q_error is None:
        rough = -STEP * n * change
        error = np.hypot(STEP * n * np.sqrt(noise[1, 1]), (1 + 1 / PARTS) * size)
        return Bias(rough.mean(axis=0), error, rough, np.zeros_like(error))
    total = noise + size**2 * np.multiply.outer(np.outer(next_shape, next_shape), np.ones_like(size))
    total[0, 0] += q_error**2
    # Two by two, for every observable; exact numbers, as f(0) = 0, have no noise.
    determinant = total[0, 0] * total[1, 1] - total[0, 1] ** 2
    inverse = np.array([[total[1, 1], -total[0, 1]], [-total[0, 1], total[0, 0]]])
    known = determinant > 1e-12 * (total[0, 0] * total[1, 1])
    scale = np.where(known, determinant, 1.0)
    pull = np.einsum("i,ijo->jo", shape, inverse) / scale
    precision = np.einsum("jo,j->o", pull, shape)
    known &= precision > 0
    weights = np.where(known, pull / np.where(known, precision, 1.0), 0.0)
    each = weights[0] * (mean - q) + weights[1] * change
    spread = np.sqrt(total[0, 0] + STEP**2 * total[1, 1] + 2 * STEP * total[0, 1])
    limit = mean.mean(axis=0) + STEP * change.mean(axis=0) - q
    check = np.divide(limit, spread, out=np.zeros_like(limit), where=known & (spread > 0))
    return Bias(each.mean(axis=0), np.sqrt(np.where(known, 1 / np.where(known, precision, 1.0), 0.0)), each, check)


def _covariance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.sum((a - a.mean(axis=0)) * (b - b.mean(axis=0)), axis=0) / (len(a) - 1)


def _typical(values: np.ndarray, alike: Iterable[slice]) -> np.ndarray:
    """Root mean square of the entries of every observable. Kernels have other units than predictions."""
    sizes = np.zeros_like(values)
    for where in alike:
        if values[where].size:
            sizes[where] = np.sqrt(np.mean(values[where] ** 2))
    return sizes
