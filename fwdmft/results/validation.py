"""Whether a file is a result in the published format, whoever wrote it: its names, dimensions, units and numbers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import xarray as xr
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from fwdmft.errors import NOTHING, InputError
from fwdmft.results.layout import ATTRIBUTES, result_schema, rows

MOST = 10
"""Problems that are told."""

_HALVES = ("theory", "ensemble")


def is_netcdf(path: Path) -> bool:
    """Whether a file begins like netCDF, be it classic or netCDF4."""
    try:
        with open(path, "rb") as file:
            return file.read(4) in (b"\x89HDF", b"CDF\x01", b"CDF\x02", b"CDF\x05")
    except OSError:
        return False


def check_layout(path: Path) -> None:
    """Check a netCDF file against `schemas/result.schema.json`. Raises InputError with a line for each problem."""
    validator = Draft202012Validator(result_schema())
    _raise(problem for error in validator.iter_errors(header(path)) for problem in _problems(error))


def check_numbers(tree: xr.DataTree) -> None:
    """Check what a schema cannot say: sizes, labels and numbers. Raises InputError with a line for each problem."""
    _raise(_wrong(tree))


def _raise(every: Iterator[InputError]) -> None:
    problems = list({str(problem): problem for problem in every}.values())
    if problems:
        raise InputError.of(problems[:MOST], max(0, len(problems) - MOST))


# --- names, dimensions, units ---


def header(path: Path) -> dict[str, Any]:
    """What a file says of itself, in the form that the schema describes."""
    with netCDF4.Dataset(path) as file:
        return {"attributes": _attributes(file), "groups": {name: _group(one) for name, one in file.groups.items()}}


def _group(group: netCDF4.Group) -> dict[str, Any]:
    variables = {
        name: {"dimensions": list(one.dimensions), "type": _type(one), "attributes": _attributes(one)}
        for name, one in group.variables.items()
    }
    return {"attributes": _attributes(group), "variables": variables}


def _attributes(holder: Any) -> dict[str, Any]:
    return {name: np.asarray(holder.getncattr(name)).tolist() for name in holder.ncattrs()}


def _type(variable: netCDF4.Variable) -> str:
    return "string" if variable.dtype is str else str(np.dtype(variable.dtype).newbyteorder("="))


def _problems(error: ValidationError) -> Iterator[InputError]:
    """What is wrong, in words that name the place."""
    place = _place(list(error.absolute_path))
    match error.validator:
        case "required":
            for name in error.validator_value:
                if name not in error.instance:
                    yield InputError(_inside(place, name), NOTHING, _missing(place, name))
        case "anyOf" if place == "":
            yield InputError("groups", sorted(error.instance), "a group theory or ensemble (or both)")
        case "anyOf":
            alternatives = {each.schema_path[0]: each for each in error.context or ()}
            problems = [problem for each in alternatives.values() for problem in _problems(each)]
            expected = " or ".join(dict.fromkeys(problem.expected for problem in problems))
            yield InputError(problems[0].field, problems[0].value, expected)
        case "const":
            yield InputError(place, error.instance, repr(error.validator_value))
        case "enum":
            yield InputError(place, error.instance, f"one of {', '.join(error.validator_value)}")
        case "minItems":
            yield InputError(place, error.instance, f"{error.validator_value} dimensions or more")
        case _:
            yield InputError(place, error.instance, {"string": "text"}.get(error.validator_value, "another value"))


def _place(path: list[Any]) -> str:
    """["groups", "theory", "variables", "loss", "dimensions"] as theory/loss.dimensions."""
    match path:
        case ["attributes", *rest]:
            return ".".join(rest)
        case ["groups", group, "variables", name, *rest]:
            inner = rest[1:] if rest[:1] == ["attributes"] else rest
            return ".".join([f"{group}/{name}", *(str(one) for one in inner)])
        case ["groups", group, *_]:
            return str(group)
    return ""


def _inside(place: str, name: str) -> str:
    return f"{place}.{name}" if "/" in place else f"{place}/{name}" if place else name


def _missing(place: str, name: str) -> str:
    if place == "":
        text = ATTRIBUTES.get(name, "A group of this name.")
        return text[:1].lower() + text[1:].rstrip(".")
    if "/" in place:
        return "text"
    return f"a variable: {rows()[place][name][0].words}"


# --- numbers ---


def _wrong(tree: xr.DataTree) -> Iterator[InputError]:
    groups = {name: child.to_dataset() for name, child in tree.children.items()}
    yield from _unreadable_experiment(tree)
    for name, group in groups.items():
        for dim in ("point", "output"):
            expected = groups["data"].sizes[dim]
            if group.sizes.get(dim, expected) != expected:
                yield InputError(f"{name}.{dim}", group.sizes[dim], f"{expected}, the size of {dim} in the group data")
        for variable, values in group.variables.items():
            yield from _bad_values(f"{name}/{variable}", values)
    splits = np.unique(groups["data"]["split"].values).tolist()
    if not set(splits) <= {"train", "test"}:
        yield InputError("data/split", splits, "train or test of every point")
    for name in _HALVES:
        for dim in ("time", "width"):
            if name in groups and dim in groups[name].coords:
                yield from _bad_labels(f"{name}/{dim}", dim, groups[name][dim].values)


_SECTIONS = ("architecture", "parameterization", "optimizer", "loss", "data", *_HALVES)


def _unreadable_experiment(tree: xr.DataTree) -> Iterator[InputError]:
    text = tree.attrs["experiment"]
    try:
        experiment = json.loads(text)
    except ValueError:
        experiment = None
    if not isinstance(experiment, dict):
        yield InputError("experiment", text, "a mapping as JSON, such as {} or that of another result")
        return
    for name in _SECTIONS:
        section = experiment.get(name, {})
        if not (isinstance(section, dict) or (section is None and name in _HALVES)):
            yield InputError(f"experiment.{name}", section, "a mapping of fields, or no such section")


def _bad_values(place: str, variable: xr.Variable) -> Iterator[InputError]:
    values = variable.values
    if values.dtype.kind != "f":
        return
    if np.isinf(values).any():
        yield InputError(place, np.inf, "finite numbers")
    if np.isnan(values).any() and "missing_reason" not in variable.attrs:
        yield InputError(place, np.nan, "numbers, or an attribute missing_reason that says why there are none")
    if place.endswith("_standard_error") and (values < 0).any():
        yield InputError(place, float(np.nanmin(values)), "standard errors, which are not negative")
    if place.startswith("ensemble/") and place.endswith("_variance") and (values < 0).any():
        yield InputError(place, float(np.nanmin(values)), "variances over networks, which are not negative")


def _bad_labels(place: str, dim: str, values: np.ndarray) -> Iterator[InputError]:
    if dim == "time" and not (np.diff(values) > 0).all():
        yield InputError(place, values.tolist(), "steps in increasing order")
    if dim == "width" and (len(np.unique(values)) < len(values) or (values < 1).any()):
        yield InputError(place, values.tolist(), "distinct widths of at least 1")
