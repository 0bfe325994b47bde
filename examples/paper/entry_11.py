"""A recurrent network: what learning does to the kernels of its steps, from lazy to rich, and how they fluctuate."""

import numpy as np
import xarray as xr
from drawing import GAMMA0, NETWORKS, headed, in_time, legend
from entry import Results
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fwdmft.plotting import scales, style
from fwdmft.plotting.entries import mean_diagonal
from fwdmft.plotting.errors import band, band_handle, bars, dashes, network_handles

TITLE = "Recurrent network: kernels of its steps"
FILES = ("11_recurrent",)
QUICK = {
    FILES[0]: {
        "base": {
            "optimizer": {"steps": 9},
            "data": {"length": 2, "train": 2, "test": 1},
            "theory": {"save_every": 4, "neurons": 512, "replicates": 2, "draws": 256, "draw_width": 8, "bias": False},
            "ensemble": {"widths": [16, 32], "members": 60, "save_every": 4},
        }
    }
}
KERNELS = {"feature": r"\Phi^\ell", "gradient": r"G^\ell"}


def figures(results: Results) -> dict[str, Figure]:
    tree = results[FILES[0]]
    return {
        "steps": headed(_steps(tree), tree),
        "width": headed(_width(tree), tree),
        "gamma0": in_time(tree),
    }


@style.styled
def _steps(tree: xr.DataTree) -> Figure:
    """Of each step: Phi and G, mean over points of their diagonal, and how far Phi is aligned with the targets."""
    theory, ensemble = _halves(tree)
    shown = {
        **{rf"${symbol}(\mu, \mu)$": _mean(kernel) for kernel, symbol in KERNELS.items()},
        r"alignment of $\Phi^\ell$ with $y$": ("feature_kernel_alignment", "feature_kernel_alignment"),
    }
    steps = theory.layer.values
    figure, axes = style.panels(len(shown), len(steps), size=(2.5, 1.9), sharex=True, sharey="row")
    for row, (label, (of_theory, of_networks)) in zip(axes, shown.items(), strict=True):
        for panel, step in zip(row, steps, strict=True):
            for value, color in zip(theory.gamma0.values, style.shades(theory.sizes["gamma0"]), strict=True):
                here = {"gamma0": value, "layer": step}
                networks = _diagonal(ensemble[of_networks]).sel(here).isel(width=-1)
                panel.plot(networks.time, networks, **NETWORKS, color=color)
                panel.plot(theory.time, _diagonal(theory[of_theory]).sel(here), **style.THEORY)
        row[0].set_ylabel(label)
    for panel, step in zip(axes[0], steps, strict=True):
        panel.set_title(rf"step $\ell = {step}$ of the sequence")
    for panel in axes[-1]:
        style.time_axis(panel)
    widest = int(ensemble.width.values[-1])
    legend(
        figure,
        (f"{value:g}" for value in theory.gamma0.values),
        f"networks, $N$ = {widest}, {GAMMA0}",
        [style.theory_handle("infinite width")],
        columns=3,
    )
    return figure


@style.styled
def _width(tree: xr.DataTree) -> Figure:
    """N Var of the kernels of each step at the end of training, and N Var K in time, at three widths."""
    theory, ensemble = _halves(tree)
    names = [*(f"{kernel}_kernel_variance" for kernel in KERNELS), "tangent_kernel_variance"]
    figure, axes = style.panels(theory.sizes["gamma0"], len(names), size=(2.9, 2.2), sharex="col")
    for row, value in zip(axes, theory.gamma0.values, strict=True):
        for panel, name in zip(row, names, strict=True):
            at = {"gamma0": value} if name.startswith("tangent") else {"gamma0": value, "time": theory.time.values[-1]}
            along = "time" if name.startswith("tangent") else "layer"
            _fluctuations(panel, theory.sel(at), ensemble.sel(at), name, along)
        for panel, symbol, when in zip(row, (*KERNELS.values(), "K"), ("after training",) * 2 + ("",), strict=True):
            panel.set_ylabel(rf"$N\,\mathrm{{Var}}\,{symbol}$")
            panel.set_title(f"{GAMMA0} = {value:g} {when}")
            scales.from_zero(panel)
    for panel in axes[-1]:
        panel.set_xlabel(r"step $\ell$ of the sequence")
        panel.set_xticks(theory.layer.values)
    style.time_axis(axes[-1, -1])
    handles = [style.theory_handle("theory"), band_handle(), *network_handles(ensemble.width.values)]
    style.legend_below(figure, handles, columns=3)
    return figure


def _fluctuations(panel: Axes, theory: xr.Dataset, ensemble: xr.Dataset, name: str, along: str) -> None:
    """N Var, mean over points of the diagonal; errors of entries are averaged, an upper bound."""
    value, error = (_diagonal(theory[name + end]) for end in ("", "_standard_error"))
    if along == "time":
        panel.plot(value.time, value, **style.THEORY)
        band(panel, value.time, value, error)
    else:
        dashes(panel, value.layer, value, error)
    apart = 0.1 if along == "layer" else 0.0
    for place, (width, color) in enumerate(style.width_colors(ensemble.width.values).items()):
        measured, spread = (width * _diagonal(ensemble[name + end]).sel(width=width) for end in ("", "_standard_error"))
        bars(panel, measured[along] + apart * (place - 1), measured, spread, color=color, markersize=4, zorder=6)


def _halves(tree: xr.DataTree) -> tuple[xr.Dataset, xr.Dataset]:
    return tree["theory"].to_dataset().load(), tree["ensemble"].to_dataset().load()


def _mean(kernel: str) -> tuple[str, str]:
    """Names of a kernel in the theory and among networks."""
    return f"{kernel}_kernel", f"{kernel}_kernel_mean"


def _diagonal(values: xr.DataArray) -> xr.DataArray:
    """Mean over points of the diagonal of a kernel; anything else as it is."""
    return mean_diagonal(values) if "point_prime" in values.dims else values


def numbers(results: Results) -> list[str]:
    """Kernels of steps before and after training, and how far single networks are from them."""
    theory, ensemble = _halves(results[FILES[0]])
    collected = []
    for value in theory.gamma0.values:
        for kernel in KERNELS:
            name = f"{kernel}_kernel"
            mean, variance = (_diagonal(theory[n]).sel(gamma0=value) for n in (name, f"{name}_variance"))
            spread = np.sqrt(variance.values) / mean.values
            moved = mean.isel(time=-1).values / mean.isel(time=0).values - 1
            collected.append(
                f"gamma0 = {value:g}, {kernel} kernels of steps: training changes them by {_listed(moved, '+.1%')}; "
                f"sqrt(N Var) by mean {_listed(spread[:, 0], '.2f')} before, {_listed(spread[:, -1], '.2f')} after"
            )
        aligned = theory["feature_kernel_alignment"].sel(gamma0=value)
        collected.append(
            f"gamma0 = {value:g}, alignment of Phi with y: {_listed(aligned.isel(time=0).values, '.3f')} before, "
            f"{_listed(aligned.isel(time=-1).values, '.3f')} after; training loss at the end "
            f"{float(theory['loss'].sel(gamma0=value, split='train').isel(time=-1)):.3g}"
        )
    return collected


def _listed(values: np.ndarray, form: str) -> str:
    return ", ".join(format(value, form) for value in values)
