r"""How fast networks of each width train, from curves of the training loss.

Over the times until the loss has fallen to a level that every width reaches (at least 5 % of where it began), the
slope of log loss against time is the training rate R_N. It depends on width like

    R_N = R_inf - a / N        weighted least squares over widths, with the errors of R_N over members

and curves of all widths collapse when drawn against t R_N / R_ref, R_ref that of the widest networks. If they collapse
exactly, L_N(t) = g(R_N t), windows that end at one level make R_N / R_ref exact, whether or not g is an exponential.
How well they do is the root mean square of log L_N - log L_ref at equal scaled times. Source: Bordelon & Pehlevan,
arXiv:2304.03408, where widths slow down convolutional networks this way.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from fwdmft.jackknife import Jackknifed, combined

LOWEST = 0.05
"""Share of its initial value to which the loss is followed at most."""

_FEWEST = 3
"""Saved times that a fit needs."""

_RESOLUTION = 200
"""Points at which an interpolated curve is fitted."""


class RateLaw(NamedTuple):
    """R_inf and a of R_N = R_inf - a / N, and their standard errors."""

    limit: float
    shift: float
    limit_error: float
    shift_error: float


class Rates(NamedTuple):
    """For widths in order: rates, t R_N / R_ref (width, time), distances of curves from the widest networks' before
    and after scaling with their errors (2, width), and the law over widths (None for a single width)."""

    rate: list[Jackknifed]
    scaled_time: np.ndarray
    distance: np.ndarray
    distance_error: np.ndarray
    law: RateLaw | None


def rates(times: np.ndarray, widths: Sequence[int], losses: Sequence[Jackknifed]) -> Rates | None:
    """From losses (time,) on the training points; None where a loss does not fall, or within fewer than 3 times."""
    values = [one.value for one in losses]
    if any(not np.all(curve > 0) for one in losses for curve in (one.value, *one.left_out)):
        return None
    level = max(LOWEST, *(float(np.min(value / value[0])) for value in values))
    if level >= 1 or any(np.argmax(value <= level * value[0]) < _FEWEST - 1 for value in values):
        return None
    fitted = [combined(lambda curve: rate(times, curve, level), one) for one in losses]
    reference = int(np.argmax(widths))
    ratio = np.array([float(one.value / fitted[reference].value) for one in fitted])
    pairs = [
        _distances(times, (losses[k], fitted[k]), (losses[reference], fitted[reference])) for k in range(len(ratio))
    ]
    value, error = (np.stack([pair[part] for pair in pairs], axis=-1) for part in (0, 1))
    return Rates(fitted, ratio[:, None] * times, value, error, _law(widths, fitted))


def rate(times: np.ndarray, curve: np.ndarray, level: float) -> float:
    """Least-squares slope of -log curve until it has fallen to `level` of where it began (or to its end).

    The curve is interpolated, so that the rate does not jump with the saved time that happens to come next.
    """
    logarithm = np.log(curve)
    goal = np.log(level) + logarithm[0]
    reached = np.flatnonzero(logarithm <= goal)
    end = times[-1]
    if len(reached):
        last = reached[0]
        share = (logarithm[last - 1] - goal) / (logarithm[last - 1] - logarithm[last])
        end = times[last - 1] + share * (times[last] - times[last - 1])
    even = np.linspace(times[0], end, _RESOLUTION)
    lever = even - even.mean()
    return -(lever @ np.interp(even, times, logarithm)) / (lever @ lever)


def fitted_law(widths: np.ndarray, values: np.ndarray, errors: np.ndarray) -> RateLaw:
    """Weighted least squares of R_N = R_inf - a / N; errors from those of the values, not from the scatter."""
    known = np.all(errors > 0)
    weight = 1 / errors if known else np.ones_like(values)
    design = np.stack([np.ones_like(values), -1 / widths], axis=1) * weight[:, None]
    covariance = np.linalg.inv(design.T @ design)
    limit, shift = covariance @ design.T @ (values * weight)
    limit_error, shift_error = np.sqrt(np.diag(covariance)) if known else (np.nan, np.nan)
    return RateLaw(float(limit), float(shift), float(limit_error), float(shift_error))


def _law(widths: Sequence[int], fitted: Sequence[Jackknifed]) -> RateLaw | None:
    if len(widths) < 2:
        return None
    values, errors = (np.array([float(each) for each in part]) for part in _parts(fitted))
    return fitted_law(np.asarray(widths, float), values, errors)


def _parts(estimates: Sequence[Jackknifed]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    return [one.value for one in estimates], [one.standard_error for one in estimates]


Curve = tuple[Jackknifed, Jackknifed]
"""A loss (time,) and its rate."""


def _distances(times: np.ndarray, one: Curve, other: Curve) -> tuple[np.ndarray, np.ndarray]:
    """Distance of two curves before and after scaling, (2,), and its error; members of both are independent."""
    if one is other or one[0] is other[0]:
        return np.zeros(2), np.zeros(2)
    of_one = combined(lambda curve, r: _distance(times, curve, r, other[0].value, other[1].value), *one)
    of_other = combined(lambda curve, r: _distance(times, one[0].value, one[1].value, curve, r), *other)
    return of_one.value, np.hypot(of_one.standard_error, of_other.standard_error)


def _distance(
    times: np.ndarray, curve: np.ndarray, rate: np.ndarray, reference: np.ndarray, reference_rate: np.ndarray
) -> np.ndarray:
    return np.array([_apart(times, times * scale, curve, reference) for scale in (1.0, rate / reference_rate)])


def _apart(times: np.ndarray, scaled: np.ndarray, curve: np.ndarray, reference: np.ndarray) -> float:
    """Root mean square of log curve(scaled) - log reference(times) over the times that both have; NaN if none.

    A loss that rises in some group of members has a negative rate, which scales its times away from all others.
    """
    common = times <= scaled[-1]
    if not common.any():
        return np.nan
    moved = np.interp(times[common], scaled, np.log(curve))
    return float(np.sqrt(np.mean((moved - np.log(reference[common])) ** 2)))
