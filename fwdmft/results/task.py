"""Variables of /ensemble that say how networks do a task: single ones, their average, and how fast both train."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from fwdmft.jackknife import Jackknifed, combined
from fwdmft.results.derived import ratio
from fwdmft.results.training_rates import Rates, rates
from fwdmft.results.variables import ENSEMBLE, OF_WIDTHS, ONLY_LAST, Entry, Table, with_errors

if TYPE_CHECKING:
    from fwdmft.networks.ensemble import WidthStatistics

Variables = dict[str, xr.Variable]

_UNDEFINED = {
    "loss_ratio": "NaN where the mean loss of single networks is 0",
    "accuracy_ratio": "NaN where the mean accuracy of single networks is 0",
    "relative_variance": (
        "NaN where the mean prediction is 0, as before the first step of centred networks, or smaller than its error"
    ),
    "alignment": "NaN where the kernel vanishes: it has no angle to the targets",
}
"""Why these can hold NaN."""

STATISTICS: Table = {
    "ensembled_loss": ENSEMBLE["ensembled_loss"],
    "ensembled_accuracy": Entry(
        OF_WIDTHS,
        "accuracy of the prediction averaged over trained networks",
        r"A[\mathrm{E} f_N]",
        missing_reason=ONLY_LAST,
    ),
    "loss_ratio": Entry(
        OF_WIDTHS,
        "loss of the averaged prediction over the mean loss of single networks",
        r"\mathcal{L}[\mathrm{E} f_N] / \mathrm{E} \mathcal{L}_N",
        missing_reason=f"{_UNDEFINED['loss_ratio']}; {ONLY_LAST}",
    ),
    "accuracy_ratio": Entry(
        OF_WIDTHS,
        "accuracy of the averaged prediction over the mean accuracy of single networks",
        r"A[\mathrm{E} f_N] / \mathrm{E} A_N",
        missing_reason=f"{_UNDEFINED['accuracy_ratio']}; {ONLY_LAST}",
    ),
    "prediction_relative_variance": Entry(
        OF_WIDTHS,
        "variance of the predictions over their squared mean, both averaged over points and outputs",
        r"\mathrm{Var} f_N / (\mathrm{E} f_N)^2",
        missing_reason=f"{_UNDEFINED['relative_variance']}; {ONLY_LAST}",
    ),
    "last_feature_kernel_alignment": Entry(
        ("width", "time"),
        "alignment of the last layer's mean feature kernel with the targets over training points",
        r"A[\mathrm{E} \Phi^L_N]",
        missing_reason=_UNDEFINED["alignment"],
    ),
}
"""Statistics of a task; every one has `_standard_error` beside it."""

_OF = {
    "": ("loss", "mean loss of single networks"),
    "ensembled_": ("ensembled_loss", "loss of the averaged prediction"),
}


def of_task(ensemble: Sequence[WidthStatistics]) -> Variables:
    """What the ensembles have of it; every estimate has `_standard_error` beside it (delete-a-group jackknife)."""
    variables: Variables = {}
    for name, values in _statistics(ensemble).items():
        variables |= _estimate(name, STATISTICS[name], values)
    times, widths = ensemble[0].times, [one.width for one in ensemble]
    for prefix, (name, _) in _OF.items():
        losses = [one.jackknifed.get(name) for one in ensemble]
        curves = [Jackknifed(one.value[:, 0], one.left_out[:, :, 0]) for one in losses if one is not None]
        if len(curves) == len(widths) and all(np.isfinite(one.value).all() for one in curves):
            fitted = rates(np.asarray(times, float), widths, curves)
            variables |= {} if fitted is None else _rate_variables(prefix, fitted)
    return variables | dict(_traces(ensemble))


def _statistics(ensemble: Sequence[WidthStatistics]) -> dict[str, list[Jackknifed]]:
    """The statistics of `STATISTICS` that every width has."""
    each = [dict(one.jackknifed) for one in ensemble]
    for known in each:
        if "mean_kernel_alignment" in known:
            known["last_feature_kernel_alignment"] = known["mean_kernel_alignment"]
        for name in ("loss", "accuracy"):
            if name in known:
                known[f"{name}_ratio"] = combined(ratio, known[f"ensembled_{name}"], known[name])
    return {name: [known[name] for known in each] for name in STATISTICS if all(name in known for known in each)}


def _estimate(name: str, entry: Entry, values: Sequence[Jackknifed]) -> Variables:
    """A variable with leading width, and its standard error."""
    error = np.stack([one.standard_error for one in values])
    return {
        name: entry.of(np.stack([one.value for one in values])),
        f"{name}_standard_error": entry.error().of(error),
    }


def _rate_entries(prefix: str) -> Table:
    """Of how fast the losses fall that `_OF` names by this prefix."""
    of = f"of the {_OF[prefix][1]} on the training points"
    distances = {
        f"{prefix}{name}": Entry(
            ("width",), f"rms difference from the widest networks' logarithm {of}, at equal {steps}"
        )
        for name, steps in (("loss_curve_distance", "steps"), ("collapsed_loss_curve_distance", "scaled steps"))
    }
    law = {
        "limit": ("training rate at infinite width, R_inf of R_N = R_inf - a/N", r"R_\infty"),
        "shift": ("width times what finite width takes off the training rate, a of R_N = R_inf - a/N", "a"),
    }
    rows = {
        f"{prefix}training_rate": Entry(("width",), f"rate of exponential decay {of}", "R_N"),
        **distances,
        **{f"{prefix}training_rate_{name}": Entry((), f"{text}, {of}", symbol) for name, (text, symbol) in law.items()},
    }
    scaled = Entry(
        ("width", "time"), "training step times the rate of this width over that of the widest networks", "t R_N / R"
    )
    return {**with_errors(rows), f"{prefix}scaled_time": scaled}


RATES: Table = _rate_entries("") | _rate_entries("ensembled_")
"""Of how fast losses fall."""


def _rate_variables(prefix: str, fitted: Rates) -> Variables:
    values: dict[str, Any] = {
        "training_rate": [one.value for one in fitted.rate],
        "training_rate_standard_error": [one.standard_error for one in fitted.rate],
        "scaled_time": fitted.scaled_time,
    }
    for part, name in enumerate(("loss_curve_distance", "collapsed_loss_curve_distance")):
        values |= {name: fitted.distance[part], f"{name}_standard_error": fitted.distance_error[part]}
    law = {} if fitted.law is None else fitted.law._asdict()
    for name in ("limit", "shift") if law else ():
        values[f"training_rate_{name}"] = law[name]
        if np.isfinite(law[f"{name}_error"]):  # unknown where a rate has no error
            values[f"training_rate_{name}_standard_error"] = law[f"{name}_error"]
    return {f"{prefix}{name}": RATES[f"{prefix}{name}"].of(one) for name, one in values.items()}


def _traces(ensemble: Sequence[WidthStatistics]) -> Iterator[tuple[str, xr.Variable]]:
    for name in ("loss", "accuracy"):
        if all(name in one.traces for one in ensemble):
            values = padded([one.traces[name] for one in ensemble])
            yield f"member_{name}", ENSEMBLE[f"member_{name}"].of(values)


def padded(samples: Sequence[np.ndarray]) -> np.ndarray:
    """Stack (samples, ...) arrays whose first length differs, filling with NaN."""
    most = max(len(one) for one in samples)
    shape = (len(samples), most, *samples[0].shape[1:])
    stacked = np.full(shape, np.nan, np.result_type(*samples))
    for row, one in zip(stacked, samples, strict=True):
        row[: len(one)] = one
    return stacked
