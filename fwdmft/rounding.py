"""How far training moves fields, beside what numbers tell apart.

Neurons carry w phi(h) of order one, of which training changes about gamma0 f. Where this is small, rounding of the
fields is a large share of f: f is a difference, divided by gamma0.
"""

import warnings
from collections.abc import Mapping

import numpy as np

from fwdmft.errors import ComputationError, FwdmftWarning
from fwdmft.optimization import Plan

FEWEST_DIGITS = 1e-6
"""Share of f that rounding may have in the theory. That in b is about a hundred times as large."""

SHARE_IN_NETWORKS = 1e-2
"""Share of f that rounding may have in networks."""


def movement(gamma0: float, f: np.ndarray) -> float:
    """gamma0 max |f|, from the richness and predictions (time, ...)."""
    return float(gamma0) * float(np.max(np.abs(f), initial=0.0))


def has_targets(y: np.ndarray, train: np.ndarray, plan: Plan) -> bool:
    """Whether there is something to learn: points whose targets are not all zero."""
    return bool((y[train] if plan.stream is None else plan.stream.y).any())


def check_theory(gamma0: float, q: Mapping[str, np.ndarray], y: np.ndarray, plan: Plan) -> None:
    """Raise ComputationError if double precision does not resolve what can be learned.

    q: at infinite width (time, ...). y: targets (point, output). What is learned is at most y, and no more than all
    steps make of it at the first rate, sum eta K y; f itself can be zero, where targets cancel. Fields are of size
    sqrt(Phi).
    """
    kernel, feature = (float(np.max(np.abs(q[name][0]))) for name in ("tangent_kernel", "feature_kernel"))
    learned = min(1.0, float(np.sum(plan.learning_rates)) * kernel) * float(np.max(np.abs(y)))
    moved, least = gamma0 * learned / feature**0.5 if feature else 0.0, np.finfo(np.float64).eps / FEWEST_DIGITS
    if 0 < moved < least:
        raise ComputationError(
            f"training moves fields by about {moved:.1g} of their size, which double precision does not resolve; "
            f"expected at least {least:.1g}: multiply optimizer.learning_rate or the targets (f follows in "
            "proportion), or take parameterization: {kind: neural_tangent}, the limit of small gamma0"
        )


def check_networks(width: int, dtype: np.dtype, gamma0: float, f: np.ndarray) -> None:
    """Warn if these networks do not resolve what they learn. f: mean predictions (time, ...)."""
    moved, eps = movement(gamma0, f), np.finfo(dtype).eps
    if 0 < moved < eps / SHARE_IN_NETWORKS:
        better = "set ensemble.precision to float64" if dtype == np.float32 else "raise optimizer.learning_rate"
        warnings.warn(
            f"width {width}: training moves fields by {moved:.1g} of their size, and {dtype} rounds at {eps:.1g}: "
            f"predictions and what is made of them are partly rounding; {better}",
            FwdmftWarning,
            stacklevel=2,
        )
