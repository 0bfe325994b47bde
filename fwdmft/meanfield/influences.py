"""Reweightings of the neurons, and the few of them that matter.

A finite network is a random reweighting of the neurons: to leading order p_i -> p_i + N^-1/2 sqrt(p_i) z_i with
z standard normal in the subspace that keeps sum_i p_i = 1 per population. Directions z live in this scaled space,
stacked over populations; `passes.reweighting` converts. An observable q responds with A z, where
A_i = sqrt(p_i) psi_i and psi_i is the influence of neuron i, so Sigma = A^T A.

A = A_direct + A_indirect: one term of an average, known in closed form, and the effect on how all neurons trained,
which passes through few smooth order parameters. `indirect_subspace` finds an orthonormal basis of the latter's range
by reverse passes on random combinations of observables (randomised range finder, Halko, Martinsson & Tropp 2011).

What the basis leaves out of A_indirect meets A_direct in Sigma: A^T A - A_direct^T A_direct has the cross term
2 A_indirect^T A_direct, of the order of the square root of the share left out. Probes estimate it, which costs
precision most where both parts cancel, in predictions that have converged. The direct influences on predictions are
few and cost no pass, so the basis takes them in as well.
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np

from fwdmft.errors import ComputationError
from fwdmft.meanfield.field_equations import NeuronWeights, Observables
from fwdmft.meanfield.passes import Passes, Problem

EMPHASIS = 10.0
"""The basis leaves out a share of the direct influences on predictions that is smaller by this factor."""


@dataclass(frozen=True)
class Subspace:
    """basis: (stacked neurons, rank) orthonormal, the strongest directions first.

    remainder: estimated share of the squared norm of indirect influences that the basis leaves out.
    """

    basis: np.ndarray
    remainder: float


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
    passes: Passes,
    problem: Problem,
    p: NeuronWeights,
    scales: dict[str, np.ndarray],
    max_rank: int,
    tolerance: float,
    seed: int,
    company: int,
    direct: Callable[[Observables], np.ndarray],
) -> Subspace:
    """Basis of the indirect influences, grown by blocks and cut so that a share `tolerance` of their squared norm,
    about, is left out.

    direct: direct influences (count, stacked), not centred, on the predictions of combinations of observables.
    company: number of other directions that will travel with the basis.
    scales: weight of each observable entry in the random combinations, shaped like the observables.
    Raises ComputationError when influences are not finite.
    """
    size = sum(len(weights) for weights in p.values())
    limit = min(max_rank, size - len(p))
    indirect, at_once = np.zeros((size, 0)), np.zeros((size, 0))
    basis, remainder = indirect, 1.0
    while remainder > tolerance and indirect.shape[1] < limit:
        combinations = _random_combinations(scales, passes.block, (seed, indirect.shape[1]))
        fresh = centred(p, np.asarray(passes.influences(problem, p, combinations))).T
        if not np.isfinite(fresh).all():
            raise ComputationError(
                "the influence of single neurons overflows: training amplifies fluctuations without bound; expected "
                "stable training: lower optimizer.learning_rate, or set theory.fluctuations and theory.bias to false"
            )
        new = fresh - basis @ (basis.T @ fresh)
        indirect = np.concatenate([indirect, fresh], axis=1)
        at_once = np.concatenate([at_once, centred(p, direct(combinations)).T], axis=1)
        basis, strengths, _ = np.linalg.svd(indirect, full_matrices=False)
        # Either a fresh block brings little that is new, or the spectrum has visibly run out within the last one.
        remainder = min(_share(np.sum(new**2), np.sum(fresh**2)), 10 * _share(strengths[-1] ** 2, np.sum(strengths**2)))
    whole = float(np.sum(indirect**2))
    emphasis = np.sqrt(EMPHASIS * _share(whole, np.sum(at_once**2)))
    basis, strengths, _ = np.linalg.svd(np.concatenate([indirect, emphasis * at_once], axis=1), full_matrices=False)
    left_out = np.cumsum(strengths[::-1] ** 2)[::-1]
    kept = left_out > tolerance * whole
    # Travelling in full blocks costs nothing, so weaker directions fill up the last one.
    count = int(kept.sum())
    kept[: -(-(count + company) // passes.block) * passes.block - company] = True
    kept[limit:] = False
    kept &= strengths > 1e-12 * strengths[:1].sum()
    return Subspace(basis[:, kept], max(remainder, _share(left_out[~kept].max(initial=0.0), whole)))


def _share(part: float, whole: float) -> float:
    return float(part / whole) if whole > 0 else 0.0


def _random_combinations(scales: dict[str, np.ndarray], count: int, seed: tuple[int, ...]) -> Observables:
    rng = np.random.default_rng(seed)
    return {name: jnp.asarray(scale * rng.standard_normal((count, *scale.shape))) for name, scale in scales.items()}
