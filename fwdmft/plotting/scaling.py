"""The 1/N law: mean squared deviation E|q_N - q|^2 against N, the theory's Sigma/N, and the fitted slope.

A line through two points is no fit, so there is a slope from three widths on.
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from fwdmft.plotting import errors, style
from fwdmft.plotting.grid import SYMBOLS
from fwdmft.results.comparison import Estimate, group, predicted_deviation, squared_deviation

_FEWEST = 3  # widths
_MANY = 8  # labels of as many widths stand too close to be read side by side


@style.styled
def scaling_figure(tree: xr.DataTree) -> Figure | None:
    """A log-log panel for f and one for K; needs the theory's mean and an ensemble."""
    theory, ensemble = group(tree, "theory"), group(tree, "ensemble")
    if theory is None or ensemble is None:
        return None
    names = [name for name in SYMBOLS if name in theory and {f"{name}_mean", f"{name}_variance"} <= set(ensemble)]
    if not names:
        return None
    figure, axes = style.panels(1, len(names), size=(4.2, 3.6))
    for panel, name in zip(axes[0], names, strict=True):
        _panel(panel, theory, ensemble, name)
    return figure


def _panel(panel: Axes, theory: xr.Dataset, ensemble: xr.Dataset, name: str) -> None:
    measured = squared_deviation(theory, ensemble, name)
    _networks(panel, measured)
    if f"{name}_variance" in theory:
        predicted = predicted_deviation(theory, ensemble, name)
        panel.plot(predicted.width, predicted, **style.THEORY, label=r"theory $\Sigma / N$")
    symbol = SYMBOLS[name]
    panel.set(xscale="log", yscale="log", xlabel="width $N$", title="mean over times and points")
    panel.set_ylabel(rf"$\mathrm{{E}}\,|{symbol}_N - {symbol}|^2$")
    widths = measured.value.width.values
    panel.set_xticks(widths, [str(width) for width in widths], rotation=0 if len(widths) < _MANY else 45)
    panel.xaxis.set_minor_formatter(NullFormatter())
    panel.margins(x=0.1, y=0.12)
    panel.legend(loc="best")


def _networks(panel: Axes, measured: Estimate) -> None:
    """A point a width, coloured by width, and the power law fitted to three or more."""
    slope, slope_error, offset = fitted_power(measured)
    for width, color in style.width_colors(measured.value.width.values).items():
        value, error = (float(part.sel(width=width)) for part in measured)
        errors.bars(panel, width, value, error, color=color, zorder=6)
    widths = measured.value.width.values
    panel.plot([], [], "o", color="0.4", label=errors.NETWORKS_WORD)
    if not np.isnan(slope):
        label = f"fitted slope ${slope:.2f}$ (s.e. {slope_error:.2f})"
        panel.plot(widths, np.exp(offset) * widths**slope, color="#D55E00", linewidth=1.2, label=label)


def fitted_power(measured: Estimate) -> tuple[float, float, float]:
    """(slope, its standard error, log offset) of log value against log N; NaN with fewer than three widths.

    Widths are weighted equally: members are usually as many at each, so relative errors are alike.
    """
    kept = measured.value.values > 0
    if kept.sum() < _FEWEST:
        return float("nan"), float("nan"), float("nan")
    x, value = np.log(measured.value.width.values[kept]), measured.value.values[kept]
    lever = (x - x.mean()) / np.sum((x - x.mean()) ** 2)
    slope = float(lever @ np.log(value))
    error = float(np.sqrt(np.sum((lever * measured.error.values[kept] / value) ** 2)))
    return slope, error, float(np.mean(np.log(value)) - slope * x.mean())
