"""`sweep.json`, which tells where in the grid the result files of a directory belong."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from fwdmft.errors import InputError
from fwdmft.experiment.model import Experiment
from fwdmft.files import replacing
from fwdmft.sweeping.names import label
from fwdmft.sweeping.points import Point
from fwdmft.sweeping.spec import Sweep

NAME = "sweep.json"
Scalar = str | float | int | bool | None


@dataclass(frozen=True)
class Manifest:
    """A sweep as its directory records it.

    axes: for each axis, the values of its fields along it; values that are no single number or word are named by
    their label. files: the name of the result file of every point, the last axis varying fastest.
    """

    name: str
    description: str
    axes: list[dict[str, list[Scalar]]]
    files: list[str]

    def __post_init__(self) -> None:
        lengths = [{len(values) for values in axis.values()} for axis in self.axes]
        if not all(len(each) == 1 and each != {0} for each in lengths):
            raise ValueError("axes that are empty or whose fields differ in length")
        if len(self.files) != math.prod(self.shape) or any(Path(file).name != file for file in self.files):
            raise ValueError("files that are not a name for every point")

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of points along each axis."""
        return tuple(len(next(iter(axis.values()))) for axis in self.axes)


_MANIFEST = TypeAdapter(Manifest)


def manifest_of(sweep: Sweep, points: Sequence[Point]) -> Manifest:
    """The record of a sweep whose `points` are all there, in order."""
    axes = [
        {field: list(_along(points, number, field)) for field in axis.fields} for number, axis in enumerate(sweep.axes)
    ]
    return Manifest(sweep.name, sweep.description, axes, [point.place.file for point in points])


def _along(points: Sequence[Point], axis: int, field: str) -> Iterator[Scalar]:
    """The values of `field` along an axis, at the start of every other, as the experiments understood them."""
    for point in points:
        if not any(point.place.index[:axis] + point.place.index[axis + 1 :]):
            yield _validated(point.experiment, field, point.place.values[field])


def _validated(experiment: Experiment, field: str, given: Any) -> Scalar:
    here = json.loads(experiment.model_dump_json())
    for part in field.split("."):
        here = here[part]
    return label(given) if isinstance(here, dict | list) else here


def write_manifest(manifest: Manifest, directory: Path) -> None:
    """Replace the record in `directory` at once."""
    with replacing(directory / NAME) as scratch:
        scratch.write_text(json.dumps(asdict(manifest), indent=2) + "\n", encoding="utf-8")


def read_manifest(directory: Path) -> Manifest:
    """The record of a directory. Raises InputError("sweep", ...) if it has none, or one of another form."""
    try:
        text = (directory / NAME).read_text(encoding="utf-8")
        return _MANIFEST.validate_json(text)
    except (OSError, ValueError):
        raise InputError("sweep", directory, f"a directory written by `fwdmft sweep`, with {NAME} in it") from None
