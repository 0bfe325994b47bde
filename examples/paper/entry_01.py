"""Two-layer tanh: trajectories, means and variances, the 1/N law, the distribution of the kernel, single neurons."""

import numpy as np
import xarray as xr
from drawing import GAMMA0, diagonal, headed, in_time, labelled, legend
from entry import Results
from matplotlib.figure import Figure
from two_layer import member_kernels, single_neuron

from fwdmft.plotting import FIGURES, SWEEP_FIGURES, errors, style
from fwdmft.plotting.scaling import fitted_power
from fwdmft.plotting.sweep_panels import lines
from fwdmft.results.comparison import squared_deviation

TITLE = "Two-layer tanh network on one training point"
FILES = ("01_two_layer_tanh", "01_widths", "01_richness")
_QUICK = {
    "optimizer": {"steps": 31},
    "theory": {"neurons": 512, "replicates": 2, "draws": 1024, "draw_width": 8, "bias": False},
    "ensemble": {"widths": [25, 100], "members": 200},
}
QUICK = {
    "01_two_layer_tanh": {"base": _QUICK, "over": {"parameterization.gamma0": [0.5, 4]}},
    "01_widths": {**_QUICK, "ensemble": {"widths": [5, 25, 100, 400], "members": 200}},
    "01_richness": {
        "base": {**_QUICK, "ensemble": {"widths": [100], "members": 200}},
        "over": {"parameterization.gamma0": [0.01, 10]},
    },
}


def figures(results: Results) -> dict[str, Figure]:
    sweep, richness, scaling = results[FILES[0]], results[FILES[2]], FIGURES["scaling"](results[FILES[1]])
    assert scaling is not None
    at_the_end = SWEEP_FIGURES["at_the_end"](richness, next(lines(richness)))
    assert at_the_end is not None
    return {
        "trajectories": headed(_trajectories(sweep), sweep),
        "gamma0": in_time(sweep),
        "deviation": scaling,
        "richness": at_the_end,
        "distribution": headed(_distribution(results), sweep),
        "single_neuron": headed(_single_neuron(results), sweep),
    }


@style.styled
def _trajectories(tree: xr.DataTree) -> Figure:
    """Networks one by one at each width, infinite width, and two of its standard deviations of order N^(-1/2)."""
    widths = tree["ensemble/width"].values
    figure, axes = style.panels(1, len(widths), size=(3.0, 2.6), sharey=True)
    first = {"gamma0": min(1, tree.sizes["gamma0"] - 1), "point": 0, "output": 0}
    theory, ensemble = (tree[half].to_dataset().isel(first) for half in ("theory", "ensemble"))
    mean, spread = theory["prediction"].values, np.sqrt(theory["prediction_variance"].values)
    for panel, width, color in zip(axes[0], widths, style.width_colors(widths).values(), strict=True):
        sampled = ensemble["sample_prediction"].sel(width=width)
        panel.plot(sampled.time, sampled.transpose("time", "sample"), color=color, linewidth=0.8, alpha=0.7)
        low, high = (mean + sign * 2 * spread / width**0.5 for sign in (-1, 1))
        panel.fill_between(theory.time, low, high, **style.BAND)
        panel.plot(theory.time, mean, **style.THEORY)
        panel.set_title(f"$N = {width}$")
        style.time_axis(panel)
    axes[0, 0].set_ylabel(rf"$f$ (training point), {GAMMA0} = {float(theory.gamma0):g}")
    handles = [style.theory_handle("infinite width"), errors.band_handle(r"$\pm 2\,\sqrt{\Sigma / N}$")]
    style.legend_below(figure, [*handles, *style.width_handles(widths)], columns=5)
    return figure


