"""Two results side by side: theory with theory, ensemble with ensemble, the theory of one with the other's ensemble.

Points are those whose inputs are equal to the last bit, wherever they stand; times and widths go by their labels.
A score is a difference in units of its standard error, as in `scores`. Beside each stands a control that must fail: the
same scores with the entries (times, points, pairs) of the second side shuffled. Where it does not fail either, the
comparison is too coarse to tell anything.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from fwdmft.errors import InputError
from fwdmft.observables import METRICS, OBSERVABLES
from fwdmft.results import comparison
from fwdmft.results.comparison import SUBSET, Residual
from fwdmft.results.describe import THEORY_ROLES
from fwdmft.results.experiments import differences, experiment_of, seed_of, sources
from fwdmft.results.scores import distribution, entries_of

Row = dict[str, Any]


class Half(NamedTuple):
    """A half of a result: its name ("theory of a.nc"), which half, and the group at the shared points."""

    name: str
    half: str
    group: xr.Dataset


@dataclass(frozen=True)
class Judged:
    """Two sides compared, a row for each quantity, width and observable."""

    first: str
    second: str
    rows: list[Row]
    times: int


@dataclass(frozen=True)
class SideBySide:
    """differ: fields of the experiments with both values. points: shared, and how many each result has. notes: why
    scores may be too small, or of two different problems."""

    names: tuple[str, str]
    differ: dict[str, tuple[Any, Any]]
    points: tuple[int, int, int]
    judged: list[Judged]
    notes: list[str]


def compare(results: Mapping[str, xr.DataTree]) -> SideBySide:
    """Compare two results, by the names that messages and rows use.

    Raises InputError where they share no points, or no two halves of them share times, entries and standard errors.
    """
    names, trees = tuple(results), tuple(results.values())
    if len(names) != 2:
        raise InputError("results", list(names), "two results with different names")
    chosen = _shared_points(*(tree["data"].to_dataset() for tree in trees))
    if not len(chosen[0]):
        raise InputError(
            "results", list(names), "results that share points; no input x of one is an input of the other"
        )
    counts = [tree["data"].sizes["point"] for tree in trees]
    whole = all(len(chosen[0]) == count for count in counts)
    halves: dict[tuple[str, str], Half] = {}
    for name, tree, index in zip(names, trees, chosen, strict=True):
        for half in ("theory", "ensemble"):
            if half in tree.children:
                group = _at_points(tree[half].to_dataset(), index, whole)
                halves[name, half] = Half(f"{half} of {name}", half, group)
    a, b = names
    pairs = (("theory", "theory"), ("ensemble", "ensemble"), ("theory", "ensemble"))
    keys = [((a, one), (b, other)) for one, other in pairs] + [((b, "theory"), (a, "ensemble"))]
    judged = [_judged(halves[one], halves[other]) for one, other in keys if one in halves and other in halves]
    with_rows = [each for each in judged if each.rows]
    if not with_rows:
        expected = "results that share times and observables with standard errors"
        raise InputError(
            "results", list(names), f"{expected}; {'; '.join(_why_not(each) for each in judged) or 'none'}"
        )
    differ = differences(experiment_of(trees[0]), experiment_of(trees[1]))
    return SideBySide(
        (a, b),
        differ,
        (len(chosen[0]), counts[0], counts[1]),
        with_rows,
        [*_of_problems(chosen, *trees), *_notes(*trees)],
    )


def _why_not(judged: Judged) -> str:
    return f"{judged.first} and {judged.second} share {judged.times or 'no'} times"


def _of_problems(chosen: tuple[np.ndarray, np.ndarray], one: xr.DataTree, other: xr.DataTree) -> Iterator[str]:
    """Where shared points show that networks of the two were trained on different problems."""
    all_points = [tree["data"].to_dataset() for tree in (one, other)]
    first, second = (data.isel(point=index) for data, index in zip(all_points, chosen, strict=True))
    if not np.array_equal(first["y"].values, second["y"].values):
        yield "Targets y of shared points differ: scores are of two different problems."
    trained = [int((data["split"].values == "train").sum()) for data in (first, *all_points)]
    if not np.array_equal(first["split"].values, second["split"].values) or len(set(trained)) > 1:
        yield "Training points differ: scores are of two different problems."


_TOO_SMALL = "Scores of one against the other are too small then."


def _notes(one: xr.DataTree, other: xr.DataTree) -> Iterator[str]:
    """Where the two sides may not be independent."""
    theories = {seed_of(tree, "theory") for tree in (one, other) if "theory" in tree.children}
    if all("theory" in tree.children for tree in (one, other)) and len(theories) == 1 and None not in theories:
        yield f"Both theories have the seed {theories.pop()}: their errors are not independent. {_TOO_SMALL}"
    if all("ensemble" in tree.children for tree in (one, other)):
        drawn = [{(each["seed"], w) for each in sources(tree) for w in each["widths"]} for tree in (one, other)]
        for seed, width in sorted(pair for pair in drawn[0] & drawn[1] if pair[0] is not None):
            same = f"Both ensembles have width {width} with the seed {seed}: their networks may be the same."
            yield f"{same} {_TOO_SMALL}"


# --- the same points ---


def _shared_points(one: xr.Dataset, other: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Positions of the points that both have, in the order of the first; equal inputs are paired one by one."""
    places: dict[bytes, list[int]] = {}
    for i, row in enumerate(_rows(other)):
        places.setdefault(row.tobytes(), []).append(i)
    pairs = [(i, places[key].pop(0)) for i, key in enumerate(row.tobytes() for row in _rows(one)) if places.get(key)]
    shared = np.array(pairs, int).reshape(-1, 2)
    return shared[:, 0], shared[:, 1]


