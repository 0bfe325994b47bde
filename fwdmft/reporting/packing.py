"""Families as JSON: numbers in single precision, each array once, labels of its dimensions beside it."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from fwdmft.reporting.family import Curve, Family, Measure
from fwdmft.reporting.words import dimension, plural

PRECISION = np.dtype("<f4")
"""Seven digits: more than any figure shows."""


def packed(families: Sequence[Family]) -> dict[str, Any]:
    """{"families": ..., "arrays": ..., "labels": ..., "dimensions": ...} of what `assets/data.js` reads.

    An array is {"dims": names, "labels": keys, "shape": sizes, "values": base64 of little-endian float32, C order};
    labels has lists of numbers or text by key, dimensions and plurals a name in words for each dimension.
    """
    store = _Store()
    listed = [_family(family, store) for family in families]
    names = {dim: dimension(dim) for one in store.arrays for dim in one["dims"]}
    several = {dim: plural(dim) for dim in names}
    return {
        "families": listed,
        "arrays": store.arrays,
        "labels": store.labels,
        "dimensions": names,
        "plurals": several,
    }


class _Store:
    """Arrays and labels that are written once, however often they are used."""

    def __init__(self) -> None:
        self.arrays: list[dict[str, Any]] = []
        self.labels: list[list[Any]] = []
        self._known: dict[int, tuple[xr.DataArray, int]] = {}

    def add(self, array: xr.DataArray | None) -> int | None:
        """The number of an array; the array is kept, so that its identity stays its own."""
        if array is None:
            return None
        if id(array) not in self._known:
            dims = [str(dim) for dim in array.dims]
            values = np.ascontiguousarray(array.values, PRECISION)
            entry = {"dims": dims, "labels": [self._labels(array[dim].values) for dim in dims], "shape": values.shape}
            self.arrays.append({**entry, "values": b64encode(values.tobytes()).decode()})
            self._known[id(array)] = array, len(self.arrays) - 1
        return self._known[id(array)][1]

    def _labels(self, values: np.ndarray) -> int:
        listed = values.tolist()
        if listed not in self.labels:
            self.labels.append(listed)
        return self.labels.index(listed)


def _family(family: Family, store: _Store) -> dict[str, Any]:
    return family._asdict() | {"measures": [_measure(measure, store) for measure in family.measures]}


def _measure(measure: Measure, store: _Store) -> dict[str, Any]:
    return measure._asdict() | {"curves": [_curve(curve, store) for curve in measure.curves]}


def _curve(curve: Curve, store: _Store) -> dict[str, Any]:
    return curve._asdict() | {"value": store.add(curve.value), "error": store.add(curve.error)}
