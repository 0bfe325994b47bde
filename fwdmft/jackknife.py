"""Standard errors of anything that is computed from means over members: the delete-a-group jackknife.

Members are dealt into G groups. A statistic s of the means over all members is computed again G times, each time
without one group; then

    standard error of s = sqrt[(G - 1) / G  sum_g (s_g - mean of s_g)^2]

It needs sums over groups alone, which can be streamed, no random numbers, and holds for ratios, losses and
accuracies of averaged predictors and fitted rates alike. With G groups the error itself is known to about a part
1 / sqrt(2 (G - 1)). Source: Efron & Tibshirani 1993, An Introduction to the Bootstrap, chapter 11.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Jackknifed:
    """A statistic of all members, and the same (group, ...) without each of the groups."""

    value: np.ndarray
    left_out: np.ndarray

    @property
    def standard_error(self) -> np.ndarray:
        groups = len(self.left_out)
        deviation = self.left_out - self.left_out.mean(axis=0)
        return np.asarray(np.sqrt((groups - 1) / groups * np.sum(deviation**2, axis=0)))


def of_means(sums: np.ndarray, counts: np.ndarray, statistic: Callable[[np.ndarray], Any] = np.asarray) -> Jackknifed:
    """statistic(mean over members) from sums (group, ...) and the number of members of each group.

    Groups without members are ignored. One mean is formed at a time, as they can be large.
    """
    filled = np.flatnonzero(counts)
    total, members = sums.sum(axis=0), counts.sum()
    value = np.asarray(statistic(total / members))
    left_out = [np.asarray(statistic((total - sums[g]) / (members - counts[g]))) for g in filled]
    return Jackknifed(value, np.stack(left_out))


def combined(function: Callable[..., Any], *statistics: Jackknifed) -> Jackknifed:
    """A function of statistics of the same groups."""
    value = np.asarray(function(*(s.value for s in statistics)))
    parts = zip(*(s.left_out for s in statistics), strict=True)
    return Jackknifed(value, np.stack([np.asarray(function(*each)) for each in parts]))
