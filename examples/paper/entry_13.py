r"""Softmax attention of infinitely many heads of finite key size: what learning does to it, and how it fluctuates.

Every head has an attention of its own, so attention has a distribution over heads at infinite width. At small gamma0 it
stays as it starts; with feature learning its mean moves and its variance s over heads grows. The mean over N / d
heads has Sigma = d s + c, where c = lim N Cov of the attention of two heads of a network: what heads share.
"""

import numpy as np
import xarray as xr
from drawing import GAMMA0, SECOND, headed, second_handle
from entry import Results
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fwdmft.plotting import scales, style
from fwdmft.plotting.errors import TEXT, band, band_handle, bars, network_handles

TITLE = "Many heads: attention that learns, and its distribution over heads"
FILES = ("13_heads",)
QUICK = {
    FILES[0]: {
        "base": {
            "optimizer": {"steps": 7},
            "data": {"context": 2, "train": 2, "test": 1},
            "theory": {"save_every": 3, "neurons": 512, "replicates": 2, "draws": 128, "draw_width": 8},
            "ensemble": {"widths": [16, 32], "members": 60, "save_every": 3},
        },
        "over": {"parameterization.gamma0": [2]},
    }
}
OBSERVABLES = {"attention": "a", "attention_dispersion": "s"}
OVER = ("point", "token", "token_prime")
QUERY = {"point": -1, "token": -1}  # of the last task, which is not trained on


def figures(results: Results) -> dict[str, Figure]:
    tree = results[FILES[0]]
    size = results.settings(FILES[0])["architecture"]["key_size"]
    return {"attention": headed(_attention(tree), tree), "width": headed(_width(tree, size), tree)}


@style.styled
def _attention(tree: xr.DataTree) -> Figure:
    """Attention of the query of the new task to each token: mean and variance over heads in time, at each gamma0."""
    theory, ensemble = _halves(tree)
    widest = int(ensemble.width.values[-1])
    colors = style.OUTPUT_COLORS[: theory.sizes["token_prime"]]
    figure, axes = style.panels(2, theory.sizes["gamma0"], size=(2.6, 2.1), sharex=True, sharey="row")
    for row, name in zip(axes, OBSERVABLES, strict=True):
        expected, error = _at_width(theory, name, widest)
        measured, spread = (ensemble[f"{name}_mean{end}"].sel(width=widest) for end in ("", "_standard_error"))
        for panel, value in zip(row, theory.gamma0.values, strict=True):
            for token, color in enumerate(colors):
                here = {**QUERY, "token_prime": token}
                line, width, points, bar = (
                    each.sel(gamma0=value).isel(here) for each in (expected, error, measured, spread)
                )
                panel.plot(line.time, line, **style.THEORY)
                band(panel, line.time, line, width)
                bars(panel, _apart(points.time, token, len(colors)), points, bar, color=color, markersize=4, zorder=6)
    _finish(axes, theory)
    axes[0, 0].set_ylabel("mean over heads $a$")
    axes[1, 0].set_ylabel("variance over heads $s$")
    figure.suptitle("Attention of the query of a new task")
    seen = np.asarray(tree["data/x"].isel(gamma0=0, point=-1, feature=0))
    words = [*(f"example {number}" for number in range(1, len(seen))), "itself"]
    shown = [
        Line2D(
            [], [], color=color, marker="o", markersize=4, linewidth=1, label=rf"networks, to {word} ($x = {x:.2f}$)"
        )
        for color, word, x in zip(colors, words, seen, strict=True)
    ]
    handles = [
        style.theory_handle(f"theory, $q + b/N$, $N$ = {widest}"),
        band_handle(f"{TEXT}, also of networks"),
        *shown,
    ]
    style.legend_below(figure, handles, columns=3)
    return figure


def _at_width(theory: xr.Dataset, name: str, width: int) -> tuple[xr.DataArray, xr.DataArray]:
    """The mean at this width, q + b/N, and its standard error."""
    error = theory[f"{name}_standard_error"] ** 2 + (theory[f"{name}_bias_standard_error"] / width) ** 2
    return theory[name] + theory[f"{name}_bias"] / width, error**0.5


def _apart(time: xr.DataArray, place: int, places: int) -> xr.DataArray:
    """Times of one of several series of points, which would hide each other."""
    return time + 0.015 * float(time[-1]) * (place - (places - 1) / 2)


@style.styled
def _width(tree: xr.DataTree, size: int) -> Figure:
    """N Var of mean and variance over heads, mean over all pairs of tokens, at three widths; size: d."""
    theory, ensemble = _halves(tree)
    figure, axes = style.panels(2, theory.sizes["gamma0"], size=(2.6, 2.1), sharex=True, sharey="row")
    for row, (name, symbol) in zip(axes, OBSERVABLES.items(), strict=True):
        for panel, value in zip(row, theory.gamma0.values, strict=True):
            _fluctuations(panel, theory.sel(gamma0=value), ensemble.sel(gamma0=value), name)
        row[0].set_ylabel(rf"$N\,\mathrm{{Var}}\,{symbol}$")
    for panel, value in zip(axes[0], theory.gamma0.values, strict=True):
        alone = size * theory["attention_dispersion"].sel(gamma0=value).mean(OVER)
        panel.plot(alone.time, alone, **SECOND)
    _finish(axes, theory)
    figure.suptitle("N Var of the mean $a$ and the variance $s$ over heads, averaged over pairs of tokens")
    independent = second_handle(r"heads uncorrelated, $d\,s$")
    handles = [style.theory_handle("theory"), band_handle(), independent, *network_handles(ensemble.width.values)]
    style.legend_below(figure, handles, columns=3)
    return figure


