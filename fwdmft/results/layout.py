"""Every variable that a result can hold, and the published schema of the format, from the tables that results are
written by.

A schema describes a file as JSON says it: {"attributes": {...}, "groups": {group: {"attributes": {...}, "variables":
{variable: {"dimensions": [...], "type": "float64", "attributes": {...}}}}}}. Other programs may write files in the
format, with variables of their own beside these.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fwdmft.results import describe
from fwdmft.results.comparison import SUBSET
from fwdmft.results.derived import KERNELS
from fwdmft.results.describe import METRICS, OBSERVABLES, Observable
from fwdmft.results.task import RATES, STATISTICS
from fwdmft.results.variables import (
    COORDINATES,
    DATA,
    ENSEMBLE,
    GROUP_SUMS,
    IMAGES,
    THEORY,
    Entry,
    Table,
    with_errors,
)

_SECOND = ("time", "layer", "kernel", "kernel_point", "matrix")
"""Coordinates that dimensions with a second index have twice."""

_TYPES = {"real": ["float64", "float32"], "whole": ["int64", "int32"], "text": ["string"]}


# --- the variables ---


def rows() -> dict[str, Table]:
    """The variables of each group, coordinates first."""
    labels = COORDINATES | {f"{name}_prime": COORDINATES[name]._replace(dims=(f"{name}_prime",)) for name in _SECOND}
    of_halves = {name: entry for name, entry in labels.items() if not name.startswith("matrix")}
    of_responses = {name: labels[name] for name in ("time", "time_prime", "matrix", "matrix_prime")}
    return {
        "data": DATA,
        "theory": of_halves | THEORY | dict(_with_subsets(_theory())),
        "ensemble": of_halves
        | dict(_with_subsets(_ensemble()))
        | ENSEMBLE
        | with_errors(STATISTICS)
        | {f"{name}_group_sum": entry for name, entry in GROUP_SUMS.items()}
        | RATES,
        "diagnostics": of_responses
        | {name: _entry(one.dims, describe.diagnostic_attributes(name)) for name, one in describe.RESPONSES.items()},
    }


def _theory() -> Iterator[tuple[str, Entry]]:
    for name, observable in OBSERVABLES.items():
        dims = _with_time(observable)
        for role in describe.THEORY_ROLES:
            if _has(name, role):
                named = describe.theory_attributes(name, role)
                yield f"{name}_{role}" if role else name, _entry(_of_role(dims, role), named)


def _ensemble() -> Iterator[tuple[str, Entry]]:
    for name, observable in (OBSERVABLES | METRICS).items():
        dims = observable.dims if name == "final_prediction" else _with_time(observable)
        for role in describe.ENSEMBLE_ROLES:
            if _has(name, role):
                named = describe.ensemble_attributes(name, role)
                yield f"{name}_{role}", _entry(("width", *_of_role(dims, role)), named)


def _with_time(observable: Observable) -> tuple[str, ...]:
    """As they are stored: the layer first, then time, unless the observable has its own times."""
    dims = observable.dims
    if "time" in dims:
        return dims
    return ("layer", "time", *dims[1:]) if dims[:1] == ("layer",) else ("time", *dims)


def _has(name: str, role: str) -> bool:
    """Whether this is derived of that observable, see `fwdmft.results.derived`."""
    if role.startswith("signal_to_noise"):
        return name in KERNELS
    return role != "alignment" or (name in KERNELS and name != "gradient_kernel")


def _of_role(dims: tuple[str, ...], role: str) -> tuple[str, ...]:
    """An alignment is a number for the whole kernel."""
    return tuple(dim for dim in dims if dim in ("layer", "time")) if role == "alignment" else dims


def _with_subsets(entries: Iterator[tuple[str, Entry]]) -> Iterator[tuple[str, Entry]]:
    """With kernels between some of the points, as `fwdmft.results.build` names them."""
    for name, entry in entries:
        yield name, entry
        if "point_prime" in entry.dims:
            dims = tuple(f"kernel_{dim}" if dim in ("point", "point_prime") else dim for dim in entry.dims)
            yield f"{SUBSET}{name}", entry._replace(dims=dims)


def _entry(dims: tuple[str, ...], named: dict[str, str]) -> Entry:
    return Entry(dims, named["long_name"], named.get("symbol"), named["units"], named.get("missing_reason"))


# --- the schema ---

REQUIRED = {
    "data": ("x", "y", "split"),
    "theory": ("time",),
    "ensemble": ("width", "time", "members", "diverged_members"),
    "diagnostics": (),
}
"""Variables without which a group cannot be read."""

ATTRIBUTES = {
    "title": "One line for people.",
    "Conventions": f"Conventions that the file follows: {describe.CONVENTIONS}.",
    "schema_version": f"Version of this format: {describe.SCHEMA_VERSION}, or an earlier one of the same first number.",
    "creation_library": "Name of the program that wrote the file.",
    "experiment": "The experiment as JSON: a mapping in the form of experiment.schema.json, as far as there is one.",
}
"""Attributes of the root that every file has."""


def result_schema() -> dict[str, Any]:
    """JSON Schema (without dialect) of what a result file says of itself."""
    groups = {name: _group(table, REQUIRED[name]) for name, table in rows().items()}
    return {
        "title": f"fwdmft result, version {describe.SCHEMA_VERSION}",
        "description": "Groups, variables, dimensions, units and attributes of a result file (netCDF4). Dimensions "
        "are in the order of the axes; a second index is called *_prime. Variables beyond these are allowed.",
        "type": "object",
        "required": ["attributes", "groups"],
        "properties": {
            "attributes": {
                "type": "object",
                "required": list(ATTRIBUTES),
                "properties": {name: {"type": "string", "description": text} for name, text in ATTRIBUTES.items()},
            },
            "groups": {
                "type": "object",
                "required": ["data"],
                "anyOf": [{"required": ["theory"]}, {"required": ["ensemble"]}],
                "properties": groups,
            },
        },
        "$defs": _definitions(),
    }


_VARIABLE = {
    "type": "object",
    "required": ["dimensions", "type", "attributes"],
    "properties": {
        "dimensions": {"type": "array", "items": {"type": "string"}},
        "type": {"type": "string", "description": "Type of netCDF4: float64, int64, string, ..."},
        "attributes": {
            "type": "object",
            "required": ["long_name", "units"],
            "properties": {
                "long_name": {"type": "string", "description": "What the variable is, in words."},
                "units": {"type": "string", "description": "1 if dimensionless, count if multiplied by the width N."},
                "symbol": {"type": "string", "description": "LaTeX without dollar signs."},
                "missing_reason": {"type": "string", "description": "Why there are NaN, which need a reason."},
            },
        },
    },
}


def _group(table: Table, required: tuple[str, ...]) -> dict[str, Any]:
    return {
        "type": "object",
        "required": ["variables"],
        "properties": {
            "variables": {
                "type": "object",
                "required": list(required),
                "properties": {name: _variable(name, entry) for name, entry in table.items()},
                "additionalProperties": {"$ref": "#/$defs/variable"},
            }
        },
    }


def _variable(name: str, entry: Entry) -> dict[str, Any]:
    known = {"symbol": entry.symbol, "missing_reason": entry.missing_reason}
    words = {"description": entry.words, **{word: text for word, text in known.items() if text is not None}}
    images = {"x": IMAGES.dims, "x_mean": IMAGES.dims[1:]}.get(name)
    if images is None:
        return {**words, "$ref": _reference(entry)}
    return {**words, "anyOf": [{"$ref": _reference(entry)}, {"$ref": _reference(entry._replace(dims=images))}]}


def _reference(entry: Entry) -> str:
    return f"#/$defs/{_form(entry)}"


def _form(entry: Entry) -> str:
    """The name of what variables of the same type, unit and dimensions have in common."""
    return "-".join((entry.holds, {"1": "dimensionless"}.get(entry.units, entry.units), *entry.dims))


def _definitions() -> dict[str, Any]:
    """What the variables refer to."""
    images = [DATA[name]._replace(dims=dims) for name, dims in (("x", IMAGES.dims), ("x_mean", IMAGES.dims[1:]))]
    every = [*images, *(entry for table in rows().values() for entry in table.values())]
    forms = {
        _form(entry): {
            "$ref": "#/$defs/variable",
            "properties": {
                "dimensions": {"const": list(entry.dims)},
                "type": {"enum": _TYPES[entry.holds]},
                "attributes": {"properties": {"units": {"const": entry.units}}},
            },
        }
        for entry in every
    }
    return {"variable": _VARIABLE, **dict(sorted(forms.items()))}
