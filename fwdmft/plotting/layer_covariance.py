"""How kernels of different layers fluctuate together: correlations of their mean diagonals over initialisations."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from fwdmft.plotting import style
from fwdmft.results.comparison import group

_SYMBOLS = {"feature": r"\Phi", "gradient": "G"}
_MOST_NUMBERS = 8  # matrices larger than this have no room for a number in every cell
_MOST_TICKS = 12


@style.styled
def layer_covariance_figure(tree: xr.DataTree) -> Figure | None:
    """Heat maps at the first and last time, Phi^1 .. Phi^L then G^1 .. G^L; needs the theory's covariance."""
    theory = group(tree, "theory")
    if theory is None or "layer_covariance" not in theory:
        return None
    covariance = theory["layer_covariance"]
    times = sorted({0, covariance.sizes["time"] - 1})
    figure, axes = style.panels(1, len(times), size=(3.6, 2.75))
    for panel, time in zip(axes[0], times, strict=True):
        shown = _show(panel, correlation(covariance.isel(time=time)), _names(covariance))
        panel.set_title(f"$t = {covariance.time.values[time]}$")
    figure.colorbar(shown, ax=list(axes[0]), shrink=0.8, label="correlation over initialisations")
    return figure


def correlation(covariance: xr.DataArray) -> np.ndarray:
    """(2L, 2L) from (kernel, layer, kernel_prime, layer_prime), layers fastest; NaN where a variance is 0."""
    ordered = covariance.transpose("kernel", "layer", "kernel_prime", "layer_prime").values
    size = ordered.shape[0] * ordered.shape[1]
    matrix = ordered.reshape(size, size)
    spread = np.sqrt(np.where(np.diag(matrix) > 0, np.diag(matrix), np.nan))
    return matrix / np.outer(spread, spread)


def _names(covariance: xr.DataArray) -> list[str]:
    layers, symbols = covariance.layer.values, [_SYMBOLS[str(kernel)] for kernel in covariance.kernel.values]
    return [f"${symbol}^{{{layer}}}$" for symbol in symbols for layer in layers]


def _show(panel: Axes, matrix: np.ndarray, names: list[str]) -> AxesImage:
    size = len(names)
    shown = panel.imshow(matrix, vmin=-1, vmax=1, cmap="RdBu_r", interpolation="nearest")
    style.bare(panel)
    labelled = range(0, size, -(-size // _MOST_TICKS))
    panel.set_xticks(labelled, [names[place] for place in labelled])
    panel.set_yticks(labelled, [names[place] for place in labelled])
    panel.tick_params(length=0)
    for line in (panel.axhline, panel.axvline):
        line(size / 2 - 0.5, color="black", linewidth=0.8)
    if size <= _MOST_NUMBERS:
        _write_numbers(panel, matrix)
    return shown


def _write_numbers(panel: Axes, matrix: np.ndarray) -> None:
    for (row, column), value in np.ndenumerate(matrix):
        if np.isfinite(value):
            color = "white" if abs(value) > 0.6 else "black"
            text = f"{value:z.2f}".replace("-", "\N{MINUS SIGN}")
            panel.text(column, row, text, ha="center", va="center", fontsize=7.5, color=color)
