"""Two-layer networks at infinite width."""

import numpy as np
from jaxtyping import Array, Float

from fwdmft.plugin import ForwardProgram, Net, ParameterizationSpec, activation, forward_program, kinked
from fwdmft_mlp.schema import MLP


def forward(
    net: Net, x: Float[Array | np.ndarray, "point feature"], spec: MLP, sigma_w: tuple[float, ...]
) -> Float[Array, "point output"]:
    """x: (point, feature)."""
    h = net.input("W", "hidden_1", x, sigma=sigma_w[0], bias=spec.bias)
    _, v = net.layer("hidden_1", h, activation(spec.activation, spec.scale, spec.gain))
    return net.readout("w", "hidden_1", v, sigma=sigma_w[1])


def field_equations(spec: MLP, parameterization: ParameterizationSpec, x: np.ndarray, outputs: int) -> ForwardProgram:
    """x: (point, feature)."""
    gamma0, sigma_w = parameterization.richness(None), parameterization.weight_scales(depth=1)
    smooth = not kinked(spec.activation)
    return forward_program(forward, x, outputs, gamma0, spec, sigma_w, center=parameterization.center, smooth=smooth)
