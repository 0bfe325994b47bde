"""How well theory and networks agree: a row for each point and observable, as a Markdown table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import xarray as xr

import fwdmft

HEADINGS = ("mean", "N Var", "bias")
QUANTITIES = ("mean", "variance", "bias")


def markdown(trees: Mapping[str, xr.DataTree]) -> list[str]:
    """Lines of the table; none if no file holds both theory and networks.

    Cells: rms (largest) difference in standard errors, and rms difference over rms of the theory with that of the
    standard error in parentheses; mean and variance at the widest width, the bias fitted over all.
    """
    rows = [row for stem, tree in trees.items() for row in _rows(stem, tree)]
    if not rows:
        return []
    lines = ["| file, point | observable | " + " | ".join(HEADINGS) + " |", "|---|---|---|---|---|"]
    return lines + [f"| {' | '.join(row)} |" for row in rows]


def _rows(stem: str, tree: xr.DataTree) -> Iterator[list[str]]:
    numbers = fwdmft.agreement(tree)
    if not numbers.data_vars:
        return
    dims = [dim for dim in numbers.dims if dim not in ("width", "variable")]
    for index in np.ndindex(*(numbers.sizes[dim] for dim in dims)):
        here = numbers.isel(dict(zip(dims, index, strict=True)))
        values = [f"{name} {one.item()}" for name, one in here.coords.items() if not one.dims]
        for name in here["variable"].values:
            yield [", ".join([stem, *values]), name.replace("_", " "), *_cells(here.sel(variable=name))]


def _cells(numbers: xr.Dataset) -> Iterator[str]:
    for quantity in QUANTITIES:
        one = numbers[[f"{quantity}_{measure}" for measure in ("rms", "max", "relative_error")]]
        one = one.assign(error=numbers[f"{quantity}_relative_standard_error"])
        rms, largest, off, error = (part.isel(width=-1, missing_dims="ignore").item() for part in one.values())
        yield "-" if np.isnan(rms) else f"{rms:.2f} ({largest:.1f}), {off:.2%} ({error:.2%})"
