"""One array over all points of a sweep, read from their files when it is indexed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from xarray.backends import BackendArray
from xarray.backends.locks import HDF5_LOCK, NETCDFC_LOCK, combine_locks
from xarray.core import indexing

from fwdmft.results.files import opened

_LOCK = combine_locks([HDF5_LOCK, NETCDFC_LOCK])  # the libraries below are not safe between threads
Index = tuple[int, ...]


@dataclass(frozen=True)
class Part:
    """A variable of one result file, and where it goes.

    places: for each of its dimensions, the position in the file of each position in the combined array, or -1 where
    the file has nothing.
    """

    path: Path
    group: str
    name: str
    places: tuple[np.ndarray, ...]

    def read(self, wanted: tuple[np.ndarray, ...], into: np.ndarray) -> None:
        """Put the values at the `wanted` positions of the combined array, those the file has, into an array."""
        positions = [places[chosen] for places, chosen in zip(self.places, wanted, strict=True)]
        there = [np.flatnonzero(position >= 0) for position in positions]
        if all(map(len, there)):
            own = [at[has] for at, has in zip(positions, there, strict=True)]
            into[np.ix_(*there)] = self._box(own)[np.ix_(*(at - at.min() for at in own))]

    def _box(self, positions: list[np.ndarray]) -> np.ndarray:
        """The smallest block of the file's array that holds these positions along its dimensions."""
        box = tuple(slice(int(at.min()), int(at.max()) + 1) for at in positions)
        with _LOCK, opened(self.path) as file:
            return np.asarray(file[self.group][self.name][box or ...])


class Stacked(BackendArray):
    """The parts of a sweep as one array (*axes, *dimensions of the variable), NaN (or "") where there is none.

    Every indexing reads the files of the points it touches, and nothing else; nothing is kept.
    """

    def __init__(self, parts: Mapping[Index, Part], axes: tuple[int, ...], inner: tuple[int, ...], dtype: np.dtype):
        self.parts, self.axes = parts, axes
        self.shape = axes + inner
        self.dtype = dtype

    def __getitem__(self, key: indexing.ExplicitIndexer) -> np.ndarray:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.OUTER, self._outer)

    def _outer(self, key: tuple[int | slice | np.ndarray, ...]) -> np.ndarray:
        chosen = [np.atleast_1d(np.arange(size)[one]) for size, one in zip(self.shape, key, strict=True)]
        lengths = [len(positions) for positions in chosen]
        values = np.full(lengths, "" if self.dtype.kind == "O" else np.nan, self.dtype)
        points, inner = chosen[: len(self.axes)], tuple(chosen[len(self.axes) :])
        for target in np.ndindex(*lengths[: len(points)]):
            part = self.parts.get(tuple(int(positions[at]) for positions, at in zip(points, target, strict=True)))
            if part is not None and values.size:
                # The ellipsis makes it a view even of a single value, so that what is read lands in the whole.
                where: tuple[Any, ...] = (*target, Ellipsis)
                part.read(inner, values[where])
        return values[tuple(0 if isinstance(one, int | np.integer) else slice(None) for one in key)]
