"""When two estimates agree: within four standard errors, and what that means when the errors are estimates too.

A standard error from few samples is itself uncertain, so differences in units of it follow Student's distribution,
not the normal one. The bound is the quantile of that distribution that is exceeded as rarely as four standard errors
of a normal variable (6e-5, both sides), with Welch's degrees of freedom for a sum of several errors. So a comparison
of n entries raises a false alarm with a probability of at most 6e-5 n, and of much less as entries of one trajectory
fluctuate together. Seeds are fixed: what agrees once agrees always.
"""

import functools
import math
import operator
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Array
from scipy import stats

RARE = float(stats.norm.sf(4.0))
"""One-sided probability of four standard errors."""

ROUNDING = 1e-9
"""Differences below this fraction of the largest entry are rounding (float64, some thousand operations)."""


@dataclass(frozen=True)
class Comparison:
    """What a law compared.

    of: name of a quantity. share: how much of what is allowed the largest difference takes, above 1 in a law that is
    broken. words: both in numbers.
    """

    of: str
    share: float
    words: str


_HEARD: ContextVar[list[Comparison] | None] = ContextVar("heard", default=None)


@contextmanager
def recording() -> Iterator[list[Comparison]]:
    """A list of what is compared within this block."""
    comparisons: list[Comparison] = []
    token = _HEARD.set(comparisons)
    try:
        yield comparisons
    finally:
        _HEARD.reset(token)


def note(of: str, share: float, words: str) -> None:
    """Tell who listens (`recording`) what is compared."""
    heard = _HEARD.get()
    if heard is not None:
        heard.append(Comparison(of, share, words))


@dataclass(frozen=True)
class Estimate:
    """A value, its squared standard errors by independent source, and the degrees of freedom of each source."""

    value: np.ndarray
    squared_errors: tuple[np.ndarray, ...]
    freedom: tuple[float, ...]

    @classmethod
    def of(cls, value: np.ndarray, standard_error: np.ndarray, samples: int) -> "Estimate":
        return cls(np.asarray(value), (np.asarray(standard_error) ** 2,), (samples - 1.0,))

    def __mul__(self, factor: float) -> "Estimate":
        return Estimate(self.value * factor, tuple(e * factor**2 for e in self.squared_errors), self.freedom)

    def __add__(self, other: "Estimate") -> "Estimate":
        return Estimate(
            self.value + other.value, self.squared_errors + other.squared_errors, self.freedom + other.freedom
        )

    def __sub__(self, other: "Estimate") -> "Estimate":
        return self + other * -1.0

    def __getitem__(self, index: Any) -> "Estimate":
        return Estimate(self.value[index], tuple(e[index] for e in self.squared_errors), self.freedom)

    @property
    def bound(self) -> np.ndarray:
        """Half-width of the interval that holds zero unless the estimate differs from it (module docstring)."""
        total = sum(self.squared_errors, np.zeros_like(self.value))
        weighted = sum((e**2 / n for e, n in zip(self.squared_errors, self.freedom, strict=True)), 0 * total)
        freedom = total**2 / np.maximum(weighted, np.finfo(float).tiny)
        return stats.t.isf(RARE, np.maximum(freedom, min(self.freedom))) * np.sqrt(total)


def extrapolated(widths: Sequence[float], at_widths: Sequence[Estimate]) -> Estimate:
    """The limit 1/N -> 0 of the polynomial in 1/N through estimates at all `widths`.

    Of k widths k - 1 orders are removed, and what is left is of relative order 1 / (N_1 ... N_k). Of N q_N, which is
    N q + b + c / N, it is q sum(N) + b for two widths.
    """
    parts = []
    for width, estimate in zip(widths, at_widths, strict=True):
        factor = math.prod(width / (width - other) for other in widths if other != width)
        parts.append(estimate * factor)
    return functools.reduce(operator.add, parts)


def assert_zero(name: str, difference: Estimate, scale: float) -> None:
    """Raise AssertionError unless the estimated difference is zero. scale: size of what was subtracted."""
    size, bound = np.abs(difference.value), difference.bound + ROUNDING * scale
    excess = size - bound
    share = float(np.max(size / np.maximum(bound, np.finfo(float).tiny), initial=0.0))
    note(name, share, f"{4 * share:.1f} of 4 standard errors")
    if not (excess <= 0).all():
        worst = np.unravel_index(np.argmax(np.where(np.isnan(excess), math.inf, excess)), excess.shape)
        where = ", ".join(map(str, worst))
        raise AssertionError(
            f"{name}: difference {difference.value[worst]:.4g} at [{where}], bound {difference.bound[worst]:.4g}; "
            f"{np.sum(~(excess <= 0))} of {excess.size} entries exceed their bound"
        )


def assert_equal(
    name: str, actual: np.ndarray | Array, expected: np.ndarray | Array, tolerance: float = ROUNDING
) -> None:
    """Raise AssertionError unless equal up to `tolerance` of the largest entry, and not NaN."""
    scale = float(np.max(np.abs(np.asarray(expected)), initial=0.0))
    if np.shape(actual) == np.shape(expected):
        largest = float(np.max(np.abs(np.asarray(actual) - np.asarray(expected)), initial=0.0)) / max(scale, 1e-300)
        note(name, largest / tolerance, f"{largest:.1g} of the largest entry, allowed {tolerance:g} (rounding)")
    np.testing.assert_allclose(
        np.asarray(actual), np.asarray(expected), rtol=0.0, atol=tolerance * max(scale, 1e-300), err_msg=name
    )


def rarely_exceeded(freedom: int, other: int) -> float:
    """Ratio of two estimates of one variance (with their degrees of freedom) exceeded as rarely as four errors."""
    return float(stats.f.isf(RARE, freedom, other))
