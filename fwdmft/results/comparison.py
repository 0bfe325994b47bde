"""The quantities in which theory and ensemble meet, with their standard errors.

To first order in 1/N, with the theory's f, Sigma and b and an ensemble of networks of width N,

    E q_N = q + b / N        N Var q_N = Sigma        E |q_N - q|^2 = Sigma / N

Every function takes the /theory and /ensemble groups and the name of an observable, compares at the times
both kept, and returns arrays with a leading `width`. Standard errors are combined as independent.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import xarray as xr

from fwdmft.results.describe import OBSERVABLES


class Estimate(NamedTuple):
    """A value and its standard error (one sigma), of the same dimensions."""

    value: xr.DataArray
    error: xr.DataArray


def group(tree: xr.DataTree, name: str) -> xr.Dataset | None:
    """Group `name` of a result, or None when that half was not run."""
    return tree[name].to_dataset() if name in tree.children else None


def common_observables(theory: xr.Dataset, ensemble: xr.Dataset) -> list[str]:
    """Names both sides hold: the four of fwdmft in their usual order, then any of a plugin's own.

    Two-time quantities are left out: they repeat at equal times what the others say.
    """
    single = theory.drop_dims("time_prime", errors="ignore").data_vars
    shared = [str(name) for name in single if f"{name}_mean" in ensemble and name != "loss"]
    usual = list(OBSERVABLES)
    return sorted(shared, key=lambda name: (usual.index(name) if name in usual else len(usual), name))


def at_common_times(theory: xr.Dataset, ensemble: xr.Dataset) -> tuple[xr.Dataset, xr.Dataset]:
    """Both groups at the times both kept; full covariances are left out, nothing here needs them."""
    times = np.intersect1d(theory.time.values, ensemble.time.values)
    slim = theory.drop_dims("time_prime", errors="ignore").drop_dims("width", errors="ignore")
    return slim.sel(time=times), ensemble.sel(time=times)


def mean_residual(theory: xr.Dataset, ensemble: xr.Dataset, name: str) -> Estimate:
    """E q_N - q - b/N, zero when the theory holds to order 1/N; b is taken as 0 where it was not computed."""
    theory, ensemble = at_common_times(theory, ensemble)
    width = ensemble.width
    shift = _or_zero(theory, f"{name}_bias") / width
    value = ensemble[f"{name}_mean"] - theory[name] - shift
    error = _quadrature(
        ensemble[f"{name}_mean_standard_error"],
        _or_zero(theory, f"{name}_standard_error"),
        _or_zero(theory, f"{name}_bias_standard_error") / width,
    )
    return Estimate(value, error.broadcast_like(value))


def measured_bias(theory: xr.Dataset, ensemble: xr.Dataset, name: str) -> Estimate:
    """N (E q_N - q), to be compared with the theory's b; its error holds the Monte-Carlo error of q too."""
    theory, ensemble = at_common_times(theory, ensemble)
    error = _quadrature(ensemble[f"{name}_mean_standard_error"], _or_zero(theory, f"{name}_standard_error"))
    width = ensemble.width
    return Estimate(width * (ensemble[f"{name}_mean"] - theory[name]), width * error)


def measured_variance(ensemble: xr.Dataset, name: str) -> Estimate:
    """N Var q_N over the ensemble at all its times, to be compared with the theory's Sigma."""
    width = ensemble.width
    return Estimate(width * ensemble[f"{name}_variance"], width * ensemble[f"{name}_variance_standard_error"])


def variance_residual(theory: xr.Dataset, ensemble: xr.Dataset, name: str) -> Estimate:
    """N Var q_N - Sigma; it has a part of order 1/N that is not an error of either side."""
    theory, ensemble = at_common_times(theory, ensemble)
    measured = measured_variance(ensemble, name)
    value = measured.value - theory[f"{name}_variance"]
    error = _quadrature(measured.error, _or_zero(theory, f"{name}_variance_standard_error"))
    return Estimate(value, error.broadcast_like(value))


def squared_deviation(theory: xr.Dataset, ensemble: xr.Dataset, name: str) -> Estimate:
    """E |q_N - q|^2 averaged over times and entries, one number a width.

    Its error is the average of the entries' errors of the variance: an upper bound, reached when all entries
    fluctuate together, which along a trajectory they nearly do.
    """
    theory, ensemble = at_common_times(theory, ensemble)
    kept = ensemble.members - ensemble.diverged_members
    spread = ensemble[f"{name}_variance"] * (kept - 1) / kept  # the variance is the unbiased one
    deviation = spread + (ensemble[f"{name}_mean"] - theory[name]) ** 2
    return Estimate(_over_entries(deviation), _over_entries(ensemble[f"{name}_variance_standard_error"]))


def predicted_deviation(theory: xr.Dataset, ensemble: xr.Dataset, name: str) -> xr.DataArray:
    """Sigma / N averaged over the same times and entries as `squared_deviation`."""
    theory, ensemble = at_common_times(theory, ensemble)
    return theory[f"{name}_variance"].mean() / ensemble.width


def _over_entries(values: xr.DataArray) -> xr.DataArray:
    return values.mean([dim for dim in values.dims if dim != "width"])


def _or_zero(group: xr.Dataset, name: str) -> xr.DataArray:
    return group[name] if name in group else xr.DataArray(0.0)


def _quadrature(*errors: xr.DataArray) -> xr.DataArray:
    return sum((error**2 for error in errors), xr.DataArray(0.0)) ** 0.5
