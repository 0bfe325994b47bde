"""How figures show errors: two standard errors to either side everywhere, bars of networks and bands of the theory."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from fwdmft.plotting import style

Values = np.ndarray | xr.DataArray
SHOWN = 2  # standard errors
TEXT = rf"$\pm {SHOWN}$ s.e."
NETWORKS_WORD = f"networks ({TEXT})"
NETWORKS = rf"networks, $N = {{}}$ ({TEXT})"
_FAINT: dict[str, Any] = {"elinewidth": 1, "capsize": 2}
_DASH: dict[str, Any] = {"marker": "_", "color": "black", "markersize": 17, "markeredgewidth": 1.4, "linestyle": "none"}


def bars(axes: Axes, x: Any, value: Any, error: Any, **look: Any) -> None:
    """Points with error bars; error: one standard error."""
    axes.errorbar(x, value, SHOWN * np.asarray(error), **{"fmt": "o", **_FAINT, **look})


def share_bars(axes: Axes, x: Any, value: Any, error: Any, **look: Any) -> None:
    """The same of shares, which end at 0 and 1, and so do their bars; points on the border are drawn whole."""
    value, error = np.asarray(value, float), SHOWN * np.asarray(error, float)
    within = np.stack([np.minimum(error, value), np.minimum(error, 1 - value)]).clip(0)
    axes.errorbar(x, value, within, **{"fmt": "o", "clip_on": False, **_FAINT, **look})


def band(axes: Axes, x: Any, value: Any, error: Any, **look: Any) -> None:
    """A band about a line; error: one standard error."""
    value, error = np.asarray(value), SHOWN * np.asarray(error)
    axes.fill_between(x, value - error, value + error, **style.BAND | look)


def dashes(axes: Axes, x: Any, value: Any, error: Any) -> None:
    """The theory where nothing lies between two places (layers, words): a dash with its error at each of them."""
    bar = Patch(facecolor=style.BAND["color"], alpha=style.BAND["alpha"]).get_facecolor()
    axes.errorbar(
        x, value, SHOWN * np.asarray(error), **_DASH, ecolor=bar, elinewidth=12, zorder=style.THEORY["zorder"]
    )


def dash_handle(text: str) -> Artist:
    """Legend entry of `dashes`."""
    return Line2D([], [], **_DASH, label=text)


def band_handle(text: str = "") -> Artist:
    """Legend entry of the theory's band, or of the bars behind its dashes."""
    return Patch(facecolor=style.BAND["color"], alpha=style.BAND["alpha"], label=text or f"{TEXT} of the theory")


def network_handles(widths: Any, **look: Any) -> list[Artist]:
    """Legend entries of networks drawn as points with bars, one a width."""
    return style.width_handles(widths, NETWORKS, **{"marker": "o", "markersize": 3, "linewidth": 1, **look})
