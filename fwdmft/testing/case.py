"""A case: one architecture with its settings and data, and what the laws compute from it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from fwdmft.corrections.finite_width import WIDEST, multiple_of
from fwdmft.corrections.samples import PARTS, Sampler
from fwdmft.engine import neurons
from fwdmft.engine.dynamics import TrainingSignal, training_signal, trajectory
from fwdmft.engine.field_equations import FieldEquations, Observables
from fwdmft.engine.lazy import LazyEquations
from fwdmft.engine.neurons import least_width
from fwdmft.engine.simulation import Large, Observing, gaussian_matrices, infinite_width
from fwdmft.experiment.architecture import ArchitectureSpec
from fwdmft.experiment.halves import TheorySpec
from fwdmft.experiment.loss import LossSpec, SquaredError
from fwdmft.experiment.optimizer import GradientDescent, OptimizerSpec
from fwdmft.experiment.parameterization import MeanField, ParameterizationSpec
from fwdmft.networks.building import builder
from fwdmft.networks.ensemble import WidthStatistics, train_ensemble
from fwdmft.networks.model import Network
from fwdmft.networks.training import Task
from fwdmft.optimization import Plan
from fwdmft.registry import Architecture
from fwdmft.testing.agreement import Estimate
from fwdmft.theory import TheoryResult, TheoryTask, solve

SEED = 1
REPLICATES = 8
"""Independent samplings behind the theory's standard errors."""

SAMPLINGS = 32
"""Samplings whose average is compared with networks at infinite width, and whose spread is the Monte-Carlo error."""

DRAWN = 8
"""Width at which draws of networks are compared with networks, or the next at which layers have whole neurons."""

CHUNK, CHUNKS = 64, 16
"""Draws that are compared with networks: at a time, and how many times."""

COMPARED = 2 * CHUNK * CHUNKS
"""Networks that draws are compared with, at their width and at `PARTS` times this width."""


class Simulation(NamedTuple):
    """Equations, the noise of as many neurons as there are to be, and what training imposes on them."""

    equations: FieldEquations
    noise: dict[str, Array]
    training: TrainingSignal


