"""The operations that a forward program is written with.

A forward program is the forward pass of a network, written once for its neurons:

    def forward(net, x):
        h = net.input("W", "hidden", x)
        h, v = net.layer("hidden", h, jnp.tanh)
        return net.readout("w", "hidden", v)

Everything else in it is `jax.numpy`, which JAX can trace: no `if` that asks for numbers, and the operations stand
outside of `jax.vmap` and `jax.lax.scan` (a loop of Python repeats them). Arrays have the points first and the neurons
last, with any axes ("sites": tokens, steps, positions) between them. Neurons meet only through the operations of `Net`.
The same program has several readings: its structure is found by running it once (`structure`), at infinite width
products with random matrices are Gaussian (`reading`), and at width N they are products with matrices of numbers
(`finite`).

Definitions
-----------
population    Neurons with one index: whatever is added neuron by neuron belongs to one population. Its width is N times
              a factor, 1 unless it is given.
order parameter  An average over the neurons of a population. It has no neuron axis, and it may enter anything.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Array, Float

from fwdmft.engine.stencil import POINT, Stencil
from fwdmft.program.declared import Input, Matrix, Readout, Vector

Read = Float[Array | np.ndarray, "point *site feature"]
OfNeurons = Float[Array, "point *site neuron"]
OfTarget = Float[Array, "point *place target_neuron"]
OfLayer = tuple[Float[Array, "point *site neuron"], Float[Array, "point *feature_site neuron"]]
Features = Callable[[Float[Array, "point *site neuron"]], Float[Array, "point *feature_site neuron"]]
Forward = Callable[["Net", Any], Float[Array, "point output"]]
"""forward(net, x): x (point, ...) are the points, the value is what `readout` gave, or a sum of such."""


@dataclass(frozen=True)
class Program:
    """function(net, x, *arguments) as a forward program; equal ones are compiled once."""

    function: Callable[..., Float[Array, "point output"]]
    arguments: tuple[Hashable, ...] = ()

    def __call__(self, net: "Net", x: Any) -> Float[Array, "point output"]:
        return self.function(net, x, *self.arguments)


class Net(ABC):
    """The operations. Names of weights and populations are free; the same name stands for the same weights.

    A population begins with the `input`, `dense` or `vector` that leads to it. Arrays of one population are added and
    multiplied as they are; from one to another leads `dense` alone.

    sigma: standard deviation of the initial entries. trained: whether the weights are trained.

    A reading of programs is a subclass, with what the operations do. Those with weights have their settings in one
    piece there (`declared`).
    """

    outputs: int
    """Number of outputs c of the network."""

    def input(
        self,
        name: str,
        population: str,
        x: Float[Array | np.ndarray, "point *site feature"],
        *,
        sigma: float = 1.0,
        bias: float = 0.0,
        trained: bool = True,
    ) -> Float[Array, "point *site neuron"]:
        """W x / sqrt(D) + sigma_b b with a row of W and a number b ~ N(0, 1) for each neuron.

        x: of D features, made of the points alone, not of weights. bias: sigma_b.
        """
        return self._input(Input(name, population, sigma, bias, trained), x)

    def dense(
        self,
        name: str,
        source: str,
        target: str,
        v: Float[Array, "point *site source_neuron"],
        *,
        sigma: float = 1.0,
        stencil: Stencil = POINT,
        trained: bool = True,
    ) -> Float[Array, "point *place target_neuron"]:
        """W v / sqrt(N_source) with a Gaussian matrix from one population to another, or to itself.

        Sites do not mix, unless `stencil` says what a bank of matrices reads: then the last site axis runs over
        positions, and the value is sum_k W_k v_(a+k) / sqrt(n_k N_source) at places a (`Stencil`).
        """
        return self._dense(Matrix(name, source, target, sigma, stencil, trained), v)

    def vector(
        self,
        name: str,
        population: str,
        shape: tuple[int, ...] = (),
        *,
        mean: float = 0.0,
        sigma: float = 1.0,
        scale: float = 1.0,
        trained: bool = True,
    ) -> Float[Array, "point *shape neuron"]:
        """scale theta, with numbers theta ~ N(mean, sigma^2) that each neuron has for itself: biases, gains.

        They are the same for all points; the axis of points is there to fit other arrays (its length may be 1). E
        numbers a neuron times its v (point, neuron): net.vector("a", population, (E,)) * v[:, None].
        """
        return self._vector(Vector(name, population, tuple(shape), mean, sigma, scale, trained))

    @abstractmethod
    def average(self, population: str, o: Float[Array, "point *site neuron"]) -> Float[Array, "point *site"]:
        """<o> over the neurons of a population, an order parameter.

        It has no axis of neurons: [..., None] fits it to arrays that have one. An average with random numbers of mean
        zero vanishes at first (at infinite width), and learns.
        """

    @abstractmethod
    def layer(
        self, population: str, h: Float[Array, "point *site neuron"], features: Features
    ) -> tuple[Float[Array, "point *site neuron"], Float[Array, "point *feature_site neuron"]]:
        """h and v = features(h), a hidden layer of the results.

        Phi of this layer is made of v, averaged over sites, and G of g = gamma0 N d f / d h, summed over sites. What
        else depends on h, as the next layer of a residual stream does, takes the h that is returned.
        """

    def readout(
        self,
        name: str,
        population: str,
        v: Float[Array, "point *site neuron"],
        *,
        sigma: float = 1.0,
        trained: bool = True,
    ) -> Float[Array, "point output"]:
        """w . v / (gamma0 N_population sqrt(A)), where w has numbers of its own for every output and each of A sites.

        The prediction is a readout, or a sum of readouts as they are: a factor, such as an order parameter, goes to v.
        """
        return self._readout(Readout(name, population, sigma, trained), v)

    @abstractmethod
    def observe(self, name: str, dims: tuple[str, ...], value: Float[Array, "*axis"]) -> None:
        """Show an order parameter in results under this name, as `Architecture(observables=...)` declares it.

        dims: names of its axes, of which one is "point"; those before it number parts of the network (layers, blocks).
        """

    @abstractmethod
    def _input(self, weights: Input, x: Read) -> OfNeurons: ...

    @abstractmethod
    def _dense(self, matrix: Matrix, v: OfNeurons) -> OfTarget: ...

    @abstractmethod
    def _vector(self, vector: Vector) -> Float[Array, "point *shape neuron"]: ...

    @abstractmethod
    def _readout(self, readout: Readout, v: OfNeurons) -> Float[Array, "point output"]: ...
