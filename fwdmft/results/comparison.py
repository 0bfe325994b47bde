"""The quantities in which theory and ensemble meet, with their standard errors.

To first order in 1/N, with the theory's f, Sigma and b and an ensemble of networks of width N,

    E q_N = q + b / N        N Var q_N = Sigma        E |q_N - q|^2 = Sigma / N

Every function takes the /theory and /ensemble groups and the name of an observable, compares at the times
both kept, and returns arrays with a leading `width`. Standard errors are combined as independent. Where a side has
kernels between some points only, subset_* variables are compared, at the points both have.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import xarray as xr

from fwdmft.observables import OBSERVABLES

SUBSET = "subset_"
"""What names of kernels between some of the points start with."""

ROUNDING = 1e-12
"""Standard errors this far below the largest are those of entries that do not fluctuate."""


class Estimate(NamedTuple):
    """A value and its standard error (one sigma), of the same dimensions."""

    value: xr.DataArray
    error: xr.DataArray


class Residual(NamedTuple):
    """Ensemble minus theory, the standard error of that (one sigma), and the theory, all of the same dimensions."""

    value: xr.DataArray
    error: xr.DataArray
    theory: xr.DataArray


def group(tree: xr.DataTree, name: str) -> xr.Dataset | None:
    """Group `name` of a result, or None when that half was not run."""
    return tree[name].to_dataset() if name in tree.children else None


def common_observables(theory: xr.Dataset, ensemble: xr.Dataset) -> list[str]:
    """Names both sides hold: the four of fwdmft in their usual order, then any of a plugin's own.

    Two-time quantities are left out: they repeat at equal times what the others say.
    """
    theory, ensemble = at_common_points(theory, ensemble)
    single = theory.drop_dims("time_prime", errors="ignore").data_vars
    shared = [str(name) for name in single if f"{name}_mean" in ensemble and name != "loss"]
    usual = [*OBSERVABLES, *(f"{SUBSET}{name}" for name in OBSERVABLES)]
    return sorted(shared, key=lambda name: (usual.index(name) if name in usual else len(usual), name))


def at_common_times(theory: xr.Dataset, ensemble: xr.Dataset) -> tuple[xr.Dataset, xr.Dataset]:
    """Both groups at times and kernel points both kept; full covariances are left out, nothing here needs them."""
    theory, ensemble = at_common_points(theory, ensemble)
    times = np.intersect1d(theory.time.values, ensemble.time.values)
    slim = theory.drop_dims("time_prime", errors="ignore").drop_dims("width", errors="ignore")
    return slim.sel(time=times), ensemble.sel(time=times)


def at_common_points(theory: xr.Dataset, ensemble: xr.Dataset) -> tuple[xr.Dataset, xr.Dataset]:
    """Both groups with kernels between the points that both have them of, if one has them of some points only."""
    kept = [half["kernel_point"].values for half in (theory, ensemble) if "kernel_point" in half.dims]
    if not kept:
        return theory, ensemble
    common = np.intersect1d(kept[0], kept[-1])
    return _at_kernel_points(theory, common), _at_kernel_points(ensemble, common)


def _at_kernel_points(half: xr.Dataset, points: np.ndarray) -> xr.Dataset:
    if "kernel_point" in half.dims:
        return half.sel(kernel_point=points, kernel_point_prime=points)
    slim = half.drop_dims("time_prime", errors="ignore")
    names = [str(name) for name, one in slim.data_vars.items() if "point_prime" in one.dims]
    if not names:
        return half
    some = slim[names].isel(point=points, point_prime=points).drop_vars("point_split", errors="ignore")
    some = some.rename({name: f"{SUBSET}{name}" for name in names})
    some = some.rename_dims(point="kernel_point", point_prime="kernel_point_prime")
    return half.drop_vars(names).assign(some.assign_coords(kernel_point=points, kernel_point_prime=points))


def mean_residual(theory: xr.Dataset, ensemble: xr.Dataset, name: str) -> Residual:
    """E q_N - q - b/N, zero when the theory holds to order 1/N; b is taken as 0 where it was not computed."""
    theory, ensemble = at_common_times(theory, ensemble)
    width = ensemble.width
    shift = or_zero(theory, f"{name}_bias") / width
    error = quadrature(
        ensemble[f"{name}_mean_standard_error"],
        or_zero(theory, f"{name}_standard_error"),
        or_zero(theory, f"{name}_bias_standard_error") / width,
    )
    return _residual(ensemble[f"{name}_mean"] - shift, theory[name], error)


def measured_bias(theory: xr.Dataset, ensemble: xr.Dataset, name: str) -> Estimate:
    """N (E q_N - q), to be compared with the theory's b; its error holds the Monte-Carlo error of q too."""
    theory, ensemble = at_common_times(theory, ensemble)
    error = quadrature(ensemble[f"{name}_mean_standard_error"], or_zero(theory, f"{name}_standard_error"))
    width = ensemble.width
    return Estimate(width * (ensemble[f"{name}_mean"] - theory[name]), width * error)


