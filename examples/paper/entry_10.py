"""Perturbation theory: N Var to first order in gamma0^2, against the full theory."""

import numpy as np
from drawing import GAMMA0, SECOND, diagonal, headed, labelled, second_handle
from entry import Results
from linear_network import expansion
from matplotlib.figure import Figure

from fwdmft.plotting import style

TITLE = "Small gamma0: perturbation theory of the two-layer variance, and where it breaks"
FILES = ("10_perturbation",)
QUICK = {
    "10_perturbation": {
        "base": {
            "optimizer": {"learning_rate": 0.05, "steps": 41},
            "theory": {"neurons": 512, "replicates": 4, "draws": 1024, "draw_width": 8},
        },
        "over": {"parameterization.gamma0": [0.05, 0.25, 2]},
    }
}
ACTIVATIONS = ("linear", "tanh")
BROKEN = 0.1


def figures(results: Results) -> dict[str, Figure]:
    return {"perturbation": headed(_figure(results), results[FILES[0]])}


@style.styled
def _figure(results: Results) -> Figure:
    """N Var K and N Var f halfway and at the last step, against gamma0."""
    figure, axes = style.panels(2, 2, size=(3.6, 2.6), sharex=True)
    for row, (name, symbol) in zip(axes, (("tangent_kernel", "K"), ("prediction", "f")), strict=True):
        for panel, activation in zip(row, ACTIVATIONS, strict=True):
            highest = 0.0
            for place, color in zip(times(results), style.shades(3)[::2], strict=True):
                gamma0, full, first = compared(results, activation, name, place)
                time = int(results[FILES[0]]["theory/time"].values[place])
                panel.plot(gamma0, full, **{**style.THEORY, "color": color})
                panel.plot(gamma0, first, **{**SECOND, "color": color}, label=f"$t = {time}$")
                highest = max(highest, full.max())
            panel.set_ylim(0, 1.2 * highest)
            labelled(panel, "", rf"$N\,\mathrm{{Var}}\,{symbol}$", activation, xscale="log")
    for panel in axes[-1]:
        panel.set_xlabel(f"richness {GAMMA0}")
    axes[0, 0].legend(title="time (steps)")
    first = second_handle(r"first order in $\gamma_0^2$", color="black")
    style.legend_below(figure, [style.theory_handle("full theory"), first])
    return figure


def times(results: Results) -> tuple[int, int]:
    """Positions of two times: when N Var f is about largest, and the last."""
    variance = results[FILES[0]]["theory/prediction_variance"].isel(gamma0=0, point=0, output=0)
    return int(variance.sel(activation="linear").values.argmax()), variance.sizes["time"] - 1


def compared(results: Results, activation: str, name: str, place: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(gamma0, N Var of the full theory, N Var at gamma0 = 0 + gamma0^2 times its slope) at one time."""
    theory = results[FILES[0]]["theory"].to_dataset().sel(activation=activation).isel(time=place)
    gamma0 = theory.gamma0.values
    full = diagonal(theory[f"{name}_variance"]).values
    if activation == "linear":
        descent = results.settings(FILES[0])["optimizer"]
        time = int(theory.time)
        start, slope = expansion([1.0], descent["learning_rate"], time + 1)
        zero, slope = (one["variance"][name].ravel()[time] for one in (start, slope))
    else:  # the two smallest gamma0 share their sample neurons, so that their difference is free of sampling noise
        slope = (full[1] - full[0]) / (gamma0[1] ** 2 - gamma0[0] ** 2)
        zero = full[0] - gamma0[0] ** 2 * slope
    return gamma0, full, zero + slope * gamma0**2


def numbers(results: Results) -> list[str]:
    """From which gamma0 on the first order is off by more than a tenth."""
    collected = []
    for activation in ACTIVATIONS:
        for name, symbol in (("prediction", "f"), ("tangent_kernel", "K")):
            for place in times(results):
                gamma0, full, first = compared(results, activation, name, place)
                off = abs(first - full) / full
                broken = gamma0[off > BROKEN]
                time = int(results[FILES[0]]["theory/time"].values[place])
                words = f"from gamma0 = {broken[0]:g} on" if broken.size else "nowhere"
                at_one = off[np.argmin(abs(gamma0 - 1))]
                collected.append(
                    f"{activation}, N Var {symbol} at t = {time}: off by more than 10 % {words}; by {at_one:.1%} at 1"
                )
    return collected
