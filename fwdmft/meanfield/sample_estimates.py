"""Sigma, b and their errors from draws (`samples`), with control variates.

For a response a (m, d or Y) with control variates x of known mean 0 and known covariance S = C / 2n,

    E a       ~ mean(a) - beta . mean(x)
    Var a     ~ var(a) + beta^T (S - var(x)) beta            Cov(Y, m) likewise

beta is the regression of a on x over draws other than those it is used with, so both estimates are free of bias for
any S that is right. With the control variates' mean taken from a large simulation, E m less the q of that very
simulation is free of its sampling error to first order: both deviate by beta . (error of the mean of x).

    V_n = n Var q_n = n (Var m + Var d)           V_2n - V_n = 4n Cov(Y, m) + 2n Var Y
    Sigma = 2 V_2n - V_n                          up to 1/n^2
    E m = q + b/n + c/n^2,  E q_2n = q + b/2n + c/4n^2,  hence     b = 3n (E m - q) + 4n E Y,     q = E m + 2 E Y (without c)

Draws are dealt into groups. Every group gives an estimate, with beta from all the others; their spread gives errors.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

GROUPS = 16
"""Groups of draws."""


@dataclass
class Sums:
    """Sums over the draws of one group; `_x` of products with the control variates.

    pair: of change times mean. predictions: sums of products of pairs of the first entries, for m m, d d, Y m and Y Y.
    """

    count: int = 0
    parts: dict[str, np.ndarray] = field(default_factory=dict)

    def add(self, draws: dict[str, np.ndarray], predictions: slice | None) -> None:
        """Take in draws (draw, ...). predictions: entries of which all pairs are needed."""
        m, d, y, x, xd = (np.asarray(draws[name], np.float64) for name in NAMES)
        self.count += len(m)
        new = {
            "m": m.sum(0),
            "y": y.sum(0),
            "mm": np.einsum("ij,ij->j", m, m),
            "dd": np.einsum("ij,ij->j", d, d),
            "ym": np.einsum("ij,ij->j", y, m),
            "yy": np.einsum("ij,ij->j", y, y),
            "x": x.sum(0),
            "xx": x.T @ x,
            "dxx": xd.T @ xd,
            "xm": x.T @ m,
            "xy": x.T @ y,
            "dxd": xd.T @ d,
        }
        if predictions is not None:
            fm, fd, fy = m[:, predictions], d[:, predictions], y[:, predictions]
            new |= {"full_mm": fm.T @ fm, "full_dd": fd.T @ fd, "full_ym": fy.T @ fm, "full_yy": fy.T @ fy}
        for name, value in new.items():
            self.parts[name] = self.parts[name] + value if name in self.parts else value


NAMES = ("mean", "difference", "change", "x", "x_difference")


class Estimates(NamedTuple):
    """Flat arrays (observable,), each with its standard error.

    sigma, bias: to order 1/n^2. variance: V_n. growth: V_2n - V_n. limit: q from draws alone. curvature: c / n, how much
    b changes over the next order. full: Sigma of the predictions among each other, or None.
    left: share of the variance of m and d that the control variates leave.
    """

    sigma: tuple[np.ndarray, np.ndarray]
    bias: tuple[np.ndarray, np.ndarray]
    variance: np.ndarray
    growth: tuple[np.ndarray, np.ndarray]
    limit: tuple[np.ndarray, np.ndarray]
    curvature: tuple[np.ndarray, np.ndarray]
    full: np.ndarray | None
    left: np.ndarray


def estimates(
    groups: Iterable[Sums],
    width: int,
    covariances: np.ndarray,
    q: np.ndarray | None,
    predictions: slice | None,
) -> Estimates:
    """From the sums of all groups.

    width: n. covariances: (block, component, component) of x over single neurons, one for each block of them.
    q: of the large simulation that gave the control variates; None if there is none: then b comes from Y alone.
    """
    filled = [group for group in groups if group.count > 1]
    total = {name: np.sum([g.parts[name] for g in filled], axis=0) for name in filled[0].parts}
    count = sum(group.count for group in filled)
    single, n = covariances.mean(axis=0), width
    known = single / (2 * n)
    found = []
    for group in filled:
        rest = {name: total[name] - group.parts[name] for name in total}
        slopes = _slopes(rest, count - group.count)
        found.append(_of_group(group, slopes, known, n, q, predictions))
    names = found[0].keys()
    each = {name: np.stack([f[name] for f in found]) for name in names if name != "full"}
    weights = np.array([group.count for group in filled], float)
    mean = {name: np.average(a, axis=0, weights=weights) for name, a in each.items()}
    spread = {name: a.std(axis=0, ddof=1) / np.sqrt(len(filled)) for name, a in each.items()}
    slope = _slopes(total, count)[0]
    # Of what is known from single neurons, whose number is finite as well.
    blocks = np.stack([np.einsum("ko,kl,lo->o", slope, block, slope) for block in covariances])
    sampling = blocks.std(axis=0, ddof=1) / np.sqrt(len(blocks))
    variance = mean["variance"]
    full = np.average([f["full"] for f in found], axis=0, weights=weights) if predictions is not None else None
    explained = np.einsum("ko,kl,lo->o", slope, single, slope)
    return Estimates(
        (mean["sigma"], np.hypot(spread["sigma"], sampling)),
        (mean["bias"], spread["bias"]),
        variance,
        (mean["growth"], spread["growth"]),
        (mean["limit"], spread["limit"]),
        (mean["curvature"], spread["curvature"]),
        full,
        1 - np.divide(explained, variance, out=np.zeros_like(variance), where=variance > 0),
    )


def _slopes(sums: dict[str, np.ndarray], count: int) -> tuple[np.ndarray, np.ndarray]:
    """Regression coefficients (component, observable) of m and d together, and of Y."""
    if not len(sums["x"]):
        nothing = np.zeros_like(sums["xm"])
        return nothing, nothing
    scatter = sums["xx"] - np.outer(sums["x"], sums["x"]) / count
    of_m = sums["xm"] - np.outer(sums["x"], sums["m"]) / count
    of_y = sums["xy"] - np.outer(sums["x"], sums["y"]) / count
    both = np.linalg.solve(_regular(scatter + sums["dxx"]), of_m + sums["dxd"])
    return both, np.linalg.solve(_regular(scatter), of_y)


def _regular(scatter: np.ndarray) -> np.ndarray:
    return scatter + 1e-9 * np.trace(scatter) / len(scatter) * np.eye(len(scatter))


def _of_group(
    group: Sums,
    slopes: tuple[np.ndarray, np.ndarray],
    known: np.ndarray,
    n: int,
    q: np.ndarray | None,
    predictions: slice | None,
) -> dict[str, np.ndarray]:
    s, count = group.parts, group.count
    beta, beta_y = slopes
    mean_m, mean_y, mean_x = s["m"] / count, s["y"] / count, s["x"] / count
    unbiased = count / (count - 1)
    excess = known - unbiased * (s["xx"] / count - np.outer(mean_x, mean_x))
    excess_d = known - s["dxx"] / count

    def form(a: np.ndarray, matrix: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.einsum("ko,ko->o", a, matrix @ b)

    var_m = unbiased * (s["mm"] / count - mean_m**2) + form(beta, excess, beta)
    var_d = s["dd"] / count + form(beta, excess_d, beta)
    cov = unbiased * (s["ym"] / count - mean_y * mean_m) + form(beta_y, excess, beta)
    var_y = unbiased * (s["yy"] / count - mean_y**2) + form(beta_y, excess, beta_y)
    variance, growth = n * (var_m + var_d), 4 * n * cov + 2 * n * var_y
    em, ey = mean_m - beta.T @ mean_x, mean_y - beta_y.T @ mean_x
    limit = em + 2 * ey
    bias = -2 * n * ey if q is None else 3 * n * (em - q) + 4 * n * ey
    found = {
        "sigma": variance + 2 * growth,
        "bias": bias,
        "variance": variance,
        "growth": growth,
        "limit": limit,
        "curvature": np.zeros_like(bias) if q is None else n * (em - q) - bias,
    }
    if predictions is not None:
        b, by = beta[:, predictions], beta_y[:, predictions]
        fm, fy = mean_m[predictions], mean_y[predictions]
        mm = unbiased * (s["full_mm"] / count - np.outer(fm, fm)) + b.T @ excess @ b
        dd = s["full_dd"] / count + b.T @ excess_d @ b
        ym = unbiased * (s["full_ym"] / count - np.outer(fy, fm)) + by.T @ excess @ b
        yy = unbiased * (s["full_yy"] / count - np.outer(fy, fy)) + by.T @ excess @ by
        found["full"] = n * (mm + dd) + 2 * (2 * n * (ym + ym.T) + 2 * n * yy)
    return found
