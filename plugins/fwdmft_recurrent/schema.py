"""Schema of recurrent networks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from fwdmft.plugin import MOST_LAYERS, ActivatedArchitecture, InputError, NonNegativeReal

if TYPE_CHECKING:
    import numpy as np

DEPTH = 2
"""Of sigma_w: input weights U, the one hidden matrix W, the readout w."""


class Recurrent(ActivatedArchitecture):
    """A network that reads one input after another with the same weights.

    h_1 = U x_1 / sqrt(D) + sigma_b b, h_(t+1) = W phi(h_t) / sqrt(N) + U x_(t+1) / sqrt(D) + sigma_b b.
    """

    kind: Literal["recurrent"] = Field(
        "recurrent",
        description="A recurrent network on sequences x (point, step, feature); a list sigma_w has its input weights, "
        "its hidden matrix and its readout.",
    )
    bias: NonNegativeReal = Field(
        0.0, description="Standard deviation sigma_b of the initial bias, one for all steps (dimensionless); 0: none."
    )
    readout: Literal["last", "mean"] = Field(
        "last", description="last: f reads the features of the last step; mean: their mean over all steps."
    )


def steps(x: np.ndarray) -> int:
    """Number of steps of sequences x (point, step, feature). Raises InputError for more than can be compiled."""
    if x.shape[1] > MOST_LAYERS:
        raise InputError("data.x", x.shape, f"at most {MOST_LAYERS} steps for architecture recurrent")
    return x.shape[1]
