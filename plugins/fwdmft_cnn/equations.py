"""Convolutional networks at infinite width: layers have positions, and weights read patches of them."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fwdmft.plugin import ForwardProgram, Net, ParameterizationSpec, Stencil, activation, forward_program
from fwdmft_cnn.geometry import geometry
from fwdmft_cnn.schema import Cnn


def population(spec: Cnn, layer: int) -> str:
    """Of a layer 1 .. depth. The layers of a residual network add up channel by channel: they are one population."""
    return f"hidden_{layer}" if spec.branch_scale is None else "stream"


def forward(
    net: Net, x: Float[Array | np.ndarray, "point height width channel"], spec: Cnn, sigma_w: tuple[float, ...]
) -> Float[Array, "point output"]:
    """x: (point, height, width, channel)."""
    phi = activation(spec.activation, spec.scale, spec.gain)
    convolutions, pools = geometry(spec, (x.shape[1], x.shape[2]))
    patches = _patches(x, convolutions[0])
    h = net.input("0", population(spec, 1), patches, sigma=sigma_w[0], bias=spec.bias)
    h, v = net.layer(population(spec, 1), h, phi)
    for layer in range(1, spec.depth):
        source, target = population(spec, layer), population(spec, layer + 1)
        u, stencil = pools[layer - 1].mean(v), convolutions[layer]
        z = net.dense(f"{layer}", source, target, u, sigma=sigma_w[layer], stencil=stencil)
        if spec.bias:
            z = z + net.vector(f"bias_{layer}", target, scale=spec.bias)[:, None]
        h = z if spec.branch_scale is None else h + spec.branch_scale * z
        h, v = net.layer(target, h, phi)
    return net.readout("readout", population(spec, spec.depth), pools[-1].mean(v), sigma=sigma_w[-1])


def field_equations(spec: Cnn, parameterization: ParameterizationSpec, x: np.ndarray, outputs: int) -> ForwardProgram:
    """x: (point, height, width, channel)."""
    gamma0, sigma_w = parameterization.richness(None), parameterization.weight_scales(spec.depth)
    return forward_program(forward, x, outputs, gamma0, spec, sigma_w, center=parameterization.center)


def _patches(
    x: Float[Array | np.ndarray, "point height width channel"], convolution: Stencil
) -> Float[Array, "point place feature"]:
    """What the input weights read at each position; features are offsets and channels."""
    pixels = jnp.moveaxis(x.reshape(len(x), -1, x.shape[3]), 1, 2)
    patches = jnp.moveaxis(convolution.read(pixels), 3, 1)
    return patches.reshape(len(x), convolution.places, -1)
