"""Recurrent networks at infinite width: one matrix, used at every step, from a population to itself."""

import numpy as np
from jaxtyping import Array, Float

from fwdmft.plugin import ForwardProgram, Net, ParameterizationSpec, activation, forward_program
from fwdmft_recurrent.schema import DEPTH, Recurrent, steps


def forward(
    net: Net, x: Float[Array | np.ndarray, "point step feature"], spec: Recurrent, sigma_w: tuple[float, ...]
) -> Float[Array, "point output"]:
    """x: (point, step, feature)."""
    phi = activation(spec.activation, spec.scale, spec.gain)
    arriving = net.input("U", "hidden", x, sigma=sigma_w[0], bias=spec.bias)
    h, v = net.layer("hidden", arriving[:, 0], phi)
    total = v
    for step in range(1, x.shape[1]):
        h, v = net.layer("hidden", net.dense("W", "hidden", "hidden", v, sigma=sigma_w[1]) + arriving[:, step], phi)
        total = total + v
    return net.readout("w", "hidden", v if spec.readout == "last" else total / x.shape[1], sigma=sigma_w[2])


def field_equations(
    spec: Recurrent, parameterization: ParameterizationSpec, x: np.ndarray, outputs: int
) -> ForwardProgram:
    """x: (point, step, feature)."""
    gamma0, sigma_w = parameterization.richness(None), parameterization.weight_scales(DEPTH)
    steps(x)
    return forward_program(forward, x, outputs, gamma0, spec, sigma_w, center=parameterization.center)
