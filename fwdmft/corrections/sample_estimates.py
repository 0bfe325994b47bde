"""Sigma and its errors from draws (`samples`).

Definitions
-----------
n, r n    widths of the small networks and of the large one of a draw
m, d, Y   mean of the small networks' q_n, contrasts between them, and q_rn - m (`samples`)

With V_n = n Var q_n,

    V_n        = n (Var m + sum Var d)
    V_rn - V_n = 2 r n Cov(Y, m) + r n Var Y
    Sigma      = V_n + r / (r - 1) (V_rn - V_n)        up to 1/n^2

b follows from E m and E Y, see `next_order`.

Draws are dealt into groups. Every group gives an estimate, and standard errors come from the spread of these.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from fwdmft.corrections.samples import PARTS

GROUPS = 16
"""Groups of draws."""

STEP = PARTS / (PARTS - 1)
"""A quantity a + c/n is its value at n and so many times the step from n to r n."""

ROUNDING = 8.0
"""What is no larger than this share of an observable's size is rounding, in units of the precision of draws."""

Pairs = tuple[Int[np.ndarray, " pair"], Int[np.ndarray, " pair"]]
"""Positions of the first and the second response of each pair."""


Parts = dict[str, Float[np.ndarray, "..."]]
"""Sums over draws, by name."""


@dataclass
class Sums:
    """Sums over the draws of one group.

    count: number of draws.
    parts: the sums, by name. "m", "y": of m and Y. "mm", "dd", "ym", "yy": of products. "full_...": of products of all
    pairs of some observables. "pair_...": of products of chosen pairs.
    """

    count: int = 0
    parts: Parts = field(default_factory=dict)

    def add(self, draws: dict[str, Float[np.ndarray, "draw ..."]], full: slice | None, pairs: Pairs) -> None:
        """Take in draws (draw, ...). full: entries of which all pairs are needed. pairs: further ones."""
        m, d, y = (np.asarray(draws[name], np.float64) for name in NAMES)
        self.count += len(m)
        new = {"m": m.sum(0), "y": y.sum(0)}
        i, j = pairs
        d = d.reshape(-1, d.shape[-1])
        for name, a, b in (("mm", m, m), ("dd", d, d), ("ym", y, m), ("my", m, y), ("yy", y, y)):
            new[f"pair_{name}"] = np.einsum("di,di->i", a[:, i], b[:, j])
            if name != "my":
                new[name] = np.einsum("di,di->i", a, b)
                if full is not None:
                    new[f"full_{name}"] = a[:, full].T @ b[:, full]
        for name, value in new.items():
            self.parts[name] = self.parts[name] + value if name in self.parts else value


NAMES = ("mean", "difference", "change")

Flat = Float[np.ndarray, " observable"]
"""All observables at all times, see `layout`."""
WithError = tuple[Float[np.ndarray, " observable"], Float[np.ndarray, " observable"]]
"""Values and their standard errors."""
ByGroup = Float[np.ndarray, "group observable"]


class Estimates(NamedTuple):
    """Flat arrays (observable,).

    sigma: Sigma up to 1/n^2, and its standard error.
    growth: V_rn - V_n, and its standard error.
    variance: V_n.
    full: Sigma of some observables among each other, or None.
    pairs: Sigma of chosen pairs of observables, as each group has it (group, pair).
    mean, change: E m and E Y, as each group has them (group, observable).
    """

    sigma: WithError
    growth: WithError
    variance: Flat
    full: Float[np.ndarray, "some some"] | None
    pairs: Float[np.ndarray, "group pair"]
    mean: ByGroup
    change: ByGroup


def estimates(groups: Iterable[Sums], width: int, full: slice | None, pairs: Pairs) -> Estimates:
    """Estimates from the sums of all groups.

    width: n.
    full, pairs: as they were given to `Sums.add`.
    """
    filled = [group for group in groups if group.count > 1]
    by_group = [_of_group(group, width, full, pairs) for group in filled]
    each = {name: np.stack([f[name] for f in by_group]) for name in by_group[0] if name != "full"}
    weights = np.array([group.count for group in filled], float)
    mean = {name: np.average(a, axis=0, weights=weights) for name, a in each.items()}
    spread = {name: a.std(axis=0, ddof=1) / np.sqrt(len(filled)) for name, a in each.items()}
    return Estimates(
        (mean["sigma"], spread["sigma"]),
        (mean["growth"], spread["growth"]),
        mean["variance"],
        None if full is None else np.average([f["full"] for f in by_group], axis=0, weights=weights),
        each["pairs"],
        each["mean"],
        each["change"],
    )


def without_rounding(raw: Estimates, width: int, sizes: Callable[[Flat], Flat], precision: float) -> Estimates:
    """Entries that vary by rounding alone do not vary, and are 0 where they are 0 to rounding, as f(0) of centred
    networks is: else they would have errors, and take part in comparisons.

    width: n. sizes: replaces every entry by the size of what is alike about its time: what explodes later has larger
    rounding, but makes none before (`Layout.sizes`). precision: of draws, relative.
    """
    rounding = ROUNDING * precision * sizes(np.sqrt(np.mean(raw.mean**2, axis=0)))
    fixed = raw.variance <= width * rounding**2
    zero = fixed & (np.maximum(np.abs(raw.mean), np.abs(raw.change)).max(axis=0) <= rounding)
    sigma, error, growth, its_error, variance = (
        np.where(fixed, 0.0, a) for a in (*raw.sigma, *raw.growth, raw.variance)
    )
    mean, change = (np.where(zero, 0.0, a) for a in (raw.mean, raw.change))
    return raw._replace(sigma=(sigma, error), growth=(growth, its_error), variance=variance, mean=mean, change=change)


def _of_group(group: Sums, n: int, full: slice | None, pairs: Pairs) -> dict[str, Float[np.ndarray, "..."]]:
    s, count = group.parts, group.count
    mean = {name: s[name] / count for name in ("m", "y")}
    unbiased = count / (count - 1)

    def covariance(prefix: str, kind: str, i: Any, j: Any, product: Callable = np.multiply) -> Float[np.ndarray, "..."]:
        """Of responses i and j, whose products were summed under this name."""
        if kind == "dd":  # d has mean zero
            return s[prefix + kind] / count
        return unbiased * (s[prefix + kind] / count - product(mean[kind[0]][i], mean[kind[1]][j]))

    def limit(
        of: Callable[[str], Float[np.ndarray, "*axis"]], ym: Float[np.ndarray, "*axis"]
    ) -> tuple[Float[np.ndarray, "*axis"], Float[np.ndarray, "*axis"]]:
        """V_n and V_rn - V_n. ym: Cov(Y, m)."""
        return n * (of("mm") + of("dd")), PARTS * n * (2 * ym + of("yy"))

    every, (i, j) = slice(None), pairs
    alone = partial(covariance, "", i=every, j=every)
    paired = partial(covariance, "pair_", i=i, j=j)
    variance, growth = limit(alone, alone("ym"))
    at_n, more = limit(paired, (paired("ym") + paired("my")) / 2)
    values = {
        "sigma": variance + STEP * growth,
        "variance": variance,
        "growth": growth,
        "mean": mean["m"],
        "change": mean["y"],
        "pairs": at_n + STEP * more,
    }
    if full is not None:
        among = partial(covariance, "full_", i=full, j=full, product=np.outer)
        ym = among("ym")
        at_n, more = limit(among, (ym + ym.T) / 2)
        values["full"] = at_n + STEP * more
    return values
