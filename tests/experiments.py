"""A small valid experiment and a sweep, with one part at a time replaced."""

from typing import Any

import pytest

import fwdmft

GAMMA0, TRAIN = "parameterization.gamma0", "data.train"


def experiment(**changes: Any) -> dict[str, Any]:
    """A valid experiment as a mapping; a value of None removes that field."""
    values: dict[str, Any] = {
        "name": "test",
        "architecture": {"kind": "mlp"},
        "optimizer": {"kind": "gradient_descent", "learning_rate": 0.05, "steps": 10},
        "data": {"kind": "digits", "train": 4, "test": 2},
        "theory": {},
        "ensemble": {"widths": [16, 64]},
    }
    return {name: value for name, value in (values | changes).items() if value is not None}


def message(**changes: Any) -> str:
    """The message with which that experiment is refused."""
    with pytest.raises(fwdmft.InputError) as refusal:
        fwdmft.load_experiment(experiment(**changes))
    return str(refusal.value)


def sweep(**changes: Any) -> dict[str, Any]:
    """A valid sweep of 3 x 2 points as a mapping; a value of None removes that field."""
    base = experiment(parameterization={"kind": "mean_field"}, name=None)
    values = {"name": "grid", "base": base, "over": {GAMMA0: [0.5, 1, 2], TRAIN: [4, 6]}, **changes}
    return {name: value for name, value in values.items() if value is not None}
