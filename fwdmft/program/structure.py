"""What a forward program consists of: populations, weights and how often they are used, order parameters, layers.

It is found by running the program once, with two neurons and products that vanish.
"""

import math
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import PurePath
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fwdmft.engine.stencil import POINT
from fwdmft.errors import FwdmftError, PluginError
from fwdmft.program.declared import Input, Matrix, Readout, Sites, Vector
from fwdmft.program.net import Features, Forward, Net, OfLayer, OfNeurons, OfTarget

FEW = 2
"""Neurons with which a program is run to see its structure."""

USUAL = ("prediction", "feature_kernel", "gradient_kernel", "tangent_kernel")
"""Names of the observables of every network."""


class ProgramError(PluginError, TypeError):
    """A forward program that does not keep to the rules of `Net`."""


def called(forward: Forward, net: Net, x: Any) -> Any:
    """What the program returns. Raises ProgramError with its line in place of what is not meant for the user."""
    try:
        return forward(net, x)
    except FwdmftError:
        raise
    except Exception as error:
        lines = traceback.extract_tb(error.__traceback__)
        own = [line for line in lines if line.filename == _file_of(forward)] or lines[-1:]
        where = f"{PurePath(own[-1].filename).name}, line {own[-1].lineno}: {own[-1].line}"
        if is_of_tracing(error):
            raise ProgramError(
                f"the forward program failed with {type(error).__name__} ({where}). JAX traces a program, also without "
                "numbers: it takes jax.numpy in place of numpy, jnp.where in place of if, and calls the operations of "
                "net outside of jax.vmap, jax.lax.scan and jax.lax.cond"
            ) from error
        raise ProgramError(
            f"the forward program failed with {type(error).__name__}: {error} ({where}). Arrays have the axes "
            f"(point, *site, neuron); x has the shape {jnp.shape(x)}, with the points first"
        ) from error


def is_of_tracing(error: BaseException | None) -> bool:
    """Whether numbers were asked for where JAX follows shapes."""
    return isinstance(error, jax.errors.JAXTypeError | jax.errors.JAXIndexError)


def _file_of(forward: Any) -> str | None:
    """Where the function of a program is written."""
    code = getattr(getattr(forward, "function", forward), "__code__", None)
    return None if code is None else code.co_filename


@dataclass(frozen=True)
class Average:
    """An average over a population of something at these sites."""

    population: str
    sites: Sites


@dataclass(frozen=True)
class Layer:
    """A hidden layer of the results. sites: of its preactivations. features: sites of its features."""

    population: str
    sites: Sites
    features: Sites


@dataclass(frozen=True)
class Cut:
    """A place where neurons meet others, in the order of the program: what goes in there has to be known as a whole.

    number: of the matrix, average or readout. use: which use of the matrix.
    """

    kind: Literal["matrix", "average", "readout"]
    number: int
    use: int = 0


@dataclass(frozen=True)
class Structure:
    """Everything in the order in which the program first met it. observed: name and dimensions."""

    populations: tuple[str, ...]
    inputs: tuple[Input, ...]
    matrices: tuple[Matrix, ...]
    vectors: tuple[Vector, ...]
    readouts: tuple[Readout, ...]
    averages: tuple[Average, ...]
    layers: tuple[Layer, ...]
    cuts: tuple[Cut, ...]
    observed: tuple[tuple[str, tuple[str, ...]], ...]

    def at_cuts(self, kind: str, number: int, each: Sequence[Any]) -> list[Any]:
        """Of what there is for each cut, that of the uses of a matrix, or of an average or a readout."""
        pairs = zip(self.cuts, each, strict=True)
        return [a for cut, a in pairs if (cut.kind, cut.number) == (kind, number)]


@dataclass
class Outline:
    """A structure, and what all calls of each input weights read, point by point."""

    structure: Structure
    rows: dict[str, Float[np.ndarray, "_row _feature"]]


