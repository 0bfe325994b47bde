"""A sweep at its last time: f, K and their N Var against the swept field, theory over networks of each width."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from fwdmft.plotting import errors, scales, style
from fwdmft.plotting.sweep_panels import Cell, Line, cells

_APART = 0.08  # of widths side by side at one word
_LOGARITHMIC = 8.0  # values that span at least this ratio


@style.styled
def sweep_values_figure(tree: xr.DataTree, line: Line) -> Figure | None:
    """Last values of every point of the sweep; words are spread evenly along the axis, with nothing between them."""
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
    return line.values if _is_numeric(line) else np.arange(len(line.values))


def _is_numeric(line: Line) -> bool:
    return line.values.dtype.kind in "iuf"


def _axis(axes: Axes, line: Line) -> None:
    at = places(line)
    axes.set_xlabel(line.label)
    if not _is_numeric(line):
        axes.set_xticks(at, [str(value) for value in line.values])
        axes.set_xlim(-0.5, len(at) - 0.5)
    elif at.min() > 0 and at.max() / at.min() >= _LOGARITHMIC:
        axes.set_xscale("log")
        axes.set_xticks(at, [f"{value:g}" for value in at])
        axes.xaxis.set_minor_formatter(NullFormatter())


def _draw(cell: Cell, line: Line) -> None:
    theory, networks, at = cell.theory(line), cell.networks(line), places(line)
    if networks is not None:
        colors = style.width_colors(networks.value.width.values)
        apart = 0.0 if _is_numeric(line) else _APART
        for place, (width, color) in enumerate(colors.items()):
            value, error = (last(part[:, place]) for part in networks)
            beside = at + apart * (place - (len(colors) - 1) / 2)
            errors.bars(cell.axes, beside, value, error, markersize=4, color=color, zorder=6, label=str(width))
    if theory is not None:
        value, error = map(last, theory)
        if _is_numeric(line):
            cell.axes.plot(at, value, marker=".", **style.THEORY)
            errors.band(cell.axes, at, value, error)
        else:
            errors.dashes(cell.axes, at, value, error)
    if cell.role == "variance":
        scales.from_zero(cell.axes)


def last(values: xr.DataArray) -> np.ndarray:
    """The last finite value along the last dimension, NaN where there is none: points may differ in steps."""
    array = values.values
    known = np.isfinite(array)
    place = array.shape[-1] - 1 - known[..., ::-1].argmax(-1)
    return np.take_along_axis(array, place[..., None], -1)[..., 0]


def _handles(line: Line) -> list[Artist]:
    handles: list[Artist] = []
    if line.theory is not None:
        named = style.theory_handle if _is_numeric(line) else errors.dash_handle
        handles += [named("theory"), errors.band_handle()]
    if line.ensemble is not None:
        handles += errors.network_handles(line.ensemble.width.values, markersize=4)
    return handles
