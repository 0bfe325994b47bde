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
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from fwdmft.observables import METRICS, OBSERVABLES, Observable
from fwdmft.results import derived, describe
from fwdmft.results.describe import attributes, times_width
from fwdmft.results.missing import explained
from fwdmft.results.split_index import with_split_index
from fwdmft.results.task import FEWER, of_task, padded

if TYPE_CHECKING:
    from fwdmft.datasets import Dataset
    from fwdmft.datasets.standardize import Standardization
    from fwdmft.meanfield.theory import TheoryResult
    from fwdmft.networks.ensemble import WidthStatistics
    from fwdmft.registry import Architecture
    from fwdmft.results.theory_loss import TheoryLoss
    from fwdmft.spec.experiment import Experiment

Observables = Mapping[str, Observable]
Label = tuple[str, np.ndarray, dict[str, str]]
SPLITS = ("train", "test")
_COVARIANCE_DIMS = ("time", "point", "output", "time_prime", "point_prime", "output_prime")


def result_tree(
    experiment: Experiment,
    dataset: Dataset,
    theory: TheoryResult | None,
    theory_loss: TheoryLoss | None,
    ensemble: Sequence[WidthStatistics],
    ensembled_loss: np.ndarray | None,
    diagnostics: Mapping[str, Any],
    plugin: str,
    plugin_version: str,
    architecture: Architecture,
) -> xr.DataTree:
    """The result as a DataTree with groups /data, /theory, /ensemble and /diagnostics.

    ensembled_loss: (W', T', 2), loss of the averaged predictor, for the widths of `ensemble` in their order.
    diagnostics: scalars, strings, arrays, or (dims, array) for named dimensions; theory.diagnostics and
    theory.responses are added. architecture: names axes of x and what it observes, states its conventions.
    A half that did not run (theory None, ensemble empty) has no group. Raises ValueError when arrays do not have
    the shapes stated here, as that is a mistake of the caller.
    """
    known = OBSERVABLES | METRICS | dict(architecture.observables)
    groups = {"/data": _data(dataset, architecture.axes)}
    if theory is not None:
        groups["/theory"] = _theory(theory, known, dataset, theory_loss)
    if ensemble:
        groups["/ensemble"] = _ensemble(ensemble, known, dataset, ensembled_loss)
    groups["/diagnostics"] = _diagnostics(theory, diagnostics)
    root = xr.Dataset(attrs=_root_attributes(experiment, plugin, plugin_version, architecture.conventions))
    return with_split_index(xr.DataTree.from_dict({"/": root, **groups}))


def _root_attributes(experiment: Experiment, plugin: str, plugin_version: str, conventions: str) -> dict[str, str]:
    created = datetime.now(UTC).isoformat(timespec="seconds")
    own = _version("fwdmft")
    return {
        "title": experiment.title or experiment.name,
        "Conventions": describe.CONVENTIONS,
        "history": f"{created} fwdmft {own}: run of experiment {experiment.name}",
        "created_at": created,
        "creation_library": "fwdmft",
        "creation_library_version": own,
        "schema_version": describe.SCHEMA_VERSION,
        "experiment": experiment.model_dump_json(),
        "plugin": plugin,
        "plugin_version": plugin_version,
        "jax_version": _version("jax"),
        "numpy_version": _version("numpy"),
        "source": describe.SOURCE,
        "model_conventions": describe.model_conventions(conventions),
    }


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "unknown"


# --- data ---


def _data(dataset: Dataset, axes: tuple[str, ...]) -> xr.Dataset:
    x_dims = ("point", *axes)
    split = attributes("whether the point was trained on (train) or only predicted (test)")
    done = dataset.standardization
    procedure = {"standardization": done.procedure} if done else {}
    return xr.Dataset(
        {
            "x": (x_dims, np.asarray(dataset.x, np.float64), attributes("inputs", "x")),
            "y": (("point", "output"), np.asarray(dataset.y, np.float64), attributes("targets", "y")),
            **(_standardization(done, x_dims) if done else {}),
        },
        coords={"split": ("point", _splits(dataset), split)},
        attrs={"description": dataset.description, **_plain(dataset.attributes | procedure)},
    )


