"""Bases for the schemas of architectures, which plugins supply."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from fwdmft.spec.base import PositiveReal, Real, Spec

MOST_LAYERS = 256
"""Layers beyond which compiling a program of them takes longer than anybody waits."""

ActivationName = Literal["linear", "tanh", "erf", "relu", "softplus", "gelu"]


class ArchitectureSpec(Spec):
    """An architecture; a plugin's schema narrows `kind` to its own name, `kind: Literal["mlp"] = "mlp"`."""

    kind: str = Field(description="Name of the architecture.")


class ActivatedArchitecture(ArchitectureSpec):
    """An architecture with one activation function, c phi(a h)/a."""

    activation: ActivationName = Field("tanh", description="Activation function phi.")
    scale: PositiveReal = Field(1.0, description="Input scale a of the activation, phi(a h)/a (dimensionless).")
    gain: Real = Field(
        1.0, description="Factor c of the activation, c phi(h) (dimensionless; sqrt(2) is usual for relu)."
    )
