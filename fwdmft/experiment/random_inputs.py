"""Data sets of random inputs: rows and sequences, whose targets a teacher gives, and regression tasks in context."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from fwdmft.errors import InputError
from fwdmft.experiment.base import Count, NonNegativeReal, Seed, Whole
from fwdmft.experiment.data import DatasetSpec
from fwdmft.experiment.teachers import LinearTeacher, Teacher

if TYPE_CHECKING:
    from fwdmft.datasets import Dataset


MOST_NUMBERS = 2**30
"""Bound on the numbers in a data set: 8 GiB of them."""


class RandomPoints(DatasetSpec):
    """Random points, a number of them for training and a number for testing."""

    features: Count = Field(64, description="Dimension D of the inputs (features).")
    train: Count = Field(40, description="Number of training points (points).")
    test: Whole = Field(8, description="Number of test points (points).")
    noise: NonNegativeReal = Field(
        0.0, description="Standard deviation of the Gaussian noise added to all targets (units of y)."
    )
    seed: Seed = Field(0, description="Seed of inputs, teacher and noise.")

    @property
    @abstractmethod
    def numbers(self) -> int:
        """Numbers in all inputs, targets and teachers."""

    @model_validator(mode="after")
    def _of_bearable_size(self) -> RandomPoints:
        if self.numbers > MOST_NUMBERS:
            expected = f"at most {MOST_NUMBERS} numbers in all inputs, targets and teachers; these are {self.numbers}"
            raise InputError("features", self.features, expected)
        return self


class RandomInputs(RandomPoints):
    """Random inputs x (point, ..., feature) and the targets y (point, output) of a random teacher."""

    outputs: Count = Field(1, description="Number of outputs, each with a teacher vector w of its own (outputs).")
    teacher: Teacher = Field(
        LinearTeacher(), description="The function that gives the targets; its vectors w are random with |w|^2 = D."
    )

    @property
    def numbers(self) -> int:
        return (self.train + self.test + self.outputs) * (self.features + self.outputs)


class GaussianData(RandomInputs):
    """Independent Gaussian inputs."""

    kind: Literal["gaussian"] = Field("gaussian", description="Inputs with independent N(0, 1) features.")
    whiten: bool = Field(
        False,
        description="Orthogonalise the training inputs: x x^T / D is the identity on training points "
        "(needs train <= features).",
    )

    @model_validator(mode="after")
    def _few_enough_to_whiten(self) -> GaussianData:
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


class SequencesData(RandomInputs):
    """Sequences of noise, of which a teacher's target asks for something that is past."""

    kind: Literal["sequences"] = Field(
        "sequences", description="Sequences x (point, step, feature) of independent N(0, 1) numbers."
    )
    features: Count = Field(4, description="Dimension D of the input of one step (features).")
    length: Count = Field(4, description="Number T of steps of a sequence (steps).")
    task: Literal["recall", "integration"] = Field(
        description="What the teacher's z is of. recall: one past input, z = w.x_(T-delay) / sqrt(D); integration: all "
        "of them, z = sum_t w.x_t / sqrt(D T)."
    )
    delay: Whole | None = Field(
        None, description="How many steps before the last the recalled input came (steps); recall needs it."
    )

    @model_validator(mode="after")
    def _delay_of_recall(self) -> SequencesData:
        if self.task == "integration" and self.delay is not None:
            raise InputError("delay", self.delay, "no delay for the task integration")
        if self.task == "recall" and (self.delay is None or self.delay >= self.length):
            expected = f"a delay from 0 to {self.length - 1} (length - 1) for the task recall"
            raise InputError("delay", self.delay, expected)
        return self

    @property
    def numbers(self) -> int:
        return (self.train + self.test + self.outputs) * (self.length * self.features + self.outputs)

    def load(self, base: Path) -> Dataset:
        from fwdmft.datasets.sequences import sequences

        return sequences(self)


class InContextRegressionData(RandomPoints):
    """Linear regression tasks, one a point, each with examples and a query."""

    kind: Literal["in_context_regression"] = Field(
        "in_context_regression",
        description="A linear task per point, w ~ N(0, 1/D): tokens (x_i, y_i) of dimension D + 1 with x_i ~ N(0, 1) "
        "and y_i = w.x_i + noise, the query (x, 0) last; the target is w.x.",
    )
    features: Count = Field(4, description="Dimension D of the inputs of a task (features).")
    context: Count = Field(8, description="Number of example tokens before the query (tokens).")
    noise: NonNegativeReal = Field(
        0.0,
        description="Standard deviation of the Gaussian noise of the examples' y_i; the target has none (units of y).",
    )
    seed: Seed = Field(0, description="Seed of tasks, inputs and noise.")

    @property
    def numbers(self) -> int:
        return (self.train + self.test) * (self.context + 2) * (self.features + 1)

    def load(self, base: Path) -> Dataset:
        from fwdmft.datasets.in_context import in_context_regression

        return in_context_regression(self)
