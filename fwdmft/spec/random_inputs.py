"""Data sets of random inputs, whose targets a teacher gives."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from fwdmft.errors import InputError
from fwdmft.spec.base import Count, NonNegativeReal, Seed, Whole
from fwdmft.spec.data import DatasetSpec
from fwdmft.spec.teachers import LinearTeacher, Teacher

if TYPE_CHECKING:
    from fwdmft.datasets import Dataset


MOST_NUMBERS = 2**30
"""Bound on the numbers in a data set: 8 GiB of them."""


class RandomInputs(DatasetSpec):
    """Random inputs x (point, feature) and the targets y (point, output) of a random teacher."""

    features: Count = Field(64, description="Dimension D of the inputs (features).")
    train: Count = Field(40, description="Number of training points (points).")
    test: Whole = Field(8, description="Number of test points (points).")
    outputs: Count = Field(1, description="Number of outputs, each with a teacher vector w of its own (outputs).")
    teacher: Teacher = Field(
        LinearTeacher(), description="The function that gives the targets; its vectors w are random with |w|^2 = D."
    )
    noise: NonNegativeReal = Field(
        0.0, description="Standard deviation of the Gaussian noise added to all targets (units of y)."
    )
    seed: Seed = Field(0, description="Seed of inputs, teacher and noise.")

    @model_validator(mode="after")
    def _of_bearable_size(self) -> RandomInputs:
        numbers = (self.train + self.test + self.outputs) * (self.features + self.outputs)
        if numbers > MOST_NUMBERS:
            expected = f"at most {MOST_NUMBERS} numbers in all inputs, targets and teachers; these are {numbers}"
            raise InputError("features", self.features, expected)
        return self


class GaussianData(RandomInputs):
    """Independent Gaussian inputs."""

    kind: Literal["gaussian"] = Field("gaussian", description="Inputs with independent N(0, 1) features.")
    whiten: bool = Field(
        False,
        description="Orthogonalise the training inputs: x x^T / D is the identity on training points "
        "(needs train <= features).",
    )

    @model_validator(mode="after")
    def _room_to_whiten(self) -> GaussianData:
        if self.whiten and self.train > self.features:
            raise InputError("train", self.train, f"at most {self.features} points (features) to whiten")
        return self

    def load(self, base: Path) -> Dataset:
        from fwdmft.datasets.random_inputs import gaussian

        return gaussian(self)


class SphereData(RandomInputs):
    """Inputs spread uniformly over a sphere."""

    kind: Literal["sphere"] = Field("sphere", description="Inputs uniform on the sphere |x|^2 = D.")

    def load(self, base: Path) -> Dataset:
        from fwdmft.datasets.random_inputs import sphere

        return sphere(self)
