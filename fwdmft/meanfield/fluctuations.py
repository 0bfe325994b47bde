"""Sigma = lim N Cov(q_N) and b = lim N (E q_N - q) from reweightings of the neurons.

With Q an orthonormal basis of the indirect influences (`influences.indirect_subspace`) and A = A_direct + A_indirect,

    Sigma = A^T A = (Q^T A)^T (Q^T A) + A_direct^T (1 - Q Q^T) A_direct            as  (1 - Q Q^T) A_indirect = 0
    b     = 1/2 tr D^2 q = 1/2 sum_k D^2 q[Q_k, Q_k] + 1/2 tr over the complement

Rows of Q^T A are forward derivatives along the basis; A_direct^T A_direct is a fourth moment of the neurons. Second
derivatives are dearer and decay faster along the basis, so only its strongest directions enter the sum over k. The
complement's share of the trace is estimated, without bias, by random directions orthogonal to those: it is small,
since a reweighting without indirect influence leaves the dynamics linear in p.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fwdmft.meanfield import dynamics
from fwdmft.meanfield.field_equations import NeuronWeights, Observables
from fwdmft.meanfield.influences import (
    BLOCK,
    Problem,
    indirect_subspace,
    random_directions,
    reweighting,
)

PROBES = BLOCK
"""Random directions that estimate what the strongest directions leave out of b."""


@dataclass(frozen=True)
class Fluctuations:
    """Fluctuations from one set of sample neurons; arrays (time, ...) as the observables.

    mean: the observables themselves. variance: N Var. bias: b, {} if not asked for. prediction_covariance: (time point output, the same) or None.
    equal_time_covariance: N Cov among the outputs of one point, (time, point, output, output).
    rank: size of the basis. remainder: see `Subspace`. probe_variance: share of the summed N Var of the predictions
    that the probes find beyond the directions used for b.
    """

    mean: dict[str, np.ndarray]
    variance: dict[str, np.ndarray]
    bias: dict[str, np.ndarray]
    prediction_covariance: np.ndarray | None
    equal_time_covariance: np.ndarray
    rank: int
    remainder: float
    probe_variance: float


class Response(NamedTuple):
    """First derivatives along one direction: total and direct part, and half the second derivative (or {})."""

    total: Observables
    direct: Observables
    half_second: Observables


@dataclass
class _Sums:
    """Running sums over directions; arrays shaped like the observables."""

    variance: dict[str, np.ndarray]
    bias: dict[str, np.ndarray]
    total: list[np.ndarray]
    direct: list[np.ndarray]

    def joined(self, other: "_Sums") -> "_Sums":
        return _Sums(
            {n: self.variance.get(n, 0.0) + v for n, v in other.variance.items()} or self.variance,
            self.bias or other.bias,
            self.total + other.total,
            self.direct + other.direct,
        )


def fluctuations(
    problem: Problem,
    p: NeuronWeights,
    *,
    bias: bool,
    covariance: bool,
    max_rank: int,
    tolerance: float,
    seed: int,
    block: int = BLOCK,
    progress: Callable[[float], None] = lambda share: None,
) -> Fluctuations:
    """Sigma and b of every observable. `progress` receives the finished share of the work.

    max_rank, tolerance: see `indirect_subspace`. block: directions per pass, which bounds memory.
    """
    direct = _numpy(_direct_variance(problem, p))
    progress(0.05)
    subspace = indirect_subspace(problem, p, _scales(direct), max_rank, tolerance, seed, block)
    progress(0.4)
    strong = subspace.leading(tolerance) if bias else subspace.basis[:, :0]
    weak = subspace.basis[:, strong.shape[1] :]
    along_strong = _sum_over(problem, p, strong.T, bias, block, lambda s: progress(0.4 + 0.3 * s))
    along_weak = _sum_over(problem, p, weak.T, False, block, lambda s: progress(0.7 + 0.1 * s))
    probes = _orthogonal_probes(p, strong if bias else subspace.basis, seed)
    beyond = _sum_over(problem, p, probes, bias, block, lambda s: progress(0.8 + 0.15 * s))
    along_basis = along_strong.joined(along_weak)

    variance = {name: direct[name] + along_basis.variance.get(name, 0.0) for name in direct}
    full = _prediction_covariance(problem, p, along_basis, direct["prediction"].shape, everything=covariance)
    progress(1.0)
    return Fluctuations(
        mean=_numpy(_mean(problem, p)),
        variance={name: _without_rounding(value) for name, value in variance.items()},
        bias={name: along_strong.bias.get(name, 0.0) + beyond.bias[name] / PROBES for name in beyond.bias},
        prediction_covariance=full.everything,
        equal_time_covariance=full.equal_time,
        rank=subspace.basis.shape[1],
        remainder=subspace.remainder,
        probe_variance=_probe_variance(beyond, variance["prediction"]),
    )


def _numpy(observables: Observables) -> dict[str, np.ndarray]:
    return {name: np.asarray(value) for name, value in observables.items()}


def _without_rounding(variance: np.ndarray) -> np.ndarray:
    """Exact zero where a variance is zero up to rounding, as that of centred predictions at t = 0."""
    return np.where(variance > 1e-20 * np.max(variance, initial=0.0), variance, 0.0)


@eqx.filter_jit
def _mean(problem: Problem, p: NeuronWeights) -> Observables:
    return problem.observables(p, p)


def _probe_variance(beyond: _Sums, variance: np.ndarray) -> float:
    indirect = np.array(beyond.total) - np.array(beyond.direct)
    total = float(np.sum(variance))
    return float(np.mean(np.sum(indirect**2, axis=1))) / total if total > 0 else 0.0


def _scales(direct: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Give every observable, whatever its units and number of entries, the same say in the random combinations."""
    return {
        name: np.full(v.shape, 1.0 / np.sqrt(max(float(np.sum(v)), np.finfo(float).tiny))) for name, v in direct.items()
    }


