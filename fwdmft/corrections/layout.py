"""Where the observables of draws are in flat arrays."""

import math
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from jaxtyping import Float

from fwdmft.corrections.sample_estimates import Flat, Pairs
from fwdmft.engine.layers import TWO_TIME_DIMS
from fwdmft.engine.simulation import STRENGTH


@dataclass(frozen=True)
class Layout:
    """Shapes of the observables, in the order of the flat arrays: (time, ...), and those named in `TWO_TIME_DIMS`."""

    shapes: dict[str, tuple[int, ...]]

    @property
    def slices(self) -> dict[str, slice]:
        ends = [0, *accumulate(map(math.prod, self.shapes.values()))]
        return dict(zip(self.shapes, map(slice, ends[:-1], ends[1:]), strict=True))

    @property
    def size(self) -> int:
        return sum(map(math.prod, self.shapes.values()))

    def split(self, flat: Float[np.ndarray, "*rest observable"]) -> dict[str, Float[np.ndarray, "..."]]:
        """By name, of flat arrays (..., observable)."""
        return {
            name: flat[..., where].reshape(*flat.shape[:-1], *self.shapes[name]) for name, where in self.slices.items()
        }

    def sizes(self, flat: Flat, ahead: int = 0) -> Flat:
        """Every entry (observable,) replaced by the root mean square of its observable's entries until its time.

        Entries of one observable have one unit. Later times do not count, as nothing depends on how training goes on.
        The time of a kernel between two times is the later one.
        ahead: so many times after its own count still.
        """
        sizes = []
        for name, values in self.split(flat).items():
            times = _time_axes(name)
            others = tuple(axis for axis in range(values.ndim) if axis not in times)
            squares = until = np.mean(values**2, axis=others)
            for axis in range(len(times)):
                until = np.cumsum(until, axis=axis)
            count = np.arange(len(until))
            until = until[(count,) * len(times)] / (count + 1) ** len(times)
            counted = np.minimum(np.max(np.indices(squares.shape), axis=0) + ahead, len(until) - 1)
            size = np.expand_dims(np.sqrt(until[counted]), others)
            sizes.append(np.broadcast_to(size, values.shape).ravel())
        return np.concatenate(sizes)

    @property
    def pairs(self) -> Pairs:
        """Outputs of one point at one time, then strengths of layers at one time, see `split_pairs`."""
        pairs = []
        for name, group in (("prediction", 2), (STRENGTH, 1)):
            if name in self.shapes:
                shape = self.shapes[name]
                rows = np.arange(int(np.prod(shape))).reshape(*shape[:group], -1) + self.slices[name].start
                i, j = np.broadcast_arrays(rows[..., :, None], rows[..., None, :])
                pairs.append((i.ravel(), j.ravel()))
        first, second = zip(*pairs, strict=True)
        return np.concatenate(first), np.concatenate(second)

    def split_pairs(
        self, flat: Float[np.ndarray, "*rest pair"]
    ) -> tuple[
        Float[np.ndarray, "*rest time point output output"],
        Float[np.ndarray, "*rest time kernel layer kernel layer"] | None,
    ]:
        """Values (..., pair) as (..., time, point, output, output) and (..., time, kernel, layer, kernel, layer)."""
        time, point, output = self.shapes["prediction"]
        size = time * point * output**2
        outputs = flat[..., :size].reshape(*flat.shape[:-1], time, point, output, output)
        if STRENGTH not in self.shapes:
            return outputs, None
        kernels_layers = self.shapes[STRENGTH][1:]
        return outputs, flat[..., size:].reshape(*flat.shape[:-1], time, *kernels_layers, *kernels_layers)

    def join(self, arrays: dict[str, Float[np.ndarray, "..."]]) -> Flat:
        return np.concatenate([np.ravel(arrays[name]) for name in self.shapes])


def _time_axes(name: str) -> tuple[int, ...]:
    """Axes of time of an observable: the first, or both of a kernel between two times."""
    dims = TWO_TIME_DIMS.get(name)
    return (0,) if dims is None else (dims.index("time"), dims.index("time_prime"))
