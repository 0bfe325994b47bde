"""What every experiment is promised: a valid one runs or is refused with a reason, an invalid one is refused."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import numpy as np
import xarray as xr
from strategies import Trial
from typer.testing import CliRunner, Result

import fwdmft
from fwdmft.cli import app
from fwdmft.testing.agreement import Estimate

GROUPS = 16
"""Groups of draws behind the standard errors of Sigma."""


def outcome_of_valid(trial: Trial, folder: Path) -> str:
    """ "ran", or why not. Raises AssertionError when a promise is broken."""
    result = _run(trial, folder)
    if result.exit_code == 0:
        check_result(fwdmft.open_result(folder / "result.nc"))
        return "ran"
    reason = _reason(result)
    assert result.exit_code in (1, 2), f"exit code {result.exit_code}: {reason}"
    _check_nothing_written(folder)
    return f"exit {result.exit_code}: {re.sub(r'[0-9][0-9.e+-]*', '#', reason)}"


def outcome_of_invalid(trial: Trial, folder: Path) -> str:
    """The kind of refusal. Raises AssertionError unless there is one message about the broken field, exit code 2."""
    result = _run(trial, folder)
    reason = _reason(result) if result.exit_code else "it ran"
    assert result.exit_code == 2, f"{trial.broken}: exit code {result.exit_code}: {reason}"
    assert "\n" not in reason, f"{trial.broken}: several messages: {reason}"
    assert trial.broken.rpartition(".")[2] in reason, f"{trial.broken} is not named: {reason}"
    _check_nothing_written(folder)
    return f"refused {trial.broken}"


def check_result(tree: xr.DataTree) -> None:
    """Numbers are numbers or say why not, and variances are not negative beyond their errors."""
    for group in tree.subtree:
        for name, variable in group.data_vars.items():
            where = f"{group.path}/{name}"
            if variable.dtype.kind != "f":
                continue
            assert not np.isinf(variable).any(), f"{where} is infinite"
            assert not np.isnan(variable).any() or "missing_reason" in variable.attrs, f"{where}: NaN without a reason"
            if str(name).endswith("_variance"):
                error = group.get(f"{name}_standard_error")
                slack = 0.0 if error is None else Estimate.of(variable.values, error.values, GROUPS).bound
                negative = np.nanmin(variable.values + slack, initial=0.0)
                rounding = 1e-9 * np.nanmax(np.abs(variable.values), initial=0.0)
                assert negative >= -rounding, f"{where} is negative beyond its error by {negative}"


def _run(trial: Trial, folder: Path) -> Result:
    path = trial.write(folder)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)  # of numpy: numbers without meaning
        return CliRunner().invoke(app, ["run", str(path), "-o", str(folder / "result.nc")])


def _reason(result: Result) -> str:
    said = result.stderr.strip()
    assert said, f"exit code {result.exit_code} without a word ({result.exception!r})"
    assert isinstance(result.exception, SystemExit), f"an exception: {result.exception!r}"
    assert "unexpected" not in said, said
    return said


def _check_nothing_written(folder: Path) -> None:
    left = sorted(path.name for path in folder.iterdir() if path.name not in ("experiment.yaml", "data.nc"))
    assert not left, f"refused, but wrote {left}"
