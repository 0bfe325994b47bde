"""Edge of stability: catapults, and kernels whose largest eigenvalue settles at 2 / eta."""

import numpy as np
from drawing import NETWORKS, POINTS, headed, in_time, labelled
from entry import Results
from matplotlib.figure import Figure

from fwdmft.plotting import style
from fwdmft.plotting.errors import NETWORKS as NETWORKS_WORD
from fwdmft.plotting.errors import bars
from fwdmft.plotting.sweep_values import last

TITLE = "Edge of stability and catapults"
FILES = ("07_catapult", "07_deep", "07_points")
QUICK = {
    "07_catapult": {
        "base": {
            "optimizer": {"steps": 31},
            "theory": {"neurons": 512, "replicates": 4, "draws": 1024, "draw_width": 8, "bias": False},
            "ensemble": {"widths": [100, 500], "members": 100},
        },
        "over": {"parameterization.gamma0": [2, 6]},
    },
    "07_deep": {
        "optimizer": {"steps": 21},
        "theory": {"neurons": 1024, "replicates": 2, "fluctuations": False, "bias": False},
        "ensemble": {"widths": [64], "members": 40},
    },
    "07_points": {
        "optimizer": {"steps": 41},
        "theory": {"neurons": 512, "replicates": 2, "fluctuations": False, "bias": False},
        "ensemble": {"widths": [64], "members": 40},
    },
}


def figures(results: Results) -> dict[str, Figure]:
    catapult = in_time(results["07_catapult"])
    for panel in catapult.axes:
        panel.set_xlim(-0.5, 20.5)  # what follows repeats itself
    return {
        "catapult": catapult,
        "final_variance": headed(_final_variance(results), results[FILES[0]]),
        "sharpness": headed(_sharpness(results), results[FILES[1]]),
    }


@style.styled
def _final_variance(results: Results) -> Figure:
    """N Var K at the last step, where the product of gamma0 and eta says how far beyond stability training went."""
    tree, eta = results["07_catapult"], results.settings("07_catapult")["optimizer"]["learning_rate"]
    figure, axes = style.panels(1, 1, size=(4.2, 3.2))
    entry = {"point": 0, "point_prime": 0, "output": 0, "output_prime": 0}
    x = eta * tree.gamma0.values
    ensemble = tree["ensemble"].to_dataset()
    for width, color in style.width_colors(ensemble.width.values).items():
        at = ensemble.isel(entry).sel(width=width)
        value, error = (last(at[f"tangent_kernel_variance{end}"].load()) * width for end in ("", "_standard_error"))
        bars(axes[0, 0], x, value, error, **POINTS, color=color, label=NETWORKS_WORD.format(width))
    axes[0, 0].plot(x, last(tree["theory/tangent_kernel_variance"].isel(entry).load()), **style.THEORY, label="theory")
    labelled(axes[0, 0], r"$\gamma_0\,\eta$", r"$N\,\mathrm{Var}\,K$ at the last step", yscale="log")
    axes[0, 0].legend()
    return figure


@style.styled
def _sharpness(results: Results) -> Figure:
    """eta times the largest eigenvalue of K, and the loss below it."""
    figure, axes = style.panels(2, 2, size=(3.4, 2.3), sharex="col")
    titles = ("two hidden layers, one point", "two layers, four points")
    for column, stem, title in zip(axes.T, FILES[1:], titles, strict=True):
        sharp = sharpness(results, stem)
        for name, look in (("ensemble", {"color": style.shades(1)[0], **NETWORKS}), ("theory", style.THEORY)):
            column[0].plot(*sharp[name], **look)
        column[0].axhline(2, color="0.6", linewidth=0.9, zorder=1)
        tree = results[stem]
        loss = tree["ensemble/loss_mean"].isel(width=-1).sel(split="train")
        column[1].plot(loss.time, loss, **NETWORKS, color=style.shades(1)[0])
        column[1].plot(tree["theory/time"], tree["theory/loss"].sel(split="train"), **style.THEORY)
        labelled(column[0], "", r"sharpness $\eta\,\lambda_1(K)$", title)
        labelled(column[1], "", r"training loss", yscale="log")
        style.time_axis(column[1])
    width = int(results[FILES[1]]["ensemble/width"].values[-1])
    style.legend_below(
        figure,
        [style.theory_handle("theory"), *style.width_handles([width], linewidth=3, alpha=0.6)],
    )
    return figure


def sharpness(results: Results, stem: str) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """(time, eta lambda_1) at infinite width, and of the mean kernel of the widest networks."""
    tree, eta = results[stem], results.settings(stem)["optimizer"]["learning_rate"]
    kernels = {"theory": tree["theory/tangent_kernel"], "ensemble": tree["ensemble/tangent_kernel_mean"].isel(width=-1)}
    train = np.flatnonzero(tree["data"].to_dataset()["split"].values == "train")
    computed = {}
    for name, kernel in kernels.items():
        square = kernel.isel(output=0, output_prime=0, point=train, point_prime=train)
        matrices = square.transpose("time", "point", "point_prime").values
        computed[name] = kernel.time.values, eta * np.linalg.eigvalsh(matrices)[:, -1]
    return computed


def numbers(results: Results) -> list[str]:
    return [
        f"{stem}: eta lambda_1 is {sharp[0]:.2f} at the start, at most {sharp.max():.2f}, {sharp[-1]:.3f} at the end"
        for stem in FILES[1:]
        for _, sharp in [sharpness(results, stem)["theory"]]
    ]
