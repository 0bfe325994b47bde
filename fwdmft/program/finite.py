"""A forward program at width N, as an Equinox module: products with matrices of numbers.

It is the network of an architecture that brings no module of its own. From the readings at infinite width it shares the
program, and nothing else: gradients are those of `jax.grad`.
"""

import math
from itertools import count
from operator import attrgetter
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from fwdmft.engine.stencil import POINT
from fwdmft.networks.model import Network, OfLayers
from fwdmft.program.declared import Input, Matrix, Readout, Vector
from fwdmft.program.net import Features, Forward, Net, OfLayer, OfNeurons, OfTarget, Read
from fwdmft.program.structure import Structure


class ProgramNetwork(Network):
    """A network of this program.

    inputs: W (neuron, feature) and b (neuron,) or None. matrices: banks (offset, out neuron, in neuron). vectors:
    (*shape, neuron). readouts: (output, site, neuron). Each by its name. neurons: of each population.
    """

    inputs: dict[str, tuple[Float[Array, "_neuron _feature"], Float[Array, " _neuron"] | None]]
    matrices: dict[str, Float[Array, "_offset _target _source"]]
    vectors: dict[str, Float[Array, "... _neuron"]]
    readouts: dict[str, Float[Array, "output _site _neuron"]]
    program: Forward = eqx.field(static=True)
    structure: Structure = eqx.field(static=True)
    gamma0: float = eqx.field(static=True)
    neurons: tuple[tuple[str, int], ...] = eqx.field(static=True)

    def shifts(self) -> OfLayers:
        neurons = dict(self.neurons)
        return tuple(jnp.zeros((*layer.sites, neurons[layer.population])) for layer in self.structure.layers)

    def trace(self, x: Float[Array, "..."], shifts: OfLayers) -> tuple[Float[Array, " output"], OfLayers]:
        f, net = self._run(x, shifts)
        return f, tuple(net.features[number][0] for number in range(len(net.features)))

    def observables(self, x: Float[Array, "..."]) -> dict[str, Float[Array, "..."]]:
        """What the program observes, without the axis of points."""
        _, net = self._run(x, self.shifts())
        dims = dict(self.structure.observed)
        return {name: jnp.take(value, 0, axis=dims[name].index("point")) for name, value in net.observed.items()}

    def trained(self) -> "ProgramNetwork":
        kinds = "inputs", "matrices", "vectors", "readouts"
        flags = [{each.name: each.trained for each in getattr(self.structure, kind)} for kind in kinds]
        return eqx.tree_at(attrgetter(*kinds), self, flags)

    def _run(self, x: Float[Array, "..."], shifts: OfLayers) -> tuple[Float[Array, " output"], "_Finite"]:
        net = _Finite(self, shifts)
        return self.program(net, x[None])[0], net


class _Finite(Net):
    """Explicit weights; one point at a time."""

    def __init__(self, network: ProgramNetwork, shifts: OfLayers):
        self.network, self.shifts, self.layers = network, shifts, count()
        self.outputs = len(next(iter(network.readouts.values())))
        self.features: dict[int, Float[Array, "point *site neuron"]] = {}
        self.observed: dict[str, Float[Array, "*axis"]] = {}

    def _input(self, weights: Input, x: Read) -> OfNeurons:
        rows, biases = self.network.inputs[weights.name]
        h = x @ rows.T / x.shape[-1] ** 0.5
        return h if biases is None else h + weights.bias * biases

    def _dense(self, matrix: Matrix, v: OfNeurons) -> OfTarget:
        bank, stencil = self.network.matrices[matrix.name], matrix.stencil
        scale = (stencil.offsets * bank.shape[2]) ** -0.5
        if stencil == POINT:
            return scale * v @ bank[0].T
        return scale * stencil.products(bank, v)

    def _vector(self, vector: Vector) -> Float[Array, "point *shape neuron"]:
        return vector.scale * self.network.vectors[vector.name][None]

    def average(self, population: str, o: OfNeurons) -> Float[Array, "point *site"]:
        return jnp.mean(o, axis=-1)

    def layer(self, population: str, h: OfNeurons, features: Features) -> OfLayer:
        number = next(self.layers)
        h = h + self.shifts[number]
        v = features(h)
        self.features[number] = v
        return h, v

    def _readout(self, readout: Readout, v: OfNeurons) -> Float[Array, "point output"]:
        w = self.network.readouts[readout.name]
        read = v.reshape(len(v), -1) @ w.reshape(len(w), -1).T
        return read / (self.network.gamma0 * w.shape[2] * w.shape[1] ** 0.5)

    def observe(self, name: str, dims: tuple[str, ...], value: Float[Array, "*axis"]) -> None:
        self.observed[name] = value


def program_network(
    program: Forward, structure: Structure, outputs: int, gamma0: float, neurons: dict[str, int], key: Key[Array, ""]
) -> ProgramNetwork:
    """A network with independent normal weights. gamma0: richness at this width. neurons: of each population."""
    every: list[Any] = [*structure.inputs, *structure.matrices, *structure.vectors, *structure.readouts]
    keys = {each.name: k for each, k in zip(every, jax.random.split(key, len(every)), strict=True)}

    def normal(name: str, *shape: int) -> Float[Array, "..."]:
        return jax.random.normal(keys[name], shape)

    def of_input(each: Any) -> tuple[Float[Array, "neuron feature"], Float[Array, " neuron"] | None]:
        size = neurons[each.population]
        rows = normal(each.name, size, each.features + 1)
        return each.sigma * rows[:, :-1], rows[:, -1] if each.bias else None

    return ProgramNetwork(
        {each.name: of_input(each) for each in structure.inputs},
        {
            m.name: m.sigma * normal(m.name, m.stencil.offsets, neurons[m.target], neurons[m.source])
            for m in structure.matrices
        },
        {v.name: v.mean + v.sigma * normal(v.name, *v.shape, neurons[v.population]) for v in structure.vectors},
        {
            r.name: r.sigma * normal(r.name, outputs, math.prod(r.sites), neurons[r.population])
            for r in structure.readouts
        },
        program,
        structure,
        gamma0,
        tuple(neurons.items()),
    )
