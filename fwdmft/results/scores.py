"""How well theory and ensemble agree: the distribution of their differences in standard errors.

A score is (ensemble - theory) / standard error of that difference, for one time and entry of an observable. If the
theory holds, to the order in 1/N that is compared, scores have mean square 1, median size 0.67, 95 % of them are below
1.96, and one in 16 000 is beyond 4. Entries along a trajectory, or of one kernel, fluctuate together, so these are no
independent draws: few trajectories can be off by 1.5 in rms by chance. The relative error says how large a difference
is, and the relative standard error how large a difference the comparison could see.

Standard errors of Sigma and b come from 16 groups of draws, or from 8 samplings of linear response. Where they outweigh
those of the networks, scores follow Student's t with 15 or 7 degrees of freedom: root mean square 1.1 or 1.2. Those
of q, from few simulations, are widened until one score in 22 is beyond 2, as of a normal variable
(`engine.sobol_errors`); beyond 4 there are more.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from fwdmft import files
from fwdmft.results import comparison
from fwdmft.results.comparison import Residual
from fwdmft.results.describe import attributes
from fwdmft.results.experiments import swept_dimensions
from fwdmft.results.files import kept_open

QUANTITIES = {
    "mean": "E q_N - q - b/N",
    "variance": "N Var q_N - Sigma",
    "bias": "slope of E q_N in 1/N - b",
}
MEASURES = {
    "entries": "number of times and entries compared",
    "rms": "root mean square of ({}) / standard error",
    "median": "median of |{}| / standard error",
    "percentile_95": "95th percentile of |{}| / standard error",
    "max": "largest |{}| / standard error",
    "share_beyond_4": "share of entries with |{}| beyond 4 standard errors",
    "relative_error": "root mean square of ({}) over that of the theory",
    "relative_standard_error": "root mean square of the standard error of ({}) over that of the theory",
}
_NOT_COMPARED = ("time_prime", "kernel", "sample")  # dimensions of quantities that one side alone has

Scores = dict[str, float]


def agreement(tree: xr.DataTree) -> xr.Dataset:
    """How well theory and ensemble agree: variables `{quantity}_{measure}`, all dimensionless.

    Quantities, with all terms of higher order in 1/N included: mean, E q_N - q - b/N, and variance, N Var q_N - Sigma,
    of dimensions (width, variable); bias, the slope of E q_N in 1/N fitted over all widths - b, of (variable,). Errors
    of both sides are combined. Measures: see `MEASURES`, over all times both sides kept and all entries, where
    symmetric kernels count each pair once. Entries without any error (such as centred predictions at t = 0) cannot
    disagree and are left out; where nothing is left, or a side lacks the quantity (the bias, with a single width),
    entries is 0 and the rest NaN.

    The tree of a sweep gives the same for each point, with the dimensions of the sweep in front. The result has no
    variables when theory or ensemble is missing, or they have nothing in common.
    """
    groups = {
        name: child.to_dataset().drop_dims(_NOT_COMPARED, errors="ignore")
        for name, child in tree.children.items()
        if name in ("theory", "ensemble")
    }
    if len(groups) < 2 or not comparison.common_observables(**groups):
        return xr.Dataset()
    return _over_sweep(groups, swept_dimensions(tree))


def _over_sweep(groups: Mapping[str, xr.Dataset], dims: list[str]) -> xr.Dataset:
    """One point after another, so that a single one is in memory."""
    if not dims:
        with kept_open():
            loaded = {name: group.load() for name, group in groups.items()}
        return _agreement_of(**loaded)
    first, *rest = dims
    along = groups["theory"][first]
    scored = [
        _over_sweep({name: group.isel({first: i}) for name, group in groups.items()}, rest) for i in range(along.size)
    ]
    return xr.concat(scored, dim=first)


def _agreement_of(theory: xr.Dataset, ensemble: xr.Dataset) -> xr.Dataset:
    names = comparison.common_observables(theory, ensemble)
    scores: dict[str, list[Any]] = {
        "mean": [_each_width(comparison.mean_residual(theory, ensemble, name), name) for name in names],
        "variance": [_variance_scores(theory, ensemble, name) for name in names],
        "bias": [_bias_scores(theory, ensemble, name) for name in names],
    }
    points = {name: one for name, one in theory.coords.items() if not one.dims and name not in ensemble.dims}
    labels = {"width": ensemble.width, "variable": names, **points}
    variables = {
        f"{quantity}_{measure}": _array(each, quantity, measure)
        for quantity, each in scores.items()
        for measure in MEASURES
    }
    return xr.Dataset(variables, coords=labels)


def _array(scores: list[Any], quantity: str, measure: str) -> xr.Variable:
    dims: tuple[str, ...] = ("variable",) if quantity == "bias" else ("width", "variable")
    values = [one[measure] if quantity == "bias" else [width[measure] for width in one] for one in scores]
    named = attributes(MEASURES[measure].format(QUANTITIES[quantity]))
    return xr.Variable(dims, np.array(values).T, named)


def _variance_scores(theory: xr.Dataset, ensemble: xr.Dataset, name: str) -> list[Scores]:
    if f"{name}_variance" not in theory or f"{name}_variance" not in ensemble:
        return [_scores()] * ensemble.sizes["width"]
    return _each_width(comparison.variance_residual(theory, ensemble, name), name)


def _bias_scores(theory: xr.Dataset, ensemble: xr.Dataset, name: str) -> Scores:
    if f"{name}_bias" not in theory or ensemble.sizes["width"] < 2:
        return _scores()
    return distribution(comparison.bias_residual(theory, ensemble, name), name)


def _each_width(residual: Residual, name: str) -> list[Scores]:
    widths = range(residual.value.sizes["width"])
    return [distribution(Residual(*(part.isel(width=i) for part in residual)), name) for i in widths]


def distribution(residual: Residual, name: str) -> Scores:
    """The measures of an observable's differences."""
    return _scores(*entries_of(residual, name))