def measured_variance(ensemble: xr.Dataset, name: str) -> Estimate:
    """N Var q_N over the ensemble at all its times, to be compared with the theory's Sigma."""
    width = ensemble.width
    return Estimate(width * ensemble[f"{name}_variance"], width * ensemble[f"{name}_variance_standard_error"])


def variance_residual(theory: xr.Dataset, ensemble: xr.Dataset, name: str) -> Residual:
    """N Var q_N - Sigma; it has a part of order 1/N that is not an error of either side."""
    theory, ensemble = at_common_times(theory, ensemble)
    measured = measured_variance(ensemble, name)
    error = quadrature(measured.error, or_zero(theory, f"{name}_variance_standard_error"))
    return _residual(measured.value, theory[f"{name}_variance"], error)


def fitted_bias(ensemble: xr.Dataset, name: str) -> Estimate:
    """The slope of E q_N in 1/N, by weighted least squares over all widths (two at least), without `width`.

    It is to be compared with the theory's b, and knows nothing of the theory's q. NaN where a mean has no error.
    """
    mean, error = ensemble[f"{name}_mean"], ensemble[f"{name}_mean_standard_error"]
    weight = 1 / error.where(error > 0) ** 2
    x = 1 / ensemble.width.astype(float)
    apart = x - (weight * x).sum("width") / weight.sum("width")
    information = (weight * apart**2).sum("width", skipna=False)
    return Estimate((weight * apart * mean).sum("width", skipna=False) / information, information**-0.5)


def bias_residual(theory: xr.Dataset, ensemble: xr.Dataset, name: str) -> Residual:
    """`fitted_bias` - b, without `width`; it has a part of the order of 1/N that is not an error of either side."""
    theory, ensemble = at_common_times(theory, ensemble)
    fitted = fitted_bias(ensemble, name)
    error = quadrature(fitted.error, or_zero(theory, f"{name}_bias_standard_error"))
    return _residual(fitted.value, theory[f"{name}_bias"], error)


def pairs_once(values: xr.DataArray, name: str) -> xr.DataArray:
    """`values` of observable `name` with NaN in the lower triangle of a kernel, which repeats the upper.

    Only the kernels of fwdmft are known to be symmetric; another observable is returned as it is.
    """
    rows = [dim for dim in ("point", "kernel_point", "output") if f"{dim}_prime" in values.dims]
    if name.removeprefix(SUBSET) not in OBSERVABLES or not rows:
        return values
    return values.where(_flat_index(values, rows) <= _flat_index(values, [f"{dim}_prime" for dim in rows]))


def _flat_index(values: xr.DataArray, dims: list[str]) -> xr.DataArray:
    sizes = [values.sizes[dim] for dim in dims]
    return xr.DataArray(np.arange(np.prod(sizes)).reshape(sizes), dims=dims)


def _residual(measured: xr.DataArray, expected: xr.DataArray, error: xr.DataArray) -> Residual:
    difference = measured - expected
    return Residual(difference, error.broadcast_like(difference), expected.broadcast_like(difference))


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


def or_zero(group: xr.Dataset, name: str) -> xr.DataArray:
    """The variable, or 0 where the group does not hold it."""
    return group[name] if name in group else xr.DataArray(0.0)


def quadrature(*errors: xr.DataArray) -> xr.DataArray:
    """Standard error of a sum or difference of independent estimates with these."""
    return sum((error**2 for error in errors), xr.DataArray(0.0)) ** 0.5
