"""A sweep in time: f, K and their N Var, a curve for every value of the swept field."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fwdmft.plotting import errors, scales, style
from fwdmft.plotting.sweep_panels import Cell, Line, cells

NETWORKS: dict[str, Any] = {"linewidth": 3, "alpha": 0.6, "zorder": 2}


@style.styled
def sweep_in_time_figure(tree: xr.DataTree, line: Line) -> Figure | None:
    """The widest networks in colour, theory dashed black over them; theory alone takes the colours."""
    grid = cells(tree, line)
    if grid is None:
        return None
    figure, panels = grid
    for cell in panels:
        draw(cell, line)
        style.time_axis(cell.axes)
    style.legend_below(figure, _handles(line), columns=6, entry=1.6)
    return figure


def draw(cell: Cell, line: Line) -> None:
    """One panel: a curve for every value."""
    theory, networks = cell.theory(line), cell.networks(line)
    colors = style.shades(len(line.values))
    for place, color in enumerate(colors):
        if networks is not None:
            value, error = (part[place, -1] for part in networks)
            kept = np.isfinite(value.values)
            time, middle, spread = value.time[kept], value.values[kept], error.values[kept]
            cell.axes.plot(time, middle, color=color, **NETWORKS)
            errors.band(cell.axes, time, middle, spread, color=color, alpha=0.25, zorder=1)
        if theory is not None:
            value, error = (part[place] for part in theory)
            look = style.THEORY if networks is not None else {**style.THEORY, "color": color}
            cell.axes.plot(value.time, value, **look)
            errors.band(cell.axes, value.time, value, error)
    if cell.role == "variance":
        scales.from_zero(cell.axes)


def _handles(line: Line) -> list[Artist]:
    symbol = line.label.rsplit(" ", 1)[-1] if "$" in line.label else line.label
    colors = style.shades(len(line.values))
    handles: list[Artist] = []
    if line.theory is not None:
        handles += [style.theory_handle("theory"), errors.band_handle()]
    if line.ensemble is not None:
        width = int(line.ensemble.width.values[-1])
        handles.append(Line2D([], [], color="0.5", linewidth=3, alpha=0.6, label=errors.NETWORKS.format(width)))
    for value, color in zip(line.values.tolist(), colors, strict=True):
        handles.append(Line2D([], [], color=color, linewidth=3, label=f"{symbol} = {_short(value)}"))
    return handles


def _short(value: object) -> str:
    return f"{value:g}" if isinstance(value, int | float) else str(value)
