"""What an architecture tells the engine about its neurons at infinite width.

The engine (`dynamics`, `fluctuations`) knows no architecture. It draws noise for the populations, steps a state
forward in time, and differentiates what it observes with respect to the weights p of the neurons.
"""

from abc import abstractmethod
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from fwdmft.meanfield.kernels import LayerSites
from fwdmft.meanfield.neurons import Population, Supply

State = Any
"""Everything that evolves in training, a pytree of arrays whose last axis runs over neurons."""
Activity = Any
"""What the forward pass computed on the way to the prediction and a training step can reuse."""
Sites = dict[str, Any]
"""Per population, a pytree of per-neuron quantities (neuron axis last) that the observables are averages of."""
NeuronWeights = dict[str, Float[Array, " neuron"]]
Observables = dict[str, Array]


class Update(NamedTuple):
    """One training step: v <- momentum v + direction - weight_decay theta, theta <- theta + learning_rate v."""

    learning_rate: Float[Array, ""]
    momentum: float
    weight_decay: float


class Bases(NamedTuple):
    """How vectors were resolved that random matrices acted on, one entry per matrix and direction.

    rank: basis vectors used. dropped: largest share of a vector's squared norm left out. full: there was not room for
    all, so the pass is not to be trusted.
    """

    rank: Int[Array, " side"]
    dropped: Float[Array, " side"]
    full: Bool[Array, " side"]


class FieldEquations(eqx.Module):
    """Training dynamics of an infinitely wide network, seen by its neurons.

    Laws, each checked by the test kit for every architecture:

    - Neurons interact only through averages weighted by p: copying a neuron and splitting its weight changes nothing,
      and a neuron of weight zero has no effect on the others.
    - `averages` is linear in p, and `sites` of a neuron do not depend on which p it is later averaged with.
    - The prediction returned by `forward` is the observable "prediction" of `assemble`.
    - Without residual, momentum and weight decay a step changes nothing; neither does a learning rate of zero.
    - Kernels at t = 0 do not depend on gamma0.
    """

    gamma0: eqx.AbstractVar[Array]
    """Richness; the engine differentiates in it and takes it to zero for the lazy limit."""

    @property
    @abstractmethod
    def populations(self) -> tuple[Population, ...]:
        """The populations and the noise their neurons carry."""

    @property
    def supplies(self) -> tuple[Supply, ...]:
        """Random numbers drawn upon during training."""
        return ()

    @property
    @abstractmethod
    def dims(self) -> dict[str, tuple[str, ...]]:
        """Dimension names of each observable, without time. "prediction": ("point", "output") is required."""

    @abstractmethod
    def initial(self, noise: dict[str, Array], p: NeuronWeights, momentum: bool) -> State:
        """State before the first step. `momentum` says whether velocities will be needed."""

    @abstractmethod
    def forward(
        self, state: State, noise: dict[str, Array], p: NeuronWeights
    ) -> tuple[Float[Array, "point output"], Activity]:
        """Predictions (centred if the parameterization says so) and what `step` and `sites` reuse."""

    def remembered(self, state: State, activity: Activity) -> State:
        """The state with what this forward pass has drawn, for another one from the same weights to agree with."""
        return state

    @abstractmethod
    def step(
        self,
        state: State,
        activity: Activity,
        residual: Float[Array, "point output"],
        update: Update,
        p: NeuronWeights,
    ) -> State:
        """One training step, given Delta = -d loss / d f (zero for points that are not trained on in this step)."""

    @abstractmethod
    def sites(self, state: State, activity: Activity, p: NeuronWeights) -> Sites:
        """Per-neuron quantities behind the observables. The last axis of every array runs over neurons."""

    @abstractmethod
    def prediction_sites(self, sites: Sites) -> dict[str, Float[Array, "point output neuron"]]:
        """Contribution of each neuron to the prediction, for the populations that have one."""

    @property
    def layers(self) -> tuple[str, ...]:
        """Population of each hidden layer, for kernels that compare layers or times; none leaves those out."""
        return ()

    def layer_sites(self, sites: Sites) -> tuple[LayerSites, ...]:
        """Features and backward fields of those layers."""
        return ()

    @abstractmethod
    def averages(self, population: str, sites: Any, p: Float[Array, " neuron"]) -> Any:
        """Averages over one population with weights p; linear in p."""

    @abstractmethod
    def assemble(self, averages: dict[str, Any]) -> Observables:
        """Order parameters from the averages of all populations."""

    def bases(self, state: State) -> Bases:
        """How well a pass that ended in this state resolved what random matrices acted on."""
        return Bases(jnp.zeros(0, int), jnp.zeros(0), jnp.zeros(0, bool))

    def fitted(self, bases: Bases) -> "FieldEquations":
        """The same equations with room for what a pass has shown to be needed."""
        return self

    def resolving(self, tolerance: float) -> "FieldEquations":
        """The same equations with bases that may leave out this share of a vector's squared norm."""
        return self

    def carrying(self, x: np.ndarray, together: int) -> "FieldEquations | None":
        """The same equations with neurons that carry all weights, so that other points can be shown to them (`on`).

        x: (point, ...) that these equations are on. together: most points that will be shown at once. None if that
        is not possible.
        """
        return None

    def on(self, x: Float[Array, "point ..."]) -> "FieldEquations":
        """Equations from `carrying`, on other points. The state stays the same."""
        raise TypeError(f"{type(self).__name__} cannot be shown other points")

    def following(self, axis: str) -> "FieldEquations | None":
        """Equations for passes that run side by side along a vmapped axis, whose first pass takes all decisions (which
        directions a basis keeps), so that they differ smoothly.

        None if they should rather be differentiated, where that is cheap.
        """
        return None

    def smoothed(self) -> "FieldEquations":
        """The equations that derivatives are taken of: these, with smooth maps in place of those that have kinks.

        Without kinks the very same object.
        """
        return self

    def observe(self, sites: Sites, p: NeuronWeights) -> Observables:
        """Order parameters of the given sites under weights p."""
        return self.assemble({name: self.averages(name, sites[name], p[name]) for name in sites})

    def direct_variance(self, sites: Sites, p: NeuronWeights) -> Observables:
        """Variance over neurons of the explicit influence of a neuron on the observables.

        The explicit (direct) influence d observe(sites, p) / d p_i, centred, leaves aside that reweighting neurons
        also changed how the sites came about. Returns sum over populations of sum_i p_i psi_i^2, shaped like the
        observables. This general implementation goes neuron by neuron; architectures with structure can do better.
        """
        averages = {name: self.averages(name, sites[name], p[name]) for name in sites}

        def influences(name: str) -> Observables:
            def one(site: Any) -> Observables:
                alone = self.averages(name, jax.tree.map(lambda a: a[..., None], site), jnp.ones(1))
                change = jax.tree.map(jnp.subtract, alone, averages[name])
                tangent = {k: change if k == name else jax.tree.map(jnp.zeros_like, averages[k]) for k in averages}
                return jax.jvp(self.assemble, (averages,), (tangent,))[1]

            by_neuron = jax.tree.map(lambda a: jnp.moveaxis(a, -1, 0), sites[name])
            psi = jax.lax.map(one, by_neuron, batch_size=64)
            return jax.tree.map(lambda a: jnp.tensordot(p[name], a**2, axes=1) / widths[name], psi)

        widths = {population.name: population.width for population in self.populations}
        totals = [influences(name) for name in sites]
        return jax.tree.map(lambda *parts: sum(parts), *totals)
