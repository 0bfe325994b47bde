"""Assemble the result tree from the engine's plain arrays.

Coordinates live in the group that uses them and never at the root: theory and ensemble may keep different
times and widths, and the `width` of an image in /data is pixels, not neurons. The name `split` belongs to the
points in /data and to the axis of the losses elsewhere, so the points of /theory and /ensemble carry theirs
as `point_split`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from fwdmft.observables import METRICS, OBSERVABLES, Observable, parts
from fwdmft.results import derived, describe
from fwdmft.results.missing import explained
from fwdmft.results.split_index import with_split_index
from fwdmft.results.task import of_task, padded
from fwdmft.results.variables import COORDINATES, DATA, ENSEMBLE, GROUP_SUMS, THEORY, numbers_of
from fwdmft.versions import installed_version

if TYPE_CHECKING:
    from fwdmft.datasets import Dataset
    from fwdmft.datasets.standardize import Standardization
    from fwdmft.experiment.model import Experiment
    from fwdmft.networks.ensemble import WidthStatistics
    from fwdmft.registry import Architecture
    from fwdmft.results.theory_loss import TheoryLoss
    from fwdmft.theory import TheoryResult

Observables = Mapping[str, Observable]
Labels = Mapping[str, xr.Variable]
SPLITS = ("train", "test")
_MOMENTS = ("mean", "mean_standard_error", "variance", "variance_standard_error", "third_moment")


def result_tree(
    experiment: Experiment,
    dataset: Dataset,
    theory: TheoryResult | None,
    theory_loss: TheoryLoss | None,
    ensemble: Sequence[WidthStatistics],
    diagnostics: Mapping[str, Any],
    plugins: Mapping[str, tuple[str, str]],
    architecture: Architecture,
) -> xr.DataTree:
    """The result as a DataTree with groups /data, /theory, /ensemble and /diagnostics.

    diagnostics: scalars, strings, arrays, or (dims, array) for named dimensions; theory.diagnostics and
    theory.responses are added. plugins: name and version of the plugin of "architecture mlp" and of all else that the
    experiment names (`fwdmft.identity.plugins_of`). architecture: names axes of x and what it observes, states its
    conventions.
    A half that did not run (theory None, ensemble empty) has no group. Raises ValueError when arrays do not have
    the shapes stated here, as that is a mistake of the caller.
    """
    known = OBSERVABLES | METRICS | dict(architecture.observables)
    groups = {"/data": _data(dataset, architecture.axes)}
    if theory is not None:
        groups["/theory"] = _theory(theory, known, dataset, theory_loss)
    if ensemble:
        groups["/ensemble"] = ensemble_group(ensemble, known, dataset)
    groups["/diagnostics"] = _diagnostics(theory, diagnostics)
    root = xr.Dataset(attrs=_root_attributes(experiment, plugins, architecture.conventions))
    return with_split_index(xr.DataTree.from_dict({"/": root, **groups}))


def _root_attributes(
    experiment: Experiment, plugins: Mapping[str, tuple[str, str]], conventions: str
) -> dict[str, str]:
    created = datetime.now(UTC).isoformat(timespec="seconds")
    own = installed_version("fwdmft")
    return {
        "title": experiment.title or experiment.name,
        "Conventions": describe.CONVENTIONS,
        "history": f"{created} fwdmft {own}: run of experiment {experiment.name}",
        "created_at": created,
        "creation_library": "fwdmft",
        "creation_library_version": own,
        "schema_version": describe.SCHEMA_VERSION,
        "experiment": experiment.model_dump_json(),
        "plugins": json.dumps(dict(plugins)),
        "jax_version": installed_version("jax"),
        "numpy_version": installed_version("numpy"),
        "source": describe.SOURCE,
        "model_conventions": describe.model_conventions(conventions),
    }


# --- data ---


def _data(dataset: Dataset, axes: tuple[str, ...]) -> xr.Dataset:
    x = DATA["x"]._replace(dims=("point", *axes))
    done = dataset.standardization
    procedure = {"standardization": done.procedure} if done else {}
    return xr.Dataset(
        {
            "x": x.of(np.asarray(dataset.x, np.float64)),
            "y": DATA["y"].of(np.asarray(dataset.y, np.float64)),
            **(_standardization(done, x.dims) if done else {}),
        },
        coords={"split": DATA["split"].of(_splits(dataset))},
        attrs={"description": dataset.description, **_plain(dataset.attributes | procedure)},
    )


def _standardization(done: Standardization, x_dims: tuple[str, ...]) -> dict[str, xr.Variable]:
    """What turns original points into x: x = (original - x_mean) / x_scale."""
    return {
        "x_mean": DATA["x_mean"]._replace(dims=x_dims[1:]).of(np.asarray(done.mean, np.float64)),
        "x_scale": DATA["x_scale"].of(np.asarray(done.scale, np.float64)),
    }


def _splits(dataset: Dataset) -> np.ndarray:
    return np.where(np.asarray(dataset.train, bool), *SPLITS)


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes as netCDF can hold them: numbers and strings as they are, anything else as JSON."""
    keep = (str, int, float, np.number)
    return {
        key: value if isinstance(value, keep) and not isinstance(value, bool) else json.dumps(value, default=str)
        for key, value in values.items()
    }