@style.styled
def _distribution(results: Results) -> Figure:
    """K of single networks at a late time, against the Gaussian N(K + b/N, Sigma/N)."""
    theory = results[FILES[0]]["theory"].to_dataset()
    shown = theory.gamma0.values
    figure, axes = style.panels(1, len(shown), size=(2.7, 2.5))
    for panel, gamma0, color in zip(axes[0], shown, style.shades(len(shown)), strict=True):
        values, mean, sigma = _kernels(results, gamma0)
        panel.hist(values, bins=40, density=True, color=color, alpha=0.5)
        grid = np.linspace(mean - 4 * sigma, mean + 4 * sigma, 200)
        panel.plot(grid, np.exp(-(((grid - mean) / sigma) ** 2) / 2) / (sigma * np.sqrt(2 * np.pi)), **style.THEORY)
        labelled(panel, f"kernel $K$ at $t = {int(theory.time[-1])}$", "", f"{GAMMA0} = {gamma0:g}")
    axes[0, 0].set_ylabel(f"density over networks, $N = {_WIDTH}$")
    style.legend_below(figure, [style.theory_handle(r"theory, Gaussian of $K + b/N$ and $\Sigma/N$")])
    return figure


_WIDTH = 100


def _kernels(results: Results, gamma0: float) -> tuple[np.ndarray, float, float]:
    """K of single networks at the last time; mean and standard deviation of the theory at that width."""
    theory = results[FILES[0]]["theory"].to_dataset().sel(gamma0=gamma0).isel(time=-1)
    descent = results.settings(FILES[0])["optimizer"]
    members = 1000 if results.quick else 10000
    values = member_kernels(gamma0, descent["learning_rate"], descent["steps"], _WIDTH, members)[-1]
    bias = diagonal(theory["tangent_kernel_bias"]).item() if "tangent_kernel_bias" in theory else 0.0
    mean = diagonal(theory["tangent_kernel"]).item() + bias / _WIDTH
    return values, mean, np.sqrt(diagonal(theory["tangent_kernel_variance"]).item() / _WIDTH)


@style.styled
def _single_neuron(results: Results) -> Figure:
    """kappa(t) and D(T, s) in the field of infinite width."""
    theory = results[FILES[0]]["theory"].to_dataset()
    eta = results.settings(FILES[0])["optimizer"]["learning_rate"]
    figure, axes = style.panels(1, 2, size=(3.8, 2.8))
    for gamma0, color in zip(theory.gamma0.values, style.shades(theory.sizes["gamma0"]), strict=True):
        delta = 1 - theory["prediction"].sel(gamma0=gamma0).isel(point=0, output=0).values
        variance, response = single_neuron(float(gamma0), eta, delta)
        axes[0, 0].plot(theory.time, variance, color=color, linewidth=2)
        axes[0, 1].plot(theory.time[:-1], response[-1, :-1], color=color, linewidth=2)
    for panel in axes[0]:
        style.time_axis(panel)
    axes[0, 0].set(ylabel=r"$\kappa(t, t)$", title="variance of a neuron's share of $K$")
    axes[0, 1].set(xlabel="training step $s$", ylabel="$D(T, s)$", title=r"response of $K(T)$ to $\Delta(s)$")
    legend(figure, (f"{gamma0:g}" for gamma0 in theory.gamma0.values), GAMMA0)
    return figure


def numbers(results: Results) -> list[str]:
    tree = results[FILES[1]]
    theory, ensemble = (tree[half].to_dataset() for half in ("theory", "ensemble"))
    collected = []
    for name, symbol in (("prediction", "f"), ("tangent_kernel", "K")):
        measured = squared_deviation(theory, ensemble, name)
        for least in (1, 25):
            kept = [width for width in measured.value.width.values if width >= least]
            slope, error, _ = fitted_power(type(measured)(*(part.sel(width=kept) for part in measured)))
            collected.append(f"squared deviation of {symbol}: slope {slope:.3f} +- {error:.3f} for N >= {kept[0]}")
    for gamma0 in results[FILES[0]].gamma0.values:
        values, mean, sigma = _kernels(results, float(gamma0))
        score = (values - values.mean()) / values.std()
        collected.append(
            f"K at N = {_WIDTH}, gamma0 = {gamma0}: mean {values.mean():.4f} (theory {mean:.4f}), standard deviation "
            f"{values.std():.4f} ({sigma:.4f}), skewness {np.mean(score**3):.2f}, excess {np.mean(score**4) - 3:.2f}"
        )
    return collected