@dataclass(frozen=True, eq=False)
class Case:
    """One row of a test table.

    name: shown by pytest. spec: of the architecture, as in an experiment file. x: (point, ...), y: (point, output),
    train: (point,) mask. save_every: must leave at least three saved times. smooth: False where the activation has a
    kink. few: neurons for laws that hold to rounding (field equations with Gaussian matrices need several times as
    many as their bases have vectors). neurons, draws, draw_width: of the theory that is compared with networks.
    widths, members: of the two ensembles; the next order in 1/N is removed by extrapolation, and what is left is of
    relative order 1/(N_1 N_2).
    """

    name: str
    architecture: Architecture
    spec: Mapping[str, Any]
    x: np.ndarray
    y: np.ndarray
    train: np.ndarray
    parameterization: ParameterizationSpec = MeanField()
    optimizer: OptimizerSpec = GradientDescent(learning_rate=0.1, steps=13)
    loss: LossSpec = SquaredError()
    save_every: int = 4
    smooth: bool = True
    few: int = 128
    neurons: int = 1 << 13
    draws: int = 2048
    draw_width: int = 8
    widths: tuple[int, int] = (16, 64)
    members: tuple[int, int] = (8000, 8000)

    def __str__(self) -> str:
        return self.name

    @cached_property
    def schema(self) -> ArchitectureSpec:
        return self.architecture.spec.model_validate(dict(self.spec))

    @cached_property
    def plan(self) -> Plan:
        return self.optimizer.plan(int(np.sum(self.train)))

    @cached_property
    def equations(self) -> FieldEquations:
        """At the case's richness, or at richness 1 where the parameterization's vanishes with width."""
        equations = self.as_built.with_richness(1.0) if self.lazy else self.as_built
        return self.with_capacities(equations, self.neurons)

    @property
    def centred_equations(self) -> FieldEquations:
        """Only centred predictions have a lazy limit (f(0) / gamma0 does not)."""
        if self.parameterization.center:
            return self.equations
        return replace(self, parameterization=self.parameterization.model_copy(update={"center": True})).equations

    @cached_property
    def as_built(self) -> FieldEquations:
        """The equations as the architecture makes them."""
        return self.architecture.field_equations(self.schema, self.parameterization, self.x, self.y.shape[1])

    @property
    def lazy(self) -> bool:
        """Whether richness vanishes at infinite width."""
        return self.parameterization.richness(None) == 0

    def with_capacities(self, equations: FieldEquations, count: int, plan: Plan | None = None) -> FieldEquations:
        """The equations with bases that are large enough for so many neurons."""
        training = self.training(plan)
        large = infinite_width(equations, lambda e: noise(e, count), training, Observing())
        assert isinstance(large, Large), f"{count} neurons are too few for the bases of the random matrices"
        return large.equations

    def training(self, plan: Plan | None = None) -> TrainingSignal:
        """What training imposes."""
        return training_signal(plan or self.plan, self.loss, self.y, self.train, self.save_every)

    def simulation(self, count: int, replicate: int = 0, plan: Plan | None = None, limit: bool = False) -> Simulation:
        """A pass with `count` neurons. Replicates are independent samplings.

        limit: at the richness of infinite width, even where that is the lazy limit.
        """
        lazy = limit and self.lazy
        return self.posed(LazyEquations(self.equations) if lazy else self.equations, count, replicate, plan)

    def posed(self, equations: FieldEquations, count: int, replicate: int = 0, plan: Plan | None = None) -> Simulation:
        """A pass of other equations of these populations."""
        return Simulation(equations, noise(equations, count, replicate), self.training(plan))

    def samplings(self, count: int) -> dict[str, np.ndarray]:
        """Infinite width from independent samplings of `count` equal neurons, (sampling, time, ...)."""
        if count not in self._sampled:
            numbers = range(REPLICATES + 1, REPLICATES + 1 + SAMPLINGS)
            seen = [observed(self.simulation(count, number, limit=True)) for number in numbers]
            self._sampled[count] = {name: np.stack([s[name] for s in seen]) for name in seen[0]}
        return self._sampled[count]

    @cached_property
    def _sampled(self) -> dict[int, dict[str, np.ndarray]]:
        """What `samplings` found, by the number of neurons."""
        return {}

    @cached_property
    def infinite_width(self) -> dict[str, Estimate]:
        """Order parameters at infinite width, more precisely than a single sampling has them."""
        drawn = self.samplings(self.neurons)
        errors = {name: a.std(axis=0, ddof=1) / np.sqrt(SAMPLINGS) for name, a in drawn.items()}
        return {name: Estimate.of(a.mean(axis=0), errors[name], SAMPLINGS) for name, a in drawn.items()}

    @cached_property
    def theory(self) -> TheoryResult:
        """Infinite width, fluctuations and bias."""
        spec = TheorySpec(
            neurons=self.neurons,
            draws=self.draws,
            draw_width=self.draw_width,
            save_every=self.save_every,
            seed=SEED,
            replicates=REPLICATES,
            covariance=False,
        )
        task = TheoryTask(
            equations=self.as_built,
            richness=self.parameterization.richness,
            lazy=self.lazy,
            y=self.y,
            train=self.train,
            loss=self.loss,
            plan=self.plan,
            spec=spec,
        )
        return solve(task)

    @property
    def times(self) -> np.ndarray:
        """The saved steps."""
        return self.plan.saved(self.save_every)

    @property
    def drawn(self) -> int:
        """Width of the networks that draws are compared with."""
        return multiple_of(least_width(self.as_built.populations, WIDEST), DRAWN)

    @cached_property
    def sampler(self) -> Sampler:
        """Draws of networks of width `drawn`."""
        widths = self.drawn, PARTS * self.drawn
        narrow, wide = (self.as_built.with_richness(self.parameterization.richness(n)) for n in widths)
        return Sampler(narrow, wide, self.training(), self.drawn, Observing(), CHUNK)

    @cached_property
    def ensembles(self) -> tuple[WidthStatistics, ...]:
        """Statistics at each of `widths`."""
        pairs = zip(self.widths, self.members, strict=True)
        return tuple(self.ensemble(width, members) for width, members in pairs)

    def ensemble(self, width: int, members: int) -> WidthStatistics:
        """Statistics of trained networks, once for all laws that ask for the same."""
        if (width, members) not in self._trained:
            self._trained[width, members] = train_ensemble(self.task(), width, members, SEED, samples=0)
        return self._trained[width, members]

    @cached_property
    def _trained(self) -> dict[tuple[int, int], WidthStatistics]:
        """What `ensemble` found, by width and members."""
        return {}

    def task(self, plan: Plan | None = None, kernels: bool = True) -> Task:
        """Training of float64 networks."""
        return Task(
            build=self.build,
            gamma0=self.parameterization.richness,
            x=self.x,
            y=self.y,
            train=self.train,
            loss=self.loss,
            plan=plan or self.plan,
            save_every=self.save_every,
            center=self.parameterization.center,
            kernels=kernels,
            dtype=np.float64,
            observables={name: one.dims for name, one in self.architecture.observed(self.schema).items()},
        )

    def build(self, width: int, key: Array) -> Network:
        """An untrained network."""
        return self._builder(width, key)

    @cached_property
    def _builder(self) -> Callable[[int, Array], Network]:
        return builder(self.architecture, self.schema, self.parameterization, self.x, self.y.shape[1])


def noise(equations: FieldEquations, count: int, replicate: int = 0) -> dict[str, Array]:
    """Random numbers of so many neurons of every population."""
    drawn = neurons.sample(equations.populations, equations.supplies, count, SEED, replicate)
    return jax.tree.map(jnp.asarray, drawn)


@eqx.filter_jit
def observe(simulation: Simulation) -> Observables:
    """Order parameters (time, ...) at infinite width."""
    equations, noise, training = simulation
    matrices = gaussian_matrices(equations, noise, training.momentum != 0)
    return trajectory(equations, noise, matrices, training, lambda e, fields: e.observe(e.sites(fields)))


def observed(simulation: Simulation) -> dict[str, np.ndarray]:
    """The same in memory of the processor."""
    return {name: np.asarray(value) for name, value in observe(simulation).items()}


def points(
    count: int, features: int, outputs: int = 1, test: int = 1, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Random data x (point, feature) with |x|^2 = feature, y = +-1 (point, output) and the mask of training points.

    The last `test` points are not trained on.
    """
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((count, features))
    x *= np.sqrt(features) / np.linalg.norm(x, axis=1, keepdims=True)
    return x, rng.choice([-1.0, 1.0], (count, outputs)), np.arange(count) < count - test
