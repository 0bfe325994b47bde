"""Alignment of K and Phi^l with the targets against time: how kernels turn towards the task."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fwdmft.plotting import style
from fwdmft.plotting.grid import Panel
from fwdmft.plotting.layer_grid import depth_of, halves, has, layer_grid


@style.styled
def alignment_figure(tree: xr.DataTree) -> Figure | None:
    """K and a column for each layer; of networks, the alignment of their mean kernel."""
    theory, ensemble, names = halves(tree, "alignment")
    if not names:
        return None
    figure, panels = layer_grid(names, depth_of(theory, ensemble), "alignment $A$ with targets")
    for panel in panels:
        _draw(panel, theory, ensemble)
    _one_scale([panel.axes for panel in panels])
    style.legend_below(figure, _handles(theory, ensemble), columns=5, entry=1.5)
    return figure


def _draw(panel: Panel, theory: xr.Dataset | None, ensemble: xr.Dataset | None) -> None:
    variable = f"{panel.name}_alignment"
    if ensemble is not None and has(ensemble, variable):
        for width, color in style.width_colors(ensemble.width.values).items():
            one = panel.entry.of(ensemble[variable].sel(width=width))
            panel.axes.plot(one.time, one, color=color, linewidth=3, alpha=0.6, zorder=2)
    if theory is not None and has(theory, variable):
        panel.axes.plot(theory.time, panel.entry.of(theory[variable]), **style.THEORY)


def _one_scale(axes: Sequence[Axes]) -> None:
    """All panels from zero (or below, if an alignment is negative) to above the largest alignment."""
    low, high = np.transpose([one.get_ylim() for one in axes])
    for one in axes:
        one.set_ylim(min(low.min(), 0), 1.08 * high.max())


def _handles(theory: xr.Dataset | None, ensemble: xr.Dataset | None) -> list[Artist]:
    handles: list[Artist] = [] if theory is None else [style.theory_handle("theory")]
    if ensemble is not None:
        handles += style.width_handles(ensemble.width.values, linewidth=3, alpha=0.6)
    return handles
