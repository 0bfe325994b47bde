"""Reweightings of the neurons, and the few of them that matter.

A finite network is a random reweighting of the neurons: to leading order p_i -> p_i + N^-1/2 sqrt(p_i) z_i with
z standard normal in the subspace that keeps sum_i p_i = 1 per population. Directions z live in this scaled space,
stacked over populations; `Reweighting` converts. An observable q responds with A z, where A_i = sqrt(p_i) psi_i and
psi_i is the influence of neuron i, so Sigma = A^T A.

A = A_direct + A_indirect: one term of an average, known in closed form, and the effect on how all neurons trained,
which passes through few smooth order parameters. `indirect_subspace` finds an orthonormal basis of the latter's range
by reverse passes on random combinations of observables (randomised range finder, Halko, Martinsson & Tropp 2011).
"""

from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fwdmft.meanfield import dynamics
from fwdmft.meanfield.dynamics import Drive
from fwdmft.meanfield.field_equations import FieldEquations, NeuronWeights, Observables

BLOCK = 8
"""Reverse passes (or reweightings) that travel together through the dynamics."""


class Problem(eqx.Module):
    """Everything a pass needs apart from the weights it is differentiated in."""

    equations: FieldEquations
    noise: dict[str, Array]
    drive: Drive

    def observables(self, p_dynamics: NeuronWeights, p_observed: NeuronWeights) -> Observables:
        return dynamics.observables(self.equations, self.noise, self.drive, p_dynamics, p_observed)


@dataclass(frozen=True)
class Subspace:
    """basis: (stacked neurons, rank) orthonormal, the strongest directions first, with their `strengths`.

    remainder: share of the squared norm of the last block of influences that was new to it, which bounds the share of
    indirect fluctuations left out.
    """

    basis: np.ndarray
    strengths: np.ndarray
    remainder: float

    def leading(self, share: float) -> np.ndarray:
        """The fewest directions that leave out at most this share of the squared norm."""
        left_out = np.cumsum(self.strengths[::-1] ** 2)[::-1]
        return self.basis[:, left_out > share * left_out[:1].sum()]


def reweighting(p: NeuronWeights, z: Float[Array, " stacked"]) -> NeuronWeights:
    """The change of p along a scaled direction: sqrt(p_i) z_i for each population."""
    ends = np.cumsum([p[name].shape[0] for name in sorted(p)])
    parts = jnp.split(z, ends[:-1])
    return {name: jnp.sqrt(p[name]) * part for name, part in zip(sorted(p), parts, strict=True)}


def centred(p: NeuronWeights, z: np.ndarray) -> np.ndarray:
    """Remove from directions z (count, stacked) what would change the total weight of a population."""
    parts = [part - np.outer(part @ root, root) for part, root in _with_roots(p, z)]
    return np.concatenate(parts, axis=-1)


def random_directions(p: NeuronWeights, count: int, seed: tuple[int, ...]) -> np.ndarray:
    """(count, stacked) standard normal directions within the allowed subspace."""
    size = sum(len(weights) for weights in p.values())
    return centred(p, np.random.default_rng(seed).standard_normal((count, size)))


def _with_roots(p: NeuronWeights, z: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    roots = {name: np.sqrt(np.asarray(p[name])) for name in sorted(p)}
    ends = np.cumsum([len(root) for root in roots.values()])
    parts = np.split(z, ends[:-1], axis=-1)
    return [(part, root / np.linalg.norm(root)) for part, root in zip(parts, roots.values(), strict=True)]


def indirect_subspace(
    problem: Problem,
    p: NeuronWeights,
    scales: dict[str, np.ndarray],
    max_rank: int,
    tolerance: float,
    seed: int,
    block: int = BLOCK,
) -> Subspace:
    """Basis of the indirect influences, grown by blocks until at most a share `tolerance` of a fresh block's squared
    norm is new.

    scales: weight of each observable entry in the random combinations, shaped like the observables.
    """
    size = sum(len(weights) for weights in p.values())
    limit = min(max_rank, size - len(p))
    found, basis, remainder = np.zeros((size, 0)), np.zeros((size, 0)), 1.0
    while remainder > tolerance and found.shape[1] < limit:
        combinations = _random_combinations(scales, block, (seed, found.shape[1]))
        fresh = centred(p, np.asarray(_influences(problem, p, combinations))).T
        new = fresh - basis @ (basis.T @ fresh)
        total = float(np.sum(fresh**2))
        remainder = float(np.sum(new**2)) / total if total > 0 else 0.0
        found = np.concatenate([found, fresh], axis=1)
        basis, strengths, _ = np.linalg.svd(found, full_matrices=False)
    # Singular values at the level of rounding belong to no direction.
    kept = strengths > 1e-12 * max(float(strengths[0]), np.finfo(float).tiny)
    kept[limit:] = False
    return Subspace(basis[:, kept], strengths[kept], remainder)


def _random_combinations(scales: dict[str, np.ndarray], count: int, seed: tuple[int, ...]) -> Observables:
    rng = np.random.default_rng(seed)
    return {
        name: jnp.asarray(scale * rng.standard_normal((count, *scale.shape), dtype=np.float32))
        for name, scale in scales.items()
    }


@eqx.filter_jit
def _influences(problem: Problem, p: NeuronWeights, combinations: Observables) -> Float[Array, "count stacked"]:
    """Indirect influences, scaled, on linear combinations of the observables: one reverse pass each."""
    _, pull_back = jax.vjp(lambda p_dynamics: problem.observables(p_dynamics, p), p)

    def influence(combination: Observables) -> Array:
        (gradient,) = pull_back(combination)
        return jnp.concatenate([jnp.sqrt(p[name]) * gradient[name] for name in sorted(p)])

    return jax.vmap(influence)(combinations)
