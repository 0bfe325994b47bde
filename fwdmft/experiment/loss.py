"""Losses: which function of prediction f and target y is summed (or averaged) over the training points."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from fwdmft.errors import InputError, Plain
from fwdmft.experiment.base import Spec


class LossSpec(Spec):
    """A loss, sum or mean over training points of ell(f, y)."""

    kind: str = Field(description="Name of the loss.")
    reduction: Literal["sum", "mean"] = Field("sum", description="Sum or mean over the training points.")

    def targets(self, y: np.ndarray) -> tuple[np.ndarray, str]:
        """Whether this loss is defined for each of the targets y (point, output), as an array of that shape or with one
        column, and what it expects of them. Raises InputError for targets that do not suit it as a whole."""
        return np.ones_like(y, bool), "numbers"


class SquaredError(LossSpec):
    """Half the squared error."""

    kind: Literal["squared_error"] = Field("squared_error", description="ell = |f - y|^2 / 2.")


class Logistic(LossSpec):
    """The logistic loss of labels +1 and -1."""

    kind: Literal["logistic"] = Field("logistic", description="ell = log(1 + exp(-y f)), every y is +1 or -1.")

    def targets(self, y: np.ndarray) -> tuple[np.ndarray, str]:
        return np.abs(y) == 1, "+1 or -1 everywhere for the logistic loss"


class SoftmaxCrossEntropy(LossSpec):
    """Cross-entropy of the softmax of two or more outputs against class probabilities."""

    kind: Literal["softmax_cross_entropy"] = Field(
        "softmax_cross_entropy",
        description="ell = -sum_c y_c log softmax(f)_c; rows of y are probabilities of two or more classes.",
    )

    def targets(self, y: np.ndarray) -> tuple[np.ndarray, str]:
        if y.shape[1] < 2:
            expected = "two or more outputs for softmax cross-entropy, one per class: labels become one-hot rows"
            raise InputError("data.y", Plain("1 output"), expected)
        probabilities = (y >= 0).all(axis=1) & np.isclose(y.sum(axis=1), 1.0, rtol=0, atol=1e-6)
        return probabilities[:, None], "rows of nonnegative numbers that sum to 1 for softmax cross-entropy"
