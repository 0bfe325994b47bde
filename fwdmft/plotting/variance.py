"""N Var f and N Var K against time: the theory's Sigma over N times the variance of each ensemble."""

from __future__ import annotations

import xarray as xr
from matplotlib.artist import Artist
from matplotlib.figure import Figure

from fwdmft.plotting import errors, scales, style
from fwdmft.plotting.grid import SYMBOLS, draw_networks, draw_theory, entry_grid
from fwdmft.results.comparison import group, measured_variance


@style.styled
def variance_figure(tree: xr.DataTree) -> Figure | None:
    """Rows f and K, columns a few points and pairs of points."""
    theory, ensemble = group(tree, "theory"), group(tree, "ensemble")
    names = [name for name in SYMBOLS if _has(theory, name) or _has(ensemble, name)]
    if not names:
        return None
    figure, panels = entry_grid(tree, names, r"$N\,\mathrm{{Var}}\,{}$")
    for panel in panels:
        if ensemble is not None and _has(ensemble, panel.name):
            draw_networks(panel, measured_variance(ensemble, panel.name))
        if theory is not None and _has(theory, panel.name):
            error = theory.get(f"{panel.name}_variance_standard_error")
            draw_theory(panel, theory[f"{panel.name}_variance"], error)
        scales.from_zero(panel.axes)
    style.legend_below(figure, _handles(theory, ensemble, names), columns=5)
    return figure


def _has(half: xr.Dataset | None, name: str) -> bool:
    return half is not None and f"{name}_variance" in half


def _handles(theory: xr.Dataset | None, ensemble: xr.Dataset | None, names: list[str]) -> list[Artist]:
    handles: list[Artist] = []
    if any(_has(theory, name) for name in names):
        handles += [style.theory_handle(r"theory $\Sigma$"), errors.band_handle()]
    if ensemble is not None:
        handles += errors.network_handles(ensemble.width.values)
    return handles
