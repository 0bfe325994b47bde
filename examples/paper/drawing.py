"""The look of all entries: networks in colour, theory dashed black over them; and what several entries draw."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fwdmft.plotting import SWEEP_FIGURES, heading, style
from fwdmft.plotting.sweep_panels import lines

NETWORKS: dict[str, Any] = {"linewidth": 3, "alpha": 0.6, "zorder": 2}
POINTS: dict[str, Any] = {"fmt": "o", "markersize": 4, "capsize": 2, "linewidth": 1, "zorder": 3}
SECOND: dict[str, Any] = {"color": "#D55E00", "linestyle": ":", "linewidth": 1.5, "zorder": 6}
GAMMA0 = r"$\gamma_0$"
THEORY = (style.theory_handle("theory"),)


def headed(figure: Figure, tree: xr.DataTree) -> Figure:
    """The figure with the heading that fwdmft's own have: experiment, gamma0, learning rate and widths."""
    along = lines(tree) if "sweep_dimensions" in tree.attrs else iter(())
    heading.headed(lambda tree, *line: figure)(tree, *islice(along, 1))
    return figure


def in_time(tree: xr.DataTree) -> Figure:
    """A sweep along its first field: f, K and their N Var against time."""
    figure = SWEEP_FIGURES["in_time"](tree, next(lines(tree)))
    assert figure is not None
    return figure


def labelled(axes: Axes, x: str, y: str, title: str = "", **settings: Any) -> None:
    """Labels of a panel; settings as of `Axes.set`."""
    axes.set(xlabel=x, ylabel=y, title=title, **settings)


def legend(figure: Figure, values: Iterable[Any], symbol: str, lines: Sequence[Line2D] = (), columns: int = 6) -> None:
    """The `lines`, and a colour for each value."""
    values = list(values)
    colors = style.shades(len(values))
    shown = [Line2D([], [], color=c, **NETWORKS, label=f"{symbol} = {v}") for v, c in zip(values, colors, strict=True)]
    style.legend_below(figure, [*lines, *shown], columns=columns, entry=1.5)


def second_handle(text: str, **style: Any) -> Line2D:
    """Legend entry of the line that is compared with theory; style: what differs from `SECOND`."""
    return Line2D([], [], **SECOND | style, label=text)


def diagonal(kernel: xr.DataArray) -> xr.DataArray:
    """K of the first point with itself."""
    first = {"point": 0, "point_prime": 0, "output": 0, "output_prime": 0}
    return kernel.isel(first, missing_dims="ignore").load()


def largest(difference: np.ndarray, scale: np.ndarray) -> str:
    """Largest difference in percent of the largest size."""
    return f"{np.nanmax(abs(difference)) / np.nanmax(abs(scale)):.2%}"
