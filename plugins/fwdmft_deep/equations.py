"""Deep networks at infinite width."""

from functools import partial

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fwdmft.plugin import ForwardProgram, Net, ParameterizationSpec, activation, forward_program
from fwdmft_deep.schema import Deep

SMALL = 1e-6
"""What is added to mean squares before dividing by their root."""

Fields = Float[Array, "point neuron"]


def population(spec: Deep, layer: int) -> str:
    """Of a layer 1 .. depth. The layers of a residual network add up neuron by neuron: they are one population."""
    return f"hidden_{layer}" if spec.branch_scale is None else "stream"


def forward(
    net: Net, x: Float[Array | np.ndarray, "point feature"], spec: Deep, sigma_w: tuple[float, ...]
) -> Float[Array, "point output"]:
    """x: (point, feature)."""
    trained = spec.trained()
    first = population(spec, 1)
    h = net.input("0", first, x, sigma=sigma_w[0], bias=spec.bias, trained=trained[0])
    gate = net.input("gate_0", first, x, sigma=sigma_w[0], trained=trained[0]) if spec.gate else None
    h, v = net.layer(first, h, partial(features, net, first, spec, gate))
    for layer in range(1, spec.depth):
        source, target = population(spec, layer), population(spec, layer + 1)
        product = partial(net.dense, source=source, target=target, v=v, sigma=sigma_w[layer], trained=trained[layer])
        z = product(f"{layer}")
        if spec.bias:
            z = z + net.vector(f"bias_{layer}", target, scale=spec.bias, trained=trained[layer])
        gate = product(f"gate_{layer}") if spec.gate else None
        h = z if spec.branch_scale is None else h + spec.branch_scale * z
        h, v = net.layer(target, h, partial(features, net, target, spec, gate))
    return net.readout("readout", population(spec, spec.depth), v, sigma=sigma_w[-1], trained=trained[-1])


def features(net: Net, population: str, spec: Deep, gate: Fields | None, h: Fields) -> Fields:
    """phi of h, normalised over the neurons of the layer, times its gate."""
    if spec.normalization == "layer":
        h = h - net.average(population, h)[:, None]
    if spec.normalization != "none":
        h = h / jnp.sqrt(net.average(population, h**2) + SMALL)[:, None]
    v = activation(spec.activation, spec.scale, spec.gain)(h)
    return v if gate is None else v * gate


def field_equations(spec: Deep, parameterization: ParameterizationSpec, x: np.ndarray, outputs: int) -> ForwardProgram:
    """x: (point, feature)."""
    gamma0, sigma_w = parameterization.richness(None), parameterization.weight_scales(spec.depth)
    widths = {population(spec, layer): width for layer, width in enumerate(spec.widths(), start=1)}
    return forward_program(forward, x, outputs, gamma0, spec, sigma_w, center=parameterization.center, widths=widths)
