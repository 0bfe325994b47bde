"""Variables of /ensemble that say how networks do a task: single ones, their average, and how fast both train."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from fwdmft.jackknife import Jackknifed, combined
from fwdmft.results.describe import attributes
from fwdmft.results.training_rates import Rates, rates

if TYPE_CHECKING:
    from fwdmft.networks.ensemble import WidthStatistics

Variables = dict[str, xr.Variable]

_UNDEFINED = {
    "loss_ratio": "NaN where the mean loss of single networks is 0",
    "accuracy_ratio": "NaN where the mean accuracy of single networks is 0",
    "prediction_relative_variance": (
        "NaN where the mean prediction is 0, as before the first step of centred networks, or smaller than its error"
    ),
    "last_feature_kernel_alignment": "NaN where the kernel vanishes: it has no angle to the targets",
}
"""Why these can hold NaN."""

_CURVES = ("width", "time", "split")
_NAMED = {
    "ensembled_loss": (
        _CURVES,
        "loss of the prediction averaged over trained networks",
        r"\mathcal{L}[\mathrm{E} f_N]",
    ),
    "ensembled_accuracy": (_CURVES, "accuracy of the prediction averaged over trained networks", r"A[\mathrm{E} f_N]"),
    "loss_ratio": (
        _CURVES,
        "loss of the averaged prediction over the mean loss of single networks",
        r"\mathcal{L}[\mathrm{E} f_N] / \mathrm{E} \mathcal{L}_N",
    ),
    "accuracy_ratio": (
        _CURVES,
        "accuracy of the averaged prediction over the mean accuracy of single networks",
        r"A[\mathrm{E} f_N] / \mathrm{E} A_N",
    ),
    "prediction_relative_variance": (
        _CURVES,
        "variance of the predictions over their squared mean, both averaged over points and outputs",
        r"\mathrm{Var} f_N / (\mathrm{E} f_N)^2",
    ),
    "last_feature_kernel_alignment": (
        ("width", "time"),
        "alignment of the last layer's mean feature kernel with the targets over training points",
        r"A[\mathrm{E} \Phi^L_N]",
    ),
}
_OF = {
    "": ("loss", "mean loss of single networks"),
    "ensembled_": ("ensembled_loss", "loss of the averaged prediction"),
}


def of_task(ensemble: Sequence[WidthStatistics]) -> Variables:
    """What the ensembles have of it; every estimate has `_standard_error` beside it (delete-a-group jackknife)."""
    found: Variables = {}
    for name, values in _statistics(ensemble).items():
        dims, words, symbol = _NAMED[name]
        found |= _estimate(name, dims, values, words, symbol, missing_reason=_UNDEFINED.get(name))
    times, widths = ensemble[0].times, [one.width for one in ensemble]
    for prefix, (name, words) in _OF.items():
        losses = [one.jackknifed.get(name) for one in ensemble]
        curves = [Jackknifed(one.value[:, 0], one.left_out[:, :, 0]) for one in losses if one is not None]
        if len(curves) == len(widths) and all(np.isfinite(one.value).all() for one in curves):
            fitted = rates(np.asarray(times, float), widths, curves)
            found |= {} if fitted is None else _rate_variables(prefix, words, fitted)
    return found | dict(_traces(ensemble))


def _statistics(ensemble: Sequence[WidthStatistics]) -> dict[str, list[Jackknifed]]:
    """The statistics of `_NAMED` that every width has."""
    each = [dict(one.jackknifed) for one in ensemble]
    for found in each:
        if "mean_kernel_alignment" in found:
            found["last_feature_kernel_alignment"] = found["mean_kernel_alignment"]
        for name in ("loss", "accuracy"):
            if name in found:
                found[f"{name}_ratio"] = combined(_ratio, found[f"ensembled_{name}"], found[name])
    return {name: [found[name] for found in each] for name in _NAMED if all(name in found for found in each)}


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """NaN where the denominator is 0."""
    return np.divide(above, below, out=np.full(np.shape(above), np.nan), where=below != 0)


def _estimate(
    name: str,
    dims: tuple[str, ...],
    values: Sequence[Jackknifed],
    words: str,
    symbol: str,
    missing_reason: str | None = None,
) -> Variables:
    """A variable with leading width, and its standard error."""
    error = np.stack([one.standard_error for one in values])
    named = attributes(words, symbol, missing_reason=missing_reason)
    of_error = attributes(
        f"standard error of the {words}", rf"\mathrm{{s.e.}}\,{symbol}", missing_reason=missing_reason
    )
    return {
        name: xr.Variable(dims, np.stack([one.value for one in values]), named),
        f"{name}_standard_error": xr.Variable(dims, error, of_error),
    }


def _rate_variables(prefix: str, words: str, fitted: Rates) -> Variables:
    of = f"of the {words} on the training points"
    found = _estimate(f"{prefix}training_rate", ("width",), fitted.rate, f"rate of exponential decay {of}", "R_N")
    scaled = attributes("training step times the rate of this width over that of the widest networks", "t R_N / R")
    found[f"{prefix}scaled_time"] = xr.Variable(("width", "time"), fitted.scaled_time, scaled)
    for part, name in enumerate(("loss_curve_distance", "collapsed_loss_curve_distance")):
        text = f"rms difference from the widest networks' logarithm {of}, at equal {('steps', 'scaled steps')[part]}"
        found[f"{prefix}{name}"] = xr.Variable(("width",), fitted.distance[part], attributes(text))
        error = attributes(f"standard error of the {text}")
        found[f"{prefix}{name}_standard_error"] = xr.Variable(("width",), fitted.distance_error[part], error)
    if fitted.law is not None:
        law = fitted.law._asdict()
        for name, symbol, text in (
            ("limit", r"R_\infty", "training rate at infinite width, R_inf of R_N = R_inf - a/N"),
            ("shift", "a", "width times what finite width takes off the training rate, a of R_N = R_inf - a/N"),
        ):
            found[f"{prefix}training_rate_{name}"] = _scalar(law[name], attributes(f"{text}, {of}", symbol))
            error = attributes(f"standard error of the {text}, {of}", rf"\mathrm{{s.e.}}\,{symbol}")
            if np.isfinite(law[f"{name}_error"]):  # unknown where a rate has no error
                found[f"{prefix}training_rate_{name}_standard_error"] = _scalar(law[f"{name}_error"], error)
    return found


def _scalar(value: float, named: dict[str, str]) -> xr.Variable:
    return xr.Variable((), value, named)


def _traces(ensemble: Sequence[WidthStatistics]) -> Iterator[tuple[str, xr.Variable]]:
    for name in ("loss", "accuracy"):
        if all(name in one.traces for one in ensemble):
            values = padded([one.traces[name] for one in ensemble])
            text = attributes(f"{name} of single trained networks", missing_reason=FEWER)
            yield f"member_{name}", xr.Variable(("width", "member", "time", "split"), values, text)


FEWER = "NaN where a width has fewer networks than another"


def padded(samples: Sequence[np.ndarray]) -> np.ndarray:
    """Stack (samples, ...) arrays whose first length differs, filling with NaN."""
    most = max(len(one) for one in samples)
    shape = (len(samples), most, *samples[0].shape[1:])
    stacked = np.full(shape, np.nan, np.result_type(*samples))
    for row, one in zip(stacked, samples, strict=True):
        row[: len(one)] = one
    return stacked
