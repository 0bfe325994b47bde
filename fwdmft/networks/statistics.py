"""Streaming mean and variance over ensemble members, with standard errors of both, in float64.

Power sums up to the fourth are taken about a reference (the mean of the first chunk), which keeps them free of
cancellation; memory does not grow with the number of members.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import comb

import numpy as np
from jaxtyping import Float, Int, Shaped


@dataclass
class Moments:
    """Moments of one array-valued statistic over members."""

    count: int = 0
    reference: Float[np.ndarray, "*axis"] | None = None
    sums: list[Float[np.ndarray, "*axis"]] = field(default_factory=list)

    def add(self, members: Float[np.ndarray, "member *axis"]) -> None:
        """Take in more members, along the first axis."""
        members = np.asarray(members, dtype=np.float64)
        if len(members) == 0:
            return
        if self.reference is None:
            self.reference = members.mean(axis=0)
            self.sums = [np.zeros(members.shape[1:]) for _ in range(4)]
        deviation = members - self.reference
        power = np.ones_like(deviation)
        for total in self.sums:
            power *= deviation
            total += power.sum(axis=0)
        self.count += len(members)

    def arrays(self) -> dict[str, Shaped[np.ndarray, "..."]]:
        """Everything known, as arrays by name; `Moments.of` undoes this to the last bit."""
        if self.reference is None:
            return {"count": np.asarray(0)}
        return {"count": np.asarray(self.count), "reference": self.reference, "sums": np.stack(self.sums)}

    @classmethod
    def of(cls, arrays: Mapping[str, Shaped[np.ndarray, "..."]]) -> "Moments":
        """The moments that `arrays` was made from."""
        if "reference" not in arrays:
            return cls()
        return cls(int(arrays["count"]), arrays["reference"], list(arrays["sums"]))

    @classmethod
    def of_central(
        cls,
        count: int,
        mean: Float[np.ndarray, "*axis"],
        variance: Float[np.ndarray, "*axis"],
        variance_standard_error: Float[np.ndarray, "*axis"],
        third_moment: Float[np.ndarray, "*axis"],
    ) -> "Moments":
        """The moments of which these are the properties below, to rounding."""
        n = count
        m4 = n * variance_standard_error**2 + variance**2 * (n - 3) / (n - 1)
        return cls(n, mean, [np.zeros_like(mean), (n - 1) * variance, n * third_moment, n * m4])

    def merged(self, other: "Moments") -> "Moments":
        """The moments of the members of both."""
        if self.reference is None or other.reference is None:
            return other if self.reference is None else self
        shift = other.reference - self.reference
        theirs = [np.full_like(shift, other.count), *other.sums]
        moved = [sum(comb(k, j) * shift ** (k - j) * theirs[j] for j in range(k + 1)) for k in range(1, 5)]
        sums = [ours + new for ours, new in zip(self.sums, moved, strict=True)]
        return Moments(self.count + other.count, self.reference, sums)

    @property
    def mean(self) -> Float[np.ndarray, "*axis"]:
        assert self.reference is not None
        return self.reference + self.sums[0] / self.count

    @property
    def variance(self) -> Float[np.ndarray, "*axis"]:
        """Unbiased sample variance."""
        n, (s1, s2, _, _) = self.count, self.sums
        return np.maximum(s2 - s1**2 / n, 0.0) / (n - 1)

    @property
    def third_moment(self) -> Float[np.ndarray, "*axis"]:
        """Third central moment of the sample."""
        d, e2, e3, _ = (s / self.count for s in self.sums)
        return e3 - 3 * d * e2 + 2 * d**3

    @property
    def mean_standard_error(self) -> Float[np.ndarray, "*axis"]:
        return np.sqrt(self.variance / self.count)

    @property
    def variance_standard_error(self) -> Float[np.ndarray, "*axis"]:
        """sqrt[(m4 - m2^2 (n - 3) / (n - 1)) / n] with central moments m2, m4: exact for any distribution."""
        n = self.count
        d, e2, e3, e4 = (s / n for s in self.sums)
        m4 = e4 - 4 * d * e3 + 6 * d**2 * e2 - 3 * d**4
        return np.sqrt(np.maximum(m4 - self.variance**2 * (n - 3) / (n - 1), 0.0) / n)


@dataclass
class GroupSums:
    """Sums over members dealt into groups, for the jackknife (see `fwdmft.jackknife`)."""

    counts: Int[np.ndarray, " group"]
    sums: Float[np.ndarray, "group ..."] | None = None

    def add(self, members: Float[np.ndarray, "member ..."], groups: Int[np.ndarray, " member"]) -> None:
        """Take in members, along the first axis, with the group each belongs to."""
        if self.sums is None:
            self.sums = np.zeros((len(self.counts), *members.shape[1:]))
        for group in np.unique(groups):
            chosen = members[groups == group]
            self.sums[group] += chosen.sum(axis=0, dtype=np.float64)
            self.counts[group] += len(chosen)

    def merged(self, other: "GroupSums", offset: int) -> "GroupSums":
        """The sums of both where the groups of the other begin with group number `offset`."""
        if self.sums is None or other.sums is None:
            return other if self.sums is None else self
        counts, sums = (np.roll(a, offset, axis=0) for a in (other.counts, other.sums))
        return GroupSums(self.counts + counts, self.sums + sums)
