"""A data set in memory, and the checks every data set passes before anything is computed."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from fwdmft.datasets.standardize import Standardization
from fwdmft.errors import InputError
from fwdmft.spec.loss import LossSpec


@dataclass(frozen=True)
class Dataset:
    """Points in rows; a one-dimensional y becomes one column.

    x: (P, D) features or (P, height, width, channel) images, float64.  y: (P, C) targets, float64.
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
        y = np.asarray(self.y, dtype=np.float64)
        object.__setattr__(self, "x", np.asarray(self.x, dtype=np.float64))
        object.__setattr__(self, "y", y[:, None] if y.ndim == 1 else y)
        object.__setattr__(self, "train", np.asarray(self.train, dtype=bool))

    @property
    def n_train(self) -> int:
        """Number of training points."""
        return int(self.train.sum())

    def flattened(self) -> Dataset:
        """The same points as rows of D = height * width * channel features; rows stay as they are."""
        if self.x.ndim == 2:
            return self
        done = self.standardization
        flat = done and replace(done, mean=done.mean.reshape(-1))
        return replace(self, x=self.x.reshape(len(self.x), -1), standardization=flat)

    def validate(self) -> Dataset:
        """Return self. Raises InputError for wrong shapes, non-finite numbers, or no training point."""
        _check_shapes(self)
        _check_finite("data.x", self.x)
        _check_finite("data.y", self.y)
        if self.n_train == 0:
            raise InputError("data.train", 0, f"at least one training point among the {len(self.x)} points")
        return self


def check_targets(loss: LossSpec, y: np.ndarray) -> None:
    """Check that the targets y (P, C) are what this loss is defined for. Raises InputError."""
    if loss.kind == "logistic":
        _check_rows(np.abs(y) == 1, y, "+1 or -1 everywhere for the logistic loss")
    if loss.kind == "softmax_cross_entropy":
        if y.shape[1] < 2:
            raise InputError("data.y", f"{y.shape[1]} output", "two or more outputs for softmax cross-entropy")
        probabilities = (y >= 0).all(axis=1) & np.isclose(y.sum(axis=1), 1.0, rtol=0, atol=1e-6)
        _check_rows(probabilities[:, None], y, "rows of nonnegative numbers that sum to 1 for softmax cross-entropy")


def _check_rows(valid: np.ndarray, y: np.ndarray, expected: str) -> None:
    wrong = np.flatnonzero(~valid.all(axis=1))
    if wrong.size:
        first = f"{y[wrong[0]].tolist()} at point {wrong[0]} ({wrong.size} such points)"
        raise InputError("data.y", _Plain(first), expected)


def _check_shapes(data: Dataset) -> None:
    if data.x.ndim not in (2, 4):
        expected = "two dimensions (point, feature), or four (point, height, width, channel)"
        raise InputError("data.x", data.x.shape, expected)
    if data.y.ndim != 2:
        raise InputError("data.y", data.y.shape, "one or two dimensions (point, output)")
    for name, array in (("y", data.y), ("train", data.train)):
        if len(array) != len(data.x):
            raise InputError(f"data.{name}", _Plain(f"{len(array)} rows"), f"as many as x has ({len(data.x)})")
    for name, array in (("x", data.x), ("y", data.y)):
        if array.size == 0:
            raise InputError(f"data.{name}", array.shape, "at least one number")


def _check_finite(name: str, array: np.ndarray) -> None:
    bad = np.argwhere(~np.isfinite(array))
    if len(bad):
        where = ", ".join(map(str, bad[0]))
        value = array[tuple(bad[0])]
        found = f"{len(bad)} of {array.size} numbers not finite, the first ({value}) at [{where}]"
        raise InputError(name, _Plain(found), "finite numbers")


class _Plain(str):
    """Text that describes a value and is shown without quotation marks."""

    def __repr__(self) -> str:
        return str(self)
