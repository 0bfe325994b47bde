"""Parameterizations: how strongly features are learned at each width, and the scale of initial weights."""

from __future__ import annotations

from abc import abstractmethod
from typing import Literal

from pydantic import Field, field_validator

from fwdmft.errors import InputError
from fwdmft.experiment.base import PositiveReal, Spec


class ParameterizationSpec(Spec):
    """A parameterization.

    Conventions: f = w . phi(h^L) / (gamma0 N), a step is theta <- theta - eta gamma0^2 N grad loss, and
    initial weights are N(0, sigma_w^2).
    """

    kind: str = Field(description="Name of the parameterization.")
    center: bool = Field(True, description="Train and report f(t) - f(0) instead of f(t).")
    sigma_w: PositiveReal | tuple[PositiveReal, ...] = Field(
        1.0,
        description="Standard deviation sigma_w of the initial weights (dimensionless): one for all layers, "
        "or a list (input weights, hidden matrices, readout): depth + 1, 3 for recurrent, and for transformer the "
        "input weights, Q, K, V and (with mlp) W of each block, the readout.",
    )

    @abstractmethod
    def richness(self, width: int | None) -> float:
        """The feature-learning strength gamma0 of a network of this width (None: infinite width)."""

    def weight_scales(self, depth: int) -> tuple[float, ...]:
        """sigma_w of the input weights, the depth - 1 hidden matrices and the readout.

        Raises InputError when a list was given that has not depth + 1 entries.
        """
        if not isinstance(self.sigma_w, tuple):
            return (self.sigma_w,) * (depth + 1)
        if len(self.sigma_w) != depth + 1:
            expected = f"one number, or a list of {depth + 1} (input, hidden matrices, readout)"
            raise InputError("parameterization.sigma_w", list(self.sigma_w), expected)
        return self.sigma_w


class MeanField(ParameterizationSpec):
    """Feature learning of the same strength at every width."""

    kind: Literal["mean_field"] = Field("mean_field", description="Mean-field parameterization.")
    gamma0: PositiveReal = Field(1.0, description="Feature-learning strength gamma0 (dimensionless; to 0 is lazy).")

    @field_validator("gamma0", mode="before")
    @classmethod
    def _lazy_has_a_name(cls, value: object) -> object:
        if value == 0 and not isinstance(value, bool):
            raise ValueError("a number greater than 0; the lazy limit gamma0 -> 0 is {kind: neural_tangent}")
        return value

    def richness(self, width: int | None) -> float:
        return self.gamma0


class NeuralTangent(ParameterizationSpec):
    """The lazy limit: gamma0 = N^(-1/2), which vanishes at infinite width."""

    kind: Literal["neural_tangent"] = Field("neural_tangent", description="Neural tangent parameterization.")
    center: Literal[True] = Field(
        True, description="Always true: f(0) is as large as what is learned, so f(t) - f(0) is reported."
    )

    def richness(self, width: int | None) -> float:
        return 0.0 if width is None else width**-0.5
