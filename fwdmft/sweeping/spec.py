"""The sweep file: a base experiment, and the values its fields take."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, combinations
from math import prod
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PrivateAttr, ValidationError, model_validator

from fwdmft.errors import NOTHING, InputError
from fwdmft.experiment.base import Spec
from fwdmft.experiment.messages import input_error
from fwdmft.experiment.reading import read_mapping
from fwdmft.sweeping.names import label


def _file_or_mapping(value: object) -> object:
    if not isinstance(value, str | Mapping):
        raise ValueError("the path of an experiment file, or an experiment as a mapping of fields")
    return value


Base = Annotated[str | dict[str, Any], BeforeValidator(_file_or_mapping)]
Values = Annotated[tuple[Any, ...], Field(min_length=1)]
Name = Annotated[str, Field(max_length=200)]
Fields = Annotated[dict[Name, Values], Field(max_length=100)]

MOST_POINTS = 10_000
"""Points of a sweep, all of which are validated before the first is computed."""


@dataclass(frozen=True)
class Axis:
    """One direction of the grid: fields of the experiment, and the values they take at each place along it."""

    fields: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]


class Sweep(Spec):
    """An experiment over a grid of some of its fields."""

    name: str = Field(min_length=1, description="Short name; its points are named after it and their values.")
    description: str = Field("", description="What this sweep shows.")
    base: Base = Field(
        description="The experiment whose fields vary: inline, or the path of its file, relative to this one."
    )
    over: Fields = Field(
        {}, description="Values of each field, named with dots (`parameterization.gamma0`): all combinations are run."
    )
    together: tuple[Fields, ...] = Field(
        (),
        max_length=100,
        description="Groups of fields that vary together, with equally many values; a group counts as one field.",
    )

    _home: Path = PrivateAttr(default_factory=Path.cwd)
    _base_home: Path = PrivateAttr(default_factory=Path.cwd)

    @property
    def axes(self) -> tuple[Axis, ...]:
        """The directions of the grid, those of `over` before those of `together`, the last varying fastest."""
        alone = tuple(Axis((field,), tuple((value,) for value in values)) for field, values in self.over.items())
        return alone + tuple(Axis(tuple(group), tuple(zip(*group.values(), strict=True))) for group in self.together)

    def home_of(self, values: Mapping[str, Any]) -> Path:
        """Where the relative paths of a point start: at the file that names them.

        That is the sweep file if it gives the data or their path at this point, else the file of the base.
        """
        return self._home if any(map(_names_a_path, values)) else self._base_home

    @model_validator(mode="after")
    def _consistent(self) -> Sweep:
        if not self.over and not any(self.together):
            raise InputError("over", NOTHING, "over or together (or both) to name fields")
        for problem in chain(
            self._uneven(), self._overlapping(), self._repeated(), self._too_many()
        ):  # each presupposes those before
            raise problem
        return self

    def _uneven(self) -> Iterator[InputError]:
        for number, group in enumerate(self.together):
            lengths = {field: len(values) for field, values in group.items()}
            if len(set(lengths.values())) != 1:
                yield InputError(f"together.{number}", lengths, "fields with equally many values, one or more fields")

    def _overlapping(self) -> Iterator[InputError]:
        fields = [*self.over, *(field for group in self.together for field in group)]
        for one, other in combinations(fields, 2):
            short, long = sorted((one, other), key=len)
            if f"{long}.".startswith(f"{short}."):
                yield InputError("over", long, f"each field in one place only; {short} varies as well")

    def _repeated(self) -> Iterator[InputError]:
        for axis in self.axes:
            rows = [tuple(map(label, row)) for row in axis.rows]
            if len(set(rows)) != len(rows):
                place = f"over.{axis.fields[0]}" if axis.fields[0] in self.over else "together"
                yield InputError(place, [row[0] for row in axis.rows], "distinct values")

    def _too_many(self) -> Iterator[InputError]:
        count = prod(len(axis.rows) for axis in self.axes)
        if count > MOST_POINTS:
            yield InputError("over", f"{count} points", f"at most {MOST_POINTS} points in all")


def _names_a_path(field: str) -> bool:
    section, _, below = field.partition(".")
    return section == "data" and (not below or below.rsplit(".")[-1].endswith("path"))


def load_sweep(source: str | Path | Mapping[str, Any], home: str | Path | None = None) -> Sweep:
    """Read and validate a sweep from a YAML or JSON file, or from a mapping; the base is read, but not validated.

    `home` is the directory relative paths start from: by default the file's own, or the current one for a mapping.
    Raises InputError with one line per problem.
    """
    if isinstance(source, Mapping):
        values, folder = dict(source), Path.cwd()
    else:
        values, folder = read_mapping(Path(source)), Path(source).resolve().parent
    if "architecture" in values and "base" not in values:
        raise InputError("sweep", "an experiment", "a sweep, which has a field base; `fwdmft run` takes experiments")
    try:
        sweep = Sweep.model_validate(values)
    except ValidationError as error:
        raise input_error(error, Sweep, values) from None
    return _with_base(sweep, folder if home is None else Path(home).resolve())


def _with_base(sweep: Sweep, home: Path) -> Sweep:
    """The sweep with the experiment in place of the path of its file."""
    whole, base_home = sweep, home
    if isinstance(sweep.base, str):
        path = home / sweep.base
        try:
            whole = sweep.model_copy(update={"base": read_mapping(path)})
        except InputError as problem:
            raise InputError("base", problem.value, problem.expected) from None
        base_home = path.resolve().parent
    whole._home, whole._base_home = home, base_home
    return whole
