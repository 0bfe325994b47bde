"""Two-layer networks at infinite width: a chain with one local map, the activation."""

import numpy as np

from fwdmft.activations import activation, kinked
from fwdmft.meanfield.chain import Chain, make_chain
from fwdmft.meanfield.wiring import Wiring
from fwdmft.spec.parameterization import ParameterizationSpec
from fwdmft_mlp.schema import MLP


def field_equations(spec: MLP, parameterization: ParameterizationSpec, x: np.ndarray, outputs: int) -> Chain:
    """x: (point, feature)."""
    wiring = Wiring(1, outputs, parameterization.weight_scales(depth=1), spec.bias, center=parameterization.center)
    local = activation(spec.activation, spec.scale, spec.gain)
    return make_chain(x, [local], parameterization.richness(None), wiring, smooth=not kinked(spec.activation))
