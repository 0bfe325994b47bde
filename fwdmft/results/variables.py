"""The variables of a result file that are not observables: dimensions, words, symbols and units, in one table.

`build` and `task` write them from here, and `layout` makes the published schema from the same rows; observables and
what is measured of each are in `describe`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import xarray as xr

from fwdmft.results import describe
from fwdmft.results.describe import attributes

FEWER = "NaN where a width has fewer networks than another"
ONLY_LAST = "NaN before the last time where only the last predictions are kept"

_Dims = tuple[str, ...]


class Entry(NamedTuple):
    """A variable: its dimensions, long name, LaTeX symbol, unit, why it can hold NaN, and what it holds (real or whole
    numbers, or text)."""

    dims: _Dims
    words: str
    symbol: str | None = None
    units: str = "1"
    missing_reason: str | None = None
    holds: str = "real"

    @property
    def attributes(self) -> dict[str, str]:
        return attributes(self.words, self.symbol, self.units, self.missing_reason)

    def of(self, values: object) -> xr.Variable:
        """The variable with these values."""
        return xr.Variable(self.dims, np.asarray(values), self.attributes)

    def error(self) -> Entry:
        """The standard error of the variable."""
        symbol = None if self.symbol is None else rf"\mathrm{{s.e.}}\,{self.symbol}"
        return self._replace(words=f"standard error of the {self.words}", symbol=symbol)


Table = dict[str, Entry]


def with_errors(table: Table) -> Table:
    """The rows and, as `*_standard_error`, their standard errors."""
    return table | {f"{name}_standard_error": entry.error() for name, entry in table.items()}


CURVES = ("time", "split")
OF_WIDTHS = ("width", *CURVES)

AXES = "axes"
"""Stands for the axes of one point, which the architecture names: feature where points are rows of numbers."""

DATA: Table = {
    "x": Entry(("point", AXES), "inputs", "x"),
    "y": Entry(("point", "output"), "targets", "y"),
    "split": Entry(("point",), "whether the point was trained on (train) or only predicted (test)", holds="text"),
    "x_mean": Entry((AXES,), "mean training point, removed from every point", r"\bar x"),
    "x_scale": Entry(("point",), "what every point was divided by after that", "s"),
}

THEORY: Table = {
    "prediction_covariance": Entry(
        ("time", "point", "output", "time_prime", "point_prime", "output_prime"),
        "N Cov: covariance of the network predictions over initialisations, multiplied by the width N",
        r"N\,\mathrm{Cov}\,f",
        "count",
    ),
    "prediction_output_covariance": Entry(
        ("time", "point", "output", "output_prime"),
        "N Cov: covariance over initialisations of outputs at one point and time, multiplied by the width N",
        r"N\,\mathrm{Cov}_{cc'}\,f",
        "count",
    ),
    "layer_covariance": Entry(
        describe.LAYER_COVARIANCE_DIMS,
        "N Cov: covariance over initialisations of layers' mean kernel diagonals, multiplied by the width N",
        r"N\,\mathrm{Cov}_{\ell\ell'}",
        "count",
    ),
    "loss": Entry(CURVES, "loss at infinite width", r"\mathcal{L}"),
    "loss_standard_error": Entry(
        CURVES,
        "bound on the Monte-Carlo standard error of the loss at infinite width, by those of all predictions together",
        r"\mathrm{s.e.}\,\mathcal{L}",
    ),
    "loss_at_width": Entry(OF_WIDTHS, "expected loss at width N, to order 1/N", r"\mathcal{L}_N"),
    "loss_at_width_standard_error": Entry(
        OF_WIDTHS,
        "standard error of loss_at_width through Sigma and b; that of the loss at infinite width comes on top",
        r"\mathrm{se}[\mathcal{L}_N]",
    ),
}

_OF_LOSS = r"\mathcal{L}_N"
ENSEMBLE: Table = {
    "loss_mean": Entry(OF_WIDTHS, "mean over trained networks of the loss", rf"\mathrm{{E}}\,{_OF_LOSS}"),
    "loss_mean_standard_error": Entry(
        OF_WIDTHS, "standard error of the mean loss", rf"\mathrm{{s.e.}}\,\mathrm{{E}}\,{_OF_LOSS}"
    ),
    "loss_variance": Entry(OF_WIDTHS, "variance over trained networks of the loss", rf"\mathrm{{Var}}\,{_OF_LOSS}"),
    "loss_variance_standard_error": Entry(
        OF_WIDTHS, "standard error of the variance of the loss", rf"\mathrm{{s.e.}}\,\mathrm{{Var}}\,{_OF_LOSS}"
    ),
    "loss_third_moment": Entry(
        OF_WIDTHS,
        "third central moment over trained networks of the loss, which merging ensembles needs",
        rf"\mathrm{{E}}\,({_OF_LOSS} - \mathrm{{E}}\,{_OF_LOSS})^3",
    ),
    "ensembled_loss": Entry(
        OF_WIDTHS,
        "loss of the prediction averaged over trained networks",
        r"\mathcal{L}[\mathrm{E}\,f_N]",
        missing_reason=ONLY_LAST,
    ),
    "sample_prediction": Entry(
        ("width", "sample", "time", "point", "output"),
        "prediction of single trained networks",
        "f_N",
        missing_reason=FEWER,
    ),
    "member_loss": Entry(("width", "member", *CURVES), "loss of single trained networks", missing_reason=FEWER),
    "member_accuracy": Entry(("width", "member", *CURVES), "accuracy of single trained networks", missing_reason=FEWER),
    "members": Entry(("width",), "number of trained networks", holds="whole"),
    "diverged_members": Entry(("width",), "number of networks that diverged and are left out", holds="whole"),
    "seconds": Entry(("width",), "time spent training the networks", units="s"),
    "group_members": Entry(
        ("width", "group"),
        "number of networks in each group of the jackknife, diverged ones left out",
        holds="whole",
    ),
}

_SUM = "sum over the networks of each group of the jackknife of the"
GROUP_SUMS: Table = {
    name: Entry(("width", "group", "time", *dims), f"{_SUM} {words}")
    for name, dims, words in (
        ("loss", ("split",), "loss"),
        ("accuracy", ("split",), "accuracy"),
        ("mean_square", ("split",), "mean square of the prediction over points and outputs"),
        ("prediction", ("point", "output"), "prediction"),
        ("last_feature_kernel", ("training_pair",), "last layer's feature kernel, pairs i <= j of training points"),
    )
} | {"final_prediction": Entry(("width", "group", "point", "output"), f"{_SUM} prediction at the last step")}
"""What standard errors of the statistics of a task come from; they go by these names and `_group_sum`."""

COORDINATES: Table = {
    "time": Entry(("time",), "training step, quantities measured before its update", "t", holds="whole"),
    "layer": Entry(("layer",), "hidden layer", r"\ell", holds="whole"),
    "kernel": Entry(("kernel",), "which kernel of a layer", holds="text"),
    "split": Entry(("split",), "points the loss is taken over", holds="text"),
    "point_split": Entry(("point",), "whether the point was trained on (train) or not (test)", holds="text"),
    "width": Entry(("width",), "width", "N", holds="whole"),
    "kernel_point": Entry(("kernel_point",), "position in /data of the points that kernels are of", holds="whole"),
    "matrix": Entry(("matrix",), "hidden matrix, from layer l to layer l + 1", r"\ell", holds="whole"),
    "use": Entry(("use",), "use of the matrix in a forward pass", holds="whole"),
}
"""Labels in /theory and /ensemble (`matrix` and `use`: in /diagnostics); those of second indices are called *_prime."""


def numbers_of(part: str) -> Entry:
    """Labels 1, 2, ... of the parts of a network along the dimension `part`, whose name an architecture may choose."""
    return COORDINATES.get(part, Entry((part,), part.replace("_", " "), holds="whole"))
