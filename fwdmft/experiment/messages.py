"""Turning pydantic's errors into one line per problem: dotted field, value found, what was expected."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from fwdmft.errors import NOTHING, InputError, shortened

_BOUNDS = {"greater_than": "gt", "greater_than_equal": "ge", "less_than": "lt", "less_than_equal": "le"}

_EXPECTED = {
    "gt": "a number greater than {gt}",
    "ge": "a number of at least {ge}",
    "lt": "a number less than {lt}",
    "le": "a number of at most {le}",
    "finite_number": "a finite number",
    "float_type": "a number",
    "float_parsing": "a number",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing_size": "a whole number of fewer digits",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "string_type": "text",
    "string_too_short": "text of at least {min_length} characters",
    "string_too_long": "text of at most {max_length} characters",
    "literal_error": "{expected}",
    "tuple_type": "a list",
    "too_short": "a list of at least {min_length} entries",
    "too_long": "at most {max_length} entries",
    "invalid_key": "words as names of fields",
}

MOST = 10
"""Problems that are told; more have one cause, or nobody would read them."""

LONGEST_NAME = 60
"""Characters of a name that are shown and compared."""

Path = tuple[str | int, ...]
Models = Sequence[type[BaseModel]]


def input_error(error: ValidationError, model: type[BaseModel], values: object) -> InputError:
    """The InputError that tells the user what to change in `values`, which failed to validate as `model`."""
    by_path: dict[Path, list[InputError]] = {}
    every = error.errors(include_url=False)
    for details in every[: 4 * MOST]:
        path, problem = _located(details, model, values)
        by_path.setdefault(path, []).append(problem)
    # A failed union reports every alternative; those that got further into the input are the ones meant.
    deepest = [path for path in by_path if not any(_inside(other, path) for other in by_path)]
    left = max(0, len(deepest) - MOST) + max(0, len(every) - 4 * MOST)
    return InputError.of((_merged(path, by_path[path]) for path in deepest[:MOST]), left)


def _inside(path: Path, other: Path) -> bool:
    return len(path) > len(other) and path[: len(other)] == other


def _merged(path: Path, problems: list[InputError]) -> InputError:
    """Alternatives that failed at one place, as one problem."""
    expected, value = " or ".join(dict.fromkeys(problem.expected for problem in problems)), problems[0].value
    if expected == "a list" and isinstance(value, str | int | float):
        expected = f"a list, such as [{shortened(value)}]"
    return InputError(
        ".".join(f"{item:.{LONGEST_NAME}}" if isinstance(item, str) else str(item) for item in path) or "experiment",
        value,
        expected,
    )


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
            return InputError("kind", NOTHING, f"one of {', '.join(map(repr, _kinds(model, details['loc'])))}")
        case "model_type" | "model_attributes_type":
            return InputError("", details["input"], _mapping(_kinds(model, details["loc"]), details["input"]))
    cause = context.get("error")
    if isinstance(cause, InputError):
        return cause
    if isinstance(cause, Exception):
        return InputError("", details["input"], str(cause))
    problem, plain = details["type"], details["msg"].removeprefix("Input should be ")
    if problem in _BOUNDS:
        problem, limit = _strictest(model, details["loc"], _BOUNDS[problem], context[_BOUNDS[problem]])
        context = {problem: limit}
    numbers = {name: f"{limit:g}" if isinstance(limit, float) else limit for name, limit in context.items()}
    return InputError("", details["input"], _EXPECTED.get(problem, plain).format(**numbers))


def _strictest(model: type[BaseModel], loc: Path, name: str, limit: Any) -> tuple[str, Any]:
    """Of all bounds of a field on the side of the one that failed: numbers have general bounds, which fail first.

    name, limit: of the one that failed. name is "ge", "gt", "le" or "lt".
    """
    upper = name in ("lt", "le")
    side = ("lt", "le") if upper else ("gt", "ge")
    rules = list(_rules_at(model, loc))
    own = [(kind, getattr(rule, kind)) for rule in rules for kind in side if hasattr(rule, kind)]
    return min([*own, (name, limit)], key=lambda each: (each[1] if upper else -each[1], side.index(each[0])))


def _rules_at(model: type[BaseModel], loc: Path) -> Iterator[Any]:
    """Bounds and other conditions of a field. loc: of it, or of an entry or a member of a union within."""
    for depth in reversed(range(len(loc))):
        name = str(loc[depth])
        fields = [each.model_fields[name] for each in _models_at(model, loc[:depth]) if name in each.model_fields]
        if fields:
            for field in fields:
                yield from [*field.metadata, *_rules(field.annotation)]
            return


def _rules(annotation: Any) -> Iterator[Any]:
    """Of a type, its alternatives and entries."""
    for part in get_args(annotation):
        yield from part.metadata if isinstance(part, FieldInfo) else _rules(part)


def _description(model: type[BaseModel], loc: Path) -> str:
    """What a missing field should hold."""
    for member in _models_at(model, loc[:-1]):
        if loc[-1] in member.model_fields:
            text = (member.model_fields[str(loc[-1])].description or "a value").rstrip(".")
            return text[:1].lower() + text[1:]
    return "a value"


def _known_fields(model: type[BaseModel], loc: Path) -> str:
    fields = [name for member in _models_at(model, loc[:-1]) for name in member.model_fields]
    name = str(loc[-1])
    elsewhere = [str(_kind(member)) for member in _siblings(model, loc[:-1]) if name in member.model_fields]
    close = [] if elsewhere else get_close_matches(name[:LONGEST_NAME], fields, n=1)
    hint = f" (did you mean {close[0]}?)" if close else ""
    if elsewhere:
        *others, last = dict.fromkeys(elsewhere)
        kinds = f"{', '.join(others)} and {last}" if others else last
        hint = f"; {name} is a field of kind {kinds}"
    return f"one of the fields {', '.join(dict.fromkeys(fields))}{hint}"


def _siblings(model: type[BaseModel], loc: Path) -> Models:
    """The other kinds that might be in the place of the one at `loc`, whose last item is its kind."""
    return [member for member in _models_at(model, loc[:-1]) if loc and _kind(member) not in (None, loc[-1])]


def _mapping(kinds: list[str], value: object) -> str:
    """That a section is a mapping of fields, which a word in its place does not say; the word may be a kind."""
    if not kinds:
        return "a mapping of fields"
    word = value if isinstance(value, str) else ""
    close = [kind for kind in kinds if word and word in kind] or get_close_matches(word[:LONGEST_NAME], kinds, n=1)
    hint = f" (did you mean {{kind: {close[0]}}}?)" if close else ""
    return f"a mapping of fields with kind: one of {', '.join(kinds)}{hint}"


def _models_at(model: type[BaseModel], loc: Path) -> Models:
    """The schemas possible at `loc`, which may name the member of a union by its kind."""
    here: Models = [model]
    for item in loc:
        below = [
            nested
            for member in here
            if item in member.model_fields
            for nested in _models_in(member.model_fields[str(item)].annotation)
        ]
        here = below or [member for member in here if _kind(member) == item] or here
    return here


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models_in(part)]


def _kinds(model: type[BaseModel], loc: Path) -> list[str]:
    return [str(kind) for kind in map(_kind, _models_at(model, loc)) if kind is not None]


def _kind(member: type[BaseModel]) -> object:
    info = member.model_fields.get("kind")
    return None if info is None else info.default
