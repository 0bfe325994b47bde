"""Why a result holds NaN: every variable that can says so in its attribute `missing_reason`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr


def explained(variables: Mapping[str, xr.Variable], absent: Sequence[str]) -> dict[str, xr.Variable]:
    """The variables, with the reason of an empty split added to those that have one entry a split.

    absent: splits without points. A variable that is undefined everywhere is left out. One that is NaN without a reason
    stays as it is, to be seen.
    """
    reasoned = {name: _with_reason(variable, absent) for name, variable in variables.items()}
    return {name: one for name, one in reasoned.items() if "missing_reason" not in one.attrs or not _empty(one)}


def _with_reason(variable: xr.Variable, absent: Sequence[str]) -> xr.Variable:
    if "split" not in variable.dims or not absent:
        return variable
    reasons = [
        variable.attrs.get("missing_reason"),
        *(f"NaN for {split}: no {split} points are observed" for split in absent),
    ]
    stated = "; ".join(reason for reason in reasons if reason)
    return xr.Variable(variable.dims, variable.values, variable.attrs | {"missing_reason": stated})


def _empty(variable: xr.Variable) -> bool:
    return variable.dtype.kind == "f" and bool(np.isnan(variable.values).all())
