"""Kernels between two times, Phi^l(t, t') and G^l(t, t') of one point with itself, and their fluctuations."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fwdmft.plotting import style
from fwdmft.plotting.entries import Entry, point_entries, some_layers
from fwdmft.results.comparison import group

_SYMBOLS = {"feature_kernel_two_time": r"\Phi^{{{}}}", "gradient_kernel_two_time": "G^{{{}}}"}


class _Image(NamedTuple):
    """A matrix (time, time_prime) and the title of its panel."""

    values: np.ndarray
    title: str


@style.styled
def two_time_figure(tree: xr.DataTree) -> Figure | None:
    """A column a layer, a row for each kernel with one for its sqrt(N Var) below; first training point, output 0.

    Each panel has its own scale, as gradients differ manifold between layers. Needs two times or more.
    """
    theory = group(tree, "theory")
    names = [name for name in _SYMBOLS if theory is not None and name in theory]
    if theory is None or not names or theory.sizes["time"] < 2:
        return None
    entry = point_entries(tree, per_split=1, output=0)[0]
    rows = [row for name in names for row in _rows(theory, name, entry)]
    figure, axes = style.panels(len(rows), len(rows[0]), size=(2.6, 2.1), sharex=True, sharey=True)
    figure.set_layout_engine("compressed")  # square panels would leave gaps between the rows otherwise
    for panel, image in zip(axes.flat, (image for row in rows for image in row), strict=True):
        figure.colorbar(_show(panel, image, theory.time.values), ax=panel, aspect=15)
    for panel in axes[:, 0]:
        panel.set_ylabel("training step $t$")
    for panel in axes[-1]:
        panel.set_xlabel("training step $t'$")
    figure.suptitle(entry.title, fontsize=9)
    return figure


def _rows(theory: xr.Dataset, name: str, entry: Entry) -> Iterator[list[_Image]]:
    kernel, layers = theory[name], some_layers(theory.sizes["layer"])
    symbols = [f"{_SYMBOLS[name].format(layer + 1)}(t, t')" for layer in layers]
    yield [_Image(_of(kernel, entry, layer), f"${symbol}$") for layer, symbol in zip(layers, symbols, strict=True)]
    if f"{name}_variance" in theory:
        spread = theory[f"{name}_variance"] ** 0.5
        yield [
            _Image(_of(spread, entry, layer), rf"$\sqrt{{N\,\mathrm{{Var}}\,{symbol}}}$")
            for layer, symbol in zip(layers, symbols, strict=True)
        ]


def _of(kernel: xr.DataArray, entry: Entry, layer: int) -> np.ndarray:
    """(time, time_prime) of the entry's point, and output, with itself."""
    both = {**entry.index, **{f"{dim}_prime": place for dim, place in entry.index.items()}, "layer": layer}
    return kernel.isel({dim: place for dim, place in both.items() if dim in kernel.dims}).values


def _show(panel: Axes, image: _Image, times: np.ndarray) -> QuadMesh:
    """Saved times need not be evenly spaced, so every cell is centred on its own.

    Colours start at zero, or are symmetric about it if there are negative entries.
    """
    largest, signed = float(np.nanmax(abs(image.values))), float(np.nanmin(image.values)) < 0
    scale: dict[str, Any] = {
        "vmin": -largest if signed else 0.0,
        "vmax": largest,
        "cmap": "RdBu_r" if signed else "viridis",
    }
    mesh = panel.pcolormesh(times, times, image.values, shading="nearest", rasterized=True, **scale)
    panel.grid(False)
    panel.set(title=image.title, aspect="equal")
    for axis in (panel.xaxis, panel.yaxis):
        axis.set_major_locator(MaxNLocator(nbins=4, integer=True))
    return mesh
