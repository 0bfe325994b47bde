"""Signal-to-noise ratio q / sqrt(N Var q) of every kernel against time, layer by layer."""

from __future__ import annotations

import xarray as xr
from matplotlib.figure import Figure

from fwdmft.plotting import scales, style
from fwdmft.plotting.entries import mean_diagonal
from fwdmft.plotting.grid import draw_networks, draw_theory
from fwdmft.plotting.layer_grid import depth_of, halves, has, layer_grid, legend_with_errors
from fwdmft.results.comparison import Estimate

_ROLE, _ERROR = "signal_to_noise", "signal_to_noise_standard_error"


@style.styled
def signal_to_noise_figure(tree: xr.DataTree) -> Figure | None:
    """K beside rows Phi^l and G^l: mean over points of the ratio of each diagonal entry."""
    theory, ensemble, names = halves(tree, _ERROR)
    if not names:
        return None
    figure, panels = layer_grid(names, depth_of(theory, ensemble), r"$q\,/\,\sqrt{N\,\mathrm{Var}\,q}$")
    for panel in panels:
        if ensemble is not None and has(ensemble, f"{panel.name}_{_ERROR}"):
            draw_networks(panel, _ratio(ensemble, panel.name))
        if theory is not None and has(theory, f"{panel.name}_{_ERROR}"):
            draw_theory(panel, *_ratio(theory, panel.name))
    for panel in panels:  # only now: it ends the automatic choice of the upper limit, which a row shares
        scales.from_zero(panel.axes)
    legend_with_errors(figure, theory, ensemble)
    return figure


def _ratio(half: xr.Dataset, name: str) -> Estimate:
    """Its error is the mean of the errors of the entries: an upper bound, reached if they fluctuate together."""
    value, error = (mean_diagonal(half[f"{name}_{role}"]) for role in (_ROLE, _ERROR))
    return Estimate(value, error)
