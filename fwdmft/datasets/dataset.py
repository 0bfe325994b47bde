"""A data set in memory, and the checks every data set passes before anything is computed."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from fwdmft.datasets.standardize import Standardization
from fwdmft.errors import InputError, Plain
from fwdmft.experiment.base import LARGEST, SMALLEST
from fwdmft.experiment.loss import LossSpec

_FEWEST_CLASSES = 3
"""Fewer labels, 0 and 1, are as well targets of a regression."""


@dataclass(frozen=True)
class Dataset:
    """Points in rows; a one-dimensional y becomes one column.

    x: (P, D) features, (P, step or token, D) sequences or (P, height, width, channel) images, float64.
    y: (P, C) targets, float64.
    train: (P,) true for training points.  attributes: further facts for the result file (text and numbers).
    standardization: what was done to the original points, if anything, written to the result file as well.
    """

    x: np.ndarray
    y: np.ndarray
    train: np.ndarray
    description: str = ""
    attributes: dict[str, str | int | float] = field(default_factory=dict)
    standardization: Standardization | None = None

    def __post_init__(self) -> None:
        x, y, train = numbers("data.x", self.x), numbers("data.y", self.y), np.asarray(self.train)
        if np.issubdtype(np.asarray(self.y).dtype, np.integer):
            _check_not_labels(y)
        if train.dtype != bool:
            raise InputError("data.train", Plain(f"{train.dtype} entries"), "true or false for every point")
        object.__setattr__(self, "x", x)
        object.__setattr__(self, "y", y[:, None] if y.ndim == 1 else y)
        object.__setattr__(self, "train", train)

    @property
    def n_train(self) -> int:
        """Number of training points."""
        return int(self.train.sum())

    def flattened(self) -> Dataset:
        """The same points as rows of all their numbers; rows stay as they are."""
        if self.x.ndim == 2:
            return self
        done = self.standardization
        flat = done and replace(done, mean=done.mean.reshape(-1))
        return replace(self, x=self.x.reshape(len(self.x), -1), standardization=flat)

    def validate(self) -> Dataset:
        """Return self. Raises InputError for wrong shapes, numbers no network can take, or no training point."""
        _check_shapes(self)
        for name, array in (("data.x", self.x), ("data.y", self.y)):
            _check_finite(name, array)
            _check_size(name, array)
        if self.n_train == 0:
            raise InputError("data.train", 0, f"at least one training point among the {len(self.x)} points")
        return self


def check_targets(loss: LossSpec, y: np.ndarray) -> None:
    """Check that the targets y (P, C) are what this loss is defined for. Raises InputError."""
    valid, expected = loss.targets(y)
    _check_rows(valid, y, expected)


def _check_rows(valid: np.ndarray, y: np.ndarray, expected: str) -> None:
    wrong = np.flatnonzero(~valid.all(axis=1))
    if wrong.size:
        first = f"{y[wrong[0]].tolist()} at point {wrong[0]} ({wrong.size} such points)"
        raise InputError("data.y", Plain(first), expected)


def numbers(field: str, array: object) -> np.ndarray:
    """The array in float64. Raises InputError where that would change what is in it."""
    values = np.asarray(array)
    if values.dtype.kind not in "buif":
        raise InputError(field, Plain(f"entries of type {values.dtype}"), "real numbers")
    if isinstance(array, np.ma.MaskedArray) and np.ma.getmaskarray(array).any():
        raise InputError(field, Plain("masked entries"), "a number in every entry")
    return values.astype(np.float64)


def _check_not_labels(y: np.ndarray) -> None:
    """Raise InputError for whole numbers 0 .. C - 1 in one column, which are labels of classes rather than targets."""
    classes = np.unique(y)
    if y.size == len(y) and len(classes) >= _FEWEST_CLASSES and np.array_equal(classes, np.arange(len(classes))):
        expected = (
            f"one-hot rows of {len(classes)} outputs, as whole numbers in one column are labels of classes; "
            "targets of a regression are written as real numbers (1.0)"
        )
        raise InputError("data.y", Plain(f"whole numbers 0 to {len(classes) - 1}"), expected)


def _check_size(name: str, array: np.ndarray) -> None:
    """Raise InputError if the largest number is out of bounds and not zero."""
    largest = np.abs(array).max()
    if largest and not SMALLEST <= largest <= LARGEST:
        sizes = Plain(f"numbers as large as {largest:.3g}")
        raise InputError(name, sizes, f"numbers of which the largest is from {SMALLEST:g} to {LARGEST:g}: rescale them")


def _check_shapes(data: Dataset) -> None:
    if data.x.ndim not in (2, 3, 4):
        expected = "dimensions (point, feature), (point, step or token, feature) or (point, height, width, channel)"
        raise InputError("data.x", data.x.shape, expected)
    if data.y.ndim != 2:
        raise InputError("data.y", data.y.shape, "one or two dimensions (point, output)")
    for name, array in (("y", data.y), ("train", data.train)):
        if len(array) != len(data.x):
            raise InputError(f"data.{name}", Plain(f"{len(array)} rows"), f"as many as x has ({len(data.x)})")
    for name, array in (("x", data.x), ("y", data.y)):
        if array.size == 0:
            raise InputError(f"data.{name}", array.shape, "at least one number")


def _check_finite(name: str, array: np.ndarray) -> None:
    bad = np.argwhere(~np.isfinite(array))
    if len(bad):
        where = ", ".join(map(str, bad[0]))
        value = array[tuple(bad[0])]
        words = f"{len(bad)} of {array.size} numbers not finite, the first ({value}) at [{where}]"
        raise InputError(name, Plain(words), "finite numbers")
