"""Sigma, b and their errors from draws (`samples`), with control variates.

Definitions
-----------
n, r n    widths of the small networks and of the large one of a draw
m, d, Y   mean of the small networks' q_n, contrasts between them, and q_rn - m (`samples`)
x         control variates of a draw: means over its mean-field neurons, of known mean 0
C         known covariance of x of a single neuron, so that S = C / (r n) is that of x in a draw
beta      coefficients of the regression of m, d or Y on x

The mean and the variance of a, which is m, d or Y, are estimated by

    E a    = mean(a) - beta . mean(x)
    Var a  = var(a) + beta^T (S - var(x)) beta

where mean and var are those of the draws; Cov(Y, m) likewise. What x explains is replaced by what is known of it. beta
comes from other draws than those it is used with, so neither estimate is biased.

From these follow, with V_n = n Var q_n,

    V_n        = n (Var m + sum Var d)
    V_rn - V_n = 2 r n Cov(Y, m) + r n Var Y
    Sigma      = V_n + r / (r - 1) (V_rn - V_n)        up to 1/n^2

b follows from E m and E Y, see `next_order`.

Draws are dealt into groups. Every group gives an estimate, with beta from all the others. Standard errors come from the
spread of these estimates.
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

KEPT = 64
"""Directions of control variates that are used, at most."""

LEFT, LEFT_OF_CHANGE = 0.2, 0.9
"""Shares of the variances of m and Y that control variates leave, about."""

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
    parts: the sums, by name. "m", "y", "x": of m, Y and x. "mm", "dd", "ym", "yy", "xx", "xy": of products. "dxx":
    of products of x_d, the contrasts of x. "xmd": of x m and x_d d together. "full_...": of products of all pairs of
    some observables. "pair_...": of products of chosen pairs.
    """

    count: int = 0
    parts: Parts = field(default_factory=dict)

    def add(self, draws: dict[str, Float[np.ndarray, "draw ..."]], full: slice | None, pairs: Pairs) -> None:
        """Take in draws (draw, ...). full: entries of which all pairs are needed. pairs: further ones."""
        m, d, y, x, xd = (np.asarray(draws[name], np.float64) for name in NAMES)
        self.count += len(m)
        new = {
            "m": m.sum(0),
            "y": y.sum(0),
            "x": x.sum(0),
            "xx": x.T @ x,
            "dxx": np.einsum("ick,icl->kl", xd, xd),
            "xmd": x.T @ m + np.einsum("ick,icj->kj", xd, d),
            "xy": x.T @ y,
        }
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


NAMES = ("mean", "difference", "change", "x", "x_difference")

Flat = Float[np.ndarray, " observable"]
"""All observables at all times, see `layout`."""
WithError = tuple[Float[np.ndarray, " observable"], Float[np.ndarray, " observable"]]
"""Values and their standard errors."""
ByGroup = Float[np.ndarray, "group observable"]
Slopes = Float[np.ndarray, "component observable"]
OfControls = Float[np.ndarray, "component component"]


class Estimates(NamedTuple):
    """Flat arrays (observable,).

    sigma: Sigma up to 1/n^2, and its standard error.
    growth: V_rn - V_n, and its standard error.
    variance: V_n.
    full: Sigma of some observables among each other, or None.
    left: share of the variance of m and d that the control variates do not explain.
    pairs: Sigma of chosen pairs of observables, as each group has it (group, pair).
    mean, change: E m and E Y, as each group has them (group, observable).
    """

    sigma: WithError
    growth: WithError
    variance: Flat
    full: Float[np.ndarray, "some some"] | None
    left: Flat
    pairs: Float[np.ndarray, "group pair"]
    mean: ByGroup
    change: ByGroup


