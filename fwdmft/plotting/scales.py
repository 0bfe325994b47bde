"""Axes that hide nothing: limits that hold what is drawn, marks for points beyond them, logarithms where they help."""

from __future__ import annotations

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter

LOG_FROM = 10.0
"""Ratio of the largest to the smallest value from which an axis is logarithmic."""

_FEW_DECADES = 300.0  # ratio up to which a logarithmic axis has room for labels at 1, 2 and 5 of each decade
_BEYOND = "beyond"  # gid of marks
_VISIBLE = 0.6  # least opacity of marks, for those of pale points


def drawn(axes: Axes) -> np.ndarray:
    """All finite numbers drawn as lines and points."""
    curves = [np.asarray(line.get_ydata(), float).ravel() for line in axes.get_lines()]
    values = np.concatenate([*curves, np.empty(0)])
    return values[np.isfinite(values)]


def from_zero(axes: Axes) -> None:
    """The vertical axis starts at zero, or below if something drawn is negative."""
    values = drawn(axes)
    if not values.size or values.min() >= 0:
        axes.set_ylim(bottom=0)


def logarithmic_if_wide(axes: Axes) -> None:
    """A logarithmic vertical axis if what is drawn is positive and spans decades."""
    values = drawn(axes)
    if not values.size or values.min() <= 0 or values.max() / values.min() <= LOG_FROM:
        return
    axes.set_yscale("log")
    if values.max() / values.min() < _FEW_DECADES:
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_major_formatter(FormatStrFormatter("%g"))
        axes.yaxis.set_minor_formatter(NullFormatter())


def limits(axes: Axes, *spans: tuple[np.ndarray, np.ndarray]) -> None:
    """The vertical axis holds the given (low, high) arrays with a margin; points beyond it are marked at its ends."""
    low = min(float(np.nanmin(below)) for below, _ in spans)
    high = max(float(np.nanmax(above)) for _, above in spans)
    margin = 0.08 * (high - low) or 1e-3
    low, high = low - margin, high + margin
    axes.set_ylim(low, high)
    for line in [line for line in axes.get_lines() if line.get_marker() == "o"]:
        x, y = (np.asarray(part, float) for part in line.get_data())
        for outside, end, marker in ((y > high, high, "^"), (y < low, low, "v")):
            if outside.any():
                marks = axes.plot(x[outside], np.full(outside.sum(), end), marker, color=line.get_color())
                marks[0].set(
                    markersize=5, alpha=max(line.get_alpha() or 1.0, _VISIBLE), clip_on=False, zorder=6, gid=_BEYOND
                )


def beyond_handles(panels: list[Axes]) -> list[Artist]:
    """Legend entry of points beyond an axis, if any panel has some."""
    if not any(line.get_gid() == _BEYOND for panel in panels for line in panel.get_lines()):
        return []
    return [Line2D([], [], color="0.4", marker="^", linestyle="none", markersize=5, label="beyond the axis")]
