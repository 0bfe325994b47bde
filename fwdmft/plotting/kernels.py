"""Heat maps of the tangent kernel and the last feature kernel at the start, middle and end of training."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from fwdmft.plotting import style
from fwdmft.plotting.entries import output_count, three_times
from fwdmft.results.comparison import group

_NAMES = {"tangent_kernel": "tangent kernel $K$", "feature_kernel": r"feature kernel $\Phi^{{{}}}$"}


class Image(NamedTuple):
    """One (point, point_prime) matrix and the title of its panel."""

    values: np.ndarray
    title: str


@style.styled
def kernels_figure(tree: xr.DataTree) -> Figure | None:
    """Rows K (mean over outputs) and last-layer Phi; columns theory at three times, then the widest ensemble.

    Without theory the three times are that ensemble's. Points are ordered by split, then by target; a row
    shares one colour scale, which is symmetric about zero when the row has negative entries.
    """
    rows = {name: images for name in _NAMES if (images := _images(tree, name))}
    if not rows:
        return None
    order, trained = _order(tree)
    figure, axes = style.panels(len(rows), max(map(len, rows.values())), size=(2.7, 2.6))
    for row, (name, images) in zip(axes, rows.items(), strict=True):
        shown = _show_row(row, images, order, trained)
        figure.colorbar(shown, ax=list(row), shrink=0.85, label=_label(tree, name))
    return figure


def _images(tree: xr.DataTree, name: str) -> list[Image]:
    theory, ensemble = group(tree, "theory"), group(tree, "ensemble")
    networks = None
    if ensemble is not None and f"{name}_mean" in ensemble:
        widest = int(ensemble.width.max())
        networks = ensemble[f"{name}_mean"].sel(width=widest)
    if theory is not None and name in theory:
        images = _at_three_times(theory[name], "theory")
        return images if networks is None else [*images, *_at_three_times(networks, f"$N = {widest}$")[-1:]]
    return [] if networks is None else _at_three_times(networks, f"$N = {widest}$")


def _at_three_times(kernel: xr.DataArray, source: str) -> list[Image]:
    times = kernel.time.values
    return [Image(_matrix(kernel.isel(time=one)), f"{source}, $t = {times[one]}$") for one in three_times(len(times))]


def _matrix(kernel: xr.DataArray) -> np.ndarray:
    """(point, point_prime): the last layer, averaged over equal outputs, (1/C) sum_c K_cc."""
    last = kernel.isel(layer=-1) if "layer" in kernel.dims else kernel
    if "output" not in last.dims:
        return last.transpose("point", "point_prime").values
    ordered = last.transpose("point", "output", "point_prime", "output_prime").values
    return np.einsum("icjc->ij", ordered) / last.sizes["output"]


def _order(tree: xr.DataTree) -> tuple[np.ndarray, int]:
    """Points sorted by split (training first), then by target; and the number of training points."""
    data = tree["data"].to_dataset()
    train = data["split"].values == "train"
    y = data["y"].values
    label = y[:, 0] if y.shape[1] == 1 else y.argmax(axis=1)
    return np.lexsort((label, ~train)), int(train.sum())


def _show_row(row: np.ndarray, images: list[Image], order: np.ndarray, trained: int) -> AxesImage:
    everything = np.concatenate([image.values.ravel() for image in images])
    largest = float(abs(everything).max())
    signed = everything.min() < 0
    scale = {"vmin": -largest if signed else 0.0, "vmax": largest, "cmap": "RdBu_r" if signed else "viridis"}
    for panel, image in zip(row, images, strict=False):
        shown = panel.imshow(image.values[np.ix_(order, order)], interpolation="nearest", **scale)
        _decorate(panel, image.title, len(order), trained)
    for unused in row[len(images) :]:
        unused.set_visible(False)
    return shown


def _decorate(panel: Axes, title: str, count: int, trained: int) -> None:
    style.bare(panel)
    panel.set_title(title)
    if trained in (0, count):
        return
    for line in (panel.axhline, panel.axvline):
        line(trained - 0.5, color="white", linewidth=1.6)
        line(trained - 0.5, color="black", linewidth=0.6)
    centres = [(trained - 1) / 2, (trained + count - 1) / 2]
    panel.set_xticks(centres, ["train", "test"])
    panel.set_yticks(centres, ["train", "test"], rotation=90, va="center")
    panel.tick_params(length=0)


def _label(tree: xr.DataTree, name: str) -> str:
    if name == "tangent_kernel":
        return _NAMES[name] + (", mean over outputs" if output_count(tree) > 1 else "")
    halves = [half for key in ("theory", "ensemble") if (half := group(tree, key)) is not None]
    kernels = [half[key] for half in halves for key in (name, f"{name}_mean") if key in half]
    return _NAMES[name].format(kernels[0].sizes.get("layer", "L"))
