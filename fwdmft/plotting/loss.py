"""Loss against time: theory at infinite width and at each N, single networks, and the averaged predictor."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fwdmft.plotting import style
from fwdmft.plotting.entries import splits_present
from fwdmft.results.comparison import group

_LOG_FROM = 10.0  # ratio of largest to smallest loss from which the axis is logarithmic
_INFINITE: dict[str, Any] = {"color": "black", "linewidth": 0.9, "zorder": 4}
_AVERAGED: dict[str, Any] = {"linestyle": ":", "linewidth": 1.6, "zorder": 3}


@style.styled
def loss_figure(tree: xr.DataTree) -> Figure | None:
    """A panel for the training and one for the test points (as far as there are any)."""
    theory, ensemble = group(tree, "theory"), group(tree, "ensemble")
    theory = theory if theory is not None and "loss" in theory else None
    ensemble = ensemble if ensemble is not None and "loss_mean" in ensemble else None
    if theory is None and ensemble is None:
        return None
    splits = splits_present(tree)
    figure, axes = style.panels(1, len(splits), size=(4.6, 3.6))
    for panel, split in zip(axes[0], splits, strict=True):
        handles = _theory(panel, theory, split, dark=ensemble is not None) + _ensemble(panel, ensemble, split)
        panel.set(title=f"{split} points", ylabel=r"loss $\mathcal{L}$")
        style.time_axis(panel)
        _scale(panel)
    style.legend_below(figure, handles, columns=3)
    return figure


def _theory(panel: Axes, theory: xr.Dataset | None, split: str, dark: bool) -> list[Artist]:
    """Lines of the theory; `dark` draws those at finite N black, to lie over an ensemble's colours."""
    if theory is None:
        return []
    panel.plot(theory.time, theory["loss"].sel(split=split), **_INFINITE)
    handles: list[Artist] = [Line2D([], [], **_INFINITE, label=r"theory, $N \to \infty$")]
    if "loss_at_width" not in theory:
        return handles
    at_width = theory["loss_at_width"].sel(split=split)
    for width, color in style.width_colors(theory.width.values).items():
        look = style.THEORY if dark else {**style.THEORY, "color": color}
        panel.plot(theory.time, at_width.sel(width=width), **look)
    if dark:
        return [*handles, style.theory_handle("theory at each $N$")]
    dashed = style.THEORY["linestyle"]
    return handles + style.width_handles(theory.width.values, "theory, $N = {}$", linestyle=dashed)


def _ensemble(panel: Axes, ensemble: xr.Dataset | None, split: str) -> list[Artist]:
    if ensemble is None:
        return []
    chosen = ensemble.sel(split=split)
    for width, color in style.width_colors(ensemble.width.values).items():
        one = chosen.sel(width=width)
        panel.plot(one.time, one["loss_mean"], color=color, linewidth=3, alpha=0.6)
        if "loss_mean_standard_error" in one:
            low, high = _around(one["loss_mean"].values, one["loss_mean_standard_error"].values)
            panel.fill_between(one.time, low, high, color=color, alpha=0.3, linewidth=0)
        if "ensembled_loss" in one:
            panel.plot(one.time, one["ensembled_loss"], color=color, **_AVERAGED)
    handles = style.width_handles(ensemble.width.values, r"networks, $N = {}$ (mean $\pm$ s.e.)")
    if "ensembled_loss" in chosen:
        handles.append(Line2D([], [], color="0.4", **_AVERAGED, label="averaged predictor"))
    return handles


def _around(value: np.ndarray, error: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return value - error, value + error


def _scale(panel: Axes) -> None:
    values = np.concatenate([np.asarray(line.get_ydata(), float) for line in panel.get_lines()])
    finite = values[np.isfinite(values)]
    if finite.size and finite.min() > 0 and finite.max() / finite.min() > _LOG_FROM:
        panel.set_yscale("log")
    else:
        panel.set_ylim(bottom=0)
