"""The networks of an architecture: those of its own module, or those of its forward program."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Array, Float, Key

from fwdmft.experiment.architecture import ArchitectureSpec
from fwdmft.experiment.parameterization import ParameterizationSpec

if TYPE_CHECKING:
    from fwdmft.networks.model import Network
    from fwdmft.registry import Architecture


def builder(
    architecture: Architecture,
    spec: ArchitectureSpec,
    parameterization: ParameterizationSpec,
    x: Float[np.ndarray, "point ..."],
    outputs: int,
) -> Callable[[int, Key[Array, ""]], Network]:
    """build(width, key): a network with weights from this key. x: (point, ...)."""
    if architecture.model is not None:
        return partial(architecture.model, spec, parameterization, x, outputs)
    equations: Any = architecture.field_equations(spec, parameterization, x, outputs)
    return lambda width, key: equations.network(width, parameterization.richness(width), key)
