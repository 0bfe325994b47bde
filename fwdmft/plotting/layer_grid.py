"""What figures of deep networks share: K beside a row for each kernel of the layers, a column a layer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import xarray as xr
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fwdmft.plotting import errors, style
from fwdmft.plotting.entries import Entry, some_layers
from fwdmft.plotting.grid import Panel
from fwdmft.results.comparison import group

SYMBOLS = {"tangent_kernel": "K", "feature_kernel": r"\Phi^{{{}}}", "gradient_kernel": "G^{{{}}}"}
_PANEL = (2.5, 2.3)  # inches


def has(half: xr.Dataset | None, variable: str) -> bool:
    """Whether a group was computed and holds the variable."""
    return half is not None and variable in half


def halves(
    tree: xr.DataTree, role: str, names: Iterable[str] = SYMBOLS
) -> tuple[xr.Dataset | None, xr.Dataset | None, list[str]]:
    """Theory and ensemble, None if they have no variable name_role; and the names for which either has one."""
    names = list(names)
    theory, ensemble = (
        half if any(has(half, f"{name}_{role}") for name in names) else None
        for half in (group(tree, "theory"), group(tree, "ensemble"))
    )
    return theory, ensemble, [name for name in names if any(has(h, f"{name}_{role}") for h in (theory, ensemble))]


def depth_of(*groups: xr.Dataset | None) -> int:
    """Number of hidden layers, 0 when no group has kernels of layers."""
    return max((one.sizes.get("layer", 0) for one in groups if one is not None), default=0)


def layer_grid(names: Sequence[str], depth: int, label: str) -> tuple[Figure, list[Panel]]:
    """Panels against time; `label` is what the vertical axes of the first column say.

    names: of SYMBOLS. K, if among them, spans the first column; each other name has a row with one scale. Of many
    layers a few are shown. A panel's entry picks its layer.
    """
    rows = [name for name in names if name != "tangent_kernel"]
    beside = ["tangent_kernel"] if "tangent_kernel" in names else []
    layers = some_layers(depth) if rows else []
    mosaic: list[Any] = [beside + [f"{name} {layer}" for layer in layers] for name in rows] or [beside]
    size = (_PANEL[0] * len(mosaic[0]), _PANEL[1] * len(mosaic) + 0.6)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplot_mosaic(mosaic)
    panels = [_panel(axes["tangent_kernel"], "tangent_kernel", None)] if beside else []
    for name in rows:
        row = [axes[f"{name} {layer}"] for layer in layers]
        _share_scale(row)
        panels += [_panel(one, name, layer) for one, layer in zip(row, layers, strict=True)]
    for first in {line[0] for line in mosaic}:
        axes[first].set_ylabel(label)
    for place, one in axes.items():
        style.time_axis(one)
        if place not in mosaic[-1]:
            one.tick_params(labelbottom=False)
            one.set_xlabel("")
    return figure, panels


def _panel(axes: Axes, name: str, layer: int | None) -> Panel:
    title = f"${SYMBOLS[name].format('' if layer is None else layer + 1)}$"
    axes.set_title(title)
    return Panel(axes, name, Entry({} if layer is None else {"layer": layer}, title))


def _share_scale(row: Sequence[Axes]) -> None:
    for one in row[1:]:
        one.sharey(row[0])
        one.tick_params(labelleft=False)


def legend_with_errors(
    figure: Figure,
    theory: xr.Dataset | None,
    ensemble: xr.Dataset | None,
    theory_handle: Callable[[str], Artist] = style.theory_handle,
) -> None:
    """Legend of the theory with bands over points with error bars (networks)."""
    handles: list[Artist] = []
    if theory is not None:
        handles += [theory_handle("theory"), errors.band_handle()]
    if ensemble is not None:
        handles += errors.network_handles(ensemble.width.values)
    style.legend_below(figure, handles, columns=5)
