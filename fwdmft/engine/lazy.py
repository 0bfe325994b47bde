"""The lazy limit gamma0 -> 0: kernels static in time, random over initialisations.

With K = K(0) the predictions obey closed linear-in-K dynamics, f <- f + eta K Delta (heavy-ball momentum as in
`fwdmft.optimization`). This module supplies the dynamics at infinite width. Networks of finite width have a finite
richness, which the parameterization tells: they are simulated as they are, so what they learn is in Sigma and b.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from fwdmft.engine.field_equations import FieldEquations, Noise, Observables, RandomMatrix, Sites
from fwdmft.engine.layer_sites import LayerSites
from fwdmft.engine.neurons import Population
from fwdmft.engine.update import Trained, Update, at_rest, heavy_ball


class LazyState(NamedTuple):
    """What the frozen neurons show, their random matrices, the kernel of all points they imply, and the predictions.

    A forward pass has nothing to compute: it shows this state.
    """

    frozen: Sites
    matrices: tuple[Any, ...]
    kernel: Float[Array, "point output point output"]
    predictions: Trained

    @property
    def f(self) -> Float[Array, "point output"]:
        return self.predictions.value


class LazyEquations(FieldEquations):
    """The lazy limit of any field equations that observe a "tangent_kernel"."""

    neurons: FieldEquations
    gamma0: Float[Array, ""]

    def __init__(self, equations: FieldEquations):
        # Kernels at t = 0 do not depend on gamma0.
        self.neurons = equations.with_richness(1.0)
        self.gamma0 = jnp.zeros_like(self.neurons.gamma0)

    @property
    def populations(self) -> tuple[Population, ...]:
        return self.neurons.populations

    @property
    def matrices(self) -> tuple[RandomMatrix, ...]:
        return self.neurons.matrices

    @property
    def dims(self) -> dict[str, tuple[str, ...]]:
        return self.neurons.dims

    def initial(self, noise: Noise, matrices: tuple[Any, ...], momentum: bool) -> LazyState:
        state, fields = self.neurons.forward(self.neurons.initial(noise, matrices, False), noise)
        everywhere = self.neurons.at_kernel_points(None)
        kernel = everywhere.observe(everywhere.sites(fields))["tangent_kernel"]
        predictions = at_rest(jnp.zeros_like(fields.f), momentum)
        return LazyState(self.neurons.sites(fields), state.matrices if self.matrices else (), kernel, predictions)

    def forward(self, state: LazyState, noise: Noise) -> tuple[LazyState, LazyState]:
        return state, state

    def step(
        self, state: LazyState, fields: LazyState, residual: Float[Array, "point output"], update: Update
    ) -> LazyState:
        pull = jnp.tensordot(state.kernel, residual, axes=2)
        return state._replace(predictions=heavy_ball(state.predictions, pull, update._replace(weight_decay=0.0)))

    def sites(self, fields: LazyState) -> Sites:
        """Those of the frozen neurons, and the predictions, to which single neurons contribute only through K."""
        return {"neurons": fields.frozen, "prediction": fields.f}

    @property
    def layers(self) -> tuple[str, ...]:
        return self.neurons.layers

    def layer_sites(self, sites: Sites) -> tuple[LayerSites, ...]:
        return self.neurons.layer_sites(sites["neurons"])

    def averages(self, population: str, sites: Any) -> Any:
        return self.neurons.averages(population, sites)

    def assemble(self, averages: dict[str, Any]) -> Observables:
        return self.neurons.assemble(averages)

    def observe(self, sites: Sites) -> Observables:
        return self.neurons.observe(sites["neurons"]) | {"prediction": sites["prediction"]}

    def with_capacities(self, capacities: Any) -> "LazyEquations":
        return LazyEquations(self.neurons.with_capacities(capacities))

    def resolving(self, tolerance: float) -> "LazyEquations":
        return LazyEquations(self.neurons.resolving(tolerance))
