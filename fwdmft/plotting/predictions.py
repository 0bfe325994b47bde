"""Predictions against time: theory f + b/N and the spread of networks, +-2 sqrt(Sigma/N), over single networks."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fwdmft.plotting import errors, style
from fwdmft.plotting.entries import Entry, output_count, point_entries
from fwdmft.results.comparison import group

_MOST_OUTPUTS = 3  # more curves than these in one panel cannot be told apart


@style.styled
def predictions_figure(tree: xr.DataTree) -> Figure | None:
    """A row for the smallest and one for an intermediate width, a column for each of a few points."""
    theory, ensemble = group(tree, "theory"), group(tree, "ensemble")
    theory = theory if theory is not None and "prediction" in theory else None
    if theory is None and ensemble is None:
        return None
    widths, entries = _two_widths(theory, ensemble), point_entries(tree, per_split=2)
    figure, axes = style.panels(len(widths), len(entries), size=(2.9, 2.5), sharex=True, sharey=True)
    for row, width in zip(axes, widths, strict=True):
        for panel, entry in zip(row, entries, strict=True):
            _panel(panel, entry, theory, ensemble, width, output_count(tree))
        row[0].set_ylabel("prediction $f$" + ("" if width is None else f" at $N = {width}$"))
    for panel, entry in zip(axes[0], entries, strict=True):
        panel.set_title(entry.title)
    for panel in axes[-1]:
        style.time_axis(panel)
    style.legend_below(figure, _handles(tree, theory, ensemble, widths), columns=5)
    return figure


def _two_widths(theory: xr.Dataset | None, ensemble: xr.Dataset | None) -> list[int | None]:
    """The smallest and a middle width; None stands for infinite width when no finite one is known."""
    source = ensemble if ensemble is not None else theory
    widths = source.width.values if source is not None and "width" in source.coords else []
    known = sorted(int(width) for width in widths)
    return list(dict.fromkeys([known[0], known[len(known) // 2]])) if known else [None]


def _panel(
    panel: Axes,
    entry: Entry,
    theory: xr.Dataset | None,
    ensemble: xr.Dataset | None,
    width: int | None,
    outputs: int,
) -> None:
    for output in range(min(outputs, _MOST_OUTPUTS)):
        one = Entry({**entry.index, "output": output}, entry.title)
        if ensemble is not None and width is not None and "sample_prediction" in ensemble:
            _members(panel, one, ensemble.sel(width=width), _member_color(ensemble, width, output, outputs))
        if theory is not None:
            _theory(panel, one, theory, width)


def _member_color(ensemble: xr.Dataset, width: int, output: int, outputs: int) -> object:
    """Colour by width as everywhere, unless several outputs share the panel and must be told apart."""
    return style.OUTPUT_COLORS[output] if outputs > 1 else style.width_colors(ensemble.width.values)[width]


def _members(panel: Axes, entry: Entry, ensemble: xr.Dataset, color: object) -> None:
    trajectories = entry.of(ensemble["sample_prediction"]).transpose("time", "sample")
    panel.plot(ensemble.time, trajectories, color=color, linewidth=0.6, alpha=0.6, zorder=2)


def _theory(panel: Axes, entry: Entry, theory: xr.Dataset, width: int | None) -> None:
    middle = entry.of(theory["prediction"]).values
    if width is not None and "prediction_bias" in theory:
        middle = middle + entry.of(theory["prediction_bias"]).values / width
    panel.plot(theory.time, middle, **style.THEORY)
    if width is not None and "prediction_variance" in theory:
        spread = 2 * np.sqrt(np.maximum(entry.of(theory["prediction_variance"]).values, 0) / width)
        panel.fill_between(theory.time, middle - spread, middle + spread, **style.BAND)
        for edge in (middle - spread, middle + spread):  # members would hide the edge of a pale band
            panel.plot(theory.time, edge, color="black", linewidth=0.7, zorder=4)


def _handles(
    tree: xr.DataTree, theory: xr.Dataset | None, ensemble: xr.Dataset | None, widths: list[int | None]
) -> list[Artist]:
    handles: list[Artist] = []
    if theory is not None:
        shifted = widths != [None] and "prediction_bias" in theory
        handles.append(style.theory_handle("theory $f + b/N$" if shifted else "theory $f$"))
        if widths != [None] and "prediction_variance" in theory:
            handles.append(errors.band_handle(r"theory $\pm 2\sqrt{\Sigma / N}$ (spread of networks)"))
    if ensemble is not None:
        handles += _member_handles(tree, ensemble, widths)
    return handles


def _member_handles(tree: xr.DataTree, ensemble: xr.Dataset, widths: list[int | None]) -> list[Artist]:
    outputs = output_count(tree)
    if outputs == 1:
        colors = style.width_colors(ensemble.width.values)
        return [
            Line2D([], [], color=colors[width], label=f"networks, $N = {width}$")
            for width in widths
            if width is not None
        ]
    chosen = style.OUTPUT_COLORS[: min(outputs, _MOST_OUTPUTS)]
    return [Line2D([], [], color=color, label=f"networks, output {c}") for c, color in enumerate(chosen)]
