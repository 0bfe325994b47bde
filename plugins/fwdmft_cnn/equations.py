"""Convolutional networks at infinite width: a chain whose layers have positions and whose weights read patches."""

import numpy as np

from fwdmft.activations import activation
from fwdmft.meanfield.chain import Chain, make_chain
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
        smooth=spec.activation != "relu",
        pools=shapes.pools,
        taps=shapes.convolutions[1:],
    )
    local = activation(spec.activation, spec.scale, spec.gain)
    pixels = np.moveaxis(x.reshape(len(x), -1, x.shape[3]), 1, 2)
    patches = np.moveaxis(np.asarray(shapes.convolutions[0].read(pixels)), 3, 1)
    rows = patches.reshape(len(x) * wiring.positions, -1)
    return make_chain(rows, [local] * spec.depth, parameterization.richness(None), wiring)
