"""Teachers: functions of random inputs x that give their targets, through z = w.x / sqrt(D) with |w|^2 = D."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from fwdmft.errors import InputError
from fwdmft.experiment.base import Count, Real, Spec

MOST_DEGREE = 1000

_Degree = Annotated[Count, Field(le=MOST_DEGREE)]


class LinearTeacher(Spec):
    """The index itself."""

    kind: Literal["linear"] = Field("linear", description="y = z, where z = w.x / sqrt(D) and |w|^2 = D.")


class SingleIndexTeacher(Spec):
    """A named function of the index."""

    kind: Literal["single_index"] = Field("single_index", description="y = sigma(z), where z = w.x / sqrt(D).")
    link: Literal["tanh", "relu", "erf", "sign", "hermite"] = Field(
        description="The function sigma; hermite: He_k(z) / sqrt(k!) of degree k (probabilists' polynomials)."
    )
    degree: _Degree | None = Field(None, description="Degree k of the link hermite, which needs it.")

    @model_validator(mode="after")
    def _degree_of_hermite(self) -> SingleIndexTeacher:
        if self.link == "hermite" and self.degree is None:
            raise InputError("degree", self.degree, "a degree for the link hermite")
        if self.link != "hermite" and self.degree is not None:
            raise InputError("degree", self.degree, f"no degree for the link {self.link}")
        return self


class PolynomialTeacher(Spec):
    """A polynomial of the index."""

    kind: Literal["polynomial"] = Field("polynomial", description="y = sum_k c_k He_k(z) / sqrt(k!), a polynomial.")
    coefficients: tuple[Real, ...] = Field(
        min_length=1,
        max_length=MOST_DEGREE + 1,
        description="Coefficients c_0, c_1, ... in the basis of normalised Hermite polynomials; sum_k c_k^2 is the "
        "mean of y^2 over Gaussian x.",
    )


Teacher = Annotated[LinearTeacher | SingleIndexTeacher | PolynomialTeacher, Field(discriminator="kind")]
