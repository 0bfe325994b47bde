"""Two-layer networks at infinite width: a chain with one local map, the activation."""

import numpy as np

from fwdmft.activations import activation
from fwdmft.meanfield.chain import Chain
from fwdmft.spec.parameterization import ParameterizationSpec
from fwdmft_mlp.schema import MLP


def field_equations(spec: MLP, parameterization: ParameterizationSpec, x: np.ndarray, outputs: int) -> Chain:
    """x: (point, feature)."""
    sigma_input, sigma_readout = parameterization.weight_scales(depth=1)
    return Chain(
        x,
        activation(spec.activation, spec.scale, spec.gain),
        outputs,
        gamma0=parameterization.richness(None),
        sigma_w=(sigma_input, sigma_readout),
        sigma_b=spec.bias,
        center=parameterization.center,
    )
