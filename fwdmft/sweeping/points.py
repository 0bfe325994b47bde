"""The points of a sweep: an experiment each, all of them valid before the first is computed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from itertools import product
from typing import Any

from fwdmft.datasets.loading import load_points
from fwdmft.errors import InputError
from fwdmft.experiment.model import Experiment, load_experiment
from fwdmft.sweeping.names import point_name
from fwdmft.sweeping.spec import Sweep


@dataclass(frozen=True)
class Place:
    """A point of the grid: its index along every axis, the values of its fields, and its name."""

    index: tuple[int, ...]
    values: dict[str, Any]
    name: str

    @property
    def file(self) -> str:
        """The name of its result file."""
        return f"{self.name}.nc"


@dataclass(frozen=True)
class Point:
    """A place and its experiment."""

    place: Place
    experiment: Experiment


def places(sweep: Sweep) -> Iterator[Place]:
    """Every point of the grid, the last axis varying fastest."""
    axes = sweep.axes
    for index in product(*(range(len(axis.rows)) for axis in axes)):
        rows = [(axis.fields, axis.rows[position]) for axis, position in zip(axes, index, strict=True)]
        values = {field: value for fields, row in rows for field, value in zip(fields, row, strict=True)}
        yield Place(index, values, point_name(values))


def points(sweep: Sweep, check: Callable[[Experiment], object] = load_points) -> list[Point]:
    """The experiments of a sweep, validated with their data.

    check: what is done with each; `fwdmft.preparing.prepare` builds all that a run builds.
    Raises InputError with a line per problem, which names the point and the field; what is wrong with every point is
    said once.
    """
    valid: list[Point] = []
    problems: dict[tuple[str, str], list[tuple[Place, InputError]]] = {}
    every = list(places(sweep))
    for place in every:
        try:
            experiment = _experiment(sweep, place)
            check(experiment)
            valid.append(Point(place, experiment))
        except InputError as error:
            for one in error.problems:
                problems.setdefault((one.field, one.expected), []).append((place, one))
    if problems:
        raise InputError.of(line for same in problems.values() for line in _lines(same, len(every)))
    return valid


def _lines(same: list[tuple[Place, InputError]], total: int) -> Iterator[InputError]:
    if len(same) == total:
        yield _at("every point", same[0][1])
        return
    for place, problem in same:
        yield _at(f"point {place.name}", problem)


def _at(where: str, problem: InputError) -> InputError:
    return InputError(f"{where}: {problem.field}", problem.value, problem.expected)


def _experiment(sweep: Sweep, place: Place) -> Experiment:
    """The base with the values of this place, under a name of its own."""
    assert isinstance(sweep.base, Mapping)
    values = {**deepcopy(dict(sweep.base)), "name": f"{sweep.name} {place.name}"}
    for field, value in place.values.items():
        _put(values, field, deepcopy(value))
    return load_experiment(values, base=sweep.home_of(place.values))


def _put(values: dict[str, Any], field: str, value: Any) -> None:
    *sections, last = field.split(".")
    here = values
    for section in sections:
        below = here.setdefault(section, {})
        if not isinstance(below, dict):
            raise InputError(field, below, f"a field of the experiment; {section} holds no fields")
        here = below
    here[last] = value
