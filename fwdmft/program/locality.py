"""Whether neurons, and points, meet only through the operations of `Net`, which everything else relies on.

The program is run on random numbers for two points and two neurons, then with other numbers for one of them. What goes
into an operation for the other one may not change.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from fwdmft.meanfield.positions import POINT, Taps
from fwdmft.program.net import Features, Forward, Net
from fwdmft.program.structure import FEW, Counter, ProgramError, called

POINTS = 2


def check_locality(forward: Forward, shape: tuple[int, ...], outputs: int) -> None:
    """Of a program that has a structure. shape: of x of a single point. Raises ProgramError naming the operation."""
    x = np.random.default_rng(0).standard_normal((POINTS, *shape))
    base = _run(forward, x, outputs)
    for changed, kept in ((0, 1), (1, 0)):
        for (where, a), (_, b) in zip(base.into, _run(forward, x, outputs, base, neuron=changed).into, strict=True):
            if not np.array_equal(a[..., kept], b[..., kept], equal_nan=True):
                raise ProgramError(
                    f"{where}: what goes in here mixes neurons; outside of net.average and net.dense, arrays are "
                    "computed neuron by neuron: no sums, means or products of matrices over their last axis"
                )
        other = x.copy()
        other[changed] = np.random.default_rng(1).standard_normal(shape)
        for (where, a), (_, b) in zip(base.into, _run(forward, other, outputs, point=changed).into, strict=True):
            if not np.array_equal(a[kept], b[kept], equal_nan=True):
                raise ProgramError(
                    f"{where}: what goes in here mixes points; arrays are computed point by point: nothing is summed "
                    "or averaged over their first axis"
                )


def _run(forward: Forward, x: Any, outputs: int, usual: "_Random | None" = None, **changed: int) -> "_Random":
    reading = _Random(outputs, None if usual is None else usual.averages, **changed)
    called(forward, reading, x)
    return reading


class _Random(Net):
    """Random numbers for whatever comes from weights.

    replayed: values of averages. neuron, point: whose numbers are others than usual.
    """

    def __init__(self, outputs: int, replayed: list[Array] | None, neuron: int | None = None, point: int | None = None):
        self.outputs, self.replayed, self.neuron, self.point = outputs, replayed, neuron, point
        self.counter = Counter()
        self.into: list[tuple[str, np.ndarray]] = []
        self.averages: list[Array] = []

    def _numbers(self, *sites: int) -> Array:
        seed = self.counter.next("numbers")
        a, b = (np.random.default_rng((seed, which)).standard_normal((POINTS, *sites, FEW)) for which in (0, 1))
        if self.neuron is not None:
            a[..., self.neuron] = b[..., self.neuron]
        if self.point is not None:
            a[self.point] = b[self.point]
        return jnp.asarray(a)

    def _goes_in(self, where: str, a: Any) -> None:
        self.into.append((where, np.asarray(a)))

    def input(self, name: str, population: str, x: Array, **_: Any) -> Array:
        self._goes_in(f"net.input({name!r})", jnp.stack([x] * FEW, axis=-1))
        return self._numbers(*x.shape[1:-1])

    def dense(self, name: str, source: str, target: str, v: Array, *, taps: Taps = POINT, **_: Any) -> Array:
        self._goes_in(f"net.dense({name!r})", v)
        sites = v.shape[1:-1]
        return self._numbers(*(sites if taps == POINT else (*sites[:-1], taps.places)))

    def vector(
        self,
        name: str,
        population: str,
        shape: tuple[int, ...] = (),
        *,
        mean: float = 0.0,
        sigma: float = 1.0,
        scale: float = 1.0,
        **_: Any,
    ) -> Array:
        seed = self.counter.next("numbers")
        a, b = (np.random.default_rng((seed, which)).standard_normal((1, *shape, FEW)) for which in (0, 1))
        if self.neuron is not None:
            a[..., self.neuron] = b[..., self.neuron]
        return jnp.broadcast_to(jnp.asarray(scale * (mean + sigma * a)), (POINTS, *shape, FEW))

    def average(self, population: str, o: Array) -> Array:
        self._goes_in(f"net.average({population!r})", o)
        # A single one of many neurons does not move an average.
        value = jnp.mean(o, axis=-1) if self.replayed is None else self.replayed[len(self.averages)]
        self.averages.append(value)
        return value

    def layer(self, population: str, h: Array, features: Features) -> tuple[Array, Array]:
        self._goes_in(f"net.layer({population!r})", h)
        v = features(h)
        self._goes_in(f"net.layer({population!r}), features", v)
        return h, v

    def readout(self, name: str, population: str, v: Array, **_: Any) -> Array:
        self._goes_in(f"net.readout({name!r})", v)
        return jnp.zeros((len(v), self.outputs))

    def observe(self, name: str, dims: tuple[str, ...], value: Array) -> None:
        pass