# --- theory ---


def _theory(
    theory: TheoryResult,
    known: Observables,
    dataset: Dataset,
    loss: TheoryLoss | None,
) -> xr.Dataset:
    variables = dict(_theory_observables(theory, known))
    at = theory.kernel_points
    points = slice(None) if at is None else at
    variables |= derived.of_theory(variables, dataset.y[points], dataset.train[points])
    if at is not None:
        variables = dict(_of_subset(variables))
    variables |= _theory_covariances(theory)
    if loss is not None:
        variables["loss"] = THEORY["loss"].of(loss.infinite)
        if loss.infinite_error is not None:
            variables["loss_standard_error"] = THEORY["loss_standard_error"].of(loss.infinite_error)
    widths = None
    if loss is not None and loss.at_width is not None:
        widths = loss.widths
        variables["loss_at_width"] = THEORY["loss_at_width"].of(loss.at_width)
        variables["loss_at_width_standard_error"] = THEORY["loss_at_width_standard_error"].of(loss.at_width_error)
    return _at_kernel_points(_with_coordinates(variables, known, theory.times, dataset, widths), at)


def _theory_observables(theory: TheoryResult, known: Observables) -> Iterator[tuple[str, xr.Variable]]:
    roles = {
        "": theory.mean,
        "standard_error": theory.standard_error,
        "variance": theory.variance,
        "variance_standard_error": theory.variance_standard_error,
        "bias": theory.bias,
        "bias_standard_error": theory.bias_standard_error,
    }
    for role, arrays in roles.items():
        for name, array in arrays.items():
            variable = _observable(array, known[name].dims, describe.theory_attributes(known[name], role))
            yield f"{name}_{role}" if role else name, variable


def _theory_covariances(theory: TheoryResult) -> dict[str, xr.Variable]:
    outputs = theory.equal_time_covariances
    covariances = {
        "prediction_covariance": theory.prediction_covariance,
        "prediction_output_covariance": None if outputs is None else outputs.mean(axis=0),
        "layer_covariance": getattr(theory, "layer_covariance", None),
    }
    return {name: THEORY[name].of(values) for name, values in covariances.items() if values is not None}


def _observable(array: np.ndarray, dims: tuple[str, ...], named: dict[str, str]) -> xr.Variable:
    """(T, *dims) as a variable, what numbers parts of the network first (see `Observable`), then time.

    The axes of a two-time quantity, which has time among its `dims`, or of one at a single time, are those already.
    """
    if "time" in dims or np.ndim(array) == len(dims):
        return xr.Variable(dims, np.asarray(array, np.float64), named)
    variable = xr.Variable(("time", *dims), np.asarray(array, np.float64), named)
    return variable.transpose(*parts(dims), "time", ...)


