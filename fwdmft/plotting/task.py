"""How single networks and their average do the task at the last step, against width: loss, accuracy, variance."""

from __future__ import annotations

from typing import Any

import xarray as xr
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullFormatter, PercentFormatter

from fwdmft.plotting import errors, style
from fwdmft.plotting.entries import splits_present
from fwdmft.results.comparison import group

_SINGLE: dict[str, Any] = {"marker": "o", "linestyle": "-"}
_AVERAGED: dict[str, Any] = {"marker": "s", "linestyle": "--", "markerfacecolor": "white"}
_SPLIT_COLORS = {"train": style.OUTPUT_COLORS[0], "test": style.OUTPUT_COLORS[1]}
_PANELS = {
    "loss": (r"loss $\mathcal{L}$", "loss_mean", "ensembled_loss"),
    "accuracy": ("accuracy", "accuracy_mean", "ensembled_accuracy"),
    "variance": (r"$\mathrm{Var}\,f_N\,/\,(\mathrm{E}\,f_N)^2$", "prediction_relative_variance", ""),
}


@style.styled
def task_figure(tree: xr.DataTree) -> Figure | None:
    """A panel each for loss, accuracy (where targets are classes) and relative variance of the predictions."""
    ensemble = group(tree, "ensemble")
    if ensemble is None or "ensembled_loss_standard_error" not in ensemble:
        return None
    drawn = [name for name, (_, single, _) in _PANELS.items() if f"{single}_standard_error" in ensemble]
    if not drawn:
        return None
    last, splits = ensemble.isel(time=-1), splits_present(tree)
    figure, axes = style.panels(1, len(drawn), size=(3.3, 3.0))
    for panel, name in zip(axes[0], drawn, strict=True):
        _panel(panel, last, name, splits)
    style.legend_below(figure, _handles(splits), columns=4, entry=2.3)
    return figure


def _panel(panel: Axes, last: xr.Dataset, name: str, splits: list[str]) -> None:
    label, single, averaged = _PANELS[name]
    for split in splits:
        for variable, look in ((single, _SINGLE), (averaged, _AVERAGED)):
            if f"{variable}_standard_error" in last:
                value, error = (last[one].sel(split=split) for one in (variable, f"{variable}_standard_error"))
                draw = errors.share_bars if name == "accuracy" else errors.bars
                draw(panel, last.width, value, error, color=_SPLIT_COLORS[split], linewidth=1.2, fmt="", **look)
    panel.set(xscale="log", xlabel="width $N$", ylabel=label)
    panel.set_title("last step", pad=9)  # room for points at 100 %
    panel.set_xticks(last.width.values, [str(width) for width in last.width.values])
    panel.xaxis.set_minor_formatter(NullFormatter())
    if name == "accuracy":
        panel.yaxis.set_major_formatter(PercentFormatter(1.0))
        low, high = panel.get_ylim()
        panel.set_ylim(max(low, 0.0), min(high, 1.0))
    if name == "variance" and float(last[single].min()) > 0:
        panel.set_yscale("log")


def _handles(splits: list[str]) -> list[Artist]:
    looks = ((f"single networks (mean, {errors.TEXT})", _SINGLE), (f"averaged predictor ({errors.TEXT})", _AVERAGED))
    handles: list[Artist] = [Line2D([], [], color="0.4", label=label, **look) for label, look in looks]
    return handles + [Line2D([], [], color=_SPLIT_COLORS[split], label=f"{split} points") for split in splits]
