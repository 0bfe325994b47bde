"""Loss against time, and what finite width adds to it.

Above: theory at infinite width and at each N, single networks, and the averaged predictor. Those curves nearly
coincide, so below is their relative excess over infinite width, (L_N - L_inf) / L_inf. Error bars are those of the
networks, bands those of Sigma and b; the Monte-Carlo error of L_inf moves all networks of a panel against the theory by
the same amount.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from fwdmft.plotting import errors, scales, style
from fwdmft.plotting.entries import some_times, splits_present
from fwdmft.results.comparison import at_common_times, group

_LABELS_APART = 0.075  # least distance of two width labels, as a share of the panel's height
_LOSS_ERROR = "loss_at_width_standard_error"
_INFINITE: dict[str, Any] = {"color": "black", "linewidth": 0.9, "zorder": 4}
_AVERAGED: dict[str, Any] = {"linestyle": ":", "linewidth": 1.6, "zorder": 3}


@style.styled
def loss_figure(tree: xr.DataTree) -> Figure | None:
    """A column for the training and one for the test points (as far as there are any).

    The row of excesses needs the loss at infinite width and something at finite width.
    """
    theory, ensemble = _with(group(tree, "theory"), "loss"), _with(group(tree, "ensemble"), "loss_mean")
    if theory is None and ensemble is None:
        return None
    splits = splits_present(tree)
    excess = theory is not None and (ensemble is not None or "loss_at_width" in theory)
    figure, axes = style.panels(1 + excess, len(splits), size=(4.6, 3.0 if excess else 3.6), sharex=True)
    handles: list[Artist] = []
    for column, split in zip(axes.T, splits, strict=True):
        handles = _loss_panel(column[0], theory, ensemble, split)
        if excess and theory is not None:
            _excess_panel(column[1], theory, ensemble, split)
        style.time_axis(column[-1])
    style.legend_below(figure, handles, columns=3)
    return figure


def _with(half: xr.Dataset | None, name: str) -> xr.Dataset | None:
    return half if half is not None and name in half else None


def _loss_panel(panel: Axes, theory: xr.Dataset | None, ensemble: xr.Dataset | None, split: str) -> list[Artist]:
    handles = _theory(panel, theory, split, dark=ensemble is not None) + _ensemble(panel, ensemble, split)
    panel.set(title=f"{split} points", ylabel=r"loss $\mathcal{L}$")
    scales.logarithmic_if_wide(panel)
    if panel.get_yscale() == "linear":
        scales.from_zero(panel)
    return handles


def _theory(panel: Axes, theory: xr.Dataset | None, split: str, dark: bool) -> list[Artist]:
    """Lines of the theory; `dark` draws those at finite N black, to lie over an ensemble's colours."""
    if theory is None:
        return []
    panel.plot(theory.time, theory["loss"].sel(split=split), **_INFINITE)
    handles: list[Artist] = [Line2D([], [], **_INFINITE, label=r"theory, $N \to \infty$")]
    if "loss_at_width" not in theory:
        return handles
    at_width = theory["loss_at_width"].sel(split=split)
    for width, look in _theory_looks(theory, dark).items():
        panel.plot(theory.time, at_width.sel(width=width), **look)
    if _LOSS_ERROR in theory:
        handles.append(errors.band_handle(f"{errors.TEXT} of theory (below)"))
    if dark:
        return [*handles, style.theory_handle("theory at each $N$")]
    dashed = style.THEORY["linestyle"]
    return handles + style.width_handles(theory.width.values, "theory, $N = {}$", linestyle=dashed)


def _theory_looks(theory: xr.Dataset, dark: bool) -> dict[int, dict[str, Any]]:
    colors = style.width_colors(theory.width.values)
    return {width: style.THEORY if dark else {**style.THEORY, "color": color} for width, color in colors.items()}


