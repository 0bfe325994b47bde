"""Training loss of each width against time, against time scaled by the training rate, and the rates against 1/N.

Above single networks (mean loss), below the averaged predictor, where it is known at every time.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fwdmft.plotting import errors, scales, style
from fwdmft.results.comparison import group

_ROWS = {"": ("loss_mean", "single networks"), "ensembled_": ("ensembled_loss", "averaged predictor")}
_FEWEST = 3  # widths; a line through two rates is no fit
_FIT: dict[str, Any] = {"color": "#D55E00", "linewidth": 1.2}


@style.styled
def collapse_figure(tree: xr.DataTree) -> Figure | None:
    """Three panels a row; needs training rates in the ensemble."""
    ensemble = group(tree, "ensemble")
    rows = [prefix for prefix in _ROWS if ensemble is not None and _drawn(prefix) <= set(ensemble)]
    if ensemble is None or not rows:
        return None
    figure, axes = style.panels(len(rows), 3, size=(3.4, 2.9))
    for row, prefix in zip(axes, rows, strict=True):
        name, title = _ROWS[prefix]
        loss = ensemble[name].sel(split="train")
        steps = ensemble.time.broadcast_like(ensemble[f"{prefix}scaled_time"])
        _curves(row[0], steps, loss, f"{title}, training points")
        style.time_axis(row[0])
        _curves(row[1], ensemble[f"{prefix}scaled_time"], loss, _collapsed(ensemble, prefix))
        row[1].set_xlabel(r"scaled step $t\, R_N / R_{\mathrm{widest}}$")
        _rates(row[2], ensemble, prefix)
    style.legend_below(figure, style.width_handles(ensemble.width.values), columns=6, entry=1.8)
    return figure


def _drawn(prefix: str) -> set[str]:
    """Variables of a row."""
    rates = ("training_rate", "training_rate_standard_error", "scaled_time", "loss_curve_distance")
    named = {f"{prefix}{name}" for name in (*rates, "collapsed_loss_curve_distance")}
    return named | {_ROWS[prefix][0]}


def _curves(panel: Axes, times: xr.DataArray, loss: xr.DataArray, title: str) -> None:
    for width, color in style.width_colors(loss.width.values).items():
        panel.plot(times.sel(width=width), loss.sel(width=width), color=color, linewidth=1.5)
    panel.set(title=title, ylabel=r"loss $\mathcal{L}$")
    scales.logarithmic_if_wide(panel)


def _collapsed(ensemble: xr.Dataset, prefix: str) -> str:
    if ensemble.sizes["width"] == 1:
        return "a single width"
    before, after = (float(ensemble[f"{prefix}{name}loss_curve_distance"].max()) for name in ("", "collapsed_"))
    return rf"largest rms $\Delta \log \mathcal{{L}}$: {before:.2g} $\to$ {after:.2g}"


def _rates(panel: Axes, ensemble: xr.Dataset, prefix: str) -> None:
    """Rates with error bars, and R_inf - a / N if it is fitted to three widths or more."""
    rate = ensemble[f"{prefix}training_rate"]
    error = ensemble[f"{prefix}training_rate_standard_error"]
    for width, color in style.width_colors(ensemble.width.values).items():
        errors.bars(panel, 1 / width, rate.sel(width=width), error.sel(width=width), color=color)
    panel.set(
        xlabel="$1/N$", ylabel=rf"training rate $R_N$ ({errors.TEXT})", xlim=(0, 1.08 / float(ensemble.width.min()))
    )
    if ensemble.sizes["width"] >= _FEWEST and {f"{prefix}training_rate_{name}" for name in ("limit", "shift")} <= set(
        ensemble
    ):
        limit, shift = (float(ensemble[f"{prefix}training_rate_{name}"]) for name in ("limit", "shift"))
        inverse = np.array([0.0, 1 / float(ensemble.width.min())])
        label = rf"$R_\infty - a/N$: $R_\infty$ = {limit:.3g}, $a$ = {shift:.2g}"
        panel.plot(inverse, limit - shift * inverse, **_FIT, label=label)
        panel.legend(loc="best", fontsize=7.5)
