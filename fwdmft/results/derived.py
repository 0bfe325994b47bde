r"""Quantities that follow from kernels and their fluctuations, the same in theory and ensemble.

Signal-to-noise ratio of an entry q of a kernel, whose fluctuations over initialisations are of order N^(-1/2):

    q / sqrt(N Var q)        A network of width N has sqrt(N) times this ratio.

Kernel-target alignment over the training points, from the infinite-width kernel in the theory and from the mean
kernel of each width in ensembles:

    A[K] = y^T K y / (|y|^2 |K|_F)                          K over (point, output) pairs
    A[Phi] = sum_c y_c^T Phi y_c / (|y|^2 |Phi|_F)          Phi over points, shared by the outputs c

It is the cosine between K and y y^T (`fwdmft.alignment`), at most 1 in size; for Phi it reaches 1 when Phi is of rank
one and every y_c lies along it.

A ratio with denominator 0 is NaN, and the attribute `missing_reason` says so: an entry that does not fluctuate (or
whose variance is estimated to be negative) has no signal-to-noise ratio, a kernel that vanishes no alignment. Without
training points among those observed (online learning), or if all their targets are zero, there is no alignment at all.

Ensembles hold Var q_N; N Var q_N, which the theory predicts, stands beside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import xarray as xr

from fwdmft.alignment import alignment, tangent_alignment
from fwdmft.observables import METRICS, OBSERVABLES, Observable
from fwdmft.results import describe

Variables = Mapping[str, xr.Variable]
KERNELS = ("tangent_kernel", "feature_kernel", "gradient_kernel")
"""Observables that have a signal-to-noise ratio here; the first two have an alignment."""


# --- on plain arrays ---


def signal_to_noise(mean: np.ndarray, scaled_variance: np.ndarray) -> np.ndarray:
    """mean / sqrt(scaled_variance) entry by entry, with scaled_variance = N Var; NaN where that is not positive."""
    return ratio(mean, _root(scaled_variance))


def signal_to_noise_error(
    mean: np.ndarray, scaled_variance: np.ndarray, mean_error: np.ndarray, scaled_variance_error: np.ndarray
) -> np.ndarray:
    """Standard error of `signal_to_noise` by the delta method, mean and variance taken as independent.

    For an ensemble that leaves out the covariance of sample mean and sample variance, which a skewness of order
    N^(-1/2) makes a correction of relative order 1/N.
    """
    of_mean = ratio(mean_error, _root(scaled_variance))
    of_variance = signal_to_noise(mean, scaled_variance) * ratio(scaled_variance_error, 2 * scaled_variance)
    return np.hypot(of_mean, of_variance)


def _root(variance: np.ndarray) -> np.ndarray:
    """Square root; 0 where sampling errors make an estimated variance negative."""
    return np.sqrt(np.maximum(variance, 0.0))


def ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """above / below, NaN where below is 0."""
    below = np.broadcast_to(below, np.shape(above))
    return np.divide(above, below, out=np.full(np.shape(above), np.nan), where=below != 0)


# --- on the variables of a group ---


def of_theory(variables: Variables, y: np.ndarray, train: np.ndarray) -> dict[str, xr.Variable]:
    """What can be derived from the variables of /theory; y: (point, output), train: mask of the points."""
    derived: dict[str, xr.Variable] = {}
    for name in KERNELS:
        for role, values in _ratios(_theory_moments(variables, name)):
            derived[f"{name}_{role}"] = _named(values, describe.theory_attributes(OBSERVABLES[name], role))
        if name in variables and name != "gradient_kernel" and np.any(y[train]):
            values = _alignment(variables[name], y, train)
            derived[f"{name}_alignment"] = _named(values, describe.theory_attributes(OBSERVABLES[name], "alignment"))
    return derived


def of_ensemble(
    variables: Variables, known: Mapping[str, Observable], widths: Sequence[int], y: np.ndarray, train: np.ndarray
) -> dict[str, xr.Variable]:
    """The same from the variables of /ensemble, whose dimension `width` has these `widths`; known: what they are of."""
    derived = dict(_times_width(variables, known, widths))
    for name in KERNELS:
        for role, values in _ratios(_ensemble_moments(variables, name, widths)):
            derived[f"{name}_{role}"] = _named(values, describe.ensemble_attributes(OBSERVABLES[name], role))
        if f"{name}_mean" in variables and name != "gradient_kernel" and np.any(y[train]):
            values = _alignment(variables[f"{name}_mean"], y, train)
            derived[f"{name}_alignment"] = _named(values, describe.ensemble_attributes(OBSERVABLES[name], "alignment"))
    return derived


def _times_width(
    variables: Variables, known: Mapping[str, Observable], widths: Sequence[int]
) -> Iterator[tuple[str, xr.Variable]]:
    """N Var of every observable that theory has as well, and its standard error."""
    width = xr.Variable(("width",), np.asarray(widths))
    for name in [name for name in known if name not in METRICS or name == "final_prediction"]:
        for end in ("", "_standard_error"):
            if f"{name}_variance{end}" in variables:
                named = describe.ensemble_attributes(known[name], f"n_variance{end}")
                # The width comes second, so that the dimensions keep their order.
                yield f"{name}_n_variance{end}", _named(variables[f"{name}_variance{end}"] * width, named)


class _Moments(NamedTuple):
    """A kernel, its N Var, and the standard errors of both if they are known; all of the same dimensions."""

    mean: xr.Variable
    variance: xr.Variable
    mean_error: xr.Variable | None
    variance_error: xr.Variable | None


def _theory_moments(variables: Variables, name: str) -> _Moments | None:
    if name not in variables or f"{name}_variance" not in variables:
        return None
    errors = (variables.get(f"{name}_{role}") for role in ("standard_error", "variance_standard_error"))
    return _Moments(variables[name], variables[f"{name}_variance"], *errors)


def _ensemble_moments(variables: Variables, name: str, widths: Sequence[int]) -> _Moments | None:
    if f"{name}_mean" not in variables or f"{name}_variance" not in variables:
        return None
    width = xr.Variable(("width",), np.asarray(widths))
    error = variables.get(f"{name}_variance_standard_error")
    return _Moments(
        variables[f"{name}_mean"],
        variables[f"{name}_variance"] * width,
        variables.get(f"{name}_mean_standard_error"),
        None if error is None else error * width,
    )


def _ratios(moments: _Moments | None) -> Iterator[tuple[str, xr.Variable]]:
    if moments is None:
        return
    mean, variance, mean_error, variance_error = moments
    dims = mean.dims
    yield "signal_to_noise", xr.Variable(dims, signal_to_noise(mean.values, variance.values))
    if mean_error is not None and variance_error is not None:
        error = signal_to_noise_error(mean.values, variance.values, mean_error.values, variance_error.values)
        yield "signal_to_noise_standard_error", xr.Variable(dims, error)


def _alignment(kernel: xr.Variable, y: np.ndarray, train: np.ndarray) -> xr.Variable:
    """Alignment over training points, of the dimensions of `kernel` that number neither points nor outputs."""
    points = np.flatnonzero(train)
    matrix = ("point", "output", "point_prime", "output_prime") if "output" in kernel.dims else ("point", "point_prime")
    trained = kernel.isel(point=points, point_prime=points).transpose(..., *matrix)
    measure = tangent_alignment if "output" in kernel.dims else alignment
    return xr.Variable(trained.dims[: -len(matrix)], measure(trained.values, np.asarray(y, np.float64)[points]))


def _named(values: xr.Variable, attributes: dict[str, str]) -> xr.Variable:
    return xr.Variable(values.dims, values.values, attributes)
