r"""Linear attention that learns regression in context: a plateau, then a drop, and attention that grows from noise.

Q -> -Q with V -> -V changes the sign of linear attention, but neither the predictions nor the law of initial weights:
attention has mean zero over networks of any width, and is zero at infinite width at all times. There predictions stay
what a model without attention learns. The point without attention is a saddle: attention of a network, of order
N^(-1/2) at the start, grows like exp(lambda t), so that Sigma of attention grows like exp(2 lambda t), and the plateau
lasts log(N) / (2 lambda) plus a constant.
"""

import numpy as np
import xarray as xr
from drawing import NETWORKS, SECOND, headed, labelled, second_handle
from entry import Results
from matplotlib.figure import Figure

from fwdmft.plotting import style
from fwdmft.plotting.errors import band, band_handle, bars, network_handles

TITLE = "Linear attention: a plateau, and what ends it"
FILES = ("12_plateau", "12_attention")
QUICK = {
    "12_plateau": {
        "optimizer": {"steps": 121},
        "data": {"train": 8, "test": 2, "context": 3},
        "ensemble": {"widths": [16, 32], "members": 16},
    },
    "12_attention": {
        "optimizer": {"steps": 11},
        "data": {"train": 2, "context": 2},
        "theory": {"neurons": 512, "replicates": 2, "draws": 256, "draw_width": 8, "save_every": 5},
        "ensemble": {"widths": [32, 64], "members": 60, "save_every": 5},
    },
}
GROWN = 0.3
TOKENS = ("block", "point", "token", "token_prime")


def figures(results: Results) -> dict[str, Figure]:
    return {
        "plateau": headed(_plateau(results[FILES[0]]), results[FILES[0]]),
        "attention": headed(_attention(results[FILES[1]]), results[FILES[1]]),
    }


@style.styled
def _plateau(tree: xr.DataTree) -> Figure:
    """Losses, attention (root mean square over networks and tokens), and when it has grown."""
    ensemble = tree["ensemble"].to_dataset().load()
    figure, axes = style.panels(1, 3, size=(3.0, 2.6))
    colors = style.width_colors(ensemble.width.values)
    attention = attention_size(ensemble)
    for width, color in colors.items():
        for split, look in (("train", "-"), ("test", ":")):
            loss = ensemble["loss_mean"].sel(width=width, split=split)
            axes[0, 0].plot(loss.time, loss, **{**NETWORKS, "linewidth": 2}, color=color, linestyle=look)
        axes[0, 1].plot(attention.time, attention.sel(width=width), **{**NETWORKS, "linewidth": 2}, color=color)
    grown = arrival(ensemble)
    for width, value in zip(colors, grown, strict=True):
        axes[0, 2].plot(width, value, "o", color=colors[width], markersize=5)
    slope, start = np.polyfit(np.log(ensemble.width.values), grown, 1)
    axes[0, 2].plot(ensemble.width, start + slope * np.log(ensemble.width), **SECOND)
    labelled(axes[0, 0], "", "loss", "training (lines), test (dots)")
    labelled(axes[0, 1], "", "size of attention $a_N$", yscale="log")
    labelled(axes[0, 2], "width $N$", "step $t$ when it has grown", xscale="log")
    axes[0, 2].set_xticks(ensemble.width.values, [str(width) for width in ensemble.width.values], minor=False)
    axes[0, 2].minorticks_off()
    for panel in axes[0, :2]:
        style.time_axis(panel)
    fit = second_handle(r"fit, $t = c + s\,\log N$")
    style.legend_below(figure, [*style.width_handles(ensemble.width.values), fit])
    return figure


def attention_size(ensemble: xr.Dataset) -> xr.DataArray:
    """(width, time): root mean square of attention weights, over networks, points and tokens."""
    square = ensemble["attention_variance"] + ensemble["attention_mean"] ** 2
    return np.sqrt(square.mean(TOKENS))


def arrival(ensemble: xr.Dataset) -> np.ndarray:
    """(width): the step at which the size of attention reaches `GROWN` of the widest networks' at the end."""
    size = attention_size(ensemble)
    return np.array([np.interp(GROWN * float(size[-1, -1]), each, size.time.values) for each in size.values])


@style.styled
def _attention(tree: xr.DataTree) -> Figure:
    """N Var of attention and of f in time, and the training loss."""
    theory, ensemble = (tree[half].to_dataset().load() for half in ("theory", "ensemble"))
    figure, axes = style.panels(1, 3, size=(3.0, 2.6))
    panels = (
        ("attention", TOKENS, r"$N\,\mathrm{Var}\,a$, mean over tokens"),
        ("prediction", ("point", "output"), r"$N\,\mathrm{Var}\,f$, mean over points"),
    )
    for panel, (name, over, label) in zip(axes[0], panels, strict=False):
        value, error = (theory[f"{name}_variance{end}"].mean(over) for end in ("", "_standard_error"))
        start = 1 if name == "prediction" else 0
        panel.plot(value.time[start:], value[start:], **style.THEORY)
        band(panel, value.time[start:], value[start:], error[start:])
        for width, color in style.width_colors(ensemble.width.values).items():
            measured, spread = (
                width * ensemble[f"{name}_variance{end}"].sel(width=width).mean(over) for end in ("", "_standard_error")
            )
            bars(panel, measured.time[start:], measured[start:], spread[start:], color=color, markersize=4, zorder=6)
        seen = np.append(value[start:], ensemble.width * ensemble[f"{name}_variance"].mean(over)[:, start:])
        least, most = seen[seen > 0].min(), seen.max()
        labelled(panel, "", label, yscale="log", ylim=(least / 2, 2 * most))  # errors of f reach below zero
        style.time_axis(panel)
    panel = axes[0, 2]
    for width, color in style.width_colors(ensemble.width.values).items():
        loss = ensemble["loss_mean"].sel(width=width, split="train")
        panel.plot(loss.time, loss, **{**NETWORKS, "linewidth": 2}, color=color)
    panel.plot(theory.time, theory["loss"].sel(split="train"), **style.THEORY)
    labelled(panel, "", "training loss")
    style.time_axis(panel)
    handles = [style.theory_handle("theory"), band_handle(), *network_handles(ensemble.width.values)]
    style.legend_below(figure, handles, columns=3)
    return figure


def numbers(results: Results) -> list[str]:
    ensemble = results[FILES[0]]["ensemble"].to_dataset().load()
    widths, grown = ensemble.width.values, arrival(ensemble)
    attention = attention_size(ensemble)
    collected = [
        f"N = {width}: attention has grown at t = {at:.0f}; training loss {_ends(ensemble, width, 'train')}, "
        f"test loss {_ends(ensemble, width, 'test')}; size of attention {float(attention.sel(width=width)[0]):.3f} at "
        f"the start, {float(attention.sel(width=width)[-1]):.3f} at the end"
        for width, at in zip(widths, grown, strict=True)
    ]
    collected.append(f"this time grows by {np.polyfit(np.log(widths), grown, 1)[0]:.0f} steps for each factor e of N")
    theory = results[FILES[1]]["theory"].to_dataset().load()
    variance = theory["attention_variance"].mean(TOKENS)
    collected.append(
        f"few tasks: |attention| at infinite width at most {abs(theory['attention']).max().item():.1e}; Sigma of "
        f"attention {variance[0].item():.3f} at the start, {variance[-1].item():.3f} at the end"
    )
    return collected


def _ends(ensemble: xr.Dataset, width: int, split: str) -> str:
    loss = ensemble["loss_mean"].sel(width=width, split=split).values
    return f"{loss[0]:.3f} -> {loss[-1]:.3f}"
