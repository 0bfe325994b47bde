"""The large simulation: infinite width from many sample neurons, with room for the bases of its random matrices."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from fwdmft.compiling import quickly
from fwdmft.engine import capacity
from fwdmft.engine.basis_matrix import BasisMatrix, before_training, untouched
from fwdmft.engine.capacity import Bases
from fwdmft.engine.dynamics import TrainingSignal, one_pass
from fwdmft.engine.field_equations import FieldEquations, Fields, Noise, Observables, RandomMatrix
from fwdmft.engine.layers import Layers, strengths, two_time_kernels
from fwdmft.observables import ObservableFunction, evaluated

STRENGTH = "strength"
"""Name of the strengths of the layers' kernels among the observables."""


class Observing(NamedTuple):
    """What is collected at every saved time, and made into observables after the pass.

    two_time: kernels between all pairs of times as well. strength: `layers.strengths` as well. functions: of the order
    parameters at each time as well. train: which points are training points, for these.
    """

    two_time: bool = False
    strength: bool = False
    functions: tuple[ObservableFunction, ...] = ()
    train: tuple[bool, ...] = ()

    def __call__(self, equations: FieldEquations, fields: Fields) -> tuple[Observables, Layers]:
        sites = equations.sites(fields)
        return equations.observe(sites), equations.layer_sites(sites) if self.two_time else ()

    def complete(self, collected: tuple[Observables, Layers]) -> Observables:
        """Observables (time, ...), and those named in `layers.TWO_TIME_DIMS`."""
        seen, layers = collected
        observables = seen | jax.vmap(lambda q: evaluated(self.functions, q, np.array(self.train, bool)))(seen)
        observables |= {STRENGTH: strengths(seen)} if self.strength else {}
        return observables | two_time_kernels(layers) if layers else observables


RESOLVED = 4.0
"""Bases are resolved anew if training moves vectors by less than they were resolved for, squared, over this."""

LOOSER = 10.0
"""By how much bases may leave out more in the pass that tells what they leave out."""

LEAST = 1e-20
"""Movement of vectors, squared, below which it is rounding."""


def learned(seen: dict[str, Float[np.ndarray, "..."]], gamma0: float) -> float:
    """How far training moved neurons, in squares of their norm, over min(1, gamma0^2); at most 1.

    By the Cauchy-Schwarz inequality a change of f by d takes a movement of gamma0 d / (2 |w| |u|) of the readout w or
    what it reads, u, and |w|^2 |u|^2 is about K.
    """
    if not {"prediction", "tangent_kernel"} <= seen.keys():
        return 1.0
    f, kernel = seen["prediction"], np.einsum("pcpc->pc", seen["tangent_kernel"][0])
    change, scale = np.max(np.abs(f - f[:1])), np.mean(kernel)
    if not (np.isfinite(change) and scale > 0):
        return 1.0
    return float(np.clip(4 * max(1.0, gamma0**2) * change**2 / scale, LEAST, 1.0))


def _learns(equations: FieldEquations) -> bool:
    """Whether bases have to resolve what is learned: there are random matrices, and the limit is not lazy."""
    return bool(equations.matrices) and float(equations.gamma0) > 0


class Large(NamedTuple):
    """Observables at infinite width, the bases that they took, and the equations with room for these."""

    seen: dict[str, Float[np.ndarray, "..."]]
    bases: Bases
    equations: FieldEquations


class Crowded(NamedTuple):
    """Bases that are too large for the neurons: vectors met so far, and the equations with room for more of them."""

    vectors: int
    equations: FieldEquations


def gaussian_matrices(equations: FieldEquations, noise: Noise, momentum: bool) -> tuple[BasisMatrix, ...]:
    """The random matrices before training, between all the neurons."""

    def of(matrix: RandomMatrix) -> BasisMatrix:
        return untouched(matrix.capacities, matrix.neurons(noise), momentum, matrix.offsets)

    return tuple(map(of, equations.matrices))


