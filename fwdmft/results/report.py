"""Short tables a run ends with: losses, and how far theory and ensemble are apart in standard errors."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import xarray as xr
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from fwdmft.results import comparison
from fwdmft.results.build import SPLITS
from fwdmft.results.comparison import Estimate, group
from fwdmft.results.describe import attributes

_MEASURES = {
    "mean_rms": "root mean square of (E q_N - q - b/N) / standard error",
    "mean_max": "largest |E q_N - q - b/N| / standard error",
    "variance_rms": "root mean square of (N Var q_N - Sigma) / standard error",
    "variance_max": "largest |N Var q_N - Sigma| / standard error",
    "variance_relative_error": "mean |N Var q_N - Sigma| over mean Sigma",
    "variance_relative_noise": "mean standard error of N Var q_N - Sigma over mean Sigma",
}


def agreement(tree: xr.DataTree) -> xr.Dataset:
    """How well theory and ensemble agree: variables of dimensions (width, variable), all dimensionless.

    mean_rms, mean_max: of (E q_N - q - b/N) in combined standard errors (ensemble, b / N, Monte-Carlo of q),
    over all times and entries. variance_rms, variance_max: the same of N Var q_N - Sigma. Near 1, and a few,
    when theory and ensemble agree within their errors. Entries whose combined error is exactly zero (such as
    centred predictions at t = 0) are left out; NaN where nothing is left or a side lacks the quantity.
    variance_relative_error, variance_relative_noise: mean |N Var q_N - Sigma|, and its mean standard error,
    over mean Sigma; noise makes the first 0.8 times the second when the theory is exact. The result has no
    variables when theory or ensemble is missing.
    """
    theory, ensemble = group(tree, "theory"), group(tree, "ensemble")
    if theory is None or ensemble is None:
        return xr.Dataset()
    names = comparison.common_observables(theory, ensemble)
    columns = [_agreement_of(theory, ensemble, name) for name in names]
    found = xr.concat(columns, dim="variable").assign_coords(variable=names).transpose("width", "variable")
    for name, words in _MEASURES.items():
        found[name].attrs = attributes(words)
    return found


def _agreement_of(theory: xr.Dataset, ensemble: xr.Dataset, name: str) -> xr.Dataset:
    measures = _scores("mean", comparison.mean_residual(theory, ensemble, name))
    nothing = xr.full_like(measures["mean_rms"], np.nan)
    if f"{name}_variance" not in theory:
        return xr.Dataset({key: measures.get(key, nothing) for key in _MEASURES})
    residual = comparison.variance_residual(theory, ensemble, name)
    scale = theory[f"{name}_variance"].sel(time=residual.value.time).mean()
    measures |= _scores("variance", residual)
    measures["variance_relative_error"] = _over_entries(abs(residual.value)) / scale
    measures["variance_relative_noise"] = _over_entries(residual.error) / scale
    return xr.Dataset(measures)


def _scores(prefix: str, residual: Estimate) -> dict[str, xr.DataArray]:
    score = abs(residual.value / residual.error.where(residual.error > 0))
    entries = [dim for dim in score.dims if dim != "width"]
    return {f"{prefix}_rms": (score**2).mean(entries) ** 0.5, f"{prefix}_max": score.max(entries)}


def _over_entries(values: xr.DataArray) -> xr.DataArray:
    return values.mean([dim for dim in values.dims if dim != "width"])


def summary_table(tree: xr.DataTree) -> RenderableType:
    """The final losses and the agreement of theory and ensemble, for a rich console."""
    parts: list[RenderableType] = [loss_table(tree)]
    numbers = agreement(tree)
    if numbers.data_vars:
        parts += [agreement_table(numbers), Text(_READING, style="dim")]
    return Group(*parts)


_READING = (
    "In standard errors, over all times and entries; rms near 1 is agreement.\n"
    "Mean: E q_N - q - b/N. N Var: N Var q_N - theory, terms of order 1/N included;\n"
    "off: its mean size over the theory's mean; (noise): its standard error likewise."
)


def loss_table(tree: xr.DataTree) -> Table:
    """Loss at the last step: theory at infinite width and at each N, networks +- standard error."""
    splits = _splits_present(tree)
    table = Table(title="Loss at the last step", title_justify="left")
    for heading in ("width", "", *splits):
        table.add_column(heading, justify="right" if heading else "left")
    for row in _loss_rows(tree, splits):
        table.add_row(*row)
    return table


def _splits_present(tree: xr.DataTree) -> list[str]:
    present = set(tree["data"].to_dataset()["split"].values.tolist())
    return [split for split in SPLITS if split in present]


def _loss_rows(tree: xr.DataTree, splits: list[str]) -> Iterator[list[str]]:
    theory, ensemble = group(tree, "theory"), group(tree, "ensemble")
    if theory is not None and "loss" in theory:
        yield ["infinite", "theory", *_numbers(theory["loss"], splits)]
    for width in _widths(theory, ensemble):
        if theory is not None and "loss_at_width" in theory and width in theory.width:
            yield [str(width), "theory", *_numbers(theory["loss_at_width"].sel(width=width), splits)]
        if ensemble is not None and width in ensemble.width:
            yield from _ensemble_loss_rows(ensemble.sel(width=width), str(width), splits)


def _ensemble_loss_rows(ensemble: xr.Dataset, width: str, splits: list[str]) -> Iterator[list[str]]:
    if "loss_mean" in ensemble:
        values = _numbers(ensemble["loss_mean"], splits)
        if "loss_mean_standard_error" in ensemble:
            errors = ensemble["loss_mean_standard_error"].isel(time=-1)
            values = [
                f"{value} ± {errors.sel(split=split).item():.1g}" for value, split in zip(values, splits, strict=True)
            ]
        yield [width, _networks(ensemble), *values]
    if "ensembled_loss" in ensemble:
        yield [width, "averaged predictor", *_numbers(ensemble["ensembled_loss"], splits)]


def _networks(ensemble: xr.Dataset) -> str:
    diverged = ensemble["diverged_members"].item()
    left_out = f", {diverged} diverged" if diverged else ""
    return f"{ensemble['members'].item()} networks{left_out}"


def _widths(*groups: xr.Dataset | None) -> list[int]:
    known = [one.width.values for one in groups if one is not None and "width" in one.coords]
    return sorted({int(width) for widths in known for width in widths})


def _numbers(loss: xr.DataArray, splits: list[str]) -> list[str]:
    """Loss at the last time for each split, to four digits."""
    return [f"{loss.isel(time=-1).sel(split=split).item():.4g}" for split in splits]


def agreement_table(numbers: xr.Dataset) -> Table:
    """The numbers of `agreement`, a row for each width and observable."""
    table = Table(title="Theory against ensemble, in standard errors", title_justify="left")
    for heading in ("width", "observable", "mean rms", "max", "N Var rms", "max", "off (noise)"):
        table.add_column(heading, justify="left" if heading == "observable" else "right")
    for width in numbers.width.values:
        for name in numbers["variable"].values:
            row = numbers.sel(width=width, variable=name)
            table.add_row(str(width), str(name).replace("_", " "), *_agreement_cells(row))
        table.add_section()
    return table


def _agreement_cells(row: xr.Dataset) -> list[str]:
    scores = [_cell(row[name].item(), ".2f") for name in list(_MEASURES)[:4]]
    error, noise = row["variance_relative_error"].item(), row["variance_relative_noise"].item()
    return [*scores, _cell(error, ".1%") + ("" if np.isnan(noise) else f" ({noise:.1%})")]


def _cell(value: float, style: str) -> str:
    return "-" if np.isnan(value) else format(value, style)
