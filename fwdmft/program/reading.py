"""A forward program among sample neurons: the forward pass, and its linearisation, which the backward pass needs.

Definitions
-----------
y_k   What a neuron is fed from outside of its own arithmetic: products with random matrices, input fields, its own
      trained numbers, averages.
cut   A place where neurons meet: a use of a matrix, an average, a readout.
v_m   What goes into cut m: the vectors that the matrix acts on, that the average is taken of, or that are read out.
D     The derivative of gamma0 f, times the number of neurons: D y = N gamma0 d f / d y.

Between cuts the program acts on each neuron alone. So v_m is a function of those y_k of the same neuron that come
before cut m, and by the chain rule

    D y_k = sum_m (d v_m / d y_k)^T D v_m

where m runs over the cuts after y_k. D v_m follows from D of what comes out of cut m (`backward`): for a matrix, by its
transpose. So the backward pass goes through the cuts in reverse order.

The derivatives d v_m / d y_k come from one linearisation (`jax.linearize`): an addition, which is zero, is added to
every y_k, and the v_m are differentiated in the additions.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from fwdmft.engine.matrix_law import MatrixPrior
from fwdmft.engine.stencil import POINT, Stencil
from fwdmft.program.declared import Input, Matrix, Readout, Vector
from fwdmft.program.net import Features, Forward, Net, OfLayer, OfNeurons, OfTarget, Read
from fwdmft.program.structure import Structure

Vectors = tuple[Float[Array, "point ... _neuron"], ...]
"""Of neurons, each of its own shape (point, *site, neuron)."""
Averaged = tuple[Float[Array, "point ..."], ...]
"""Averages over neurons, or what is added to them (point, *site)."""


class Additions(NamedTuple):
    """One array for everything that is fed to neurons, (point, *site, neuron).

    inputs: of every input weights, for each call.
    products: of every matrix, for each use.
    vectors: of every vector.
    averages: of every average; these have no axis of neurons.
    layers: of the preactivations of every layer.
    """

    inputs: tuple[Vectors, ...]
    products: tuple[Vectors, ...]
    vectors: Vectors
    averages: Averaged
    layers: Vectors


class Fed(NamedTuple):
    """What the operations of a program give to neurons in a pass.

    inputs: for every input weights, the function from x and the number of the call to the field.
    vectors: for every vector, scale theta (*shape, neuron).
    matrices, priors: the random matrices.
    noise: N(0, 1) numbers for new directions of every matrix, forward and backward; None if it needs none.
    """

    inputs: tuple[Callable[[Float[Array, "..."], int], Float[Array, "point ... _neuron"]], ...]
    vectors: tuple[Float[Array, "... _neuron"], ...]
    matrices: tuple[Any, ...]
    priors: tuple[MatrixPrior, ...]
    noise: tuple[tuple[Float[Array, "_row _neuron"] | None, Float[Array, "_row _neuron"] | None], ...]


class Forwards(NamedTuple):
    """What a forward pass computes.

    into: v_m of every cut m.
    read: x of every call of input weights.
    coordinates: of the vectors that every use of a matrix acts on.
    h, v: preactivations and features of each layer.
    products, averages, observed: their values.
    matrices: the random matrices after the pass.
    """

    into: Vectors
    read: tuple[tuple[Float[Array, "point ... _feature"], ...], ...]
    coordinates: tuple[tuple[Float[Array, "_capacity _vector _position"], ...], ...]
    h: Vectors
    v: Vectors
    products: tuple[Vectors, ...]
    averages: Averaged
    observed: dict[str, Float[Array, "..."]]
    matrices: tuple[Any, ...]


@jax.custom_jvp
def added(y: Float[Array, "*axis"], addition: Float[Array, "*axis"]) -> Float[Array, "*axis"]:
    """y + addition, for an addition that is zero: its value is y, its derivative that of the sum."""
    return y


Both = tuple[Float[Array, "*axis"], Float[Array, "*axis"]]


@added.defjvp
def _added(primals: Both, tangents: Both) -> Both:
    return primals[0], tangents[0] + tangents[1]


def additions(structure: Structure, points: int, neurons: dict[str, int], dtype: DTypeLike) -> Additions:
    """Zeros. neurons: how many each population has."""

    def of(population: str, sites: tuple[int, ...]) -> Float[Array, "point *site neuron"]:
        return jnp.zeros((points, *sites, neurons[population]), dtype)

    return Additions(
        tuple(tuple(of(each.population, sites) for sites in each.calls) for each in structure.inputs),
        tuple(tuple(of(matrix.target, matrix.places(sites)) for sites in matrix.uses) for matrix in structure.matrices),
        tuple(of(each.population, each.shape) for each in structure.vectors),
        tuple(jnp.zeros((points, *each.sites), dtype) for each in structure.averages),
        tuple(of(each.population, each.sites) for each in structure.layers),
    )


class Linearised(NamedTuple):
    """A forward pass, and the linear function `change` from additions to the changes of all v_m.

    zero: additions of the right shapes.
    """

    forwards: Forwards
    change: Callable[[Additions], Vectors]
    zero: Additions

    def pulled_back(self, cut: int, cotangent: Float[Array, "point output *site neuron"]) -> Additions:
        """(d v_m / d y_k)^T cotangent for all k, where m is `cut`.

        Cotangents have an axis of outputs behind that of points, and so has what is returned.
        """
        (cotangents,) = jax.vmap(
            jax.linear_transpose(lambda additions: self.change(additions)[cut], self.zero), in_axes=1, out_axes=1
        )(cotangent)
        return cotangents


def linearised(forward: Forward, x: Any, structure: Structure, fed: Fed, zero: Additions, outputs: int) -> Linearised:
    """Run a program on points x (point, ...) and linearise it.

    zero: additions of the right shapes. outputs: number of outputs c.
    """

    def run(zero: Additions) -> tuple[Vectors, Forwards]:
        reading = _Reading(structure, fed, zero, outputs)
        forward(reading, x)
        forwards = reading.forwards()
        return forwards.into, forwards

    _, change, forwards = jax.linearize(run, zero, has_aux=True)
    return Linearised(forwards, change, zero)


class _Reading(Net):
    """Operations among sample neurons, with any kind of random matrices."""

    def __init__(self, structure: Structure, fed: Fed, zero: Additions, outputs: int):
        self.structure, self.fed, self.zero, self.outputs = structure, fed, zero, outputs
        kinds: tuple[tuple[Any, ...], ...] = structure.inputs, structure.matrices, structure.vectors, structure.readouts
        self.names = {weights.name: number for kind in kinds for number, weights in enumerate(kind)}
        self.matrices = list(fed.matrices)
        self.into: list[Float[Array, "point ... _neuron"]] = []
        self.read: list[list[Float[Array, "point ... _feature"]]] = [[] for _ in structure.inputs]
        self.h: list[Float[Array, "point ... _neuron"]] = []
        self.v: list[Float[Array, "point ... _neuron"]] = []
        self.averages: list[Float[Array, "point ..."]] = []
        self.products: list[list[Float[Array, "point ... _neuron"]]] = [[] for _ in structure.matrices]
        self.coordinates: list[list[Float[Array, "_capacity _vector _position"]]] = [[] for _ in structure.matrices]
        self.observed: dict[str, Float[Array, "*axis"]] = {}

    def forwards(self) -> Forwards:
        """What was noted, with tuples in place of lists."""
        return Forwards(*(_as_tuples(getattr(self, name)) for name in Forwards._fields))

    def _input(self, weights: Input, x: Read) -> OfNeurons:
        number, read = self.names[weights.name], jnp.asarray(x)
        call = len(self.read[number])
        self.read[number].append(read)
        return added(self.fed.inputs[number](read, call), self.zero.inputs[number][call])

    def _dense(self, matrix: Matrix, v: OfNeurons) -> OfTarget:
        number = self.names[matrix.name]
        self.into.append(v)
        block = vectors(jax.lax.stop_gradient(v), matrix.stencil)
        block = block.reshape(-1, *block.shape[2:])
        self.matrices[number], product = self.matrices[number].apply(
            block, self.fed.noise[number][0], self.fed.priors[number]
        )
        zero = self.zero.products[number][len(self.products[number])]
        value = product.value.reshape(*zero.shape[:-1], -1)
        self.products[number].append(value)
        self.coordinates[number].append(product.coordinates)
        return added(value, zero)

    def _vector(self, vector: Vector) -> Float[Array, "point *shape neuron"]:
        number = self.names[vector.name]
        zero = self.zero.vectors[number]
        return added(jnp.broadcast_to(self.fed.vectors[number], zero.shape), zero)

    def average(self, population: str, o: OfNeurons) -> Float[Array, "point *site"]:
        number = len(self.averages)
        self.into.append(o)
        value = jnp.mean(jax.lax.stop_gradient(o), axis=-1)
        self.averages.append(value)
        return added(value, self.zero.averages[number])

    def layer(self, population: str, h: OfNeurons, features: Features) -> OfLayer:
        number = len(self.h)
        h = added(h, self.zero.layers[number])
        self.h.append(h)
        # Features may have layers of their own, whose features are noted behind.
        self.v.append(h)
        self.v[number] = features(h)
        return h, self.v[number]

    def _readout(self, readout: Readout, v: OfNeurons) -> Float[Array, "point output"]:
        """Only what goes in is noted: f is computed from it and from the readout weights elsewhere."""
        self.into.append(v)
        return jnp.zeros((len(v), self.outputs), v.dtype)

    def observe(self, name: str, dims: tuple[str, ...], value: Float[Array, "*axis"]) -> None:
        self.observed[name] = value


def _as_tuples(noted: Any) -> Any:
    return tuple(map(_as_tuples, noted)) if isinstance(noted, list) else noted


def vectors(
    a: Float[Array, "*rest neuron"], stencil: Stencil, axes: int = 1
) -> Float[Array, "*leading vector position neuron"]:
    """(point, vector, position, neuron): vectors of a block, and their positions. axes: in front of the sites."""
    positions = 1 if stencil == POINT else a.shape[-2]
    return a.reshape(*a.shape[:axes], -1, positions, a.shape[-1])


def zero_like(zero: Additions, outputs: int) -> Additions:
    """Zeros with an axis of outputs behind that of points."""
    return jax.tree.map(lambda a: jnp.zeros((len(a), outputs, *a.shape[1:]), a.dtype), zero)
