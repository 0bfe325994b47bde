"""How finely steps are halved until gradient flow, the limit of small steps, is reached.

A ladder is a sequence of levels: training with steps in 1, 2, 4, ... parts, extrapolated to steps of length zero
(`fwdmft.optimization`). A few finite networks judge which ladder suffices. Their matrices are explicit: what the bases
of a large simulation leave out differs from level to level, and would be taken for an effect of the steps. Errors of
the step hardly depend on the width.
"""

from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, Int, Key

from fwdmft.compiling import quickly
from fwdmft.engine import explicit_matrix
from fwdmft.engine.dynamics import TrainingSignal, one_pass
from fwdmft.engine.field_equations import FieldEquations
from fwdmft.engine.layers import TWO_TIME_DIMS
from fwdmft.engine.problem import TheoryTask
from fwdmft.errors import ComputationError
from fwdmft.optimization import RichardsonLevel, ladders

NETWORKS, NEURONS = 64, 64
"""Networks that judge ladders, and how many neurons each of their populations has."""

TOGETHER = 1 << 24
"""Numbers that the fields of networks trained at once may be, about."""

DERIVATIVE_TOLERANCE = 1e-4
"""Relative accuracy of the limit asked of draws and networks, whose own errors are larger."""

NOISE = 1 / 16
"""Share of the stated error of q that the noise of a change may have, if it hides the change."""

ROUNDED = 1e-12
"""Movement gamma0 f of fields of order one below which it is rounding (`fwdmft.rounding` asks for 2e-10)."""

Ladder = tuple[RichardsonLevel, ...]
Predictions = Float[np.ndarray, "network time point output"]


class Change(NamedTuple):
    """What the last level of a ladder changed in f, over the largest f: the largest mean over networks, and the largest
    standard error of this mean. f that is nothing but rounding is none, as where all targets are zero."""

    size: float
    noise: float

    def within(self, tolerance: float, relative_error: float) -> bool:
        """Whether the ladder suffices.

        Where activations have kinks, each neuron passes its kink up to a step too late. These small jumps are noise
        that no extrapolation removes; the mean over neurons is smooth. So a change that is lost in the noise is small
        enough if the noise is.
        """
        return self.size < tolerance or (self.size < 2 * self.noise and self.noise < NOISE * relative_error)


class Halving(NamedTuple):
    """fine: the ladder that reaches the plan's tolerance. coarse: one for draws and networks. left: how far f of the
    fine one may be from the limit, as a share of the largest f."""

    fine: Ladder
    coarse: Ladder
    left: float

    def error(self, name: str, value: Float[np.ndarray, "*axis"]) -> Float[np.ndarray, "*axis"]:
        """Of an observable: the same share of what training changes at most, and none of what is zero."""
        time = TWO_TIME_DIMS.get(name, ("time",)).index("time")
        moved = np.max(np.abs(value - value.take([0], axis=time)))
        return np.where(value == 0, 0.0, self.left * moved)


def gradient_flow_ladders(task: TheoryTask) -> Halving:
    """Step-halving ladders that suffice, judged by networks.

    Plain gradient descent needs one level. Raises ComputationError when the longest ladder does not suffice.
    """
    tolerance, stated = task.plan.tolerance, task.spec.relative_error
    if tolerance is None:
        return Halving(task.plan.ladder, task.plan.ladder, 0.0)
    levels: dict[int, Predictions] = {}
    rounded = ROUNDED / task.richness(NEURONS)
    coarse, before, change = None, None, Change(np.inf, np.inf)
    for ladder in ladders():
        for level in ladder:
            if level.substeps not in levels:
                levels[level.substeps] = _predictions(task, level.substeps)
        f = np.add.reduce([level.coefficient * levels[level.substeps] for level in ladder])
        if before is not None and np.isfinite(f).all() and np.isfinite(before).all():
            change = _change(f, before, rounded)
            coarse = ladder if coarse is None and change.within(DERIVATIVE_TOLERANCE, stated) else coarse
            if change.within(tolerance, stated):
                return Halving(ladder, coarse or ladder, max(change.size, change.noise))
        before = f
    raise ComputationError(
        f"gradient flow: halving the step {len(levels) - 1} times left a relative change of {change.size:.1e}; "
        f"expected optimizer.tolerance {tolerance:g}: raise it, or take a smaller optimizer.learning_rate"
    )


def _change(f: Predictions, before: Predictions, rounded: float = 0.0) -> Change:
    """rounded: size of f that is rounding."""
    size = max(float(np.max(np.abs(f.mean(axis=0)))), rounded, float(np.finfo(float).tiny))
    change = (f - before) / size
    error = change.std(axis=0, ddof=1) / len(f) ** 0.5
    return Change(float(np.max(np.abs(change.mean(axis=0)))), float(np.max(error)))


def _predictions(task: TheoryTask, substeps: int) -> Predictions:
    """Of the networks that judge, with every step in so many parts."""
    equations, training = task.at_infinite_width, task.training().without_ladder()
    at_once = min(NETWORKS, 1 << (max(1, TOGETHER // (NEURONS * task.site_numbers)).bit_length() - 1))
    keys = jax.random.split(jax.random.key(task.spec.seed), (NETWORKS // at_once, at_once))
    f = _trained(equations, keys, training, np.int32(substeps))
    return np.asarray(f).reshape(NETWORKS, *f.shape[2:])


@quickly
def _trained(
    equations: FieldEquations, keys: Key[Array, "chunk network"], training: TrainingSignal, substeps: Int[Array, ""]
) -> Float[Array, "chunk network time point output"]:
    def one(key: Key[Array, ""]) -> Float[Array, "time point output"]:
        own, between = jax.random.split(key)
        counts = {population.name: population.gaussians for population in equations.populations}
        noise = {
            name: jax.random.normal(key, (count, NEURONS))
            for key, (name, count) in zip(jax.random.split(own, len(counts)), counts.items(), strict=True)
        }
        numbers = [
            jax.random.normal(key, explicit_matrix.shape(matrix.prior, (NEURONS, NEURONS)))
            for key, matrix in zip(jax.random.split(between, len(equations.matrices)), equations.matrices, strict=True)
        ]
        pairs = zip(numbers, equations.matrices, strict=True)
        matrices = tuple(explicit_matrix.of(a, matrix.prior, training.momentum != 0) for a, matrix in pairs)
        return one_pass(equations, noise, matrices, training, lambda _, fields: fields.f, substeps).seen

    return jax.lax.map(jax.vmap(one), keys)
