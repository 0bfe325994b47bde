"""Whether neurons, and points, meet only through the operations of `Net`, which everything else relies on.

The program is run on random numbers for two points and two neurons, then with other numbers for one of them. What goes
into an operation for the other one may not change, nor may it when that one is alone. What inputs are made of may not
change with any weights. Before that its shapes are followed with another number of neurons in every population, which
tells these apart.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Shaped

from fwdmft.program.declared import Input, Matrix, Readout, Vector
from fwdmft.program.net import Features, Forward, Net, OfLayer, OfNeurons, OfTarget, Read
from fwdmft.program.structure import FEW, ProgramError, called, is_of_tracing

POINTS = 2

ROUNDED = 1e-5
"""Of the largest entry: rounding, as XLA computes arrays of other shapes otherwise."""

OF_WEIGHTS = (
    "x depends on weights here, and is made of the points alone. K order parameters enter a population as "
    "net.vector(name, population, (K,)) times them, features of neurons by net.dense"
)
MIXES_NEURONS = (
    "what goes in here mixes neurons; outside of net.average and net.dense, arrays are computed neuron by neuron: no "
    "sums, means or products of matrices over their last axis"
)
MIXES_POINTS = (
    "what goes in here mixes points; arrays are computed point by point: nothing is summed or averaged over their "
    "first axis"
)
DEPENDS_ON_OTHERS = (
    "what goes in here depends on how many points or neurons there are, or on their order; networks are shown one "
    "point at a time, and neurons have no order"
)

Entries = Shaped[np.ndarray, "..."]
Seen = list[tuple[str, Entries]]
"""What went into operations, in their order; neurons are on the last axis."""


def check_locality(forward: Forward, shape: tuple[int, ...], outputs: int) -> None:
    """Of a program that has a structure. shape: of x of a single point. Raises ProgramError naming the operation."""
    x = np.random.default_rng(0).standard_normal((POINTS, *shape))
    with jax.enable_x64(True):
        _check_populations(forward, x, outputs)
        base = _run(forward, x, _Random(outputs))
        _compare(base.read, _run(forward, x, _Random(outputs, seed=1)).read, OF_WEIGHTS)
        for changed, kept in ((0, 1), (1, 0)):
            other = _run(forward, x, _Random(outputs, base.averages, neuron=changed))
            _compare(base.into, other.into, MIXES_NEURONS, at=(..., kept))
            others = x.copy()
            others[changed] = np.random.default_rng(1).standard_normal(shape)
            other = _run(forward, others, _Random(outputs, point=changed))
            _compare(base.into, other.into, MIXES_POINTS, at=kept)
        alone = _run(forward, x[1:], _Random(outputs, [a[1:] for a in base.averages], alone=True))
        second = [(where, a[1:, ..., 1:]) for where, a in base.into]
        _compare(second, alone.into, DEPENDS_ON_OTHERS, rounded=True)


def _check_populations(forward: Forward, x: Float[np.ndarray, "point ..."], outputs: int) -> None:
    """Without numbers, and with another number of neurons in every population."""
    try:
        jax.eval_shape(lambda x: called(forward, _Random(outputs, distinct=True), x), x)
    except ProgramError as error:
        if is_of_tracing(error.__cause__):
            raise
        # Its structure was found with as many neurons in each population, so that is what fails.
        raise ProgramError(
            "neurons of different populations are added, multiplied or confused; what is computed neuron by neuron "
            f"belongs to one population, and net.dense leads to another one. With other numbers of neurons: {error}"
        ) from None


def _run(forward: Forward, x: Any, reading: "_Random") -> "_Random":
    called(forward, reading, x)
    return reading


def _compare(before: Seen, after: Seen, wrong: str, at: Any = ..., rounded: bool = False) -> None:
    """Raise ProgramError, saying what is wrong, where other numbers go into an operation in the second run.

    at: which of them are compared. rounded: whether they may differ by rounding.
    """
    if [where for where, _ in before] != [where for where, _ in after]:
        raise ProgramError("a forward program calls the same operations for any points, and for any number of them")
    for (where, a), (_, b) in zip(before, after, strict=True):
        if not (_nearly_equal(a, b) if rounded else np.array_equal(a[at], b[at], equal_nan=True)):
            raise ProgramError(f"{where}: {wrong}")


def _nearly_equal(a: Entries, b: Entries) -> bool:
    largest = np.max(np.abs(a), initial=0.0, where=np.isfinite(a))
    return a.shape == b.shape and np.allclose(a, b, rtol=0.0, atol=ROUNDED * largest, equal_nan=True)


@dataclass
class _Random(Net):
    """Random numbers for whatever comes from weights.

    replayed: values of averages. neuron, point: whose numbers are others than usual. alone: the second neuron and the
    second point are the only ones. seed: of the numbers. distinct: populations differ in their numbers of neurons, and
    nothing is recorded. What it sees: into, what goes into every operation; read, into inputs alone.
    """

    outputs: int
    replayed: list[Float[Array, "point ..."]] | None = None
    neuron: int | None = None
    point: int | None = None
    alone: bool = False
    seed: int = 0
    distinct: bool = False
    into: Seen = field(default_factory=list)
    read: Seen = field(default_factory=list)
    averages: list[Float[Array, "point ..."]] = field(default_factory=list)
    sizes: dict[str, int] = field(default_factory=dict)
    drawn: Iterator[int] = field(default_factory=count)

    @property
    def first(self) -> int:
        """The first neuron, and the first point."""
        return int(self.alone)

    def _neurons(self, population: str) -> int:
        return self.sizes.setdefault(population, FEW + (len(self.sizes) if self.distinct else 0))

    def _numbers(self, population: str, *sites: int) -> Float[Array, "point *site neuron"]:
        a, b = self._drawn(population, POINTS, *sites)
        if self.point is not None:
            a[self.point] = b[self.point]
        return jnp.asarray(a[self.first :])

    def _drawn(
        self, population: str, *axes: int
    ) -> tuple[Float[np.ndarray, "*axis neuron"], Float[np.ndarray, "*axis neuron"]]:
        """Numbers (*axes, neuron), and other ones, which the changed neuron has already."""
        shape, number = (*axes, self._neurons(population)), next(self.drawn)
        a, b = (np.random.default_rng((number, which)).standard_normal(shape) for which in (2 * self.seed, 1))
        if self.neuron is not None:
            a[..., self.neuron] = b[..., self.neuron]
        return a[..., self.first :], b[..., self.first :]

    def _goes_in(self, where: str, a: Any, population: str) -> None:
        if not self.distinct:
            self.into.append((where, np.asarray(a)))
        elif jnp.shape(a)[-1] != self.sizes[population]:
            same_size = [name for name, size in self.sizes.items() if size == jnp.shape(a)[-1]]
            raise ProgramError(
                f"{where}: got neurons of {same_size or 'no population'}; expected those of {population!r}"
            )

    def _of_points(self, where: str, a: Any) -> None:
        """What has no axis of neurons."""
        if not self.distinct:
            self.into.append((where, np.stack([np.asarray(a)] * (FEW - self.first), axis=-1)))

    def _input(self, weights: Input, x: Read) -> OfNeurons:
        self._of_points(f"net.input({weights.name!r})", x)
        self.read += self.into[-1:]
        return self._numbers(weights.population, *x.shape[1:-1])

    def _dense(self, matrix: Matrix, v: OfNeurons) -> OfTarget:
        self._goes_in(f"net.dense({matrix.name!r})", v, matrix.source)
        return self._numbers(matrix.target, *matrix.places(v.shape[1:-1]))

    def _vector(self, vector: Vector) -> Float[Array, "point *shape neuron"]:
        a, _ = self._drawn(vector.population, 1, *vector.shape)
        values = jnp.asarray(vector.scale * (vector.mean + vector.sigma * a))
        return jnp.broadcast_to(values, (POINTS - self.first, *a.shape[1:]))

    def average(self, population: str, o: OfNeurons) -> Float[Array, "point *site"]:
        self._goes_in(f"net.average({population!r})", o, population)
        # A single one of many neurons does not move an average.
        value = jnp.mean(o, axis=-1) if self.replayed is None else self.replayed[len(self.averages)]
        self.averages.append(value)
        return value

    def layer(self, population: str, h: OfNeurons, features: Features) -> OfLayer:
        self._goes_in(f"net.layer({population!r})", h, population)
        v = features(h)
        self._goes_in(f"net.layer({population!r}), features", v, population)
        return h, v

    def _readout(self, readout: Readout, v: OfNeurons) -> Float[Array, "point output"]:
        self._goes_in(f"net.readout({readout.name!r})", v, readout.population)
        return jnp.zeros((len(v), self.outputs))

    def observe(self, name: str, dims: tuple[str, ...], value: Float[Array, "*axis"]) -> None:
        self._of_points(f"net.observe({name!r})", jnp.moveaxis(value, dims.index("point"), 0))
