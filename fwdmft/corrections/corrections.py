"""Sigma and b, from wherever they come."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Corrections:
    """Arrays by observable, (time, ...).

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
    prediction_covariance: np.ndarray | None
    equal_time_covariances: np.ndarray
    prediction_biases: np.ndarray | None
    layer_covariance: np.ndarray | None
    limit: tuple[Arrays, Arrays]
    diagnostics: dict[str, Any] = field(default_factory=dict)
