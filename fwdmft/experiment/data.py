"""Data sets: where the points come from. `images` and `random_inputs` have the kinds that are built in."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from fwdmft.experiment.base import FilePath, Spec

if TYPE_CHECKING:
    from fwdmft.datasets import Dataset


class DatasetSpec(Spec):
    """A data set."""

    kind: str = Field(description="Name of the data set.")

    @abstractmethod
    def load(self, base: Path) -> Dataset:
        """The points; relative paths start from `base`. Raises InputError when they cannot be had."""


class FileData(DatasetSpec):
    """Points in a file: netCDF, .npz or .csv."""

    kind: Literal["file"] = Field("file", description="Points read from a file.")
    path: FilePath = Field(
        description="netCDF with x(point, feature), x(point, step or token, feature) or x(point, height, width, "
        "channel), y(point, output), split(point); .npz of arrays x, y and train (number of leading training rows); "
        "or .csv with columns x0.., y0.., split. Relative to the experiment file.",
    )

    def load(self, base: Path) -> Dataset:
        from fwdmft.datasets.files import read_dataset

        return read_dataset(base / self.path)