def estimates(
    groups: Iterable[Sums],
    width: int,
    covariances: Float[np.ndarray, "block component component"],
    full: slice | None,
    pairs: Pairs,
) -> Estimates:
    """Estimates from the sums of all groups.

    width: n.
    covariances: C, one from each block of single neurons (block, component, component).
    full, pairs: as they were given to `Sums.add`.
    """
    filled = [group for group in groups if group.count > 1]
    count = sum(group.count for group in filled)
    n = width
    leading = _leading(_total(filled), count, covariances.mean(axis=0) / (PARTS * n))
    filled = [Sums(group.count, _turned(group.parts, leading)) for group in filled]
    covariances = leading.T @ covariances @ leading
    total, single = _total(filled), covariances.mean(axis=0)
    known = single / (PARTS * n)
    by_group = []
    for group in filled:
        rest = {name: total[name] - group.parts[name] for name in total}
        slopes = _slopes(rest, count - group.count, known)
        by_group.append(_of_group(group, slopes, known, n, full, pairs))
    names = by_group[0].keys()
    each = {name: np.stack([f[name] for f in by_group]) for name in names if name != "full"}
    weights = np.array([group.count for group in filled], float)
    mean = {name: np.average(a, axis=0, weights=weights) for name, a in each.items()}
    spread = {name: a.std(axis=0, ddof=1) / np.sqrt(len(filled)) for name, a in each.items()}
    slope = _slopes(total, count, known)[0]
    # Of what is known from single neurons, whose number is finite as well.
    blocks = np.stack([_form(slope, block, slope) for block in covariances])
    sampling = blocks.std(axis=0, ddof=1) / np.sqrt(len(blocks)) if len(blocks) > 1 else np.zeros(blocks.shape[1])
    variance = mean["variance"]
    joint = None if full is None else np.average([f["full"] for f in by_group], axis=0, weights=weights)
    explained = _form(slope, single, slope)
    return Estimates(
        (mean["sigma"], np.hypot(spread["sigma"], sampling)),
        (mean["growth"], spread["growth"]),
        variance,
        joint,
        1 - np.divide(explained, variance, out=np.zeros_like(variance), where=variance > 0),
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


def _form(a: Slopes, matrix: OfControls, b: Slopes) -> Flat:
    """a^T matrix b for every pair of columns."""
    return np.einsum("ko,ko->o", a, matrix @ b)


def _total(groups: list[Sums]) -> Parts:
    return {name: np.sum([group.parts[name] for group in groups], axis=0) for name in groups[0].parts}


def _leading(sums: Parts, count: int, known: OfControls) -> Float[np.ndarray, "component direction"]:
    """Directions (component, direction) of the control variates that matter to the responses, at most `KEPT`.

    Fewer directions cost less, and less of the noise of slopes.
    """
    components = len(known)
    if components <= KEPT:
        return np.eye(components)
    scale = np.sqrt(np.maximum(sums["mm"] + sums["dd"], 0.0))
    of_m, _ = _slopes(sums, count, known)
    weighted = np.divide(of_m, scale, out=np.zeros_like(of_m), where=scale > 0)
    # Control variates have variance one, about.
    return np.linalg.eigh(weighted @ weighted.T)[1][:, ::-1][:, :KEPT]


def _turned(parts: Parts, leading: Float[np.ndarray, "component direction"]) -> Parts:
    """Sums for other control variates, leading^T x."""
    turned = dict(parts)
    for name in ("x", "xmd", "xy"):
        turned[name] = leading.T @ parts[name]
    for name in ("xx", "dxx"):
        turned[name] = leading.T @ parts[name] @ leading
    return turned


def _slopes(sums: Parts, count: int, known: OfControls) -> tuple[Slopes, Slopes]:
    """beta (component, observable) of m and d together, and of Y.

    known: S. It is added to the covariance of the draws, which are few: ridge regression, with the weight that is best
    where control variates leave the shares `LEFT` and `LEFT_OF_CHANGE` of the variances.
    """
    if not len(known):
        nothing = np.zeros_like(sums["xy"])
        return nothing, nothing
    scatter = sums["xx"] - np.outer(sums["x"], sums["x"]) / count
    of_both = sums["xmd"] - np.outer(sums["x"], sums["m"]) / count
    of_y = sums["xy"] - np.outer(sums["x"], sums["y"]) / count
    weights = [share / (1 - share) * len(known) for share in (LEFT, LEFT_OF_CHANGE)]
    both = np.linalg.solve(scatter + sums["dxx"] + weights[0] * known, of_both)
    return both, np.linalg.solve(scatter + weights[1] * known, of_y)


def _of_group(
    group: Sums, slopes: tuple[Slopes, Slopes], known: OfControls, n: int, full: slice | None, pairs: Pairs
) -> dict[str, Float[np.ndarray, "..."]]:
    s, count = group.parts, group.count
    beta, beta_y = slopes
    mean, slope = {name: s[name] / count for name in ("m", "y", "x")}, {"m": beta, "d": beta, "y": beta_y}
    unbiased = count / (count - 1)
    excess = known - unbiased * (s["xx"] / count - np.outer(mean["x"], mean["x"]))
    excess_d = (PARTS - 1) * known - s["dxx"] / count

    def covariance(
        prefix: str, kind: str, i: Any, j: Any, product: Callable = np.multiply, form: Callable = _form
    ) -> Float[np.ndarray, "..."]:
        """Of responses i and j, whose products were summed under this name."""
        a, b = slope[kind[0]][:, i], slope[kind[1]][:, j]
        if kind == "dd":  # d has mean zero
            return s[prefix + kind] / count + form(a, excess_d, b)
        means = product(mean[kind[0]][i], mean[kind[1]][j])
        return unbiased * (s[prefix + kind] / count - means) + form(a, excess, b)

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
        "mean": mean["m"] - beta.T @ mean["x"],
        "change": mean["y"] - beta_y.T @ mean["x"],
        "pairs": at_n + STEP * more,
    }
    if full is not None:
        among = partial(
            covariance, "full_", i=full, j=full, product=np.outer, form=lambda a, matrix, b: a.T @ matrix @ b
        )
        ym = among("ym")
        at_n, more = limit(among, (ym + ym.T) / 2)
        values["full"] = at_n + STEP * more
    return values
