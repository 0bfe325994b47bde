"""What tests of figures ask: that a figure was drawn, and that one of its lines is the data."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure

from fwdmft.plotting import FIGURES


def draw(name: str, tree: xr.DataTree) -> Figure:
    figure = FIGURES[name](tree)
    assert figure is not None
    return figure


def curves(axes: Axes) -> list[np.ndarray]:
    return [np.asarray(line.get_ydata(), float) for line in axes.get_lines()]


def has_curve(axes: Axes, values: xr.DataArray | np.ndarray) -> bool:
    wanted = np.asarray(values)
    return any(curve.shape == wanted.shape and np.allclose(curve, wanted) for curve in curves(axes))


def half_bars(axes: Axes) -> list[np.ndarray]:
    """Half the length of the error bars of each set of points."""
    sets = [one[2][0].get_segments() for one in axes.containers if isinstance(one, ErrorbarContainer)]
    return [np.array([np.ptp(segment[:, 1]) / 2 for segment in segments]) for segments in sets]