_SINGLE = 8 * float(np.finfo(np.float32).eps)


def entries_of(residual: Residual, name: str) -> tuple[np.ndarray, ...]:
    """Differences, standard errors and expected values of all entries that are compared, flat.

    Entries that fluctuate on neither side, such as f(0) = 0, are left out if both sides agree to single precision, in
    which networks are trained. Else one of them is wrong: that precision is then their standard error.
    """
    once = comparison.pairs_once(residual.error, name)
    rounding = _SINGLE * float(abs(residual.theory).max())
    fluctuates = once > comparison.ROUNDING * once.max()
    wrong = ~fluctuates & once.notnull() & (once.max() > 0) & (abs(residual.value) > rounding)
    compared = (fluctuates | wrong) & residual.value.notnull()
    order = compared.dims
    chosen = compared.values
    scored = residual._replace(error=residual.error.where(~wrong, rounding))
    return tuple(part.transpose(*order).values[chosen] for part in scored)


def _scores(value: Any = (), error: Any = (), theory: Any = ()) -> Scores:
    """The measures of flat arrays of differences, standard errors and expected values."""
    if not len(value):
        return {name: np.nan for name in MEASURES} | {"entries": 0}
    size = abs(value / error)
    expected = _rms(theory) or np.nan  # nothing to be relative to where the theory is zero
    return {
        "entries": len(size),
        "rms": _rms(size),
        "median": float(np.median(size)),
        "percentile_95": float(np.percentile(size, 95)),
        "max": float(size.max()),
        "share_beyond_4": float((size > 4).mean()),
        "relative_error": _rms(value) / expected,
        "relative_standard_error": _rms(error) / expected,
    }


def _rms(values: Any) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


# --- as rows ---


def agreement_rows(numbers: xr.Dataset) -> Iterator[dict[str, Any]]:
    """The numbers of `agreement` one row each: coordinates of a sweep's point, quantity, width, observable, measures.

    The width of the bias, which is fitted over all of them, is "all". Rows without entries are left out.
    """
    dims = [str(dim) for dim in numbers.dims if dim not in ("width", "variable")]
    for index in np.ndindex(*(numbers.sizes[dim] for dim in dims)):
        point = numbers.isel(dict(zip(dims, index, strict=True)))
        place = {str(name): one.item() for name, one in point.coords.items() if not one.dims}
        for row in _rows_of_point(point):
            yield place | row


def _rows_of_point(point: xr.Dataset) -> Iterator[dict[str, Any]]:
    for quantity in QUANTITIES:
        by_width = "width" in point[f"{quantity}_rms"].dims
        for i, width in enumerate(point.width.values.tolist() if by_width else ["all"]):
            here = point.isel(width=i) if by_width else point
            for j, name in enumerate(point["variable"].values.tolist()):
                cells = {one: here[f"{quantity}_{one}"].values[j].item() for one in MEASURES}
                if cells["entries"] > 0:
                    yield {"quantity": quantity, "width": width, "observable": name, **cells}


def check_table(path: str | os.PathLike[str]) -> Path:
    """The path a table will be written to. Raises InputError("output", ...) as `fwdmft.files.check_output` does."""
    return files.check_output(path, "a table of the agreement", ".csv", _is_table)


def _is_table(path: Path) -> bool:
    with open(path, "rb") as file:
        return b"quantity,width,observable,entries," in file.readline(10_000)


def write_agreement(numbers: xr.Dataset, path: str | os.PathLike[str]) -> Path:
    """The rows of `agreement_rows` as .csv. Raises InputError("output", ...) where it cannot be written."""
    target, rows = check_table(path), list(agreement_rows(numbers))
    head = list(rows[0]) if rows else ["quantity", "width", "observable", *MEASURES]
    with files.replacing(target) as scratch, open(scratch, "w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, head)
        table.writeheader()
        table.writerows(rows)
    return target


def pooled(numbers: xr.Dataset, quantity: str) -> tuple[float, float]:
    """rms and largest score of a quantity over all widths and observables; NaN where nothing was compared."""
    entries, rms = numbers[f"{quantity}_entries"], numbers[f"{quantity}_rms"]
    total = entries.sum().item()
    if not total:
        return np.nan, np.nan
    return ((entries * rms**2).sum().item() / total) ** 0.5, numbers[f"{quantity}_max"].max().item()
