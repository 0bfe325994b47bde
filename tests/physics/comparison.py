"""Results against networks and records: all differences in standard errors, at infinite width.

Finite width is removed by extrapolation from two widths (`fwdmft.testing.agreement.extrapolated`), never allowed for.
"""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from fwdmft.corrections.from_response import SAMPLINGS
from fwdmft.corrections.sample_estimates import GROUPS
from fwdmft.testing.agreement import Estimate, assert_zero, extrapolated

OBSERVABLES = ("prediction", "tangent_kernel", "feature_kernel", "gradient_kernel")

TELLING = 0.4
"""N Var is told from what is wrong if the bound at its largest entry is below this share of that entry."""


def of_theory(tree: xr.DataTree, name: str, **entry: Any) -> Estimate:
    """q, Sigma or b, of which each has the degrees of freedom of the independent samples behind its error."""
    if name.endswith(("_variance", "_bias")):
        samples = GROUPS if "draws" in tree["diagnostics"] else SAMPLINGS
    else:
        samples = json.loads(tree.attrs["experiment"])["theory"]["replicates"]
    return _of(tree["theory"].to_dataset(), name, samples, entry)


def of_networks(tree: xr.DataTree, name: str, width: int, **entry: Any) -> Estimate:
    """Mean or variance at a width, at the times that the theory keeps."""
    ensemble = tree["ensemble"].to_dataset().sel(width=width, time=tree["theory"]["time"])
    return _of(ensemble, name, int(ensemble.members - ensemble.diverged_members), entry)


def _of(group: xr.Dataset, name: str, samples: int, entry: dict[str, Any]) -> Estimate:
    """With time first, if an entry does not say which time."""
    chosen = (group[each].isel(entry, missing_dims="ignore") for each in (name, f"{name}_standard_error"))
    values, error = (each.transpose("time", ..., missing_dims="ignore").values for each in chosen)
    return Estimate.of(values, error, samples)


def known(values: Any) -> Estimate:
    """Of a closed form: without error."""
    values = np.asarray(values, float)
    return Estimate(values, (np.zeros_like(values),), (np.inf,))


def recorded_limit(tree: xr.DataTree, name: str, reference: dict[str, np.ndarray]) -> Estimate:
    """N Var of a recorded ensemble, from which networks of the result's one width remove the next order.

    The record has no fourth moments; ours say what they are, as their excess over Gaussian ones falls as 1/N.
    """
    (width,), recorded = tree["ensemble"]["width"].values.tolist(), int(reference["width"])
    ours = of_networks(tree, f"{name}_variance", width, output=0, output_prime=0) * width
    values = reference[f"{name}_variance"] * recorded
    members = int(reference["members"])
    with np.errstate(invalid="ignore"):  # what is exact has no variance
        excess = np.nan_to_num(ours.squared_errors[0] * (ours.freedom[0] + 1) / ours.value**2) - 2
    error = values * np.sqrt((2 + np.maximum(excess, 0) * width / recorded) / members)
    return extrapolated((width, recorded), (ours, Estimate.of(values, error, members)))


def assert_networks_agree(tree: xr.DataTree, names: Sequence[str] = OBSERVABLES, biased: Sequence[str] = ()) -> None:
    """N Var and N (E q_N - q), extrapolated from all widths, are Sigma and b.

    The same q enters at all widths, so its error is taken once. biased: observables whose b must be told from zero.
    """
    widths = [int(width) for width in tree["ensemble"]["width"].values]
    for name in names:
        sigma, b, q = (of_theory(tree, name + part) for part in ("_variance", "_bias", ""))
        variance = extrapolated(widths, [of_networks(tree, f"{name}_variance", n) * n for n in widths]) - sigma
        largest = np.unravel_index(np.argmax(sigma.value), sigma.value.shape)
        share = variance.bound[largest] / sigma.value[largest]
        assert share < TELLING, f"N Var {name}: too uncertain to tell ({share:.2f})"
        assert_zero(f"N Var {name}", variance, float(sigma.value[largest]))
        shift = extrapolated(widths, [of_networks(tree, f"{name}_mean", n) * n for n in widths]) - q * sum(widths)
        difference = shift - b
        assert name not in biased or (np.abs(b.value) > difference.bound).any(), f"b of {name}: too uncertain to tell"
        assert_zero(f"bias of {name}", difference, max(widths) * float(np.max(np.abs(q.value))))
