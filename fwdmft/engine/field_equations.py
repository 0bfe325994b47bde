"""What an architecture tells the engine about its neurons.

The engine knows no architecture. It draws noise for the populations, steps a state forward in time, and averages what
it observes over the neurons. The same equations serve two simulations, which differ in their random matrices alone:
many neurons at infinite width (`gaussian_matrix`), and a network of few neurons (`explicit_matrix`).
"""

from abc import abstractmethod
from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from fwdmft.engine.layer_sites import LayerSites
from fwdmft.engine.neurons import Population, Supply
from fwdmft.engine.update import Update

State = Any
"""Everything that evolves in training, a pytree of arrays whose last axis runs over neurons.

Equations with `matrices` have the random matrices as `state.matrices`, in the same order.
"""
Fields = Any
"""What the forward pass computed. `fields.f` are the predictions (point, output); the rest is for `step` and `sites`.
"""
Sites = dict[str, Any]
"""Per population, a pytree of per-neuron quantities (neuron axis last) that the observables are averages of."""
Noise = dict[str, Float[Array, "_number _neuron"]]
"""Random numbers of populations and of supplies, by name."""
Observables = dict[str, Float[Array, "..."]]
Pairs = tuple[tuple[int, int], ...]
"""A number for the forward and the backward side of every matrix."""


class Unsupported(Exception):
    """These field equations cannot do what was asked of them."""


class RandomMatrix(NamedTuple):
    """A Gaussian matrix between two populations, and how much of it a large simulation has to resolve.

    source, target: populations. prior: of its entries. capacities: room for basis vectors, forward and backward.
    blocks: most vectors that it acts on at once, forward and backward. forward, backward: noise for new directions.
    uses: how often it acts in a pass, in each direction.
    """

    source: str
    target: str
    prior: Any
    capacities: tuple[int, int]
    blocks: tuple[int, int]
    forward: Supply
    backward: Supply
    uses: int = 1

    @property
    def offsets(self) -> int:
        """Number of matrices in the bank."""
        return self.prior.stencil.offsets

    def neurons(self, noise: Noise) -> tuple[int, int]:
        """How many there are at the source and at the target of the matrix, with this noise."""
        return noise[self.source].shape[-1], noise[self.target].shape[-1]


class FieldEquations(eqx.Module):
    """Training dynamics of a wide network, seen by its neurons.

    Laws, each checked by the test kit for every architecture:

    - Neurons interact only through averages: copying every neuron changes nothing.
    - The predictions `fields.f` of `forward` are the observable "prediction" of `observe`.
    - Without residual, momentum and weight decay a step changes nothing; neither does a learning rate of zero.
    - Kernels at t = 0 do not depend on gamma0.
    """

    gamma0: eqx.AbstractVar[Float[Array, ""]]
    """Richness."""

    @property
    @abstractmethod
    def populations(self) -> tuple[Population, ...]:
        """The populations and the noise their neurons carry."""

    @property
    def matrices(self) -> tuple[RandomMatrix, ...]:
        """The random matrices between populations; none without."""
        return ()

    @property
    def smooth(self) -> bool:
        """Whether fields can be differentiated twice, so that two-layer networks need no draws; say no if in doubt."""
        return False

    @property
    def supplies(self) -> tuple[Supply, ...]:
        """Random numbers drawn upon during training: those for new directions of the random matrices."""
        return tuple(supply for matrix in self.matrices for supply in (matrix.forward, matrix.backward))

    @property
    @abstractmethod
    def dims(self) -> dict[str, tuple[str, ...]]:
        """Dimension names of each observable, without time. "prediction": ("point", "output") is required."""

    @abstractmethod
    def initial(self, noise: Noise, matrices: tuple[Any, ...], momentum: bool) -> State:
        """State before the first step.

        noise: of every population (number, neuron). matrices: the random matrices, in the order of `matrices`.
        momentum: whether velocities will be needed.
        """

    @abstractmethod
    def forward(self, state: State, noise: Noise) -> tuple[State, Fields]:
        """The state, and its fields; predictions are centred if the parameterization says so.

        The weights stay the same. The state that is returned knows in addition what the pass has drawn of the random
        matrices, so that another pass from it agrees with this one.
        """

    @abstractmethod
    def step(self, state: State, fields: Fields, residual: Float[Array, "point output"], update: Update) -> State:
        """One training step.

        state, fields: both as `forward` returned them. residual: Delta = -d loss / d f, zero for points that are not
        trained on in this step.
        """

    @abstractmethod
    def sites(self, fields: Fields) -> Sites:
        """Per-neuron quantities behind the observables. The last axis of every array runs over neurons."""

    def prediction_sites(self, sites: Sites) -> dict[str, Float[Array, "point output neuron"]]:
        """Contribution of each neuron to the prediction, for the populations that have one; for smooth equations."""
        return {}

    @property
    def layers(self) -> tuple[str, ...]:
        """Population of each hidden layer, for kernels that compare layers or times; none leaves those out."""
        return ()

    def layer_sites(self, sites: Sites) -> tuple[LayerSites, ...]:
        """Features and backward fields of those layers."""
        return ()

    @abstractmethod
    def averages(self, population: str, sites: Any) -> Any:
        """Averages over the neurons of one population."""

    @abstractmethod
    def assemble(self, averages: dict[str, Any]) -> Observables:
        """Order parameters from the averages of all populations."""

    def observe(self, sites: Sites) -> Observables:
        """Order parameters of the given sites."""
        return self.assemble({name: self.averages(name, sites[name]) for name in sites})

    def at_kernel_points(self, points: Int[np.ndarray, " kernel_point"] | None) -> "FieldEquations":
        """The same equations with kernels between these points only, None for all; predictions are of all points.

        Raises Unsupported if kernels are always those of all points.
        """
        if points is not None:
            raise Unsupported(f"{type(self).__name__} has kernels of all points")
        return self

    def with_capacities(self, capacities: Pairs) -> "FieldEquations":
        """The same equations with room for so many basis vectors, on the forward and backward side of each matrix."""
        return self

    def resolving(self, tolerance: float) -> "FieldEquations":
        """The same equations with bases that may leave out this share of what vectors learn, squared (`learning`)."""
        return self

    @property
    def learned(self) -> Float[Array, ""]:
        """How far training moves neurons' vectors, in squares of their norm; one unless `learning` has changed it.

        Bases of random matrices leave out a share of a vector that is small beside this.
        """
        return jnp.ones(())

    def learning(self, learned: float) -> "FieldEquations":
        """The same equations with this `learned`."""
        return self

    def with_richness(self, gamma0: float | Float[Array, ""]) -> "FieldEquations":
        """The same equations at another richness."""
        return eqx.tree_at(lambda e: e.gamma0, self, jnp.full_like(self.gamma0, gamma0))

    def carrying(self, x: Float[np.ndarray, "point ..."], together: int) -> "FieldEquations":
        """The same equations with neurons that carry all weights, so that other points can be shown to them (`on`).

        x: (point, ...) that these equations are on. together: most points that will be shown at once.
        Raises Unsupported if that is not possible.
        """
        raise Unsupported(f"{type(self).__name__} is on fixed points")

    def on(self, x: Float[Array, "point ..."]) -> "FieldEquations":
        """Equations from `carrying`, on other points. The state stays the same. Raises Unsupported for others."""
        raise Unsupported(f"{type(self).__name__} is on fixed points")
