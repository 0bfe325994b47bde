"""Linear networks in P isotropic directions (whitened points, or the population loss): along the target and across.

All directions across the target are alike, and to leading order N Var along it does not know of the others. So two
orthogonal points, one of them with target 0, give N Cov for any P; the bias gains the same amount with every direction.
With Delta = 1 - f along the target of norm 1, the mean loss at width N is

    E loss = [Delta^2 + (Sigma_along + (P - 1) Sigma_across - 2 Delta b_P) / N] / 2.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr
from drawing import NETWORKS, POINTS, labelled
from entry import Results
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from fwdmft.plotting import style
from fwdmft.plotting.errors import bars, network_handles


@dataclass(frozen=True)
class Theory:
    """Along and across the target, (time,); bias: of f along it with two directions, and what each further adds."""

    time: np.ndarray
    delta: np.ndarray
    along: np.ndarray
    across: np.ndarray
    bias: tuple[np.ndarray, np.ndarray]

    def variance(self, directions: int) -> np.ndarray:
        """N Var summed over all directions."""
        return self.along + (directions - 1) * self.across

    def shift(self, directions: int) -> np.ndarray:
        """b of f along the target."""
        return self.bias[0] + (directions - 2) * self.bias[1]

    def loss(self, directions: int, width: float) -> np.ndarray:
        """Mean loss at a width."""
        correction = self.variance(directions) - 2 * self.delta * self.shift(directions)
        return (self.delta**2 + correction / width) / 2


def theory_of(tree: xr.DataTree, bias: tuple[np.ndarray, np.ndarray]) -> Theory:
    """From the result on two orthogonal points; bias at all steps."""
    theory = tree["theory"].to_dataset()
    f, variance = (theory[name].isel(output=0).values for name in ("prediction", "prediction_variance"))
    time = theory.time.values
    return Theory(time, 1 - f[:, 0], variance[:, 0], variance[:, 1], (bias[0][time], bias[1][time]))


def along_target(tree: xr.DataTree, index: dict) -> xr.DataArray:
    """(sample, time): predictions of single networks along the target; samples that are missing are dropped."""
    targets = tree["data"].to_dataset()["y"].isel(index, missing_dims="ignore").isel(output=0).load().fillna(0)
    sampled = tree["ensemble"].to_dataset()["sample_prediction"].isel(index, missing_dims="ignore").isel(output=0)
    along = xr.dot(sampled.load().fillna(0), targets / np.linalg.norm(targets), dim="point")
    return along.where(sampled.isel(point=0).notnull()).dropna("sample", how="all").transpose("sample", "time")


@style.styled
def loss_figure(results: Results, stem: str, theory: Theory) -> Figure:
    """A column for each number of directions: the loss, and N Var of f along the target and of all of f."""
    tree = results[stem]
    counts, widths = tree.train.values, tree["ensemble/width"].values
    figure, axes = style.panels(2, len(counts), size=(3.1, 2.5), sharex=True)
    for place, (column, count) in enumerate(zip(axes.T, counts, strict=True)):
        ensemble = tree["ensemble"].to_dataset().isel(train=place)
        for width, color in style.width_colors(widths).items():
            here = ensemble.sel(width=width)
            column[0].plot(here.time, here["loss_mean"].sel(split="train"), color=color, **NETWORKS)
            column[0].plot(theory.time, theory.loss(count, width), **style.THEORY)
            total = width * here["prediction_variance"].isel(output=0).sum("point")
            sampled = along_target(tree, {"train": place, "width": list(widths).index(width)})
            column[1].plot(here.time, total, color=color, **NETWORKS)
            column[1].plot(here.time, width * sampled.var("sample", ddof=1), color=color, linewidth=1.2, alpha=0.9)
        column[0].plot(theory.time, theory.delta**2 / 2, color="0.5", linewidth=1, label="infinite width")
        column[1].plot(theory.time, theory.variance(count), **style.THEORY)
        column[1].plot(theory.time, theory.along, **style.THEORY)
        labelled(column[0], "", "loss", f"$P = {count}$ directions", yscale="log")
        column[1].set_yscale("symlog", linthresh=0.05)
        column[1].set_ylim(bottom=0)
        style.time_axis(column[1])
    axes[1, 0].set_ylabel(r"$N\,\mathrm{Var}\,f$: sum, and along $y$ (thin)")
    axes[0, 0].legend(loc="best")
    style.legend_below(figure, [style.theory_handle("theory"), *style.width_handles(widths)], columns=6)
    return figure


@style.styled
def ratio_figure(results: Results, stem: str, theory: Theory) -> Figure:
    """Loss at the last step over that of infinite width, against P / N."""
    tree = results[stem]
    figure, axes = style.panels(1, 1, size=(4.4, 3.4))
    widths = tree["ensemble/width"].values
    for x, measured, error, width in _ratios(tree, theory):
        bars(axes[0, 0], x, measured, error, **POINTS, color=style.width_colors(widths)[width])
    for count in tree.train.values:
        fine = np.geomspace(min(widths), max(widths), 50)
        ratio = [theory.loss(count, width)[-1] / (theory.delta[-1] ** 2 / 2) for width in fine]
        axes[0, 0].plot(count / fine, ratio, **style.THEORY)
    axes[0, 0].axhline(1, color="0.6", linewidth=0.9)
    time = int(theory.time[-1])
    labelled(
        axes[0, 0],
        "directions / width, $P/N$",
        rf"loss / loss at $N = \infty$, $t = {time}$",
        xscale="log",
        yscale="log",
    )
    axes[0, 0].xaxis.set_minor_formatter(NullFormatter())
    handles = network_handles(widths)
    style.legend_below(figure, [style.theory_handle("theory to order $1/N$"), *handles], columns=4)
    return figure


def _ratios(tree: xr.DataTree, theory: Theory) -> list[tuple[float, float, float, int]]:
    """(P / N, loss at the last step over that of infinite width, its standard error, N)."""
    infinite, collected = theory.delta[-1] ** 2 / 2, []
    for place, count in enumerate(tree.train.values):
        last = tree["ensemble"].to_dataset().isel(train=place, time=-1).sel(split="train")
        for width in last.width.values.tolist():
            here = last.sel(width=width)
            value, error = here["loss_mean"].item(), here["loss_mean_standard_error"].item()
            collected.append((count / width, value / infinite, error / infinite, int(width)))
    return collected


def numbers_of(results: Results, stem: str, theory: Theory) -> list[str]:
    """Excess loss and total variance, networks over theory, at the time of the largest variance and the last."""
    tree, collected = results[stem], []
    for place, count in enumerate(tree.train.values):
        total = theory.variance(count)
        for width in tree["ensemble/width"].values.tolist():
            here = tree["ensemble"].to_dataset().isel(train=place).sel(width=width)
            times = np.intersect1d(here.time.values, theory.time)
            at = np.searchsorted(theory.time, times)
            here = here.sel(time=times)
            variance = width * here["prediction_variance"].isel(output=0).sum("point").values
            loss = here["loss_mean"].sel(split="train").values
            error = here["loss_mean_standard_error"].sel(split="train").values
            predicted = theory.loss(count, width)[at]
            peak = int(np.argmax(total[at]))
            words = [
                f"t = {times[one]}: N Var summed {variance[one]:.3g} (theory {total[at][one]:.3g}), "
                f"loss {loss[one]:.3g} +- {error[one]:.1g} ({predicted[one]:.3g}; "
                f"infinite width {theory.delta[at][one] ** 2 / 2:.3g})"
                for one in (peak, len(times) - 1)
            ]
            collected.append(f"P = {count}, N = {width} (P/N = {count / width:g}): " + "; ".join(words))
    return collected
