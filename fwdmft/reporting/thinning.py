"""Fewer times, points and outputs where all of them would make a page too large to send."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
import xarray as xr

from fwdmft.reporting.family import Curve, Family, arrays
from fwdmft.reporting.words import plural

MOST_VALUES = 450_000
"""Numbers a page holds if thinning can bring it there: 2.4 MB in base64."""

_LEAST = {"time": 8, "point": 4, "kernel_point": 4, "output": 1, "token": 3, "rank": 8}
"""What is thinned, in these proportions and to no less."""


def thinned(families: Sequence[Family], most: int = MOST_VALUES) -> list[Family]:
    """The families with at most `most` numbers together; what a small one does not need goes to the others."""
    share = dict.fromkeys(range(len(families)), 0)
    left = most
    for done, i in enumerate(sorted(share, key=lambda i: _count(families[i], {}))):
        share[i] = min(left // (len(families) - done), _count(families[i], {}))
        left -= share[i]
    return [_thinned(family, share[i]) for i, family in enumerate(families)]


def _thinned(family: Family, most: int) -> Family:
    labels = _labels(family)
    kept = {dim: len(known) for dim, known in labels.items()}
    while _count(family, kept) > most and any(kept[dim] > _LEAST[dim] for dim in kept):
        widest = max((dim for dim in kept if kept[dim] > _LEAST[dim]), key=lambda dim: kept[dim] / _LEAST[dim])
        kept[widest] -= 1
    chosen = {dim: _spread(known, kept[dim]) for dim, known in labels.items() if kept[dim] < len(known)}
    if not chosen:
        return family
    words = ", ".join(f"{len(some)} of {len(labels[dim])} {plural(dim)}" for dim, some in chosen.items())
    text = f"{family.text} Shown: {words}, evenly spread; the result file has all.".strip()
    return _selected(family, chosen)._replace(text=text)


def _labels(family: Family) -> dict[str, np.ndarray]:
    """Labels that all arrays with the dimension, or with its prime, have."""
    labels: dict[str, np.ndarray] = {}
    for array in arrays(family):
        for dim in map(str, array.dims):
            base = dim.removesuffix("_prime")
            if base in _LEAST:
                known = array[dim].values
                labels[base] = np.intersect1d(labels[base], known) if base in labels else known
    return labels


def _count(family: Family, kept: dict[str, int]) -> int:
    unique = {id(array): array for array in arrays(family)}
    return sum(
        prod(min(size, kept.get(str(dim).removesuffix("_prime"), size)) for dim, size in array.sizes.items())
        for array in unique.values()
    )


def _spread(labels: np.ndarray, count: int) -> np.ndarray:
    return labels[np.unique(np.linspace(0, len(labels) - 1, count).round().astype(int))]


def _selected(family: Family, chosen: dict[str, np.ndarray]) -> Family:
    def select(array: xr.DataArray) -> xr.DataArray:
        wanted = {dim: chosen[base] for dim in array.dims if (base := str(dim).removesuffix("_prime")) in chosen}
        return array.sel(wanted)

    def curve(one: Curve) -> Curve:
        return one._replace(value=select(one.value), error=None if one.error is None else select(one.error))

    measures = tuple(one._replace(curves=tuple(map(curve, one.curves))) for one in family.measures)
    return family._replace(measures=measures)