@partial(quickly, static=(5,))
def _level_pass(
    equations: FieldEquations,
    noise: Noise,
    training: TrainingSignal,
    substeps: Int[Array, ""],
    matrices: tuple[BasisMatrix, ...] | None,
    observing: Observing,
) -> tuple[Observables, Bases, tuple[BasisMatrix, ...] | None]:
    """One level of a step-halving ladder, whichever: all are the same program.

    matrices: what is known of the matrices before training; None for nothing. If it is given, what is known of them
    afterwards is returned as well.
    """
    momentum = training.momentum != 0
    start = gaussian_matrices(equations, noise, momentum) if matrices is None else matrices
    halt = (lambda state: jnp.any(capacity.bases(state.matrices).full)) if start else None
    seen = one_pass(equations, noise, start, training, observing.__call__, substeps, halt=halt)
    after = seen.state.matrices if start else ()
    known = None if matrices is None else tuple(map(before_training, after, [momentum] * len(after)))
    return observing.complete(seen.seen), capacity.bases(after), known


def _large_pass(
    equations: FieldEquations, noise: Noise, training: TrainingSignal, observing: Observing
) -> tuple[dict[str, Float[np.ndarray, "..."]], Bases]:
    """All levels of the ladder, up to the first that finds bases full.

    All levels train the same initial matrices: a level begins with all that the ones before it met. Otherwise they
    would differ by sampling errors, of which the extrapolation in the step makes much larger ones.
    """
    observables, used = [], []
    known = None if len(training.ladder) == 1 else gaussian_matrices(equations, noise, training.momentum != 0)
    for level in training.ladder:
        substeps = np.int32(level.substeps)
        seen, bases, known = _level_pass(equations, noise, training.without_ladder(), substeps, known, observing)
        observables.append(jax.tree.map(np.asarray, seen))
        used.append(jax.tree.map(np.asarray, bases))
        if np.any(used[-1].full):
            break
    complete = len(used) == len(training.ladder)
    return training.combined(observables) if complete else observables[-1], capacity.largest(used)


def infinite_width(
    equations: FieldEquations, draw: Any, training: TrainingSignal, observing: Observing
) -> Large | Crowded:
    """One pass, repeated until its bases are not full and resolve what is learned; `Crowded` for too many vectors.

    draw: the noise for given equations. A pass that was broken off, or that left out what it should have learned, is
    never returned.
    """
    while True:
        noise = draw(equations)
        seen, bases = _large_pass(equations, noise, training, observing)
        if not np.any(bases.full):
            moved = learned(seen, float(equations.gamma0)) if _learns(equations) else 1.0
            if moved > float(equations.learned) / RESOLVED:
                return Large(seen, bases, equations)
            equations = equations.learning(moved)
            continue
        vectors, wider = int(np.max(bases.rank)), capacity.fitted(equations.matrices, bases)
        equations = equations.with_capacities(wider)
        neurons = [matrix.neurons(noise) for matrix in equations.matrices]
        room = np.ravel(neurons)  # A matrix acts on vectors of its source, and its transpose on those of its target.
        too_wide = all(max(pair) > min(own) for pair, own in zip(wider, neurons, strict=True))
        if too_wide or np.any(capacity.NEURONS_PER_VECTOR * bases.rank > room):
            return Crowded(vectors, equations)


def truncation(
    large: Large, draw: Any, training: TrainingSignal, observing: Observing
) -> dict[str, Float[np.ndarray, "..."]]:
    """How far observables are from those of bases that leave out nothing, about; zero where nothing is learned.

    A pass whose bases may leave out `LOOSER` times as much differs by this times LOOSER^p - 1. p is a half if what is
    left out matters at first order, and one if at second order: p = 1/2 is on the safe side.
    """
    if not _learns(large.equations):
        return {name: np.zeros_like(a) for name, a in large.seen.items()}
    looser = large.equations.learning(LOOSER * float(large.equations.learned))
    seen, _ = _large_pass(looser, draw(looser), training, observing)
    return {name: np.abs(a - large.seen[name]) / (LOOSER**0.5 - 1) for name, a in seen.items()}
