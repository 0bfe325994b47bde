"""Families of observables: q, N Var, b, signal-to-noise, and differences of both sides in standard errors."""

from __future__ import annotations

from collections.abc import Iterator

import xarray as xr

from fwdmft.observables import METRICS, OBSERVABLES
from fwdmft.reporting.family import Curve, Family, Measure, pairs_in
from fwdmft.reporting.words import symbol_of, words_of
from fwdmft.results import comparison
from fwdmft.results.comparison import SUBSET, Residual

Half = xr.Dataset | None
_OF_LOSS = "loss"


def observable_families(theory: Half, ensemble: Half) -> Iterator[Family]:
    """One family for each observable that a side has, those of fwdmft first, each with what it has."""
    if theory is not None and ensemble is not None:
        theory, ensemble = comparison.at_common_points(theory, ensemble)
    for name in _names(theory, ensemble):
        measures = tuple(measure for measure in _measures(theory, ensemble, name) if measure.curves)
        if measures:
            words = words_of(name)
            symbol = symbol_of(name, _variable(theory, name))
            title = f"{words[0].upper()}{words[1:]} {symbol}"
            short = words if name in METRICS and len(words) < 20 else symbol
            yield Family(name, title, short, "", measures, pairs=pairs_in(measures))


def _variable(theory: Half, name: str) -> xr.DataArray | None:
    return theory[name] if theory is not None and name in theory else None


def _names(theory: Half, ensemble: Half) -> list[str]:
    """What is not derived from another variable: its name does not begin with that of another."""
    quantities: set[str] = set()
    if theory is not None:
        single = theory.drop_dims(["time_prime", "kernel"], errors="ignore")
        names = [str(name) for name, one in single.data_vars.items() if "time" in one.dims]
        quantities |= {name for name in names if not any(name.startswith(f"{other}_") for other in names)}
    if ensemble is not None:
        quantities |= {str(name).removesuffix("_mean") for name in ensemble.data_vars if str(name).endswith("_mean")}
    known = [*OBSERVABLES, *(f"{SUBSET}{name}" for name in OBSERVABLES)]
    last = {name: len(known) + 1 for name in METRICS}
    quantities -= {_OF_LOSS}
    return sorted(
        quantities, key=lambda name: (known.index(name) if name in known else last.get(name, len(known)), name)
    )


def _measures(theory: Half, ensemble: Half, name: str) -> Iterator[Measure]:
    q = symbol_of(name, _variable(theory, name))
    yield Measure("value", q, (*_theory(theory, name), *_networks(ensemble, f"{name}_mean", "mean of networks")))
    yield Measure("N Var", f"N Var {q}", (*_theory(theory, f"{name}_variance"), *_variance(ensemble, name)))
    both = theory is not None and ensemble is not None and name in theory and f"{name}_mean" in ensemble
    shift = [] if not both else [_estimate(comparison.measured_bias(theory, ensemble, name))]  # type: ignore[arg-type]
    of_bias = (*_theory(theory, f"{name}_bias"), *shift)
    yield Measure("shift of the mean b", f"N (E {q} at width N − {q} at infinite width)", of_bias)
    ratio = f"{name}_signal_to_noise"
    sides = (*_theory(theory, ratio), *_networks(ensemble, ratio, "networks"))
    yield Measure("signal to noise", f"{q} / √(N Var {q})", sides)
    angle = f"{name}_alignment"
    of_angle = (*_theory(theory, angle), *_networks(ensemble, angle, "mean kernel of networks"))
    yield Measure("alignment with the targets", f"A[{q}]", of_angle)
    if both:
        yield from _scores(theory, ensemble, name, q)  # type: ignore[arg-type]


def _scores(theory: xr.Dataset, ensemble: xr.Dataset, name: str, q: str) -> Iterator[Measure]:
    """Differences in standard errors of both sides; blank where nothing fluctuates, as in `scores.agreement`."""
    residuals = {"mean": (comparison.mean_residual, f"E {q} at width N − {q} − b/N")}
    if f"{name}_variance" in theory and f"{name}_variance" in ensemble:
        residuals["N Var"] = (comparison.variance_residual, f"N Var {q}: networks − theory")
    for words, (residual, axis) in residuals.items():
        difference = residual(theory, ensemble, name)
        if not difference.value.size:  # at no time of both
            continue
        curve = Curve("difference", "networks", _in_errors(difference))
        yield Measure(f"difference of {words}, in s.e.", f"({axis}) / s.e.", (curve,))


def _in_errors(residual: Residual) -> xr.DataArray:
    return residual.value / residual.error.where(residual.error > comparison.ROUNDING * residual.error.max())


def _theory(theory: Half, name: str) -> list[Curve]:
    if theory is None or name not in theory:
        return []
    return [Curve("theory", "theory", theory[name], theory.get(f"{name}_standard_error"))]


def _networks(ensemble: Half, name: str, words: str) -> list[Curve]:
    if ensemble is None or name not in ensemble:
        return []
    return [Curve(words, "networks", ensemble[name], ensemble.get(f"{name}_standard_error"))]


def _variance(ensemble: Half, name: str) -> list[Curve]:
    if ensemble is None or f"{name}_variance" not in ensemble:
        return []
    return [_estimate(comparison.measured_variance(ensemble, name))]


def _estimate(estimate: comparison.Estimate) -> Curve:
    return Curve("networks", "networks", estimate.value, estimate.error)
