"""The lazy limit gamma0 -> 0: kernels static in time, random over initialisations.

With K = K(0) the predictions obey closed linear-in-K dynamics, f <- f + eta K Delta (heavy-ball momentum as in
`fwdmft.optimization`), and at finite width they fluctuate because K(0) does:
delta Delta(t+1) = (1 - eta K) delta Delta(t) - eta delta K Delta(t) for the squared error. Here K is an average over
neurons like any other, so the general engine yields Sigma and b; this module supplies only the dynamics.

A network in neural tangent parameterization is one of richness gamma0 = N^(-1/2), so at order 1/N its mean is also
shifted by what it learns at that richness, d q / d(gamma0^2) at 0: `richness_shift`. Odd orders of gamma0 vanish on
average, since gamma0 -> -gamma0 is undone by flipping the sign of the readout.
"""

from dataclasses import replace
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fwdmft.meanfield.field_equations import (
    Activity,
    Bases,
    FieldEquations,
    NeuronWeights,
    Observables,
    Sites,
    State,
    Update,
)
from fwdmft.meanfield.kernels import LayerSites
from fwdmft.meanfield.neurons import Population, Supply
from fwdmft.meanfield.passes import Problem, plain
from fwdmft.meanfield.weights import Trained, at_rest

SMALL_RICHNESS = 0.05
"""gamma0 of the difference quotient in `richness_shift`, whose relative error is of order its square, and at which
kernels at t = 0 are computed."""


class LazyState(NamedTuple):
    """What the frozen neurons show, how well it was resolved, the kernel it implies, and the predictions."""

    frozen: Sites
    bases: Bases
    kernel: Float[Array, "point output point output"]
    f: Trained


class LazyEquations(FieldEquations):
    """The lazy limit of any field equations that observe a "tangent_kernel"."""

    neurons: FieldEquations
    gamma0: Array

    def __init__(self, equations: FieldEquations):
        # Kernels at t = 0 do not depend on gamma0, but bases are resolved the more closely the smaller it is.
        self.neurons = with_richness(equations, SMALL_RICHNESS)
        self.gamma0 = jnp.zeros_like(self.neurons.gamma0)

    @property
    def populations(self) -> tuple[Population, ...]:
        return self.neurons.populations

    @property
    def supplies(self) -> tuple[Supply, ...]:
        return self.neurons.supplies

    @property
    def dims(self) -> dict[str, tuple[str, ...]]:
        return self.neurons.dims

    def initial(self, noise: dict[str, Array], p: NeuronWeights, momentum: bool) -> LazyState:
        state = self.neurons.initial(noise, p, momentum=False)
        prediction, activity = self.neurons.forward(state, noise, p)
        sites = self.neurons.sites(state, activity, p)
        idle = Update(jnp.zeros(()), 0.0, 0.0)
        bases = self.neurons.bases(self.neurons.step(state, activity, jnp.zeros_like(prediction), idle, p))
        kernel = self.neurons.observe(sites, p)["tangent_kernel"]
        return LazyState(sites, bases, kernel, at_rest(jnp.zeros_like(prediction), momentum))

    def forward(self, state: LazyState, noise: dict[str, Array], p: NeuronWeights) -> tuple[Array, Activity]:
        return state.f.value, None

    def step(self, state: LazyState, activity: Activity, residual: Array, update: Update, p: NeuronWeights) -> State:
        pull = jnp.tensordot(state.kernel, residual, axes=2)
        velocity = pull if state.f.velocity is None else update.momentum * state.f.velocity + pull
        f = state.f.value + update.learning_rate * velocity
        return state._replace(f=Trained(f, None if state.f.velocity is None else velocity))

    def sites(self, state: LazyState, activity: Activity, p: NeuronWeights) -> Sites:
        """Those of the frozen neurons, and the predictions, to which single neurons contribute only through K."""
        return {"neurons": state.frozen, "prediction": state.f.value}

    def prediction_sites(self, sites: Sites) -> dict[str, Array]:
        return {}

    @property
    def layers(self) -> tuple[str, ...]:
        return self.neurons.layers

    def layer_sites(self, sites: Sites) -> tuple[LayerSites, ...]:
        return self.neurons.layer_sites(sites["neurons"])

    def averages(self, population: str, sites: object, p: Array) -> object:
        return self.neurons.averages(population, sites, p)

    def assemble(self, averages: dict[str, object]) -> Observables:
        return self.neurons.assemble(averages)

    def observe(self, sites: Sites, p: NeuronWeights) -> Observables:
        return self.neurons.observe(sites["neurons"], p) | {"prediction": sites["prediction"]}

    def direct_variance(self, sites: Sites, p: NeuronWeights) -> Observables:
        variance = self.neurons.direct_variance(sites["neurons"], p)
        return variance | {"prediction": jnp.zeros_like(sites["prediction"])}

    def bases(self, state: LazyState) -> Bases:
        return state.bases

    def fitted(self, bases: Bases) -> "LazyEquations":
        return LazyEquations(self.neurons.fitted(bases))

    def following(self, axis: str) -> "LazyEquations | None":
        neurons = self.neurons.following(axis)
        return None if neurons is None else LazyEquations(neurons)

    def smoothed(self) -> "LazyEquations":
        neurons = self.neurons.smoothed()
        return self if neurons is self.neurons else LazyEquations(neurons)


def with_richness(equations: FieldEquations, gamma0: float) -> FieldEquations:
    """The same equations at another richness."""
    return eqx.tree_at(lambda e: e.gamma0, equations, jnp.full_like(equations.gamma0, gamma0))


def mirrored(problem: Problem) -> Problem:
    """The problem for -gamma0 whose average with that for gamma0 has no odd order, whatever the sample neurons.

    What training adds to a vector changes sign with gamma0, so the noise of the new directions has to do so as well.
    """
    flipped = {
        supply.name: problem.noise[supply.name].at[supply.leading :].multiply(-1.0)
        for supply in problem.equations.supplies
    }
    return replace(problem, noise=problem.noise | flipped)


def richness_shift(problem: Problem, p: NeuronWeights) -> Observables:
    """d q / d(gamma0^2) at gamma0 = 0, by the symmetric difference quotient [q(g) + q(-g) - 2 q(0)] / (2 g^2).

    problem: with equations that have a richness.
    """
    g = SMALL_RICHNESS

    def q(posed: Problem, equations: FieldEquations) -> Observables:
        return plain(replace(posed, equations=equations), p).seen

    rich = [
        q(problem, with_richness(problem.equations, g)),
        q(mirrored(problem), with_richness(problem.equations, -g)),
    ]
    lazy = q(problem, LazyEquations(problem.equations))
    return jax.tree.map(lambda a, b, c: (a + b - 2 * c) / (2 * g**2), *rich, lazy)
