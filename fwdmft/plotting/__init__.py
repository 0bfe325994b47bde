"""The figures a theorist looks at first: `plot(result, directory)` writes them all as png files.

Each module draws one figure from a result tree and returns a matplotlib Figure, or None when the result lacks
what it shows (a run without theory, without bias, ...). Figures are built without pyplot: no global state, no
display.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import xarray as xr
from matplotlib.figure import Figure

from fwdmft.errors import InputError
from fwdmft.files import made_directory, replacing
from fwdmft.plotting.alignment import alignment_figure
from fwdmft.plotting.bias import bias_figure
from fwdmft.plotting.collapse import collapse_figure
from fwdmft.plotting.heading import headed
from fwdmft.plotting.kernels import kernels_figure
from fwdmft.plotting.layer_covariance import layer_covariance_figure
from fwdmft.plotting.layers import layers_figure
from fwdmft.plotting.loss import loss_figure
from fwdmft.plotting.predictions import predictions_figure
from fwdmft.plotting.scaling import scaling_figure
from fwdmft.plotting.signal_to_noise import signal_to_noise_figure
from fwdmft.plotting.sweep_in_time import sweep_in_time_figure
from fwdmft.plotting.sweep_panels import Line, lines
from fwdmft.plotting.sweep_values import sweep_values_figure
from fwdmft.plotting.task import task_figure
from fwdmft.plotting.two_time import two_time_figure
from fwdmft.plotting.variance import variance_figure
from fwdmft.results.experiments import swept_dimensions
from fwdmft.results.files import kept_open
from fwdmft.results.write import open_result

_OF_RESULTS: dict[str, Callable[[xr.DataTree], Figure | None]] = {
    "loss": loss_figure,
    "predictions": predictions_figure,
    "variance": variance_figure,
    "bias": bias_figure,
    "kernels": kernels_figure,
    "scaling": scaling_figure,
    "layers": layers_figure,
    "signal_to_noise": signal_to_noise_figure,
    "layer_covariance": layer_covariance_figure,
    "two_time": two_time_figure,
    "alignment": alignment_figure,
    "task": task_figure,
    "collapse": collapse_figure,
}

_AT_INFINITE_WIDTH = ("layer_covariance", "two_time")
FIGURES = {name: headed(draw, at_widths=name not in _AT_INFINITE_WIDTH) for name, draw in _OF_RESULTS.items()}
"""Of one result, by the name of their files. Every figure has a heading, bars and bands of two standard errors."""

SWEEP_FIGURES: dict[str, Callable[[xr.DataTree, Line], Figure | None]] = {
    "in_time": headed(sweep_in_time_figure),
    "at_the_end": headed(sweep_values_figure),
}

__all__ = ["FIGURES", "SWEEP_FIGURES", "plot"]


def plot(result: xr.DataTree | str | os.PathLike[str], directory: str | os.PathLike[str]) -> list[Path]:
    """Draw every figure the result has data for into `directory` (made if missing); returns the files
    written.

    `result` is a tree (of `open_sweep` too) or the path of a result file. Raises InputError for a path that is not a
    result, a result of which no figure shows anything, or a directory that cannot be written to.
    """
    tree = result if isinstance(result, xr.DataTree) else open_result(result)
    place = made_directory(directory)
    drawn = _of_sweep(tree) if swept_dimensions(tree) else {n: draw(tree) for n, draw in FIGURES.items()}
    if not any(drawn.values()):
        halves = {name: list(tree[name].data_vars) for name in ("theory", "ensemble") if name in tree.children}
        raise InputError("result", halves, "predictions, kernels or losses, which the figures show")
    return [_save(figure, place / f"{name}.png") for name, figure in drawn.items() if figure is not None]


def _of_sweep(tree: xr.DataTree) -> dict[str, Figure | None]:
    """Every figure along every swept field, the others at their first value."""
    with kept_open():
        return {f"{line.dim}_{name}": draw(tree, line) for line in lines(tree) for name, draw in SWEEP_FIGURES.items()}


def _save(figure: Figure, path: Path) -> Path:
    try:
        with replacing(path) as scratch:
            # No version stamp: equal results give equal files.
            figure.savefig(scratch, format="png", metadata={"Software": None})
    except OSError as problem:
        raise InputError("output", str(path), f"a writable file ({problem.strerror})") from problem
    return path