def _fluctuations(panel: Axes, theory: xr.Dataset, ensemble: xr.Dataset, name: str) -> None:
    """Mean over pairs of tokens of all tasks; their errors are averaged, an upper bound."""
    value, error = (theory[f"{name}_variance{end}"].mean(OVER) for end in ("", "_standard_error"))
    panel.plot(value.time, value, **style.THEORY)
    band(panel, value.time, value, error)
    widths = style.width_colors(ensemble.width.values)
    for place, (width, color) in enumerate(widths.items()):
        measured, spread = (
            width * ensemble[f"{name}_variance{end}"].sel(width=width).mean(OVER) for end in ("", "_standard_error")
        )
        moments = _apart(measured.time, place, len(widths))
        bars(panel, moments, measured, spread, color=color, markersize=3.5, zorder=6)


def _finish(axes: np.ndarray, theory: xr.Dataset) -> None:
    for panel, value in zip(axes[0], theory.gamma0.values, strict=True):
        panel.set_title(f"{GAMMA0} = {value:g}")
    for panel in axes[-1]:
        style.time_axis(panel)
    for row in axes:
        scales.from_zero(row[0])  # when all is drawn: limits are shared


def _halves(tree: xr.DataTree) -> tuple[xr.Dataset, xr.Dataset]:
    """Attention (of the only block) and losses of theory and networks; reading all there is would take longer."""
    theory, ensemble = (tree[half].to_dataset().squeeze("block", drop=True) for half in ("theory", "ensemble"))
    theory, ensemble = (
        each[[str(name) for name in each if str(name).startswith(("attention", "loss"))]] for each in (theory, ensemble)
    )
    return theory.load(), ensemble.load()


def numbers(results: Results) -> list[str]:
    """Before and after training: attention of the query, how decided heads are, and what they share."""
    theory, ensemble = _halves(results[FILES[0]])
    size = results.settings(FILES[0])["architecture"]["key_size"]
    collected = []
    for value in theory.gamma0.values:
        of_theory, of_networks = (each.sel(gamma0=value).isel(time=[0, -1]) for each in (theory, ensemble))
        loss = of_theory["loss"].sel(split="train").values
        collected.append(f"gamma0 = {value:g}: training loss {loss[0]:.3f} -> {loss[1]:.4f}")
        for name, symbol in OBSERVABLES.items():
            collected.append(
                f"gamma0 = {value:g}, {symbol} of the query of the new task: theory {_query(of_theory, name, '')}; "
                f"networks of the widest {_query(of_networks.isel(width=-1), name, '_mean')}"
            )
        mean, spread = (of_theory[name] for name in OBSERVABLES)
        decided = (spread.sum(OVER) / (mean * (1 - mean)).sum(OVER)).values
        collected.append(f"gamma0 = {value:g}, sum of s over sum of a (1 - a): {_arrow(decided)}")
        shared = [_over_uncorrelated(of_theory, "", size)]
        shared += [_over_uncorrelated(of_networks.sel(width=width), "_mean", size) for width in ensemble.width]
        collected.append(f"gamma0 = {value:g}, N Var a over d s: theory {'; networks '.join(shared)}")
    return collected


def _query(dataset: xr.Dataset, name: str, end: str) -> str:
    """Of an observable before and after training, to each token, with standard errors of the last."""
    value, error = (dataset[name + end + part].isel(QUERY).values for part in ("", "_standard_error"))
    after = ", ".join(f"{one:.3f} +- {half:.3f}" for one, half in zip(value[1], error[1], strict=True))
    return ", ".join(f"{one:.3f}" for one in value[0]) + f" -> {after}"


def _over_uncorrelated(dataset: xr.Dataset, end: str, size: int) -> str:
    """N Var a over d s, both averaged over pairs; its error from that of N Var a, averaged, an upper bound."""
    alone = size * dataset[f"attention_dispersion{end}"].mean(OVER)
    parts = [dataset[f"attention_variance{part}"].mean(OVER) / alone for part in ("", "_standard_error")]
    if end:  # of uncorrelated heads the variance over H of them is (1 - 1/H) of that of the law
        parts = [dataset.width * (1 - size / dataset.width) * part for part in parts]
    ratio, error = parts
    return f"{_arrow(ratio.values)} (+- {float(error[-1]):.2f})"


def _arrow(values: np.ndarray) -> str:
    return " -> ".join(f"{value:.2f}" for value in values)
