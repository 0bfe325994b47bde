"""What a page shows of one quantity: measures (its value, N Var, its shift, ...), each with curves of both sides."""

from __future__ import annotations

from typing import NamedTuple

import xarray as xr


class Curve(NamedTuple):
    """One side of a measure, over all its dimensions; error: one standard error, of the same dimensions, or None.

    look: how it is drawn, theory (dashed), networks (solid with markers and bars), or averaged (dotted).
    """

    name: str
    look: str
    value: xr.DataArray
    error: xr.DataArray | None = None


class Measure(NamedTuple):
    """What can be drawn in one pair of axes. axis: label of the vertical one. decades: whether it is logarithmic."""

    name: str
    axis: str
    curves: tuple[Curve, ...]
    decades: bool = False


class Family(NamedTuple):
    """The measures of one quantity, between which a page switches.

    short: its name in the list of figures. across: the dimension along the horizontal axis at first. pairs: pairs of
    dimensions that span a matrix. curves: whether there is a figure of curves besides that of matrices.
    """

    key: str
    title: str
    short: str
    text: str
    measures: tuple[Measure, ...]
    across: str = "time"
    pairs: tuple[tuple[str, str], ...] = ()
    curves: bool = True


def arrays(family: Family) -> list[xr.DataArray]:
    """All arrays of a family."""
    every = [each for measure in family.measures for curve in measure.curves for each in (curve.value, curve.error)]
    return [each for each in every if each is not None]


def pairs_in(measures: tuple[Measure, ...]) -> tuple[tuple[str, str], ...]:
    """Pairs of dimensions d, d_prime of more than one entry, times first, outputs and kinds of kernels last."""
    sizes: dict[str, int] = {}
    for measure in measures:
        for curve in measure.curves:
            sizes |= {str(dim): size for dim, size in curve.value.sizes.items()}
    pairs = [(dim, f"{dim}_prime") for dim in sizes if sizes.get(f"{dim}_prime", 0) > 1 and sizes[dim] > 1]
    return tuple(sorted(pairs, key=lambda pair: (pair[0] != "time", pair[0] in ("output", "kernel"))))
