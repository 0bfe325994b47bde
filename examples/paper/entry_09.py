"""Convolutional networks: theory on small images, and what width does to networks that learn ten classes."""

from typing import Any

import numpy as np
import xarray as xr
from drawing import GAMMA0, POINTS, headed, in_time, labelled, legend
from entry import Results
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

import fwdmft
from fwdmft.plotting import FIGURES, style
from fwdmft.plotting.errors import TEXT, bars

TITLE = "Convolutional networks: width and gamma0"
FILES = ("09_gamma0", "09_width")
QUICK = {
    "09_gamma0": {
        "base": {
            "architecture": {"depth": 1},
            "optimizer": {"steps": 11},
            "theory": {"neurons": 512, "replicates": 2, "draws": 256, "draw_width": 8},
            "ensemble": {"widths": [32], "members": 60},
        },
        "over": {"parameterization.gamma0": [0.5, 2]},
    },
    "09_width": {
        "base": {
            "architecture": {"depth": 2},
            "optimizer": {"epochs": 4, "batch": {"size": 25}},
            "data": {"train": 200, "test": 100},
            "ensemble": {"widths": [4, 16], "members": 4, "save_every": 4, "kernel_points": 20},
        },
        "over": {"parameterization.gamma0": [0.2, 4]},
    },
}
SINGLE: dict[str, Any] = {**POINTS, "fmt": "o-"}
AVERAGED: dict[str, Any] = {**POINTS, "fmt": "s--", "markerfacecolor": "white"}
PANELS = (
    ("loss_mean", r"test loss $\mathcal{L}$"),
    ("loss_ratio", r"$\mathcal{L}[\mathrm{E} f_N]\,/\,\mathrm{E}\,\mathcal{L}[f_N]$ (test)"),
    ("prediction_relative_variance", r"$\mathrm{Var}\,f_N\,/\,(\mathrm{E} f_N)^2$"),
    ("last_feature_kernel_alignment", r"alignment of $\mathrm{E}\,\Phi^L_N$ with targets"),
)


def figures(results: Results) -> dict[str, Figure]:
    return {
        "gamma0": in_time(results[FILES[0]]),
        "task": headed(_task(results), results[FILES[1]]),
        "collapse": _collapse(results),
    }


def _at_the_end(results: Results) -> xr.Dataset:
    """The ensembles of the task at the last step."""
    return results[FILES[1]]["ensemble"].to_dataset().isel(time=-1).load()


@style.styled
def _task(results: Results) -> Figure:
    """What is lost at finite width, and how much of it an average over networks gets back, at the last step."""
    ensemble = _at_the_end(results)
    gamma0 = ensemble.gamma0.values
    figure, axes = style.panels(2, 2, size=(3.8, 2.8))
    for panel, (name, label) in zip(axes.flat, PANELS, strict=True):
        for value, color in zip(gamma0, style.shades(len(gamma0)), strict=True):
            here = ensemble.sel(gamma0=value)
            _against_width(panel, here, name, SINGLE | {"color": color})
            if name == "loss_mean":
                _against_width(panel, here, "ensembled_loss", AVERAGED | {"color": color})
        labelled(panel, "width $N$", label, xscale="log")
        panel.set_xticks(ensemble.width.values, [str(width) for width in ensemble.width.values], minor=False)
        panel.minorticks_off()
    axes[0, 0].set_yscale("log")
    axes[1, 0].set_yscale("log")
    kinds = ((SINGLE, "single networks"), (AVERAGED, "averaged predictor"))
    handles = []
    for look, label in kinds:
        face = look.get("markerfacecolor", "gray")
        points = Line2D([], [], color="gray", marker=look["fmt"][0], linestyle=look["fmt"][1:], markerfacecolor=face)
        points.set(markersize=look["markersize"], label=f"{label} ({TEXT})")
        handles.append(points)
    legend(figure, (f"{value:g}" for value in gamma0), GAMMA0, handles)
    return figure


def _against_width(panel: Axes, ensemble: xr.Dataset, name: str, look: dict[str, Any]) -> None:
    value, error = (ensemble[name + end] for end in ("", "_standard_error"))
    if "split" in value.dims:
        value, error = value.sel(split="test"), error.sel(split="test")
    bars(panel, ensemble.width, value, error, **look)


def _collapse(results: Results) -> Figure:
    """Training curves and their rates at the largest gamma0."""
    gamma0 = float(results[FILES[1]].gamma0.values[-1])
    figure = FIGURES["collapse"](fwdmft.open_result(results.home / FILES[1] / f"gamma0={gamma0:g}.nc"))
    assert figure is not None
    return figure


def numbers(results: Results) -> list[str]:
    """Of the task: losses at the smallest and largest width, rates, and how well curves collapse."""
    whole, collected = _at_the_end(results), []
    for gamma0 in whole.gamma0.values:
        here = whole.sel(gamma0=gamma0)
        losses = ", ".join(
            f"N = {int(one.width)}: {_with_error(one, 'loss_mean')} (averaged {_with_error(one, 'ensembled_loss')}, "
            f"ratio {_with_error(one, 'loss_ratio')}, accuracy {_with_error(one, 'accuracy_mean')})"
            for one in (here.sel(split="test").isel(width=place) for place in (0, -1))
        )
        collected.append(f"gamma0 = {gamma0:g}: test loss at the end {losses}")
        if np.isfinite(here["training_rate_limit"]):
            apart, collapsed = (
                float(here[name].max()) for name in ("loss_curve_distance", "collapsed_loss_curve_distance")
            )
            collected.append(
                f"gamma0 = {gamma0:g}: R_inf = {_with_error(here, 'training_rate_limit')}, "
                f"a = {_with_error(here, 'training_rate_shift')}; largest rms distance of log loss curves from the "
                f"widest networks' {apart:.2g}, at scaled steps {collapsed:.2g}"
            )
    return collected


def _with_error(values: xr.Dataset, name: str) -> str:
    value, error = (values[name + end].squeeze().item() for end in ("", "_standard_error"))
    return f"{value:.3g} +- {error:.1g}"
