"""What the theory is asked."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import jax
import numpy as np
from jaxtyping import Bool, Float, Int

from fwdmft.engine import explicit_matrix
from fwdmft.engine.dynamics import TrainingSignal, training_signal
from fwdmft.engine.field_equations import FieldEquations, Noise
from fwdmft.engine.lazy import LazyEquations
from fwdmft.engine.simulation import Observing
from fwdmft.experiment.halves import TheorySpec
from fwdmft.experiment.loss import LossSpec
from fwdmft.kernel_points import kernel_points
from fwdmft.observables import ObservableFunction
from fwdmft.optimization import Plan, RichardsonLevel

JUDGED = ("prediction", "tangent_kernel")
"""Observables whose error is stated."""


@dataclass(frozen=True)
class TheoryTask:
    """What the theory is asked.

    equations: at infinite width, with kernels at `kernel_points`. richness: gamma0 at a width; `lazy` says that it
    vanishes at infinite width. y: (point, output). train: (point,) mask. functions: observed besides, without
    `kernel_points` and a stream.
    """

    equations: FieldEquations
    richness: Callable[[int], float]
    lazy: bool
    y: Float[np.ndarray, "point output"]
    train: Bool[np.ndarray, " point"]
    loss: LossSpec
    plan: Plan
    spec: TheorySpec
    functions: tuple[ObservableFunction, ...] = ()

    @property
    def times(self) -> Int[np.ndarray, " time"]:
        """The saved steps."""
        return self.plan.saved(self.spec.save_every)

    @property
    def rows(self) -> int:
        """Observed points, or whatever else a neuron carries a number for: fresh points and input weights."""
        return len(self.y) + (0 if self.plan.stream is None else self.plan.fresh + self.plan.stream.x.shape[1])

    @property
    def kernel_points(self) -> Int[np.ndarray, " kernel_point"] | None:
        """Positions of the points between which kernels are kept, None for all."""
        return kernel_points(self.spec.kernel_points, self.train)

    @property
    def richness_varies(self) -> bool:
        """Whether networks of different widths have different richness, as they have where it vanishes with width."""
        return self.richness(1 << 10) != self.richness(1 << 20)

    @property
    def two_time(self) -> bool:
        """Whether two-time kernels are computed."""
        return self.spec.two_time and bool(self.equations.layers)

    @property
    def at_infinite_width(self) -> FieldEquations:
        """The equations, or their lazy limit."""
        return LazyEquations(self.equations) if self.lazy else self.equations

    def observing(self, strength: bool = False) -> Observing:
        """What is observed in a pass. strength: those of the layers' kernels as well."""
        train = tuple(self.train.tolist()) if self.functions else ()
        return Observing(self.two_time, strength, self.functions, train)

    def on_ladder(self, ladder: tuple[RichardsonLevel, ...]) -> "TheoryTask":
        """The same, trained by the levels of this ladder."""
        return replace(self, plan=self.plan.on_ladder(ladder))

    @property
    def updates(self) -> int:
        """Steps of a simulation, of all levels."""
        return self.plan.steps * sum(level.substeps for level in self.plan.ladder)

    def training(self, save_every: int | None = None) -> TrainingSignal:
        """The training signal of a large simulation or a draw."""
        every = self.spec.save_every if save_every is None else save_every
        return training_signal(self.plan, self.loss, self.y, self.train, every)

    @cached_property
    def site_numbers(self) -> int:
        """How many numbers the fields are of one neuron of every population at one time."""
        few, equations = 4, self.equations
        # Sites hold the same fields several times: of layers, of matrices that lead from them and to them.
        each, f = (sum(a.size for a in jax.tree.leaves(part)) // few for part in self._seen(few)[0])
        between = sum(matrix.uses * sum(matrix.blocks) for matrix in equations.matrices)
        return max(each, between) + f + (self.rows - len(self.y)) * (1 + self.y.shape[1])

    @property
    def shapes(self) -> dict[str, Any]:
        """Shapes of the order parameters at one time, without kernel points."""
        return self._seen(1)[1]

    @cached_property
    def observed(self) -> dict[str, Any]:
        """Shapes (time, ...) of all that is observed: with kernel points, two-time kernels, strengths, functions."""
        strength = bool(self.equations.layers) and "feature_kernel" in self.equations.dims
        observing, times = self.observing(strength), len(self.times)

        def collected(noise: Noise) -> Any:
            return observing(self.equations, _activity(self.equations, noise))

        at_once = jax.eval_shape(collected, _noise(self.equations, 1))
        seen = jax.tree.map(lambda a: jax.ShapeDtypeStruct((times, *a.shape), a.dtype), at_once)
        return dict(jax.eval_shape(observing.complete, seen))

    def _seen(self, few: int) -> tuple[Any, dict[str, Any]]:
        """Shapes at one time: fields of so many neurons, in layers and predictions, and order parameters."""
        equations = self.equations.at_kernel_points(None)

        def fields(noise: Noise) -> tuple[Any, Any]:
            sites = equations.sites(_activity(equations, noise))
            layers = equations.layer_sites(sites) if equations.layers else sites
            return (layers, equations.prediction_sites(sites) if equations.layers else ()), equations.observe(sites)

        return jax.eval_shape(fields, _noise(equations, few))


def _noise(equations: FieldEquations, few: int) -> dict[str, Any]:
    """Shapes of the random numbers of so many neurons."""
    counts = {population.name: population.gaussians for population in equations.populations}
    return {name: jax.ShapeDtypeStruct((count, few), float) for name, count in counts.items()}


def _activity(equations: FieldEquations, noise: Noise) -> Any:
    """Of the first forward pass."""
    state = equations.initial(noise, explicit_matrix.empty(equations.matrices, noise), momentum=False)
    return equations.forward(state, noise)[1]
