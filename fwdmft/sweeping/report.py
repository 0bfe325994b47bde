"""The table of a sweep: a row for each point of the grid."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import xarray as xr
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from fwdmft.results.experiments import swept_dimensions
from fwdmft.results.report import READING, agreement_table
from fwdmft.results.scores import QUANTITIES, agreement, pooled

_HEADINGS = {"mean": "mean rms (max)", "variance": "N Var rms (max)", "bias": "bias rms (max)"}


def sweep_table(tree: xr.DataTree, full: bool = False) -> RenderableType:
    """The final losses and the agreement of theory and ensembles at each point of `open_sweep`.

    full: below it, every measure of the agreement, point by point.
    """
    numbers, losses, diverged = agreement(tree), _losses(tree), _diverged(tree)
    dims = swept_dimensions(tree)
    compared = bool(numbers.data_vars)
    table = Table(title=tree.attrs["title"], title_justify="left")
    left_out = () if diverged is None else ("networks that diverged",)
    for heading in (*tree.coords, *losses, *left_out, *(_HEADINGS.values() if compared else ())):
        table.add_column(str(heading), justify="right")
    for index in np.ndindex(*(tree.sizes[dim] for dim in dims)):
        here = dict(zip(dims, index, strict=True))
        cells = [str(one.isel(here, missing_dims="ignore").item()) for one in tree.coords.values()]
        cells += [_number(loss.isel(here).values) for loss in losses.values()]
        if diverged is not None:
            cells.append(f"{diverged.isel(here).sum().item():.0f}")
        if compared:
            cells += [_pooled(numbers.isel(here), quantity) for quantity in QUANTITIES]
        table.add_row(*cells)
    if not compared:
        return table
    details = _every_point(tree, numbers) if full else []
    return Group(table, *details, Text(f"Of a point: all widths and observables together. {READING}", style="dim"))


def _diverged(tree: xr.DataTree) -> xr.DataArray | None:
    """Networks that diverged and are left out, or None if there are none."""
    if "ensemble" not in tree.children:
        return None
    diverged = tree["ensemble"].to_dataset()["diverged_members"].load()
    return diverged if diverged.sum() else None


def _every_point(tree: xr.DataTree, numbers: xr.Dataset) -> Iterator[Table]:
    dims = swept_dimensions(tree)
    for index in np.ndindex(*(tree.sizes[dim] for dim in dims)):
        here = numbers.isel(dict(zip(dims, index, strict=True)))
        table = agreement_table(here, full=True)
        table.title = ", ".join(f"{name}={here[name].item()}" for name in tree.coords)
        if table.row_count:
            yield table


def _losses(tree: xr.DataTree) -> dict[str, xr.DataArray]:
    """The loss on training and test points, at infinite width or else of the widest networks, over time."""
    if "theory" in tree.children:
        loss, words = tree["theory/loss"], "infinite width"
    else:
        loss, words = tree["ensemble/loss_mean"], "widest networks"
    dims = [dim for dim in ("width", "time") if dim in loss.dims]
    order = (*swept_dimensions(tree), *dims)
    splits = loss.split.values.tolist()
    return {f"{split} loss\n{words}": loss.sel(split=split).transpose(*order).load() for split in splits}


def _number(curve: np.ndarray) -> str:
    """The last value there is: points may have fewer steps or widths than others."""
    known = curve[np.isfinite(curve)]
    return f"{known[-1]:.4g}" if known.size else "-"


def _pooled(numbers: xr.Dataset, quantity: str) -> str:
    rms, largest = pooled(numbers, quantity)
    return "-" if np.isnan(rms) else f"{rms:.2f} ({largest:.1f})"
