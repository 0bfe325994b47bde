"""Sigma = lim N Cov(q_N) and b = lim N (E q_N - q) from reweightings of the neurons.

With Q an orthonormal basis of the indirect influences, and of the direct ones on predictions
(`influences.indirect_subspace`), and A = A_direct + A_indirect,

    Sigma = A^T A = A_direct^T A_direct + sum_k [(Q_k^T A)^T (Q_k^T A) - (Q_k^T A_direct)^T (Q_k^T A_direct)] + ...
    b     = 1/2 tr D^2 q = 1/2 sum_k D^2 q[Q_k, Q_k] + ...

A_direct^T A_direct is a fourth moment of the neurons, Q_k^T A a forward derivative along the basis. The dots are the
complement's share of both sums, estimated without bias by probes, random directions orthogonal to Q. In Sigma it is
what `tolerance` allows. In b it is small for a single population, where a reweighting without indirect influence leaves
the dynamics linear in p; Gaussian matrices add many weak directions (how the basis vectors overlap with the noise of
new ones), each of which matters only at second order.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array

from fwdmft.meanfield.field_equations import NeuronWeights
from fwdmft.meanfield.influences import Subspace, indirect_subspace, random_directions
from fwdmft.meanfield.passes import Joint, Passes, Problem
from fwdmft.meanfield.room import check_room


@dataclass(frozen=True)
class Fluctuations:
    """Fluctuations from one set of sample neurons; arrays (time, ...) as the observables.

    variance: N Var. bias: b, {} if not asked for.
    prediction_covariance: (time point output, the same) or None.
    equal_time_covariance: N Cov among the outputs of one point, (time, point, output, output).
    layer_covariance: N Cov of the layers' kernel strengths (time, kernel, layer, kernel, layer), None without layers.
    rank: size of the basis. remainder: see `Subspace`. probe_variance: share of the summed N Var of the predictions
    that the probes find beyond the basis.
    """

    variance: dict[str, np.ndarray]
    bias: dict[str, np.ndarray]
    prediction_covariance: np.ndarray | None
    equal_time_covariance: np.ndarray
    layer_covariance: np.ndarray | None
    rank: int
    remainder: float
    probe_variance: float


class _Sums(NamedTuple):
    """Sums over basis and probes, shaped like the observables, and responses of `Joint`, scaled to be summed."""

    variance: dict[str, np.ndarray]
    bias: dict[str, np.ndarray]
    total: Joint
    direct: Joint


def fluctuations(
    passes: Passes,
    problem: Problem,
    p: NeuronWeights,
    *,
    covariance: bool,
    max_rank: int,
    tolerance: float,
    probes: int,
    seed: int,
    progress: Callable[[float], None] = lambda share: None,
) -> Fluctuations:
    """Sigma and b of every observable. `progress` receives the finished share of the work.

    Raises OutOfRoom when the equations' bases are full.

    max_rank, tolerance: see `indirect_subspace`. probes: random directions in the complement.
    """
    look = passes.look(problem, p)
    check_room(look.bases, p)
    mean, direct = _numpy(look.mean), _numpy(look.direct_variance)
    progress(0.05)
    sites = _numpy(look.prediction_sites)
    subspace = indirect_subspace(
        passes,
        problem,
        p,
        _scales(mean, direct),
        max_rank,
        tolerance,
        seed,
        probes,
        lambda combinations: _direct(sites, p, problem.widths, np.asarray(combinations["prediction"])),
    )
    progress(0.4)
    rank = subspace.basis.shape[1]
    complement = _probes(p, subspace, probes, seed)
    sums = _sum_over(passes, problem, p, subspace.basis.T, complement, lambda s: progress(0.4 + s / 2))
    variance = {name: direct[name] + sums.variance[name] for name in direct}
    total, direct_part = np.asarray(sums.total.prediction), np.asarray(sums.direct.prediction)
    full = _prediction_covariance(sites, p, problem.widths, total, direct_part, everything=covariance)
    progress(1.0)
    return Fluctuations(
        variance={name: _without_rounding(value) for name, value in variance.items()},
        bias=sums.bias,
        prediction_covariance=full.everything,
        equal_time_covariance=full.equal_time,
        layer_covariance=_layer_covariance(look.strength_covariance, sums),
        rank=rank,
        remainder=subspace.remainder,
        probe_variance=_probe_variance((total - direct_part)[rank:], variance["prediction"]),
    )


def _numpy(observables: dict[str, Array]) -> dict[str, np.ndarray]:
    return {name: np.asarray(value) for name, value in observables.items()}


def _without_rounding(variance: np.ndarray) -> np.ndarray:
    """Exact zero where a variance is zero up to rounding, as that of centred predictions at t = 0."""
    return np.where(variance > 1e-20 * np.max(variance, initial=0.0), variance, 0.0)


def _probe_variance(indirect: np.ndarray, variance: np.ndarray) -> float:
    total = float(np.sum(variance))
    return float(np.sum(indirect**2)) / total if total > 0 else 0.0


def _scales(mean: dict[str, np.ndarray], direct: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Give every observable, whatever its units and number of entries, the same say in the random combinations.

    Their unit is the direct variance, or the observable's own square where neurons have no direct influence.
    """
    units = {name: float(np.sum(direct[name])) or float(np.sum(mean[name] ** 2)) or 1.0 for name in direct}
    return {name: np.full(mean[name].shape, unit**-0.5) for name, unit in units.items()}


