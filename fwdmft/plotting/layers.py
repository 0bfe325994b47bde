"""N Var of the kernels of layers against depth, early, midway and late in training."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fwdmft.plotting import errors, scales, style
from fwdmft.plotting.entries import mean_diagonal, three_times
from fwdmft.plotting.layer_grid import depth_of, halves, has, legend_with_errors
from fwdmft.results.comparison import Estimate, measured_variance

_SYMBOLS = {"feature_kernel": r"\Phi^{\ell}", "gradient_kernel": r"G^{\ell}"}


@style.styled
def layers_figure(tree: xr.DataTree) -> Figure | None:
    """Rows Phi and G, columns three times; mean over points of the diagonal. Needs two layers or more.

    Each panel has its own scale, as the fluctuations of deep gradients grow manifold in training.
    """
    theory, ensemble, names = halves(tree, "variance", _SYMBOLS)
    if not names or depth_of(theory, ensemble) < 2:
        return None
    times = _times(theory, ensemble)
    figure, axes = style.panels(len(names), len(times), size=(2.9, 2.4), sharex=True)
    for row, name in zip(axes, names, strict=True):
        for panel, time in zip(row, times, strict=True):
            _draw(panel, theory, ensemble, name, time)
            scales.from_zero(panel)
        row[0].set_ylabel(rf"$N\,\mathrm{{Var}}\,{_SYMBOLS[name]}$")
    for panel, time in zip(axes[0], times, strict=True):
        panel.set_title(f"$t = {time}$")
    for panel in axes[-1]:
        style.layer_axis(panel)
    legend_with_errors(figure, theory, ensemble, errors.dash_handle)
    return figure


def _times(theory: xr.Dataset | None, ensemble: xr.Dataset | None) -> list[int]:
    """First, middle and last of the times at which all that is drawn was measured."""
    drawn = [half.time.values for half in (theory, ensemble) if half is not None]
    common = drawn[0] if len(drawn) == 1 else np.intersect1d(*drawn)
    return [int(common[position]) for position in three_times(len(common))]


def _draw(panel: Axes, theory: xr.Dataset | None, ensemble: xr.Dataset | None, name: str, time: int) -> None:
    if ensemble is not None and has(ensemble, f"{name}_variance"):
        _networks(panel, _at(measured_variance(ensemble, name), time))
    if theory is not None and has(theory, f"{name}_variance"):
        variance = theory[f"{name}_variance"]
        error = theory.get(f"{name}_variance_standard_error", xr.zeros_like(variance))
        _theory(panel, _at(Estimate(variance, error), time))


def _at(estimate: Estimate, time: int) -> Estimate:
    """Mean over points of the diagonal at one time.

    The error is the mean of the entries' errors: an upper bound, reached if they fluctuate together.
    """
    value, error = (mean_diagonal(part.sel(time=time)) for part in estimate)
    return Estimate(value, error)


def _networks(panel: Axes, measured: Estimate) -> None:
    """Widths stand side by side within each layer, so that their error bars can be told apart."""
    colors = style.width_colors(measured.value.width.values)
    for position, (width, color) in enumerate(colors.items()):
        value, error = (part.sel(width=width) for part in measured)
        beside = value.layer + 0.08 * (position - (len(colors) - 1) / 2)
        errors.bars(panel, beside, value, error, color=color, zorder=6, markersize=4)


def _theory(panel: Axes, predicted: Estimate) -> None:
    errors.dashes(panel, predicted.value.layer, predicted.value, predicted.error)
