"""Convolutional networks at infinite width: a chain whose layers have positions and whose weights read patches."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from fwdmft.activations import activation
from fwdmft.meanfield.chain import Chain, make_chain
from fwdmft.meanfield.positions import Taps
from fwdmft.meanfield.wiring import Wiring
from fwdmft.spec.parameterization import ParameterizationSpec
from fwdmft_cnn.geometry import geometry
from fwdmft_cnn.schema import Cnn


def field_equations(spec: Cnn, parameterization: ParameterizationSpec, x: np.ndarray, outputs: int) -> Chain:
    """x: (point, height, width, channel)."""
    shapes = geometry(spec, x.shape[1:3])
    wiring = Wiring(
        depth=spec.depth,
        outputs=outputs,
        sigma_w=parameterization.weight_scales(spec.depth),
        sigma_b=spec.bias,
        branch=spec.branch_scale,
        center=parameterization.center,
        pools=shapes.pools,
        taps=shapes.convolutions[1:],
    )
    local = activation(spec.activation, spec.scale, spec.gain)
    return make_chain(
        _patches(x, shapes.convolutions[0]), [local] * spec.depth, parameterization.richness(None), wiring
    )


def _patches(x: np.ndarray, convolution: Taps) -> Float[np.ndarray, "row feature"]:
    """What the input weights read at each position (point position, offset channel)."""
    pixels = jnp.moveaxis(x.reshape(len(x), -1, x.shape[3]), 1, 2)
    patches = np.moveaxis(np.asarray(convolution.read(pixels)), 3, 1)
    return patches.reshape(len(x) * convolution.places, -1)