def structure(forward: Forward, x: Float[np.ndarray, "point ..."], outputs: int) -> Outline:
    """Of a program on these points (point, ...). Raises ProgramError naming the operation that breaks a rule."""
    reading = _StructureReading(len(x), outputs)
    value = called(forward, reading, x)
    if not reading.readouts:
        raise ProgramError("a forward program calls net.readout at least once, and returns its value")
    expected = sum(reading.predictions[1:], reading.predictions[0])
    if jnp.shape(value) != expected.shape or not np.allclose(value, expected):
        raise ProgramError(
            "a forward program returns what net.readout gave, or the sum of all such values as they are; a factor goes "
            "to what is read, net.readout(name, population, factor * v)"
        )
    if not reading.layers:
        raise ProgramError("a forward program names its hidden layers with net.layer; it has none")
    everything = Structure(
        tuple(reading.populations),
        tuple(reading.inputs.values()),
        tuple(reading.matrices.values()),
        tuple(reading.vectors.values()),
        tuple(reading.readouts.values()),
        tuple(reading.averages),
        tuple(reading.layers),
        tuple(reading.cuts),
        tuple(reading.observed.items()),
    )
    rows = {name: np.concatenate(each, axis=1).reshape(-1, each[0].shape[-1]) for name, each in reading.rows.items()}
    return Outline(everything, rows)


