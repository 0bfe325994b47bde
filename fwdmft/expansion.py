"""Whether the expansion in 1/N exists for a parameterization: its richness must have one."""

from __future__ import annotations

from math import isfinite

from fwdmft.errors import InputError
from fwdmft.experiment.parameterization import ParameterizationSpec

_WIDTHS = 10**5, 10**7
_CONVERGED = 0.02
"""Change from the first width to the second: corrections of relative order 1/N pass, powers and logarithms of N do not.
"""


def check_richness(parameterization: ParameterizationSpec) -> None:
    """Check gamma0(N) -> g + O(1/N) with a number g > 0, or N gamma0(N)^2 -> c with a number c > 0. Raises InputError.

    Elsewhere Sigma and b do not exist: b has what networks learn at their own richness, and that is N (gamma0(N) - g)
    or N gamma0(N)^2.
    """
    limit = float(parameterization.richness(None))
    first, second = (float(parameterization.richness(width)) for width in _WIDTHS)
    if not (isfinite(limit) and limit >= 0 and min(first, second) > 0 and isfinite(first) and isfinite(second)):
        three = [first, second, limit]
        raise InputError("parameterization.kind", parameterization.kind, f"positive numbers gamma0(N), not {three}")
    if limit == 0:
        quantity, scaled = "N gamma0(N)^2", [n * g**2 for n, g in zip(_WIDTHS, (first, second), strict=True)]
        change = abs(scaled[1] / scaled[0] - 1)
    else:
        quantity = "N (gamma0(N)/gamma0 - 1)"
        scaled = [n * (g / limit - 1) for n, g in zip(_WIDTHS, (first, second), strict=True)]
        change = abs(scaled[1] - scaled[0]) / max(1.0, abs(scaled[0]))
    if change > _CONVERGED:
        values = " and ".join(f"{value:.4g} at N = {width}" for value, width in zip(scaled, _WIDTHS, strict=True))
        expected = f"a richness gamma0(N) with an expansion in 1/N, but {quantity} does not converge: it is {values}"
        raise InputError("parameterization.kind", parameterization.kind, expected)
