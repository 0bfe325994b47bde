"""Deep networks: variance accumulates through layers, feature learning changes it and the noise of the kernel."""

import numpy as np
from drawing import GAMMA0, NETWORKS, THEORY, diagonal, headed, in_time, labelled, legend
from entry import Results
from isotropic import Theory
from matplotlib.figure import Figure

import fwdmft
from fwdmft.plotting import FIGURES, style

TITLE = "Deep linear and tanh networks, three hidden layers"
FILES = ("06_deep_linear", "06_deep_tanh", "06_whitened", "06_whitened_theory")
_THEORY = {"neurons": 1024, "replicates": 2, "draws": 256, "draw_width": 8}
_SWEEP = {
    "base": {
        "architecture": {"depth": 2},
        "optimizer": {"steps": 7},
        "theory": _THEORY,
        "ensemble": {"widths": [100], "members": 60},
    },
    "over": {"parameterization.gamma0": [0.5, 2]},
}
QUICK = {
    "06_deep_linear": _SWEEP,
    "06_deep_tanh": _SWEEP,
    "06_whitened": {
        "architecture": {"depth": 2},
        "optimizer": {"steps": 7},
        "data": {"features": 10, "train": 10, "teacher": {"coefficients": [0, 0.31622776601683794]}},
        "ensemble": {"widths": [100], "members": 20},
    },
    "06_whitened_theory": {"architecture": {"depth": 2}, "optimizer": {"steps": 7}, "theory": _THEORY},
}


def figures(results: Results) -> dict[str, Figure]:
    drawn = {}
    for stem in FILES[:2]:
        kind = stem.removeprefix("06_")
        drawn |= {kind: in_time(results[stem]), f"{kind}_layers": headed(_layers(results, stem), results[stem])}
        drawn[f"{kind}_two_time"] = _two_time(results, stem)
    drawn["noise"] = headed(_noise(results), results[FILES[0]])
    return drawn | {"whitened": headed(_whitened(results), results["06_whitened"])}


@style.styled
def _layers(results: Results, stem: str) -> Figure:
    """N Var of Phi^l and G^l in time, a column a layer, the widest networks in colour."""
    tree = results[stem]
    theory, ensemble = (tree[half].to_dataset() for half in ("theory", "ensemble"))
    width, layers = int(ensemble.width[-1]), theory.layer.values
    figure, axes = style.panels(2, len(layers), size=(2.8, 2.3), sharex=True)
    for row, (name, symbol) in zip(axes, (("feature", r"\Phi"), ("gradient", "G")), strict=True):
        variable = f"{name}_kernel_variance"
        for panel, layer in zip(row, layers, strict=True):
            for gamma0, color in zip(theory.gamma0.values, style.shades(theory.sizes["gamma0"]), strict=True):
                here = {"gamma0": gamma0, "layer": layer}
                networks = width * diagonal(ensemble[variable].sel(here).isel(width=-1))
                panel.plot(networks.time, networks, color=color, **NETWORKS)
                panel.plot(theory.time, diagonal(theory[variable].sel(here)), **style.THEORY)
            panel.set_title(rf"${symbol}^{{{layer}}}$")
            panel.set_ylim(bottom=0)
        row[0].set_ylabel(rf"$N\,\mathrm{{Var}}\,{symbol}^\ell$")
    for panel in axes[-1]:
        style.time_axis(panel)
    figure.suptitle(f"networks of width {width}", fontsize=9)
    legend(figure, (f"{gamma0:g}" for gamma0 in theory.gamma0.values), GAMMA0, THEORY)
    return figure


def _two_time(results: Results, stem: str) -> Figure:
    """Heat maps at the largest gamma0."""
    gamma0 = float(results[stem].gamma0.values[-1])
    figure = FIGURES["two_time"](fwdmft.open_result(results.home / stem / f"gamma0={gamma0:g}.nc"))
    assert figure is not None
    return figure


@style.styled
def _noise(results: Results) -> Figure:
    """sqrt(N Var K) / K in time."""
    figure, axes = style.panels(1, 2, size=(3.6, 2.7))
    for panel, stem in zip(axes[0], FILES[:2], strict=True):
        tree = results[stem]
        theory, ensemble = (tree[half].to_dataset() for half in ("theory", "ensemble"))
        values = theory.gamma0.values
        for gamma0, color in zip(values, style.shades(len(values)), strict=True):
            one, other = theory.sel(gamma0=gamma0), ensemble.sel(gamma0=gamma0).isel(width=-1)
            noise = np.sqrt(int(other.width) * diagonal(other["tangent_kernel_variance"]))
            panel.plot(other.time, noise / diagonal(other["tangent_kernel_mean"]), color=color, **NETWORKS)
            noise = np.sqrt(diagonal(one["tangent_kernel_variance"]))
            panel.plot(one.time, noise / diagonal(one["tangent_kernel"]), **style.THEORY)
        labelled(panel, "", r"noise to signal $\sqrt{N\,\mathrm{Var}\,K}\,/\,K$", stem.removeprefix("06_deep_"))
        panel.set_ylim(bottom=0)
        style.time_axis(panel)
    legend(figure, (f"{gamma0:g}" for gamma0 in values), GAMMA0, THEORY)
    return figure


@style.styled
def _whitened(results: Results) -> Figure:
    """N Var f summed over all points, for each width."""
    tree, theory = results["06_whitened"], _theory(results)
    figure, axes = style.panels(1, 1, size=(4.2, 3.2))
    ensemble = tree["ensemble"].to_dataset()
    for width, color in style.width_colors(ensemble.width.values).items():
        total = width * ensemble["prediction_variance"].sel(width=width).isel(output=0).sum("point")
        axes[0, 0].plot(total.time, total, color=color, **NETWORKS)
    count = tree["data"].sizes["point"]
    axes[0, 0].plot(theory.time, theory.variance(count), **style.THEORY)
    labelled(axes[0, 0], "", r"$N\,\sum_\mu \mathrm{Var}\,f_\mu$", f"$P = D = {count}$ whitened points")
    style.time_axis(axes[0, 0])
    style.legend_below(figure, [style.theory_handle("theory"), *style.width_handles(ensemble.width.values)])
    return figure


def _theory(results: Results) -> Theory:
    theory = results["06_whitened_theory"]["theory"].to_dataset()
    f, variance = (theory[name].isel(output=0).values for name in ("prediction", "prediction_variance"))
    none = np.zeros(len(f))  # only variances are compared
    return Theory(theory.time.values, 1 - f[:, 0], variance[:, 0], variance[:, 1], (none, none))


def numbers(results: Results) -> list[str]:
    tree, theory, collected = results["06_whitened"], _theory(results), []
    count = tree["data"].sizes["point"]
    for width in tree["ensemble/width"].values.tolist():
        here = tree["ensemble"].to_dataset().sel(width=width)
        total = width * here["prediction_variance"].isel(output=0).sum("point").values
        peak = int(np.argmax(theory.variance(count)))
        collected.append(
            f"P = D = {count}, N = {width}: summed N Var f at t = {theory.time[peak]} is {total[peak]:.3g} "
            f"(theory {theory.variance(count)[peak]:.3g}, of which {theory.along[peak]:.3g} along the target)"
        )
    return collected