def _rows(data: xr.Dataset) -> np.ndarray:
    x = np.asarray(data["x"].values, np.float64)
    return np.ascontiguousarray(x.reshape(len(x), -1)) + 0.0  # -0 is 0


def _at_points(group: xr.Dataset, index: np.ndarray, whole: bool) -> xr.Dataset:
    """The group at these points, numbered anew; losses, which are of all points, stay if those are all."""
    slim = group.drop_dims(("time_prime", "kernel", "sample", "member", "group"), errors="ignore")
    slim = slim.drop_vars("point_split", errors="ignore")
    slim = slim.isel({dim: index for dim in ("point", "point_prime") if dim in slim.dims})
    if "kernel_point" in slim.dims:
        new = {int(old): rank for rank, old in enumerate(index)}
        at = slim["kernel_point"].values.tolist()
        kept = sorted((i for i, old in enumerate(at) if old in new), key=lambda i: new[at[i]])
        labels = [new[at[i]] for i in kept]
        slim = slim.isel(kernel_point=kept, kernel_point_prime=kept)
        slim = slim.assign_coords(kernel_point=labels, kernel_point_prime=labels)
    return slim if whole else slim.drop_vars([name for name in slim.data_vars if str(name).startswith("loss")])


# --- scores ---


def _judged(first: Half, second: Half) -> Judged:
    times = len(np.intersect1d(first.group["time"].values, second.group["time"].values))
    rows = list(_rows_of(first, second)) if times else []
    return Judged(first.name, second.name, rows, times)


def _rows_of(first: Half, second: Half) -> Iterator[Row]:
    if first.half == second.half == "theory":
        scored = _theories(first.group, second.group)
    elif first.half == second.half:
        scored = _ensembles(first.group, second.group)
    else:
        scored = _theory_and_ensemble(first.group, second.group)
    for quantity, name, residual in scored:
        if "width" not in residual.value.dims:
            yield from _row(quantity, "all" if quantity == "bias" and second.half == "ensemble" else "", name, residual)
            continue
        for i, width in enumerate(residual.value["width"].values.tolist()):
            yield from _row(quantity, width, name, Residual(*(part.isel(width=i) for part in residual)))


def _row(quantity: str, width: int | str, name: str, residual: Residual) -> Iterator[Row]:
    scores = distribution(residual, name)
    if scores["entries"]:
        words = {"quantity": quantity, "width": width, "observable": name}
        yield {
            **words,
            "entries": scores["entries"],
            "rms": scores["rms"],
            "max": scores["max"],
            "control": _control(residual, name),
        }


def _control(residual: Residual, name: str) -> float:
    """Root mean square score where the second side is shuffled; NaN of a single entry."""
    value, error, expected = entries_of(residual, name)
    if len(value) < 2:
        return np.nan
    shuffled = expected[np.random.default_rng(0).permutation(len(expected))]
    return float(np.sqrt(np.mean(((value + expected - shuffled) / error) ** 2)))


Residuals = Iterator[tuple[str, str, Residual]]


def _theories(one: xr.Dataset, other: xr.Dataset) -> Residuals:
    one, other = _at_common_times(one, other)
    for name in [*_observables(one, ""), "loss"]:
        for quantity, role in (("mean", ""), ("variance", "_variance"), ("bias", "_bias")):
            if _comparable(one, other, f"{name}{role}"):
                yield "loss" if name == "loss" else quantity, name, _difference(one, other, f"{name}{role}")