class _StructureReading(Net):
    """Looks at what a program asks for."""

    def __init__(self, points: int, outputs: int):
        self.points, self.outputs = points, outputs
        self.populations: list[str] = []
        self.inputs: dict[str, Input] = {}
        self.matrices: dict[str, Matrix] = {}
        self.vectors: dict[str, Vector] = {}
        self.readouts: dict[str, Readout] = {}
        self.averages: list[Average] = []
        self.layers: list[Layer] = []
        self.cuts: list[Cut] = []
        self.observed: dict[str, tuple[str, ...]] = {}
        self.rows: dict[str, list[Float[np.ndarray, "point row feature"]]] = {}
        self.predictions: list[Float[Array, "point output"]] = []

    def _input(self, weights: Input, x: Float[Array | np.ndarray, "*axis"]) -> OfNeurons:
        where = f"net.input({weights.name!r})"
        if jnp.ndim(x) < 2 or len(x) != self.points:
            raise ProgramError(f"{where}: x has axes (point, site, feature), not the shape {jnp.shape(x)}")
        self._meet(weights.population)
        known, sites = self._again(self.inputs, replace(weights, features=x.shape[-1]), where), x.shape[1:-1]
        self.inputs[weights.name] = replace(known, calls=(*known.calls, sites))
        self.rows.setdefault(weights.name, []).append(np.asarray(x, float).reshape(self.points, -1, x.shape[-1]))
        return jnp.zeros((self.points, *sites, FEW))

    def _dense(self, matrix: Matrix, v: Float[Array, "*axis"]) -> OfTarget:
        where, name, stencil = f"net.dense({matrix.name!r})", matrix.name, matrix.stencil
        sites = self._sites(v, matrix.source, where)
        if stencil != POINT and (not sites or sites[-1] != stencil.sources):
            raise ProgramError(
                f"{where}: the stencil reads {stencil.sources} positions on the last axis of sites, not {sites}"
            )
        self._meet(matrix.target)
        known = self._again(self.matrices, matrix, where)
        self.matrices[name] = replace(known, uses=(*known.uses, sites))
        self.cuts.append(Cut("matrix", list(self.matrices).index(name), len(known.uses)))
        return jnp.zeros((self.points, *matrix.places(sites), FEW))

    def _vector(self, vector: Vector) -> Float[Array, "point *shape neuron"]:
        self._meet(vector.population)
        self.vectors[vector.name] = self._again(self.vectors, vector, f"net.vector({vector.name!r})")
        return jnp.full((self.points, *vector.shape, FEW), vector.scale * vector.mean)

    def average(self, population: str, o: OfNeurons) -> Float[Array, "point *site"]:
        sites = self._sites(o, population, f"net.average({population!r})")
        self.cuts.append(Cut("average", len(self.averages)))
        self.averages.append(Average(population, sites))
        return jnp.mean(o, axis=-1)

    def layer(self, population: str, h: OfNeurons, features: Features) -> OfLayer:
        where = f"net.layer({population!r})"
        sites = self._sites(h, population, where)
        number = len(self.layers)
        self.layers.append(Layer(population, sites, ()))
        v = features(h)
        self.layers[number] = Layer(population, sites, self._sites(v, population, f"{where}, features"))
        return h, v

    def _readout(self, readout: Readout, v: Float[Array, "*axis"]) -> Float[Array, "point output"]:
        where, name = f"net.readout({readout.name!r})", readout.name
        if name in self.readouts:
            raise ProgramError(f"{where}: a readout is read once; give the second one another name")
        _check_numbers(readout, where)
        self.readouts[name] = replace(readout, sites=self._sites(v, readout.population, where))
        self.cuts.append(Cut("readout", len(self.readouts) - 1))
        # Another number for every readout, so that what the program returns tells whether it is their sum.
        self.predictions.append(jnp.full((self.points, self.outputs), 3.0 ** len(self.readouts)))
        return self.predictions[-1]

    def observe(self, name: str, dims: tuple[str, ...], value: Float[Array, "*axis"]) -> None:
        where = f"net.observe({name!r})"
        if name in USUAL or name in self.observed:
            raise ProgramError(f"{where}: a name that is not in use; in use are {[*USUAL, *self.observed]}")
        if len(dims) != jnp.ndim(value):
            raise ProgramError(
                f"{where}: a name for each axis of the value; {dims} are not those of {jnp.shape(value)}"
            )
        if "point" not in dims or jnp.shape(value)[dims.index("point")] != self.points:
            raise ProgramError(
                f'{where}: one of the axes is "point", of the length {self.points} here; {dims} has not, for a value '
                f"of the shape {jnp.shape(value)}"
            )
        self.observed[name] = tuple(dims)

    def _meet(self, population: str) -> None:
        if population not in self.populations:
            self.populations.append(population)

    def _sites(self, a: Float[Array, "*axis"], population: str, where: str) -> Sites:
        """Of an array (point, *site, neuron)."""
        if population not in self.populations:
            begun = ", ".join(self.populations) or "none so far"
            expected = f"a population that an input, a matrix or a vector leads to: {begun}"
            raise ProgramError(f"{where}: {population!r} is not {expected}")
        if jnp.ndim(a) < 2 or len(a) != self.points or a.shape[-1] != FEW:
            raise ProgramError(
                f"{where}: arrays have axes (point, site, neuron); this one has the shape {jnp.shape(a)}"
            )
        return tuple(a.shape[1:-1])

    def _again(self, known: dict[str, Any], new: Any, where: str) -> Any:
        """What is known under this name; the same name always stands for the same weights."""
        others = (self.inputs, self.matrices, self.vectors, self.readouts)
        if new.name not in known and any(new.name in each for each in others):
            raise ProgramError(f"{where}: {new.name!r} already names other weights")
        _check_numbers(new, where)
        before = known.get(new.name, new)
        names = [each.name for each in fields(new) if each.name not in ("calls", "uses")]
        other = [name for name in names if getattr(before, name) != getattr(new, name)]
        if other:
            expected = f"every use of a name has the same settings; {_words(new, other)} is not {_words(before, other)}"
            raise ProgramError(f"{where}: {expected}")
        return before


def _check_numbers(weights: Input | Matrix | Vector | Readout, where: str) -> None:
    """Raise ProgramError for numbers that are no standard deviations, or not finite."""
    for each in fields(weights):
        value = getattr(weights, each.name)
        if each.name in ("sigma", "bias") and not 0 <= value < math.inf:
            raise ProgramError(f"{where}: got {each.name} = {value}; expected a finite number of at least 0")
        if each.name in ("mean", "scale") and not math.isfinite(value):
            raise ProgramError(f"{where}: got {each.name} = {value}; expected a finite number")


def _words(weights: Any, names: list[str]) -> str:
    return ", ".join(f"{name} = {getattr(weights, name)}" for name in names)


def flat(a: Float[Array, "*rest neuron"], axes: int = 1) -> Float[Array, "*leading site neuron"]:
    """With all sites on one axis, behind `axes` others."""
    return a.reshape(*a.shape[:axes], math.prod(a.shape[axes:-1]), a.shape[-1])
