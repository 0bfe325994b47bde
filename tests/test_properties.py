"""A fixed share of random experiments keeps its promises; `random_experiments.py` tries as many as you like."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from broken_experiments import invalid
from hypothesis import HealthCheck, Phase, given, settings
from promises import check_result, outcome_of_invalid, outcome_of_valid
from strategies import Trial, valid


def fixed(examples: int) -> Any:
    """The same experiments every time."""
    return settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )


@fixed(6)
@given(valid())
def test_valid_experiments_run_or_are_refused_with_a_reason(trial: Trial) -> None:
    with tempfile.TemporaryDirectory() as folder:
        outcome_of_valid(trial, Path(folder))


@fixed(60)
@given(invalid())
def test_invalid_experiments_are_refused_with_one_message(trial: Trial) -> None:
    with tempfile.TemporaryDirectory() as folder:
        outcome_of_invalid(trial, Path(folder))


def result_with(**variables: Any) -> xr.DataTree:
    """A result of one group."""
    return xr.DataTree.from_dict(
        {"/theory": xr.Dataset({name: ("time", values) for name, values in variables.items()})}
    )


def test_what_a_result_must_not_hold() -> None:
    """The check itself: NaN without a reason, infinity, variances below zero by more than their errors."""
    check_result(result_with(f_variance=[-0.1, 1.0], f_variance_standard_error=[0.1, 0.1]))
    for variables in (
        {"f": [np.nan]},
        {"f": [np.inf]},
        {"f_variance": [-0.1]},
        {"f_variance": [-1.0, 1.0], "f_variance_standard_error": [0.1, 0.1]},
    ):
        with pytest.raises(AssertionError):
            check_result(result_with(**variables))
