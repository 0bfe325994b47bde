"""Two-layer linear network: dynamics speed up with gamma0, and the kernel's variance first grows, then is tamed."""

import numpy as np
from drawing import SECOND, in_time, second_handle
from entry import Results
from linear_network import exact
from matplotlib.figure import Figure

TITLE = "Two-layer linear network on one point"
FILES = ("02_two_layer_linear",)
QUICK = {
    "02_two_layer_linear": {
        "base": {
            "optimizer": {"learning_rate": 0.03, "steps": 31},
            "theory": {"neurons": 512, "replicates": 4, "draws": 1024, "draw_width": 8},
            "ensemble": {"widths": [50, 200], "members": 200},
        },
        "over": {"parameterization.gamma0": [0.5, 2]},
    }
}


def figures(results: Results) -> dict[str, Figure]:
    tree = results[FILES[0]]
    figure = in_time(tree)
    for gamma0 in tree.gamma0.values:
        for column, name in enumerate(("prediction", "tangent_kernel")):
            for row, quantity in enumerate(("mean", "variance")):
                values = _exact(results, gamma0)[quantity][name]
                time = np.arange(len(values))
                figure.axes[2 * row + column].plot(time, values.reshape(len(time)), **SECOND, alpha=0.8)
    figure.axes[0].legend(handles=[second_handle("exact")], loc="lower right")
    return {"two_layer_linear": figure}


def numbers(results: Results) -> list[str]:
    """Largest differences of the theory from the exact solution, in percent of its largest value."""
    theory = results[FILES[0]]["theory"]
    collected = []
    for gamma0 in theory.gamma0.values:
        here, parts = theory.to_dataset().sel(gamma0=gamma0).load(), []
        for quantity, end in (("mean", ""), ("variance", "_variance"), ("bias", "_bias")):
            for name, symbol in (("prediction", "f"), ("tangent_kernel", "K")):
                wanted = _exact(results, gamma0)[quantity][name].ravel()[here.time.values.astype(int)]
                off = here[name + end].values.ravel() - wanted
                parts.append(f"{quantity} {symbol} {abs(off).max() / abs(wanted).max():.2%}")
        collected.append(f"gamma0 = {gamma0}: theory from the exact solution at most {', '.join(parts)}")
    return collected


def _exact(results: Results, gamma0: float) -> dict:
    descent = results.settings(FILES[0])["optimizer"]
    return exact([1.0], float(gamma0), descent["learning_rate"], descent["steps"])
