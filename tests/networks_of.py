"""Fully connected networks at infinite width, plain and residual, with the settings that tests need."""

from collections.abc import Sequence

import numpy as np

from fwdmft.program.building import forward_program
from fwdmft.program.equations import ForwardProgram
from fwdmft_deep.equations import forward, population
from fwdmft_deep.schema import Deep


def dense_network(
    x: np.ndarray,
    gamma0: float,
    *,
    outputs: int = 1,
    sigma_w: Sequence[float] = (1.0, 1.0),
    activation: str = "tanh",
    bias: float = 0.0,
    widths: tuple[float, ...] | None = None,
    branch: float | None = None,
    frozen: tuple[int, ...] = (),
    center: bool = True,
    smooth: bool = False,
) -> ForwardProgram:
    """The program of the plugin `deep`, on points x (point, feature).

    sigma_w: of input weights, matrices and readout, so there is one hidden layer less than there are numbers. The other
    arguments are those of `Deep` and `forward_program`.
    """
    settings = {"activation": activation, "bias": bias, "branch_scale": branch, "frozen": frozen}
    spec = Deep(depth=len(sigma_w) - 1, width_ratios=widths, **settings)
    named = {population(spec, layer): width for layer, width in enumerate(spec.widths(), start=1)}
    scales = tuple(sigma_w)
    return forward_program(forward, x, outputs, gamma0, spec, scales, center=center, widths=named, smooth=smooth)
