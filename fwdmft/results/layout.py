"""Every variable that a result can hold, and the published schema of the format, from the tables that results are
written by.

A schema describes a file as JSON says it: {"attributes": {...}, "groups": {group: {"attributes": {...}, "variables":
{variable: {"dimensions": [...], "type": "float64", "attributes": {...}}}}}}. Other programs may write files in the
format, with variables of their own beside these.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from fwdmft.observables import METRICS, OBSERVABLES, Observable, parts
from fwdmft.registry import registry
from fwdmft.results import describe
from fwdmft.results.comparison import SUBSET
from fwdmft.results.derived import KERNELS
from fwdmft.results.task import RATES, STATISTICS
from fwdmft.results.variables import (
    AXES,
    COORDINATES,
    DATA,
    ENSEMBLE,
    GROUP_SUMS,
    THEORY,
    Entry,
    numbers_of,
    with_errors,
)

Forms = dict[str, tuple[Entry, ...]]
"""What a variable may be, by its name."""

_SECOND = ("time", "layer", "kernel", "kernel_point", "matrix", "use")
"""Coordinates that dimensions with a second index have twice."""

_TYPES = {"real": ["float64", "float32"], "whole": ["int64", "int32"], "text": ["string"]}


# --- the variables ---


def rows() -> dict[str, Forms]:
    """The variables of each group with the forms that each may have, coordinates first."""
    labels = COORDINATES | {name: numbers_of(name) for name in _declared_parts()}
    second = [name for name in labels if name in _SECOND]
    labels |= {f"{name}_prime": labels[name]._replace(dims=(f"{name}_prime",)) for name in second}
    of_responses = ("time", "time_prime", "matrix", "matrix_prime", "use", "use_prime")
    of_halves = {name: entry for name, entry in labels.items() if not name.startswith(("matrix", "use"))}
    sums = {f"{name}_group_sum": entry for name, entry in GROUP_SUMS.items()}
    ensemble = ENSEMBLE | with_errors(STATISTICS) | sums | RATES
    return {
        "data": _forms(DATA.items()),
        "theory": _forms([*(of_halves | THEORY).items(), *_with_subsets(_theory())]),
        "ensemble": _forms([*of_halves.items(), *_with_subsets(_ensemble()), *ensemble.items()]),
        "diagnostics": _forms([*((name, labels[name]) for name in of_responses), *_responses()]),
    }


def _forms(entries: Iterable[tuple[str, Entry]]) -> Forms:
    """By name, in the order in which names first appear; entries that a file tells apart by nothing are one form."""
    forms_of: dict[str, dict[str, Entry]] = {}
    for name, entry in entries:
        forms_of.setdefault(name, {}).setdefault(_form(entry), entry)
    return {name: tuple(forms.values()) for name, forms in forms_of.items()}


def _declared() -> list[tuple[str, Observable]]:
    """What the installed architectures observe besides; two of them may mean different things by one name."""
    known = registry()
    return [
        pair for kind in known.kinds("architecture") for pair in known.get("architecture", kind).observables.items()
    ]


def _declared_parts() -> list[str]:
    return [part for _, observable in _declared() for part in parts(observable.dims)]


def _theory() -> Iterator[tuple[str, Entry]]:
    for name, observable in [*OBSERVABLES.items(), *_declared()]:
        dims = _with_time(observable)
        for role in describe.THEORY_ROLES:
            if _has(name, role):
                named = describe.theory_attributes(observable, role)
                yield f"{name}_{role}" if role else name, _entry(_of_role(dims, role), named)


def _ensemble() -> Iterator[tuple[str, Entry]]:
    for name, observable in [*OBSERVABLES.items(), *METRICS.items(), *_declared()]:
        dims = observable.dims if name == "final_prediction" else _with_time(observable)
        for role in describe.ENSEMBLE_ROLES:
            if _has(name, role):
                named = describe.ensemble_attributes(observable, role)
                yield f"{name}_{role}", _entry(("width", *_of_role(dims, role)), named)


def _responses() -> Iterator[tuple[str, Entry]]:
    for name in describe.RESPONSES:
        for axes in (5, 7):
            yield name, _entry(describe.response_dims(axes), describe.diagnostic_attributes(name))


def _with_time(observable: Observable) -> tuple[str, ...]:
    """As they are stored: parts of the network first, then time, unless the observable has its own times."""
    dims = observable.dims
    ahead = parts(dims)
    return dims if "time" in dims else (*ahead, "time", *dims[len(ahead) :])


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
        "are in the order of the axes; a second index is called *_prime. Every *_mean and *_variance of an "
        "ensemble has its *_standard_error. Variables beyond these are allowed.",
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


def _group(forms: Forms, required: tuple[str, ...]) -> dict[str, Any]:
    return {
        "type": "object",
        "required": ["variables"],
        "properties": {
            "variables": {
                "type": "object",
                "required": list(required),
                "properties": {name: _variable(entries) for name, entries in forms.items()},
                "additionalProperties": {"$ref": "#/$defs/variable"},
            }
        },
    }


def _variable(entries: tuple[Entry, ...]) -> dict[str, Any]:
    known = {"symbol": entries[0].symbol, "missing_reason": entries[0].missing_reason}
    words = {"description": entries[0].words, **{word: text for word, text in known.items() if text is not None}}
    references = [{"$ref": f"#/$defs/{_form(entry)}"} for entry in entries]
    return words | (references[0] if len(references) == 1 else {"anyOf": references})


def _form(entry: Entry) -> str:
    """The name of what variables of the same type, unit and dimensions have in common."""
    return "-".join((entry.holds, {"1": "dimensionless"}.get(entry.units, entry.units), *entry.dims))


def _dimensions(entry: Entry) -> dict[str, Any]:
    if AXES not in entry.dims:
        return {"const": list(entry.dims)}
    ahead = [{"const": dim} for dim in entry.dims if dim != AXES]
    return {"minItems": len(entry.dims), **({"prefixItems": ahead} if ahead else {})}


def _definitions() -> dict[str, Any]:
    """What the variables refer to."""
    forms = {
        _form(entry): {
            "$ref": "#/$defs/variable",
            "properties": {
                "dimensions": _dimensions(entry),
                "type": {"enum": _TYPES[entry.holds]},
                "attributes": {"properties": {"units": {"const": entry.units}}},
            },
        }
        for table in rows().values()
        for entries in table.values()
        for entry in entries
    }
    return {"variable": _VARIABLE, **dict(sorted(forms.items()))}
