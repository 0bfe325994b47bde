"""What variance and bias share: f above K, a few entries side by side, networks as points with error bars."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fwdmft.plotting import errors, style
from fwdmft.plotting.entries import Entry, output_count, pair_entries, point_entries, some_times
from fwdmft.results.comparison import Estimate

SYMBOLS = {"prediction": "f", "tangent_kernel": "K"}
_COLUMNS = 3


class Panel:
    """One panel of the grid: where to draw, and which entry of which observable."""

    def __init__(self, axes: Axes, name: str, entry: Entry) -> None:
        self.axes, self.name, self.entry = axes, name, entry


def entry_grid(tree: xr.DataTree, names: Sequence[str], label: str) -> tuple[Figure, list[Panel]]:
    """A row of panels for each observable; `label` is the vertical axis with {} in place of the symbol."""
    figure, axes = style.panels(len(names), _COLUMNS, size=(3.4, 2.6), sharex=True)
    drawn = [panel for row, name in zip(axes, names, strict=True) for panel in _row(tree, row, name)]
    for row, name in zip(axes, names, strict=True):
        row[0].set_ylabel(label.format(SYMBOLS[name]))
    for panel in axes[-1]:
        style.time_axis(panel)
    return figure, drawn


def _row(tree: xr.DataTree, row: np.ndarray, name: str) -> Iterator[Panel]:
    entries = list(_entries(tree, name))
    for axes, entry in zip(row, entries, strict=False):
        axes.set_title(f"${SYMBOLS[name]}$: {entry.title}")
        yield Panel(axes, name, entry)
    for unused in row[len(entries) :]:
        unused.set_visible(False)


def _entries(tree: xr.DataTree, name: str) -> Iterator[Entry]:
    """Column j shows output j (modulo their number), so that several outputs are all seen."""
    for column in range(_COLUMNS):
        output = column % output_count(tree)
        points = name == "prediction"
        choice = point_entries(tree, 2, output) if points else pair_entries(tree, output)
        if column < len(choice):
            yield choice[column]


def draw_networks(panel: Panel, measured: Estimate, fade: bool = False) -> None:
    """Points with error bars at a few times, different for each width.

    `fade` draws widths paler the larger their errors are against those of the best resolved width.
    """
    colors = style.width_colors(measured.value.width.values)
    typical = panel.entry.of(measured.error).mean("time")
    for position, (width, color) in enumerate(colors.items()):
        kept = some_times(measured.value.sizes["time"], shift=position / len(colors))
        value = panel.entry.of(measured.value.sel(width=width)).isel(time=kept)
        error = panel.entry.of(measured.error.sel(width=width)).isel(time=kept)
        alpha = _paleness(typical, width) if fade else 1.0
        look: dict[str, Any] = {"markersize": 3, "capsize": 1.5}
        errors.bars(panel.axes, value.time, value, error, color=color, alpha=alpha, zorder=2 + alpha, **look)


def _paleness(typical: xr.DataArray, width: int) -> float:
    """Opacity from 0.15 to 1: the smallest typical error over that of this width."""
    error = float(typical.sel(width=width))
    return 1.0 if error == 0 else max(0.15, float(typical.min()) / error)


def draw_theory(panel: Panel, value: xr.DataArray, error: xr.DataArray | None) -> None:
    """A dashed black line in the band of its Monte-Carlo error."""
    middle = panel.entry.of(value).values
    panel.axes.plot(value.time, middle, **style.THEORY)
    if error is not None:
        errors.band(panel.axes, value.time, middle, panel.entry.of(error))
