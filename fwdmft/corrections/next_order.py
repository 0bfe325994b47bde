"""b from the means of draws, with the next order in 1/n in its error.

Definitions
-----------
n, r n   widths of the small networks and of the large one of a draw
m, Y     mean of the small networks' q_n, and q_rn - m (`samples`)
q        at infinite width
b, c, d  coefficients of E q_n = q + b / n + c / n^2 + d / n^3
k        c / n

Then, up to 1/n^3,

    E m - q = (b + k) / n
    E Y     = - ((1 - 1/r) b + (1 - 1/r^2) k) / n

These are two equations for b and k. The first needs q, and multiplies its error by n; and k is small. So k is treated
as a random number of mean zero. Its size is the largest of three estimates:

- (s + s^2 + ...) b with s = |a| / n, where a is the next order of Sigma, its own or the larger one of f or K. It is
  known from how variances grow with the width: V_n = Sigma (1 + a / n). Where s is large, orders beyond the next count
  (`beyond`);
- (`ORDINARY` / n) b, as b is a small difference, whose next order can be larger than that of Sigma;
- what both equations say of k, where it is beyond twice its noise: k = r ((-n E Y) / (1 - 1/r) - n (E m - q)).

The order after it, l = d / n^2, enters likewise, with 1 - 1/r^3. It is a random number of size s k, or
(`ORDINARY` / n) k, or (k / b) k with what is seen of k, whichever is largest. Where draws have little noise, both
equations together know k, and l is what is left.

Generalised least squares weigh both equations, and the unknown k and l widen the error of b.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from fwdmft.corrections.sample_estimates import STEP, ByGroup, Flat, WithError
from fwdmft.corrections.samples import PARTS

ORDINARY = 2.0
"""|c / b| that is to be expected, root mean square. Measured for f and K (`benchmarks/next_order.py`): two layers of
tanh .1 to .9 (1.8 to 2.4 with other three points, 41 steps), ReLU 2.1 to 2.8, depth 3 of tanh up to 2.4, convolutions
about 1; root mean square 1.6."""


LARGEST = 0.75
"""Share of the next order from which on widths are too narrow to say anything of orders."""


class Bias(NamedTuple):
    """b of every observable (observable,).

    value, error: b and its standard error.
    left: the error that any number of draws leaves.
    seen: size of k as far as both equations tell it beyond twice their noise, relative to that of b.
    groups: b from each group of draws (group, observable).
    check: q from draws alone, less q, in standard errors.
    """

    value: Flat
    error: Flat
    left: Flat
    seen: Flat
    groups: ByGroup
    check: Flat


def bias(
    mean: ByGroup, change: ByGroup, width: float, known: WithError | None, relative: Flat, sizes: Callable[[Flat], Flat]
) -> Bias:
    """b from E m and E Y.

    mean, change: E m and E Y, as each group of draws has them (group, observable).
    width: n.
    known: q and its standard error; None if q is not known. Then b comes from E Y alone.
    relative: s + s^2 + ... of every observable, with s = |a| / n.
    sizes: replaces every entry by the size of what is alike (`Layout.sizes`).
    """
    groups, n = len(mean), width
    noise = np.stack([np.stack([_covariance(a, b) for b in (mean, change)]) for a in (mean, change)]) / groups
    shape = np.array([1.0, 1 / PARTS - 1]) / n
    next_shape, third_shape = (np.array([1.0, PARTS**-order - 1]) / n for order in (2, 3))
    rough_b = -STEP * n * change.mean(axis=0)
    size = np.maximum(relative, ORDINARY / n) * sizes(rough_b)
    if known is None:
        rough = -STEP * n * change
        left = (1 + 1 / PARTS) * size
        error = np.hypot(STEP * n * np.sqrt(noise[1, 1]), left)
        nothing = np.zeros_like(error)
        return Bias(rough.mean(axis=0), error, left, nothing, rough, nothing)
    q, q_error = known
    of_k = PARTS * n * np.stack([-np.ones_like(size), -STEP * np.ones_like(size)])
    seen = PARTS * (rough_b - n * (mean.mean(axis=0) - q))
    doubt = np.einsum("io,ijo,jo->o", of_k, noise, of_k) + (PARTS * n * q_error) ** 2
    # Entries share most of their noise: its size is one draw from its law, which is rarely more than twice as large.
    beyond = sizes(seen) ** 2 - 4 * sizes(np.sqrt(doubt)) ** 2
    # No larger than b: where b is nothing, as that of kernels before training, errors of q look like k.
    largest = sizes(rough_b)
    known_k = np.minimum(np.sqrt(np.maximum(beyond, 0.0)), largest)
    size = np.maximum(size, known_k)
    share = np.divide(known_k, largest, out=np.zeros_like(size), where=largest > 0)
    unknown = np.multiply.outer(np.outer(next_shape, next_shape), size**2)
    third = np.maximum(np.maximum(relative / (1 + relative), ORDINARY / n), share)
    unknown += np.multiply.outer(np.outer(third_shape, third_shape), (third * size) ** 2)
    unknown[0, 0] += q_error**2
    total = noise + unknown
    weights, error = _least_squares(shape, total)
    each = weights[0] * (mean - q) + weights[1] * change
    spread = np.sqrt(total[0, 0] + STEP**2 * total[1, 1] + 2 * STEP * total[0, 1])
    limit = mean.mean(axis=0) + STEP * change.mean(axis=0) - q
    check = np.divide(limit, spread, out=np.zeros_like(limit), where=(error > 0) & (spread > 0))
    return Bias(each.mean(axis=0), error, _least_squares(shape, unknown)[1], share, each, check)


def _least_squares(
    shape: Float[np.ndarray, " equation"], covariance: Float[np.ndarray, "equation equation observable"]
) -> tuple[Float[np.ndarray, "equation observable"], Flat]:
    """Weights of both equations and the standard error of b; zero where the covariance is singular.

    shape: what the equations have of b.
    """
    # Two by two, for every observable; exact numbers, as f(0) = 0, have no noise.
    (first, both), (_, second) = covariance
    determinant = first * second - both**2
    inverse = np.array([[second, -both], [-both, first]])
    regular = determinant > 1e-12 * (first * second)
    scale = np.where(regular, determinant, 1.0)
    pull = np.einsum("i,ijo->jo", shape, inverse) / scale
    precision = np.einsum("jo,j->o", pull, shape)
    regular &= precision > 0
    weights = np.where(regular, pull / np.where(regular, precision, 1.0), 0.0)
    return weights, np.sqrt(np.where(regular, 1 / np.where(regular, precision, 1.0), 0.0))


def beyond(share: Float[np.ndarray, "*axis"]) -> Float[np.ndarray, "*axis"]:
    """s + s^2 + ... for the share s of the next order: a guess at all orders from the next one on."""
    return share / (1 - np.minimum(share, LARGEST))


def _covariance(a: ByGroup, b: ByGroup) -> Flat:
    return np.sum((a - a.mean(axis=0)) * (b - b.mean(axis=0)), axis=0) / (len(a) - 1)
