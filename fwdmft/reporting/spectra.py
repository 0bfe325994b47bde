"""Spectra of kernels: eigenvalues over the training points, of the theory and of the mean kernel of the networks."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import xarray as xr

from fwdmft.observables import OBSERVABLES
from fwdmft.reporting.family import Curve, Family, Measure
from fwdmft.reporting.words import symbol_of
from fwdmft.results.comparison import SUBSET, at_common_points

_KERNELS = tuple(name for name, one in OBSERVABLES.items() if "point_prime" in one.dims and "time" not in one.dims)
_TEXT = (
    "Eigenvalues of kernels over the training points (and outputs) that are kept, the largest first: of the kernel at "
    "infinite width and of the mean kernel of the networks, which has noise at its small eigenvalues."
)


def spectrum_families(theory: xr.Dataset | None, ensemble: xr.Dataset | None) -> Iterator[Family]:
    """One family with a measure for each kernel, or none."""
    if theory is not None and ensemble is not None:
        theory, ensemble = at_common_points(theory, ensemble)
    names = [f"{prefix}{name}" for prefix in ("", SUBSET) for name in _KERNELS]
    measures = []
    for name in names:
        curves = tuple(_curves(theory, ensemble, name))
        if curves:
            symbol = symbol_of(name)
            measures.append(Measure(symbol, f"eigenvalues of {symbol}", curves, decades=True))
    if measures:
        yield Family("spectra", "Spectra of kernels", "spectra", _TEXT, tuple(measures), across="rank")


def _curves(theory: xr.Dataset | None, ensemble: xr.Dataset | None, name: str) -> Iterator[Curve]:
    if theory is not None and name in theory and (spectrum := eigenvalues(theory[name])) is not None:
        yield Curve("theory", "theory", spectrum)
    if ensemble is not None and f"{name}_mean" in ensemble:
        spectrum = eigenvalues(ensemble[f"{name}_mean"])
        if spectrum is not None:
            yield Curve("mean kernel of networks", "networks", spectrum)


def eigenvalues(kernel: xr.DataArray) -> xr.DataArray | None:
    """Eigenvalues of a kernel over its training points, dimensions (..., rank), descending; None without such points.

    kernel: (..., point, [output,] point_prime, [output_prime]), or kernel_point, with the coordinate point_split where
    splits are known. Matrices with NaN have NaN for all eigenvalues.
    """
    rows = [dim for dim in ("point", "kernel_point", "output") if dim in kernel.dims and f"{dim}_prime" in kernel.dims]
    trained = _trained(kernel, rows[0])
    if not len(trained):
        return None
    chosen = kernel.isel({rows[0]: trained, f"{rows[0]}_prime": trained})
    columns = [f"{dim}_prime" for dim in rows]
    others = [dim for dim in chosen.dims if dim not in (*rows, *columns)]
    values = chosen.transpose(*others, *rows, *columns).values
    size = int(np.prod([chosen.sizes[dim] for dim in rows]))
    matrices = values.reshape(*(chosen.sizes[dim] for dim in others), size, size)
    known = np.isfinite(matrices).all((-2, -1))
    spectra = np.full((*known.shape, size), np.nan)
    spectra[known] = np.linalg.eigvalsh(matrices[known])[..., ::-1]
    labels = {dim: chosen[dim] for dim in others if dim in chosen.coords}
    return xr.DataArray(spectra, dims=(*others, "rank"), coords={**labels, "rank": np.arange(1, size + 1)})


def _trained(kernel: xr.DataArray, dim: str) -> np.ndarray:
    """Positions of training points along `dim`; none where they differ between points of a sweep."""
    if dim != "point" or "point_split" not in kernel.coords:
        return np.arange(kernel.sizes[dim])  # kernel points are training points
    split = kernel["point_split"].values.reshape(-1, kernel.sizes[dim])
    same = (split == split[0]).all()
    return np.flatnonzero((split[0] == "train") & same)
