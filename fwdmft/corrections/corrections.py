"""Sigma and b, from wherever they come."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float

from fwdmft.engine.infinite_width import Arrays


@dataclass(frozen=True)
class Corrections:
    """What a calculation of Sigma and b gives.

    variance, bias: Sigma and b, with standard errors. prediction_covariance: (time, point, output, the same) or None.
    equal_time_covariances: N Cov among the outputs of one point, as each of several independent parts of the
    calculation has them (part, time, point, output, output). prediction_biases: b of predictions likewise.
    layer_covariance: N Cov of the strengths of the layers' kernels or None. limit: q and its standard error, where
    infinite width itself is not to be had.
    """

    variance: Arrays
    variance_error: Arrays
    bias: Arrays
    bias_error: Arrays
    prediction_covariance: Float[np.ndarray, "time point output time point output"] | None
    equal_time_covariances: Float[np.ndarray, "part time point output output"]
    prediction_biases: Float[np.ndarray, "part time point output"] | None
    layer_covariance: Float[np.ndarray, "time kernel layer kernel layer"] | None
    limit: tuple[Arrays, Arrays]
    diagnostics: dict[str, Any] = field(default_factory=dict)
