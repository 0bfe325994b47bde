"""The family of the loss: both sides, and the excess of finite widths over infinite width."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import xarray as xr

from fwdmft.plotting.scales import LOG_FROM
from fwdmft.reporting.family import Curve, Family, Measure, arrays
from fwdmft.results.comparison import at_common_times

_TEXT = "Averaged predictor: the loss of the mean of all networks' predictions."


def loss_families(theory: xr.Dataset | None, ensemble: xr.Dataset | None) -> Iterator[Family]:
    """One family, or none where no side has a loss."""
    curves = tuple(_curves(theory, ensemble))
    if not curves:
        return
    measures = [Measure("loss", "loss L", curves)]
    if theory is not None and "loss" in theory:
        excess = tuple(_excess(theory, ensemble))
        if excess:
            words = "excess over infinite width"
            measures.append(Measure(words, "(L at width N − L) / L", excess))
    family = Family("loss", "Loss L", "loss", _TEXT if "ensembled_loss" in (ensemble or {}) else "", tuple(measures))
    measures[0] = measures[0]._replace(decades=_wide(family._replace(measures=(measures[0],))))
    yield family._replace(measures=tuple(measures))


def _curves(theory: xr.Dataset | None, ensemble: xr.Dataset | None) -> Iterator[Curve]:
    if theory is not None and "loss" in theory:
        yield Curve("theory, N → ∞", "theory", theory["loss"])
    if theory is not None and "loss_at_width" in theory:
        error = theory.get("loss_at_width_standard_error")
        yield Curve("theory", "theory", theory["loss_at_width"], error)
    yield from _of_networks(ensemble)


def _of_networks(ensemble: xr.Dataset | None) -> Iterator[Curve]:
    if ensemble is not None and "loss_mean" in ensemble:
        error = ensemble.get("loss_mean_standard_error")
        yield Curve("mean of networks", "networks", ensemble["loss_mean"], error)
    if ensemble is not None and "ensembled_loss" in ensemble:
        yield Curve("averaged predictor", "averaged", ensemble["ensembled_loss"])


def _excess(theory: xr.Dataset, ensemble: xr.Dataset | None) -> Iterator[Curve]:
    if "loss_at_width" in theory:
        error = theory.get("loss_at_width_standard_error")
        yield _over(theory, Curve("theory", "theory", theory["loss_at_width"], error))
    if ensemble is not None:
        # Full covariances are as they were: they do not matter here.
        theory, ensemble = at_common_times(theory, ensemble)
        yield from (_over(theory, curve) for curve in _of_networks(ensemble))


def _over(theory: xr.Dataset, curve: Curve) -> Curve:
    infinite = theory["loss"].where(theory["loss"] > 0)  # the loss where it can be divided by
    error = None if curve.error is None else curve.error / infinite
    return curve._replace(value=(curve.value - infinite) / infinite, error=error)


def _wide(family: Family) -> bool:
    """Whether a logarithmic axis helps: all is positive and spans more than a decade, as in the static figures."""
    values = np.concatenate([one.values.ravel() for one in arrays(family)[:1]])
    values = values[np.isfinite(values)]
    return bool(values.size and values.min() > 0 and values.max() / values.min() > LOG_FROM)
