"""Learning-rate schedules (factors on eta, step by step, evaluated by optax) and the fixed order of minibatches."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, model_validator

from fwdmft.errors import InputError
from fwdmft.experiment.base import LARGEST_STEPS, Count, NonNegativeReal, Real, Seed, Spec, Steps, Whole

MOST_VISITS = 10**8
"""Bound on steps times points per step, whose order is planned before the first."""


class Constant(Spec):
    """The learning rate stays eta."""

    kind: Literal["constant"] = Field("constant", description="The learning rate stays eta.")

    def multipliers(self, steps: int) -> np.ndarray:
        """(steps,) factors on eta."""
        return np.ones(steps)


class Cosine(Spec):
    """A linear rise over the first steps, then half a cosine down to `final`."""

    kind: Literal["cosine"] = Field("cosine", description="Linear warm-up, then half a cosine down to `final`.")
    final: NonNegativeReal = Field(0.0, description="Factor on eta reached at the last step (dimensionless).")
    warmup: Whole = Field(
        0, le=LARGEST_STEPS, description="Number of steps over which the factor rises linearly to 1 (steps)."
    )

    def multipliers(self, steps: int) -> np.ndarray:
        """(steps,) factors on eta: (t + 1)/(warmup + 1) at t < warmup, then from 1 to `final` at the end."""
        import optax

        last = max(self.warmup + 1, steps - 1)
        return _evaluated(
            lambda: optax.warmup_cosine_decay_schedule(1 / (self.warmup + 1), 1.0, self.warmup, last, self.final), steps
        )


class Exponential(Spec):
    """The learning rate shrinks by the same factor every step."""

    kind: Literal["exponential"] = Field("exponential", description="The same shrinking factor every step.")
    rate: Real = Field(gt=0, le=1, description="Factor r per step, eta r^t (dimensionless, at most 1).")

    def multipliers(self, steps: int) -> np.ndarray:
        """(steps,) factors on eta."""
        import optax

        return _evaluated(lambda: optax.exponential_decay(1.0, 1, self.rate), steps)


class Piecewise(Spec):
    """eta times factors[i] from step boundaries[i] on (factors are not cumulative)."""

    kind: Literal["piecewise"] = Field("piecewise", description="eta times factors[i] from boundaries[i] on.")
    boundaries: tuple[Steps, ...] = Field(
        max_length=100, description="Increasing steps at which the factor changes (steps)."
    )
    factors: tuple[NonNegativeReal, ...] = Field(
        description="Factor on eta from each boundary on (dimensionless, not cumulative), 1 before.",
    )

    @model_validator(mode="after")
    def _matching(self) -> Piecewise:
        if any(later <= earlier for earlier, later in pairwise(self.boundaries)):
            raise InputError("boundaries", list(self.boundaries), "increasing steps")
        if len(self.factors) != len(self.boundaries):
            expected = f"one factor per boundary ({len(self.boundaries)})"
            raise InputError("factors", list(self.factors), expected)
        return self

    def multipliers(self, steps: int) -> np.ndarray:
        """(steps,) factors on eta."""
        import optax

        stages = [optax.constant_schedule(factor) for factor in (1.0, *self.factors)]
        return _evaluated(lambda: optax.join_schedules(stages, self.boundaries), steps)


def _evaluated(make: Callable[[], Callable[[Any], Any]], steps: int) -> np.ndarray:
    """A schedule of optax at every step, in float64 whatever JAX is set to."""
    import jax
    import jax.numpy as jnp

    with jax.enable_x64(True):
        return np.asarray(jnp.broadcast_to(jax.vmap(make())(jnp.arange(steps)), (steps,)), dtype=np.float64)


Schedule = Annotated[Constant | Cosine | Exponential | Piecewise, Field(discriminator="kind")]


class Minibatches(Spec):
    """Minibatches in a fixed order: each epoch is a seeded permutation, a last partial batch is dropped."""

    size: Count = Field(description="Number of training points per step (points).")
    seed: Seed = Field(0, description="Seed of the permutations; theory and networks see the same batches.")

    def per_epoch(self, n_train: int) -> int:
        """Number of batches in an epoch. Raises InputError when size > n_train."""
        if self.size > n_train:
            raise InputError("optimizer.batch.size", self.size, f"at most the {n_train} training points")
        return n_train // self.size

    def order(self, n_train: int, steps: int) -> np.ndarray:
        """(steps, size) positions in the list of training points. Raises InputError when size > n_train."""
        per_epoch = self.per_epoch(n_train)
        if steps * self.size > MOST_VISITS:
            expected = f"at most {MOST_VISITS} visits of points in all (there are {steps} steps)"
            raise InputError("optimizer.batch.size", self.size, expected)
        rng = np.random.default_rng(self.seed)
        epochs = [
            rng.permutation(n_train)[: per_epoch * self.size].reshape(per_epoch, self.size)
            for _ in range(-(-steps // per_epoch))
        ]
        return np.concatenate(epochs)[:steps]

    def in_turn(self, n_train: int, steps: int) -> np.ndarray:
        """(steps, size) positions, each visited once and in order. Raises InputError when there are too few points."""
        if steps * self.size > n_train:
            expected = f"at least {steps * self.size} training points, {self.size} fresh ones at each of {steps} steps"
            raise InputError("data.train", n_train, expected)
        return np.arange(steps * self.size).reshape(steps, self.size)