def _orthogonal_probes(p: NeuronWeights, basis: np.ndarray, seed: int) -> np.ndarray:
    probes = random_directions(p, PROBES, (seed, 1))
    return probes - (probes @ basis) @ basis.T


def _sum_over(
    problem: Problem,
    p: NeuronWeights,
    directions: np.ndarray,
    bias: bool,
    block: int,
    progress: Callable[[float], None],
) -> _Sums:
    """Sums over directions of squared responses (total minus direct) and of half second derivatives."""
    sums = _Sums({}, {}, [], [])
    for start in range(0, len(directions), block):
        chunk = directions[start : start + block]
        # Padding the last block with zero directions (which respond with zero) avoids a second compilation.
        padded = np.concatenate([chunk, np.zeros((block - len(chunk), directions.shape[1]))])
        squares, half_second, total, direct = jax.tree.map(np.asarray, _responses(problem, p, padded, bias))
        sums.variance = {n: sums.variance.get(n, 0.0) + squares[n] for n in squares}
        sums.bias = {n: sums.bias.get(n, 0.0) + half_second[n] for n in half_second}
        sums.total.extend(total[: len(chunk)].reshape(len(chunk), -1))
        sums.direct.extend(direct[: len(chunk)].reshape(len(chunk), -1))
        progress(min(1.0, (start + block) / len(directions)))
    return sums


@eqx.filter_jit
def _responses(
    problem: Problem, p: NeuronWeights, directions: Float[Array, "block stacked"], bias: bool
) -> tuple[Observables, Observables, Array, Array]:
    def respond(z: Array) -> Response:
        return _response(problem, p, reweighting(p, z), bias)

    along = jax.vmap(respond)(directions)
    squares = {n: jnp.sum(along.total[n] ** 2 - along.direct[n] ** 2, axis=0) for n in along.total}
    half_second = {n: jnp.sum(value, axis=0) for n, value in along.half_second.items()}
    return squares, half_second, along.total["prediction"], along.direct["prediction"]


def _response(problem: Problem, p: NeuronWeights, dp: NeuronWeights, bias: bool) -> Response:
    def q(p: NeuronWeights) -> Observables:
        return problem.observables(p, p)

    def slope(p: NeuronWeights) -> Observables:
        return jax.jvp(q, (p,), (dp,))[1]

    _, direct = jax.jvp(lambda observed: problem.observables(p, observed), (p,), (dp,))
    if not bias:
        return Response(slope(p), direct, {})
    total, second = jax.jvp(slope, (p,), (dp,))
    return Response(total, direct, jax.tree.map(lambda a: a / 2, second))


@eqx.filter_jit
def _direct_variance(problem: Problem, p: NeuronWeights) -> Observables:
    return dynamics.trajectory(
        problem.equations, problem.noise, problem.drive, p, lambda sites: problem.equations.direct_variance(sites, p)
    )


class _Covariance(NamedTuple):
    everything: np.ndarray | None
    equal_time: np.ndarray


def _prediction_covariance(
    problem: Problem, p: NeuronWeights, sums: _Sums, shape: tuple[int, ...], everything: bool
) -> _Covariance:
    """N Cov among all predictions: fourth moments of the neurons' contributions, corrected along the basis."""
    sites = {name: np.asarray(a) for name, a in _prediction_sites(problem, p).items()}
    total = np.array(sums.total).reshape(-1, *shape)
    direct = np.array(sums.direct).reshape(-1, *shape)
    equal = np.einsum("ktpc,ktpd->tpcd", total, total) - np.einsum("ktpc,ktpd->tpcd", direct, direct)
    full = np.zeros((int(np.prod(shape)),) * 2) if everything else None
    if full is not None:
        flat = [a.reshape(len(a), -1) for a in (total, direct)]
        full += flat[0].T @ flat[0] - flat[1].T @ flat[1]
    for name, contributions in sites.items():
        weights = np.asarray(p[name])
        scaled = (contributions - (contributions @ weights)[..., None]) * np.sqrt(weights)
        equal += scaled @ np.swapaxes(scaled, -1, -2)
        if full is not None:
            rows = scaled.reshape(-1, len(weights))
            full += rows @ rows.T
    return _Covariance(full, equal)


@eqx.filter_jit
def _prediction_sites(problem: Problem, p: NeuronWeights) -> dict[str, Array]:
    equations = problem.equations
    return dynamics.trajectory(equations, problem.noise, problem.drive, p, equations.prediction_sites)
