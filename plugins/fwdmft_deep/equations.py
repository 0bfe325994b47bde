"""Deep networks at infinite width: a chain whose local maps are the activation."""

import numpy as np

from fwdmft.activations import activation
from fwdmft.meanfield.chain import Chain, make_chain
from fwdmft.meanfield.wiring import Wiring
from fwdmft.spec.parameterization import ParameterizationSpec
from fwdmft_deep.schema import Deep


def field_equations(spec: Deep, parameterization: ParameterizationSpec, x: np.ndarray, outputs: int) -> Chain:
    """x: (point, feature)."""
    wiring = Wiring(
        depth=spec.depth,
        outputs=outputs,
        sigma_w=parameterization.weight_scales(spec.depth),
        sigma_b=spec.bias,
        widths=spec.widths(),
        branch=spec.branch_scale,
        trained=spec.trained(),
        center=parameterization.center,
    )
    local = activation(spec.activation, spec.scale, spec.gain)
    return make_chain(x, [local] * spec.depth, parameterization.richness(None), wiring)