def _direct(
    sites: dict[str, np.ndarray], p: NeuronWeights, widths: dict[str, float], combinations: np.ndarray
) -> np.ndarray:
    """Direct influences (count, stacked) of the neurons on combinations (count, time, point, output) of predictions."""
    parts = []
    for name in sorted(p):
        roots = np.sqrt(np.asarray(p[name]) / widths[name])
        none = np.zeros((len(combinations), len(roots)))
        parts.append(roots * np.tensordot(combinations, sites[name], 3) if name in sites else none)
    return np.concatenate(parts, axis=1)


def _probes(p: NeuronWeights, subspace: Subspace, count: int, seed: int) -> np.ndarray:
    """Random directions orthogonal to the basis."""
    probes = random_directions(p, count, (seed, 1))
    return probes - (probes @ subspace.basis) @ subspace.basis.T


def _sum_over(
    passes: Passes,
    problem: Problem,
    p: NeuronWeights,
    basis: np.ndarray,
    probes: np.ndarray,
    progress: Callable[[float], None],
) -> _Sums:
    """Responses along basis and probes: sums of squares and of half second derivatives, probes taken on average."""
    count, block = len(basis) + len(probes), passes.block
    blocks = -(-count // block)
    # The last block is filled up with zero directions, which respond with zero.
    directions = np.zeros((blocks * block, probes.shape[1]))
    directions[:count] = np.concatenate([basis, probes])
    weights = np.zeros(blocks * block)
    weights[: len(basis)] = 1.0
    weights[len(basis) : count] = 1.0 / len(probes)
    found = []
    for i in range(blocks):
        chunk = slice(i * block, (i + 1) * block)
        found.append(jax.tree.map(np.asarray, passes.responses(problem, p, directions[chunk], weights[chunk])))
        progress((i + 1) / blocks)
    return _Sums(
        variance={name: np.sum([part.variance[name] for part in found], axis=0) for name in found[0].variance},
        bias={name: np.sum([part.half_second[name] for part in found], axis=0) for name in found[0].half_second},
        total=_scaled([part.total for part in found], weights[:count]),
        direct=_scaled([part.direct for part in found], weights[:count]),
    )


def _scaled(parts: list[Joint], weights: np.ndarray) -> Joint:
    """Responses (direction, ...) whose squares are to be summed over directions."""
    count = len(weights)
    joined = jax.tree.map(lambda *arrays: np.concatenate(arrays)[:count], *parts)
    return jax.tree.map(lambda a: a * np.sqrt(weights).reshape(count, *(1,) * (a.ndim - 1)), joined)


def _layer_covariance(direct: Array | None, sums: _Sums) -> np.ndarray | None:
    """N Cov among the strengths of the layers' kernels."""
    if direct is None or sums.total.strength is None or sums.direct.strength is None:
        return None
    products = [np.einsum("ktal,ktbm->talbm", a, a) for a in (sums.total.strength, sums.direct.strength)]
    return np.asarray(direct) + products[0] - products[1]


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