# --- ensemble ---


def ensemble_group(ensemble: Sequence[WidthStatistics], known: Observables, dataset: Dataset) -> xr.Dataset:
    """The group /ensemble, of the widths in their order; known: what can be observed."""
    times = ensemble[0].times
    if any(not np.array_equal(one.times, times) for one in ensemble):
        raise ValueError("ensembles of different widths must keep the same times")
    widths = [one.width for one in ensemble]
    variables = dict(_ensemble_observables(ensemble, known))
    at = ensemble[0].kernel_points
    points = slice(None) if at is None else at
    variables |= derived.of_ensemble(variables, known, widths, dataset.y[points], dataset.train[points])
    if at is not None:
        variables = dict(_of_subset(variables))
    variables |= of_task(ensemble) | _ensemble_losses(ensemble)
    variables |= _ensemble_members(ensemble) | _group_sums(ensemble)
    return _at_kernel_points(_with_coordinates(variables, known, times, dataset, widths), at)


# --- kernels between some of the points ---


def _of_subset(variables: Mapping[str, xr.Variable]) -> Iterator[tuple[str, xr.Variable]]:
    """Kernels between some of the points only have names and dimensions of their own."""
    for name, variable in variables.items():
        if "point_prime" in variable.dims:
            dims = [f"kernel_{dim}" if dim in ("point", "point_prime") else dim for dim in variable.dims]
            yield f"subset_{name}", xr.Variable(dims, variable.values, variable.attrs)
        else:
            yield name, variable


def _at_kernel_points(group: xr.Dataset, at: np.ndarray | None) -> xr.Dataset:
    """With the labels of the dimensions that `_of_subset` names."""
    return group if at is None else _labelled(group, _labels("kernel_point", at))


def _ensemble_observables(ensemble: Sequence[WidthStatistics], known: Observables) -> Iterator[tuple[str, xr.Variable]]:
    for role in _MOMENTS:
        for name in getattr(ensemble[0], role):
            if name not in ("loss", "mean_square"):
                named = describe.ensemble_attributes(known[name], role)
                each = [_observable(getattr(one, role)[name], known[name].dims, named) for one in ensemble]
                yield f"{name}_{role}", _stack_widths(each)


def _stack_widths(each: Sequence[xr.Variable]) -> xr.Variable:
    return xr.Variable(("width", *each[0].dims), np.stack([one.values for one in each]), each[0].attrs)


def _ensemble_losses(ensemble: Sequence[WidthStatistics]) -> dict[str, xr.Variable]:
    return {
        f"loss_{role}": ENSEMBLE[f"loss_{role}"].of(np.stack([getattr(one, role)["loss"] for one in ensemble]))
        for role in _MOMENTS
        if "loss" in getattr(ensemble[0], role)
    }


def _ensemble_members(ensemble: Sequence[WidthStatistics]) -> dict[str, xr.Variable]:
    fields = {"members": "members", "diverged_members": "diverged", "seconds": "seconds"}
    samples = [one.sample_prediction for one in ensemble if one.sample_prediction is not None]
    kept = {"sample_prediction": ENSEMBLE["sample_prediction"].of(padded(samples))} if samples else {}
    return kept | {name: ENSEMBLE[name].of([getattr(one, field) for one in ensemble]) for name, field in fields.items()}


def _group_sums(ensemble: Sequence[WidthStatistics]) -> dict[str, xr.Variable]:
    """What standard errors of the jackknife come from, which merging ensembles needs."""
    each = [one.groups for one in ensemble]
    sums = {
        f"{name}_group_sum": GROUP_SUMS[name].of(np.stack([_summed(name, groups[name].sums) for groups in each]))
        for name in each[0]
    }
    counts = [groups["loss"].counts for groups in each if "loss" in groups]
    return sums | ({"group_members": ENSEMBLE["group_members"].of(counts)} if counts else {})


