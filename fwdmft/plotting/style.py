"""One look for all figures: theory dashed and black, ensembles coloured by width, legends below the panels.

Colours: viridis for widths (ordered, readable without colour vision and in print), Okabe-Ito for outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import matplotlib
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

P = ParamSpec("P")
R = TypeVar("R")

THEORY: dict[str, Any] = {"color": "black", "linestyle": (0, (4, 2)), "linewidth": 1.3, "zorder": 5}
BAND: dict[str, Any] = {"color": "0.35", "alpha": 0.22, "linewidth": 0, "zorder": 4}
OUTPUT_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")

_STYLE: Any = {
    "figure.dpi": 150,
    "savefig.dpi": 150,
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.labelsize": 9.5,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "grid.linewidth": 0.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
}


def styled(draw: Callable[P, R]) -> Callable[P, R]:
    """Run a drawing function under the style of this module, leaving matplotlib's settings as they were."""

    @wraps(draw)
    def inside(*args: P.args, **kwargs: P.kwargs) -> R:
        with matplotlib.rc_context(_STYLE):
            return draw(*args, **kwargs)

    return inside


def panels(rows: int, columns: int, size: tuple[float, float] = (3.0, 2.5), **share: Any) -> tuple[Figure, np.ndarray]:
    """A figure with a (rows, columns) array of axes, `size` inches each, and room for a legend below."""
    figure = Figure(figsize=(size[0] * columns, size[1] * rows + 0.5), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **share)


def width_colors(widths: Sequence[int]) -> dict[int, Any]:
    """A viridis colour for every width, dark for narrow; the palest yellows are left out."""
    return dict(zip(map(int, sorted(widths)), shades(len(widths)), strict=True))


def shades(count: int) -> list[Any]:
    """`count` viridis colours in order, dark first, without the palest yellows."""
    return [tuple(shade) for shade in matplotlib.colormaps["viridis"](np.linspace(0.12, 0.82, max(count, 2)))[:count]]


def width_handles(widths: Sequence[int], text: str = "networks, $N = {}$", **look: Any) -> list[Artist]:
    """Legend entries, one a width."""
    shown = {"linewidth": 1.8, **look}
    colors = width_colors(widths)
    return [Line2D([], [], color=colors[width], label=text.format(width), **shown) for width in colors]


def theory_handle(text: str, **look: Any) -> Artist:
    """Legend entry of a theory line."""
    return Line2D([], [], **{**THEORY, **look}, label=text)


def legend_below(figure: Figure, handles: Sequence[Artist], columns: int = 4, entry: float = 2.0) -> None:
    """One legend for all panels, outside and below them, of at most `columns`; an entry takes `entry` inches."""
    fitting = max(1, int(figure.get_figwidth() / entry))
    figure.legend(handles=list(handles), loc="outside lower center", ncols=min(columns, fitting, len(handles)))


def time_axis(axes: Axes) -> None:
    """Label the horizontal axis as time, which counts steps and so has ticks at whole numbers."""
    axes.set_xlabel("training step $t$")
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))


def layer_axis(axes: Axes) -> None:
    """Label the horizontal axis as the number of a hidden layer."""
    axes.set_xlabel(r"layer $\ell$")
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))


def bare(axes: Axes) -> None:
    """Switch off the grid and ticks of an image."""
    axes.grid(False)
    axes.set(xticks=[], yticks=[])
