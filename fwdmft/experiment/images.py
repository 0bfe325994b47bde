"""Data sets of labelled images: digits, patches of photographs, CIFAR-10."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from fwdmft.errors import InputError
from fwdmft.experiment.base import Count, FilePath, Seed, Whole
from fwdmft.experiment.data import DatasetSpec

if TYPE_CHECKING:
    from fwdmft.datasets import Dataset

PHOTOGRAPHS = ("china", "flower")
CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

_TRAIN = "Number of training points, spread evenly over the classes (points)"
_TEST = "Number of test points, spread evenly over the classes (points)"
_Class = Annotated[Whole, Field(le=9)]
_Name = Literal["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


class LabelledImages(DatasetSpec):
    """Images x (point, height, width, channel) of several classes, and what is made of them."""

    train: Count | None = Field(40, description=f"{_TRAIN}; null: all.")
    test: Whole | None = Field(8, description=f"{_TEST}; null: all.")
    seed: Seed = Field(0, description="Seed of the choice of images.")
    standardize: bool = Field(
        True,
        description="Remove the mean image of the training set, then scale every image x to |x|^2 = D; otherwise "
        "pixels are as they come (0 to 16 in digits, 0 to 1 in colour images).",
    )
    targets: Literal["auto", "sign", "centered", "one_hot", "labels"] = Field(
        "auto",
        description="sign: -1 and +1 for the first and second of two classes; one_hot: one output per class; "
        "centered: one_hot minus 1/C for C classes; labels: one output, the number of the class; auto: sign for two "
        "classes, else centered.",
    )

    @property
    @abstractmethod
    def class_names(self) -> dict[int, str]:
        """Name of each chosen class by its number, in the order of the outputs."""

    @model_validator(mode="after")
    def _suitable_targets(self) -> LabelledImages:
        if self.targets == "sign" and len(self.class_names) != 2:
            raise InputError("targets", self.targets, "one_hot or centered for more than two classes")
        return self


class DigitsData(LabelledImages):
    """Handwritten digits: the 8x8 images bundled with scikit-learn."""

    kind: Literal["digits"] = Field("digits", description="Handwritten digits, 8x8 images with one channel.")
    train: Count = Field(40, description=f"{_TRAIN}.")
    test: Whole = Field(8, description=f"{_TEST}.")
    classes: tuple[_Class, ...] = Field((0, 1), min_length=2, description="Two or more distinct digits to tell apart.")
    resolution: Literal[8, 4, 2] = Field(
        8, description="Height and width (pixels); below 8, averages over blocks of the 8x8 pixels."
    )

    @property
    def class_names(self) -> dict[int, str]:
        return {digit: str(digit) for digit in self.classes}

    @model_validator(mode="after")
    def _distinct(self) -> DigitsData:
        if len(self.class_names) != len(self.classes):
            raise InputError("classes", list(self.classes), "distinct digits")
        return self

    def load(self, base: Path) -> Dataset:
        from fwdmft.datasets.digits import digits

        return digits(self)


class PhotoPatchesData(LabelledImages):
    """Square patches of the two photographs bundled with scikit-learn, to be told apart."""

    kind: Literal["photo_patches"] = Field(
        "photo_patches",
        description="RGB patches of two photographs, a temple (china, class 0) and a dahlia (flower, class 1). No two "
        "patches share a pixel: the left half of each photograph is cut into training patches, the right into test.",
    )
    train: Count = Field(40, description=f"{_TRAIN}.")
    test: Whole = Field(8, description=f"{_TEST}.")
    size: Count = Field(32, le=1000, description="Height and width of a patch (pixels).")

    @property
    def class_names(self) -> dict[int, str]:
        return dict(enumerate(PHOTOGRAPHS))

    def load(self, base: Path) -> Dataset:
        from fwdmft.datasets.photo_patches import photo_patches

        return photo_patches(self)


class Cifar10Data(LabelledImages):
    """CIFAR-10 from a copy on disk; nothing is ever downloaded."""

    kind: Literal["cifar10"] = Field("cifar10", description="CIFAR-10, 32x32 RGB images, from a copy on disk.")
    path: FilePath = Field(
        description="Folder cifar-10-batches-py or cifar-10-batches-bin, the folder that holds it, or the .tar.gz "
        "it was packed in, relative to the experiment file. Batches of official size are checked against the "
        "official checksums.",
    )
    classes: tuple[_Class | _Name, ...] = Field(
        tuple(range(10)), min_length=2, description="Two or more distinct classes, by number 0 to 9 or by name."
    )

    @property
    def class_names(self) -> dict[int, str]:
        numbers = [CIFAR10_CLASSES.index(one) if isinstance(one, str) else one for one in self.classes]
        return {number: CIFAR10_CLASSES[number] for number in numbers}

    @model_validator(mode="after")
    def _distinct(self) -> Cifar10Data:
        if len(self.class_names) != len(self.classes):
            raise InputError("classes", list(self.classes), "distinct classes")
        return self

    def load(self, base: Path) -> Dataset:
        from fwdmft.datasets.cifar10 import cifar10

        return cifar10(self, base / self.path)
