"""Covariance of the kernels of different layers at initialisation: accumulated along the network, and one-sided."""

import numpy as np
import xarray as xr
from drawing import POINTS, headed, labelled
from entry import Results
from layer_kernels import closed_form, measure
from matplotlib.figure import Figure

from fwdmft.plotting import style
from fwdmft.plotting.entries import mean_diagonal
from fwdmft.plotting.errors import TEXT, bars, network_handles

TITLE = "Covariance of kernels across layers at initialisation"
FILES = ("08_layers", "08_widths")
_QUICK_THEORY = {"neurons": 1024, "replicates": 2, "draws": 256, "draw_width": 8}
QUICK = {
    "08_layers": {"base": {"architecture": {"depth": 2}, "theory": _QUICK_THEORY}},
    "08_widths": {
        "base": {
            "architecture": {"depth": 2},
            "theory": _QUICK_THEORY,
            "ensemble": {"widths": [10, 100], "members": 200},
        }
    },
}
ACTIVATIONS = ("linear", "relu")
PAIRS = (("feature", "feature"), ("gradient", "gradient"), ("feature", "gradient"))
SYMBOLS = {"feature": r"\Phi", "gradient": "G"}


def figures(results: Results) -> dict[str, Figure]:
    return {
        "layer_covariance": headed(_covariance(results), results[FILES[0]]),
        "layer_widths": headed(_widths(results), results[FILES[1]]),
    }


def _measured(results: Results) -> xr.Dataset:
    depth = results.settings(FILES[0])["architecture"]["depth"]
    size = {"width": 64, "members": 500} if results.quick else {"width": 250, "members": 400}
    return results.measured("08_members", lambda: measure(ACTIVATIONS, depth, **size))


def _theory(results: Results, activation: str, kernels: tuple[str, str]) -> np.ndarray:
    """(layer, layer') of the theory."""
    covariance = results[FILES[0]]["theory/layer_covariance"].sel(activation=activation).isel(time=0)
    one = covariance.sel(kernel=kernels[0], kernel_prime=kernels[1])
    return one.transpose("layer", "layer_prime").values


@style.styled
def _covariance(results: Results) -> Figure:
    """N Cov with the kernel of a layer in the middle and of the first and last, against the other layer."""
    measured = _measured(results)
    depth = measured.sizes["layer"]
    figure, axes = style.panels(2, 3, size=(3.0, 2.5), sharex=True)
    shown = sorted({0, depth // 2, depth - 1})
    for row, activation in zip(axes, ACTIVATIONS, strict=True):
        for panel, kernels in zip(row, PAIRS, strict=True):
            here = measured.sel(activation=activation, kernel=kernels[0], kernel_prime=kernels[1])
            theory = _theory(results, activation, kernels)
            for layer, color in zip(shown, style.shades(len(shown)), strict=True):
                values, errors = (here[name].isel(layer=layer) for name in ("covariance", "error"))
                label = rf"$\ell = {layer + 1}$"
                bars(panel, here.layer_prime, values, errors, **POINTS, color=color, label=label)
                panel.plot(here.layer_prime, theory[layer], **style.THEORY)
            first, second = (SYMBOLS[name] for name in kernels)
            labelled(panel, "", rf"$N\,\mathrm{{Cov}}({first}^\ell, {second}^{{m}})$", activation)
    for panel in axes[-1]:
        panel.set_xlabel("layer $m$")
    handles, words = axes[0, 0].get_legend_handles_labels()
    theory = style.theory_handle("theory")
    figure.legend([theory, *handles], ["theory", *words], loc="outside lower center", ncols=4)
    figure.suptitle(f"networks of width {int(measured.width)} ({TEXT})", fontsize=9)
    return figure


@style.styled
def _widths(results: Results) -> Figure:
    """N Var of each layer's kernels at several widths."""
    tree = results[FILES[1]]
    figure, axes = style.panels(2, 2, size=(3.4, 2.5), sharex=True)
    for row, activation in zip(axes, ACTIVATIONS, strict=True):
        for panel, kernel in zip(row, SYMBOLS, strict=True):
            ensemble, theory = (tree[half].to_dataset().sel(activation=activation) for half in ("ensemble", "theory"))
            name = f"{kernel}_kernel_variance"
            for width, color in style.width_colors(ensemble.width.values).items():
                here = ensemble.sel(width=width).isel(time=0)
                value, error = (width * mean_diagonal(here[name + end].load()) for end in ("", "_standard_error"))
                bars(panel, here.layer, value, error, **POINTS, color=color)
            panel.plot(theory.layer, mean_diagonal(theory[name].isel(time=0).load()), **style.THEORY)
            labelled(panel, "", rf"$N\,\mathrm{{Var}}\,{SYMBOLS[kernel]}^\ell$", activation)
    for panel in axes[-1]:
        style.layer_axis(panel)
    widths = network_handles(tree["ensemble/width"].values)
    style.legend_below(figure, [style.theory_handle("theory"), *widths], entry=1.6)
    return figure


def numbers(results: Results) -> list[str]:
    measured, collected = _measured(results), []
    depth = measured.sizes["layer"]
    for activation in ACTIVATIONS:
        for kernels in PAIRS:
            here = measured.sel(activation=activation, kernel=kernels[0], kernel_prime=kernels[1])
            closed, theory = closed_form(activation, depth)[kernels], _theory(results, activation, kernels)
            score = ((here["covariance"] - closed) / here["error"]).values
            names = " and ".join(SYMBOLS[name].replace("\\", "") for name in kernels)
            collected.append(
                f"{activation}, {names}: networks from closed form rms {np.sqrt(np.mean(score**2)):.2f} "
                f"(at most {abs(score).max():.1f}) standard errors, "
                f"{np.sqrt(np.mean((here['covariance'].values - closed) ** 2)):.2f} of {closed.max():g}; "
                f"theory from closed form {np.sqrt(np.mean((theory - closed) ** 2)):.3f} rms"
            )
    return collected
