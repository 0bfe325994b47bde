"""A loss for parities y = -1 or +1: it hardly minds small margins, and wrong signs a lot."""

from typing import Literal

import numpy as np
from pydantic import Field

from fwdmft.plugin import LossFunction, LossSpec, deferred, hookimpl


class Parity(LossSpec):
    """The fourth power of what is missing from the margin y f to 1."""

    kind: Literal["parity"] = Field("parity", description="ell = sum_c (1 - y_c f_c)^4 / 4, every y is +1 or -1.")

    def targets(self, y: np.ndarray) -> tuple[np.ndarray, str]:
        return np.abs(y) == 1, "+1 or -1 everywhere for the loss parity"


@hookimpl
def fwdmft_losses() -> list[LossFunction]:
    return [LossFunction(Parity, deferred("fwdmft_parity.function", "parity"), kinked=False)]
