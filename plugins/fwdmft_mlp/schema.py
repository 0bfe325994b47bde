"""Schema of two-layer networks."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from fwdmft.plugin import ActivatedArchitecture, NonNegativeReal


class MLP(ActivatedArchitecture):
    """A network with one hidden layer."""

    kind: Literal["mlp"] = Field("mlp", description="One hidden layer.")
    bias: NonNegativeReal = Field(
        0.0, description="Standard deviation sigma_b of the initial biases (dimensionless); 0: no biases."
    )