def _ensembles(one: xr.Dataset, other: xr.Dataset) -> Residuals:
    one, other = _at_common_times(one, other)
    widths = np.intersect1d(one["width"].values, other["width"].values)
    at_widths = one.sel(width=widths), other.sel(width=widths)
    for name in [*_observables(one, "_mean"), "loss"]:
        mean, variance = f"{name}_mean", f"{name}_variance"
        if len(widths) and _comparable(*at_widths, mean):
            yield "loss" if name == "loss" else "mean", name, _difference(*at_widths, mean)
        if len(widths) and name != "loss" and _comparable(*at_widths, variance):
            yield "variance", name, _difference(*at_widths, variance)
        if name != "loss" and min(one.sizes["width"], other.sizes["width"]) > 1 and _comparable(one, other, mean):
            fits = [comparison.fitted_bias(group, name) for group in (one, other)]
            yield "bias", name, _residual(*fits)


def _theory_and_ensemble(theory: xr.Dataset, ensemble: xr.Dataset) -> Residuals:
    for name in comparison.common_observables(theory, ensemble):
        if _comparable(*comparison.at_common_times(theory, ensemble), name, f"{name}_mean"):
            known = f"{name}_bias" in theory
            yield "mean" if known else "mean without b", name, comparison.mean_residual(theory, ensemble, name)
            if f"{name}_variance" in theory and f"{name}_variance" in ensemble:
                yield "variance", name, comparison.variance_residual(theory, ensemble, name)
            if known and ensemble.sizes["width"] > 1:
                yield "bias", name, comparison.bias_residual(theory, ensemble, name)
    if {"loss_at_width", "loss_standard_error"} <= set(theory.data_vars) and "loss_mean" in ensemble:
        yield from _losses(theory, ensemble)


def _losses(theory: xr.Dataset, ensemble: xr.Dataset) -> Residuals:
    """At the widths for which the theory states the loss."""
    places = {dim: np.intersect1d(theory[dim].values, ensemble[dim].values) for dim in ("time", "width")}
    theory, ensemble = theory.sel(places), ensemble.sel(places)
    errors = (
        theory["loss_at_width_standard_error"],
        theory["loss_standard_error"],
        ensemble["loss_mean_standard_error"],
    )
    value = ensemble["loss_mean"] - theory["loss_at_width"]
    if value.size:
        error = comparison.quadrature(*errors).broadcast_like(value)
        yield "loss", "loss", Residual(value, error.transpose(*value.dims), theory["loss_at_width"])


def _at_common_times(one: xr.Dataset, other: xr.Dataset) -> tuple[xr.Dataset, xr.Dataset]:
    one, other = comparison.at_common_points(one, other)
    times = np.intersect1d(one["time"].values, other["time"].values)
    return one.sel(time=times), other.sel(time=times)


def _observables(group: xr.Dataset, end: str) -> list[str]:
    """What `group` has of fwdmft's own, then what else it has over time with a standard error; losses are apart."""
    every = [*OBSERVABLES, *(f"{SUBSET}{name}" for name in OBSERVABLES)]
    own = [name for name in every if f"{name}{end}" in group]
    measured = [
        str(name) for name in group.data_vars if f"{name}_standard_error" in group and "time" in group[name].dims
    ]
    others = [name.removesuffix(end) for name in measured if name.endswith(end) and not _derived(name, group)]
    return [*own, *sorted(name for name in others if name not in (*own, *METRICS))]


def _derived(name: str, group: xr.Dataset) -> bool:
    """Whether a variable is of an observable with a role in the theory, such as N Var, or of a loss."""
    of_role = any(name.endswith(f"_{role}") and name.removesuffix(f"_{role}") in group for role in THEORY_ROLES if role)
    return of_role or name.startswith("loss")


def _comparable(one: xr.Dataset, other: xr.Dataset, name: str, its_name: str | None = None) -> bool:
    """Whether both have it, of the same layers and outputs."""
    second = its_name or name
    if name not in one or second not in other:
        return False
    sizes = [{dim: size for dim, size in part.sizes.items() if dim != "width"} for part in (one[name], other[second])]
    return sizes[0] == sizes[1]


def _difference(one: xr.Dataset, other: xr.Dataset, name: str) -> Residual:
    """Of variables with `_standard_error` beside them, which is 0 where it is missing."""
    estimates = [
        comparison.Estimate(group[name], comparison.or_zero(group, f"{name}_standard_error")) for group in (one, other)
    ]
    return _residual(*estimates)


def _residual(one: comparison.Estimate, other: comparison.Estimate) -> Residual:
    value = one.value - other.value
    return Residual(value, comparison.quadrature(one.error, other.error).broadcast_like(value), other.value)