def _summed(name: str, sums: np.ndarray | None) -> np.ndarray:
    """Sums (group, ...) as they are stored: of a kernel (..., n, n), which is symmetric, the upper triangle."""
    assert sums is not None
    return sums[..., *np.triu_indices(sums.shape[-1])] if name == "last_feature_kernel" else sums


# --- coordinates and diagnostics ---


def _with_coordinates(
    variables: Mapping[str, xr.Variable],
    known: Observables,
    times: np.ndarray,
    dataset: Dataset,
    widths: Sequence[int] | None,
) -> xr.Dataset:
    absent = [
        split for split, chosen in zip(SPLITS, (dataset.train, ~dataset.train), strict=True) if not np.any(chosen)
    ]
    group = xr.Dataset(explained(variables, absent))
    kernels = np.array(describe.KERNELS_OF_LAYERS)
    labels = {
        **_labels("time", np.asarray(times)),
        **_part_labels(group, known),
        **_labels("kernel", kernels),
        "split": COORDINATES["split"].of(np.array(SPLITS)),
        "point_split": COORDINATES["point_split"].of(_splits(dataset)),
        "width": COORDINATES["width"].of(np.asarray(widths if widths is not None else [], int)),
    }
    return _labelled(group, labels)


def _part_labels(group: xr.Dataset, known: Observables) -> Labels:
    """Numbers of layers, and of the other parts of the network that something is observed of."""
    dims = {dim for one in known.values() if "time" not in one.dims for dim in parts(one.dims)}
    return {name: label for dim in sorted(dims) for name, label in _numbered(group, dim).items()}


def _labels(dim: str, values: np.ndarray) -> Labels:
    """The same labels along `dim` and its second index."""
    entry = COORDINATES[dim]
    return {name: entry._replace(dims=(name,)).of(values) for name in (dim, f"{dim}_prime")}


def _numbered(group: xr.Dataset, dim: str) -> Labels:
    """Labels 1, 2, ... along `dim` and its second index."""
    entry = numbers_of(dim)
    return {
        name: entry._replace(dims=(name,)).of(np.arange(1, group.sizes.get(name, 0) + 1))
        for name in (dim, f"{dim}_prime")
    }


def _labelled(group: xr.Dataset, labels: Labels) -> xr.Dataset:
    return group.assign_coords({name: label for name, label in labels.items() if label.dims[0] in group.dims})


def _diagnostics(theory: TheoryResult | None, of_run: Mapping[str, Any]) -> xr.Dataset:
    """All diagnostics in one group; a name used by both keeps both, the theory's with the prefix theory_.

    Response functions, one of each hidden matrix at the times of the theory, are among them.
    """
    of_theory = {} if theory is None else theory.diagnostics
    theirs = {f"theory_{name}" if name in of_run else name: value for name, value in of_theory.items()}
    merged = {**theirs, **of_run}
    group = xr.Dataset({_safe(name): _diagnostic(_safe(name), value) for name, value in merged.items()})
    responses = getattr(theory, "responses", {})
    if theory is None or not responses:
        return group
    arrays = {name: (describe.response_dims(a.ndim), np.asarray(a, np.float64)) for name, a in responses.items()}
    group = group.assign({name: _diagnostic(name, value) for name, value in arrays.items()})
    numbers = {**_numbered(group, "matrix"), **_numbered(group, "use")}
    return _labelled(group, {**_labels("time", np.asarray(theory.times)), **numbers})


def _safe(name: str) -> str:
    return name.replace("/", "_").replace(" ", "_")


def _diagnostic(name: str, value: Any) -> xr.Variable:
    named = describe.diagnostic_attributes(name)
    if isinstance(value, tuple) and len(value) == 2 and not np.isscalar(value[1]):
        dims, array = value
        return xr.Variable(dims, np.asarray(array), named)
    array = np.asarray(value)
    dims = (f"{name}_index",) if array.ndim == 1 else tuple(f"{name}_index_{axis}" for axis in range(array.ndim))
    return xr.Variable(dims, array, named)