def _ensemble(panel: Axes, ensemble: xr.Dataset | None, split: str) -> list[Artist]:
    if ensemble is None:
        return []
    chosen = ensemble.sel(split=split)
    for width, color in style.width_colors(ensemble.width.values).items():
        one = chosen.sel(width=width)
        panel.plot(one.time, one["loss_mean"], color=color, linewidth=3, alpha=0.6)
        errors.band(
            panel, one.time, one["loss_mean"], one["loss_mean_standard_error"], color=color, alpha=0.3, zorder=1
        )
        if "ensembled_loss" in one:
            panel.plot(one.time, one["ensembled_loss"], color=color, **_AVERAGED)
    handles = style.width_handles(ensemble.width.values, errors.NETWORKS)
    if "ensembled_loss" in chosen:
        handles.append(Line2D([], [], color="0.4", **_AVERAGED, label="averaged predictor"))
    return handles


def _excess_panel(panel: Axes, theory: xr.Dataset, ensemble: xr.Dataset | None, split: str) -> None:
    panel.axhline(0, **_INFINITE)
    if ensemble is not None:
        _excess_of_networks(panel, theory, ensemble, split)
    panel.set_ylabel(r"excess $(\mathcal{L}_N - \mathcal{L}_\infty)\,/\,\mathcal{L}_\infty$")
    if "loss_at_width" in theory:
        infinite = _positive(theory["loss"].sel(split=split))
        excess = (theory["loss_at_width"].sel(split=split) - infinite) / infinite
        for width, look in _theory_looks(theory, dark=ensemble is not None).items():
            panel.plot(theory.time, excess.sel(width=width), **look)
        _theory_bands(panel, theory.sel(split=split), excess, infinite)
    if scales.drawn(panel).max() > scales.LOG_FROM:
        # Where training ends, the loss at infinite width can be orders of magnitude below that at finite width.
        panel.set_yscale("symlog", linthresh=1.0)
    panel.yaxis.set_major_formatter(PercentFormatter(1.0))
    if "loss_at_width" in theory:
        _label_widths(panel, excess.isel(time=-1))


def _theory_bands(panel: Axes, theory: xr.Dataset, excess: xr.DataArray, infinite: xr.DataArray) -> None:
    """The error of the theory about its lines (left out by results of earlier versions)."""
    if _LOSS_ERROR not in theory:
        return
    error = theory[_LOSS_ERROR] / infinite
    for width, color in style.width_colors(theory.width.values).items():
        value, spread = (each.sel(width=width) for each in (excess, error))
        errors.band(panel, theory.time, value, spread, color=color, zorder=1)


def _excess_of_networks(panel: Axes, theory: xr.Dataset, ensemble: xr.Dataset, split: str) -> None:
    """Means of networks as points with error bars at a few times; averaged predictors dotted."""
    theory, ensemble = (half.sel(split=split) for half in at_common_times(theory, ensemble))
    infinite = _positive(theory["loss"])
    colors = style.width_colors(ensemble.width.values)
    for position, (width, color) in enumerate(colors.items()):
        one = ensemble.sel(width=width)
        kept = some_times(one.sizes["time"], shift=position / len(colors))
        mean = ((one["loss_mean"] - infinite) / infinite).isel(time=kept)
        error = (one["loss_mean_standard_error"] / infinite).isel(time=kept)
        errors.bars(panel, mean.time, mean, error, color=color, markersize=3, capsize=1.5, zorder=4)
        if "ensembled_loss" in one:
            panel.plot(one.time, (one["ensembled_loss"] - infinite) / infinite, color=color, **_AVERAGED)


def _positive(loss: xr.DataArray) -> xr.DataArray:
    """The loss where it can be divided by."""
    return loss.where(loss > 0)


def _label_widths(panel: Axes, last: xr.DataArray) -> None:
    """Write N beside the end of each theory line, no two labels over each other."""
    colors = style.width_colors(last.width.values)
    ends = {width: _share_of_height(panel, float(last.sel(width=width))) for width in colors}
    place = np.inf
    for width in sorted((width for width in ends if np.isfinite(ends[width])), key=lambda width: -ends[width]):
        place = min(ends[width], place - _LABELS_APART)
        look: dict[str, Any] = {"fontsize": 8, "color": colors[width], "va": "center", "transform": panel.transAxes}
        panel.text(1.01, place, f"$N = {width}$", **look)


def _share_of_height(panel: Axes, value: float) -> float:
    """Where a value lies on the vertical axis, 0 at its bottom and 1 at its top."""
    low, high, at = panel.transScale.transform([(0.0, y) for y in (*panel.get_ylim(), value)])[:, 1]
    return float((at - low) / (high - low))
