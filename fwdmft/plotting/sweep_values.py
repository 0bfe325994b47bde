"""A sweep at its last time: f, K and their N Var against the swept field, theory over networks of each width."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from fwdmft.plotting import style
from fwdmft.plotting.sweep_panels import Cell, Line, cells

_LOGARITHMIC = 8.0  # values that span at least this ratio


@style.styled
def sweep_values_figure(tree: xr.DataTree, line: Line) -> Figure | None:
    """Last values of every point of the sweep; words are spread evenly along the axis."""
    grid = cells(tree, line)
    if grid is None:
        return None
    figure, panels = grid
    for cell in panels:
        _draw(cell, line)
        _axis(cell.axes, line)
    style.legend_below(figure, _handles(line), columns=5)
    return figure


def places(line: Line) -> np.ndarray:
    """Where the values stand along the axis."""
    return line.values if line.values.dtype.kind in "iuf" else np.arange(len(line.values))


def _axis(axes: Axes, line: Line) -> None:
    at = places(line)
    axes.set_xlabel(line.label)
    if at is not line.values:
        axes.set_xticks(at, [str(value) for value in line.values])
    elif at.min() > 0 and at.max() / at.min() >= _LOGARITHMIC:
        axes.set_xscale("log")
        axes.set_xticks(at, [f"{value:g}" for value in at])
        axes.xaxis.set_minor_formatter(NullFormatter())


def _draw(cell: Cell, line: Line) -> None:
    theory, networks, at = cell.theory(line), cell.networks(line), places(line)
    if networks is not None:
        for place, (width, color) in enumerate(style.width_colors(networks.value.width.values).items()):
            value, error = (last(part[:, place]) for part in networks)
            cell.axes.errorbar(at, value, error, fmt="o", markersize=4, capsize=2, color=color, label=str(width))
    if theory is not None:
        value, error = map(last, theory)
        cell.axes.plot(at, value, **style.THEORY)
        cell.axes.fill_between(at, value - 2 * error, value + 2 * error, **style.BAND)
    if cell.role == "variance":
        cell.axes.set_ylim(bottom=0)


def last(values: xr.DataArray) -> np.ndarray:
    """The last finite value along the last dimension, NaN where there is none: points may differ in steps."""
    array = values.values
    known = np.isfinite(array)
    place = array.shape[-1] - 1 - known[..., ::-1].argmax(-1)
    return np.take_along_axis(array, place[..., None], -1)[..., 0]


def _handles(line: Line) -> list[Artist]:
    handles: list[Artist] = []
    if line.theory is not None:
        handles += [style.theory_handle("theory"), style.band_handle(r"$\pm 2$ s.e. of the theory")]
    if line.ensemble is not None:
        text = r"networks, $N = {}$ ($\pm$ s.e.)"
        handles += style.width_handles(line.ensemble.width.values, text, marker="o", markersize=4, linewidth=1)
    return handles
