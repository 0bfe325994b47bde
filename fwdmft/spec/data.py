"""Data sets: where the points come from."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from fwdmft.errors import InputError
from fwdmft.spec.base import Count, Seed, Spec, Whole

if TYPE_CHECKING:
    from fwdmft.datasets import Dataset

_Digit = Annotated[Whole, Field(ge=0, le=9)]


class DatasetSpec(Spec):
    """A data set."""

    kind: str = Field(description="Name of the data set.")

    @abstractmethod
    def load(self, base: Path) -> Dataset:
        """The points; relative paths start from `base`. Raises InputError when they cannot be had."""


class FileData(DatasetSpec):
    """Points in a file: netCDF, .npz or .csv."""

    kind: Literal["file"] = Field("file", description="Points read from a file.")
    path: str = Field(
        min_length=1,
        description="netCDF with x(point, feature), y(point, output), split(point); .npz of arrays x, y and "
        "train (number of leading training rows); or .csv with columns x0.., y0.., split. Relative to the "
        "experiment file.",
    )

    def load(self, base: Path) -> Dataset:
        from fwdmft.datasets.files import read_dataset

        return read_dataset(base / self.path)


class DigitsData(DatasetSpec):
    """Handwritten digits: the 8x8 images bundled with scikit-learn (D = 64 features)."""

    kind: Literal["digits"] = Field("digits", description="Handwritten digits, 8x8 images (64 features).")
    classes: tuple[_Digit, ...] = Field((0, 1), min_length=2, description="Two or more distinct digits to tell apart.")
    train: Count = Field(40, description="Number of training points, spread evenly over the classes (points).")
    test: Whole = Field(8, ge=0, description="Number of test points, spread evenly over the classes (points).")
    seed: Seed = Field(0, description="Seed of the choice of images.")
    standardize: bool = Field(
        True,
        description="Remove the mean image of the training set, then scale every image x to |x|^2 = D; "
        "otherwise pixels are 0 to 16.",
    )
    targets: Literal["auto", "sign", "centered", "one_hot"] = Field(
        "auto",
        description="sign: -1 and +1 for the first and second of two classes; one_hot: one output per class; "
        "centered: one_hot minus 1/C for C classes; auto: sign for two classes, else centered.",
    )

    @model_validator(mode="after")
    def _consistent(self) -> DigitsData:
        if len(set(self.classes)) != len(self.classes):
            raise InputError("classes", list(self.classes), "distinct digits")
        if self.targets == "sign" and len(self.classes) != 2:
            raise InputError("targets", self.targets, "one_hot or centered for more than two classes")
        return self

    def load(self, base: Path) -> Dataset:
        from fwdmft.datasets.digits import digits

        return digits(self)
