"""Losses: which function of prediction f and target y is summed (or averaged) over the training points."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from fwdmft.spec.base import Spec


class LossSpec(Spec):
    """A loss, sum or mean over training points of ell(f, y)."""

    kind: str = Field(description="Name of the loss.")
    reduction: Literal["sum", "mean"] = Field("sum", description="Sum or mean over the training points.")


class SquaredError(LossSpec):
    """Half the squared error."""

    kind: Literal["squared_error"] = Field("squared_error", description="ell = |f - y|^2 / 2.")


class Logistic(LossSpec):
    """The logistic loss of labels +1 and -1."""

    kind: Literal["logistic"] = Field("logistic", description="ell = log(1 + exp(-y f)), every y is +1 or -1.")


class SoftmaxCrossEntropy(LossSpec):
    """Cross-entropy of the softmax of two or more outputs against class probabilities."""

    kind: Literal["softmax_cross_entropy"] = Field(
        "softmax_cross_entropy",
        description="ell = -sum_c y_c log softmax(f)_c; rows of y are probabilities of two or more classes.",
    )


Loss = Annotated[SquaredError | Logistic | SoftmaxCrossEntropy, Field(discriminator="kind")]
