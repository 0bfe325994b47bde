"""Turning pydantic's errors into one line per problem: dotted field, value found, what was expected."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from fwdmft.errors import NOTHING, InputError

_EXPECTED = {
    "greater_than": "a number greater than {gt:g}",
    "greater_than_equal": "a number of at least {ge:g}",
    "less_than": "a number less than {lt:g}",
    "less_than_equal": "a number of at most {le:g}",
    "finite_number": "a finite number",
    "float_type": "a number",
    "float_parsing": "a number",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "string_type": "text",
    "string_too_short": "text of at least {min_length} characters",
    "literal_error": "{expected}",
    "tuple_type": "a list",
    "too_short": "a list of at least {min_length} entries",
    "model_type": "a mapping of fields",
    "model_attributes_type": "a mapping of fields",
}

Path = tuple[str | int, ...]
Models = Sequence[type[BaseModel]]


def input_error(error: ValidationError, model: type[BaseModel], values: object) -> InputError:
    """The InputError that tells the user what to change in `values`, which failed to validate as `model`."""
    found: dict[Path, list[InputError]] = {}
    for details in error.errors(include_url=False):
        path, problem = _located(details, model, values)
        found.setdefault(path, []).append(problem)
    # A failed union reports every alternative; those that got further into the input are the ones meant.
    deepest = [path for path in found if not any(_inside(other, path) for other in found)]
    return InputError.of(_merged(path, found[path]) for path in deepest)


def _inside(path: Path, other: Path) -> bool:
    return len(path) > len(other) and path[: len(other)] == other


def _merged(path: Path, problems: list[InputError]) -> InputError:
    """Alternatives that failed at one place, as one problem."""
    expected = " or ".join(dict.fromkeys(problem.expected for problem in problems))
    return InputError(".".join(map(str, path)) or "experiment", problems[0].value, expected)


def _located(details: ErrorDetails, model: type[BaseModel], values: object) -> tuple[Path, InputError]:
    """Where in the input a problem is, and what it is (its field relative to that place)."""
    problem = _problem(details, model)
    path = _path_in(values, details["loc"], details["type"] == "missing")
    return path + tuple(problem.field.split(".") if problem.field else ()), problem


def _path_in(values: object, loc: Path, missing: bool) -> Path:
    """`loc` without the names of union members that pydantic weaves into it."""
    path: list[str | int] = []
    here = values
    for depth, item in enumerate(loc):
        indexed = isinstance(here, list | tuple) and isinstance(item, int)
        if indexed or (isinstance(here, dict) and item in here):
            here = here[item]  # type: ignore[index]
        elif not (missing and depth == len(loc) - 1):
            continue
        path.append(item)
    return tuple(path)


def _problem(details: ErrorDetails, model: type[BaseModel]) -> InputError:
    """The problem itself, its field relative to the place pydantic reports."""
    context: dict[str, Any] = details.get("ctx", {})
    match details["type"]:
        case "missing":
            return InputError("", NOTHING, _description(model, details["loc"]))
        case "extra_forbidden":
            return InputError("", details["input"], _known_fields(model, details["loc"]))
        case "union_tag_invalid":
            return InputError("kind", context["tag"], f"one of {context['expected_tags']}")
        case "union_tag_not_found":
            kinds = [repr(_kind(member)) for member in _models_at(model, details["loc"])]
            return InputError("kind", NOTHING, f"one of {', '.join(kinds)}")
    cause = context.get("error")
    if isinstance(cause, InputError):
        return cause
    if isinstance(cause, Exception):
        return InputError("", details["input"], str(cause))
    plain = details["msg"].removeprefix("Input should be ")
    return InputError("", details["input"], _EXPECTED.get(details["type"], plain).format(**context))


def _description(model: type[BaseModel], loc: Path) -> str:
    """What a missing field should hold."""
    for member in _models_at(model, loc[:-1]):
        if loc[-1] in member.model_fields:
            text = (member.model_fields[str(loc[-1])].description or "a value").rstrip(".")
            return text[:1].lower() + text[1:]
    return "a value"


def _known_fields(model: type[BaseModel], loc: Path) -> str:
    fields = [name for member in _models_at(model, loc[:-1]) for name in member.model_fields]
    close = get_close_matches(str(loc[-1]), fields, n=1)
    hint = f" (did you mean {close[0]}?)" if close else ""
    return f"one of the fields {', '.join(dict.fromkeys(fields))}{hint}"


def _models_at(model: type[BaseModel], loc: Path) -> Models:
    """The schemas possible at `loc`, which may name the member of a union by its kind."""
    here: Models = [model]
    for item in loc:
        below = [
            found
            for member in here
            if item in member.model_fields
            for found in _models_in(member.model_fields[str(item)].annotation)
        ]
        here = below or [member for member in here if _kind(member) == item] or here
    return here


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for part in get_args(annotation) for found in _models_in(part)]


def _kind(member: type[BaseModel]) -> object:
    info = member.model_fields.get("kind")
    return None if info is None else info.default
