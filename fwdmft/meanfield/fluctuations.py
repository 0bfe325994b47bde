"""Sigma = lim N Cov(q_N) and b = lim N (E q_N - q) from reweightings of the neurons.

With Q an orthonormal basis of the indirect influences (`influences.indirect_subspace`) and A = A_direct + A_indirect,

    Sigma = A^T A = (Q^T A)^T (Q^T A) + A_direct^T (1 - Q Q^T) A_direct            as  (1 - Q Q^T) A_indirect = 0
    b     = 1/2 tr D^2 q = 1/2 sum_k D^2 q[Q_k, Q_k] + 1/2 tr over the complement

Rows of Q^T A are forward derivatives along the basis; A_direct^T A_direct is a fourth moment of the neurons. The
complement's share of the trace is estimated, without bias, by random directions orthogonal to Q: it is small, since a
reweighting without indirect influence leaves the dynamics linear in p.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array

from fwdmft.meanfield.field_equations import NeuronWeights
from fwdmft.meanfield.influences import Subspace, indirect_subspace, random_directions
from fwdmft.meanfield.passes import Passes, Problem

PROBES = 4
"""Random directions that estimate what the basis leaves out of b."""


@dataclass(frozen=True)
class Fluctuations:
    """Fluctuations from one set of sample neurons; arrays (time, ...) as the observables.

    variance: N Var. bias: b, {} if not asked for.
    prediction_covariance: (time point output, the same) or None.
    equal_time_covariance: N Cov among the outputs of one point, (time, point, output, output).
    rank: size of the basis. remainder: see `Subspace`. probe_variance: share of the summed N Var of the predictions
    that the probes find beyond the basis.
    """

    variance: dict[str, np.ndarray]
    bias: dict[str, np.ndarray]
    prediction_covariance: np.ndarray | None
    equal_time_covariance: np.ndarray
    rank: int
    remainder: float
    probe_variance: float


class _Sums(NamedTuple):
    """Sums over directions, shaped like the observables; predictions' responses (direction, time, point, output)."""

    variance: dict[str, np.ndarray]
    bias: dict[str, np.ndarray]
    total: np.ndarray
    direct: np.ndarray


def fluctuations(
    passes: Passes,
    problem: Problem,
    p: NeuronWeights,
    *,
    covariance: bool,
    max_rank: int,
    tolerance: float,
    seed: int,
    progress: Callable[[float], None] = lambda share: None,
) -> Fluctuations:
    """Sigma and b of every observable. `progress` receives the finished share of the work.

    max_rank, tolerance: see `indirect_subspace`.
    """
    look = passes.look(problem, p)
    mean, direct = _numpy(look.mean), _numpy(look.direct_variance)
    progress(0.05)
    subspace = indirect_subspace(passes, problem, p, _scales(mean, direct), max_rank, tolerance, seed, PROBES)
    progress(0.4)
    rank = subspace.basis.shape[1]
    sums = _sum_over(passes, problem, p, subspace.basis.T, _probes(p, subspace, seed), lambda s: progress(0.4 + s / 2))
    variance = {name: direct[name] + sums.variance[name] for name in direct}
    sites = _numpy(look.prediction_sites)
    full = _prediction_covariance(
        sites, p, problem.widths, sums.total[:rank], sums.direct[:rank], everything=covariance
    )
    progress(1.0)
    return Fluctuations(
        variance={name: _without_rounding(value) for name, value in variance.items()},
        bias=sums.bias,
        prediction_covariance=full.everything,
        equal_time_covariance=full.equal_time,
        rank=rank,
        remainder=subspace.remainder,
        probe_variance=_probe_variance(sums.total[rank:] - sums.direct[rank:], variance["prediction"]),
    )


def _numpy(observables: dict[str, Array]) -> dict[str, np.ndarray]:
    return {name: np.asarray(value) for name, value in observables.items()}


def _without_rounding(variance: np.ndarray) -> np.ndarray:
    """Exact zero where a variance is zero up to rounding, as that of centred predictions at t = 0."""
    return np.where(variance > 1e-20 * np.max(variance, initial=0.0), variance, 0.0)


def _probe_variance(indirect: np.ndarray, variance: np.ndarray) -> float:
    total = float(np.sum(variance))
    return float(np.sum(indirect**2)) / len(indirect) / total if total > 0 else 0.0


def _scales(mean: dict[str, np.ndarray], direct: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Give every observable, whatever its units and number of entries, the same say in the random combinations.

    Their unit is the direct variance, or the observable's own square where neurons have no direct influence.
    """
    units = {name: float(np.sum(direct[name])) or float(np.sum(mean[name] ** 2)) or 1.0 for name in direct}
    return {name: np.full(mean[name].shape, unit**-0.5) for name, unit in units.items()}


def _probes(p: NeuronWeights, subspace: Subspace, seed: int) -> np.ndarray:
    """Random directions orthogonal to the basis."""
    probes = random_directions(p, PROBES, (seed, 1))
    return probes - (probes @ subspace.basis) @ subspace.basis.T


def _sum_over(
    passes: Passes,
    problem: Problem,
    p: NeuronWeights,
    basis: np.ndarray,
    probes: np.ndarray,
    progress: Callable[[float], None],
) -> _Sums:
    """Responses along basis and probes, summed: squares over the basis, half second derivatives over both."""
    count, block = len(basis) + len(probes), passes.block
    blocks = -(-count // block)
    # The last block is filled up with zero directions, which respond with zero.
    directions = np.zeros((blocks * block, probes.shape[1]))
    directions[:count] = np.concatenate([basis, probes])
    weights = np.zeros((2, blocks * block))
    weights[:, : len(basis)] = 1.0
    weights[1, len(basis) : count] = 1.0 / len(probes)
    found = []
    for i in range(blocks):
        chunk = slice(i * block, (i + 1) * block)
        found.append(jax.tree.map(np.asarray, passes.responses(problem, p, directions[chunk], weights[:, chunk])))
        progress((i + 1) / blocks)
    return _Sums(
        variance={name: np.sum([part.variance[name] for part in found], axis=0) for name in found[0].variance},
        bias={name: np.sum([part.half_second[name] for part in found], axis=0) for name in found[0].half_second},
        total=np.concatenate([part.total for part in found])[:count],
        direct=np.concatenate([part.direct for part in found])[:count],
    )


class _Covariance(NamedTuple):
    everything: np.ndarray | None
    equal_time: np.ndarray


def _prediction_covariance(
    sites: dict[str, np.ndarray],
    p: NeuronWeights,
    widths: dict[str, float],
    total: np.ndarray,
    direct: np.ndarray,
    everything: bool,
) -> _Covariance:
    """N Cov among all predictions: fourth moments of the neurons' contributions, corrected along the basis."""
    equal = np.einsum("ktpc,ktpd->tpcd", total, total) - np.einsum("ktpc,ktpd->tpcd", direct, direct)
    full = np.zeros((equal[..., 0].size,) * 2) if everything else None
    if full is not None:
        flat = [a.reshape(len(a), equal[..., 0].size) for a in (total, direct)]
        full += flat[0].T @ flat[0] - flat[1].T @ flat[1]
    for name, contributions in sites.items():
        weights = np.asarray(p[name])
        scaled = (contributions - (contributions @ weights)[..., None]) * np.sqrt(weights / widths[name])
        equal += scaled @ np.swapaxes(scaled, -1, -2)
        if full is not None:
            rows = scaled.reshape(-1, len(weights))
            full += rows @ rows.T
    return _Covariance(full, equal)
