"""The bias b of f and K against time: theory over N (E q_N - q) of each ensemble."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.artist import Artist
from matplotlib.figure import Figure

from fwdmft.plotting import errors, scales, style
from fwdmft.plotting.grid import SYMBOLS, Panel, draw_networks, draw_theory, entry_grid
from fwdmft.results.comparison import Estimate, group, measured_bias


@style.styled
def bias_figure(tree: xr.DataTree) -> Figure | None:
    """Rows f and K; needs the theory's mean, and either its bias or an ensemble to measure one."""
    theory, ensemble = group(tree, "theory"), group(tree, "ensemble")
    if theory is None:
        return None
    names = [name for name in SYMBOLS if name in theory and _shown(theory, ensemble, name)]
    if not names:
        return None
    figure, panels = entry_grid(tree, names, r"$N\,(\mathrm{{E}}\,{0}_N - {0})$")
    for panel in panels:
        _draw(panel, theory, ensemble)
    beyond = scales.beyond_handles([panel.axes for panel in panels])
    style.legend_below(figure, [*_handles(theory, ensemble, names), *beyond], columns=5)
    return figure


def _shown(theory: xr.Dataset, ensemble: xr.Dataset | None, name: str) -> bool:
    return _predicted(theory, name) or _measured(ensemble, name)


def _predicted(theory: xr.Dataset, name: str) -> bool:
    return f"{name}_bias" in theory


def _measured(ensemble: xr.Dataset | None, name: str) -> bool:
    return ensemble is not None and f"{name}_mean" in ensemble


def _draw(panel: Panel, theory: xr.Dataset, ensemble: xr.Dataset | None) -> None:
    spans = []
    if ensemble is not None and _measured(ensemble, panel.name):
        measured = measured_bias(theory, ensemble, panel.name)
        draw_networks(panel, measured, fade=True)
        spans.append(_span_of_best(panel, measured))
    if _predicted(theory, panel.name):
        value, error = theory[f"{panel.name}_bias"], theory.get(f"{panel.name}_bias_standard_error")
        draw_theory(panel, value, error)
        spans.append(_span(panel.entry.of(value), None if error is None else panel.entry.of(error)))
    panel.axes.axhline(0, color="0.7", linewidth=0.8, zorder=1)
    scales.limits(panel.axes, *spans)


def _span_of_best(panel: Panel, measured: Estimate) -> tuple[np.ndarray, np.ndarray]:
    """The axis follows the best resolved width: errors grow like sqrt(N), the widest would hide the rest."""
    error = panel.entry.of(measured.error)
    best = int(np.argmin(error.mean("time").values))
    return _span(panel.entry.of(measured.value).isel(width=best), error.isel(width=best))


def _span(value: xr.DataArray, error: xr.DataArray | None) -> tuple[np.ndarray, np.ndarray]:
    spread = 0.0 if error is None else errors.SHOWN * error.values
    return value.values - spread, value.values + spread


def _handles(theory: xr.Dataset, ensemble: xr.Dataset | None, names: list[str]) -> list[Artist]:
    handles: list[Artist] = []
    if any(_predicted(theory, name) for name in names):
        handles += [style.theory_handle("theory $b$"), errors.band_handle()]
    if ensemble is not None:
        handles += errors.network_handles(ensemble.width.values)
    return handles
