"""Short tables a run ends with: losses, and how far theory and ensemble are apart (see `scores`)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import xarray as xr
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from fwdmft.results.build import SPLITS
from fwdmft.results.comparison import group
from fwdmft.results.scores import agreement, agreement_rows


def summary_table(tree: xr.DataTree, full: bool = False) -> RenderableType:
    """The final losses and the agreement of theory and ensemble, for a rich console; full: all its measures. What the
    result holds, where it has neither."""
    losses = loss_table(tree)
    parts: list[RenderableType] = [*([losses] if losses.rows else []), *diverged_lines(tree), *theory_lines(tree)]
    numbers = agreement(tree)
    if numbers.data_vars:
        parts += [agreement_table(numbers, full), Text(READING, style="dim")]
    if not losses.rows and not numbers.data_vars:
        held = {name: group(tree, name) for name in ("theory", "ensemble")}
        parts += [
            Text(f"{name}: {', '.join(map(str, one.data_vars))}") for name, one in held.items() if one is not None
        ]
        parts.append(Text("No losses, and no theory beside networks: `fwdmft compare` compares two results."))
    return Group(*parts)


def diverged_lines(tree: xr.DataTree) -> Iterator[Text]:
    """Which widths have networks that diverged."""
    ensemble = group(tree, "ensemble")
    for width in [] if ensemble is None else ensemble.width.values.tolist():
        one = ensemble.sel(width=width)  # type: ignore[union-attr]
        if one["diverged_members"].item():
            words = f"{one['diverged_members'].item()} of {one['members'].item()} networks of width {width}"
            yield Text(f"Warning: {words} diverged and are left out of all averages, which biases them.", "bold red")


def theory_lines(tree: xr.DataTree) -> Iterator[Text]:
    """How precise Sigma and b are, and whether q from draws of small networks agrees with q."""
    diagnostics = group(tree, "diagnostics")
    if diagnostics is None or "self_check" not in diagnostics:
        return
    sigma, b = (100 * float(diagnostics[f"relative_error_{name}"]) for name in ("variance", "bias"))
    check = float(diagnostics["self_check"])
    yield Text(
        f"Sigma to {sigma:.2g} %, b to {b:.2g} % (standard errors of f or K, the larger), from "
        f"{int(diagnostics['draws'])} draws of width {int(diagnostics['draw_width'])}. Self-check: q from draws is "
        f"{check:.2g} standard errors rms from q."
    )
    if check > DOUBTFUL:
        warning = f"Warning: more than {DOUBTFUL:g} standard errors; do not trust b before this is understood."
        yield Text(warning, style="bold red")


DOUBTFUL = 4.0
"""Standard errors by which q from draws may differ from q, root mean square, before a warning."""

READING = (
    "Differences in standard errors, over times and entries (pairs of points once); rms near 1 is agreement.\n"
    "mean: E q_N - q - b/N. N Var: N Var q_N - Sigma. bias: slope of E q_N in 1/N - b. Terms of higher order in 1/N\n"
    "included. off: rms difference over rms of the theory; (s.e.): rms standard error likewise, the resolution."
)


def loss_table(tree: xr.DataTree) -> Table:
    """Loss at the last step: theory at infinite width and at each N, networks +- standard error."""
    splits = splits_present(tree)
    table = Table(title="Loss at the last step", title_justify="left")
    for heading in ("width", "", *splits):
        table.add_column(heading, justify="right" if heading else "left")
    for row in loss_rows(tree, splits):
        table.add_row(*row)
    return table


def splits_present(tree: xr.DataTree) -> list[str]:
    present = set(tree["data"].to_dataset()["split"].values.tolist())
    return [split for split in SPLITS if split in present]


def loss_rows(tree: xr.DataTree, splits: list[str]) -> Iterator[list[str]]:
    theory, ensemble = group(tree, "theory"), group(tree, "ensemble")
    if theory is not None and "loss" in theory:
        yield ["infinite", "theory", *_numbers(theory["loss"], splits)]
    for width in _widths(theory, ensemble):
        if theory is not None and "loss_at_width" in theory and width in theory.width:
            yield [str(width), "theory", *_loss_with_error(theory.sel(width=width), "loss_at_width", splits)]
        if ensemble is not None and width in ensemble.width:
            yield from _ensemble_loss_rows(ensemble.sel(width=width), str(width), splits)


def _ensemble_loss_rows(ensemble: xr.Dataset, width: str, splits: list[str]) -> Iterator[list[str]]:
    if "loss_mean" in ensemble:
        yield [width, _networks(ensemble), *_loss_with_error(ensemble, "loss_mean", splits)]
    if "ensembled_loss" in ensemble:
        yield [width, "averaged predictor", *_numbers(ensemble["ensembled_loss"], splits)]


def _loss_with_error(half: xr.Dataset, name: str, splits: list[str]) -> list[str]:
    values, error = _numbers(half[name], splits), f"{name}_standard_error"
    if error not in half:
        return values
    errors = half[error].isel(time=-1)
    return [f"{value} ± {errors.sel(split=split).item():.1g}" for value, split in zip(values, splits, strict=True)]


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


def agreement_table(numbers: xr.Dataset, full: bool = False) -> Table:
    """The numbers of `agreement`, a row for each quantity, width and observable."""
    columns = COLUMNS if full else {name: COLUMNS[name] for name in _SHORT}
    table = Table(title="Theory against ensemble, in standard errors", title_justify="left")
    for heading in ("", "width", "observable", *(heading for heading, _ in columns.values()), "off (s.e.)"):
        table.add_column(heading, justify="left" if heading in ("", "observable") else "right")
    previous = None
    for row in agreement_rows(numbers):
        if previous is not None and previous != (row["quantity"], row["width"]):
            table.add_section()
        previous = row["quantity"], row["width"]
        cells = [cell(row[name], style) for name, (_, style) in columns.items()]
        words = WORDS[row["quantity"]], str(row["width"]), row["observable"].replace("_", " ")
        table.add_row(*words, *cells, with_error(row["relative_error"], row["relative_standard_error"]))
    return table


WORDS = {"mean": "mean", "variance": "N Var", "bias": "bias"}
COLUMNS = {
    "entries": ("entries", ".0f"),
    "rms": ("rms", ".2f"),
    "median": ("median", ".2f"),
    "percentile_95": ("95 %", ".2f"),
    "max": ("max", ".2f"),
    "share_beyond_4": ("beyond 4", ".2%"),
}
_SHORT = ("rms", "percentile_95", "max")


def with_error(value: float, error: float) -> str:
    return "-" if np.isnan(value) else f"{value:.1%} ({error:.1%})"


def cell(value: float, style: str) -> str:
    return "-" if np.isnan(value) else format(value, style)
