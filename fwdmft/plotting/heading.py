"""What stands above every figure: the experiment, its architecture, gamma0, learning rate, and widths."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from functools import wraps
from typing import Any, Concatenate, ParamSpec

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from fwdmft.plotting.sweep_panels import Line
from fwdmft.results.experiments import chosen_values

P = ParamSpec("P")
_APART = " · "
_INFINITE = r"$N \to \infty$"
_MOST_VALUES = 6
_INCH = 13  # characters that fit, at the font size of the heading
_UNSEEN = re.compile(r"[{}$\\]")


def headed(
    draw: Callable[Concatenate[xr.DataTree, P], Figure | None], at_widths: bool = True
) -> Callable[Concatenate[xr.DataTree, P], Figure | None]:
    """The drawing function with a heading over its figure; a title the figure has goes below that.

    at_widths: whether the figure shows what depends on the width.
    """

    @wraps(draw)
    def inside(tree: xr.DataTree, *args: P.args, **named: P.kwargs) -> Figure | None:
        figure = draw(tree, *args, **named)
        if figure is not None:
            line = next((one for one in args if isinstance(one, Line)), None)
            own = figure.get_suptitle()
            widths = widths_of(tree) if at_widths else _INFINITE
            text = heading(tree, widths, line, int(_INCH * figure.get_figwidth()))
            figure.suptitle(f"{text}\n{own}" if own else text, fontsize=8.5)
        return figure

    return inside


def heading(tree: xr.DataTree, widths: str, line: Line | None = None, length: int = 80) -> str:
    """In lines of about `capacity` characters. Fields swept along `line` have all their values, others their first."""
    experiment = tree.attrs.get("experiment") or tree.attrs.get("first_experiment", "{}")
    known = facts(json.loads(experiment), _swept(tree, line))
    parts = [str(tree.attrs.get("title", "")), *known, widths]
    lines = [""]
    for part in filter(None, parts):
        longer = f"{lines[-1]}{_APART}{part}" if lines[-1] else part
        lines = [*lines[:-1], longer] if _length(longer) <= length or not lines[-1] else [*lines, part]
    return "\n".join(lines)


def _length(text: str) -> int:
    return len(_UNSEEN.sub("", text))


def _swept(tree: xr.DataTree, line: Line | None) -> dict[str, str]:
    """Values of the fields along the line, and of those of which one was chosen, by the last part of their names."""
    along = {} if line is None else {name: one for name, one in tree.coords.items() if one.dims == (line.dim,)}
    return {str(name): few(np.atleast_1d(one.values)) for name, one in (chosen_values(tree) | along).items()}


def facts(experiment: Mapping[str, Any], swept: Mapping[str, str]) -> Iterator[str]:
    """Architecture, richness and learning rate; swept: values in words of fields that a sweep varies, by short name."""
    architecture = experiment.get("architecture", {})
    words = [swept.get(name, architecture.get(name)) for name in ("kind", "activation")]
    depth = swept.get("depth", architecture.get("depth"))
    yield " ".join(str(word) for word in words if word) + (f", $L$ = {depth}" if depth else "")
    yield _richness(experiment.get("parameterization", {}), swept)
    optimizer = experiment.get("optimizer", {})
    if "learning_rate" in optimizer:
        schedule = optimizer.get("schedule")
        schedule = schedule.get("kind", "constant") if isinstance(schedule, Mapping) else "constant"
        rate = swept.get("learning_rate", _short(optimizer["learning_rate"]))
        yield rf"$\eta$ = {rate}" + (f" ({schedule})" if schedule != "constant" else "")


def _richness(parameterization: Mapping[str, Any], swept: Mapping[str, str]) -> str:
    if "gamma0" in parameterization:
        return rf"$\gamma_0$ = {swept.get('gamma0', _short(parameterization['gamma0']))}"
    kind = str(parameterization.get("kind", ""))
    return r"$\gamma_0 = N^{-1/2}$" if kind == "neural_tangent" else kind.replace("_", " ")


def widths_of(tree: xr.DataTree) -> str:
    """Those of the networks, or of the loss that the theory expects at finite width."""
    for half in ("ensemble", "theory"):
        if half in tree.children and "width" in tree[half].coords:
            return f"$N$ = {few(tree[half].coords['width'].values)}"
    return _INFINITE


def few(values: np.ndarray) -> str:
    """All of a few values, or the first and the last of more."""
    shown = [_short(value) for value in values.tolist()]
    return ", ".join(shown if len(shown) <= _MOST_VALUES else [*shown[:2], "...", shown[-1]])


def _short(value: object) -> str:
    return f"{value:g}" if isinstance(value, int | float) else str(value)
