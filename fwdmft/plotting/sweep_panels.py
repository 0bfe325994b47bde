"""What the figures of a sweep share: one swept field at a time, and a grid of panels, means above fluctuations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fwdmft.plotting import style
from fwdmft.plotting.entries import Entry, pair_entries, point_entries
from fwdmft.plotting.grid import SYMBOLS
from fwdmft.results.comparison import Estimate, group, measured_variance
from fwdmft.results.experiments import swept_dimensions

FIELDS = {
    "gamma0": r"richness $\gamma_0$",
    "learning_rate": r"learning rate $\eta$",
    "train": "training points $P$",
    "features": "dimension $D$ (features)",
    "depth": "depth $L$ (layers)",
    "steps": "steps $T$",
}
ROLES = {"mean": "{}", "variance": r"$N\,\mathrm{{Var}}$ {}"}


@dataclass(frozen=True)
class Line:
    """A sweep along one field, all others at their first value: theory and ensemble, None where not computed."""

    dim: str
    values: np.ndarray
    theory: xr.Dataset | None
    ensemble: xr.Dataset | None
    others: Mapping[str, object]

    @property
    def label(self) -> str:
        """The swept field with its symbol."""
        return FIELDS.get(self.dim, self.dim.replace("_", " "))

    @property
    def fixed(self) -> str:
        """The other fields, as a title of the figure; empty if there are none."""
        return ", ".join(f"{name} = {value}" for name, value in self.others.items())


@dataclass(frozen=True)
class Cell:
    """One panel: where to draw, and which role (mean, variance) of which entry of which observable."""

    axes: Axes
    name: str
    role: str
    entry: Entry

    def theory(self, line: Line) -> Estimate | None:
        """Along (swept field, time), with its standard error; None if the theory has it not."""
        name = self.name if self.role == "mean" else f"{self.name}_{self.role}"
        if line.theory is None or name not in line.theory:
            return None
        parts = line.theory[name], line.theory.get(f"{name}_standard_error", xr.zeros_like(line.theory[name]))
        return Estimate(*(self.entry.of(part).transpose(line.dim, "time").load() for part in parts))

    def networks(self, line: Line) -> Estimate | None:
        """Along (swept field, width, time), N Var for a variance; or None if no networks were trained."""
        if line.ensemble is None or f"{self.name}_{self.role}" not in line.ensemble:
            return None
        if self.role == "variance":
            parts = measured_variance(line.ensemble, self.name)
        else:
            parts = Estimate(*(line.ensemble[f"{self.name}_mean{end}"] for end in ("", "_standard_error")))
        return Estimate(*(self.entry.of(part).transpose(line.dim, "width", "time").load() for part in parts))


def lines(tree: xr.DataTree) -> Iterator[Line]:
    """The sweep along each of its fields that takes several values."""
    dims, values = swept_dimensions(tree), tree.to_dataset()
    for dim in dims:
        rest = {other: 0 for other in dims if other != dim}
        halves = (group(tree, name) for name in ("theory", "ensemble"))
        theory, ensemble = (None if half is None else half.isel(rest, missing_dims="ignore") for half in halves)
        if tree.sizes[dim] > 1:
            yield Line(dim, values[dim].values, theory, ensemble, {other: values[other].values[0] for other in rest})


def cells(tree: xr.DataTree, line: Line) -> tuple[Figure, list[Cell]] | None:
    """A column for f of a training and of a test point and one for K, a row for means and one for N Var.

    Columns and rows that neither theory nor ensemble has are left out; None if nothing remains.
    """
    columns = [one for one in _entries(tree) if _known(line, one[0], "mean")]
    roles = [role for role in ROLES if any(_known(line, name, role) for name, _ in columns)]
    if not columns:
        return None
    figure, axes = style.panels(len(roles), len(columns), size=(3.2, 2.5))
    for panel, (name, entry) in zip(axes[0], columns, strict=True):
        panel.set_title(f"${SYMBOLS[name]}$: {entry.title}")
    for row, role in zip(axes, roles, strict=True):
        for panel, (name, _) in zip(row, columns, strict=True):
            panel.set_ylabel(ROLES[role].format(f"${SYMBOLS[name]}$"))
    if line.fixed:
        figure.suptitle(line.fixed, fontsize=9)
    drawn = [
        Cell(panel, name, role, entry)
        for row, role in zip(axes, roles, strict=True)
        for panel, (name, entry) in zip(row, columns, strict=True)
    ]
    return figure, drawn


def _known(line: Line, name: str, role: str) -> bool:
    in_theory = name if role == "mean" else f"{name}_{role}"
    named = ((line.theory, in_theory), (line.ensemble, f"{name}_{role}"))
    return any(half is not None and variable in half for half, variable in named)


def _entries(tree: xr.DataTree) -> list[tuple[str, Entry]]:
    """Those of the first point of the sweep."""
    first = {dim: 0 for dim in swept_dimensions(tree)}
    data = tree["data"].to_dataset().isel(first, missing_dims="ignore")
    data = data.drop_vars(list(first), errors="ignore")
    one = xr.DataTree.from_dict({"data": data})
    predictions = [("prediction", entry) for entry in point_entries(one, 1, 0)]
    return [*predictions, *(("tangent_kernel", entry) for entry in pair_entries(one)[:1])]