def _standardization(done: Standardization, x_dims: tuple[str, ...]) -> dict[str, xr.Variable]:
    """What turns original points into x: x = (original - x_mean) / x_scale."""
    mean = attributes("mean training point, removed from every point", r"\bar x")
    scale = attributes("what every point was divided by after that", "s")
    return {
        "x_mean": xr.Variable(x_dims[1:], np.asarray(done.mean, np.float64), mean),
        "x_scale": xr.Variable("point", np.asarray(done.scale, np.float64), scale),
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
        words = "loss at infinite width"
        variables["loss"] = xr.Variable(("time", "split"), loss.infinite, attributes(words, r"\mathcal{L}"))
    widths = None
    if loss is not None and loss.at_width is not None:
        widths, dims, words = loss.widths, ("width", "time", "split"), "expected loss at width N, to order 1/N"
        variables["loss_at_width"] = xr.Variable(dims, loss.at_width, attributes(words, r"\mathcal{L}_N"))
        words = "standard error of loss_at_width through Sigma and b; that of the loss at infinite width comes on top"
        error = attributes(words, r"\mathrm{se}[\mathcal{L}_N]")
        variables["loss_at_width_standard_error"] = xr.Variable(dims, loss.at_width_error, error)
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
    found = {}
    if theory.prediction_covariance is not None:
        words = "N Cov: covariance of the network predictions over initialisations, multiplied by the width N"
        named = times_width(words, r"N\,\mathrm{Cov}\,f")
        found["prediction_covariance"] = xr.Variable(_COVARIANCE_DIMS, theory.prediction_covariance, named)
    if theory.equal_time_covariances is not None:
        words = "N Cov: covariance over initialisations of outputs at one point and time, multiplied by the width N"
        named = times_width(words, r"N\,\mathrm{Cov}_{cc'}\,f")
        dims = ("time", "point", "output", "output_prime")
        found["prediction_output_covariance"] = xr.Variable(dims, theory.equal_time_covariances.mean(axis=0), named)
    layers = getattr(theory, "layer_covariance", None)
    if layers is not None:
        words = "N Cov: covariance over initialisations of layers' mean kernel diagonals, multiplied by the width N"
        named = times_width(words, r"N\,\mathrm{Cov}_{\ell\ell'}")
        found["layer_covariance"] = xr.Variable(describe.LAYER_COVARIANCE_DIMS, layers, named)
    return found


def _observable(array: np.ndarray, dims: tuple[str, ...], named: dict[str, str]) -> xr.Variable:
    """(T, *dims) as a variable, what numbers parts of the network first (see `Observable`), then time.

    The axes of a two-time quantity, which has time among its `dims`, or of one at a single time, are those already.
    """
    if "time" in dims or np.ndim(array) == len(dims):
        return xr.Variable(dims, np.asarray(array, np.float64), named)
    variable = xr.Variable(("time", *dims), np.asarray(array, np.float64), named)
    return variable.transpose(*_parts(dims), "time", ...)


def _parts(dims: tuple[str, ...]) -> tuple[str, ...]:
    """The dimensions that number parts of the network."""
    ahead = [dims.index(dim) for dim in ("point", "output", "split") if dim in dims]
    return dims[: min(ahead, default=len(dims))]


# --- ensemble ---


def _ensemble(
    ensemble: Sequence[WidthStatistics], known: Observables, dataset: Dataset, ensembled_loss: np.ndarray | None
) -> xr.Dataset:
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
    variables |= of_task(ensemble)
    variables |= _ensemble_losses(ensemble, ensembled_loss)
    variables |= _ensemble_members(ensemble)
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
    named = attributes("position in /data of the points that kernels are of")
    return _labelled(group, {dim: (dim, np.asarray(at), named) for dim in ("kernel_point", "kernel_point_prime")})


def _ensemble_observables(ensemble: Sequence[WidthStatistics], known: Observables) -> Iterator[tuple[str, xr.Variable]]:
    for role in ("mean", "mean_standard_error", "variance", "variance_standard_error"):
        for name in getattr(ensemble[0], role):
            if name not in ("loss", "mean_square"):
                named = describe.ensemble_attributes(known[name], role)
                each = [_observable(getattr(one, role)[name], known[name].dims, named) for one in ensemble]
                yield f"{name}_{role}", _stack_widths(each)


def _stack_widths(each: Sequence[xr.Variable]) -> xr.Variable:
    return xr.Variable(("width", *each[0].dims), np.stack([one.values for one in each]), each[0].attrs)


def _ensemble_losses(ensemble: Sequence[WidthStatistics], ensembled: np.ndarray | None) -> dict[str, xr.Variable]:
    dims = ("width", "time", "split")
    named = {
        "mean": attributes("mean over trained networks of the loss", r"\mathrm{E}\,\mathcal{L}_N"),
        "mean_standard_error": attributes(
            "standard error of the mean loss", r"\mathrm{s.e.}\,\mathrm{E}\,\mathcal{L}_N"
        ),
        "variance": attributes("variance over trained networks of the loss", r"\mathrm{Var}\,\mathcal{L}_N"),
        "variance_standard_error": attributes(
            "standard error of the variance of the loss", r"\mathrm{s.e.}\,\mathrm{Var}\,\mathcal{L}_N"
        ),
    }
    found = {
        f"loss_{role}": xr.Variable(dims, np.stack([getattr(one, role)["loss"] for one in ensemble]), text)
        for role, text in named.items()
        if "loss" in getattr(ensemble[0], role)
    }
    if ensembled is not None:
        text = attributes("loss of the prediction averaged over trained networks", r"\mathcal{L}[\mathrm{E}\,f_N]")
        found["ensembled_loss"] = xr.Variable(dims, ensembled, text)
    return found


def _ensemble_members(ensemble: Sequence[WidthStatistics]) -> dict[str, xr.Variable]:
    def per_width(field: str, text: dict[str, str]) -> xr.Variable:
        return xr.Variable(("width",), np.array([getattr(one, field) for one in ensemble]), text)

    dims = ("width", "sample", "time", "point", "output")
    text = attributes("prediction of single trained networks", "f_N", missing_reason=FEWER)
    samples = [one.sample_prediction for one in ensemble if one.sample_prediction is not None]
    kept = {"sample_prediction": xr.Variable(dims, padded(samples), text)} if samples else {}
    return kept | {
        "members": per_width("members", attributes("number of trained networks")),
        "diverged_members": per_width("diverged", attributes("number of networks that diverged and are left out")),
        "seconds": per_width("seconds", attributes("time spent training the networks", units="s")),
    }


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
    kernel = attributes("which kernel of a layer")
    labels = {
        **_time_labels(times),
        **_part_labels(group, known),
        "kernel": ("kernel", np.array(describe.KERNELS_OF_LAYERS), kernel),
        "kernel_prime": ("kernel_prime", np.array(describe.KERNELS_OF_LAYERS), kernel),
        "split": ("split", np.array(SPLITS), attributes("points the loss is taken over")),
        "point_split": (
            "point",
            _splits(dataset),
            attributes("whether the point was trained on (train) or not (test)"),
        ),
        "width": ("width", np.asarray(widths if widths is not None else [], int), attributes("width", "N")),
    }
    return _labelled(group, labels)


def _part_labels(group: xr.Dataset, known: Observables) -> dict[str, Label]:
    """Numbers of layers, and of the other parts of the network that something is observed of."""
    parts = dict.fromkeys(dim for one in known.values() if "time" not in one.dims for dim in _parts(one.dims))
    named = {dim: attributes(dim.replace("_", " ")) for dim in parts} | {"layer": attributes("hidden layer", r"\ell")}
    return {name: label for dim, text in named.items() for name, label in _numbered(group, dim, text).items()}


def _time_labels(times: np.ndarray) -> dict[str, Label]:
    named = attributes("training step, quantities measured before its update", "t")
    return {dim: (dim, np.asarray(times), named) for dim in ("time", "time_prime")}


def _numbered(group: xr.Dataset, dim: str, named: dict[str, str]) -> dict[str, Label]:
    """Labels 1, 2, ... along `dim` and its second index."""
    return {one: (one, np.arange(1, group.sizes.get(one, 0) + 1), named) for one in (dim, f"{dim}_prime")}


def _labelled(group: xr.Dataset, labels: Mapping[str, Label]) -> xr.Dataset:
    return group.assign_coords({name: label for name, label in labels.items() if label[0] in group.dims})


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
    found = {name: (describe.RESPONSES[name].dims, np.asarray(a, np.float64)) for name, a in responses.items()}
    group = group.assign({name: _diagnostic(name, value) for name, value in found.items()})
    matrix = attributes("hidden matrix, from layer l to layer l + 1", r"\ell")
    return _labelled(group, {**_time_labels(theory.times), **_numbered(group, "matrix", matrix)})


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
