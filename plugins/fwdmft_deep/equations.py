"""Deep networks at infinite width."""

import numpy as np
from jaxtyping import Array, Float

from fwdmft.activations import activation
from fwdmft.program.equations import ForwardProgram, forward_program
from fwdmft.program.net import Net
from fwdmft.spec.parameterization import ParameterizationSpec
from fwdmft_deep.schema import Deep


def population(spec: Deep, layer: int) -> str:
    """Of a layer 1 .. depth. The layers of a residual network add up neuron by neuron: they are one population."""
    return f"hidden_{layer}" if spec.branch_scale is None else "stream"


def forward(net: Net, x: Array, spec: Deep, sigma_w: tuple[float, ...]) -> Float[Array, "point output"]:
    """x: (point, feature)."""
    phi, trained, last = activation(spec.activation, spec.scale, spec.gain), spec.trained(), spec.depth
    h = net.input("0", population(spec, 1), x, sigma=sigma_w[0], bias=spec.bias, trained=trained[0])
    h, v = net.layer(population(spec, 1), h, phi)
    for layer in range(1, spec.depth):
        source, target = population(spec, layer), population(spec, layer + 1)
        z = net.dense(f"{layer}", source, target, v, sigma=sigma_w[layer], trained=trained[layer])
        if spec.bias:
            z = z + net.vector(f"bias_{layer}", target, scale=spec.bias, trained=trained[layer])
        h = z if spec.branch_scale is None else h + spec.branch_scale * z
        h, v = net.layer(target, h, phi)
    return net.readout("readout", population(spec, last), v, sigma=sigma_w[-1], trained=trained[-1])


def field_equations(
    spec: Deep, parameterization: ParameterizationSpec, x: np.ndarray, outputs: int
) -> ForwardProgram:
    """x: (point, feature)."""
    gamma0, sigma_w = parameterization.richness(None), parameterization.weight_scales(spec.depth)
    widths = {population(spec, layer): width for layer, width in enumerate(spec.widths(), start=1)}
    return forward_program(
        forward, x, outputs, gamma0, spec, sigma_w, center=parameterization.center, widths=widths
    )
